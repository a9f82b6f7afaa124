"""What a user can do in one turn: reveal, change, avoid or drop a want, or point at an image."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from random import Random
from typing import Literal, get_args

from pipeline.generator.user_goal import UserGoal

__all__ = ["MOVE_KINDS", "REFINEMENT_WEIGHTS", "MoveKind", "UserAction", "fitness", "interesting"]

MoveKind = Literal[
    "open",
    "switch",
    "add",
    "change",
    "dislike",
    "drop",
    "like_nth",
    "nth_but",
    "dislike_nth",
    "upload",
    "upload_dislike",
    "more",
    "impossible",
    "relax",
]

MOVE_KINDS: tuple[MoveKind, ...] = get_args(MoveKind)
"""Every kind of move."""

REFINEMENT_WEIGHTS: Mapping[MoveKind, float] = {
    "add": 0.17,
    "change": 0.14,
    "dislike": 0.09,
    "drop": 0.11,
    "like_nth": 0.17,
    "nth_but": 0.08,
    "dislike_nth": 0.05,
    "upload": 0.17,
    "upload_dislike": 0.04,
    "more": 0.02,
}
"""How often each move within a topic is thought of."""

_INTEREST: Mapping[str, float] = {
    "color": 5,
    "print": 4,
    "sleeves": 4,
    "style": 2.5,
    "material": 2.5,
    "brand": 2,
    "length": 2,
    "season": 2,
    "fit": 1.5,
    "neck": 1,
    "available_sizes": 1,
    "gender": 1,
    "age": 1,
    "care": 0.3,
}


def interesting(attributes: Sequence[str], rng: Random) -> str | None:
    """One of the attributes, those that users readily speak of more often; None when there is none."""
    if not attributes:
        return None
    return rng.choices(attributes, [_INTEREST.get(name, 1.0) for name in attributes])[0]


@dataclass(frozen=True)
class UserAction:
    """One turn of the user.

    Attributes:
        kind: what it does.
        wants: the state after it.
        attribute: the attribute it is about.
        values: the values it names in words.
        place: the shown image it points at, counted from 0.
        image: number of the product whose image the user sends along.
        mentioned: attributes named when a topic opens.
    """

    kind: MoveKind
    wants: UserGoal
    attribute: str = ""
    values: tuple[str, ...] = ()
    place: int | None = None
    image: int | None = None
    mentioned: tuple[str, ...] = ()


_FITNESS = ((0, 0.0), (1, 0.01), (2, 0.08), (3, 0.35), (4, 0.8), (8, 1.0), (11, 0.6), (16, 0.3), (40, 0.1))
"""Up to so many products: so much worth."""


def fitness(count: int) -> float:
    """How well a state that ``count`` products satisfy suits a recommendation of about four."""
    for limit, worth in _FITNESS:
        if count <= limit:
            return worth
    return 0.03
