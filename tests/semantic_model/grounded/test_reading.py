from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from schemas.belief import SlotValue
from semantic_model.data.batch import ContextArrays
from semantic_model.data.image_features import Features
from semantic_model.data.records import Product, Query, Utterance
from semantic_model.grounded.reading import EVIDENCE, INPUTS, GroundedBatch, GroundedReader

CPU = torch.device("cpu")
RED, BLUE, GREEN, BLACK, DRESS, SHIRT, JACKET, LONG = range(8)


@pytest.fixture(scope="module")
def reader(world, ontology, grounded_config) -> GroundedReader:
    return GroundedReader(grounded_config(), world.words, world.features, ontology, INPUTS)


def asked(*told: tuple[str, str] | tuple[str, str, tuple[str, ...]]) -> Query:
    history = tuple(Utterance("user" if u[0] == "u" else "system", u[1], u[2] if len(u) > 2 else ()) for u in told)
    return Query("d", len(history), "train", history, (0,), ())


def evidence_of(reader: GroundedReader, query: Query) -> dict[int, dict[str, float]]:
    """Column -> the strengths that are not zero."""
    dense = reader.contexts([query]).batch(slice(None), CPU).evidence[0]
    found = {}
    for column in range(8):
        strengths = {name: dense[column, at].item() for at, name in enumerate(EVIDENCE) if dense[column, at]}
        if strengths:
            found[column] = strengths
    return found


def test_evidence_of_a_dialogue_worked_by_hand(reader):
    found = evidence_of(
        reader,
        asked(
            ("u", "a green shirt, not red"),
            ("s", "a black shirt"),
            ("u", "not black. a dress"),
            ("s", "this long one"),
            ("u", "the red dress, nothing black"),
        ),
    )
    kept = {
        GREEN: {"ever": 0.49},
        SHIRT: {"ever": 0.49, "system_ever": 0.7},
        RED: {"last": 1.0, "ever": 1.0, "negated_ever": 0.49},
        BLACK: {"negated_last": 1.0, "negated_ever": 1.0, "system_ever": 0.7},
        DRESS: {"last": 1.0, "ever": 1.0, "before_last": 1.0},
        LONG: {"system_last": 1.0, "system_ever": 1.0},
    }
    assert found == {column: pytest.approx(strengths) for column, strengths in kept.items()}


def test_what_was_said_twice_is_as_strong_as_the_last_time(reader):
    told = [("u", "red"), ("u", "a shirt"), ("u", "red"), ("u", "well")]
    assert evidence_of(reader, asked(*told))[RED] == pytest.approx({"before_last": 1.0, "ever": 0.7})


def test_a_dialogue_in_which_nothing_is_mentioned(reader):
    assert evidence_of(reader, asked(("u", "hello"))) == {}
    assert evidence_of(reader, asked()) == {}
    assert evidence_of(reader, asked(("s", ""))) == {}


def test_the_whole_dialogue_counts_and_not_the_window_alone(reader):
    told = [("u", "a green one"), *[("u", "hello")] * 5]
    assert reader.config.context.window < 6
    assert evidence_of(reader, asked(*told))[GREEN] == pytest.approx({"ever": 0.7**5})


def test_without_the_current_utterance_it_is_no_evidence_either(world, ontology, grounded_config):
    before = GroundedReader(
        grounded_config(context={"include_current": False}), world.words, world.features, ontology, INPUTS
    )
    query = asked(("u", "red"), ("s", "this", ("red shirt.jpg",)), ("u", "blue", ("blue shirt.jpg",)))
    assert evidence_of(before, query) == {RED: {"last": 1.0, "ever": 1.0}}
    assert shown_of(before, query) == [(world.features.row("red shirt.jpg"), True)]


def shown_of(reader: GroundedReader, query: Query) -> list[tuple[int, bool]]:
    columns = reader.contexts([query]).columns
    shown, last = columns["shown"].values[0].tolist(), columns["shown_last"].values[0].tolist()
    count = sum(row >= 0 for row in shown)
    assert shown[count:] == [-1] * (len(shown) - count)
    assert not any(last[count:])
    return list(zip(shown, last, strict=True))[:count]


def test_shown_images_are_those_of_the_last_turn_with_any_then_earlier_ones(reader):
    a, b, c = (reader.features.row(f"{name} shirt.jpg") for name in ("red", "blue", "green"))
    told = [
        ("s", "these", ("red shirt.jpg", "blue shirt.jpg")),
        ("s", "and", ("green shirt.jpg", "red shirt.jpg", "green shirt.jpg")),
        ("u", "hm", ("lost.jpg",)),
        ("u", "well"),
    ]
    assert shown_of(reader, asked(*told)) == [(c, True), (a, True), (b, False)]
    assert shown_of(reader, asked(*told[:1])) == [(a, True), (b, True)]
    assert shown_of(reader, asked(("u", "x"), ("s", "y", ("lost.jpg",)))) == []


def test_the_shopper_s_own_images_are_shown_too(reader):
    row = reader.features.row("red shirt.jpg")
    assert shown_of(reader, asked(("u", "like this", ("red shirt.jpg",)))) == [(row, True)]


def test_of_many_images_the_latest_sixteen_are_remembered(ontology, world, grounded_config):
    features = Features(np.zeros((30, 5), np.float32), {str(row): row for row in range(30)}, "")
    reader = GroundedReader(grounded_config(), world.words, features, ontology, INPUTS)
    told = [("s", "this", (str(row),)) for row in range(30)]
    assert shown_of(reader, asked(*told)) == [(29, True), *((row, False) for row in range(28, 13, -1))]


