"""Image networks: any torchvision classification model or Hugging Face vision model, frozen or fine-tuned (3.1)."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from PIL import Image
from torch import Tensor, nn

from schemas.errors import MissingPartError, ModelError
from schemas.files import sha256_file
from schemas.validation import did_you_mean
from semantic_model.config.sections import ImageConfig, MapImageConfig, TowerImageConfig
from semantic_model.data.hub import hub_folder, network_in, weights_in

Pixels = npt.NDArray[np.uint8]

_IMAGENET = ([0.485, 0.456, 0.406], [0.229, 0.224, 0.225])
_OF_TORCHVISION = {f"resnet{depth}": f"timm/resnet{depth}.tv_in1k" for depth in (18, 34, 50, 101, 152)}
"""Hugging Face ids that hold torchvision's ImageNet weights under torchvision's names, as safetensors."""
_SHAPE_FILES = ("config.json", "preprocessor_config.json")
_MODEL_FILES = (*_SHAPE_FILES, "model.safetensors")
_WAYS_OUT = (
    "use --set image.encoder=pixels (a descriptor without weights); "
    "or --set image.weights=FILE with the encoder's weights as safetensors (for a Hugging Face model: "
    "--set image.encoder=FOLDER); or --set image.features=FOLDER with features of your own (one .npy and images.txt)"
)


class Preparation:
    """How an image becomes the pixels that a network looks at; needs no weights.

    Attributes:
        size: (height, width) of the pixels.
        mean, spread: of the pixels as shares of 255, by colour; taken off before the network.
        key: tells preparations apart in file names.
    """

    def __init__(self, config: ImageConfig) -> None:
        self.folder = None if is_torchvision(config.encoder) else _hugging_face(config, _SHAPE_FILES)
        if self.folder is None:
            square = (config.size * 9 // 8, config.size * 9 // 8)
            self.size = (config.size, config.size)
            self.mean, self.spread = ([0.5] * 3, [0.5] * 3) if config.normalize == "half" else _IMAGENET
            self._pixels = _cut_to(square, config.size)
            self.key = f"{config.size}"
        else:
            from transformers import AutoImageProcessor

            processor = AutoImageProcessor.from_pretrained(self.folder, local_files_only=True)  # type: ignore[no-untyped-call]
            normalised = getattr(processor, "do_normalize", True)
            self.mean = list(processor.image_mean) if normalised else [0.0] * 3
            self.spread = list(processor.image_std) if normalised else [1.0] * 3
            self._pixels = _processed(processor)
            self.size = tuple(self._pixels(Image.new("RGB", (64, 64))).shape[1:])  # type: ignore[assignment]
            self.key = sha256_file(self.folder / "preprocessor_config.json")[:12]

    @property
    def width(self) -> int:
        """How many numbers a prepared image is."""
        return 3 * self.size[0] * self.size[1]

    def __call__(self, image: Image.Image) -> Pixels:
        """uint8 [3 * height * width]."""
        return self._pixels(image).reshape(-1)


@cache
def open_preparation(config: ImageConfig) -> Preparation:
    """The preparation of an encoder's images.

    Raises:
        MissingPartError: the Hugging Face model is not here; lists the ways out.
    """
    return Preparation(config)


class ImageNetwork(nn.Module):
    """Prepared images [P, 3 * height * width] -> [P, width], without the classification head.

    Where the settings name a map (:class:`MapImageConfig`), that layer's [channels, height, width], flattened.

    Args:
        config: which network.
        pretrained: read its weights; else it has the right shape and random numbers.

    Raises:
        MissingPartError: the weights are not here; lists the ways out.
        ModelError: weights of another network, images of a size it does not take, or no such layer.

    Attributes:
        shape: of what it makes of an image: (width,), or (channels, height, width) of a map.
    """

    mean: Tensor
    spread: Tensor

    def __init__(self, config: ImageConfig, *, pretrained: bool) -> None:
        super().__init__()
        preparation = open_preparation(config)
        self.size = preparation.size
        self.reads_map = isinstance(config, MapImageConfig)
        self.register_buffer("mean", torch.tensor(preparation.mean).reshape(1, 3, 1, 1), persistent=False)
        self.register_buffer("spread", torch.tensor(preparation.spread).reshape(1, 3, 1, 1), persistent=False)
        folder = preparation.folder
        self.body = (
            _from_torchvision(config, pretrained) if folder is None else _from_folder(config, folder, pretrained)
        )
        self.eval()
        try:
            with torch.no_grad():
                self.shape = tuple(self.places(torch.zeros(1, 3, *self.size)).shape[1:])
        except Exception as problem:  # each network checks sizes in its own way
            raise ModelError(
                f"the encoder {config.encoder} does not take images of {self.size[0]} x {self.size[1]}: "
                f"{str(problem).splitlines()[0] if str(problem) else type(problem).__name__}",
                fix="set another image.size, as 224",
            ) from None

    def normalised(self, pixels: Tensor) -> Tensor:
        """Prepared images [P, ..] -> what the network reads [P, 3, height, width]."""
        image_batch = pixels.reshape(-1, 3, *self.size).to(self.mean.dtype) / 255
        return (image_batch - self.mean) / self.spread

    @property
    def width(self) -> int:
        """How many numbers it makes of an image."""
        return math.prod(self.shape)

    def places(self, image_batch: Tensor) -> Tensor:
        """[P, 3, height, width] -> [P, *shape]."""
        found = self.body(image_batch)
        if isinstance(found, dict) and "map" in found:
            places: Tensor = found["map"]
            return places
        return _patches(found.last_hidden_state) if self.reads_map else _vectors(found)

    def read(self, image_batch: Tensor) -> Tensor:
        """[P, 3, height, width] -> [P, width]."""
        return self.places(image_batch).flatten(1)

    def forward(self, pixels: Tensor) -> Tensor:
        return self.read(self.normalised(pixels))


class FineTuned(nn.Module):
    """The real images of a batch through a network that trains along; each different image once.

    Batch norms keep the statistics they come with (``bn = "frozen"``), or take those of the batch's images.
    """

    def __init__(self, config: ImageConfig) -> None:
        super().__init__()
        self.config = config
        self.network = ImageNetwork(config, pretrained=False)

    def start(self) -> None:
        """Take over the pre-trained weights."""
        self.network.load_state_dict(ImageNetwork(self.config, pretrained=True).state_dict())

    def train(self, mode: bool = True) -> FineTuned:
        """As of every module; frozen batch norms stay in evaluation mode."""
        super().train(mode)
        if self.config.bn == "frozen":
            for part in self.modules():
                if isinstance(part, nn.modules.batchnorm._BatchNorm):
                    part.eval()
        return self

    def forward(self, images: Tensor, mask: Tensor) -> Tensor:
        """Images [B, .., M, F] of which ``mask`` [B, .., M] are real -> [P, width] of the P real ones, in order."""
        different, which = torch.unique(images[mask], dim=0, return_inverse=True)
        found: Tensor = self.network(different)
        return found[which]


class FineTunedBySlot(FineTuned):
    """As the release trains: a call of the network for each image place of all contexts, empty places as zeros.

    So every place has batch norm statistics of its own, and empty places count in them.
    """

    def forward(self, images: Tensor, mask: Tensor) -> Tensor:
        """As :meth:`FineTuned.forward`."""
        if not self.training:
            return super().forward(images, mask)
        places, real = images.reshape(len(images), -1, images.shape[-1]), mask.reshape(len(images), -1)
        found = []
        for place in range(places.shape[1]):
            image_batch = self.network.normalised(places[:, place]) * real[:, place, None, None, None]
            with torch.set_grad_enabled(torch.is_grad_enabled() and bool(real[:, place].any())):
                found.append(self.network.read(image_batch))  # a place without any image moves statistics only
        return torch.stack(found, dim=1).reshape(*mask.shape, -1)[mask]


@cache
def torchvision_names() -> tuple[str, ...]:
    """Names of torchvision's classification models."""
    import torchvision

    return tuple(torchvision.models.list_models(module=torchvision.models))


