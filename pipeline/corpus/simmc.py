"""What the two SIMMC releases share: files that hold many dialogues, and catalogues of items without names.

A clone of a release is read as it is: its files are told apart by name, wherever they lie below the folder.
"""

from __future__ import annotations

import re
import tempfile
from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import orjson

from pipeline.corpus.catalogue import attributes_of, description_of, price_of
from pipeline.corpus.csv_files import read_csv
from pipeline.corpus.images import ImageReferences
from pipeline.corpus.layout import UNREADABLE, Folders, HashedFiles, files_below
from pipeline.corpus.ledger import Ledger, LedgerLine
from pipeline.corpus.parsing import NotJsonError, as_text, id_text, parse_json, structure
from pipeline.corpus.records import Dialogue, MergedTurns, ProductRecord, Reader, Utterance, keep_or_drop, split_name
from schemas.errors import CorpusError

CATALOGUE_FILES = ("catalogue.json", "catalog.json", "products.json")
"""Catalogues of one's own; without one, all files of the release with ``metadata`` in their names are read."""

_NO_DIALOGUES = {
    r"_retrieval_candidates(_|$)": "answers to choose from, of another task",
    r"_api_calls(_|$)": "actions",
    r"_mini$": "a sample of the other files",
    r"_screenshot_map$": "names of screenshots",
    r"_scene$": "scenes",
    r"_bbox$": "boxes in images of scenes",
}
"""Pattern in the stem of a file's name -> what is in it."""

_CATALOGUE = "a catalogue"
_DOMAINS = ("fashion", "furniture")


def read_object(path: Path, files: HashedFiles) -> dict[str, Any]:
    """A JSON file that must be there and hold an object."""
    content = _read(path, files)
    if not isinstance(content, dict):
        raise CorpusError("a JSON object is expected in this file", where=path, fix="check --format")
    return content


def _read(path: Path, files: HashedFiles, on_doubled: Callable[[str], None] | None = None) -> Any:
    try:
        return parse_json(files.read(path), long_numbers=True, on_doubled=on_doubled)
    except OSError as problem:
        raise CorpusError(f"cannot read the file: {problem.strerror}", where=path) from None
    except NotJsonError as problem:
        raise CorpusError(f"not valid JSON: {problem}", where=path, fix=problem.fix) from None


class SimmcDialogue(NamedTuple):
    """A dialogue as its file gives it."""

    number: str  # its id in the release; ids of the two domains' dialogues may be the same
    domain: str  # ``fashion`` or ``furniture`` where the file's name says so, else ""
    raw: Mapping[str, Any]


