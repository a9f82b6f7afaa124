"""Images as numbers: encoded once each, kept as a memory map keyed by encoder and image hash."""

from __future__ import annotations

import math
import platform
import re
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from functools import cached_property
from pathlib import Path
from pkgutil import resolve_name
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
import orjson
from PIL import Image

from schemas.engine import Engine
from schemas.errors import ModelError, UsageError
from schemas.files import sha256_bytes, sha256_file
from schemas.progress import Progress, SilentProgress, Task
from semantic_model.config.sections import ImageConfig, MapImageConfig, TowerImageConfig
from semantic_model.data.feature_store import FeatureStore, read_array
from semantic_model.data.image_decoding import DECODING_VERSION, UndecodableImageError, decode_image
from semantic_model.data.pixels import CELLS_SHAPE, PIXELS_VERSION, PIXELS_WIDTH, describe_cells, describe_pixels
from semantic_model.data.records import FloatArray

if TYPE_CHECKING:
    from semantic_model.data.vision import ImageNetwork, Preparation

NO_IMAGE = -1
"""Row of an image that is missing, broken or blanked."""

EncodeBatch = Callable[[list[Image.Image]], npt.NDArray[Any]]


@dataclass(frozen=True)
class Features:
    """Image features of a corpus."""

    # float32 or float16 [n, F], possibly a memory map; uint8 where they are pixels, for a network that is fine-tuned
    values: npt.NDArray[Any]
    rows: Mapping[str, int]  # image id -> row; images that are not there count as missing
    source: str  # which encoder or folder they are from, for people
    broken: int = 0  # images that could not be decoded
    # (channels, height, width) where each row is a map of features, flattened; empty where it is one vector
    map_shape: tuple[int, ...] = ()
    kept: Path | None = None  # the folder where features are kept; None: nowhere
    keeps: bool = True  # whether new ones may be written there

    @property
    def width(self) -> int:
        """F, numbers an image."""
        return int(self.values.shape[1])

    def row(self, image_id: str) -> int:
        """The row of an image, or :data:`NO_IMAGE`."""
        return self.rows.get(image_id, NO_IMAGE)

    def gather(self, rows: npt.NDArray[np.int64]) -> npt.NDArray[Any]:
        """Features [.., F] of rows [..]; zeros where an image is missing. Pixels stay uint8, all else is float32."""
        kind = np.uint8 if self.values.dtype == np.uint8 else np.float32
        found = np.zeros((*rows.shape, self.width), dtype=kind)
        present = rows >= 0
        found[present] = self.values[rows[present]]
        return found


@dataclass(frozen=True)
class ExtendedFeatures(Features):
    """Features of a corpus and of a few images more, whose rows go on where the corpus's end; nothing is copied."""

    more: Mapping[str, npt.NDArray[Any]] = field(default_factory=dict)  # image id -> [F]

    @classmethod
    def of(cls, features: Features, more: Mapping[str, npt.NDArray[Any]]) -> Features:
        """The features, and those of more images, of the same encoder."""
        if not more:
            return features
        return cls(**{each.name: getattr(features, each.name) for each in fields(Features)}, more=more)

    @cached_property
    def _more_rows(self) -> dict[str, int]:
        return {image_id: row for row, image_id in enumerate(self.more, len(self.values))}

    def row(self, image_id: str) -> int:
        known = super().row(image_id)
        return self._more_rows.get(image_id, NO_IMAGE) if known == NO_IMAGE else known

    def gather(self, rows: npt.NDArray[np.int64]) -> npt.NDArray[Any]:
        first = len(self.values)
        found = super().gather(np.where(rows < first, rows, NO_IMAGE))
        of_more = rows >= first
        if of_more.any():
            found[of_more] = np.stack(list(self.more.values()))[rows[of_more] - first]
        return found


def load_features(
    config: ImageConfig,
    files: Mapping[str, Path],
    *,
    hashes: Mapping[str, str] | None = None,
    cache: Path | None = None,
    engine: Engine | None = None,
    progress: Progress | None = None,
) -> Features:
    """Features of the images ``files`` (image id -> file): brought along, from the cache, or encoded now.

    Args:
        config: which encoder, or which folder. Of an encoder that is fine-tuned, the pixels it reads.
        hashes: image id -> sha256, where known; the rest is hashed here.
        cache: folder of the memory maps (``features`` of a workspace); None keeps them in memory.
        engine: encodes those that are not kept yet; None: this process. The features are the same on machines of one
            kind with the same weights.

    Raises:
        MissingPartError: the encoder's weights are not there; lists the ways out.
        ModelError: a features folder or a weights file that cannot be used.
        UsageError, ServiceError: an engine that does not see the images, or that cannot be reached.
    """
    shown: Progress = progress or SilentProgress()
    if config.features:
        return replace(
            _brought_along(Path(config.features), files, maps=isinstance(config, MapImageConfig)), kept=cache
        )
    encoder = open_encoder(config)
    known = dict(hashes or {})
    keys: dict[str, str] = {}
    for image_id, path in files.items():
        try:
            keys[image_id] = known.get(image_id) or sha256_file(path)
        except OSError:
            continue  # gone since the import: a missing image
    stored = FeatureStore(cache, f"{encoder.key}-decoding{DECODING_VERSION}", encoder.width, encoder.kind)
    # a file that is not there now, as on another machine, is no broken one for ever
    first = {key: image for image, key in reversed(keys.items()) if key not in stored.rows and files[image].is_file()}
    if first:
        paths = {key: files[first[key]] for key in sorted(first)}
        batches = [list(paths.values())[start : start + _BATCH] for start in range(0, len(paths), _BATCH)]
        if engine is None:
            encoded: Iterator[Encoded] = (_encode_files(encoder, batch) for batch in batches)
        else:
            encoded = _encode_elsewhere(engine, config, encoder.key, batches)
        with shown.task(f"encoding images ({encoder.key})", len(paths)) as task:
            _add(stored, list(paths), encoded, task)
    rows = {image_id: stored.rows[key] for image_id, key in keys.items() if stored.rows.get(key, NO_IMAGE) >= 0}
    return Features(stored.values, rows, encoder.description, len(keys) - len(rows), encoder.map_shape, cache)


