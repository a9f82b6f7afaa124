"""SeMANTIC whose states are also beliefs over values: teacher and student, products and contexts stay the paper's."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from typing import NamedTuple

import torch
from torch import Tensor, nn

from schemas.belief import Polarity
from semantic_model.data.tokenizer import PAD, TokenArray
from semantic_model.grounded.beliefs import (
    BeliefPredictor,
    Beliefs,
    LogBeliefs,
    SlotSums,
    gold_beliefs,
    state_beliefs,
    state_of_beliefs,
)
from semantic_model.grounded.matching import NothingShown, Shown, ValueMatch
from semantic_model.grounded.reading import GroundedBatch, GroundedProducts, GroundedStates
from semantic_model.grounded.scoring import EncodedDialogues, GroundedQuery, GroundedTable
from semantic_model.grounded.settings import Settings
from semantic_model.grounded.values import SlotValues
from semantic_model.layers.slot_values import masked_mean
from semantic_model.ranking.chunked_scoring import Scratch, slices
from semantic_model.ranking.ranker import Belief, PredictedState, TablePrecision
from semantic_model.semantic.encoders import Context, ProductVectors
from semantic_model.semantic.model import Semantic
from semantic_model.semantic.scoring import EncodedContexts, match_all

SIMILARITY, SHOWN = "similarity of words and images", "shown before"
"""Parts of a score that are no slot's."""

POLARITIES: tuple[Polarity, Polarity] = ("like", "dislike")
_PRODUCTS = 1 << 12  # whose values are gathered at a time
_SMALL = 0.01  # probabilities below are not told


class GroundedContext(NamedTuple):
    """:class:`Context`, and what else is known of the dialogue."""

    C_T: Tensor
    C_I: Tensor
    c_T: Tensor
    c_I: Tensor
    turn_mask: Tensor
    evidence: Tensor  # [B, V, E]
    held: Tensor  # [B, V]
    worth: Tensor  # of having been shown [B, 2]; see Shown
    shown: Tensor  # [B, R]
    shown_last: Tensor  # bool [B, R]

    @property
    def plain(self) -> Context:
        """The paper's."""
        return Context(*self[:5])

    @property
    def turns(self) -> Tensor:
        """h: the last turn and the mean turn [B, 2 D]."""
        return turns_of(self.plain)


class GroundedVectors(NamedTuple):
    """:class:`ProductVectors`, and what else is known of the products."""

    rho_T: Tensor
    rho_I: Tensor
    image_mask: Tensor
    attributes: Tensor  # bool [N, V]
    image_row: Tensor  # int [N]

    @property
    def plain(self) -> ProductVectors:
        """The paper's."""
        return ProductVectors(*self[:3])

    def take(self, rows: Tensor) -> GroundedVectors:
        """The products ``rows``, of any shape."""
        return GroundedVectors(*(field[rows] for field in self))


class State(NamedTuple):
    """What a dialogue wants: the paper's vectors, and :class:`Beliefs`."""

    S: Tensor  # [B, n, D]
    none: Tensor  # [B, n]
    like: Tensor  # [B, V]
    dislike: Tensor  # [B, V]

    @property
    def beliefs(self) -> Beliefs:
        """The beliefs alone."""
        return Beliefs(*self[1:])


class Predicted(NamedTuple):
    """The student's state, with its beliefs as :class:`LogBeliefs`."""

    S: Tensor
    none: Tensor
    like: Tensor
    dislike: Tensor

    @property
    def log_beliefs(self) -> LogBeliefs:
        """The beliefs alone."""
        return LogBeliefs(*self[1:])

    @property
    def state(self) -> State:
        """The state itself."""
        return State(self.S, *self.log_beliefs.exp())


def turns_of(context: Context) -> Tensor:
    """h: the last turn and the mean turn [B, 2 D]."""
    return torch.cat([context.c_T, masked_mean(context.C_T, context.turn_mask)], dim=-1)


