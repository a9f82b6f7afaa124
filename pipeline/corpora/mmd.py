"""MMD's file layout: a JSON file a dialogue in ``dialogues/{train,valid,test}``, pictures named by link or by id.

An element of a dialogue is an utterance, null, an empty object, or a list of elements. Positives are the system
utterance's ``images``, negatives its ``false images``. Raw and preprocessed forms differ in how pictures are named
(links; ids with ``image_id.json`` or ``cleaned_image_id.json``) and in the catalogue's place.
"""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any, Literal

from pipeline.corpora.layout import UNREADABLE, Folders, HashedFiles, files_below, names_below
from pipeline.corpora.ledger import Ledger, LedgerLine
from pipeline.corpora.merging import keep_or_drop
from pipeline.corpora.mmd_catalogue import read_catalogue
from pipeline.corpora.mmd_states import StateReader, UnreadableStateError
from pipeline.corpora.parsing import as_text
from pipeline.corpora.pictures import Pictures, canonical_url
from pipeline.corpora.records import Dialogue, MergedTurns, ProductRecord, Speaker, StateRecord, split_name
from schemas.errors import CorpusError
from schemas.files import read_json, sha256_file

__all__ = ["MmdReader"]

_SPEAKERS: Mapping[str, Speaker] = {
    "user": "user",
    "shopper": "user",
    "customer": "user",
    "system": "system",
    "agent": "system",
    "wizard": "system",
    "assistant": "system",
}


class MmdReader:
    """Reads a corpus in MMD's layout.

    Args:
        folders: where its parts lie.
        ledger: lines of ``url2img.txt`` are counted here.
        with_states: whether ``ds`` and ``dst`` are read.

    Raises:
        CorpusError: no dialogues or no catalogue.
    """

    candidates: Literal["pictures", "products"] = "pictures"
    negatives_needed = True
    not_slots: frozenset[str] = frozenset()

    def __init__(self, folders: Folders, ledger: Ledger, *, with_states: bool = True) -> None:
        self._states = StateReader() if with_states else None
        self._dialogue_folder = folders.dialogues or _dialogue_folder(folders)
        self._product_folder = folders.products or _product_folder(folders)
        self._entries = _entries(self._dialogue_folder)
        self._last_negatives: Sequence[str] = ()
        self._dialogue_files = HashedFiles(self._dialogue_folder)
        self._product_files = HashedFiles(self._product_folder)
        self._hashes: dict[str, str] = {}
        self.pictures = self._read_picture_maps(folders, ledger)

    def _read_picture_maps(self, folders: Folders, ledger: Ledger) -> Pictures:
        url_map_file = folders.find("url2img.txt", "images/url2img.txt", "knowledge/url2img.txt")
        url_map: dict[str, str] = {}
        if url_map_file is not None:
            url_map = Pictures.read_url_map(url_map_file, ledger)
            self._hashes["url2img.txt"] = sha256_file(url_map_file)
        names = ("image_id.json", "cleaned_image_id.json")
        id_file = folders.find(*(place + name for place in ("", "knowledge/", "dialogues/") for name in names))
        id_map: dict[str, str] = {}
        if id_file is not None:
            id_map = _read_id_map(id_file)
            self._hashes[id_file.name] = sha256_file(id_file)
        return Pictures(folders.image_folder, url_map=url_map, id_map=id_map, url_map_given=url_map_file is not None)

    def count(self) -> int:
        """How many dialogue files there are."""
        return len(self._entries)

    def products(self, ledger: Ledger) -> list[ProductRecord]:
        """All records of the catalogue, in the order of their files."""
        return list(read_catalogue(self._product_folder, self._product_files, ledger))

    def dialogues(self, ledger: Ledger) -> Iterator[Dialogue]:
        """Dialogues sorted by id, one file read at a time; what cannot be read is counted and dropped."""
        line = ledger["dialogues"]
        for dialogue_id, split, path in self._entries:
            content = self._dialogue_files.read_json(path, line)
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
                speaker = _SPEAKERS.get(named) if type(named) is str else None
                if speaker is not None:
                    self._add(turns, speaker, element, ledger)
                else:
                    ledger["utterances"].drop("no_speaker" if element else "empty_element")
            elif type(element) is list and depth < 20:
                self._read(element, turns, ledger, depth + 1)
            else:
                ledger["utterances"].drop("null_element" if element is None else "not_an_object")

    def _add(self, turns: MergedTurns, speaker: Speaker, element: Mapping[str, Any], ledger: Ledger) -> None:
        said = element.get("utterance")
        if type(said) is not dict:
            said = {"nlg": said}
        text = said.get("nlg")
        if text is not None:
            text = as_text(text)
        listed = said.get("images")
        images = _NONE if listed is None else _references(listed, ledger["images"])
        act = element.get("type") or element.get("intent_type")
        if act is not None:
            act = _act_text(act)
        if speaker == "system":
            listed = said.get("false images")
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
        except UnreadableStateError:
            ledger["states"].drop("not_readable")
            return None

    def input_hashes(self) -> Mapping[str, str]:
        """Hashes of dialogues, catalogue and picture maps."""
        return {
            **self._hashes,
            "dialogues": self._dialogue_files.hexdigest(),
            "products": self._product_files.hexdigest(),
        }

    def files(self) -> Sequence[Path]:
        """Dialogue files, then catalogue files."""
        return [*(Path(path) for _, _, path in self._entries), *files_below(self._product_folder, ".json")]


