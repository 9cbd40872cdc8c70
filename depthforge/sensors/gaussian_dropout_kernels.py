"""The loops of the Gaussian and drop-out sensor, compiled; ``gaussian_dropout`` says what they compute."""

from __future__ import annotations

import numpy as np

from depthforge.kernels import njit

__all__ = ["dilate", "mark_edges", "measure"]

_ZERO = np.float32(0)

_compiled = njit(error_model="numpy")


@_compiled
def _add_noise(depth, draws, sigma, limits, out):  # type: ignore[no-untyped-def]
    constant, linear, quadratic = sigma
    nearest, farthest = limits
    for x in range(out.shape[0]):
        z = depth[x]
        noisy = np.float32(z + ((quadratic * z + linear) * z + constant) * draws[x])
        seen = (z > _ZERO) & (noisy > _ZERO) & (noisy >= nearest) & (noisy <= farthest) & (noisy < np.float32(np.inf))
        out[x] = noisy if seen else _ZERO


@_compiled
def _keep_below(field, limit, out):  # type: ignore[no-untyped-def]
    for x in range(out.shape[0]):
        out[x] = out[x] if field[x] < limit else _ZERO


@_compiled
def _keep_from(draws, probability, out):  # type: ignore[no-untyped-def]
    for x in range(out.shape[0]):
        out[x] = out[x] if draws[x] >= probability else _ZERO


@_compiled
def _keep_from_beside(draws, beside, probability, out):  # type: ignore[no-untyped-def]
    elsewhere, at_edge = probability
    for x in range(out.shape[0]):
        out[x] = out[x] if draws[x] >= (at_edge if beside[x] else elsewhere) else _ZERO


@_compiled
def measure(  # type: ignore[no-untyped-def]
    depth, draws, sigma, pixel_draws, beside, probability, blobs, blob_limit, limits, out
):
    for y in range(out.shape[0]):
        _add_noise(depth[y], draws[y], sigma, limits, out[y])
        if blobs.size > 0:
            _keep_below(blobs[y], blob_limit, out[y])
        if beside.size > 0:
            _keep_from_beside(pixel_draws[y], beside[y], probability, out[y])
        elif pixel_draws.size > 0:
            _keep_from(pixel_draws[y], probability[0], out[y])


@_compiled
def _mark_between(first, second, most, jumps):  # type: ignore[no-untyped-def]
    for x in range(jumps.shape[0]):
        near, far = min(first[x], second[x]), max(first[x], second[x])
        jumps[x] = (near > _ZERO) & (far > near * most)


@_compiled
def _mark(jumps, out):  # type: ignore[no-untyped-def]
    for x in range(jumps.shape[0]):
        out[x] |= jumps[x]


@_compiled
def mark_edges(depth, most, out):  # type: ignore[no-untyped-def]
    height, width = depth.shape
    jumps = np.empty(width, np.bool_)
    for y in range(height):
        if width > 1:
            _mark_between(depth[y, :-1], depth[y, 1:], most, jumps[: width - 1])
            _mark(jumps[: width - 1], out[y, :-1])
            _mark(jumps[: width - 1], out[y, 1:])
        if y + 1 < height:
            _mark_between(depth[y], depth[y + 1], most, jumps)
            _mark(jumps, out[y])
            _mark(jumps, out[y + 1])


@_compiled
def _dilate_row(row, reach):  # type: ignore[no-untyped-def]
    width = row.shape[0]
    until = -1  # the last pixel that a mark so far reaches
    for x in range(width):
        if row[x]:
            until = x + reach
        elif x <= until:
            row[x] = True
            # What is filled to the right of a mark is not a mark itself: ``until`` stays.


@_compiled
def _count(row, fresh, left):  # type: ignore[no-untyped-def]
    for x in range(row.shape[0]):
        left[x] = fresh if row[x] else max(left[x] - np.int32(1), np.int32(0))


@_compiled
def _mark_counted(left, out):  # type: ignore[no-untyped-def]
    for x in range(out.shape[0]):
        out[x] |= left[x] > np.int32(0)


@_compiled
def dilate(marks, reach):  # type: ignore[no-untyped-def]
    """Mark what is within ``reach`` of a mark, across and down, in place."""
    height, width = marks.shape
    for y in range(height):
        original = marks[y].copy()
        _dilate_row(marks[y], reach)
        backwards = original[::-1].copy()
        _dilate_row(backwards, reach)
        _mark(backwards[::-1].copy(), marks[y])
    original = marks.copy()
    left = np.zeros(width, np.int32)
    for y in range(height):
        _count(original[y], np.int32(reach + 1), left)
        _mark_counted(left, marks[y])
    left[:] = 0
    for y in range(height - 1, -1, -1):
        _count(original[y], np.int32(reach + 1), left)
        _mark_counted(left, marks[y])
