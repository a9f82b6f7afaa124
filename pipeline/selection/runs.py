"""What trained runs tell of unlabelled dialogues: how unsure they are, and where the dialogues lie."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, NamedTuple, get_args

import numpy as np
import numpy.typing as npt

from annotate.assignment.selection_strategies import OntologyValues
from pipeline.modelling.run_record import RECORD, RunRecord, read_record
from pipeline.modelling.runs import find_run, load_corpus, open_ranker
from pipeline.modelling.training_data import state_before
from pipeline.workspace import Workspace
from schemas.accumulate import accumulate
from schemas.belief import BeliefState
from schemas.errors import ModelError, UsageError
from schemas.ontology import Ontology
from schemas.progress import Progress
from schemas.validation import known_name
from semantic_model.data.corpus import Corpus
from semantic_model.data.records import Query
from semantic_model.evaluation.uncertainty import (
    Judge,
    context_vectors,
    has_teacher,
    ranking_margins,
    seed_disagreement,
    teacher_disagreement,
)

Measure = Literal["seeds", "teacher", "margin"]
"""How unsure: two and more runs disagree; the student disagrees with its teacher, who is told the values that the
user's words name; or the first product is hardly ahead of the second. The first that the runs allow is taken."""

MEASURES: tuple[Measure, ...] = get_args(Measure)

_SAID = {
    "seeds": "the runs differ by {score:.3f} of 1 (Jensen-Shannon, mean of {contexts}; most before turn {turn})",
    "teacher": "student and teacher differ by {score:.3f} of 1 (Jensen-Shannon, mean of {contexts}; most before turn "
    "{turn})",
    "margin": "the first product is ahead by {margin:.3f} of 1 only (mean of {contexts}; least before turn {turn})",
}


class Uncertainty(NamedTuple):
    """How unsure the runs are of each dialogue [D]."""

    measure: Measure  # which kind
    scores: npt.NDArray[np.float64]  # 0 to 1, the mean over a dialogue's contexts
    why: list[str]  # the same, for people


