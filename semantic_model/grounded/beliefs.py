"""Beliefs: for each slot, how likely it is that nothing is wanted, that a value is, or that a value is not.

The teacher's are the gold state; the student predicts them from the context. Not in the paper, whose states are vectors
alone: a predicted value can be looked up in a product's attributes, and a few labels teach it.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from schemas.belief import SlotValue, belief_state
from semantic_model.grounded.reading import EVIDENCE, TRACKED, GroundedStates
from semantic_model.layers.losses import masked_mean_of
from semantic_model.ranking.ranker import PredictedState

FAST = 5.0
"""Weights of mentions and of single values move that many times faster than the encoders': few examples teach each."""

_HALF = 0.501  # a little more than none
_RARELY = 3.0  # by that much, values are disliked more rarely than liked, in log-odds
_BOUND = 30.0  # so that many products together stay ordinary numbers


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
        slot_of: slot of each column [V], the columns of a slot side by side.
        slots: n.

    Attributes:
        columns: of each slot.
    """

    member: Tensor
    slot_of: Tensor

    def __init__(self, slot_of: Tensor, slots: int) -> None:
        super().__init__()
        self.register_buffer("slot_of", slot_of, persistent=False)
        self.register_buffer("member", (slot_of[:, None] == torch.arange(slots)).float(), persistent=False)
        ends = [0, *torch.bincount(slot_of, minlength=slots).cumsum(0).tolist()]
        self.columns = tuple(slice(start, end) for start, end in pairwise(ends))

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


def belief_loss(predicted: LogBeliefs, gold: Beliefs, labelled: Tensor, sums: SlotSums) -> Tensor:
    """Cross-entropy of gold beliefs and predicted ones.

    Args:
        labelled: bool [B, n]; the others count for nothing.
        sums: of the ontology's values.

    Returns:
        The sum over a context's labelled slots, the mean over the contexts that have any.
    """
    each = gold.none * predicted.none + sums(gold.like * predicted.like + gold.dislike * predicted.dislike)  # [B, n]
    return -masked_mean_of(torch.where(labelled, each, 0.0).sum(dim=1), labelled.any(dim=1))


def tracked_beliefs(evidence: Tensor, sums: SlotSums) -> Beliefs:
    """What the state tracker believes as distributions: of each value by itself it believes more than one may hold.

    Args:
        evidence: as :class:`BeliefPredictor` takes it, with :data:`TRACKED` [B, V, E].
        sums: of the ontology's values.
    """
    like, dislike = evidence[..., -2], evidence[..., -1]
    total = sums(like + dislike)  # [B, n]
    spread = sums.spread(total.clamp(min=1))
    return Beliefs((1 - total).clamp(min=0), like / spread, dislike / spread)


def state_beliefs(evidence: Tensor, held: Tensor, sums: SlotSums) -> Beliefs:
    """:func:`tracked_beliefs`, of which :func:`state_of_beliefs` reads off the very state that the tracker did.

    Args:
        evidence: [B, V, E].
        held: that state, 1 for a value that is wanted and -1 for one to be avoided [B, V].
        sums: of the ontology's values.
    """
    believed = tracked_beliefs(evidence, sums)
    something = sums(believed.like + believed.dislike)  # [B, n]
    count = sums((held != 0).float())
    of_held = sums(believed.like * (held > 0) + believed.dislike * (held < 0))
    sure = torch.where(count > 0, of_held.clamp(min=_HALF), something.clamp(max=1 - _HALF))
    each = sums.spread(sure / count.clamp(min=1))  # all that a slot holds alike
    others = sums.spread(sure / something.clamp(min=1e-6))
    holds = sums.spread(count > 0)
    like, dislike = (
        torch.where(holds, each * side, others * belief)
        for side, belief in ((held > 0, believed.like), (held < 0, believed.dislike))
    )
    return Beliefs(1 - sure, like, dislike)


def posterior(prior: Beliefs, affinity: Tensor, positives: Tensor, sums: SlotSums) -> Beliefs:
    """Beliefs after products were recommended: the E-step of expectation maximisation, slot by slot.

        q(s, v) ~ P(s, v) prod_rho+ p(rho+ | v),   p(rho | like v) = exp(a_v(rho)) / sum_rho' exp(a_v(rho'))

    a noisy channel from what is wanted to what is recommended: products that most of the catalogue is like tell little.
    For "nothing wanted" p is even, and for a value disliked it has -a_v.

    Args:
        prior: what the student believes.
        affinity: a of all products, see :class:`semantic_model.grounded.matching.ValueMatch` [N, V].
        positives: bool [B, N].
        sums: of the ontology's values.
    """
    chosen = positives.float()  # [B, N]
    size = torch.tensor(float(len(affinity)), device=affinity.device).log()
    up = affinity - affinity.logsumexp(dim=0) + size  # log of p, relative to an even one [N, V]
    down = -affinity - (-affinity).logsumexp(dim=0) + size
    like = (chosen @ up).clamp(-_BOUND, _BOUND).exp() * prior.like
    dislike = (chosen @ down).clamp(-_BOUND, _BOUND).exp() * prior.dislike
    total = prior.none + sums(like + dislike)
    spread = sums.spread(total)
    return Beliefs(prior.none / total, like / spread, dislike / spread)


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
        tracked: whether what the state tracker reads is in the evidence, too.
    """

    def __init__(
        self,
        width: int,
        sums: SlotSums,
        slots: int,
        values: int,
        dropout: float,
        *,
        evidence: bool = True,
        tracked: bool = False,
    ) -> None:
        super().__init__()
        self.sums = sums
        self.query = nn.Linear(width, width)
        self.log_scale = nn.Parameter(torch.tensor(3.0).log())
        self.from_turns = nn.Parameter(torch.zeros(values, 2 * width))
        self.bias = nn.Parameter(torch.zeros(values))
        kinds = (*EVIDENCE, *(TRACKED if tracked else ()))
        like, dislike = torch.zeros(slots, len(kinds)), torch.zeros(slots, len(kinds))
        if tracked:
            like[:, -2], dislike[:, -1] = 3.0, 3.0 + _RARELY
        like[:, EVIDENCE.index("last")], like[:, EVIDENCE.index("ever")] = 3.0, 2.0
        dislike[:, EVIDENCE.index("negated_last")], dislike[:, EVIDENCE.index("negated_ever")] = 3.0, 2.0
        self.like = nn.Parameter(like / FAST * evidence, requires_grad=evidence)
        self.dislike = nn.Parameter(dislike / FAST * evidence, requires_grad=evidence)
        self.none = nn.Parameter(torch.full((slots,), 2.0 / FAST))
        self.rarely_disliked = nn.Parameter(torch.full((slots,), -_RARELY / FAST))
        self.dropout = nn.Dropout(dropout)

    def forward(self, S: Tensor, turns: Tensor, evidence: Tensor, values: Tensor) -> LogBeliefs:
        """Predict.

        Args:
            S: the student's state vectors [B, n, D].
            turns: h [B, 2 D].
            evidence: [B, V, E].
            values: e, the values' word vectors [V, D].
        """
        slot_of = self.sums.slot_of
        cosines = F.normalize(self.query(S), dim=-1) @ F.normalize(values, dim=-1).T  # [B, n, V]
        known = cosines.gather(1, slot_of.expand(len(S), 1, -1))[:, 0] * self.log_scale.exp()  # each of its own slot
        common = FAST * (self.bias + self.dropout(turns) @ self.from_turns.T) + known  # [B, V]
        like = common + FAST * (evidence * self.like[slot_of]).sum(dim=-1)
        dislike = common + FAST * ((evidence * self.dislike[slot_of]).sum(dim=-1) + self.rarely_disliked[slot_of])
        none = (FAST * self.none).expand(len(S), -1)
        most = torch.maximum(like, dislike).detach()
        highest = torch.full_like(none, -torch.inf).scatter_reduce(1, slot_of.expand_as(most), most, "amax")
        highest = torch.maximum(highest, none.detach())  # [B, n], taken off first: no exponential overflows
        spread = self.sums.spread(highest)
        none, like, dislike = none - highest, like - spread, dislike - spread
        log_total = (none.exp() + self.sums(like.exp() + dislike.exp())).log()
        spread = self.sums.spread(log_total)
        return LogBeliefs(none - log_total, like - spread, dislike - spread)


