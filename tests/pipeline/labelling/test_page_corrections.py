"""Corrections kept by the page: the file that they lie in, and the dialogues and labels that an ingest makes of it."""

from __future__ import annotations

import json
import os
import signal
import stat
import subprocess
import sys
import threading
from dataclasses import asdict, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from annotate.annotations.annotation import PAGE, is_of_page, read_annotations
from pipeline.labelling import page_corrections
from pipeline.labelling.ingest_labels import IngestRequest, ingest_labels
from pipeline.labelling.page_corrections import KeptCorrection, Said, keep, read_kept
from pipeline.modelling.folds import KEPT, Fold, fold_splits
from pipeline.reports.agreement_report import AgreementRequest, workspace_agreement
from pipeline.workspace import Workspace
from schemas.errors import WorkspaceError
from schemas.ontology import AddSlot, Slot, Value
from schemas.tables import ANNOTATIONS, D_F, D_P, FINDINGS, QUARANTINE, STATES, TURNS, read_table
from tests.label_exports import answer, answered, hashes, save, tasks_of, typed
from tests.labelling_corpus import ONTOLOGY, PAYLOADS, dialogue, turn, write_workspace

START = datetime(2026, 3, 1, 9, tzinfo=UTC)
FIRST = (Said("user", "A coat, please"),)
SECOND = (*FIRST, Said("system", "Here are some products.", ("pixel",)), Said("user", "cheaper"))


@pytest.fixture
def workspace(tmp_path: Path) -> Workspace:
    every = [dialogue("d1"), dialogue("z9"), dialogue("v1", split="valid", text="Show me hats")]
    return write_workspace(tmp_path / "shop", every)


class Page:
    """Keeps one correction a minute."""

    def __init__(self, workspace: Workspace) -> None:
        self.path = workspace.page_corrections
        self.made = 0

    def correct(self, turns: tuple[Said, ...], slot: str, *like: str, **more: Any) -> KeptCorrection:
        self.made += 1
        fields: dict[str, Any] = {"key": f"key-{self.made:05d}", "at": START + timedelta(minutes=self.made), **more}
        made = KeptCorrection(1, run="run", ontology_version=3, turns=turns, slot=slot, like=like, **fields)
        keep(self.path, made)
        return made


@pytest.fixture
def page(workspace: Workspace) -> Page:
    return Page(workspace)


def taken_in(workspace: Workspace, **more: Any) -> dict[str, Any]:
    found = ingest_labels(workspace, IngestRequest(**more)).as_json()
    counted = found["annotations"]
    parts = ("accepted", "quarantined", "skipped", "superseded")
    assert counted["received"] == sum(counted[part] for part in parts)
    return found


def rows_of_page(workspace: Workspace) -> list[dict[str, Any]]:
    """The states of the page's dialogues."""
    return [row for row in read_table(workspace.states, STATES).to_pylist() if is_of_page(row["dialogue_id"])]


def labels(workspace: Workspace) -> list[tuple[int, tuple[str, ...], set[str] | None]]:
    """Turn, labelled slots and what they hold, of every user turn of the page's dialogues."""
    return [
        (
            row["turn"],
            tuple(row["labelled_slots"]),
            None
            if row["state"] is None
            else {f"{'!' * (one['polarity'] == 'dislike')}{one['slot']}={one['value']}" for one in row["state"]},
        )
        for row in rows_of_page(workspace)
    ]


def test_only_the_slots_corrected_are_labels_each_at_its_turn(workspace: Workspace, page: Page):
    before = read_table(workspace.turns, TURNS).to_pylist()
    page.correct(FIRST, "color", "red", dislike=("black",))
    page.correct(SECOND, "price", "30")
    found = taken_in(workspace)
    assert found["annotations"] == {"received": 2, "accepted": 2, "quarantined": 0, "skipped": 0, "superseded": 0}
    assert found["page"] == {"corrections": 2, "dialogues": 1, "dropped_lines": 0}
    assert labels(workspace) == [(0, ("color",), {"color=red", "!color=black"}), (2, ("price",), {"price=30"})]
    (name,) = {row["dialogue_id"] for row in rows_of_page(workspace)}
    assert {row["split"] for row in rows_of_page(workspace)} == {"train"}
    assert {tuple(row["annotators"]) for row in rows_of_page(workspace)} == {(PAGE,)}
    assert read_table(workspace.d_f, D_F).num_rows == 0
    turns = read_table(workspace.turns, TURNS).to_pylist()
    own = [row for row in turns if row["dialogue_id"] == name]
    assert [(row["turn"], row["speaker"], row["text"], row["image_ids"]) for row in own] == [
        (0, "user", "A coat, please", []),
        (1, "system", "Here are some products.", ["pixel"]),
        (2, "user", "cheaper", []),
    ]
    assert [row for row in turns if row["dialogue_id"] != name] == before
    assert [row["dialogue_id"] for row in turns] == sorted(row["dialogue_id"] for row in turns)
    codes = {*read_table(workspace.findings, FINDINGS)["code"].to_pylist()}
    assert codes.isdisjoint(("outdated_answer", "missing_window", "dropped_nothing")), "what it does not say is meant"


