"""Cross-validation by dialogue: every dialogue is held out once, and no dialogue is on two sides."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

from pydantic import ConfigDict

from annotate.annotations.annotation import is_of_page
from schemas.errors import InputError, UsageError

KEPT = "kept"
"""The split of dialogues that take no part: the corpus's own test part, unless it is pooled too, and
what was said on the page of ``semctl serve``."""

_VALID_EVERY = 10  # of the dialogues that are not held out, one in ten chooses the epoch


@dataclass(frozen=True)
class Fold:
    """One of several ways to divide the dialogues."""

    __pydantic_config__: ClassVar = ConfigDict(extra="forbid")  # a fold of another version is none of this one

    number: int  # which one, from 1
    of: int = 5  # how many there are
    seed: int = 0  # of the order in which dialogues are assigned
    pool_test: bool = False  # the corpus's own test part is assigned, too; else it stays untouched

    def __post_init__(self) -> None:
        if not 1 <= self.number <= self.of or self.of < 2:
            raise UsageError(f"there is no fold {self.number} of {self.of}", fix="make 2 folds or more")

    @property
    def tag(self) -> str:
        """As in the ids of runs: ``f1of5``."""
        return f"f{self.number}of{self.of}"


def fold_splits(splits: Mapping[str, str], fold: Fold) -> dict[str, str]:
    """Dialogue -> train, valid, test or :data:`KEPT`, for one fold.

    All dialogues of the corpus's own train and valid parts are assigned in an order that depends on the seed alone.
    Those of this fold are ``test``; a tenth of the others is ``valid``, which chooses the epoch, and the rest is
    ``train``.

    Args:
        splits: dialogue -> the corpus's own split.
        fold: which one.

    Raises:
        InputError: fewer dialogues than a fold, a validation part and a training part need.
    """
    pooled = [name for name, split in splits.items() if (split != "test" or fold.pool_test) and not is_of_page(name)]
    if len(pooled) < 2 * fold.of:
        raise InputError(f"{len(pooled)} dialogues are too few for {fold.of} folds", fix="make fewer folds")
    order = sorted(pooled, key=lambda name: hashlib.sha256(f"fold:{fold.seed}:{name}".encode()).digest())
    found = dict.fromkeys(splits, KEPT)
    rest = [name for place, name in enumerate(order) if place % fold.of != fold.number - 1]
    found.update(dict.fromkeys(order, "test"))
    # counted from the end, so that even the fewest dialogues leave one to choose the epoch and one to train on
    found.update({name: "valid" if place % _VALID_EVERY == 0 else "train" for place, name in enumerate(reversed(rest))})
    return found
