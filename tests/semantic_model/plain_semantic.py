"""SeMANTIC again, as loops over plain numbers: what the paper's equations say, without a tensor in sight.

Only the weights are taken from the network under test. Written from the paper (section numbers beside each function)
and, where ``release`` is set, from the facts about the released code. Nothing of ``semantic_model`` is used.
"""

from __future__ import annotations

from math import exp, log, sqrt, tanh

Vector = list[float]
Matrix = list[Vector]


def plus(*vectors: Vector) -> Vector:
    return [sum(numbers) for numbers in zip(*vectors, strict=True)]


def times(factor: float, vector: Vector) -> Vector:
    return [factor * number for number in vector]


def dot(a: Vector, b: Vector) -> float:
    return sum(x * y for x, y in zip(a, b, strict=True))


def cos(a: Vector, b: Vector) -> float:
    return dot(a, b) / (max(sqrt(dot(a, a)), 1e-8) * max(sqrt(dot(b, b)), 1e-8))


def softmax(scores: Vector) -> Vector:
    weights = [exp(score) for score in scores]
    return [weight / sum(weights) for weight in weights]


def kl(p: Vector, q: Vector) -> float:
    return sum(a * log(a / b) for a, b in zip(p, q, strict=True))


class PlainSemantic:
    """One model's equations.

    Args:
        weights: state of the network, name -> nested lists.
        heads, layers, hops: sizes.
        release: the released code's readings instead of the paper's.
    """

    def __init__(self, weights: dict[str, list], *, heads: int, layers: int, hops: int, release: bool) -> None:
        self.weights, self.heads, self.layers, self.hops, self.release = weights, heads, layers, hops, release
        self.width = len(weights["words.table.weight"][0])

    def linear(self, name: str, x: Vector) -> Vector:
        rows, bias = self.weights[f"{name}.weight"], self.weights[f"{name}.bias"]
        return [dot(row, x) + b for row, b in zip(rows, bias, strict=True)]

    def norm(self, name: str, x: Vector) -> Vector:
        mean = sum(x) / len(x)
        spread = sqrt(sum((number - mean) ** 2 for number in x) / len(x) + 1e-5)
        scale, shift = self.weights[f"{name}.weight"], self.weights[f"{name}.bias"]
        return [(number - mean) / spread * s + b for number, s, b in zip(x, scale, shift, strict=True)]

    def stack(self, name: str, x: Matrix, source: Matrix | None = None) -> Matrix:
        """SelfAttn(X, X, X), or CrossAttn(X, Y, Y): layers of heads of softmax(q k / sqrt(d)) v, post-LN (3.1)."""
        size = self.width // self.heads
        for layer in range(self.layers):
            block = f"{name}.blocks.{layer}"
            keys_of = x if source is None else source
            queries = [self.linear(f"{block}.attention.query", row) for row in x]
            keys = [self.linear(f"{block}.attention.key", row) for row in keys_of]
            values = [self.linear(f"{block}.attention.value", row) for row in keys_of]
            rows = []
            for row, query in zip(x, queries, strict=True):
                joined: Vector = []
                for head in range(self.heads):
                    part = slice(head * size, (head + 1) * size)
                    weights = softmax([dot(query[part], key[part]) / sqrt(size) for key in keys])
                    assert abs(sum(weights) - 1) < 1e-12
                    joined += plus(*(times(w, value[part]) for w, value in zip(weights, values, strict=True)))
                row = self.norm(f"{block}.norm_attention", plus(row, self.linear(f"{block}.attention.out", joined)))
                inner = [max(0.0, number) for number in self.linear(f"{block}.inner", row)]
                rows.append(self.norm(f"{block}.norm_forward", plus(row, self.linear(f"{block}.outer", inner))))
            x = rows
        return x

    def pooled(self, rows: Matrix) -> Vector:
        """SumPool; the release has a LeakyReLU after it (3.1)."""
        found = plus(*rows)
        return [number if number > 0 else 0.01 * number for number in found] if self.release else found

    def word(self, token: int) -> Vector:
        return self.weights["words.table.weight"][token]

    def text(self, encoder: str, tokens: list[int]) -> Vector:
        """U^T_t = SumPool[SelfAttn(w W_emb + PE)] (3.1)."""
        real = [token for token in tokens if token]
        if not real:
            return [0.0] * self.width
        places = self.weights[f"{encoder}.positions.weight"]
        return self.pooled(
            self.stack(f"{encoder}.attention", [plus(self.word(t), places[i]) for i, t in enumerate(real)])
        )

    def images(self, features: Matrix) -> Vector:
        """U^I_t = SumPool[SelfAttn(Linear(v))]; the release has no attention among a turn's images (3.1)."""
        if not features:
            return [0.0] * self.width
        rows = [self.linear("context_encoder.image.linear", feature) for feature in features]
        return self.pooled(rows if self.release else self.stack("context_encoder.image.attention", rows))

    def context(self, turns: list[tuple[list[int], Matrix]]) -> tuple[Matrix, Matrix]:
        """C^T = SelfAttn(U^T), C^I = CrossAttn(C^T, U^I, U^I) over the turns that there are (3.1)."""
        U_T = [self.text("context_encoder.text", tokens) for tokens, _ in turns]
        U_I = [self.images(features) for _, features in turns]
        C_T = self.stack("context_encoder.over_texts", U_T)
        return C_T, self.stack("context_encoder.over_images", C_T, U_I)

    def product(self, tokens: list[int], feature: Vector | None) -> tuple[Vector, Vector]:
        """rho^T, rho^I (3.1)."""
        return self.text("product_encoder.text", tokens), self.images([] if feature is None else [feature])

    def keys(self, slots: list[list[int]]) -> Matrix:
        """S^K: the mean over a slot's name (3.5)."""
        return [times(1 / len(real), plus(*map(self.word, real))) for real in ([t for t in s if t] for s in slots)]

    def teacher(self, slots: list[list[int]], values: list[list[int]]) -> Matrix:
        """S = SelfAttn(S^K + S^V) (3.5)."""
        S_V = []
        for tokens in values:
            real = [token for token in tokens if token]
            padding = self.weights["teacher.values.padding"] if self.release else [0.0] * self.width
            places = [self.word(token) if token else padding for token in tokens]
            S_V.append(times(1 / len(real), plus(*places)))
        return self.stack("teacher.attention", [plus(k, v) for k, v in zip(self.keys(slots), S_V, strict=True)])

    def student(self, slots: list[list[int]], C_T: Matrix, C_I: Matrix) -> Matrix:
        """S^V = CrossAttn(S^K, C, C) with C = C^T + C^I, and S = SelfAttn(S^K + S^V) (3.5)."""
        S_K = self.keys(slots)
        S_V = self.stack("student.value_predictor", S_K, [plus(t, i) for t, i in zip(C_T, C_I, strict=True)])
        return self.stack("student.learner", [plus(k, v) for k, v in zip(S_K, S_V, strict=True)])

    def interact(self, dsi: str, x: Vector, S: Matrix) -> tuple[Vector, Vector]:
        """S_{k+1} = W_{k+1} S_k, a_k = softmax(cos(x_k, S_k)), x_{k+1} = x_k + sum a_k S_{k+1} (3.2)."""
        for k in range(self.hops):
            a = softmax([cos(x, row) for row in S])
            S = [self.linear(f"{dsi}.W.{k}", row) for row in S]
            x = plus(x, *(times(weight, row) for weight, row in zip(a, S, strict=True)))
        return x, softmax([cos(x, row) for row in S])

    def divergence(self, p: Vector, q: Vector) -> float:
        """JS with its mixture; the release's is the symmetrised KL (3.4)."""
        if self.release:
            return (kl(p, q) + kl(q, p)) / 2
        m = times(0.5, plus(p, q))
        return (kl(p, m) + kl(q, m)) / 2

    def pair(self, c_T: Vector, c_I: Vector, rho_T: Vector, rho_I: Vector, S: Matrix) -> tuple[float, float, float]:
        """f(tau, rho), g(tau, rho), and L_co_sim(rho) with the state S (3.3, 3.4)."""
        x_CT, a_CT = self.interact("dsi_T", c_T, S)
        x_CI, a_CI = self.interact("dsi_I", c_I, S)
        x_PT, a_PT = self.interact("dsi_T", rho_T, S)
        x_PI, a_PI = self.interact("dsi_I", rho_I, S)
        f = tanh(cos(x_CT, x_PT) + cos(x_CI, x_PI))
        g = self.divergence(a_CT, a_PT) + self.divergence(a_CI, a_PI)
        return f, g, max(0.0, 1 - cos(x_PT, x_PI))

    def losses(self, scored: list[tuple[list, list]]) -> dict[str, float]:
        """L_rank and L_JS, means over pairs; L_co_sim summed over a context's candidates, mean over contexts (3.4).

        The release takes the mean over all candidates. ``scored``: for each context its positives and its negatives, as
        :meth:`pair` says of them, None for the co_sim of a product without an image.
        """
        pairs = [(right, wrong) for rights, wrongs in scored for right in rights for wrong in wrongs]
        of_candidates = [[c for _, _, c in (*rights, *wrongs) if c is not None] for rights, wrongs in scored]
        total = sum(sum(row) for row in of_candidates)
        return {
            "rank": sum(max(0.0, 1 - right[0] + wrong[0]) for right, wrong in pairs) / len(pairs),
            "js": sum(max(0.0, right[1] - wrong[1]) for right, wrong in pairs) / len(pairs),
            "co_sim": total / (sum(map(len, of_candidates)) if self.release else len(scored)),
        }


def mse(one: list[Matrix], other: list[Matrix]) -> float:
    """MSE(S, S_hat): the mean over all numbers (3.5)."""
    squares = [
        (a - b) ** 2
        for S, S_hat in zip(one, other, strict=True)
        for row, row_hat in zip(S, S_hat, strict=True)
        for a, b in zip(row, row_hat, strict=True)
    ]
    return sum(squares) / len(squares)
