"""What a user can do in one turn: reveal, change, avoid or drop a want, or point at an image."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from random import Random
from typing import Literal, get_args

import numpy as np

from pipeline.generator.product_index import ProductIndex
from pipeline.generator.user_goal import UserGoal
from pipeline.generator.vocabulary import VISIBLE

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
    """One turn of the user."""

    kind: MoveKind  # what it does
    wants: UserGoal  # the state after it
    attribute: str = ""  # the attribute it is about
    values: tuple[str, ...] = ()  # the values it names in words
    place: int | None = None  # the shown image it points at, counted from 0
    image: int | None = None  # number of the product whose image the user sends along
    mentioned: tuple[str, ...] = ()  # attributes named when a topic opens


_FITNESS = ((0, 0.0), (1, 0.01), (2, 0.08), (3, 0.35), (4, 0.8), (8, 1.0), (11, 0.6), (16, 0.3), (40, 0.1))
"""Up to so many products: so much worth."""


def fitness(count: int) -> float:
    """How well a state that ``count`` products satisfy suits a recommendation of about four."""
    for limit, worth in _FITNESS:
        if count <= limit:
            return worth
    return 0.03


class Refinements:
    """Thinks up one move of a given kind, or none where it does not fit."""

    def __init__(self, index: ProductIndex) -> None:
        self._index = index
        self._healthy_numbers = np.flatnonzero(index.healthy)
        self._shown_by = {
            kind: [name for name in VISIBLE if any(index.products[int(n)].value(name) for n in index.of_type[kind])]
            or ["color"]
            for kind in index.types
        }
        self._makers: Mapping[MoveKind, Callable[[UserGoal, int, Sequence[int], Random], UserAction | None]] = {
            "add": self.add,
            "change": self._change,
            "dislike": self._dislike,
            "drop": self._drop,
            "like_nth": self._like_nth,
            "nth_but": self._nth_but,
            "dislike_nth": self._dislike_nth,
            "upload": self._upload,
            "upload_dislike": self._upload_dislike,
            "more": self._more,
        }

    def think(
        self, kind: MoveKind, wants: UserGoal, target: int, shown: Sequence[int], rng: Random
    ) -> UserAction | None:
        """A move of this kind."""
        return self._makers[kind](wants, target, shown, rng)

    def add(self, wants: UserGoal, target: int, shown: Sequence[int], rng: Random) -> UserAction | None:
        """Reveal another attribute of the product in mind; now and then a second value would do as well."""
        del shown
        product = self._index.products[target]
        free = [name for name in product.attributes if name not in wants.likes and product.attributes[name]]
        attribute = interesting(free, rng)
        if attribute is None:
            return None
        value = rng.choice(product.attributes[attribute])
        values: tuple[str, ...] = (value,)
        if attribute != "gender" and rng.random() < 0.12:
            others = self._index.values(attribute, self._index.satisfying(wants))
            values = (value, *[other for other in rng.sample(others, min(2, len(others))) if other != value][:1])
        return UserAction("add", wants.like(attribute, *values), attribute, values)

    def _change(self, wants: UserGoal, target: int, shown: Sequence[int], rng: Random) -> UserAction | None:
        del target, shown
        attribute = interesting([name for name in wants.likes if name not in ("type", "gender")], rng)
        if attribute is None:
            return None
        left = self._index.satisfying(wants.drop(attribute)) & self._index.healthy
        values = [value for value in self._index.values(attribute, left) if value not in wants.likes[attribute]]
        if not values:
            return None
        value = rng.choice(values)
        return UserAction("change", wants.like(attribute, value), attribute, (value,))

    def _dislike(self, wants: UserGoal, target: int, shown: Sequence[int], rng: Random) -> UserAction | None:
        del target
        if not shown:
            return None
        product = self._index.products[rng.choice(shown)]
        spoken_of = [name for name in product.attributes if name not in (*wants.likes, "gender", "available_sizes")]
        attribute = interesting(spoken_of, rng)
        value = None if attribute is None else product.value(attribute)
        if attribute is None or value is None or value in wants.dislikes.get(attribute, ()):
            return None
        return UserAction("dislike", wants.dislike(attribute, value), attribute, (value,))

    def _drop(self, wants: UserGoal, target: int, shown: Sequence[int], rng: Random) -> UserAction | None:
        del target, shown
        names = [name for name in dict.fromkeys((*wants.likes, *wants.dislikes)) if name not in ("type", "gender")]
        if len(names) < 2:
            return None
        attribute = rng.choice(names)
        return UserAction("drop", wants.drop(attribute), attribute)

    def _visible(self, wants: UserGoal, rng: Random) -> str:
        """An attribute that images of the wanted type show."""
        return rng.choice(self._shown_by[wants.likes["type"][0]])

    def _nth(self, shown: Sequence[int], rng: Random) -> int | None:
        places = [at for at, number in enumerate(shown) if not self._index.products[number].fault]
        return rng.choice(places) if places else None

    def _like_nth(self, wants: UserGoal, target: int, shown: Sequence[int], rng: Random) -> UserAction | None:
        del target
        place, attribute = self._nth(shown, rng), self._visible(wants, rng)
        if place is None or len(wants.likes.get(attribute, ())) == 1:
            return None
        product = self._index.products[shown[place]]
        value = product.value(attribute)
        if value is None:
            return None
        return UserAction("like_nth", wants.like(attribute, value, image=product.url), attribute, (), place)

    def _nth_but(self, wants: UserGoal, target: int, shown: Sequence[int], rng: Random) -> UserAction | None:
        del target
        place = self._nth(shown, rng)
        if place is None:
            return None
        product = self._index.products[shown[place]]
        colour = product.value("color")
        after = wants
        for attribute in VISIBLE:
            value = product.value(attribute)
            if attribute != "color" and value is not None:
                after = after.like(attribute, value, image=product.url)
        left = self._index.satisfying(after.drop("color")) & self._index.healthy
        colours = [value for value in self._index.values("color", left) if value != colour]
        if colour is None or not colours:
            return None
        value = rng.choice(colours)
        return UserAction("nth_but", after.like("color", value), "color", (value,), place)

    def _dislike_nth(self, wants: UserGoal, target: int, shown: Sequence[int], rng: Random) -> UserAction | None:
        del target
        place, attribute = self._nth(shown, rng), self._visible(wants, rng)
        if place is None or attribute in wants.likes:
            return None
        product = self._index.products[shown[place]]
        value = product.value(attribute)
        if value is None:
            return None
        return UserAction("dislike_nth", wants.dislike(attribute, value, product.url), attribute, (), place)

    def _uploaded(self, wants: UserGoal, rng: Random) -> tuple[str, str, int] | None:
        attribute, number = self._visible(wants, rng), int(rng.choice(self._healthy_numbers))
        value = self._index.products[number].value(attribute)
        if value is None or value in wants.likes.get(attribute, ()) or value in wants.dislikes.get(attribute, ()):
            return None
        return attribute, value, number

    def _upload(self, wants: UserGoal, target: int, shown: Sequence[int], rng: Random) -> UserAction | None:
        del target, shown
        found = self._uploaded(wants, rng)
        if found is None:
            return None
        attribute, value, number = found
        after = wants.like(attribute, value, image=self._index.products[number].url)
        return UserAction("upload", after, attribute, (), None, number)

    def _upload_dislike(self, wants: UserGoal, target: int, shown: Sequence[int], rng: Random) -> UserAction | None:
        del target
        found = self._uploaded(wants, rng)
        if found is None:
            return None
        attribute, value, number = found
        worn = any(self._index.products[other].value(attribute) == value for other in shown)
        if attribute in wants.likes or not worn:
            return None
        after = wants.dislike(attribute, value, self._index.products[number].url)
        return UserAction("upload_dislike", after, attribute, (), None, number)

    def _more(self, wants: UserGoal, target: int, shown: Sequence[int], rng: Random) -> UserAction | None:
        del target, rng
        others = self._index.satisfying(wants) & self._index.healthy
        others[list(shown)] = False
        return UserAction("more", wants) if np.count_nonzero(others) >= 2 else None
