"""Answers of judges taken in: win, tie and lose in ``judgements/NAME.json``, and as a Markdown table beside it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

from annotate.exports.reader import ExportedTask, ExportReader
from annotate.judging.answers import REASONS, JudgedAnswers, read_answers
from annotate.judging.figures import OUTCOMES, RESAMPLES, Comparison, JudgingFigures, Share, judging_figures, majority
from annotate.judging.key import Key, KeyedTask
from pipeline.judging.export import file_stem, key_file
from pipeline.workspace import Workspace
from schemas.errors import LabelError, UsageError
from schemas.files import locked, read_toml, temporary_folder, write_atomic, write_json
from schemas.json_form import json_form
from schemas.progress import Progress, SilentProgress
from schemas.validation import did_you_mean

PAPER_FILE = Path(__file__).with_name("paper.toml")

NOTE = (
    f"95 % intervals: percentiles of {RESAMPLES:,} resamples of the dialogues; of a share of 0 or 100 %, Wilson's for "
    "as many trials as dialogues. p: two-sided sign test without ties."
)


class PaperTable(NamedTuple):
    """Table 4 of the paper, per cent, as printed."""

    a: str
    b: str
    turns: int
    judges: int
    win: float
    tie: float
    lose: float
    note: str


def paper_table() -> PaperTable:
    """The paper's own figures."""
    return PaperTable(**read_toml(PAPER_FILE))


@dataclass(frozen=True)
class JudgeReport:
    """What judges say of two runs."""

    key: Key
    answers: JudgedAnswers
    figures: JudgingFigures
    file: Path  # ``judgements/NAME.json``
    table: Path  # the Markdown

    def as_json(self) -> dict[str, Any]:
        """The JSON form; shares are fractions of 1, with 95 % intervals."""
        key, paper = self.key, paper_table()
        by_task: dict[str, dict[str, Any]] = {}
        for vote in self.answers.votes:
            said = {"outcome": vote.task.outcome(vote.choice), "side": vote.choice}
            by_task.setdefault(vote.task.uid, {})[vote.judge] = said | (
                {"comment": vote.comment} if vote.comment else {}
            )
        return {
            "name": key.name,
            "a": key.a,
            "b": key.b,
            **{name: getattr(key, name) for name in ("split", "seed", "top")},
            "turns": len(key.tasks) + len(key.same),
            "answers": {
                "received": self.answers.received,
                "counted": len(self.answers.votes),
                "left_out": self.answers.counts(),
                "drafts": self.answers.drafts,
            },
            "left_out": [json_form(each) for each in self.answers.left_out],
            "figures": {**json_form(self.figures), "alpha": self.figures.alpha.as_json()},
            "paper": json_form(paper),
            "cases": [_case(task, by_task.get(task.uid, {})) for task in key.tasks],
            "same": [json_form(turn) for turn in key.same],
        }


def _case(task: KeyedTask, votes: Mapping[str, Mapping[str, Any]]) -> dict[str, Any]:
    outcomes = [vote["outcome"] for vote in votes.values()]
    return {**json_form(task, "shown_sha256"), "votes": votes, "majority": majority(outcomes) if outcomes else None}


@dataclass(frozen=True)
class JudgeIngest:
    """Where answers come from.

    Raises:
        UsageError: from nowhere, or from files and a project.
    """

    exports: tuple[Path, ...] = ()  # JSON exports of Label Studio
    project: str | None = None  # the name given at the export; all its judges' projects are read

    def __post_init__(self) -> None:
        if bool(self.exports) == (self.project is not None):
            raise UsageError("say where the answers are: EXPORT.json or --project TITLE", fix="one of the two")


def ingest_judgement(
    workspace: Workspace, request: JudgeIngest, *, progress: Progress = SilentProgress()
) -> JudgeReport:
    """Read all answers there are, and write the figures; the same answers give the same bytes.

    Raises:
        LabelError: nothing was exported under that name, no answer counts, or an export or key that cannot be read.
        ServiceError: Label Studio is down or refuses the key.
    """
    workspace.require()
    with locked(workspace.judgements / ".lock"), temporary_folder(workspace.judgements / "answers") as folder:
        if request.project is not None:
            key, exports, users = _pulled(workspace, request.project, folder, progress)
        else:
            exports, users = list(request.exports), {}
            key = _key_of(workspace, exports)
        answers = read_answers(_tasks(exports, progress), key, users)
        if not answers.votes:
            reasons = ", ".join(f"{count} {REASONS[reason]}" for reason, count in answers.counts().items())
            raise LabelError(
                f"no answer counts, of {answers.received}" + (f": {reasons}" if reasons else ""),
                where=request.project or ", ".join(map(str, request.exports)),
                fix="have the tasks judged first",
            )
        stem = workspace.judgements / file_stem(key.name)
        file, table = (stem.with_name(f"{stem.name}{suffix}") for suffix in (".json", ".md"))
        report = JudgeReport(key, answers, judging_figures(key, answers.votes), file, table)
        write_json(report.file, report.as_json())
        write_atomic(report.table, judgement_table(report))
    return report


