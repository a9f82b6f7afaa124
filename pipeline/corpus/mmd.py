"""MMD's file layout: a JSON file a dialogue in ``dialogues/{train,valid,test}``, images named by link or by id.

Raw and preprocessed forms differ in how images are named (links; ids with ``image_id.json`` or
``cleaned_image_id.json``) and in the catalogue's place. An element of a dialogue is an utterance, null, an empty
object, or a list of elements. Positives are the system utterance's ``images``, negatives its ``false images``. States
are ``dst.slot_values`` (per turn) and MMD-v3's ``ds`` (cumulative).
"""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from functools import lru_cache
from pathlib import Path
from typing import Any

import orjson

from pipeline.corpus.catalogue import add_values, attributes_of, description_of, price_of, records_of
from pipeline.corpus.chunks import Chunk, ChunkMaker
from pipeline.corpus.images import ImageReferences, canonical_link
from pipeline.corpus.layout import UNREADABLE, Folders, HashedFiles, files_below, names_below
from pipeline.corpus.ledger import Ledger, LedgerLine
from pipeline.corpus.parsing import as_text, id_text, pairs, references, snake_case, split_values, structure
from pipeline.corpus.records import (
    CumulativeState,
    Dialogue,
    ItemFeedback,
    MergedTurns,
    Parts,
    ProductRecord,
    Reader,
    Speaker,
    StateRecord,
    TurnState,
    Utterance,
    keep_or_drop,
    speaker_name,
    split_name,
)
from schemas.errors import CorpusError
from schemas.files import read_json, sha256_file
from schemas.folding import fold_name, unescape
from schemas.safe_text import as_unicode

_REMEMBERED_STATES = 2_000


class UnreadableStateError(ValueError):
    """There is a state, but not in a known form."""

    def __init__(self, what: str, reason: str = "not_readable") -> None:
        super().__init__(what)
        self.reason = reason


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
        for slot, values, disliked in _slot_entries(entry):
            side = dislike if disliked else like
            side[slot] = tuple(dict.fromkeys((*side[slot], *values))) if slot in side else values
    feedback = tuple([item for entry in requestable for item in _feedback(entry)])
    return CumulativeState(like, dislike, feedback)


def _slot_entries(entry: object) -> Iterable[tuple[str, tuple[str, ...], bool]]:
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

    def __init__(self, folder: Path | str, *, with_states: bool) -> None:
        self.files = HashedFiles(folder)
        self._folder = folder
        self._with_states = with_states
        self._states: dict[tuple[object, bytes], StateRecord] = {}
        self._last_negatives: Sequence[str] = ()

    def as_json(self) -> dict[str, Any]:
        """What makes the same reader elsewhere."""
        return {"folder": str(self._folder), "with_states": self._with_states}

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
            turns.add(Utterance(speaker, act or "", text or "", images, images, negatives))
        else:
            turns.add(Utterance(speaker, act or "", text or "", images, state=self._state(element, ledger)))

    def _negatives(self, listed: object, line: LedgerLine) -> Sequence[str]:
        """A dialogue has one pool of negatives for a category: a list that equals the one before is that one."""
        if listed != self._last_negatives:
            self._last_negatives = _references(listed, line)
        return self._last_negatives

    def _state(self, element: Mapping[str, Any], ledger: Ledger) -> StateRecord | None:
        """The state that an utterance carries, in one of two forms."""
        content: object = element.get("ds")
        read: Callable[[object], StateRecord] = _cumulative
        if content is None:
            content, read = element.get("dst"), _per_turn
        if not self._with_states or content is None or content == "":
            return None
        try:
            return self._known_state(structure(content), read)
        except UnreadableStateError as problem:
            ledger["states"].drop(problem.reason)
            return None

    def _known_state(self, content: object, read: Callable[[object], StateRecord]) -> StateRecord:
        """One that was read lately is given back as the same object, as a state often holds for turns."""
        try:
            key = (read, orjson.dumps(content))
        except orjson.JSONEncodeError:  # nested deeper than it writes
            return read(content)
        state = self._states.get(key)
        if state is None:
            state = read(content)
            if len(self._states) >= _REMEMBERED_STATES:
                self._states.clear()
            self._states[key] = state
        return state


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


PART_BYTES = 8 * 2**20
"""Parsed, that much JSON takes some tens of megabytes; its rows are a row group of recommendations."""


