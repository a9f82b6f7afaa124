"""A hand-made folder in MMD's layout with every quirk of the real one, and exactly what its import must say."""

from __future__ import annotations

import io
import json
import os
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from pipeline.corpus.import_corpus import ImportRequest, import_corpus
from pipeline.workspace import Workspace
from schemas.errors import CheckError, CorpusError, OntologyError, UsageError
from schemas.ontology import Ontology, Slot, Value
from schemas.tables import ANNOTATIONS, IMAGES, PRODUCTS, RECOMMENDATIONS, TURNS, open_table, read_table

SHOP = "http://shop.example.invalid/"


def image(size: tuple[int, int] = (4, 5), kind: str = "JPEG") -> bytes:
    buffer = io.BytesIO()
    Image.new("RGB", size, (200, 10, 10)).save(buffer, kind)
    return buffer.getvalue()


def user(text: str | None, **more: Any) -> dict[str, Any]:
    return {"speaker": "user", "type": "question", "utterance": {"nlg": text, "images": None}, **more}


def system(text: str | None, **more: Any) -> dict[str, Any]:
    return {"speaker": "system", "type": "answer", "utterance": {"nlg": text, **more}}


def write(path: Path, value: Any) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(value if isinstance(value, str) else json.dumps(value), encoding="utf-8")


def product(key: str, **more: Any) -> dict[str, Any]:
    return {"id": key, "name": f"Thing {key}", "site": "shop", "image_filename": f"{SHOP}{key}.jpg", **more}


@pytest.fixture
def nasty(tmp_path: Path) -> Path:
    """Five products (two views of one), seven images of which three can be had, six dialogue files."""
    root = tmp_path / "corpus"
    write(
        root / "products/p1_front.json", product("p1", color="red, black", type="dress", price="Rs. 1,299", unk="unk")
    )
    write(
        root / "products/p1_look.json",
        product("p1", color="", image_filename=f"{SHOP}p1%20look.jpg", image_filename_all={"look": [f"{SHOP}p1b.jpg"]}),
    )
    write(root / "products/p2.json", product("p2", color="blue", type="dress", price=50, shop={"colour_depth": "deep"}))
    write(root / "products/p3.json", product("p3", color="green", type="shirt", price=70, brand="Smith, Jones"))
    write(root / "products/p4.json", product("p4", color="background:#CA1F7B", color_name="Magenta", type="shirt"))
    write(root / "products/p5.json", product("p5", color="red", type="skirt", price=float("nan")))
    write(root / "products/broken.json", '{"id": "p6", ')
    write(root / "products/list.json", [None, 3])
    images = root / "images"
    images.mkdir()
    (images / "p1.jpg").write_bytes(image())
    (images / "p1 look.jpg").write_bytes(image(kind="PNG"))
    (images / "p2.jpg").write_bytes(image()[:200])
    (images / "p3.jpg").write_bytes(image((7, 8), "WEBP"))
    outside = tmp_path / "secret.jpg"
    outside.write_bytes(image())
    (images / "p4.jpg").symlink_to(outside)
    lines = [f"{SHOP}{name}.jpg {name}.jpg" for name in ("p1", "p2", "p3", "p4", "p5")]
    lines += [f"{SHOP}p1 look.jpg".replace(" ", "%20") + " p1 look.jpg", "http://only-a-link", f"{SHOP}p1.jpg p1.jpg"]
    write(root / "url2img.txt", "\n".join(lines) + "\n")
    train, valid = root / "dialogues/train", root / "dialogues/valid"
    write(
        train / "1.json",
        [
            system("‘ Hello, welcome ’", images=[], **{"false images": None}),
            None,
            {},
            [user("I want"), [user("a red dress", dst={"slot_values": {"colors": "red, blue", "type": "dress"}})]],
            system(None, images=[f"{SHOP}p1%20look.jpg", f"{SHOP}p1.jpg"]),
            system(
                "Look  at these",
                **{"false images": [f"{SHOP}p2.jpg", f"{SHOP}p2.jpg", f"{SHOP}gone.jpg", None, f"{SHOP}p1.jpg"]},
            ),
            user("something blue", dst={"slot_values": {"type": "skirt", "mood": "gloomy", "pattern": ""}}),
            {"speaker": "narrator", "utterance": {"nlg": "..."}},
            system("This?", images=[f"{SHOP}p3.jpg"], **{"false images": [f"{SHOP}gone.jpg"]}),
            user(None),
            system("That?", images=[f"{SHOP}lost.jpg"], **{"false images": [f"{SHOP}p3.jpg"]}),
            user("bye", dst="lost"),
            system("Bye", images=[f"{SHOP}p3.jpg"]),
            system("Last", **{"false images": []}),
        ],
    )
    write(train / "2.json", "[{")
    write(train / "3.json", {"speaker": "user"})
    write(train / "4.json", [system("Nobody answers")])
    write(
        valid / "5.json", "\ufeff" + json.dumps([user("only me"), system("ok", **{"false images": [f"{SHOP}p1.jpg"]})])
    )
    write(valid / "6.json", '[{"speaker": "user", "utterance": {"nlg": "half a pair \\ud800"}}]')
    return root


