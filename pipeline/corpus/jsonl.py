"""One's own data: dialogues as JSON lines, products as JSON lines or CSV, images as files.

``dialogues.jsonl`` (or any ``*.jsonl`` in ``dialogues/``), one dialogue a line::

    {"dialogue_id": "d1", "split": "train", "turns": [
      {"speaker": "user", "text": "a red dress please", "state": {"like": {"type": "dress", "color": ["red"]}}},
      {"speaker": "system", "text": "How about this?", "positives": ["p1"], "negatives": ["p2", "p3"]},
      {"speaker": "user", "text": "not in black", "images": ["selfie.jpg"],
       "update": {"dislike": {"color": "black"}, "drop": ["brand"], "new_topic": false}}]}

``dialogue_id`` and ``turns`` are needed. ``split`` (train, valid or test) is the file's name when it is left out, and
train when that is none of the three. ``positives`` and ``negatives`` name products; ``images`` name image files and
are what a turn shows (a system turn that names none shows the first image of each positive). A user turn may carry
``state``, all that holds after it, or ``update``, what it changes; one without either is unlabelled.

``products.jsonl``, one product a line (only ``product_id`` is needed)::

    {"product_id": "p1", "name": "Red dress", "description": "", "attributes": {"type": "dress", "color": ["red"]},
     "price": 39.9, "currency": "EUR", "images": ["p1.jpg"]}

or ``products.csv`` (UTF-8, commas between cells) with the columns ``product_id``, ``name``, ``description``, ``price``,
``currency``, ``images`` (file names separated by ``;``); every other column is an attribute, its values separated by
commas. A column whose name is nearly one of these is refused unless it is called ``attributes.NAME``.

What pandas writes is read: null, NaN and missing keys are the same, ids may be numbers, true and false are yes and no.

Images lie in ``images/``. Unknown keys are refused, with the nearest known one: a typing error must not lose labels.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from difflib import SequenceMatcher
from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError, model_validator
from pydantic_core import PydanticCustomError

from pipeline.corpus.catalogue import add_values, price_of
from pipeline.corpus.csv_files import CsvTable, read_csv
from pipeline.corpus.images import ImageReferences
from pipeline.corpus.layout import Folders, HashedFiles, files_below
from pipeline.corpus.ledger import Ledger
from pipeline.corpus.parsing import NotJsonError, as_text, id_text, parse_json, snake_case, split_values, structure
from pipeline.corpus.records import (
    CumulativeState,
    Dialogue,
    MergedTurns,
    ProductRecord,
    Reader,
    StateRecord,
    TurnState,
    Utterance,
    keep_or_drop,
    speaker_name,
    split_name,
)
from schemas.errors import CorpusError
from schemas.files import sha256_file
from schemas.numbers import currency_of
from schemas.validation import did_you_mean, first_mistake, nearest

Model = TypeVar("Model", bound=BaseModel)


def _plain(value: object) -> object:
    """Values of a slot or an attribute as a list; null says nothing."""
    listed = value if isinstance(value, list) else [value]
    if not all(part is None or isinstance(part, str | int | float) for part in listed):
        raise ValueError("a text, a number, true or false is expected, or a list of these")
    return [part for part in listed if part is not None]


def _id(value: object) -> object:
    """Ids that look like numbers come as numbers."""
    return id_text(value) if isinstance(value, str) else id_text(value) or value


def _text(value: object) -> object:
    """Texts that look like numbers come as numbers."""
    return value if isinstance(value, str | bool) else id_text(value) or value


def _without_nulls(value: object) -> object:
    return [part for part in value if part is not None] if isinstance(value, list) else value


Scalar = bool | str | int | float
Values = Annotated[list[Scalar], BeforeValidator(_plain)]
Text = Annotated[str, BeforeValidator(_text)]
Id = Annotated[str, BeforeValidator(_id)]
Images = Annotated[list[Text], BeforeValidator(_without_nulls)]


def _number_or_text(value: object) -> object:
    if isinstance(value, bool) or not isinstance(value, int | float | str | None):
        raise PydanticCustomError("price_type", "neither a number nor a text")
    return value


Price = Annotated[float | str | None, BeforeValidator(_number_or_text)]


class _Line(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)

    @model_validator(mode="before")
    @classmethod
    def _null_is_absent(cls, value: object) -> object:
        return {key: inner for key, inner in value.items() if inner is not None} if isinstance(value, dict) else value


class StateLine(_Line):
    """What holds after a turn: slot -> value or values."""

    like: dict[str, Values] = {}
    dislike: dict[str, Values] = {}


class UpdateLine(_Line):
    want: dict[str, Values] = {}
    dislike: dict[str, Values] = {}
    drop: list[str] = []
    new_topic: bool = False


class TurnLine(_Line):
    speaker: Annotated[Literal["user", "system"], BeforeValidator(lambda value: speaker_name(value) or value)]
    text: Text = ""
    act: Text = ""
    images: Images = []
    positives: list[Id] = []
    negatives: list[Id] = []
    state: StateLine | None = None
    update: UpdateLine | None = None


class DialogueLine(_Line):
    dialogue_id: Id = Field(min_length=1)
    split: Annotated[
        Literal["train", "valid", "test"] | None, BeforeValidator(lambda value: split_name(value) or value)
    ] = None
    turns: list[TurnLine] = Field(min_length=1)


class ConversationLine(DialogueLine):
    """A dialogue that is no part of a corpus, and may have no id."""

    dialogue_id: Id = ""


class ProductLine(_Line):
    product_id: Id = Field(min_length=1)
    name: Text = ""
    description: Text = ""
    attributes: dict[str, Values] = {}
    price: Price = None
    currency: str | None = None
    images: Images = []


class JsonlReader(Reader):
    """Reads the form above.

    Raises:
        CorpusError: no dialogues or no catalogue; or a line that does not fit the form, with file, line and key.
    """

    def __init__(self, folders: Folders, ledger: Ledger, *, with_states: bool = True) -> None:
        self._with_states = with_states
        self._folders = folders
        self._products_file = _products_file(folders)
        self._dialogue_files = _dialogue_files(folders)
        self._product_hash = HashedFiles(folders.root)
        self.image_refs = ImageReferences(folders.image_folder)
        self._images_of: dict[str, str] = {}
        self._index = self._read_index()

    def _read_index(self) -> list[tuple[str, str, Path, int, int]]:
        """(id, split, file, offset, line number) of every dialogue, sorted; ids are checked before anything else."""
        index: list[tuple[str, str, Path, int, int]] = []
        seen: dict[tuple[str, str], str] = {}
        for path in self._dialogue_files:
            for offset, number, line in _lines(path):
                where = f"{path}, line {number}"
                raw = parse_line(line, where)
                dialogue_id = id_text(raw.get("dialogue_id"))
                if not dialogue_id:
                    fix = "give each dialogue an id of its own"
                    raise CorpusError("a dialogue without 'dialogue_id' (a text)", where=where, fix=fix)
                split = split_name(raw.get("split")) or split_name(path.stem) or "train"
                before = seen.setdefault((split, dialogue_id), where)
                if before != where:
                    fix = "give each dialogue an id of its own"
                    raise CorpusError(f"dialogue '{dialogue_id}' is there already: {before}", where=where, fix=fix)
                index.append((dialogue_id, split, path, offset, number))
        if not index:
            raise CorpusError("no dialogues in these files", where=self._dialogue_files[0], fix="check --format")
        if len({entry[0] for entry in index}) < len(index):
            index = [(f"{split}/{name}", split, *rest) for name, split, *rest in index]  # type: ignore[misc]
        return sorted(index)

    def count(self) -> int:
        return len(self._index)

    def products(self, ledger: Ledger) -> list[ProductRecord]:
        found: dict[str, ProductRecord] = {}
        for where, line in self._product_lines():
            if line.product_id in found:
                fix = "give each product a line and an id of its own"
                raise CorpusError(f"product '{line.product_id}' is there already", where=where, fix=fix)
            attributes: dict[str, tuple[str, ...]] = {}
            for key, value in line.attributes.items():
                add_values(attributes, name := snake_case(key), split_values(name, value), ledger)
            price, price_text = price_of(line.price)
            if price_text:
                attributes.setdefault("price", (price_text,))
            found[line.product_id] = ProductRecord(
                product_id=line.product_id,
                name=as_text(line.name),
                description=as_text(line.description),
                attributes=attributes,
                price=price,
                price_text=price_text,
                currency=line.currency or None,
                image_refs=tuple(line.images),
                source="jsonl",
            )
            if line.images:
                self._images_of[line.product_id] = line.images[0]
        if not found:
            raise CorpusError("no product in this file", where=self._products_file, fix="write a line for each product")
        return list(found.values())

    def _product_lines(self) -> Iterator[tuple[str, ProductLine]]:
        path = self._products_file
        if path.suffix.lower() in (".csv", ".tsv"):  # of tabs, the error says what to do
            table = read_csv(path)
            for column in table.left_out:
                self._folders.leave_out(path, column)
            yield from _csv_products(path, table)
            return
        for _, number, line in _lines(path):
            where = f"{path}, line {number}"
            yield where, validated(ProductLine, parse_line(line, where, keys_once=True), where)

    def dialogues(self, ledger: Ledger) -> Iterator[Dialogue]:
        for dialogue_id, split, path, offset, number in self._index:
            with path.open("rb") as file:
                file.seek(offset)
                raw = file.readline()
            where = f"{path}, line {number}"
            dialogue = validated(DialogueLine, parse_line(raw, where, keys_once=True), where)
            turns = MergedTurns()
            for index, turn in enumerate(dialogue.turns):
                turns.add(self._utterance(turn, where, index))
            if keep_or_drop(turns, ledger):
                yield Dialogue(dialogue_id, split, turns)

    def _utterance(self, turn: TurnLine, where: str, index: int) -> Utterance:
        if turn.speaker == "user":
            if turn.positives or turn.negatives:
                raise CorpusError("only system turns have 'positives' and 'negatives'", where=f"{where}, turn {index}")
            state = _state(turn, f"{where}, turn {index}") if self._with_states else None
            return Utterance("user", turn.act, as_text(turn.text), turn.images, state=state)
        if turn.state is not None or turn.update is not None:
            raise CorpusError("only user turns have 'state' and 'update'", where=f"{where}, turn {index}")
        shown = turn.images or [self._images_of[p] for p in turn.positives if p in self._images_of]
        return Utterance("system", turn.act, as_text(turn.text), shown, turn.positives, turn.negatives)

    def input_hashes(self) -> Mapping[str, str]:
        hashes = {f"dialogues/{path.name}": sha256_file(path) for path in self._dialogue_files}
        return {**hashes, "products": sha256_file(self._products_file)}

    def files(self) -> Sequence[Path]:
        return [*self._dialogue_files, self._products_file]


def _state(turn: TurnLine, where: str) -> StateRecord | None:
    if turn.state is not None and turn.update is not None:
        raise CorpusError("a turn has either 'state' or 'update'", where=where)
    if turn.state is not None:
        return CumulativeState(_split(turn.state.like), _split(turn.state.dislike))
    if turn.update is not None:
        update = turn.update
        return TurnState(_split(update.want), _split(update.dislike), frozenset(update.drop), update.new_topic)
    return None


def _split(slots: Mapping[str, Values]) -> dict[str, tuple[str, ...]]:
    return {slot: split_values(snake_case(slot), value) for slot, value in slots.items()}


def _lines(path: Path) -> Iterator[tuple[int, int, bytes]]:
    """(offset, line number from 1, line) of every line that is not blank."""
    try:
        with path.open("rb") as file:
            offset = 0
            for number, line in enumerate(file, 1):
                if line.strip():
                    yield offset, number, line
                offset += len(line)
    except OSError as problem:
        raise CorpusError(f"cannot read the file: {problem.strerror}", where=path) from None


def parse_line(line: bytes, where: str, *, keys_once: bool = False) -> dict[str, Any]:
    """The object in a line; with ``keys_once``, one with the same key twice is refused: a colour would be lost."""

    def refuse(key: str) -> None:
        fix = "write it once; of several values, a list"
        raise CorpusError(f"the key '{key}' is there twice", where=where, fix=fix)

    try:
        value = parse_json(line, long_numbers=True, on_doubled=refuse if keys_once else None)
    except NotJsonError as problem:
        fix = problem.fix or "write one JSON object a line"
        raise CorpusError(f"not valid JSON: {problem}", where=where, fix=fix) from None
    if not isinstance(value, dict):
        fix = 'write one object a line; pandas does with to_json(..., orient="records", lines=True)'
        raise CorpusError("a JSON object is expected in each line", where=where, fix=fix)
    return value


def validated(model: type[Model], value: Any, where: str) -> Model:
    """A line as what it should be.

    Raises:
        CorpusError: it does not fit the form; names the key.
    """
    try:
        return model.model_validate(value)
    except ValidationError as problem:
        wrong = first_mistake(problem)
        if wrong.is_unknown:
            known = _keys_at(model, wrong.at[:-1])
            fix = did_you_mean(str(wrong.at[-1]), known, f"known keys: {', '.join(known)}")
            raise CorpusError(f"unknown key '{wrong.key}'", where=where, fix=fix) from None
        what = f"'{wrong.key}': {wrong.what}" if wrong.key else wrong.what
        raise CorpusError(what, where=where, fix=_FIXES.get(wrong.kind)) from None


_FIXES = {
    "missing": "write it into the line",
    "literal_error": "write one of these",
    "too_short": "write at least one, or delete the line",
    "string_too_short": "write an id",
    "value_error": 'write a text, as in "red", or a list, as in ["red", "blue"]',
    "price_type": 'write a number, or a text as in "39,90 €"',
    "dict_type": 'write an object, as in {"color": "red"}',
    "model_type": 'write an object, as in {"speaker": "user", "text": "hi"}',
    "list_type": 'write a list, as in ["p1", "p2"]',
    "string_type": 'write a text, as in "p1"',
}


def _keys_at(model: type[BaseModel], path: Sequence[int | str]) -> list[str]:
    nested: dict[str, type[BaseModel]] = {"turns": TurnLine, "state": StateLine, "update": UpdateLine}
    for part in path:
        model = nested.get(str(part), model)
    return sorted(model.model_fields)


_OTHER_NAMES = {
    **dict.fromkeys(("id", "sku", "item_id", "article_id"), "product_id"),
    **dict.fromkeys(("title", "product_name", "display_name"), "name"),
    **dict.fromkeys(("picture", "pictures", "photo", "photos", "image_file", "image_url"), "images"),
}
"""Usual names of columns -> ours."""

_NEARLY = 0.8
_COLUMNS = tuple(name for name in ProductLine.model_fields if name != "attributes")


def _csv_products(path: Path, table: CsvTable) -> Iterator[tuple[str, ProductLine]]:
    columns = _columns(table.header, f"{path}, line {table.header_line}")
    for line, cells in table.fitting(path):
        where = f"{path}, line {line}"
        fields: dict[str, Any] = {"attributes": {}}
        for (name, is_attribute), cell in zip(columns, cells, strict=True):
            (fields["attributes"] if is_attribute else fields)[name] = cell
        if not fields["product_id"]:
            raise CorpusError("a product without 'product_id'", where=where, fix="give each product an id of its own")
        images = structure(fields.get("images", ""))
        listed = images if isinstance(images, list) else str(images).split(";")
        fields["images"] = [text for name in listed if (text := id_text(name))]
        yield where, validated(ProductLine, fields, where)


def _columns(header: Sequence[str], where: str) -> list[tuple[str, bool]]:
    """The field of each column, or the attribute, with whether it is one."""
    folded = [snake_case(name) for name in header]
    missing = [name for name in _COLUMNS if name not in folded]
    found: list[tuple[str, bool]] = []
    for name, key in zip(header, folded, strict=True):
        attribute = re.fullmatch(r"(?i)attributes?\s*[._:]\s*(.+)", name)
        if key in _COLUMNS:
            found.append((key, False))
            continue
        meant = None if attribute else _meant(key, missing)
        if meant is not None:
            fix = f"did you mean '{meant}'? An attribute of this name: call the column 'attributes.{name}'"
            if key.startswith("price_"):
                fix += "; the currency has a column 'currency'"
            raise CorpusError(f"unknown column '{name}'", where=where, fix=fix)
        called = attribute[1] if attribute else name
        if (snake_case(called) or called) in [snake_case(other) or other for other, named in found if named]:
            raise CorpusError(f"two columns are called '{called}'", where=where, fix="rename one, or delete it")
        found.append((called, True))
    if "product_id" in missing:
        fix = f"add it; there are: {', '.join(header)}"
        raise CorpusError("the catalogue has no column 'product_id'", where=where, fix=fix)
    return found


def _meant(name: str, missing: Sequence[str]) -> str | None:
    """The field that a column's name means, where no column has the field's own name."""
    if "price" in missing and name.startswith("price_") and currency_of(name.removeprefix("price_")) is not None:
        return "price"
    close = nearest(name, missing)
    if close is not None and SequenceMatcher(None, name, close).ratio() >= _NEARLY:
        return close
    other = _OTHER_NAMES.get(name)
    return other if other in missing else None


def _products_file(folders: Folders) -> Path:
    names = ("products.jsonl", "products.csv", "products/products.jsonl", "products/products.csv")
    found = folders.products or folders.find(*names)
    if found is not None and found.is_dir():
        found = next((found / name for name in names[:2] if (found / name).is_file()), None)
    if found is None or not found.is_file():
        fix = "name it with --products, and check --format"
        raise CorpusError("no catalogue here: there is no products.jsonl or products.csv", where=folders.root, fix=fix)
    return found


def _dialogue_files(folders: Folders) -> list[Path]:
    place = folders.dialogues or folders.find("dialogues.jsonl", "dialogues")
    if place is not None and place.is_file():
        return [place]
    paths = list(files_below(place, ".jsonl")) if place is not None else []
    for path in files_below(place, ".json") if place is not None and paths else ():
        folders.leave_out(path, "no JSON lines (.jsonl)")
    if not paths:
        raise CorpusError(
            "no dialogues here: there is no dialogues.jsonl and no dialogues/*.jsonl",
            where=folders.root,
            fix="say where they are with --dialogues, and check --format",
        )
    return paths
