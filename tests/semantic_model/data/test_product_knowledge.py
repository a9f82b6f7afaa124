from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from schemas.errors import MissingPartError, ModelError
from semantic_model.config.sections import KnowledgeConfig, TextConfig
from semantic_model.data.corpus import Corpus, _Turn
from semantic_model.data.knowledge import StyleTip
from semantic_model.data.product_knowledge import Form, ProductKnowledge, tip_and_celebrity_files
from semantic_model.data.records import Product, Utterance

PLACES = {"attributes": 4, "tips": 3, "celebrities": 2}


def product(name: str, **attributes: str | tuple[str, ...]) -> Product:
    values = {key: (value,) if isinstance(value, str) else value for key, value in attributes.items()}
    return Product(name, name, name, values, f"{name}.jpg", None)


def learned(corpus: Corpus, folder: Path | str = "", tips: int = 16, min_count: int = 1, **text) -> ProductKnowledge:
    return ProductKnowledge.learn(
        corpus, TextConfig(**text), KnowledgeConfig(folder=str(folder)), min_count=min_count, tips=tips
    )


def catalogue(*products: Product) -> Corpus:
    return Corpus(tuple(products), {}, {}, {}, False, {}, ())


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Files of knowledge as MMD's."""
    tips = ["dress , shirt , 7", "boots , dress , 9", "boots , jacket , 4", "dress , jacket , 2", "shirt , shirt , 3"]
    (tmp_path / "styletips_synset.txt").write_text("\n".join(tips))
    worn = {"cel_1": {"Dress": 0.03, "jacket": 0.04}, "cel_0": {"jacket": 0.03, "boots": 0.0}}
    (tmp_path / "celebrity_distribution.json").write_text(json.dumps(worn))
    return tmp_path


def test_attributes_are_pairs_that_several_products_have():
    shirts = [
        product("a", type="Shirt", color=("red", "blue"), care="wash"),
        product("b", type="shirt", color=("blue", "blue"), sleeve_length="short"),
    ]
    corpus = catalogue(*shirts)
    twice = learned(corpus, min_count=2)
    assert twice.attributes == (("color", "blue"), ("type", "shirt"))  # the care is not read
    once = learned(corpus)
    assert once.texts()["attributes"] == ["color blue", "color red", "sleeve length short", "type shirt"]
    assert once.rows(shirts[0], TextConfig(), PLACES)["attributes"] == [3, 1, 0]
    assert once.rows(shirts[1], TextConfig(), {**PLACES, "attributes": 2})["attributes"] == [3, 0]
    assert learned(corpus, product_fields=("color",)).attributes == (("color", "blue"), ("color", "red"))


def test_without_files_tips_are_kinds_of_one_training_dialogue(world):
    """d1, d4 and d7 show a shirt after a jacket, d2 and d5 a dress after a shirt, d3 and d6 a jacket after a dress.

    What d0 shows next to its dress has no image; d8 and d9 are no training dialogues.
    """
    assert learned(world.corpus).tips == (
        StyleTip("dress", "jacket", 2),
        StyleTip("dress", "shirt", 2),
        StyleTip("jacket", "shirt", 3),
    )
    assert learned(world.corpus).celebrities == {}
    assert learned(world.corpus, tips=0).tips == ()


def test_every_product_that_a_dialogue_shows_or_recommends_counts_once():
    items = [
        product("a", type="Hat"),
        product("b", category="scarf"),
        product("c", color="red"),
        product("d", type="hat"),
    ]
    said = [
        _Turn(0, Utterance("user", "hello", ("a.jpg", "b.jpg", "c.jpg"))),
        _Turn(1, Utterance("system", "", ("d.jpg",))),
    ]
    asked = (("x", 1, "train", (1, 3), ()), ("y", 1, "train", (0,), ()))
    corpus = Corpus(tuple(items), {}, {}, {"x": "train", "y": "train"}, False, {"x": tuple(said), "y": ()}, asked)
    assert learned(corpus).tips == (StyleTip("hat", "scarf", 1),)


def test_a_product_has_the_commonest_tips_of_its_kinds(folder: Path):
    found = learned(catalogue(), folder, tips=2)
    # jacket's two; dress's two; shirt's two; boots' two
    assert found.tips == (
        StyleTip("boots", "dress", 9),
        StyleTip("boots", "jacket", 4),
        StyleTip("dress", "jacket", 2),
        StyleTip("dress", "shirt", 7),
        StyleTip("shirt", "shirt", 3),
    )
    assert len(learned(catalogue(), folder, tips=1).tips) == 3  # boots with dress, dress with shirt, boots with jacket
    places = {**PLACES, "tips": 2}
    assert found.rows(product("x", type="dress"), TextConfig(), places)["tips"] == [0, 3]
    both = product("x", type=("dress", "jacket"))
    assert found.rows(both, TextConfig(), {**PLACES, "tips": 9})["tips"] == [0, 3, 1, 2]
    assert found.texts()["tips"][0] == "boots dress"


