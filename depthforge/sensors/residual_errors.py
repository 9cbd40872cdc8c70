"""What calibration, warmth and mistaken matches leave: errors far wider than a pixel, for sensors of any principle.

Three of them, each off by default, are added to what the sensor would measure before it is rounded:

1. The slow error of a frame: a Gaussian field with a length of tens of pixels, drawn anew in each frame.
2. The device's own error, keyed by ``device_seed`` alone: the same in every frame of one camera, another in another. It
   is read from a coarse map over the image where one is given (``depthforge fit`` reads one off posed scans), else
   drawn: rings about the centre, as a lens leaves them, over a smooth field, and for some cameras a seam at the middle
   column; without an affine field, and brought to the standard deviation asked for over the image.
3. Gross errors: blobs, the upper level set of a Gaussian field, in which disparity is wrong by a share of itself with
   a Pareto tail (6 % times u^-0.4 for uniform u: half of them below 8 %, one in a hundred above 38 %, as real ones),
   either sign, from a field twice as wide as the blobs': nearly one amount within a blob, another in the next. None is
   below 5 % of depth, so ``outlier_share`` is the share of pixels off by more.

What a real camera has: 16-pixel blocks of a Kinect v1 are off by 0.4 % of depth (sd) where white noise of its size
would leave 0.1 %; half of that stands still in the image (``realism.same_view.pattern``).

Scale. Disparities are in pixels of the sensor (depth x disparity is a constant of it), so an error moves depth equally
whatever the resolution of a frame. Lengths are in pixels of the image that it measures in, as those of all its fields:
`reframe` takes frames to them. A map is over the whole image, and so holds at another resolution of the same view.

640x480 on one core: 0.6 ms for a slow error, 1.2 for outliers, 0.4 to apply them; a device's field is drawn once.
White noise through a wide blur costs ten times as much and gives the same; Redwood's table of errors is such a map.
"""

from __future__ import annotations

import math
from abc import abstractmethod
from functools import lru_cache
from statistics import NormalDist
from typing import Annotated, ClassVar, Final, NamedTuple, Self

import numpy as np
import numpy.typing as npt
from pydantic import AfterValidator, Field, PrivateAttr

from depthforge.frame import Camera
from depthforge.kernels import njit
from depthforge.sensors.base import Sensor
from depthforge.sensors.draws import standard_normals
from depthforge.sensors.fields import correlated_normals, stretched

__all__ = [
    "DepthErrors",
    "DeviceMap",
    "DisparityErrors",
    "ErrorShape",
    "ResidualErrors",
    "ResidualSensor",
    "device_error",
    "outlier_factor",
    "residual_errors",
    "slow_error",
    "with_disparity_errors",
]

Float32 = npt.NDArray[np.float32]

# Streams of a frame's random numbers, beyond those that sensors use; and of a device's.
_BLOBS, _AMOUNTS, _SLOW = 238, 239, 240
_SMOOTH, _RINGS, _SEAM = 0, 1, 2
_DEVICE_WORD: Final = 0x6465766963653031  # keys what belongs to a camera and to no frame

_RINGS_SHARE, _SEAM_SHARE = 0.5, 0.15  # of the variance of a drawn device's error
_LEAST_WRONG, _MOST_WRONG, _TAIL = 0.06, 0.9, 0.4
_AMOUNT_LENGTHS = 4.0
_FEWEST_CELLS, _MOST_CELLS, _LARGEST = 2, 96, 16.0


def _is_map(rows: tuple[tuple[float, ...], ...] | None) -> tuple[tuple[float, ...], ...] | None:
    if rows is None:
        return None
    lengths = {len(row) for row in rows}
    if len(lengths) != 1:
        raise ValueError("the rows of a map have one length")
    if not all(_FEWEST_CELLS <= extent <= _MOST_CELLS for extent in (len(rows), *lengths)):
        raise ValueError(f"a map has {_FEWEST_CELLS} to {_MOST_CELLS} rows and as many columns")
    if not all(abs(value) <= _LARGEST for row in rows for value in row):
        raise ValueError(f"errors of a device are finite and at most {_LARGEST:g}")
    return rows


DeviceMap = Annotated[tuple[tuple[float, ...], ...] | None, AfterValidator(_is_map)]
"""Rows of a coarse map of a device's error over the whole image, top to bottom, 2x2 to 96x96 numbers."""


