from __future__ import annotations

import errno
import hashlib
import os
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from schemas.errors import CorpusError, LabelError, UsageError
from schemas.files import (
    atomic_path,
    exchange,
    locked,
    open_unlinked,
    read_json,
    read_toml,
    remove_folder,
    remove_left_over,
    sha256_bytes,
    sha256_file,
    taken_apart,
    temporary_files,
    temporary_folder,
    write_atomic,
    write_json,
)

ROOT = Path(__file__).resolve().parents[2]


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
    other = subprocess.Popen(
        [sys.executable, "-c", code, str(tmp_path / "lock")],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
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


KILLED = (
    "import os, pathlib, sys; from schemas.files import atomic_path, temporary_folder\n"
    "place = pathlib.Path(sys.argv[1])\n"
    "with temporary_folder(place / 'pack') as folder, atomic_path(folder / 'a'), atomic_path(place / 'b') as b:\n"
    "    b.write_text('half'); print('in', flush=True); sys.stdin.read(1); os._exit(9)"
)


def killed_within(folder: Path) -> subprocess.Popen[str]:
    """A process that is in the middle of writing; it dies at once when it gets a letter."""
    process = subprocess.Popen(
        [sys.executable, "-c", KILLED, str(folder)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, cwd=ROOT
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "in\n"
    return process


def test_what_a_killed_process_left_goes_with_the_next_write_and_what_is_in_use_stays(tmp_path: Path):
    with killed_within(tmp_path) as process:
        in_use = temporary_files(tmp_path)
        assert [path.name.partition(".semctl.tmp")[2] for path in in_use] == ["", "", ".d"]
        write_atomic(tmp_path / "c.txt", "c")
        assert remove_left_over(tmp_path) == []
        assert temporary_files(tmp_path) == in_use
        process.communicate("x")
    assert temporary_files(tmp_path) == in_use
    write_atomic(tmp_path / "d.txt", "d")
    assert sorted(path.name for path in tmp_path.rglob("*")) == ["c.txt", "d.txt"]


def test_files_of_others_are_not_taken_for_left_over(tmp_path: Path):
    for name in (".x.tmp", "x.semctl.tmp", ".x.semctl.tmp.swp", ".x.abcdefgh.tmp"):
        (tmp_path / name).touch()
    (tmp_path / "outside").touch()
    (tmp_path / ".link.semctl.tmp").symlink_to(tmp_path / "outside")
    before = set(tmp_path.iterdir())
    write_atomic(tmp_path / "y", "y")
    assert set(tmp_path.iterdir()) == before | {tmp_path / "y"}


def test_a_folder_is_removed_whole(tmp_path: Path):
    write_atomic(tmp_path / "pack" / "in" / "a.txt", "a")
    remove_folder(tmp_path / "pack")
    assert list(tmp_path.iterdir()) == []


def test_an_error_within_a_temporary_folder_names_what_was_asked_for(tmp_path: Path):
    with pytest.raises(FileNotFoundError) as problem, temporary_folder(tmp_path / "pack") as folder:
        (folder / "a.txt").read_text()
    assert problem.value.filename == str(tmp_path / "a.txt")
    assert list(tmp_path.iterdir()) == []


def test_a_long_name_is_written(tmp_path: Path):
    path = tmp_path / ("é" * 120 + ".json")
    write_json(path, [])
    assert list(tmp_path.iterdir()) == [path]


def test_waiting_for_a_lock_is_told_at_once(tmp_path: Path, caplog: pytest.LogCaptureFixture):
    def wait() -> None:
        with locked(tmp_path / "lock"):
            pass

    with locked(tmp_path / "lock"):
        thread = threading.Thread(target=wait)
        thread.start()
        deadline = time.monotonic() + 10
        while not caplog.messages and time.monotonic() < deadline:
            time.sleep(0.01)
        assert caplog.messages == [f"waiting for another semctl command to finish: it holds {tmp_path / 'lock'}"]
    thread.join()
    wait()
    assert len(caplog.messages) == 1


@pytest.mark.parametrize(
    "content",
    [b"a = " + b"1" * 5_000, b"a = " + b"[" * 1_000 + b"]" * 1_000, b"a = 1\na = 2", b'a = "\xff"', b"\x00", b"a"],
)
def test_toml_beyond_all_bounds_is_one_line_that_names_the_file(tmp_path: Path, content: bytes):
    path = tmp_path / "a.toml"
    path.write_bytes(content)
    with pytest.raises(UsageError, match="not valid TOML") as problem:
        read_toml(path)
    assert str(path) in str(problem.value)
    path.write_text("a = [1]")
    assert read_toml(path) == {"a": [1]}


@pytest.mark.parametrize("content", [b"[" * 100_000, b"1" * 5_000, b'{"a": NaN}', b'"\xff"', b"", b"[1e999]"])
def test_json_beyond_all_bounds_is_one_line_that_names_the_file(tmp_path: Path, content: bytes):
    path = tmp_path / "a.json"
    path.write_bytes(content)
    with pytest.raises(CorpusError, match="not valid JSON") as problem:
        read_json(path)
    assert str(path) in str(problem.value)


@pytest.mark.parametrize("value", [None, [], {}, {"a": 3}, {"a": {"b": "x"}}, {"a": {"b": [1]}}])
def test_content_of_another_shape_is_one_line_that_names_the_file(tmp_path: Path, value: object):
    with (
        pytest.raises(LabelError, match="not as semctl writes it") as problem,
        taken_apart(tmp_path / "a.json", error=LabelError, fix="do this"),
    ):
        int(value["a"]["b"])  # type: ignore[index]
    assert str(problem.value).endswith("; do this")


def test_names_that_are_not_unicode_are_written_out(tmp_path: Path):
    name = os.fsdecode(b"caf\xe9")
    write_json(tmp_path / "a.json", {name: [name, {"a": (name,)}], "b": 1})
    assert read_json(tmp_path / "a.json") == {"caf\\xe9": ["caf\\xe9", {"a": ["caf\\xe9"]}], "b": 1}


def test_a_file_is_opened_where_no_link_leads_to_it(tmp_path: Path):
    write_atomic(tmp_path / "folder" / "file", b"content")
    (tmp_path / "folder").chmod(0o300)  # may be gone through, not listed
    try:
        with open_unlinked(tmp_path / "folder" / "file") as file:
            assert file.read() == b"content"
    finally:
        (tmp_path / "folder").chmod(0o700)


def test_no_link_is_followed_wherever_it_is_in_a_path(tmp_path: Path):
    write_atomic(tmp_path / "folder" / "below" / "file", b"content")
    (tmp_path / "link to file").symlink_to(tmp_path / "folder" / "below" / "file")
    (tmp_path / "folder" / "relative").symlink_to("below/file")
    (tmp_path / "link to folder").symlink_to(tmp_path / "folder")
    (tmp_path / "dangling").symlink_to("nowhere")
    (tmp_path / "loop").symlink_to("loop")
    for path in ("link to file", "folder/relative", "link to folder/below/file", "dangling", "loop"):
        with pytest.raises(OSError) as refused:
            open_unlinked(tmp_path / path)
        assert refused.value.errno == errno.ELOOP, path


def test_only_regular_files_are_opened_and_nothing_is_waited_for(tmp_path: Path):
    os.mkfifo(tmp_path / "pipe")
    write_atomic(tmp_path / "file", b"")
    before = len(os.listdir("/dev/fd"))
    for name, code in (
        ("pipe", errno.EINVAL),
        (".", errno.EINVAL),
        ("gone", errno.ENOENT),
        ("gone/file", errno.ENOENT),
        ("file/below", errno.ENOTDIR),
    ):
        with pytest.raises(OSError) as refused:
            open_unlinked(tmp_path / name)
        assert refused.value.errno == code, name
    assert len(os.listdir("/dev/fd")) == before


def test_json_nested_deeper_than_can_be_written_is_one_line(tmp_path: Path):
    path = tmp_path / "deep.json"
    path.write_text('{"a": ' + "[" * 300 + "]" * 300 + "}")
    with pytest.raises(CorpusError, match="nested too deeply"):
        read_json(path, shape=dict[str, int])


def test_two_folders_change_places_in_one_step(tmp_path: Path):
    for name in ("old", "new"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "file").write_text(name)
    assert exchange(tmp_path / "new", tmp_path / "old")
    assert [(tmp_path / name / "file").read_text() for name in ("old", "new")] == ["new", "old"]
    assert not exchange(tmp_path / "new", tmp_path / "none")
    assert (tmp_path / "new" / "file").read_text() == "old"
