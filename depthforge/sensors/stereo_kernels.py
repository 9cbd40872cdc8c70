"""The loops of the active-stereo sensor, compiled; ``active_stereo`` says what they compute.

One thread, no fast-math. What a row needs of its neighbours is gathered first, so that the loops that touch every pixel
have no branch and run in vector registers; only the scatter into the second view and the few pixels at depth edges are
scalar. ``inverse`` is inverse depth with a border of zeros (``_surface.surface_of``), in units of 1/m.
"""

from __future__ import annotations

import numpy as np

from depthforge.kernels import njit

__all__ = ["edges", "finish", "quality", "texture", "visible"]

_ZERO, _ONE = np.float32(0), np.float32(1)
_LEAST_COSINE = np.float32(0.02)
_SAME_SURFACE_PX = np.float32(2)
# A surface whose disparity grows by g pixels a pixel folds pixels that differ by g / (1 - g) into one; g up to 0.6.
_FORESHORTENED_PX = np.float32(1.5)
_MOST_PX = np.float32(1e6)  # disparities beyond it lie outside any image; larger ones would overflow an int32

_compiled = njit(error_model="numpy")


@_compiled
def _project(here, disparity_m_px, to_right, disparity, column):  # type: ignore[no-untyped-def]
    for x in range(here.shape[0]):
        shift = here[x] * disparity_m_px
        shift = shift if shift < _MOST_PX else _MOST_PX
        disparity[x] = shift
        column[x] = np.int32(np.floor(np.float32(x) - to_right * shift + np.float32(0.5)))


@_compiled
def visible(inverse, disparity_m_px, to_right, keep_outside, out):  # type: ignore[no-untyped-def]
    """Mark the pixels that the second imager sees too: a z-buffer of its image row, filled, then asked.

    ``to_right`` is 1 where the second imager lies to the right, -1 to the left. Surfaces that are stretched in its
    view are joined. What lies outside its image is visible when ``keep_outside``.
    """
    height, width = out.shape
    nearest = np.empty(width, np.float32)
    disparity = np.empty(width, np.float32)
    column = np.empty(width, np.int32)
    for y in range(height):
        here = inverse[y + 1, 1 : width + 1]
        _project(here, disparity_m_px, to_right, disparity, column)
        nearest[:] = _ZERO
        for x in range(width):
            if disparity[x] <= _ZERO:
                continue
            at = column[x]
            if 0 <= at < width and disparity[x] > nearest[at]:
                nearest[at] = disparity[x]
            if x == 0 or disparity[x - 1] <= _ZERO:
                continue
            gap = at - column[x - 1]
            if gap > 1 and abs(disparity[x] - disparity[x - 1]) < _SAME_SURFACE_PX:
                farther = min(disparity[x], disparity[x - 1])
                for between in range(max(column[x - 1] + 1, 0), min(at, width)):
                    nearest[between] = max(nearest[between], farther)
        for x in range(width):
            at = column[x]
            inside = (at >= 0) & (at < width)
            seen = disparity[x] >= nearest[at] - _FORESHORTENED_PX if inside else keep_outside
            out[y, x] = seen & (disparity[x] > _ZERO)


@_compiled
def _flag_near(above, here, below, jump, flag):  # type: ignore[no-untyped-def]
    """Flag the pixels with a neighbour behind a jump; rows have a border of one."""
    for x in range(flag.shape[0]):
        least = here[x + 1] - jump
        behind = (here[x] > _ZERO) & (here[x] < least)
        behind |= (here[x + 2] > _ZERO) & (here[x + 2] < least)
        behind |= (above[x + 1] > _ZERO) & (above[x + 1] < least)
        behind |= (below[x + 1] > _ZERO) & (below[x + 1] < least)
        flag[x] = behind


@_compiled
def edges(inverse, jump, offsets, lengths, distance, front):  # type: ignore[no-untyped-def]
    """Write the distance of each pixel to the nearest occlusion edge, and what is before it.

    ``distance`` is in pixels from the line between the two surfaces, positive on the far side and negative on the near
    one; ``front`` is the inverse depth of the near surface, 0 on the near side. Far from edges both stay as
    they are. ``offsets`` (K, 2) and ``lengths`` (K,) are the discs around an edge pixel that are written.
    """
    height, width = distance.shape
    flag = np.empty(width, np.bool_)
    for y in range(height):
        _flag_near(inverse[y], inverse[y + 1], inverse[y + 2], jump, flag)
        for x in range(width):
            if not flag[x]:
                continue
            near = inverse[y + 1, x + 1]
            for k in range(offsets.shape[0]):
                row, column = y + offsets[k, 0], x + offsets[k, 1]
                if row < 0 or column < 0 or row >= height or column >= width:
                    continue
                there = inverse[row + 1, column + 1]
                behind = there < near - jump
                away = lengths[k] - np.float32(0.5) if behind else lengths[k] + np.float32(0.5)
                if there > _ZERO and away < abs(distance[row, column]):
                    distance[row, column] = away if behind else -away
                    front[row, column] = near if behind else _ZERO


