"""Dex-Net noise: one gamma factor for the whole image, and on some images a smooth additive Gaussian field.

The noise that grasp networks of the Dex-Net family are trained with. Depth of an image is multiplied by one draw of a
gamma distribution with mean 1 (shape 1000: 3.2 % standard deviation, an error of scale), and with probability 0.5
independent draws of 5 mm on a grid ``downscale`` times coarser than the image are resized to it and added. As in the
published code the 5 mm are those of the grid: between its points cubic interpolation averages, and over the pixels
their standard deviation is 4.1 mm (linear: 3.3).

It knows no holes, no edges and no distance: a baseline for grasping on table-top scenes, not a model of a camera.
At 640x480 on one core a frame takes 0.8 ms. The alternative, resizing in an imaging library, draws and resizes to the
same numbers (tests/sensors/test_dexnet.py).

Sources: Mahler et al., "Dex-Net 2.0: deep learning to plan robust grasps with synthetic point clouds and analytic
grasp metrics", RSS 2017, section on data augmentation, and its trainer (GQ-CNN).
"""

from __future__ import annotations

from typing import Literal

import numpy as np
from pydantic import Field

from depthforge.frame import BoolImage, DepthImage, Frame, NoisyDepth
from depthforge.registry import sensors
from depthforge.sensors.base import Sensor
from depthforge.sensors.draws import standard_normals, uniforms
from depthforge.sensors.spread import interpolation_taps, spread

__all__ = ["DexNet", "additive_noise", "gamma_factor", "simulate"]

_GRID, _IMAGE = 0, 1  # random streams


@sensors.register("dexnet")
class DexNet(Sensor):
    """Dex-Net noise: a gamma factor for each image, and a smooth additive field on a share of the images."""

    working_images = 4.0

    gamma_shape: float | None = Field(
        default=1000.0,
        ge=1,
        le=1e9,
        description="shape of the gamma distribution of the image's factor; its mean is 1 and its standard deviation "
        "1/sqrt(shape). None: no factor",
    )
    additive_sigma_m: float = Field(
        default=0.005,
        ge=0,
        le=10,
        description="standard deviation of the additive noise at the points of its grid, metres",
    )
    additive_rate: float = Field(default=0.5, ge=0, le=1, description="probability that an image has additive noise")
    downscale: float = Field(
        default=4.0, ge=1, le=64, description="pixels of the image from one grid point to the next"
    )
    interpolation: Literal["cubic", "linear"] = Field(default="cubic", description="between the points of the grid")

    def measure(self, frame: Frame, words: tuple[int, int]) -> NoisyDepth:
        """Return what the sensor would measure of ``frame``: :func:`simulate`."""
        return NoisyDepth(*simulate(frame.depth_m, frame.valid, words, self))


def simulate(
    depth_m: DepthImage, valid: BoolImage, words: tuple[int, int], sensor: DexNet
) -> tuple[DepthImage, BoolImage]:
    """Return depth (H, W) float32 metres with the noise, 0.0 where not valid, and valid (H, W) bool.

    ``depth_m`` (H, W) float32 is planar z in metres; what is not ``valid`` is a hole and stays one, and depth that the
    noise takes to zero or below becomes one. The same ``words`` give the same bytes.
    """
    noisy_m = np.where(valid, depth_m, np.float32(0))
    noisy_m *= gamma_factor(words, sensor)
    noise_m = additive_noise(words, depth_m.shape, sensor)
    if noise_m is not None:
        noisy_m += noise_m
    seen = valid & (noisy_m > 0) & (noisy_m < np.inf)
    return np.where(seen, noisy_m, np.float32(0)), seen


def gamma_factor(words: tuple[int, int], sensor: DexNet) -> np.float32:
    """Return the factor of the whole image, by inversion of the gamma distribution function."""
    if sensor.gamma_shape is None:
        return np.float32(1)
    from scipy.special import gammaincinv

    # Half a step up: a draw is never 0, whose quantile is 0.
    probability = float(_image_draws(words)[0]) + 2.0**-25
    return np.float32(gammaincinv(sensor.gamma_shape, probability) / sensor.gamma_shape)


def additive_noise(words: tuple[int, int], shape: tuple[int, ...], sensor: DexNet) -> DepthImage | None:
    """Return the additive noise (H, W) float32 in metres, or None when this image has none."""
    if sensor.additive_sigma_m == 0 or _image_draws(words)[1] >= sensor.additive_rate:
        return None
    height, width = shape
    num_rows, num_columns = (max(1, int(extent / sensor.downscale)) for extent in (height, width))
    grid = standard_normals(words, (num_rows, num_columns), stream=_GRID)
    grid *= np.float32(sensor.additive_sigma_m)
    rows = interpolation_taps(num_rows, height, sensor.interpolation)
    return spread(grid, rows, interpolation_taps(num_columns, width, sensor.interpolation))


def _image_draws(words: tuple[int, int]) -> DepthImage:
    """Return the two uniform draws of the image: of its factor, and whether it has additive noise."""
    return uniforms(words, (2,), stream=_IMAGE)
