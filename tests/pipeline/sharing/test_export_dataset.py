"""``semctl export-dataset``: what others load is what the workspace has, and nobody who labelled is named in it."""

from __future__ import annotations

import csv
import io
import json
import re
import shutil
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import mlcroissant
import pyarrow.parquet as pq
import pytest
from datasets import get_dataset_config_names, load_dataset
from huggingface_hub import DatasetCard

from annotate.annotations.annotation import is_of_page
from pipeline.chosen_dialogues import Selection
from pipeline.cli import _run
from pipeline.corpus.import_corpus import ImportRequest, import_corpus
from pipeline.generator.corpus import GenerateRequest, generate_corpus
from pipeline.labelling.export_for_labelling import ExportRequest, export_for_labelling
from pipeline.labelling.ingest_labels import IngestRequest, ingest_labels
from pipeline.labelling.page_corrections import KeptCorrection, Said, keep
from pipeline.labelling.simulated_labels import answer_tasks, gold_states
from pipeline.sharing.export_dataset import ExportDatasetRequest, export_dataset
from pipeline.sharing.export_model import ExportModelRequest, export_model
from pipeline.workspace import Workspace
from schemas.errors import UsageError, WorkspaceError
from schemas.files import read_json, sha256_file, write_json
from schemas.ontology import Ontology
from schemas.tables import ANNOTATIONS, D_F, D_P, PRODUCTS, TURNS, read_table

PEOPLE = ("zoe.quill@example.org", "anton.brack@example.org", "mira.voss@example.org")
SERVER = "label-studio.inside.example.org"


@pytest.fixture(scope="module")
def labelled(tmp_path_factory: pytest.TempPathFactory) -> Workspace:
    """Eight dialogues that three people labelled, who go by their addresses, with slips, a note and a decision."""
    root = tmp_path_factory.mktemp("dataset")
    generate_corpus(root / "corpus", GenerateRequest(size="test", seed=0))
    shop, gold = Workspace(root / "shop"), Workspace(root / "gold")
    import_corpus(shop, ImportRequest(root / "corpus", "mmd", ignore_states=True))
    import_corpus(gold, ImportRequest(root / "corpus", "mmd"))
    ingest_labels(gold, IngestRequest())
    ontology = shop.ontology()
    slot = ontology.slots[0].model_copy(update={"hint": f"Ask {PEOPLE[0]} where in doubt."})
    ontology.model_copy(update={"slots": (slot, *ontology.slots[1:])}).write(shop.ontology_file)
    export_for_labelling(shop, ExportRequest(Selection(limit=8), to_file=root / "tasks.json"))
    known = gold_states(gold, shop.ontology())
    tasks, answers = root / "tasks.json", root / "export.json"
    answer_tasks(shop, tasks, answers, known, annotators=(1, 2, 3), redundancy=3, error_rate=0.15)
    export = json.loads(answers.read_text())
    for task in export:
        for each in task["annotations"]:
            each["completed_by"] = {"id": each["completed_by"], "email": PEOPLE[each["completed_by"] - 1]}
    note = {"from_name": "note", "to_name": "tail", "type": "textarea", "value": {"text": ["ask Zoe Quill about it"]}}
    export[0]["annotations"][0]["result"].append({**note, "id": "note"})
    answers.write_text(json.dumps(export))
    ingest_labels(shop, IngestRequest(export=answers))
    known_people = {str(number): name for number, name in enumerate(PEOPLE, start=1)}
    projects = {"7": "lena.ode@example.org"}  # somebody who has been given work, and has not begun
    write_json(
        shop.labelling / "annotators.json",
        {"semctl_annotators": 1, "servers": {f"http://{SERVER}": {"users": known_people, "projects": projects}}},
    )
    return shop


