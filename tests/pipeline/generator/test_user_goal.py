from __future__ import annotations

import pytest

from pipeline.generator.catalogue import CatalogueProduct
from pipeline.generator.user_goal import ProductIndex, UserGoal

IMAGE = "http://shop.example.invalid/p/1.jpg"


def product(stem: str, **attributes: str) -> CatalogueProduct:
    values = {name: tuple(value.split("|")) for name, value in attributes.items()}
    return CatalogueProduct(stem=stem, url=stem, image=stem, name=stem, attributes=values)


def satisfied(index: ProductIndex, wants: UserGoal) -> str:
    return "".join(p.stem for p, found in zip(index.products, index.satisfying(wants), strict=True) if found)


@pytest.fixture(scope="module")
def index() -> ProductIndex:
    return ProductIndex(
        [
            product("a", type="dress", color="red", sleeves="short", available_sizes="S|M"),
            product("b", type="dress", color="blue", sleeves="long", available_sizes="L"),
            product("c", type="dress", color="black"),
            product("d", type="boots", color="red"),
        ]
    )


def test_liked_values_of_one_attribute_are_alternatives_and_attributes_are_joined(index: ProductIndex) -> None:
    assert satisfied(index, UserGoal().like("type", "dress").like("color", "red", "black")) == "ac"


def test_a_product_without_the_wanted_attribute_does_not_satisfy(index: ProductIndex) -> None:
    assert satisfied(index, UserGoal().like("sleeves", "short", "long")) == "ab"


def test_any_of_several_sizes_satisfies(index: ProductIndex) -> None:
    assert satisfied(index, UserGoal().like("available_sizes", "M")) == "a"


def test_disliked_values_rule_products_out_and_unknown_ones_do_not(index: ProductIndex) -> None:
    assert (
        satisfied(index, UserGoal().like("type", "dress").dislike("color", "black").dislike("sleeves", "long")) == "a"
    )


def test_an_unknown_value_satisfies_nobody(index: ProductIndex) -> None:
    assert satisfied(index, UserGoal().like("color", "mauve")) == ""


def test_wanting_replaces_earlier_wants_and_withdraws_the_dislike() -> None:
    wants = UserGoal().dislike("color", "red").dislike("color", "blue").like("color", "green").like("color", "red")
    assert wants.likes == {"color": ("red",)}
    assert wants.dislikes == {"color": ("blue",)}


def test_disliking_a_wanted_value_withdraws_the_want() -> None:
    wants = UserGoal().like("color", "red", "blue").dislike("color", "red")
    assert (wants.likes, wants.dislikes) == ({"color": ("blue",)}, {"color": ("red",)})


def test_dropping_an_attribute_forgets_likes_dislikes_and_where_they_were_seen() -> None:
    wants = UserGoal().like("color", "red", image=IMAGE).dislike("color", "blue").drop("color")
    assert wants == UserGoal()


def test_a_state_is_written_as_mmd_v3_has_it() -> None:
    wants = UserGoal().like("type", "boots").dislike("material", "suede").like("color", "red", "pink", image=IMAGE)
    assert wants.written() == {
        "informable": [
            {"slot": ["types"], "values": ["boots"], "sentiment": ["Like"]},
            {"slot": ["colors"], "values": ["red", "pink"], "sentiment": ["Like"]},
            {"slot": ["materials >> upper materials (shoes)"], "values": ["suede"], "sentiment": ["Dislike"]},
        ],
        "requestable": [{"object": IMAGE, "likes": ["colors"], "dislikes": []}],
    }


def test_one_image_pointed_at_twice_is_one_reference() -> None:
    wants = UserGoal().like("color", "red", image=IMAGE).dislike("print", "dotted", IMAGE)
    assert wants.written()["requestable"] == [{"object": IMAGE, "likes": ["colors"], "dislikes": ["print"]}]
