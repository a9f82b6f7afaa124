"""``semctl agreement``: how far the people who labelled the same turns of a workspace agree."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from annotate.agreement.aligned_labels import AlignedLabels, CellReader, read_dialogue
from annotate.agreement.coefficients import DISTANCES, Distance
from annotate.agreement.figures import measure
from annotate.agreement.reading import Labelled, UserTurns, annotations_by_dialogue, read_labelled, read_user_turns
from annotate.agreement.report import AgreementReport
from annotate.agreement.tally import Tally
from annotate.annotations.migration import Migration
from pipeline.workspace import Workspace
from schemas.errors import CheckError, UsageError
from schemas.json_form import json_form
from schemas.progress import Progress, SilentProgress
from schemas.validation import did_you_mean

_SPLITS = ("train", "valid", "test")


@dataclass(frozen=True)
class AgreementRequest:
    """What to compare, and how."""

    annotators: tuple[str, ...] = ()  # whose answers; empty for everybody's
    split: str | None = None  # only dialogues of train, valid or test
    distance: str = "nominal"  # ``nominal`` or ``masi``, see :func:`annotate.agreement.coefficients.similarity`
    bootstrap: int = 1000  # resamples for the intervals; 0 for none
    seed: int = 0  # of the resamples
    worst: int = 20  # how many dialogues and confusions to list

    def __post_init__(self) -> None:
        if len(set(self.annotators)) == 1:
            raise UsageError(f"--annotators names {self.annotators[0]} only", fix="name two or more, or leave it out")
        if self.split is not None and self.split not in _SPLITS:
            raise UsageError(f"no split '{self.split}'", fix=f"take one of {', '.join(_SPLITS)}")
        if self.distance not in DISTANCES:
            raise UsageError(f"no distance '{self.distance}'", fix=f"take one of {', '.join(DISTANCES)}")

    @property
    def kind(self) -> Distance:
        """The distance, as one of those there are."""
        return "masi" if self.distance == "masi" else "nominal"

    def as_json(self) -> dict[str, object]:
        """How it was counted, for the report."""
        return {**json_form(self, "worst"), "annotators": list(self.annotators) or None}


def workspace_agreement(
    workspace: Workspace, request: AgreementRequest, *, progress: Progress | None = None
) -> AgreementReport:
    """Compare what people answered, over all turns that two of them or more did.

    Raises:
        UsageError: an annotator is named who answered nothing.
        WorkspaceError: not a workspace, or nothing imported yet.
        SchemaError: a table of another version.
        OntologyError: the ontology cannot be read.
    """
    progress = progress or SilentProgress()
    ontology = workspace.require().ontology()
    labelled = read_labelled(workspace.annotations)
    _check_names(request.annotators, labelled)
    reader = CellReader(ontology)
    comparable = [each for each, found in labelled.items() if _of(found, request.annotators).is_comparable()]
    turns = read_user_turns(workspace.turns, comparable)
    chosen = {each: found for each, found in turns.items() if request.split in (None, found.split)}
    tally = Tally(reader.slots, request.kind, prelabels=any(labelled[each].prelabelled for each in chosen))
    answers = _answers(workspace, chosen, request, reader)
    for dialogue_id, answered in progress.track(answers, "comparing", total=len(chosen)):
        tally.add(dialogue_id, answered)
    left_out = {
        "dialogues no longer in the corpus": len(comparable) - len(turns),
        "answers to turns no longer in the corpus": tally.orphaned,
        **{f"marks of the unknown slot '{name}'": n for name, n in sorted(reader.unknown_slots.items())},
    }
    return measure(
        tally,
        bootstrap=request.bootstrap,
        seed=request.seed,
        worst=request.worst,
        settings=request.as_json(),
        left_out={what: n for what, n in left_out.items() if n},
        progress=progress,
    )


def answers_to(
    workspace: Workspace, dialogues: Sequence[str], request: AgreementRequest
) -> tuple[tuple[str, ...], dict[str, AlignedLabels]]:
    """The slots by position, and dialogue id -> what people answered, for a few dialogues to be shown."""
    reader = CellReader(workspace.ontology())
    return reader.slots, dict(_answers(workspace, read_user_turns(workspace.turns, dialogues), request, reader))


def check_alpha(report: AgreementReport, at_least: float) -> None:
    """Hold overall alpha against a threshold.

    Raises:
        CheckError: it is below, or there is none.
    """
    alpha = report.alpha
    if alpha.value is None:
        raise CheckError(
            f"no alpha to hold against {at_least:g}: {report.undefined}",
            fix="have two people or more label the same dialogues",
        )
    if alpha.value < at_least:
        spread = "" if alpha.low is None else f", 95 % interval {alpha.low:.3f} to {alpha.high:.3f}"
        worst = ", ".join(slot.slot for slot in report.slots[:3] if slot.alpha.value is not None)
        raise CheckError(
            f"alpha is {alpha.value:.3f}, {at_least - alpha.value:.3f} below {at_least:g}{spread}",
            fix=f"look at the slots {worst} first: the guideline may be unclear, or values too close",
        )


def _of(found: Labelled, annotators: tuple[str, ...]) -> Labelled:
    return found._replace(people=found.people & set(annotators)) if annotators else found


def _answers(
    workspace: Workspace, turns: Mapping[str, UserTurns], request: AgreementRequest, reader: CellReader
) -> Iterator[tuple[str, AlignedLabels]]:
    ontology = workspace.ontology()
    whose = frozenset(request.annotators) or None
    stored = annotations_by_dialogue(workspace.annotations, turns.keys())
    for dialogue_id, given in Migration(ontology).dialogues(stored):
        yield dialogue_id, read_dialogue(given, turns[dialogue_id].turns, reader, ontology, whose)


def _check_names(annotators: tuple[str, ...], labelled: Mapping[str, Labelled]) -> None:
    known = sorted({name for found in labelled.values() for name in found.people})
    for name in annotators:
        if name not in known:
            fix = did_you_mean(name, known, f"there are {', '.join(known) or 'none'}")
            raise UsageError(f"no labels by '{name}'", fix=fix)
