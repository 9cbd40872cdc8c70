"""The fraction of a pixel of a stereo match: one Gauss-Newton step of the light, from a smoothed surface.

Within a window the shift is sought that makes both views agree best: the sum of gradient times difference over the sum
of the squared gradient. It starts from the matched disparity, smoothed where a window lies on one surface, and reads
the right view by a spline. The slope is the mean of both views', by central differences, so that noise pulls to no
whole pixel: 0.01 px where a parabola through three costs has 0.09.

Source: Lucas and Kanade, "An iterative image registration technique", IJCAI 1981.
"""

from __future__ import annotations

from typing import Final

import cv2
import numpy as np
import numpy.typing as npt

from depthforge.kernels import njit

__all__ = ["refined"]

Float32 = npt.NDArray[np.float32]

_MOST_STEP_PX: Final = np.float32(0.5)
_EDGE_PX: Final = 1.5
_ZERO, _ONE, _HALF = np.float32(0), np.float32(1), np.float32(0.5)
_TWO, _THREE, _FOUR, _FIVE = np.float32(2), np.float32(3), np.float32(4), np.float32(5)

_compiled = njit(error_model="numpy")


def refined(
    left: Float32, right: Float32, disparity: Float32, fit: tuple[int, int], surface_half: tuple[int, int]
) -> tuple[Float32, Float32]:
    """Return the disparity (H, W) px after one Gauss-Newton step, and the mean squared gradient in its window (H, W).

    ``left`` (H, W) and ``right`` (H, pad + W) are as of ``stereo_matching.match_views``. ``fit`` is half the width and
    half the height of the window, which is laid on twice; ``surface_half`` of that over which ``disparity`` is smoothed
    before it.
    """
    surface = _smooth(disparity, surface_half)
    product, square = np.empty_like(left), np.empty_like(left)
    _residual(left, right, surface, product, square)
    numerator, information = _box_twice(product, fit), _box_twice(square, fit)
    step = np.empty_like(left)
    _step(surface, numerator, information, step)
    return step, information


def _smooth(disparity: Float32, half: tuple[int, int]) -> Float32:
    """Return the disparity, smoothed where a whole window lies on one surface: a plane stays what it is."""
    if half == (0, 0):
        return disparity
    around = np.ones((3, 3), np.uint8)
    one_surface = (cv2.dilate(disparity, around) - cv2.erode(disparity, around) < _EDGE_PX).view(np.uint8)
    reach = np.ones((4 * half[1] + 1, 4 * half[0] + 1), np.uint8)
    smooth = _box_twice(disparity, half)
    np.copyto(smooth, disparity, where=cv2.erode(one_surface, reach) == 0)
    return smooth


def _box_twice(image: Float32, half: tuple[int, int]) -> Float32:
    size = (2 * half[0] + 1, 2 * half[1] + 1)
    return np.asarray(cv2.blur(cv2.blur(image, size), size), np.float32)


@_compiled
def _residual(left, right, disparity, product, square):  # type: ignore[no-untyped-def]
    """Write gradient times difference of the views, and gradient squared, at every pixel's own disparity."""
    height, width = left.shape
    pad = right.shape[1] - width
    beyond = np.float32(right.shape[1] - 3)
    for y in range(height):
        before, at_it, after, second = right[y], right[y, 1:], right[y, 2:], right[y, 3:]
        here = left[y]
        product[y, 0], product[y, width - 1], square[y, 0], square[y, width - 1] = _ZERO, _ZERO, _ZERO, _ZERO
        for x in range(1, width - 1):
            at = np.float32(x + pad) - disparity[y, x]
            inside = (at >= _ONE) & (at < beyond)
            at = at if inside else _ONE
            # Unsigned: a signed index would be asked each time whether it counts from the end.
            first = np.uint32(at)
            part = at - np.float32(first)
            first -= np.uint32(1)
            a, b, c, d = before[first], at_it[first], after[first], second[first]
            # A Catmull-Rom spline.
            linear, quadratic, cubic = c - a, _TWO * a - _FIVE * b + _FOUR * c - d, _THREE * (b - c) + d - a
            there = b + _HALF * part * (linear + part * (quadratic + part * cubic))
            # The spline's own slope would have three times the noise between pixels, and pull towards them.
            slope_there = _HALF * ((c - a) * (_ONE - part) + (d - b) * part)
            slope = _HALF * (_HALF * (here[x + 1] - here[x - 1]) + slope_there)
            slope = slope if inside else _ZERO
            product[y, x] = slope * (there - here[x])
            square[y, x] = slope * slope


@_compiled
def _step(surface, numerator, information, out):  # type: ignore[no-untyped-def]
    for y in range(out.shape[0]):
        for x in range(out.shape[1]):
            step = numerator[y, x] / max(information[y, x], np.float32(1e-9))
            out[y, x] = max(surface[y, x] + min(max(step, -_MOST_STEP_PX), _MOST_STEP_PX), _HALF)