def test_ledger_of_the_nasty_folder_is_exact(nasty: Path, tmp_path: Path) -> None:
    report = import_corpus(Workspace(tmp_path / "work"), ImportRequest(nasty, "mmd"))
    assert report.ledger.as_json() == {
        "dialogues": {"in": 6, "kept": 2, "dropped": {"file_not_json": 2, "no_user_utterance": 1, "not_a_list": 1}},
        "utterances": {
            "in": 18,
            "kept": 14,
            "dropped": {"empty_element": 1, "in_dropped_dialogue": 1, "no_speaker": 1, "null_element": 1},
        },
        "turns": {"in": 14, "kept": 11, "dropped": {"merged_into_the_one_before": 3}},
        "recommendation_turns": {
            "in": 5,
            "kept": 1,
            "dropped": {
                "no_negative_listed": 1,
                "no_negative_with_a_known_product": 1,
                "no_positive_listed": 1,
                "no_positive_with_a_known_product": 1,
            },
        },
        "positives": {"in": 5, "kept": 1, "dropped": {"in_dropped_recommendation_turn": 3, "listed_twice": 1}},
        "negatives": {
            "in": 8,
            "kept": 1,
            "dropped": {
                "also_positive": 1,
                "in_dropped_recommendation_turn": 3,
                "listed_twice": 1,
                "not_a_reference": 1,
                "unknown_product": 1,
            },
        },
        "states": {"in": 3, "kept": 2, "dropped": {"not_readable": 1}},
        "state_values": {"in": 6, "kept": 5, "dropped": {"no_value": 1}},
        "product_records": {
            "in": 9,
            "kept": 5,
            "dropped": {"file_not_json": 1, "not_an_object": 2, "view_of_a_product_merged": 1},
        },
        "prices": {"in": 3, "kept": 3, "dropped": {}},
        "product_values": {"in": 17, "kept": 16, "dropped": {"link_or_style_sheet": 1}},
        "images": {
            "in": 9,
            "kept": 3,
            "dropped": {"dead": 3, "missing": 1, "not_an_image": 1, "outside_the_folder": 1},
        },
        "url_map": {"in": 8, "kept": 7, "dropped": {"no_file_name": 1}},
    }


def test_turns_are_merged_unwrapped_and_counted_from_zero(nasty: Path, tmp_path: Path) -> None:
    workspace = Workspace(tmp_path / "work")
    report = import_corpus(workspace, ImportRequest(nasty, "mmd"))
    rows = read_table(workspace.turns, TURNS).to_pylist()
    assert [(row["dialogue_id"], row["turn"], row["speaker"], row["text"]) for row in rows] == [
        ("1", 0, "system", "Hello, welcome"),
        ("1", 1, "user", "I want a red dress"),
        ("1", 2, "system", "Look at these"),
        ("1", 3, "user", "something blue"),
        ("1", 4, "system", "This?"),
        ("1", 5, "user", ""),
        ("1", 6, "system", "That?"),
        ("1", 7, "user", "bye"),
        ("1", 8, "system", "Bye Last"),
        ("5", 0, "user", "only me"),
        ("5", 1, "system", "ok"),
    ]
    assert rows[2]["image_ids"] == ["p1 look.jpg", "p1.jpg"]
    assert [row["split"] for row in rows] == ["train"] * 9 + ["valid"] * 2
    assert report.user_turns == 5


def test_the_kept_recommendation_names_products_and_keeps_what_was_listed(nasty: Path, tmp_path: Path) -> None:
    workspace = Workspace(tmp_path / "work")
    import_corpus(workspace, ImportRequest(nasty, "mmd"))
    gone = f"{SHOP}gone.jpg"
    assert read_table(workspace.recommendations, RECOMMENDATIONS).to_pylist() == [
        {
            "dialogue_id": "1",
            "turn": 2,
            "positives": ["p1"],
            "negatives": ["p2"],
            "positives_listed": [f"{SHOP}p1%20look.jpg", f"{SHOP}p1.jpg"],
            "negatives_listed": [f"{SHOP}p2.jpg", f"{SHOP}p2.jpg", gone, f"{SHOP}p1.jpg"],
            "split": "train",
        }
    ]


def test_products_have_clean_attributes_and_all_their_images(nasty: Path, tmp_path: Path) -> None:
    workspace = Workspace(tmp_path / "work")
    import_corpus(workspace, ImportRequest(nasty, "mmd"))
    rows = {row["product_id"]: row for row in read_table(workspace.products, PRODUCTS).to_pylist()}
    assert list(rows) == ["p1", "p2", "p3", "p4", "p5"]
    assert dict(rows["p1"]["attributes"]) == {"color": ["black", "red"], "price": ["1299"], "type": ["dress"]}
    assert rows["p1"]["price"] == 1299.0
    assert rows["p1"]["image_ids"] == ["p1.jpg", "p1 look.jpg", f"{SHOP}p1b.jpg"]
    assert dict(rows["p2"]["attributes"])["colour_depth"] == ["deep"]
    assert dict(rows["p3"]["attributes"])["brand"] == ["Smith, Jones"]
    assert dict(rows["p4"]["attributes"])["color"] == ["Magenta"]
    assert rows["p5"]["price"] is None


def test_images_have_one_status_each_and_none_is_read_outside_the_folder(nasty: Path, tmp_path: Path) -> None:
    workspace = Workspace(tmp_path / "work")
    report = import_corpus(workspace, ImportRequest(nasty, "mmd"))
    rows = {row["image_id"]: row for row in read_table(workspace.images, IMAGES).to_pylist()}
    assert {key: row["status"] for key, row in rows.items()} == {
        "p1.jpg": "ok",
        "p1 look.jpg": "ok",
        "p2.jpg": "broken",
        "p3.jpg": "ok",
        "p4.jpg": "missing",
        "p5.jpg": "missing",
        f"{SHOP}p1b.jpg": "dead",
        f"{SHOP}gone.jpg": "dead",
        f"{SHOP}lost.jpg": "dead",
    }
    assert report.images == {"ok": 3, "missing": 2, "dead": 3, "broken": 1}
    assert (rows["p3.jpg"]["width"], rows["p3.jpg"]["height"]) == (7, 8)
    assert rows["p3.jpg"]["file"] == str(nasty / "images/p3.jpg")
    assert rows["p4.jpg"]["file"] is None
    assert rows["p4.jpg"]["sha256"] is None