def is_torchvision(encoder: str) -> bool:
    """Whether the encoder is one of torchvision's."""
    return encoder in torchvision_names()


def require_weights(config: ImageConfig) -> None:
    """See that the weights of the encoder can be had, before any work.

    Raises:
        MissingPartError: they cannot; lists the ways out.
        ModelError: not a file of weights.
    """
    if config.features or config.encoder == "pixels":
        return
    if is_torchvision(config.encoder):
        weights_of(config)
    else:
        _hugging_face(config)


def weights_of(config: ImageConfig) -> Path:
    """The file of an encoder's weights; errors as :func:`require_weights`."""
    if not is_torchvision(config.encoder):
        return weights_in(_hugging_face(config))
    named = config.weights or _OF_TORCHVISION.get(config.encoder)
    if named is None:
        raise MissingPartError(f"{config.encoder} needs weights, and none are given", fix=_WAYS_OUT)
    path = Path(named)
    if path.is_absolute() or path.exists() or path.suffix in {".safetensors", ".pth", ".pt", ".bin"}:
        return weights_in(path)
    return weights_in(hub_folder(named, ["model.safetensors"], what=f"weights of {config.encoder}", ways_out=_WAYS_OUT))


def preparation_files(config: ImageConfig) -> tuple[Path, Sequence[str]]:
    """The folder of a Hugging Face model, and the files in it that say how images are prepared and what shape it has.

    Raises:
        MissingPartError: it is not here; lists the ways out.
    """
    return _hugging_face(config, _SHAPE_FILES), _SHAPE_FILES


