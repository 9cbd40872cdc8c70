"""Halving and doubling an image without aliasing: a binomial blur around the change of sampling.

Both hold no parameters and filter each channel by itself: 9 multiplications for an output pixel going down, 4 going
up. The alternative, a strided convolution and its transpose, costs nothing extra, but is not shift-invariant and
leaves a checkerboard, which on depth is a corrugated wall.

A GPU would spend more on changes of layout around a convolution of each channel by itself than on the convolution.
There the same filters are torch's own averages and bilinear interpolation, [1, 2, 1] being [1, 1] twice and
[1, 3, 3, 1] three times: equal up to rounding, channels stay innermost, and gradients repeat (interpolation's own are
added up by threads that collide).

Source: Zhang, "Making convolutional networks shift-invariant again", ICML 2019.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

__all__ = ["BlurDown", "BlurUp", "doubled", "halved"]


def halved(x: Tensor) -> Tensor:
    """Return what ``BlurDown`` does, by averages: a neighbour that is missing is left out, which is to reflect it."""
    if torch.compiler.is_compiling():
        return _halved_by_slices(x)
    return functional.avg_pool2d(functional.avg_pool2d(x, 2, 1), 2, 2, padding=1, count_include_pad=False)


def doubled(x: Tensor) -> Tensor:
    """Return what ``BlurUp`` does, by interpolation between the centres of pixels."""
    if torch.compiler.is_compiling():
        return _doubled_by_slices(x)
    out: Tensor = _Double.apply(x)  # type: ignore[no-untyped-call]
    return out


def _halved_by_slices(x: Tensor) -> Tensor:
    """As sums, which a compiler makes one kernel of; torch's averages it takes for harder than they are, and fails."""
    x = functional.pad(x, (1, x.shape[3] % 2, 1, x.shape[2] % 2), mode="reflect")
    x = (x[:, :, :-2:2] + 2 * x[:, :, 1:-1:2] + x[:, :, 2::2]) / 4
    return (x[..., :-2:2] + 2 * x[..., 1:-1:2] + x[..., 2::2]) / 4


def _doubled_by_slices(x: Tensor) -> Tensor:
    for axis in (2, 3):
        size = x.shape[axis]
        before = torch.cat([x.narrow(axis, 0, 1), x.narrow(axis, 0, size - 1)], axis)
        after = torch.cat([x.narrow(axis, 1, size - 1), x.narrow(axis, size - 1, 1)], axis)
        x = torch.stack([0.25 * before + 0.75 * x, 0.75 * x + 0.25 * after], axis + 1).flatten(axis, axis + 1)
    return x


class _Double(torch.autograd.Function):
    """Bilinear interpolation to twice the size; its adjoint is four times [1, 3, 3, 1] / 8 at every second pixel."""

    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        return functional.interpolate(x, scale_factor=2, mode="bilinear", align_corners=False)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> Tensor:
        once = functional.avg_pool2d(gradients[0], 2, 1, padding=1, count_include_pad=False)
        return 4 * functional.avg_pool2d(functional.avg_pool2d(once, 2, 1), 2, 2)


def _by_averages(x: Tensor) -> bool:
    # torch.compile is mistaken about the layout of the gradient of a repeated border.
    return x.device.type != "cpu" or torch.compiler.is_compiling()


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
        if _by_averages(x):
            return halved(x)
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
        if _by_averages(x):
            return doubled(x)
        x = functional.pad(x, (1, 1, 1, 1), mode="replicate")
        return functional.conv_transpose2d(x, self.kernel, stride=2, padding=3, groups=len(self.kernel))
