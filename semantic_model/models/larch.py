"""LARCH, conversational image search by Nie, Jiao, Wang, Wang and Tian (IEEE TIP 2021).

Its three components. The query, from a graph of the session's words, images, sentences, utterances and itself:

    h      = words as they come, images by Linear; each sentence, utterance and session is a learned weighted sum
             of what it holds, sum_j softmax_j(w h_j) h_j; then Linear
    h     <- ELU(GAT(h)) with residuals, several heads, layer by layer; the last one has one head
    q      = the session's node

The knowledge of a product, in three forms: style tips (its kind with another), celebrities (their scores of its kind),
attributes (a name with a value). A row x of form f is the mean of its words' vectors, or the scores:

    k_r = K_f x_r (for queries),  k'_r = K'_f x_r (for images),  v_r = V_f x_r
    i   = Linear(image features of the product)
    m   = sum_r softmax_r(q k_r) v_r over the product's rows,  m' = sum_r softmax_r(i k'_r) v_r

The product as this query sees it:

    e   = g m + (1 - g) i with g = sigmoid(G [m; i]),  e' likewise of m' with G'
    rho = MLP([e; e']),  f = cos(q, rho)

Memory: rows that products share are stored once. A product keeps i, e' and the numbers of its rows; with width 128 and
16 attributes, 16 tips and 2 kinds that is 2 x 128 x 4 + 34 x 4 bytes = 1.2 kB, 1.2 GB for 1,000,000 products, where
their rows' own keys and values would be 34 x 2 x 128 x 4 bytes = 35 kB each, 35 GB. The table of rows has 3 x 128 x 4
bytes = 1.5 kB a row: 3.5 MB for the 2,289 tips of MMD's kinds, and it is encoded once.

Departures: neighbouring words are linked in place of a dependency parse; a sentence ends at a full stop, exclamation or
question mark. Nodes are word pieces. Images are vectors, as other systems read them; the release flattens a map's 2 x 2
cells. Celebrities' scores are taken to length one, as they are tiny. A product has the commonest of its kind's tips
(``larch.style_tips``) rather than all. Which kind it is, its attributes say, or its name; the release looks for kinds
anywhere within its text. Without a folder of knowledge, tips are derived: how many training dialogues show two kinds
together; and there are no celebrities. ``larch.read_padding_rows`` gives back the release's attention to padding.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, NamedTuple, Self

import numpy as np
import numpy.typing as npt
import torch
import torch.nn.functional as F
from pydantic import Field, model_validator
from torch import Tensor, nn

from semantic_model.config.sections import Config, KnowledgeConfig, RankLossConfig, Section
from semantic_model.data.batch import Column, Histories, Inputs, Reader, to_device
from semantic_model.data.batch import Rows as ContextRows
from semantic_model.data.product_knowledge import ProductKnowledge, tip_and_celebrity_files
from semantic_model.data.records import Product
from semantic_model.data.tokenizer import PAD
from semantic_model.layers.attention import Dropout
from semantic_model.layers.fusion import GatedFusion
from semantic_model.layers.graph import GraphAttention
from semantic_model.layers.images import ImageFeatures
from semantic_model.layers.pooling import masked_softmax
from semantic_model.layers.word_vectors import word_vectors
from semantic_model.ranking.cosine import LateCosineRanker, rank_objective
from semantic_model.ranking.model_spec import ModelSpec, Sizes, Sources

_ENDS = (".", "!", "?")  # of a sentence
_ROW_TOKENS = 8  # word pieces of a row that are read


class LarchConfig(Section):
    """LARCH."""

    layers: int = Field(default=5, ge=1, description="layers of attention over the graph; the last one has one head")
    graph_width: int = Field(default=0, ge=0, description="of the graph's nodes; 0: model.width")
    sentences: int = Field(default=3, ge=1, description="of an utterance; what follows belongs to the last one")
    kinds: int = Field(default=2, ge=1, description="kinds that a product may be of")
    style_tips: int = Field(default=16, ge=0, description="of a product, the commonest")
    attributes: int = Field(default=16, ge=1, description="pairs of a name and a value of a product, the first ones")
    min_count: int = Field(default=2, ge=1, description="products that have a pair of a name and a value, to be a row")
    read_padding_rows: bool = Field(
        default=False,
        description="products with few rows of knowledge are filled up with empty ones, which get attention (release)",
    )


class Settings(Config):
    """All settings of LARCH."""

    loss: RankLossConfig = RankLossConfig()
    knowledge: KnowledgeConfig = KnowledgeConfig()
    larch: LarchConfig = LarchConfig()

    @property
    def places(self) -> dict[str, int]:
        """For rows of each form that a product has."""
        larch = self.larch
        return {"attributes": larch.attributes, "tips": larch.style_tips, "celebrities": larch.kinds}

    @property
    def graph_width(self) -> int:
        """Of the graph's nodes."""
        return self.larch.graph_width or self.model.width

    @model_validator(mode="after")
    def _heads_divide_the_graph(self) -> Settings:
        if self.graph_width % self.model.heads:
            raise ValueError(f"model.heads = {self.model.heads} does not divide larch.graph_width = {self.graph_width}")
        return self