def _hugging_face(config: ImageConfig, needed: Sequence[str] = _MODEL_FILES) -> Path:
    close = did_you_mean(config.encoder, torchvision_names(), "")
    ways_out = f"{close} else {_WAYS_OUT}" if close else _WAYS_OUT
    folder = hub_folder(config.encoder, _MODEL_FILES, what="a vision model", ways_out=ways_out)
    missing = next((name for name in needed if not (folder / name).is_file()), None)
    if missing is not None:
        raise MissingPartError(f"the vision model has no {missing} ({folder})", fix=_WAYS_OUT)
    return folder


def _cut_to(square: tuple[int, int], size: int) -> Callable[[Image.Image], Pixels]:
    """Resize to a square, keep its middle, as the release does (72 px, 64 px)."""
    from torchvision.transforms import v2

    cut = v2.Compose([v2.Resize(square), v2.CenterCrop(size), v2.PILToTensor()])
    return lambda image: np.asarray(cut(image))


def _processed(processor: Any) -> Callable[[Image.Image], Pixels]:
    def pixels(image: Image.Image) -> Pixels:
        found = processor([image], return_tensors="np", do_normalize=False, do_rescale=False)["pixel_values"][0]
        return np.asarray(found).round().clip(0, 255).astype(np.uint8)

    return pixels


def _from_torchvision(config: ImageConfig, pretrained: bool) -> nn.Module:
    import torchvision
    from safetensors.torch import load_file

    network: nn.Module = torchvision.models.get_model(config.encoder, weights=None)
    if pretrained:
        file = weights_of(config)
        try:
            found = network.load_state_dict(load_file(file), strict=False)
        except Exception as problem:
            raise ModelError(
                f"not the weights of {config.encoder}: {str(problem).splitlines()[0]}", where=file
            ) from None
        lost = [name for name in found.missing_keys if not name.endswith("num_batches_tracked")]
        if lost or found.unexpected_keys:
            raise ModelError(
                f"not the weights of {config.encoder}: '{(lost or found.unexpected_keys)[0]}' does not fit", where=file
            )
    if isinstance(config, MapImageConfig):
        return _up_to(network, config)
    heads = [name for name, part in network.named_modules() if isinstance(part, nn.Linear)]
    if heads:  # else its head is a convolution: its classes are the features
        above, _, last = heads[-1].rpartition(".")
        setattr(network.get_submodule(above), last, nn.Identity())
    return network


def _up_to(network: nn.Module, config: MapImageConfig) -> nn.Module:
    """The network as far as the layer whose map is read."""
    from torchvision.models.feature_extraction import create_feature_extractor

    try:
        part: nn.Module = create_feature_extractor(network, {config.map: "map"})
    except ValueError:
        named = [name for name, _ in network.named_children()]
        fix = did_you_mean(config.map, named, f"set image.map to one of {', '.join(named)}")
        raise ModelError(f"{config.encoder} has no layer '{config.map}'", fix=fix) from None
    return part


def _from_folder(config: ImageConfig, folder: Path, pretrained: bool) -> nn.Module:
    network = network_in(folder, pretrained, what="a vision model")
    part: nn.Module = getattr(network, "vision_model", network)  # of a model that reads text, too
    if isinstance(config, TowerImageConfig) and hasattr(network, "visual_projection"):
        return _Projected(part, network.visual_projection)
    return part


class _Projected(nn.Module):
    """An image in the space that it shares with texts."""

    def __init__(self, body: nn.Module, projection: nn.Module) -> None:
        super().__init__()
        self.body = body
        self.projection = projection

    def forward(self, image_batch: Tensor) -> Tensor:
        found: Tensor = self.projection(_vectors(self.body(image_batch)))
        return found


def _patches(hidden: Tensor) -> Tensor:
    """The square of patches [P, D, s, s] of a transformer's last layer [P, n, D], without the marks before them."""
    if hidden.dim() == 4:  # a convolutional one has a map already
        return hidden
    side = math.isqrt(hidden.shape[1])
    return hidden[:, -side * side :].transpose(1, 2).reshape(len(hidden), -1, side, side)


def _vectors(found: Any) -> Tensor:
    """[P, width] of what a network returns: pooled where it pools, else the mean over places."""
    if isinstance(found, Tensor):
        return found.flatten(1)
    if isinstance(found, tuple):  # torchvision's networks with helping heads, while training
        helped: Tensor = found[0]
        return helped.flatten(1)
    pooled = getattr(found, "pooler_output", None)
    if pooled is None:
        pooled = found.last_hidden_state.mean(dim=1)
    vectors: Tensor = pooled.flatten(1)
    return vectors
