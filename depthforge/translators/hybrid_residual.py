"""What the physics of ``hybrid`` leaves of a sensor's error: where a surface is noisier than it says, and by how much.

A second head of the network gives, of every pixel, a bias and the variances of three Gaussian fields of fixed lengths
(1, 5 and 20 pixels), which are added to the sensor's own errors before it rounds, in its own unit (pixels of disparity,
or metres). It is trained by the Gaussian likelihood of real residuals whose variance is that of the physics, measured
over its drawings, plus what the head adds: where the physics is right, it adds nothing.

Residuals lose their mean over 31 pixels first, since what a pose or the fused truth is off by is wider than that; so
the fields count with the share of their variance that is left then. Pixels beside silhouettes, where a pixel's place
is the error, and what is off by far more than the physics (``_FAR_OFF`` times its spread) have no say. The truth is off
too: what residuals have everywhere beyond the physics is learnt as one number that is not drawn. What the head adds
costs a little, so that it adds only where a surface differs.

Source: Nix and Weigend, "Estimating the mean and variance of the target probability distribution", ICNN 1994;
Abdelhamed et al., "Noise Flow", ICCV 2019, for noise as layers on a parametric model.
"""

from __future__ import annotations

from typing import Final, NamedTuple

import cv2
import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor
from torch.nn import functional

from depthforge.frame import BoolImage, Frame, NoisyDepth
from depthforge.sensors.fields import correlated_normals
from depthforge.sensors.residual_errors import ResidualSensor

__all__ = [
    "FIELDS_PX",
    "MOST_BIAS",
    "RESIDUAL_MAPS",
    "ResidualMaps",
    "Target",
    "drawn_error",
    "likelihood",
    "on_steps",
    "target_of",
]

Float32 = npt.NDArray[np.float32]

FIELDS_PX: Final = (1.0, 5.0, 20.0)
"""Lags at which the autocorrelation of the fields is 1/e, pixels of the frame."""
KEPT_SHARES: Final = (0.997, 0.896, 0.140)
"""Share of the variance of each field that is left when the mean over ``_AROUND_PX`` is taken away."""
MOST_BIAS: Final = 1.0
"""The largest bias, in typical errors of the sensor (``ResidualSensor.typical_error``)."""
RESIDUAL_MAPS: Final = 1 + len(FIELDS_PX)
"""Maps that the head gives: the bias, and the variance of each field."""

_AROUND_PX: Final = 31
_SPREAD_PX: Final = 15
_MISTAKEN: Final = 0.05
_JUMP: Final = 0.03
_BESIDE_PX: Final = 4
_STREAM: Final = 210
_LEAST_VARIANCE: Final = 1e-3
_FAR_OFF: Final = 4.0
_COST: Final = 0.1


class ResidualMaps(NamedTuple):
    """What the head says (..., H, W): the bias in typical errors, and the variances (..., 3, H, W) in their squares."""

    bias: Tensor
    variances: Tensor

    @classmethod
    def of(cls, raw: Tensor) -> ResidualMaps:
        """Return the maps of the raw outputs (B, RESIDUAL_MAPS, H, W) of a head; near nothing where those are 0."""
        return cls(MOST_BIAS * torch.tanh(raw[:, :1]), functional.softplus(raw[:, 1:] - 4.0))


class Target(NamedTuple):
    """Of one pair (H, W) float32: the ``error`` to be explained, in typical errors, the variance that the physics has
    there, in their squares, and where it ``counts`` (1, else 0).
    """

    error: Float32
    spread: Float32
    counts: Float32


def target_of(clean: Frame, scan_m: Float32, drawings: list[NoisyDepth], sensor: ResidualSensor) -> Target:
    """Return what is to be learnt from a frame of truth, the real scan of its view and what ``sensor`` made of it."""
    flat = _away_from_edges(np.where(clean.valid, clean.depth_m, np.float32(0)))
    error, counts = _error(clean, scan_m, (scan_m > 0) & flat, sensor)
    total, seen = np.zeros_like(error), np.zeros_like(error)
    for drawn in drawings:
        of_physics, here = _error(clean, drawn.depth_m, drawn.valid & flat, sensor)
        total += of_physics**2 * here
        seen += here
    # The mean over a window: of one pixel a few drawings say little.
    window = (_SPREAD_PX, _SPREAD_PX)
    around = cv2.blur(seen, window, borderType=cv2.BORDER_REFLECT)
    spread = cv2.blur(total, window, borderType=cv2.BORDER_REFLECT) / np.maximum(around, np.float32(1e-6))
    known = counts & (around > 0.1) & (error**2 < _FAR_OFF**2 * (spread + np.float32(_LEAST_VARIANCE)))
    return Target(np.where(known, error, np.float32(0)), spread.astype(np.float32), known.astype(np.float32))


