"""What arrives against what is stored: new, changed, withdrawn, unchanged, and what comes back."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import pytest

from annotate.annotations.annotation import Annotation, Mark
from annotate.exports.annotation_store import AnnotationStore, Changes

DAY = "2026-02-0{}T10:00:00.000000Z"


def answer(value: str, *, name: str = "a", day: int = 1) -> Annotation:
    return Annotation(name, "d1", "ann", DAY.format(day), (Mark(0, "want", "color", value),), task_uid="d1#0")


@pytest.fixture
def store() -> Iterator[AnnotationStore]:
    with AnnotationStore() as found:
        yield found


def take_in(
    store: AnnotationStore, *answers: Annotation, standing: str = "usable", from_server: bool = True
) -> Changes:
    store._base.execute("DELETE FROM arrived")
    for each in answers:
        store.mark_seen(each.annotation_id, "7", "35")
        store.add(each, standing)  # type: ignore[arg-type]
    store.name_export("e" * 64)
    return store.merge(from_server=from_server)


def counts(changes: Changes) -> tuple[int, int, int]:
    return changes.new, changes.changed, changes.withdrawn


def newest(store: AnnotationStore) -> list[str | None]:
    (last,) = list(store.all())[-1:]
    return [mark.value or mark.op for mark in last.marks]


def test_what_arrives_is_new_once_and_changed_when_it_says_something_else(store: AnnotationStore):
    assert counts(take_in(store, answer("red"), answer("blue", name="b"))) == (2, 0, 0)
    assert counts(take_in(store, answer("red"))) == (0, 0, 0)
    assert counts(take_in(store, answer("red", day=2))) == (0, 0, 0)  # saved again as it was
    assert counts(take_in(store, answer("blue", day=3))) == (0, 1, 0)
    assert store.standing() == 2


def test_the_same_version_read_differently_is_changed_and_one_with_other_times_is_not(store: AnnotationStore):
    take_in(store, answer("red"))
    assert counts(take_in(store, replace(answer("red"), lead_time=3.0))) == (0, 0, 0)
    assert counts(take_in(store, answer("crimson"))) == (0, 1, 0)
    assert newest(store) == ["crimson"]


def test_an_older_version_is_kept_and_changes_nothing(store: AnnotationStore):
    take_in(store, answer("blue", day=2))
    assert counts(take_in(store, answer("red", day=1), from_server=False)) == (0, 0, 0)
    assert newest(store) == ["blue"]


def test_skipped_withdraws_once(store: AnnotationStore):
    take_in(store, answer("red"))
    assert counts(take_in(store, answer("red", day=2), standing="void")) == (0, 0, 1)
    assert counts(take_in(store, answer("red", day=2), standing="void")) == (0, 0, 0)
    assert counts(take_in(store, answer("red", day=3))) == (0, 1, 0)


def test_what_is_gone_is_withdrawn_by_a_version_of_its_own(store: AnnotationStore):
    take_in(store, answer("red"))
    assert store.withdraw(["a", "never seen"], "f" * 64) == 1
    assert store.withdraw(["a"], "f" * 64) == 0
    kept, gone = store.all()
    assert (kept.updated_at, gone.updated_at) == (DAY.format(1), "2026-02-01T10:00:00.000001Z")
    assert (kept.marks[0].value, gone.is_withdrawn, gone.export_sha256) == ("red", True, "f" * 64)
    assert store.standing() == 0


def test_an_old_file_does_not_bring_it_back_but_the_server_does(store: AnnotationStore):
    take_in(store, answer("red"))
    store.withdraw(["a"], None)
    assert counts(take_in(store, answer("red"), from_server=False)) == (0, 0, 0)
    assert newest(store) == ["withdrawn"]
    take_in(store, answer("red"), from_server=True)
    assert newest(store) == ["red"]
    assert store.standing() == 1


def test_an_answer_without_a_time_can_be_withdrawn_too(store: AnnotationStore):
    take_in(store, replace(answer("red"), updated_at=""))
    assert store.withdraw(["a"], None) == 1
    assert newest(store) == ["withdrawn"]


def test_a_withdrawn_answer_leaves_the_quarantine(store: AnnotationStore):
    row = {"reason": "unknown_slot", "annotation_id": "a", "turn": 2, "detail": "", "export_sha256": "e" * 64}
    store.refuse(row)
    store.refuse({**row, "annotation_id": "b"})
    store.withdraw(["a"], None)
    assert [found["annotation_id"] for found in store.quarantine()] == ["b"]