@dataclass(frozen=True)
class OpenedRuns:
    """Complete runs, ready to be asked about dialogues."""

    workspace: Workspace
    folders: tuple[Path, ...]
    records: tuple[RunRecord, ...]

    @classmethod
    def find(cls, workspace: Workspace, names: Sequence[str]) -> OpenedRuns:
        """The runs of these names, else the newest on the corpus's own splits and all that differ in seed only."""
        if names:
            folders = list(dict.fromkeys(find_run(workspace, name) for name in names))
            return cls(workspace, tuple(folders), tuple(read_record(folder) for folder in folders))
        complete = {path.parent: read_record(path.parent) for path in sorted(workspace.runs.glob(f"*/{RECORD}"))}
        usable = {folder: record for folder, record in complete.items() if record.fold is None}
        if not usable:
            raise ModelError(
                "no run has been trained here to its end",
                where=workspace.runs,
                fix="run `semctl train --model dual-encoder`, which needs no labels, or use --strategy stratified, "
                "which needs no run",
            )
        newest = max(usable, key=lambda folder: ((folder / RECORD).stat().st_mtime_ns, folder.name))
        alike = [folder for folder, record in usable.items() if _but_seed(record) == _but_seed(usable[newest])]
        return cls(workspace, tuple(alike), tuple(usable[folder] for folder in alike))

    @property
    def names(self) -> tuple[str, ...]:
        """Ids of the runs."""
        return tuple(folder.name for folder in self.folders)

    def uncertainty(self, dialogues: Sequence[str], measure: str | None, progress: Progress) -> Uncertainty:
        """How unsure they are, in the mean over a dialogue's recommendation turns.

        A dialogue that recommends nothing is asked about what comes after its last turn.
        """
        judges, starts = self._judges(dialogues)
        kind = self._measure(measure, judges)
        if kind == "seeds":
            found = seed_disagreement(judges, progress)
        elif kind == "teacher":
            ontology = self.workspace.ontology()
            found = teacher_disagreement(
                judges[0], _spoken_states(self._corpus(0), judges[0].queries, ontology), progress
            )
        else:
            found = 1.0 - ranking_margins(judges[0], progress)
        counts = np.diff([*starts, len(found)])
        scores = np.add.reduceat(found, starts) / counts
        why = []
        for start, count, score in zip(starts, counts.tolist(), scores.tolist(), strict=True):
            worst = judges[0].queries[start + int(np.argmax(found[start : start + count]))]
            contexts = f"{count} context" + "s" * (count > 1)
            why.append(_SAID[kind].format(score=score, margin=1 - score, contexts=contexts, turn=worst.turn))
        return Uncertainty(kind, scores, why)

    def vectors(self, dialogues: Sequence[str], progress: Progress) -> npt.NDArray[np.float32]:
        """Where dialogues lie by the first of the runs: the direction of the mean context vector [D, 2 width].

        Means of many contexts are shorter than means of few; left so, short dialogues would be far from everything.
        """
        judges, starts = self._judges(dialogues, first_only=True)
        found = context_vectors(judges[0], progress)
        sums: npt.NDArray[np.float32] = np.add.reduceat(found, starts, axis=0)
        directions: npt.NDArray[np.float32] = sums / np.maximum(np.linalg.norm(sums, axis=1, keepdims=True), 1e-12)
        return directions

    def _judges(self, dialogues: Sequence[str], *, first_only: bool = False) -> tuple[list[Judge], list[int]]:
        judges, starts = [], list[int]()
        for number, folder in enumerate(self.folders[:1] if first_only else self.folders):
            corpus = self._corpus(number)
            queries, starts = _contexts(corpus, dialogues)
            judges.append(Judge(open_ranker(folder, corpus), corpus.products, queries))
        return judges, starts

    def _corpus(self, number: int) -> Corpus:
        return load_corpus(self.workspace, images=bool(self.records[number].images))

    def _measure(self, asked: str | None, judges: Sequence[Judge]) -> Measure:
        taught = has_teacher(judges[0].ranker) and self.records[0].labelled_dialogues > 0
        holds: dict[Measure, bool] = {"seeds": len(judges) > 1, "teacher": taught, "margin": True}
        allowed = [measure for measure in MEASURES if holds[measure]]
        if asked is None:
            return allowed[0]
        measure = known_name("measure", asked, MEASURES)
        if measure in allowed:
            return measure
        fix = (
            "give --run twice or more, or train with another --seed"
            if asked == "seeds"
            else "give a run trained with --labeled-ratio above 0"
        )
        raise UsageError(f"{' and '.join(self.names)} cannot tell '{asked}'", fix=fix)


def _but_seed(record: RunRecord) -> str:
    named = record.labelled if record.labelled_list else None  # else they are drawn by the seed
    return repr([named, record.model, record.config, record.labeled_ratio, record.images, record.inputs])


def _contexts(corpus: Corpus, dialogues: Sequence[str]) -> tuple[list[Query], list[int]]:
    """The recommendation turns of each dialogue, else what comes after it; and where each dialogue's begin."""
    asked: dict[str, list[Query]] = {name: [] for name in dialogues}
    for split in sorted({corpus.splits[name] for name in dialogues}):
        for query in corpus.queries(split):
            if query.dialogue_id in asked:
                asked[query.dialogue_id].append(query)
    queries, starts = list[Query](), list[int]()
    for name, its in asked.items():
        starts.append(len(queries))
        if its:
            queries += its
        else:
            after = corpus.utterances(name)[-1][0] + 1
            queries.append(Query(name, after, corpus.splits[name], corpus.history(name, after), (), ()))
    return queries, starts


def _spoken_states(corpus: Corpus, queries: Sequence[Query], ontology: Ontology) -> list[BeliefState]:
    """The state before each query, if users want exactly the values that they name."""
    values = OntologyValues(ontology)
    states: dict[str, list[tuple[int, BeliefState]]] = {}
    for name in dict.fromkeys(query.dialogue_id for query in queries):
        turns = [(turn, said.text) for turn, said in corpus.utterances(name) if said.speaker == "user"]
        known = accumulate([values.update_of(text) for _, text in turns], ontology)
        states[name] = [(turn, each.state or ()) for (turn, _), each in zip(turns, known, strict=True)]
    return [state_before(states[query.dialogue_id], query.turn) for query in queries]