@pytest.fixture(scope="module")
def given(labelled: Workspace, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("given") / "labels"
    export_dataset(labelled, ExportDatasetRequest(folder))
    return folder


def everything_written(folder: Path) -> Iterator[tuple[str, str]]:
    """Each file as it lies there, and what its pages hold once they are unpacked."""
    for path in sorted(folder.rglob("*")):
        if path.is_file():
            yield path.name, path.read_bytes().decode("latin-1")
            if path.suffix == ".parquet":
                table = pq.read_table(path)
                cells = io.StringIO()
                csv.writer(cells).writerows([table.column_names, *(row.values() for row in table.to_pylist())])
                yield path.name, cells.getvalue() + repr(table.schema.metadata) + repr(pq.read_metadata(path).metadata)


def test_no_annotator_is_named_in_any_byte_unless_that_is_asked_for(labelled: Workspace, given: Path, tmp_path: Path):
    secret = [*PEOPLE, "lena.ode@example.org", "zoe quill", SERVER, *(name.partition("@")[0] for name in PEOPLE)]
    stored = repr(read_table(labelled.annotations, ANNOTATIONS).to_pylist()).casefold()
    assert PEOPLE[1] in stored
    assert "zoe quill" in stored
    texts = list(everything_written(given))
    assert [(file, name) for file, text in texts for name in secret if name in text.casefold()] == []
    assert {"annotator-2", "annotator-3", "annotator-4"} <= set(re.findall(r"annotator-\d", repr(texts)))
    export_dataset(labelled, ExportDatasetRequest(tmp_path / "named", names=True))
    named = [text.casefold() for _, text in everything_written(tmp_path / "named")]
    assert all(any(name in text for text in named) for name in (*PEOPLE, "zoe quill"))


def test_a_model_of_the_labels_names_nobody_either(labelled: Workspace, tmp_path: Path):
    from pipeline.modelling.train import TrainRequest, train

    small = ("model.width=8", "model.heads=2", "model.layers=1", "model.inner=8")
    run = train(labelled, TrainRequest(labeled_ratio=0.2, settings=small, epochs=1)).run
    export_model(labelled, ExportModelRequest(tmp_path / "model", run))
    texts = list(everything_written(tmp_path / "model"))
    assert [(file, name) for file, text in texts for name in PEOPLE if name in text] == []
    assert "labelled by 3 people" in dict(texts)["README.md"]
    assert "Ask annotator-4 where in doubt." in dict(texts)["ontology.json"]


def test_datasets_loads_what_the_workspace_has(labelled: Workspace, given: Path, tmp_path: Path):
    assert get_dataset_config_names(str(given)) == [
        "D_F", "D_P", "turns", "recommendations", "products", "images", "annotations"
    ]  # fmt: skip
    number = {name: f"annotator-{at}" for at, name in enumerate(sorted([*PEOPLE, "lena.ode@example.org"]), start=1)}
    for name, table, path in (("D_F", D_F, labelled.d_f), ("D_P", D_P, labelled.d_p)):
        found = loaded(given, name, tmp_path)
        expected = read_table(path, table).to_pylist()
        for row in expected:
            row["annotators"] = [number.get(each, each) for each in row["annotators"]]
        assert sorted(found, key=by_turn) == sorted(expected, key=by_turn)
    states = [row["state"] for row in loaded(given, "D_P", tmp_path)]
    assert None in states  # not labelled, which is not to say that nothing is wanted
    assert sorted(loaded(given, "turns", tmp_path), key=by_turn) == sorted(
        read_table(labelled.turns, TURNS).to_pylist(), key=by_turn
    )
    for row, product in zip(
        loaded(given, "products", tmp_path), read_table(labelled.products, PRODUCTS).to_pylist(), strict=True
    ):
        assert [(each["attribute"], each["values"]) for each in row.pop("attributes")] == product.pop("attributes")
        assert row == product
    splits = load_dataset(str(given), "turns", cache_dir=str(tmp_path / "cache"))
    assert {split: {row["split"] for row in rows} for split, rows in splits.items()} == {
        "train": {"train"},
        "validation": {"valid"},
        "test": {"test"},
    }


def loaded(folder: Path, name: str, cache: Path) -> list[dict[str, Any]]:
    """All rows of a table, whatever their split."""
    found = load_dataset(str(folder), name, cache_dir=str(cache / "cache"))
    return [dict(row) for rows in found.values() for row in rows]


def by_turn(row: dict[str, Any]) -> tuple[str, int]:
    return row["dialogue_id"], row["turn"]


def test_croissant_is_valid_and_leads_to_every_row(given: Path):
    found = mlcroissant.Dataset(jsonld=given / "croissant.json")  # raises where it is not
    issues = found.metadata.ctx.issues
    assert not issues.errors
    assert {re.findall(r'"https?://\S+/(\w+)"', said)[0] for said in issues.warnings} == {
        "citeAs", "datePublished", "license", "version"
    }  # fmt: skip
    files = json.loads((given / "croissant.json").read_text())["distribution"]
    assert {each["contentUrl"]: each["sha256"] for each in files} == {
        path.relative_to(given).as_posix(): sha256_file(path) for path in (given / "data").rglob("*.parquet")
    }
    for each in ("D_F_train", "D_P_train", "products_everything"):
        table, split = each.rsplit("_", 1)
        rows = pq.read_table(given / "data" / table / f"{split}.parquet").to_pylist()
        records = list(found.records(each))
        key = "product_id" if table == "products" else "dialogue_id"
        assert [record[f"{each}/{key}"].decode() for record in records] == [row[key] for row in rows]
    first = next(row for row in pq.read_table(given / "data" / "D_F" / "train.parquet").to_pylist() if row["state"])
    record = next(record for record in found.records("D_F_train") if record["D_F_train/state"])
    values = [each["D_F_train/state/value"].decode() for each in record["D_F_train/state"]]
    assert values == [each["value"] for each in first["state"]]


def test_agreement_guideline_and_lineage_are_those_of_the_workspace(
    labelled: Workspace, given: Path, capsys: pytest.CaptureFixture[str]
):
    assert _run(["-q", "-w", str(labelled.root), "agreement", "--json"]) == 0
    told = capsys.readouterr().out
    for number, name in enumerate(sorted([*PEOPLE, "lena.ode@example.org"]), start=1):
        told = told.replace(name, f"annotator-{number}")
    assert json.loads((given / "agreement.json").read_text()) == json.loads(told)
    guideline = (given / "guideline.md").read_text()
    assert "Ask annotator-4 where in doubt." in guideline.replace("\\", "")
    assert Ontology.read(given / "ontology.json").slots[1:] == labelled.ontology().slots[1:]
    lineage = read_json(given / "lineage.json")
    assert lineage["splits"] == read_json(labelled.split_manifest)
    assert lineage["import"]["dialogues"] == 30
    assert lineage["labels"]["annotations"] == read_json(labelled.label_ledger)["annotations"]
    rows = pq.read_table(given / "data" / "annotations" / "everything.parquet").to_pylist()
    answers = {row["annotation_id"] for row in rows}
    sources = {each for row in pq.read_table(given / "data" / "D_F").to_pylist() for each in row["source_annotations"]}
    assert sources
    assert sources <= answers
    assert {row["value"] for row in rows if row["op"] == "note"} == {None}


def test_the_card_says_what_is_known_and_nothing_else(labelled: Workspace, given: Path, tmp_path: Path):
    card = DatasetCard.load(given / "README.md")
    assert (card.data.license, card.data.to_dict()["license_name"]) == ("other", "unknown")
    agreement = read_json(given / "agreement.json")
    overall = agreement["overall"]
    assert f"Krippendorff's alpha {overall['alpha']:.2f}" in card.text
    assert f"over {overall['turns']:,} turns of {overall['dialogues']:,} dialogues" in card.text
    assert "labelled by 3 people" in card.text
    assert "None was given, and none is implied" in card.text
    assert "nobody has looked for personal data" in card.text
    export_dataset(labelled, ExportDatasetRequest(tmp_path / "given", licence="CC BY 4.0, dialogues only"))
    card = DatasetCard.load(tmp_path / "given" / "README.md")
    assert (card.data.license, card.data.to_dict()["license_name"]) == ("other", "CC BY 4.0, dialogues only")
    assert read_json(tmp_path / "given" / "croissant.json")["license"] == "CC BY 4.0, dialogues only"


def test_twice_is_the_same_bytes_and_a_model_is_not_replaced_by_a_dataset(labelled: Workspace, given: Path):
    before = {path: path.read_bytes() for path in given.rglob("*") if path.is_file()}
    export_dataset(labelled, ExportDatasetRequest(given))
    assert {path: path.read_bytes() for path in given.rglob("*") if path.is_file()} == before
    assert str(labelled.root.parent) not in repr(list(everything_written(given)))
    with pytest.raises(UsageError, match="does not hold an exported model"):
        export_model(labelled, ExportModelRequest(given))


def test_nothing_that_was_said_on_a_served_page_is_passed_on(
    labelled: Workspace, given: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    shop = Workspace(Path(shutil.copytree(labelled.root, tmp_path / "shop")))
    slot = shop.ontology().slots[0]
    said = (Said("user", "a present for my sister Ottilie"),)
    at, like = datetime(2026, 3, 1, tzinfo=UTC), (slot.values[0].value,)
    keep(shop.page_corrections, KeptCorrection(1, "a key", at, "run", shop.ontology().version, said, slot.name, like))
    ingest_labels(shop, IngestRequest())
    assert [name for name in read_table(shop.d_p, D_P)["dialogue_id"].to_pylist() if is_of_page(name)]
    assert _run(["-w", str(shop.root), "export-dataset", str(tmp_path / "dataset")]) == 0
    assert "1 conversation(s) that a served page has kept" in " ".join(capsys.readouterr().err.split())
    assert not [name for name, text in everything_written(tmp_path / "dataset") if "Ottilie" in text or "page/" in text]
    for path in (tmp_path / "dataset" / "data").rglob("*.parquet"):
        there = pq.read_table(given / "data" / path.parent.name / path.name)
        if path.parent.name == "turns":
            assert pq.read_table(path) == there
        assert pq.read_table(path).num_rows == there.num_rows


def test_without_labels_there_is_no_dataset(tmp_path: Path):
    with pytest.raises(WorkspaceError, match="no labels"):
        export_dataset(Workspace(tmp_path / "shop").create(), ExportDatasetRequest(tmp_path / "given"))
    assert not (tmp_path / "given").exists()
