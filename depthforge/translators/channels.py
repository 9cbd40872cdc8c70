"""The channels that the networks take: depth, noise, colour as blue, green, red, then the field that draws holes.

The published networks have depth and colour. Named images become channels here and nowhere else, for training and for
conversion alike.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

from depthforge.seeding import generator_of

__all__ = ["stacked", "with_fields", "with_frame_noise", "with_noise"]


def stacked(images: Mapping[str, Tensor]) -> Tensor:
    """Return ``depth`` (B, 1, H, W) alone, or with the ``rgb`` (B, 3, H, W) behind it in the order blue, green, red."""
    if "rgb" not in images:
        return images["depth"]
    return torch.cat([images["depth"], images["rgb"].flip(1)], dim=1)


def with_noise(images: Tensor, channels: int, random: torch.Generator) -> Tensor:
    """Return ``images`` (B, C, H, W) with ``channels`` of standard normal noise behind the first channel, depth.

    ``random`` is a CPU generator, so the noise is the same on every device.
    """
    if not channels:
        return images
    shape = (len(images), channels, *images.shape[2:])
    return _behind_depth(images, torch.randn(shape, generator=random).to(images))


def with_frame_noise(image: Tensor, channels: int, words: tuple[int, int]) -> Tensor:
    """Return one image (1, C, H, W) as ``with_noise`` does, with the noise that the frame's ``words`` key."""
    if not channels:
        return image
    noise = generator_of(words).standard_normal((1, channels, *image.shape[2:]), "float32")
    return _behind_depth(image, torch.from_numpy(noise))


def with_fields(images: Tensor, noise_channels: int, anchored: Tensor | None, hole_field: Tensor | None) -> Tensor:
    """Return ``images``, having ``noise_channels``, with ``anchored`` fields behind these and ``hole_field`` last."""
    before = 1 + noise_channels
    parts = [images[:, :before], anchored, images[:, before:], hole_field]
    given = [part for part in parts if part is not None and part.shape[1]]
    return torch.cat(given, dim=1) if len(given) > 1 else images


def _behind_depth(images: Tensor, noise: Tensor) -> Tensor:
    return torch.cat([images[:, :1], noise, images[:, 1:]], dim=1)
