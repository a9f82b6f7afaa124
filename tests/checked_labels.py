"""One dialogue to hold the checks of labels against: a shop, what was said, and answers written by hand."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from annotate.annotations.annotation import Annotation, Mark
from annotate.annotations.dialogue_index import IndexedDialogue
from annotate.checks.catalogue import CatalogueIndex
from annotate.checks.checks import Checks
from annotate.checks.dialogue import DialogueStore
from annotate.checks.findings import Finding
from annotate.resolution.resolve import resolve
from annotate.states.splits import label_dialogue
from schemas.ontology import Ontology, Slot, Value
from schemas.tables import RECOMMENDATIONS, TURNS, write_table
from tests.labelling_corpus import turn

SHOP = Ontology(
    version=3,
    slots=(
        Slot(name="type", attribute="type", values=(Value(value="dress", count=3), Value(value="shirt", count=2))),
        Slot(
            name="color",
            attribute="color",
            values=(
                Value(value="red", count=2, aliases=("crimson",)),
                Value(value="black", count=2),
                Value(value="light blue", count=1),
            ),
        ),
        Slot(
            name="price",
            attribute="price",
            kind="numeric",
            values=(
                Value(value="cheap"),
                Value(value="under 25", count=3, high=25),
                Value(value="25 and over", count=2, low=25),
            ),
        ),
        Slot(name="size", attribute="size", values=(Value(value="S", count=3), Value(value="M", count=2))),
        Slot(name="sizes", attribute="sizes", values=(Value(value="M", count=2), Value(value="S", count=2))),
        Slot(name="season", attribute="season", values=(Value(value="winter"),)),
    ),
)
PRODUCTS: Mapping[str, Mapping[str, Sequence[str]]] = {
    "red dress": {"type": ["dress"], "color": ["red"], "price": ["20"], "size": ["S"]},
    "black dress": {"type": ["dress"], "color": ["black"], "price": ["30"], "size": ["S"], "sizes": ["S", "M"]},
    "red-black dress": {"type": ["dress"], "color": ["red", "black"], "price": ["19"], "size": ["M"]},
    "blue shirt": {"type": ["shirt"], "color": ["light blue"], "price": ["24.50"], "size": ["M"]},
    "plain shirt": {"type": ["shirt"], "price": ["40"], "size": ["S"], "sizes": ["M", "S"]},
}


def shop() -> CatalogueIndex:
    index = CatalogueIndex(SHOP)
    for product_id, attributes in PRODUCTS.items():
        index.add(product_id, attributes, [f"{product_id}.jpg"])
    return index


def annotation(*marks: Mark, name: str = "a", by: str = "user:1", **more: Any) -> Annotation:
    told = {"updated_at": "2026-01-01", "task_uid": "d#0", "project": "7"} | more
    return Annotation(name, "d", by, **told).with_marks(marks)


def wants(turn: int, slot: str, *values: str) -> list[Mark]:
    return [Mark(turn, "want", slot, value) for value in values]


def findings(
    folder: Path,
    *annotations: Annotation,
    says: Sequence[str] = ("hello", "more", "and more"),
    replies: Mapping[int, str] | None = None,
    recommended: Mapping[int, Sequence[str]] | None = None,
    shown: Mapping[int, Sequence[str]] | None = None,
    refused: Sequence[Mapping[str, Any]] = (),
    ontology: Ontology = SHOP,
    catalogue: CatalogueIndex | None = None,
) -> list[Finding]:
    """What the checks say of a dialogue whose user turns are 0, 2, 4, ... and that these annotations label."""
    rows = []
    for number, text in enumerate(says):
        at = 2 * number
        rows.append(turn(at, "user", text, dialogue="d"))
        rows.append(
            turn(at + 1, "system", (replies or {}).get(at + 1, "here"), *(shown or {}).get(at + 1, ()), dialogue="d")
        )
    write_table(folder / "turns.parquet", TURNS, rows)
    listed = [
        {"dialogue_id": "d", "turn": at, "positives": list(products), "negatives": [], "split": "train"}
        | {"positives_listed": [], "negatives_listed": []}
        for at, products in sorted((recommended or {}).items())
    ]
    write_table(folder / "recommendations.parquet", RECOMMENDATIONS, listed)
    user_turns = tuple(range(0, 2 * len(says), 2))
    resolution = resolve(annotations, user_turns, ontology)
    states = label_dialogue("d", IndexedDialogue("train", user_turns, b""), resolution, ontology).rows
    with DialogueStore.read(folder / "turns.parquet", folder / "recommendations.parquet") as said:
        return Checks(ontology, catalogue or shop(), said, refused).dialogue("d", annotations, resolution, states)


def told(found: Sequence[Finding]) -> list[tuple[Any, ...]]:
    """Code, turn, slot, value and suggestion, without what they are None of at the end."""
    short = []
    for finding in found:
        row = [finding.code, finding.turn, finding.slot, finding.value, finding.suggestion]
        while row[-1] is None:
            row.pop()
        short.append(tuple(row))
    return short
