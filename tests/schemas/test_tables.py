from __future__ import annotations

from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from schemas.errors import SchemaError, WorkspaceError
from schemas.files import sha256_file
from schemas.tables import D_F, D_P, STATES, TURNS, open_table, open_writer, read_table, write_table


def row(turn: int, **more) -> dict:
    said = {"dialogue_id": "d", "turn": turn, "speaker": "user", "act": "", "text": "hé", "image_ids": ["a"]}
    return {**said, "split": "train", **more}


def test_rows_come_back_as_written(tmp_path: Path):
    rows = [row(0), row(1, image_ids=[])]
    write_table(tmp_path / "t.parquet", TURNS, rows)
    assert read_table(tmp_path / "t.parquet", TURNS).to_pylist() == rows
    assert read_table(tmp_path / "t.parquet", TURNS, columns=["turn"]).to_pylist() == [{"turn": 0}, {"turn": 1}]


def test_null_and_empty_states_are_two_things(tmp_path: Path):
    shared = {"dialogue_id": "d", "split": "train", "labelled_slots": [], "annotators": [], "source_annotations": []}
    rows = [{"turn": turn, "state": state, **shared} for turn, state in ((0, None), (1, []))]
    write_table(tmp_path / "s.parquet", STATES, rows)
    assert [found["state"] for found in read_table(tmp_path / "s.parquet", STATES).to_pylist()] == [None, []]


def test_the_same_rows_and_inputs_give_the_same_bytes(tmp_path: Path):
    for name in ("a", "b"):
        write_table(tmp_path / name, TURNS, [row(0)], inputs={"y": "2", "x": "1"})
    write_table(
        tmp_path / "c", TURNS, pa.Table.from_pylist([row(0)], schema=TURNS.columns), inputs={"x": "1", "y": "2"}
    )
    assert len({sha256_file(tmp_path / name) for name in "abc"}) == 1
    write_table(tmp_path / "d", TURNS, [row(0)], inputs={"x": "2"})
    assert sha256_file(tmp_path / "d") != sha256_file(tmp_path / "a")


@pytest.mark.parametrize("batch_rows", [1, 2, 100])
def test_rows_streamed_in_any_batches_are_all_there(tmp_path: Path, batch_rows: int):
    with open_writer(tmp_path / "t.parquet", TURNS, batch_rows=batch_rows) as writer:
        writer.write_all(row(turn) for turn in range(5))
    assert writer.rows_written == 5
    assert read_table(tmp_path / "t.parquet", TURNS).column("turn").to_pylist() == [0, 1, 2, 3, 4]


def test_an_interrupted_writer_leaves_the_old_file(tmp_path: Path):
    write_table(tmp_path / "t.parquet", TURNS, [row(0)])
    before = sha256_file(tmp_path / "t.parquet")

    def fail() -> None:
        with open_writer(tmp_path / "t.parquet", TURNS, batch_rows=1) as writer:
            writer.write(row(1))
            raise RuntimeError

    with pytest.raises(RuntimeError):
        fail()
    assert sha256_file(tmp_path / "t.parquet") == before
    assert [path.name for path in tmp_path.iterdir()] == ["t.parquet"]


def test_a_missing_value_in_a_required_column_is_not_written(tmp_path: Path):
    with pytest.raises((pa.ArrowInvalid, ValueError)):
        write_table(tmp_path / "t.parquet", TURNS, [row(0, text=None)])
    assert not (tmp_path / "t.parquet").exists()


def with_metadata(path: Path, **changes: bytes) -> None:
    data = pq.read_table(path)
    said = {**data.schema.metadata, **{f"semctl.{name}".encode(): value for name, value in changes.items()}}
    pq.write_table(data.replace_schema_metadata(said), path)


def test_another_version_is_refused_with_both_versions(tmp_path: Path):
    write_table(tmp_path / "t.parquet", TURNS, [row(0)])
    with_metadata(tmp_path / "t.parquet", schema_version=b"0")
    with pytest.raises(SchemaError, match=r"'turns' has schema version 0, this semctl reads 1 .*semctl import"):
        open_table(tmp_path / "t.parquet", TURNS)


def test_another_table_is_refused_by_name(tmp_path: Path):
    write_table(tmp_path / "t.parquet", D_P, [])
    with pytest.raises(SchemaError, match="expected the table 'D_F', found 'D_P'"):
        open_table(tmp_path / "t.parquet", D_F)


def test_other_columns_are_refused(tmp_path: Path):
    write_table(tmp_path / "t.parquet", TURNS, [row(0)])
    data = pq.read_table(tmp_path / "t.parquet")
    pq.write_table(data.drop(["split"]), tmp_path / "t.parquet")
    with pytest.raises(SchemaError, match="other columns than its version says"):
        open_table(tmp_path / "t.parquet", TURNS)


def test_foreign_parquet_text_and_no_file_are_refused(tmp_path: Path):
    pq.write_table(pa.table({"a": [1]}), tmp_path / "foreign.parquet")
    (tmp_path / "text.parquet").write_text("hello")
    with pytest.raises(SchemaError, match="expected the table 'turns', found"):
        open_table(tmp_path / "foreign.parquet", TURNS)
    with pytest.raises(SchemaError, match="not a readable Parquet file"):
        open_table(tmp_path / "text.parquet", TURNS)
    with pytest.raises(WorkspaceError, match=r"'turns' is missing .*run `semctl import` first"):
        open_table(tmp_path / "none.parquet", TURNS)


def test_a_byte_that_changed_on_the_disk_is_noticed_wherever_it_lies(tmp_path: Path):
    path = tmp_path / "t.parquet"
    rows = [row(turn, text=f"turn {turn}") for turn in range(40)]
    write_table(path, TURNS, rows, inputs={"x": "1"})
    whole = path.read_bytes()
    refused = 0
    for place in range(0, len(whole), 7):
        for wrong in (whole[place] ^ 1, whole[place] ^ 255, 0):
            path.write_bytes(whole[:place] + bytes([wrong]) + whole[place + 1 :])
            try:
                found = read_table(path, TURNS).to_pylist()
                with open_table(path, TURNS) as file:
                    batches = [each for batch in file.iter_batches(16) for each in batch.to_pylist()]
            except SchemaError as problem:
                refused += str(path) in str(problem)
            else:
                assert found == batches == rows, place
    assert refused > len(whole) / 4  # of three damages each at every seventh byte; some change nothing that is read


def test_pages_without_checksums_are_read_and_their_damage_is_an_error(tmp_path: Path):
    path = tmp_path / "t.parquet"
    write_table(path, TURNS, [row(0), row(1)])
    pq.write_table(pq.read_table(path), path, compression="none", use_dictionary=False)
    assert read_table(path, TURNS).num_rows == 2
    path.write_bytes(path.read_bytes().replace("hé".encode(), b"h\xff\xff"))
    with pytest.raises(SchemaError, match="not a readable Parquet file"):
        read_table(path, TURNS)
