"""Labels that are probably wrong, the most improbable first: what other labels teach, held against each of them.

The state tracker reads every labelled turn after the state that the labels give before it, taught by the labels of
other dialogues only (out of fold, as in confident learning: Northcutt et al., Journal of Artificial Intelligence
Research 70, 2021). A label is as improbable as the most improbable value in it.
"""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

from annotate.checks.findings import CODES
from pipeline.chosen_dialogues import read_dialogues
from pipeline.modelling.state_tracking import image_choices, labelled_dialogues
from pipeline.workspace import Workspace, check_vocabulary
from schemas.belief import BeliefState, Polarity, state_from_rows
from schemas.errors import LabelError, UsageError
from schemas.files import write_atomic
from schemas.folding import fold
from schemas.json_form import json_form
from schemas.ontology import Ontology
from schemas.progress import Progress, SilentProgress
from schemas.tables import FINDINGS, STATES, read_table

if TYPE_CHECKING:
    from semantic_model.states.tracker import Beliefs, LabelledDialogue
    from semantic_model.states.turn_reading import Choice

How = Literal["missing", "marked", "kept", "ended"]
"""``missing``: the turn says the value, the label does not. ``marked``: the label says it, the turn only names it.
``kept``: it was wanted before and the label keeps it, the turn gives it up. ``ended``: the other way round."""

_BESIDE_A_FINDING = 0.1
"""How much less probable an error or a warning of the checks makes a label; chosen on planted errors of other seeds
than those that are published."""

_EVEN = 0.5

_AGAIN = "run `semctl ingest-labels` first"


@dataclass(frozen=True)
class AuditRequest:
    """What ``semctl audit`` was asked to do."""

    top: int = 50  # how many turns are shown; their dialogues are the list
    folds: int = 5  # parts of the dialogues, each read by a tracker that the others taught
    out: Path | None = None  # the file that the list goes to; None: ``labelling/audit.txt``


class Doubt(NamedTuple):
    """One value, as the label of a turn has it or leaves it out."""

    probability: float  # that it is as the label says, to the tracker
    how: How
    slot: str
    value: str
    polarity: Polarity


class Suspect(NamedTuple):
    """One labelled turn, with the value that its label is most improbable for."""

    score: float  # the probability of the doubt, a tenth of it where the checks found an error or a warning
    dialogue_id: str
    turn: int
    text: str
    doubt: Doubt
    label: tuple[str, ...]  # what the label says of the slot after the turn; ``!value``: to be avoided
    reads: tuple[str, ...]  # what the tracker holds for likelier than not
    findings: tuple[str, ...]  # codes of errors and warnings that `checks` has of the turn, the worst first
    annotators: tuple[str, ...]

    def as_json(self) -> dict[str, Any]:
        return {**json_form(self, "doubt"), **json_form(self.doubt)}


@dataclass(frozen=True)
class AuditReport:
    """The labels read, and the most improbable of them."""

    turns: int  # labelled turns read
    dialogues: int  # their dialogues
    taught_by: int  # labelled dialogues that each tracker learned from, at least; 0: too few, and rules alone read
    folds: int
    rows: tuple[Suspect, ...]
    listed: tuple[str, ...]  # the dialogues of the rows, in the order of the worst of each
    file: Path

    def as_json(self) -> dict[str, Any]:
        return {**json_form(self, "rows", "listed"), "suspects": [r.as_json() for r in self.rows], "list": self.listed}


class TurnLabel(NamedTuple):
    """What is known after one user turn."""

    slots: frozenset[str]  # names of the slots that are known
    annotators: tuple[str, ...]  # whose label it is


@dataclass(frozen=True)
class Labels:
    """Labels of any number of dialogues."""

    dialogues: Mapping[str, LabelledDialogue]  # by id, with what is known of the state after each user turn
    teaching: frozenset[str]  # ids of those labelled throughout, which teach the tracker
    turns: Mapping[tuple[str, int], TurnLabel]  # of every labelled turn, by dialogue and turn

    @classmethod
    def read(cls, workspace: Workspace, progress: Progress) -> Labels:
        """All labels of a workspace.

        Raises:
            LabelError: there are none.
            WorkspaceError: they are older than a change of the ontology.
        """
        from semantic_model.states.tracker import LabelledDialogue

        if not workspace.states.is_file():
            raise LabelError("there are no labels to audit", where=workspace.states, fix=_AGAIN)
        check_vocabulary(workspace)
        columns = ["dialogue_id", "turn", "state", "labelled_slots", "annotators"]
        states: dict[str, dict[int, BeliefState | None]] = {}
        turns: dict[tuple[str, int], TurnLabel] = {}
        for row in read_table(workspace.states, STATES, columns=columns).to_pylist():
            states.setdefault(row["dialogue_id"], {})[row["turn"]] = state_from_rows(row["state"])
            if row["state"] is not None:
                known = TurnLabel(frozenset(row["labelled_slots"]), tuple(row["annotators"]))
                turns[row["dialogue_id"], row["turn"]] = known
        if not turns:
            raise LabelError("no turn is labelled", where=workspace.states, fix=_AGAIN)
        labelled = sorted({name for name, _ in turns})
        rows = read_dialogues(workspace.turns, labelled, progress)
        dialogues = {name: LabelledDialogue(rows[name], states[name]) for name in labelled}
        return cls(dialogues, frozenset(labelled_dialogues(workspace, without={})), turns)


