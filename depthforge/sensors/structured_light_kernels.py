"""The loops of the structured-light sensor, compiled; ``structured_light`` says what they compute.

One thread, no fast-math, no division checks: what a loop must not contain if it is to run in vector registers is a
branch, a scattered read, or an index that could be negative. A parallel build gives the same vector code here (it
only helps where the compiler cannot tell that two arrays do not overlap) and would forbid calls from several threads.
"""

from __future__ import annotations

import numpy as np

from depthforge.kernels import njit

__all__ = ["disturb", "fill_from_dots", "interpolate", "jitter", "match_dots", "quantise", "resample", "shadows"]

_SUBPIXELS = np.float32(32)  # of the resampling, as OpenCV's remap has
_SUBPIXEL_BITS = np.int32(5)
_SUBPIXEL_MASK = np.int32(31)
_ROUND_FLOAT32 = np.float32(12582912)  # 1.5 * 2^23: adding and subtracting it rounds half to even
_ZERO = np.float32(0)
# Beyond this disparity (z < 0.01 mm) there is no measurement; 15 x 15 of such steps still sum below 2^31.
_MOST_STEPS = np.int32(1 << 23)
_SMALLEST_DEPTH_M = 1e-10

_compiled = njit(error_model="numpy")


@_compiled
def _locate(draws, sigma, start, slope, limit, cell, part):  # type: ignore[no-untyped-def]
    """Split start + slope * x + sigma * draw, clamped to [0, limit], into whole pixels and 1/32 px."""
    for x in range(draws.shape[0]):
        position = np.float32(start + slope * np.float32(x)) + np.float32(sigma * draws[x])
        position = position if position > _ZERO else _ZERO
        position = position if position < limit else limit
        subpixels = np.int32(np.float32(np.float32(position * _SUBPIXELS) + _ROUND_FLOAT32) - _ROUND_FLOAT32)
        cell[x] = np.int32(subpixels >> _SUBPIXEL_BITS)
        part[x] = np.float32(np.int32(subpixels & _SUBPIXEL_MASK))


@_compiled
def _gather(depth, cell_x, cell_y, corners):  # type: ignore[no-untyped-def]
    height, width = depth.shape
    flat = depth.reshape(depth.size)
    for x in range(cell_x.shape[0]):
        first = np.uint64(cell_y[x]) * np.uint64(width) + np.uint64(cell_x[x])
        right = np.uint64(1 if cell_x[x] < width - 1 else 0)
        below = np.uint64(width if cell_y[x] < height - 1 else 0)
        corners[0, x] = flat[first]
        corners[1, x] = flat[first + right]
        corners[2, x] = flat[first + below]
        corners[3, x] = flat[first + below + right]


@_compiled
def _blend(z00, z01, z10, z11, part_x, part_y, here, floor, out):  # type: ignore[no-untyped-def]
    for x in range(out.shape[0]):
        rest_x = _SUBPIXELS - part_x[x]
        rest_y = _SUBPIXELS - part_y[x]
        w00 = np.float32(rest_x * rest_y)
        w01 = np.float32(part_x[x] * rest_y)
        w10 = np.float32(rest_x * part_y[x])
        w11 = np.float32(part_x[x] * part_y[x])
        weight = w00 if z00[x] > floor else _ZERO
        weight += w01 if z01[x] > floor else _ZERO
        weight += w10 if z10[x] > floor else _ZERO
        weight += w11 if z11[x] > floor else _ZERO
        mean = (z00[x] * w00 + z01[x] * w01 + z10[x] * w10 + z11[x] * w11) / weight
        out[x] = mean if (weight > _ZERO) & (here[x] > floor) else _ZERO


@_compiled
def resample(depth, draws, sigma, floor, out):  # type: ignore[no-untyped-def]
    # Three short loops over rows that stay in the first-level cache: the first and the last run in vector registers,
    # which one loop around the scattered reads would not.
    height, width = out.shape
    last_x, last_y = np.float32(depth.shape[1] - 1), np.float32(depth.shape[0] - 1)
    cell_x, cell_y = np.empty(width, np.int32), np.empty(width, np.int32)
    part_x, part_y = np.empty(width, np.float32), np.empty(width, np.float32)
    corners = np.empty((4, width), depth.dtype)
    for y in range(height):
        _locate(draws[0, y], sigma, _ZERO, np.float32(1), last_x, cell_x, part_x)
        _locate(draws[1, y], sigma, np.float32(y), _ZERO, last_y, cell_y, part_y)
        _gather(depth, cell_x, cell_y, corners)
        _blend(corners[0], corners[1], corners[2], corners[3], part_x, part_y, depth[y, :width], floor, out[y])


@_compiled
def quantise(depth, depth_disparity, steps_per_px, margin, out):  # type: ignore[no-untyped-def]
    height, width = depth.shape
    for y in range(height):
        row = out[y + margin, margin : margin + width]
        for x in range(width):
            # A hole divides by the smallest depth, and so is one of the disparities that are too large to measure.
            disparity = depth_disparity / (depth[y, x] + _SMALLEST_DEPTH_M)
            steps = np.int32(np.rint(min(disparity * steps_per_px, np.float64(_MOST_STEPS))))
            row[x] = steps if steps < _MOST_STEPS else np.int32(0)
        out[y + margin, :margin] = row[0]
        out[y + margin, margin + width :] = row[width - 1]
    for y in range(margin):
        out[y] = out[margin]
        out[margin + height + y] = out[margin + height - 1]


