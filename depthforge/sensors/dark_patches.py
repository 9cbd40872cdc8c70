"""Surfaces that send no light back, made up: the upper level set of a Gaussian random field.

Clean depth does not say what is black, glossy or transparent; this loses as many pixels, in patches of as many sizes,
in other places. Three octaves of a correlated field, each half as strong as the one before, give patches of many sizes
with ragged borders. The field has variance 1 at every pixel, so a threshold cuts off the same share everywhere.

The field lies over the image (``patch_size_px``), another one in every frame; or, with ``patch_size_m``, on the
surfaces: a field in three dimensions, seen at the point of each pixel, so that patches shrink with distance. Where a
frame has a pose that field is the scene's, in the world, and a lost surface stays lost from frame to frame; else it is
the frame's own, in the camera. ``patch_persistence`` is the share of the variance that lies on the surfaces; the rest
is a field over the image after all, new in every frame, and makes holes flicker, most at their borders. A surface seen
from the side sends less back than one seen frontally, whatever it is made of (``patch_incidence``).

640x480 on one core: 2 ms over the image, 8 ms more on surfaces, 3 ms more when the share changes with depth.
"""

from __future__ import annotations

from statistics import NormalDist
from typing import Annotated, Protocol

import numpy as np
import numpy.typing as npt
from pydantic import Field

from depthforge.frame import BoolImage, Frame
from depthforge.geometry import pixel_rays
from depthforge.kernels import njit
from depthforge.seeding import scene_words
from depthforge.sensors.fields import correlated_normals
from depthforge.sensors.surface import surface_of
from depthforge.sensors.world_fields import world_normals

__all__ = [
    "PatchGrowth",
    "PatchIncidence",
    "PatchPersistence",
    "PatchShare",
    "PatchSizeM",
    "PatchSizePx",
    "dark_patches",
    "surface_field",
]

Float32 = npt.NDArray[np.float32]

PatchShare = Annotated[
    float,
    Field(
        ge=0,
        lt=1,
        description="share of what is 2 m away that sends no light back, in made-up patches: depth alone does not say "
        "what is dark",
    ),
]
PatchGrowth = Annotated[
    float, Field(ge=-3, le=3, description="by how many normal quantiles that share grows when depth doubles")
]
PatchSizePx = Annotated[
    float,
    Field(
        ge=4,
        le=512,
        description="lag at which the patches' field has lost 1 - 1/e, pixels; with patch_size_m that of what is "
        "new in every frame",
    ),
]
PatchSizeM = Annotated[
    float | None,
    Field(
        ge=0.02,
        le=100,
        description="the same on surfaces, metres: patches belong to places in the world where frames have poses, to "
        "places before the camera where not; by default they lie over the image",
    ),
]
PatchPersistence = Annotated[
    float,
    Field(
        ge=0,
        le=1,
        description="with patch_size_m, share of the field's variance that belongs to surfaces and stays from frame to "
        "frame; the rest is new in every frame",
    ),
]
PatchIncidence = Annotated[
    float,
    Field(
        ge=0,
        le=4,
        description="with patch_size_m, by how many normal quantiles the share grows per halving of the cosine between "
        "ray and surface normal, beyond 60 degrees",
    ),
]


class HasPatches(Protocol):
    """What patches on surfaces need to know of a sensor."""

    @property
    def patch_share(self) -> float: ...
    @property
    def patch_size_px(self) -> float: ...
    @property
    def patch_size_m(self) -> float | None: ...
    @property
    def patch_persistence(self) -> float: ...
    @property
    def patch_incidence(self) -> float: ...


_REFERENCE_M = 2.0
_OCTAVES = 3
_STEEP_COSINE, _LEAST_COSINE = np.float32(0.5), np.float32(1 / 16)


def dark_patches(
    depth_m: Float32,
    words: tuple[int, int],
    share: float,
    growth: float,
    size_px: float,
    *,
    stream: int,
    field: Float32 | None = None,
    lift: Float32 | None = None,
) -> BoolImage:
    """Return which pixels (H, W) of ``depth_m`` (H, W) send no light back; uses three streams of the frame's ``words``.

    ``share`` of what is 2 m away and, at z, the share of a normal law above its quantile less
    ``growth`` x log2(z / 2 m), in patches whose field varies over ``size_px``, or of ``field`` (``surface_field``).
    ``lift`` (H, W) is by how many more quantiles the share grows at each pixel.
    """
    if field is None:
        field = _patch_field(words, depth_m.shape, size_px, stream=stream)
    if lift is not None:
        field = field + lift
    return _above_share(field, depth_m, share, growth)


