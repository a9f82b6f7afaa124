from __future__ import annotations

import hashlib
import os
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from schemas.errors import CorpusError, LabelError
from schemas.files import atomic_path, locked, read_json, sha256_bytes, sha256_file, write_atomic, write_json


def test_a_file_is_written_whole_with_folders_and_nothing_beside_it(tmp_path: Path):
    path = tmp_path / "a" / "b" / "c.txt"
    write_atomic(path, "héllo")
    assert path.read_bytes() == "héllo".encode()
    assert list(path.parent.iterdir()) == [path]


def test_a_block_that_fails_leaves_the_old_file(tmp_path: Path):
    path = tmp_path / "c.txt"
    write_atomic(path, b"old")

    def fail() -> None:
        with atomic_path(path) as temporary:
            temporary.write_bytes(b"half")
            raise RuntimeError

    with pytest.raises(RuntimeError):
        fail()
    assert path.read_bytes() == b"old"
    assert list(tmp_path.iterdir()) == [path]


def test_the_old_file_stands_until_the_block_ends(tmp_path: Path):
    path = tmp_path / "c.txt"
    write_atomic(path, b"old")
    with atomic_path(path) as temporary:
        temporary.write_bytes(b"new")
        assert path.read_bytes() == b"old"
    assert path.read_bytes() == b"new"


def test_permissions_are_kept_and_new_files_follow_the_umask(tmp_path: Path):
    path = tmp_path / "c.txt"
    mask = os.umask(0o027)
    try:
        write_atomic(path, b"")
        assert path.stat().st_mode & 0o777 == 0o640
    finally:
        os.umask(mask)
    path.chmod(0o600)
    write_atomic(path, b"again")
    assert path.stat().st_mode & 0o777 == 0o600


def test_json_has_sorted_keys_and_the_same_bytes(tmp_path: Path):
    write_json(tmp_path / "a.json", {"b": [1, None], "a": "é"})
    write_json(tmp_path / "b.json", {"a": "é", "b": [1, None]})
    assert (tmp_path / "a.json").read_text() == '{\n  "a": "é",\n  "b": [\n    1,\n    null\n  ]\n}\n'
    assert sha256_file(tmp_path / "a.json") == sha256_file(tmp_path / "b.json")
    assert read_json(tmp_path / "a.json") == {"a": "é", "b": [1, None]}


def test_unreadable_json_is_the_error_asked_for(tmp_path: Path):
    (tmp_path / "a.json").write_text('{"a": ')
    with pytest.raises(LabelError, match="not valid JSON"):
        read_json(tmp_path / "a.json", error=LabelError)
    with pytest.raises(CorpusError, match=r"no such file .*; do this"):
        read_json(tmp_path / "b.json", fix="do this")
    with pytest.raises(CorpusError, match="cannot read the file"):
        read_json(tmp_path)


def test_hashes_are_those_of_hashlib(tmp_path: Path):
    content = b"x" * 1_000_000
    (tmp_path / "x").write_bytes(content)
    assert sha256_file(tmp_path / "x") == sha256_bytes(content) == hashlib.sha256(content).hexdigest()


def test_a_lock_keeps_a_second_process_waiting(tmp_path: Path):
    code = (
        "import sys, pathlib; from schemas.files import locked\n"
        "with locked(pathlib.Path(sys.argv[1])): print('in', flush=True); sys.stdin.read()"
    )
    root = Path(__file__).resolve().parents[2]
    other = subprocess.Popen(
        [sys.executable, "-c", code, str(tmp_path / "lock")],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONPATH": str(root)},
    )
    assert other.stdin is not None
    assert other.stdout is not None
    with other:
        assert other.stdout.readline() == "in\n"
        released: list[float] = []

        def release() -> None:
            time.sleep(0.2)
            released.append(time.monotonic())
            assert other.stdin is not None
            other.stdin.close()

        thread = threading.Thread(target=release)
        thread.start()
        with locked(tmp_path / "lock"):
            assert released
        thread.join()
