"""A corpus at an address: copied once, read as from a disk, and a workspace that is no address."""

from __future__ import annotations

import json
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
from schemas.errors import CorpusError, MissingPartError, ServiceError, UsageError, WorkspaceError
from schemas.progress import SilentProgress
from schemas.safe_text import forget_secrets
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


@pytest.fixture(autouse=True)
def no_secrets() -> Iterator[None]:
    yield
    forget_secrets()


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
    assert shown("abfs://photos@shop.dfs.core.windows.net/a") == "abfs://photos@shop.dfs.core.windows.net/a"
    assert shown("abfs://photos:secret@shop.dfs.core.windows.net/a") == "abfs://shop.dfs.core.windows.net/a"


@pytest.mark.parametrize(
    "address", ["memory://me:hunter2-hunter2@host/mmd?sig=deadbeefdeadbeef", "memory://hunter2-hunter2@host/mmd"]
)
def test_a_library_that_repeats_an_address_gives_no_secret_away(
    address: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def failing(*_: Any, **__: Any) -> None:
        raise RuntimeError(
            f"403 Forbidden, url='{address}', next='https://host/b?Signature=0123456789', key 'hunter2-hunter2'"
        )

    monkeypatch.setattr(MemoryFileSystem, "find", failing)
    with pytest.raises(ServiceError, match="403 Forbidden, url='memory://host/mmd', next='https://host/b'") as told:
        fetch_corpus(address, tmp_path / "source", SilentProgress())
    assert not any(secret in str(told.value) for secret in ("hunter2", "deadbeef", "0123456789"))


def test_a_corpus_larger_than_the_disk_is_refused_before_anything_is_copied(
    tmp_path: Path, bucket: MemoryFileSystem, copied: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    one = fetch_corpus(ADDRESS, tmp_path / "source", SilentProgress())
    full = shutil.disk_usage(tmp_path)._replace(free=100)
    monkeypatch.setattr(shutil, "disk_usage", lambda _: full)
    assert fetch_corpus(ADDRESS, tmp_path / "source", SilentProgress()) == one  # nothing has to be copied
    bucket.pipe_file(f"{ADDRESS}/images/new.jpg", b"x" * 100)
    fetch_corpus(ADDRESS, tmp_path / "source", SilentProgress())
    bucket.pipe_file(f"{ADDRESS}/images/newer.jpg", b"x" * 101)
    copied.clear()
    with pytest.raises(WorkspaceError, match=r"needs 0\.0 GB here.*nothing was copied"):
        fetch_corpus(ADDRESS, tmp_path / "source", SilentProgress())
    assert copied == []


def test_a_listing_tells_the_address_and_deletes_nothing_outside_the_copy(
    tmp_path: Path, bucket: MemoryFileSystem
) -> None:
    folder = fetch_corpus(ADDRESS, tmp_path / "source", SilentProgress())
    listing = folder.with_name(f"{folder.name}.json")
    told = json.loads(listing.read_bytes())
    assert told["address"] == ADDRESS
    precious = tmp_path / "precious"
    for name in ("../../precious", str(precious)):
        precious.write_text("precious")
        listing.write_text(json.dumps({**told, "files": {**told["files"], name: "1"}}))
        with pytest.raises(WorkspaceError, match="a name in it leads out of the folder"):
            fetch_corpus(ADDRESS, tmp_path / "source", SilentProgress())
        assert precious.read_text() == "precious"


@pytest.mark.parametrize(
    ("told", "missing", "fix"),
    [
        ('HTTPFileSystem requires "requests" and "aiohttp" to be installed', "aiohttp", "pip install aiohttp"),
        ("Install the requests package to use the github FS", "requests", "pip install requests"),
        ('SMB requires "smbprotocol" or "smbprotocol[kerberos]" installed', "smbclient", "pip install smbprotocol"),
        ("Install s3fs to access S3", "s3fs", "pip install s3fs"),
        ("Install fsspec-xrootd to access xrootd storage system.", "fsspec_xrootd", "pip install fsspec-xrootd"),
        ("Install 'morefs[asynclocalfs]' to use AsyncLocalFileSystem", "morefs", "pip install morefs"),
        ("pyarrow and local java libraries required for HDFS", "nothing", "pyarrow and local java libraries"),
    ],
)
def test_the_package_that_is_missing_is_named(
    told: str, missing: str, fix: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def url_to_fs(_: str) -> None:
        raise ImportError(told) from ModuleNotFoundError(name=missing)

    monkeypatch.setattr("fsspec.core.url_to_fs", url_to_fs)
    with pytest.raises(MissingPartError) as found:
        fetch_corpus("https://host/mmd", tmp_path / "source", SilentProgress())
    assert str(found.value).startswith(f"a package that reads https:// is not installed; {fix}")


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
