from __future__ import annotations

import pytest

from pipeline.modelling.conversation import find_dialogue
from pipeline.modelling.recommend import RecommendRequest, recommend
from pipeline.modelling.recommender import RecommendedProduct
from pipeline.workspace import Workspace
from schemas.errors import CorpusError, UsageError
from schemas.tables import IMAGES, PRODUCTS, RECOMMENDATIONS, TURNS, write_table
from semantic_model.models.tfidf import TfIdf

NAMES = ("red dress", "blue jeans", "black coat", "blue coat")


@pytest.fixture
def workspace(tmp_path, monkeypatch: pytest.MonkeyPatch) -> Workspace:
    """Four products, two dialogues, and a run that ranks by TF-IDF."""
    space = Workspace(tmp_path / "shop").create()
    (space.root / "p1.jpg").write_bytes(b"")
    write_table(
        space.products,
        PRODUCTS,
        [
            {
                "product_id": f"p{i}",
                "name": name,
                "description": "",
                "attributes": [("type", [name.split()[1]])],
                "price": 10.0,
                "currency": "EUR",
                "image_ids": [f"i{i}"],
                "source": "test",
            }
            for i, name in enumerate(NAMES)
        ],
    )
    image = {"image_id": "i1", "file": "p1.jpg", "url": None, "sha256": None, "width": 1, "height": 1, "status": "ok"}
    write_table(space.images, IMAGES, [image])
    said = [
        ("train/7", ["a coat please", "which?", "a blue coat", "here", "rather jeans"]),
        ("valid/8", ["a dress"]),
        ("valid/9", ["a dress"]),
        ("train/9", ["a dress"]),
    ]
    write_table(
        space.turns,
        TURNS,
        [
            {
                "dialogue_id": dialogue,
                "turn": turn,
                "speaker": ("user", "system")[turn % 2],
                "act": "",
                "text": text,
                "image_ids": [],
                "split": dialogue.split("/")[0],
            }
            for dialogue, texts in said
            for turn, text in enumerate(texts)
        ],
    )
    write_table(
        space.recommendations,
        RECOMMENDATIONS,
        [
            {
                "dialogue_id": "train/7",
                "turn": 3,
                "positives": ["p3"],
                "negatives": ["p0"],
                "positives_listed": ["p3"],
                "negatives_listed": ["p0"],
                "split": "train",
            }
        ],
    )
    (space.runs / "tiny").mkdir(parents=True)
    (space.runs / "tiny" / "record.json").write_text("{}")
    monkeypatch.setattr("pipeline.modelling.recommender.open_ranker", lambda folder, corpus, **_: TfIdf())
    return space


def test_products_come_best_first_with_what_the_system_recommended_marked(workspace: Workspace):
    result = recommend(workspace, RecommendRequest("train/7", turn=2, top=2))
    assert [product.product_id for product in result.products] == ["p3", "p2"]
    assert [product.rank for product in result.products] == [1, 2]
    assert [product.positive for product in result.products] == [True, False]
    assert result.positives == ("p3",)
    assert [said.text for said in result.history] == ["a coat please", "which?", "a blue coat"]


def test_without_a_turn_the_dialogue_is_read_up_to_the_shoppers_last_word(workspace: Workspace):
    result = recommend(workspace, RecommendRequest("train/7", top=9))
    assert result.turn == 4
    assert result.products[0].product_id == "p1"
    assert result.products[0].images == (str(workspace.root / "p1.jpg"),)
    assert len(result.products) == 4
    assert result.positives is None
    assert {product.positive for product in result.products} == {None}


def test_the_json_form_has_the_agreed_keys(workspace: Workspace):
    value = recommend(workspace, RecommendRequest("train/7", turn=2, top=1)).as_json()
    assert (value["dialogue_id"], value["turn"]) == ("train/7", 2)
    assert {"rank", "product_id", "name", "score", "images"} <= set(value["products"][0])
    assert value["products"][0]["score"] > 0


def test_attributes_that_the_name_says_are_not_repeated():
    attributes = {"color": ("Red", "white"), "type": ("dress",), "size": ("M", "L"), "care": ()}
    product = RecommendedProduct(1, "p", "red and white Dress", 0.5, (), attributes, None)
    assert product.not_in_name() == {"size": ("M", "L")}


def test_a_dialogue_can_be_named_without_its_split_where_that_leaves_no_doubt(workspace: Workspace):
    assert recommend(workspace, RecommendRequest("8", top=1)).dialogue_id == "valid/8"
    with pytest.raises(CorpusError, match=r"2 dialogues; say which: train/9, valid/9"):
        recommend(workspace, RecommendRequest("9"))


def test_an_unknown_dialogue_names_the_nearest(workspace: Workspace):
    from pipeline.modelling.runs import load_corpus

    corpus = load_corpus(workspace)
    with pytest.raises(CorpusError, match=r"no dialogue 'tran/7'.*did you mean 'train/7'"):
        find_dialogue(corpus, "tran/7")
    with pytest.raises(CorpusError, match="ids look like 'train/7'"):
        find_dialogue(corpus, "####")


def test_a_turn_that_is_not_there_and_a_top_of_nothing_are_refused(workspace: Workspace):
    with pytest.raises(UsageError, match="no turn 5; its turns are 0 to 4"):
        recommend(workspace, RecommendRequest("train/7", turn=5))
    with pytest.raises(UsageError, match="at least 1"):
        recommend(workspace, RecommendRequest("train/7", top=0))


def test_the_command_prints_turns_and_a_table(workspace: Workspace, capsys: pytest.CaptureFixture[str]):
    from pipeline.cli import _run

    arguments = ["-w", str(workspace.root), "recommend", "--dialogue", "train/7", "--turn", "2", "--top", "3"]
    assert _run(arguments) == 0
    printed = capsys.readouterr()
    assert "user: a blue coat" in printed.out
    assert "p3" in printed.out
    assert "yes" in printed.out
    assert _run([*arguments[:4], "nope"]) == 2
    error = capsys.readouterr()
    assert error.out == ""
    assert len(error.err.strip().splitlines()) == 1