def _pulled(
    workspace: Workspace, name: str, folder: Path, progress: Progress
) -> tuple[Key, list[Path], Mapping[int, str]]:
    """The key, all answers of its projects, and who the server's users are."""
    from annotate.label_studio.gateway import connect

    key = _named_key(workspace, name)
    titles = [place.project for place in key.places if place.project is not None] or [name]
    gateway = connect(workspace.root)
    exports = []
    for title in titles:
        project = gateway.require_project(title)
        export = folder / f"{project.id}.json"
        answered = [head.id for head in gateway.task_heads(project, progress=progress) if head.answers]
        gateway.export_tasks(project, answered, export, progress)
        exports.append(export)
    return key, exports, gateway.users()


def _named_key(workspace: Workspace, name: str) -> Key:
    path = key_file(workspace, name)
    if not path.is_file():
        known = [key.name for key in _keys(workspace)]
        some = f"there are {', '.join(known)}" if known else "make one with `semctl judge export`"
        raise LabelError(f"nothing to judge was exported as '{name}'", fix=did_you_mean(name, known, some))
    return Key.read(path)


def _keys(workspace: Workspace) -> list[Key]:
    return [Key.read(path) for path in sorted(workspace.judgements.glob("*.key.json"))]


def _key_of(workspace: Workspace, exports: Sequence[Path]) -> Key:
    """The key that the tasks of the exports name; where they name several, that of the first."""
    keys = {key.judgement: key for key in _keys(workspace)}
    for task in _tasks(exports, SilentProgress()):
        key = keys.get(str(task.data.get("judgement")))
        if key is not None:
            return key
    raise LabelError(
        "no task of these exports was made by `semctl judge export` in this workspace",
        where=", ".join(map(str, exports)),
        fix="take the export of a judging project, and the workspace that it was exported from",
    )


def _tasks(exports: Sequence[Path], progress: Progress) -> Iterator[ExportedTask]:
    for export in exports:
        yield from ExportReader(export).tasks(progress)


def shown_share(share: Share) -> str:
    """A share in per cent with its interval: ``32.2 (20.0 to 44.1)``."""
    if share.value is None:
        return "-"
    low, high = (100 * (end if end is not None else float("nan")) for end in (share.low, share.high))
    return f"{100 * share.value:.1f} ({low:.1f} to {high:.1f})"


def shown_rows(report: JudgeReport) -> Iterator[tuple[str, Mapping[str, str], str, int]]:
    """The lines of the table: whose, outcome -> share, p, and how many votes or turns; then the paper's."""
    figures = report.figures
    rows: list[tuple[str, Comparison, bool]] = [(row.of, row, False) for row in figures.rows]
    if figures.same:
        rows += [(f"{row.of}, with the same lists as ties", row, True) for row in figures.rows[-2:]]
    for title, row, with_same in rows:
        shares = row.with_same if with_same else row.shares
        p = "" if row.p_value is None or with_same else f"{row.p_value:.3f}" if row.p_value >= 0.001 else "< 0.001"
        yield title, {name: shown_share(shares[name]) for name in OUTCOMES}, p, sum(row.counts.values())
    paper = paper_table()
    printed = {"win": paper.win, "tie": paper.tie, "lose": paper.lose}
    title = f"the paper: {paper.a} against {paper.b}, all votes"
    yield title, {name: f"{value:.2f}" for name, value in printed.items()}, "", paper.turns * paper.judges


def shown_agreement(report: JudgeReport) -> str:
    """What is to be said of agreement, of turns without answers and of answers that do not count."""
    figures, answers = report.figures, report.answers
    said = [f"{figures.judged} of {len(report.key.tasks)} tasks answered by {len(figures.rows) - 2} judges"]
    if figures.same:
        said.append(f"{figures.same} turns not asked, both lists being the same")
    if figures.shared:
        alpha = figures.alpha
        value = "undefined (only one outcome occurs)" if alpha.value is None else f"{alpha.value:.2f}"
        ends = "" if alpha.low is None or alpha.high is None else f" ({alpha.low:.2f} to {alpha.high:.2f})"
        said.append(f"Krippendorff's alpha {value}{ends} over {figures.shared} turns of several judges")
        said.append(f"{figures.unanimous} of them unanimous")
    said.append(f"left chosen {figures.left} times, right {figures.right}")
    said.append(f"{answers.received} answers = {len(answers.votes)} counted + {len(answers.left_out)} left out")
    return "; ".join(said)


def judgement_table(report: JudgeReport) -> str:
    """The figures as Markdown."""
    key = report.key
    lines = [
        f"# {_cell(key.name)}",
        "",
        f"A, `{key.a}`, against B, `{key.b}`: {len(key.tasks) + len(key.same)} recommendation turns of {key.split}, "
        f"the {key.top} best products of each, seed {key.seed}.",
        "",
        "| per cent | A wins | tie | A loses | p | votes or turns |",
        "|---|---|---|---|---|---|",
    ]
    for title, shares, p, count in shown_rows(report):
        lines.append(f"| {_cell(title)} | {' | '.join(shares[name] for name in OUTCOMES)} | {p} | {count} |")
    lines += ["", f"{shown_agreement(report)}.", "", NOTE, "", paper_table().note]
    for reason, count in report.answers.counts().items():
        lines += ["", f"Left out: {count} {REASONS[reason]}."]
    return "\n".join(lines) + "\n"


def _cell(text: str) -> str:
    """Text of outside, such that a table of Markdown stays one."""
    return " ".join(text.split()).replace("\\", "\\\\").replace("|", "\\|").replace("<", "&lt;")
