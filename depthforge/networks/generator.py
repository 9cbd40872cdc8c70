"""The generator: an image-to-image network from clean depth to depth as the sensor takes it.

One 7x7 convolution, two that widen with a blurred halving after each, five residual blocks at a quarter of the
resolution, and the way back. With colour, a narrow encoder of its own joins at the bottleneck only, so what decides
the shape is still the depth. 1,665,217 parameters (1,873,121 with colour); 52 GMAC for 640x480, more than half of
them in the residual blocks. The alternative of the CUT and CycleGAN papers (twice the width, nine blocks, instance
norm) takes 7 times the parameters, for colour images.

Source: DCL's published network (Shen et al., "DCL: differential contrastive learning for geometry-aware depth
synthesis", RA-L 2022), the residual generator of Johnson et al. (ECCV 2016) with blurred sampling.
"""

from __future__ import annotations

from typing import ClassVar

import torch
from torch import Tensor, nn
from torch.nn import functional

from depthforge.errors import InputError
from depthforge.networks.blur import BlurDown, BlurUp
from depthforge.networks.convolution import ConvNorm, ResidualBlock, in_full_precision, reflected_conv
from depthforge.networks.ending import Ending, Steps

__all__ = ["DepthGenerator", "Features", "apply_padded", "features_of", "pad_to_multiple"]

Features = tuple[Tensor, Tensor, Tensor, Tensor, Tensor]

SMALLEST_SIDE = 5
"""Pixels: below this the reflected border of the innermost layer is longer than the image."""