@pytest.mark.parametrize(("topic_change", "resets"), [("reset", True), ("keep", False)])
def test_states_become_updates_and_another_category_starts_over(
    nasty: Path, tmp_path: Path, topic_change: Any, resets: bool
) -> None:
    workspace = Workspace(tmp_path / "work")
    report = import_corpus(workspace, ImportRequest(nasty, "mmd", topic_change=topic_change))
    rows = read_table(workspace.annotations, ANNOTATIONS).to_pylist()
    expected = [
        (1, "want", "colors", "red", "like"),
        (1, "want", "colors", "blue", "like"),
        (1, "want", "type", "dress", "like"),
        *([(3, "new_topic", None, None, None)] if resets else []),
        (3, "want", "mood", "gloomy", "like"),
        (3, "want", "type", "skirt", "like"),
    ]
    assert [(r["turn"], r["op"], r["slot"], r["value"], r["polarity"]) for r in rows] == expected
    assert {(r["annotation_id"], r["annotator"], r["origin"]) for r in rows} == {("corpus:1", "corpus", "corpus")}
    assert report.slots == {"colors": "color", "type": "type", "mood": None}
    ontology = Ontology.read(workspace.ontology_file)
    assert ontology.slot("color").name == "colors"
    assert [value.value for value in ontology.slot("mood").values] == ["gloomy"]


def test_per_turn_states_of_utterances_in_a_row_all_count(tmp_path: Path) -> None:
    root = tmp_path / "corpus"
    for key, color in (("p1", "red"), ("p2", "blue")):
        write(root / f"products/{key}.json", product(key, color=color, type="dress"))
    wanted = ({"color": "red"}, {"type": "dress"}, {"color": "blue"})
    said = [user(f"line {n}", dst={"slot_values": values}) for n, values in enumerate(wanted)]
    turns = [*said, system("ok", images=[f"{SHOP}p1.jpg"], **{"false images": [f"{SHOP}p2.jpg"]})]
    write(root / "dialogues/train/1.json", turns)
    report = import_corpus(Workspace(tmp_path / "work"), ImportRequest(root, "mmd"))
    rows = read_table(Workspace(tmp_path / "work").annotations, ANNOTATIONS).to_pylist()
    said_of = [(r["turn"], r["op"], r["slot"], r["value"]) for r in rows]
    assert said_of == [(0, "want", "color", "blue"), (0, "want", "type", "dress")]
    assert report.ledger["states"].as_json() == {"in": 3, "kept": 3, "dropped": {}}


def test_states_can_be_left_out_and_slots_are_then_named_by_attribute(nasty: Path, tmp_path: Path) -> None:
    workspace = Workspace(tmp_path / "work")
    report = import_corpus(workspace, ImportRequest(nasty, "mmd", ignore_states=True))
    assert not workspace.annotations.exists()
    assert report.ledger["states"].received == 0
    names = [slot.name for slot in Ontology.read(workspace.ontology_file).slots]
    assert names[0] == "type"
    assert "color" in names


def test_cumulative_states_become_differences(tmp_path: Path) -> None:
    root = tmp_path / "corpus"
    write(root / "products/p1.json", product("p1", color="red", material="silk", type="dress"))
    write(root / "products/p2.json", product("p2", color="blue", material="wool", type="skirt"))
    write(root / "url2img.txt", f"{SHOP}p1.jpg p1.jpg\n")

    def ds(*informable: tuple[str, list[str], str], **feedback: Any) -> dict[str, Any]:
        entries = [{"slot": [s], "values": v, "sentiment": [how]} for s, v, how in informable]
        return {"ds": {"informable": entries, "requestable": [feedback] if feedback else []}}

    red, no_red = ("colors", ["red"], "Like"), ("colors", ["red"], "Dislike")
    silk = ("materials >> upper materials (shoes)", ["silk"], "Like")
    dialogue = [
        user("red", **ds(red)),
        system("..."),
        user("and silk", **ds(red, silk)),
        system("..."),
        user("still the same", **ds(red, silk)),
        system("..."),
        user("not said what"),
        system("..."),
        user("not red after all", **ds(no_red, silk)),
        system("..."),
        user("the type of this one", **ds(no_red, silk, object=f"{SHOP}p1.jpg", likes=["types"], dislikes=["colors"])),
        system("..."),
        user("what is that", **ds(no_red, silk, object=f"{SHOP}p9.jpg", likes=["types"], dislikes=["fits"])),
    ]
    write(root / "dialogues/train/a.json", dialogue)
    workspace = Workspace(tmp_path / "work")
    report = import_corpus(workspace, ImportRequest(root, "mmd"))
    rows = read_table(workspace.annotations, ANNOTATIONS).to_pylist()
    assert [(r["turn"], r["op"], r["slot"], r["value"]) for r in rows] == [
        (0, "want", "colors", "red"),
        (2, "want", "materials", "silk"),
        (4, "none", None, None),
        (8, "new_topic", None, None),
        (8, "want", "materials", "silk"),
        (8, "dislike", "colors", "red"),
        (10, "want", "types", "dress"),
        (12, "drop", "types", None),
    ]
    feedback = report.ledger["feedback"]
    assert (feedback.kept, dict(feedback.dropped)) == (1, {"already_said": 1, "unknown_product": 2})


