"""UMD, User Attention-guided Multimodal Dialog Systems (Cui, Wang, Song, Huang, Xu and Nie, SIGIR 2019), as a ranker.

Its multimodal encoder with the taxonomy-attribute combined tree, and its context encoder. Factorised bilinear pooling
(Yu et al. 2017), MFB(x, y) = SumPool(U x * V y), sums k neighbours, or all where a single number is asked for.

    h_l = BiLSTM(words of a text),  x = sum_l softmax_l(w tanh(W h_l)) h_l     token attention; products have their own
    M   = the image's map of features                                        (the convolutional stem)
    P   = relu(conv_leaf(relu(conv_top(M))))   of the product's own kind: a leaf of the taxonomy, and the node above it
    a_g = relu(conv_value(relu(conv_g(P))))    of each group of attributes, with the product's own value in it
    v   = sum_g softmax_g(MFB(x, a_g)) a_g                                   (the text attends to attributes)
    rho = MFB(x, v)                                                          (a product)
    c   = Linear(BiLSTM([x_1; Linear(M_1)], ..., [x_T; Linear(M_T)]))        (a context: M_t of the images of turn t)
    f   = cos(c, rho)

Convolutions are 3 x 3 without padding. A product that no kind or value fits goes through a node of its own, "other".

Departures: the nonlinearities are ours, and so are some sizes: contexts and products have text encoders of their own,
words are projected to the model's width first, each direction of a text's BiLSTM has half of it, and the MFB of a
product sums k = 1 neighbours. What becomes of the images of a context is derived: nobody knows the kinds of what they
show, so that they are read as the stem's map, averaged over a turn, without the tree, and joined to the text (fused by
MFB instead, far less is learned). An image that is missing is a map of zeros, where the release closes the
gap and pairs what follows with other products' texts. Batch norms of a fine-tuned stem are as ``image.bn`` says; the
release leaves them in training mode when it tests. Without files of knowledge, kinds and groups of attributes come from
the catalogue.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import cached_property
from itertools import accumulate
from pathlib import Path
from typing import Any, ClassVar, Literal, NamedTuple

import numpy as np
import numpy.typing as npt
import torch
import torch.nn.functional as F
from pydantic import Field
from torch import Tensor, nn

from schemas.errors import ModelError
from schemas.files import read_json, write_json
from schemas.folding import fold
from schemas.ontology import CATEGORY_ATTRIBUTES
from semantic_model.config.sections import Config, KnowledgeConfig, MapImageConfig, RankLossConfig, Section, TextConfig
from semantic_model.data.batch import ContextBatch, Inputs, Reader
from semantic_model.data.knowledge import find_file
from semantic_model.data.records import Product
from semantic_model.data.taxonomy import (
    ATTRIBUTE_FILES,
    TAXONOMY_FILES,
    Group,
    Leaf,
    WordLists,
    read_attribute_groups,
    read_taxonomy,
)
from semantic_model.data.tokenizer import PAD
from semantic_model.layers.attention import Dropout
from semantic_model.layers.fusion import BilinearFusion
from semantic_model.layers.images import ImageFeatures
from semantic_model.layers.node_convolution import NodeConvolution
from semantic_model.layers.pooling import AttentivePool
from semantic_model.layers.recurrent import RecurrentEncoder
from semantic_model.layers.word_vectors import word_vectors
from semantic_model.ranking.cosine import CosineRanker, rank_objective
from semantic_model.ranking.model_spec import ModelSpec, Sizes, Sources

_EDGE = 8  # cells that four convolutions take off a map
_TREE = "tree.json"
_MOST_NUMBERS = 0.5  # share of an attribute's values; with more, it is an amount, as a price


class UmdImageConfig(MapImageConfig):
    """Images of UMD."""

    map: str = Field(
        default="layer1",
        min_length=1,
        description="the layer whose map of features is read, as layer1 ... layer4 of a resnet: 9 x 9 cells at least; "
        "'pixels' has one map, whatever is said here",
    )


class UmdConfig(Section):
    """UMD."""

    text_width: int | None = Field(
        default=None, ge=1, description="of each direction of the text encoder; none: half of model.width"
    )
    tree_channels: int = Field(default=16, ge=1, description="of the convolutions of the taxonomy's nodes")
    attribute_channels: int = Field(default=16, ge=1, description="of those of attributes and their values")
    token_attention: int = Field(default=128, ge=1, description="width inside the token attention")
    factors: int = Field(default=1, ge=1, description="k of MFB, products that each number of a fused vector sums")
    groups: int = Field(default=6, ge=1, description="of attributes, where they are derived: those with most values")
    values: int = Field(default=16, ge=1, description="of a group, where they are derived: the commonest")
    leaves: int = Field(default=82, ge=1, description="kinds of products, where they are derived: the commonest")
    match: Literal["words", "substrings"] = Field(
        default="words",
        description="how a product's text names a kind or a value: by whole words, the most in a row, those of the "
        "attribute of that name first; or anywhere within its words, the first that is found (release)",
    )
    tree_trainable: bool = Field(
        default=True, description="false: the convolutions of the tree stay as drawn at random (release)"
    )
    attend_padding: bool = Field(default=False, description="the token attention has a share for padding (release)")


class Settings(Config):
    """All settings of UMD."""

    image: UmdImageConfig = UmdImageConfig()
    loss: RankLossConfig = RankLossConfig()
    knowledge: KnowledgeConfig = KnowledgeConfig()
    umd: UmdConfig = UmdConfig()


class UmdProducts(NamedTuple):
    """Products, as UMD reads them."""

    tokens: Tensor  # int [N, L]
    image: Tensor  # float [N, F]
    image_mask: Tensor  # bool [N]
    leaf: Tensor  # int [N], the node of the taxonomy
    values: Tensor  # int [N, G], the value in each group


def knowledge_files(config: Settings) -> dict[str, Path]:
    """The files that the tree is read from, by name; none where it is derived.

    Raises:
        MissingPartError: one is not there; lists the ways out.
        ModelError: one cannot be read, or holds something else.
    """
    if not config.knowledge.folder:
        return {}
    paths = _taxonomy_files(config.knowledge)
    for path in paths:
        read_taxonomy(path)
    groups = find_file(config.knowledge, ATTRIBUTE_FILES, what="groups of attribute values")
    read_attribute_groups(groups)
    return {path.name: path for path in (*paths, groups)}


def _taxonomy_files(config: KnowledgeConfig) -> list[Path]:
    """One file, or MMD's own two."""
    first = find_file(config, TAXONOMY_FILES, what="a taxonomy of products")
    other = first.with_name("taxonomy_women.txt")
    return [first, other] if first.name == "taxonomy_men.txt" and other.is_file() else [first]


