"""Fields of noise on the surfaces that a generator is shown, and the field that draws its holes.

``anchored_channels`` of noise belong to places: in the world where frames have poses, so that what the generator makes
of them stays on its surface from frame to frame; else before the camera, the frame's own. ``holes: copula`` draws the
holes of a validity head as ``hole_sampling`` does, with a short field of the frame and a long one on surfaces: holes of
the sensor's size instead of one threshold, which makes whole regions of them, or independent pixels, which are dust.

Training draws fields by the same code on the points of its crops, so that the generator knows what it will be given:
their words come from the objective's own generator of random numbers, and a resumed training draws the same. A field
of 640x480 costs 3 ms; the alternative, a field over the image, would be larger on far surfaces and stay on none.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
import torch
from pydantic import BaseModel, ConfigDict, Field
from torch import Tensor

from depthforge.frame import Frame
from depthforge.geometry import back_project
from depthforge.seeding import scene_words
from depthforge.sensors.fields import correlated_normals
from depthforge.sensors.world_fields import world_normals

__all__ = ["HoleFields", "drawn_anchored", "drawn_hole_field", "frame_anchored", "frame_hole_field", "points_of"]

Float32 = npt.NDArray[np.float32]

# Streams of random numbers that no sensor draws from, nor ``hybrid``.
_SHORT, _LONG, _ANCHORED = 210, 211, 220


class HoleFields(BaseModel):
    """How the field that draws holes by a copula is correlated (``hole_sampling``)."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    short_px: float = Field(
        default=5.0,
        ge=0,
        le=64,
        description="holes by a copula: lag at which their short field has fallen to 1/e, pixels",
    )
    long_m: float = Field(
        default=0.25,
        ge=0.02,
        le=100,
        description="the same of the long field, metres on the surface: in the world where frames have poses, else "
        "before the camera",
    )
    long_share: float = Field(
        default=0.7, ge=0, le=1, description="share of the long field in the variance: what stays from frame to frame"
    )


def points_of(frame: Frame) -> Float32:
    """Return the points (3, H, W) float32 of a frame in camera axes, metres; the origin for holes."""
    points = back_project(np.where(frame.valid, frame.depth_m, np.float32(0)), frame.camera)
    return np.ascontiguousarray(points.transpose(2, 0, 1))


def frame_anchored(frame: Frame, words: tuple[int, int], count: int, length_m: float) -> Float32:
    """Return ``count`` independent N(0, 1) fields (count, H, W) on the surfaces of ``frame``."""
    points, pose, place = _anchor(frame, words)
    fields = [world_normals(points, pose, place, length_m, stream=_ANCHORED + k) for k in range(count)]
    return np.stack(fields) if fields else np.zeros((0, *frame.camera.size), np.float32)


def frame_hole_field(frame: Frame, words: tuple[int, int], fields: HoleFields) -> Float32:
    """Return the N(0, 1) field (H, W) that draws the holes of ``frame``."""
    points, pose, place = _anchor(frame, words)
    return _mixed(world_normals(points, pose, place, fields.long_m, stream=_LONG), words, fields)


def drawn_anchored(points: Tensor, count: int, length_m: float, random: torch.Generator) -> Tensor:
    """Return ``count`` fields for each image of ``points`` (B, 3, H, W), as of a frame without a pose, drawn anew."""
    drawn = []
    for image in _images(points):
        words = _words(random)
        drawn.append([world_normals(image, np.eye(4), words, length_m, stream=_ANCHORED + k) for k in range(count)])
    return torch.from_numpy(np.array(drawn, np.float32)).to(points.device)


def drawn_hole_field(points: Tensor, fields: HoleFields, random: torch.Generator) -> Tensor:
    """Return the field (B, 1, H, W) that draws the holes of each image of ``points`` (B, 3, H, W)."""
    drawn = []
    for image in _images(points):
        words = _words(random)
        drawn.append([_mixed(world_normals(image, np.eye(4), words, fields.long_m, stream=_LONG), words, fields)])
    return torch.from_numpy(np.array(drawn, np.float32)).to(points.device)


def _anchor(frame: Frame, words: tuple[int, int]) -> tuple[Float32, npt.NDArray[np.float64], tuple[int, int]]:
    pose, place = frame.T_world_cam, scene_words(words)
    if pose is None or not np.isfinite(pose).all():
        pose, place = np.eye(4), words
    return points_of(frame), pose, place


def _mixed(long: Float32, words: tuple[int, int], fields: HoleFields) -> Float32:
    short = correlated_normals(words, long.shape, fields.short_px, stream=_SHORT)
    share = fields.long_share
    field: Float32 = np.float32(math.sqrt(share)) * long + np.float32(math.sqrt(1 - share)) * short
    return field


def _images(points: Tensor) -> Sequence[Float32]:
    return list(points.detach().cpu().numpy())


def _words(random: torch.Generator) -> tuple[int, int]:
    first, second = torch.randint(2**63 - 1, (2,), generator=random).tolist()
    return first, second
