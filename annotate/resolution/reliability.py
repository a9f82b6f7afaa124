"""The answers of a whole workspace, counted: what the policy ``dawid-skene`` weighs with.

An item is anything that an answer to a turn may say: each value of each slot wanted or disliked, each slot dropped, a
new topic, that the turn cannot be labelled; and of the dialogue that it is useless. Those that nobody marked count as
answered with no by all who answered the turn: without them everybody would seem to mark whatever there is.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence

from annotate.resolution.ballots import Ballot
from annotate.resolution.dawid_skene import DawidSkene, Pattern, fit
from annotate.resolution.items import Item
from annotate.resolution.resolve import says_bad_dialogue
from schemas.ontology import Ontology

__all__ = ["AnswerCounts"]


class AnswerCounts:
    """Counts answer patterns, one dialogue at a time; memory goes with the groups of people that answered together."""

    def __init__(self, ontology: Ontology) -> None:
        self._markable = sum(2 * len(slot.values) + 1 for slot in ontology.slots)
        self.patterns: Counter[Pattern] = Counter()

    def add(self, ballots: Mapping[int, Sequence[Ballot]]) -> None:
        """Count what several people say of the turns of one dialogue."""
        bad = says_bad_dialogue(ballots)
        if len(bad) > 1:
            self._count(bad)
        for said in ballots.values():
            if len(said) > 1:
                self._count({ballot.annotator: not ballot.readable for ballot in said})
                self._add_items([ballot for ballot in said if ballot.readable])

    def _add_items(self, ballots: Sequence[Ballot]) -> None:
        if len(ballots) < 2:
            return
        marked = {item for ballot in ballots for item in ballot.items}
        for item in marked | {Item("new_topic")}:
            self._count({ballot.annotator: item in ballot.items for ballot in ballots})
        of_slots = len(marked - {Item("new_topic")})
        self._count({ballot.annotator: False for ballot in ballots}, max(0, self._markable - of_slots))

    def _count(self, votes: Mapping[str, bool], times: int = 1) -> None:
        if times:
            self.patterns[tuple(sorted(votes.items()))] += times

    def fitted(self) -> DawidSkene:
        """The reliability of everybody who answered together with others."""
        return fit(self.patterns)

    @classmethod
    def of(cls, dialogues: Iterable[Mapping[int, Sequence[Ballot]]], ontology: Ontology) -> AnswerCounts:
        """The counts of several dialogues."""
        counts = cls(ontology)
        for ballots in dialogues:
            counts.add(ballots)
        return counts
