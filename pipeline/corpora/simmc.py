"""What the two SIMMC releases share: files that hold many dialogues, and a catalogue of items without names."""

from __future__ import annotations

import re
from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

from pipeline.corpora.layout import UNREADABLE, Folders, HashedFiles, files_below
from pipeline.corpora.ledger import Ledger
from pipeline.corpora.merging import keep_or_drop
from pipeline.corpora.parsing import NotJsonError, parse_json
from pipeline.corpora.pictures import Pictures
from pipeline.corpora.product_fields import attributes_of, price_of
from pipeline.corpora.records import Dialogue, MergedTurns, ProductRecord, Utterance, split_name
from pipeline.corpora.spool import Spool
from schemas.errors import CorpusError

__all__ = ["SimmcReader", "read_object"]

CATALOGUE_FILES = ("catalogue.json", "catalog.json", "products.json", "fashion_prefab_metadata_all.json")


def read_object(path: Path, files: HashedFiles) -> dict[str, Any]:
    """A JSON file that must be there and hold an object.

    Raises:
        CorpusError: it cannot be read, or is something else.
    """
    try:
        content = parse_json(files.read(path))
    except OSError as problem:
        raise CorpusError(f"cannot read the file: {problem.strerror}", where=path) from None
    except NotJsonError as problem:
        raise CorpusError(f"not valid JSON: {problem}", where=path) from None
    if not isinstance(content, dict):
        raise CorpusError("a JSON object is expected in this file", where=path, fix="check --format")
    return content


class SimmcReader(ABC):
    """Reads dialogues out of files that hold many, and one catalogue file; subclasses read a dialogue.

    Args:
        folders: ``--dialogues`` may name a file or a folder, ``--products`` the catalogue file.
        with_states: whether belief states are read.

    Raises:
        CorpusError: no dialogues or no catalogue.
    """

    candidates: Literal["pictures", "products"] = "products"
    negatives_needed = False
    not_slots: frozenset[str] = frozenset()
    source = "simmc"
    other_files: tuple[str, ...] = ()

    def __init__(self, folders: Folders, ledger: Ledger, *, with_states: bool = True) -> None:
        self._with_states = with_states
        self._files = HashedFiles(folders.root)
        self._catalogue_file = folders.products or folders.find(*CATALOGUE_FILES)
        if self._catalogue_file is None or not self._catalogue_file.is_file():
            raise CorpusError(
                f"no catalogue here: there is no {CATALOGUE_FILES[0]}",
                where=folders.root,
                fix="name it with --products",
            )
        self._dialogue_files = self._find_dialogues(folders)
        self.pictures = Pictures(folders.image_folder)
        self._dialogue_count = 0

    def _find_dialogues(self, folders: Folders) -> list[Path]:
        place = folders.dialogues or folders.find("dialogues") or folders.root
        paths = [place] if place.is_file() else list(files_below(place, ".json"))
        not_dialogues = {*CATALOGUE_FILES, *self.other_files}
        paths = [path for path in paths if path.name not in not_dialogues and path != self._catalogue_file]
        if not paths:
            raise CorpusError("no dialogues here: there is no JSON file", where=place, fix="see --dialogues")
        return paths

    def count(self) -> int:
        """0: how many there are shows only once the files are read."""
        return 0

    def products(self, ledger: Ledger) -> list[ProductRecord]:
        """All items of the catalogue."""
        assert self._catalogue_file is not None
        line = ledger["product_records"]
        found = []
        for item_id, fields in read_object(self._catalogue_file, self._files).items():
            if isinstance(fields, dict):
                found.append(self._product(item_id, fields))
            else:
                line.drop("not_an_object")
        return found

    def _product(self, item_id: str, fields: Mapping[str, Any]) -> ProductRecord:
        attributes = {
            name: tuple(dict.fromkeys(value.replace("_", " ") for value in values)) if name != "brand" else values
            for name, values in attributes_of(fields).items()
        }
        price, price_text = price_of(fields.get("price"))
        if price_text:
            attributes["price"] = (price_text,)
        words = [" and ".join(attributes.get(name, ())) for name in ("brand", "color", "pattern", "type")]
        return ProductRecord(
            product_id=item_id,
            name=" ".join(filter(None, words)),
            attributes=attributes,
            price=price,
            price_text=price_text,
            currency="USD" if str(fields.get("price")).startswith("$") else None,
            source=self.source,
        )

    def dialogues(self, ledger: Ledger) -> Iterator[Dialogue]:
        """Dialogues sorted by id; the files are read one after the other."""
        line = ledger["dialogues"]
        spool = Spool()
        for path in self._dialogue_files:
            content = self._files.read_json(path, line)
            if content is UNREADABLE:
                continue
            split = _split_of_file(path)
            if isinstance(content, dict):
                split = split_name(content.get("split")) or split
                content = content.get("dialogue_data")
            if not isinstance(content, list):
                line.drop("file_without_dialogues")
                continue
            for raw in content:
                dialogue_id = raw.get("dialogue_idx", raw.get("dialog_id")) if isinstance(raw, dict) else None
                turns = raw.get("dialogue", raw.get("turns")) if isinstance(raw, dict) else None
                if not isinstance(dialogue_id, int | str) or not isinstance(turns, list):
                    line.drop("no_id_or_no_turns")
                else:
                    spool.add(str(dialogue_id), split, raw, ledger)
        if not len(spool):
            raise CorpusError("no dialogues in these files", where=self._dialogue_files[0].parent, fix="check --format")
        for dialogue_id, split, raw in spool.sorted():
            turns = MergedTurns()
            for turn in raw.get("dialogue", raw.get("turns")):
                if isinstance(turn, dict):
                    for utterance in self._utterances(raw, turn, ledger):
                        turns.add(*utterance)
                else:
                    ledger["utterances"].drop("not_an_object")
            if keep_or_drop(turns, ledger):
                yield Dialogue(dialogue_id, split, turns)

    @abstractmethod
    def _utterances(self, dialogue: Mapping[str, Any], turn: Mapping[str, Any], ledger: Ledger) -> list[Utterance]:
        """What is said in one turn of a dialogue; what cannot be read is counted in the ledger."""

    def input_hashes(self) -> Mapping[str, str]:
        """One hash over all files read."""
        return {"corpus": self._files.hexdigest()}

    def files(self) -> Sequence[Path]:
        """Dialogue files, then the catalogue."""
        assert self._catalogue_file is not None
        return [*self._dialogue_files, self._catalogue_file]


def _split_of_file(path: Path) -> str:
    names = (*re.split(r"[^a-z]+", path.stem.casefold()), path.parent.name)
    return next((split for name in names if (split := split_name(name)) is not None), "train")
