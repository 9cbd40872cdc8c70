"""A small U-Net that says of every pixel how likely a sensor is to lose it, from what the surface and the light are.

Four stages (16, 32, 48, 64 channels) work at half the resolution of the image, and one layer brings back the detail of
the full one: silhouettes are a pixel wide, what is dark or slanted is not. Group norm, since crops of one room are no
sample of a batch's statistics. About 200 k parameters and 2.6 GMAC for 640x480; the same U-Net at full resolution takes
8.

Source: Ronneberger et al., "U-Net", MICCAI 2015; Wu and He, "Group normalization", ECCV 2018.
"""

from __future__ import annotations

from itertools import pairwise

import torch
from torch import Tensor, nn
from torch.nn import functional

__all__ = ["HoleNet"]

_WIDTHS = (16, 32, 48, 64)
_GROUPS = 4
_DETAIL = 12
_MULTIPLE = 2 ** len(_WIDTHS)
_FEW_HOLES = -2.5
"""The logit that an untrained network starts from: 8 % of pixels are holes."""


def _layer(in_channels: int, out_channels: int) -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(in_channels, out_channels, 3, padding=1, padding_mode="replicate"),
        nn.GroupNorm(_GROUPS, out_channels),
        nn.SiLU(),
    )


class HoleNet(nn.Module):
    """(B, channels, H, W), any size, to ``outputs`` maps (B, outputs, H, W); the first is the logit of a hole."""

    def __init__(self, *, channels: int, outputs: int = 1) -> None:
        super().__init__()
        self.channels = channels
        widths = (channels, *_WIDTHS)
        self.down = nn.ModuleList(nn.Sequential(_layer(i, o), _layer(o, o)) for i, o in pairwise(widths))
        ups = list(zip(_WIDTHS[:0:-1], _WIDTHS[-2::-1], strict=True))
        self.up = nn.ModuleList(_layer(deep + across, across) for deep, across in ups)
        self.detail = _layer(_WIDTHS[0] + channels, _DETAIL)
        self.last = nn.Conv2d(_DETAIL, outputs, 1)

    def initialise(self, random: torch.Generator) -> None:
        """Draw every weight (He et al., ICCV 2015) from ``random``, in the order of the modules."""
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, nonlinearity="relu", generator=random)
                assert module.bias is not None
                nn.init.zeros_(module.bias)
        nn.init.normal_(self.last.weight, 0.0, 0.01, generator=random)
        assert self.last.bias is not None
        with torch.no_grad():
            self.last.bias[0] = _FEW_HOLES

    num_features = _DETAIL
    """Channels of ``features``."""

    def forward(self, image: Tensor) -> Tensor:
        """Return the map of logits (B, 1, H, W) of an image (B, channels, H, W), any size."""
        return self.logit(self.features(image))

    def logit(self, features: Tensor) -> Tensor:
        """Return the map of logits of ``features``."""
        logit: Tensor = self.last(features)
        return logit

    def features(self, image: Tensor) -> Tensor:
        """Return (B, num_features, H, W): what the logit, and any other head, is read from."""
        height, width = image.shape[2:]
        below, right = -height % _MULTIPLE, -width % _MULTIPLE
        whole = functional.pad(image, (0, right, 0, below), mode="replicate") if below or right else image
        x = functional.avg_pool2d(whole, 2)
        seen: list[Tensor] = []
        for index, stage in enumerate(self.down):
            if index:
                seen.append(x)
                x = functional.avg_pool2d(x, 2)
            x = stage(x)
        for stage in self.up:
            x = stage(torch.cat([functional.interpolate(x, scale_factor=2.0, mode="nearest"), seen.pop()], dim=1))
        x = self.detail(torch.cat([functional.interpolate(x, scale_factor=2.0, mode="nearest"), whole], dim=1))
        return x[:, :, :height, :width]
