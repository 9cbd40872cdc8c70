"""The generator for inference: the same depth as the module's, up to rounding, in less than half of its time on a CPU.

What is left out of the module's time is memory traffic and empty vector lanes, not arithmetic:

* Batch norm, fixed outside training, is folded into the weights (in float64), and channels lie innermost.
* A CPU goes through one image at a time, and through its two finer resolutions in bands of rows that stay in the
  cache, each band from the first convolution to the blur behind the last. At 640x480 whole layers are 80 MB: the
  operating system hands out such memory page by page, which costs more than half of what the layers themselves do.
* The last convolution has one output channel, and would leave 15 of 16 vector lanes empty. It computes blocks of 4x4
  pixels as 16 channels instead: the same kernel, shifted inside a window of 10x10 and moved by 4.

The convolutions are torch's, at the processor's peak. Winograd's would do with a quarter to a half of the
multiplications, but its matrix products are no faster than twice a direct convolution here, its transforms cost the
rest, and it rounds ten times worse. torch.compile would ask for a C++ compiler on the user's machine.

On a GPU the weights are folded and the whole batch goes through at once.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.nn.utils.fusion import fuse_conv_bn_weights

from depthforge.errors import InputError
from depthforge.networks.blur import BlurDown
from depthforge.networks.convolution import ConvNorm
from depthforge.networks.generator import DepthGenerator, ImageEncoder

__all__ = ["FusedGenerator", "fuse"]

BAND_BYTES = 8 << 20
"""Of the largest array of a band: a few of them fit the cache of a core or two."""

BLOCK = 4
"""Pixels a side of the blocks that the last convolution computes."""


class Band(NamedTuple):
    """Rows [start, stop) of a stage's output or input, and whether they end at the image's own borders."""

    start: int
    stop: int
    top: bool
    bottom: bool


def _bands(x: Tensor, row_bytes: int) -> Iterator[Band]:
    """Split the rows of ``x`` evenly, at even rows, so that a band of rows of ``row_bytes`` keeps to BAND_BYTES.

    On a GPU the only band is the image. A band is never thinner than what the next one needs of it.
    """
    height = x.shape[2]
    count = 1 if x.is_cuda else max(1, height // max(8, BAND_BYTES // row_bytes))
    edges = [height * i // count // 2 * 2 for i in range(count)] + [height]
    for start, stop in zip(edges, edges[1:], strict=False):
        yield Band(start, stop, start == 0, stop == height)


class Conv(nn.Module):
    """A convolution with its batch norm folded in; ``band`` says where the rows need a reflected border."""

    weight: Tensor
    bias: Tensor

    def __init__(self, weight: Tensor, bias: Tensor, *, stride: int = 1, radius: int | None = None) -> None:
        super().__init__()
        self.register_buffer("weight", weight.contiguous(memory_format=torch.channels_last))
        self.register_buffer("bias", bias)
        self.stride = stride
        self.radius = weight.shape[2] // 2 if radius is None else radius

    def forward(self, x: Tensor, band: Band | None = None) -> Tensor:
        """Return the response; at a border inside the image, 2 x ``radius`` rows fewer between them."""
        r = self.radius
        top, bottom = (True, True) if band is None else (band.top, band.bottom)
        x = functional.pad(x, (r, r, r * top, r * bottom), mode="reflect")
        return functional.conv2d(x, self.weight, self.bias, stride=self.stride)


class Halving(nn.Module):
    """Convolutions with ReLU, then ``BlurDown``: (1, C, H, W) to half the size."""

    def __init__(self, convs: Sequence[ConvNorm]) -> None:
        super().__init__()
        self.convs = nn.ModuleList([_folded(conv) for conv in convs])
        self.blur_down = BlurDown(convs[-1].conv.out_channels)

    def forward(self, x: Tensor) -> Tensor:
        """Return the features at half the resolution."""
        kernel = self.blur_down.kernel
        around = sum(conv.radius for conv in self.convs)
        halves = []
        for band in _bands(x, x.shape[3] * len(kernel) * x.element_size()):
            # The row above the band is the first that the blur looks at.
            rows = x[:, :, max(0, band.start - 1 - around) : band.stop + around]
            for conv in self.convs:
                rows = functional.relu_(conv(rows, band))
            rows = functional.pad(rows, (1, 0, int(band.top), 0), mode="reflect")
            halves.append(functional.conv2d(rows, kernel, stride=2, groups=len(kernel)))
        return torch.cat(halves, dim=2)


class Doubling(nn.Module):
    """``BlurUp``, then convolutions with ReLU between: (1, C, H, W) to twice the size."""

    def __init__(self, convs: Sequence[Conv]) -> None:
        super().__init__()
        self.convs = nn.ModuleList(convs)

    def forward(self, x: Tensor) -> Tensor:
        """Return the response of the last convolution, without its activation, at twice the resolution."""
        around = sum(conv.radius for conv in self.convs)
        margin = around // 2 + 1
        spare = 2 * margin - around
        doubles = []
        for band in _bands(x, 4 * x.shape[1] * x.shape[3] * x.element_size()):
            rows = x[:, :, max(0, band.start - margin) : band.stop + margin]
            # BlurUp in one pass: bilinear interpolation between the centres of the pixels.
            rows = functional.interpolate(rows, scale_factor=2, mode="bilinear", align_corners=False)
            rows = rows[:, :, 0 if band.top else spare : None if band.bottom else -spare]
            for conv in self.convs:
                rows = conv(rows, band)
                if conv is not self.convs[-1]:
                    rows = functional.relu_(rows)
            doubles.append(rows)
        return torch.cat(doubles, dim=2)
