"""Declared experiments: the paper's tables and figures as TOML files, a copy of which anyone may edit and run."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, fields
from importlib.resources import files
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, TypeAdapter, ValidationError

from pipeline.experiments.grid import ExperimentRequest
from schemas.errors import UsageError
from schemas.files import read_toml, write_atomic
from schemas.validation import did_you_mean, first_mistake, known_name

_FOLDER = files("pipeline.experiments") / "declared"
_GRID_KEYS = tuple(field.name for field in fields(ExperimentRequest) if field.name != "labelled")
_FREE = ("about", "without", "grids")  # of a scale, beside the keys of a grid

Number = float | tuple[float, float]
"""A figure as the paper prints it, or with its standard deviation."""


class _Part(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class DeclaredRow(_Part):
    """A line of the paper's table or figure, and which of our rows stand beside it: those that fit all that is said."""

    name: str  # as the paper calls it
    grid: str | None = None  # name of the grid
    model: str | None = None  # what is trained
    change: str | None = None  # a change of the grid; empty: the row without one
    stat: str | None = None  # of the corpus's statistics
    series: str = ""  # which kind of mark it has in the figure
    paper: dict[str, tuple[Number, ...]] = {}  # where it was measured -> a figure for each measure


class Claim(_Part):
    """What the paper says of its figures, and which rows tell whether it holds here; by names of :class:`DeclaredRow`.

    Of a row that is trained at several labelled ratios, ``NAME, 20 % of labels`` is the one with so many of the most.

    With neither ``better`` nor ``close``, it is for people to look at.
    """

    says: str
    where: str  # section of the paper
    better: str | None = None  # this row is better ...
    than: tuple[str, ...] = ()  # ... than each of these
    close: tuple[str, ...] = ()  # each of these rows is ...
    to: str | None = None  # ... about as good as this one ...
    within: float = 1.0  # ... to so many points
    metrics: tuple[str, ...] = ("ndcg@5",)  # by these measures
    denied: bool = False  # the paper says that it is not so


class FigureOf(_Part):
    """How it is drawn."""

    kind: Literal["curves", "dots"]
    measures: tuple[str, ...]
    along: str = "ratio"  # of curves: ``ratio``, or the setting that rows vary
    caption: str = ""  # what the axis along is


class Declaration(_Part):
    """A declared experiment."""

    title: str
    asks: str  # the question that it answers
    scale: str = ""  # that is taken where none is named
    measures: tuple[str, ...] = ()  # the columns
    statistics: bool = False  # of the corpus: nothing is trained
    commands: tuple[str, ...] = ()  # what does it, where it is no grid
    more: int = 0  # how many more labelled dialogues are asked about; 0: that is not asked
    grids: dict[str, dict[str, Any]] = {}
    scales: dict[str, dict[str, Any]] = {}
    rows: tuple[DeclaredRow, ...] = ()
    figure: FigureOf | None = None
    claims: tuple[Claim, ...] = ()
    footnotes: tuple[str, ...] = ()


@dataclass(frozen=True)
class Declared:
    """A declaration with its name."""

    name: str
    file: str  # where it is from
    declaration: Declaration

    def scale(self, name: str | None) -> str:
        """The scale of that name, or the file's own.

        Raises:
            UsageError: there is none; says the nearest.
        """
        known = tuple(self.declaration.scales)
        return known_name(f"scale of {self.name}", name or self.declaration.scale, known)

    def about(self, scale: str) -> str:
        """What the scale is for."""
        return str(self.declaration.scales[scale].get("about", ""))

    def grids(self, scale: str) -> dict[str, ExperimentRequest]:
        """Name -> grid, at a scale: its keys on top of the grid's, settings added to the grid's."""
        keys = self.declaration.scales[scale]
        common = {key: value for key, value in keys.items() if key not in _FREE}
        found = {}
        for grid, own in self.declaration.grids.items():
            if grid in keys.get("without", ()):
                continue
            at = keys.get("grids", {}).get(grid, {})
            merged = {**own, **common, **at}
            merged["settings"] = [text for part in (own, common, at) for text in part.get("settings", ())]
            found[grid] = self._request(merged, f"{self.file}, grid {grid} at scale {scale}")
        return found

    def _request(self, keys: Mapping[str, Any], where: str) -> ExperimentRequest:
        for key in keys:
            if key not in _GRID_KEYS:
                fix = did_you_mean(key, _GRID_KEYS, f"keys of a grid: {', '.join(_GRID_KEYS)}")
                raise UsageError(f"a grid has no key '{key}'", where=where, fix=fix)
        try:
            return TypeAdapter(ExperimentRequest).validate_python(dict(keys))
        except ValidationError as problem:
            mistake = first_mistake(problem)
            raise UsageError(f"{mistake.key}: {mistake.what}", where=where) from None


