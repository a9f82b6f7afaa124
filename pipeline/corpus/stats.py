"""What a workspace holds: the paper's Table 1, and how far slots and values are covered by states and catalogue."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import pyarrow as pa
import pyarrow.compute as pc

from pipeline.corpus.records import SPLITS
from pipeline.corpus.split_overlap import SplitOverlap, split_overlap
from pipeline.workspace import Workspace
from schemas.folding import fold
from schemas.json_form import json_form
from schemas.ontology import Ontology
from schemas.tables import ANNOTATIONS, PRODUCTS, RECOMMENDATIONS, STATES, TURNS, open_table, read_table

if TYPE_CHECKING:
    import pandas as pd


@dataclass(frozen=True)
class SplitStats:
    """One column of Table 1."""

    split: str
    dialogues: int
    proportion: float  # share of all dialogues, 0..1
    user_turns: int
    rec_turns: int
    avg_rec_turns: float  # recommendation turns per dialogue
    # avg_pos_images, avg_neg_images: kept candidates per recommendation turn
    avg_pos_images: float
    avg_neg_images: float


@dataclass(frozen=True)
class SlotCoverage:
    """How much one slot is used."""

    slot: str
    attribute: str
    kind: str
    turns: int  # labelled turns whose state (or, before ingest, whose annotations) holds the slot
    share: float  # of all labelled turns, 0..1
    values_said: int  # different values there
    values_known: int  # how many of them the catalogue has
    catalogue_values: int  # different values in the catalogue
    products: float  # share of products that have the attribute, 0..1


@dataclass(frozen=True)
class WorkspaceStats:
    """Everything ``semctl stats`` shows."""

    splits: tuple[SplitStats, ...]
    slots: tuple[SlotCoverage, ...]
    labelled_turns: int
    labels_from: str | None
    products: int
    shared: SplitOverlap  # what is in more than one split

    def as_json(self) -> dict[str, Any]:
        """The object of ``semctl stats --json``."""
        return json_form(self)


def workspace_stats(workspace: Workspace) -> WorkspaceStats:
    """Count what the workspace holds.

    Coverage is of the adjudicated states when there are any, else of the annotations that the corpus brought.

    Raises:
        WorkspaceError: not a workspace, or nothing imported yet.
        SchemaError: a table of another version.
    """
    splits = split_stats(workspace)
    ontology = workspace.ontology()
    said, labelled, source = _said(workspace, ontology)
    by_slot = said.assign(value=said["value"].map(fold)).groupby("slot")
    turns, values = by_slot["turn"].nunique(), by_slot["value"].unique()
    products, coverage = _products(workspace)
    slots = [
        SlotCoverage(
            slot=slot.name,
            attribute=slot.attribute,
            kind=slot.kind,
            turns=(held := int(turns.get(slot.name, 0))),
            share=held / labelled if labelled else 0.0,
            values_said=len(different := values.get(slot.name, ())),
            values_known=sum((found := slot.find(value)) is not None and found.count > 0 for value in different),
            catalogue_values=sum(value.count > 0 for value in slot.values),
            products=coverage[slot.attribute] / products if products else 0.0,
        )
        for slot in ontology.slots
    ]
    return WorkspaceStats(splits, tuple(slots), labelled, source, products, split_overlap(workspace))


def split_stats(workspace: Workspace) -> tuple[SplitStats, ...]:
    """Count what each split holds.

    Raises:
        WorkspaceError, SchemaError: as :func:`workspace_stats`.
    """
    workspace.require()
    turns = read_table(workspace.turns, TURNS, columns=["dialogue_id", "speaker", "split"])
    recommendations = read_table(
        workspace.recommendations, RECOMMENDATIONS, columns=["positives", "negatives", "split"]
    )
    dialogues = Counter[str]()
    for row in turns.group_by(["split", "dialogue_id"]).aggregate([]).to_pylist():
        dialogues[row["split"]] += 1
    user_turns = Counter(turns.filter(pc.equal(turns["speaker"], "user"))["split"].to_pylist())
    total = dialogues.total()
    found = []
    for split in SPLITS:
        rows = recommendations.filter(pc.equal(recommendations["split"], split))
        n, count = dialogues[split], rows.num_rows
        found.append(
            SplitStats(
                split=split,
                dialogues=n,
                proportion=n / total if total else 0.0,
                user_turns=user_turns[split],
                rec_turns=count,
                avg_rec_turns=count / n if n else 0.0,
                avg_pos_images=_mean_length(rows["positives"]),
                avg_neg_images=_mean_length(rows["negatives"]),
            )
        )
    return tuple(found)


def _mean_length(lists: Any) -> float:
    return float(pc.mean(pc.list_value_length(lists)).as_py() or 0.0)


def _said(workspace: Workspace, ontology: Ontology) -> tuple[pd.DataFrame, int, str | None]:
    """``turn``, ``slot`` and ``value`` of all that is said, how many turns are labelled, and where that is from."""
    if workspace.states.is_file():
        states = read_table(workspace.states, STATES, columns=["state"])["state"].drop_null().combine_chunks()
        items = states.flatten()
        columns = [pc.list_parent_indices(states), items.field("slot"), items.field("value")]
        return pa.table(columns, ["turn", "slot", "value"]).to_pandas(), len(states), "states"
    columns = ["dialogue_id", "turn", "slot", "value", "annotator"]
    rows = ANNOTATIONS.columns.empty_table().select(columns)
    if workspace.annotations.is_file():
        rows = read_table(workspace.annotations, ANNOTATIONS, columns=columns, filters=[("annotator", "=", "corpus")])
    said = rows.to_pandas()
    said["turn"] = said.groupby(["dialogue_id", "turn"]).ngroup()
    labelled = said["turn"].nunique()
    said = said[["turn", "slot", "value"]].replace("", None).dropna()
    names = {name: slot.name for name in said["slot"].unique() if (slot := ontology.find(name)) is not None}
    known = said.assign(slot=said["slot"].map(names)).dropna()
    return known, labelled, "corpus annotations" if labelled else None


def _products(workspace: Workspace) -> tuple[int, Counter[str]]:
    coverage: Counter[str] = Counter()
    with open_table(workspace.products, PRODUCTS) as file:
        for batch in file.iter_batches(columns=["attributes"]):
            for attributes in batch.column("attributes").to_pylist():
                coverage.update(name for name, _ in attributes)
        return file.metadata.num_rows, coverage