def test_ingesting_twice_gives_the_same_bytes(workspace: Workspace, page: Page):
    page.correct(FIRST, "color", "red")
    page.correct(SECOND, "color", dislike=("red",))
    taken_in(workspace)
    before = hashes(workspace.root)
    again = taken_in(workspace)
    assert hashes(workspace.root) == before
    assert again["changes"] == {"new": 0, "changed": 0, "withdrawn": 0, "unchanged": 2}


def test_a_later_correction_of_a_slot_takes_the_place_of_the_earlier(workspace: Workspace, page: Page):
    page.correct(FIRST, "color", "red")
    page.correct(FIRST, "price", "cheap")
    page.correct(FIRST, "color", "blue", at=START)  # by a clock that was put back
    found = taken_in(workspace)
    assert labels(workspace) == [(0, ("color", "price"), {"color=blue", "price=cheap"})]
    assert (found["annotations"]["accepted"], found["annotations"]["superseded"]) == (1, 2)
    page.correct(FIRST, "color")
    assert taken_in(workspace)["changes"]["changed"] == 1
    assert labels(workspace) == [(0, ("color", "price"), {"price=cheap"})], "nothing is wanted of it, and that is known"


def test_several_corrections_of_a_turn_are_one_change(workspace: Workspace, page: Page):
    page.correct(FIRST, "color", "red")
    page.correct(FIRST, "price", "30")
    assert taken_in(workspace)["changes"] == {"new": 1, "changed": 0, "withdrawn": 0, "unchanged": 0}
    page.correct(FIRST, "color", "blue")
    page.correct(FIRST, "color", "white")
    assert taken_in(workspace)["changes"] == {"new": 0, "changed": 1, "withdrawn": 0, "unchanged": 0}
    page.correct(SECOND, "color", "red")
    page.correct(SECOND, "color", undone=True)
    assert taken_in(workspace)["changes"] == {"new": 0, "changed": 0, "withdrawn": 0, "unchanged": 1}
    page.correct(FIRST, "color", undone=True)
    page.correct(FIRST, "price", undone=True)
    assert taken_in(workspace)["changes"] == {"new": 0, "changed": 0, "withdrawn": 1, "unchanged": 0}


def test_what_is_kept_again_changes_nothing(workspace: Workspace, page: Page):
    made = [page.correct(FIRST, "color", "red"), page.correct(SECOND, "color", "blue"), page.correct(SECOND, "color")]
    taken_in(workspace)
    states, names = hashes(workspace.root / "splits"), labels(workspace)
    for one in made:
        keep(page.path, one)  # the same request, sent again
    page.correct(FIRST, "color", "red")  # somebody else in the same words
    found = taken_in(workspace)
    assert hashes(workspace.root / "splits") == states
    assert labels(workspace) == names
    assert found["page"]["dialogues"] == 1
    assert found["annotations"] == {"received": 7, "accepted": 2, "quarantined": 0, "skipped": 0, "superseded": 5}
    assert found["changes"]["new"] == found["changes"]["changed"] == 0


