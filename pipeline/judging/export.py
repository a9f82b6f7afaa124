"""Turns drawn, ranked by two runs, and put before judges, who see neither run nor score.

Drawn are recommendation turns of a split, one of each dialogue first, in an order that the seed decides. Both runs rank
the whole catalogue. Turns for which both give the same list are not asked: they are ties. Which list is left is drawn
by the seed, A's on one half of the tasks, and kept in ``judgements/NAME.key.json``; nothing of it is in a task.
"""

from __future__ import annotations

import random
import re
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, NamedTuple

from annotate.assignment.selection_strategies import place_in_order, seeded_order
from annotate.judging.key import KEY_SCHEMA, JudgingPlace, Key, KeyedTask, SameTurn
from annotate.judging.screen import judging_config, judging_instruction
from annotate.judging.tasks import ShownProduct, judging_task, shown_sha256
from annotate.tasks.dialogue_tasks import TaskStyle
from pipeline.batches import ToProjectOrFile
from pipeline.chosen_dialogues import read_dialogues
from pipeline.labelling.assignment_record import assignment_name, part_place
from pipeline.labelling.task_images import TaskImages
from pipeline.modelling.recommender import not_in_name, top_products
from pipeline.modelling.run_record import read_record
from pipeline.modelling.runs import find_run, load_corpus, open_ranker
from pipeline.workspace import Workspace
from schemas.errors import LabelError, ModelError, UsageError
from schemas.files import locked, sha256_bytes, write_atomic, write_json
from schemas.json_form import json_form
from schemas.progress import Progress, SilentProgress
from semantic_model.data.records import Product, Query

_MOST_PRODUCTS = 20
_PLAIN = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,60}")


@dataclass(frozen=True)
class JudgeRequest(ToProjectOrFile):
    """What is to be judged, and where.

    Raises:
        UsageError: a number out of range, a run against itself, or a name that tells judges which runs there are.
    """

    run_a: str  # a run's id, or ``latest``
    run_b: str
    turns: int = 100  # recommendation turns drawn, at most
    seed: int = 0  # of the draw, the order and the sides
    split: str = "test"
    top: int = 10  # products in a list
    annotators: tuple[str, ...] = ()  # each gets all tasks, in a project or file of their own; empty: one for anybody

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.turns < 1:
            raise UsageError(f"-n {self.turns} asks nothing", fix="give 1 or more")
        if not 1 <= self.top <= _MOST_PRODUCTS:
            raise UsageError(f"--top {self.top} does not fit the screen", fix=f"give 1 to {_MOST_PRODUCTS}")

    @property
    def name(self) -> str:
        """Of the human evaluation: the project's, or the file's without its ending."""
        return assignment_name(self.project, self.to_file)


@dataclass(frozen=True)
class JudgeExport:
    """What an export did."""

    name: str
    a: str
    b: str
    split: str
    turns: int  # drawn
    dialogues: int  # of these turns
    same: int  # of these turns, both lists the same: ties that are not asked
    tasks: int  # of each judge
    tasks_new: int  # added by this run, over all judges
    images: Mapping[str, int]  # how many images are shown, and how many are not there
    places: tuple[JudgingPlace, ...]
    urls: tuple[str, ...]  # where judges open the projects
    key: Path
    config: Path | None = None  # the label configuration, for files
    images_problem: str | None = None  # why the server cannot show the images, or None

    def as_json(self) -> dict[str, Any]:
        """The JSON form."""
        return json_form(self)


class Drawn(NamedTuple):
    """Turns drawn, and what both runs would show there."""

    run_a: str
    run_b: str
    queries: Sequence[Query]
    products: Sequence[Product]  # the catalogue
    a: Sequence[Sequence[int]]  # product rows of A's list of each turn, best first
    b: Sequence[Sequence[int]]


def key_file(workspace: Workspace, name: str) -> Path:
    """Where the key of a human evaluation lies."""
    return workspace.judgements / f"{file_stem(name)}.key.json"


