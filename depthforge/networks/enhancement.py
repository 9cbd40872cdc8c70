"""The network of Jeon and Lee that turns a sensor's depth into the depth of the surfaces: three scales, coarse to fine.

Features of the whole, half and quarter resolution are each refined by a residual trunk; a quarter-size image comes out
first, and each finer scale corrects the one before. 3,587,920 parameters with one output at the published width, and
673 GMAC for 640x480, two thirds of them in the forty convolutions that end it; the alternative for a
small machine is ``disparity_unet``.

Where nothing else is said, layers follow the published code: no norm, no bias, LReLU 0.2. With ``adds_input`` each
output is a correction of the input depth, as published for enhancement; without, an image of its own, for normals,
which no input can be added to.

Source: Jeon and Lee, "Reconstruction-based pairwise depth dataset for depth image enhancement using CNN", ECCV 2018,
section 5 and its published code.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torch.nn import functional

from depthforge.errors import InputError

__all__ = ["SIZE_MULTIPLE", "EnhancementNet"]

SIZE_MULTIPLE = 4
"""Sides of an image are padded to multiples of it, in pixels."""
_SLOPE = 0.2
_WIDTH = 64
_LAYERS = 10


class EnhancementNet(nn.Module):
    """Depth and holes (B, 2, H, W) to images (B, outputs, h, w) at a quarter, a half and the whole of the size.

    ``width`` channels (published 64) and ``layers`` convolutions in a trunk of the encoder (published 10; twice and
    four times as many in the decoder). The finer two scales are as large as the input, rounded up for the coarser ones.
    """

    def __init__(
        self, *, outputs: int = 1, adds_input: bool = True, width: int = _WIDTH, layers: int = _LAYERS
    ) -> None:
        super().__init__()
        if adds_input and outputs != 1:
            raise InputError("only one image can be added to the input depth", found=f"{outputs} outputs")
        self.adds_input = adds_input
        self.first = nn.Conv2d(2, width, 7, padding=3, bias=False)
        self.down = nn.ModuleList(nn.Conv2d(width, width, 4, 2, 1, bias=False) for _ in range(2))
        self.up = nn.ModuleList(nn.ConvTranspose2d(width, width, 4, 2, 1, bias=False) for _ in range(2))
        self.encode = nn.ModuleList(_Trunk(width, layers) for _ in range(3))
        self.decode = nn.ModuleList(_Trunk(width, times * layers) for times in (2, 4))
        self.heads = nn.ModuleList(_conv3(width, outputs) for _ in range(3))
        self.grow = nn.ConvTranspose2d(outputs, outputs, 4, 2, 1, groups=outputs, bias=False)

    def initialise(self, random: torch.Generator, *, published_gain: bool = False) -> None:
        """Draw every weight from ``random``: N(0, 2 / (k k c_out)), and bilinear ones for transposed convolutions.

        ``published_gain`` gives every pair of channels of those the bilinear kernel, as the published code does by
        oversight: features grow by the number of channels at every step up. Else a channel goes to itself alone.
        """
        for module in self.modules():
            if isinstance(module, nn.ConvTranspose2d):
                _bilinear(module.weight, everywhere=published_gain)
            elif isinstance(module, nn.Conv2d):
                area = module.kernel_size[0] * module.kernel_size[1]
                nn.init.normal_(module.weight, 0.0, math.sqrt(2 / (area * module.out_channels)), generator=random)

    def forward(self, depth_m: Tensor, hole: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Return the images of a quarter, a half and the whole of the size.

        ``depth_m`` (B, 1, H, W), 0 in holes; ``hole`` the same, 1 where nothing is measured.
        """
        return self.forward_with_features(depth_m, hole)[0]

    def forward_with_features(self, depth_m: Tensor, hole: Tensor) -> tuple[tuple[Tensor, Tensor, Tensor], Tensor]:
        """Return the images of ``forward``, and the features (B, width, H, W) that the finest one is made of."""
        height, width = depth_m.shape[-2:]
        below, right = -height % SIZE_MULTIPLE, -width % SIZE_MULTIPLE
        x = torch.cat([depth_m, hole], dim=1)
        if below or right:
            x = functional.pad(x, (0, right, 0, below), mode="replicate")
        features, encoded = _active(self.first(x)), []
        for scale, trunk in enumerate(self.encode):
            features = trunk(features if scale == 0 else _active(self.down[scale - 1](features)))
            encoded.append(features)
        quarter = self.heads[0](encoded[2])
        if self.adds_input:
            quarter = quarter + functional.interpolate(x[:, :1], scale_factor=0.25, mode="nearest")
        features = self.decode[0](_active(self.up[0](encoded[2])) + encoded[1])
        half = functional.interpolate(quarter, scale_factor=2.0, mode="bilinear", align_corners=False)
        half = half + self.heads[1](features)
        features = self.decode[1](_active(self.up[1](features)) + encoded[0])
        whole = self.grow(half) + self.heads[2](features)
        images = (
            quarter[..., : -(-height // 4), : -(-width // 4)],
            half[..., : -(-height // 2), : -(-width // 2)],
            whole[..., :height, :width],
        )
        return images, features[..., :height, :width]


class _Trunk(nn.Module):
    def __init__(self, width: int, layers: int) -> None:
        super().__init__()
        self.layers = nn.ModuleList(_conv3(width, width) for _ in range(layers))

    def forward(self, x: Tensor) -> Tensor:
        change = x
        for number, layer in enumerate(self.layers):
            change = layer(change if number == 0 else _active(change))
        return x + change


def _conv3(in_channels: int, out_channels: int) -> nn.Conv2d:
    return nn.Conv2d(in_channels, out_channels, 3, padding=1, bias=False)


def _active(x: Tensor) -> Tensor:
    return functional.leaky_relu(x, _SLOPE)


def _bilinear(weight: Tensor, *, everywhere: bool) -> None:
    """Set the kernels of a transposed convolution, 4x4 and stride 2, to bilinear interpolation."""
    line = torch.tensor([0.25, 0.75, 0.75, 0.25])
    kernel = line[:, None] * line[None, :]
    in_channels, out_channels = weight.shape[:2]
    with torch.no_grad():
        weight.zero_()
        if everywhere or out_channels == 1:
            weight.copy_(kernel.expand_as(weight))
        else:
            weight[torch.arange(in_channels), torch.arange(out_channels)] = kernel