@dataclass(frozen=True)
class FeatureEncoder:
    """What makes features of decoded images."""

    key: str  # of its features in file names
    description: str  # for people
    width: int  # F, numbers an image
    encode: EncodeBatch  # images -> [n, F]
    kind: type = np.float32
    map_shape: tuple[int, ...] = ()


_BATCH = 32
"""Images encoded together, whoever does it: rounding may depend on it."""

Encoded = tuple[list[bool], npt.NDArray[Any] | None]
"""Of a batch of images: which can be decoded, and the features [n, F] of these, None where there are none."""


def _add(stored: FeatureStore, keys: list[str], encoded: Iterable[Encoded], task: Task) -> None:
    """Keep what was encoded, batch after batch of the keys."""
    found: list[npt.NDArray[Any]] = []
    rows: dict[str, int] = {}
    row = len(stored.values)
    for decoded, values in encoded:
        for key, is_there in zip(keys[len(rows) :], decoded, strict=False):
            rows[key] = row if is_there else NO_IMAGE
            row += is_there
        if values is not None:
            found.append(values)
        task.advance(len(decoded))
    stored.add(rows, found)


def _encode_files(encoder: FeatureEncoder, paths: Iterable[Path]) -> Encoded:
    images = list(map(open_image, paths))
    decoded = [image for image in images if image is not None]
    return [image is not None for image in images], encoder.encode(decoded) if decoded else None


def _encode_elsewhere(
    engine: Engine, config: ImageConfig, key: str, batches: Sequence[Sequence[Path]]
) -> Iterator[Encoded]:
    threads = None
    if config.encoder != "pixels":
        import torch

        threads = torch.get_num_threads()
    kind = type(config)
    setting = {
        "kind": f"{kind.__module__}:{kind.__qualname__}",
        "config": config.model_dump(mode="json"),
        "key": key,
        "threads": threads,
    }
    works = [[str(path) for path in batch] for batch in batches]
    answers = engine.map("semantic_model.data.image_features:encodes_images", setting, works, cores=threads or 1)
    for batch, (told, values) in zip(batches, answers, strict=True):
        decoded, dtype, shape = orjson.loads(told)
        for path, is_there in zip(batch, decoded, strict=True):
            if not is_there and open_image(path) is not None:
                fix = "keep images under the same path on a disk that all machines share"
                raise UsageError("an image that is here is not seen by another process", where=path, fix=fix)
        yield decoded, np.frombuffer(values, dtype).reshape(shape) if values else None


def encodes_images(setting: Mapping[str, Any]) -> Callable[[Any], list[bytes]]:
    """In a worker of an engine: what encodes a batch of image files."""
    if setting["threads"] is not None:
        import torch

        torch.set_num_threads(setting["threads"])
    encoder = open_encoder(resolve_name(setting["kind"]).model_validate(setting["config"]))
    if encoder.key != setting["key"]:
        raise ModelError(
            f"the image encoder is '{encoder.key}' on {platform.node()}, and '{setting['key']}' where it was asked for",
            fix="give all machines the same weights",
        )

    def encode(shard: Any) -> list[bytes]:
        decoded, values = _encode_files(encoder, map(Path, shard))
        found = np.zeros((0,)) if values is None else values
        return [orjson.dumps([decoded, found.dtype.str, found.shape]), found.tobytes()]

    return encode


def open_image(path: Path) -> Image.Image | None:
    """An image as :mod:`semantic_model.data.image_decoding` decodes it, or None when it cannot be read or decoded."""
    try:
        return decode_image(path.read_bytes())
    except (OSError, UndecodableImageError):
        return None