def knowledge_files(config: Settings) -> dict[str, Path]:
    """The files of style tips and celebrities; errors as :func:`tip_and_celebrity_files`."""
    return tip_and_celebrity_files(config.knowledge)


class Knowledge(ProductKnowledge):
    """The rows of the memory, with the settings that say how many of them a product has."""

    @classmethod
    def fit(cls, config: Settings, sources: Sources) -> Self:
        """Learn them; see :class:`semantic_model.ranking.model_spec.Fitted`."""
        larch = config.larch
        return cls.learn(
            sources.corpus, config.text, config.knowledge, min_count=larch.min_count, tips=larch.style_tips
        )


@dataclass(frozen=True)
class WordColumn(Column):
    """The distinct word pieces of sessions [B, W], in order of their ids, told from all of them [Q, T L]."""

    def batch(self, rows: ContextRows, device: torch.device) -> Tensor:
        pieces = np.sort(self.values[rows], axis=1)
        new = (pieces != PAD) & np.diff(pieces, axis=1, prepend=PAD).astype(np.bool_)
        found = np.full((len(pieces), max(int(new.sum(axis=1).max(initial=0)), 1)), PAD, dtype=np.int64)
        at, _ = np.nonzero(new)
        found[at, new.cumsum(axis=1)[new] - 1] = pieces[new]
        return to_device(found, device)


class LarchReader(Reader):
    """Reads distinct words and rows of knowledge, as well; see :class:`Reader`."""

    config: Settings
    fitted: Knowledge

    def distinct_words(self, histories: Histories) -> WordColumn:
        """Which pieces a session has."""
        tokens = self.tokens(histories).values
        return WordColumn(tokens.astype(np.int32).reshape(len(tokens), tokens.shape[1] * tokens.shape[2]))

    def memory_rows(self, products: Sequence[Product]) -> npt.NDArray[np.int32]:
        """The rows that each product has in the table of all [N, R]: the first of a form is the empty one."""
        forms = self.fitted.forms(self.config.places)
        found = np.zeros((len(products), sum(form.places for form in forms.values())), dtype=np.int32)
        known = [self.fitted.rows(product, self.config.text, self.config.places) for product in products]
        first = place = 0
        for name, form in forms.items():
            found[:, place : place + form.places] = first
            for n, rows in enumerate(known):
                found[n, place : place + len(rows[name])] = np.array(rows[name], np.int32) + first + 1
            first, place = first + form.rows, place + form.places
        return found

    context_fields: ClassVar[Mapping[str, Callable[[Any, Histories], Column]]] = {
        **Reader.context_fields,
        "words": distinct_words,
    }
    product_fields: ClassVar[Mapping[str, Callable[[Any, Sequence[Product]], npt.NDArray[Any]]]] = {
        **Reader.product_fields,
        "memory_rows": memory_rows,
    }


class LarchContexts(NamedTuple):
    """Sessions, as LARCH reads them; see :class:`semantic_model.data.batch.ContextBatch`."""

    tokens: Tensor  # int [B, T, L]
    words: Tensor  # int [B, W], the distinct ones among them
    images: Tensor  # float [B, T, M, F]
    image_mask: Tensor  # bool [B, T, M]
    turn_mask: Tensor  # bool [B, T]