class ErrorShape(NamedTuple):
    """What ``residual_errors`` draws: standard deviations in the sensor's unit, lengths in pixels of the image."""

    slow_sigma: float
    slow_length_px: float
    slow_octaves: int
    device_seed: int
    device_sigma: float
    device_length_px: float
    device_map: tuple[tuple[float, ...], ...] | None
    device_has_seam: bool
    outlier_share: float
    outlier_size_px: float


class ResidualErrors(NamedTuple):
    """Of one frame (H, W) float32: ``offset`` is added (px or metres), ``factor`` multiplies disparity before that."""

    offset: Float32
    factor: Float32

    def mirrored(self) -> ResidualErrors:
        """Return the errors of the image mirrored left to right."""
        return ResidualErrors(*(np.ascontiguousarray(each[:, ::-1]) for each in self))


class ResidualSensor(Sensor):
    """A sensor with residual errors: the fields that have no unit of depth, and what another model adds to them."""

    device_has_seam: ClassVar[bool] = False
    """Whether the drawn error of a device has a seam at the middle column, as those of the Kinect's family."""

    slow_length_px: float = Field(
        default=16.0, gt=0, le=1000, description="lag at which the slow error's autocorrelation is 1/e, pixels"
    )
    slow_octaves: int = Field(
        default=1,
        ge=1,
        le=6,
        description="fields that the slow error is the sum of, each twice as long as the one before and as strong",
    )
    device_seed: int = Field(default=0, ge=0, lt=2**63, description="which camera of its kind: draws what is its own")
    device_length_px: float = Field(
        default=40.0, gt=0, le=1000, description="lag at which the device's error's autocorrelation is 1/e, pixels"
    )
    outlier_share: float = Field(
        default=0.0, ge=0, le=0.5, description="share of pixels that are off by more than 5 % of depth, in blobs"
    )
    outlier_size_px: float = Field(
        default=24.0, ge=1, le=512, description="lag at which the autocorrelation of the blobs' field is 1/e, pixels"
    )

    typical_error: ClassVar[float]
    """What an error of a pixel is like, in the sensor's unit: the scale of what is learnt of them."""

    _added: Float32 | None = PrivateAttr(default=None)

    @abstractmethod
    def error_shape(self) -> ErrorShape | None:
        """Return what the fields ask for, None where they ask for nothing."""

    @abstractmethod
    def in_error_unit(self, depth_m: Float32, camera: Camera) -> Float32:
        """Return what errors are added to, of depth (H, W) seen by ``camera``; 0 is nothing."""

    def with_added(self, error: Float32) -> Self:
        """Return the sensor of one frame, whose residual errors have ``error`` (H, W) float32 added, in their unit.

        What is given is of the frame, and belongs to no fingerprint: whoever adds it answers for it. An image of
        another size than the sensor measures in is stretched over it.
        """
        sensor = self.model_copy()
        sensor._added = error
        return sensor

    def residual_errors(self, shape: tuple[int, int], words: tuple[int, int]) -> ResidualErrors | None:
        """Return the errors of the frame that ``words`` key, images of ``shape``; None where none are asked for."""
        asked = self.error_shape()
        errors = None if asked is None else residual_errors(asked, shape, words)
        if self._added is None:
            return errors
        added = self._added if self._added.shape == shape else stretched(self._added, shape)
        if errors is None:
            return ResidualErrors(added, np.ones(shape, np.float32))
        return errors._replace(offset=errors.offset + added)

    def error_bytes(self, height: int, width: int) -> int:
        """Return what the errors take at their peak: the two images, what they are made of, and the device's own."""
        return 0 if self.error_shape() is None else 5 * height * width * 4

    def working_bytes(self, height: int, width: int) -> int:
        """As of every sensor, with the errors."""
        return super().working_bytes(height, width) + self.error_bytes(height, width)

    def _shape_of(
        self, slow_sigma: float, device_sigma: float, device_map: tuple[tuple[float, ...], ...] | None
    ) -> ErrorShape | None:
        if not (slow_sigma > 0 or device_sigma > 0 or device_map is not None or self.outlier_share > 0):
            return None
        return ErrorShape(
            slow_sigma,
            self.slow_length_px,
            self.slow_octaves,
            self.device_seed,
            device_sigma,
            self.device_length_px,
            device_map,
            self.device_has_seam,
            self.outlier_share,
            self.outlier_size_px,
        )


