"""``semctl export-model``: a run as a folder that ranks without its workspace (:mod:`semantic_model.exported`)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pipeline.modelling.run_record import RunRecord, read_record
from pipeline.modelling.runs import find_run, load_corpus, open_network
from pipeline.sharing.annotator_names import annotator_names
from pipeline.sharing.cards import METRICS, model_card
from pipeline.sharing.folders import Export, check_folder, export_folder, written
from pipeline.sharing.hub import check_push, push
from pipeline.sharing.label_quality import label_quality
from pipeline.workspace import Workspace
from schemas.errors import ModelError, UsageError
from schemas.files import atomic_path, read_json, sha256_file, taken_apart, write_atomic
from schemas.progress import Progress, SilentProgress

if TYPE_CHECKING:
    from semantic_model.exported import ExportedModel

VECTORS = "product_vectors.parquet"
EXACT = "vectors for a store that looks for the highest inner product; its order is that of the model"
NEARLY = (
    "vectors for a store that looks for the highest inner product; its order is nearly that of the model, so the best "
    "few hundred are ranked once more with `rank(..., candidates=[..])`"
)


@dataclass(frozen=True)
class ExportModelRequest:
    """What to write, and where."""

    folder: Path  # a new one, or an earlier export of a model
    run: str = "latest"  # a run's id, or ``latest``
    products: bool = True  # False: whoever loads it brings the products
    vectors: bool = False  # also ``product_vectors.parquet``
    licence: str | None = None  # of the model; None: not known
    push: str | None = None  # OWNER/NAME on the Hub
    public: bool = False  # of a new repository there


def export_model(workspace: Workspace, request: ExportModelRequest, *, progress: Progress | None = None) -> Export:
    """Write a run's model with its catalogue, image features, ontology and card.

    Raises:
        UsageError: the folder holds something else; a model without vectors of products was asked for some.
        ModelError: no such run, or one that cannot be used.
        WorkspaceError: not a workspace, or nothing was imported.
        MissingPartError: a pre-trained part is not here; or what pushing needs is not.
        ServiceError: the Hub does not take it; the folder is written all the same.
    """
    from semantic_model.exported import ExportedModel, open_exported, without_paths, write_model
    from semantic_model.ranking.model_spec import find_model

    shown: Progress = progress or SilentProgress()
    workspace.require()
    check_folder(request.folder, "model")
    if request.push is not None:
        check_push(request.push)
    run = find_run(workspace, request.run)
    record = read_record(run)
    spec = find_model(record.model)
    corpus = load_corpus(workspace)
    shown.log(f"opening {run.name}")
    ranker = open_network(run, corpus)
    if request.vectors:
        if not request.products:
            raise UsageError("--vectors are of products", fix="leave --without-products out")
        _require_vectors(ExportedModel(ranker, corpus.products))
    names = annotator_names(workspace)
    quality = label_quality(workspace, names.within) if "D_F" in record.inputs else None
    with export_folder(request.folder, "model") as folder:
        products = workspace.products if request.products else None
        ontology = names.without(ranker.reader.ontology)
        write_model(
            folder, run / "model", ranker, corpus, ontology=ontology, products=products, told_states=record.ds_input
        )
        told = partial(without_paths, config=ranker.reader.config)
        vectors = None
        if request.vectors:
            exact = write_vectors(folder, open_exported(folder))
            vectors = EXACT if exact else NEARLY
        card = model_card(
            replace(record, words=told(record.words), pictures=told(record.pictures)),
            about=spec.with_remark(spec.about, ranker.reader.config),
            reimplemented=spec.reimplemented,
            evaluations=_evaluations(run),
            quality=quality,
            products=len(corpus.products) if request.products else None,
            images=len(corpus.image_files),
            changed=_changed(workspace, record),
            vectors=vectors,
            licence=request.licence,
        )
        write_atomic(folder / "README.md", card)
    facts: dict[str, Any] = {
        "run": run.name,
        "model": record.model,
        "products": len(corpus.products) if request.products else 0,
        "vectors": request.vectors,
    }
    found = written("model", request.folder, facts)
    return found if request.push is None else push(found, request.push, public=request.public)


def write_vectors(folder: Path, model: ExportedModel) -> bool:
    """Write ``product_vectors.parquet``: product_id, name, vector; returns whether their order is the model's.

    Raises:
        ModelError: this kind of model has none.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    vectors = model.product_vectors()
    flat = pa.array(vectors.reshape(-1), pa.float32())
    columns = {
        "product_id": pa.array([item.product_id for item in model.products], pa.string()),
        "name": pa.array([item.name for item in model.products], pa.string()),
        "vector": pa.FixedSizeListArray.from_arrays(flat, vectors.shape[1]),
    }
    with atomic_path(folder / VECTORS) as temporary:
        pq.write_table(pa.table(columns), temporary, compression="zstd", write_page_checksum=True)
    return bool(model.exact_vectors)


def _require_vectors(model: ExportedModel) -> None:
    if model.exact_vectors is None:
        name = model.ranker.name
        raise UsageError(
            f"a {name} has no vectors of products: each is another one in every dialogue", fix="leave --vectors out"
        )


def _evaluations(run: Path) -> list[Mapping[str, Any]]:
    """The reports that evaluating left, of standard metrics, with images; test first."""
    found = []
    for path in sorted(run.glob("evaluation-*.json")):
        report = read_json(path, error=ModelError, fix="run `semctl evaluate` again")
        with taken_apart(path, error=ModelError, what="not a report of `semctl evaluate`"):
            if report["images"] and report.get("metrics", "standard") == "standard":
                kept = {name: report[name] for name in ("split", "candidates", "queries", "products")}
                names = ("name", "intervals", *METRICS)
                rows = [{name: row[name] for name in names if name in row} for row in report["rows"]]
                found.append({**kept, "rows": rows})
    return sorted(found, key=lambda report: report["split"] != "test")


def _changed(workspace: Workspace, record: RunRecord) -> list[str]:
    """The tables that are others than those it was trained on."""
    tables = (workspace.products, workspace.images, workspace.turns, workspace.recommendations, workspace.ontology_file)
    now = {path.stem: path for path in (*tables, workspace.d_f, workspace.d_p)}
    return [
        name
        for name, known in sorted(record.inputs.items())
        if name in now and (not now[name].is_file() or sha256_file(now[name]) != known)
    ]
