from __future__ import annotations

from pathlib import Path

import pytest

from schemas.errors import CorpusError
from schemas.tables import IMAGES, PRODUCTS, RECOMMENDATIONS, TURNS, write_table
from semantic_model.data.corpus import Corpus


def write_corpus(root: Path, *, positive: str = "p1") -> dict[str, Path]:
    files = {name: root / "data" / f"{name}.parquet" for name in ("turns", "recommendations", "products", "images")}
    product = {"description": "", "price": None, "currency": None, "source": "test"}
    write_table(
        files["products"],
        PRODUCTS,
        [
            {
                **product,
                "product_id": "p2",
                "name": "Shirt",
                "attributes": [("color", ["red", "blue"])],
                "image_ids": [],
            },
            {**product, "product_id": "p1", "name": "Dress", "attributes": [], "image_ids": ["lost", "i1"]},
        ],
    )
    image = {"url": None, "sha256": "00", "width": 1, "height": 1}
    write_table(
        files["images"],
        IMAGES,
        [
            {**image, "image_id": "i1", "file": "images/1.jpg", "status": "ok"},
            {**image, "image_id": "i2", "file": "/elsewhere/2.jpg", "status": "ok"},
            {**image, "image_id": "lost", "file": "images/3.jpg", "status": "missing"},
        ],
    )
    turn = {"dialogue_id": "d", "act": "", "split": "train"}
    write_table(
        files["turns"],
        TURNS,
        [
            {**turn, "turn": 0, "speaker": "user", "text": "hello", "image_ids": ["i1"]},
            {**turn, "turn": 1, "speaker": "system", "text": "hi", "image_ids": []},
            {**turn, "turn": 2, "speaker": "user", "text": "a dress", "image_ids": []},
            {**turn, "turn": 3, "speaker": "system", "text": "this", "image_ids": []},
        ],
    )
    listed = {"positives_listed": [], "negatives_listed": [], "split": "train"}
    rows = [{**listed, "dialogue_id": "d", "turn": 3, "positives": [positive], "negatives": ["p2"]}]
    write_table(files["recommendations"], RECOMMENDATIONS, rows)
    return files


def test_products_are_sorted_and_take_their_first_image_that_can_be_read(tmp_path):
    corpus = Corpus.load(**write_corpus(tmp_path))
    assert [product.product_id for product in corpus.products] == ["p1", "p2"]
    assert corpus.products[0].image_id == "i1"
    assert corpus.products[0].image_file == tmp_path / "images" / "1.jpg"
    assert corpus.products[1].image_id is None
    assert corpus.products[1].text == "Shirt. color red blue"
    assert corpus.image_files == {"i1": tmp_path / "images" / "1.jpg", "i2": Path("/elsewhere/2.jpg")}


def test_a_query_holds_all_that_was_said_before_it(tmp_path):
    (query,) = Corpus.load(**write_corpus(tmp_path)).queries("train")
    assert [utterance.text for utterance in query.history] == ["hello", "hi", "a dress"]
    assert query.history[0].image_ids == ("i1",)
    assert (query.turn, query.positives, query.negatives) == (3, (0,), (1,))


def test_blanking_images_leaves_text_alone(tmp_path):
    corpus = Corpus.load(**write_corpus(tmp_path), blank_images=True)
    assert corpus.image_files == {}
    assert corpus.products[0].image_id is corpus.products[0].image_file is None
    assert all(not utterance.image_ids for utterance in corpus.queries("train")[0].history)
    assert corpus.products[1].text == "Shirt. color red blue"


def test_a_product_that_is_not_in_the_catalogue_is_named(tmp_path):
    with pytest.raises(CorpusError, match=r"names the product 'p9'.*dialogue d, turn 3"):
        Corpus.load(**write_corpus(tmp_path, positive="p9"))


def test_an_unknown_dialogue_is_named(tmp_path):
    with pytest.raises(CorpusError, match="no dialogue 'x'"):
        Corpus.load(**write_corpus(tmp_path)).history("x", 3)
