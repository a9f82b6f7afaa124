"""``semctl export-dataset``: labels, dialogues and catalogue as a dataset that others load without semctl."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from annotate.annotations.annotation import is_of_page
from annotate.states.splits import read_splits
from annotate.tasks.guidelines import guideline_markdown
from pipeline.sharing.annotator_names import AnnotatorNames, annotator_names
from pipeline.sharing.cards import dataset_card
from pipeline.sharing.croissant import Part, croissant
from pipeline.sharing.folders import Export, check_folder, export_folder, written
from pipeline.sharing.hub import check_push, push
from pipeline.sharing.label_quality import LabelQuality, label_quality, renamed
from pipeline.workspace import Workspace, check_vocabulary
from schemas.errors import WorkspaceError
from schemas.files import atomic_path, read_json, write_atomic, write_json
from schemas.progress import Progress, SilentProgress
from schemas.tables import ANNOTATIONS, IMAGES, PRODUCTS, RECOMMENDATIONS, TURNS, read_table

ABOUT = {
    "D_F": "a user turn of a dialogue that is labelled throughout, with its belief state",
    "D_P": "a user turn of any other dialogue, with what is known of its state",
    "turns": "an utterance: who said what, with which images",
    "recommendations": "a recommendation turn, with the products that were right and wrong there",
    "products": "a product of the catalogue",
    "images": "an image that products or turns name; the photos themselves are not here",
    "annotations": "a mark of one version of one annotation: lineage of the states",
}
"""The tables, and what a row of each is."""

_ORDER = ("train", "valid", "test")
_WHOLE = "everything"  # the one part of a table without splits
_ALIASES = {"valid": "validation"}  # what the Hub calls a split


@dataclass(frozen=True)
class ExportDatasetRequest:
    """What to write, and where."""

    folder: Path  # a new one, or an earlier export of a dataset
    names: bool = False  # leave annotators' names as they are
    licence: str | None = None  # of the data; None: not known
    push: str | None = None  # OWNER/NAME on the Hub
    public: bool = False  # of a new repository there


class _Prepared(NamedTuple):
    """A table on its way out."""

    name: str
    rows: pa.Table


def export_dataset(workspace: Workspace, request: ExportDatasetRequest, *, progress: Progress | None = None) -> Export:
    """Write D_F, D_P, what they are about and where they come from; annotators go by numbers unless asked for.

    Raises:
        UsageError: the folder holds something else.
        WorkspaceError: not a workspace, or nothing was ingested.
        MissingPartError: what pushing needs is not here.
        ServiceError: the Hub does not take it; the folder is written all the same.
    """
    shown: Progress = progress or SilentProgress()
    workspace.require()
    check_folder(request.folder, "dataset")
    if request.push is not None:
        check_push(request.push)
    if not workspace.split_manifest.is_file():
        raise WorkspaceError(
            "there are no labels to export", where=workspace.split_manifest, fix="run `semctl ingest-labels` first"
        )
    check_vocabulary(workspace)
    names = AnnotatorNames(hides=False) if request.names else annotator_names(workspace)
    quality = label_quality(workspace, names.within)
    ontology = names.without(workspace.ontology())
    with export_folder(request.folder, "dataset") as folder:
        parts: list[Part] = []
        counts: dict[str, int] = {}
        with shown.task("writing tables", len(ABOUT)) as task:
            of_page: set[str] = set()
            for name, every in _tables(workspace, names):
                rows = _without_page(every, of_page)
                counts[name] = rows.num_rows
                parts += _write_parts(folder, name, rows)
                task.advance(1)
        write_atomic(folder / "guideline.md", guideline_markdown(ontology))
        ontology.write(folder / "ontology.json")
        write_json(folder / "agreement.json", _under_numbers(quality.agreement.as_json(), names.of))
        lineage = _lineage(workspace, quality, names)
        write_json(folder / "lineage.json", lineage)
        title = names.within(workspace.root.name)
        write_json(folder / "croissant.json", croissant(title, folder, parts, ABOUT, licence=request.licence))
        card = dataset_card(
            title,
            configs=_configs(parts),
            tables=[(name, ABOUT[name], counts[name]) for name in counts],
            quality=quality,
            slots=[(slot.name, slot.attribute, len(slot.values)) for slot in ontology.slots],
            about=_origin(lineage),
            named=request.names,
            licence=request.licence,
        )
        write_atomic(folder / "README.md", card)
    if of_page:
        shown.log(f"{len(of_page):,} conversation(s) that a served page has kept: left out, not to be passed on")
    facts = {**counts, "annotators": quality.people, "named": request.names}
    found = written("dataset", request.folder, facts)
    return found if request.push is None else push(found, request.push, public=request.public)


def _tables(workspace: Workspace, names: AnnotatorNames) -> Iterator[_Prepared]:
    d_f, d_p = read_splits(workspace.d_f, workspace.d_p, workspace.split_manifest)
    for name, rows in (("D_F", d_f), ("D_P", d_p)):
        named = _replaced(rows, "annotators", lambda people: [names.of(each) for each in people])
        yield _Prepared(name, _replaced(named, "source_annotations", lambda ids: [names.within(each) for each in ids]))
    turns = read_table(workspace.turns, TURNS)
    yield _Prepared("turns", turns)
    yield _Prepared("recommendations", read_table(workspace.recommendations, RECOMMENDATIONS))
    yield _Prepared("products", _without_maps(read_table(workspace.products, PRODUCTS)))
    images = read_table(workspace.images, IMAGES)
    yield _Prepared("images", images.drop_columns("file"))  # where it lies on this machine
    yield _Prepared("annotations", _annotations(read_table(workspace.annotations, ANNOTATIONS), names))


def _without_page(rows: pa.Table, left_out: set[str]) -> pa.Table:
    """The rows of the corpus's dialogues: who talked to a served page was told that it stays on its server."""
    if "dialogue_id" not in rows.column_names:
        return rows
    of_page = pa.array(map(is_of_page, rows["dialogue_id"].to_pylist()), pa.bool_())
    left_out.update(rows["dialogue_id"].filter(of_page).to_pylist())
    return rows.filter(pc.invert(of_page))


