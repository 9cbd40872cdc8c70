"""The generator of colour images: the depth generator's layers with three channels in and three out.

1,671,491 parameters, 54 GMAC for 640x480. It is a network of its own and not an option of ``DepthGenerator``, whose
noise, residual and colour encoder make no sense here, and whose weights have published names. The alternative of CUT's
paper (twice the width, nine blocks, instance norm) takes 7 times the parameters.

Source: Park et al., "Contrastive learning for unpaired image-to-image translation", ECCV 2020, in the small variant of
DCL's published code.
"""

from __future__ import annotations

from typing import ClassVar

import torch
from torch import Tensor, nn

from depthforge.errors import InputError
from depthforge.networks.blur import BlurDown, BlurUp
from depthforge.networks.convolution import ConvNorm, ResidualBlock, in_full_precision, reflected_conv
from depthforge.networks.generator import SMALLEST_SIDE, Features, features_of

__all__ = ["ColourGenerator"]


class ColourGenerator(nn.Module):
    """Colour (B, 3, H, W) in [0, 1] to colour (B, 3, H', W') in (0, 1), H' being H rounded up to a multiple of 4.

    The channels may be in any order, the same at training and after. An image of other channels, or with a side under
    5 pixels, is an InputError.
    """

    doors: ClassVar = ("forward", "encode")

    def __init__(self, *, width: int = 32) -> None:
        super().__init__()
        wide, widest = 2 * width, 4 * width
        self.feature_channels = (width, widest, widest, widest, widest)
        self.stem = ConvNorm(3, width, 7)
        self.down = nn.ModuleList([ConvNorm(width, wide), ConvNorm(wide, widest)])
        self.blur_down = nn.ModuleList([BlurDown(wide), BlurDown(widest)])
        self.blocks = nn.ModuleList([ResidualBlock(widest) for _ in range(5)])
        self.blur_up = nn.ModuleList([BlurUp(widest), BlurUp(wide)])
        self.up = nn.ModuleList([ConvNorm(widest, wide), ConvNorm(wide, width)])
        self.out = reflected_conv(width, 3, 7, bias=True)

    def forward(self, colour: Tensor) -> Tensor:
        """Return the translated colour."""
        x = self.encode(colour)[-1]
        for blur, conv in zip(self.blur_up, self.up, strict=True):
            x = conv(blur(x))
        return (torch.tanh(in_full_precision(self.out, x)) + 1) / 2

    def encode(self, colour: Tensor) -> Features:
        """Return the features that the contrastive loss compares, of the same places as ``DepthGenerator.encode``."""
        if colour.ndim != 4 or colour.shape[1] != 3 or min(colour.shape[2:]) < SMALLEST_SIDE:
            raise InputError(
                "the image does not fit the colour generator",
                expected=f"(batch, 3, height, width), sides of at least {SMALLEST_SIDE} pixels",
                found=tuple(colour.shape),
            )
        # CUT's images are in [-1, 1].
        return features_of(self.stem(2 * colour - 1), self.down, self.blur_down, self.blocks)
