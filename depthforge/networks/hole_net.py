"""A small network that says of every pixel how likely a surface is to be lost, from what it is like and how it is lit.

Two scales, a half and a quarter of the image's: what is dark, glossy or slanted is not a pixel wide, and silhouettes,
which are, belong to the physics that stands beside it. It sees 30 pixels around each, so it can know a surface and not
a room. No norm: statistics over a frame or a crop would let one part of the image speak for another, and a network so
trained is at a loss in frames unlike its crops. 30 k parameters; 0.8 GMAC for 640x480.

A U-Net of four scales with group norm (200 k parameters, 2.6 GMAC) takes four times as long, was a little better in the
room that it was trained in, and knew less of another.

Source: Yu and Koltun, "Multi-scale context aggregation by dilated convolutions", ICLR 2016.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

__all__ = ["HoleNet"]

_NEAR, _FAR, _FEATURES = 16, 32, 24
_MULTIPLE = 4
_FEW_HOLES = -3.0
"""The logit that an untrained network starts from: 5 % of pixels are lost."""


def _layer(in_channels: int, out_channels: int, dilation: int = 1) -> nn.Conv2d:
    return nn.Conv2d(in_channels, out_channels, 3, padding=dilation, dilation=dilation, padding_mode="replicate")


class HoleNet(nn.Module):
    """(B, channels, H, W), any size, to a map of logits (B, 1, H, W), constant over 2x2 pixels."""

    num_features = _FEATURES
    """Channels of ``features``."""

    def __init__(self, *, channels: int) -> None:
        super().__init__()
        self.channels = channels
        self.near = nn.ModuleList((_layer(channels, _NEAR), _layer(_NEAR, _NEAR)))
        self.far = nn.ModuleList((_layer(_NEAR, _FAR), _layer(_FAR, _FAR, 2), _layer(_FAR, _FAR, 4)))
        self.both = nn.Conv2d(_NEAR + _FAR, _FEATURES, 1)
        self.last = nn.Conv2d(_FEATURES, 1, 1)

    def initialise(self, random: torch.Generator) -> None:
        """Draw every weight (He et al., ICCV 2015) from ``random``, in the order of the modules."""
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, nonlinearity="relu", generator=random)
                assert module.bias is not None
                nn.init.zeros_(module.bias)
        nn.init.normal_(self.last.weight, 0.0, 0.01, generator=random)
        assert self.last.bias is not None
        nn.init.constant_(self.last.bias, _FEW_HOLES)

    def forward(self, image: Tensor) -> Tensor:
        """Return the map of logits."""
        return self.whole(self.last(self.features(image)), image)

    def features(self, image: Tensor) -> Tensor:
        """Return (B, num_features, h, w), half the size of ``image`` rounded up to a multiple of 4."""
        height, width = image.shape[2:]
        below, right = -height % _MULTIPLE, -width % _MULTIPLE
        padded = functional.pad(image, (0, right, 0, below), mode="replicate") if below or right else image
        near = functional.avg_pool2d(padded, 2)
        for layer in self.near:
            near = functional.silu(layer(near))
        far = functional.avg_pool2d(near, 2)
        for layer in self.far:
            far = functional.silu(layer(far))
        # A convolution of 1x1 pixels of both, side by side: its parts are added, the far one at its own size.
        of_near, of_far = self.both.weight[:, :_NEAR], self.both.weight[:, _NEAR:]
        fine = _of_each_pixel(near, of_near, self.both.bias)
        return functional.silu(fine + functional.interpolate(_of_each_pixel(far, of_far), scale_factor=2.0))

    @staticmethod
    def whole(maps: Tensor, image: Tensor) -> Tensor:
        """Return ``maps``, as large as ``features``, at the size of ``image``."""
        height, width = image.shape[2:]
        return functional.interpolate(maps, scale_factor=2.0, mode="nearest")[:, :, :height, :width]


def _of_each_pixel(image: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    """Return the convolution with 1x1 pixels as one product of matrices, which is faster with channels innermost."""
    return functional.linear(image.permute(0, 2, 3, 1), weight[:, :, 0, 0], bias).permute(0, 3, 1, 2)
