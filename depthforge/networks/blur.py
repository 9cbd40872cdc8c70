"""Halving and doubling an image without aliasing: a binomial blur around the change of sampling.

Both hold no parameters and filter each channel by itself: 9 multiplications for an output pixel going down, 4 going
up. The alternative, a strided convolution and its transpose, costs nothing extra, but is not shift-invariant and
leaves a checkerboard, which on depth is a corrugated wall.

Source: Zhang, "Making convolutional networks shift-invariant again", ICML 2019.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

__all__ = ["BlurDown", "BlurUp"]


def _binomial(taps: list[float], channels: int, mass: float) -> Tensor:
    row = torch.tensor(taps) / sum(taps)
    return (mass * torch.outer(row, row)).expand(channels, 1, -1, -1).contiguous()


class BlurDown(nn.Module):
    """(B, C, H, W) to (B, C, ceil(H / 2), ceil(W / 2)): [1, 2, 1] in both axes, reflected border, every second pixel.

    H and W are at least 2.
    """

    kernel: Tensor

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.register_buffer("kernel", _binomial([1, 2, 1], channels, mass=1.0), persistent=False)

    def forward(self, x: Tensor) -> Tensor:
        """Return ``x`` at half the resolution."""
        return functional.conv2d(
            functional.pad(x, (1, 1, 1, 1), mode="reflect"), self.kernel, stride=2, groups=len(self.kernel)
        )


class BlurUp(nn.Module):
    """(B, C, H, W) to (B, C, 2H, 2W): [1, 3, 3, 1] in both axes, border repeated; a constant stays what it is."""

    kernel: Tensor

    def __init__(self, channels: int) -> None:
        super().__init__()
        # Each output pixel meets a quarter of the kernel, so its mass is 4.
        self.register_buffer("kernel", _binomial([1, 3, 3, 1], channels, mass=4.0), persistent=False)

    def forward(self, x: Tensor) -> Tensor:
        """Return ``x`` at twice the resolution."""
        x = functional.pad(x, (1, 1, 1, 1), mode="replicate")
        return functional.conv_transpose2d(x, self.kernel, stride=2, padding=3, groups=len(self.kernel))