class OutOfFold(NamedTuple):
    """What trackers believe of labels that did not teach them."""

    beliefs: Mapping[str, Mapping[int, Beliefs]]  # dialogue -> turn -> what to expect after it, see ``beliefs_given``
    taught_by: int  # see :class:`AuditReport`


def audit(workspace: Workspace, request: AuditRequest, *, progress: Progress | None = None) -> AuditReport:
    """Rank the labelled turns and write the dialogues of the worst ones, for ``export-for-labelling --dialogues``.

    The same labels and request give the same list. Labels likelier than not are never in it.

    Raises:
        UsageError: no turn is asked for, a number of folds that cannot be made, or a file that cannot be written.
        LabelError: there are no labels.
        WorkspaceError: no workspace, or labels older than a change of the ontology.
    """
    shown = progress or SilentProgress()
    workspace.require()
    if request.top < 1:
        raise UsageError(f"--top {request.top} shows nothing", fix="give 1 or more")
    file = request.out or workspace.audit
    if file.is_dir():
        raise UsageError("this is a folder", where=file, fix="name a file for the list")
    ontology = workspace.ontology()
    labels = Labels.read(workspace, shown)
    read = out_of_fold(labels, ontology, image_choices(workspace, ontology), request.folds, shown)
    ranked = rank(labels, read.beliefs, ontology, _findings(workspace))
    rows = tuple(each for each in ranked if each.score < _EVEN)[: request.top]
    listed = tuple(dict.fromkeys(each.dialogue_id for each in rows))
    try:
        write_atomic(file, "".join(f"{name}\n" for name in listed))
    except OSError as problem:
        raise UsageError(f"cannot write the list: {problem.strerror}", where=file) from None
    turns = sum(map(len, read.beliefs.values()))
    return AuditReport(turns, len(labels.dialogues), read.taught_by, request.folds, rows, listed, file)


