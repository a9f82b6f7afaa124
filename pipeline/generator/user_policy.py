"""What the user does next: opens topics, refines them, answers, asks too much and relaxes."""

from __future__ import annotations

from collections.abc import Sequence
from random import Random

import numpy as np

from pipeline.generator.product_index import ProductIndex
from pipeline.generator.user_actions import REFINEMENT_WEIGHTS, MoveKind, Refinements, UserAction, fitness, interesting
from pipeline.generator.user_goal import UserGoal
from pipeline.generator.vocabulary import VISIBLE


class UserPolicy:
    """Thinks up moves over one catalogue."""

    def __init__(self, index: ProductIndex) -> None:
        self._index = index
        healthy = {kind: numbers[index.healthy[numbers]] for kind, numbers in index.of_type.items()}
        least = 8 if any(len(numbers) >= 8 for numbers in healthy.values()) else 3
        self.types = tuple(kind for kind in index.types if len(healthy[kind]) >= least)
        self._type_weights = [float(np.sqrt(len(healthy[kind]))) for kind in self.types]
        self._healthy = healthy
        self._attributes = sorted({name for product in index.products for name in product.attributes} - {"type"})
        self._refinements = Refinements(index)

    def count(self, wants: UserGoal) -> int:
        """How many products with sound files satisfy the wants."""
        return int(np.count_nonzero(self._index.satisfying(wants) & self._index.healthy))

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
                idea = self._refinements.think(kind, wants, target, shown, rng)
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
            idea = self._refinements.add(wants, target, (), rng)
            if idea is not None and self.count(idea.wants) >= 3:
                return idea
        return None

    def impossible(self, wants: UserGoal, rng: Random) -> UserAction | None:
        """A want that no product satisfies together with the others."""
        among = self._index.satisfying(UserGoal({"type": wants.likes["type"]}))
        for _ in range(8):
            attribute = interesting([name for name in self._attributes if name not in wants.likes], rng)
            if attribute is None:
                return None
            values = self._index.values(attribute, among)
            if len(values) < 2:
                continue
            value = rng.choice(values)
            after = wants.like(attribute, value)
            if not bool(self._index.satisfying(after).any()):
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
        product = self._index.products[target]
        if gender and product.attributes.get("gender") != gender:
            return None
        wants = UserGoal({"type": (kind,)} | ({"gender": gender} if gender else {}))
        mentioned: list[str] = []
        place: int | None = None
        image: int | None = None
        colour = product.value("color")
        chance = rng.random()
        if shown and chance < 0.22 and colour is not None:
            places = [at for at, number in enumerate(shown) if self._seen(number, "color") == colour]
            if places:
                place = rng.choice(places)
                wants = wants.like("color", colour, image=self._index.products[shown[place]].url)
        elif chance < 0.4:
            about = rng.choice(VISIBLE)
            image = self._image_of(about, product.value(about), rng)
            if image is not None:
                wants = wants.like(about, product.value(about) or "", image=self._index.products[image].url)
                mentioned.append(f"image:{about}")
        for _ in range(rng.choice((0, 1, 1, 1, 2, 2))):
            free = [name for name in product.attributes if name not in wants.likes and product.attributes[name]]
            attribute = interesting(free, rng)
            if attribute is not None:
                wants = wants.like(attribute, rng.choice(product.attributes[attribute]))
                mentioned.append(attribute)
        opening: MoveKind = "open" if last is None else "switch"
        return UserAction(opening, wants, "color", (), place, image, tuple(mentioned)), target

    def _seen(self, number: int, attribute: str) -> str | None:
        """What the image of a product shows of an attribute; None when there is no such image."""
        product = self._index.products[number]
        return None if product.fault else product.value(attribute)

    def _image_of(self, attribute: str, value: str | None, rng: Random) -> int | None:
        if value is None:
            return None
        fitting = np.flatnonzero(self._index.satisfying(UserGoal({attribute: (value,)})) & self._index.healthy)
        return int(rng.choice(fitting)) if len(fitting) else None