@pytest.mark.parametrize(
    ("values", "sentiment", "found"),
    [
        (["red", "blue"], ["Like", "Dislike"], [("want", "red"), ("dislike", "blue")]),
        (["red, blue"], ["Like", "Like"], [("want", "blue"), ("want", "red")]),
        (["red"], [], [("want", "red")]),
        (["red"], None, [("want", "red")]),
        (["red"], "negative", [("dislike", "red")]),
        *(
            (["red"], unknown, None)
            for unknown in (["Neutral"], ["dis like"], "?", 1, True, ["Like", "Dislike"], "none")
        ),
    ],
)
def test_a_sentiment_that_is_not_known_costs_the_state_and_is_counted(
    tmp_path: Path, values: list[str], sentiment: Any, found: list[tuple[str, str]] | None
) -> None:
    root = tmp_path / "corpus"
    write(root / "products/p1.json", product("p1", color="red", type="dress"))
    write(root / "products/p2.json", product("p2", color="blue", type="skirt"))
    odd = {"slot": ["colors"], "values": values, "sentiment": sentiment}
    fine = {"slot": ["types"], "values": ["dress"], "sentiment": ["Like"]}
    said = [user("a", ds={"informable": [fine]}), system("..."), user("b", ds={"informable": [fine, odd]})]
    write(root / "dialogues/train/a.json", said)
    workspace = Workspace(tmp_path / "work")
    report = import_corpus(workspace, ImportRequest(root, "mmd"))
    rows = read_table(workspace.annotations, ANNOTATIONS).to_pylist()
    marked = [(row["op"], row["value"]) for row in rows if row["turn"] == 2]
    assert marked == ([] if found is None else sorted(found, key=lambda mark: mark[0] == "dislike"))
    assert [(row["op"], row["value"]) for row in rows if row["turn"] == 0] == [("want", "dress")]
    assert dict(report.ledger["states"].dropped) == ({"unknown_sentiment": 1} if found is None else {})


def test_images_named_by_id_and_products_by_image_stem(tmp_path: Path) -> None:
    root = tmp_path / "corpus"
    write(root / "knowledge/products_format/front_1.json", {"name": "One", "type": "dress", "color": "red"})
    write(root / "knowledge/products_format/front_2.json", {"name": "Two", "type": "skirt", "color": "blue"})
    urls = [f"{SHOP}front_{i}.jpg" for i in (1, 2)]
    write(root / "image_id.json", [{urls[0]: 11, urls[1]: 12}])
    write(root / "url2img.txt", f"{urls[0]} front_1.jpg\n{urls[1]} front_2.jpg\n")
    (root / "images").mkdir()
    (root / "images/front_1.jpg").write_bytes(image())
    write(root / "dialogues/test/a.json", [user("hi"), system("?", images=[11], **{"false images": [12, "12", 13]})])
    workspace = Workspace(tmp_path / "work")
    report = import_corpus(workspace, ImportRequest(root, "mmd"))
    row = read_table(workspace.recommendations, RECOMMENDATIONS).to_pylist()[0]
    assert (row["positives"], row["negatives"]) == (["front_1"], ["front_2"])
    assert row["negatives_listed"] == ["12", "12", "13"]
    assert report.image_ids == "ids"
    statuses = {r["image_id"]: r["status"] for r in read_table(workspace.images, IMAGES).to_pylist()}
    assert statuses == {"11": "ok", "12": "missing", "13": "missing"}
    assert [r["image_ids"] for r in read_table(workspace.products, PRODUCTS).to_pylist()] == [["11"], ["12"]]


def test_a_stem_found_in_two_splits_names_every_dialogue_with_its_split(nasty: Path, tmp_path: Path) -> None:
    write(nasty / "dialogues/valid/1.json", [user("again")])
    workspace = Workspace(tmp_path / "work")
    import_corpus(workspace, ImportRequest(nasty, "mmd"))
    ids = dict.fromkeys(read_table(workspace.turns, TURNS)["dialogue_id"].to_pylist())
    assert list(ids) == ["train/1", "valid/1", "valid/5"]


def test_importing_again_gives_the_same_bytes(nasty: Path, tmp_path: Path) -> None:
    workspace = Workspace(tmp_path / "work")

    def content() -> dict[str, bytes]:
        files = sorted(p for p in workspace.root.rglob("*") if p.is_file())
        return {str(p.relative_to(workspace.root)): p.read_bytes() for p in files}

    import_corpus(workspace, ImportRequest(nasty, "mmd"))
    first = content()
    import_corpus(workspace, ImportRequest(nasty, "mmd"))
    assert content() == first
    elsewhere = Workspace(tmp_path / "elsewhere")
    import_corpus(elsewhere, ImportRequest(nasty, "mmd"))
    assert elsewhere.turns.read_bytes() == workspace.turns.read_bytes()
    assert elsewhere.ontology_file.read_bytes() == workspace.ontology_file.read_bytes()


def test_tables_and_manifest_name_the_same_inputs(nasty: Path, tmp_path: Path) -> None:
    workspace = Workspace(tmp_path / "work")
    import_corpus(workspace, ImportRequest(nasty, "mmd"))
    manifest = json.loads(workspace.import_manifest.read_bytes())
    assert set(manifest["inputs"]) == {"dialogues", "products", "url2img.txt"}
    for path, table in ((workspace.turns, TURNS), (workspace.products, PRODUCTS), (workspace.annotations, ANNOTATIONS)):
        with open_table(path, table) as file:
            assert json.loads(file.metadata.metadata[b"semctl.inputs"]) == manifest["inputs"]
    before = manifest["inputs"]["dialogues"]
    write(nasty / "dialogues/valid/5.json", [user("another text")])
    import_corpus(workspace, ImportRequest(nasty, "mmd"))
    assert json.loads(workspace.import_manifest.read_bytes())["inputs"]["dialogues"] != before


def test_importing_again_keeps_other_annotators_and_replaces_the_corpus(nasty: Path, tmp_path: Path) -> None:
    from schemas.tables import write_table

    workspace = Workspace(tmp_path / "work")
    import_corpus(workspace, ImportRequest(nasty, "mmd"))
    rows = read_table(workspace.annotations, ANNOTATIONS).to_pylist()
    human = {**rows[0], "annotation_id": "7", "annotator": "ada", "origin": "human"}
    write_table(workspace.annotations, ANNOTATIONS, [*rows, human])
    import_corpus(workspace, ImportRequest(nasty, "mmd"))
    assert read_table(workspace.annotations, ANNOTATIONS).to_pylist() == [*rows, human]
    import_corpus(workspace, ImportRequest(nasty, "mmd", ignore_states=True))
    assert read_table(workspace.annotations, ANNOTATIONS).to_pylist() == [human]


