"""Annotators under numbers: who they are stays with whoever labelled."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

from annotate.annotations.annotation import CORPUS
from annotate.assignment.annotators import Annotators
from pipeline.workspace import Workspace
from schemas.ontology import Ontology
from schemas.tables import ANNOTATIONS, STATES, read_table


@dataclass(frozen=True)
class AnnotatorNames:
    """What annotators are called in what leaves the workspace."""

    numbers: Mapping[str, str] = field(default_factory=dict)  # name -> annotator-1, ..., in the order of the names
    hides: bool = True  # False leaves names, and what else tells who somebody is, as they are

    def of(self, name: str) -> str:
        """Of an annotator; the corpus stays itself."""
        return self.numbers.get(name, name)

    def within(self, text: str) -> str:
        """A text in which every name stands replaced, however its letters are cased."""
        return text if self._every is None else self._every.sub(lambda hit: self._folded[hit.group().casefold()], text)

    @cached_property
    def _folded(self) -> dict[str, str]:
        return {name.casefold(): number for name, number in self.numbers.items()}

    @cached_property
    def _every(self) -> re.Pattern[str] | None:
        names = sorted(self._folded, key=len, reverse=True)
        if not names:
            return None
        return re.compile("|".join(rf"(?<!\w){re.escape(name)}(?!\w)" for name in names), re.IGNORECASE)

    def without(self, ontology: Ontology) -> Ontology:
        """An ontology in whose hints and decisions, which people write, every name stands replaced."""
        slots = [
            slot.model_copy(update={name: self.within(getattr(slot, name)) for name in ("title", "hint", "rule")})
            for slot in ontology.slots
        ]
        decisions = {about: self.within(text) for about, text in ontology.decisions.items()}
        changed = ontology.model_copy(update={"slots": tuple(slots), "decisions": decisions})
        return Ontology.model_validate(changed.model_dump(mode="json"))


def annotator_names(workspace: Workspace) -> AnnotatorNames:
    """Everybody who answered, or is known to Label Studio, in a workspace.

    Raises:
        SchemaError, LabelError: a file that cannot be read.
    """
    found = set[str]()
    if workspace.annotations.is_file():
        found |= _distinct(read_table(workspace.annotations, ANNOTATIONS, columns=["annotator"])["annotator"])
    if workspace.states.is_file():
        found |= _distinct(
            read_table(workspace.states, STATES, columns=["annotators"])["annotators"].combine_chunks().flatten()
        )
    found |= set(Annotators.read(workspace.labelling).everybody())
    people = sorted(found - {CORPUS, ""})
    return AnnotatorNames({name: f"annotator-{number}" for number, name in enumerate(people, start=1)})


def _distinct(column: Any) -> set[str]:
    return {name for name in column.unique().to_pylist() if name is not None}