def test_what_celebrities_wear_is_a_row_a_kind_of_length_one(folder: Path):
    found = learned(catalogue(), folder)
    np.testing.assert_allclose(found.scores(), [[0.0, 1.0], [0.6, 0.8]], rtol=1e-6)  # dress, jacket: of cel_0, cel_1
    assert found.rows(product("x", type=("jacket", "dress", "boots")), TextConfig(), PLACES)["celebrities"] == [1, 0]
    assert found.forms(PLACES) == {"attributes": Form(1, 4), "tips": Form(6, 3), "celebrities": Form(3, 2)}
    assert list(found.forms({**PLACES, "tips": 0})) == ["attributes", "celebrities"]


@pytest.mark.parametrize(
    ("item", "kinds"),
    [
        (product("x", type="dress"), ("dress",)),
        (product("x", type="Maxi Dresses"), ("dress",)),
        (product("a shirt", category="boots", color="red"), ("boots",)),
        (product("x", type="thing", category="rain jacket"), ("jacket",)),
        (product("Shirt-dress", color="red"), ("shirt", "dress")),
        (product("x", color="red"), ()),
    ],
)
def test_attributes_say_of_which_kind_a_product_is_else_its_name(folder: Path, item: Product, kinds: tuple[str, ...]):
    found = learned(catalogue(), folder)
    assert found.kinds_of(item) == kinds
    assert found.kinds_of(item) == kinds  # asked again


def test_it_is_saved_and_read_back(folder: Path, tmp_path: Path):
    found = learned(catalogue(product("a", type="Shirt", color=("red", "blue"))), folder)
    found.save(tmp_path)
    assert ProductKnowledge.load(tmp_path) == found


@pytest.mark.parametrize(
    ("damage", "said"),
    [
        (lambda value: value.pop("tips"), "tips"),
        (lambda value: value["tips"].append(["boots", "dress"]), "tips"),
        (lambda value: value["tips"].append(value["tips"][0]), "rows twice"),
        (lambda value: value["attributes"].append(value["attributes"][0]), "rows twice"),
        (lambda value: value["attributes"].append("color"), "attributes"),
        (lambda value: value["celebrities"]["cel_0"].update(hat="much"), "celebrities"),
        (lambda value: value["celebrities"]["cel_0"].update(hat=-1.0), "no scores"),
    ],
)
def test_damaged_knowledge_is_one_error(folder: Path, tmp_path: Path, damage, said: str):
    learned(catalogue(product("a", color="red")), folder).save(tmp_path)
    path = tmp_path / "knowledge.json"
    value = json.loads(path.read_text())
    damage(value)
    path.write_text(json.dumps(value))
    with pytest.raises(ModelError, match=rf"{said}.*knowledge\.json.*train again"):
        ProductKnowledge.load(tmp_path)
    path.unlink()
    with pytest.raises(ModelError, match="no such file"):
        ProductKnowledge.load(tmp_path)


def test_files_are_looked_at_before_training(folder: Path):
    config = KnowledgeConfig(folder=str(folder))
    assert sorted(tip_and_celebrity_files(config)) == ["celebrity_distribution.json", "styletips_synset.txt"]
    assert tip_and_celebrity_files(KnowledgeConfig()) == {}
    (folder / "styletips_synset.txt").write_text("boots and a dress")
    with pytest.raises(ModelError, match="line 1"):
        tip_and_celebrity_files(config)
    (folder / "celebrity_distribution.json").unlink()
    with pytest.raises(MissingPartError, match=r"no celebrity_distribution\.json, what celebrities wear"):
        tip_and_celebrity_files(config)


@pytest.mark.realdata
def test_mmds_own_knowledge(shared_data: Path):
    found = learned(catalogue(), shared_data / "mmd_fragments" / "knowledge")
    assert found.scores().shape == (185, 411)  # of 189 kinds, four have zeros alone
    rows = found.rows(product("a", type="casual shirt"), TextConfig(), {**PLACES, "tips": 16})
    assert len(rows["tips"]) == 16
    assert all("casual shirt" in found.tips[row][:2] for row in rows["tips"])
    assert len(rows["celebrities"]) == 1
    assert len(found.tips) == 2289
