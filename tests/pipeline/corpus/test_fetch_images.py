"""``semctl fetch-images``: from links of a catalogue to images that training and labelling have."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pyarrow.parquet as pq
import pytest

from pipeline.cli import _run
from pipeline.corpus import fetch_images as stage
from pipeline.corpus.fetch_images import FetchReport, FetchRequest, fetch_images
from pipeline.corpus.image_fetching import REASONS, Fetched, Limits
from pipeline.corpus.import_corpus import ImportRequest, import_corpus
from pipeline.labelling.task_images import image_files
from pipeline.modelling.runs import load_corpus
from pipeline.workspace import Workspace
from schemas.errors import SchemaError, UsageError, WorkspaceError
from schemas.files import sha256_bytes, sha256_file
from schemas.tables import FETCHED, IMAGES, read_table
from tests.hostile_web import Web, hostile_web, image

QUICK = Limits(connect=20, read=30, total=60, tries=2, first_wait=0.02)


@pytest.fixture
def web() -> Iterator[Web]:
    with hostile_web() as found:
        yield found


def shop(folder: Path, links: list[str], files: dict[str, bytes] | None = None) -> Workspace:
    """A workspace whose products P0, P1, .. have these links, in their order."""
    corpus = folder / "corpus"
    (corpus / "images").mkdir(parents=True, exist_ok=True)
    for name, content in (files or {}).items():
        (corpus / "images" / name).write_bytes(content)
    products = [
        {"product_id": f"P{n}", "name": f"dress {n}", "attributes": {"color": ["red"]}, "images": [link]}
        for n, link in enumerate(links)
    ]
    turns = [
        {"speaker": "user", "text": "a red dress"},
        {"speaker": "system", "text": "this one?", "positives": ["P0"], "negatives": []},
    ]
    dialogues = [{"dialogue_id": name, "split": name, "turns": turns} for name in ("train", "valid")]
    for name, rows in (("products", products), ("dialogues", dialogues)):
        (corpus / f"{name}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    workspace = Workspace(folder / "shop")
    import_corpus(workspace, ImportRequest(corpus, "jsonl"))
    return workspace


def run(workspace: Workspace, web: Web, **options: Any) -> FetchReport:
    return fetch_images(workspace, FetchRequest((web.host,), limits=QUICK, **{"delay": 0.0, **options}))


def rows(workspace: Workspace) -> dict[str, dict[str, Any]]:
    return {row["image_id"]: row for row in read_table(workspace.images, IMAGES).to_pylist()}


def adds_up(report: FetchReport) -> bool:
    parts = ("fetched", "before", "dead", "broken", "left")
    return report.total("links") == sum(map(report.total, parts)) and len(report.lost) == sum(report.reasons().values())


def test_training_and_labelling_have_what_was_fetched_and_the_rest_is_counted(web: Web, tmp_path: Path) -> None:
    links = [web.url(path) for path in ("/ok/1", "/missing/2", "/page", "/ok/3")]
    workspace = shop(tmp_path, [*links, "here.png", "gone.png"], {"here.png": image(4)})
    before = rows(workspace)
    assert [before[link]["status"] for link in links] == ["dead"] * 4

    report = run(workspace, web)
    assert adds_up(report)
    totals = {name: report.total(name) for name in ("links", "fetched", "before", "dead", "broken", "left")}
    assert totals == {"links": 4, "fetched": 2, "before": 0, "dead": 1, "broken": 1, "left": 0}
    assert report.images == {"ok": 3, "missing": 1, "dead": 1, "broken": 1}
    assert (report.new_images, report.without_link, report.asked) == (2, 1, 4)
    assert report.reasons() == {"not_an_image": 1, "not_found": 1}
    assert report.total("bytes") == len(image(1)) + len(image(3))

    after = rows(workspace)
    sha256 = sha256_bytes(image(1))
    assert after[links[0]] == {
        **before[links[0]],
        "file": f"data/fetched/{sha256[:2]}/{sha256}.png",
        "sha256": sha256,
        "width": 8,
        "height": 6,
        "status": "ok",
    }
    assert [after[link]["status"] for link in links[1:3]] == ["dead", "broken"]
    assert [after[name] for name in ("here.png", "gone.png")] == [before[name] for name in ("here.png", "gone.png")]

    corpus = load_corpus(workspace)
    assert {name: path.read_bytes() for name, path in corpus.image_files.items()} == {
        links[0]: image(1),
        links[3]: image(3),
        "here.png": image(4),
    }
    assert {name: file.path.read_bytes() for name, file in image_files(workspace).items()} == {
        name: path.read_bytes() for name, path in corpus.image_files.items()
    }


def test_a_moved_workspace_takes_its_images_along(web: Web, tmp_path: Path) -> None:
    workspace = shop(tmp_path, [web.url("/ok/1")])
    run(workspace, web)
    moved = Workspace(workspace.root.rename(tmp_path / "elsewhere"))
    (path,) = load_corpus(moved).image_files.values()
    assert path.read_bytes() == image(1)


def test_the_second_run_asks_only_for_what_may_have_passed(web: Web, tmp_path: Path) -> None:
    links = [web.url(path) for path in ("/ok/1", "/missing/2", "/page", "/flaky/3")]
    workspace = shop(tmp_path, links)
    first = run(workspace, web)
    assert first.reasons() == {"not_an_image": 1, "not_found": 1, "server_failed": 1}
    assert first.may_come_later() == 1
    assert first.next == ["semctl export-for-labelling --project NAME", "semctl fetch-images"]
    table, seen = sha256_file(workspace.images), len(web.asked)

    second = run(workspace, web)  # the third and fourth request to a server that fails three times
    assert web.asked[seen:] == ["/flaky/3"] * 2
    assert adds_up(second)
    assert (second.total("before"), second.total("fetched"), second.total("dead")) == (1, 1, 1)
    assert sha256_file(workspace.images) != table
    table, seen = sha256_file(workspace.images), len(web.asked)

    third = run(workspace, web)
    assert (web.asked[seen:], third.asked, third.next) == ([], 0, [])
    assert third.reasons() == {"not_an_image": 1, "not_found": 1}
    assert sha256_file(workspace.images) == table

    run(workspace, web, retry_dead=True)
    assert sorted(web.asked[seen:]) == ["/missing/2", "/page"]


def test_what_was_fetched_outlives_another_import(web: Web, tmp_path: Path) -> None:
    workspace = shop(tmp_path, [web.url("/ok/1"), web.url("/missing/2")])
    run(workspace, web)
    fetched = rows(workspace)
    shop(tmp_path, [web.url("/ok/1"), web.url("/missing/2")])
    assert {row["status"] for row in rows(workspace).values()} == {"dead"}
    web.asked.clear()
    report = run(workspace, web)
    assert (web.asked, report.new_images, rows(workspace)) == ([], 1, fetched)


def test_a_file_that_is_gone_or_cut_is_fetched_again(web: Web, tmp_path: Path) -> None:
    links = [web.url(f"/ok/{number}") for number in range(3)]
    workspace = shop(tmp_path, links)
    run(workspace, web)
    paths = [workspace.root / rows(workspace)[link]["file"] for link in links]
    paths[0].unlink()
    paths[1].write_bytes(image(1)[:20])
    web.asked.clear()
    run(workspace, web)
    assert sorted(web.asked) == ["/ok/0", "/ok/1"]
    assert [path.read_bytes() for path in paths] == [image(number) for number in range(3)]
    paths[2].unlink()
    web.stopped.set()
    report = fetch_images(workspace, FetchRequest(limits=QUICK, delay=0.0))  # its host is no longer allowed
    assert report.reasons() == {"refused_link": 1}
    assert [rows(workspace)[link]["status"] for link in links] == ["ok", "ok", "dead"]


def test_a_link_that_was_refused_is_asked_once_its_host_is_allowed(web: Web, tmp_path: Path) -> None:
    workspace = shop(tmp_path, [web.url("/ok/1")])
    report = fetch_images(workspace, FetchRequest(limits=QUICK))
    assert (report.reasons(), report.may_come_later()) == ({"refused_link": 1}, 0)
    assert fetch_images(workspace, FetchRequest(limits=QUICK)).asked == 0
    assert fetch_images(workspace, FetchRequest(("other.example",), limits=QUICK)).asked == 0
    assert run(workspace, web).total("fetched") == 1


def test_so_is_one_whose_redirect_was_refused(web: Web, tmp_path: Path) -> None:
    with hostile_web() as other:
        target = other.url("/ok/1?key=1").replace("http://", "http://me:secret@")
        targets = [other.url("/ok/1?key=1"), target]
        workspace = shop(tmp_path, [web.url("/to/" + quote(each, safe="")) for each in targets])
        report = run(workspace, web)
        assert report.reasons() == {"refused_link": 2}
        assert {found.came_from for found in report.lost} == {other.url("/ok/1")}
        assert run(workspace, web).asked == 0
        report = fetch_images(workspace, FetchRequest((web.host, other.host), limits=QUICK, delay=0.0))
        assert (report.total("fetched"), report.reasons(), other.asked) == (1, {"refused_link": 1}, ["/ok/1?key=1"])


def test_a_link_is_kept_and_asked_for_as_the_corpus_writes_it(web: Web, tmp_path: Path) -> None:
    written = web.url("/spelled/a%2Fb%20c.png?x=%2B")
    workspace = shop(tmp_path, [written])
    (row,) = rows(workspace).values()
    assert (row["url"], row["link"]) == (web.url("/spelled/a/b c.png?x=+"), written)
    assert run(workspace, web).total("fetched") == 1


def test_so_it_is_where_maps_of_mmd_name_it(tmp_path: Path) -> None:
    corpus, place = tmp_path / "corpus", "http://shop.example/"
    for folder in ("products", "dialogues/train"):
        (corpus / folder).mkdir(parents=True)
    (corpus / "products/p1.json").write_text(json.dumps({"id": "p1", "name": "coat", "image_filename": "a.jpg"}))
    (corpus / "products/p2.json").write_text(
        json.dumps({"id": "p2", "name": "hat", "image_filename": f"{place}a b.jpg"})
    )
    (corpus / "url2img.txt").write_text(f"{place}x%2Fa.jpg?k=%2B&amp;l a.jpg\n{place}a%20b.jpg b.jpg\n")
    (corpus / "image_id.json").write_text(json.dumps([{f"{place}7%2F.jpg": 7}]))
    said = {"nlg": "this one", "images": [7], "false images": []}
    turns = [{"speaker": "user", "utterance": {"nlg": "a coat"}}, {"speaker": "system", "utterance": said}]
    (corpus / "dialogues/train/1.json").write_text(json.dumps(turns))
    workspace = Workspace(tmp_path / "shop")
    import_corpus(workspace, ImportRequest(corpus, "mmd"))
    assert {name: (row["url"], row["link"]) for name, row in rows(workspace).items()} == {
        "a.jpg": (f"{place}x/a.jpg?k=+&l", f"{place}x%2Fa.jpg?k=%2B&l"),
        "b.jpg": (f"{place}a b.jpg", f"{place}a%20b.jpg"),
        "7": (f"{place}7/.jpg", f"{place}7%2F.jpg"),
    }


def test_a_table_of_images_of_the_first_version_is_read_and_becomes_one_of_the_second(web: Web, tmp_path: Path) -> None:
    workspace = shop(tmp_path, [web.url("/ok/1"), web.url("/missing/2")])
    old = pq.read_table(workspace.images).drop_columns("link")
    inputs = old.schema.metadata[b"semctl.inputs"]
    pq.write_table(
        old.replace_schema_metadata({**old.schema.metadata, b"semctl.schema_version": b"1"}), workspace.images
    )
    assert load_corpus(workspace).image_files == {}
    assert run(workspace, web).images == {"ok": 1, "missing": 0, "dead": 1, "broken": 0}
    new = pq.read_schema(workspace.images).metadata
    assert (new[b"semctl.schema_version"], new[b"semctl.inputs"]) == (b"2", inputs)


def test_a_dry_run_counts_and_sends_and_writes_nothing(web: Web, tmp_path: Path) -> None:
    links = [web.url(f"/ok/{number}") for number in range(10)]
    workspace = shop(tmp_path, [*links, "http://10.0.0.1/a.png", "ftp://shop.example/a.png"])

    def files() -> dict[Path, bytes]:
        return {path: path.read_bytes() for path in workspace.root.rglob("*") if path.is_file()}

    before = files()
    report = run(workspace, web, dry_run=True, delay=0.5)
    assert (files(), web.asked) == (before, [])
    assert adds_up(report)
    assert {host.host: host.left for host in report.hosts} == {web.host: 10, "10.0.0.1": 1, "shop.example": 0}
    assert report.reasons() == {"refused_link": 1}
    assert report.expected is not None
    assert (report.expected.bytes, report.expected.seconds, report.expected.is_measured) == (None, 5.0, False)

    run(workspace, web, most=4)
    report = run(workspace, web, dry_run=True, delay=0.5)
    assert report.expected is not None
    fetched = [row for row in read_table(workspace.fetched, FETCHED).to_pylist() if row["status"] == "ok"]
    assert report.expected.bytes == report.total("left") * sum(row["bytes"] for row in fetched) // len(fetched)
    assert report.expected.is_measured


def test_so_many_links_are_asked_and_no_more(web: Web, tmp_path: Path) -> None:
    workspace = shop(tmp_path, [web.url(f"/ok/{number}") for number in range(5)])
    report = run(workspace, web, most=2)
    assert (report.total("fetched"), report.total("left"), len(web.asked)) == (2, 3, 2)
    assert adds_up(report)
    assert run(workspace, web).total("fetched") == 3


def test_the_same_image_behind_two_links_is_one_file(web: Web, tmp_path: Path) -> None:
    workspace = shop(tmp_path, [web.url("/ok/1"), web.url("/flaky/0?a"), web.url("/flaky/0?b")])
    run(workspace, web)
    assert len({row["file"] for row in rows(workspace).values()}) == len(
        {row["sha256"] for row in rows(workspace).values()}
    )


def test_nothing_is_lost_when_the_process_is_killed(tmp_path: Path) -> None:
    count = 60
    with hostile_web() as web:
        web.pause = 0.1
        links = [web.url(f"/slow/{number}") for number in range(count)]
        workspace = shop(tmp_path, links)
        before = sha256_file(workspace.images)
        command = [sys.executable, "-m", "pipeline.cli", "-q", "-w", str(workspace.root), "fetch-images"]
        command += ["--allow-host", web.host, "--delay", "0"]
        root = Path(__file__).resolve().parents[3]
        process = subprocess.Popen(
            command, cwd=root, stdout=subprocess.DEVNULL, env={**os.environ, "PYTHONPATH": str(root)}
        )
        journal, ends_by = workspace.fetch_journal, time.monotonic() + 300
        while not journal.is_file() or journal.read_bytes().count(b"\n") < 10:
            assert process.poll() is None
            assert time.monotonic() < ends_by
            time.sleep(0.005)
        process.send_signal(signal.SIGKILL)
        process.wait(60)
        written = journal.read_bytes()
        assert 10 <= written.count(b"\n") < count
        assert sha256_file(workspace.images) == before
        visible = [path for path in workspace.fetched_images.rglob("*") if path.is_file() and path.name[0] != "."]
        assert len(visible) >= 10
        assert all(sha256_file(path) == path.stem for path in visible)

        journal.write_bytes(written + b'{"link": "http://127.0.0.1/torn", "ho')  # as a disk may leave it
        kept = [json.loads(line)["link"] for line in written.splitlines()]
        web.asked.clear()
        report = run(workspace, web, per_host=16)
        assert sorted(map(web.url, web.asked)) == sorted(set(links) - set(kept))
        assert (report.total("before"), report.total("fetched")) == (len(kept), count - len(kept))
    assert not journal.exists()
    assert {row["status"] for row in rows(workspace).values()} == {"ok"}
    assert list(workspace.fetched_images.rglob("*.tmp")) == []


def test_what_is_there_when_somebody_interrupts_is_of_use(
    web: Web, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    workspace = shop(tmp_path, [web.url(f"/ok/{number}") for number in range(6)])
    real = stage.ImageFetcher.fetch

    def interrupted(fetcher: Any, links: list[str]) -> Iterator[Fetched]:
        for number, found in enumerate(real(fetcher, links)):
            if number == 3:
                raise KeyboardInterrupt
            yield found

    monkeypatch.setattr(stage.ImageFetcher, "fetch", interrupted)
    with pytest.raises(KeyboardInterrupt):
        run(workspace, web)
    monkeypatch.undo()
    assert sum(row["status"] == "ok" for row in rows(workspace).values()) == 3
    assert not workspace.fetch_journal.exists()
    assert run(workspace, web).total("fetched") == 3


def test_a_damaged_table_of_links_is_an_error_that_says_what_to_do(web: Web, tmp_path: Path) -> None:
    workspace = shop(tmp_path, [web.url("/ok/1")])
    run(workspace, web)
    workspace.fetched.write_bytes(b"PAR1 no more")
    with pytest.raises(SchemaError, match="delete it"):
        run(workspace, web)


def test_requests_that_cannot_be_are_refused(tmp_path: Path) -> None:
    for options in ({"per_host": 0}, {"delay": -1.0}, {"most": 0}, {"parallel": 0}, {"limits": Limits(size=0)}):
        with pytest.raises(UsageError):
            FetchRequest(**options)  # type: ignore[arg-type]
    with pytest.raises(WorkspaceError):
        fetch_images(Workspace(tmp_path))
    with pytest.raises(WorkspaceError, match="semctl import"):
        fetch_images(Workspace(tmp_path / "new").create())


def test_the_command_prints_hosts_reasons_and_what_comes_next(
    web: Web, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    workspace = shop(
        tmp_path, [web.url("/ok/1"), web.url("/missing/2"), web.url("/status/500"), "http://10.1.2.3/a.png"]
    )
    command = ["-w", str(workspace.root), "fetch-images", "--allow-host", web.host, "--delay", "0", "--tries", "1"]
    assert _run([*command, "--dry-run"]) == 0
    out = capsys.readouterr().out
    assert "to ask: 4 links; size not known yet" in out
    assert f"Next: semctl -w {workspace.root} fetch-images" in out
    assert _run(command) == 0
    out = capsys.readouterr().out
    for text in (web.host, "10.1.2.3", "refused address", "not found", "server failed", "by the next run"):
        assert text in out
    assert f"1 image fetched ({len(image(1)) / 1024:.1f} KiB)" in out
    assert "--allow-host" in out
    assert "perhaps only for now without an image: 1 link;" in out
    assert "export-for-labelling --project NAME" in out
    assert _run([*command, "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert {name: found[name] for name in ("links", "fetched", "before", "dead", "broken", "left", "asked")} == {
        "links": 4,
        "fetched": 0,
        "before": 1,
        "dead": 3,
        "broken": 0,
        "left": 0,
        "asked": 1,
    }
    assert [each["reason"] for each in found["lost"]] == ["refused_address", "not_found", "server_failed"]
    assert found["images"] == {"ok": 1, "missing": 0, "dead": 3, "broken": 0}
    assert found["next"] == ["semctl fetch-images"]
    assert _run([*command, "--delay", "nan"]) == 2
    assert "--delay" in capsys.readouterr().err
    assert _run([*command, "--allow-host", "a/b", "--json"]) == 2
    assert json.loads(capsys.readouterr().out)["error"]["kind"] == "UsageError"


def test_nothing_to_fetch_is_said(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    workspace = shop(tmp_path, ["here.png", "gone.png"], {"here.png": image(1)})
    assert _run(["-w", str(workspace.root), "fetch-images"]) == 0
    assert "nothing to fetch: no image has a link and no file; 1 have neither" in capsys.readouterr().out


def test_every_reason_has_a_meaning_in_plain_words() -> None:
    assert all(meaning and reason.replace("_", "").isalpha() for reason, (_, meaning) in REASONS.items())