class GroundedSemantic(nn.Module):
    """The whole network.

    Args:
        config: all settings.
        values: the ontology's.
        value_tokens: word pieces of the values [V, L].
        vocabulary, word_width, feature_width, slot_keys: as :class:`Semantic` takes them.
    """

    value_tokens: Tensor

    def __init__(
        self,
        config: Settings,
        values: SlotValues,
        value_tokens: Tensor,
        *,
        vocabulary: int,
        word_width: int,
        feature_width: int,
        slot_keys: TokenArray,
    ) -> None:
        super().__init__()
        self.config = config
        self.values = values
        self.semantic = Semantic(
            config, vocabulary=vocabulary, word_width=word_width, feature_width=feature_width, slot_keys=slot_keys
        )
        n, V, D = len(values.slots), len(values), config.model.width
        grounding = config.grounding
        self.register_buffer("value_tokens", value_tokens, persistent=False)
        self.sums = SlotSums(torch.from_numpy(values.slot_of), n)
        self.predictor = BeliefPredictor(
            D, self.sums, n, V, grounding.dropout, evidence=grounding.evidence, tracked=grounding.tracker
        )
        self.value_match = ValueMatch(self.sums, n, V, grounding.sharpness, apart=grounding.apart)
        self.shown: Shown | NothingShown = Shown(D, grounding.dropout) if grounding.shown else NothingShown()
        self.similarity = grounding.similarity

    @property
    def words(self) -> nn.Module:
        """The word vectors."""
        found: nn.Module = self.semantic.words
        return found

    @property
    def log_scale(self) -> Tensor:
        """Of the cosines."""
        return self.semantic.log_scale

    def encode_contexts(self, batch: GroundedBatch) -> GroundedContext:
        """C^T, C^I, c^T, c^I (section 3.1), and what is known beside."""
        plain = self.semantic.encode_contexts(batch.plain)
        worth = self.shown(turns_of(plain))
        return GroundedContext(*plain, batch.evidence, batch.held, worth, batch.shown, batch.shown_last)

    def encode_products(self, batch: GroundedProducts) -> GroundedVectors:
        """rho^T, rho^I (section 3.1), and what is known beside."""
        return GroundedVectors(*self.semantic.encode_products(batch.plain), batch.attributes, batch.image_row)

    def teacher_state(self, states: GroundedStates) -> State:
        """The gold state."""
        return State(self.semantic.teacher_state(states.plain), *gold_beliefs(states, self.sums))

    def student_state(self, context: GroundedContext) -> Predicted:
        """The state predicted from the context."""
        S_hat = self.semantic.student_state(context.plain)
        values = masked_mean(self.words(self.value_tokens), self.value_tokens != PAD)  # [V, D]
        return Predicted(S_hat, *self.predictor(S_hat, context.turns, context.evidence, values))

    def logits(self, context: GroundedContext, products: GroundedVectors, state: State) -> Tensor:
        """How well products fit: log-odds up to a constant [B, N]; or of each context's candidates [B, C]."""
        found: Tensor = self.value_match(state.beliefs, self.value_match.affinity(products.attributes))
        if self.similarity:
            found = found + self.log_scale.exp() * match_all(self.semantic, context.plain, products.plain, state.S)
        return found + Shown.add(context.worth, context.shown, context.shown_last, products.image_row)

    def encode_queries(self, batch: GroundedBatch) -> EncodedDialogues:
        """Contexts with the student's state."""
        context = self.encode_contexts(batch)
        state = self.student_state(context).state
        tracks = self.config.grounding.tracks
        read = state_beliefs(context.evidence, context.held, self.sums) if tracks else state.beliefs
        return EncodedDialogues(context.plain, state, read, context.worth, context.shown, context.shown_last)

    def taught(self, contexts: EncodedDialogues, states: GroundedStates) -> EncodedDialogues:
        """The same contexts with the teacher's state."""
        state = self.teacher_state(states)
        return replace(contexts, state=state, read=state.beliefs)

    def corrected(self, contexts: EncodedDialogues, states: GroundedStates, slots: Tensor) -> EncodedDialogues:
        """The same contexts whose student is told these states, of the slots that are corrected [B, n], by the teacher:
        its vectors and certain beliefs in place of what was predicted; all else stays.
        """
        told, values = self.teacher_state(states), self.sums.spread(slots)

        def mixed(said: Beliefs, believed: Beliefs) -> Beliefs:
            which = (slots, values, values)
            return Beliefs(*(torch.where(*each) for each in zip(which, said, believed, strict=True)))

        S = torch.where(slots[..., None], told.S, contexts.state.S)
        state = State(S, *mixed(told.beliefs, contexts.state.beliefs))
        return replace(contexts, state=state, read=mixed(told.beliefs, contexts.read))

    def predicted_states(self, contexts: EncodedDialogues) -> list[PredictedState]:
        """The states of contexts as the state tracker reads them; without one, those that the ranking believes in."""
        beliefs = (field.double().cpu().numpy() for field in contexts.read)
        slots, values = [slot.name for slot in self.values.slots], [value.value for value in self.values.values]
        return [state_of_beliefs(slots, self.values.slot_of, values, *row) for row in zip(*beliefs, strict=True)]

    def beliefs(self, contexts: EncodedDialogues) -> list[tuple[Belief, ...]]:
        """What the ranking believes, of values above a hundredth."""
        believed = contexts.state.beliefs
        both = torch.stack([believed.like, believed.dislike], dim=1).cpu()  # [B, 2, V]
        found: list[tuple[Belief, ...]] = []
        for row in both:
            each = [
                Belief(self.values.slots[self.values.slot_of[v]].name, self.values.values[v].value, polarity, float(p))
                for side, polarity in zip(row, POLARITIES, strict=True)
                for v, p in zip((side > _SMALL).nonzero()[:, 0].tolist(), side[side > _SMALL].tolist(), strict=True)
            ]
            order = [slot.name for slot in self.values.slots]
            found.append(tuple(sorted(each, key=lambda belief: (order.index(belief.slot), -belief.probability))))
        return found

    def slot_attention(self, contexts: EncodedDialogues) -> dict[str, Tensor]:
        """As :meth:`Semantic.slot_attention`; nothing where the cosines take no part."""
        if not self.similarity:
            return {}
        return self.semantic.slot_attention(EncodedContexts(contexts.context, contexts.state.S))

    def turn_attention(self, contexts: EncodedDialogues) -> Tensor:
        """As :meth:`Semantic.turn_attention`."""
        return self.semantic.turn_attention(EncodedContexts(contexts.context, contexts.state.S))

    def score_parts(self, contexts: EncodedDialogues, table: GroundedTable, rows: Tensor) -> dict[str, Tensor]:
        """How well products fit slot by slot, how similar they are, and what it is worth that they were shown."""
        query = self.query(contexts, table)
        patterns = table.pattern_of[rows].long()  # [B, C, n]
        fits = query.fits.T.gather(1, patterns.flatten(1)).view(patterns.shape)
        parts = {slot.name: fits[..., number] for number, slot in enumerate(self.values.slots)}
        if query.match is not None:
            similar = []
            for b, mine in enumerate(rows):
                scratch = Scratch(table.device)
                one = query.match[b : b + 1].match(table.vectors.take(mine, scratch), scratch)
                similar.append(query.scale * one[0].clone())
            parts[SIMILARITY] = torch.stack(similar)
        shown = Shown.add(contexts.worth, contexts.shown, contexts.shown_last, table.image_row[rows])
        return parts | ({SHOWN: shown} if self.config.grounding.shown else {})

    def table(self, parts: Iterable[GroundedVectors], count: int, precision: TablePrecision) -> GroundedTable:
        """rho^T, rho^I and the values of a catalogue."""
        width, device = self.config.model.width, self.log_scale.device
        return GroundedTable.collect(parts, count, width, self.sums.columns, precision=precision, device=device)

    def query(self, contexts: EncodedDialogues, table: GroundedTable) -> GroundedQuery:
        """What contexts bring to the scoring of a table; scores are log-odds up to a constant."""
        return GroundedQuery.of(self, contexts, table)

    vectors_are_exact = False

    def product_vectors(self, table: GroundedTable) -> Tensor:
        """Which values a product has, then :meth:`Semantic.product_vectors` [N, V + 2 D].

        Inexact in slots of which a product has several values, whose parts are added up, and in what was shown before.
        """
        patterns = table.patterns[0].float()
        values = [patterns[table.pattern_of[part].long()].sum(dim=1) for part in slices(len(table), _PRODUCTS)]
        found = torch.cat(values) if values else patterns.new_zeros(0, patterns.shape[1])
        return torch.cat([found, self.semantic.product_vectors(table.vectors)], dim=1)

    def query_vectors(self, contexts: EncodedDialogues) -> Tensor:
        """How well a product fits that has one value, for each of them; then the scaled cosines' [B, V + 2 D]."""
        slot_of = self.sums.slot_of
        single = torch.eye(len(slot_of), dtype=torch.bool, device=slot_of.device)
        fits = self.value_match.of_patterns(contexts.state.beliefs, single, slot_of).T
        similar = self.semantic.query_vectors(EncodedContexts(contexts.context, contexts.state.S))
        return torch.cat([fits, similar * (self.log_scale.exp() if self.similarity else 0.0)], dim=1)

    def places(self, contexts: EncodedDialogues) -> Tensor:
        """As :meth:`Semantic.places`."""
        return self.semantic.places(EncodedContexts(contexts.context, contexts.state.S))
