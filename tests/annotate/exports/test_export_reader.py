from __future__ import annotations

import gzip
import json
import tracemalloc
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from annotate.exports.reader import ExportReader, _Depth, _TooDeepError, keep_raw
from schemas.errors import LabelError
from schemas.files import sha256_bytes
from tests.label_exports import answer, save

TASK = {"id": 4, "project": 7, "data": {"uid": "d#0"}, "annotations": [answer(1, [])], "drafts": [{}, {}]}


def read(path: Path) -> tuple[list, ExportReader]:
    reader = ExportReader(path)
    return list(reader.tasks()), reader


def test_tasks_come_one_by_one_with_their_annotations(tmp_path: Path):
    tasks, reader = read(save(tmp_path / "e.json", [TASK, {**TASK, "id": 5, "drafts": None}]))
    assert [(task.position, task.task_id, task.project, task.drafts) for task in tasks] == [
        (0, "4", "7", 2),
        (1, "5", "7", 0),
    ]
    assert tasks[0].data == TASK["data"]
    assert tasks[0].annotations == TASK["annotations"]
    assert reader.tasks_read == 2


def test_an_export_without_tasks_is_one(tmp_path: Path):
    assert read(save(tmp_path / "e.json", []))[0] == []


def test_gzip_and_byte_order_mark_change_nothing_but_the_bytes(tmp_path: Path):
    plain = save(tmp_path / "e.json", [TASK])
    zipped = tmp_path / "any_name"
    zipped.write_bytes(gzip.compress(plain.read_bytes()))
    marked = tmp_path / "bom.json"
    marked.write_bytes(b"\xef\xbb\xbf" + plain.read_bytes())
    expected = read(plain)
    for path in (zipped, marked):
        assert read(path)[0] == expected[0]
    assert read(zipped)[1].sha256 == expected[1].sha256 == sha256_bytes(plain.read_bytes())


def test_an_export_larger_than_a_block_is_read_and_hashed_whole(tmp_path: Path):
    path = save(tmp_path / "e.json", [{**TASK, "data": {"uid": "d#0", "html": "é" * 70_000}}] * 3)
    tasks, reader = read(path)
    assert len(tasks) == 3
    assert reader.sha256 == sha256_bytes(path.read_bytes())


@pytest.mark.parametrize("written", ["NaN", "Infinity", "-Infinity", "nan"])
def test_a_number_that_json_does_not_know_is_named(tmp_path: Path, written: str):
    path = tmp_path / "e.json"
    path.write_text(json.dumps([TASK, TASK]).replace('"lead_time": 9.5', f'"lead_time": {written}'))
    with pytest.raises(LabelError, match=rf"it holds -?{written.lstrip('-')}; write null") as problem:
        read(path)
    assert "\n" not in str(problem.value)


@pytest.mark.parametrize("cut", [1, 10, 1000])
def test_a_damaged_gzip_is_one_error(tmp_path: Path, cut: int):
    path = tmp_path / "e.json.gz"
    noise = {"uid": "d#0", "html": "".join(sha256_bytes(str(n).encode()) for n in range(500))}
    path.write_bytes(gzip.compress(json.dumps([{**TASK, "data": noise}]).encode())[:-cut])
    with pytest.raises(LabelError, match="damaged or cut off"):
        read(path)


def test_no_file_and_a_folder_are_one_error(tmp_path: Path):
    for path, says in ((tmp_path / "none.json", "no such export"), (tmp_path, "is a folder")):
        with pytest.raises(LabelError, match=says):
            read(path)


DEEP = {
    "lists": "[" * 500_000 + "]" * 500_000,
    "objects": '{"a":' * 300_000 + "1" + "}" * 300_000,
    "never closed": "[" * 500_000,
    "closed within a block": ("[" * 101 + "]" * 101 + ",") * 50 + "1",
    "behind a string of brackets": '"' + "]" * 200_000 + '",' + "[" * 100_000,
}


@pytest.mark.parametrize("nested", DEEP)
@pytest.mark.parametrize("pack", [bytes, gzip.compress])
@pytest.mark.timeout(20)
def test_deep_nesting_is_one_error_at_once(nested: str, pack: Callable[[bytes], bytes], tmp_path: Path):
    path = tmp_path / "e.json"
    path.write_bytes(pack(f'[{{"data": {{}}, "annotations": [{DEEP[nested]}]}}]'.encode()))
    with pytest.raises(LabelError, match="nested deeper than 100 levels after 0 whole tasks"):
        read(path)


