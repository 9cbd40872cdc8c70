"""Grasp rectangles as four maps, as GG-CNN learns them, and the best rectangles of four maps.

A rectangle is drawn as the middle third of its opening, since a gripper that is off by more closes beside the object;
where rectangles overlap, the best is on top. Reading off smooths the maps and takes the highest peaks that lie apart.
Lengths are said for images of 300 pixels, the network's own, and scale with the side of others. Drawing 200 rectangles
takes 1 ms, reading off 3 ms.

Source: Morrison et al., RSS 2018, and their published code. There the angle is smoothed after its arctangent, which
makes nothing of the mean of +89 and -89 degrees; here its cosine and sine are.
"""

from __future__ import annotations

import cv2
import numpy as np
import numpy.typing as npt

from depthforge.geometry import Float64
from depthforge.tasks.grasp_rectangles import corners

__all__ = ["MAPS", "SIDE_PX", "drawn", "read_off"]

MAPS = ("quality", "cosine", "sine", "width")
SIDE_PX = 300
"""The side of the images that lengths are said for."""

_WIDEST_PX = 150.0
_APART_PX = 20
_LEAST_QUALITY = 0.2
_SIGMA_PX, _WIDTH_SIGMA_PX = 2.0, 1.0

Maps = npt.NDArray[np.float32]


def drawn(rectangles: Float64, side: int) -> Maps:
    """Return the maps (4, side, side) float32, in the order of MAPS, of rectangles (N, 5), best first.

    Quality is 1 within and 0 elsewhere; cosine and sine are of twice the angle, 1 and 0 elsewhere; width is the
    opening, 150 pixels of 300 and more being 1, and 0 elsewhere.
    """
    maps = np.zeros((len(MAPS), side, side), np.float32)
    maps[1] = 1.0
    middle = rectangles * (1.0, 1.0, 1.0, 1 / 3, 1.0)
    openings = np.minimum(rectangles[:, 3] / _scaled(_WIDEST_PX, side), 1.0)
    # Corners in 1/16 of a pixel.
    around = np.rint(16 * corners(middle)).astype(np.int32)
    for corner, angle, opening in zip(around[::-1], rectangles[::-1, 2], openings[::-1], strict=True):
        values = (1.0, np.cos(2 * angle), np.sin(2 * angle), opening)
        for image, value in zip(maps, values, strict=True):
            cv2.fillConvexPoly(image, corner, float(value), lineType=cv2.LINE_8, shift=4)
    return maps


def read_off(maps: npt.NDArray[np.floating], most: int = 3) -> Float64:
    """Return the best rectangles (N, 5) of maps (4, side, side), ``most`` at most, best first.

    They are as wide as the map says and half as high. None where no quality is above 0.2.
    """
    side = maps.shape[1]
    sigma, width_sigma = _scaled(_SIGMA_PX, side), _scaled(_WIDTH_SIGMA_PX, side)
    quality, cosine, sine = (_smoothed(image, sigma) for image in maps[:3])
    width = _smoothed(maps[3], width_sigma)
    apart = max(round(_scaled(_APART_PX, side)), 1)
    highest = cv2.dilate(quality, np.ones((2 * apart + 1, 2 * apart + 1), np.uint8))
    rows, columns = np.nonzero((quality == highest) & (quality > _LEAST_QUALITY))
    found: list[tuple[int, int]] = []
    for at in np.argsort(-quality[rows, columns], kind="stable"):
        row, column = int(rows[at]), int(columns[at])
        # Of a plateau one.
        if len(found) < most and all(max(abs(row - r), abs(column - c)) > apart for r, c in found):
            found.append((row, column))
    rectangles = np.empty((len(found), 5))
    for rectangle, at in zip(rectangles, found, strict=True):
        opening = max(float(width[at]), 0.0) * _scaled(_WIDEST_PX, side)
        rectangle[:] = at[1], at[0], np.arctan2(sine[at], cosine[at]) / 2, opening, opening / 2
    return rectangles


def _scaled(length_px: float, side: int) -> float:
    return length_px * side / SIDE_PX


def _smoothed(image: npt.NDArray[np.floating], sigma_px: float) -> npt.NDArray[np.float32]:
    size = 2 * int(4 * sigma_px + 0.5) + 1
    smooth = cv2.GaussianBlur(
        np.ascontiguousarray(image, np.float32), (size, size), sigma_px, borderType=cv2.BORDER_REPLICATE
    )
    return np.asarray(smooth, np.float32)