class DisparityErrors(ResidualSensor):
    """Fields of a sensor that measures disparity; its residual errors are pixels of the sensor."""

    typical_error = 0.25

    slow_sigma_px: float = Field(
        default=0.0,
        ge=0,
        le=10,
        description="standard deviation of an error that varies slowly over a frame, sensor px",
    )
    device_sigma_px: float = Field(
        default=0.0,
        ge=0,
        le=10,
        description="standard deviation of the camera's own error, the same in every frame of one device_seed, sensor "
        "pixels: what calibration leaves",
    )
    device_map_px: DeviceMap = Field(
        default=None,
        description="the camera's own error in place of a drawn one: rows of a coarse map over the whole image, sensor "
        "pixels of disparity; `depthforge fit` reads it off posed scans",
    )

    def error_shape(self) -> ErrorShape | None:
        """As of every sensor, in pixels of disparity."""
        return self._shape_of(self.slow_sigma_px, self.device_sigma_px, self.device_map_px)

    @abstractmethod
    def disparity_scale(self, camera: Camera) -> float:
        """Return focal length x baseline, metres x pixels of the sensor, for frames of ``camera``."""

    def in_error_unit(self, depth_m: Float32, camera: Camera) -> Float32:
        """Return the disparity of depth (H, W), pixels of the sensor."""
        scale = np.float32(self.disparity_scale(camera))
        return np.divide(scale, depth_m, out=np.zeros_like(depth_m), where=depth_m > 0)

    def with_residual(self, disparity: Float32, words: tuple[int, int], *, mirrored: bool = False) -> Float32:
        """Return measured disparity (H, W) float32 px with the errors of the frame that ``words`` key.

        ``mirrored``: the image is measured the other way round, left to right.
        """
        height, width = disparity.shape
        errors = self.residual_errors((height, width), words)
        if errors is None:
            return disparity
        offset, factor = errors.mirrored() if mirrored else errors
        return np.asarray(disparity * factor + offset, np.float32)


class DepthErrors(ResidualSensor):
    """Fields of a sensor that measures distance; its residual errors are metres."""

    typical_error = 0.01

    slow_sigma_m: float = Field(
        default=0.0, ge=0, le=10, description="standard deviation of an error that varies slowly over a frame, metres"
    )
    device_sigma_m: float = Field(
        default=0.0,
        ge=0,
        le=10,
        description="standard deviation of the camera's own error, the same in every frame of one device_seed, metres: "
        "what calibration leaves",
    )
    device_map_m: DeviceMap = Field(
        default=None,
        description="the camera's own error in place of a drawn one: rows of a coarse map over the whole image, metres",
    )

    def error_shape(self) -> ErrorShape | None:
        """As of every sensor, in metres."""
        return self._shape_of(self.slow_sigma_m, self.device_sigma_m, self.device_map_m)

    def in_error_unit(self, depth_m: Float32, camera: Camera) -> Float32:
        """Return depth (H, W) itself."""
        return depth_m


def residual_errors(asked: ErrorShape, shape: tuple[int, int], words: tuple[int, int]) -> ResidualErrors:
    """Return all errors of one frame, images of ``shape``; ``words`` (``seeding.frame_words``) key what is its own."""
    offset = slow_error(asked.slow_sigma, shape, words, asked.slow_length_px, asked.slow_octaves)
    if asked.device_map is not None:
        offset += _map_over(asked.device_map, shape)
    elif asked.device_sigma > 0:
        drawn = device_error(asked.device_seed, shape, asked.device_length_px, has_seam=asked.device_has_seam)
        offset += np.float32(asked.device_sigma) * drawn
    return ResidualErrors(offset, outlier_factor(asked.outlier_share, shape, words, asked.outlier_size_px))


def slow_error(
    sigma: float, shape: tuple[int, int], words: tuple[int, int], length_px: float, octaves: int = 1
) -> Float32:
    """Return the sum of ``octaves`` fields N(0, sigma^2) (H, W) float32; zeros for a sigma of 0.

    The autocorrelation of the first is 1/e at ``length_px``, of the next at twice that, and so on.
    """
    error = np.zeros(shape, np.float32)
    for octave in range(octaves if sigma > 0 else 0):
        error += correlated_normals(words, shape, length_px * 2**octave, stream=_SLOW + octave)
    error *= np.float32(sigma)
    return error


