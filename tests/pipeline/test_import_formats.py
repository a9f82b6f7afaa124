"""SIMMC 1, SIMMC 2 and one's own JSON lines, from small hand-made corpora."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from pipeline.import_corpus import ImportReport, import_corpus
from pipeline.workspace import Workspace
from schemas.errors import CorpusError
from schemas.tables import ANNOTATIONS, IMAGES, PRODUCTS, RECOMMENDATIONS, TURNS, read_table


def write(path: Path, value: Any) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(value if isinstance(value, str) else json.dumps(value), encoding="utf-8")


def lines(path: Path, *values: Any) -> None:
    write(path, "".join(json.dumps(value) + "\n" for value in values))


def imported(tmp_path: Path, form: str) -> tuple[Workspace, ImportReport]:
    workspace = Workspace(tmp_path / "work")
    return workspace, import_corpus(workspace, tmp_path / "corpus", form)


def updates(workspace: Workspace) -> list[tuple[Any, ...]]:
    rows = read_table(workspace.annotations, ANNOTATIONS).to_pylist()
    return [(row["dialogue_id"], row["turn"], row["op"], row["slot"], row["value"]) for row in rows]


def candidates(workspace: Workspace) -> list[tuple[Any, ...]]:
    rows = read_table(workspace.recommendations, RECOMMENDATIONS).to_pylist()
    return [(row["dialogue_id"], row["turn"], row["positives"], row["negatives"]) for row in rows]


def simmc2_turn(user: str, system: str, objects: list[int], **slots: Any) -> dict[str, Any]:
    return {
        "transcript": user,
        "transcript_annotated": {"act": "REQUEST:GET", "act_attributes": {"slot_values": slots, "objects": []}},
        "system_transcript": system,
        "system_transcript_annotated": {"act": "INFORM:GET", "act_attributes": {"slot_values": {}, "objects": objects}},
    }


def test_simmc2_objects_become_items_and_the_other_objects_negatives(tmp_path: Path) -> None:
    root = tmp_path / "corpus"
    items = {
        str(i): {"type": kind, "color": "red, white", "brand": "A, B", "price": "9.5", "prefab": f"x/{i}"}
        for i, kind in enumerate(["coat", "hat", "coat", "shoes"])
    }
    write(root / "catalogue.json", items)
    objects = {"7": ["0"], "8": ["1"], "9": ["2", "3"], "10": ["0"], "11": ["99"]}
    write(root / "dialogue_object_to_item.json", {"50": {k: {"items": v, "how": "attr"} for k, v in objects.items()}})
    turns = [
        simmc2_turn("a coat", "these", [7, 10, 9, 77], type="coat"),
        simmc2_turn("hmm", "that?", [9]),
        simmc2_turn("a hat", "ok", [], type="hat", availableSizes=["S", "M"], sleeveLength=""),
    ]
    data = [{"dialogue_idx": 50, "dialogue": turns}, {"dialogue_idx": 51, "dialogue": [simmc2_turn("a", "b", [1])]}]
    write(root / "simmc2_dials_dstc10_devtest.json", {"split": "devtest", "dialogue_data": [*data, data[0], 5]})
    write(root / "notes.json", {"nothing": 1})
    workspace, report = imported(tmp_path, "simmc2")
    assert candidates(workspace) == [("50", 1, ["0"], ["1"])]
    assert updates(workspace) == [
        ("50", 0, "want", "type", "coat"),
        ("50", 2, "none", None, None),
        ("50", 4, "new_topic", None, None),
        ("50", 4, "want", "availableSizes", "S"),
        ("50", 4, "want", "availableSizes", "M"),
        ("50", 4, "want", "type", "hat"),
        ("51", 0, "none", None, None),
    ]
    ledger = report.ledger.as_json()
    dropped = {"file_without_dialogues": 1, "id_found_twice": 1, "no_id_or_no_turns": 1}
    assert ledger["dialogues"] == {"in": 5, "kept": 2, "dropped": dropped}
    assert ledger["positives"]["dropped"] == {"ambiguous_object": 2, "listed_twice": 1, "object_not_in_the_map": 2}
    assert ledger["recommendation_turns"] == {"in": 3, "kept": 1, "dropped": {"no_unambiguous_object": 2}}
    assert ledger["negatives"]["dropped"] == {"unknown_product": 1}
    assert report.splits == {"train": 0, "valid": 0, "test": 2}
    product = read_table(workspace.products, PRODUCTS).to_pylist()[0]
    assert dict(product["attributes"]) == {
        "brand": ["A, B"],
        "color": ["red", "white"],
        "price": ["9.5"],
        "type": ["coat"],
    }
    assert product["name"] == "A, B red and white coat"


def test_simmc1_acts_become_wants_and_dislikes_and_the_new_focus_a_recommendation(tmp_path: Path) -> None:
    root = tmp_path / "corpus"
    catalogue = {
        "1": {"type": "skirt", "color": ["black"], "availableSizes": "['S', 'XL']", "hemLength": ["knee_length"]},
        "2": {"type": "dress", "color": [], "price": "$120", "hemlength": ["short"], "hemLength": []},
    }
    write(root / "catalogue.json", catalogue)

    def turn(acts: list[Any], action: str = "None", focus: Any = None) -> dict[str, Any]:
        return {
            "user": "u",
            "system": "s",
            "belief_state": acts,
            "action": action,
            "action_supervision": None if focus is None else {"focus": focus, "attributes": []},
        }

    def act(name: str, *slots: tuple[str, Any]) -> dict[str, Any]:
        return {"act": f"DA:{name}:CLOTHING", "slots": [[f"fashion-{slot}", value] for slot, value in slots]}

    turns = [
        turn([act("REQUEST:GET", ("theme", "Skirts"), ("color", "black"), ("O", "OBJECT_1"))], "SearchDatabase", 1),
        turn([act("ASK:GET", ("price", "price"), ("color", "red"))]),
        turn(
            [act("INFORM:DISPREFER", ("color", "pink")), act("INFORM:REFINE", ("size_1", "size"), ("size", "XL"))],
            "SearchMemory",
            77,
        ),
        turn([act("REQUEST:GET", ("theme", "one"), ("dressStyle", "similar"))], "SearchDatabase", 2),
    ]
    write(root / "fashion_train.json", [{"dialog_id": 3, "turns": turns}])
    workspace, report = imported(tmp_path, "simmc1")
    assert candidates(workspace) == [("3", 1, ["1"], []), ("3", 7, ["2"], [])]
    assert updates(workspace) == [
        ("3", 0, "want", "color", "black"),
        ("3", 0, "want", "type", "skirt"),
        ("3", 2, "none", None, None),
        ("3", 4, "want", "size", "XL"),
        ("3", 4, "dislike", "color", "pink"),
        ("3", 6, "none", None, None),
    ]
    assert report.slots == {"color": "color", "type": "type", "size": "available_sizes"}
    assert report.ledger["state_values"].dropped == {
        "asked_not_wished": 2,
        "names_the_slot_or_points_at_something": 3,
        "not_a_product_attribute": 1,
    }
    assert report.ledger["recommendation_turns"].dropped == {"no_positive_with_a_known_product": 1}
    rows = read_table(workspace.products, PRODUCTS).to_pylist()
    assert dict(rows[0]["attributes"])["available_sizes"] == ["S", "XL"]
    assert dict(rows[0]["attributes"])["hem_length"] == ["knee length"]
    assert dict(rows[1]["attributes"]) == {"hem_length": ["short"], "price": ["120"], "type": ["dress"]}


def own_corpus(root: Path, *dialogues: Any) -> None:
    lines(
        root / "products.jsonl",
        {"product_id": "p1", "name": "Red dress", "attributes": {"type": "dress", "color": ["red"]}, "price": 39.9},
        {"product_id": "p2", "attributes": {"type": "dress", "color": "blue"}, "images": ["p2.png", "more.png"]},
    )
    lines(root / "dialogues.jsonl", *dialogues)


def test_json_lines_with_states_updates_and_pictures(tmp_path: Path) -> None:
    root = tmp_path / "corpus"
    first = {
        "dialogue_id": "b",
        "split": "valid",
        "turns": [
            {"speaker": "user", "text": "a red dress", "state": {"like": {"color": ["red"], "type": "dress"}}},
            {"speaker": "system", "text": "this?", "positives": ["p2"], "negatives": ["p1", "p9"]},
            {"speaker": "user", "text": "not red", "state": {"like": {"type": "dress"}, "dislike": {"color": "red"}}},
        ],
    }
    second = {
        "dialogue_id": "a",
        "turns": [
            {"speaker": "user", "text": "hi", "images": ["me.jpg"], "update": {"want": {"Color": "blue"}}},
            {"speaker": "user", "text": "no", "update": {"drop": ["color"], "new_topic": True}},
            {"speaker": "system", "text": "ok", "positives": ["p1"]},
        ],
    }
    own_corpus(root, first, second)
    workspace, report = imported(tmp_path, "jsonl")
    assert candidates(workspace) == [("a", 1, ["p1"], []), ("b", 1, ["p2"], ["p1"])]
    assert updates(workspace) == [
        ("a", 0, "new_topic", None, None),
        ("a", 0, "drop", "color", None),
        ("b", 0, "want", "color", "red"),
        ("b", 0, "want", "type", "dress"),
        ("b", 2, "drop", "color", None),
        ("b", 2, "dislike", "color", "red"),
    ]
    rows = read_table(workspace.turns, TURNS).to_pylist()
    assert [(r["dialogue_id"], r["split"], r["text"], r["image_ids"]) for r in rows] == [
        ("a", "train", "hi no", ["me.jpg"]),
        ("a", "train", "ok", []),
        ("b", "valid", "a red dress", []),
        ("b", "valid", "this?", ["p2.png"]),
        ("b", "valid", "not red", []),
    ]
    assert {r["image_id"]: r["status"] for r in read_table(workspace.images, IMAGES).to_pylist()} == dict.fromkeys(
        ("me.jpg", "more.png", "p2.png"), "missing"
    )
    assert report.ledger["negatives"].dropped == {"unknown_product": 1}


def _says(text: str, **more: Any) -> dict[str, Any]:
    return {"speaker": "user", "text": text, **more}


TYPE_AND_COLOR = [("want", "color", "red"), ("want", "type", "dress")]


@pytest.mark.parametrize(
    ("said", "expected"),
    [
        ([{"update": {"want": {"color": "red"}}}, {"update": {"want": {"type": "dress"}}}], TYPE_AND_COLOR),
        ([{"update": {"want": {"color": "red"}}}, {}], [("want", "color", "red")]),
        ([{}, {"update": {"want": {"color": "red"}}}], [("want", "color", "red")]),
        ([{"update": {"want": {"color": "red"}}}, {"update": {}}], [("want", "color", "red")]),
        (
            [{"update": {"want": {"color": "red"}}}, {"update": {"want": {"color": "blue"}}}],
            [("want", "color", "blue")],
        ),
        ([{"update": {"want": {"color": "red"}}}, {"update": {"drop": ["color"]}}], [("drop", "color", None)]),
        (
            [{"update": {"want": {"color": "red"}}}, {"update": {"dislike": {"color": "blue"}}}],
            [("want", "color", "red"), ("dislike", "color", "blue")],
        ),
        (
            [{"update": {"dislike": {"color": "red"}}}, {"update": {"want": {"color": "red"}}}],
            [("want", "color", "red")],
        ),
        (
            [{"update": {"want": {"color": "red"}}}, {"update": {"new_topic": True, "want": {"type": "dress"}}}],
            [("new_topic", None, None), ("want", "type", "dress")],
        ),
        (
            [{"update": {"new_topic": True, "want": {"color": "red"}}}, {"update": {"want": {"type": "dress"}}}],
            [("new_topic", None, None), *TYPE_AND_COLOR],
        ),
        ([{"state": {"like": {"color": "red"}}}, {"update": {"want": {"type": "dress"}}}], TYPE_AND_COLOR),
        ([{"update": {"want": {"color": "blue"}}}, {"state": {"like": {"color": "red"}}}], [("want", "color", "red")]),
        ([{"state": {"like": {"color": "blue"}}}, {"state": {"like": {"color": "red"}}}], [("want", "color", "red")]),
        ([{"update": {"want": {"color": "red"}}}, {}, {"update": {"want": {"type": "dress"}}}], TYPE_AND_COLOR),
    ],
)
def test_all_that_is_said_in_a_row_makes_the_update_of_its_turn(
    said: list[dict[str, Any]], expected: list[tuple[str | None, ...]], tmp_path: Path
) -> None:
    turns = [*(_says(f"line {n}", **more) for n, more in enumerate(said)), {"speaker": "system", "text": "this?"}]
    own_corpus(tmp_path / "corpus", {"dialogue_id": "a", "turns": turns})
    workspace, report = imported(tmp_path, "jsonl")
    assert [(op, slot, value) for _, _, op, slot, value in updates(workspace)] == expected
    states = report.ledger["states"].as_json()
    assert states["in"] == states["kept"] + sum(states["dropped"].values()) == sum(bool(more) for more in said)


def test_a_whole_state_after_updates_of_earlier_turns_is_all_that_holds(tmp_path: Path) -> None:
    shop = {"speaker": "system", "text": "this?"}
    first = _says("red", update={"want": {"color": "red"}})
    own_corpus(
        tmp_path / "corpus",
        {"dialogue_id": "a", "turns": [first, shop, _says("a dress", state={"like": {"type": "dress"}})]},
    )
    workspace, _ = imported(tmp_path, "jsonl")
    assert updates(workspace) == [
        ("a", 0, "want", "color", "red"),
        ("a", 2, "new_topic", None, None),
        ("a", 2, "want", "type", "dress"),
    ]


def test_json_lines_take_their_split_from_the_file_and_products_from_csv(tmp_path: Path) -> None:
    root = tmp_path / "corpus"
    write(
        root / "products.csv",
        "product_id,name,price,images,color,brand\n"
        'p1,"Dress, red",$39,a.jpg;b.jpg,"red, white","A, B"\np2,Hat,,,blue,C\n',
    )
    for split in ("train", "dev"):
        lines(root / f"dialogues/{split}.jsonl", {"dialogue_id": "x", "turns": [{"speaker": "user", "text": split}]})
    workspace, _ = imported(tmp_path, "jsonl")
    rows = read_table(workspace.turns, TURNS).to_pylist()
    assert [(r["dialogue_id"], r["split"], r["text"]) for r in rows] == [
        ("train/x", "train", "train"),
        ("valid/x", "valid", "dev"),
    ]
    product = read_table(workspace.products, PRODUCTS).to_pylist()[0]
    assert (product["name"], product["price"], product["image_ids"]) == ("Dress, red", 39.0, ["a.jpg", "b.jpg"])
    assert dict(product["attributes"]) == {"brand": ["A, B"], "color": ["red", "white"], "price": ["39"]}


USER = {"speaker": "user", "text": "hi"}

MISTAKES: dict[str, tuple[list[Any], str]] = {
    "an unknown key": ([{"dialogue_id": "a", "turns": [{**USER, "postives": []}]}], "did you mean 'positives'?"),
    "an unknown key of a state": (
        [{"dialogue_id": "a", "turns": [{**USER, "state": {"likes": {}}}]}],
        "did you mean 'like'?",
    ),
    "an unknown speaker": ([{"dialogue_id": "a", "turns": [{"speaker": "me"}]}], "turns.0.speaker"),
    "no turns": ([{"dialogue_id": "a", "turns": []}], "turns"),
    "no id": ([{"turns": [USER]}], "dialogue_id"),
    "an id twice": ([{"dialogue_id": "a", "turns": [USER]}] * 2, "line 2"),
    "candidates of a user": ([{"dialogue_id": "a", "turns": [{**USER, "positives": ["p1"]}]}], "only system turns"),
    "a state and an update": (
        [{"dialogue_id": "a", "turns": [{**USER, "state": {}, "update": {}}]}],
        "either 'state' or 'update'",
    ),
    "a state of the system": (
        [{"dialogue_id": "a", "turns": [USER, {"speaker": "system", "state": {}}]}],
        "only user turns",
    ),
}


@pytest.mark.parametrize("what", MISTAKES)
def test_a_mistake_in_ones_own_data_is_named_with_its_line(tmp_path: Path, what: str) -> None:
    dialogues, said = MISTAKES[what]
    own_corpus(tmp_path / "corpus", *dialogues)
    with pytest.raises(CorpusError) as raised:
        imported(tmp_path, "jsonl")
    assert said in str(raised.value)
    assert "dialogues.jsonl, line " in str(raised.value)
    assert not (tmp_path / "work").exists()


def test_truncated_json_lines_are_refused(tmp_path: Path) -> None:
    own_corpus(tmp_path / "corpus", {"dialogue_id": "a", "turns": [USER]})
    with (tmp_path / "corpus/dialogues.jsonl").open("a") as file:
        file.write('{"dialogue_id": "b", "turns": [{"spea')
    with pytest.raises(CorpusError, match=r"not valid JSON.*line 2"):
        imported(tmp_path, "jsonl")


@pytest.mark.parametrize("form", ["simmc1", "simmc2", "jsonl"])
def test_an_empty_folder_is_no_corpus_in_any_format(tmp_path: Path, form: str) -> None:
    (tmp_path / "corpus").mkdir()
    with pytest.raises(CorpusError, match="no catalogue"):
        imported(tmp_path, form)
    write(tmp_path / "corpus/catalogue.json", {"1": {"type": "coat"}})
    write(tmp_path / "corpus/dialogue_object_to_item.json", {})
    write(tmp_path / "corpus/products.jsonl", '{"product_id": "1"}')
    with pytest.raises(CorpusError, match="no dialogues"):
        imported(tmp_path, form)
    assert not (tmp_path / "work").exists()
