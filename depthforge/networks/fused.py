"""The generator for inference: the same depth as the module's, up to rounding, in a fraction of its time.

This is the form for a CPU; ``fuse`` gives a network on a GPU the one of ``whole``. What the module spends beside
arithmetic is memory traffic and empty vector lanes:

* Batch norm, fixed outside training, is folded into the weights (in float64), and channels lie innermost.
* A CPU takes one image at a time, and its two finer resolutions in bands of rows that stay in the cache, from the
  first convolution of a resolution to the blur that leaves it. At 640x480 whole layers are 80 MB: memory that the
  operating system clears page by page each time, which can cost many times the padding written into it.
* The last convolution has one output channel, and would leave 15 of 16 vector lanes empty. It computes blocks of 4x4
  pixels as 16 channels instead (``folding``).

So on a CPU the same image gives the same bytes alone and anywhere in any batch. More than four fifths of what remains
is convolution. The alternative, torch.compile, asks for a C++ compiler on the user's machine.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import pairwise
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional

from depthforge.networks.blur import BlurDown
from depthforge.networks.convolution import ResidualBlock
from depthforge.networks.folding import BLOCK, blocks_out, folded, require_whole_blocks
from depthforge.networks.generator import DepthGenerator, ImageEncoder
from depthforge.networks.whole import WholeGenerator

__all__ = ["FusedGenerator", "fuse"]

BAND_BYTES = 8 << 20
"""Of the largest array of a band: a few of them fit the last cache."""


def fuse(generator: DepthGenerator, *, dtype: torch.dtype = torch.float32) -> FusedGenerator | WholeGenerator:
    """Return ``generator``, in evaluation mode, as an inference-only module with a copy of its weights, where they lie.

    ``dtype`` is that of weights and activations; input and output stay float32. bfloat16 keeps 8 bits of every
    activation, so check its error on the weights at hand (``benchmarks.bench_inference``). ValueError for a generator
    in training mode.
    """
    if generator.training:
        raise ValueError("only a generator in evaluation mode has fixed batch norm statistics: call eval() first")
    on_cpu = generator.out.weight.device.type == "cpu"
    return FusedGenerator(generator, dtype) if on_cpu else WholeGenerator(generator, dtype)


class Band(NamedTuple):
    """Rows [start, stop) of an image, and whether they begin and end at its own borders."""

    start: int
    stop: int
    top: bool
    bottom: bool


def _bands(x: Tensor, row_bytes: int) -> Iterator[Band]:
    """Split the rows of ``x`` at even rows into bands of about BAND_BYTES.

    No band is thinner than what its neighbours need of it, 5 rows.
    """
    height = x.shape[2]
    count = max(1, height // max(8, BAND_BYTES // row_bytes))
    edges = [height * i // count // 2 * 2 for i in range(count)] + [height]
    for start, stop in pairwise(edges):
        yield Band(start, stop, start == 0, stop == height)


class Conv(nn.Module):
    """A convolution, by default of odd size and stride 1, that reflects the border of the image."""

    weight: Tensor
    bias: Tensor

    def __init__(self, weight: Tensor, bias: Tensor, *, radius: int | None = None, stride: int = 1) -> None:
        super().__init__()
        self.register_buffer("weight", weight.contiguous(memory_format=torch.channels_last))
        self.register_buffer("bias", bias.clone())
        self.radius = weight.shape[2] // 2 if radius is None else radius
        self.stride = stride

    def forward(self, x: Tensor, *, top: bool = True, bottom: bool = True) -> Tensor:
        """Return the response; where ``x`` does not end at the image's border, ``radius`` rows fewer."""
        r = self.radius
        x = functional.pad(x, (r, r, r * top, r * bottom), mode="reflect")
        return functional.conv2d(x, self.weight, self.bias, self.stride)


class Halving(nn.Module):
    """Convolutions with ReLU, then ``BlurDown``: (B, C, H, W), even sides, to half of them."""

    kernel: Tensor

    def __init__(self, blur: nn.Module, *layers: nn.Module) -> None:
        super().__init__()
        assert isinstance(blur, BlurDown)
        convs = [_folded(layer) for layer in layers]
        self.convs = nn.ModuleList(convs)
        self.around = sum(conv.radius for conv in convs)
        self.register_buffer("kernel", blur.kernel.clone())

    def forward(self, x: Tensor) -> Tensor:
        """Return the features."""
        channels = len(self.kernel)
        halves = []
        for band in _bands(x, x.shape[3] * channels * x.element_size()):
            # The blur of an even row begins with the row above it.
            rows = x[:, :, max(0, band.start - 1 - self.around) : band.stop + self.around]
            for conv in self.convs:
                rows = functional.relu_(conv(rows, top=band.top, bottom=band.bottom))
            rows = functional.pad(rows, (1, 0, int(band.top), 0), mode="reflect")
            halves.append(functional.conv2d(rows, self.kernel, stride=2, groups=channels))
        return torch.cat(halves, dim=2)