@_compiled
def quality(cosine, slope, least_cosine, steepest, out):  # type: ignore[no-untyped-def]
    for y in range(out.shape[0]):
        for x in range(out.shape[1]):
            facing = cosine[y, x] / least_cosine
            gentle = steepest / max(abs(slope[y, x]), np.float32(1e-12))
            out[y, x] = facing if facing < gentle else gentle


@_compiled
def _add_row(luminance, bright, sign, squares, saturated):  # type: ignore[no-untyped-def]
    width = luminance.shape[0]
    for x in range(1, width - 1):
        difference = np.int32(luminance[x + 1]) - np.int32(luminance[x - 1])
        squares[x] += sign * difference * difference
    for x in range(width):
        saturated[x] += sign * np.int32(bright[x])


@_compiled
def _window_sums(columns, half, out):  # type: ignore[no-untyped-def]
    """Sum 2 * half + 1 columns around each; ``columns`` has ``half`` zeros at either end."""
    out[:] = 0
    for k in range(2 * half + 1):
        shifted = columns[k : k + out.shape[0]]
        for x in range(out.shape[0]):
            out[x] += shifted[x]


@_compiled
def _lower(here, cosine, albedo, squares, saturated, per_column, rows, reach, levels, out):  # type: ignore[no-untyped-def]
    for x in range(out.shape[0]):
        share = per_column[x] / rows
        # A central difference spans two pixels, so its square counts a quarter.
        texture = np.sqrt(np.float32(squares[x]) * share * np.float32(0.25)) / levels
        span = reach * here[x]
        signal = texture + albedo[x] * cosine[x] * span * span
        unsaturated = np.float32(2) * (_ONE - np.float32(saturated[x]) * share)
        lowest = signal if signal < unsaturated else unsaturated
        out[x] = lowest if lowest < out[x] else out[x]


@_compiled
def texture(luminance, bright, inverse, cosine, half, reach, levels, albedo_of, out):  # type: ignore[no-untyped-def]
    """Lower ``out`` to the signal that a pixel's window has, and where it is ``bright``."""
    height, width = out.shape
    squares, saturated = np.zeros(width + 2 * half, np.int32), np.zeros(width + 2 * half, np.int32)
    square_sum, saturated_sum = np.empty(width, np.int32), np.empty(width, np.int32)
    albedo, per_column = np.empty(width, np.float32), np.empty(width, np.float32)
    for x in range(width):
        per_column[x] = _ONE / np.float32(min(x + half, width - 1) - max(x - half, 0) + 1)
    inside = slice(half, half + width)
    for y in range(min(half, height)):
        _add_row(luminance[y], bright[y], 1, squares[inside], saturated[inside])
    for y in range(height):
        if y + half < height:
            _add_row(luminance[y + half], bright[y + half], 1, squares[inside], saturated[inside])
        if y > half:
            _add_row(luminance[y - half - 1], bright[y - half - 1], -1, squares[inside], saturated[inside])
        _window_sums(squares, half, square_sum)
        _window_sums(saturated, half, saturated_sum)
        for x in range(width):
            albedo[x] = albedo_of[np.uint64(luminance[y, x])]
        rows = np.float32(min(y + half, height - 1) - max(y - half, 0) + 1)
        here = inverse[y + 1, 1 : width + 1]
        _lower(here, cosine[y], albedo, square_sum, saturated_sum, per_column, rows, reach, levels, out[y])


@_compiled
def finish(  # type: ignore[no-untyped-def]
    inverse,
    seen_twice,
    quality,
    distance,
    front,
    cosine,
    noise,
    badness,
    offset,
    factor,
    required,
    softness,
    fattening,
    jitter,
    edge_zone,
    edge_badness,
    disparity_m_px,
    sigma,
    angle_growth,
    steps_per_px,
    most_px,
    farthest,
    depth,
    valid,
):
    """Write depth and validity; ``offset`` (px) and ``factor`` (H, W) of disparity may have no rows: no such error."""
    height, width = depth.shape
    steps_m = disparity_m_px * steps_per_px
    offset_row, factor_row = np.zeros(width, np.float32), np.ones(width, np.float32)
    for y in range(height):
        here = inverse[y + 1, 1 : width + 1]
        if offset.shape[0] > 0:
            offset_row, factor_row = offset[y], factor[y]
        for x in range(width):
            bad, away = badness[y, x], distance[y, x]
            fattened = (away > _ZERO) & (away < fattening - jitter * bad)
            lost = (abs(away) < edge_zone) & (bad > edge_badness)
            matched = fattened | (seen_twice[y, x] & (quality[y, x] > required + required * softness * bad))
            surface = front[y, x] if fattened else here[x]
            wider = _ONE + angle_growth * (_ONE / max(cosine[y, x], _LEAST_COSINE) - _ONE)
            disparity = surface * disparity_m_px * factor_row[x] + offset_row[x] + sigma * wider * noise[y, x]
            steps = np.rint(disparity * steps_per_px)
            z = steps_m / steps
            seen = (here[x] > _ZERO) & matched & (not lost)
            seen &= (steps > _ZERO) & (steps <= most_px * steps_per_px) & (z <= farthest)
            depth[y, x] = z if seen else _ZERO
            valid[y, x] = seen
