"""How much of the ontology the labels of some dialogues show: by this, strategies of selection compare exactly."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any, NamedTuple

from pipeline.workspace import Workspace
from schemas.ontology import Ontology
from schemas.tables import D_F, open_table


class LabelCoverage(NamedTuple):
    """What labels show."""

    values: int  # values of the ontology, slot by slot, that the labels of the chosen dialogues want or refuse
    in_labels: int  # that the labels of all dialogues do that could be chosen
    in_ontology: int  # that there are

    def as_json(self) -> dict[str, Any]:
        """The JSON form; ``share`` is of the values that could be shown."""
        return {**self._asdict(), "share": self.values / self.in_labels if self.in_labels else None}


def label_coverage(workspace: Workspace, chosen: Collection[str], candidates: Collection[str]) -> LabelCoverage:
    """Count the values in the labels of chosen dialogues, out of all candidates; dialogues without labels show none."""
    ontology = workspace.ontology()
    inside, possible = set(chosen), set(candidates)
    shown, there = set[tuple[str, str]](), set[tuple[str, str]]()
    with open_table(workspace.d_f, D_F) as file:
        for batch in file.iter_batches(columns=["dialogue_id", "state"]):
            for row in batch.to_pylist():
                if row["dialogue_id"] in possible:
                    values = {found for item in row["state"] or () if (found := _value(item, ontology))}
                    there |= values
                    if row["dialogue_id"] in inside:
                        shown |= values
    return LabelCoverage(len(shown), len(there), sum(len(slot.values) for slot in ontology.slots))


def _value(item: Mapping[str, Any], ontology: Ontology) -> tuple[str, str] | None:
    slot = ontology.find(item["slot"])
    if slot is None:
        return None
    found = slot.find(item["value"])
    return None if found is None else (slot.name, found.value)
