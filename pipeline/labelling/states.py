"""The belief states of all dialogues, and the splits, from every annotation the workspace holds."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from annotate.annotations.dialogue_index import IndexedDialogue
from annotate.annotations.migration import Migration
from annotate.exports.annotation_store import AnnotationStore
from annotate.prelabels.prelabel_metrics import AcceptanceCounts
from annotate.resolution.policies import Policy
from annotate.resolution.resolve import resolve
from annotate.states.splits import SplitCounts, label_dialogue
from pipeline.labelling.checks import LabelChecks
from pipeline.labelling.resolution_policy import ResolvedCounts
from schemas.ontology import Ontology
from schemas.progress import Progress
from schemas.tables import D_F, D_P, STATES, open_writer


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
            if not dialogue.user_turns:
                continue
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
