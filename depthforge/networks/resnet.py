"""Residual networks of 18, 50 or 101 layers, without their last linear layer: the trunk of pose and segmentation.

A 7x7 convolution and a maximum, each halving the image, then four stages of residual blocks, each of them halving it
once more but for the first. With ``output_stride`` 16 the last stage keeps its size and dilates its convolutions
instead, so that a position of the map stands for 16 pixels and still sees as much. With 18 and 50 layers 11,176,512 and
23,508,032 parameters (three channels), and 18 and 38 GMAC for 640x480 at that stride. The alternative, networks with
attention, want more images than a recording of a sensor has. Weights are drawn: ones trained on colour photographs know
nothing of depth and its holes.

Source: He et al., "Deep residual learning for image recognition", CVPR 2016, with the stride of a bottleneck in its 3x3
convolution, as the weights that are usually published have it; dilation as in Chen et al., "Rethinking atrous
convolution for semantic image segmentation", arXiv 1706.05587.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final, Literal

import torch
from torch import Tensor, nn
from torch.nn import functional

__all__ = ["Layers", "ResNet", "conv_norm", "he_initialise"]

Layers = Literal[18, 50, 101]

_BLOCKS: Final[dict[int, tuple[int, int, int, int]]] = {18: (2, 2, 2, 2), 50: (3, 4, 6, 3), 101: (3, 4, 23, 3)}


def conv_norm(in_channels: int, out_channels: int, size: int, *, stride: int = 1, dilation: int = 1) -> nn.Sequential:
    """Return a convolution without bias, padded with zeros to ceil(H / stride), and batch norm."""
    padding = dilation * (size // 2)
    conv = nn.Conv2d(in_channels, out_channels, size, stride, padding, dilation, bias=False)
    return nn.Sequential(conv, nn.BatchNorm2d(out_channels))


def he_initialise(network: nn.Module, random: torch.Generator) -> None:
    """Draw every weight from ``random``, a CPU generator, in the order of the modules.

    Convolutions N(0, 2 / fan_out), linear layers N(0, 1 / fan_in), batch norm 1, every bias 0.
    Source: He et al., "Delving deep into rectifiers", ICCV 2015.
    """
    for module in network.modules():
        if isinstance(module, nn.Conv2d):
            nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu", generator=random)
        elif isinstance(module, nn.Linear):
            nn.init.kaiming_normal_(module.weight, nonlinearity="linear", generator=random)
        elif isinstance(module, nn.BatchNorm1d | nn.BatchNorm2d):
            module.reset_running_stats()
            nn.init.ones_(module.weight)
        else:
            continue
        if module.bias is not None:
            nn.init.zeros_(module.bias)


class ResidualUnit(nn.Module):
    """(B, in, H, W) to (B, out, H', W'): ReLU of a shortcut plus two 3x3 convolutions, or 1x1, 3x3 and 1x1 (deep)."""

    def __init__(self, in_channels: int, width: int, *, stride: int, dilation: int, deep: bool) -> None:
        super().__init__()
        out_channels = 4 * width if deep else width
        if deep:
            layers = [
                conv_norm(in_channels, width, 1),
                conv_norm(width, width, 3, stride=stride, dilation=dilation),
                conv_norm(width, out_channels, 1),
            ]
        else:
            layers = [
                conv_norm(in_channels, width, 3, stride=stride, dilation=dilation),
                conv_norm(width, width, 3, dilation=dilation),
            ]
        self.layers = nn.ModuleList(layers)
        same = stride == 1 and in_channels == out_channels
        self.shortcut = nn.Identity() if same else conv_norm(in_channels, out_channels, 1, stride=stride)

    def forward(self, x: Tensor) -> Tensor:
        """Return the unit's features."""
        y = x
        for layer in self.layers[:-1]:
            y = functional.relu(layer(y), inplace=True)
        return functional.relu(self.layers[-1](y) + self.shortcut(x), inplace=True)


class ResNet(nn.Module):
    """(B, channels, H, W), any size, to features (B, num_channels, ceil(H / s), ceil(W / s)), s the output stride.

    ``width`` is the number of channels of the first stage (64 in the paper), before the fourfold expansion of 50 and
    101 layers. ``multi_grid`` are factors of the dilation in the blocks of the last stage at output stride 16, repeated
    where there are more blocks.
    """

    def __init__(
        self,
        layers: Layers,
        *,
        channels: int = 3,
        width: int = 64,
        output_stride: Literal[16, 32] = 32,
        multi_grid: Sequence[int] = (1,),
    ) -> None:
        super().__init__()
        deep = layers != 18
        self.stem = conv_norm(channels, width, 7, stride=2)
        self.stages = nn.ModuleList()
        in_channels = width
        for place, num_blocks in enumerate(_BLOCKS[layers]):
            dilated = place == 3 and output_stride == 16
            units = []
            for block in range(num_blocks):
                units.append(
                    ResidualUnit(
                        in_channels,
                        width << place,
                        stride=2 if block == 0 and place > 0 and not dilated else 1,
                        dilation=2 * multi_grid[block % len(multi_grid)] if dilated else 1,
                        deep=deep,
                    )
                )
                in_channels = (width << place) * (4 if deep else 1)
            self.stages.append(nn.Sequential(*units))
        self.num_channels = in_channels
        """Channels of the last features."""
        self.num_near_channels = in_channels // 8
        """Channels of the features at a quarter of the resolution."""

    def forward(self, x: Tensor) -> Tensor:
        """Return the last features."""
        return self.features(x)[1]

    def features(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Return the features of the first stage, at a quarter of the resolution, and the last ones."""
        x = functional.relu(self.stem(x), inplace=True)
        near: Tensor = self.stages[0](functional.max_pool2d(x, 3, 2, 1))
        far = near
        for stage in self.stages[1:]:
            far = stage(far)
        return near, far
