"""A corpus at an address: copied once, read as from a disk, and a workspace that is no address."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import fsspec
import pytest
from fsspec.implementations.memory import MemoryFileSystem

from pipeline.cli import _run
from pipeline.corpus.remote import fetch_corpus, shown
from pipeline.generator.corpus import GenerateRequest, generate_corpus
from pipeline.workspace import Workspace
from schemas.errors import CorpusError, MissingPartError, ServiceError, UsageError
from schemas.progress import SilentProgress
from tests.pipeline.corpus.test_import_processes import files_of

ADDRESS = "memory://bucket/corpora/mmd"


@pytest.fixture
def corpus(tmp_path: Path) -> Path:
    generate_corpus(tmp_path / "corpus", GenerateRequest(size="test"))
    return tmp_path / "corpus"


@pytest.fixture
def bucket(corpus: Path) -> Iterator[MemoryFileSystem]:
    system = fsspec.filesystem("memory")
    system.put(f"{corpus}/", ADDRESS, recursive=True)
    yield system
    system.store.clear()
    system.pseudo_dirs[:] = [""]


@pytest.fixture
def copied(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The files that were copied, by name."""
    found: list[str] = []
    get = MemoryFileSystem.get_file

    def counting(self: MemoryFileSystem, path: str, *more: Any, **named: Any) -> None:
        found.append(path.rpartition("/")[2])
        get(self, path, *more, **named)

    monkeypatch.setattr(MemoryFileSystem, "get_file", counting)
    return found


def tables(workspace: Path) -> dict[str, bytes]:
    """All that an import made but where images lie, which is another place."""
    found = files_of(workspace)
    return {
        name: content for name, content in found.items() if not name.startswith(("source", "data/images", "data/man"))
    }


def test_a_corpus_of_an_address_is_imported_like_its_folder_and_copied_once(
    corpus: Path, bucket: MemoryFileSystem, copied: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    here, there = tmp_path / "here", tmp_path / "there"
    assert _run(["-w", str(here), "import", str(corpus), "--format", "mmd"]) == 0
    assert _run(["-w", str(there), "import", ADDRESS, "--format", "mmd"]) == 0
    assert tables(there) == tables(here)
    count = sum(path.is_file() for path in corpus.rglob("*"))
    assert len(copied) == count
    assert f"{count:,} of {count:,} files were copied from {ADDRESS}" in capsys.readouterr().err

    shutil.rmtree(corpus)
    copied.clear()
    gone, changed = sorted(name for name in bucket.find(f"{ADDRESS}/dialogues/train"))[:2]
    content = bucket.cat_file(changed)
    bucket.rm_file(gone)
    bucket.pipe_file(changed, content.replace(b"e", b"E"))
    assert _run(["-w", str(there), "import", ADDRESS, "--format", "mmd"]) == 0
    assert copied == [changed.rpartition("/")[2]]
    (copy,) = (path for path in (there / "source").iterdir() if path.is_dir())
    assert not (copy / gone.partition("/mmd/")[2]).exists()
    assert sum(path.is_file() for path in copy.rglob("*")) == count - 1


def test_a_copy_that_is_cut_off_goes_on_where_it_was(
    bucket: MemoryFileSystem, copied: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    get = MemoryFileSystem.get_file
    many = len(bucket.find(ADDRESS))

    def failing(self: MemoryFileSystem, path: str, target: str, **named: Any) -> None:
        if len(copied) > many // 2:
            Path(target).write_bytes(b"half")
            raise ConnectionResetError("the line went dead")
        get(self, path, target, **named)

    with monkeypatch.context() as patched:
        patched.setattr(MemoryFileSystem, "get_file", failing)
        with pytest.raises(ServiceError, match=r"cannot read the corpus \(ConnectionResetError: the line went dead\)"):
            fetch_corpus(ADDRESS, tmp_path / "source", SilentProgress())
    before = len(copied)
    assert many // 2 < before < many
    folder = fetch_corpus(ADDRESS, tmp_path / "source", SilentProgress())
    assert len(copied) == many
    for path in bucket.find(ADDRESS):
        assert (folder / path.partition("mmd/")[2]).read_bytes() == bucket.cat_file(path)


def test_what_cannot_be_read_is_one_line(tmp_path: Path, bucket: MemoryFileSystem) -> None:
    def fetch(address: str) -> None:
        fetch_corpus(address, tmp_path / "source", SilentProgress())

    with pytest.raises(CorpusError, match="there are no files"):
        fetch("memory://bucket/nothing")
    with pytest.raises(CorpusError, match="this is a file, and a corpus is a folder"):
        fetch(f"{ADDRESS}/url2img.txt")
    with pytest.raises(UsageError, match="'nope' is no kind of address that fsspec reads"):
        fetch("nope://somebody:secret@host/corpus")
    with pytest.raises(UsageError, match="an address within another one"):
        fetch(f"simplecache::{ADDRESS}")
    with pytest.raises(
        MissingPartError, match=r"a package that reads smb:// is not installed; pip install smbprotocol"
    ):
        fetch("smb://host/share")
    assert not (tmp_path / "source").exists()


def test_names_that_lead_out_of_the_folder_are_refused(
    tmp_path: Path, bucket: MemoryFileSystem, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = {"/bucket/corpora/mmd/../../x": {"size": 1, "created": 1}}
    monkeypatch.setattr(MemoryFileSystem, "find", lambda *_, **__: found)
    with pytest.raises(CorpusError, match=r"a name leads out of the folder: '\.\./\.\./x'"):
        fetch_corpus(ADDRESS, tmp_path / "source", SilentProgress())
    assert not list(tmp_path.rglob("x"))


def test_addresses_are_shown_without_secrets() -> None:
    assert shown("https://me:secret@host/a?token=secret#more") == "https://host/a"
    assert shown("s3://bucket/a@b/c") == "s3://bucket/a@b/c"


def test_a_workspace_is_no_address(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    assert _run(["-w", "s3://bucket/shop", "stats"]) == 2
    monkeypatch.setenv("SEMCTL_WORKSPACE", "gs://bucket/shop")
    assert _run(["import", str(tmp_path), "--format", "mmd"]) == 2
    assert capsys.readouterr().err.count("a workspace is a folder of a disk, not an address") == 2
    assert os.listdir(tmp_path) == []
    assert Workspace.resolve(Path("here:there")).root == tmp_path / "here:there"
