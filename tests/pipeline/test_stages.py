"""The stages in their order, held against the workspace, its tables and the README."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from pipeline.cli import COMMANDS
from pipeline.stages import STAGES, Stage, find_stage, maker_of
from pipeline.workspace import Workspace
from schemas.tables import D_F, D_P, FINDINGS, IMAGES, PRODUCTS, QUARANTINE, RECOMMENDATIONS, STATES, TURNS, Table

README = (Path(__file__).resolve().parents[2] / "README.md").read_text()


def test_what_a_stage_reads_an_earlier_one_has_written():
    written: set[str] = set()
    for stage in STAGES:
        assert set(stage.reads) <= written, stage.command
        written |= set(stage.writes)


@pytest.mark.parametrize("stage", STAGES, ids=lambda stage: stage.command)
def test_a_stage_is_a_command_and_its_artefacts_have_places(stage: Stage):
    assert stage.command in COMMANDS
    root = Path("shop")
    places = [getattr(Workspace(root), name) for name in (*stage.reads, *stage.writes)]
    assert all(place.is_relative_to(root) for place in places)
    assert stage.manifest is None or stage.writes[-1] == stage.manifest


@pytest.mark.parametrize(
    "table", [PRODUCTS, IMAGES, TURNS, RECOMMENDATIONS, QUARANTINE, FINDINGS, STATES, D_F, D_P], ids=lambda t: t.name
)
def test_a_table_names_the_command_of_its_stage(table: Table):
    assert table.made_by == f"semctl {maker_of(table.name.lower()).command}"


def test_the_five_steps_of_the_readme_are_the_stages_in_their_order():
    steps = README.split("## Five steps")[1].split("\n## ")[0]
    lines = [line for block in re.findall(r"```sh\n(.*?)```", steps, flags=re.DOTALL) for line in block.splitlines()]
    named = [found[1] for line in lines if (found := re.match(r"semctl (?:-w \S+ )?([a-z-]+)", line))]
    commands = [stage.command for stage in STAGES]
    optional = ("select", "audit")
    assert [name for name in named if name in commands] == [name for name in commands if name not in optional]


def test_the_picture_of_the_readme_names_every_stage():
    drawing = README.split("```")[1]
    assert [stage.command for stage in STAGES if stage.command not in drawing] == []


def test_a_stage_knows_where_it_writes():
    shop = Workspace(Path("shop"))
    assert list(find_stage("select").outputs(shop)) == [Path("shop/labelling/selection.txt")]