class SimmcReader(Reader, ABC):
    """Reads dialogues out of files that hold many, and catalogue files; subclasses read a dialogue."""

    source = "simmc"
    other_files: tuple[str, ...] = ()

    def __init__(self, folders: Folders, ledger: Ledger, *, with_states: bool = True) -> None:
        self._with_states = with_states
        self._files = HashedFiles(folders.root)
        self._folders = folders
        self._catalogue_files = _find_catalogues(folders)
        self._others: dict[Path, str] = {}
        self._dialogue_files = self._find_dialogues(folders)
        self.image_refs = ImageReferences(folders.image_folder)

    def _find_dialogues(self, folders: Folders) -> list[Path]:
        place = folders.dialogues or folders.find("dialogues") or folders.root
        if place.is_file():
            return [place]
        not_dialogues = {*CATALOGUE_FILES, *self.other_files}
        paths = []
        for path in files_below(place, ".json"):
            holds = _holds(path)
            if holds is not None:
                self._others[path] = holds
            elif path.name not in not_dialogues and path not in self._catalogue_files:
                paths.append(path)
        if not paths:
            raise CorpusError("no dialogues here: there is no JSON file", where=place, fix="see --dialogues")
        if place == folders.root / "dialogues":
            for path in sorted(folders.root.glob("*.json")):
                if _holds(path) is None and path.name not in not_dialogues and path not in self._catalogue_files:
                    folders.leave_out(path, "dialogues are read from dialogues/")
        return paths

    def _used(self, *kinds: str) -> list[Path]:
        """The files of some kinds that are no dialogues; those of other kinds are told."""
        unused = Counter(holds for holds in self._others.values() if holds not in (*kinds, _CATALOGUE))
        for path, holds in self._others.items():
            if unused[holds] == 1:
                self._folders.leave_out(path, holds)
        self._folders.left_out.extend(f"{n} files: {holds}" for holds, n in sorted(unused.items()) if n > 1)
        return [path for path, holds in self._others.items() if holds in kinds]

    def products(self, ledger: Ledger) -> list[ProductRecord]:
        line = ledger["product_records"]
        found = []
        for path in self._catalogue_files:
            for item_id, fields in self._records(path, ledger["product_keys"]):
                if not isinstance(fields, dict):
                    line.drop("not_an_object")
                elif not item_id:
                    line.drop("no_id")
                else:
                    found.append(self._product(item_id, fields, ledger))
        return found

    def _records(self, path: Path, keys: LedgerLine) -> Iterator[tuple[str, Any]]:
        """(id, record) of a catalogue: a JSON object by id, a JSON list, or a CSV file."""
        if path.suffix == ".csv":
            table = read_csv(path)
            self._files.read(path)
            for _, cells in table.fitting(path):
                record = dict(zip(table.header, cells, strict=True))
                yield _id_of(record), record
            return
        content = _read(path, self._files, on_doubled=lambda _: keys.drop("merged_into_the_same"))
        if isinstance(content, dict):
            yield from content.items()
        elif isinstance(content, list):
            yield from ((_id_of(record) if isinstance(record, dict) else "", record) for record in content)
        else:
            raise CorpusError("a JSON object is expected in this file", where=path, fix="check --format")

    def _product(self, item_id: str, record: Mapping[str, Any], ledger: Ledger) -> ProductRecord:
        fields = _renamed(record)
        attributes = {
            name: tuple(dict.fromkeys(value.replace("_", " ") for value in values)) if name != "brand" else values
            for name, values in attributes_of(fields, ledger).items()
        }
        price, price_text = price_of(fields.get("price"))
        if price_text:
            attributes["price"] = (price_text,)
        words = [" and ".join(attributes.get(name, ())) for name in ("brand", "color", "pattern", "type")]
        links = [link for key in ("image_url", "url") if "://" in (link := as_text(fields.get(key)))]
        return ProductRecord(
            product_id=item_id,
            name=as_text(fields.get("name")) or " ".join(filter(None, words)),
            description=description_of(fields),
            attributes=attributes,
            price=price,
            price_text=price_text,
            currency="USD" if str(fields.get("price")).startswith("$") else None,
            image_refs=tuple(links[:1]),
            source=self.source,
        )

    def dialogues(self, ledger: Ledger) -> Iterator[Dialogue]:
        line = ledger["dialogues"]
        buffer = DialogueBuffer()
        for path in self._dialogue_files:
            content = self._files.read_json(path, line)
            if content is UNREADABLE:
                continue
            split, domain = _split_of_file(path), domain_of_file(path)
            if isinstance(content, dict):
                if "dialogue_data" not in content and "scenes" in content:
                    self._folders.leave_out(path, "scenes")
                    continue
                said = content.get("split")
                split = split_name(said) or split
                if split is None and said is not None:
                    line.drop("unknown_split")
                    continue
                content = content.get("dialogue_data")
            if not isinstance(content, list):
                line.drop("file_without_dialogues")
                continue
            for raw in content:
                dialogue_id = _dialogue_id(raw) if isinstance(raw, dict) else ""
                if not dialogue_id or not isinstance(_turns(raw), list):
                    line.drop("no_id_or_no_turns")
                else:
                    buffer.add(dialogue_id, split or "train", domain, raw, ledger)
        if not len(buffer):
            reasons = ", ".join(f"{reason} {n}" for reason, n in sorted(line.dropped.items()))
            what = f"no dialogues in these files{f' ({reasons})' if reasons else ''}"
            fix = "fetch the files with: git lfs pull" if line.dropped["git_lfs_pointer"] else "check --format"
            raise CorpusError(what, where=self._dialogue_files[0].parent, fix=fix)
        for dialogue_id, split, domain, raw in buffer.sorted():
            turns = MergedTurns()
            dialogue = SimmcDialogue(_dialogue_id(raw), domain, raw)
            for index, turn in enumerate(_turns(raw)):
                if isinstance(turn, dict):
                    number = id_text(turn.get("turn_idx"))
                    place = int(number) if number.isdecimal() else index
                    for utterance in self._utterances(dialogue, place, turn, ledger):
                        turns.add(utterance)
                else:
                    ledger["utterances"].drop("not_an_object")
            if keep_or_drop(turns, ledger):
                yield Dialogue(dialogue_id, split, turns)

    @abstractmethod
    def _utterances(
        self, dialogue: SimmcDialogue, index: int, turn: Mapping[str, Any], ledger: Ledger
    ) -> list[Utterance]:
        """What is said in one turn of a dialogue; what cannot be read is counted in the ledger."""

    def input_hashes(self) -> Mapping[str, str]:
        return {"corpus": self._files.hexdigest()}

    def files(self) -> Sequence[Path]:
        return [*self._dialogue_files, *self._catalogue_files]


def _find_catalogues(folders: Folders) -> list[Path]:
    place = folders.products or folders.find(*CATALOGUE_FILES)
    if place is not None and place.is_file():
        if folders.products is None:
            for path in _metadata_files(folders.root):
                folders.leave_out(path, f"{place.name} is read instead")
        return [place]
    found = [*_metadata_files(place or folders.root)]
    if place is not None and not found:
        found = [place / name for name in CATALOGUE_FILES if (place / name).is_file()][:1]
    if not found:
        raise CorpusError(
            f"no catalogue here: there is no {CATALOGUE_FILES[0]}, nor a file of the release with metadata in its name",
            where=place or folders.root,
            fix="name it with --products",
        )
    return found


