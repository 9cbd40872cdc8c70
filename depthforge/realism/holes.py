"""Holes of a depth image: how many, how large, and on which side of what.

Sizes are those of 4-connected components, in octaves of their area and weighted by it, since a thousand single
pixels matter less to a network than one lost table top. A depth edge is where neighbours differ by more than 5 %
after each hole took the depth of the nearest measurement. A shadow is a hole pixel whose row is bounded by depths
that differ by as much: a structured-light or stereo sensor leaves them on one side of near objects only, the side
away from its second eye. 640x480 on one core: 11 ms.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final

import cv2
import numpy as np
import numpy.typing as npt

from depthforge.frame import BoolImage, DepthImage
from depthforge.realism.windows import MAX_JUMP

__all__ = ["NUM_OCTAVES", "HoleStatistics", "measure_holes"]

# The last octave holds everything from 2^19 pixels, more than a 640x480 image has.
NUM_OCTAVES: Final = 20


@dataclass(frozen=True, slots=True)
class HoleStatistics:
    """Pixel counts of one image. ``pixels_by_octave`` (20,) int64: hole pixels in holes of 2^k to 2^(k+1) - 1 px;
    ``num_near_edge``: hole pixels within 2 px of a depth edge; ``num_left_shadow`` and ``num_right_shadow``: hole
    pixels to the left and to the right of a nearer surface.
    """

    num_pixels: int
    pixels_by_octave: npt.NDArray[np.int64]
    num_near_edge: int
    num_left_shadow: int
    num_right_shadow: int

    @property
    def num_holes(self) -> int:
        """Pixels without a measurement."""
        return int(self.pixels_by_octave.sum())


def measure_holes(depth_m: DepthImage, valid: BoolImage) -> HoleStatistics:
    """Measure the holes of one image (H, W); an image without a measurement is one hole without edges."""
    holes = ~valid
    _, _, components, _ = cv2.connectedComponentsWithStats(holes.view(np.uint8), connectivity=4)
    areas = components[1:, cv2.CC_STAT_AREA].astype(np.int64)
    octaves = np.minimum(np.frexp(areas.astype(np.float64))[1] - 1, NUM_OCTAVES - 1)
    spectrum = np.bincount(octaves, weights=areas, minlength=NUM_OCTAVES).astype(np.int64)
    if not valid.any() or not holes.any():
        return HoleStatistics(valid.size, spectrum, 0, 0, 0)
    near_edge = int(np.count_nonzero(holes & _near_edges(_fill_nearest(depth_m, valid))))
    left, right = _shadows(depth_m, valid)
    return HoleStatistics(valid.size, spectrum, near_edge, left, right)


def _fill_nearest(depth_m: DepthImage, valid: BoolImage) -> DepthImage:
    _, nearest = cv2.distanceTransformWithLabels(
        (~valid).view(np.uint8), cv2.DIST_L2, cv2.DIST_MASK_5, labelType=cv2.DIST_LABEL_PIXEL
    )
    depth_of = np.zeros(int(nearest.max()) + 1, np.float32)
    depth_of[nearest[valid]] = depth_m[valid]
    filled: DepthImage = depth_of[nearest]
    return filled


def _near_edges(depth_m: DepthImage) -> BoolImage:
    """Return the two pixels on either side of every depth edge, (H, W) bool."""
    beside = np.zeros(depth_m.shape, bool)
    for axis in (0, 1):
        edge = _jumps(*_neighbours(depth_m, axis))
        for side in _neighbours(beside, axis):
            side |= edge
    near: BoolImage = cv2.dilate(beside.view(np.uint8), np.ones((3, 3), np.uint8)) > 0
    return near


def _jumps(first_m: npt.NDArray[np.float32], second_m: npt.NDArray[np.float32]) -> BoolImage:
    jumps: BoolImage = np.abs(first_m - second_m) > MAX_JUMP * np.minimum(first_m, second_m)
    return jumps


def _neighbours(image: npt.NDArray[Any], axis: int) -> tuple[npt.NDArray[Any], npt.NDArray[Any]]:
    return (image[:-1], image[1:]) if axis == 0 else (image[:, :-1], image[:, 1:])


def _shadows(depth_m: DepthImage, valid: BoolImage) -> tuple[int, int]:
    """Count hole pixels whose row is bounded by depths that differ, by the side of the nearer one they lie on."""
    width = depth_m.shape[1]
    columns = np.arange(width)
    before = np.maximum.accumulate(np.where(valid, columns, -1), axis=1)
    after = np.minimum.accumulate(np.where(valid, columns, width)[:, ::-1], axis=1)[:, ::-1]
    row, column = np.nonzero(~valid & (before >= 0) & (after < width))
    left, right = depth_m[row, before[row, column]], depth_m[row, after[row, column]]
    jump = _jumps(left, right)
    return int(np.count_nonzero(jump & (right < left))), int(np.count_nonzero(jump & (left < right)))
