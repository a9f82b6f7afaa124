"""Beliefs: for each slot, how likely it is that nothing is wanted, that a value is, or that a value is not.

The teacher's are the gold state; the student predicts them from the context. Not in the paper, whose states are vectors
alone: a predicted value can be looked up in a product's attributes, and a few labels teach it.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from semantic_model.grounded.reading import EVIDENCE, GroundedStates
from semantic_model.losses import masked_mean_of

__all__ = ["BeliefPredictor", "Beliefs", "LogBeliefs", "SlotSums", "belief_loss", "gold_beliefs"]

FAST = 5.0
"""Weights of mentions and of single values move that many times faster than the encoders': few examples teach each."""


class Beliefs(NamedTuple):
    """Probabilities; those of a slot, over no value, its values liked and its values disliked, sum to 1."""

    none: Tensor  # [B, n]
    like: Tensor  # [B, V]
    dislike: Tensor  # [B, V]


class LogBeliefs(NamedTuple):
    """Logarithms of :class:`Beliefs`."""

    none: Tensor
    like: Tensor
    dislike: Tensor

    def exp(self) -> Beliefs:
        """The probabilities."""
        return Beliefs(self.none.exp(), self.like.exp(), self.dislike.exp())


class SlotSums(nn.Module):
    """Sums over the values of each slot.

    Args:
        slot_of: slot of each column [V].
        slots: n.
    """

    member: Tensor
    slot_of: Tensor

    def __init__(self, slot_of: Tensor, slots: int) -> None:
        super().__init__()
        self.register_buffer("slot_of", slot_of, persistent=False)
        self.register_buffer("member", F.one_hot(slot_of, max(slots, 1)).float(), persistent=False)

    def forward(self, values: Tensor) -> Tensor:
        """[.., V] -> [.., n]."""
        return values @ self.member

    def spread(self, slots: Tensor) -> Tensor:
        """Each column's slot: [.., n] -> [.., V]."""
        return slots[..., self.slot_of]


def gold_beliefs(states: GroundedStates, sums: SlotSums) -> Beliefs:
    """A gold state as beliefs: several values of a slot share its probability evenly."""
    like, dislike = states.like.float(), states.dislike.float()
    count = sums(like + dislike)  # [B, n]
    share = sums.spread(count.clamp(min=1))
    return Beliefs((count == 0).float(), like / share, dislike / share)


def belief_loss(predicted: LogBeliefs, gold: Beliefs, labelled: Tensor) -> Tensor:
    """Cross-entropy of gold beliefs and predicted ones, a sum over labelled slots [B, n], a mean over contexts."""
    sums = labelled.float()
    none = (gold.none * predicted.none * sums).sum(dim=1)
    if not labelled.all():  # a context is labelled or it is not
        none = torch.where(labelled.all(dim=1), none, 0.0)
    each = none + (gold.like * predicted.like + gold.dislike * predicted.dislike).sum(dim=1)
    return -masked_mean_of(each, labelled.any(dim=1))


class BeliefPredictor(nn.Module):
    """The student's beliefs, from its state vectors, from the turns, and from the values mentioned.

        logit(s, v) = b_v + w_s . evidence(v) + <W_q S_s, e_v> + <U_v, h>

    with e_v the mean word vector of the value, h the last turn and the mean turn. A slot's softmax is over "nothing
    wanted", its values liked and its values disliked, which have weights of their own on the evidence.

    Args:
        width: D.
        sums: of the ontology's values.
        slots: n.
        values: V.
        dropout: of h.
        evidence: whether mentions count.
    """

    def __init__(
        self, width: int, sums: SlotSums, slots: int, values: int, dropout: float, *, evidence: bool = True
    ) -> None:
        super().__init__()
        self.sums = sums
        self.query = nn.Linear(width, width)
        self.log_scale = nn.Parameter(torch.tensor(3.0).log())
        self.from_turns = nn.Linear(2 * width, values)
        self.bias = nn.Parameter(torch.zeros(values))
        like, dislike = torch.zeros(slots, len(EVIDENCE)), torch.zeros(slots, len(EVIDENCE))
        like[:, EVIDENCE.index("last")], like[:, EVIDENCE.index("ever")] = 3.0, 2.0
        dislike[:, EVIDENCE.index("negated_last")], dislike[:, EVIDENCE.index("negated_ever")] = 3.0, 2.0
        self.like = nn.Parameter(like / FAST * evidence, requires_grad=evidence)
        self.dislike = nn.Parameter(dislike / FAST * evidence, requires_grad=evidence)
        self.none = nn.Parameter(torch.full((slots,), 2.0 / FAST))
        self.rarely_disliked = nn.Parameter(torch.full((slots,), -3.0 / FAST))
        self.dropout = nn.Dropout(dropout)
        nn.init.zeros_(self.from_turns.weight)
        nn.init.zeros_(self.from_turns.bias)

    def forward(self, S: Tensor, turns: Tensor, evidence: Tensor, values: Tensor) -> LogBeliefs:
        """Predict.

        Args:
            S: the student's state vectors [B, n, D].
            turns: h [B, 2 D].
            evidence: [B, V, E].
            values: e, the values' word vectors [V, D].
        """
        slot_of = self.sums.slot_of
        asked = F.normalize(self.query(S), dim=-1)[:, slot_of]  # [B, V, D]
        known = (asked * F.normalize(values, dim=-1)).sum(dim=-1) * self.log_scale.exp()
        common = FAST * (self.bias + self.from_turns(self.dropout(turns))) + known  # [B, V]
        like = common + FAST * (evidence * self.like[slot_of]).sum(dim=-1)
        dislike = common + FAST * ((evidence * self.dislike[slot_of]).sum(dim=-1) + self.rarely_disliked[slot_of])
        none = (FAST * self.none).expand(len(S), -1)
        most = torch.maximum(like, dislike).detach()
        highest = torch.full_like(none, -torch.inf).scatter_reduce(1, slot_of.expand_as(most), most, "amax")
        highest = torch.maximum(highest.detach(), none.detach())  # [B, n], so that no exponential overflows
        spread = self.sums.spread(highest)
        total = (none - highest).exp() + self.sums((like - spread).exp() + (dislike - spread).exp())
        log_total = highest + total.log()
        return LogBeliefs(none - log_total, like - self.sums.spread(log_total), dislike - self.sums.spread(log_total))