class LarchProducts(NamedTuple):
    """Products, as LARCH reads them."""

    image: Tensor  # float [N, F]
    image_mask: Tensor  # bool [N]
    memory_rows: Tensor  # int [N, R]


class Graph(NamedTuple):
    """A session's V nodes: W words, T M images, T S sentences, T utterances, and the session, in that order."""

    nodes: Tensor  # [B, V, D]
    sees: Tensor  # bool [B, V, V], both ways


class WeightedSum(nn.Module):
    """sum_j softmax_j(w h_j) h_j over what each node holds."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.score = nn.Linear(width, 1, bias=False)

    def forward(self, h: Tensor, holds: Tensor) -> Tensor:
        """Nodes [B, J, D] and who holds which, bool [B, I, J] -> [B, I, D]; zeros for what holds none."""
        return masked_softmax(self.score(h).transpose(1, 2).expand_as(holds), holds) @ h


class SessionGraph(nn.Module):
    """q [B, D] of sessions: their graph, and attention over it."""

    ends: Tensor

    def __init__(self, config: Settings, sizes: Sizes) -> None:
        super().__init__()
        D, width, heads, p = config.model.width, config.graph_width, config.model.heads, config.model.dropout
        self.words = word_vectors(config, sizes.vocabulary, sizes.word_width)
        self.images = ImageFeatures(config.image, sizes.image_shape)
        self.project_image = nn.Linear(self.images.shape[0], D)
        self.sentence, self.utterance, self.session = (WeightedSum(D) for _ in range(3))
        self.project = nn.Linear(D, width)
        self.layers = nn.ModuleList(
            GraphAttention(width, width // heads, heads, dropout=p, residual=True)
            for _ in range(config.larch.layers - 1)
        )
        self.last = GraphAttention(width, D, dropout=p, residual=True)
        self.dropout = Dropout(p)
        self.sentences = config.larch.sentences
        numbers = map(sizes.reader.words.tokenizer.token_to_id, _ENDS)
        self.register_buffer("ends", torch.tensor([-1 if n is None else n for n in numbers]), persistent=False)

    def forward(self, batch: LarchContexts) -> Tensor:
        h, sees = self.graph(batch)
        for layer in self.layers:
            h = F.elu(layer(h, sees))
        found: Tensor = self.last(h, sees)[:, -1]
        return found

    def graph(self, batch: LarchContexts) -> Graph:
        """The nodes as they begin, and their links."""
        said = batch.tokens != PAD
        is_word = (batch.tokens[..., None] == batch.words[:, None, None]) & said[..., None]  # [B, T, L, W]
        sentence = self.sentence_of(batch.tokens)  # [B, T, L]
        links = _links(is_word, sentence, self.sentences, batch)
        vectors = self.words(batch.tokens.flatten(0, 1)).unflatten(0, batch.turn_mask.shape)  # [B, T, L, D]
        count = is_word.sum(dim=(1, 2))[..., None].clamp(min=1)
        words = torch.einsum("btlw,btld->bwd", is_word.to(vectors.dtype), vectors) / count
        images = self.project_image(self.images(batch.images, batch.image_mask))
        images = (images * batch.image_mask[..., None]).flatten(1, 2)
        parts = torch.cat([images, self.sentence(words, links.words_of_sentences)], dim=1)
        turns = self.utterance(parts, links.parts_of_turns)
        session = self.session(turns, batch.turn_mask[:, None])
        nodes = torch.cat([words, parts, turns, session], dim=1)
        return Graph(self.project(self.dropout(nodes)), links.all())

    def sentence_of(self, tokens: Tensor) -> Tensor:
        """Which sentence of its utterance a piece is in [B, T, L]; several marks in a row end one."""
        mark = (tokens[..., None] == self.ends).any(dim=-1)
        ends = mark & ~F.pad(mark[..., 1:], (0, 1))
        return (ends.cumsum(dim=-1) - ends.long()).clamp(max=self.sentences - 1)


class Links(NamedTuple):
    """Who holds whom in a session's graph, all bool."""

    beside: Tensor  # [B, W, W], which word comes right after which in a sentence
    words_of_sentences: Tensor  # [B, T S, W]
    words_of_turns: Tensor  # [B, T, W]
    parts_of_turns: Tensor  # [B, T, T M + T S], images and sentences
    parts_of_session: Tensor  # [B, 1, W + T M + T S + T]: words, images, no sentence, utterances

    def all(self) -> Tensor:
        """Both ways, of all nodes [B, V, V]."""
        V = self.parts_of_session.shape[2] + 1
        of_turns = torch.cat([self.words_of_turns, self.parts_of_turns], dim=2)
        blocks = (self.beside, self.words_of_sentences, of_turns, self.parts_of_session)
        words, sentences, turns, session = (F.pad(block, (0, V - block.shape[2])) for block in blocks)
        images = words.new_zeros(len(words), V - sum(part.shape[1] for part in (words, sentences, turns, session)), V)
        one_way = torch.cat([words, images, sentences, turns, session], dim=1)
        return one_way | one_way.transpose(1, 2)