def test_a_conversation_keeps_its_id_as_it_goes_on_and_another_that_begins_so_gets_its_own(
    workspace: Workspace, page: Page
):
    page.correct(FIRST, "color", "red")
    taken_in(workspace)
    (first,) = {row["dialogue_id"] for row in rows_of_page(workspace)}
    page.correct(SECOND, "color", "blue")
    page.correct((*FIRST, Said("system", "Here are some products."), Said("user", "dearer")), "price", "30")
    taken_in(workspace)
    found = rows_of_page(workspace)
    assert [row["turn"] for row in found if row["dialogue_id"] == first] == [0, 2]
    assert len({row["dialogue_id"] for row in found}) == 2
    assert sorted(labels(workspace), key=str) == [
        (0, ("color",), {"color=red"}),
        (0, (), None),
        (2, ("color",), {"color=blue"}),
        (2, ("price",), {"price=30"}),
    ]


def test_what_was_undone_or_stands_as_it_was_read_is_no_label(workspace: Workspace, page: Page):
    page.correct(FIRST, "color", "red", left=("red",), dislike=("black",))
    assert taken_in(workspace)["annotations"]["skipped"] == 1
    assert labels(workspace) == [(0, (), None)]
    page.correct(FIRST, "color", "blue")
    taken_in(workspace)
    assert labels(workspace) == [(0, ("color",), {"color=blue"})]
    page.correct(FIRST, "color", undone=True)
    found = taken_in(workspace)
    assert (found["annotations"]["skipped"], found["annotations"]["superseded"]) == (2, 1)
    assert found["changes"]["withdrawn"] == 1
    assert labels(workspace) == [(0, (), None)]


def test_lines_that_are_half_written_are_dropped_and_counted(workspace: Workspace, page: Page):
    page.correct(FIRST, "color", "red")
    whole = page.path.read_bytes()
    for length in range(1, len(whole) - 1, 7):
        page.path.write_bytes(whole + whole[:length])
        assert len(read_kept(page.path).corrections) == 1
        assert read_kept(page.path).dropped == 1
    page.correct(SECOND, "price", "30")  # the next one begins a line of its own
    strange = [b"null", b'{"semctl_correction": 2}', b"[" * 100_000, b"\xff\xfe", b'{"a": ' + b"9" * 400 + b"}"]
    lone = json.loads(whole) | {"turns": [asdict(SECOND[1])]}  # which no user's turn ends
    with page.path.open("ab") as file:
        file.write(b"\n".join([*strange, json.dumps(lone).encode()]) + b"\n")
    found = taken_in(workspace)
    assert found["page"] == {"corrections": 2, "dialogues": 1, "dropped_lines": 2 + len(strange)}
    assert len(labels(workspace)) == 2


def test_slots_that_are_gone_are_quarantined_with_what_was_said_left_out(workspace: Workspace, page: Page):
    page.correct(FIRST, "fabric", "silk")
    page.correct(SECOND, "color", "red")
    page.correct(SECOND, "fabric")
    found = taken_in(workspace)
    assert found["annotations"] == {"received": 3, "accepted": 1, "quarantined": 1, "skipped": 0, "superseded": 1}
    assert (found["quarantined"], found["refused_lines"]) == ({"unknown_slot": 1}, {"unknown_slot": 1})
    refused = read_table(workspace.quarantine, QUARANTINE).to_pylist()
    assert {(row["annotator"], row["turn"]) for row in refused} == {(PAGE, None), (PAGE, 2)}
    assert not any("coat" in str(row) for row in refused)
    assert labels(workspace) == [(0, (), None), (2, ("color",), {"color=red"})]
    assert "quarantined" in read_table(workspace.findings, FINDINGS)["code"].to_pylist()
    before = hashes(workspace.root)
    taken_in(workspace)
    assert hashes(workspace.root) == before


def test_what_is_said_in_a_dialogue_to_measure_on_is_no_training_label(workspace: Workspace, page: Page):
    page.correct((Said("user", "show me  HATS 0"),), "color", "red")
    longer = (Said("user", "Show me hats 0"), Said("system", "?"), Said("user", "Show me hats 1"))
    page.correct((*longer, Said("system", "?"), Said("user", "the blue one")), "color", "blue")
    page.correct((*longer[:2], Said("user", "Not these")), "color", "black")
    found = taken_in(workspace)
    assert found["quarantined"] == {"held_out_dialogue": 2}
    assert found["annotations"]["accepted"] == 1
    assert [row for row in labels(workspace) if row[1]] == [(2, ("color",), {"color=black"})]
    splits = dict(read_table(workspace.turns, TURNS).group_by(["dialogue_id", "split"]).aggregate([]).to_pydict())
    of_page = [split for name, split in zip(*splits.values(), strict=True) if is_of_page(name)]
    assert of_page == ["train"]


