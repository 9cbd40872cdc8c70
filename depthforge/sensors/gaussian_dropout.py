"""Gaussian noise that grows with depth, and drop-out: the noise that training code adds by hand, written down once.

Noise: N(0, sigma(z)) is added to z, with sigma(z) = constant + linear z + quadratic z^2; white, or correlated between
pixels d apart by exp(-(d / length)^2), of the same sigma. Drop-out: pixels at random; blobs, where a smooth random
field is above the quantile that leaves out the given share of the image; pixels beside a jump of depth; and what is
measured outside the range. All of them are independent, so the share of pixels that is left away from edges is
(1 - pixel_dropout)(1 - blob_dropout) exactly. Before the noise, and off by default, z gets a slow error, a device's own
and gross ones (``residual_errors``).

It has no quantisation, no occlusion shadow and no material: the baseline that a physical sensor model should beat.
At 640x480 on one core a frame of the preset takes 2.2 ms.

Sources: quadratic growth and its size: Khoshelham and Oude Elberink, "Accuracy and resolution of Kinect depth data for
indoor mapping applications", Sensors 12(2), 2012 (sigma = 1.425 mm at 1 m, times z squared).
"""

from __future__ import annotations

from statistics import NormalDist
from types import MappingProxyType

import numpy as np
import numpy.typing as npt
from pydantic import Field, model_validator

from depthforge.frame import BoolImage, DepthImage, Frame, NoisyDepth
from depthforge.registry import sensors
from depthforge.sensors import gaussian_dropout_kernels as kernels
from depthforge.sensors.draws import uniforms
from depthforge.sensors.fields import correlated_normals
from depthforge.sensors.residual_errors import DepthErrors

__all__ = ["GaussianDropout", "beside_edges", "simulate"]

_NOISE, _PIXELS, _BLOBS = 0, 1, 2  # random streams


@sensors.register("gaussian_dropout")
class GaussianDropout(DepthErrors):
    """Gaussian noise growing with depth, and drop-out of pixels, blobs and edges.

    Only the quadratic noise is on by default; the preset ``gaussian_dropout`` has some of everything.
    """

    keeping = MappingProxyType({"pixel_dropout": 0.0, "blob_dropout": 0.0, "edge_dropout": 0.0})
    working_images = 7.0

    sigma_constant_m: float = Field(default=0.0, ge=0, le=10, description="sigma of the noise at any depth, metres")
    sigma_linear: float = Field(default=0.0, ge=0, le=1, description="growth of sigma with depth, metres per metre")
    sigma_quadratic_per_m: float = Field(
        default=0.001425, ge=0, le=1, description="growth of sigma with depth squared, 1/metres"
    )
    correlation_px: float = Field(
        default=0.0, ge=0, le=256, description="pixels this far apart correlate by 1/e; 0 is white noise"
    )
    pixel_dropout: float = Field(default=0.0, ge=0, le=1, description="probability that a pixel drops out by itself")
    blob_dropout: float = Field(default=0.0, ge=0, lt=1, description="share of the image that blobs leave out")
    blob_px: float = Field(
        default=12.0, ge=1, le=256, description="correlation length of the field whose peaks are the blobs, pixels"
    )
    edge_dropout: float = Field(
        default=0.0, ge=0, le=1, description="probability that a pixel beside a depth edge drops out"
    )
    edge_px: int = Field(default=1, ge=1, le=64, description="how many pixels on each side of an edge are beside it")
    edge_jump: float = Field(
        default=0.05, gt=0, description="an edge is where neighbours differ by more than this share of the nearer depth"
    )
    min_depth_m: float = Field(default=0.0, ge=0, description="what is measured nearer is a hole, metres")
    max_depth_m: float | None = Field(
        default=None, gt=0, description="what is measured farther is a hole; default: none"
    )

    @model_validator(mode="after")
    def _has_a_range(self) -> GaussianDropout:
        if self.max_depth_m is not None and self.max_depth_m <= self.min_depth_m:
            raise ValueError("max_depth_m is beyond min_depth_m")
        return self

    def measure(self, frame: Frame, words: tuple[int, int]) -> NoisyDepth:
        """Return what the sensor would measure of ``frame``: :func:`simulate`."""
        return NoisyDepth(*simulate(frame.depth_m, frame.valid, words, self))


def simulate(
    depth_m: DepthImage, valid: BoolImage, words: tuple[int, int], sensor: GaussianDropout
) -> tuple[DepthImage, BoolImage]:
    """Return depth (H, W) float32 metres with the noise, 0.0 where not valid, and valid (H, W) bool.

    ``depth_m`` (H, W) float32 is planar z in metres; what is not ``valid`` is a hole and stays one, and depth that the
    noise takes to zero or below becomes one. The same ``words`` give the same bytes.
    """
    clean_m = np.ascontiguousarray(np.where(valid, depth_m, np.float32(0)), np.float32)
    height, width = clean_m.shape
    has_edges, has_blobs = sensor.edge_dropout > 0, sensor.blob_dropout > 0
    nothing = np.empty((0, 0), np.float32)
    noisy_m = np.empty_like(clean_m)
    near_edges = beside_edges(clean_m, sensor) if has_edges else np.empty((0, 0), np.bool_)
    errors = sensor.residual_errors((height, width), words)
    if errors is not None:
        clean_m = np.maximum(clean_m / errors.factor + errors.offset, np.float32(0)) * (clean_m > 0)
    kernels.measure(
        clean_m,
        correlated_normals(words, (height, width), sensor.correlation_px, stream=_NOISE),
        (
            np.float32(sensor.sigma_constant_m),
            np.float32(sensor.sigma_linear),
            np.float32(sensor.sigma_quadratic_per_m),
        ),
        uniforms(words, (height, width), stream=_PIXELS) if sensor.pixel_dropout > 0 or has_edges else nothing,
        near_edges,
        # One draw decides on both: a pixel beside an edge has two ways to drop out.
        (np.float32(sensor.pixel_dropout), np.float32(1 - (1 - sensor.pixel_dropout) * (1 - sensor.edge_dropout))),
        correlated_normals(words, (height, width), sensor.blob_px, stream=_BLOBS) if has_blobs else nothing,
        np.float32(NormalDist().inv_cdf(1 - sensor.blob_dropout)) if has_blobs else np.float32(0),
        (np.float32(sensor.min_depth_m), np.float32(np.inf if sensor.max_depth_m is None else sensor.max_depth_m)),
        noisy_m,
    )
    return noisy_m, noisy_m > 0


def beside_edges(depth_m: DepthImage, sensor: GaussianDropout) -> npt.NDArray[np.bool_]:
    """Return (H, W) bool: within ``edge_px`` of a jump between neighbours, across and down, both measured.

    The two pixels on either side of a jump are at 1; distance is that of the larger coordinate. 0 is no depth.
    """
    out = np.zeros(depth_m.shape, np.bool_)
    kernels.mark_edges(np.ascontiguousarray(depth_m), np.float32(1 + sensor.edge_jump), out)
    if sensor.edge_px > 1:
        kernels.dilate(out, sensor.edge_px - 1)
    return out
