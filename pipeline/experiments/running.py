"""Training and measuring the runs of a grid, on several cores; what is there already is not done again."""

from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from dataclasses import dataclass, replace
from multiprocessing import active_children, get_context
from typing import Any

from pipeline.environment import variables_set
from pipeline.experiments.grid import PlannedRun
from pipeline.modelling.run_record import RunRecord
from pipeline.modelling.runs import load_corpus, open_ranker
from pipeline.modelling.state_tracking import states_of_run
from pipeline.modelling.train import train_planned
from pipeline.workspace import Workspace
from schemas.errors import ModelError, SemctlError
from schemas.files import locked, read_json, taken_apart, write_json
from schemas.progress import Progress
from schemas.state_metrics import StateCounts, state_counts
from semantic_model.evaluation.evaluation import CandidateKind, Evaluation, evaluate_ranker
from semantic_model.evaluation.metrics import metric_names
from semantic_model.models.state_rule import rule_over_predictions
from semantic_model.training.devices import visible_gpus
from semantic_model.training.metrics_log import examples_per_second

_KILLED = "its process, or that of a run beside it, was killed, as by a system without memory left"
_THREADS = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS")


@dataclass(frozen=True)
class Measured:
    """A run's figures."""

    planned: PlannedRun  # the run
    evaluation: Evaluation  # measured on the split that the grid asks
    evaluation_seconds: float  # of encoding and ranking
    rule: Evaluation | None  # of the rule over the states that it predicts; None where it predicts none
    # how it reads states, against gold; None where it predicts none, or no dialogue that was asked has gold ones
    states: StateCounts | None
    record: RunRecord  # how training went
    examples_per_second: float | None  # of training; None where the run's log does not say


def run_all(
    workspace: Workspace, runs: Sequence[PlannedRun], *, split: str, kind: CandidateKind, jobs: int, progress: Progress
) -> tuple[list[Measured], dict[str, SemctlError]]:
    """Train and measure every run; returns them in the order given, and the errors of those that failed by run id.

    Args:
        jobs: worker processes, each of one thread; with 1 all is done in this process.

    Raises:
        KeyboardInterrupt: stopped; runs under way have saved a checkpoint, and the same grid continues from there.
    """
    found: dict[str, Measured] = {}
    failed: dict[str, SemctlError] = {}
    with progress.task("experiment", len(runs)) as task:
        for planned, outcome in (
            _one_by_one(workspace, runs, split, kind)
            if jobs == 1
            else _side_by_side(workspace, runs, split, kind, jobs)
        ):
            done = f"{len(found) + len(failed) + 1}/{len(runs)} {planned.run}"
            if isinstance(outcome, Measured):
                found[planned.run] = outcome
                figure = 100 * outcome.evaluation.means["ndcg@5"]
                progress.log(f"{done}: {split} ndcg@5 {figure:.2f}, trained in {outcome.record.seconds:.0f} s")
            else:
                failed[planned.run] = outcome
                progress.log(f"{done}: {outcome}")
            task.advance(1)
    return [replace(found[planned.run], planned=planned) for planned in runs if planned.run in found], failed


def carry_out(workspace: Workspace, planned: PlannedRun, split: str, kind: CandidateKind) -> Measured:
    """Train one run, resume it, or find it there; then measure it. Two processes never work on one run.

    Raises:
        SemctlError: as training and evaluation do.
        KeyboardInterrupt: stopped; a checkpoint is kept.
    """
    folder = workspace.runs / planned.run
    with locked(workspace.runs / f".{planned.run}.lock"):
        record = train_planned(workspace, planned.plan)
        file = folder / f"per-query-{split}-{kind}.json"
        fix = "delete it; it is measured again"
        value = read_json(file, error=ModelError, fix=fix) if file.is_file() else {}
        if isinstance(value, dict) and not {"rule", "states"} <= value.keys():  # earlier versions wrote less
            value = _measured(workspace, planned, split, kind)
            write_json(file, value)
    with taken_apart(file, error=ModelError, fix=fix):
        rule = None if value["rule"] is None else _from_json(value["rule"])
        states = None if value["states"] is None else StateCounts.from_json(value["states"])
        measured, seconds = _from_json(value), float(value["seconds"])
    return Measured(planned, measured, seconds, rule, states, record, examples_per_second(folder))


def _measured(workspace: Workspace, planned: PlannedRun, split: str, kind: CandidateKind) -> dict[str, Any]:
    corpus = load_corpus(workspace, images=planned.plan.images, fold=planned.plan.fold)
    ranker = open_ranker(workspace.runs / planned.run, corpus)
    began = time.perf_counter()
    found = evaluate_ranker(ranker, corpus, split, kind)
    seconds = round(time.perf_counter() - began, 3)
    rule = rule_over_predictions(ranker, corpus.queries(split))
    of_rule = None if rule is None else _as_json(evaluate_ranker(rule, corpus, split, kind))
    states = state_counts(states_of_run(workspace, corpus, split, ranker))
    return {**_as_json(found), "seconds": seconds, "rule": of_rule, "states": states and states.as_json()}


