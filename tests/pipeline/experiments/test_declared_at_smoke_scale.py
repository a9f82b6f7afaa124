"""Every declared experiment carried out through the command line at scale ``smoke``, and its report."""

from __future__ import annotations

import json
import math
from html import escape
from pathlib import Path

import pytest
from PIL import Image

from pipeline import cli
from pipeline.experiments.declaration import declared_names, find_declared
from pipeline.workspace import Workspace
from tests.generated_workspace import generated_workspace
from tests.skipping import need_minilm

pytestmark = pytest.mark.slow

GRIDS = [name for name in declared_names() if not find_declared(name).declaration.commands]
SEEDS = {"figure4": 2}
"""One seed elsewhere: how intervals come about is tested with hand-worked figures."""


@pytest.fixture(scope="module")
def workspace(tmp_path_factory: pytest.TempPathFactory) -> Workspace:
    return generated_workspace(tmp_path_factory.mktemp("smoke"))


@pytest.mark.parametrize("name", GRIDS)
def test_it_runs_and_every_row_and_claim_of_the_paper_has_its_answer(
    name: str, workspace: Workspace, capsysbinary: pytest.CaptureFixture[bytes]
):
    told = find_declared(name).declaration
    if any("clip" in grid.get("models", ()) for grid in told.grids.values()):  # a stand-in here
        need_minilm()
    where = ["-w", str(workspace.root)]
    trained = [] if told.statistics else ["--scale", "smoke", "--seeds", str(SEEDS.get(name, 1))]
    assert cli._run([*where, "experiment", "run", name, *trained, "--json"]) == 0
    found = json.loads(capsysbinary.readouterr().out)
    ours = {line["name"]: line["cells"] for line in found["lines"] if line["ours"]}
    theirs = {line["name"] for line in found["lines"] if not line["ours"]}
    missing = {row.name for row in told.rows} - set(ours)
    assert missing <= {row.name for row in told.rows if row.model == "none" or "0." in (row.change or "")}
    assert theirs == {row.name for row in told.rows if row.paper}
    for row in (row.name for row in told.rows if row.name in ours):
        assert len(ours[row]) == len(told.measures)
        assert all(math.isfinite(float(cell.split(" ")[0])) for cell in ours[row] if cell)
    assert len(found["claims"]) == len(told.claims)
    shares = {
        f"{line['name']}, {100 * line['ratio']:.0f} % of labels" for line in found["lines"] if line["ratio"] is not None
    }
    for claim, declared in zip(found["claims"], told.claims, strict=True):
        wanted = {declared.better, declared.to, *declared.than, *declared.close} - {None}
        assert (claim["answer"] == "not measured") == (not wanted <= {*ours, *shares})
    kept = workspace.experiments / (name if told.statistics else f"{name}-smoke")
    assert f"# {told.title}" in (kept / "table.md").read_text(encoding="utf-8")
    if told.figure is not None:
        assert Image.open(kept / "figure.png").size[0] > 500
        assert (kept / "figure.svg").stat().st_size > 1000
    page = kept / "report.html"
    assert cli._run([*where, "report", kept.name, "--out", str(page)]) == 0
    assert f"<h1>{escape(told.title)}</h1>" in page.read_text(encoding="utf-8")


def test_runs_are_shared_between_tables_and_figures_and_kept(workspace: Workspace, capsysbinary):
    kept = {path.name for path in Path(workspace.runs).iterdir() if not path.name.startswith(".")}
    for name in GRIDS:
        asked_before = workspace.experiments / f"{name}-smoke"
        if not asked_before.exists():  # nothing is trained, or its words are not here
            continue
        command = ["experiment", "run", name, "--scale", "smoke", "--seeds", str(SEEDS.get(name, 1)), "--dry-run"]
        assert cli._run(["-w", str(workspace.root), *command, "--json"]) == 0
        asked = json.loads(capsysbinary.readouterr().out)
        assert sum(cell["runs"] - cell["done"] for cell in asked["cells"]) == 0
    assert {path.name for path in Path(workspace.runs).iterdir() if not path.name.startswith(".")} == kept