def declared_names() -> list[str]:
    """The experiments that come along, tables first."""
    names = [path.name.removesuffix(".toml") for path in _FOLDER.iterdir() if path.name.endswith(".toml")]
    return sorted(names, key=lambda name: (not name.startswith("table"), name))


def find_declared(name: str) -> Declared:
    """The experiment of that name, or the one in a .toml file.

    Raises:
        UsageError: there is none (says the nearest), or one that cannot be read; names the key.
    """
    if name.endswith(".toml"):
        return _read(Path(name), Path(name).stem, name)
    if name not in declared_names():
        known = declared_names()
        fix = did_you_mean(name, known, f"experiments: {', '.join(known)}; or a .toml file made by `experiment copy`")
        raise UsageError(f"there is no experiment '{name}'", fix=fix)
    return _read(Path(str(_FOLDER / f"{name}.toml")), name, f"experiment {name}")


def copy_declared(name: str, file: Path) -> Path:
    """Write an experiment into a new file, to be edited.

    Raises:
        UsageError: no such experiment, or the file is there already, or is none that could be run.
    """
    find_declared(name)
    if file.suffix != ".toml":
        raise UsageError("an experiment is a .toml file", where=file, fix=f"call it {file.with_suffix('.toml')}")
    if file.exists():
        raise UsageError("there is a file already", where=file, fix="take another name, or delete it")
    write_atomic(file, (_FOLDER / f"{name}.toml").read_text(encoding="utf-8"))
    return file


def _read(path: Path, name: str, where: str) -> Declared:
    if not path.is_file():
        raise UsageError("there is no such file", where=path, fix="`semctl experiment copy NAME FILE` makes one")
    try:
        found = Declaration.model_validate(read_toml(path))
    except ValidationError as problem:
        mistake = first_mistake(problem)
        known = [*Declaration.model_fields, *DeclaredRow.model_fields, *Claim.model_fields, *FigureOf.model_fields]
        fix = did_you_mean(str(mistake.at[-1]), known, "") if mistake.is_unknown else None
        what = "no experiment has such a key" if mistake.is_unknown else mistake.what
        raise UsageError(f"{mistake.key}: {what}", where=where, fix=fix or None) from None
    declared = Declared(name, where, found)
    _check(declared)
    return declared


def _check(declared: Declared) -> None:
    """What pydantic does not see: names that have to be there, and as many figures as measures."""
    found, where = declared.declaration, declared.file
    names = [row.name for row in found.rows]
    if found.grids and not found.scales:
        raise UsageError("an experiment with grids needs a scale", where=where, fix="write [scales.NAME]")
    if found.scales:
        declared.scale(None)
    for scale in found.scales:
        requests = declared.grids(scale)
        if not requests:
            raise UsageError(f"the scale {scale} leaves every grid out", where=where)
        same = {(each.folds, each.fold_seed, each.pool_test, each.split, each.candidates) for each in requests.values()}
        if len(same) > 1:
            what = f"the grids of scale {scale} are not measured on the same queries"
            raise UsageError(what, where=where, fix="give all the same folds, split and candidates")
    for row in found.rows:
        if row.grid is not None:
            known_name("grid", row.grid, tuple(found.grids))
        for source, figures in row.paper.items():
            if len(figures) != len(found.measures):
                what = f"row {row.name}, {source}: {len(figures)} figures for {len(found.measures)} measures"
                raise UsageError(what, where=where)
    for claim in found.claims:
        for name in (claim.better, *claim.than, *claim.close, claim.to):
            if name is not None:
                known_name("row", re.sub(r", \d+ % of labels$", "", name), tuple(names))
