"""GG-CNN: for each pixel how well a gripper would hold there, at which angle, and how far it opens.

Three convolutions that bring the image to a twelfth of its size, three transposed ones back, and a head for each of
four maps. 62,420 parameters, 0.5 GMAC for 300x300: made for a robot that looks again while it moves. The alternative, a
network that scores proposed grasps one by one, is slower by two orders.

Source: Morrison et al., "Closing the loop for robotic grasping: a real-time, generative grasp synthesis approach", RSS
2018.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional

from depthforge.errors import InputError
from depthforge.networks.convolution import in_full_precision

__all__ = ["GRASP_MULTIPLE", "GraspMaps", "GraspNet"]

GRASP_MULTIPLE = 12
"""Both sides of the image are multiples of it, in pixels."""


class GraspMaps(NamedTuple):
    """Four maps (B, 1, H, W): ``quality`` near 0 to 1, cosine and sine of *twice* the angle, ``width`` near 0 to 1.

    The angle is that of the opening against the rows, so a gripper turned by 180 degrees has the same.
    """

    quality: Tensor
    cosine: Tensor
    sine: Tensor
    width: Tensor


class GraspNet(nn.Module):
    """Depth (B, channels, H, W) to GraspMaps; sides that are not multiples of GRASP_MULTIPLE are an InputError.

    ``width`` are the channels of the first convolution and before the heads, 32 in the paper; a multiple of 4.
    """

    def __init__(self, *, channels: int = 1, width: int = 32) -> None:
        super().__init__()
        self.channels = channels
        self.num_features = width
        """Channels of ``features``."""
        self.there = nn.ModuleList(
            [
                nn.Conv2d(channels, width, 9, 3, 3),
                nn.Conv2d(width, width // 2, 5, 2, 2),
                nn.Conv2d(width // 2, width // 4, 3, 2, 1),
            ]
        )
        self.back = nn.ModuleList(
            [
                nn.ConvTranspose2d(width // 4, width // 4, 3, 2, 1, 1),
                nn.ConvTranspose2d(width // 4, width // 2, 5, 2, 2, 1),
                nn.ConvTranspose2d(width // 2, width, 9, 3, 3, 1),
            ]
        )
        self.heads = nn.ModuleList([nn.Conv2d(width, 1, 2) for _ in GraspMaps._fields])

    def initialise(self, random: torch.Generator) -> None:
        """Draw every weight from ``random``, uniformly (Glorot and Bengio, AISTATS 2010), in order of the modules."""
        for module in self.modules():
            if isinstance(module, nn.Conv2d | nn.ConvTranspose2d):
                nn.init.xavier_uniform_(module.weight, generator=random)
                assert module.bias is not None
                nn.init.zeros_(module.bias)

    def forward(self, image: Tensor) -> GraspMaps:
        """Return the maps."""
        return self.maps(self.features(image))

    def features(self, image: Tensor) -> Tensor:
        """Return what the heads see, (B, num_features, H + 1, W + 1)."""
        if image.ndim != 4 or image.shape[1] != self.channels or any(side % GRASP_MULTIPLE for side in image.shape[2:]):
            raise InputError(
                "the image does not fit GG-CNN",
                expected=f"(batch, {self.channels}, height, width), sides of 12, 24, 36, ... pixels",
                found=tuple(image.shape),
            )
        x = image
        for layer in (*self.there, *self.back):
            x = functional.relu(layer(x), inplace=True)
        return x

    def maps(self, features: Tensor) -> GraspMaps:
        """Return the maps that the heads make of ``features``."""
        maps = []
        for head in self.heads:
            assert isinstance(head, nn.Conv2d)
            maps.append(in_full_precision(head, features))
        return GraspMaps(*maps)