def test_brackets_within_texts_are_no_nesting(tmp_path: Path):
    texts = ["[" * 200_000, '\\"' * 70_000 + "[" * 200, "\\" * 65_535 + "[" * 200, "{" * 65_530 + '"' + "[" * 200]
    path = tmp_path / "e.json"
    path.write_text(json.dumps([{**TASK, "data": {"texts": texts, "deep": [[[[{}]]]]}}]))
    ((task,), _) = read(path)
    assert task.data["texts"] == texts


@given(
    st.recursive(st.text('[]{}"\\\\,é'), lambda part: st.lists(part) | st.dictionaries(st.text('[{"\\\\'), part)),
    st.sampled_from([0, 80, 201]),
    st.integers(min_value=1, max_value=9),
)
def test_whatever_texts_hold_and_wherever_blocks_end_only_brackets_count(value: Any, wrapped: int, size: int):
    text = (b"[" * wrapped) + json.dumps(value, ensure_ascii=False).encode() + b"]" * wrapped
    blocks = [text[start : start + size] for start in range(0, len(text), size)]
    nested = _Depth()

    def read_all() -> int:
        for block in blocks:
            nested.feed(block)
        return nested._depth

    if wrapped > 200:
        with pytest.raises(_TooDeepError):
            read_all()
    else:
        assert read_all() == 0


@given(st.integers(min_value=0, max_value=10_000))
def test_wherever_an_export_is_cut_it_is_one_error_with_the_place(tmp_path_factory: pytest.TempPathFactory, where: int):
    path = tmp_path_factory.mktemp("cut") / "e.json"
    whole = json.dumps([TASK, TASK]).encode()
    path.write_bytes(whole[: where % len(whole)])
    with pytest.raises(LabelError, match=r"cut off after [012] whole tasks, at about byte \d+|is empty") as problem:
        read(path)
    assert "\n" not in str(problem.value)


@given(st.binary(max_size=40), st.integers(min_value=0, max_value=10_000))
def test_any_bytes_are_tasks_or_one_error(tmp_path_factory: pytest.TempPathFactory, noise: bytes, where: int):
    path = tmp_path_factory.mktemp("noise") / "e.json"
    whole = json.dumps([TASK, TASK]).encode()
    at = where % len(whole)
    path.write_bytes(whole[:at] + noise + whole[at:])
    try:
        read(path)
    except LabelError as problem:
        assert "\n" not in str(problem)  # noqa: PT017


def test_the_raw_export_is_kept_exactly_and_gives_the_same_bytes(tmp_path: Path):
    path = save(tmp_path / "e.json", [TASK])
    sha256 = read(path)[1].sha256
    zipped = tmp_path / "e.json.gz"
    zipped.write_bytes(gzip.compress(path.read_bytes(), mtime=5))
    first, second = tmp_path / "first", tmp_path / "second"
    keep_raw(path, sha256, first)
    keep_raw(zipped, sha256, second)
    assert gzip.decompress(first.read_bytes()) == path.read_bytes()
    assert first.read_bytes() == second.read_bytes()


def test_an_export_that_changes_while_it_is_read_is_refused(tmp_path: Path):
    path = save(tmp_path / "e.json", [TASK])
    with pytest.raises(LabelError, match="changed while it was read"):
        keep_raw(path, "0" * 64, tmp_path / "raw")


def test_memory_does_not_grow_with_the_number_of_tasks(tmp_path: Path):
    def peak_of(tasks: int) -> tuple[int, int]:
        path = tmp_path / f"{tasks}.json"
        path.write_text(
            json.dumps([{"id": n, "data": {"html": f"{n}" * 800}, "annotations": []} for n in range(tasks)])
        )
        reader = ExportReader(path)
        tracemalloc.start()
        try:
            assert sum(1 for _ in reader.tasks()) == tasks
            return tracemalloc.get_traced_memory()[1], path.stat().st_size
        finally:
            tracemalloc.stop()

    peak_of(50)
    (few, small), (many, large) = peak_of(100), peak_of(1500)
    assert many - few < (large - small) / 20