def open_encoder(config: ImageConfig) -> FeatureEncoder:
    """The encoder that settings name.

    Raises:
        MissingPartError: its weights are not here; lists the ways out.
        ModelError: features were brought along, and nobody knows what made them; or weights that do not fit.
    """
    if config.features:
        raise ModelError(
            f"the run reads image features that were brought along ({config.features}); no others can be made",
            fix="train with an encoder (image.encoder), or show images of the catalogue only",
        )
    maps = isinstance(config, MapImageConfig)
    if config.encoder == "pixels" and maps:
        description = f"pixels (a fixed descriptor of {' x '.join(map(str, CELLS_SHAPE[1:]))} cells, no weights)"
        width = math.prod(CELLS_SHAPE)
        return FeatureEncoder(
            f"cells-v{PIXELS_VERSION}",
            description,
            width,
            lambda images: np.stack([describe_cells(image).reshape(-1) for image in images]),
            map_shape=CELLS_SHAPE,
        )
    if config.encoder == "pixels":
        description = f"pixels (a fixed descriptor of colour, pattern and shape, {PIXELS_WIDTH} numbers, no weights)"
        return FeatureEncoder(f"pixels-v{PIXELS_VERSION}", description, PIXELS_WIDTH, _describe_all)
    from semantic_model.data.vision import ImageNetwork, open_preparation, weights_of

    preparation = open_preparation(config)
    name = re.sub(r"[^a-z0-9]+", "-", config.encoder.lower().rsplit("/", 1)[-1])
    if config.fine_tuned:
        key = f"pixels-for-{name}-{preparation.key}"
        height, width = preparation.size
        description = f"pixels, {height} x {width}, read by {config.encoder}, which trains along"
        return FeatureEncoder(
            key, description, preparation.width, lambda images: np.stack(list(map(preparation, images))), np.uint8
        )
    weights = weights_of(config)
    network = ImageNetwork(config, pretrained=True)
    ground = "" if config.normalize == "half" else f"-{config.normalize}"
    layer = f"-{config.map}" if isinstance(config, MapImageConfig) else ""
    if isinstance(config, TowerImageConfig) and preparation.folder is not None:
        layer = "-projected"
    key = f"{name}{layer}-{preparation.key}{ground}-{sha256_file(weights)[:12]}"
    description = f"{config.encoder}{layer} at {preparation.size[0]} px, frozen, weights {weights.name}"
    shape = network.shape if maps else ()
    return FeatureEncoder(key, description, network.width, _encode_with(network, preparation), map_shape=shape)


def _describe_all(images: list[Image.Image]) -> FloatArray:
    return np.stack([describe_pixels(image) for image in images])


def _encode_with(network: ImageNetwork, preparation: Preparation) -> EncodeBatch:
    import torch

    def encode(images: list[Image.Image]) -> FloatArray:
        with torch.inference_mode():
            found: FloatArray = network(torch.from_numpy(np.stack(list(map(preparation, images))))).numpy()
        return found

    return encode


def _brought_along(folder: Path, files: Iterable[str] | Mapping[str, Path], *, maps: bool) -> Features:
    """A folder with one ``.npy`` [n, F] and ``images.txt``: an image id, file name or file stem a line.

    Maps of features are [n, channels, height, width].

    A file name or stem that is that of several images, as in folders of their own, is nobody's.
    """
    names = folder / "images.txt"
    arrays = sorted(folder.glob("*.npy"))
    if len(arrays) != 1 or not names.is_file():
        raise ModelError(f"a features folder holds one .npy and images.txt; found {len(arrays)} .npy", where=folder)
    values = read_array(arrays[0])
    listed = names.read_text().split("\n")
    listed = listed[:-1] if listed and not listed[-1] else listed
    if values.ndim != (4 if maps else 2) or len(values) != len(listed):
        raise ModelError(
            f"{len(listed)} names for an array of shape {list(values.shape)}",
            where=folder,
            fix=f"this model reads {'maps [n, channels, height, width]' if maps else 'vectors [n, F]'} of n images",
        )
    shape = values.shape[1:] if maps else ()
    values = values.reshape(len(values), -1)
    by_name = {name.strip(): row for row, name in enumerate(listed)}
    stems = Counter(Path(name).stem for name in by_name)
    by_stem = {Path(name).stem: row for name, row in by_name.items() if stems[Path(name).stem] == 1}
    rows: dict[str, int] = {}
    guessed: dict[str, int] = {}
    for image_id in files:
        if image_id in by_name:
            rows[image_id] = by_name[image_id]
            continue
        path = files[image_id] if isinstance(files, Mapping) else None
        spellings = [image_id.rsplit("/", 1)[-1], *([path.name] if path else [])]
        row = next((by_name[s] for s in spellings if s in by_name), None)
        if row is None:
            row = next((by_stem[Path(s).stem] for s in spellings if Path(s).stem in by_stem), None)
        if row is not None:
            guessed[image_id] = row
    claims = Counter((*rows.values(), *guessed.values()))
    rows |= {image_id: row for image_id, row in guessed.items() if claims[row] == 1}
    if files and not rows:
        raise ModelError(
            "none of the corpus's images is named in images.txt",
            where=names,
            fix=f"a line is an image id or file name, as {next(iter(files))!r}",
        )
    key = sha256_bytes(names.read_bytes())[:8]
    description = f"{values.shape[1]} numbers an image from {arrays[0].name} ({key})"
    return Features(values, rows, description, map_shape=shape)
