"""MAGIC, the multimodal dialogue system of Nie, Wang, Hong, Wang and Tian (ACM MM 2019), its ranking half.

After the context encoder of "Multimodal Dialog System: Generating Responses via Adaptive Decoders" and the image
recommendation model of its multimodal response decoder:

    u_t = [last; first] states of a BiLSTM over the words of utterance t
    x_p = tanh(V_p) of cell p of an image's feature map, V_p = W v_p
    a_p = softmax over cells of w tanh(A x_p + B u_t)           (attention over the image, guided by its text)
    i_t = mean over the images of turn t of sum_p a_p x_p
    c   = [last; first] states of a BiLSTM over Linear([u_1; i_1]), ..., Linear([u_T; i_T])
    rho = Linear([u; i]) with u of the product's text (all its attributes) and i of its image, guided by u
    f   = cos(c, rho)

Departures: its knowledge (style tips, celebrities, attributes) guides the text decoders alone and takes no part in
ranking, neither there nor here. A turn may show several images, which are averaged. Cells are projected to the width of
texts, as maps other than ResNet's have few channels, and large maps are averaged down to ``magic.cells`` a side.
The release trains only on turns of certain intents, which other corpora do not tell, and ranks with batch norms in
training mode; here every recommendation turn counts, and ranking is deterministic. Switches give back what the release
does with feature maps (``magic.one_cell_attention``) and padding (``magic.read_padding``).
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from pydantic import Field
from torch import Tensor, nn

from semantic_model.config.sections import Config, MapImageConfig, RankLossConfig, Section
from semantic_model.data.batch import ContextBatch, ProductBatch
from semantic_model.data.tokenizer import PAD
from semantic_model.layers.attention import Dropout
from semantic_model.layers.images import ImageFeatures
from semantic_model.layers.pooling import masked_mean
from semantic_model.layers.recurrent import RecurrentEncoder
from semantic_model.layers.word_vectors import word_vectors
from semantic_model.ranking.cosine import CosineRanker, rank_objective
from semantic_model.ranking.model_spec import ModelSpec, Sizes


class MagicConfig(Section):
    """MAGIC."""

    context_width: int = Field(
        default=0, ge=0, description="of each direction over turns; contexts have twice that. 0: model.width"
    )
    cells: int = Field(default=4, ge=1, description="cells a side that an image's map of features is averaged down to")
    one_cell_attention: bool = Field(
        default=False, description="average the map to one cell before the attention, which then does nothing (release)"
    )
    read_padding: bool = Field(
        default=False, description="the BiLSTM over words runs over the padding behind them, too (release)"
    )


class Settings(Config):
    """All settings of MAGIC."""

    image: MapImageConfig = MapImageConfig()
    loss: RankLossConfig = RankLossConfig()
    magic: MagicConfig = MagicConfig()


class WordReader(nn.Module):
    """Texts [.., L] as the last states of a BiLSTM over their words [.., out].

    Args:
        length: L to which texts are padded where padding is read; 0: it is skipped.
    """

    def __init__(self, width: int, *, length: int, dropout: float) -> None:
        super().__init__()
        self.recurrent = RecurrentEncoder("lstm", width, max(width // 2, 1), bidirectional=True)
        self.out = self.recurrent.out
        self.length = length
        self.dropout = Dropout(dropout)

    def forward(self, words: nn.Module, tokens: Tensor) -> Tensor:
        tokens = F.pad(tokens, (0, max(self.length - tokens.shape[-1], 0)))
        rows = tokens.flatten(0, -2)
        mask = (rows != PAD) | bool(self.length)
        _, last = self.recurrent(self.dropout(words(rows)), mask)
        found: Tensor = last.reshape(*tokens.shape[:-1], self.out)
        return found


class GuidedImage(nn.Module):
    """Images as sums over the cells of their maps, which a text weighs."""

    def __init__(self, channels: int, text: int, width: int, config: MagicConfig) -> None:
        super().__init__()
        self.cells = 1 if config.one_cell_attention else config.cells
        self.project = nn.Linear(channels, width)
        # softmax over one cell is 1 whatever its score: the attention would have nothing to train
        self.attention = None if self.cells == 1 else CellAttention(width, text)

    def forward(self, maps: Tensor, text: Tensor) -> Tensor:
        """Maps [.., C, height, width] and the text of each [.., E] -> [.., D]."""
        height, width = (min(side, self.cells) for side in maps.shape[-2:])
        small = F.adaptive_avg_pool2d(maps.flatten(0, -4), (height, width)).flatten(2).transpose(1, 2)
        x = torch.tanh(self.project(small))
        x = x.reshape(*maps.shape[:-3], *x.shape[1:])  # [.., P, D]
        found: Tensor = x[..., 0, :] if self.attention is None else self.attention(x, text)
        return found


class CellAttention(nn.Module):
    """sum_p a_p x_p with a = softmax over p of w tanh(A x_p + B u): [.., P, D], [.., E] -> [.., D]."""

    def __init__(self, width: int, text: int) -> None:
        super().__init__()
        self.of_cell = nn.Linear(width, width)
        self.of_text = nn.Linear(text, width, bias=False)
        self.score = nn.Linear(width, 1, bias=False)

    def forward(self, x: Tensor, text: Tensor) -> Tensor:
        scores = self.score(torch.tanh(self.of_cell(x) + self.of_text(text)[..., None, :]))
        found: Tensor = (scores.softmax(dim=-2) * x).sum(dim=-2)
        return found


class Magic(CosineRanker):
    """Contexts and products as vectors of length one."""

    def __init__(self, config: Settings, sizes: Sizes) -> None:
        super().__init__(config.loss)
        D, C = config.model.width, config.magic.context_width or config.model.width
        self.words = word_vectors(config, sizes.vocabulary, sizes.word_width)
        self.images = ImageFeatures(config.image, sizes.image_shape)
        self.utterance, self.product_text = (
            WordReader(D, length=length * config.magic.read_padding, dropout=config.model.dropout)
            for length in (config.text.max_tokens, config.text.product_max_tokens)
        )
        text = self.utterance.out
        self.context_image, self.product_image = (
            GuidedImage(self.images.shape[0], text, D, config.magic) for _ in range(2)
        )
        self.turn = nn.Linear(text + D, D)
        self.context = RecurrentEncoder("lstm", D, C, bidirectional=True)
        self.product = nn.Linear(text + D, self.context.out)
        self.dropout = Dropout(config.model.dropout)

    def encode_contexts(self, batch: ContextBatch) -> Tensor:
        """c [B, 2 C], of length one."""
        u = self.utterance(self.words, batch.tokens)  # [B, T, E]
        maps = self.images(batch.images, batch.image_mask)  # [B, T, M, channels, height, width]
        text = u[:, :, None].expand(*batch.image_mask.shape, -1)
        i = masked_mean(self.context_image(maps, text), batch.image_mask)  # [B, T, D]
        _, c = self.context(self.dropout(self.turn(torch.cat([u, i], dim=2))), batch.turn_mask)
        return F.normalize(self.dropout(c), dim=-1)

    def encode_products(self, batch: ProductBatch) -> Tensor:
        """rho [N, 2 C], of length one."""
        u = self.product_text(self.words, batch.tokens)
        i = self.product_image(self.images(batch.image, batch.image_mask), u) * batch.image_mask[:, None]
        return F.normalize(self.product(self.dropout(torch.cat([u, i], dim=1))), dim=-1)


MODEL = ModelSpec(
    "magic",
    "MAGIC, BiLSTMs over words and turns with attention over images that their text guides",
    Magic,
    rank_objective,
    preset="tuned",
)