class Doubling(nn.Module):
    """``BlurUp``, then convolutions with ReLU between: (B, C, H, W), H even, to twice H and W."""

    def __init__(self, *convs: Conv) -> None:
        super().__init__()
        self.convs = nn.ModuleList(convs)
        around = sum(conv.radius for conv in convs)
        self.margin = around // 2 + 1
        self.spare = 2 * self.margin - around

    def forward(self, x: Tensor) -> Tensor:
        """Return the response of the last convolution, before its activation."""
        doubles = []
        for band in _bands(x, 4 * x.shape[3] * x.shape[1] * x.element_size()):
            rows = x[:, :, max(0, band.start - self.margin) : band.stop + self.margin]
            # BlurUp is bilinear interpolation between the centres of pixels, which costs one pass instead of three.
            rows = functional.interpolate(rows, scale_factor=2, mode="bilinear", align_corners=False)
            rows = rows[:, :, 0 if band.top else self.spare : None if band.bottom else -self.spare]
            for i, conv in enumerate(self.convs):
                rows = conv(functional.relu_(rows) if i else rows, top=band.top, bottom=band.bottom)
            doubles.append(rows)
        return torch.cat(doubles, dim=2)


class Residual(nn.Module):
    """``ResidualBlock``: (B, C, H, W) to the same."""

    def __init__(self, block: nn.Module) -> None:
        super().__init__()
        assert isinstance(block, ResidualBlock)
        self.first, self.second = _folded(block.first), _folded(block.second)

    def forward(self, x: Tensor) -> Tensor:
        """Return ``x`` plus its correction."""
        correction: Tensor = self.second(functional.relu_(self.first(x)))
        return correction.add_(x)


class FusedGenerator(nn.Module):
    """A DepthGenerator at inference, as ``fuse`` makes it."""

    def __init__(self, generator: DepthGenerator, dtype: torch.dtype) -> None:
        super().__init__()
        self.dtype = dtype
        self.in_channels = generator.in_channels
        self.shape_channels = generator.shape_channels
        self.colour_channels = generator.colour_channels
        self.ending = generator.ending
        self.down = _halvings(generator)
        self.blocks = nn.Sequential(*(Residual(block) for block in generator.blocks))
        self.image: nn.Sequential | None = None
        self.fuse: Conv | None = None
        if generator.image is not None and generator.fuse is not None:
            self.image = _halvings(generator.image)
            self.fuse = _folded(generator.fuse)
        self.up = nn.ModuleList(
            [Doubling(_folded(generator.up[0])), Doubling(_folded(generator.up[1]), _blocked(*generator.heads))]
        )
        self.to(dtype)

    @torch.inference_mode()
    def forward(self, x: Tensor) -> Tensor:
        """Return the noisy depth (B, 1, H, W) of ``x`` (B, C, H, W), both float32, as DepthGenerator does.

        Other channels, or sides that are not multiples of 4 from 8 on, are an InputError.
        """
        require_whole_blocks(x, self.in_channels)
        return torch.cat([self._translate(x[i : i + 1]) for i in range(len(x))])

    def _translate(self, x: Tensor) -> Tensor:
        inner = x.to(self.dtype).contiguous(memory_format=torch.channels_last)
        y = self.blocks(self.down(inner[:, : self.shape_channels]))
        if self.image is not None and self.fuse is not None:
            colour = self.image(inner[:, self.shape_channels : self.shape_channels + self.colour_channels])
            y = functional.relu_(self.fuse(torch.cat([y, colour], dim=1)))
        y = self.up[1](functional.relu_(self.up[0](y)))
        y = functional.pixel_shuffle(y, BLOCK).to(x.dtype)
        return self.ending(y[:, :1], y[:, 1:] if y.shape[1] > 1 else None, x)


def _halvings(network: DepthGenerator | ImageEncoder) -> nn.Sequential:
    """Return the way from an image to a quarter of its resolution."""
    first, second = network.blur_down
    return nn.Sequential(Halving(first, network.stem, network.down[0]), Halving(second, network.down[1]))


def _folded(conv: nn.Module) -> Conv:
    weight, bias = folded(conv)
    return Conv(weight.float(), bias.float())


def _blocked(*convs: nn.Conv2d) -> Conv:
    """Return ``convs``, of one output channel each, as one: for each in turn the pixels of a block, row by row."""
    weights = torch.cat([blocks_out(conv.weight.detach()) for conv in convs])
    biases = [conv.bias.detach().repeat(BLOCK**2) for conv in convs if conv.bias is not None]
    return Conv(weights, torch.cat(biases), radius=convs[0].kernel_size[0] // 2, stride=BLOCK)