def test_blanked_images_were_never_shown_and_no_product_has_any(world, ontology, grounded_config):
    blank = Features(np.zeros((0, 5), np.float32), {}, "left out")
    reader = GroundedReader(grounded_config(), world.words, blank, ontology, INPUTS)
    assert shown_of(reader, world.corpus.queries("train")[0]) == []
    products = reader.products([item._replace(image_id=None, image_file=None) for item in world.corpus.products])
    assert (products.image_row == -1).all()
    assert not products.image_mask.any()


def test_products_have_their_values_and_image_rows(reader, world):
    found = reader.products(world.corpus.products)
    for row, item in enumerate(world.corpus.products):
        colour, kind = item.product_id.split()
        expected = [value in (colour, kind) for value in reader.values.texts()]
        assert found.attributes[row].tolist() == expected
        assert found.image_row[row] == (-1 if item.image_id is None else world.features.rows[item.image_id])
    assert found.plain.image_mask.tolist() == (found.image_row >= 0).tolist()
    unseen = Product("x", "x", "x", {}, "not there.jpg", None)
    assert reader.products([unseen]).image_row.tolist() == [-1]


def test_states_are_read_for_the_teacher_and_as_columns(reader):
    state = (SlotValue("color", "red"), SlotValue("color", "blue", "dislike"), SlotValue("type", "velvet"))
    found = reader.states([state, None, ()])
    assert found.like.nonzero().tolist() == [[0, RED]]
    assert found.dislike.nonzero().tolist() == [[0, BLUE]]
    assert found.labelled.tolist() == [[True] * 3, [False] * 3, [True] * 3]
    assert found.known.tolist() == [[True, False, True], [False] * 3, [True] * 3]  # velvet is no type here
    assert found.plain.values.shape[:2] == (3, 3)


def test_value_tokens_are_the_values_word_pieces(reader, world):
    tokens = reader.value_tokens()
    assert tokens.shape[0] == 8
    for row, value in zip(tokens, reader.values.texts(), strict=True):
        assert row[row != 0].tolist() == [piece for piece in world.words.encode([value], 6)[0].tolist() if piece]


def same(one: ContextArrays, two: ContextArrays) -> None:
    assert len(one) == len(two)
    batches = (each.batch(slice(None), CPU) for each in (one, two))
    for name, ours, theirs in zip(GroundedBatch._fields, *batches, strict=True):
        assert torch.equal(ours, theirs), name


SAID = st.lists(st.sampled_from(["red", "black", "dress", "shirts", "not", "long", ",", "hello"]), max_size=5)
TOLD = st.tuples(
    st.sampled_from(["u", "s"]),
    SAID.map(" ".join),
    st.lists(st.sampled_from(["red shirt.jpg", "blue dress.jpg", "lost.jpg"]), max_size=3).map(tuple),
)
DIALOGUES = st.lists(st.lists(TOLD, max_size=6).map(lambda told: asked(*told)), min_size=1, max_size=6)
QUICK = settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])


@QUICK
@given(DIALOGUES, st.integers(0, 8), st.integers(0, 8))
def test_some_of_many_contexts_are_those_read_alone(reader, queries: Sequence[Query], start: int, stop: int):
    same(reader.contexts(queries).take(slice(start, stop)), reader.contexts(queries[start:stop]))


@QUICK
@given(DIALOGUES, st.data())
def test_a_batch_in_any_order_is_those_contexts_one_by_one(reader, queries: Sequence[Query], data):
    rows = np.array(data.draw(st.lists(st.integers(0, len(queries) - 1), min_size=1, max_size=5)))
    batch = reader.contexts(queries).batch(rows, CPU)
    for b, row in enumerate(rows):
        alone = reader.contexts([queries[row]]).batch(slice(None), CPU)
        length = alone.tokens.shape[2]
        assert torch.equal(batch.tokens[b, :, :length], alone.tokens[0])
        assert not batch.tokens[b, :, length:].any()
        for one, other in zip(batch[1:], alone[1:], strict=True):
            assert torch.equal(one[b], other[0])


@QUICK
@given(DIALOGUES)
def test_evidence_is_that_of_plain_loops(reader, queries: Sequence[Query]):
    batch = reader.contexts(queries).batch(slice(None), CPU)
    for b, query in enumerate(queries):
        expected = np.zeros((8, len(EVIDENCE)))
        for by_shopper in (True, False):
            turns = [u.text for u in query.history if (u.speaker == "user") == by_shopper]
            for age, text in enumerate(reversed(turns)):
                for column, negated in reader.values.mentions(text):
                    who = "" if by_shopper else "system_"
                    how = "negated_" if by_shopper and negated else who
                    expected[column, EVIDENCE.index(f"{how}ever")] = max(
                        expected[column, EVIDENCE.index(f"{how}ever")], 0.7**age
                    )
                    if age == 0:
                        expected[column, EVIDENCE.index(f"{how}last")] = 1
                    if age == 1 and by_shopper and not negated:
                        expected[column, EVIDENCE.index("before_last")] = 1
        assert np.allclose(batch.evidence[b].numpy(), expected)


def test_no_contexts_at_all(reader):
    none = reader.contexts([])
    assert len(none) == 0
    assert none.columns["evidence"].strengths.shape == (0, len(EVIDENCE))
    same(none.take(slice(0, 5)), none)