def test_conversations_that_are_taken_out_of_the_file_are_forgotten(workspace: Workspace, page: Page):
    page.correct(FIRST, "color", "red")
    line = page.path.read_bytes()
    page.path.unlink()
    before = read_table(workspace.turns, TURNS)
    taken_in(workspace)
    tables = {name: read_table(workspace.root / "splits" / f"{name}.parquet", table) for name, table in (("D_P", D_P),)}
    page.path.write_bytes(line)
    taken_in(workspace)
    assert labels(workspace)
    page.path.write_bytes(b"")
    found = taken_in(workspace)
    assert found["changes"]["withdrawn"] == 1
    assert read_table(workspace.turns, TURNS).equals(before)
    assert read_table(workspace.d_p, D_P).equals(tables["D_P"])
    page.path.write_bytes(line)
    taken_in(workspace)
    assert labels(workspace) == [(0, ("color",), {"color=red"})]


def test_people_who_label_a_turn_win_over_the_page_and_both_are_compared(workspace: Workspace, page: Page):
    page.correct(FIRST, "color", "red")
    page.correct(SECOND, "color", "red")
    taken_in(workspace)
    rows = [row for row in read_table(workspace.turns, TURNS).to_pylist() if is_of_page(row["dialogue_id"])]
    (task,) = tasks_of([rows], window=2)
    said = answer(1, [typed("free_0", "color=blue"), typed("free_1", "price=30")])
    export = save(workspace.root / "export.json", [answered(task, said)])
    found = taken_in(workspace, export=export)
    assert found["annotations"]["received"] == 3
    full = read_table(workspace.d_f, D_F).to_pylist()
    assert [{(one["slot"], one["value"]) for one in row["state"]} for row in full] == [
        {("color", "blue")},
        {("color", "blue"), ("price", "30")},
    ]
    assert not any(PAGE in row["annotators"] for row in full)
    measured = workspace_agreement(workspace, AgreementRequest()).as_json()
    assert PAGE in json.dumps(measured["pairs"])
    assert measured["slots"]["color"]["n"] > 0


def test_a_slot_that_is_added_later_is_not_known(workspace: Workspace, page: Page):
    page.correct(FIRST, "color", "red")
    taken_in(workspace)
    size = Slot(name="size", attribute="size", values=(Value(value="M", count=1),))
    step = AddSlot(version=4, slot="size", attribute="size")
    grown = ONTOLOGY.model_copy(update={"version": 4, "slots": (*ONTOLOGY.slots, size), "history": (step,)})
    grown.write(workspace.ontology_file)
    taken_in(workspace)
    assert labels(workspace) == [(0, ("color",), {"color=red"})]


def test_hostile_words_stay_words(workspace: Workspace, page: Page):
    for number, text in enumerate((*PAYLOADS, "color=red\n!color=blue", "=\u202e= \x1b[2J\x00", "ä" * 4000)):
        page.correct((Said("user", text),), "color", f"red{number}\n!price=30", dislike=(text[:200],))
    for slot in ("color=red\n!price", "!color", "color=blue; price", "color\r\nprice=30"):
        page.correct((Said("user", slot),), slot, "30")
        page.correct((Said("user", slot),), slot)
    found = taken_in(workspace)
    assert found["annotations"]["received"] == len(PAYLOADS) + 3 + 8
    assert {slot for _, slots, _ in labels(workspace) for slot in slots} <= {"color"}, "no line can name another slot"
    texts = {row["text"] for row in read_table(workspace.turns, TURNS).to_pylist() if is_of_page(row["dialogue_id"])}
    assert set(PAYLOADS) <= texts