def file_stem(name: str) -> str:
    """A name as a file's: itself where that can be one, else what is left of it and a hash."""
    if _PLAIN.fullmatch(name):
        return name
    plain = re.sub(r"[^A-Za-z0-9_.-]+", "-", name).strip("-.")[:40]
    return f"{plain}~{sha256_bytes(name.encode('utf-8', 'surrogateescape'))[:10]}"


def export_judgement(
    workspace: Workspace, request: JudgeRequest, *, progress: Progress = SilentProgress()
) -> JudgeExport:
    """Draw turns, let both runs rank, and put the tasks into projects, which get those that they lack, or into files.

    Run again with the same runs and numbers, it completes what was interrupted, and adds further judges.

    Raises:
        UsageError: a split without recommendation turns; the same runs; a name used for something else.
        ModelError: no such run, or runs that divide the dialogues differently.
        LabelError: the runs or the corpus changed since the first export of that name, or a project has another screen.
        ServiceError: Label Studio is down or refuses the key; the next run completes it.
    """
    return put_before_judges(workspace, request, draw(workspace, request, progress), progress)


def draw(workspace: Workspace, request: JudgeRequest, progress: Progress) -> Drawn:
    """The turns, and both runs' lists for each."""
    workspace.require()
    folders = [find_run(workspace, run) for run in (request.run_a, request.run_b)]
    if folders[0] == folders[1]:
        raise UsageError(f"'{folders[0].name}' against itself", fix="name two runs")
    for folder in folders:
        if folder.name.casefold() in request.name.casefold():
            raise UsageError(
                f"judges would read the run's name in '{request.name}'",
                fix="take a name that tells nothing of the runs",
            )
    records = [read_record(folder) for folder in folders]
    if records[0].fold != records[1].fold:
        raise ModelError(
            "the runs divide the dialogues differently, so that one may have learned from what the other is asked",
            where=", ".join(folder.name for folder in folders),
            fix="name runs of the same fold",
        )
    lists, queries = [], list[Query]()
    shown = load_corpus(workspace, fold=records[0].fold)  # judges see images, whatever the runs do
    for folder, record in zip(folders, records, strict=True):
        corpus = shown if record.images else load_corpus(workspace, images=False, fold=record.fold)
        queries = sample_turns(corpus.queries(request.split), request.turns, request.seed)
        if not queries:
            there = {split: len(corpus.queries(split)) for split in sorted(set(corpus.splits.values()))}
            names = ", ".join(f"{split} ({count})" for split, count in there.items() if count)
            raise UsageError(
                f"the split '{request.split}' has no recommendation turns",
                fix=f"splits with some: {names}" if names else "import dialogues that recommend products",
            )
        lists.append(top_products(open_ranker(folder, corpus), corpus.products, queries, request.top, progress))
    if len(queries) < request.turns:
        progress.log(f"the split '{request.split}' has {len(queries)} recommendation turns; all of them are taken")
    return Drawn(folders[0].name, folders[1].name, queries, shown.products, *lists)


def sample_turns(queries: Sequence[Query], count: int, seed: int) -> list[Query]:
    """Recommendation turns in a seeded order: one of each dialogue, then a second one of each that has more, and on.

    Turns before which nobody said anything are passed over. A smaller ``count`` gives the first ones of a larger.
    """
    of_dialogue: defaultdict[str, list[Query]] = defaultdict(list)
    for query in queries:
        if query.history:
            of_dialogue[query.dialogue_id].append(query)
    for turns in of_dialogue.values():
        turns.sort(key=lambda query: place_in_order(f"{query.dialogue_id}#{query.turn}", seed))
    order = seeded_order(of_dialogue, seed)
    most = max(map(len, of_dialogue.values()), default=0)
    found = [of_dialogue[name][place] for place in range(most) for name in order if place < len(of_dialogue[name])]
    return found[:count]