_SHARE = 0.5
"""Several values of a slot share its probability; one with less than this part of the likeliest's is not meant."""

Numbers = npt.NDArray[np.float64]


def state_of_beliefs(
    slots: Sequence[str],
    slot_of: npt.NDArray[np.int64],
    values: Sequence[str],
    none: Numbers,
    like: Numbers,
    dislike: Numbers,
) -> PredictedState:
    """The likeliest state under the beliefs of one context.

    Args:
        slots: names of the n slots.
        slot_of: slot of each column [V].
        values: the value of each column.
        none: probability that nothing is wanted of a slot [n].
        like: that a value is [V].
        dislike: that a value is to be avoided [V].
    """
    state: list[SlotValue] = []
    sure: dict[str, float] = {}
    for number, slot in enumerate(slots):
        columns = np.flatnonzero(slot_of == number)
        something = float(like[columns].sum() + dislike[columns].sum())
        if something <= none[number]:
            sure[slot] = float(none[number])
            continue
        best = max(float(like[columns].max()), float(dislike[columns].max()))
        read = 0.0
        for column in columns:
            for polarity, probability in (("like", like[column]), ("dislike", dislike[column])):
                if probability >= _SHARE * best and probability == max(like[column], dislike[column]):
                    read += float(probability)
                    state.append(SlotValue(slot, values[column], "like" if polarity == "like" else "dislike"))
        sure[slot] = min(read, 1.0)
    return PredictedState(belief_state(state), sure)
