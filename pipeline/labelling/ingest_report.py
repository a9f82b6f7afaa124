"""What an ingest makes and says of itself: belief states and splits from all annotations, and the ledger."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from annotate.annotations.dialogue_index import IndexedDialogue
from annotate.annotations.migration import Migration
from annotate.exports.annotation_store import AnnotationStore, Changes
from annotate.prelabels.prelabel_metrics import AcceptanceCounts
from annotate.resolution.policies import Policy
from annotate.resolution.resolve import resolve
from annotate.states.splits import SplitCounts, label_dialogue
from pipeline.labelling.checks import FindingCounts, LabelChecks
from pipeline.labelling.resolution_policy import ResolvedCounts
from pipeline.labelling.sources import LabelSource
from schemas.errors import CheckError
from schemas.ontology import Ontology
from schemas.progress import Progress
from schemas.tables import D_F, D_P, STATES, open_writer

_MOST_SHOWN = 20


@dataclass
class StateCounts:
    """What became of all dialogues."""

    resolved: ResolvedCounts
    d_f: SplitCounts = field(default_factory=SplitCounts)
    d_p: SplitCounts = field(default_factory=SplitCounts)
    orphaned: int = 0  # annotations of turns or dialogues that are no longer there
    # (slot, value) -> how often it was marked, for values that no product has
    out_of_catalogue: Counter[tuple[str, str]] = field(default_factory=Counter)
    # answers in force that started from a pre-label
    untouched: AcceptanceCounts = field(default_factory=AcceptanceCounts)


def write_states(
    states: Path,
    d_f: Path,
    d_p: Path,
    store: AnnotationStore,
    index: Mapping[str, IndexedDialogue],
    ontology: Ontology,
    policy: Policy,
    checks: LabelChecks,
    inputs: Mapping[str, str],
    progress: Progress,
) -> StateCounts:
    """Write ``states.parquet`` and both splits in one pass over all dialogues."""
    totals = StateCounts(ResolvedCounts(policy))
    by_dialogue = Migration(ontology).dialogues(store.by_dialogue())
    labelled_id, annotations = next(by_dialogue, ("", []))
    with (
        open_writer(states, STATES, inputs=inputs) as all_rows,
        open_writer(d_f, D_F, inputs=inputs) as full_rows,
        open_writer(d_p, D_P, inputs=inputs) as partial_rows,
    ):
        for dialogue_id, dialogue in progress.track(index.items(), "belief states", total=len(index)):
            if not dialogue.user_turns:
                continue  # whatever was said of it is gone, as of a dialogue that is not there
            while annotations and labelled_id < dialogue_id:
                totals.orphaned += len(annotations)
                checks.gone(labelled_id, annotations)
                labelled_id, annotations = next(by_dialogue, ("", []))
            said = annotations if labelled_id == dialogue_id else []
            resolution = resolve(said, dialogue.user_turns, ontology, policy)
            totals.resolved.add(resolution)
            totals.untouched.add(resolution.in_force)
            totals.orphaned += resolution.orphaned
            totals.out_of_catalogue.update(resolution.values_without_product(ontology))
            labelled = label_dialogue(dialogue_id, dialogue, resolution, ontology)
            checks.dialogue(dialogue_id, said, resolution, labelled.rows)
            all_rows.write_all(labelled.rows)
            (full_rows if labelled.complete else partial_rows).write_all(labelled.rows)
            (totals.d_f if labelled.complete else totals.d_p).add(dialogue.split, len(labelled.rows))
            if labelled_id == dialogue_id:
                labelled_id, annotations = next(by_dialogue, ("", []))
        while annotations:
            totals.orphaned += len(annotations)
            checks.gone(labelled_id, annotations)
            labelled_id, annotations = next(by_dialogue, ("", []))
    return totals


@dataclass(frozen=True)
class IngestReport:
    """What an ingest did: the ledger of what it received, and the splits of the whole workspace."""

    export_sha256: str | None  # the export read, the first of several; None when there was none
    # received, accepted, superseded, skipped: annotations of the export, of the corpus when there was none, and of the
    # page, where each correction is one. Superseded: its annotator answered the same task later, or people labelled a
    # dialogue of the corpus.
    received: int
    accepted: int
    superseded: int
    skipped: int = 0
    quarantined: Mapping[str, int] = field(default_factory=dict)  # reason -> annotations of which nothing could be used
    # reason -> turns left unlabelled within accepted or superseded annotations
    refused_turns: Mapping[str, int] = field(default_factory=dict)
    # reason -> typed lines and choices that could not be read, in turns whose other marks count
    refused_lines: Mapping[str, int] = field(default_factory=dict)
    # things worth a look in the whole workspace: ``value_not_in_catalogue`` (values marked that no product has),
    # ``orphaned_annotations`` (of turns or dialogues that are no longer there), ``in_quarantine`` (whatever was
    # refused, of this export and of earlier ones)
    notices: Mapping[str, int] = field(default_factory=dict)
    out_of_catalogue: tuple[tuple[str, str, int], ...] = ()  # the commonest such values as (slot, value, how often)
    d_f: SplitCounts = field(default_factory=SplitCounts)
    d_p: SplitCounts = field(default_factory=SplitCounts)
    checked: FindingCounts = field(default_factory=FindingCounts)
    # what became of turns that several people answered, see
    # :class:`pipeline.labelling.resolution_policy.ResolvedCounts`
    resolved: Mapping[str, Any] = field(default_factory=dict)
    # answers in force that started from a pre-label, and those left as they were; see
    # :meth:`annotate.prelabels.prelabel_metrics.AcceptanceCounts.as_json`
    untouched: Mapping[str, Any] = field(default_factory=dict)
    source: LabelSource = field(default_factory=LabelSource, compare=False)

    @property
    def drafts(self) -> int:
        """Answers begun and not submitted."""
        return self.source.drafts.total()

    @property
    def changes(self) -> Changes:
        """What arrived against what the workspace held."""
        return self.source.changes

    def as_json(self) -> dict[str, Any]:
        return {
            "export_sha256": self.export_sha256,
            "annotations": {
                "received": self.received,
                "accepted": self.accepted,
                "quarantined": sum(self.quarantined.values()),
                "skipped": self.skipped,
                "superseded": self.superseded,
            },
            "quarantined": dict(sorted(self.quarantined.items())),
            "refused_turns": dict(sorted(self.refused_turns.items())),
            "refused_lines": dict(sorted(self.refused_lines.items())),
            **self.source.as_json(),
            "resolved": dict(self.resolved),
            "untouched": dict(self.untouched),
            "notices": dict(sorted(self.notices.items())),
            "out_of_catalogue": [
                {"slot": slot, "value": value, "count": count} for slot, value, count in self.out_of_catalogue
            ],
            **self.checked.as_json(),
            "d_f": self.d_f.as_json(),
            "d_p": self.d_p.as_json(),
            "by_split": {
                "d_f": dict(sorted(self.d_f.by_split.items())),
                "d_p": dict(sorted(self.d_p.by_split.items())),
            },
        }

    def ledger(self) -> dict[str, Any]:
        """The content of ``labels/ledger.json``: without what depends on when the labels were taken in."""
        return {name: value for name, value in self.as_json().items() if name not in ("changes", "pulled")}

    def check(self, user_turns: int) -> None:
        """Hold the ledger against itself and against the workspace."""
        accounted = self.accepted + sum(self.quarantined.values()) + self.skipped + self.superseded
        if accounted != self.received:
            raise CheckError(
                f"the label ledger does not add up: {self.received} annotations received, {accounted} accounted for",
                fix="nothing was changed; this is a bug worth reporting",
            )
        if self.d_f.turns + self.d_p.turns != user_turns:
            raise CheckError(
                f"D_F and D_P hold {self.d_f.turns + self.d_p.turns} turns, the workspace {user_turns}",
                fix="nothing was changed; this is a bug worth reporting",
            )


def report_of(source: LabelSource, store: AnnotationStore, counts: StateCounts, checked: FindingCounts) -> IngestReport:
    """The report of an ingest whose states are written."""
    commonest = sorted(counts.out_of_catalogue.items(), key=lambda item: (-item[1], item[0]))[:_MOST_SHOWN]
    accepted, superseded = store.counts()
    of_corpus = store.corpus_counts() if source.is_corpus else (0, 0)
    exports, staged = source.exports, source.staged
    return IngestReport(
        export_sha256=exports[0].sha256 if exports else None,
        received=sum(of_corpus) + sum(one.received for one in staged),
        accepted=of_corpus[0] + accepted,
        superseded=of_corpus[1] + superseded,
        skipped=sum(one.skipped for one in staged),
        quarantined=sum((one.quarantined for one in staged), Counter()),
        refused_turns=sum((one.refused_turns for one in staged), Counter()),
        refused_lines=sum((one.refused_lines for one in staged), Counter()),
        notices={
            "value_not_in_catalogue": counts.out_of_catalogue.total(),
            "orphaned_annotations": counts.orphaned,
            "in_quarantine": store.refused(),
        },
        out_of_catalogue=tuple((slot, value, count) for (slot, value), count in commonest),
        d_f=counts.d_f,
        d_p=counts.d_p,
        checked=checked,
        resolved=counts.resolved.as_json(),
        untouched=counts.untouched.as_json(),
        source=source,
    )