class MmdReader(Reader):
    """Reads a corpus in MMD's layout."""

    candidates = "images"
    negatives_needed = True

    def __init__(self, folders: Folders, ledger: Ledger, *, with_states: bool = True) -> None:
        self._dialogue_folder = folders.dialogues or _dialogue_folder(folders)
        self._product_folder = folders.products or _product_folder(folders)
        self._entries = _entries(self._dialogue_folder, folders)
        self.files_of_dialogues = MmdDialogues(self._dialogue_folder, with_states=with_states)
        self._product_files = HashedFiles(self._product_folder)
        self._hashes: dict[str, str] = {}
        self.image_refs = self._read_image_maps(folders, ledger)

    def _read_image_maps(self, folders: Folders, ledger: Ledger) -> ImageReferences:
        url_map_file = folders.find("url2img.txt", "images/url2img.txt", "knowledge/url2img.txt")
        url_map: dict[str, str] = {}
        written: dict[str, str] = {}
        if url_map_file is not None:
            url_map = ImageReferences.read_url_map(url_map_file, ledger, written)
            self._hashes["url2img.txt"] = sha256_file(url_map_file)
        names = ("image_id.json", "cleaned_image_id.json")
        id_file = folders.find(*(place + name for place in ("", "knowledge/", "dialogues/") for name in names))
        id_map: dict[str, str] = {}
        if id_file is not None:
            id_map = _read_id_map(id_file, ledger, written)
            self._hashes[id_file.name] = sha256_file(id_file)
        return ImageReferences(
            folders.image_folder,
            url_map=url_map,
            id_map=id_map,
            url_map_given=url_map_file is not None,
            written=written,
        )

    def count(self) -> int:
        return len(self._entries)

    def products(self, ledger: Ledger) -> list[ProductRecord]:
        return list(read_catalogue(self._product_folder, self._product_files, ledger))

    def dialogues(self, ledger: Ledger) -> Iterator[Dialogue]:
        return self.files_of_dialogues.read(self._entries, ledger)

    def parts(self) -> Parts:
        """The files in runs of about :data:`PART_BYTES`, by their ids."""
        runs: list[list[Entry]] = []
        size = total = PART_BYTES
        for entry in self._entries:
            if size >= PART_BYTES:
                runs.append([])
                size = 0
            runs[-1].append(entry)
            with suppress(OSError):  # counted when it is read
                size += (found := os.stat(entry[2]).st_size)
                total += found
        return Parts(runs, total - PART_BYTES)

    def input_hashes(self) -> Mapping[str, str]:
        return {
            **self._hashes,
            "dialogues": self.files_of_dialogues.files.hexdigest(),
            "products": self._product_files.hexdigest(),
        }

    def files(self) -> Sequence[Path]:
        return [*(Path(path) for _, _, path in self._entries), *files_below(self._product_folder, ".json")]


def _dialogue_folder(folders: Folders) -> Path:
    found = folders.find("dialogues", "dialogs", "v2", "v1")
    beside = [path for path in sorted(folders.root.iterdir()) if path.is_dir() and split_name(path.name) is not None]
    if found is None and beside:
        return folders.root
    for path in beside if found is not None else ():
        folders.leave_out(path, "dialogues are read from another folder")
    if found is None or not found.is_dir():
        raise CorpusError(
            "no dialogues here: there is no folder dialogues/{train,valid,test}",
            where=folders.root,
            fix="say where they are with --dialogues, and check --format",
        )
    return found


def _product_folder(folders: Folders) -> Path:
    names = ("products", "knowledge/products_format", "products_format", "raw_catalog", "raw_catalogue", "catalogue")
    found = folders.find(*names, "products.json", "catalogue.json")
    if found is None:
        raise CorpusError(
            "no catalogue here: there is no folder products/ or knowledge/products_format/",
            where=folders.root,
            fix="say where it is with --products, and check --format",
        )
    return found


def _entries(folder: Path, folders: Folders) -> list[Entry]:
    """(dialogue_id, split, file), sorted: the stem is the id, unless two splits share one."""
    if not folder.is_dir():
        raise CorpusError("--dialogues is not a folder of train/, valid/, test/", where=folder)
    entries: list[Entry] = []
    for child in sorted(folder.iterdir()):
        split = split_name(child.name)
        if split is not None and child.is_dir():
            found = [(_stem(name), split, name) for name in names_below(str(child), ".json")]
            if not found:
                folders.leave_out(child, "no JSON file in it")
            entries += found
        elif split is not None and child.is_symlink():
            folders.leave_out(child, "a link to nothing")
        elif folder != folders.root and not child.name.startswith(".") and (child.is_dir() or child.suffix == ".json"):
            folders.leave_out(child, "no folder of a split (train, valid or test)")
    if not entries:
        raise CorpusError(
            "no dialogues here: no JSON file in train/, valid/ or test/", where=folder, fix="check --format"
        )
    stems = Counter(stem for stem, _, _ in entries)
    if len(stems) < len(entries):
        entries = [(f"{split}/{stem}", split, path) for stem, split, path in entries]
        if len({name for name, _, _ in entries}) < len(entries):  # the same stem at two depths of one split
            entries = [
                (f"{split}/{as_unicode(Path(path).relative_to(folder).with_suffix('').as_posix())}", split, path)
                for _, split, path in entries
            ]
        if len({name for name, _, _ in entries}) < len(entries):  # a.json and a.JSON
            entries = [(f"{name}{os.path.splitext(path)[1]}", split, path) for name, split, path in entries]
    return sorted(entries)