def test_importing_again_keeps_what_people_wrote_into_the_ontology(nasty: Path, tmp_path: Path) -> None:
    workspace = Workspace(tmp_path / "work")
    import_corpus(workspace, ImportRequest(nasty, "mmd"))
    ontology = Ontology.read(workspace.ontology_file)
    edited = []
    for slot in ontology.slots:
        if slot.name == "colors":
            values = tuple(
                v.model_copy(update={"aliases": ("crimson",)}) if v.value == "red" else v for v in slot.values
            )
            extra = Value(value="tartan")
            slot = slot.model_copy(
                update={"name": "colour", "title": "Farbe", "hint": "the main one", "values": (*values, extra)}
            )
        edited.append(slot)
    edited.append(Slot(name="occasion", attribute="occasion"))
    Ontology(version=5, slots=tuple(edited)).write(workspace.ontology_file)
    write(nasty / "products/p7.json", product("p7", color="Crimson, violet", type="dress"))
    import_corpus(workspace, ImportRequest(nasty, "mmd"))
    grown = Ontology.read(workspace.ontology_file)
    colour = grown.slot("colour")
    assert (grown.version, colour.title, colour.hint) == (6, "Farbe", "the main one")
    counts = {value.value: value.count for value in colour.values}
    assert counts == {"red": 3, "black": 1, "blue": 1, "green": 1, "Magenta": 1, "tartan": 0, "violet": 1}
    assert grown.find("occasion") is not None
    assert {r["slot"] for r in read_table(workspace.annotations, ANNOTATIONS).to_pylist()} >= {"colour"}
    assert {r["ontology_version"] for r in read_table(workspace.annotations, ANNOTATIONS).to_pylist()} == {6}


BAD_FOLDERS = {
    "no such folder": lambda root: None,
    "no dialogues": lambda root: write(root / "products/p.json", product("p")),
    "no catalogue": lambda root: write(root / "dialogues/train/1.json", [user("hi")]),
    "no readable product": lambda root: (
        write(root / "products/p.json", "{"),
        write(root / "dialogues/train/1.json", [user("hi")]),
    ),
    "no readable dialogue": lambda root: (
        write(root / "products/p.json", product("p")),
        write(root / "dialogues/train/1.json", "{"),
    ),
    "empty splits": lambda root: (
        write(root / "products/p.json", product("p")),
        (root / "dialogues/train").mkdir(parents=True),
    ),
    "a map of ids that is none": lambda root: (
        write(root / "products/p.json", product("p")),
        write(root / "dialogues/train/1.json", [user("hi")]),
        write(root / "image_id.json", "[3]"),
    ),
}


@pytest.mark.parametrize("what", BAD_FOLDERS)
def test_a_corpus_that_is_none_leaves_nothing_behind(tmp_path: Path, what: str) -> None:
    BAD_FOLDERS[what](tmp_path / "corpus")
    with pytest.raises(CorpusError) as raised:
        import_corpus(Workspace(tmp_path / "work"), ImportRequest(tmp_path / "corpus", "mmd"))
    assert "\n" not in str(raised.value)
    assert raised.value.exit_code == 2
    assert [path.name for path in tmp_path.iterdir()] == (["corpus"] if (tmp_path / "corpus").exists() else [])


def test_a_failed_import_leaves_the_earlier_one_as_it_was(nasty: Path, tmp_path: Path) -> None:
    workspace = Workspace(tmp_path / "work")
    import_corpus(workspace, ImportRequest(nasty, "mmd"))
    before = {p: p.read_bytes() for p in workspace.root.rglob("*") if p.is_file()}
    with pytest.raises(CorpusError):
        import_corpus(workspace, ImportRequest(tmp_path, "mmd"))
    workspace.ontology_file.write_text("{")
    with pytest.raises(OntologyError):
        import_corpus(workspace, ImportRequest(nasty, "mmd"))
    workspace.ontology_file.write_bytes(before[workspace.ontology_file])
    assert {p: p.read_bytes() for p in workspace.root.rglob("*") if p.is_file()} == before


@pytest.mark.parametrize(("form", "topic", "said"), [("mdm", "reset", "mmd"), ("mmd", "rest", "reset or keep")])
def test_an_unknown_option_names_the_known_ones(nasty: Path, tmp_path: Path, form: str, topic: Any, said: str) -> None:
    with pytest.raises(UsageError, match=said):
        import_corpus(Workspace(tmp_path / "work"), ImportRequest(nasty, form, topic_change=topic))


def test_a_ledger_that_does_not_add_up_is_refused() -> None:
    from pipeline.corpus.ledger import Ledger

    ledger = Ledger()
    ledger["turns"].keep(3)
    ledger["turns"].take_back("lost", 1)
    ledger.check()
    ledger["turns"].received += 1
    with pytest.raises(CheckError, match="turns"):
        ledger.check()


def test_an_image_beyond_the_pixel_cap_is_refused_undecoded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from pipeline.corpus import images as files_of_images
    from pipeline.corpus.images import ReferencedImage
    from semantic_model.data import image_decoding as decoding

    (tmp_path / "a.png").write_bytes(image((40, 30), "PNG"))
    (tmp_path / "b.bmp").write_bytes(image((3, 3), "BMP")[:-12])
    (tmp_path / "c").mkdir()
    os.symlink(tmp_path.parent, tmp_path / "d")
    (tmp_path.parent / "e.jpg").write_bytes(image())
    names = ("a.png", "b.bmp", "c", "d/e.jpg", "../e.jpg", str(tmp_path / "a.png"))
    found = files_of_images.check_images([ReferencedImage(name, name, None) for name in names], tmp_path)
    assert [(file.status, file.reason) for file in found] == [
        ("ok", "ok"),
        ("broken", "not_an_image"),
        ("missing", "missing"),
        ("missing", "outside_the_folder"),
        ("missing", "outside_the_folder"),
        ("missing", "outside_the_folder"),
    ]
    monkeypatch.setattr(decoding, "MAX_PIXELS", 1199)
    assert [f.reason for f in files_of_images.check_images([ReferencedImage("a", "a.png", None)], tmp_path)] == [
        "too_many_pixels"
    ]


