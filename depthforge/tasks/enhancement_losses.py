"""The losses of Jeon and Lee's enhancement network on one scale, over the pixels whose truth is known.

Data and gradients by Charbonnier's rounded absolute value; discontinuities by comparing the largest steps in 5x5
windows, where an edge may lie a pixel off. The published weights are not known: all are 1 here. Every loss is a mean
over the pixels that count, 0 where there are none.

Source: Jeon and Lee, ECCV 2018, section 5.2, and the published code, which holds the classes and not their weights.
"""

from __future__ import annotations

from typing import Final

import torch
from torch import Tensor
from torch.nn import functional

__all__ = ["charbonnier", "discontinuity_loss", "gradient_loss", "masked_mean", "nearest_scaled"]

_ROUNDING: Final = 1e-6
_STEP_M: Final = 0.1
_WINDOW_PX: Final = 5


def charbonnier(error: Tensor) -> Tensor:
    """Return sqrt(error^2 + 1e-6), the absolute value without its kink."""
    return torch.sqrt(error * error + _ROUNDING)


def masked_mean(values: Tensor, mask: Tensor) -> Tensor:
    """Return the mean of ``values`` where ``mask`` (bool, same shape) is set, 0 where it is nowhere."""
    return (values * mask).sum() / mask.sum().clamp(min=1)


def gradient_loss(predicted: Tensor, truth: Tensor, known: Tensor, reach_px: int = 1) -> Tensor:
    """Return the mean Charbonnier error of differences over ``reach_px`` along rows and columns, both ends known."""
    total = predicted.new_zeros(())
    for axis in (-1, -2):
        step, true_step = _differences(predicted, axis, reach_px), _differences(truth, axis, reach_px)
        total = total + masked_mean(charbonnier(step - true_step), _both(known, axis, reach_px))
    return total / 2


def discontinuity_loss(predicted_m: Tensor, truth_m: Tensor, known: Tensor) -> Tensor:
    """Return the mean squared difference of the largest absolute steps in 5x5 windows at steps of the truth > 0.1 m."""
    total = predicted_m.new_zeros(())
    for axis in (-1, -2):
        both = _both(known, axis, 1)
        step, true_step = (_differences(image, axis, 1).abs() * both for image in (predicted_m, truth_m))
        largest, true_largest = (
            functional.max_pool2d(image, _WINDOW_PX, 1, _WINDOW_PX // 2) for image in (step, true_step)
        )
        total = total + masked_mean((largest - true_largest) ** 2, both & (true_step > _STEP_M))
    return total / 2


def nearest_scaled(image: Tensor, size: tuple[int, int]) -> Tensor:
    """Return ``image`` (B, C, H, W) at a smaller ``size`` by the nearest pixel: depth is never averaged over edges."""
    return functional.interpolate(image.float(), size=size, mode="nearest").to(image.dtype)


def _differences(image: Tensor, axis: int, reach_px: int) -> Tensor:
    length = image.shape[axis] - reach_px
    return image.narrow(axis, reach_px, length) - image.narrow(axis, 0, length)


def _both(known: Tensor, axis: int, reach_px: int) -> Tensor:
    length = known.shape[axis] - reach_px
    return known.narrow(axis, reach_px, length) & known.narrow(axis, 0, length)
