"""An ontology of slots by name, for what reads no values."""

from __future__ import annotations

from schemas.ontology import Ontology, Slot


def slots_of(*names: str) -> Ontology:
    return Ontology(slots=tuple(Slot(name=name, attribute=name, values=()) for name in names))