def _links(is_word: Tensor, sentence: Tensor, sentences: int, batch: LarchContexts) -> Links:
    """Who holds whom, given which word stands where [B, T, L, W] and in which sentence [B, T, L]."""
    T = is_word.shape[1]
    at, said = is_word.float(), is_word.any(dim=3)
    goes_on = (sentence[:, :, 1:] == sentence[:, :, :-1]).float()[..., None]
    beside = torch.einsum("btlw,btlx->bwx", at[:, :, :-1], at[:, :, 1:] * goes_on) > 0
    of_sentence = F.one_hot(sentence, sentences).float()
    in_sentence = (torch.einsum("btls,btlw->btsw", of_sentence, at) > 0).flatten(1, 2)
    own = torch.eye(T, dtype=torch.bool, device=said.device)
    shown, spoken = batch.image_mask.flatten(1), in_sentence.any(dim=2)  # [B, T M], [B, T S]
    images = own.repeat_interleave(batch.image_mask.shape[2], dim=1) & shown[:, None]
    spoken_there = own.repeat_interleave(sentences, dim=1) & spoken[:, None]
    of_session = torch.cat([is_word.any(dim=2).any(dim=1), shown, torch.zeros_like(spoken), batch.turn_mask], dim=1)
    return Links(beside, in_sentence, is_word.any(dim=2), torch.cat([images, spoken_there], dim=2), of_session[:, None])


class MemoryTable(NamedTuple):
    """All rows of knowledge [U, D], encoded."""

    query_keys: Tensor  # k
    image_keys: Tensor  # k'
    values: Tensor  # v


class Memory(nn.Module):
    """Rows of knowledge, each encoded once; which of them a product has, its numbers say."""

    empty: Tensor
    scores: Tensor

    def __init__(self, config: Settings, sizes: Sizes) -> None:
        super().__init__()
        knowledge: Knowledge = sizes.reader.fitted
        forms = knowledge.forms(config.places)
        self.forms = nn.ModuleDict()
        for name in forms:
            width = sizes.word_width if name != "celebrities" else len(knowledge.celebrities)
            self.forms[name] = nn.ModuleList(nn.Linear(width, config.model.width) for _ in MemoryTable._fields)
        for name, texts in knowledge.texts().items():
            if name in forms:
                tokens = sizes.reader.words.encode(["", *texts], _ROW_TOKENS)
                self.register_buffer(name, torch.from_numpy(tokens), persistent=False)
        scores = np.pad(knowledge.scores(), ((1, 0), (0, 0)))
        self.register_buffer("scores", torch.from_numpy(scores), persistent=False)
        first = np.cumsum([0, *(form.rows for form in forms.values())])
        empty = np.isin(np.arange(first[-1]), [] if config.larch.read_padding_rows else first[:-1])
        self.register_buffer("empty", torch.from_numpy(empty), persistent=False)
        self._kept: tuple[list[tuple[int, int]], MemoryTable] | None = None

    def table(self, words: Tensor) -> MemoryTable:
        """The rows, given the word vectors [vocabulary, E]; without gradients, they are kept until a weight changes."""
        if torch.is_grad_enabled():
            return self._encoded(words)
        now = [(weight.data_ptr(), weight._version) for weight in (words, *self.parameters())]
        if self._kept is None or self._kept[0] != now:
            self._kept = now, self._encoded(words)
        return self._kept[1]

    def _encoded(self, words: Tensor) -> MemoryTable:
        found = []
        for name, form in self.forms.items():
            x = self.scores
            if name != "celebrities":
                x = F.embedding_bag(getattr(self, name), words, mode="mean", padding_idx=PAD)
            found.append([part(x) for part in form.children()])
        return MemoryTable(*(torch.cat(parts) for parts in zip(*found, strict=True)))

    def read(self, query: Tensor, keys: Tensor, values: Tensor, rows: Tensor) -> Tensor:
        """sum_r softmax_r(q k_r) v_r of queries [B, D] over rows [B, C, R], or [1, C, R] for all queries: [B, C, D]."""
        some = (query @ keys.T).gather(1, rows.flatten(1).expand(len(query), -1))  # [B, C R]
        shares = masked_softmax(some.reshape(len(query), *rows.shape[1:]), ~self.empty[rows])
        return torch.einsum("bcr,bcrd->bcd", shares, F.embedding(rows, values))


