"""What a user wants by now, its written form (MMD-v3's ``ds``), and which products satisfy it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pipeline.generator.catalogue import CatalogueProduct
from pipeline.generator.vocabulary import SLOT_OF

_NO_VALUES: Mapping[str, tuple[str, ...]] = {}


@dataclass(frozen=True)
class ImageReference:
    """An image that the user pointed at, and which attributes of it are liked or disliked."""

    url: str
    likes: tuple[str, ...] = ()
    dislikes: tuple[str, ...] = ()


@dataclass(frozen=True)
class UserGoal:
    """A cumulative state: any of the liked values of each attribute, none of the disliked ones."""

    # attribute -> values of which a product must have one
    likes: Mapping[str, tuple[str, ...]] = field(default_factory=lambda: _NO_VALUES)
    # attribute -> values of which a product must have none
    dislikes: Mapping[str, tuple[str, ...]] = field(default_factory=lambda: _NO_VALUES)
    images: tuple[ImageReference, ...] = ()  # where image-grounded wants came from, oldest first

    def like(self, attribute: str, *values: str, image: str | None = None) -> UserGoal:
        """Want these values instead of earlier ones; ``image`` is the link they were seen in."""
        avoided = {**self.dislikes, attribute: tuple(v for v in self.dislikes.get(attribute, ()) if v not in values)}
        kept = {name: left for name, left in avoided.items() if left}
        changed = UserGoal({**self.likes, attribute: values}, kept, _without(self.images, attribute, likes_only=True))
        return changed if image is None else changed._point(ImageReference(image, likes=(attribute,)))

    def dislike(self, attribute: str, value: str, image: str | None = None) -> UserGoal:
        """Avoid one more value; a want for it is withdrawn."""
        liked = tuple(v for v in self.likes.get(attribute, ()) if v != value)
        likes = {name: values for name, values in self.likes.items() if name != attribute}
        if liked:
            likes = {**self.likes, attribute: liked}
        avoided = (*(v for v in self.dislikes.get(attribute, ()) if v != value), value)
        images = self.images if liked else _without(self.images, attribute, likes_only=True)
        changed = UserGoal(likes, {**self.dislikes, attribute: avoided}, images)
        return changed if image is None else changed._point(ImageReference(image, dislikes=(attribute,)))

    def drop(self, attribute: str) -> UserGoal:
        """The attribute matters no more, neither what was wanted of it nor what was to be avoided."""
        likes = {name: values for name, values in self.likes.items() if name != attribute}
        dislikes = {name: values for name, values in self.dislikes.items() if name != attribute}
        return UserGoal(likes, dislikes, _without(self.images, attribute, likes_only=False))

    def same_as(self, other: UserGoal) -> bool:
        """Whether both ask for the same, wherever it was seen."""
        return self.likes == other.likes and self.dislikes == other.dislikes

    def written(self) -> dict[str, Any]:
        """The ``ds`` of MMD-v3: an entry per attribute and sentiment, in a fixed order."""
        informable = []
        for sentiment, wanted in (("Like", self.likes), ("Dislike", self.dislikes)):
            for attribute in SLOT_OF:
                if wanted.get(attribute):
                    slot = self._slot(attribute)
                    informable.append({"slot": [slot], "values": list(wanted[attribute]), "sentiment": [sentiment]})
        requestable = [
            {
                "object": image.url,
                "likes": [SLOT_OF[attribute] for attribute in image.likes],
                "dislikes": [SLOT_OF[attribute] for attribute in image.dislikes],
            }
            for image in self.images
        ]
        return {"informable": informable, "requestable": requestable}

    def _slot(self, attribute: str) -> str:
        shoes = self.likes.get("type", ("",))[0] in ("sneakers", "boots", "heels")
        if attribute == "material" and shoes:  # MMD-v3 has such hierarchical slots; readers cut at ">>"
            return "materials >> upper materials (shoes)"
        return SLOT_OF[attribute]

    def _point(self, new: ImageReference) -> UserGoal:
        for index, old in enumerate(self.images):
            if old.url == new.url:
                joined = ImageReference(old.url, _union(old.likes, new.likes), _union(old.dislikes, new.dislikes))
                return replace(self, images=(*self.images[:index], joined, *self.images[index + 1 :]))
        return replace(self, images=(*self.images, new))


def _union(first: tuple[str, ...], second: tuple[str, ...]) -> tuple[str, ...]:
    return tuple(dict.fromkeys((*first, *second)))


def _without(images: tuple[ImageReference, ...], attribute: str, *, likes_only: bool) -> tuple[ImageReference, ...]:
    left = []
    for image in images:
        likes = tuple(name for name in image.likes if name != attribute)
        dislikes = tuple(name for name in image.dislikes if likes_only or name != attribute)
        if likes or dislikes:
            left.append(ImageReference(image.url, likes, dislikes))
    return tuple(left)


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
