"""What the user does next: opens topics, reveals, changes, avoids or drops wants, points at images, asks too much."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from random import Random
from typing import Literal

import numpy as np

from pipeline.generator.user_goal import ProductIndex, UserGoal
from pipeline.generator.vocabulary import VISIBLE, load

MoveKind = Literal[
    "info",
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

_given = load("user_moves.toml")
REFINEMENT_WEIGHTS: Mapping[MoveKind, float] = _given["refinements"]
"""How often each move within a topic is thought of."""

_INTEREST: Mapping[str, float] = _given["interest"]
ACTS: Mapping[MoveKind, tuple[str, str]] = _given["acts"]
"""Move -> MMD's intent of the turn, and its ``question-subtype``."""


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


class UserPolicy:
    """Thinks up moves over one catalogue."""

    def __init__(self, index: ProductIndex) -> None:
        self.index = index
        healthy = {kind: numbers[index.healthy[numbers]] for kind, numbers in index.of_type.items()}
        least = 8 if any(len(numbers) >= 8 for numbers in healthy.values()) else 3
        self.types = tuple(kind for kind in index.types if len(healthy[kind]) >= least)
        self._type_weights = [float(np.sqrt(len(healthy[kind]))) for kind in self.types]
        self._healthy = healthy
        self._attributes = sorted({name for product in index.products for name in product.attributes} - {"type"})
        self._healthy_numbers = np.flatnonzero(index.healthy)
        self._shown_by = {
            kind: [name for name in VISIBLE if any(index.products[int(n)].value(name) for n in index.of_type[kind])]
            or ["color"]
            for kind in index.types
        }
        self._makers: Mapping[MoveKind, Callable[[UserGoal, int, Sequence[int], Random], UserAction | None]] = {
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

    def count(self, wants: UserGoal) -> int:
        """How many products with sound files satisfy the wants."""
        return int(np.count_nonzero(self.index.satisfying(wants) & self.index.healthy))

    def open(self, before: UserGoal | None, shown: Sequence[int], rng: Random) -> tuple[UserAction, int]:
        """Open a topic, or switch to another type than before; with the product the user has in mind."""
        gender = () if before is None else before.likes.get("gender", ())
        last = None if before is None else before.likes.get("type", (None,))[0]
        ideas: list[tuple[UserAction, int]] = []
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

    def next(self, wants: UserGoal, target: int, shown: Sequence[int], rng: Random) -> UserAction:
        """A move that at least one product satisfies, the likelier the better the number of such products suits."""
        ideas: list[UserAction] = []
        weights: list[float] = []
        kinds: list[MoveKind] = list(REFINEMENT_WEIGHTS)
        now = self.count(wants)
        while not ideas:
            for kind in rng.choices(kinds, list(REFINEMENT_WEIGHTS.values()), k=12):
                idea = self._makers[kind](wants, target, shown, rng)
                if idea is None or (idea.wants.same_as(wants) and kind != "more"):
                    continue
                count = self.count(idea.wants)
                worth = fitness(count) * (0.3 if count == now else 1.0)  # what rules nothing out is seldom said
                if worth:
                    ideas.append(idea)
                    weights.append(worth)
        return rng.choices(ideas, weights)[0]

    def answer(self, wants: UserGoal, target: int, rng: Random) -> UserAction | None:
        """The answer to an agent's question about something not said yet."""
        for _ in range(6):
            idea = self._add(wants, target, (), rng)
            if idea is not None and self.count(idea.wants) >= 3:
                return idea
        return None

    def impossible(self, wants: UserGoal, rng: Random) -> UserAction | None:
        """A want that no product satisfies together with the others."""
        among = self.index.satisfying(UserGoal({"type": wants.likes["type"]}))
        for _ in range(8):
            attribute = interesting([name for name in self._attributes if name not in wants.likes], rng)
            if attribute is None:
                return None
            values = self.index.values(attribute, among)
            if len(values) < 2:
                continue
            value = rng.choice(values)
            after = wants.like(attribute, value)
            if not bool(self.index.satisfying(after).any()):
                return UserAction("impossible", after, attribute, (value,))
        return None

    def relax(self, wants: UserGoal, rng: Random) -> UserAction | None:
        """Give up one want so that something is left again."""
        names = [name for name in (*wants.likes, *wants.dislikes) if name != "type"]
        ideas = [UserAction("relax", wants.drop(name), name) for name in dict.fromkeys(names)]
        weights = [fitness(self.count(idea.wants)) for idea in ideas]
        return rng.choices(ideas, weights)[0] if any(weights) else None

    def _topic(
        self, gender: tuple[str, ...], last: str | None, shown: Sequence[int], rng: Random
    ) -> tuple[UserAction, int] | None:
        kind = rng.choices(self.types, self._type_weights)[0]
        if kind == last and len(self.types) > 1:
            return None
        target = int(rng.choice(self._healthy[kind]))
        product = self.index.products[target]
        if gender and product.attributes.get("gender") != gender:
            return None
        wants = UserGoal({"type": (kind,)} | ({"gender": gender} if gender else {}))
        mentioned: list[str] = []
        place: int | None = None
        image: int | None = None
        colour = product.value("color")
        chance = rng.random()
        if shown and chance < 0.22 and colour is not None:
            seen = [self.index.products[number] for number in shown]
            places = [at for at, other in enumerate(seen) if not other.fault and other.value("color") == colour]
            if places:
                place = rng.choice(places)
                wants = wants.like("color", colour, image=seen[place].url)
        elif chance < 0.4:
            about = rng.choice(VISIBLE)
            value = product.value(about)
            if value is not None:
                fitting = np.flatnonzero(self.index.satisfying(UserGoal({about: (value,)})) & self.index.healthy)
                image = int(rng.choice(fitting))
                wants = wants.like(about, value, image=self.index.products[image].url)
                mentioned.append(f"image:{about}")
        for _ in range(rng.choice((0, 1, 1, 1, 2, 2))):
            free = [name for name in product.attributes if name not in wants.likes and product.attributes[name]]
            attribute = interesting(free, rng)
            if attribute is not None:
                wants = wants.like(attribute, rng.choice(product.attributes[attribute]))
                mentioned.append(attribute)
        opening: MoveKind = "open" if last is None else "switch"
        return UserAction(opening, wants, "color", (), place, image, tuple(mentioned)), target

    def _add(self, wants: UserGoal, target: int, shown: Sequence[int], rng: Random) -> UserAction | None:
        """Reveal another attribute of the product in mind; now and then a second value would do as well."""
        product = self.index.products[target]
        free = [name for name in product.attributes if name not in wants.likes and product.attributes[name]]
        attribute = interesting(free, rng)
        if attribute is None:
            return None
        value = rng.choice(product.attributes[attribute])
        values: tuple[str, ...] = (value,)
        if attribute != "gender" and rng.random() < 0.12:
            others = self.index.values(attribute, self.index.satisfying(wants))
            values = (value, *[other for other in rng.sample(others, min(2, len(others))) if other != value][:1])
        return UserAction("add", wants.like(attribute, *values), attribute, values)

    def _change(self, wants: UserGoal, target: int, shown: Sequence[int], rng: Random) -> UserAction | None:
        attribute = interesting([name for name in wants.likes if name not in ("type", "gender")], rng)
        if attribute is None:
            return None
        left = self.index.satisfying(wants.drop(attribute)) & self.index.healthy
        values = [value for value in self.index.values(attribute, left) if value not in wants.likes[attribute]]
        if not values:
            return None
        value = rng.choice(values)
        return UserAction("change", wants.like(attribute, value), attribute, (value,))

    def _dislike(self, wants: UserGoal, target: int, shown: Sequence[int], rng: Random) -> UserAction | None:
        if not shown:
            return None
        product = self.index.products[rng.choice(shown)]
        spoken_of = [name for name in product.attributes if name not in (*wants.likes, "gender", "available_sizes")]
        attribute = interesting(spoken_of, rng)
        value = None if attribute is None else product.value(attribute)
        if attribute is None or value is None or value in wants.dislikes.get(attribute, ()):
            return None
        return UserAction("dislike", wants.dislike(attribute, value), attribute, (value,))

    def _drop(self, wants: UserGoal, target: int, shown: Sequence[int], rng: Random) -> UserAction | None:
        names = [name for name in dict.fromkeys((*wants.likes, *wants.dislikes)) if name not in ("type", "gender")]
        if len(names) < 2:
            return None
        attribute = rng.choice(names)
        return UserAction("drop", wants.drop(attribute), attribute)

    def _visible(self, wants: UserGoal, rng: Random) -> str:
        """An attribute that images of the wanted type show."""
        return rng.choice(self._shown_by[wants.likes["type"][0]])

    def _nth(self, shown: Sequence[int], rng: Random) -> int | None:
        places = [at for at, number in enumerate(shown) if not self.index.products[number].fault]
        return rng.choice(places) if places else None

    def _like_nth(self, wants: UserGoal, target: int, shown: Sequence[int], rng: Random) -> UserAction | None:
        place, attribute = self._nth(shown, rng), self._visible(wants, rng)
        if place is None or len(wants.likes.get(attribute, ())) == 1:
            return None
        product = self.index.products[shown[place]]
        value = product.value(attribute)
        if value is None:
            return None
        return UserAction("like_nth", wants.like(attribute, value, image=product.url), attribute, (), place)

    def _nth_but(self, wants: UserGoal, target: int, shown: Sequence[int], rng: Random) -> UserAction | None:
        place = self._nth(shown, rng)
        if place is None:
            return None
        product = self.index.products[shown[place]]
        colour = product.value("color")
        after = wants
        for attribute in VISIBLE:
            value = product.value(attribute)
            if attribute != "color" and value is not None:
                after = after.like(attribute, value, image=product.url)
        left = self.index.satisfying(after.drop("color")) & self.index.healthy
        colours = [value for value in self.index.values("color", left) if value != colour]
        if colour is None or not colours:
            return None
        value = rng.choice(colours)
        return UserAction("nth_but", after.like("color", value), "color", (value,), place)

    def _dislike_nth(self, wants: UserGoal, target: int, shown: Sequence[int], rng: Random) -> UserAction | None:
        place, attribute = self._nth(shown, rng), self._visible(wants, rng)
        if place is None or attribute in wants.likes:
            return None
        product = self.index.products[shown[place]]
        value = product.value(attribute)
        if value is None:
            return None
        return UserAction("dislike_nth", wants.dislike(attribute, value, product.url), attribute, (), place)

    def _uploaded(self, wants: UserGoal, rng: Random) -> tuple[str, str, int] | None:
        attribute, number = self._visible(wants, rng), int(rng.choice(self._healthy_numbers))
        value = self.index.products[number].value(attribute)
        if value is None or value in wants.likes.get(attribute, ()) or value in wants.dislikes.get(attribute, ()):
            return None
        return attribute, value, number

    def _upload(self, wants: UserGoal, target: int, shown: Sequence[int], rng: Random) -> UserAction | None:
        found = self._uploaded(wants, rng)
        if found is None:
            return None
        attribute, value, number = found
        after = wants.like(attribute, value, image=self.index.products[number].url)
        return UserAction("upload", after, attribute, (), None, number)

    def _upload_dislike(self, wants: UserGoal, target: int, shown: Sequence[int], rng: Random) -> UserAction | None:
        found = self._uploaded(wants, rng)
        if found is None:
            return None
        attribute, value, number = found
        worn = any(self.index.products[other].value(attribute) == value for other in shown)
        if attribute in wants.likes or not worn:
            return None
        after = wants.dislike(attribute, value, self.index.products[number].url)
        return UserAction("upload_dislike", after, attribute, (), None, number)

    def _more(self, wants: UserGoal, target: int, shown: Sequence[int], rng: Random) -> UserAction | None:
        others = self.index.satisfying(wants) & self.index.healthy
        others[list(shown)] = False
        return UserAction("more", wants) if np.count_nonzero(others) >= 2 else None
