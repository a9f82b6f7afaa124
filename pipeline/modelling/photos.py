"""Images that the corpus does not have, as a run sees them: encoded by its own encoder, kept in memory alone."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Mapping
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from pipeline.modelling.conversation import Photo
from schemas.errors import CorpusError
from schemas.files import sha256_bytes
from semantic_model.data.corpus import Corpus
from semantic_model.data.image_decoding import MAX_BYTES, UndecodableImageError, decode_image

if TYPE_CHECKING:
    from semantic_model.data.batch import Reader
    from semantic_model.data.image_features import FeatureEncoder

_REMEMBERED = 256  # photos whose features are kept


class Photos:
    """Features of photos; those seen last are remembered.

    Args:
        corpus: whose images they may be.
        reader: of the run; None of a ranker that reads no images.
    """

    def __init__(self, corpus: Corpus, reader: Reader | None) -> None:
        self.corpus = corpus
        self.reader = reader
        self._features: OrderedDict[str, npt.NDArray[Any]] = OrderedDict()

    def image_id(self, name: str, photo: Photo, found: dict[str, npt.NDArray[Any]]) -> str:
        """The image id of a photo: the corpus's own, where it has the very same file.

        Args:
            name: what errors call it.
            found: gets the features [F] of a photo that is not the corpus's, by its image id.

        Raises:
            CorpusError: it cannot be read or decoded.
            MissingPartError: the encoder's weights are not here.
            ModelError: the run's features were brought along, so that no others can be made.
        """
        where = name if isinstance(photo, bytes) else photo
        try:
            if not isinstance(photo, bytes) and photo.stat().st_size > MAX_BYTES:
                raise CorpusError(f"an image of more than {MAX_BYTES >> 20} MB", where=where, fix="make it smaller")
            content = photo if isinstance(photo, bytes) else photo.read_bytes()
        except OSError as problem:
            raise CorpusError(f"cannot read the image: {problem.strerror}", where=where) from None
        key = sha256_bytes(content)
        known = self._image_of_hash.get(key)
        if known is not None:
            return known
        if key not in self._features:
            self._features[key] = self._encode(content, where)
        self._features.move_to_end(key)
        image_id = f"sha256:{key}"
        found[image_id] = self._features[key]
        while len(self._features) > _REMEMBERED:
            self._features.popitem(last=False)
        return image_id

    @cached_property
    def _image_of_hash(self) -> Mapping[str, str]:
        return {sha: image for image, sha in reversed(list(self.corpus.image_hashes.items()))}

    @cached_property
    def _encoder(self) -> FeatureEncoder | None:
        from semantic_model.data.image_features import open_encoder

        return None if self.reader is None else open_encoder(self.reader.config.image)

    def _encode(self, content: bytes, where: object) -> npt.NDArray[Any]:
        try:
            image = decode_image(content)
        except UndecodableImageError as problem:
            raise CorpusError(problem.what, where=where, fix="give a JPEG, PNG or WebP file") from None
        if self._encoder is None:
            return np.zeros(0, dtype=np.float32)
        features: npt.NDArray[Any] = self._encoder.encode([image])[0]
        return features
