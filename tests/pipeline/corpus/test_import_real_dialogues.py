"""Imports of the real corpora, with figures counted from their files by independent code."""

from __future__ import annotations

import html
import json
import shutil
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from pipeline.corpus.import_corpus import ImportReport, ImportRequest, import_corpus
from pipeline.corpus.stats import workspace_stats
from pipeline.workspace import Workspace
from schemas.ontology import Ontology
from schemas.tables import ANNOTATIONS, IMAGES, PRODUCTS, RECOMMENDATIONS, TURNS, read_table

pytestmark = pytest.mark.realdata


@pytest.fixture(scope="module")
def mmd(shared_data: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Workspace, ImportReport]:
    workspace = Workspace(tmp_path_factory.mktemp("mmd") / "work")
    return workspace, import_corpus(workspace, ImportRequest(shared_data / "simmc2_fashion_mmd", "mmd"))


def dialogue_files(shared_data: Path) -> dict[str, list[dict[str, Any]]]:
    folder = shared_data / "simmc2_fashion_mmd" / "dialogues"
    return {path.stem: json.loads(path.read_text()) for path in sorted(folder.glob("*/*.json"))}


def test_simmc2_in_mmd_layout_has_the_figures_of_its_readme(mmd: tuple[Workspace, ImportReport]) -> None:
    report = mmd[1].as_json()
    assert report["dialogues"] == 460
    assert report["splits"] == {"train": 400, "valid": 60, "test": 0}
    assert report["products"] == 288
    assert report["user_turns"] == report["labelled_turns"] == 2836
    assert report["recommendation_turns"] == 1342
    assert report["images"] == {"ok": 288, "missing": 0, "dead": 0, "broken": 0}
    # where each product's photo comes from is no attribute of the product
    assert report["dropped"] == {"state_values/no_value": 4, "product_values/object_within_the_record": 288}
    assert report["attribute_aliases"] == {
        "customer_review": ["avg_stars"],
        "pattern": ["style"],
        "size": ["size_fit"],
        "sleeve_length": ["sleeves"],
    }


def test_every_turn_and_candidate_is_the_files(mmd: tuple[Workspace, ImportReport], shared_data: Path) -> None:
    files = dialogue_files(shared_data)
    rows = read_table(mmd[0].turns, TURNS).to_pylist()
    assert [(row["dialogue_id"], row["turn"]) for row in rows] == sorted(
        (row["dialogue_id"], row["turn"]) for row in rows
    )
    for row in rows:
        said = files[row["dialogue_id"]][row["turn"]]
        assert row["speaker"] == said["speaker"]
        assert row["text"] == " ".join(html.unescape(said["utterance"]["nlg"]).split())
    by_url = {}
    for path in (shared_data / "simmc2_fashion_mmd" / "products").glob("*.json"):
        product = json.loads(path.read_text())
        by_url[product["image_filename"]] = product["id"]
    for row in read_table(mmd[0].recommendations, RECOMMENDATIONS).to_pylist():
        said = files[row["dialogue_id"]][row["turn"]]["utterance"]
        assert row["positives"] == [by_url[url] for url in said["images"]]
        assert row["negatives"] == [by_url[url] for url in said["false images"]]


def test_corpus_annotations_say_what_the_files_say(mmd: tuple[Workspace, ImportReport], shared_data: Path) -> None:
    found: dict[tuple[str, int], dict[str, list[str]]] = {}
    for row in read_table(mmd[0].annotations, ANNOTATIONS).to_pylist():
        slots = found.setdefault((row["dialogue_id"], row["turn"]), {})
        if row["op"] == "want":
            slots.setdefault(row["slot"], []).append(row["value"])
    expected = {}
    for dialogue_id, elements in dialogue_files(shared_data).items():
        for turn, element in enumerate(elements):
            if "dst" in element:
                slots = {}
                for slot, value in element["dst"]["slot_values"].items():
                    values = value if isinstance(value, list) else [value]
                    parts = [
                        part.strip()
                        for v in values
                        for part in (str(v).split(",") if slot != "brand" else [str(v)])
                        if part.strip()
                    ]
                    parts = [part.removesuffix(".0") for part in parts]
                    if parts:
                        slots[slot] = list(dict.fromkeys(parts))
                expected[dialogue_id, turn] = slots
    assert found == expected


def test_the_ontology_is_one_to_label_with(mmd: tuple[Workspace, ImportReport]) -> None:
    ontology = Ontology.read(mmd[0].ontology_file)
    assert [slot.name for slot in ontology.slots] == [
        "type",
        "color",
        "price",
        "customerReview",
        "size",
        "brand",
        "pattern",
        "sleeveLength",
        "availableSizes",
    ]
    for name, attribute in (("sleeve_length", "sleeve_length"), ("sleeves", "sleeve_length"), ("style", "pattern")):
        assert ontology.slot(name).attribute == attribute
    assert ontology.slot("price").kind == ontology.slot("customerReview").kind == "numeric"
    products = read_table(mmd[0].products, PRODUCTS).to_pylist()
    for slot in ontology.slots:
        if slot.kind == "categorical":
            counts = Counter(v for p in products for v in dict(p["attributes"]).get(slot.attribute, ()))
            assert {value.value: value.count for value in slot.values} == counts
        else:
            assert sum(value.count for value in slot.values) == 288


