from __future__ import annotations

import pytest

from schemas.belief import SlotValue
from semantic_model.data.image_features import NO_IMAGE
from semantic_model.data.records import Query, Utterance
from semantic_model.data.told_states import slot_text
from semantic_model.semantic.reading import INPUTS, SlotReader, value_text
from tests.semantic_model.slots_of import slots_of

SLOTS = ("color", "type", "sleeve_length")


@pytest.fixture
def reader(world, config_of) -> SlotReader:
    return SlotReader(config_of(), world.words, world.features, slots_of(*SLOTS), INPUTS)


def test_contexts_are_the_last_turns_set_to_the_right(reader):
    told = tuple(Utterance("user", text, ()) for text in ("red", "blue", "green", "black dress"))
    arrays = reader.contexts([Query("d", 4, "train", told, (), ()), Query("d", 1, "train", told[:1], (), ())])
    assert arrays.columns["turn_mask"].values.tolist() == [[True] * 3, [False, False, True]]
    tokens = arrays.columns["tokens"].values
    one = reader.words.encode(["blue", "red", "black dress"], 6)
    assert tokens[0, 0, 0] == one[0, 0]
    assert tokens[1, 2, 0] == one[1, 0]
    assert tokens[0, 2, :2].tolist() == one[2, :2].tolist()
    assert not tokens[1, :2].any()


def test_images_that_cannot_be_read_give_their_place_to_the_next(reader, world):
    shown = ("lost.jpg", "red dress.jpg", "gone.jpg", "blue shirt.jpg", "green shirt.jpg")
    arrays = reader.contexts([Query("d", 1, "train", (Utterance("user", "", shown),), (), ())])
    rows, row = arrays.columns["images"].values, world.features.row
    assert rows[0, 2].tolist() == [row("red dress.jpg"), row("blue shirt.jpg")]
    assert (rows[0, :2] == NO_IMAGE).all()


@pytest.mark.parametrize(
    ("wishes", "sentiment", "text"),
    [
        ([], True, "none"),
        ([("like", "red")], True, "like red"),
        ([("like", "red"), ("dislike", "black"), ("like", "dark blue")], True, "like red dark blue dislike black"),
        ([("dislike", "black")], True, "dislike black"),
        ([("like", "red")], False, "red"),
    ],
)
def test_a_slots_value_is_written_as_text(wishes, sentiment: bool, text: str):
    assert value_text(wishes, sentiment=sentiment) == text


@pytest.mark.parametrize("name", ["sleeveLength", "sleeve_length", "Sleeve length"])
def test_a_slots_name_is_read_as_words(name: str):
    assert slot_text(name) == "sleeve length"


def test_states_are_read_slot_by_slot_and_unlabelled_is_not_empty(reader):
    state = (SlotValue("type", "dress"), SlotValue("a slot of another ontology", "x"))
    batch = reader.states([state, (), None])
    none = reader.words.encode(["none"], 6)[0].tolist()
    dress = reader.words.encode(["like dress"], 6)[0].tolist()
    assert batch.values.shape == (3, 3, 6)
    assert [piece for piece in batch.values[0, 1].tolist() if piece] == dress
    assert [piece for piece in batch.values[0, 0].tolist() if piece] == none
    assert batch.labelled.tolist() == [[True] * 3, [True] * 3, [False] * 3]


def test_attributes_left_out_are_not_read(world, config_of):
    config = config_of(text={"product_ignore": ["color", "type"]})
    left = SlotReader(config, world.words, world.features, slots_of(*SLOTS), INPUTS).products(world.corpus.products)
    names = world.words.encode([product.name for product in world.corpus.products], 8)
    assert [[p for p in row if p] for row in left.tokens.tolist()] == [[p for p in row if p] for row in names.tolist()]