def likelihood(maps: ResidualMaps, truth_variance: Tensor, error: Tensor, spread: Tensor, counts: Tensor) -> Tensor:
    """Return the mean negative log likelihood of ``error`` (B, 1, H, W), nats a pixel that counts, less a constant.

    Its variance is that of the physics, ``spread`` (B, 1, H, W), of the truth, ``truth_variance`` (), and of ``maps``,
    of which a little is paid for as a share of the whole.
    """
    kept = torch.tensor(KEPT_SHARES).to(maps.variances).view(1, -1, 1, 1)
    added = (maps.variances * kept).sum(1, keepdim=True)
    variance = spread.clamp(min=_LEAST_VARIANCE) + truth_variance + added
    each = 0.5 * (torch.log(variance) + (error - maps.bias) ** 2 / variance) + _COST * added / variance.detach()
    return (each * counts).sum() / counts.sum().clamp(min=1.0)


def drawn_error(maps: npt.NDArray[np.float32], words: tuple[int, int], sensor: ResidualSensor) -> Float32:
    """Return the error (H, W) float32, in the unit of ``sensor``, that ``maps`` (4, H, W) and ``words`` give.

    ``maps`` are the bias and the variances, as of ``ResidualMaps``.
    """
    error: Float32 = maps[0].copy()
    height, width = error.shape
    for number, (variance, length_px) in enumerate(zip(maps[1:], FIELDS_PX, strict=True)):
        error += np.sqrt(variance) * correlated_normals(words, (height, width), length_px, stream=_STREAM + number)
    error *= np.float32(sensor.typical_error)
    return error


def on_steps(maps: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
    """Return ``maps`` as multiples of 1/4096, so that the last bit of a sum over threads moves no error."""
    rounded: npt.NDArray[np.float32] = np.rint(maps * np.float32(4096)) / np.float32(4096)
    return rounded


def _error(clean: Frame, measured_m: Float32, seen: BoolImage, sensor: ResidualSensor) -> tuple[Float32, BoolImage]:
    """Return the error of a measurement in typical errors, its mean over the window taken away, and where it counts."""
    truth_m = np.where(clean.valid, clean.depth_m, np.float32(0))
    counts = seen & clean.valid & (np.abs(measured_m - truth_m) < _MISTAKEN * truth_m)
    unit = np.float32(1 / sensor.typical_error)
    measured = sensor.in_error_unit(np.where(counts, measured_m, np.float32(0)), clean.camera)
    difference = (measured - sensor.in_error_unit(truth_m, clean.camera)) * unit * counts
    window = (_AROUND_PX, _AROUND_PX)
    share = cv2.blur(counts.astype(np.float32), window, borderType=cv2.BORDER_REFLECT)
    mean = cv2.blur(difference, window, borderType=cv2.BORDER_REFLECT) / np.maximum(share, np.float32(1e-6))
    counts &= share > 0.3
    return (difference - mean) * counts, counts


def _away_from_edges(depth_m: Float32) -> BoolImage:
    beside = np.zeros(depth_m.shape, np.uint8)
    for axis in (0, 1):
        steps = np.abs(np.diff(depth_m, axis=axis))
        nearer = np.minimum(*(depth_m.take(range(first, depth_m.shape[axis] - 1 + first), axis) for first in (0, 1)))
        pad = ((1, 0), (0, 0)) if axis == 0 else ((0, 0), (1, 0))
        beside |= np.pad(steps > _JUMP * nearer, pad).astype(np.uint8)
    side = 2 * _BESIDE_PX + 1
    away: BoolImage = cv2.dilate(beside, np.ones((side, side), np.uint8)) == 0
    return away