def _stem(name: str) -> str:
    return as_unicode(os.path.splitext(os.path.basename(name))[0])


def _read_id_map(path: Path, ledger: Ledger, written: dict[str, str]) -> dict[str, str]:
    content = read_json(path)
    table = content[0] if isinstance(content, list) and content else content
    if not isinstance(table, dict):
        raise CorpusError("not a map of links to image ids: [{link: id}] is expected", where=path)
    found: dict[str, str] = {}
    for url, number in table.items():
        text = id_text(number)
        if text:
            found.setdefault(text, canonical_link(unescape(url), written))
        else:
            ledger["url_map"].drop("no_id")
    return found


STEM_FOLDERS = frozenset({"products_format"})
"""Folders whose files are named after the image of their product."""


def read_catalogue(folder: Path, files: HashedFiles, ledger: Ledger) -> Iterator[ProductRecord]:
    """Read every JSON file below the catalogue folder, or one such file.

    A file may also hold many records, as a list or by id.
    """
    line, keys = ledger["product_records"], ledger["product_keys"]
    for path in names_below(str(folder), ".json"):
        content = files.read_json(path, line, long_numbers=True, on_doubled=lambda _: keys.drop("merged_into_the_same"))
        if content is UNREADABLE:
            continue
        place, name = os.path.split(path)
        stem, by_stem = os.path.splitext(as_unicode(name))[0], _is_stem_folder(place)
        for product_id, raw in records_of(content):
            if not isinstance(raw, dict) or not raw:
                line.drop("not_an_object")
                continue
            yield product_record(raw, product_id or stem, ledger, by_stem=by_stem)


@lru_cache(maxsize=1_000)
def _is_stem_folder(path: str) -> bool:
    return not STEM_FOLDERS.isdisjoint(Path(path).parts)


def product_record(raw: Mapping[str, Any], stem: str, ledger: Ledger, *, by_stem: bool = False) -> ProductRecord:
    """One product out of its JSON record.

    The flat keys are attributes; so are those of a nested record under the name of the product's ``site``, under
    ``attributes`` or ``metadata``: these are the source's own and win where both speak.
    """
    said = {snake_case(key): value for key, value in reversed(list(raw.items()))}  # keys differ in case by site
    site = as_text(said.get("site"))
    own: dict[str, tuple[str, ...]] = {}
    nested: dict[str, Any] = {}
    rest = dict(raw)
    for key in (site, snake_case(site), "attributes", "metadata"):
        value = rest.get(key) if key else None
        if isinstance(value, dict):
            nested = {**value, **nested}
            for name, values in attributes_of(value, ledger).items():
                add_values(own, name, values, ledger)
            rest.pop(key, None)
    flat = attributes_of(rest, ledger)
    if any(name in own for name in flat if name == "category") or "type" in own:
        flat.pop("category", None)
    image_refs = tuple(_images(said, ledger["images"]))
    price, price_text = price_of(said.get("price"), nested.get("price"))
    attributes = {**flat, **own}
    if price_text:
        attributes["price"] = (price_text,)
    return ProductRecord(
        product_id=next(filter(None, (id_text(said.get(key)) for key in ("id", "product_id"))), stem),
        name=as_text(said.get("name")) or as_text(nested.get("name")),
        description=description_of(raw) or description_of(nested),
        attributes=attributes,
        own=frozenset(own),
        price=price,
        price_text=price_text,
        currency=as_text(said.get("currency")) or None,
        image_refs=image_refs,
        keys=(stem,) if by_stem or not image_refs else (),
        source=site or "mmd",
    )


def _images(said: Mapping[str, Any], line: LedgerLine) -> Iterator[str]:
    for field in ("image_filename", "image_url", "image", "images", "image_filename_all"):
        if said.get(field):
            found, unread = references(said[field])
            line.drop("not_a_reference", unread)
            yield from found