def listing(*turns: Any) -> list[Any]:
    return [user("hi"), *turns]


IMAGES_IN_OTHER_FORMS: dict[str, tuple[Any, Any]] = {
    "lists in a list": ([[f"{SHOP}p1.jpg"], []], [[f"{SHOP}p2.jpg", [f"{SHOP}p3.jpg"]]]),
    "objects in a list": ([{"url": f"{SHOP}p1.jpg"}], [{"image_id": f"{SHOP}p2.jpg"}, {"src": f"{SHOP}p3.jpg"}]),
    "an object by number": ({"0": f"{SHOP}p1.jpg"}, {"0": f"{SHOP}p2.jpg", "1": [f"{SHOP}p3.jpg"]}),
    "one link": (f"{SHOP}p1.jpg", [f"{SHOP}p2.jpg", f"{SHOP}p3.jpg"]),
}


@pytest.mark.parametrize("form", IMAGES_IN_OTHER_FORMS)
def test_images_are_read_in_every_form(tmp_path: Path, form: str) -> None:
    root = tmp_path / "corpus"
    for key in ("p1", "p2", "p3"):
        write(root / f"products/{key}.json", product(key))
    shown, against = IMAGES_IN_OTHER_FORMS[form]
    write(root / "dialogues/train/1.json", listing(system("so", images=shown, **{"false images": against})))
    report = import_corpus(Workspace(tmp_path / "work"), ImportRequest(root, "mmd"))
    rows = read_table(Workspace(tmp_path / "work").recommendations, RECOMMENDATIONS).to_pylist()
    assert [(row["positives"], row["negatives"]) for row in rows] == [(["p1"], ["p2", "p3"])]
    assert not report.ledger["positives"].dropped
    assert not report.ledger["negatives"].dropped


def test_what_names_no_image_is_counted(tmp_path: Path) -> None:
    root = tmp_path / "corpus"
    write(root / "products/p1.json", product("p1"))
    lists = {"images": [{"alt": None}, True, "", f"{SHOP}p1.jpg"], "false images": [{}, [None]]}
    write(root / "dialogues/train/1.json", listing(system("so", **lists), system("and", images="")))
    report = import_corpus(Workspace(tmp_path / "work"), ImportRequest(root, "mmd"))
    assert report.ledger["images"].dropped["not_a_reference"] == 3
    assert report.ledger["negatives"].dropped["not_a_reference"] == 2


@pytest.mark.parametrize("names", [("User", "SYSTEM "), ("CUSTOMER", "Agent"), (" human", "Bot"), ("usr", "sys")])
def test_speakers_are_known_in_any_case(tmp_path: Path, names: tuple[str, str]) -> None:
    root = tmp_path / "corpus"
    write(root / "products/p1.json", product("p1"))
    said = [{"speaker": name, "utterance": {"nlg": "hm"}} for name in names]
    write(root / "dialogues/train/1.json", [*said, {"speaker": "narrator", "nlg": "they leave"}])
    workspace = Workspace(tmp_path / "work")
    report = import_corpus(workspace, ImportRequest(root, "mmd"))
    assert [row["speaker"] for row in read_table(workspace.turns, TURNS).to_pylist()] == ["user", "system"]
    assert report.ledger["utterances"].dropped == {"no_speaker": 1}


def test_an_utterance_without_an_object_of_its_own_is_read(tmp_path: Path) -> None:
    root = tmp_path / "corpus"
    for key in ("p1", "p2"):
        write(root / f"products/{key}.json", product(key))
    flat = {"speaker": "system", "nlg": "this", "images": [f"{SHOP}p1.jpg"], "false_images": [f"{SHOP}p2.jpg"]}
    write(root / "dialogues/train/1.json", listing(flat))
    workspace = Workspace(tmp_path / "work")
    report = import_corpus(workspace, ImportRequest(root, "mmd"))
    assert report.recommendation_turns == 1
    assert read_table(workspace.turns, TURNS)["text"].to_pylist() == ["hi", "this"]


def test_a_catalogue_by_id_and_attributes_in_records_and_lists_are_read(tmp_path: Path) -> None:
    root = tmp_path / "corpus"
    features = [{"name": "fit", "value": "slim"}, {"key": "care", "values": ["wash", "dry"]}]
    catalogue = {
        "17": {"metadata": {"type": "coat", "sizes": "['S', 'M']"}, "url": "abc"},
        "18": {"type": "hat", "features": features, "sizes": [["S", "M"], ["L"]], "specs": '{"lining": "silk"}'},
        "19": {"type": "hat", "colours": [{"name": "red", "hex": "#f00"}, {"hex": "#0f0"}], "box": {"height": 3}},
    }
    write(root / "products/all.json", catalogue)
    write(root / "products/one.json", {"id": 20.0, "type": "coat", "attributes": [["cut", "wide"]]})
    write(root / "dialogues/train/1.json", listing())
    workspace = Workspace(tmp_path / "work")
    report = import_corpus(workspace, ImportRequest(root, "mmd"))
    rows = read_table(workspace.products, PRODUCTS).to_pylist()
    assert {row["product_id"]: dict(row["attributes"]) for row in rows} == {
        "17": {"sizes": ["M", "S"], "type": ["coat"]},
        "18": {"care": ["dry", "wash"], "fit": ["slim"], "lining": ["silk"], "sizes": ["L", "M", "S"], "type": ["hat"]},
        "19": {"colours": ["red"], "type": ["hat"]},
        "20": {"type": ["coat"], "cut": ["wide"]},
    }
    # 17: 3, 18: 8, 19: 2 with two objects that name nothing, 20: 2
    values = report.ledger.as_json()["product_values"]
    assert values == {"in": 17, "kept": 15, "dropped": {"object_in_a_list": 1, "object_within_the_record": 1}}


