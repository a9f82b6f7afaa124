"""Which of the values that a user names are asked for, rather than pointed at; by rules for English.

"Do you have any in red?" asks for red. "How much are the red ones?", "does it come in red?", "add the red, white and
yellow blouse to my cart" and "that's a lovely coat" speak of something in sight, and ask for nothing new.
"""

from __future__ import annotations

import re

from schemas.mentions import MentionFinder, Span, Words
from schemas.ontology import Ontology, fold

__all__ = ["RequestFinder"]

_SENTENCE = re.compile(r"(?<=[.!?])\s+|[\n;]+")
_POINTING = frozenset(
    (
        "the",
        "this",
        "that",
        "these",
        "those",
        "both",
        "my",
        "your",
        "its",
        "their",
        "it",
        "they",
        "one",
        "ones",
        "first",
    )
)
_ASKING = frozenset(("a", "an", "any", "some", "another", "anything", "something", "in", "for", "size"))
_REACH = 4  # words between an article and what it stands before
_LINKS = frozenset(("and", "or"))
_PREDICATE = re.compile(
    r"\b(?:this|that|it|these|those|they|what)(?:'s| is| are|'re)? (?:\w+ ){0,4}an? "
    r"|\b(?:is|was|are) (?:this|that|it|these|they)\b"
    r"|\b(?:what|which) (?:\w+ )?(?:type|kind|style|sort)s?\b|\bhow long\b|\blooks? like\b"
)
_ABOUT = frozenset(
    (
        *("add", "cart", "basket", "bag", "buy", "purchase", "compare", "compared", "comparison", "mean", "meant"),
        *("referring", "talking", "cost", "costs", "price", "prices", "priced", "brand", "brands", "makes", "made"),
    )
)
"""Words of sentences about products in sight."""
_HAVING = frozenset(("come", "comes", "available", "have"))
_IN_SIGHT = frozenset(("it", "this", "that", "they", "them", "these", "those", "which"))
_MENDING = frozenset(("but", "though", "instead"))


class RequestFinder:
    """Finds the ontology's values that a text asks for; only those that products have."""

    def __init__(self, ontology: Ontology) -> None:
        known = [(slot, value) for slot in ontology.slots for value in slot.values if value.count]
        self._values = [(slot.name, value.value) for slot, value in known]
        self._finder = MentionFinder(
            (value.spellings for _, value in known), ((slot.name, slot.attribute, *slot.aliases) for slot, _ in known)
        )

    def values(self, text: str) -> list[tuple[str, str]]:
        """Slot and value of everything that a text asks for, each once."""
        found: dict[tuple[str, str], None] = {}
        for sentence in _SENTENCE.split(text):
            words = Words.of(sentence)
            spans = self._finder.spans(words)
            if not spans or _is_about_things_in_sight(words) or _PREDICATE.search(fold(sentence)):
                continue
            before: Span | None = None
            pointed = False
            for span in spans:
                linked = before is not None and set(words.words[before.stop : span.start]) <= _LINKS
                pointed = _points(words, span) or (linked and pointed)
                before = span
                if not pointed:
                    found.update((self._values[column], None) for column in span.columns)
        return list(found)


def _is_about_things_in_sight(words: Words) -> bool:
    said = set(words.words)
    # "does it come in red?" asks for a fact; whoever then wants it says so
    return bool(said & _ABOUT) or bool(said & _HAVING and said & _IN_SIGHT)


def _points(words: Words, span: Span) -> bool:
    """Whether the nearest article or pronoun before a span points at something."""
    for at in range(span.start - 1, max(span.start - 2 - _REACH, -1), -1):
        if words.words[at] in _ASKING or words.words[at] in _MENDING:
            return False
        if words.words[at] in _POINTING:
            return True
    return False
