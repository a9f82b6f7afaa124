"""Small corpora in which something would be lost without a word: it is kept, counted, told or refused."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from pipeline.corpus.import_corpus import ImportReport, ImportRequest, import_corpus
from pipeline.workspace import Workspace
from schemas.errors import CorpusError
from schemas.tables import PRODUCTS, RECOMMENDATIONS, TURNS, read_table


def write(path: Path, value: Any) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(value if isinstance(value, str) else json.dumps(value), encoding="utf-8")


def imported(tmp_path: Path, form: str) -> tuple[Workspace, ImportReport]:
    workspace = Workspace(tmp_path / "work")
    return workspace, import_corpus(workspace, ImportRequest(tmp_path / "corpus", form))


def attributes(workspace: Workspace) -> dict[str, dict[str, list[str]]]:
    return {row["product_id"]: dict(row["attributes"]) for row in read_table(workspace.products, PRODUCTS).to_pylist()}


def texts(workspace: Workspace) -> list[tuple[str, str]]:
    return [(row["dialogue_id"], row["text"]) for row in read_table(workspace.turns, TURNS).to_pylist()]


# --- one's own JSON lines ---------------------------------------------------------------------------------------------


LAMP = '{"product_id": "lamp", "price": 20, "attributes": {"color": "red"}}'
ASKED = '{"dialogue_id": "d", "turns": [{"speaker": "user", "text": "a lamp"%s}]}'


def own(root: Path, products: str = LAMP, dialogues: str = ASKED % "", name: str = "products.jsonl") -> None:
    write(root / name, products)
    write(root / "dialogues.jsonl", dialogues)


@pytest.mark.parametrize(
    ("line", "key"),
    [
        (ASKED % ', "text": "a table"', "text"),
        (ASKED % ', "state": {"like": {"color": "red", "color": "blue"}}', "color"),
        (ASKED % ', "state": {"like": {"color": "red"}, "like": {"size": "S"}}', "like"),
    ],
)
def test_a_key_that_is_twice_in_a_dialogue_is_refused_with_its_line(tmp_path: Path, line: str, key: str) -> None:
    own(tmp_path / "corpus", dialogues=f"\n{line}\n")
    with pytest.raises(CorpusError, match=rf"the key '{key}' is there twice .*dialogues\.jsonl, line 2"):
        imported(tmp_path, "jsonl")


@pytest.mark.parametrize(
    ("name", "content", "said"),
    [
        ("products.jsonl", "", r"no product in this file .*products\.jsonl\); write a line for each"),
        ("products.csv", "product_id,name\n", r"no product in this file .*products\.csv\)"),
        ("products.csv", "product_id,price (EUR)\nlamp,20\n", r"'price \(EUR\)' .*line 1\); did you mean 'price'"),
        ("products.csv", "product_id,price_inr\nlamp,20\n", "did you mean 'price'"),
        ("products.csv", "product_id,size,attributes.Size\nlamp,S,M\n", r"two columns are called 'Size' .*line 1\)"),
        ("products.csv", "product_id,attributes.size,attribute:size\nlamp,S,M\n", "two columns are called 'size'"),
        ("products.jsonl", "PK\x03\x04\x14\n", "a spreadsheet or another ZIP file"),
    ],
)
def test_a_catalogue_that_would_lose_something_is_refused(tmp_path: Path, name: str, content: str, said: str) -> None:
    own(tmp_path / "corpus", content, name=name)
    with pytest.raises(CorpusError, match=said):
        imported(tmp_path, "jsonl")


def test_json_lines_in_utf16_without_a_mark_are_told_by_name(tmp_path: Path) -> None:
    own(tmp_path / "corpus")
    (tmp_path / "corpus/dialogues.jsonl").write_bytes((ASKED % "").encode("utf-16-le"))
    with pytest.raises(CorpusError, match="not UTF-8 but UTF-16"):
        imported(tmp_path, "jsonl")


def test_missing_values_of_pandas_and_spreadsheets_are_no_values(tmp_path: Path) -> None:
    given = {"a": "<NA>", "b": "NaT", "c": ["#N/A", "red"]}
    own(tmp_path / "corpus", json.dumps({"product_id": "\u200blamp ", "attributes": given}))
    workspace, _ = imported(tmp_path, "jsonl")
    assert attributes(workspace) == {"lamp": {"c": ["red"]}}


def test_the_dot_of_a_turkish_capital_does_not_make_another_name(tmp_path: Path) -> None:
    lines = [
        {"product_id": "a", "attributes": {"İçerik": "keten"}},
        {"product_id": "b", "attributes": {"içerik": "yün"}},
    ]
    own(tmp_path / "corpus", "\n".join(map(json.dumps, lines)))
    workspace, _ = imported(tmp_path, "jsonl")
    assert attributes(workspace) == {"a": {"içerik": ["keten"]}, "b": {"içerik": ["yün"]}}


# --- MMD --------------------------------------------------------------------------------------------------------------


def url(n: int) -> str:
    return f"http://shop.invalid/{n}.jpg"


def shown(positives: Any = (url(0),), negatives: Any = (url(1),), **said: Any) -> list[Any]:
    return [
        {"speaker": "user", "utterance": {"nlg": "a lamp", **said}},
        {"speaker": "system", "utterance": {"nlg": "this?", "images": positives, "false images": negatives}},
    ]


def mmd(root: Path, **dialogues: Any) -> None:
    for n in (0, 1):
        write(root / f"products/p{n}.json", {"color": ["red", "blue"][n], "image_filename": url(n)})
    for name, value in dialogues.items():
        write(root / f"dialogues/train/{name}.json", value)


def test_a_name_that_is_twice_in_a_catalogue_record_keeps_both_values(tmp_path: Path) -> None:
    mmd(tmp_path / "corpus", d=shown())
    write(tmp_path / "corpus/products/p2.json", '{"color": "red", "id": "p2", "color": ["blue", "green"], "id": "p2"}')
    workspace, report = imported(tmp_path, "mmd")
    assert attributes(workspace)["p2"] == {"color": ["blue", "green", "red"]}
    assert report.ledger["product_keys"].dropped == {"merged_into_the_same": 1}


def test_texts_are_read_as_numbers_and_in_lists_and_else_counted(tmp_path: Path) -> None:
    listed = [{"speaker": "user", "utterance": [{"nlg": "a lamp"}]}]
    mmd(tmp_path / "corpus", listed=listed, number=shown(nlg=42), other=shown(nlg={"de": "eine Lampe"}))
    workspace, report = imported(tmp_path, "mmd")
    said = dict(reversed(texts(workspace)))
    assert said == {"listed": "a lamp", "number": "42", "other": ""}
    assert report.ledger["texts"].dropped == {"not_a_text": 1}


def test_a_list_of_images_may_be_written_as_a_text(tmp_path: Path) -> None:
    mmd(tmp_path / "corpus", d=shown(json.dumps([url(0)]), str([url(1)])))
    workspace, _ = imported(tmp_path, "mmd")
    rows = read_table(workspace.recommendations, RECOMMENDATIONS).to_pylist()
    assert [(row["positives"], row["negatives"]) for row in rows] == [(["p0"], ["p1"])]


def test_files_with_a_suffix_in_capitals_are_read(tmp_path: Path) -> None:
    root = tmp_path / "corpus"
    mmd(root, d=shown())
    write(root / "dialogues/train/d.JSON", shown())
    write(root / "products/p2.Json", {"color": "green"})
    workspace, report = imported(tmp_path, "mmd")
    assert {name for name, _ in texts(workspace)} == {"train/train/d.json", "train/train/d.JSON"}
    assert attributes(workspace)["p2"] == {"color": ["green"]}
    assert report.ledger["dialogues"].kept == 2


def test_linked_folders_are_read_and_a_link_in_a_circle_is_not(tmp_path: Path) -> None:
    root = tmp_path / "corpus"
    mmd(root, d=shown())
    write(tmp_path / "elsewhere/e.json", shown())
    (root / "dialogues/train/more").symlink_to(tmp_path / "elsewhere")
    (tmp_path / "elsewhere/back").symlink_to(root / "dialogues/train")
    (root / "dialogues/valid").symlink_to(tmp_path / "nowhere")
    workspace, report = imported(tmp_path, "mmd")
    assert {name for name, _ in texts(workspace)} == {"d", "e"}
    assert report.left_out == ("dialogues/valid: a link to nothing",)


# --- SIMMC ------------------------------------------------------------------------------------------------------------


def simmc2(root: Path, catalogue: Any) -> None:
    write(root / "fashion_prefab_metadata_all.json", catalogue)
    turn = {
        "transcript": "a coat",
        "system_transcript": "this?",
        "system_transcript_annotated": {"act": "INFORM:GET", "act_attributes": {"objects": [3]}},
    }
    dialogue = {"dialogue": [turn], "dialogue_idx": 1, "scene_ids": {"0": "shop"}}
    write(root / "simmc2_dials_train.json", {"dialogue_data": [dialogue]})
    for folder, item in (("a", "coat"), ("b", "hat")):
        scene = {"scenes": [{"objects": [{"index": 3, "prefab_path": item}]}]}
        write(root / folder / "shop_scene.json", scene)


def test_a_second_scene_of_the_same_name_is_told(tmp_path: Path) -> None:
    simmc2(tmp_path / "corpus", {"coat": {"type": "coat"}, "hat": {"type": "hat"}})
    workspace, report = imported(tmp_path, "simmc2")
    assert read_table(workspace.recommendations, RECOMMENDATIONS)["positives"].to_pylist() == [["coat"]]
    assert report.left_out == ("b/shop_scene.json: a/shop_scene.json is read instead",)


def test_what_an_item_and_its_metadata_both_say_is_merged_and_counted(tmp_path: Path) -> None:
    simmc2(tmp_path / "corpus", {"coat": {"color": "red", "metadata": {"color": "blue", "type": "coat"}}})
    workspace, report = imported(tmp_path, "simmc2")
    assert attributes(workspace) == {"coat": {"color": ["blue", "red"], "type": ["coat"]}}
    assert report.ledger["product_keys"].dropped.total() == 1


def test_an_item_that_is_twice_in_the_catalogue_is_merged_and_counted(tmp_path: Path) -> None:
    simmc2(tmp_path / "corpus", '{"coat": {"type": "coat", "color": "red"}, "hat": {}, "coat": {"color": "blue"}}')
    workspace, report = imported(tmp_path, "simmc2")
    assert attributes(workspace)["coat"] == {"color": ["blue", "red"], "type": ["coat"]}
    assert report.ledger["product_keys"].dropped == {"merged_into_the_same": 1}