@dataclass(frozen=True)
class Tree:
    """The taxonomy and the groups of attributes: which nodes a product goes through."""

    leaves: tuple[Leaf, ...]
    groups: tuple[Group, ...]
    substrings: bool  # how texts are matched, see ``umd.match``

    @classmethod
    def fit(cls, config: Settings, sources: Sources) -> Tree:
        """Read it from the folder of knowledge; without one, derive it from the catalogue."""
        substrings = config.umd.match == "substrings"
        if not config.knowledge.folder:
            products = sources.corpus.products
            return cls(_leaves(config.umd, products), _groups(config, products), substrings)
        leaves = dict.fromkeys(leaf for path in _taxonomy_files(config.knowledge) for leaf in read_taxonomy(path))
        groups = read_attribute_groups(find_file(config.knowledge, ATTRIBUTE_FILES, what="groups of attribute values"))
        return cls(tuple(leaves), tuple(groups), substrings)

    def save(self, folder: Path) -> None:
        """Write ``tree.json``."""
        write_json(folder / _TREE, asdict(self))

    @classmethod
    def load(cls, folder: Path, sources: Sources | None = None) -> Tree:
        """Read :meth:`save` back.

        Raises:
            ModelError: missing or damaged.
        """
        found = read_json(folder / _TREE, error=ModelError, fix="train again", shape=cls)
        if not found.groups:
            raise ModelError("a tree without attributes", where=folder / _TREE, fix="train again")
        return found

    @property
    def top_of(self) -> list[int]:
        """The top node of each leaf, "other" last."""
        tops = list(dict.fromkeys(leaf.top for leaf in self.leaves))
        return [*(tops.index(leaf.top) for leaf in self.leaves), len(tops)]

    @property
    def first_of(self) -> list[int]:
        """The number of each group's first value, where all are counted, "other" of each group last; then how many."""
        return list(accumulate((len(group.values) + 1 for group in self.groups), initial=0))

    @cached_property
    def _kinds(self) -> WordLists:
        return WordLists((leaf.words for leaf in self.leaves), substrings=self.substrings)

    @cached_property
    def _values(self) -> list[WordLists]:
        return [WordLists(group.values, substrings=self.substrings) for group in self.groups]

    def leaf(self, product: Product) -> int:
        """Its kind; how many there are, if none fits."""
        return self._find(self._kinds, product, CATEGORY_ATTRIBUTES)

    def values(self, product: Product) -> list[int]:
        """Its value in each group; how many that has, if none fits."""
        return [
            self._find(words, product, (group.name,)) for words, group in zip(self._values, self.groups, strict=True)
        ]

    def _find(self, words: WordLists, product: Product, own: Iterable[str]) -> int:
        if self.substrings:
            return words.find((product.text,))
        found = words.find(value for name in own for value in product.attributes.get(name, ()))
        if found < words.count:
            return found
        return words.find((product.name, *(value for values in product.attributes.values() for value in values)))


