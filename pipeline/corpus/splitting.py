"""Splits drawn by dialogue, for corpora that bring none or not the ones that are wanted."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from pipeline.corpus.records import SPLITS, split_name
from schemas.errors import UsageError

__all__ = ["SplitShares"]

_FIX = "write it as train=0.8,valid=0.1,test=0.1"


@dataclass(frozen=True)
class SplitShares:
    """Which share of the dialogues goes into which split.

    A dialogue's split depends on its id and the seed alone: SHA-256 of ``<seed>:<dialogue_id>`` makes a number in
    [0, 1), and the splits take their shares of that interval in the order train, valid, test. Dialogues that come to
    the corpus later change nothing for those that are there, and of two shares of ``train`` the smaller one's
    dialogues are within the larger one's. The shares hold in expectation, not exactly.

    Attributes:
        shares: split -> share, in the order of :data:`SPLITS`; they sum to 1.
        seed: another seed draws other splits.
    """

    shares: Mapping[str, float]
    seed: int = 0

    @classmethod
    def parse(cls, text: str, seed: int = 0) -> SplitShares:
        """Read ``train=0.8,valid=0.1,test=0.1``; a split that is left out gets nothing.

        Raises:
            UsageError: not of that form, an unknown split, or shares that do not sum to 1.
        """
        shares: dict[str, float] = {}
        for part in text.split(","):
            name, equals, number = part.partition("=")
            split = split_name(name)
            try:
                share = float(number)
            except ValueError:
                share = math.nan
            if split is None or not equals or not 0 <= share <= 1:
                raise UsageError(f"--split: '{part.strip()}' is not a split with its share", fix=_FIX)
            if split in shares:
                raise UsageError(f"--split: {split} is there twice", fix=_FIX)
            shares[split] = share
        if not math.isclose(sum(shares.values()), 1, abs_tol=1e-6):
            raise UsageError(f"--split: the shares sum to {sum(shares.values()):g}, not to 1", fix=_FIX)
        return cls({split: shares[split] for split in SPLITS if shares.get(split)}, seed)

    def of(self, dialogue_id: str) -> str:
        """The split of a dialogue."""
        digest = hashlib.sha256(f"{self.seed}:{dialogue_id}".encode(errors="surrogatepass")).digest()
        place = int.from_bytes(digest[:8], "big") / 2**64
        end = 0.0
        for split, share in self.shares.items():
            end += share
            if place < end:
                return split
        return split  # the shares' sum may fall short of 1 by a rounding error

    def as_json(self) -> dict[str, Any]:
        """``{"shares": {split: share}, "seed"}``."""
        return {"shares": dict(self.shares), "seed": self.seed}
