"""The generator for inference on a GPU: a whole batch at once, in as few passes over memory as torch's kernels allow.

A generator in evaluation mode is rewritten, exactly but for rounding:

* Batch norm is folded into the weights. A ReLU, or the sum of a residual block, writes into the image with the border
  that the next convolution needs (``borders``), so the border costs no pass of its own.
* ``BlurUp`` and the convolution after it are one convolution at the coarse resolution, with a set of channels for each
  of the four fine pixels: as many multiplications, a quarter of the reading, no lanes left empty by few channels. A
  reflected border is not of that form; the outermost row and column on each side are computed as they are defined.
* The first and the last convolution, of one channel in or out, compute blocks of 4x4 pixels as channels (``folding``).
* With bfloat16 the last convolution is in float32: its inputs have 8 bits, its sums and the depth have all of them.

52 GMAC for 640x480, and about 0.6 GB read and written in bfloat16. torch adds a bias in a pass of its own, and a blur
takes three; ``torch.compile`` (``compiling``), for which this is written too, makes one of them and their neighbours.
The alternatives: ``fused`` for a CPU, which goes through its caches in bands; and to leave the bias to the layer after
it, relu(y + b) being max(y, -b) and a constant: exact on paper, but the constants grow from layer to layer until
float32 loses three digits to them.

The same image gives the same depth in batches of one size; another size can mean other kernels.
"""

from __future__ import annotations

from typing import ClassVar, Final

import torch
from torch import Tensor, nn
from torch.nn import functional

from depthforge.networks.blur import halved
from depthforge.networks.borders import Mode, bordered, spread
from depthforge.networks.convolution import ResidualBlock
from depthforge.networks.folding import BLOCK, blocks_in, blocks_out, folded, require_whole_blocks
from depthforge.networks.generator import DepthGenerator, ImageEncoder
from depthforge.networks.precision import without_autocast

__all__ = ["WholeGenerator"]

# For the upper of the two fine rows of a coarse one, then for the lower: how the fine row before it, itself and the one
# after it are made of the coarse rows before, at and after.
_FINE_OF_COARSE: Final = (
    ((0.75, 0.25, 0.0), (0.25, 0.75, 0.0), (0.0, 0.75, 0.25)),
    ((0.25, 0.75, 0.0), (0.0, 0.75, 0.25), (0.0, 0.25, 0.75)),
)


class Conv(nn.Module):
    """A convolution within the border that its input brings.

    ``side`` above 1: its channels are the pixels of blocks of that side, and its response is their view as an image
    (``spread``). ``bias`` (O,) is of the image's channels.
    """

    weight: Tensor
    bias: Tensor

    def __init__(self, weight: Tensor, bias: Tensor, dtype: torch.dtype, *, side: int = 1, stride: int = 1) -> None:
        super().__init__()
        self.register_buffer("weight", weight.to(dtype).contiguous(memory_format=torch.channels_last))
        self.register_buffer("bias", bias.repeat(side**2).to(dtype))
        self.side = side
        self.stride = stride

    def forward(self, x: Tensor) -> Tensor:
        """Return the response."""
        y = functional.conv2d(x, self.weight, self.bias, self.stride)
        return y if self.side == 1 else spread(y, self.side)


class DoublingConv(Conv):
    """``BlurUp`` and a 3x3 convolution: x (B, C, H + 2, W + 2), its border repeated, to blocks of 2x2 pixels."""

    plain: Tensor

    def __init__(self, weight: Tensor, bias: Tensor, dtype: torch.dtype) -> None:
        mix = weight.new_tensor(_FINE_OF_COARSE)
        fine = torch.einsum("pyr,qxc,oiyx->pqoirc", mix, mix, weight)
        super().__init__(fine.flatten(0, 2), bias, dtype, side=2)
        self.register_buffer("plain", weight.to(dtype).contiguous(memory_format=torch.channels_last))

    def forward(self, x: Tensor) -> Tensor:
        """Return the response at twice the size."""
        y = super().forward(x)
        inner = x[:, :, 1:-1, 1:-1]
        for axis in (2, 3):
            for last in (0, 1):
                coarse = inner.narrow(axis, last * (inner.shape[axis] - 2), 2)
                fine = functional.interpolate(coarse, scale_factor=2, mode="bilinear", align_corners=False)
                ends = (1 - last, last)
                border = (1, 1, *ends) if axis == 2 else (*ends, 1, 1)
                outermost = functional.pad(fine.narrow(axis, 2 * last, 2), border, mode="reflect")
                line = functional.conv2d(outermost, self.plain, self.bias[: len(self.plain)])
                line = torch.unflatten(line.flatten(2), 2, (-1, 2))
                (y[:, :, -last, last] if axis == 2 else y[..., -last, last]).copy_(line)
        return y