def _leaves(config: UmdConfig, products: Sequence[Product]) -> tuple[Leaf, ...]:
    """The values of the attribute that names kinds; above them, those of one that has fewer, if there is such."""
    having = Counter(name for product in products for name in CATEGORY_ATTRIBUTES if product.attributes.get(name))
    if not having:
        return ()
    kind = max(CATEGORY_ATTRIBUTES, key=lambda name: having[name])
    commonest = Counter(value for product in products for value in _folded(product, kind)).most_common(config.leaves)
    leaves = sorted(value for value, _ in commonest)
    for name in (other for other in CATEGORY_ATTRIBUTES if other != kind and having[other]):
        above: dict[str, Counter[str]] = {leaf: Counter() for leaf in leaves}
        for product in products:
            for leaf in above.keys() & _folded(product, kind):
                above[leaf].update(_folded(product, name))
        tops = {leaf: _first(counts) for leaf, counts in above.items() if counts}
        if len(tops) == len(leaves) > len(set(tops.values())):
            return tuple(Leaf(tops[leaf], (leaf,)) for leaf in leaves)
    return tuple(Leaf("product", (leaf,)) for leaf in leaves)


def _groups(config: Settings, products: Sequence[Product]) -> tuple[Group, ...]:
    """The attributes with most values, not counting those of one product alone; with none, one that says nothing."""
    counts: dict[str, Counter[str]] = {}
    for product in products:
        for name in product.attributes:
            if _is_read(name, config.text):
                counts.setdefault(name, Counter()).update(set(_folded(product, name)))
    shared = {name: {value: n for value, n in count.items() if n > 1} for name, count in counts.items()}
    ranked = sorted(
        (name for name in shared if _names_values(shared[name])), key=lambda name: (-len(shared[name]), name)
    )
    groups = []
    for name in ranked[: config.umd.groups]:
        values = sorted(sorted(shared[name], key=lambda v: (-shared[name][v], v))[: config.umd.values])
        groups.append(Group(name, tuple((value,) for value in values)))
    return tuple(groups) or (Group("", ()),)


def _is_read(name: str, config: TextConfig) -> bool:
    return name not in CATEGORY_ATTRIBUTES and config.reads(name)


def _names_values(values: Iterable[str]) -> bool:
    found = list(values)
    return len(found) > 1 and sum(value[:1].isdigit() for value in found) <= _MOST_NUMBERS * len(found)


def _folded(product: Product, name: str) -> list[str]:
    return [fold(value) for value in product.attributes.get(name, ())]


def _first(counts: Counter[str]) -> str:
    """The commonest; of several, the first by name."""
    return min(counts, key=lambda value: (-counts[value], value))


class UmdReader(Reader):
    """Reads which nodes products go through, as well; see :class:`Reader`."""

    product_fields: ClassVar[Mapping[str, Callable[[Any, Sequence[Product]], npt.NDArray[Any]]]] = {
        **Reader.product_fields,
        "leaf": lambda reader, products: np.array([reader.fitted.leaf(product) for product in products], np.int64),
        "values": lambda reader, products: np.array(
            [reader.fitted.values(product) for product in products], np.int64
        ).reshape(len(products), len(reader.fitted.groups)),
    }


