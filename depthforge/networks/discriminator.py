"""The discriminator: for each patch of a depth image, whether it came from the sensor.

Five 4x4 convolutions with three blurred halvings between them; an output looks at 84x84 input pixels and knows
nothing of the rest, so what it learns is the noise and not the scene. 693,665 parameters, 7.6 GMAC for 640x480. The
alternative, one verdict for the image, would judge the scene's layout, which clean and real data never share.

Sources: Isola et al., "Image-to-image translation with conditional adversarial networks", CVPR 2017, with the blurred
sampling of DCL's and CUT's published code; Miyato et al., "Spectral normalization for generative adversarial networks",
ICLR 2018 (an option).
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

from depthforge.networks.blur import BlurDown
from depthforge.networks.convolution import in_full_precision

__all__ = ["PatchDiscriminator"]


class SpectralConv(nn.Conv2d):
    """A convolution whose weights, as a matrix (out, in x 4 x 4), are divided by their largest singular value.

    The value is followed by one step of the power iteration a pass in training mode, whose vector ``left`` (out,) is
    part of the state; it starts at equal numbers, so that nothing is drawn.
    """

    left: Tensor

    def __init__(self, in_channels: int, out_channels: int, size: int, *, padding: int = 0, bias: bool = True) -> None:
        super().__init__(in_channels, out_channels, size, padding=padding, bias=bias)
        self.register_buffer("left", torch.full((out_channels,), out_channels**-0.5))

    def forward(self, x: Tensor) -> Tensor:
        """Return the response."""
        matrix = self.weight.flatten(1)
        with torch.no_grad():
            right = functional.normalize(self.left @ matrix, dim=0)
            left = functional.normalize(matrix @ right, dim=0)
            if self.training:
                self.left.copy_(left)
        stretch = left @ (matrix @ right)
        return functional.conv2d(x, self.weight / stretch, self.bias, padding=self.padding)


class Stage(nn.Module):
    """(B, in, H, W) to (B, out, h, w): convolution, batch norm unless first, leaky ReLU, halving unless last."""

    def __init__(
        self, in_channels: int, out_channels: int, *, norm: bool = True, halve: bool = True, spectral: bool = False
    ) -> None:
        super().__init__()
        norm = norm and not spectral
        self.conv = (SpectralConv if spectral else nn.Conv2d)(in_channels, out_channels, 4, padding=1, bias=not norm)
        self.norm = nn.BatchNorm2d(out_channels) if norm else nn.Identity()
        self.blur_down = BlurDown(out_channels) if halve else nn.Identity()

    def forward(self, x: Tensor) -> Tensor:
        """Return the stage's features."""
        out: Tensor = self.blur_down(functional.leaky_relu(self.norm(self.conv(x)), 0.2))
        return out


class PatchDiscriminator(nn.Module):
    """Depth (B, 1, H, W) to one logit a patch, (B, 1, h, w) with h near H / 8 - 2; H and W are at least 24.

    ``channels`` are those of the image, where it is another one than depth. With ``spectral_norm`` no convolution
    stretches what it is given, and there is no batch norm, which would stretch it again.
    """

    def __init__(self, *, width: int = 32, channels: int = 1, spectral_norm: bool = False) -> None:
        super().__init__()
        self.stages = nn.ModuleList(
            [
                Stage(channels, width, norm=False, spectral=spectral_norm),
                Stage(width, 2 * width, spectral=spectral_norm),
                Stage(2 * width, 4 * width, spectral=spectral_norm),
                Stage(4 * width, 8 * width, halve=False, spectral=spectral_norm),
            ]
        )
        self.logits = (SpectralConv if spectral_norm else nn.Conv2d)(8 * width, 1, 4, padding=1)

    def forward(self, depth: Tensor) -> Tensor:
        """Return logits, higher for real; the GAN loss decides what they mean."""
        for stage in self.stages:
            depth = stage(depth)
        return in_full_precision(self.logits, depth)