def test_one_file_may_be_the_catalogue_and_its_keys_may_be_in_any_case(tmp_path: Path) -> None:
    root = tmp_path / "corpus"
    file = tmp_path / "catalogue.json"
    write(file, [{"ID": 17, "Name": "Coat", "Color": "red", "Price": 5, "imageFilename": f"{SHOP}a.jpg"}])
    write(root / "dialogues/train/1.json", listing())
    workspace = Workspace(tmp_path / "work")
    import_corpus(workspace, ImportRequest(root, "mmd", products=file))
    row = read_table(workspace.products, PRODUCTS).to_pylist()[0]
    assert (row["product_id"], row["name"], row["price"], row["image_ids"]) == ("17", "Coat", 5.0, [f"{SHOP}a.jpg"])
    assert dict(row["attributes"]) == {"color": ["red"], "price": ["5"]}


@pytest.mark.parametrize(
    "form", [json.dumps, str, lambda state: {"slot_values": [*map(list, state["slot_values"].items())]}]
)
def test_states_as_text_and_as_lists_are_read(tmp_path: Path, form: Any) -> None:
    root = tmp_path / "corpus"
    write(root / "products/p1.json", product("p1", color="red", type="dress"))
    said = user("a red dress", dst=form({"slot_values": {"color": "red", "type": "dress"}}))
    write(root / "dialogues/train/1.json", [said, user("hm", dst="")])
    workspace = Workspace(tmp_path / "work")
    import_corpus(workspace, ImportRequest(root, "mmd"))
    rows = read_table(workspace.annotations, ANNOTATIONS).to_pylist()
    assert [(row["slot"], row["value"]) for row in rows] == [("color", "red"), ("type", "dress")]


def test_what_lies_there_and_is_not_read_is_told(tmp_path: Path) -> None:
    root = tmp_path / "corpus"
    write(root / "products/p1.json", product("p1"))
    write(root / "raw_catalog/p2.json", product("p2"))
    for place in ("dialogues/train", "dialogues/extra", "v1/train", "train"):
        write(root / place / "1.json", listing())
    write(root / "dialogues/2.json", listing())
    write(root / "dialogues/valid/notes.txt", "")
    report = import_corpus(Workspace(tmp_path / "work"), ImportRequest(root, "mmd"))
    assert report.left_out == (
        "v1: dialogues is read instead",
        "train: dialogues are read from another folder",
        "raw_catalog: products is read instead",
        "dialogues/2.json: no folder of a split (train, valid or test)",
        "dialogues/extra: no folder of a split (train, valid or test)",
        "dialogues/valid: no JSON file in it",
    )


def test_a_link_inside_the_folder_is_recorded_as_the_file_it_leads_to(tmp_path: Path) -> None:
    from pipeline.corpus import images as files_of_images
    from pipeline.corpus.images import ReferencedImage

    (tmp_path / "real").mkdir()
    (tmp_path / "real/a.jpg").write_bytes(image())
    (tmp_path / "b.jpg").symlink_to("real/a.jpg")
    (tmp_path / "folder").symlink_to("real")
    image_refs = [ReferencedImage(name, name, None) for name in ("b.jpg", "folder/a.jpg")]
    assert [(f.status, f.path) for f in files_of_images.check_images(image_refs, tmp_path)] == [
        ("ok", tmp_path / "real/a.jpg")
    ] * 2


@pytest.fixture
def unmapped(tmp_path: Path) -> Path:
    """Without url2img.txt: p1 and p2 at links that end alike, p3 at a link of its own, p4 named by file."""
    root = tmp_path / "corpus"
    write(root / "products/p1.json", product("p1", image_filename=f"{SHOP}1/front.jpg?w=300", color="red"))
    write(root / "products/p2.json", product("p2", image_filename=f"{SHOP}2/front.jpg?w=300", color="blue"))
    write(root / "products/p3.json", product("p3", image_filename=f"{SHOP}3/own%20name.jpg", color="red"))
    write(root / "products/p4.json", product("p4", image_filename="fourth.jpg", color="blue"))
    (root / "images").mkdir()
    for name in ("front.jpg", "own name.jpg", "fourth.jpg"):
        (root / "images" / name).write_bytes(image())
    said = [user("hi"), system("?", images=[f"{SHOP}2/front.jpg?w=300"], **{"false images": [f"{SHOP}3/own name.jpg"]})]
    write(root / "dialogues/train/a.json", said)
    return root


def test_links_that_end_in_one_file_name_are_several_images_of_which_none_can_be_had(
    unmapped: Path, tmp_path: Path
) -> None:
    workspace = Workspace(tmp_path / "work")
    report = import_corpus(workspace, ImportRequest(unmapped, "mmd"))
    first, second, third = f"{SHOP}1/front.jpg?w=300", f"{SHOP}2/front.jpg?w=300", f"{SHOP}3/own name.jpg"
    ids = {row["product_id"]: row["image_ids"] for row in read_table(workspace.products, PRODUCTS).to_pylist()}
    assert ids == {"p1": [first], "p2": [second], "p3": [third], "p4": ["fourth.jpg"]}
    statuses = {row["image_id"]: row["status"] for row in read_table(workspace.images, IMAGES).to_pylist()}
    assert statuses == {first: "dead", second: "dead", third: "ok", "fourth.jpg": "ok"}
    assert dict(report.ledger["images"].dropped) == {"ambiguous": 2}
    (row,) = read_table(workspace.recommendations, RECOMMENDATIONS).to_pylist()
    assert (row["positives"], row["negatives"]) == (["p2"], ["p3"])


