from __future__ import annotations

import doctest

import numpy as np

import semantic_model.data.told_states
from schemas.belief import SlotValue
from schemas.ontology import Ontology
from semantic_model.data.batch import Inputs, Reader
from semantic_model.data.records import Query, Utterance
from semantic_model.data.tokenizer import PAD
from semantic_model.data.told_states import STATE_TOKENS, state_words, with_states
from semantic_model.ranking.network_ranker import ToldRanker

RED = (SlotValue("color", "red"), SlotValue("color", "black", "dislike"), SlotValue("type", "dress"))


def query(*said: tuple[str, str]) -> Query:
    return Query("d", len(said), "train", tuple(Utterance(*one, ()) for one in said), (0,), ())


def test_the_state_stands_before_what_the_user_said_last(world):
    asked = query(("user", "hello"), ("system", "yes"), ("user", "a dress"), ("system", "which"))
    (told,), cut = with_states([asked], [RED], world.words)
    assert [said.text for said in told.history] == [
        *("hello", "yes"),
        "color red, not black. type dress. a dress",
        "which",
    ]
    assert cut == 0
    assert told._replace(history=asked.history) == asked  # and nothing else is touched


def test_without_a_state_or_a_user_nothing_is_put_anywhere(world):
    asked = [query(("user", "hello")), query(("system", "welcome")), query()]
    assert with_states(asked, [(), RED, RED], world.words).queries == asked


def test_a_state_too_long_loses_its_last_slots_and_the_utterance_nothing(world, config_of):
    many = tuple(SlotValue(f"slot{number:02}", "red dress") for number in range(12))
    parts = state_words(many)
    each = [len(world.words.tokenizer.encode(part, add_special_tokens=False).ids) for part in parts]
    fitting = int((np.cumsum(each) <= STATE_TOKENS).sum())
    assert 0 < fitting < 12
    text = "hello please show me a dress"  # as long as an utterance is read
    (told,), cut = with_states([query(("user", text))], [many], world.words)
    assert (told.history[0].text, cut) == (f"{' '.join(parts[:fitting])} {text}", 1)
    config = config_of(model={"kind": "dual-encoder"}, text={"max_tokens": 6 + STATE_TOKENS})
    reader = Reader(config, world.words, world.features, Ontology(), Inputs())
    read = reader.contexts([told]).columns["tokens"].values[0, -1]
    pieces = world.words.encode([text], 6)[0]
    assert read[read != PAD][-len(pieces) :].tolist() == pieces.tolist()


def test_a_ranker_is_told_the_states_of_what_it_is_asked(world):
    class Network:
        def eval(self):
            return self

    class Ranker(ToldRanker):
        def encode_arrays(self, arrays):
            return arrays

    class Counting:
        words, config = world.words, None

        def contexts(self, queries):
            return [said.history[-1].text for said in queries]

    plain = type("Plain", (), {"model": Network(), "reader": Counting(), "name": "plain", "precision": "float32"})()
    found = Ranker(plain, lambda queries: [RED for _ in queries])
    assert found.name == "plain --ds-input"
    assert found.encode_contexts([query(("user", "hello"))]) == ["color red, not black. type dress. hello"]


def test_doctests_hold():
    assert doctest.testmod(semantic_model.data.told_states).failed == 0