def test_a_file_without_room_keeps_no_more(workspace: Workspace, page: Page, monkeypatch: pytest.MonkeyPatch):
    page.correct(FIRST, "color", "red")
    before = page.path.read_bytes()
    assert stat.S_IMODE(page.path.stat().st_mode) == 0o600
    with pytest.raises(WorkspaceError, match="conversation is too long to be kept"):
        page.correct((Said("user", "x" * page_corrections.MOST_BYTES_A_LINE),), "color", "red")
    monkeypatch.setattr(page_corrections, "MOST_BYTES", len(before) + 100)
    with pytest.raises(WorkspaceError, match="no more corrections are kept"):
        page.correct(FIRST, "color", "blue")
    monkeypatch.undo()

    def full(handle: int, content: memoryview) -> int:
        if len(content) < 100:
            raise OSError(28, "No space left on device")
        return write(handle, content[:50])

    write = os.write
    monkeypatch.setattr(os, "write", full)
    with pytest.raises(WorkspaceError, match="make room"):
        page.correct(FIRST, "color", "blue")
    monkeypatch.undo()
    assert page.path.read_bytes() == before, "nothing half-written is left"
    page.path.rename(page.path.with_name("elsewhere"))
    page.path.symlink_to("elsewhere")
    with pytest.raises(WorkspaceError, match="cannot keep the correction"):
        page.correct(FIRST, "color", "blue")


KEEPER = """
import sys
from datetime import UTC, datetime
from pathlib import Path
from pipeline.labelling.page_corrections import KeptCorrection, Said, keep
for number in range(100_000):
    said = (Said("user", "x" * 30_000),)
    keep(Path(sys.argv[1]), KeptCorrection(1, f"{sys.argv[2]}-{number:06}", datetime.now(UTC), "r", 3, said, "color"))
    print(number, flush=True)
"""


def test_a_killed_server_loses_at_most_what_it_was_writing_and_two_write_into_one_file(tmp_path: Path):
    path = tmp_path / "page" / "corrections.jsonl"
    told: dict[str, int] = {}
    for attempt in range(2):
        two = [
            (name, subprocess.Popen([sys.executable, "-c", KEEPER, str(path), name], stdout=subprocess.PIPE, text=True))
            for name in (f"one-{attempt}", f"two-{attempt}")
        ]
        for name, process in two:
            assert process.stdout is not None
            for _ in range(20):
                told[name] = int(process.stdout.readline())
        for name, process in two:
            process.send_signal(signal.SIGKILL)
            told[name] = int([f"{told[name]}", *process.communicate()[0].split()][-1])
    found = read_kept(path)
    assert found.dropped <= len(told)
    for name, last in told.items():
        kept = sorted(one.key for one in found.corrections if one.key.startswith(f"{name}-"))
        assert kept == [f"{name}-{number:06}" for number in range(len(kept))]
        assert last + 1 <= len(kept) <= last + 2, "what was told to be kept is there"


def test_threads_of_one_server_write_whole_lines(tmp_path: Path):
    path = tmp_path / "corrections.jsonl"
    made = KeptCorrection(1, "key", START, "run", 3, FIRST, "color", ("red",))

    def many(name: str) -> None:
        for number in range(20):
            keep(path, replace(made, key=f"{name}{number}"))

    threads = [threading.Thread(target=many, args=(f"thread-{number}-",)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    found = read_kept(path)
    assert (len({one.key for one in found.corrections}), found.dropped) == (80, 0)


def test_folds_hold_no_dialogue_of_the_page_out(workspace: Workspace, page: Page):
    page.correct(FIRST, "color", "red")
    (name,) = read_kept(page.path).dialogues
    splits = {**{f"d{number}": "train" for number in range(12)}, name: "train"}
    for number in range(1, 4):
        assert fold_splits(splits, Fold(number, 3))[name] == KEPT


def test_an_ingest_takes_the_page_along_with_an_export(workspace: Workspace, page: Page):
    page.correct(FIRST, "color", "red")
    (task,) = tasks_of([[turn(0, "user", "I want red 0"), turn(1, "system", "answer 0", "pixel"),
                         turn(2, "user", "I want red 1"), turn(3, "system", "answer 1", "pixel")]])  # fmt: skip
    export = save(workspace.root / "export.json", [answered(task, answer(1, [typed("free_0", "color=red")]))])
    found = taken_in(workspace, export=export)
    assert (found["annotations"]["received"], found["annotations"]["accepted"]) == (2, 2)
    stored = list(read_annotations(workspace.annotations))
    assert {one.annotator: one.export_sha256 for one in stored} == {
        PAGE: None,
        next(one.annotator for one in stored if one.annotator != PAGE): found["exports"][0],
    }
    assert read_table(workspace.annotations, ANNOTATIONS)["in_force"].to_pylist().count(False) == 0