_NONE: Sequence[str] = ()


def _act_text(value: object) -> str:
    return _known_act(value) if type(value) is str else as_text(value)


_known_act = lru_cache(maxsize=1000)(as_text)


def _references(value: object, line: LedgerLine) -> Sequence[str]:
    listed: list[Any] = value if type(value) is list else [value]
    if set(map(type, listed)) <= {str}:
        return listed
    references = [str(reference) for reference in listed if type(reference) in (str, int)]
    line.drop("not_a_reference", len(listed) - len(references))
    return references


def _dialogue_folder(folders: Folders) -> Path:
    found = folders.find("dialogues", "dialogs", "v2", "v1")
    if found is None and any((folders.root / name).is_dir() for name in ("train", "valid", "test")):
        return folders.root
    if found is None or not found.is_dir():
        raise CorpusError(
            "no dialogues here: there is no folder dialogues/{train,valid,test}",
            where=folders.root,
            fix="say where they are with --dialogues, and check --format",
        )
    return found


def _product_folder(folders: Folders) -> Path:
    names = ("products", "knowledge/products_format", "products_format", "raw_catalog", "raw_catalogue", "catalogue")
    found = folders.find(*names)
    if found is None or not found.is_dir():
        raise CorpusError(
            "no catalogue here: there is no folder products/ or knowledge/products_format/",
            where=folders.root,
            fix="say where it is with --products, and check --format",
        )
    return found


def _entries(folder: Path) -> list[tuple[str, str, str]]:
    """(dialogue_id, split, file), sorted: the stem is the id, unless two splits share one."""
    if not folder.is_dir():
        raise CorpusError("--dialogues is not a folder of train/, valid/, test/", where=folder)
    entries: list[tuple[str, str, str]] = []
    for child in sorted(folder.iterdir()):
        split = split_name(child.name)
        if split is not None and child.is_dir():
            entries += [(_stem(name), split, name) for name in names_below(str(child), ".json")]
    if not entries:
        raise CorpusError(
            "no dialogues here: no JSON file in train/, valid/ or test/", where=folder, fix="check --format"
        )
    stems = Counter(stem for stem, _, _ in entries)
    if len(stems) < len(entries):
        entries = [(f"{split}/{stem}", split, path) for stem, split, path in entries]
        if len({name for name, _, _ in entries}) < len(entries):  # the same stem at two depths of one split
            entries = [
                (f"{split}/{Path(path).relative_to(folder).with_suffix('').as_posix()}", split, path)
                for _, split, path in entries
            ]
    return sorted(entries)


def _stem(name: str) -> str:
    return os.path.basename(name).removesuffix(".json")


def _read_id_map(path: Path) -> dict[str, str]:
    content = read_json(path)
    table = content[0] if isinstance(content, list) and content else content
    if not isinstance(table, dict):
        raise CorpusError("not a map of links to picture ids: [{link: id}] is expected", where=path)
    found: dict[str, str] = {}
    for url, number in table.items():
        if isinstance(number, int | str):
            found.setdefault(str(number), canonical_url(url))
    return found