def out_of_fold(
    labels: Labels, ontology: Ontology, attributes: Mapping[str, frozenset[Choice]], folds: int, progress: Progress
) -> OutOfFold:
    """What trackers believe, each taught by the dialogues of the other folds.

    Dialogues are dealt to the folds in the order of a hash, so that the same ones always meet. Rules alone read all,
    where a tracker would learn from fewer dialogues than it needs.

    Raises:
        UsageError: fewer than two folds, or more folds than dialogues that teach.
    """
    from semantic_model.states.tracker import FEWEST_DIALOGUES, fit_tracker

    if folds < 2:
        raise UsageError(f"--folds {folds} leaves no dialogue to learn from", fix="give 2 or more")
    teaching = len(labels.teaching)
    if folds > teaching >= FEWEST_DIALOGUES:
        raise UsageError(f"--folds {folds} are more than the dialogues that teach", fix=f"give 2 to {teaching}")
    taught_by = teaching - -(-teaching // folds)
    if taught_by < FEWEST_DIALOGUES:
        folds, taught_by = 1, 0
    dealt = sorted(labels.dialogues, key=lambda name: (name not in labels.teaching, _order(name)))
    parts = [dealt[part::folds] for part in range(folds)]
    beliefs: dict[str, Mapping[int, Beliefs]] = {}
    for part in progress.track(parts, "labels read by what the others teach", total=folds):
        teachers = sorted(labels.teaching.difference(part)) if taught_by else ()
        tracker = fit_tracker([labels.dialogues[name] for name in teachers], ontology, attributes)
        beliefs |= {name: tracker.beliefs_given(labels.dialogues[name]) for name in part}
    return OutOfFold(beliefs, taught_by)


def rank(
    labels: Labels,
    beliefs: Mapping[str, Mapping[int, Beliefs]],
    ontology: Ontology,
    findings: Mapping[tuple[str, int], Sequence[str]],
) -> list[Suspect]:
    """All turns of which there are beliefs, the most improbable label first.

    Args:
        findings: (dialogue, turn) -> codes of what the checks found there, see :attr:`Suspect.findings`.
    """
    from semantic_model.states.turn_reading import TurnReader

    reader = TurnReader(ontology)
    found = []
    for name, of_turns in beliefs.items():
        dialogue = labels.dialogues[name]
        texts = {row["turn"]: row["text"] for row in dialogue.rows}
        turns = sorted(dialogue.states)
        for turn, believed in of_turns.items():
            before = turns.index(turn) - 1
            slots, annotators = labels.turns[name, turn]
            if before >= 0:
                slots &= labels.turns[name, turns[before]].slots
            earlier = (dialogue.states[turns[before]] or ()) if before >= 0 else ()
            after = dialogue.states[turn] or ()
            worst = min(doubts(earlier, after, believed, reader.named(texts[turn]), slots), default=None)
            if worst is not None:
                codes = tuple(findings.get((name, turn), ()))
                label, reads = _label(after, worst), _reads(believed, worst)
                score = worst.probability * (_BESIDE_A_FINDING if codes else 1)
                found.append(Suspect(score, name, turn, texts[turn], worst, label, reads, codes, annotators))
    return sorted(found, key=lambda each: (each.score, each.dialogue_id, each.turn))


def doubts(
    before: BeliefState, after: BeliefState, believed: Beliefs, named: Collection[Choice], slots: Collection[str]
) -> Iterator[Doubt]:
    """How probable a label is for each value that it, the state before it or the tracker speaks of.

    A value newly marked is held against the tracker where the turn names it and the tracker weighs it. Where it does
    not, the annotator may have seen what no text says, such as a product in a photo, or understood what a rule read
    the wrong way round ("anything except with a good rating"): the label is no less than even then.

    Args:
        named: the values that the turn names, whatever it says of them.
        slots: names of the slots that the label knows, before and after.
    """
    held, now = _keys(before), _keys(after)
    likely = {_key(*key): belief for key, belief in believed.items()}
    said = {(slot, fold(value)) for slot, value in named}
    spelled = {_key(*key): key for key in believed} | held | now
    for key, (slot, value, polarity) in spelled.items():
        if slot not in slots:
            continue
        belief = likely.get(key, 0.0)
        if key in now:
            how: How = "kept" if key in held else "marked"
            is_judged = key in held or (key[:2] in said and key in likely)
            probability = belief if is_judged else max(belief, _EVEN)
        else:
            how, probability = ("ended" if key in held else "missing"), 1 - belief
        yield Doubt(probability, how, slot, value, polarity)


_Key = tuple[str, str, Polarity]


def _key(slot: str, value: str, polarity: Polarity) -> _Key:
    return slot, fold(value), polarity


def _keys(state: BeliefState) -> dict[_Key, _Key]:
    """Key -> slot, value and polarity as they are spelled."""
    return {_key(item.slot, item.value, item.polarity): (item.slot, item.value, item.polarity) for item in state}


def _label(after: BeliefState, doubt: Doubt) -> tuple[str, ...]:
    return tuple(_shown(item.value, item.polarity) for item in after if item.slot == doubt.slot)


def _reads(believed: Beliefs, doubt: Doubt) -> tuple[str, ...]:
    return tuple(
        _shown(value, polarity)
        for (slot, value, polarity), belief in sorted(believed.items())
        if slot == doubt.slot and belief > _EVEN
    )


def _shown(value: str, polarity: Polarity) -> str:
    return f"!{value}" if polarity == "dislike" else value


def _order(name: str) -> bytes:
    return hashlib.sha256(f"audit:{name}".encode()).digest()


def _findings(workspace: Workspace) -> dict[tuple[str, int], list[str]]:
    """(dialogue, turn) -> codes of its errors and warnings, the worst first."""
    columns = ["dialogue_id", "turn", "code"]
    wanted = [("severity", "in", ["error", "warning"])]
    rows = read_table(workspace.findings, FINDINGS, columns=columns, filters=wanted).to_pylist()
    found: dict[tuple[str, int], list[str]] = {}
    for code in CODES:
        for row in rows:
            if row["code"] == code and row["turn"] is not None:
                codes = found.setdefault((row["dialogue_id"], row["turn"]), [])
                codes += [code] * (code not in codes)
    return found