@lru_cache(maxsize=4)
def device_error(seed: int, shape: tuple[int, int], length_px: float, *, has_seam: bool = False) -> Float32:
    """Return the drawn error of device ``seed`` (H, W) float32: mean 0, standard deviation 1, nothing affine in it.

    Read-only, the same in every frame; see the module. ``length_px``: of its smooth part, its rings, and the seam.
    """
    words = (seed, _DEVICE_WORD)
    height, width = shape
    seam_share = _SEAM_SHARE if has_seam else 0.0
    v, u = np.arange(height) - (height - 1) / 2, np.arange(width) - (width - 1) / 2
    radius = np.hypot(v[:, None], u)
    over_radius = correlated_normals(words, (1, int(radius.max()) + 2), length_px, stream=_RINGS)[0]
    error = math.sqrt(_RINGS_SHARE) * np.interp(radius, np.arange(len(over_radius)), over_radius)
    error += math.sqrt(1 - _RINGS_SHARE - seam_share) * correlated_normals(words, shape, length_px, stream=_SMOOTH)
    if has_seam:
        # The halves part at the seam and meet again away from it.
        over_rows = correlated_normals(words, (1, height), length_px, stream=_SEAM)[0]
        error += math.sqrt(seam_share) * over_rows[:, None] * np.sign(u) * np.exp(-np.abs(u) / length_px)
    error -= error.mean()
    # What is affine over the image, calibration takes out first, and an error of a pose cannot be told from it.
    for along in (v[:, None], u[None, :]):
        error -= along * ((error * along).mean() / max(float((along**2).mean()), 1e-6))
    error /= max(float(error.std()), 1e-6)
    out: Float32 = error.astype(np.float32)
    out.flags.writeable = False
    return out


def outlier_factor(share: float, shape: tuple[int, int], words: tuple[int, int], size_px: float) -> Float32:
    """Return by what disparity is multiplied (H, W) float32: 1, but at least 6 % off in blobs that cover ``share``."""
    factor = np.ones(shape, np.float32)
    if share > 0:
        blobs = correlated_normals(words, shape, size_px, stream=_BLOBS)
        cell_px = max(1, round(_AMOUNT_LENGTHS * size_px))
        amounts = standard_normals(words, (shape[0] // cell_px + 1, shape[1] // cell_px + 1), stream=_AMOUNTS)
        _mistake(blobs, np.float32(NormalDist().inv_cdf(1 - share)), amounts, cell_px, factor)
    return factor


def with_disparity_errors(depth_m: npt.NDArray[np.floating], errors: ResidualErrors, disparity_m_px: float) -> Float32:
    """Return depth (H, W) float32 whose disparity, ``disparity_m_px`` / z, has ``errors`` in pixels.

    Holes (0) stay, and what errors take to no disparity becomes one.
    """
    out = np.empty(depth_m.shape, np.float32)
    _disturb(np.ascontiguousarray(depth_m, np.float32), *errors, np.float32(disparity_m_px), out)
    return out


@lru_cache(maxsize=4)
def _map_over(rows: tuple[tuple[float, ...], ...], shape: tuple[int, int]) -> Float32:
    error = stretched(np.array(rows, np.float32), shape)
    error.flags.writeable = False
    return error


@njit(error_model="numpy")
def _mistake(blobs, threshold, amounts, cell_px, factor):  # type: ignore[no-untyped-def]
    for y in range(factor.shape[0]):
        for x in range(factor.shape[1]):
            if blobs[y, x] > threshold:
                amount = amounts[y // cell_px, x // cell_px]
                beyond = math.erfc(abs(np.float64(amount)) / math.sqrt(2.0))
                wrong = min(_LEAST_WRONG * max(beyond, 1e-9) ** -_TAIL, _MOST_WRONG)
                factor[y, x] = np.float32(1.0 + wrong if amount > 0 else 1.0 - wrong)


@njit(error_model="numpy")
def _disturb(depth, offset, factor, disparity_m_px, out):  # type: ignore[no-untyped-def]
    zero = np.float32(0)
    for y in range(out.shape[0]):
        for x in range(out.shape[1]):
            z = depth[y, x]
            disparity = disparity_m_px / z * factor[y, x] + offset[y, x]
            out[y, x] = disparity_m_px / disparity if (z > zero) & (disparity > zero) else zero
