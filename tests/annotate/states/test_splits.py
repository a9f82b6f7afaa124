from __future__ import annotations

from pathlib import Path

import pytest

from annotate.annotations.annotation import Annotation, Mark
from annotate.annotations.dialogue_index import IndexedDialogue, dialogue_sha256, read_dialogue_index
from annotate.resolution.resolve import resolve
from annotate.states.splits import SplitCounts, label_dialogue, read_splits, split_manifest
from schemas.errors import OntologyError, SchemaError, WorkspaceError
from schemas.files import write_json
from schemas.tables import D_F, D_P, STATES, TURNS, write_table
from tests.labelling_corpus import ONTOLOGY, dialogue

TURNS_OF_D = (0, 2, 4)
DIALOGUE = IndexedDialogue("train", TURNS_OF_D, b"")


def label(*marks: Mark):
    annotation = Annotation("a", "d", "user:1", "2026").with_marks(marks)
    return label_dialogue("d", DIALOGUE, resolve([annotation], TURNS_OF_D, ONTOLOGY), ONTOLOGY)


def test_a_dialogue_labelled_throughout_is_complete():
    found = label(Mark(0, "want", "color", "red"), Mark(2, "none"), Mark(4, "drop", "color"))
    assert found.complete
    red = {"slot": "color", "attribute": "color", "value": "red", "polarity": "like", "catalogue_value": "red"}
    assert found.rows == [
        {
            "dialogue_id": "d",
            "turn": turn,
            "split": "train",
            "state": state,
            "labelled_slots": ["color", "price"],
            "annotators": ["user:1"],
            "source_annotations": ["a"],
            "decided_by": "one",
            "disputed_slots": [],
        }
        for turn, state in ((0, [{**red, "in_catalogue": True}]), (2, [{**red, "in_catalogue": True}]), (4, []))
    ]


def test_an_unlabelled_turn_is_null_and_never_empty():
    found = label(Mark(0, "none"), Mark(4, "new_topic"))
    assert not found.complete
    assert [row["state"] for row in found.rows] == [[], None, []]
    assert [row["labelled_slots"] for row in found.rows] == [["color", "price"], [], ["color", "price"]]
    assert [row["annotators"] for row in found.rows] == [["user:1"], [], ["user:1"]]


def test_a_dialogue_with_a_slot_unknown_in_one_turn_is_not_complete():
    found = label(Mark(0, "unsure"), Mark(2, "want", "color", "red"), Mark(4, "none"))
    assert not found.complete
    assert [row["labelled_slots"] for row in found.rows] == [[], ["color"], ["color"]]


def test_a_label_of_an_unknown_slot_says_where_it_is():
    with pytest.raises(OntologyError, match=r"unknown slot 'fabric' \(dialogue d, turn 2, annotation a\)"):
        label(Mark(0, "none"), Mark(2, "want", "fabric", "silk"))


def test_the_index_knows_user_turns_splits_and_hashes(tmp_path: Path):
    rows = [*dialogue("b", users=3, split="valid"), *dialogue("a", users=1), dialogue("c")[1]]
    write_table(tmp_path / "turns.parquet", TURNS, rows)
    index = read_dialogue_index(tmp_path / "turns.parquet", with_hashes=True)
    assert list(index) == ["a", "b", "c"]
    assert index["b"] == IndexedDialogue("valid", (0, 2, 4), bytes.fromhex(dialogue_sha256(rows[:6])))
    assert index["c"].user_turns == ()
    plain = read_dialogue_index(tmp_path / "turns.parquet", with_hashes=False)
    assert plain["b"] == IndexedDialogue("valid", (0, 2, 4), b"")


@pytest.fixture
def splits(tmp_path: Path) -> tuple[Path, Path, Path]:
    d_f, d_p, manifest = tmp_path / "D_F.parquet", tmp_path / "D_P.parquet", tmp_path / "manifest.json"
    states = tmp_path / "states.parquet"
    rows = label(*(Mark(turn, "none") for turn in TURNS_OF_D)).rows
    full = SplitCounts()
    full.add("train", len(rows))
    write_table(d_f, D_F, rows)
    write_table(d_p, D_P, [])
    write_table(states, STATES, rows)
    write_json(
        manifest, split_manifest(d_f, d_p, states, {"D_F": full, "D_P": SplitCounts()}, {"turns": "t"}, ONTOLOGY)
    )
    return d_f, d_p, manifest


def test_a_complete_set_is_read(splits: tuple[Path, Path, Path]):
    full, partial = read_splits(*splits)
    assert (full.num_rows, partial.num_rows) == (3, 0)


@pytest.mark.parametrize("gone", [0, 1, 2])
def test_a_set_that_misses_a_file_is_refused(splits: tuple[Path, Path, Path], gone: int):
    splits[gone].unlink()
    with pytest.raises(WorkspaceError, match="ingest-labels"):
        read_splits(*splits)


@pytest.mark.parametrize("changed", [0, 1])
def test_a_split_that_its_manifest_does_not_name_is_refused(splits: tuple[Path, Path, Path], changed: int):
    write_table(splits[changed], (D_F, D_P)[changed], label(Mark(0, "none")).rows)
    with pytest.raises(WorkspaceError, match="is not the one its manifest names"):
        read_splits(*splits)


@pytest.mark.parametrize("said", [{}, [], {"files": {"D_F": 3}}])
def test_a_manifest_of_something_else_is_refused(splits: tuple[Path, Path, Path], said):
    write_json(splits[2], said)
    with pytest.raises(WorkspaceError, match="not a manifest of splits"):
        read_splits(*splits)


def test_a_split_under_the_name_of_the_other_is_refused(splits: tuple[Path, Path, Path]):
    d_f, d_p, manifest = splits
    write_table(d_p, D_F, [])
    counts = {"D_F": SplitCounts(), "D_P": SplitCounts()}
    write_json(manifest, split_manifest(d_f, d_p, d_p, counts, {}, ONTOLOGY))
    with pytest.raises(SchemaError, match="expected the table 'D_P', found 'D_F'"):
        read_splits(*splits)
