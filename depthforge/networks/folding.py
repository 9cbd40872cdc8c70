"""What both rewritings of a generator for inference share: batch norm in the weights, and pixels in blocks.

Batch norm, fixed outside training, is a factor and a summand of each channel. A convolution with one channel in or out
leaves most lanes of a processor empty; for blocks of 4x4 pixels it has 16, the same kernel at 16 places of a window
that is 3 pixels wider, moved by 4.
"""

from __future__ import annotations

from typing import Final

import torch
from torch import Tensor, nn
from torch.nn import functional

from depthforge.errors import InputError
from depthforge.networks.convolution import ConvNorm

__all__ = ["BLOCK", "blocks_in", "blocks_out", "folded", "require_whole_blocks"]

BLOCK: Final = 4
"""Pixels a side of a block."""


def folded(layer: nn.Module) -> tuple[Tensor, Tensor]:
    """Return weight and bias, in float64, of a ConvNorm as one convolution; its ReLU is left to the caller."""
    assert isinstance(layer, ConvNorm)
    norm = layer.norm
    assert norm.running_mean is not None
    assert norm.running_var is not None
    with torch.no_grad():
        scale = norm.weight.double() / torch.sqrt(norm.running_var.double() + norm.eps)
        weight = layer.conv.weight.double() * scale[:, None, None, None]
        return weight, norm.bias.double() - norm.running_mean.double() * scale


def blocks_out(weight: Tensor) -> Tensor:
    """Return a kernel (O, C, k, k) of stride 1 as (16 O, C, k + 3, k + 3) of stride BLOCK.

    Its channels are row and column in the block, then O.
    """
    num_out, num_in, size, _ = weight.shape
    blocks = weight.new_zeros(BLOCK, BLOCK, num_out, num_in, size + BLOCK - 1, size + BLOCK - 1)
    for row in range(BLOCK):
        for column in range(BLOCK):
            blocks[row, column, :, :, row : row + size, column : column + size] = weight
    return blocks.flatten(0, 2)


def blocks_in(weight: Tensor) -> Tensor:
    """Return a kernel (O, C, 7, 7) of stride 1 as (16 O, 16 C, 3, 3), for what ``pixel_unshuffle`` makes of an image.

    The image has a border of a block, of which one pixel is not looked at. Output channels are as of ``blocks_out``.
    """
    window = functional.pad(blocks_out(weight), (1, 1, 1, 1))
    tiles = torch.unflatten(torch.unflatten(window, 3, (3, BLOCK)), 2, (3, BLOCK))
    return tiles.permute(0, 1, 3, 5, 2, 4).flatten(1, 3)


def require_whole_blocks(x: Tensor, channels: int) -> None:
    """Raise InputError unless ``x`` is (B, ``channels``, H, W) with sides of 8, 12, 16, ... pixels."""
    if (
        x.ndim != 4
        or x.shape[1] != channels
        or x.shape[2] % BLOCK
        or x.shape[3] % BLOCK
        or min(x.shape[2:]) < 2 * BLOCK
    ):
        raise InputError(
            "the image does not fit the generator",
            expected=f"(batch, {channels}, height, width), sides of 8, 12, 16, ... pixels",
            found=tuple(x.shape),
        )
