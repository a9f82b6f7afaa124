"""``semctl agreement``: how far the people who labelled the same turns agree, also as one HTML page on its own."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal, NamedTuple

from annotate.agreement.aligned_labels import NEW_TOPIC, NOTHING, AlignedLabels, CellReader, LabelledTurn, read_dialogue
from annotate.agreement.coefficients import DISTANCES, Distance
from annotate.agreement.figures import measure
from annotate.agreement.reading import Labelled, UserTurns, annotations_by_dialogue, read_labelled, read_user_turns
from annotate.agreement.report import GOOD, TENTATIVE, AgreementReport, Estimate, SlotScore, word
from annotate.agreement.tally import Tally
from annotate.annotations.migration import Migration
from pipeline.reports.pages import render
from pipeline.workspace import Workspace
from schemas.errors import CheckError, UsageError
from schemas.files import write_atomic
from schemas.json_form import json_form
from schemas.progress import Progress, SilentProgress
from schemas.tables import TURNS, read_table
from schemas.validation import did_you_mean

_SPLITS = ("train", "valid", "test")
_LEAST_SAID = 5
_MOST_PAIRS = 40

Texts = Mapping[tuple[str, int, str], str]
"""(dialogue id, turn, speaker) -> what is said."""


@dataclass(frozen=True)
class AgreementRequest:
    """What to compare, and how."""

    annotators: tuple[str, ...] = ()  # whose answers; empty for everybody's
    split: str | None = None  # only dialogues of train, valid or test
    distance: Distance = "nominal"  # see :func:`annotate.agreement.coefficients.similarity`
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

    def as_json(self) -> dict[str, object]:
        """How it was counted, for the report."""
        return {**json_form(self, "worst"), "annotators": list(self.annotators) or None}


def workspace_agreement(
    workspace: Workspace, request: AgreementRequest, *, progress: Progress = SilentProgress()
) -> AgreementReport:
    """Compare what people answered, over all turns that two of them or more did.

    Raises:
        InputError: an annotator is named who answered nothing, or a table or the ontology cannot be read.
    """
    ontology = workspace.require().ontology()
    labelled = read_labelled(workspace.annotations)
    _check_names(request.annotators, labelled)
    reader = CellReader(ontology)
    comparable = [each for each, found in labelled.items() if _of(found, request.annotators).is_comparable()]
    turns = read_user_turns(workspace.turns, comparable)
    chosen = {each: found for each, found in turns.items() if request.split in (None, found.split)}
    tally = Tally(reader.slots, request.distance, prelabels=any(labelled[each].prelabelled for each in chosen))
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


def slot_scores(report: AgreementReport) -> tuple[SlotScore, ...]:
    """All slots as one, each slot, and new topics."""
    said = sum(slot.said for slot in report.slots)
    everything = SlotScore("all slots", report.alpha, report.f1, report.turns, said, report.undefined)
    return everything, *report.slots, replace(report.new_topic, slot="new topic")


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


class Chip(NamedTuple):
    """One thing said: by everybody (``same``), not by everybody (``apart``), or left unsaid (``silent``)."""

    text: str
    kind: Literal["same", "apart", "silent"]


class AnswerShown(NamedTuple):
    """One answer to a turn."""

    who: str
    chips: tuple[Chip, ...]
    is_verdict: bool


class TurnShown(NamedTuple):
    """A turn that was answered differently."""

    turn: int
    before: str  # what the assistant said before it
    text: str  # what the user says
    answers: tuple[AnswerShown, ...]


def write_page(path: Path, workspace: Workspace, report: AgreementReport, request: AgreementRequest) -> None:
    """Write the page of a report, with the texts of the turns it shows; the same report gives the same bytes.

    Raises:
        UsageError: the file cannot be written.
    """
    apart = [each.dialogue_id for each in report.worst if each.differing_turns]
    examples = (each for mixed in (*report.confusions, *report.omissions) for each in mixed.examples)
    texts = _texts(workspace, {*apart, *(each.dialogue_id for each in examples)})
    often = [value for value in report.values if value.said >= _LEAST_SAID and value.alpha.value is not None]
    often.sort(key=lambda value: (value.alpha.value or 0.0, -value.said))
    page = render(
        "agreement.html",
        title=workspace.root.name,
        report=report,
        names=sorted(each.annotator for each in report.annotators),
        sentence=_sentence(report),
        slots=slot_scores(report),
        often=len(often),
        worst_values=often[: len(report.worst) or 20],
        turns=_differing_turns(workspace, apart, request, texts),
        texts=texts,
        settings=[f"{name} {value}" for name, value in report.settings.items() if value is not None],
        good=GOOD,
        tentative=TENTATIVE,
        least_said=_LEAST_SAID,
        most_pairs=_MOST_PAIRS,
        word=word,
        figure=_figure,
        percent=_percent,
        between=_between,
        shortened=lambda text: text if len(text) <= 180 else f"{text[:179]}…",
    )
    try:
        write_atomic(path, page)
    except OSError as problem:
        raise UsageError(f"cannot write the page: {problem.strerror}", where=path) from None


def _texts(workspace: Workspace, dialogues: Collection[str]) -> Texts:
    if not dialogues:
        return {}
    columns = ["dialogue_id", "turn", "speaker", "text"]
    rows = read_table(workspace.turns, TURNS, columns=columns, filters=[("dialogue_id", "in", dialogues)])
    return {(row["dialogue_id"], row["turn"], row["speaker"]): row["text"] for row in rows.to_pylist()}


def _differing_turns(
    workspace: Workspace, dialogues: Sequence[str], request: AgreementRequest, texts: Texts
) -> dict[str, list[TurnShown]]:
    """Dialogue id -> its turns with different answers."""
    slots, answers = answers_to(workspace, dialogues, request)
    return {
        dialogue: [
            TurnShown(
                turn, texts.get((dialogue, turn - 1, "system"), ""), texts.get((dialogue, turn, "user"), ""), shown
            )
            for turn in sorted({turn for turns in answered.people.values() for turn in turns})
            if (shown := _answers_shown(answered, turn, slots)) is not None
        ]
        for dialogue, answered in answers.items()
    }


def _sentence(report: AgreementReport) -> str:
    if report.undefined is not None:
        return f"There is no overall alpha: {report.undefined}."
    weak = [slot.slot for slot in report.slots if word(slot.alpha.value) == "poor"]
    near = [slot.slot for slot in report.slots if word(slot.alpha.value) == "tentative"]
    parts = [f"Poor: {', '.join(weak)}."] if weak else ["No slot is poor."]
    parts += [f"Tentative: {', '.join(near)}."] if near else []
    if report.confusions:
        first = report.confusions[0]
        parts.append(f"Mixed up most: {first.slot}, {first.first} against {first.second} ({first.count:,} times).")
    return " ".join(parts)


def _figure(value: float | None) -> str:
    return "–" if value is None else f"{round(value, 2) + 0.0:.2f}".replace("-", "−")  # + 0.0: no minus before 0.00


def _percent(value: float | None) -> str:
    return "–" if value is None else f"{value:.0%}"


def _between(found: Estimate, shown: Callable[[float | None], str] = _figure) -> str:
    return "" if found.low is None or found.high is None else f"{shown(found.low)} to {shown(found.high)}"


def _answers_shown(answered: AlignedLabels, turn: int, slots: Sequence[str]) -> tuple[AnswerShown, ...] | None:
    """Everybody's answers; None where fewer than two people answered, or all say the same."""
    given = {who: turns[turn] for who, turns in answered.people.items() if turn in turns}
    if len(given) < 2:
        return None
    apart = {
        slot
        for slot in range(len(slots))
        if len({said.cells.get(slot, NOTHING) for said in given.values() if slot not in said.missing}) > 1
    }
    if not apart:
        return None
    shown = [AnswerShown(who, _chips(said, given, apart, slots), False) for who, said in given.items()]
    if turn in answered.verdicts:
        shown.append(AnswerShown("verdict", _chips(answered.verdicts[turn], given, set(), slots), True))
    return tuple(shown)


def _chips(
    said: LabelledTurn, given: Mapping[str, LabelledTurn], apart: set[int], slots: Sequence[str]
) -> tuple[Chip, ...]:
    chips: list[Chip] = []
    for slot, name in enumerate(slots):
        if slot in said.missing:
            continue
        for element in sorted(said.cells.get(slot, NOTHING), key=lambda each: (each.op == "dislike", each)):
            by_all = all(element in other.cells.get(slot, NOTHING) for other in given.values())
            text = str(element) if name == NEW_TOPIC else f"{name}: {element}"
            chips.append(Chip(text, "same" if by_all or slot not in apart else "apart"))
        if slot in apart and not said.cells.get(slot):
            chips.append(Chip("no new topic" if name == NEW_TOPIC else f"{name}: –", "silent"))
    return tuple(chips)
