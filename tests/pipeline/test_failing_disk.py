"""A full disk and folders that may not be written: one line from every command, and the next run goes on."""

from __future__ import annotations

import json
from contextlib import AbstractContextManager
from pathlib import Path

import pytest

from pipeline.cli import _run
from pipeline.labelling.ingest_labels import IngestRequest, ingest_labels
from pipeline.workspace import Workspace
from schemas.tables import PRODUCTS, RECOMMENDATIONS, read_table, write_table
from tests.failing_disk import full_disk, read_only
from tests.label_exports import answer, answered, hashes, pick, save, tasks_of
from tests.labelling_corpus import dialogue, write_workspace

DIALOGUES = [dialogue(f"d{number}", users=3) for number in range(8)]
LABELLED = DIALOGUES[:3]


def export_of(*annotators: tuple[int, str]) -> list[dict[str, object]]:
    """Everybody wants another colour in the first turn."""
    return [
        answered(
            {**task, "id": number},
            *(answer(10 * number + who, [pick("want_0", colour)], by=who) for who, colour in annotators),
        )
        for number, task in enumerate(tasks_of(LABELLED, window=30))
    ]


@pytest.fixture
def workspace(tmp_path: Path) -> Workspace:
    """Two annotators who differ."""
    space = write_workspace(tmp_path / "shop", DIALOGUES)
    write_table(space.recommendations, RECOMMENDATIONS, [])
    ingest_labels(
        space, IngestRequest(export=save(tmp_path / "first.json", export_of((1, "color=red"), (2, "color=blue"))))
    )
    save(tmp_path / "second.json", export_of((1, "color=red"), (2, "color=black"), (3, "color=red")))
    (tmp_path / "out").mkdir()
    space.labelling.mkdir(exist_ok=True)
    return space


COMMANDS = {
    "select": ("select", "--strategy", "random", "-n", "100", "--out", "{out}/chosen.txt"),
    "export": ("export-for-labelling", "--to-file", "{out}/tasks.json"),
    "export of one": ("export-for-labelling", "--to-file", "{out}/tasks.json", "-n", "1"),
    "prelabelled": ("export-for-labelling", "--to-file", "{out}/tasks.json", "--prelabel", "lexicon"),
    "assigned": ("export-for-labelling", "--to-file", "{out}/assigned.json", "--annotators", "a@x.org,b@x.org"),
    "ingest": ("ingest-labels", "{above}/second.json"),
    "agreement": ("agreement", "--bootstrap", "20", "--html", "{out}/page.html"),
    "adjudicate": ("adjudicate", "--to-file", "{out}/review.json"),
    "feedback": ("feedback", "{out}/packs"),
    "rename": ("ontology", "rename", "color=red", "crimson"),
    "merge": ("ontology", "merge", "color=red", "color=blue", "--into", "violet"),
    "add": ("ontology", "add", "color=lilac"),
}


def arguments_of(name: str, workspace: Workspace) -> list[str]:
    places = {"out": workspace.root.parent / "out", "above": workspace.root.parent}
    return ["-q", "-w", str(workspace.root), *(text.format(**places) for text in COMMANDS[name])]


def everywhere(workspace: Workspace) -> AbstractContextManager[None]:
    """Nothing can be written in any folder that is there."""
    below = [path for path in workspace.root.rglob("*") if path.is_dir()]
    return read_only(workspace.root.parent / "out", workspace.root, *below)


def written(root: Path) -> dict[str, str]:
    """Every file by its hash, but locks, which are empty, and linked images, each of which is whole."""
    aside = (".lock", "/pixel.png", "labelling/files/pictures/")
    found = {name: sha for name, sha in hashes(root).items() if not any(each in name for each in aside)}
    assert not [name for name in hashes(root) if name.endswith(".tmp")]
    return found


def is_one_line_about_the_disk(printed: str) -> bool:
    told = "Permission denied" in printed or "File too large" in printed
    return told and printed.count("\n") == 1 and "bug" not in printed and ".tmp" not in printed


@pytest.mark.parametrize("name", COMMANDS)
def test_read_only_folders_are_one_line_and_nothing_is_written(
    name: str, workspace: Workspace, capsys: pytest.CaptureFixture[str]
):
    arguments = arguments_of(name, workspace)
    before = written(workspace.root.parent)
    with everywhere(workspace):
        assert _run(arguments) == 2
    printed = capsys.readouterr()
    assert printed.out == ""
    assert is_one_line_about_the_disk(printed.err), printed.err
    assert written(workspace.root.parent) == before
    assert _run(arguments) == 0, capsys.readouterr().err
    assert written(workspace.root.parent) != before


@pytest.mark.parametrize("name", COMMANDS)
def test_at_whatever_file_the_disk_is_full_nothing_is_half_written_and_the_next_run_completes(
    name: str, workspace: Workspace, capsys: pytest.CaptureFixture[str]
):
    arguments = arguments_of(name, workspace)
    before = written(workspace.root.parent)
    codes = []
    for room in (0, 500, 1_500, 4_000, 9_000, 20_000, 1_000_000):
        with full_disk(room):
            codes.append(_run(arguments))
        printed = capsys.readouterr()
        if codes[-1] == 0:
            break
        assert codes[-1] == 2
        assert printed.out == ""
        assert is_one_line_about_the_disk(printed.err), printed.err
        if name != "assigned":  # who gets what is kept: the next run assigns the same
            assert written(workspace.root.parent) == before, room
    assert codes[0] == 2
    assert codes[-1] == 0
    assert written(workspace.root.parent) != before


def test_as_json_the_error_is_one_object(workspace: Workspace, capsys: pytest.CaptureFixture[str]):
    with full_disk():
        assert _run([*arguments_of("export", workspace), "--json"]) == 2
    error = json.loads(capsys.readouterr().out)["error"]
    assert error["kind"] in ("WorkspaceError", "UsageError")


def test_a_table_that_does_not_fit_is_named(workspace: Workspace):
    rows = read_table(workspace.products, PRODUCTS)
    with full_disk(), pytest.raises(OSError, match=r"products\.parquet") as problem:
        write_table(workspace.products, PRODUCTS, rows)
    assert problem.value.filename == str(workspace.products)
    assert read_table(workspace.products, PRODUCTS) == rows
