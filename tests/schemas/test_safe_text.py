from __future__ import annotations

import json
import os
from collections.abc import Iterator

import pytest
from hypothesis import given
from hypothesis import strategies as st

from schemas.errors import ServiceError
from schemas.safe_text import as_unicode, conceal, escape_json, forget_secrets, guard, harmless, holds_secret

KEY = "5f0c17ab93de42c68b1e"


@pytest.fixture(autouse=True)
def _no_secrets() -> Iterator[None]:
    forget_secrets()
    yield
    forget_secrets()


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("\x1b[2J\x1b]0;owned\x07", r"\x1b[2J\x1b]0;owned\x07"),
        ("over\rwritten", r"over\x0dwritten"),
        ("\x9b31m red", r"\x9b31m red"),
        ("evil\u202egnp.exe", r"evil\u202egnp.exe"),
        ("\u2066a\u2069\u2028b", r"\u2066a\u2069\u2028b"),
        ("bell\x07 null\x00 delete\x7f", r"bell\x07 null\x00 delete\x7f"),
        ("two\nlines\tand a tab", "two\nlines\tand a tab"),
        ("हिन्दी ไทย العربية\u200f 👩\u200d🚀 é [bold]", "हिन्दी ไทย العربية\u200f 👩\u200d🚀 é [bold]"),
        (os.fsdecode(b"caf\xe9"), r"caf\xe9"),
        ("\ud800", r"\ud800"),
        ("http://ann:secret@host/x", "http://***@host/x"),
    ],
)
def test_what_a_terminal_obeys_is_written_out_and_all_else_stays(text: str, shown: str):
    assert harmless(text) == shown


@given(st.text(alphabet=st.characters(codec=None)))
def test_no_text_can_command_a_terminal(text: str):
    shown = harmless(text)
    assert all(letter.isprintable() or letter in "\n\t" or ord(letter) >= 0xA0 for letter in shown)
    assert not set(shown) & set("\x1b\x9b\r\x07\x08\u202e\u2028")
    as_unicode(text).encode()  # raises for what is not Unicode


@given(st.text())
def test_json_is_the_same_value_when_it_is_harmless(text: str):
    escaped = escape_json(json.dumps([text], ensure_ascii=False))
    assert json.loads(escaped) == [text]
    assert not set(escaped) & set("\x1b\x9b\x7f\u202e\u2028")


def test_a_secret_and_its_parts_are_cut_out_of_a_line():
    guard(KEY)
    assert conceal(f"Token {KEY}: no") == "Token ***: no"
    assert conceal(f"a {KEY[:9]} b {KEY[-8:].upper()} c") == "a *** b *** c"
    assert conceal(KEY[:7]) == KEY[:7]
    assert conceal(f"{KEY}{KEY}") == "******"
    assert conceal(f"İ {KEY} ß") == "İ *** ß"
    assert str(ServiceError(f"refused {KEY}", where=f"http://{KEY}.example", fix=f"unset {KEY}")) == (
        "refused *** (http://***.example); unset ***"
    )


def test_a_secret_is_found_with_marks_between_and_encoded():
    guard(KEY)
    assert holds_secret("-".join(KEY))
    assert holds_secret("".join(f"%{ord(letter):02X}" for letter in KEY))
    assert holds_secret(KEY[::-1])
    assert not holds_secret("nothing of the kind, 5f0c17a")
    forget_secrets()
    assert not holds_secret(KEY)
    assert conceal(KEY) == KEY


def test_what_is_too_short_to_be_told_apart_is_left():
    guard("key")
    assert conceal("the API key") == "the API key"