class LarchContext(NamedTuple):
    """Encoded sessions."""

    unit: Tensor  # q / |q| [B, D]
    q: Tensor  # [B, D]


class LarchProduct(NamedTuple):
    """Encoded products, as they are for every query."""

    i: Tensor  # [N, D]
    enhanced: Tensor  # e' [N, D]
    rows: Tensor  # int [N, R]


class Larch(LateCosineRanker):
    """Sessions, products, and products as each session sees them."""

    def __init__(self, config: Settings, sizes: Sizes) -> None:
        super().__init__(config.loss)
        D = config.model.width
        self.graph = SessionGraph(config, sizes)
        self.images = ImageFeatures(config.image, sizes.image_shape)
        self.project_image = nn.Linear(self.images.shape[0], D)
        self.memory = Memory(config, sizes)
        self.gate, self.image_gate = GatedFusion(D), GatedFusion(D)
        self.of_query, self.of_image = nn.Linear(D, 4 * D), nn.Linear(D, 4 * D, bias=False)
        self.out = nn.Linear(4 * D, D)
        self.dropout = Dropout(config.model.dropout)
        places = sum(form.places for form in sizes.reader.fitted.forms(config.places).values())
        self.pair_width = (places + 8) * D

    def encode_contexts(self, batch: LarchContexts) -> LarchContext:
        """q [B, D]."""
        q = self.graph(batch)
        return LarchContext(F.normalize(q, dim=-1), q)

    def encode_products(self, batch: LarchProducts) -> LarchProduct:
        """i and e' [N, D]."""
        i = self.project_image(self.images(batch.image, batch.image_mask)) * batch.image_mask[:, None]
        table = self._table()
        rows = batch.memory_rows.long()[:, None]  # [N, 1, R]
        known = self.memory.read(i, table.image_keys, table.values, rows)[:, 0]
        return LarchProduct(i, self.image_gate(known, i), batch.memory_rows)

    def products_for(self, contexts: LarchContext, products: LarchProduct) -> Tensor:
        """rho [B, C, D], of length one."""
        table = self._table()
        known = self.memory.read(contexts.q, table.query_keys, table.values, products.rows.long())
        e = self.dropout(self.gate(known, products.i))
        hidden = torch.relu(self.of_query(e) + self.of_image(products.enhanced))
        return F.normalize(self.out(hidden), dim=-1)

    def _table(self) -> MemoryTable:
        return self.memory.table(self.graph.words.table.weight)


MODEL = ModelSpec(
    "larch",
    "LARCH, a graph of the session against products whose knowledge the query reads",
    Larch,
    rank_objective,
    Inputs(LarchContexts, LarchProducts),
    LarchReader,
    Knowledge,
    files=knowledge_files,
    preset="tuned",
)
