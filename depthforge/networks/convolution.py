"""The two blocks that the depth networks are built from: convolution with batch norm, and the residual pair of it.

Borders are reflected: zeros would be read as holes of the depth image. Batch norm follows, so the convolution has no
bias; instance norm, the usual choice in image translation, would take away the depth level that a frame differs by.
"""

from __future__ import annotations

from torch import Tensor, nn
from torch.nn import functional

from depthforge.networks.borders import reflected
from depthforge.networks.precision import without_autocast

__all__ = ["ConvNorm", "ReflectedConv", "ResidualBlock", "in_full_precision", "reflected_conv"]


class ReflectedConv(nn.Conv2d):
    """A convolution of odd size and stride 1 that keeps H and W, reflecting the border."""

    def forward(self, x: Tensor) -> Tensor:
        """Return the response."""
        return functional.conv2d(reflected(x, self.kernel_size[0] // 2), self.weight, self.bias)


def reflected_conv(in_channels: int, out_channels: int, size: int, *, bias: bool = False) -> ReflectedConv:
    """Return a convolution of odd ``size`` that keeps H and W, reflecting the border."""
    return ReflectedConv(in_channels, out_channels, size, bias=bias)


def in_full_precision(conv: nn.Conv2d, x: Tensor) -> Tensor:
    """Return ``conv(x)`` in the precision of its weights, also within autocast.

    For what a network says in the end: bfloat16 has 8 bits, which would be steps of 20 to 40 mm of a range of 10 m.
    """
    with without_autocast(x.device):
        out: Tensor = conv(x.to(conv.weight.dtype))
        return out


class ConvNorm(nn.Module):
    """(B, in, H, W) to (B, out, H, W): convolution without bias, batch norm, and ReLU where ``active``."""

    def __init__(self, in_channels: int, out_channels: int, size: int = 3, *, active: bool = True) -> None:
        super().__init__()
        self.conv = reflected_conv(in_channels, out_channels, size)
        self.norm = nn.BatchNorm2d(out_channels)
        self.active = active

    def forward(self, x: Tensor) -> Tensor:
        """Return the normalised response."""
        x = self.norm(self.conv(x))
        return functional.relu(x) if self.active else x


class ResidualBlock(nn.Module):
    """(B, C, H, W) to the same: ``x`` plus two convolutions of it; no ReLU after the sum."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.first = ConvNorm(channels, channels)
        self.second = ConvNorm(channels, channels, active=False)

    def forward(self, x: Tensor) -> Tensor:
        """Return ``x`` plus its correction."""
        out: Tensor = x + self.second(self.first(x))
        return out
