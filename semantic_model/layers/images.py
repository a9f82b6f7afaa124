"""Image features on their way into a network: taken to mean zero and spread one, zeros where there is no image."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from semantic_model.config.sections import ImageConfig
from semantic_model.data.vision import FineTuned, FineTunedBySlot


class StandardizedImages(nn.Module):
    """Something that reads image features, or pixels with a network that trains along.

    Args:
        config: whether a network is trained along.
        shape: of an image's features as they are read: (F,), or (channels, height, width) of a map.
    """

    mean: Tensor
    scale: Tensor

    def __init__(self, config: ImageConfig, shape: tuple[int, ...]) -> None:
        super().__init__()
        self.network: FineTuned | None = None
        if config.fine_tuned:
            self.network = FineTunedBySlot(config) if config.bn == "train_per_slot" else FineTuned(config)
            shape = self.network.network.shape
        self.shape = shape
        self.register_buffer("mean", torch.zeros(shape[0]))
        self.register_buffer("scale", torch.ones(shape[0]))

    @torch.no_grad()
    def standardize(self, features: Tensor) -> None:
        """Take the mean and spread of the catalogue's features [n, F] as zero and one; of maps, channel by channel."""
        if len(features) > 1:
            values = features.reshape(len(features), self.shape[0], -1).transpose(1, 2).flatten(0, 1)
            self.mean.copy_(values.mean(dim=0))
            self.scale.copy_(1.0 / values.std(dim=0).clamp(min=1e-3))

    def standardized(self, features: Tensor) -> Tensor:
        """Features [P, F] -> [P, *shape]."""
        over = (-1, *[1] * (len(self.shape) - 1))
        return (features.reshape(-1, *self.shape) - self.mean.view(over)) * self.scale.view(over)


class ImageFeatures(StandardizedImages):
    """Images [.., F] of which ``mask`` [..] are real -> their features [.., *shape], zeros where there is none."""

    def forward(self, images: Tensor, mask: Tensor) -> Tensor:
        if self.network is None:
            found = self.standardized(images).reshape(*mask.shape, *self.shape)
        else:
            real = self.standardized(self.network(images, mask))
            found = real.new_zeros(*mask.shape, *self.shape).index_put((mask,), real)
        return found * mask.view(*mask.shape, *[1] * len(self.shape))
