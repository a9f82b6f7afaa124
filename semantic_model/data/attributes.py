"""What models read that look at a product attribute by attribute, or at its description."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, ClassVar

import numpy as np
import numpy.typing as npt

from schemas.errors import ModelError
from semantic_model.config.sections import AttributeTextConfig, TextConfig
from semantic_model.data.batch import Reader
from semantic_model.data.records import Product
from semantic_model.data.tokenizer import PAD, TokenArray


def read_attributes(product: Product, config: TextConfig) -> dict[str, tuple[str, ...]]:
    """The attributes of a product that are read, in order, none without a value."""
    found = {key: values for key, values in product.attributes.items() if values and config.reads(key)}
    most = config.max_attributes if isinstance(config, AttributeTextConfig) else None
    return dict(list(found.items())[:most])


class AttributeReader(Reader):
    """Reads attributes and descriptions as well; see :class:`Reader`."""

    @property
    def text(self) -> AttributeTextConfig:
        """The settings of words."""
        if not isinstance(self.config.text, AttributeTextConfig):
            raise ModelError("a model that reads attributes needs the settings of AttributeTextConfig")
        return self.config.text

    def attribute_tokens(self, products: Sequence[Product]) -> TokenArray:
        """Word pieces of each attribute, its name first [N, A, V]; padding where a product has fewer."""
        A, V = self.text.max_attributes, self.text.attribute_tokens
        found = np.full((len(products), A, V), PAD, dtype=np.int64)
        texts = [
            (row, place, f"{key} {' '.join(values)}")
            for row, product in enumerate(products)
            for place, (key, values) in enumerate(read_attributes(product, self.text).items())
        ]
        pieces = self.words.encode([text for _, _, text in texts], V)
        for (row, place, _), tokens in zip(texts, pieces, strict=True):
            found[row, place, : len(tokens)] = tokens
        return found

    def description_tokens(self, products: Sequence[Product]) -> TokenArray:
        """Word pieces of names and descriptions [N, L]."""
        texts = [". ".join(part for part in (item.name, item.description) if part) for item in products]
        return self.words.encode(texts, self.config.text.product_max_tokens)

    product_fields: ClassVar[Mapping[str, Callable[[Any, Sequence[Product]], npt.NDArray[Any]]]] = {
        **Reader.product_fields,
        "attribute_tokens": attribute_tokens,
        "description_tokens": description_tokens,
    }