def surface_field(frame: Frame, words: tuple[int, int], sensor: HasPatches, *, stream: int) -> Float32 | None:
    """Return the field (H, W) of ``sensor``'s patches on the surfaces of ``frame``, None where they lie over the image.

    N(0, 1) before ``patch_incidence``; uses the three streams from ``stream`` of the frame's ``words`` and its scene's.
    What belongs to surfaces is looked up at every second pixel of every second row, which is a quarter of the time:
    patches are tens of pixels wide.
    """
    if sensor.patch_size_m is None or sensor.patch_share == 0.0:
        return None
    height, width = frame.camera.size
    coarse = np.zeros(((height + 1) // 2, (width + 1) // 2), np.float32)
    if sensor.patch_persistence > 0.0:
        z_m = frame.depth_m[::2, ::2]
        across, down = pixel_rays(frame.camera)
        x, y = across[::2].astype(np.float32), down[::2].astype(np.float32)
        points_m = np.stack([z_m * x, z_m * y[:, None], z_m])
        pose, place = frame.T_world_cam, scene_words(words)
        if pose is None or not np.isfinite(pose).all():
            pose, place = np.eye(4), words
        for octave, amplitude in enumerate(_amplitudes() * np.sqrt(sensor.patch_persistence)):
            length_m = sensor.patch_size_m / 2**octave
            part = world_normals(points_m, pose, place, length_m, stream=stream + octave)
            _add(part, np.float32(amplitude), coarse)
    if sensor.patch_incidence > 0.0:
        cosine = surface_of(frame.depth_m, frame.valid, frame.camera).cosine
        _lift_steep(cosine[::2, ::2], np.float32(sensor.patch_incidence), coarse)
    field = np.ascontiguousarray(coarse.repeat(2, axis=0).repeat(2, axis=1)[:height, :width])
    if sensor.patch_persistence < 1.0:
        own = correlated_normals(words, (height, width), sensor.patch_size_px, stream=stream)
        _add(own, np.float32(np.sqrt(1.0 - sensor.patch_persistence)), field)
    return field


def _patch_field(words: tuple[int, int], shape: tuple[int, int], size_px: float, *, stream: int) -> Float32:
    """Return an N(0, 1) field (H, W) that varies over ``size_px``, a half and a quarter of it."""
    out = np.zeros(shape, np.float32)
    for octave, amplitude in enumerate(_amplitudes()):
        part = correlated_normals(words, shape, size_px / 2**octave, stream=stream + octave)
        _add(part, np.float32(amplitude), out)
    return out


def _amplitudes() -> npt.NDArray[np.float64]:
    amplitudes = 0.5 ** np.arange(_OCTAVES)
    return amplitudes / np.linalg.norm(amplitudes)


def _above_share(field: Float32, depth_m: Float32, share: float, growth: float) -> BoolImage:
    """Return where ``field`` (H, W) lies in its upper ``share``; with depth by ``growth`` quantiles per octave."""
    threshold = NormalDist().inv_cdf(1.0 - share)
    if growth == 0.0:
        above: BoolImage = field > np.float32(threshold)
        return above
    nearest = float(depth_m.min(where=depth_m > 0, initial=_REFERENCE_M))
    ends = np.log2(np.array([nearest, max(float(depth_m.max()), nearest)]) / _REFERENCE_M)
    out = np.empty(field.shape, np.bool_)
    # Few values come near any threshold, and a logarithm is dear.
    least = np.float32(threshold - max(growth * ends))
    _above(field, np.ascontiguousarray(depth_m), threshold, growth, least, _REFERENCE_M, out)
    return out


@njit()
def _add(part, amplitude, out):  # type: ignore[no-untyped-def]
    for y in range(out.shape[0]):
        for x in range(out.shape[1]):
            out[y, x] += amplitude * part[y, x]


@njit(error_model="numpy")
def _lift_steep(cosine, growth, out):  # type: ignore[no-untyped-def]
    for y in range(out.shape[0]):
        for x in range(out.shape[1]):
            if cosine[y, x] < _STEEP_COSINE:
                out[y, x] += growth * np.log2(_STEEP_COSINE / max(cosine[y, x], _LEAST_COSINE))


@njit(error_model="numpy")
def _above(field, depth, threshold, growth, least, reference, out):  # type: ignore[no-untyped-def]
    for y in range(field.shape[0]):
        for x in range(field.shape[1]):
            out[y, x] = False
            if field[y, x] > least and depth[y, x] > 0:
                out[y, x] = field[y, x] > threshold - growth * np.log2(depth[y, x] / reference)
