"""What a workspace holds: the paper's Table 1, and how far slots and values are covered by states and catalogue."""

from __future__ import annotations

from collections import Counter, defaultdict
from dataclasses import dataclass
from typing import Any

import pyarrow.compute as pc

from pipeline.corpus.records import SPLITS
from pipeline.workspace import Workspace
from schemas.folding import fold
from schemas.json_form import json_form
from schemas.ontology import Ontology
from schemas.tables import ANNOTATIONS, PRODUCTS, RECOMMENDATIONS, STATES, TURNS, open_table, read_table


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
    workspace.require()
    splits = _splits(workspace)
    ontology = workspace.ontology()
    said, labelled, source = _said(workspace, ontology)
    products, coverage = _products(workspace)
    slots = []
    for slot in ontology.slots:
        values = said[slot.name]
        known = sum((found := slot.find(value)) is not None and found.count > 0 for value in values)
        turns = values.pop(_TURNS, 0)
        slots.append(
            SlotCoverage(
                slot=slot.name,
                attribute=slot.attribute,
                kind=slot.kind,
                turns=turns,
                share=turns / labelled if labelled else 0.0,
                values_said=len(values),
                values_known=known,
                catalogue_values=sum(value.count > 0 for value in slot.values),
                products=coverage[slot.attribute] / products if products else 0.0,
            )
        )
    return WorkspaceStats(splits, tuple(slots), labelled, source, products)


_TURNS = ""
"""Stands among a slot's values for the turns that hold it; no value is empty."""


def _splits(workspace: Workspace) -> tuple[SplitStats, ...]:
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


def _said(workspace: Workspace, ontology: Ontology) -> tuple[defaultdict[str, Counter[str]], int, str | None]:
    said: defaultdict[str, Counter[str]] = defaultdict(Counter)
    labelled = 0
    if workspace.states.is_file():
        with open_table(workspace.states, STATES) as file:
            for batch in file.iter_batches(columns=["state"]):
                for state in batch.column("state").to_pylist():
                    if state is None:
                        continue
                    labelled += 1
                    _count(said, [(item["slot"], item["value"]) for item in state])
        return said, labelled, "states"
    if workspace.annotations.is_file():
        by_turn: defaultdict[tuple[str, int], list[tuple[str, str]]] = defaultdict(list)
        with open_table(workspace.annotations, ANNOTATIONS) as file:
            for batch in file.iter_batches(columns=["dialogue_id", "turn", "slot", "value", "annotator"]):
                for row in batch.to_pylist():
                    if row["annotator"] != "corpus":
                        continue
                    items = by_turn[row["dialogue_id"], row["turn"]]
                    slot = ontology.find(row["slot"]) if row["slot"] else None
                    if slot is not None and row["value"]:
                        items.append((slot.name, row["value"]))
        for items in by_turn.values():
            _count(said, items)
        if by_turn:
            return said, len(by_turn), "corpus annotations"
    return said, labelled, None


def _count(said: defaultdict[str, Counter[str]], items: list[tuple[str, str]]) -> None:
    for slot in {slot for slot, _ in items}:
        said[slot][_TURNS] += 1
    for slot, value in items:
        said[slot][fold(value)] += 1


def _products(workspace: Workspace) -> tuple[int, Counter[str]]:
    coverage: Counter[str] = Counter()
    with open_table(workspace.products, PRODUCTS) as file:
        for batch in file.iter_batches(columns=["attributes"]):
            for attributes in batch.column("attributes").to_pylist():
                coverage.update(name for name, _ in attributes)
        return file.metadata.num_rows, coverage
