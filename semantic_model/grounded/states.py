"""The student's beliefs read out as belief states, for people to correct."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from schemas.belief import SlotValue
from semantic_model.ranking.network import PredictedState

__all__ = ["state_of_beliefs"]

_SHARE = 0.5
"""Several values of a slot share its probability; one with less than this part of the likeliest's is not meant."""

Numbers = npt.NDArray[np.float64]


def state_of_beliefs(
    slots: Sequence[str],
    slot_of: npt.NDArray[np.int64],
    values: Sequence[str],
    none: Numbers,
    like: Numbers,
    dislike: Numbers,
) -> PredictedState:
    """The likeliest state under the beliefs of one context.

    Args:
        slots: names of the n slots.
        slot_of: slot of each column [V].
        values: the value of each column.
        none: probability that nothing is wanted of a slot [n].
        like: that a value is [V].
        dislike: that a value is to be avoided [V].
    """
    state: list[SlotValue] = []
    sure: dict[str, float] = {}
    for number, slot in enumerate(slots):
        columns = np.flatnonzero(slot_of == number)
        something = float(like[columns].sum() + dislike[columns].sum())
        if something <= none[number]:
            sure[slot] = float(none[number])
            continue
        best = max(float(like[columns].max()), float(dislike[columns].max()))
        read = 0.0
        for column in columns:
            for polarity, probability in (("like", like[column]), ("dislike", dislike[column])):
                if probability >= _SHARE * best and probability == max(like[column], dislike[column]):
                    read += float(probability)
                    state.append(SlotValue(slot, values[column], "like" if polarity == "like" else "dislike"))
        sure[slot] = min(read, 1.0)
    state.sort(key=lambda item: (item.slot, item.polarity == "dislike", item.value))
    return PredictedState(tuple(state), sure)
