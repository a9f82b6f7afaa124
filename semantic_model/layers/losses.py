"""The losses (sections 3.4 and 3.5): pure functions of scores, attention rows, vectors and states.

All take a mask where an entry may be missing, and return the mean over what is there (0 when nothing is).
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

EPSILON = 1e-8
"""Smallest norm that cosines divide by: a zero vector has cosine 0 with everything."""


def cosine(x: Tensor, y: Tensor) -> Tensor:
    """cos(x, y) over the last axis."""
    return F.cosine_similarity(x, y, dim=-1, eps=EPSILON)


TINY = 1e-12


def masked_mean_of(values: Tensor, mask: Tensor) -> Tensor:
    """Mean of the values that ``mask`` keeps; 0 when it keeps none."""
    return torch.where(mask, values, 0.0).sum() / mask.sum().clamp(min=1)


def rank_loss(positive: Tensor, negative: Tensor, pairs: Tensor, margin: float = 1.0) -> Tensor:
    """L_rank = max(0, margin - f(tau, rho+) + f(tau, rho-)), mean over pairs (section 3.4).

    Args:
        positive: f of the positives [B, P].
        negative: f of the negatives [B, N].
        pairs: bool [B, P, N], which pairs exist.

    >>> rank_loss(torch.tensor([[0.9]]), torch.tensor([[0.5, -0.3]]), torch.ones(1, 1, 2, dtype=torch.bool))
    tensor(0.3000)
    """
    return masked_mean_of(torch.relu(margin - positive[:, :, None] + negative[:, None, :]), pairs)


def rank_loss_of_all(
    f: Tensor, positives: Tensor, candidates: Tensor, margin: float = 1.0, most: int | None = None
) -> Tensor:
    """:func:`rank_loss` of each positive against every candidate that is none for its context, mean over all pairs.

    Args:
        f: of every context with its candidates [B, C].
        positives: bool [B, C].
        candidates: bool [B, C], which columns take part.
        most: P, where it is known how many positives a context has at most; None: they are counted.
    """
    if most is None:
        most = int(positives.sum(dim=1).max()) if positives.numel() else 0
    there, columns = positives.float().topk(most, dim=1)  # [B, P]
    pairs = (there > 0)[:, :, None] & (candidates & ~positives)[:, None, :]
    return rank_loss(f.gather(1, columns), f, pairs, margin)


def softmax_rank_loss(scores: Tensor, positives: Tensor, candidates: Tensor) -> Tensor:
    """Cross-entropy of each positive against all candidates that are not positives themselves (not in the paper).

    Mean over a context's positives, then over contexts.

    Args:
        scores: scaled matches [B, C].
        positives: bool [B, C].
        candidates: bool [B, C], which columns take part; holds the positives.
    """
    negatives = scores.masked_fill(positives | ~candidates, -torch.inf).logsumexp(dim=1, keepdim=True)  # [B, 1]
    each = torch.logaddexp(scores, negatives) - scores
    each = torch.where(positives, each, 0.0).sum(dim=1) / positives.sum(dim=1).clamp(min=1)
    return masked_mean_of(each, positives.any(dim=1))


def js_divergence(p: Tensor, q: Tensor) -> Tensor:
    """Jensen-Shannon divergence, (KL(p | m) + KL(q | m)) / 2 with m = (p + q) / 2, in nats, over the last axis."""
    m = (p + q) / 2
    return (_kl(p, m) + _kl(q, m)) / 2


def jeffreys_divergence(p: Tensor, q: Tensor) -> Tensor:
    """(KL(p | q) + KL(q | p)) / 2, without a mixture: what the released code uses."""
    return (_kl(p, q) + _kl(q, p)) / 2


def _kl(p: Tensor, q: Tensor) -> Tensor:
    return (p * (p.clamp(min=TINY).log() - q.clamp(min=TINY).log())).sum(dim=-1)


def attention_gap(a_CT: Tensor, a_PT: Tensor, a_CI: Tensor, a_PI: Tensor, divergence: str = "js") -> Tensor:
    """g(tau, rho) = JS(a_CT, a_PT) + JS(a_CI, a_PI), of the attention of layer K + 1 (section 3.4).

    The paper prints JS(a_PI, a_PI), which is zero for everything; the context's is meant.
    """
    between = js_divergence if divergence == "js" else jeffreys_divergence
    return between(a_CT, a_PT) + between(a_CI, a_PI)


def js_loss(positive: Tensor, negative: Tensor, pairs: Tensor) -> Tensor:
    """L_JS = max(0, g(tau, rho+) - g(tau, rho-)), mean over pairs; arguments as :func:`rank_loss`."""
    return masked_mean_of(torch.relu(positive[:, :, None] - negative[:, None, :]), pairs)


def co_sim_loss(x_PT: Tensor, x_PI: Tensor, mask: Tensor, reduce: str = "sum") -> Tensor:
    """L_co_sim = max(0, 1 - cos(x_PT, x_PI)) of candidates [B, C, D] (section 3.4).

    Args:
        mask: bool [B, C], candidates that are there and have an image.
        reduce: ``sum`` over a context's candidates (paper) or their ``mean`` (release); then the mean over contexts.
    """
    each = torch.where(mask, torch.relu(1.0 - cosine(x_PT, x_PI)), 0.0)
    if reduce == "mean":
        return each.sum() / mask.sum().clamp(min=1)
    return each.sum(dim=1).mean()


def state_mse(S_hat: Tensor, S: Tensor, labelled: Tensor) -> Tensor:
    """MSE(S, S_hat) over the elements of labelled slots (section 3.5): [B, n, D], [B, n, D], bool [B, n]."""
    return masked_mean_of((S_hat - S).square().mean(dim=-1), labelled)
