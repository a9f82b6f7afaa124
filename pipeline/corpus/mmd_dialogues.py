"""Dialogue files in MMD's layout: an element is an utterance, null, an empty object, or a list of elements.

Positives are the system utterance's ``images``, negatives its ``false images``. States are ``dst.slot_values`` (per
turn) and MMD-v3's ``ds`` (cumulative).
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any

import orjson

from pipeline.corpus.chunks import Chunk, ChunkMaker
from pipeline.corpus.layout import UNREADABLE, HashedFiles
from pipeline.corpus.ledger import Ledger, LedgerLine
from pipeline.corpus.parsing import as_text, id_text, pairs, references, snake_case, split_values, structure
from pipeline.corpus.records import (
    CumulativeState,
    Dialogue,
    ItemFeedback,
    MergedTurns,
    Speaker,
    StateRecord,
    TurnState,
    keep_or_drop,
    speaker_name,
)
from schemas.folding import fold_name

_REMEMBERED_STATES = 2_000


class UnreadableStateError(ValueError):
    """There is a state, but not in a known form."""

    def __init__(self, what: str, reason: str = "not_readable") -> None:
        super().__init__(what)
        self.reason = reason


class StateReader:
    """Reads states; one that was read lately is given back as the same object, as a state often holds for turns."""

    def __init__(self) -> None:
        self._known: dict[tuple[bool, bytes], StateRecord] = {}

    def read(self, element: Mapping[str, Any]) -> StateRecord | None:
        """The state that an utterance carries; None when it carries none."""
        content = element.get("ds")
        cumulative = content is not None
        if not cumulative:
            content = element.get("dst")
        if content is None or content == "":
            return None
        content = structure(content)
        try:
            key = (cumulative, orjson.dumps(content))
        except orjson.JSONEncodeError:  # nested deeper than it writes
            return _cumulative(content) if cumulative else _per_turn(content)
        state = self._known.get(key)
        if state is None:
            state = _cumulative(content) if cumulative else _per_turn(content)
            if len(self._known) >= _REMEMBERED_STATES:
                self._known.clear()
            self._known[key] = state
        return state


def _per_turn(per_turn: object) -> TurnState:
    if not isinstance(per_turn, dict):
        raise UnreadableStateError("dst is not an object")
    return turn_state(per_turn.get("slot_values"))


def turn_state(slot_values: object) -> TurnState:
    """The state of one turn from ``{slot: value or values}``, or from slots and values as a list or as text."""
    named = [] if slot_values is None or slot_values == "" else pairs(slot_values)
    if named is None:
        raise UnreadableStateError("slot_values is not an object")
    want: dict[str, tuple[str, ...]] = {}
    for slot, value in named:
        # {"Object ID: 3": {...}}, where a turn compares objects, is about them and not a wish: it has no values
        values = split_values(snake_case(slot), value)
        want[slot] = tuple(dict.fromkeys((*want[slot], *values))) if slot in want else values
    return TurnState(want=want)


def _cumulative(ds: object) -> CumulativeState:
    if not isinstance(ds, dict):
        raise UnreadableStateError("ds is not an object")
    informable = ds.get("informable") or []
    requestable = ds.get("requestable") or []
    if not isinstance(informable, list) or not isinstance(requestable, list):
        raise UnreadableStateError("ds.informable or ds.requestable is not a list")
    like: dict[str, tuple[str, ...]] = {}
    dislike: dict[str, tuple[str, ...]] = {}
    for entry in informable:
        for slot, values, disliked in _entries(entry):
            side = dislike if disliked else like
            side[slot] = tuple(dict.fromkeys((*side[slot], *values))) if slot in side else values
    feedback = tuple([item for entry in requestable for item in _feedback(entry)])
    return CumulativeState(like, dislike, feedback)


def _entries(entry: object) -> Iterable[tuple[str, tuple[str, ...], bool]]:
    """The slot, values, and whether they are disliked; several where each value has a sentiment of its own."""
    if not isinstance(entry, dict):
        raise UnreadableStateError("an entry of ds.informable is not an object")
    slot, values, sentiment = entry.get("slot"), entry.get("values"), entry.get("sentiment")
    if type(sentiment) is list and len(sentiment) > 1:
        if type(values) is list and len(values) == len(sentiment):
            return [_entry(slot, *each) for each in zip(values, sentiment, strict=True)]
        if any(other != sentiment[0] for other in sentiment):
            raise UnreadableStateError("sentiments that belong to no values", "unknown_sentiment")
        sentiment = sentiment[:1]
    return (_entry(slot, values, sentiment),)


def _entry(slot: object, values: object, sentiment: object) -> tuple[str, tuple[str, ...], bool]:
    if type(slot) is list and len(slot) == 1:
        slot = slot[0]
    if type(values) is list and len(values) == 1:
        values = values[0]
    if type(sentiment) is list and len(sentiment) == 1:
        sentiment = sentiment[0]
    if type(slot) is type(values) is type(sentiment) is str:
        return _known_entry(slot, values, sentiment)
    return _read_entry(slot, values, sentiment)


def _read_entry(slot: object, values: object, sentiment: object) -> tuple[str, tuple[str, ...], bool]:
    name = _slot(slot)
    said = as_text(sentiment).casefold()
    if said not in _SENTIMENTS or (not said and sentiment not in (None, "", [])):
        raise UnreadableStateError(f"the sentiment {sentiment!r} is not known", "unknown_sentiment")
    return name, split_values(snake_case(name), values), _SENTIMENTS[said]


_SENTIMENTS = {
    **dict.fromkeys(("", "like", "likes", "liked", "positive"), False),
    **dict.fromkeys(("dislike", "dislikes", "disliked", "negative"), True),
}
"""Whether values are to be avoided; those without a sentiment are wanted."""

_known_entry = lru_cache(maxsize=50_000)(_read_entry)


def _slot(value: object) -> str:
    """``["materials >> upper materials (shoes)"]`` -> ``materials``."""
    return as_text(value).partition(">>")[0].strip()


def _feedback(entry: object) -> list[ItemFeedback]:
    if not isinstance(entry, dict):
        raise UnreadableStateError("an entry of ds.requestable is not an object")
    likes, dislikes = _slots(entry.get("likes")), _slots(entry.get("dislikes"))
    image_refs, _ = references(entry.get("object", entry.get("objects")))
    return [ItemFeedback(image, likes, dislikes) for image in image_refs if likes or dislikes]


def _slots(value: object) -> tuple[str, ...]:
    if isinstance(value, str):
        value = [value]
    names = [_slot(part) for part in value] if isinstance(value, list) else []
    return tuple(name for name in names if name and fold_name(name) != "none")


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
        return {"folder": str(self._folder), "with_states": self._states is not None}

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> MmdDialogues:
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
            act = _known_act(act) if type(act) is str else as_text(act)
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


_known_act = lru_cache(maxsize=1000)(as_text)


def _references(value: object, line: LedgerLine) -> Sequence[str]:
    if type(value) is list and set(map(type, value)) <= {str} and "" not in value:
        return value
    if value == "":  # nothing is listed
        return _NONE
    found, unread = references(value)
    line.drop("not_a_reference", unread)
    return found