def test_a_link_that_only_a_dialogue_names_can_make_a_product_s_image_ambiguous(unmapped: Path, tmp_path: Path) -> None:
    said = [
        user("hi"),
        system("?", images=["fourth.jpg", "own name.jpg"], **{"false images": ["http://other.invalid/own name.jpg"]}),
    ]
    write(unmapped / "dialogues/train/a.json", said)
    workspace = Workspace(tmp_path / "work")
    report = import_corpus(workspace, ImportRequest(unmapped, "mmd"))
    assert dict(report.ledger["images"].dropped) == {"ambiguous": 4}
    assert report.ledger["recommendation_turns"].dropped == {"no_negative_with_a_known_product": 1}


def test_a_link_over_http_and_https_is_one_place(unmapped: Path, tmp_path: Path) -> None:
    plain = SHOP.removeprefix("http:")
    said = [
        user("hi"),
        system("?", images=[f"https:{plain}3/own%20name.jpg"], **{"false images": [f"{plain}2/front.jpg?w=300"]}),
    ]
    write(unmapped / "dialogues/train/a.json", said)
    said[1] = system("?", images=[f"https:{plain}3/own name.jpg"], **{"false images": ["fourth.jpg"]})
    write(unmapped / "dialogues/train/b.json", said)
    workspace = Workspace(tmp_path / "work")
    report = import_corpus(workspace, ImportRequest(unmapped, "mmd"))
    statuses = {row["image_id"]: row["status"] for row in read_table(workspace.images, IMAGES).to_pylist()}
    assert statuses[f"{SHOP}3/own name.jpg"] == statuses[f"https:{plain}3/own name.jpg"] == "ok"
    rows = read_table(workspace.recommendations, RECOMMENDATIONS).to_pylist()
    assert [(row["positives"], row["negatives"]) for row in rows] == [(["p3"], ["p2"]), (["p3"], ["p4"])]
    assert report.ledger["images"].dropped["ambiguous"] == 3, "p1's and p2's, p2's in two spellings"


def test_a_file_may_be_named_with_its_escapes(tmp_path: Path) -> None:
    from pipeline.corpus.images import ImageReferences

    for name in ("a%20b.jpg", "c d.jpg"):
        (tmp_path / name).touch()
    image_refs = ImageReferences(tmp_path)
    named = ("a%20b.jpg", f"{SHOP}a%20b.jpg", f"{SHOP}c%20d.jpg#top", "c%20d.jpg")
    assert [image_refs.resolve(name).file for name in named] == ["a%20b.jpg", "a%20b.jpg", "c d.jpg", "c d.jpg"]


def test_a_file_name_names_the_product_whose_link_alone_ends_in_it(unmapped: Path, tmp_path: Path) -> None:
    said = [user("hi"), system("?", images=["own name.jpg"], **{"false images": ["fourth.jpg", "front.jpg"]})]
    write(unmapped / "dialogues/train/a.json", said)
    workspace = Workspace(tmp_path / "work")
    report = import_corpus(workspace, ImportRequest(unmapped, "mmd"))
    (row,) = read_table(workspace.recommendations, RECOMMENDATIONS).to_pylist()
    assert (row["positives"], row["negatives"]) == (["p3"], ["p4"])
    assert report.ledger["negatives"].dropped["unknown_product"] == 1, "front.jpg may be p1's or p2's"


def test_a_map_says_which_links_are_one_image(unmapped: Path, tmp_path: Path) -> None:
    lines = [f"{SHOP}1/front.jpg?w=300 front.jpg", f"{SHOP}2/front.jpg?w=300 front.jpg"]
    write(unmapped / "url2img.txt", "\n".join([*lines, f"{SHOP}3/own%20name.jpg own name.jpg"]))
    workspace = Workspace(tmp_path / "work")
    report = import_corpus(workspace, ImportRequest(unmapped, "mmd"))
    ids = {row["product_id"]: row["image_ids"] for row in read_table(workspace.products, PRODUCTS).to_pylist()}
    assert ids == {"p1": ["front.jpg"], "p2": ["front.jpg"], "p3": ["own name.jpg"], "p4": ["fourth.jpg"]}
    assert report.images["ok"] == 3


def test_names_without_a_suffix_are_the_file_of_that_name_or_the_only_one_with_that_stem(tmp_path: Path) -> None:
    from pipeline.corpus.images import ImageReferences

    for name in ("whole", "whole.jpg", "twice.jpg", "twice.png", "once.webp"):
        (tmp_path / name).touch()
    image_refs = ImageReferences(tmp_path)
    assert [image_refs.resolve(name).file for name in ("whole", "once", "twice", "none")] == [
        "whole",
        "once.webp",
        None,
        None,
    ]
    assert image_refs.ambiguous() == {"twice"}


def test_files_whose_names_are_not_utf8_are_read_under_a_written_out_name(tmp_path: Path) -> None:
    from pipeline.generator.corpus import GenerateRequest, generate_corpus

    generate_corpus(tmp_path / "corpus", GenerateRequest(size="test"))
    first = tmp_path / "corpus" / "dialogues" / "train" / "1.json"
    first.rename(first.with_name(os.fsdecode(b"caf\xe9.json")))
    (tmp_path / "corpus" / "images" / os.fsdecode(b"\xff.png")).write_bytes(b"")
    workspace = Workspace(tmp_path / "shop")
    assert import_corpus(workspace, ImportRequest(tmp_path / "corpus", "mmd")).splits["train"] == 20
    assert "train/caf\\xe9" in read_table(workspace.turns, TURNS)["dialogue_id"].to_pylist()
    odd = tmp_path / os.fsdecode(b"\xff")
    (tmp_path / "corpus").rename(odd)
    with pytest.raises(CorpusError, match=r"must be UTF-8"):
        import_corpus(workspace, ImportRequest(odd, "mmd"))
