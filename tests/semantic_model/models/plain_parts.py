"""Parts that several systems have, as loops over plain numbers; only the weights are taken from the network."""

from __future__ import annotations

import math

import numpy as np

Vector = np.ndarray


def softmax(scores: list[float]) -> list[float]:
    weights = [math.exp(score - max(scores)) for score in scores]
    return [weight / sum(weights) for weight in weights]


def sparsemax(scores: list[float]) -> list[float]:
    """By trying every threshold: shares above it, less it, sum to one."""
    for kept in range(len(scores), 0, -1):
        best = sorted(scores, reverse=True)[:kept]
        threshold = (sum(best) - 1) / kept
        if best[-1] > threshold:
            return [max(score - threshold, 0.0) for score in scores]
    return []


class Plain:
    """Equations over the weights of a network.

    Args:
        model: the network.
        heads: of its attention.
    """

    def __init__(self, model, heads: int) -> None:
        self.w = {name: value.detach().double().numpy() for name, value in model.named_parameters()}
        self.heads = heads
        self.width = len(self.w["words.table.weight"][0])

    def linear(self, name: str, x: Vector) -> Vector:
        found = [sum(a * b for a, b in zip(row, x, strict=True)) for row in self.w[f"{name}.weight"]]
        return np.array(found) + self.w.get(f"{name}.bias", 0.0)

    def norm(self, name: str, x: Vector) -> Vector:
        spread = math.sqrt(sum((x - x.mean()) ** 2) / len(x) + 1e-5)
        return (x - x.mean()) / spread * self.w[f"{name}.weight"] + self.w[f"{name}.bias"]

    def word(self, piece: int) -> Vector:
        return self.w["words.table.weight"][piece]

    def attend(self, name: str, rows: list[Vector], source: list[Vector] | None = None) -> list[Vector]:
        """One layer: softmax(q k / sqrt(d)) v in heads, then two linear maps, each with a residual and a norm after."""
        block, d = f"{name}.blocks.0", self.width // self.heads
        seen = rows if source is None else source
        keys, values = ([self.linear(f"{block}.attention.{part}", y) for y in seen] for part in ("key", "value"))
        found = []
        for x in rows:
            query, joined = self.linear(f"{block}.attention.query", x), np.zeros(self.width)
            for head in range(self.heads if seen else 0):
                part = slice(head * d, (head + 1) * d)
                shares = softmax([float(query[part] @ key[part]) / math.sqrt(d) for key in keys])
                for share, value in zip(shares, values, strict=True):
                    joined[part] += share * value[part]
            told = self.linear(f"{block}.attention.out", joined) if seen else 0.0  # nothing to look at adds nothing
            x = self.norm(f"{block}.norm_attention", x + told)
            inner = np.maximum(self.linear(f"{block}.inner", x), 0.0)
            found.append(self.norm(f"{block}.norm_forward", x + self.linear(f"{block}.outer", inner)))
        return found

    def graph(self, name: str, nodes: list[Vector], shares, *, residual: bool = False) -> list[Vector]:
        """n + ELU(GAT(n)), or n + ELU(n + GAT(n)), every node looking at all of them."""
        W = self.w[f"{name}.project.weight"].reshape(self.heads, -1, self.width)
        found = []
        for x in nodes:
            told = []
            for head, matrix in enumerate(W):
                asks = float(self.w[f"{name}.looks"][head] @ (matrix @ x))
                scores = [asks + float(self.w[f"{name}.is_seen"][head] @ (matrix @ y)) for y in nodes]
                weights = shares([score if score > 0 else 0.2 * score for score in scores])
                told += list(sum(weight * (matrix @ y) for weight, y in zip(weights, nodes, strict=True)))
            inside = np.array(told) + (x if residual else 0.0)
            found.append(x + np.array([number if number > 0 else math.exp(number) - 1 for number in inside]))
        return found


def mean(rows: list[Vector], width: int) -> Vector:
    return sum(rows) / len(rows) if rows else np.zeros(width)


def cos(x: Vector, y: Vector) -> float:
    return float(x @ y / math.sqrt(x @ x) / math.sqrt(y @ y))
