"""All checks, dialogue by dialogue, and the dialogues worth labelling again."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from annotate.annotations.annotation import Annotation
from annotate.checks.answers import RequestFinder, check_answers, check_blanks
from annotate.checks.catalogue import CatalogueIndex
from annotate.checks.dialogue import DialogueLabels, DialogueStore, Refused
from annotate.checks.findings import CODES, SEVERITIES, Finding
from annotate.checks.states import check_states
from annotate.checks.values import Spellings, check_values
from annotate.resolution.answers import newest_versions
from annotate.resolution.resolve import Resolution
from schemas.ontology import Ontology


class Checks:
    """Checks labels as they are resolved; changes none.

    Args:
        refused: rows of ``quarantine.parquet``.
        seconds_per_turn: an untouched pre-label, or an empty page, that took less per turn was not read.
    """

    def __init__(
        self,
        ontology: Ontology,
        catalogue: CatalogueIndex,
        said: DialogueStore,
        refused: Iterable[Mapping[str, Any]] = (),
        *,
        seconds_per_turn: float = 3.0,
    ) -> None:
        self._ontology = ontology
        self._catalogue = catalogue
        self._said = said
        self._spellings = Spellings(ontology)
        self._finder = RequestFinder(ontology)
        self._seconds_per_turn = seconds_per_turn
        self._refused: dict[str, list[Refused]] = {}
        for row in refused:
            if row["dialogue_id"] is not None:
                kept = Refused(row["annotation_id"], row["turn"], row["reason"], row["annotator"], row["detail"])
                self._refused.setdefault(row["dialogue_id"], []).append(kept)

    def dialogue(
        self,
        dialogue_id: str,
        annotations: Sequence[Annotation],
        resolution: Resolution,
        states: Sequence[Mapping[str, Any]],
    ) -> list[Finding]:
        """What there is to say of one dialogue, in order, given every version of every annotation of it."""
        refused = self._refused.get(dialogue_id, [])
        if not annotations and not refused:
            return []
        said = self._said.of(dialogue_id)
        labels = DialogueLabels(dialogue_id, resolution, states, annotations, refused, said, self._ontology)
        return sorted(self._all(labels), key=lambda finding: finding.place)

    def _all(self, labels: DialogueLabels) -> Iterator[Finding]:
        yield from check_values(labels, self._catalogue, self._spellings)
        yield from check_states(labels, self._catalogue)
        yield from check_blanks(labels, self._catalogue, self._finder)
        yield from check_answers(labels, self._seconds_per_turn)

    @staticmethod
    def gone(dialogue_id: str, annotations: Iterable[Annotation]) -> list[Finding]:
        """Annotations of a dialogue that is no longer in the workspace."""
        return [
            Finding(
                "orphaned",
                dialogue_id,
                "the dialogue is no longer there",
                annotators=(annotation.annotator,),
                annotation_ids=(annotation.annotation_id,),
            )
            for annotation in newest_versions(annotations)
        ]


@dataclass
class FindingTotals:
    """Counts of findings, and which dialogues they put up for labelling again."""

    requeue: frozenset[str]  # codes that do
    findings: Counter[str] = field(default_factory=Counter)  # code -> how many
    dialogues: Counter[str] = field(default_factory=Counter)  # code -> dialogues with at least one
    _again: dict[str, tuple[int, ...]] = field(default_factory=dict)

    def add(self, findings: Sequence[Finding], *, is_here: bool = True) -> None:
        """Count all findings of one dialogue, which is labelled again only if it is in the workspace."""
        self.findings.update(finding.code for finding in findings)
        self.dialogues.update({finding.code for finding in findings})
        chosen = [finding for finding in findings if finding.code in self.requeue]
        if chosen and is_here:
            counted = Counter(finding.severity for finding in chosen)
            self._again[chosen[0].dialogue_id] = tuple(-counted[severity] for severity in SEVERITIES)

    def again(self) -> list[str]:
        """The dialogues to label again: those with most errors first, then most warnings, then most remarks."""
        return sorted(self._again, key=lambda dialogue_id: (self._again[dialogue_id], dialogue_id))

    def by_code(self) -> dict[str, int]:
        """Code -> findings, the worst code first; codes without any are left out."""
        return {code: self.findings[code] for code in CODES if self.findings[code]}
