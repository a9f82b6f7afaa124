"""Ways of saying values that labelled dialogues teach: "well rated" is ``customerReview=good`` there."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping

from annotate.prelabels.turn_reading import Choice
from schemas.mentions import Words

__all__ = ["AliasTable", "ngrams"]

_LONGEST = 3
_TIMES = 2
_SURE = 0.2


class AliasTable:
    """Word sequences and the values that came with them, where no spelling of the ontology named the value."""

    def __init__(self, values: Mapping[str, Mapping[Choice, float]]) -> None:
        self.values = values

    def __len__(self) -> int:
        return len(self.values)

    def find(self, words: Words) -> dict[Choice, dict[str, float]]:
        """The values that the words may stand for, each with the word sequences that say so and how sure they are."""
        found: dict[Choice, dict[str, float]] = {}
        for said in dict.fromkeys(ngrams(words)):
            for choice, sure in self.values.get(said, {}).items():
                found.setdefault(choice, {})[said] = sure
        return found

    @classmethod
    def mine(cls, turns: Iterable[tuple[str, Words, frozenset[Choice]]]) -> AliasTable:
        """The word sequences that came with a value in at least two dialogues and a fifth of their turns.

        Of each turn: its dialogue, its words, and the values newly wanted that no spelling names.
        """
        heard: dict[str, int] = defaultdict(int)
        together: dict[str, dict[Choice, set[str]]] = defaultdict(lambda: defaultdict(set))
        times: dict[tuple[str, Choice], int] = defaultdict(int)
        for dialogue, words, wanted in turns:
            for said in dict.fromkeys(ngrams(words)):
                heard[said] += 1
                for choice in wanted:
                    together[said][choice].add(dialogue)
                    times[said, choice] += 1
        values: dict[str, dict[Choice, float]] = {}
        for said, choices in sorted(together.items()):
            kept = {
                choice: times[said, choice] / heard[said]
                for choice, dialogues in sorted(choices.items())
                if len(dialogues) >= _TIMES and times[said, choice] / heard[said] >= _SURE
            }
            if kept:
                values[said] = kept
        return cls(values)


def ngrams(words: Words) -> Iterator[str]:
    """Sequences of one to three stems that stand within one clause."""
    for start in range(len(words.stems)):
        for stop in range(start + 1, min(start + _LONGEST, len(words.stems)) + 1):
            if words.clauses[start] == words.clauses[stop - 1]:
                yield " ".join(words.stems[start:stop])
