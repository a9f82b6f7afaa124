"""What a shopper can do in one turn: reveal, change, avoid or drop a want, or point at a picture."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from random import Random
from typing import Literal

import numpy as np

from pipeline.generator.shelf import Shelf
from pipeline.generator.vocabulary import VISIBLE
from pipeline.generator.wants import Wants

__all__ = ["MOVE_KINDS", "Move", "MoveKind", "Proposer", "fitness"]

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

MOVE_KINDS: tuple[MoveKind, ...] = (
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
)

_WEIGHTS: Mapping[MoveKind, float] = {
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
"""How readily shoppers speak of an attribute."""


@dataclass(frozen=True)
class Move:
    """One turn of the shopper.

    Attributes:
        kind: what it does.
        wants: the state after it.
        attribute: the attribute it is about.
        values: the values it names in words.
        place: the shown picture it points at, counted from 0.
        picture: number of the product whose picture the shopper sends along.
        mentioned: attributes named when a topic opens.
    """

    kind: MoveKind
    wants: Wants
    attribute: str = ""
    values: tuple[str, ...] = ()
    place: int | None = None
    picture: int | None = None
    mentioned: tuple[str, ...] = ()


_FITNESS = ((0, 0.0), (1, 0.01), (2, 0.08), (3, 0.35), (4, 0.8), (8, 1.0), (11, 0.6), (16, 0.3), (40, 0.1))
"""Up to so many products: so much worth."""


def fitness(count: int) -> float:
    """How well a state that ``count`` products satisfy suits a recommendation of about four."""
    for limit, worth in _FITNESS:
        if count <= limit:
            return worth
    return 0.03


class Proposer:
    """Thinks up moves over one catalogue.

    Args:
        shelf: the catalogue.
    """

    def __init__(self, shelf: Shelf) -> None:
        self._shelf = shelf
        healthy = {kind: numbers[shelf.healthy[numbers]] for kind, numbers in shelf.of_type.items()}
        least = 8 if any(len(numbers) >= 8 for numbers in healthy.values()) else 3
        self.types = tuple(kind for kind in shelf.types if len(healthy[kind]) >= least)
        self._type_weights = [float(np.sqrt(len(healthy[kind]))) for kind in self.types]
        self._healthy = healthy
        self._healthy_numbers = np.flatnonzero(shelf.healthy)
        self._attributes = sorted({name for product in shelf.products for name in product.attributes} - {"type"})
        self._shown_by = {
            kind: [name for name in VISIBLE if any(shelf.products[int(n)].value(name) for n in shelf.of_type[kind])]
            or ["color"]
            for kind in shelf.types
        }
        self._makers: Mapping[MoveKind, Callable[[Wants, int, Sequence[int], Random], Move | None]] = {
            "add": self._add,
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

    def count(self, wants: Wants) -> int:
        """How many products with sound files satisfy the wants."""
        return int(np.count_nonzero(self._shelf.satisfying(wants) & self._shelf.healthy))

    def open(self, before: Wants | None, shown: Sequence[int], rng: Random) -> tuple[Move, int]:
        """Open a topic, or switch to another type than before; with the product the shopper has in mind."""
        gender = () if before is None else before.likes.get("gender", ())
        last = None if before is None else before.likes.get("type", (None,))[0]
        ideas: list[tuple[Move, int]] = []
        weights: list[float] = []
        tries = 0
        while not any(weights):
            tries += 1
            for _ in range(6):
                idea = self._topic(gender, last, shown, rng)
                if idea is not None:
                    ideas.append(idea)
                    weights.append(fitness(self.count(idea[0].wants)))
            if tries > 20:  # a gender that no other type is made for
                gender = ()
        return rng.choices(ideas, weights)[0]

    def next(self, wants: Wants, target: int, shown: Sequence[int], rng: Random) -> Move:
        """A move that at least one product satisfies, the likelier the better the number of such products suits."""
        ideas: list[Move] = []
        weights: list[float] = []
        kinds = list(_WEIGHTS)
        now = self.count(wants)
        while not ideas:
            for kind in rng.choices(kinds, list(_WEIGHTS.values()), k=12):
                idea = self._makers[kind](wants, target, shown, rng)
                if idea is None or (idea.wants.same_as(wants) and kind != "more"):
                    continue
                count = self.count(idea.wants)
                worth = fitness(count) * (0.3 if count == now else 1.0)  # what rules nothing out is seldom said
                if worth:
                    ideas.append(idea)
                    weights.append(worth)
        return rng.choices(ideas, weights)[0]

    def answer(self, wants: Wants, target: int, rng: Random) -> Move | None:
        """The answer to an agent's question about something not said yet."""
        for _ in range(6):
            idea = self._add(wants, target, (), rng)
            if idea is not None and self.count(idea.wants) >= 3:
                return idea
        return None

    def impossible(self, wants: Wants, rng: Random) -> Move | None:
        """A want that no product satisfies together with the others."""
        among = self._shelf.satisfying(Wants({"type": wants.likes["type"]}))
        for _ in range(8):
            attribute = self._interesting([name for name in self._attributes if name not in wants.likes], rng)
            if attribute is None:
                return None
            values = self._shelf.values(attribute, among)
            if len(values) < 2:
                continue
            value = rng.choice(values)
            after = wants.like(attribute, value)
            if not bool(self._shelf.satisfying(after).any()):
                return Move("impossible", after, attribute, (value,))
        return None

    def relax(self, wants: Wants, rng: Random) -> Move | None:
        """Give up one want so that something is left again."""
        names = [name for name in (*wants.likes, *wants.dislikes) if name != "type"]
        ideas = [Move("relax", wants.drop(name), name) for name in dict.fromkeys(names)]
        weights = [fitness(self.count(idea.wants)) for idea in ideas]
        return rng.choices(ideas, weights)[0] if any(weights) else None

    def _interesting(self, attributes: Sequence[str], rng: Random) -> str | None:
        if not attributes:
            return None
        return rng.choices(attributes, [_INTEREST.get(name, 1.0) for name in attributes])[0]

    def _topic(
        self, gender: tuple[str, ...], last: str | None, shown: Sequence[int], rng: Random
    ) -> tuple[Move, int] | None:
        kind = rng.choices(self.types, self._type_weights)[0]
        if kind == last and len(self.types) > 1:
            return None
        target = int(rng.choice(self._healthy[kind]))
        product = self._shelf.products[target]
        if gender and product.attributes.get("gender") != gender:
            return None
        wants = Wants({"type": (kind,)} | ({"gender": gender} if gender else {}))
        mentioned: list[str] = []
        place: int | None = None
        picture: int | None = None
        colour = product.value("color")
        chance = rng.random()
        if shown and chance < 0.22 and colour is not None:
            places = [at for at, number in enumerate(shown) if self._seen(number, "color") == colour]
            if places:
                place = rng.choice(places)
                wants = wants.like("color", colour, picture=self._shelf.products[shown[place]].url)
        elif chance < 0.4:
            about = rng.choice(VISIBLE)
            picture = self._picture_of(about, product.value(about), rng)
            if picture is not None:
                wants = wants.like(about, product.value(about) or "", picture=self._shelf.products[picture].url)
                mentioned.append(f"picture:{about}")
        for _ in range(rng.choice((0, 1, 1, 1, 2, 2))):
            free = [name for name in product.attributes if name not in wants.likes and product.attributes[name]]
            attribute = self._interesting(free, rng)
            if attribute is not None:
                wants = wants.like(attribute, rng.choice(product.attributes[attribute]))
                mentioned.append(attribute)
        opening: MoveKind = "open" if last is None else "switch"
        return Move(opening, wants, "color", (), place, picture, tuple(mentioned)), target

    def _seen(self, number: int, attribute: str) -> str | None:
        """What the picture of a product shows of an attribute; None when there is no such picture."""
        product = self._shelf.products[number]
        return None if product.fault else product.value(attribute)

    def _picture_of(self, attribute: str, value: str | None, rng: Random) -> int | None:
        if value is None:
            return None
        fitting = np.flatnonzero(self._shelf.satisfying(Wants({attribute: (value,)})) & self._shelf.healthy)
        return int(rng.choice(fitting)) if len(fitting) else None

    def _add(self, wants: Wants, target: int, shown: Sequence[int], rng: Random) -> Move | None:
        del shown
        product = self._shelf.products[target]
        free = [name for name in product.attributes if name not in wants.likes and product.attributes[name]]
        attribute = self._interesting(free, rng)
        if attribute is None:
            return None
        value = rng.choice(product.attributes[attribute])
        values: tuple[str, ...] = (value,)
        if attribute != "gender" and rng.random() < 0.12:
            others = self._shelf.values(attribute, self._shelf.satisfying(wants))
            values = (value, *[other for other in rng.sample(others, min(2, len(others))) if other != value][:1])
        return Move("add", wants.like(attribute, *values), attribute, values)

    def _change(self, wants: Wants, target: int, shown: Sequence[int], rng: Random) -> Move | None:
        del target, shown
        attribute = self._interesting([name for name in wants.likes if name not in ("type", "gender")], rng)
        if attribute is None:
            return None
        left = self._shelf.satisfying(wants.drop(attribute)) & self._shelf.healthy
        values = [value for value in self._shelf.values(attribute, left) if value not in wants.likes[attribute]]
        if not values:
            return None
        value = rng.choice(values)
        return Move("change", wants.like(attribute, value), attribute, (value,))

    def _dislike(self, wants: Wants, target: int, shown: Sequence[int], rng: Random) -> Move | None:
        del target
        if not shown:
            return None
        product = self._shelf.products[rng.choice(shown)]
        spoken_of = [name for name in product.attributes if name not in (*wants.likes, "gender", "available_sizes")]
        attribute = self._interesting(spoken_of, rng)
        value = None if attribute is None else product.value(attribute)
        if attribute is None or value is None or value in wants.dislikes.get(attribute, ()):
            return None
        return Move("dislike", wants.dislike(attribute, value), attribute, (value,))

    def _drop(self, wants: Wants, target: int, shown: Sequence[int], rng: Random) -> Move | None:
        del target, shown
        names = [name for name in dict.fromkeys((*wants.likes, *wants.dislikes)) if name not in ("type", "gender")]
        if len(names) < 2:
            return None
        attribute = rng.choice(names)
        return Move("drop", wants.drop(attribute), attribute)

    def _nth(self, shown: Sequence[int], rng: Random) -> int | None:
        places = [at for at, number in enumerate(shown) if not self._shelf.products[number].fault]
        return rng.choice(places) if places else None

    def _visible(self, wants: Wants, rng: Random) -> str:
        """An attribute that pictures of the wanted type show."""
        return rng.choice(self._shown_by[wants.likes["type"][0]])

    def _like_nth(self, wants: Wants, target: int, shown: Sequence[int], rng: Random) -> Move | None:
        del target
        place, attribute = self._nth(shown, rng), self._visible(wants, rng)
        if place is None or len(wants.likes.get(attribute, ())) == 1:
            return None
        product = self._shelf.products[shown[place]]
        value = product.value(attribute)
        if value is None:
            return None
        return Move("like_nth", wants.like(attribute, value, picture=product.url), attribute, (), place)

    def _nth_but(self, wants: Wants, target: int, shown: Sequence[int], rng: Random) -> Move | None:
        del target
        place = self._nth(shown, rng)
        if place is None:
            return None
        product = self._shelf.products[shown[place]]
        colour = product.value("color")
        after = wants
        for attribute in VISIBLE:
            value = product.value(attribute)
            if attribute != "color" and value is not None:
                after = after.like(attribute, value, picture=product.url)
        left = self._shelf.satisfying(after.drop("color")) & self._shelf.healthy
        colours = [value for value in self._shelf.values("color", left) if value != colour]
        if colour is None or not colours:
            return None
        value = rng.choice(colours)
        return Move("nth_but", after.like("color", value), "color", (value,), place)

    def _dislike_nth(self, wants: Wants, target: int, shown: Sequence[int], rng: Random) -> Move | None:
        del target
        place, attribute = self._nth(shown, rng), self._visible(wants, rng)
        if place is None or attribute in wants.likes:
            return None
        product = self._shelf.products[shown[place]]
        value = product.value(attribute)
        if value is None:
            return None
        return Move("dislike_nth", wants.dislike(attribute, value, product.url), attribute, (), place)

    def _uploaded(self, wants: Wants, rng: Random) -> tuple[str, str, int] | None:
        attribute, number = self._visible(wants, rng), int(rng.choice(self._healthy_numbers))
        value = self._shelf.products[number].value(attribute)
        if value is None or value in wants.likes.get(attribute, ()) or value in wants.dislikes.get(attribute, ()):
            return None
        return attribute, value, number

    def _upload(self, wants: Wants, target: int, shown: Sequence[int], rng: Random) -> Move | None:
        del target, shown
        found = self._uploaded(wants, rng)
        if found is None:
            return None
        attribute, value, number = found
        after = wants.like(attribute, value, picture=self._shelf.products[number].url)
        return Move("upload", after, attribute, (), None, number)

    def _upload_dislike(self, wants: Wants, target: int, shown: Sequence[int], rng: Random) -> Move | None:
        del target
        found = self._uploaded(wants, rng)
        if found is None:
            return None
        attribute, value, number = found
        worn = any(self._shelf.products[other].value(attribute) == value for other in shown)
        if attribute in wants.likes or not worn:
            return None
        after = wants.dislike(attribute, value, self._shelf.products[number].url)
        return Move("upload_dislike", after, attribute, (), None, number)

    def _more(self, wants: Wants, target: int, shown: Sequence[int], rng: Random) -> Move | None:
        del target, rng
        others = self._shelf.satisfying(wants) & self._shelf.healthy
        others[list(shown)] = False
        return Move("more", wants) if np.count_nonzero(others) >= 2 else None
