"""Workspaces of other versions of semctl: of an earlier one they open and give the same; a newer one is named."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

from pipeline.cli import _run
from pipeline.workspace import Workspace
from schemas import tables
from schemas.errors import ModelError, SchemaError
from schemas.tables import ANNOTATIONS, D_F, D_P, IMAGES, STATES, Table, open_table, read_table
from semantic_model.config.config import load_config, settings_of
from semantic_model.registry import MODELS
from semantic_model.training.checkpoint import MODEL_FORMAT, read_card
from tests.generated_workspace import generated_workspace
from tests.label_exports import answer, answered, pick, save

EVERY_TABLE = [value for value in vars(tables).values() if isinstance(value, Table)]
PLACES = {"annotations": "annotations", "images": "images", "states": "states"}
"""Table with earlier versions -> its place in a workspace."""


@pytest.fixture(scope="module")
def original(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a workspace ``shop``, and ``export.json``, an export that answers two of its dialogues."""
    folder = tmp_path_factory.mktemp("versions")
    shop = generated_workspace(folder)
    slot = next(slot for slot in shop.ontology().slots if len(slot.values) > 1)
    tasks = folder / "tasks.json"
    assert _run(["-q", "-w", str(shop.root), "export-for-labelling", "--to-file", str(tasks), "-n", "2", "--json"]) == 0
    export = [
        answered({**task, "id": n}, answer(n, [pick("want_0", f"{slot.name}={slot.values[0].value}")]))
        for n, task in enumerate(json.loads(tasks.read_bytes()))
    ]
    save(folder / "export.json", export)
    return folder


def in_version(path: Path, table: Table, version: int) -> None:
    """Rewrite a table with the columns and the number of an earlier version, as that one wrote it."""
    data = read_table(path, table)
    columns = table.earlier[version]
    inputs = pq.read_schema(path).metadata.get(b"semctl.inputs", b"{}")
    said = {**table.metadata(None), b"semctl.schema_version": str(version).encode(), b"semctl.inputs": inputs}
    pq.write_table(data.select(columns.names).cast(columns).replace_schema_metadata(said), path)


def said(capsys: pytest.CaptureFixture[str], shop: Workspace, *arguments: str) -> dict[str, Any]:
    """What a command answers as JSON."""
    capsys.readouterr()
    assert _run(["-q", "-w", str(shop.root), *arguments, "--json"]) == 0, capsys.readouterr().out
    found: dict[str, Any] = json.loads(capsys.readouterr().out)
    return json.loads(json.dumps(found).replace(str(shop.root.parent), ""))


def test_every_table_with_earlier_versions_is_tried_here():
    assert {table.name for table in EVERY_TABLE if table.version > 1 or table.earlier} == set(PLACES)
    for table in EVERY_TABLE:
        assert set(table.earlier) == set(range(1, table.version)), f"{table.name}: a version that is not read any more"


