"""The sentences of the simulated dialogues, as templates: ``data/phrases.toml``."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from pipeline.generator.data import load

_Texts = Sequence[str]
_TextsOf = Mapping[str, _Texts]

_given = load("phrases.toml")

OPEN: _Texts = _given["open"]
SWITCH: _Texts = _given["switch"]
OPEN_NTH: _Texts = _given["open_nth"]
DROP: _Texts = _given["drop"]
NTH_BUT: _Texts = _given["nth_but"]
FILLERS: _Texts = _given["fillers"]
ORDINALS: Sequence[_Texts] = _given["ordinals"]

SYNONYMS: Mapping[str, _TextsOf] = _given["synonyms"]
"""Attribute -> value -> other words that users use for it."""
PLURALS: Mapping[str, str] = _given["plurals"]

# attribute, or act -> what is said
SLOT_WORDS: _TextsOf = _given["slot_words"]
ADD: _TextsOf = _given["add"]
CHANGE: _TextsOf = _given["change"]
DISLIKE: _TextsOf = _given["dislike"]
LIKE_NTH: _TextsOf = _given["like_nth"]
DISLIKE_NTH: _TextsOf = _given["dislike_nth"]
UPLOAD: _TextsOf = _given["upload"]
UPLOAD_DISLIKE: _TextsOf = _given["upload_dislike"]
UPLOAD_OPEN: _TextsOf = _given["upload_open"]
SHOPPER: _TextsOf = _given["shopper"]
ASK: _TextsOf = _given["ask"]
QUESTIONS: _TextsOf = _given["questions"]
AGENT: _TextsOf = _given["agent"]
