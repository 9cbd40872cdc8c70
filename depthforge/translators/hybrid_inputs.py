"""What the network of ``hybrid`` sees of a frame: nothing that names the room, the place in the image or the distance.

A network that is given absolute depth, position or colour as it is learns the room that it was trained in, and is worse
than chance in the next. So every channel is relative by construction: slopes of disparity, the angle of incidence,
luminance against the frame's mean and against its surroundings, saturation, how often the simulated sensor loses the
pixel, and how near it is to a silhouette on either side. Distance has a say in one of them, by the law that a projector
follows: the light that comes back falls with its square.

Where depth is missing is not among them either. Fused truth lacks just what a sensor often loses, so a network that
sees the rim of the truth learns that holes are there; clean depth has no such rim. Pixels without depth are taken as
the nearest one that has some.

640x480 on one core: 25 ms with colour, and the simulated sensor as often as ``draws`` says.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import cv2
import numpy as np
import numpy.typing as npt

from depthforge.frame import BoolImage, Frame, NoisyDepth
from depthforge.sensors.surface import luminance_of, surface_of

__all__ = ["COLOUR_CHANNELS", "GEOMETRY_CHANNELS", "hole_frequency", "inputs_of", "well_known"]

Float32 = npt.NDArray[np.float32]

GEOMETRY_CHANNELS: Final = (
    "slope of disparity along x",
    "slope of disparity along y",
    "cosine of incidence",
    "light that comes back, log2",
    "frequency of holes in the simulation, over 3x3 pixels",
    "nearness to a silhouette whose near side is left",
    "nearness to a silhouette whose near side is right",
)
COLOUR_CHANNELS: Final = ("luminance over the mean", "luminance over its surroundings", "saturation")

_STEEPEST_PX = 4.0
_JUMP = 0.05
_NEAREST_JUMP_M = 0.3
_REACH_PX = 8.0
_LEAST_COSINE, _NEAREST_M, _LIGHT_SCALE = 0.05, 0.1, 0.25
_AROUND_PX = 41
_DARKEST_MEAN = 0.05
_WHOLE_PX, _WHOLE_SHARE = 15, 0.75


def inputs_of(frame: Frame, frequency: Float32, disparity_m_px: float, *, colour: bool) -> Float32:
    """Return the channels (C, H, W) float32 of a clean frame: those of geometry, then with ``colour`` those of colour.

    ``frequency`` (H, W) is that of ``hole_frequency``. ``disparity_m_px`` is focal length x baseline of the sensor: the
    slopes are in pixels of its disparity.
    """
    depth_m, frequency = _filled(frame.depth_m, frequency, frame.valid)
    seen = depth_m > 0
    inverse = np.divide(np.float32(disparity_m_px), depth_m, out=np.zeros_like(depth_m), where=seen)
    slope_x, slope_y = np.zeros_like(inverse), np.zeros_like(inverse)
    slope_x[:, 1:-1] = 0.5 * (inverse[:, 2:] - inverse[:, :-2])
    slope_y[1:-1] = 0.5 * (inverse[2:] - inverse[:-2])
    cosine = surface_of(depth_m, seen, frame.camera).cosine
    back = np.log2(np.maximum(cosine, _LEAST_COSINE) / np.maximum(depth_m, _NEAREST_M) ** 2) * np.float32(_LIGHT_SCALE)
    left, right = _silhouettes(depth_m)
    channels = [
        np.clip(slope_x, -_STEEPEST_PX, _STEEPEST_PX),
        np.clip(slope_y, -_STEEPEST_PX, _STEEPEST_PX),
        cosine,
        np.clip(back, -2, 2) * seen,
        cv2.blur(frequency, (3, 3), borderType=cv2.BORDER_REFLECT),
        left,
        right,
    ]
    if colour:
        assert frame.rgb is not None
        channels += _colour(frame.rgb)
    # With channels innermost, as the network takes them.
    merged: Float32 = cv2.merge([np.ascontiguousarray(channel, np.float32) for channel in channels])
    return merged.transpose(2, 0, 1)


def hole_frequency(drawings: Sequence[NoisyDepth]) -> Float32:
    """Return the share of ``drawings`` of a sensor in which each pixel (H, W) measures nothing."""
    holes = np.zeros(drawings[0].valid.shape, np.float32)
    for drawn in drawings:
        holes += ~drawn.valid
    return holes / np.float32(len(drawings))


def well_known(valid: BoolImage) -> BoolImage:
    """Return where truth (H, W) is, and most of what is around it.

    The ragged rim of fused truth is lost by any sensor that is simulated on it, for want of what is beside it, and says
    nothing of the real one.
    """
    share = cv2.blur(valid.astype(np.float32), (_WHOLE_PX, _WHOLE_PX), borderType=cv2.BORDER_REFLECT)
    known: BoolImage = valid & (share >= _WHOLE_SHARE)
    return known


def _filled(depth_m: Float32, frequency: Float32, valid: BoolImage) -> tuple[Float32, Float32]:
    """Return both images with the values of the nearest ``valid`` pixel where there is none; 0 where none is at all."""
    holes = ~valid
    if not holes.any() or holes.all():
        return depth_m * valid, frequency
    _, label = cv2.distanceTransformWithLabels(
        holes.astype(np.uint8), cv2.DIST_L2, cv2.DIST_MASK_5, labelType=cv2.DIST_LABEL_PIXEL
    )
    place_of = np.empty(int(label.max()) + 1, np.int64)
    place_of[label[valid]] = np.flatnonzero(valid)
    nearest = place_of[label[holes]]
    filled_m, filled = depth_m.copy(), frequency.copy()
    filled_m[holes], filled[holes] = depth_m.ravel()[nearest], frequency.ravel()[nearest]
    return filled_m, filled


def _silhouettes(depth_m: Float32) -> tuple[Float32, Float32]:
    """Return how near each pixel is to a step of depth along its row, by the side of what is nearer: exp(-d / 8 px)."""
    step = np.zeros_like(depth_m)
    step[:, 1:] = depth_m[:, 1:] - depth_m[:, :-1]
    jump = np.abs(step) > _JUMP * np.maximum(depth_m, _NEAREST_JUMP_M)
    near = []
    for edges in (jump & (step > 0), jump & (step < 0)):
        distance_px = cv2.distanceTransform((~edges).astype(np.uint8), cv2.DIST_L2, cv2.DIST_MASK_5)
        near.append(np.exp(distance_px * np.float32(-1 / _REACH_PX)))
    return near[0], near[1]


def _colour(rgb: npt.NDArray[np.uint8]) -> list[Float32]:
    luminance = luminance_of(rgb).astype(np.float32) * np.float32(1 / 255)
    around = cv2.blur(luminance, (_AROUND_PX, _AROUND_PX), borderType=cv2.BORDER_REFLECT)
    mean = max(float(luminance.mean(dtype=np.float64)), _DARKEST_MEAN)
    red, green, blue = cv2.split(rgb)
    saturation = cv2.subtract(cv2.max(cv2.max(red, green), blue), cv2.min(cv2.min(red, green), blue))
    return [
        np.clip(luminance / np.float32(mean) - 1, -2, 2),
        np.clip((luminance - around) * 4, -2, 2).astype(np.float32),
        saturation.astype(np.float32) * np.float32(1 / 255),
    ]
