from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from schemas.mentions import Mention, MentionFinder, Span, Words, is_negation, stance, stem

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


@given(st.text(st.sampled_from("redgytsh -'.,X"), max_size=40))
def test_a_mention_never_crosses_word_borders(text: str):
    """Found words, written together, are a spelling, or two of its words written as one, or its plural; never a part
    of a longer word."""
    words = Words.of(text)
    known = {"".join(stem(word) for word in re.findall(r"\w+", name)) for names in SPELLINGS for name in names}
    for span in FINDER.spans(words):
        assert "".join(words.stems[span.start : span.stop]) in known
    letters = re.findall(r"[^\W_]+(?:'[^\W_]+)?", text.casefold())
    assert list(words.words) == letters


@given(st.integers(0, 99), st.integers(0, 99), st.sampled_from(" .,/"))
def test_two_numbers_are_never_one_and_a_decimal_is_no_two(first: int, second: int, mark: str):
    """Of the sizes written with their digits, ``mark`` between two numbers names those two, or the one decimal."""
    finder = MentionFinder([(str(first),), (f"{first}.{second}",), (f"{first}{second}",)])
    found = {mention.column for mention in finder.mentions(f"in {first}{mark}{second} cm")}
    one_number = {1} if mark in ".," else {0}
    if first == second or second == 0:
        assert one_number <= found <= {0, 1}
    else:
        assert found == one_number


@pytest.mark.parametrize(
    ("spelled", "said", "is_named"),
    [
        ("4.5", "size 4.5 or 5", True),
        ("4.5", "size 45", False),
        ("45", "size 4.5", False),
        ("4", "about 4.5 cm", False),
        ("4.5", "Größe 4,5", True),
        ("4", "size 4.0", True),
        ("128 GB", "128GB of it", True),
        ("7½", "a 7 1/2", True),
        ("7½", "a 71/2", False),
        ("7.5", "size 7½", True),
        ("7", "size 7 1/2", False),
        ("3/4 sleeves", "with 3/4 sleeves", True),
        ("-2.5", "lenses of -2.5", True),
        ("2.5", "lenses of -2.5", False),
        ("2.5", "lenses of 2-2.5", True),
        # symbols that tell names apart
        ("C+", "a c+ cable", True),
        ("C+", "a c cable", False),
        ("M", "from H&M", False),
        ("M", "size M & L", True),
        ("C#", "the C+ one", False),
        ("C++", "some c++, please", True),
        ("red", "red+blue", True),
        # letters with their marks
        ("काला", "काला जूता", True),  # black, in Hindi
        ("कल", "काला जूता", False),  # tomorrow
        ("cafe\u0301", "un café", True),
        ("so\u00adft", "soft", True),
        # no spaces between words
        ("红色", "我想要红色的裙子", True),
        ("红色", "粉红的裙子", False),
        ("赤い", "赤いワンピース", True),
        ("แดง", "สีแดงค่ะ", True),
        ("ดำ", "สีแดง", False),
    ],
)
def test_spellings_and_what_names_them(spelled: str, said: str, is_named: bool):
    assert bool(MentionFinder([(spelled,)]).mentions(said)) is is_named


def test_words_of_most_sentences_name_a_value_only_beside_their_slot():
    finder = MentionFinder(
        [("yes",), ("no",), ("new",), ("2",)], [("isVegan", "vegan")] * 2 + [("state",), ("pockets",)]
    )
    for text in (
        "No, show me another",
        "yes, that one",
        "a new one",
        "is it vegan? no",
        "vegan, no",
        "2 shirts",
        "2 red shirts",
        "#2",
    ):
        assert finder.mentions(text) == []
    assert finder.mentions("vegan: yes") == finder.mentions("Vegan = yes") == [Mention(0, False)]
    assert finder.mentions("is vegan no") == finder.mentions("vegan should be no") == [Mention(1, False)]
    assert finder.mentions("state new, pockets 2") == [Mention(2, False), Mention(3, False)]
    assert finder.mentions("a 2") == [Mention(3, False)]
    assert MentionFinder([("no",)]).mentions("vegan: no") == []


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("anything but red", "against"),
        ("any color but red", "against"),
        ("anything, but in red", "for"),
        ("nothing but red", "for"),
        ("I don't want anything but red", "for"),
        ("nothing other than red", "for"),
        ("all colors apart from red", "against"),
        # in what something is to differ from what is there
        ("similar in brand to the blue coat except in red", "for"),
        ("Is there anything similar to that coat, except red?", "for"),
        ("the same as this one except red", "for"),
        ("something like the coats up there, except red", "for"),
        ("I like the coats except red ones", "against"),
        ("similar coats except red ones", "against"),
        ("a coat like that, any color, except red", "against"),
        # denied of what is refused
        ("avoid anything that isn't red", "for"),
        ("Please eliminate anything that doesn't have red", "for"),
        ("eliminate red", "against"),
        ("a coat that isn't red", "against"),
        ("blue instead of red", "against"),
        ("why not red", "for"),
        ("not only red", "for"),
        ("not only blue, no red", "against"),
        ("No show me red ones", "for"),
        ("no thanks red", "for"),
        ("if not red then blue", "for"),
        ("not a big fan of red", "against"),
        ("I can't find red ones", "for"),
        ("I can't seem to find any red ones", "for"),
        ("I can't stand red", "against"),
        ("it doesn't have to be red", "open"),
        ("I don't mind red", "open"),
        ("I don't hate red", "open"),
        ("too red", "open"),
        ("red isn't for me", "open"),
        ("red is too much", "open"),
        ("stop showing me red", "against"),
        ("I prefer blue to red", "against"),
        ("Wouldn't red be nice?", "for"),
        ("red-free", "against"),
        ("non-red", "against"),
        ("kein red", "against"),
        ("不要red", "against"),
        ("red नहीं", "against"),
    ],
)
def test_what_a_text_says_of_a_value(text: str, said: str):
    words = Words.of(text)
    (span,) = [span for span in FINDER.spans(words) if span.columns == (4,)]
    assert stance(words, span) == said


def test_what_turns_a_sentence_around():
    assert all(map(is_negation, ("not", "no", "without", "except", "don't", "isn't")))
    assert not any(map(is_negation, ("know", "note", "never-ending", "nothings")))
