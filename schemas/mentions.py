"""Which values a text names, word by word: one matcher for pre-labels and for the models that read mentions."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from typing import NamedTuple

from schemas.folding import fold

__all__ = ["Mention", "MentionFinder", "Span", "Words", "is_negation", "stem"]

_WORD = re.compile(r"[^\W_]+(?:'[^\W_]+)?")
_BREAK = re.compile(r"[.,;:!?()]|\bbut\b")  # "no, red please", "not black but red": what comes after is not negated
_NEGATIONS = frozenset(
    ("not", "no", "without", "except", "avoid", "hate", "dislike", "never", "nothing", "neither", "nor")
)
_REACH = 3  # words after a negation that it may be about


class Mention(NamedTuple):
    """A value that a text names.

    Attributes:
        column: of the value.
        negated: a negation stands shortly before it.
    """

    column: int
    negated: bool


class Span(NamedTuple):
    """Words of a text that spell values.

    Attributes:
        start, stop: the first word, and the one after the last.
        columns: the values so spelled.
    """

    start: int
    stop: int
    columns: tuple[int, ...]


class Words(NamedTuple):
    """A text cut into words, folded as the ontology's spellings are.

    Attributes:
        words: without case.
        stems: one form of singular, plural and possessive of each.
        clauses: the number of the clause that each is in; a punctuation mark or "but" ends one.
    """

    words: tuple[str, ...]
    stems: tuple[str, ...]
    clauses: tuple[int, ...]

    @classmethod
    def of(cls, text: str) -> Words:
        """Cut a text."""
        words: list[str] = []
        clauses: list[int] = []
        for number, clause in enumerate(_BREAK.split(fold(text).replace("\u2019", "'"))):
            found = _WORD.findall(clause)
            words += found
            clauses += [number] * len(found)
        return cls(tuple(words), tuple(map(stem, words)), tuple(clauses))


class MentionFinder:
    """Finds spellings in texts.

    Args:
        spellings: of each column, all ways to write its value.
    """

    def __init__(self, spellings: Iterable[Iterable[str]]) -> None:
        self._columns: dict[str, tuple[int, ...]] = {}
        # one more than the longest spelling has, as texts may write apart what it writes as one
        self._most_words = 1
        for column, texts in enumerate(spellings):
            for text in texts:
                stems = Words.of(text).stems
                self._most_words = max(self._most_words, 1 + len(stems))
                joined = "".join(stems)
                known = self._columns.get(joined, ())
                if joined and column not in known:
                    self._columns[joined] = (*known, column)

    def spans(self, words: Words) -> list[Span]:
        """Where values are spelled, from left to right; the longest spelling at a place wins, and none overlap.

        Words are compared without case, plural endings, hyphens and spaces: "T-shirts" spells ``tshirt``.
        """
        found: list[Span] = []
        at = 0
        while at < len(words.stems):
            span = self._longest(words.stems, at)
            if span is not None:
                found.append(span)
            at = at + 1 if span is None else span.stop
        return found

    def mentions(self, text: str) -> list[Mention]:
        """The values that a text names, each once.

        A value that is both negated and not is not. A negation is about the three words after it, up to a punctuation
        mark or "but".
        """
        words = Words.of(text)
        found: dict[int, bool] = {}
        for span in self.spans(words):
            before = range(max(0, span.start - _REACH), span.start)
            clause = words.clauses[span.start]
            negated = any(words.clauses[i] == clause and is_negation(words.words[i]) for i in before)
            for column in span.columns:
                found[column] = found.get(column, True) and negated
        return [Mention(column, negated) for column, negated in found.items()]

    def _longest(self, stems: Sequence[str], at: int) -> Span | None:
        for length in range(min(self._most_words, len(stems) - at), 0, -1):
            columns = self._columns.get("".join(stems[at : at + length]))
            if columns:
                return Span(at, at + length, columns)
        return None


def stem(word: str) -> str:
    """One form of singular, plural and possessive: ``dresses``, ``blouses``, ``hoodie``, ``men's``."""
    word = word.removesuffix("'s")
    if len(word) > 4 and word.endswith(("sses", "xes", "ches", "shes")):
        return word[:-2]
    if len(word) > 4 and word.endswith(("ies", "ie")):
        return word.removesuffix("s")[:-2] + "y"
    return word[:-1] if len(word) > 3 and word.endswith("s") and not word.endswith("ss") else word


def is_negation(word: str) -> bool:
    """Whether a folded word turns what follows it around: ``not``, ``without``, ``don't``."""
    return word in _NEGATIONS or word.endswith("n't")
