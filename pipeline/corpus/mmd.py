"""MMD's file layout: a JSON file a dialogue in ``dialogues/{train,valid,test}``, images named by link or by id.

Raw and preprocessed forms differ in how images are named
(links; ids with ``image_id.json`` or ``cleaned_image_id.json``) and in the catalogue's place.
"""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from functools import lru_cache
from pathlib import Path
from typing import Any

from pipeline.corpus.catalogue import add_values, attributes_of, description_of, price_of, records_of
from pipeline.corpus.images import ImageReferences, canonical_url
from pipeline.corpus.layout import UNREADABLE, Folders, HashedFiles, files_below, names_below
from pipeline.corpus.ledger import Ledger, LedgerLine
from pipeline.corpus.mmd_dialogues import Entry, MmdDialogues
from pipeline.corpus.parsing import as_text, id_text, references, snake_case
from pipeline.corpus.records import CandidateKind, Dialogue, Parts, ProductRecord, split_name
from schemas.errors import CorpusError
from schemas.files import read_json, sha256_file
from schemas.folding import unescape
from schemas.safe_text import as_unicode

PART_BYTES = 8 * 2**20
"""Parsed, that much JSON takes some tens of megabytes; its rows are a row group of recommendations."""


class MmdReader:
    """Reads a corpus in MMD's layout."""

    candidates: CandidateKind = "images"
    negatives_needed = True
    not_slots: frozenset[str] = frozenset()

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
        if url_map_file is not None:
            url_map = ImageReferences.read_url_map(url_map_file, ledger)
            self._hashes["url2img.txt"] = sha256_file(url_map_file)
        names = ("image_id.json", "cleaned_image_id.json")
        id_file = folders.find(*(place + name for place in ("", "knowledge/", "dialogues/") for name in names))
        id_map: dict[str, str] = {}
        if id_file is not None:
            id_map = _read_id_map(id_file, ledger)
            self._hashes[id_file.name] = sha256_file(id_file)
        return ImageReferences(
            folders.image_folder, url_map=url_map, id_map=id_map, url_map_given=url_map_file is not None
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


def _read_id_map(path: Path, ledger: Ledger) -> dict[str, str]:
    content = read_json(path)
    table = content[0] if isinstance(content, list) and content else content
    if not isinstance(table, dict):
        raise CorpusError("not a map of links to image ids: [{link: id}] is expected", where=path)
    found: dict[str, str] = {}
    for url, number in table.items():
        text = id_text(number)
        if text:
            found.setdefault(text, canonical_url(unescape(url)))
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
