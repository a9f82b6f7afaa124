from __future__ import annotations

import numpy as np
import pytest

from schemas.belief import SlotValue
from semantic_model.grounded.beliefs import state_of_beliefs
from semantic_model.ranking.network_ranker import NetworkRanker

SLOTS, SLOT_OF, VALUES = ("color", "type"), np.array([0, 0, 0, 1]), ("red", "blue", "black", "dress")


def read(none, like, dislike):
    state, sure = state_of_beliefs(SLOTS, SLOT_OF, VALUES, np.array(none), np.array(like), np.array(dislike))
    return {("" if item.polarity == "like" else "!") + item.value for item in state}, list(sure.values())


@pytest.mark.parametrize(
    ("none", "like", "dislike", "values", "sure"),
    [
        # nothing is likelier than anything
        ([0.6, 0.7], [0.4, 0, 0, 0.3], [0, 0, 0, 0], set(), [0.6, 0.7]),
        ([0.1, 0.2], [0.8, 0.1, 0, 0.8], [0, 0, 0, 0], {"red", "dress"}, [0.8, 0.8]),
        # two values share their slot's probability; the third has less than half of the likeliest
        ([0.1, 1.0], [0.4, 0.4, 0.1, 0], [0, 0, 0, 0], {"red", "blue"}, [0.8, 1.0]),
        ([0.2, 1.0], [0.1, 0, 0.1, 0], [0, 0, 0.6, 0], {"!black"}, [0.6, 1.0]),
        # one may be wanted while another is to be avoided
        ([0.0, 1.0], [0.5, 0, 0, 0], [0, 0, 0.5, 0], {"red", "!black"}, [1.0, 1.0]),
        # something is wanted, though no single value is likelier than nothing
        ([0.4, 1.0], [0.3, 0.3, 0, 0], [0, 0, 0, 0], {"red", "blue"}, [0.6, 1.0]),
    ],
)
def test_beliefs_read_by_hand(none, like, dislike, values, sure):
    found, certain = read(none, like, dislike)
    assert found == values
    assert certain == pytest.approx(sure)


def test_a_student_says_a_state_of_its_ontology_for_every_context(grounded_config, grounded_inputs, world):
    inputs = grounded_inputs(grounded_config())
    ranker = NetworkRanker(inputs.model, inputs.reader, "semantic")
    queries = world.corpus.queries("train")[:4]
    found = ranker.model.predicted_states(ranker.encode_contexts(queries))
    assert len(found) == 4
    for state, sure in found:
        assert sure.keys() == {"color", "type", "sleeve_length"}
        assert all(0 <= each <= 1 for each in sure.values())
        assert all(isinstance(item, SlotValue) and item.slot in {"color", "type", "sleeve_length"} for item in state)
    (alone,) = ranker.model.predicted_states(ranker.encode_contexts(queries[1:2]))
    assert alone.state == found[1].state
    assert alone.sure == pytest.approx(found[1].sure, rel=1e-5)
    assert ranker.model.predicted_states(ranker.encode_contexts([])) == []
