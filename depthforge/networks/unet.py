"""A U-Net: for each pixel of an image a number that both its surroundings and its own detail decide.

Three blurred halvings and back, each stage of the way back seeing the features of the same resolution on the way
there, so edges stay where they are. A pixel sees 115x115 pixels. 1,798,209 parameters, 42 GMAC for 640x480. The
alternative, the residual generator, carries detail through a quarter of the resolution, and blurs the borders of what
it marks.

Source: Ronneberger et al., "U-Net: convolutional networks for biomedical image segmentation", MICCAI 2015, with
reflected borders (its output is smaller than its input), batch norm, blurred sampling, half the width and one stage
less.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from depthforge.errors import InputError
from depthforge.networks.blur import BlurDown, BlurUp
from depthforge.networks.convolution import ConvNorm, in_full_precision, reflected_conv

__all__ = ["UNET_MULTIPLE", "UNet"]

UNET_MULTIPLE = 8
"""Both sides of the image are multiples of it, in pixels, and at least two of them."""


def _stage(in_channels: int, out_channels: int) -> nn.Sequential:
    return nn.Sequential(ConvNorm(in_channels, out_channels), ConvNorm(out_channels, out_channels))


class UNet(nn.Module):
    """(B, channels, H, W) to one logit a pixel, (B, 1, H, W); another image than UNET_MULTIPLE says is InputError."""

    def __init__(self, *, channels: int = 3, width: int = 32) -> None:
        super().__init__()
        self.channels = channels
        widths = [width, 2 * width, 4 * width, 8 * width]
        self.there = nn.ModuleList([_stage(i, o) for i, o in zip([channels, *widths], widths, strict=False)])
        self.blur_down = nn.ModuleList([BlurDown(w) for w in widths[:-1]])
        # Narrowed before it is doubled: a quarter of the pixels.
        self.narrow = nn.ModuleList([ConvNorm(2 * w, w, 1) for w in widths[-2::-1]])
        self.blur_up = nn.ModuleList([BlurUp(w) for w in widths[-2::-1]])
        self.back = nn.ModuleList([_stage(2 * w, w) for w in widths[-2::-1]])
        self.logits = reflected_conv(width, 1, 1, bias=True)

    def forward(self, image: Tensor) -> Tensor:
        """Return the logits."""
        sides = image.shape[2:]
        fits = all(side % UNET_MULTIPLE == 0 and side >= 2 * UNET_MULTIPLE for side in sides)
        if image.ndim != 4 or image.shape[1] != self.channels or not fits:
            raise InputError(
                "the image does not fit the U-Net",
                expected=f"(batch, {self.channels}, height, width), sides of 16, 24, 32, ... pixels",
                found=tuple(image.shape),
            )
        x = self.there[0](image)
        seen = []
        for blur, stage in zip(self.blur_down, self.there[1:], strict=True):
            seen.append(x)
            x = stage(blur(x))
        for narrow, blur, stage in zip(self.narrow, self.blur_up, self.back, strict=True):
            x = stage(torch.cat([seen.pop(), blur(narrow(x))], dim=1))
        return in_full_precision(self.logits, x)
