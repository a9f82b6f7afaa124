from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from schemas.folding import fold, fold_name, snake_case, unescape


@pytest.mark.parametrize(
    ("text", "once"),
    [
        ("H&amp;M", "H&M"),
        ("Levi&#39;s &quot;501&#x22;", 'Levi\'s "501"'),
        ("caf&eacute;&nbsp;noir", "café\xa0noir"),
        # once, never twice
        ("&amp;lt;b&amp;gt;", "&lt;b&gt;"),
        # no entities: what HTML would take for "&not;", "&reg;" and "&copy;" without a semicolon
        ("AT&T", "AT&T"),
        ("?a=1&lt=2&amplifier=3&quotes", "?a=1&lt=2&amplifier=3&quotes"),
        # the commonest without a semicolon
        ("River &amp and Levi&#39s, a &ltb&gt", "River & and Levi's, a &ltb>"),
        ("black&notes; black&regular a&copy", "black&notes; black&regular a&copy"),
        ("&bogus; & &; &#; &#x;", "&bogus; & &; &#; &#x;"),
        # neither control characters nor halves of surrogate pairs come out of it
        ("a&#27;b&#xD800;", "ab\ufffd"),
    ],
)
def test_entities_are_resolved_once(text: str, once: str):
    assert unescape(text) == once


@given(st.text())
def test_what_was_escaped_comes_back_as_it_was(text: str):
    assert unescape(text.replace("&", "&amp;")) == text


@pytest.mark.parametrize(
    ("one", "other", "is_one"),
    [
        ("sleeveLength", "Sleeve length", True),
        ("C+", "C#", False),
        ("C", "C+", False),
        ("C++", "c++", True),
        ("Price €", "price (£)", False),
        ("Price €", "price_€", True),
        ("width %", "width", False),
        ("कला", "काला", False),  # art, black
        ("रंग", "र_ग", False),
        ("สี", "สา", False),
        ("אדום", "אָדֹם", False),
        ("cafe\u0301", "CAFÉ", True),
        ("Lycra®", "lycra", True),
        ("soft\u00adshell", "softshell", True),
        ("می\u200cخواهم", "میخواهم", True),
        ("７½", "71/2", False),
        ("7 ½", "7.5", True),
        ("4.5", "45", False),
        ("EN 20345", "EN 20 345", False),
        ("size1", "Size_1", True),
    ],
)
def test_names_agree_in_spelling_and_differ_in_letters_marks_and_symbols(one: str, other: str, is_one: bool):
    assert (fold_name(one) == fold_name(other)) is is_one


def test_snake_case_keeps_letters_of_every_script_whole():
    names = ("रंग", "सामग्री", "สี", "اللون", "颜色", "c+", "c#", "price_£")
    assert [snake_case(name) for name in names] == [*names]
    assert [snake_case(name) for name in ("Sleeve length", "{{idx}}", "a=b", "Farbe/Muster", "!?")] == [
        *("sleeve_length", "idx", "a_b", "farbe_muster", "")
    ]


@given(st.text(max_size=20), st.text(max_size=20))
def test_snake_case_keeps_apart_what_names_keep_apart_and_nothing_else(one: str, other: str):
    if snake_case(one) and snake_case(one) == snake_case(other):
        assert fold_name(one) == fold_name(other)


@given(st.text())
def test_spaces_and_what_is_not_seen_make_no_difference(text: str):
    assert fold(text) == fold(f"  {text}\u200b\n") == fold(" ".join(text.split()))


@pytest.mark.parametrize(
    ("written", "typed"),
    [("Levi\u2019s", "levi's"), ("T\u2011Shirt", "t-shirt"), ("24\u201d", '24"'), ("\u0130\u00e7erik", "i\u00e7erik")],
)
def test_what_keyboards_do_not_have_is_folded_to_what_they_have(written: str, typed: str):
    assert fold(written) == typed