@pytest.mark.parametrize("back", [1, 2])
def test_a_workspace_of_an_earlier_version_gives_what_one_of_this_version_gives(
    back: int, original: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    shops = []
    for name in ("now", "then"):
        shutil.copytree(original, tmp_path / name)
        shops.append(Workspace(tmp_path / name / "shop"))
    now, then = shops
    for table in (ANNOTATIONS, IMAGES, STATES):
        path = getattr(then, PLACES[table.name])
        in_version(path, table, max(table.version - back, 1))
        assert pq.read_schema(path).metadata[b"semctl.schema_version"] < str(table.version).encode()
    for command in (
        ("stats",), ("checks",),
        ("trace", "train/20", "--turn", "0", "--slot", now.ontology().slots[0].name),
        ("select", "-n", "3", "--strategy", "random", "--include-labelled"),
        ("recommend", "tfidf", "--message", "a red dress"),
        ("export-for-labelling", "--to-file", "{above}/again.json", "-n", "3"),
    ):  # fmt: skip
        answers = [said(capsys, shop, *(part.format(above=shop.root.parent) for part in command)) for shop in shops]
        for each in answers:  # which states of version 1 do not say
            each.pop("decided_by", None)
        assert answers[0] == answers[1], command
    for shop in shops:
        said(capsys, shop, "ingest-labels", str(shop.root.parent / "export.json"))
    for table, name in ((STATES, "states"), (D_F, "d_f"), (D_P, "d_p"), (ANNOTATIONS, "annotations")):
        rows = [read_table(getattr(shop, name), table).to_pylist() for shop in shops]
        assert rows[0] == rows[1], name
        assert pq.read_schema(getattr(then, name)).metadata[b"semctl.schema_version"] == str(table.version).encode()


@pytest.mark.parametrize("table", EVERY_TABLE, ids=lambda table: table.name)
def test_a_table_of_a_newer_semctl_says_so(table: Table, tmp_path: Path):
    path = tmp_path / "table.parquet"
    tables.write_table(path, table, [])
    data = pq.read_table(path)
    newer = {**data.schema.metadata, b"semctl.schema_version": str(table.version + 1).encode()}
    pq.write_table(data.replace_schema_metadata(newer), path)
    with pytest.raises(
        SchemaError, match=rf"schema version {table.version + 1}, .*a newer semctl wrote it: update this"
    ):
        open_table(path, table)


@pytest.mark.parametrize(("file", "key"), [("ontology.json", "ranking"), ("semctl.toml", "ranking")])
def test_a_key_of_a_newer_semctl_is_one_line(
    file: str, key: str, original: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    shutil.copytree(original / "shop", tmp_path / "shop")
    path = tmp_path / "shop" / file
    if path.suffix == ".json":
        path.write_text(json.dumps({**json.loads(path.read_bytes()), key: 1}))
    else:
        path.write_text(f"{key} = 1\n{path.read_text()}")
    assert (
        _run(["-q", "-w", str(tmp_path / "shop"), "export-for-labelling", "--to-file", str(tmp_path / "t.json")]) == 2
    )
    told = capsys.readouterr().err
    assert key in told
    assert file in told
    assert told.count("\n") == 1


def model_folder(folder: Path, number: Any, config: dict[str, Any]) -> Path:
    """A folder with the ``config.json`` of a model."""
    folder.mkdir()
    about = {"word_width": 8, "feature_width": 4, "words": "corpus", "features": "pixels"}
    value = {"format": number, "architecture": "semantic", "config": config, "ontology": {"slots": []}, **about}
    (folder / "config.json").write_text(json.dumps(value))
    return folder


def test_a_model_of_the_format_before_is_read_without_the_settings_of_other_models(tmp_path: Path):
    own = load_config("tiny").model_dump(mode="json")
    of_all: dict[str, Any] = {}
    for kind in MODELS:
        for section, values in settings_of(kind)().model_dump(mode="json").items():
            of_all[section] = {**of_all.get(section, {}), **values}
    before = {section: {**values, **own.get(section, {})} for section, values in of_all.items()}
    assert set(before) > set(own)
    now = read_card(model_folder(tmp_path / "now", MODEL_FORMAT, own))
    assert read_card(model_folder(tmp_path / "then", MODEL_FORMAT - 1, before)) == now


@pytest.mark.parametrize(
    ("number", "way_out"),
    [
        (MODEL_FORMAT + 1, "a newer semctl wrote it: update this one, or train again"),
        (1, "train again"),
        ("x", "train"),
    ],
)
def test_a_model_of_another_format_says_so(number: Any, way_out: str, tmp_path: Path):
    folder = model_folder(tmp_path / "model", number, load_config("tiny").model_dump(mode="json"))
    with pytest.raises(ModelError, match=rf"a model of format {number}, this semctl reads 2 and 3 .*; {way_out}"):
        read_card(folder)