class TextEncoder(nn.Module):
    """x of texts.

    Args:
        length: word pieces that texts are padded to, so that padding is looked at; None: it is not.
    """

    def __init__(self, config: Settings, length: int | None) -> None:
        super().__init__()
        D = config.model.width
        self.lstm = RecurrentEncoder("lstm", D, config.umd.text_width or max(D // 2, 1), bidirectional=True)
        self.pool = AttentivePool(self.lstm.out, config.umd.token_attention)
        self.dropout = Dropout(config.model.dropout)
        self.length = length

    def forward(self, words: Tensor, mask: Tensor) -> Tensor:
        """Words [R, L, D], bool [R, L] -> [R, 2 H]."""
        h, _ = self.lstm(self.dropout(words), mask)
        if self.length is not None:
            h = F.pad(h, (0, 0, 0, max(self.length - h.shape[1], 0)))  # states of padding are zeros, however much it is
            mask = torch.ones_like(h[..., 0], dtype=torch.bool)
        x: Tensor = self.dropout(self.pool(h, mask))
        return x


class Umd(CosineRanker):
    """Contexts and products as vectors of length one.

    Raises:
        ModelError: a map that is too small for the tree.
    """

    top_of: Tensor
    first_of: Tensor

    def __init__(self, config: Settings, sizes: Sizes) -> None:
        super().__init__(config.loss)
        D, umd = config.model.width, config.umd
        tree: Tree = sizes.reader.fitted
        self.words = word_vectors(config, sizes.vocabulary, sizes.word_width)
        lengths = (config.text.max_tokens, config.text.product_max_tokens) if umd.attend_padding else (None, None)
        self.utterance, self.product = (TextEncoder(config, length) for length in lengths)
        text_width = self.product.lstm.out
        self.images = ImageFeatures(config.image, sizes.image_shape)
        C, H, W = self.images.shape if len(self.images.shape) == 3 else (0, 0, 0)
        if min(H, W) <= _EDGE:
            raise ModelError(
                f"umd reads maps of {_EDGE + 1} x {_EDGE + 1} cells at least, these images have {H} x {W}",
                fix="set image.map to an earlier layer, as layer1, or image.encoder = 'pixels'",
            )
        top_of, first_of = tree.top_of, tree.first_of
        self.register_buffer("top_of", torch.tensor(top_of), persistent=False)
        self.register_buffer("first_of", torch.tensor(first_of[:-1]), persistent=False)
        tree_channels, channels = umd.tree_channels, umd.attribute_channels
        self.top = NodeConvolution(top_of[-1] + 1, C, tree_channels)
        self.leaf = NodeConvolution(len(top_of), tree_channels, tree_channels)
        self.groups = nn.Conv2d(tree_channels, len(tree.groups) * channels, 3)
        self.values = NodeConvolution(first_of[-1], channels, channels)
        for part in (self.top, self.leaf, self.groups, self.values):
            part.requires_grad_(umd.tree_trainable)
        places = channels * (H - _EDGE) * (W - _EDGE)
        several = len(tree.groups) > 1  # of one, all of it is looked at
        self.attend = BilinearFusion(text_width, places, 1, factors=D * umd.factors) if several else None
        self.fuse = BilinearFusion(text_width, places, D, factors=umd.factors)
        self.turn_image = nn.Linear(C * H * W, D)
        self.context = RecurrentEncoder("lstm", text_width + D, D, bidirectional=True)
        self.out = nn.Linear(2 * D, D)
        self.dropout = Dropout(config.model.dropout)

    def attributes(self, batch: UmdProducts) -> Tensor:
        """a [N, G, places]: the maps of each product's own values."""
        maps = self.images(batch.image, batch.image_mask)  # [N, C, H, W]
        kind = self.leaf(self.top(maps, self.top_of[batch.leaf]), batch.leaf)
        groups = torch.relu(self.groups(kind))  # [N, G channels, .., ..]
        own = batch.values + self.first_of
        groups = groups.reshape(own.numel(), self.values.weight.shape[2], *groups.shape[2:])
        found: Tensor = self.values(groups, own.flatten())
        return found.reshape(*own.shape, found[0].numel() if len(found) else self.fuse.of_y.in_features)

    def encode_products(self, batch: UmdProducts) -> Tensor:
        """rho [N, D], of length one."""
        x = self.product(self.words(batch.tokens), batch.tokens != PAD)  # [N, 2 H]
        a = self.attributes(batch)
        if self.attend is not None:
            a = self.attend(x[:, None], a).softmax(dim=1) * a
        return F.normalize(self.fuse(x, a.sum(dim=1)), dim=-1)

    def encode_contexts(self, batch: ContextBatch) -> Tensor:
        """c [B, D], of length one."""
        tokens = batch.tokens.flatten(0, 1)
        x = self.utterance(self.words(tokens), tokens != PAD).view(*batch.turn_mask.shape, -1)  # [B, T, 2 H]
        maps = self.images(batch.images, batch.image_mask).flatten(3)  # [B, T, M, C H W], zeros where there is none
        shown = maps.sum(dim=2) / batch.image_mask.sum(dim=2, keepdim=True).clamp(min=1)
        z = torch.cat([x, self.turn_image(shown)], dim=2)
        _, c = self.context(self.dropout(z), batch.turn_mask)
        return F.normalize(self.out(self.dropout(c)), dim=-1)


MODEL = ModelSpec(
    "umd",
    "UMD, which reads images through a tree of kinds and attributes, guided by the text",
    Umd,
    rank_objective,
    Inputs(products=UmdProducts),
    UmdReader,
    Tree,
    files=knowledge_files,
    preset="tuned",
)
