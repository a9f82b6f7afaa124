"""SIMMC 1, SIMMC 2 and one's own JSON lines, from small hand-made corpora."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from pipeline.corpus.import_corpus import ImportReport, ImportRequest, import_corpus
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
    return workspace, import_corpus(workspace, ImportRequest(tmp_path / "corpus", form))


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


def test_acts_that_simmc1_does_not_have_leave_their_turn_unlabelled_and_are_counted(tmp_path: Path) -> None:
    root = tmp_path / "corpus"
    write(root / "catalogue.json", {"1": {"type": "skirt", "color": "black"}, "2": {"type": "dress", "color": "red"}})

    def said(*acts: tuple[str | None, str]) -> dict[str, Any]:
        return {
            "user": "u",
            "system": "s",
            "belief_state": [{"act": act, "slots": [["fashion-color", color]]} for act, color in acts],
        }

    known = said(("DA:INFORM:PREFER:CLOTHING.color", "red"), ("da:inform:disprefer:clothing.color", "black"))
    unknown = said(("DA:INFORM:LOATHE:CLOTHING", "red"), ("DA:REQUEST:GET:CLOTHING", "red"))
    nameless = said((None, "red"))
    others = said(("ERR:CHITCHAT", "red"), ("ERR:MULTIPLE:OBJECT", "black"))
    write(root / "fashion_train.json", [{"dialog_id": 3, "turns": [known, unknown, nameless, others]}])
    workspace, report = imported(tmp_path, "simmc1")
    assert updates(workspace) == [
        ("3", 0, "want", "color", "red"),
        ("3", 0, "dislike", "color", "black"),
        ("3", 6, "none", None, None),
    ]
    assert dict(report.ledger["states"].dropped) == {"unknown_act": 2}
    assert report.ledger["state_values"].dropped["asked_not_wished"] == 2


def test_a_split_that_is_not_known_costs_the_file_unless_its_name_tells_one(tmp_path: Path) -> None:
    root = tmp_path / "corpus"
    write(root / "catalogue.json", {"1": {"type": "skirt"}, "2": {"type": "dress"}})
    turn = {"user": "u", "system": "s", "belief_state": [], "action": "None"}
    for name, split, number in (("fashion_dev", "mini", 1), ("fashion_more", "holdout", 2), ("fashion_rest", None, 3)):
        content = {"dialogue_data": [{"dialog_id": number, "turns": [turn]}]}
        write(root / f"{name}.json", content if split is None else {"split": split, **content})
    _, report = imported(tmp_path, "simmc1")
    assert report.splits == {"train": 1, "valid": 1, "test": 0}
    assert dict(report.ledger["dialogues"].dropped) == {"unknown_split": 1}


def test_a_dialogue_nested_too_deeply_is_counted(tmp_path: Path) -> None:
    root = tmp_path / "corpus"
    write(root / "catalogue.json", {"1": {"type": "skirt"}, "2": {"type": "dress"}})
    turn = {"user": "u", "system": "s", "belief_state": [], "action": "None"}
    deep: Any = [turn]
    for _ in range(300):
        deep = [deep]
    dialogues = [{"dialog_id": 1, "turns": [turn]}, {"dialog_id": 2, "turns": deep}]
    write(root / "fashion_train.json", {"split": "train", "dialogue_data": dialogues})
    _, report = imported(tmp_path, "simmc1")
    assert report.ledger["dialogues"].dropped["nested_too_deeply"] == 1
    assert report.ledger["dialogues"].kept == 1


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


def test_json_lines_with_states_updates_and_images(tmp_path: Path) -> None:
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


def attributes(workspace: Workspace) -> dict[str, dict[str, list[str]]]:
    return {row["product_id"]: dict(row["attributes"]) for row in read_table(workspace.products, PRODUCTS).to_pylist()}


def test_what_pandas_writes_as_json_lines_is_read(tmp_path: Path) -> None:
    root = tmp_path / "corpus"
    write(
        root / "products.jsonl",
        '\ufeff{"product_id": 17, "name": null, "price": NaN, "images": null, "currency": null, "attributes": '
        '{"waterproof": true, "ean": 4006381333931.0, "sleeve": null, "colour": ["red", null], "rate": 0.1}}\r\n'
        '{"product_id": 18.0, "name": 500, "attributes": {"waterproof": false, "ean": 123456789012345678901234}}\r\n'
        "\r\n"
        '{"product_id": "0019", "attributes": {"waterproof": null, "size": [38.0, 39.5], "weight": Infinity}}\r\n',
    )
    turns = [
        {"speaker": "User", "text": "hi", "images": None, "state": {"like": {"waterproof": True, "colour": None}}},
        {"speaker": "assistant ", "text": None, "positives": [18, "0019"], "negatives": [17.0], "state": None},
    ]
    lines(root / "dialogues.jsonl", {"dialogue_id": 5.0, "split": "dev", "turns": turns})
    workspace, report = imported(tmp_path, "jsonl")
    assert attributes(workspace) == {
        "0019": {"size": ["38", "39.5"]},
        "17": {"waterproof": ["yes"], "ean": ["4006381333931"], "colour": ["red"], "rate": ["0.1"]},
        "18": {"waterproof": ["no"], "ean": ["123456789012345678901234"]},
    }
    assert [row["name"] for row in read_table(workspace.products, PRODUCTS).to_pylist()] == ["", "", "500"]
    assert candidates(workspace) == [("5", 1, ["18", "0019"], ["17"])]
    assert updates(workspace) == [("5", 0, "want", "waterproof", "yes")]
    assert report.ledger["state_values"].dropped == {"no_value": 1}
    assert report.splits["valid"] == 1


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ('[{"product_id": "1"}]', "lines=True"),
        ('{\n  "product_id": "1"\n}', "one JSON object a line"),
        ('{"product_id": "1"}\n"2"', r"line 2.*lines=True"),
        ('{"product_id": true}', "write a text"),
        ('{"product_id": "p", "price": true}', "price.*neither a number nor a text.*39,90"),
        ('{"product_id": null}', "product_id"),
        ('{"product_id": " "}', "product_id"),
        ('{"product_id": "1", "attributes": {"size": {"eu": 38}}}', r"'attributes.size': a text, a number"),
        ('{"product_id": "1", "attributes": {"size": [["S"]]}}', r"'attributes.size': a text, a number"),
        ('{"product_id": "1", "nmae": "lamp"}', "did you mean 'name'"),
        ('{"product_id": "1", "attributes": {"size": "S", "size": "M"}}', "'size' is there twice"),
        ('{"Product_ID": "1"}', "did you mean 'product_id'"),
        ("version https://git-lfs.github.com/spec/v1\noid sha256:12\nsize 9\n", "git lfs pull"),
    ],
)
def test_products_that_are_no_json_lines_are_refused_with_line_and_remedy(
    tmp_path: Path, content: str, said: str
) -> None:
    own_corpus(tmp_path / "corpus", {"dialogue_id": "a", "turns": [USER]})
    write(tmp_path / "corpus/products.jsonl", content)
    with pytest.raises(CorpusError, match=said) as raised:
        imported(tmp_path, "jsonl")
    assert "products.jsonl, line " in str(raised.value)
    assert raised.value.fix


def test_json_lines_in_another_encoding_are_told_by_name(tmp_path: Path) -> None:
    own_corpus(tmp_path / "corpus", {"dialogue_id": "a", "turns": [USER]})
    for encoding, said in (("cp1252", "line 1.*UTF-8|Windows-1252"), ("utf-16", "UTF-16")):
        line = '{"product_id": "1", "name": "Blusón señora"}\n'
        (tmp_path / "corpus/products.jsonl").write_bytes(line.encode(encoding))
        with pytest.raises(CorpusError, match=said):
            imported(tmp_path, "jsonl")


def own_csv(root: Path, content: str) -> None:
    lines(root / "dialogues.jsonl", {"dialogue_id": "a", "turns": [USER]})
    write(root / "products.csv", content)


def test_headers_are_trimmed_and_folded_and_may_say_that_they_are_attributes(tmp_path: Path) -> None:
    own_csv(
        tmp_path / "corpus",
        ",Product ID, NAME ,Price,attributes.title,Attribute: Fit,Images\n"
        "0,7.0, Lamp ,5,Sir,slim,\"['a.jpg', 'b.jpg']\"\n",
    )
    workspace, report = imported(tmp_path, "jsonl")
    row = read_table(workspace.products, PRODUCTS).to_pylist()[0]
    assert (row["product_id"], row["name"], row["price"], row["image_ids"]) == ("7", "Lamp", 5.0, ["a.jpg", "b.jpg"])
    assert dict(row["attributes"]) == {"title": ["Sir"], "fit": ["slim"], "price": ["5"]}
    assert report.left_out == ("products.csv: column 1 (no name, an index)",)


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ("sku,name\n1,a\n", r"unknown column 'sku'.*line 1.*did you mean 'product_id'"),
        ("productid,name\n1,a\n", "did you mean 'product_id'"),
        ("product_id,Discription\n1,a\n", r"did you mean 'description'.*attributes.Discription"),
        ("product_id,image\n1,a\n", "did you mean 'images'"),
        ("product_id,title\n1,a\n", "did you mean 'name'"),
        ("colour,length\n1,a\n", r"no column 'product_id'.*line 1.*there are: colour, length"),
        ("product_id,name\n1,a\n,b\n", r"a product without 'product_id'.*line 3"),
        ("product_id,name\n1,a\n1,b\n", r"'1' is there already.*line 3"),
        ("product_id,name\n1,a,b\n", r"more cells than columns: 3.*line 2"),
        ("product_id,name,colour\n1,a\n", r"fewer cells than columns: 2.*line 2"),
    ],
)
def test_a_mistake_in_a_csv_catalogue_is_named_with_line_and_remedy(tmp_path: Path, content: str, said: str) -> None:
    own_csv(tmp_path / "corpus", content)
    with pytest.raises(CorpusError, match=said) as raised:
        imported(tmp_path, "jsonl")
    assert raised.value.fix


def test_a_column_near_a_name_that_another_column_has_is_an_attribute(tmp_path: Path) -> None:
    own_csv(tmp_path / "corpus", "product_id,price,prise,name,game\n1,5,de fer,a,chess\n")
    workspace, _ = imported(tmp_path, "jsonl")
    assert attributes(workspace)["1"] == {"game": ["chess"], "price": ["5"], "prise": ["de fer"]}


def test_of_two_catalogues_and_two_places_the_one_that_is_not_read_is_told(tmp_path: Path) -> None:
    root = tmp_path / "corpus"
    own_corpus(root, {"dialogue_id": "a", "turns": [USER]})
    write(root / "products.csv", "product_id\n1\n")
    lines(root / "dialogues/train.jsonl", {"dialogue_id": "b", "turns": [USER]})
    _, report = imported(tmp_path, "jsonl")
    assert report.as_json()["left_out"] == [
        "products.csv: products.jsonl is read instead",
        "dialogues: dialogues.jsonl is read instead",
    ]
    (root / "dialogues.jsonl").unlink()
    (root / "products.csv").unlink()
    write(root / "dialogues/valid.json", [])
    assert imported(tmp_path, "jsonl")[1].left_out == ("dialogues/valid.json: no JSON lines (.jsonl)",)


def scene(**items: str) -> dict[str, Any]:
    objects = [{"index": int(name[1:]), "prefab_path": item, "bbox": [1, 2, 3, 4]} for name, item in items.items()]
    return {"scenes": [{"objects": objects, "relationships": {}}]}


def simmc2_release(root: Path, *dialogues: Any, name: str = "simmc2.1_dials_dstc11_dev.json") -> None:
    """The files of a clone, unpacked: metadata of both domains, scenes, and files that are none of these."""
    wear = {"store/coat": {"type": "coat", "color": "red"}, "store/hat": {"type": "hat", "color": "blue"}}
    write(root / "fashion_prefab_metadata_all.json", wear)
    write(root / "furniture_prefab_metadata_all.json", {"wayfair/lamp": {"type": "Lamp", "price": "$29"}})
    write(root / "public/m_store_1_scene.json", scene(o4="store/coat", o5="store/hat", o6="store/shoe"))
    write(root / "public/store_2_scene.json", scene(o4="store/hat", o9="wayfair/lamp"))
    write(root / "public/store_2_bbox.json", {"Items": []})
    write(root / "public/store_3_bbox.json", {"Items": []})
    write(root / "simmc2_dials_dstc10_dev_retrieval_candidates.json", {"retrieval_candidates": []})
    write(root / name, {"split": "dev", "domain": "fashion", "dialogue_data": [*dialogues]})


def test_a_clone_of_simmc2_is_read_with_its_scenes(tmp_path: Path) -> None:
    turns = [simmc2_turn("coat?", "this", [4], type="coat"), simmc2_turn("lamp?", "that", [9]), {}, {}]
    turns[2] = simmc2_turn("and in the other shop?", "these", [4, 5, 6])
    turns[3] = simmc2_turn("more", "hm", [77])
    for index, turn in enumerate(turns):
        turn["turn_idx"] = index
    turns.append({"turn_idx": 4, "transcript": "that hat", "system_transcript_annotated": {}})
    turns[4]["system_transcript_annotated"] = {"act_attributes": {"objects": [5]}}
    dialogue = {"dialogue_idx": 8.0, "dialogue": turns, "scene_ids": {"0": "store_1", "2": "m_store_2"}}
    nowhere = {"dialogue_idx": 9, "dialogue": [simmc2_turn("a", "b", [1])], "scene_ids": {"0": "elsewhere"}}
    simmc2_release(tmp_path / "corpus", dialogue, nowhere)
    workspace, report = imported(tmp_path, "simmc2")
    assert candidates(workspace) == [
        ("8", 1, ["store/coat"], ["store/hat"]),
        ("8", 3, ["wayfair/lamp"], ["store/coat", "store/hat"]),
        ("8", 5, ["store/hat"], ["wayfair/lamp"]),
        ("8", 9, ["store/hat"], ["wayfair/lamp"]),
    ]
    ledger = report.ledger.as_json()
    assert ledger["dialogues"] == {"in": 2, "kept": 2, "dropped": {}}
    assert ledger["positives"]["dropped"] == {
        "listed_twice": 1,
        "object_in_no_scene": 1,
        "scene_not_found": 1,
        "unknown_product": 1,
    }
    assert report.left_out == (
        "simmc2_dials_dstc10_dev_retrieval_candidates.json: answers to choose from, of another task",
        "2 files: boxes in images of scenes",
    )
    assert sorted(attributes(workspace)) == ["store/coat", "store/hat", "wayfair/lamp"]


def test_without_scenes_and_map_one_line_says_what_to_unpack(tmp_path: Path) -> None:
    simmc2_release(tmp_path / "corpus", {"dialogue_idx": 8, "dialogue": [simmc2_turn("a", "b", [1])]})
    for path in (tmp_path / "corpus/public").iterdir():
        path.unlink()
    with pytest.raises(CorpusError, match=r"scenes.*make one"):
        imported(tmp_path, "simmc2")
    (tmp_path / "corpus/simmc2_scene_jsons_dstc10_public.zip").write_bytes(b"PK")
    with pytest.raises(CorpusError, match=r"unpack simmc2_scene_jsons_dstc10_public\.zip"):
        imported(tmp_path, "simmc2")


@pytest.mark.parametrize("form", ["object", "list", "two acts", "json", "python", "pairs"])
def test_simmc2_annotations_are_read_in_every_form(tmp_path: Path, form: str) -> None:
    turn = simmc2_turn("a coat", "this", [4], type="coat", color=["red"])
    said, answered = turn["transcript_annotated"], turn["system_transcript_annotated"]
    if form == "pairs":
        said["act_attributes"]["slot_values"] = [["type", "coat"], ["color", "red"]]
        answered["act_attributes"] = {"object": "[4]"}
    if form == "two acts":
        said = [{"act": "A", "act_attributes": {"slot_values": {slot: value}}} for slot, value in (("type", "coat"),)]
        said.append({"act": "B", "act_attributes": {"slot_values": {"color": "red"}}})
    as_form = {"list": lambda value: [value], "json": json.dumps, "python": str}.get(form, lambda value: value)
    turn["transcript_annotated"], turn["system_transcript_annotated"] = as_form(said), as_form(answered)
    simmc2_release(tmp_path / "corpus", {"dialogue_idx": 1, "dialogue": [turn], "scene_ids": '{"0": "m_store_1"}'})
    workspace, _ = imported(tmp_path, "simmc2")
    assert updates(workspace) == [("1", 0, "want", "color", "red"), ("1", 0, "want", "type", "coat")]
    assert candidates(workspace) == [("1", 1, ["store/coat"], ["store/hat"])]


@pytest.mark.parametrize("value", ["[{", 5, ["REQUEST"], {"act_attributes": "lost"}, [{"intent": "x"}]])
def test_simmc2_annotations_in_no_known_form_are_counted(tmp_path: Path, value: Any) -> None:
    turn = {**simmc2_turn("a", "b", []), "transcript_annotated": value, "system_transcript_annotated": value}
    simmc2_release(tmp_path / "corpus", {"dialogue_idx": 1, "dialogue": [turn]})
    workspace, report = imported(tmp_path, "simmc2")
    assert report.ledger["states"].dropped == {"not_readable": 1}
    assert report.ledger["recommendation_turns"].dropped == {"annotation_not_readable": 1}
    assert not workspace.annotations.exists() or not updates(workspace), "unlabelled, and not without wishes"


def test_a_clone_without_git_lfs_says_so(tmp_path: Path) -> None:
    pointer = "version https://git-lfs.github.com/spec/v1\noid sha256:63d9\nsize 13923\n"
    simmc2_release(tmp_path / "corpus")
    write(tmp_path / "corpus/simmc2.1_dials_dstc11_dev.json", pointer)
    with pytest.raises(CorpusError, match=r"git_lfs_pointer 1.*git lfs pull"):
        imported(tmp_path, "simmc2")
    write(tmp_path / "corpus/fashion_prefab_metadata_all.json", pointer)
    with pytest.raises(CorpusError, match=r"LFS pointer.*fashion_prefab.*git lfs pull"):
        imported(tmp_path, "simmc2")


def simmc1_turn(index: int, acts: Any, **more: Any) -> dict[str, Any]:
    return {"turn_idx": index, "transcript": "u", "system_transcript": "s", "belief_state": acts, **more}


def test_a_clone_of_simmc1_is_read_with_both_domains(tmp_path: Path) -> None:
    root = tmp_path / "corpus"
    wear = {"278": {"url": "GJkR", "metadata": {"availableSizes": "['XS', 'M']", "type": "jacket", "price": "$210"}}}
    write(root / "simmc_fashion/fashion_metadata.json", wear)
    write(
        root / "simmc_furniture/furniture_metadata.csv",
        "sku,product_name,class_name,sale_price,color,obj\n"
        "S1,Nice Lamp,Lamps,29.5,\"['Red', 'Blue']\",models/4001.zip\n",
    )
    want = [{"act": "DA:REQUEST:GET:JACKET", "slots": [["fashion-type", "jacket"]]}]
    as_text = "[{'act': 'DA:INFORM:PREFER', 'slots': {'furniture-color': 'red'}}]"
    clicks = [{"image_id": 278, "actionName": "x"}]
    dialogue = [
        simmc1_turn(0, want, raw_assistant_keystrokes=clicks),
        simmc1_turn(1, None, raw_assistant_keystrokes=[]),
        simmc1_turn(2, "lost", raw_assistant_keystrokes=['{"actionName": "Share"}']),
    ]
    for domain, turns in (("fashion", dialogue), ("furniture", [simmc1_turn(0, as_text), simmc1_turn(1, ["x"])])):
        data = {"split": "train", "domain": domain, "dialogue_data": [{"dialogue_idx": 7, "dialogue": turns}]}
        write(root / f"simmc_{domain}/{domain}_train_dials.json", data)
    actions = [{"action": "FocusOnFurniture", "action_supervision": {"focus": "4001"}}, {"action": "None"}]
    write(root / "simmc_furniture/furniture_train_dials_api_calls.json", [{"dialog_id": 7, "actions": actions}])
    workspace, report = imported(tmp_path, "simmc1")
    assert attributes(workspace) == {
        "278": {"available_sizes": ["M", "XS"], "price": ["210"], "type": ["jacket"]},
        "4001": {"color": ["Blue", "Red"], "price": ["29.5"], "type": ["Lamps"]},
    }
    assert candidates(workspace) == [("fashion/7", 1, ["278"], []), ("furniture/7", 1, ["4001"], [])]
    assert updates(workspace) == [
        ("fashion/7", 0, "want", "type", "jacket"),
        ("furniture/7", 0, "want", "color", "red"),
    ]
    assert report.ledger["states"].dropped == {"not_readable": 2}
    assert report.ledger["recommendation_turns"].dropped == {"clicks_not_readable": 1}
    names = {row["product_id"]: row["name"] for row in read_table(workspace.products, PRODUCTS).to_pylist()}
    assert names == {"278": "jacket", "4001": "Nice Lamp"}


ENTITIES = {
    "brand": "H&amp;M",
    "Fit &amp; Feel": "it&#39;s snug",
    "sizes": ["&lt;S", "[&quot;M&quot;]"],
    "badge": "&amp;lt;new&amp;gt;",
    "look": "AT&T &copy",
}
RESOLVED = {
    "brand": ["H&M"],
    "fit_feel": ["it's snug"],
    "sizes": ["<S", "M"],
    "badge": ["&lt;new&gt;"],
    "look": ["AT&T &copy"],
}
SAID = "I&#x27;d like H&amp;M, not &amp;lt;that&amp;gt;"
SAID_RESOLVED = "I'd like H&M, not &lt;that&gt;"


def write_with_entities(root: Path, form: str) -> None:
    """One dialogue and two products, whose names, keys, values and texts hold HTML entities."""
    wish = {"brand": "H&amp;M", "Fit &amp; Feel": "it&#39;s snug"}
    name = "H&amp;M shirt &quot;1&quot;"
    if form == "mmd":
        for i in range(2):
            product = {
                "id": f"p{i}",
                "name": name,
                "description": f"A {name}",
                "image_filename": f"http://x.invalid/{i}.jpg",
            }
            write(root / f"products/{i}.json", {**product, **ENTITIES})
        shown = {"nlg": SAID, "images": ["http://x.invalid/0.jpg"], "false images": ["http://x.invalid/1.jpg"]}
        user = {"speaker": "user", "utterance": {"nlg": SAID}, "dst": {"slot_values": wish}}
        write(root / "dialogues/train/0.json", [user, {"speaker": "system", "utterance": shown}])
    elif form == "simmc2":
        write(
            root / "catalogue.json", {f"p{i}": {"name": name, "description": f"A {name}", **ENTITIES} for i in range(2)}
        )
        write(root / "dialogue_object_to_item.json", {"0": {"1": {"items": ["p0"]}, "2": {"items": ["p1"]}}})
        data = [{"dialogue_idx": 0, "dialogue": [simmc2_turn(SAID, SAID, [1], **wish)]}]
        write(root / "simmc2_dials_dstc10_train.json", {"split": "train", "dialogue_data": data})
    else:
        user = {"speaker": "user", "text": SAID, "state": {"like": wish}}
        system = {"speaker": "system", "text": SAID, "positives": ["p0"], "negatives": ["p1"]}
        lines(root / "dialogues.jsonl", {"dialogue_id": "0", "turns": [user, system]})
        products = [{"product_id": f"p{i}", "name": name, "description": f"A {name}"} for i in range(2)]
        if form == "jsonl":
            lines(root / "products.jsonl", *({**product, "attributes": ENTITIES} for product in products))
        else:
            sizes = '"[""&lt;S"", ""[&quot;M&quot;]""]"'
            cells = ("H&amp;M", "it&#39;s snug", sizes, "&amp;lt;new&amp;gt;", "AT&T &copy")
            row = ",".join((name, f"A {name}", *cells))
            header = "product_id,name,description,brand,Fit &amp; Feel,sizes,badge,look"
            write(root / "products.csv", "\n".join((header, f"p0,{row}", f"p1,{row}", "")))


@pytest.mark.parametrize("form", ["mmd", "simmc2", "jsonl", "csv"])
def test_html_entities_are_resolved_once_on_every_path(tmp_path: Path, form: str) -> None:
    write_with_entities(tmp_path / "corpus", form)
    workspace, _ = imported(tmp_path, "jsonl" if form == "csv" else form)
    for product in read_table(workspace.products, PRODUCTS).to_pylist():
        assert dict(product["attributes"]) == {name: sorted(values) for name, values in RESOLVED.items()}
        assert product["name"] == 'H&M shirt "1"'
        assert product["description"] == 'A H&M shirt "1"'
    assert [row["text"] for row in read_table(workspace.turns, TURNS).to_pylist()] == [SAID_RESOLVED] * 2
    ontology = workspace.ontology()
    said = {(slot, value) for _, _, op, slot, value in updates(workspace) if op == "want"}
    assert said == {("brand", "H&M"), ("Fit & Feel", "it's snug")}
    for slot, value in said:
        assert ontology.link(ontology.slot(slot), value).in_catalogue


def test_links_with_entities_are_the_links_of_the_map(tmp_path: Path) -> None:
    root = tmp_path / "corpus"
    write_with_entities(root, "mmd")
    link = "http://x.invalid/i?a=1&amp;b="
    for path in (*root.glob("products/*.json"), *root.glob("dialogues/*/*.json")):
        write(
            path,
            path.read_text()
            .replace("http://x.invalid/0.jpg", f"{link}0")
            .replace("http://x.invalid/1.jpg", f"{link}1"),
        )
    (root / "images").mkdir()
    write(root / "url2img.txt", f"{link}0 a.jpg\nhttp://x.invalid/i?a=1&b=1 b.jpg\n")
    workspace, _ = imported(tmp_path, "mmd")
    assert candidates(workspace) == [("0", 1, ["p0"], ["p1"])]
    assert [row["url"] for row in read_table(workspace.images, IMAGES).to_pylist()] == [
        f"http://x.invalid/i?a=1&b={i}" for i in range(2)
    ]


def test_of_singular_and_plural_a_slot_means_the_one_that_has_what_is_said(tmp_path: Path) -> None:
    root = tmp_path / "corpus"
    rows = [("4.5", "1203", "patchwork", "pleated"), ("3", "15", "worn", "ribbed")] * 2
    lines(
        root / "products.jsonl",
        *(
            {
                "product_id": f"p{i}",
                "attributes": {"rating": stars, "ratings": number, "trim": rare, "trims": common, "Trims": "lace"},
            }
            for i, (stars, number, rare, common) in enumerate(rows)
        ),
    )
    wishes = [{"rating": "4.5", "ratings": "15", "trim": "pleated"}, {"rating": "3", "trim": ["ribbed", "worn"]}]
    turns = [{"speaker": "user", "text": "x", "update": {"want": wish}} for wish in wishes]
    lines(root / "dialogues.jsonl", *({"dialogue_id": f"d{i}", "turns": [turn]} for i, turn in enumerate(turns)))
    workspace, report = imported(tmp_path, "jsonl")
    ontology = workspace.ontology()
    assert {slot.name: slot.attribute for slot in ontology.slots} == {
        name: name for name in ("rating", "ratings", "trim", "trims")
    }
    assert set(updates(workspace)) == {
        ("d0", 0, "want", "rating", "4.5"),
        ("d0", 0, "want", "ratings", "15"),
        ("d0", 0, "want", "trims", "pleated"),
        ("d1", 0, "want", "rating", "3"),
        ("d1", 0, "want", "trims", "ribbed"),
        ("d1", 0, "want", "trims", "worn"),
    }
    assert dict(read_table(workspace.products, PRODUCTS).to_pylist()[0]["attributes"])["trims"] == ["lace", "pleated"]
    assert report.ledger.dropped() == {"product_keys/merged_into_one_spelled_alike": 4}