def _metadata_files(place: Path) -> Iterator[Path]:
    return (path for path in files_below(place, ".json", ".csv") if _is_metadata(path))


def _is_metadata(path: Path) -> bool:
    return "metadata" in path.stem.casefold() and not path.stem.casefold().endswith(("_scene", "_bbox"))


def _holds(path: Path) -> str | None:
    """What is in a file of the release that holds neither dialogues nor a catalogue; None for these."""
    stem = path.stem.casefold()
    if _is_metadata(path):
        return _CATALOGUE
    return next((holds for pattern, holds in _NO_DIALOGUES.items() if re.search(pattern, stem)), None)


_FIELDS = {
    "class_name": "type",
    "product_name": "name",
    "product_description": "description",
    "sale_price": "price",
    "thumbnail_image_url": "image_url",
    "product_thumbnail_image_url": "image_url",
}
"""Columns of the furniture catalogue -> fields by their usual names."""

_NO_FIELDS = ("sku", "obj", "glb", "product_page_url")


def _renamed(record: Mapping[str, Any]) -> dict[str, Any]:
    """A record's fields by their usual names, those of its ``metadata`` among them."""
    within = structure(record.get("metadata"))
    fields = {name: value for name, value in record.items() if name != "metadata" or not isinstance(within, dict)}
    if isinstance(within, dict):
        # what both speak of stays in two places: attributes of one name are merged and counted
        beside = {name: fields[name] for name in within if name in fields and fields[name] != within[name]}
        fields.update(within)
        fields.update({"attributes": beside} if beside and "attributes" not in fields else {})
    names = {name: _FIELDS.get(name, name) for name in fields if name not in _NO_FIELDS}
    return {name if new in fields else new: fields[name] for name, new in names.items()}


def _id_of(record: Mapping[str, Any]) -> str:
    """Of a furniture item, the name of its 3-D file (``.../4001.zip``) is the id by which dialogues know it."""
    file = record.get("obj")
    if isinstance(file, str) and file.strip():
        return Path(file.strip()).name.split(".")[0]
    keys = ("id", "product_id", "item_id", "object_id", "prefab_path", "prefab", "sku")
    return next(filter(None, (id_text(record.get(key)) for key in keys)), "")


def _dialogue_id(raw: Mapping[str, Any]) -> str:
    return id_text(raw.get("dialogue_idx", raw.get("dialog_id")))


def _turns(raw: Mapping[str, Any]) -> Any:
    return raw.get("dialogue", raw.get("turns"))


def domain_of_file(path: Path) -> str:
    """``fashion`` or ``furniture`` where a file's name says so, else ""."""
    return next((domain for domain in _DOMAINS if domain in path.stem.casefold()), "")


def _split_of_file(path: Path) -> str | None:
    names = (*re.split(r"[^a-z]+", path.stem.casefold()), path.parent.name)
    return next((split for name in names if (split := split_name(name)) is not None), None)


def count_unread(utterances: Sequence[Utterance], said: Sequence[object], ledger: Ledger) -> None:
    """Count what was said in a turn and is no text, or that nothing was."""
    not_texts = sum(text is not None and not isinstance(text, str) for text in said)
    ledger["utterances"].drop("not_a_text", not_texts)
    if not utterances and not not_texts:
        ledger["utterances"].drop("no_transcript")


class DialogueBuffer:
    """Keeps raw dialogues in a temporary file and gives them back sorted by id.

    An id found in two splits becomes ``<split>/<id>`` for every dialogue, one found in two domains
    ``<domain>/<id>``; found twice in one split of a domain, the later one is dropped and counted.
    """

    def __init__(self) -> None:
        self._file = tempfile.TemporaryFile()  # noqa: SIM115 - lives as long as the buffer
        self._index: dict[tuple[str, str, str], tuple[int, int]] = {}

    def __len__(self) -> int:
        return len(self._index)

    def add(self, dialogue_id: str, split: str, domain: str, dialogue: Any, ledger: Ledger) -> None:
        if (split, domain, dialogue_id) in self._index:
            ledger["dialogues"].drop("id_found_twice")
            return
        try:
            content = orjson.dumps(dialogue)
        except orjson.JSONEncodeError:  # deeper than it writes
            ledger["dialogues"].drop("nested_too_deeply")
            return
        self._index[split, domain, dialogue_id] = (self._file.tell(), len(content))
        self._file.write(content)

    def sorted(self) -> Iterator[tuple[str, str, str, Any]]:
        """(dialogue_id, split, domain, dialogue), sorted by id."""
        forms = ("{2}", "{0}/{2}", "{1}/{2}", "{1}/{0}/{2}")
        named = ([form.format(*key) for key in self._index] for form in forms)
        ids = next(ids for ids in named if len(set(ids)) == len(ids))
        entries = sorted(zip(ids, self._index.items(), strict=True))
        for dialogue_id, ((split, domain, _), (offset, length)) in entries:
            self._file.seek(offset)
            yield dialogue_id, split, domain, orjson.loads(self._file.read(length))