def _annotations(stored: pa.Table, names: AnnotatorNames) -> pa.Table:
    """Lineage, by numbers: without what else tells who somebody is, and in one form whatever version was stored."""
    rows = ANNOTATIONS.as_now(stored)
    if not names.hides:
        return rows
    rows = _replaced(rows, "annotator", names.of)
    for column in ("completed_by", "server"):
        rows = _replaced(rows, column, lambda _: None)
    is_note = pc.equal(rows["op"], "note")
    value = pc.if_else(is_note, pa.scalar(None, pa.string()), rows["value"])
    rows = rows.set_column(rows.column_names.index("value"), rows.schema.field("value"), value)
    for column in ("annotation_id", "task_uid", "project", "prelabel"):
        rows = _replaced(rows, column, lambda text: text and names.within(text))
    return rows


def _replaced(rows: pa.Table, column: str, change: Callable[[Any], Any]) -> pa.Table:
    """The rows with another content of one column."""
    at, field = rows.column_names.index(column), rows.schema.field(column)
    known = [change(value) for value in rows[column].to_pylist()]
    nullable = field.with_nullable(field.nullable or None in known)
    return rows.set_column(at, nullable, pa.array(known, field.type))


def _without_maps(products: pa.Table) -> pa.Table:
    """Attributes as a list of names with values: maps are not read everywhere."""
    at = products.column_names.index("attributes")
    kind = pa.list_(pa.struct([("attribute", pa.string()), ("values", pa.list_(pa.string()))]))
    rows = [
        [{"attribute": name, "values": values} for name, values in each] for each in products["attributes"].to_pylist()
    ]
    return products.set_column(at, pa.field("attributes", kind), pa.array(rows, kind))


def _write_parts(folder: Path, name: str, rows: pa.Table) -> list[Part]:
    """A file for each split of a table, so that nobody trains on what is kept for testing; none for an empty one."""
    found = []
    splits = rows["split"].unique().to_pylist() if "split" in rows.column_names else [_WHOLE] * bool(rows.num_rows)
    for split in (each for each in (*_ORDER, _WHOLE) if each in splits):
        mine = rows if split == _WHOLE else rows.filter(pc.equal(rows["split"], split))
        path = folder / "data" / name / f"{_ALIASES.get(split, split)}.parquet"
        path.parent.mkdir(parents=True, exist_ok=True)
        with atomic_path(path) as temporary:
            pq.write_table(mine.replace_schema_metadata(None), temporary, compression="zstd", write_page_checksum=True)
        found.append(Part(name, _ALIASES.get(split, split), path, mine.schema))
    return found


def _configs(parts: list[Part]) -> list[dict[str, Any]]:
    """The tables as the Hub's metadata names them; the labels first."""
    files: dict[str, list[dict[str, str]]] = {}
    for part in parts:
        files.setdefault(part.table, []).append({"split": part.split, "path": f"data/{part.table}/{part.path.name}"})
    found: list[dict[str, Any]] = [{"config_name": name, "data_files": listed} for name, listed in files.items()]
    if found:
        found[0]["default"] = True
    return found


def _under_numbers(value: Any, rename: Callable[[str], str], *, people: bool = False) -> Any:
    """A report of agreement with its annotators renamed, who stand under ``annotators`` wherever they do."""
    if isinstance(value, Mapping):
        return {
            rename(key) if people else key: _under_numbers(each, rename, people=key == "annotators" and not people)
            for key, each in value.items()
        }
    if isinstance(value, list | tuple):
        return [_under_numbers(each, rename, people=people) for each in value]
    return rename(value) if people and isinstance(value, str) else value


def _lineage(workspace: Workspace, quality: LabelQuality, names: AnnotatorNames) -> dict[str, Any]:
    """What was read, dropped, refused and made, with hashes."""
    again = "run `semctl import` again"
    imported = read_json(workspace.import_manifest, error=WorkspaceError, fix=again, shape=dict[str, Any])
    splits = read_json(workspace.split_manifest, error=WorkspaceError, shape=dict[str, Any])
    found = {"import": imported, "labels": dict(quality.ledger), "splits": splits}
    return {name: renamed(each, names.within) for name, each in found.items()}


def _origin(lineage: Mapping[str, Any]) -> list[str]:
    imported = lineage["import"]
    dropped = sum(imported.get("dropped", {}).values())
    settings = imported.get("settings", {})
    return [
        f"read from a corpus in the format {settings.get('format', '?')}: {imported.get('dialogues', 0):,} dialogues, "
        f"{imported.get('user_turns', 0):,} user turns, {imported.get('products', 0):,} products",
        f"{dropped:,} records of it were dropped on import, each with a reason",
        f"annotated with the ontology's version {lineage['splits'].get('ontology_version', 1)}; several answers became "
        f"one by the policy {lineage['labels'].get('resolved', {}).get('policy', '?')}",
    ]