def test_gold_items_satisfy_stated_types_and_false_images_do_so_less_often(mmd: tuple[Workspace, ImportReport]) -> None:
    attributes = {p["product_id"]: dict(p["attributes"]) for p in read_table(mmd[0].products, PRODUCTS).to_pylist()}
    wanted: dict[tuple[str, int], dict[str, str]] = {}
    for row in read_table(mmd[0].annotations, ANNOTATIONS).to_pylist():
        if row["op"] == "want" and row["slot"] in ("type", "brand"):
            wanted.setdefault((row["dialogue_id"], row["turn"]), {})[row["slot"]] = row["value"]
    shares: dict[tuple[str, str], list[bool]] = {}
    for row in read_table(mmd[0].recommendations, RECOMMENDATIONS).to_pylist():
        for slot, value in wanted.get((row["dialogue_id"], row["turn"] - 1), {}).items():
            for side in ("positives", "negatives"):
                hits = [value in attributes[product].get(slot, ()) for product in row[side]]
                shares.setdefault((slot, side), []).extend(hits)
    mean = {key: sum(hits) / len(hits) for key, hits in shares.items()}
    assert mean["type", "positives"] > 0.95
    assert mean["brand", "positives"] > 0.95
    assert mean["type", "negatives"] < 0.65
    assert mean["brand", "negatives"] < 0.1


def test_table_1_of_the_real_corpus(mmd: tuple[Workspace, ImportReport]) -> None:
    stats = workspace_stats(mmd[0])
    train, valid, test = stats.splits
    assert (train.dialogues, valid.dialogues, test.dialogues) == (400, 60, 0)
    assert train.rec_turns + valid.rec_turns == 1342
    assert train.avg_neg_images == valid.avg_neg_images == 5.0
    assert round(train.rec_turns * train.avg_pos_images + valid.rec_turns * valid.avg_pos_images) == 2241
    assert stats.labels_from == "corpus annotations"
    coverage = {slot.slot: slot for slot in stats.slots}
    assert (coverage["type"].turns, coverage["price"].turns, coverage["sleeveLength"].turns) == (1531, 279, 178)
    assert coverage["type"].values_known == coverage["type"].values_said == 16
    assert round(coverage["sleeveLength"].products * 288) == 259


def test_simmc2_original_gives_the_same_dialogues_and_states(
    mmd: tuple[Workspace, ImportReport], shared_data: Path, tmp_path: Path
) -> None:
    workspace = Workspace(tmp_path / "work")
    report = import_corpus(workspace, ImportRequest(shared_data / "simmc2_fashion_original", "simmc2"))
    assert report.ledger["dialogues"].kept == 460
    assert report.user_turns == 2836
    assert report.products == 345
    assert report.recommendation_turns == 1992
    assert report.ledger["positives"].dropped == {"ambiguous_object": 226, "listed_twice": 298}
    columns = ["dialogue_id", "turn", "speaker", "text"]
    theirs = read_table(workspace.turns, TURNS, columns=columns)
    assert theirs == read_table(mmd[0].turns, TURNS, columns=columns)
    columns = ["dialogue_id", "turn", "op", "slot", "value"]
    theirs = read_table(workspace.annotations, ANNOTATIONS, columns=columns)
    assert theirs == read_table(mmd[0].annotations, ANNOTATIONS, columns=columns)


def test_simmc1_is_read_whole(shared_data: Path, tmp_path: Path) -> None:
    workspace = Workspace(tmp_path / "work")
    report = import_corpus(workspace, ImportRequest(shared_data / "simmc1_fashion", "simmc1"))
    assert (report.ledger["dialogues"].kept, report.user_turns, report.products) == (655, 3513, 2098)
    assert report.recommendation_turns == 738
    assert report.splits == {"train": 0, "valid": 655, "test": 0}
    ontology = Ontology.read(workspace.ontology_file)
    assert ontology.slots[0].attribute == "type"
    assert all(ontology.find(name) is not None for name in report.slots)
    said = {row["slot"] for row in read_table(workspace.annotations, ANNOTATIONS).to_pylist() if row["slot"]}
    assert said <= {slot.name for slot in ontology.slots}
    linked = ontology.link(ontology.slot("size"), "extra large")
    assert (linked.attribute, linked.catalogue_value) == ("available_sizes", "XL")


def test_mmd_fragments_are_read_and_their_dead_links_counted(shared_data: Path, tmp_path: Path) -> None:
    fragments, root = shared_data / "mmd_fragments", tmp_path / "corpus"
    shutil.copytree(fragments / "dialogue_samples", root / "dialogues/train")
    shutil.copytree(fragments / "raw_catalogue_samples", root / "raw_catalog")
    workspace = Workspace(tmp_path / "work")
    report = import_corpus(workspace, ImportRequest(root, "mmd"))
    ledger = report.ledger.as_json()
    assert ledger["dialogues"] == {"in": 2, "kept": 2, "dropped": {}}
    assert ledger["utterances"]["kept"] == 41
    assert ledger["recommendation_turns"]["dropped"] == {"no_positive_with_a_known_product": 6}
    assert report.images["dead"] == ledger["images"]["in"] == 35
    rows = {row["product_id"]: row for row in read_table(workspace.products, PRODUCTS).to_pylist()}
    salwar, cable = rows["AYANS16AWEWSA9177C80"], rows["B00C2BQDUG"]
    assert dict(salwar["attributes"])["color"] == ["Magenta"]
    assert dict(salwar["attributes"])["type"] == ["Salwar"]
    assert len(salwar["image_ids"]) == len(cable["image_ids"]) == 4
    assert dict(cable["attributes"])["category"] == ["Cat 6 Cables"]
    assert cable["price"] == 19.99
    assert {row["status"] for row in read_table(workspace.images, IMAGES).to_pylist()} == {"dead"}
