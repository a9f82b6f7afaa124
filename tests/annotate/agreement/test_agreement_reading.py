from __future__ import annotations

from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from annotate.agreement.reading import Labelled, annotations_by_dialogue, read_labelled, read_user_turns
from annotate.annotations.annotation import Annotation, Mark
from schemas.errors import SchemaError, WorkspaceError
from schemas.tables import ANNOTATIONS, TURNS, write_table
from tests.annotate.agreement.given_answers import annotation
from tests.labelling_corpus import dialogue

STORED = [
    annotation("d2", "ann", {0: ["color=red"], 2: []}, updated_at="2026-01-02"),
    annotation("d1", "ann", {0: ["unsure"]}, updated_at="2026-01-01", task_uid="d1#0", project="7"),
    annotation("d1", "bo", {0: ["!size=S", "drop=color"]}, prelabel="lexicon-1", untouched=True, ontology_version=3),
    annotation("d1", "boss", {0: ["new_topic"]}, role="review"),
    Annotation("corpus:d1", "d1", "corpus").with_marks([Mark(0, "none", origin="corpus")]),
    annotation("d3", "boss", {0: []}, role="review"),
]


@pytest.fixture
def stored(tmp_path: Path) -> Path:
    path = tmp_path / "annotations.parquet"
    write_table(path, ANNOTATIONS, [row for each in sorted(STORED, key=lambda a: a.key) for row in each.rows()])
    return path


def test_who_answered_which_dialogue_without_the_corpus(stored: Path):
    assert read_labelled(stored) == {
        "d1": Labelled(frozenset({"ann", "bo"}), reviewed=True, prelabelled=True),
        "d2": Labelled(frozenset({"ann"}), reviewed=False),
        "d3": Labelled(frozenset(), reviewed=True),
    }
    comparable = [each.is_comparable() for each in read_labelled(stored).values()]
    assert comparable == [True, False, False]
    assert Labelled(frozenset({"ann"}), reviewed=True).is_comparable()


def test_annotations_come_dialogue_by_dialogue_with_all_that_comparing_takes(stored: Path):
    found = dict(annotations_by_dialogue(stored, ["d2", "d1"]))
    assert list(found) == ["d1", "d2"]
    expected = [each for each in STORED if each.dialogue_id == "d1" and not each.is_corpus]
    assert sorted(found["d1"], key=lambda a: a.key) == sorted(expected, key=lambda a: a.key)
    assert found["d2"] == [STORED[0]]
    assert list(annotations_by_dialogue(stored, [])) == []
    assert list(annotations_by_dialogue(stored, ["gone"])) == []


def test_a_long_table_is_read_in_parts_that_end_between_dialogues(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    import annotate.agreement.reading as reading

    made = [annotation(f"d{n:02d}", who, {0: ["color=red"], 2: []}) for n in range(30) for who in ("ann", "bo")]
    path = tmp_path / "annotations.parquet"
    write_table(path, ANNOTATIONS, [row for each in sorted(made, key=lambda a: a.key) for row in each.rows()])
    monkeypatch.setattr(reading, "_READ_ROWS", 7)
    found = dict(annotations_by_dialogue(path, {each.dialogue_id for each in made}))
    assert list(found) == sorted(found)
    assert {name: len(given) for name, given in found.items()} == {f"d{n:02d}": 2 for n in range(30)}
    assert [each for given in found.values() for each in given] == sorted(made, key=lambda a: (a.dialogue_id, a.key))


def test_a_table_of_the_first_version_is_read(tmp_path: Path):
    columns = ANNOTATIONS.earlier[1]
    rows = [{name: row[name] for name in columns.names} for each in STORED[:2] for row in each.rows()]
    metadata = {"semctl.table": "annotations", "semctl.schema_version": "1", "semctl.inputs": "{}"}
    path = tmp_path / "old.parquet"
    pq.write_table(pa.Table.from_pylist(rows, columns.with_metadata(metadata)), path)
    assert read_labelled(path)["d1"].people == {"ann"}
    assert [given for _, given in annotations_by_dialogue(path, ["d1", "d2"])] == [[STORED[1]], [STORED[0]]]


def test_user_turns_of_some_dialogues(tmp_path: Path):
    rows = [*dialogue("d1", users=3), *dialogue("d2", split="valid"), *dialogue("d3")]
    write_table(tmp_path / "turns.parquet", TURNS, rows)
    found = read_user_turns(tmp_path / "turns.parquet", ["d2", "d1", "gone"])
    assert found == {"d1": ("train", (0, 2, 4)), "d2": ("valid", (0, 2))}


def test_a_missing_or_another_table_is_refused(tmp_path: Path):
    with pytest.raises(WorkspaceError, match="is missing"):
        read_labelled(tmp_path / "none.parquet")
    write_table(tmp_path / "turns.parquet", TURNS, dialogue("d1"))
    with pytest.raises(SchemaError, match="expected the table 'annotations'"):
        read_labelled(tmp_path / "turns.parquet")