class Block(nn.Module):
    """``ResidualBlock``: features with a border of 1 to the same."""

    def __init__(self, block: nn.Module, dtype: torch.dtype) -> None:
        super().__init__()
        assert isinstance(block, ResidualBlock)
        self.first, self.second = (Conv(*folded(layer), dtype) for layer in (block.first, block.second))

    def forward(self, x: Tensor, mode: Mode) -> Tensor:
        """Return ``x`` plus its correction."""
        correction = self.second(bordered(self.first(x), 1, rectified=True))
        return bordered(correction, 1, mode, plus=x[:, :, 1:-1, 1:-1])


class Encoder(nn.Module):
    """First convolution and two halvings: (B, C, H, W) to a quarter of the resolution, with a border of 1."""

    def __init__(self, network: DepthGenerator | ImageEncoder, dtype: torch.dtype) -> None:
        super().__init__()
        weight, bias = folded(network.stem)
        self.stem = Conv(blocks_in(weight), bias, dtype, side=BLOCK)
        self.down = nn.ModuleList(Conv(*folded(layer), dtype) for layer in network.down)

    def forward(self, x: Tensor) -> Tensor:
        """Return the features."""
        blocks = functional.pixel_unshuffle(functional.pad(x, (BLOCK,) * 4, mode="reflect"), BLOCK)
        blocks = blocks.to(self.stem.weight.dtype, memory_format=torch.channels_last)
        x = bordered(self.stem(blocks), 1, rectified=True)
        for conv in self.down:
            x = bordered(halved(functional.relu(conv(x), inplace=True)), 1)
        return x


class WholeGenerator(nn.Module):
    """A DepthGenerator in evaluation mode at inference; ``fused.fuse`` makes it for a network that is on a GPU.

    ``dtype`` is that of weights and activations; input and output are float32 (float64 with it).
    """

    # What follows it has little to be made one, and compilers stumble over writing into views of blocks.
    doors: ClassVar = ("encode",)

    def __init__(self, generator: DepthGenerator, dtype: torch.dtype = torch.float32) -> None:
        super().__init__()
        self.in_channels = generator.in_channels
        self.shape_channels = generator.shape_channels
        self.colour_channels = generator.colour_channels
        self.ending = generator.ending
        self.shape_encoder = Encoder(generator, dtype)
        self.blocks = nn.ModuleList(Block(block, dtype) for block in generator.blocks)
        self.image_encoder: Encoder | None = None
        self.fuse: Conv | None = None
        if generator.image is not None and generator.fuse is not None:
            self.image_encoder = Encoder(generator.image, dtype)
            self.fuse = Conv(*folded(generator.fuse), dtype)
        self.up = nn.ModuleList(DoublingConv(*folded(layer), dtype) for layer in generator.up)
        self.head_dtype = torch.float64 if dtype == torch.float64 else torch.float32
        weight = torch.cat([head.weight.detach() for head in generator.heads])
        bias = torch.cat([head.bias.detach() for head in generator.heads if head.bias is not None])
        self.head = Conv(blocks_out(weight), bias, self.head_dtype, side=BLOCK, stride=BLOCK)

    @torch.inference_mode()
    def forward(self, x: Tensor) -> Tensor:
        """Return the noisy depth (B, 1, H, W) of ``x`` (B, C, H, W), as DepthGenerator does.

        Other channels, or sides that are not multiples of 4 from 8 on, are an InputError.
        """
        require_whole_blocks(x, self.in_channels)
        with without_autocast(x.device):
            return self._decode(self.encode(x), x)

    def encode(self, x: Tensor) -> Tensor:
        """Return the features at a quarter of the resolution, with a repeated border of 1."""
        y: Tensor = self.shape_encoder(x[:, : self.shape_channels])
        for place, block in enumerate(self.blocks, start=1):
            last = place == len(self.blocks) and self.fuse is None
            y = block(y, "replicate" if last else "reflect")
        if self.image_encoder is not None and self.fuse is not None:
            colour = x[:, self.shape_channels : self.shape_channels + self.colour_channels]
            both = torch.cat([y, self.image_encoder(colour)], dim=1)
            y = bordered(self.fuse(both), 1, "replicate", rectified=True)
        return y

    def _decode(self, y: Tensor, x: Tensor) -> Tensor:
        first, second = self.up
        y = bordered(first(y), 1, "replicate", rectified=True)
        y = bordered(second(y), 3, rectified=True, dtype=self.head_dtype)
        said = self.head(y).reshape(len(x), -1, *x.shape[2:])
        return self.ending(said[:, :1], said[:, 1:] if said.shape[1] > 1 else None, x)