@_compiled
def _add_row(steps, sign, column_sum, column_count):  # type: ignore[no-untyped-def]
    for x in range(steps.shape[0]):
        column_sum[x] += np.int32(sign) * steps[x]
        column_count[x] += np.int32(sign) * np.int32(steps[x] > 0)


@_compiled
def match_dots(  # type: ignore[no-untyped-def]
    steps, step_px, threshold, weight, offset, half, centre_row, centre_x, partner_start, partner, mass, required, out
):
    height, width = steps.shape
    flat, flat_mass = steps.reshape(steps.size), mass.reshape(mass.size)
    column_sum, column_count = np.zeros(width, np.int32), np.zeros(width, np.int32)
    for y in range(min(2 * half, height)):
        _add_row(steps[y], 1, column_sum, column_count)
    for y in range(half, height - half):
        _add_row(steps[y + half], 1, column_sum, column_count)
        for centre in range(centre_row[y], centre_row[y + 1]):
            x = centre_x[centre]
            here = steps[y, x]
            if here > 0:
                total, count = 0, 0
                for column in range(x - half, x + half + 1):
                    total += column_sum[column]
                    count += column_count[column]
                mean = total * step_px / count
                matched = 0
                for k in range(partner_start[centre], partner_start[centre + 1]):
                    at = y * width + x + offset[partner[k]]
                    if flat[at] > 0 and abs(flat[at] * step_px - mean) * weight[partner[k]] < threshold:
                        matched += flat_mass[at]
                if matched > required[centre]:
                    out[y, x] = here
        _add_row(steps[y - half], -1, column_sum, column_count)


@_compiled
def fill_from_dots(dots, turn, offset, margin, out):  # type: ignore[no-untyped-def]
    height, width = out.shape
    flat = dots.reshape(dots.size)
    for y in range(height):
        for x in range(width):
            here = (y + margin) * dots.shape[1] + x + margin
            steps = np.int32(0)
            for k in range(turn.shape[0]):
                steps = flat[here + offset[turn[k, y + margin, x + margin]]]
                if steps > 0:
                    break
            out[y, x] = steps


@_compiled
def interpolate(dots, steps, turn, offset, frays, tolerance, margin, out):  # type: ignore[no-untyped-def]
    height, width = out.shape
    flat, flat_own = dots.reshape(dots.size), steps.reshape(steps.size)
    for y in range(height):
        for x in range(width):
            here = (y + margin) * dots.shape[1] + x + margin
            own = flat_own[here]
            found = np.int32(0)
            for k in range(turn.shape[0]):
                index = turn[k, y + margin, x + margin]
                dot = flat[here + offset[index]]
                if dot > 0:
                    if own > 0 and abs(dot - own) <= tolerance:
                        found = own
                        break
                    if frays[index]:
                        found = dot
                        break
            out[y, x] = found


@_compiled
def jitter(  # type: ignore[no-untyped-def]
    steps, draws, depth_disparity, step_px, raw_scale_cm, sigma, bias, whole_cm, out
):
    height, width = out.shape
    for y in range(height):
        for x in range(width):
            z_cm = 100.0 * (depth_disparity / (steps[y, x] * step_px))
            z_cm = np.rint(z_cm) if whole_cm else z_cm
            raw = np.rint(raw_scale_cm / z_cm + draws[y, x] * sigma + bias)
            out[y, x] = raw_scale_cm / raw / 100.0 if (steps[y, x] > 0) & (raw > 0.0) & (z_cm > 0.0) else 0.0


@_compiled
def disturb(depth, field, depth_disparity, sigma_px, power, out):  # type: ignore[no-untyped-def]
    height, width = depth.shape
    growth = np.ones(width, depth.dtype)
    for y in range(height):
        # A root is a tenth of the time of another power, and of a loop that has neither.
        if power == -0.5:
            for x in range(width):
                growth[x] = 1 / np.sqrt(depth[y, x])
        elif power != 0.0:
            for x in range(width):
                growth[x] = depth[y, x] ** power
        for x in range(width):
            z = depth[y, x]
            disparity = depth_disparity / z + sigma_px * growth[x] * field[y, x]
            out[y, x] = depth_disparity / disparity if (z > 0.0) & (disparity > 0.0) else 0.0


@_compiled
def shadows(depth, seen, depth_disparity, from_right, tolerance_px, out):  # type: ignore[no-untyped-def]
    # Along a row towards the projector's side the column at which the projector sees a pixel only moves on: one that
    # falls behind is hidden by a nearer surface.
    height, width = depth.shape
    for y in range(height):
        furthest = np.inf
        for step in range(width):
            x = width - 1 - step if from_right else step
            out[y, x] = False
            if seen[y, x]:
                at = (x if from_right else width - 1 - x) - depth_disparity / depth[y, x]
                out[y, x] = at > furthest + tolerance_px
                furthest = min(furthest, at)
