"""DeepLabv3+: a class for each pixel, from features that see far and a decoder that keeps edges.

The trunk's features at a sixteenth of the resolution go through five branches side by side, which see 1 position, 13,
25 and 37 of them across, and all; what they say, brought to a quarter of the resolution, is joined with the features
there. 16,603,503 parameters and 48 GMAC for 640x480 with 18 layers, 40,347,503 and 81 with 50 (two channels, 15
classes). The alternative, a U-Net, keeps finer detail and sees no more than 115 pixels.

Source: Chen et al., "Encoder-decoder with atrous separable convolution for semantic image segmentation", ECCV 2018,
with plain convolutions where the paper's are separable, as its form with a residual network is most often published.
"""

from __future__ import annotations

from typing import Final

import torch
from torch import Tensor, nn
from torch.nn import functional

from depthforge.networks.convolution import in_full_precision
from depthforge.networks.resnet import Layers, ResNet, conv_norm, he_initialise

__all__ = ["DeepLab"]

_DILATIONS: Final = (6, 12, 18)
_MULTI_GRID: Final = (1, 2, 4)


def _layer(in_channels: int, out_channels: int, size: int, dilation: int = 1) -> nn.Sequential:
    return conv_norm(in_channels, out_channels, size, dilation=dilation).append(nn.ReLU(inplace=True))


class Pyramid(nn.Module):
    """(B, in, h, w) to (B, out, h, w): five branches that see less and more around a position, joined."""

    def __init__(self, in_channels: int, out_channels: int) -> None:
        super().__init__()
        self.branches = nn.ModuleList([_layer(in_channels, out_channels, 1)])
        self.branches.extend(_layer(in_channels, out_channels, 3, dilation) for dilation in _DILATIONS)
        self.whole = _layer(in_channels, out_channels, 1)
        self.join = _layer(5 * out_channels, out_channels, 1).append(nn.Dropout(0.5))

    def forward(self, x: Tensor) -> Tensor:
        """Return the joined features."""
        whole = self.whole(functional.adaptive_avg_pool2d(x, 1)).expand(-1, -1, *x.shape[2:])
        out: Tensor = self.join(torch.cat([*(branch(x) for branch in self.branches), whole], dim=1))
        return out


class DeepLab(nn.Module):
    """(B, channels, H, W), any size, to class scores (B, num_classes, H, W).

    ``width`` is that of the trunk's first stage, ``decoder_width`` that of pyramid and decoder, ``near_width`` what the
    features at a quarter of the resolution are narrowed to. In training mode a batch has at least two images: one
    branch is a single position for each, which batch norm cannot normalise alone.
    """

    def __init__(
        self,
        *,
        num_classes: int,
        layers: Layers = 18,
        channels: int = 2,
        width: int = 64,
        decoder_width: int = 256,
        near_width: int = 48,
    ) -> None:
        super().__init__()
        multi_grid = (1,) if layers == 18 else _MULTI_GRID
        self.trunk = ResNet(layers, channels=channels, width=width, output_stride=16, multi_grid=multi_grid)
        self.pyramid = Pyramid(self.trunk.num_channels, decoder_width)
        self.near = _layer(self.trunk.num_near_channels, near_width, 1)
        self.decoder = nn.Sequential(
            _layer(decoder_width + near_width, decoder_width, 3).append(nn.Dropout(0.5)),
            _layer(decoder_width, decoder_width, 3).append(nn.Dropout(0.1)),
        )
        self.scores = nn.Conv2d(decoder_width, num_classes, 1)

    def initialise(self, random: torch.Generator) -> None:
        """Draw every weight from ``random``, in the order of the modules."""
        he_initialise(self, random)

    def forward(self, image: Tensor) -> Tensor:
        """Return the scores, before any softmax."""
        near, far = self.trunk.features(image)
        near = self.near(near)
        far = functional.interpolate(self.pyramid(far), near.shape[2:], mode="bilinear", align_corners=True)
        scores = in_full_precision(self.scores, self.decoder(torch.cat([far, near], dim=1)))
        return functional.interpolate(scores, image.shape[2:], mode="bilinear", align_corners=True)
