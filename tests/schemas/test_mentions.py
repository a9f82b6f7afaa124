from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from schemas.mentions import Mention, MentionFinder, Span, Words, is_negation, stem

SPELLINGS = (("tshirt", "tee"), ("dress",), ("dark grey",), ("grey", "gray"), ("red",), ("red wine",))
FINDER = MentionFinder(SPELLINGS)
NAMES = [names[0] for names in SPELLINGS]


def said(text: str) -> dict[str, bool]:
    return {NAMES[column]: negated for column, negated in FINDER.mentions(text)}


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("Two T-shirts and a dress", {"tshirt": False, "dress": False}),
        ("dark-grey tees", {"dark grey": False, "tshirt": False}),
        ("darker gray", {"grey": False}),
        ("no red, dress please", {"red": True, "dress": False}),
        ("not red but grey", {"red": True, "grey": False}),
        ("I hate the colour red", {"red": True}),
        ("I hate that old colour red", {"red": False}),
        ("red? not red!", {"red": False}),
        ("dressing room, shredded, agreed", {}),
    ],
)
def test_mentions_worked_by_hand(text: str, found: dict[str, bool]):
    assert said(text) == found


def test_the_longest_spelling_wins_and_spans_do_not_overlap():
    words = Words.of("A red wine dress, dark grey. Red!")
    spans = FINDER.spans(words)
    assert spans == [Span(1, 3, (5,)), Span(3, 4, (1,)), Span(4, 6, (2,)), Span(6, 7, (4,))]
    assert words.clauses == (0, 0, 0, 0, 1, 1, 2)


def test_one_spelling_may_stand_for_several_values():
    finder = MentionFinder([("long",), ("long", "maxi")])
    assert finder.mentions("not long") == [Mention(0, True), Mention(1, True)]
    assert finder.mentions("maxi") == [Mention(1, False)]


@given(st.text(st.sampled_from("redgytsh -'.,X9"), max_size=40))
def test_a_mention_never_crosses_word_borders(text: str):
    """Found words, written together, are a spelling, or two of its words written as one, or its plural; never a part
    of a longer word."""
    words = Words.of(text)
    known = {"".join(stem(word) for word in re.findall(r"\w+", name)) for names in SPELLINGS for name in names}
    for span in FINDER.spans(words):
        assert "".join(words.stems[span.start : span.stop]) in known
    letters = re.findall(r"[^\W_]+(?:'[^\W_]+)?", text.casefold())
    assert list(words.words) == letters


def test_what_turns_a_sentence_around():
    assert all(map(is_negation, ("not", "no", "without", "except", "don't", "isn't")))
    assert not any(map(is_negation, ("know", "note", "never-ending", "nothings")))