def put_before_judges(workspace: Workspace, request: JudgeRequest, drawn: Drawn, progress: Progress) -> JudgeExport:
    """Make the tasks of what was drawn and bring them where they belong; see :func:`export_judgement`."""
    with locked(workspace.judgements / ".lock"):
        about = (request.name, drawn.run_a, drawn.run_b, request.split, request.turns, request.seed, request.top)
        judgement = sha256_bytes("\x1f".join(map(str, about)).encode("utf-8", "surrogateescape"))[:12]
        differing = [place for place in range(len(drawn.queries)) if list(drawn.a[place]) != list(drawn.b[place])]
        sides = _sides(len(differing), f"{request.seed}:{judgement}")
        made = _Tasks(workspace, drawn, differing, progress)
        keyed: list[KeyedTask] = []
        for number, (place, is_left) in enumerate(zip(differing, sides, strict=True)):
            query, uid = drawn.queries[place], f"{judgement}-{number + 1:04d}"
            ids = [[drawn.products[row].product_id for row in rows[place]] for rows in (drawn.a, drawn.b)]
            shown = shown_sha256(made.task(judgement, uid, place, a_left=is_left)["data"])
            keyed.append(KeyedTask(uid, query.dialogue_id, query.turn, "A" if is_left else "B", shown, *ids))
        unasked = [query for place, query in enumerate(drawn.queries) if place not in set(differing)]
        if not keyed:
            raise LabelError(
                f"both runs give the same list on all {len(drawn.queries)} turns: there is nothing to judge",
                where=f"{drawn.run_a}, {drawn.run_b}",
                fix="name other runs, or draw more turns with -n",
            )
        path = key_file(workspace, request.name)
        key = _agreed(
            path,
            Key(
                semctl_judgement=KEY_SCHEMA,
                judgement=judgement,
                name=request.name,
                a=drawn.run_a,
                b=drawn.run_b,
                split=request.split,
                turns=request.turns,
                seed=request.seed,
                top=request.top,
                tasks=keyed,
                same=[SameTurn(query.dialogue_id, query.turn) for query in unasked],
                places=[],
            ),
        )

        def tasks_of(annotator: str | None) -> list[dict[str, Any]]:
            return [
                made.task(judgement, task.uid, place, a_left=task.left == "A", annotator=annotator)
                for place, task in zip(differing, keyed, strict=True)
            ]

        put = _to_files if request.project is None else _to_projects
        export = JudgeExport(
            name=request.name,
            a=drawn.run_a,
            b=drawn.run_b,
            split=request.split,
            turns=len(drawn.queries),
            dialogues=len({query.dialogue_id for query in drawn.queries}),
            same=len(unasked),
            tasks=len(keyed),
            tasks_new=0,
            images=made.images.counts(),
            places=(),
            urls=(),
            key=path,
        )
        return put(workspace, request, key, export, made.images, tasks_of)


def _sides(count: int, seed: str) -> list[bool]:
    """Whether A is left, in each of ``count`` tasks: in one half of them, of an odd one the seed decides."""
    drawn = random.Random(seed)
    half = count // 2 + (count % 2 and drawn.random() < 0.5)
    sides = [True] * half + [False] * (count - half)
    drawn.shuffle(sides)
    return sides


def _agreed(path: Path, key: Key) -> Key:
    """The key with the places that it has already, once it is known to be of the same evaluation."""
    if not path.is_file():
        return key
    before = Key.read(path)
    if before.judgement != key.judgement:
        raise UsageError(
            f"'{key.name}' is the name of another evaluation ({before.a} against {before.b}, split {before.split}, "
            f"-n {before.turns}, --seed {before.seed}, --top {before.top})",
            where=path,
            fix="use another name, or the same runs and options",
        )
    if (before.tasks, before.same) != (key.tasks, key.same):
        raise LabelError(
            f"the runs, the corpus or semctl changed since '{key.name}' was exported: the tasks would be others",
            where=path,
            fix="use another name",
        )
    return before


