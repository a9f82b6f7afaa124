"""Which products satisfy what a user wants, by one bit mask for each value of each attribute."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from pipeline.generator.catalogue import CatalogueProduct
from pipeline.generator.user_goal import UserGoal

Mask = NDArray[np.bool_]
"""One truth value for each product of the catalogue, in its order."""


class ProductIndex:
    """A catalogue that can be asked."""

    def __init__(self, products: Sequence[CatalogueProduct]) -> None:
        self.products = tuple(products)
        self.healthy: Mask = np.array([not product.fault for product in products])
        self._everything: Mask = np.ones(len(products), dtype=np.bool_)
        self._nothing: Mask = ~self._everything
        self._masks: dict[str, dict[str, Mask]] = {}
        for number, product in enumerate(products):
            for attribute, values in product.attributes.items():
                masks = self._masks.setdefault(attribute, {})
                for value in values:
                    if value not in masks:
                        masks[value] = np.zeros(len(products), dtype=np.bool_)
                    masks[value][number] = True
        self.types = tuple(sorted(self._masks.get("type", {})))
        self.of_type = {kind: np.flatnonzero(self._masks["type"][kind]) for kind in self.types}
        self.not_of_type = {kind: np.flatnonzero(~self._masks["type"][kind]).tolist() for kind in self.types}

    def satisfying(self, wants: UserGoal) -> Mask:
        """Products that have a liked value of every liked attribute, and no disliked value."""
        found: Mask = self._everything
        for attribute, values in wants.likes.items():
            masks = self._masks.get(attribute, {})
            liked: Mask = masks.get(values[0], self._nothing)
            for value in values[1:]:
                liked = liked | masks.get(value, self._nothing)
            found = found & liked
        for attribute, values in wants.dislikes.items():
            masks = self._masks.get(attribute, {})
            for value in values:
                if value in masks:
                    found = found & ~masks[value]
        return found

    def values(self, attribute: str, among: Mask | None = None) -> list[str]:
        """The values of an attribute that occur, sorted; only those among some products when a mask is given."""
        masks = self._masks.get(attribute, {})
        return sorted(value for value, mask in masks.items() if among is None or bool((mask & among).any()))
