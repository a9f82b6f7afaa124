"""Pulling against a model of the server: whatever happens between pulls, what is known afterwards is what is there.

The model keeps the server's habits: an answer made, edited or deleted moves its task's time, a deleted task leaves
nothing behind, counters may be wrong. That it is so is tried on a real server in tests/pipeline/test_pull_from_studio.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, cast

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from annotate.label_studio.gateway import Gateway, Project
from annotate.label_studio.project_calls import Totals
from annotate.label_studio.pull import PulledProject, PullState, pull_project
from annotate.label_studio.task_calls import TaskHead
from schemas.errors import LabelError

PROJECT = Project(7, "p", "", 0, created_at="2026-01-01T00:00:00.000000Z")


class Server:
    """Tasks by number: when they changed, and their answers."""

    url = "http://server"

    def __init__(self) -> None:
        self.minutes = 0
        self.next_number = 1
        self.changed: dict[int, int] = {}
        self.answers: dict[int, dict[str, int]] = {}
        self.wrong_counters: set[int] = set()
        self.exported = 0

    def work(self, what: str, task: int) -> None:
        """One thing that somebody does, five minutes later."""
        self.minutes += 5
        there = sorted(self.changed)
        if what == "push" or not there:
            self.changed[self.next_number], self.answers[self.next_number] = self.minutes, {}
            self.next_number += 1
            return
        task = there[task % len(there)]
        answers = self.answers[task]
        if what == "delete task":
            del self.changed[task], self.answers[task]
        elif what == "bad counter":
            self.wrong_counters ^= {task}
        else:
            self.changed[task] = self.minutes
            if what == "answer":
                answers[f"ls:7:{self.next_number}"] = self.next_number
                self.next_number += 1
            elif what == "edit" and answers:
                answers[max(answers)] += 1
            elif what == "delete" and answers:
                del answers[max(answers)]

    def totals(self, project: Project) -> Totals:
        return Totals(len(self.changed), sum(map(len, self.answers.values())))

    def task_heads(self, project: Project, *, since: str | None = None, progress: object = None) -> Iterator[TaskHead]:
        for task in sorted(self.changed):
            head = TaskHead(
                task, _time(self.changed[task]), len(self.answers[task]) * (task not in self.wrong_counters)
            )
            if since is None or head.updated_at >= since:
                yield head

    def export_tasks(
        self, project: Project, tasks: Sequence[int], path: Path, progress: object = None
    ) -> dict[int, int]:
        self.exported = len(tasks)
        path.write_text(json.dumps([]))
        return {task: len(self.answers[task]) for task in tasks if task in self.answers}

    def drafts(self, project: Project) -> Counter[str]:
        return Counter()

    def heard(self, pulled: PulledProject) -> dict[int, list[str]]:
        return {task: list(self.answers[task]) for task in pulled.fetched}


def _time(minutes: int) -> str:
    return f"2026-02-{1 + minutes // 1440:02}T{minutes // 60 % 24:02}:{minutes % 60:02}:00.000000Z"


def pull(server: Server, before: PullState | None, path: Path, **options: Any) -> PulledProject:
    return pull_project(cast(Gateway, server), PROJECT, before, path / "e.json", **options)


WORK = st.tuples(
    st.sampled_from(["push", "answer", "answer", "edit", "delete", "delete task", "bad counter"]), st.integers(0, 9)
)


@settings(max_examples=150, deadline=None)
@given(st.lists(st.lists(WORK, max_size=8), min_size=1, max_size=6))
def test_after_every_pull_exactly_what_is_there_is_known(
    tmp_path_factory: pytest.TempPathFactory, rounds: list[list[tuple[str, int]]]
):
    folder = tmp_path_factory.mktemp("pull")
    server, state, versions = Server(), None, dict[str, int]()
    for work in rounds:
        for what, task in work:
            server.work(what, task)
        pulled = pull(server, state, folder)
        heard = server.heard(pulled)
        for name in pulled.vanished(heard):
            del versions[name]
        for task in pulled.fetched:
            versions |= server.answers[task]
        state = pulled.state(heard)
        there = {name: version for answers in server.answers.values() for name, version in answers.items()}
        assert versions == there
        assert {name for seen in state.answered.values() for name in seen.annotations} == set(there)
        assert state.tasks == len(server.changed)
        state.write(folder / "state.json")
        assert PullState.read(folder / "state.json") == state


def a_server(tasks: int) -> tuple[Server, PullState]:
    server = Server()
    for number in range(tasks):
        server.work("push", 0)
        server.work("answer", number)
    first = pull_project(cast(Gateway, server), PROJECT, None, Path("/dev/null"))
    return server, first.state(server.heard(first))


def test_only_what_changed_is_fetched(tmp_path: Path):
    server, state = a_server(20)
    for task in (3, 7):
        server.work("edit", task)
    pulled = pull(server, state, tmp_path)
    assert (pulled.look, sorted(pulled.fetched), pulled.whole) == (
        "changes",
        [7, 15],
        False,
    )  # numbers are given to tasks and answers in turn
    state = pulled.state(server.heard(pulled))
    pulled = pull(server, state, tmp_path)
    assert (pulled.look, dict(pulled.fetched), pulled.export) == ("changes", {}, None)


def test_the_overlap_looks_back_and_fetches_nothing_twice(tmp_path: Path):
    server, state = a_server(3)
    assert state.since is not None
    assert state.since < state.newest_update
    server.work("answer", 0)
    server.changed[1] = server.minutes - 12  # became visible late: its time lies before the newest one seen
    pulled = pull(server, state, tmp_path)
    assert (pulled.look, list(pulled.fetched)) == ("changes", [1])


def test_counters_that_are_wrong_make_everything_be_looked_at(tmp_path: Path):
    server, state = a_server(3)
    server.work("push", 0)
    server.work("answer", 3)
    server.wrong_counters = set(server.changed) - set(state.answered)
    pulled = pull(server, state, tmp_path)
    assert (pulled.look, pulled.whole) == ("everything", True)
    assert len(pulled.fetched) == 4


def test_what_was_read_with_other_things_is_fetched_anew(tmp_path: Path):
    server, state = a_server(3)
    pulled = pull(server, state, tmp_path, reading="another ontology")
    assert (pulled.whole, len(pulled.fetched)) == (True, 3)
    again = pull(server, pulled.state(server.heard(pulled)), tmp_path, reading="another ontology")
    assert (again.whole, len(again.fetched)) == (False, 0)


def test_people_who_go_on_working_do_not_make_it_look_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    server, state = a_server(5)
    server.work("edit", 1)
    totals = iter([Totals(5, 5), Totals(5, 6)])
    monkeypatch.setattr(server, "totals", lambda project: next(totals))
    assert pull(server, state, tmp_path).look == "changes"


def test_a_clock_that_ran_ahead_hides_nothing_after_it_was_set_right():
    state = PullState(7, "p", "", "", 1, 1, "2999-01-01T00:00:00.000000Z")
    assert state.since is not None
    assert state.since < "2900"


@pytest.mark.parametrize(
    "content", ["", "[]", "{}", '{"semctl_schema": 2}', '{"semctl_schema": 1, "answered": {"x": ["", []]}}', "\x00"]
)
def test_a_file_that_is_no_pull_state_is_refused(content: str, tmp_path: Path):
    (tmp_path / "s.json").write_text(content)
    with pytest.raises(LabelError, match="everything is pulled anew"):
        PullState.read(tmp_path / "s.json")
