"""The loops of the Redwood model, compiled; ``redwood`` says what they compute.

Single precision up to the disparity step, in the published order of operations: the reference computes so, and a
rounding at a half must fall to the same side.
"""

from __future__ import annotations

import numpy as np

from depthforge.kernels import njit

__all__ = ["measure"]

_ZERO, _HALF, _ONE, _TWO = np.float32(0), np.float32(0.5), np.float32(1), np.float32(2)
_LAST_DISTANCE = np.int32(4)
_FARTHEST_M = np.float32(1e6)

_compiled = njit(error_model="numpy")


@_compiled
def _locate(draws, sigma, start, slope, last, at):  # type: ignore[no-untyped-def]
    """Round start + slope * x + sigma * draw, halves away from zero, into [0, last]."""
    for x in range(at.shape[0]):
        # Draws reach 6.3 sigma and sigma 8 px: adding 64 makes all of them positive, and truncation the floor.
        position = np.float32(start + slope * np.float32(x)) + np.float32(sigma * draws[x])
        near = np.int32(position + np.float32(64.5)) - np.int32(64)
        near = near if near > 0 else np.int32(0)
        at[x] = near if near < last else last


@_compiled
def _look_up(depth, at_x, at_y, cell_x, cell_y, grid, factor, z, near, far):  # type: ignore[no-untyped-def]
    flat, factors = depth.reshape(depth.size), factor.reshape(factor.size)
    width = np.uint64(depth.shape[1])
    for x in range(at_x.shape[0]):
        row, column = at_y[x], at_x[x]
        here = flat[np.uint64(row - row % grid) * width + np.uint64(column - column % grid)]
        here = here if here < _FARTHEST_M else _FARTHEST_M
        upper = np.int32((here + _ONE) / _TWO)
        lower = upper - np.int32(1)
        first = np.uint64(cell_y[row]) + np.uint64(cell_x[column])
        near[x] = factors[first + np.uint64(min(max(lower, np.int32(0)), _LAST_DISTANCE))]
        far[x] = factors[first + np.uint64(min(upper, _LAST_DISTANCE))]
        z[x] = here


@_compiled
def _disparity(z, near, far, draws, exact, steps_per_px, sigma, out):  # type: ignore[no-untyped-def]
    depth_disparity, one_step = np.float32(exact), exact * np.float64(steps_per_px)
    for x in range(out.shape[0]):
        upper = np.float32(np.int32((z[x] + _ONE) / _TWO))
        share = np.float32(z[x] - (np.float32((upper - _ONE) * _TWO) + _ONE)) / _TWO
        factor = np.float32((_ONE - share) * near[x]) + np.float32(share * far[x])
        raw = np.float32(depth_disparity / np.float32(z[x] / factor)) + np.float32(draws[x] * sigma)
        raw = np.float32(raw * steps_per_px)
        # Rounding halves up; below a half there is no measurement, so that the sign needs no care.
        whole = np.float32(np.floor(raw))
        steps = whole + (_ONE if np.float32(raw - whole) >= _HALF else _ZERO)
        seen = (z[x] > _ZERO) & (factor > _ZERO) & (steps > _ZERO) & (steps < np.float32(np.inf))
        out[x] = np.float32(one_step / np.float64(steps)) if seen else _ZERO


@_compiled
def measure(  # type: ignore[no-untyped-def]
    depth, draws, factor, cell_x, cell_y, shift_sigma, grid, depth_disparity, steps_per_px, noise_sigma, out
):
    height, width = out.shape
    at_x, at_y = np.empty(width, np.int32), np.empty(width, np.int32)
    z, near, far = np.empty(width, np.float32), np.empty(width, np.float32), np.empty(width, np.float32)
    for y in range(height):
        _locate(draws[0, y], shift_sigma, _ZERO, _ONE, np.int32(width - 1), at_x)
        _locate(draws[1, y], shift_sigma, np.float32(y), _ZERO, np.int32(height - 1), at_y)
        _look_up(depth, at_x, at_y, cell_x, cell_y, grid, factor, z, near, far)
        _disparity(z, near, far, draws[2, y], depth_disparity, steps_per_px, noise_sigma, out[y])
