"""How well products fit beliefs, and whether the dialogue is about a product shown before."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from semantic_model.data.image_features import NO_IMAGE
from semantic_model.grounded.beliefs import FAST, Beliefs, SlotSums

_TINY = 1e-30
_BOUND = 10.0  # |a_v| at most, so that no single slot decides alone and exponentials stay ordinary numbers


class ValueMatch(nn.Module):
    """How likely a product is under beliefs, slot by slot:

        a_v(rho) = gamma_s sum_v' M_vv' A_rho,v'
        L(rho)   = sum_s log(P_s(none) + sum_v P_s(like v) exp(a_v) + P_s(dislike v) exp(-a_v))

    A tells which values a product has. M, the identity to begin with, learns what a value means in values that products
    have, as ``cheap`` in ranges of the price. The unknown state is summed out, rather than guessed.

    So a slot is of one value, liked or disliked. Of "a red dress, nothing black" both hold: with ``apart``, what is
    disliked is a distribution of its own, given that nothing of the slot is liked, and the other way round:

        L(rho)   = sum_s log(sum_v P_s(like v | no dislike) (exp(a_v(rho)) - 1) + 1)
                       + log(sum_v P_s(dislike v | no like) (exp(-a_v(rho)) - 1) + 1)

    Args:
        sums: of the ontology's values.
        slots: n.
        values: V.
        sharpness: gamma to begin with.
        apart: whether what is liked and what is disliked are told apart.
    """

    def __init__(self, sums: SlotSums, slots: int, values: int, sharpness: float, *, apart: bool = False) -> None:
        super().__init__()
        self.sums = sums
        self.apart = apart
        self.meaning = nn.Parameter(torch.eye(values) / FAST)
        self.gamma = nn.Parameter(torch.full((slots,), sharpness / FAST))
        self.register_buffer("same_slot", sums.member @ sums.member.T, persistent=False)

    same_slot: Tensor

    def affinity(self, attributes: Tensor) -> Tensor:
        """a of products with these values: bool [.., V] -> [.., V]."""
        M = FAST * self.meaning * self.same_slot
        gamma = FAST * self.sums.spread(self.gamma)
        return (gamma * (attributes.float() @ M.T)).clamp(-_BOUND, _BOUND)

    def forward(self, beliefs: Beliefs, affinity: Tensor) -> Tensor:
        """L of all products, a [N, V] -> [B, N]; or of each context's candidates, [B, C, V] -> [B, C]."""
        up, down = affinity.exp(), (-affinity).exp()
        found = affinity.new_zeros(len(beliefs.none), affinity.shape[-2])
        for part in self._parts(beliefs):
            for slot, columns in enumerate(self.sums.columns):
                like, dislike = part.like[:, columns], part.dislike[:, columns]
                if affinity.dim() == 2:
                    fits = like @ up[:, columns].T + dislike @ down[:, columns].T
                else:
                    fits = (like[:, None] * up[..., columns] + dislike[:, None] * down[..., columns]).sum(dim=-1)
                found = found + (part.none[:, slot, None] + fits).log()
        return found

    def _parts(self, beliefs: Beliefs) -> list[Beliefs]:
        """What is said of a slot independently."""
        if not self.apart:
            return [beliefs]
        parts = []
        for like, dislike in ((beliefs.like, beliefs.like * 0), (beliefs.dislike * 0, beliefs.dislike)):
            something = self.sums(like + dislike)
            total = (beliefs.none + something).clamp(min=_TINY)
            spread = self.sums.spread(total)
            parts.append(Beliefs((1 - something / total).clamp(min=0), like / spread, dislike / spread))
        return parts

    def of_patterns(self, beliefs: Beliefs, patterns: Tensor, slots: Tensor) -> Tensor:
        """A slot's part of L, of every pattern of values; without gradients.

        Args:
            patterns: bool [U, V], see :class:`semantic_model.grounded.scoring.Patterns`.
            slots: the slot of each [U].

        Returns:
            [U, B]; the rows of a product's patterns sum to its L.
        """
        affinity = self.affinity(patterns)
        found = affinity.new_zeros(len(patterns), len(beliefs.none))
        for part in self._parts(beliefs):
            for slot, columns in enumerate(self.sums.columns):
                mine = (slots == slot).nonzero()[:, 0]
                a = affinity[mine, columns]
                fits = a.exp() @ part.like[:, columns].T + (-a).exp() @ part.dislike[:, columns].T
                found[mine] += (part.none[:, slot] + fits).log()
        return found


class Shown(nn.Module):
    """What it is worth to have been shown before: "any others?" and "I take the red one" differ in that.

        <w, h> of a product whose image the last turn with images showed, <w', h> of one that an earlier turn showed

    Args:
        width: D.
        dropout: of h.
    """

    def __init__(self, width: int, dropout: float) -> None:
        super().__init__()
        self.worth = nn.Linear(2 * width, 2)
        self.dropout = nn.Dropout(dropout)
        nn.init.zeros_(self.worth.weight)
        nn.init.zeros_(self.worth.bias)

    def forward(self, turns: Tensor) -> Tensor:
        """h [B, 2 D] -> [B, 2], of images of the last turn with any, and of earlier ones."""
        found: Tensor = FAST * self.worth(self.dropout(turns))
        return found

    @staticmethod
    def add(worth: Tensor, shown: Tensor, shown_last: Tensor, image_row: Tensor) -> Tensor:
        """Each product's worth.

        Args:
            worth: [B, 2].
            shown: rows of the images shown [B, R].
            shown_last: bool [B, R].
            image_row: rows of the products' images [N], or of each context's candidates [B, C].

        Returns:
            [B, N] or [B, C].
        """
        of_product = image_row.expand(len(shown), -1)
        ever = torch.zeros_like(of_product, dtype=torch.bool)  # [B, N]
        last = torch.zeros_like(ever)
        # one image after the other, so that nothing is [B, N, R]
        for image, of_last in zip(shown.T[..., None], shown_last.T[..., None], strict=True):
            there = (of_product == image) & (image != NO_IMAGE)
            ever |= there
            last |= there & of_last
        return worth[:, :1] * last + worth[:, 1:] * (ever & ~last)


class NothingShown(nn.Module):
    """It is worth nothing to have been shown before."""

    def forward(self, turns: Tensor) -> Tensor:
        """h [B, 2 D] -> zeros [B, 2]."""
        return turns.new_zeros(len(turns), 2)