class _Tasks:
    """Makes the tasks of turns drawn."""

    def __init__(self, workspace: Workspace, drawn: Drawn, places: Sequence[int], progress: Progress) -> None:
        self._drawn = drawn
        self._rows = read_dialogues(
            workspace.turns, list(dict.fromkeys(drawn.queries[place].dialogue_id for place in places)), progress
        )
        rows_shown = {row for place in places for rows in (drawn.a[place], drawn.b[place]) for row in rows}
        self._shown = {row: _shown(drawn.products[row]) for row in rows_shown}
        photos = {each.image_id for each in self._shown.values() if each.image_id is not None}
        said = {image for place in places for row in self._said(place) for image in row["image_ids"]}
        self.images = TaskImages.of(workspace, photos | said, progress)
        self._style = TaskStyle(1, 0, "", self.images.address, self.images.names)

    def _said(self, place: int) -> list[dict[str, Any]]:
        query = self._drawn.queries[place]
        return [row for row in self._rows[query.dialogue_id] if row["turn"] < query.turn]

    def task(
        self, judgement: str, uid: str, place: int, *, a_left: bool, annotator: str | None = None
    ) -> dict[str, Any]:
        """The task of the turn drawn at ``place``."""
        a, b = ([self._shown[row] for row in rows[place]] for rows in (self._drawn.a, self._drawn.b))
        left, right = (a, b) if a_left else (b, a)
        return judging_task(judgement, uid, self._said(place), left, right, self._style, annotator=annotator)


def _shown(product: Product) -> ShownProduct:
    more = sorted(not_in_name(product.name, product.attributes).items(), key=lambda attribute: len(attribute[1]))
    about = " · ".join(f"{name.replace('_', ' ')}: {', '.join(values)}" for name, values in more)
    return ShownProduct(product.name, about, product.image_id)


_TasksOf = Callable[[str | None], list[dict[str, Any]]]


def _to_files(
    workspace: Workspace, request: JudgeRequest, key: Key, export: JudgeExport, images: TaskImages, tasks_of: _TasksOf
) -> JudgeExport:
    del images
    file = request.file
    config = file.resolve().with_suffix(".xml")
    places = []
    for annotator in request.annotators or (None,):
        target = file.resolve() if annotator is None else Path(part_place(request.name, annotator, file))
        places.append(JudgingPlace(annotator, file=str(target)))
    try:
        write_atomic(config, judging_config())
        for place in places:
            write_json(Path(str(place.file)), tasks_of(place.annotator))
    except OSError as problem:
        raise UsageError(f"cannot write the tasks: {problem.strerror}", where=file) from None
    for place in places:
        key = key.with_place(place)
    key.write(export.key)
    return replace(export, places=tuple(places), tasks_new=len(places) * export.tasks, config=config)


def _to_projects(
    workspace: Workspace, request: JudgeRequest, key: Key, export: JudgeExport, images: TaskImages, tasks_of: _TasksOf
) -> JudgeExport:
    from annotate.label_studio.gateway import connect

    gateway = connect(workspace.root)
    projects = []
    for annotator in request.annotators or (None,):
        title = request.name if annotator is None else part_place(request.name, annotator, None)
        projects.append(gateway.ensure_judging_project(title, judging_config(), judging_instruction()))
        key = key.with_place(JudgingPlace(annotator, title, projects[-1].id, gateway.url))
    key.write(export.key)  # before anybody can answer
    added, problem = 0, None
    for annotator, project in zip(request.annotators or (None,), projects, strict=True):
        problem = images.serve(gateway, project.id) or problem
        tasks = tasks_of(annotator)
        uids = [task["data"]["uid"] for task in tasks]
        there = {task.uid for task in gateway.tasks(project, uids)} if project.tasks else set()
        new = [task for task in tasks if task["data"]["uid"] not in there]
        gateway.push(project, new)
        added += len(new)
    places = tuple(key.places[-len(projects) :])
    urls = tuple(f"{gateway.page_url}/projects/{project.id}/data" for project in projects)
    return replace(export, places=places, urls=urls, tasks_new=added, images_problem=problem)
