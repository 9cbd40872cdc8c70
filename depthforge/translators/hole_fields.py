"""The field that draws the holes of ``hybrid``: how large they are in the image, and how long they stay.

A field of variance 1 is made of four: a long and a short one, each on surfaces and over the image. The long one decides
whether a surface is lost, the short one its ragged border; what a simulation loses, as the shadow of a silhouette, the
long one decides alone, for a shadow has no ragged border. What is on surfaces belongs to the scene's world where
frames have poses, and is the same in every frame that sees it; what lies over the image is new in every frame. A
Kinect keeps nine tenths of what it loses from one frame to the next, a D435i a quarter, and both lose patches of tens
of pixels; so how large and how long are apart. All four numbers are measured in training on held-out pairs
(``stages.hole_correlation``) and lie beside the weights.

Fields on surfaces are as large in the image over a table as in a room: their lengths are of a view of 2 m and grow in
proportion to the median distance of a frame. A field has a length of whole octaves, and two are mixed: views of one
scene share most of theirs. Without a pose they are the frame's own, before the camera.

640x480 on one core: 15 ms. The alternative, one field over the image, would join what is near with what is behind it.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
from pydantic import BaseModel, ConfigDict, Field

from depthforge.frame import Frame
from depthforge.geometry import pixel_rays
from depthforge.seeding import scene_words
from depthforge.sensors.fields import correlated_normals
from depthforge.sensors.world_fields import world_normals

__all__ = ["AT_M", "Correlation", "CorrelationSettings", "HoleField", "hole_field"]

Float32 = npt.NDArray[np.float32]

AT_M = 2.0
"""The distance of a view for which lengths on surfaces are given, metres."""

# Streams of random numbers that no sensor draws from; fields on surfaces take one for even octaves and one for odd.
_SHORT, _LONG, _ON_SURFACES, _BORDERS = 200, 201, 202, 204
_MOST_OCTAVES = 8


class Correlation(NamedTuple):
    """How the field is correlated.

    ``short_px``: where the short field has fallen to 1/e, pixels; ``long_m``: the same of the long one, metres on the
    surface in a view of 2 m; ``long_share``: the long one's share of the variance; ``persistence``: the share of the
    variance that stays on its surface from frame to frame.
    """

    short_px: float = 5.0
    long_m: float = 0.25
    long_share: float = 0.7
    persistence: float = 0.7


class CorrelationSettings(BaseModel):
    """What of ``Correlation`` is not to be as it was measured in training."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    short_px: float | None = Field(
        default=None,
        ge=0,
        le=64,
        description="holes: lag at which their short field has fallen to 1/e, pixels; default: as measured in training",
    )
    long_m: float | None = Field(
        default=None,
        ge=0.005,
        le=100,
        description="holes: the same of the long field, metres on the surface in a view of 2 m, and in proportion "
        "nearer and farther; default: as measured",
    )
    long_share: float | None = Field(
        default=None, ge=0, le=1, description="holes: share of the long field in the variance; default: as measured"
    )
    persistence: float | None = Field(
        default=None,
        ge=0,
        le=1,
        description="holes: share of the variance that stays on its surface from frame to frame, where frames have "
        "poses; default: as measured",
    )

    def over(self, measured: Correlation) -> Correlation:
        """Return ``measured``, but for what is set here."""
        own = {name: getattr(self, name) for name in Correlation._fields}
        return measured._replace(**{name: value for name, value in own.items() if value is not None})


class HoleField(NamedTuple):
    """N(0, 1) fields (H, W) float32: the long one, and what it and the short one make together."""

    long: Float32
    whole: Float32


def hole_field(frame: Frame, words: tuple[int, int], correlation: Correlation) -> HoleField:
    """Return the fields that draw the holes of ``frame``; ``words`` are the frame's."""
    short_px, long_m, long_share, persistence = correlation
    long_px = long_m * frame.camera.fx / AT_M
    long = _field(frame, words, long_px, persistence, step=2, streams=(_ON_SURFACES, _LONG))
    if long_share == 1:
        return HoleField(long, long)
    short = _field(frame, words, short_px, persistence, step=1, streams=(_BORDERS, _SHORT))
    return HoleField(long, np.float32(math.sqrt(long_share)) * long + np.float32(math.sqrt(1 - long_share)) * short)


def _field(
    frame: Frame, words: tuple[int, int], length_px: float, persistence: float, *, step: int, streams: tuple[int, int]
) -> Float32:
    """Return N(0, 1) over ``length_px`` (H, W), of which ``persistence`` lies on surfaces; see ``_on_surfaces``."""
    on_surfaces, over_image = streams
    # What is no wider than a pixel can stay nowhere.
    stays = persistence if length_px >= 1 else 0.0
    field = np.zeros(frame.camera.size, np.float32)
    if stays > 0:
        of_scene = _on_surfaces(frame, words, length_px * AT_M / frame.camera.fx, step, on_surfaces)
        field += np.float32(math.sqrt(stays)) * of_scene
    if stays < 1:
        own = correlated_normals(words, frame.camera.size, length_px, stream=over_image)
        field += np.float32(math.sqrt(1 - stays)) * own
    return field


def _on_surfaces(frame: Frame, words: tuple[int, int], length_m: float, step: int, stream: int) -> Float32:
    """Return N(0, 1) on the surfaces (H, W), looked up at every ``step``-th pixel of every such row."""
    median_m = float(np.median(frame.depth_m[frame.valid])) if frame.valid.any() else AT_M
    octaves = float(np.clip(math.log2(max(median_m, 1e-3) / AT_M), -_MOST_OCTAVES, _MOST_OCTAVES))
    z_m = frame.depth_m[::step, ::step]
    across, down = pixel_rays(frame.camera)
    x, y = across[::step].astype(np.float32), down[::step].astype(np.float32)
    points_m = np.stack([z_m * x, z_m * y[:, None], z_m])
    pose, place = frame.T_world_cam, scene_words(words)
    if pose is None or not np.isfinite(pose).all():
        pose, place = np.eye(4), words
    lower = math.floor(octaves)
    coarse = np.zeros(z_m.shape, np.float32)
    for octave, share in ((lower, 1 - (octaves - lower)), (lower + 1, octaves - lower)):
        if share > 0:
            part = world_normals(points_m, pose, place, length_m * 2.0**octave, stream=stream + octave % 2)
            coarse += np.float32(math.sqrt(share)) * part
    height, width = frame.camera.size
    whole = coarse.repeat(step, axis=0).repeat(step, axis=1) if step > 1 else coarse
    return np.ascontiguousarray(whole[:height, :width])
