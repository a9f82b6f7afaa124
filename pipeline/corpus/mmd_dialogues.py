"""Dialogue files in MMD's layout: an element is an utterance, null, an empty object, or a list of elements.

Positives are the system utterance's ``images``, negatives its ``false images``.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any

from pipeline.corpus.chunks import Chunk, ChunkMaker
from pipeline.corpus.layout import UNREADABLE, HashedFiles
from pipeline.corpus.ledger import Ledger, LedgerLine
from pipeline.corpus.mmd_states import StateReader, UnreadableStateError
from pipeline.corpus.parsing import as_text, id_text, references
from pipeline.corpus.records import Dialogue, MergedTurns, Speaker, StateRecord, keep_or_drop, speaker_name

Entry = tuple[str, str, str]
"""(dialogue_id, split, file)."""

_speaker = lru_cache(maxsize=1000)(speaker_name)


class MmdDialogues:
    """Reads dialogue files."""

    def __init__(self, folder: Path, *, with_states: bool) -> None:
        self.files = HashedFiles(folder)
        self._folder = folder
        self._states = StateReader() if with_states else None
        self._last_negatives: Sequence[str] = ()

    def as_json(self) -> dict[str, Any]:
        """The arguments it was made with, for another process."""
        return {"folder": str(self._folder), "with_states": self._states is not None}

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> MmdDialogues:
        """The inverse of :meth:`as_json`."""
        return cls(Path(value["folder"]), with_states=value["with_states"])

    def chunk(self, entries: Iterable[Entry], maker: ChunkMaker) -> Chunk:
        """The chunk that files make, with their sums."""
        for dialogue in self.read(entries, maker.ledger):
            maker.add(dialogue)
        chunk = maker.take()
        chunk.sums = self.files.take_sums()
        return chunk

    def read(self, entries: Iterable[Entry], ledger: Ledger) -> Iterator[Dialogue]:
        """Dialogues in the given order, one file read at a time; what cannot be read is counted and dropped."""
        line = ledger["dialogues"]
        for dialogue_id, split, path in entries:
            content = self.files.read_json(path, line)
            if content is UNREADABLE:
                continue
            if isinstance(content, dict):
                content = content.get("dialogue", content.get("turns", content))
            if not isinstance(content, list):
                line.drop("not_a_list")
                continue
            turns = MergedTurns()
            self._read(content, turns, ledger)
            if keep_or_drop(turns, ledger):
                yield Dialogue(dialogue_id, split, turns)

    def _read(self, elements: Sequence[Any], turns: MergedTurns, ledger: Ledger, depth: int = 0) -> None:
        for element in elements:
            if type(element) is dict:
                named = element.get("speaker")
                speaker = _speaker(named) if type(named) is str else None
                if speaker is not None:
                    self._add(turns, speaker, element, ledger)
                else:
                    ledger["utterances"].drop("no_speaker" if element else "empty_element")
            elif type(element) is list and depth < 20:
                self._read(element, turns, ledger, depth + 1)
            else:
                ledger["utterances"].drop("null_element" if element is None else "not_an_object")

    def _add(self, turns: MergedTurns, speaker: Speaker, element: Mapping[str, Any], ledger: Ledger) -> None:
        said = element.get("utterance", element)
        if type(said) is not dict:
            said = said[0] if type(said) is list and len(said) == 1 and type(said[0]) is dict else {"nlg": said}
        text = said.get("nlg")
        if type(text) is str:
            text = as_text(text)
        elif text is not None:
            text = _unusual_text(text, ledger["texts"])
        listed = said.get("images")
        images = _NONE if listed is None else _references(listed, ledger["images"])
        act = element.get("type") or element.get("intent_type")
        if act is not None:
            act = _act_text(act)
        if speaker == "system":
            listed = said.get("false images")
            if listed is None:
                listed = said.get("false_images")
            negatives = _NONE if listed is None else self._negatives(listed, ledger["negatives"])
            turns.add(speaker, act or "", text or "", images, images, negatives)
        else:
            turns.add(speaker, act or "", text or "", images, _NONE, _NONE, self._state(element, ledger))

    def _negatives(self, listed: object, line: LedgerLine) -> Sequence[str]:
        """A dialogue has one pool of negatives for a category: a list that equals the one before is that one."""
        if listed != self._last_negatives:
            self._last_negatives = _references(listed, line)
        return self._last_negatives

    def _state(self, element: Mapping[str, Any], ledger: Ledger) -> StateRecord | None:
        if self._states is None:
            return None
        try:
            return self._states.read(element)
        except UnreadableStateError as problem:
            ledger["states"].drop(problem.reason)
            return None


_NONE: Sequence[str] = ()


def _unusual_text(value: object, line: LedgerLine) -> str:
    text = id_text(value) or as_text(value)  # numbers come as numbers
    if not text and value not in ([], ""):
        line.drop("not_a_text")
    return text


def _act_text(value: object) -> str:
    return _known_act(value) if type(value) is str else as_text(value)


_known_act = lru_cache(maxsize=1000)(as_text)


def _references(value: object, line: LedgerLine) -> Sequence[str]:
    if type(value) is list and set(map(type, value)) <= {str} and "" not in value:
        return value
    if value == "":  # nothing is listed
        return _NONE
    found, unread = references(value)
    line.drop("not_a_reference", unread)
    return found
