"""SeMANTIC: the parts of Figure 2 put together. Teacher and student differ in their state encoder only."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from semantic_model.data.batch import ContextBatch, ProductBatch
from semantic_model.data.tokenizer import TokenArray
from semantic_model.layers.losses import cosine
from semantic_model.layers.word_vectors import word_vectors
from semantic_model.ranking.ranker import TablePrecision
from semantic_model.semantic.encoders import (
    Context,
    ContextEncoder,
    ImageEncoder,
    ProductEncoder,
    ProductVectors,
    TextEncoder,
)
from semantic_model.semantic.interaction import DialogueStateInteraction, Interaction
from semantic_model.semantic.reading import StateBatch
from semantic_model.semantic.scoring import EncodedContexts, MatchQuery, ProductTable
from semantic_model.semantic.settings import TeacherStudentConfig
from semantic_model.semantic.state import SlotKeys, StudentEncoder, TeacherEncoder


class Candidates(NamedTuple):
    """A context and its candidates, enhanced with one state."""

    context_T: Interaction  # x_CT [B, 1, D], a_CT [B, 1, n]
    context_I: Interaction
    product_T: Interaction  # x_PT [B, C, D], a_PT [B, C, n]
    product_I: Interaction
    image_mask: Tensor  # bool [B, C], candidates with an image


class Semantic(nn.Module):
    """The whole network.

    Args:
        config: all settings.
        vocabulary: how many word pieces there are.
        word_width: width of their vectors.
        feature_width: F, numbers an image.
        slot_keys: word pieces of the slots' names [n, L].
    """

    def __init__(
        self,
        config: TeacherStudentConfig,
        *,
        vocabulary: int,
        word_width: int,
        feature_width: int,
        slot_keys: TokenArray,
    ) -> None:
        super().__init__()
        self.config = config
        D = config.model.width
        self.words = word_vectors(config, vocabulary, word_width)
        longest = max(config.text.max_tokens, config.text.product_max_tokens)
        text = TextEncoder(config, self.words, longest)
        image = ImageEncoder(config, feature_width)
        product_text = text if config.text.share_encoder else TextEncoder(config, self.words, longest)
        product_image = image if config.image.share_encoder else ImageEncoder(config, feature_width)
        self.context_encoder = ContextEncoder(config, text, image)
        self.product_encoder = ProductEncoder(product_text, product_image)
        self.slot_keys = SlotKeys(self.words, slot_keys)
        self.teacher = TeacherEncoder(config, self.words, self.slot_keys)
        self.student = StudentEncoder(config, self.slot_keys)
        self.dsi_T = DialogueStateInteraction(config.dsi, D, start_as_identity=config.model.start_as_identity)
        self.dsi_I = DialogueStateInteraction(config.dsi, D, start_as_identity=config.model.start_as_identity)
        self.modality_logits = nn.Parameter(torch.zeros(2), requires_grad=config.score.learn_weights)
        self.log_scale = nn.Parameter(
            torch.tensor(config.loss.scale).log(), requires_grad=config.loss.rank == "softmax"
        )

    def encode_contexts(self, batch: ContextBatch) -> Context:
        """C^T, C^I, c^T, c^I (section 3.1)."""
        found: Context = self.context_encoder(batch)
        return found

    def encode_products(self, batch: ProductBatch) -> ProductVectors:
        """rho^T, rho^I (section 3.1)."""
        found: ProductVectors = self.product_encoder(batch)
        return found

    def teacher_state(self, states: StateBatch) -> Tensor:
        """S [B, n, D] of gold states (section 3.5)."""
        found: Tensor = self.teacher(states)
        return found

    def student_state(self, context: Context) -> Tensor:
        """The predicted S [B, n, D] (section 3.5)."""
        found: Tensor = self.student(context)
        return found

    def interact(self, context: Context, products: ProductVectors, S: Tensor) -> Candidates:
        """DSI with the same S on both sides (section 3.2); ``products`` [B, C, D] are each context's candidates."""
        stack_T, stack_I = self.dsi_T.states(S), self.dsi_I.states(S)
        return Candidates(
            self.dsi_T.interact(context.c_T[:, None], stack_T),
            self.dsi_I.interact(context.c_I[:, None], stack_I),
            self.dsi_T.interact(products.rho_T, stack_T),
            self.dsi_I.interact(products.rho_I, stack_I),
            products.image_mask,
        )

    @property
    def modality_weights(self) -> Tensor:
        """Weights [2] of the text and image cosines; 1 and 1 unless they are learned. They sum to 2."""
        return 2 * F.softmax(self.modality_logits, dim=0)

    def match(self, candidates: Candidates) -> Tensor:
        """cos(x_CT, x_PT) + cos(x_CI, x_PI): [B, C]."""
        w = self.modality_weights
        return w[0] * cosine(candidates.context_T.x, candidates.product_T.x) + w[1] * cosine(
            candidates.context_I.x, candidates.product_I.x
        )

    def score(self, candidates: Candidates) -> Tensor:
        """f(tau, rho) = tanh(cos(x_CT, x_PT) + cos(x_CI, x_PI)) (section 3.3): [B, C]."""
        return torch.tanh(self.match(candidates))

    def encode_queries(self, batch: ContextBatch) -> EncodedContexts:
        """Contexts with the student's state."""
        context = self.encode_contexts(batch)
        return EncodedContexts(context, self.student_state(context))

    def taught(self, contexts: EncodedContexts, states: StateBatch) -> EncodedContexts:
        """The same contexts with the teacher's state."""
        return replace(contexts, S=self.teacher_state(states))

    def table(self, parts: Iterable[ProductVectors], count: int, precision: TablePrecision) -> ProductTable:
        """rho^T and rho^I of a catalogue."""
        return ProductTable.collect(
            parts, count, self.config.model.width, precision=precision, device=self.log_scale.device
        )

    def query(self, contexts: EncodedContexts, table: ProductTable) -> MatchQuery:
        """What contexts bring to the scoring of a table."""
        del table
        return MatchQuery.of(self, contexts.context, contexts.S)

    vectors_are_exact = False

    def product_vectors(self, table: ProductTable) -> Tensor:
        """rho of text and of images, each of length one [N, 2 D]; without an image, zeros.

        The state that hops would add to them depends on the dialogue and is left out, so that the order is not exact.
        """
        return torch.cat([F.normalize(part.vectors.float(), dim=-1) for part in (table.text, table.image)], dim=1)

    def query_vectors(self, contexts: EncodedContexts) -> Tensor:
        """x_K of text and of images, of the lengths of their weights [B, 2 D]."""
        context, found = contexts.context, []
        for dsi, c, weight in zip(
            (self.dsi_T, self.dsi_I), (context.c_T, context.c_I), self.modality_weights, strict=True
        ):
            found.append(weight * F.normalize(dsi(c[:, None], contexts.S).x[:, 0], dim=-1))
        return torch.cat(found, dim=1)

    def slot_attention(self, contexts: EncodedContexts) -> dict[str, Tensor]:
        """a_C of each modality: what a context attends to in its state after the last hop [B, n]."""
        context, S = contexts.context, contexts.S
        return {
            "text": self.dsi_T(context.c_T[:, None], S).attention[:, 0],
            "images": self.dsi_I(context.c_I[:, None], S).attention[:, 0],
        }

    def turn_attention(self, contexts: EncodedContexts) -> Tensor:
        """What the student's value predictor attends to [B, n, T]."""
        found: Tensor = self.student.attention(contexts.context)
        return found

    def log_odds(self, scores: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
        """f = tanh(match) taken back to the match, which training scales before its softmax.

        A model trained with the hinge loss has the scale that it was made with.
        """
        return np.arctanh(np.clip(scores, -1 + 1e-7, 1 - 1e-7)) * float(self.log_scale.detach().exp())

    def places(self, contexts: EncodedContexts) -> Tensor:
        """The last turn's vectors, c of text and of images, each of length one [B, 2 D]."""
        c = contexts.context
        return torch.cat([F.normalize(c.c_T, dim=-1), F.normalize(c.c_I, dim=-1)], dim=1)