def _as_json(found: Evaluation) -> dict[str, Any]:
    return {
        "name": found.name,
        "queries": [list(query) for query in found.queries],
        "per_query": {name: values.tolist() for name, values in found.per_query.items()},
        "skipped": found.skipped,
    }


def _from_json(value: dict[str, Any]) -> Evaluation:
    import numpy as np

    queries = tuple((str(dialogue), int(turn)) for dialogue, turn in value["queries"])
    known = value["per_query"]  # in a file, keys are sorted
    order = [*(name for name in metric_names() if name in known), *sorted(known.keys() - set(metric_names()))]
    per_query = {name: np.array(known[name], dtype=np.float64) for name in order}
    return Evaluation(value["name"], queries, per_query, value["skipped"])


Outcome = tuple[PlannedRun, Measured | SemctlError]


def _one_by_one(workspace: Workspace, runs: Sequence[PlannedRun], split: str, kind: CandidateKind) -> Iterator[Outcome]:
    for planned in runs:
        try:
            yield planned, carry_out(workspace, planned, split, kind)
        except SemctlError as problem:
            yield planned, problem


def _side_by_side(
    workspace: Workspace, runs: Sequence[PlannedRun], split: str, kind: CandidateKind, jobs: int
) -> Iterator[Outcome]:
    waiting = list(reversed(runs))
    with variables_set(dict.fromkeys(_THREADS, "1")), _stop_asked() as stop:
        while waiting:  # once more where a worker was killed, which ends its pool
            yield from _in_a_pool(workspace, waiting, split, kind, jobs, stop)


def _in_a_pool(
    workspace: Workspace, waiting: list[PlannedRun], split: str, kind: CandidateKind, jobs: int, stop: threading.Event
) -> Iterator[Outcome]:
    under_way: dict[Future[Measured], PlannedRun] = {}
    # a fresh interpreter each: forking a process that has threads may stop it dead
    context = get_context("spawn")
    begun = os.getpid(), visible_gpus(), context.Value("i", 0)
    with ProcessPoolExecutor(jobs, mp_context=context, initializer=_begin_worker, initargs=begun) as pool:
        try:
            broken = False
            while under_way or (waiting and not broken):
                while waiting and not broken and len(under_way) < jobs:  # no queue: Ctrl-C waits for these
                    try:
                        under_way[pool.submit(carry_out, workspace, waiting[-1], split, kind)] = waiting[-1]
                    except BrokenProcessPool:
                        broken = True
                    else:
                        waiting.pop()
                done, _ = wait(under_way, timeout=0.2, return_when=FIRST_COMPLETED)
                if stop.is_set():
                    for worker in active_children():
                        os.kill(worker.pid or 0, signal.SIGINT)
                    wait(under_way)
                    raise KeyboardInterrupt
                for future in sorted(done, key=lambda future: under_way[future].run):
                    planned = under_way.pop(future)
                    try:
                        yield planned, future.result()
                    except SemctlError as problem:
                        yield planned, problem
                    except BrokenProcessPool:
                        broken = True
                        yield planned, ModelError(_KILLED, fix="take fewer --jobs, or a smaller train.batch_size")
        except BaseException:  # a second Ctrl-C, or a bug: waiting for the pool would wait for whole trainings
            for worker in active_children():
                worker.terminate()
            raise


@contextmanager
def _stop_asked() -> Iterator[threading.Event]:
    """An event that Ctrl-C sets; once more after a second, it stops at once.

    A signal may well come twice, from a terminal and from a parent; raised inside the pool, it would leave it hanging.
    """
    stop = threading.Event()
    if threading.current_thread() is not threading.main_thread():
        yield stop
        return
    first = 0.0

    def ask(number: int, frame: object) -> None:
        nonlocal first
        del number, frame
        if stop.is_set() and time.monotonic() - first > 1.0:
            raise KeyboardInterrupt
        first = first or time.monotonic()
        stop.set()

    before = signal.signal(signal.SIGINT, ask)
    try:
        yield stop
    finally:
        signal.signal(signal.SIGINT, before)


def _begin_worker(parent: int, gpus: Sequence[str], begun: Any) -> None:
    """Ctrl-C reaches a worker once, through its grid; and one whose grid was killed stops as if by Ctrl-C.

    Args:
        parent: the grid's process.
        gpus: several GPUs are taken in turns, each worker sees one.
        begun: how many workers began before; shared.
    """
    if len(gpus) > 1:
        with begun.get_lock():
            os.environ["CUDA_VISIBLE_DEVICES"] = gpus[begun.value % len(gpus)]
            begun.value += 1
    os.setpgrp()  # the terminal's own signal would be the second one, at which training stops without saving
    signal.signal(signal.SIGINT, _stop)  # training puts its own in place, which saves a checkpoint first

    def watch() -> None:
        while os.getppid() == parent:
            time.sleep(0.5)
        os.kill(os.getpid(), signal.SIGINT)
        time.sleep(30)  # for the step under way and its checkpoint
        os._exit(1)

    threading.Thread(target=watch, daemon=True).start()


def _stop(number: int, frame: object) -> None:
    del number, frame
    raise SystemExit(130)