class ImageEncoder(nn.Module):
    """(B, 3, H, W) to (B, width, ceil(ceil(H / 2) / 2), the same of W): colour at the bottleneck's resolution."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.stem = ConvNorm(3, width, 7)
        self.down = nn.ModuleList([ConvNorm(width, width), ConvNorm(width, width)])
        self.blur_down = nn.ModuleList([BlurDown(width), BlurDown(width)])

    def forward(self, x: Tensor) -> Tensor:
        """Return the features of ``x``."""
        x = self.stem(x)
        for conv, blur in zip(self.down, self.blur_down, strict=True):
            x = blur(conv(x))
        return x


class DepthGenerator(nn.Module):
    """Depth (B, 1, H, W) in [0, 1] to depth (B, 1, H', W') in (-1, 1), where at or below 0 is no measurement.

    ``with_rgb`` takes (B, 4, H, W): depth, then colour in [0, 1] in the order blue, green, red, as the published
    weights were trained; whoever holds RGB reverses it. H' is H rounded up to a multiple of 4, its pixels shifted
    against the input (``apply_padded`` keeps the size). ``width`` is the channels of the first layer.

    The other options are ours. ``noise_channels`` more channels, between depth and colour, are given noise, so that one
    depth has many answers. With ``residual`` above 0 the network says what to add to its depth, at most that much,
    instead of the depth itself. With ``validity`` it says apart from depth where there is no measurement: the output is
    0 there, and wherever the input is. With ``drawn_holes`` besides it is given one more channel, the last, that the
    convolutions do not see: the normal field that draws holes with their probability. With ``steps`` every output is
    one of them. The gradient passes straight through steps and holes (``ending``). With any of them, H and W are
    multiples of 4.

    An input of other channels, or with a side under 5 pixels, is an InputError.
    """

    doors: ClassVar = ("forward", "encode")

    def __init__(
        self,
        *,
        width: int = 32,
        with_rgb: bool = False,
        noise_channels: int = 0,
        residual: float = 0.0,
        validity: bool = False,
        drawn_holes: bool = False,
        steps: Steps | None = None,
    ) -> None:
        super().__init__()
        wide, widest = 2 * width, 4 * width
        self.noise_channels = noise_channels
        self.ending = Ending(residual, steps, drawn_holes)
        self.shape_channels = 1 + noise_channels
        self.colour_channels = 3 if with_rgb else 0
        self.in_channels = self.shape_channels + self.colour_channels + int(drawn_holes)
        self.feature_channels = (width, widest, widest, widest, widest)
        self.stem = ConvNorm(self.shape_channels, width, 7)
        self.down = nn.ModuleList([ConvNorm(width, wide), ConvNorm(wide, widest)])
        self.blur_down = nn.ModuleList([BlurDown(wide), BlurDown(widest)])
        self.blocks = nn.ModuleList([ResidualBlock(widest) for _ in range(5)])
        self.image = ImageEncoder(width) if with_rgb else None
        self.fuse = ConvNorm(widest + width, widest) if with_rgb else None
        self.blur_up = nn.ModuleList([BlurUp(widest), BlurUp(wide)])
        self.up = nn.ModuleList([ConvNorm(widest, wide), ConvNorm(wide, width)])
        self.out = reflected_conv(width, 1, 7, bias=True)
        self.valid = reflected_conv(width, 1, 7, bias=True) if validity else None

    @property
    def heads(self) -> list[nn.Conv2d]:
        """The last convolutions: of depth and, with ``validity``, of the logit that it is measured."""
        return [self.out] if self.valid is None else [self.out, self.valid]

    def forward(self, x: Tensor) -> Tensor:
        """Return the noisy depth."""
        return self.forward_with_features(x)[0]

    def forward_with_features(self, x: Tensor) -> tuple[Tensor, Features]:
        """Return the noisy depth and the five features of ``encode``, in one pass."""
        self._require_fit(x, self.in_channels)
        features = self._encode(x[:, : self.shape_channels])
        bottleneck = features[-1]
        if self.image is not None and self.fuse is not None:
            colour = x[:, self.shape_channels : self.shape_channels + self.colour_channels]
            bottleneck = self.fuse(torch.cat([bottleneck, self.image(colour)], dim=1))
        return self._decode(bottleneck, x), features

    def encode(self, depth: Tensor) -> Features:
        """Return the features of ``depth`` (B, 1, H, W), without noise, that the contrastive losses compare.

        After the first layer (full resolution, ``width`` channels), after the widest convolution (half) and after
        residual blocks 1, 3 and 5 (quarter), four times ``width`` channels each: what the published code taps (3, 12,
        14, 16, 18 of its layer list), although the paper calls the five evenly spaced.
        """
        self._require_fit(depth, 1)
        return self._encode(functional.pad(depth, (0, 0, 0, 0, 0, self.noise_channels)))

    def _encode(self, depth: Tensor) -> Features:
        return features_of(self.stem(depth), self.down, self.blur_down, self.blocks)

    def _decode(self, features: Tensor, x: Tensor) -> Tensor:
        for blur, conv in zip(self.blur_up, self.up, strict=True):
            features = conv(blur(features))
        logit = None if self.valid is None else in_full_precision(self.valid, features)
        return self.ending(in_full_precision(self.out, features), logit, x)

    @staticmethod
    def _require_fit(x: Tensor, channels: int) -> None:
        if x.ndim != 4 or x.shape[1] != channels or min(x.shape[2:]) < SMALLEST_SIDE:
            raise InputError(
                "the image does not fit the generator",
                expected=f"(batch, {channels}, height, width), sides of at least {SMALLEST_SIDE} pixels",
                found=tuple(x.shape),
            )


def features_of(stem: Tensor, down: nn.ModuleList, blur_down: nn.ModuleList, blocks: nn.ModuleList) -> Features:
    """Return the five features on the way from the first layer's output to the last block's, which is the last."""
    half = down[1](blur_down[0](down[0](stem)))
    x = blur_down[1](half)
    residual = []
    for block in blocks:
        x = block(x)
        residual.append(x)
    return stem, half, residual[0], residual[2], residual[4]


def pad_to_multiple(x: Tensor, multiple: int = 4) -> Tensor:
    """Return ``x`` (B, C, H, W) with its bottom and right border reflected until H and W are multiples."""
    height, width = x.shape[-2:]
    return functional.pad(x, (0, -width % multiple, 0, -height % multiple), mode="reflect")


def apply_padded(generator: nn.Module, x: Tensor) -> Tensor:
    """Return the generator's depth (B, 1, H, W) for ``x`` (B, C, H, W) of any size: padded, translated, cropped."""
    height, width = x.shape[-2:]
    depth: Tensor = generator(pad_to_multiple(x))
    return depth[..., :height, :width]
