"""The loops of the time-of-flight sensor, compiled; ``time_of_flight`` says what they compute.

One thread, no fast-math, and loops without branches, so that they run in vector registers. Images with a border are
(H + 2, W + 2), zero where nothing is. Amplitudes are relative to the reference surface, seen frontally from 1 m.
"""

from __future__ import annotations

import numpy as np

from depthforge.kernels import njit

__all__ = ["amplitudes", "gather_light", "measure", "node_rows", "scatter_nodes"]

_ZERO, _ONE, _HALF = np.float32(0), np.float32(1), np.float32(0.5)
_PI = np.float32(np.pi)
_LEAST_COSINE = np.float32(0.05)  # grazing pixels would otherwise owe all their light to others
_LEAST_AMPLITUDE = np.float32(1e-12)
_FARTHEST_M = np.float32(1e9)

_compiled = njit(error_model="numpy")


@_compiled
def amplitudes(inverse, cosine, ray, luma, relative_albedo, distance, amplitude):  # type: ignore[no-untyped-def]
    """Write distance along the ray, metres, and amplitude; both have a border. ``luma`` may have no rows: albedo 1."""
    height, width = cosine.shape
    coloured = luma.shape[0] == height
    albedo = np.ones(width, np.float32)
    for y in range(height):
        if coloured:
            for x in range(width):
                albedo[x] = relative_albedo[np.uint64(luma[y, x])]
        here, far, strength = inverse[y + 1, 1 : width + 1], distance[y + 1, 1:], amplitude[y + 1, 1:]
        for x in range(width):
            per_m = here[x] * ray[y, x]
            seen = per_m > _ZERO
            far[x] = min(_ONE / (per_m if seen else _ONE), _FARTHEST_M) * np.float32(seen)
            strength[x] = albedo[x] * cosine[y, x] * per_m * per_m


@_compiled
def _largest_jump(here, left, right, above, below, least_jump, jump):  # type: ignore[no-untyped-def]
    """Write the difference to the neighbour beyond an edge, 0 where there is none.

    A slope goes up on one side as it goes down on the other, so an edge is where the two differences do not cancel.
    """
    for x in range(jump.shape[0]):
        first, second = left[x] - here[x], right[x] - here[x]
        edge = (abs(first + second) > least_jump) & (left[x] > _ZERO) & (right[x] > _ZERO)
        larger = first if abs(first) >= abs(second) else second
        across = larger if edge else _ZERO
        first, second = above[x] - here[x], below[x] - here[x]
        edge = (abs(first + second) > least_jump) & (above[x] > _ZERO) & (below[x] > _ZERO)
        larger = first if abs(first) >= abs(second) else second
        down = larger if edge else _ZERO
        jump[x] = across if abs(across) >= abs(down) else down


@_compiled
def _which_neighbour(here, left, right, above, jump, which):  # type: ignore[no-untyped-def]
    for x in range(which.shape[0]):
        vertical = np.int32(2) if above[x] - here[x] == jump[x] else np.int32(3)
        horizontal = np.int32(1) if right[x] - here[x] == jump[x] else vertical
        which[x] = np.int32(0) if left[x] - here[x] == jump[x] else horizontal


@_compiled
def _choose(which, left, right, above, below, out):  # type: ignore[no-untyped-def]
    for x in range(out.shape[0]):
        # All four are read: a read under a condition would be a branch.
        first, second, third, fourth = left[x], right[x], above[x], below[x]
        vertical = third if which[x] == 2 else fourth
        horizontal = second if which[x] == 1 else vertical
        out[x] = first if which[x] == 0 else horizontal


@_compiled
def _normal_cdf(normal, out):  # type: ignore[no-untyped-def]
    """Turn N(0, 1) into U(0, 1) to 3e-4: Abramowitz and Stegun 7.1.27, which has no exponential."""
    for x in range(out.shape[0]):
        a = abs(normal[x]) * np.float32(0.70710678)
        b = _ONE + a * (
            np.float32(0.278393) + a * (np.float32(0.230389) + a * (np.float32(0.000972) + a * np.float32(0.078108)))
        )
        b = b * b
        tail = _HALF / (b * b)
        out[x] = tail if normal[x] < _ZERO else _ONE - tail


@_compiled
def _shares(here, jump, place, footprint, share):  # type: ignore[no-untyped-def]
    per_px = _ONE / max(footprint, np.float32(1e-6))
    for x in range(share.shape[0]):
        foreign = _HALF - place[x] * per_px
        flying = (abs(jump[x]) > _ZERO) & (foreign > _ZERO) & (here[x] > _ZERO)
        share[x] = foreign if flying else _ZERO


@_compiled
def _add_light(own, other, share, strength):  # type: ignore[no-untyped-def]
    for x in range(strength.shape[0]):
        strength[x] = (_ONE - share[x]) * own[x] + share[x] * other[x]


@_compiled
def _move(here, jump, other, share, strength, far):  # type: ignore[no-untyped-def]
    for x in range(far.shape[0]):
        total = strength[x] if strength[x] > _ZERO else _ONE
        far[x] = here[x] + jump[x] * (share[x] * other[x] / total)


@_compiled
def _filter_out(share, place, filtered, far):  # type: ignore[no-untyped-def]
    for x in range(far.shape[0]):
        far[x] = _ZERO if (share[x] > _ZERO) & (place[x] < filtered) else far[x]


@_compiled
def _slope(before, here, after, step):  # type: ignore[no-untyped-def]
    back = here - before if before > 0.0 else np.inf
    ahead = after - here if after > 0.0 else np.inf
    smaller = back if abs(back) <= abs(ahead) else ahead
    return smaller / step if abs(smaller) < np.inf else 0.0


@_compiled
def scatter_nodes(inverse, camera, stride, step, nodes):  # type: ignore[no-untyped-def]
    """Describe the surface at every ``stride``-th pixel: ``nodes`` (10, rows, columns) float32.

    0-2 point, metres; 3-5 unit normal towards the camera; 6 distance; 7 flux that the patch around the node receives;
    8 area of the patch; 9 direct irradiance. All 0 where nothing is.
    """
    height, width = inverse.shape[0] - 2, inverse.shape[1] - 2
    fx, fy, cx, cy = camera
    for i in range(nodes.shape[1]):
        v = min(i * stride + stride // 2, height - 1)
        for j in range(nodes.shape[2]):
            u = min(j * stride + stride // 2, width - 1)
            nodes[:, i, j] = _ZERO
            here = float(inverse[v + 1, u + 1])
            if here <= 0.0:
                continue
            left = float(inverse[v + 1, u + 1 - step]) if u >= step else 0.0
            right = float(inverse[v + 1, u + 1 + step]) if u + step < width else 0.0
            above = float(inverse[v + 1 - step, u + 1]) if v >= step else 0.0
            below = float(inverse[v + 1 + step, u + 1]) if v + step < height else 0.0
            across, down = _slope(left, here, right, step), _slope(above, here, below, step)
            x, y, z = (u - cx) / fx, (v - cy) / fy, 1.0 / here
            nx, ny = across * fx, down * fy
            nz = here - nx * x - ny * y
            norm = np.sqrt(nx * nx + ny * ny + nz * nz)
            ray = np.sqrt(x * x + y * y + 1.0)
            cosine = max(here / (norm * ray), float(_LEAST_COSINE))
            distance = z * ray
            solid_angle = stride * stride / (fx * fy * ray**3)
            nodes[0, i, j], nodes[1, i, j], nodes[2, i, j] = x * z, y * z, z
            nodes[3, i, j], nodes[4, i, j], nodes[5, i, j] = -nx / norm, -ny / norm, -nz / norm
            nodes[6, i, j] = distance
            nodes[7, i, j] = solid_angle
            nodes[8, i, j] = solid_angle * distance * distance / cosine
            nodes[9, i, j] = cosine / (distance * distance)


@_compiled
def _receive(nodes, q, phase_per_m, light, quadrature):  # type: ignore[no-untyped-def]
    """Add what every node receives of node ``q``."""
    px, py, pz, nx, ny, nz = nodes[0], nodes[1], nodes[2], nodes[3], nodes[4], nodes[5]
    distance = nodes[6]
    x, y, z, mx, my, mz = px[q], py[q], pz[q], nx[q], ny[q], nz[q]
    far, flux, area = distance[q], nodes[7, q], nodes[8, q]
    for p in range(light.shape[0]):
        dx, dy, dz = px[p] - x, py[p] - y, pz[p] - z
        square = dx * dx + dy * dy + dz * dz
        leaving = mx * dx + my * dy + mz * dz
        arriving = -(nx[p] * dx + ny[p] * dy + nz[p] * dz)
        phase = phase_per_m * _HALF * (far + np.sqrt(square) - distance[p])
        phase = phase if phase > _ZERO else _ZERO
        # Lambert's law from a small disc; the cosines are still to be divided by the distance.
        transfer = flux * leaving * arriving / (square * (_PI * square + area))
        counts = (leaving > _ZERO) & (arriving > _ZERO) & (phase < _PI)
        transfer = transfer if counts else _ZERO
        # The sine to 0.002 (Bhaskara's fraction), which divides and multiplies only.
        bow = phase * (_PI - phase)
        light[p] += transfer
        quadrature[p] += transfer * np.float32(16) * bow / (np.float32(5) * _PI * _PI - np.float32(4) * bow)


@_compiled
def gather_light(nodes, albedo, phase_per_m, bias):  # type: ignore[no-untyped-def]
    """Write how much too far each node appears for the light that comes by way of others. ``nodes`` (10, N)."""
    light, quadrature = np.zeros(bias.shape[0], np.float32), np.zeros(bias.shape[0], np.float32)
    for q in range(bias.shape[0]):
        if nodes[7, q] > _ZERO:
            _receive(nodes, q, phase_per_m, light, quadrature)
    for p in range(bias.shape[0]):
        seen = nodes[9, p] > _ZERO
        direct = nodes[9, p] if seen else _ONE
        bias[p] = albedo * quadrature[p] / (phase_per_m * (direct + albedo * light[p])) if seen else _ZERO


@_compiled
def node_rows(bias, distance, stride, width):  # type: ignore[no-untyped-def]
    """Return the rows of nodes drawn out to ``width``, (rows, 5, width): bias left and right of each pixel, distance
    left and right, and the share of the right one."""
    rows, columns = bias.shape
    out = np.empty((rows, 5, width), np.float32)
    for x in range(width):
        at = min(max((x - stride // 2) / stride, 0.0), columns - 1.0)
        left = min(int(at), max(columns - 2, 0))
        right = min(left + 1, columns - 1)
        for i in range(rows):
            out[i, 0, x], out[i, 1, x] = bias[i, left], bias[i, right]
            out[i, 2, x], out[i, 3, x] = distance[i, left], distance[i, right]
            out[i, 4, x] = np.float32(at - left)
    return out


@_compiled
def _node_weights(here, node, part, is_right, share, slant, weight):  # type: ignore[no-untyped-def]
    for x in range(weight.shape[0]):
        near, off = slant * here[x], node[x] - here[x]
        side = part[x] if is_right else _ONE - part[x]
        weight[x] = side * share / (near * near + off * off)


@_compiled
def _add_weighted(weight, value, total, weights):  # type: ignore[no-untyped-def]
    for x in range(total.shape[0]):
        total[x] += weight[x] * value[x]
        weights[x] += weight[x]


@_compiled
def _spread_row(here, upper, lower, t, slant, weight, weights, bias):  # type: ignore[no-untyped-def]
    """Write the bias of a row: bilinear, weighted towards nodes at a pixel's own distance."""
    bias[:] = _ZERO
    weights[:] = _ZERO
    for k in range(2):
        _node_weights(here, upper[2 + k], upper[4], k == 1, _ONE - t, slant, weight)
        _add_weighted(weight, upper[k], bias, weights)
        _node_weights(here, lower[2 + k], lower[4], k == 1, t, slant, weight)
        _add_weighted(weight, lower[k], bias, weights)
    for x in range(bias.shape[0]):
        bias[x] = bias[x] / weights[x] if here[x] > _ZERO else _ZERO


@_compiled
def _sigmas(strength, base, growth, sigma):  # type: ignore[no-untyped-def]
    for x in range(sigma.shape[0]):
        shot = growth / max(strength[x], _LEAST_AMPLITUDE)
        sigma[x] = np.sqrt(base * base + shot * shot)


@_compiled
def _add_errors(far, bias, sigma, noise, measured):  # type: ignore[no-untyped-def]
    for x in range(measured.shape[0]):
        measured[x] = far[x] + bias[x] + sigma[x] * noise[x]


@_compiled
def _add_wiggle(far, wiggle, periods_per_m, measured):  # type: ignore[no-untyped-def]
    entries, last = np.float32(wiggle.shape[0]), np.int32(wiggle.shape[0] - 1)
    for x in range(measured.shape[0]):
        turns = far[x] * periods_per_m
        entry = np.int32((turns - np.floor(turns)) * entries)
        measured[x] += wiggle[np.uint64(np.uint32(entry if entry < last else last))]


@_compiled
def _add_residual(factor, offset, measured):  # type: ignore[no-untyped-def]
    for x in range(measured.shape[0]):
        measured[x] = measured[x] * factor[x] + offset[x]


@_compiled
def _to_depth(measured, ray, ambiguity, depth):  # type: ignore[no-untyped-def]
    per_ambiguity = _ONE / ambiguity
    for x in range(depth.shape[0]):
        depth[x] = (measured[x] - ambiguity * np.floor(measured[x] * per_ambiguity)) * ray[x]


@_compiled
def _returns(strength, flicker, softness, least, far, lit, valid):  # type: ignore[no-untyped-def]
    for x in range(valid.shape[0]):
        bright = strength[x] + strength[x] * softness * flicker[x] >= least
        valid[x] = bright & (far[x] > _ZERO) & lit[x]


@_compiled
def _limit(nearest, farthest, depth, valid):  # type: ignore[no-untyped-def]
    for x in range(valid.shape[0]):
        seen = valid[x] & (depth[x] > _ZERO) & (depth[x] >= nearest) & (depth[x] <= farthest)
        depth[x] = depth[x] if seen else _ZERO
        valid[x] = seen


@_compiled
def measure(  # type: ignore[no-untyped-def]
    ray,
    lit,
    distance,
    amplitude,
    edge,
    noise,
    flicker,
    nodes,
    stride,
    slant,
    footprint,
    least_jump,
    dropped,
    base,
    growth,
    least_strength,
    softness,
    wiggle,
    offset,
    factor,
    periods_per_m,
    ambiguity,
    nearest,
    farthest,
    depth,
    valid,
):
    """Write planar z in metres, 0 where not ``valid``.

    ``offset`` and ``factor`` (H, W) of the distance may have no rows: no residual error.
    ``edge`` (H, W), N(0, 1), says where in its pixel an edge is; of the mixed pixels the share ``dropped`` is filtered
    out, the most mixed first. ``nodes`` (``node_rows``) may have no rows: no multipath.
    """
    # Short loops over rows that stay in the first-level cache: the compiler runs a loop in vector registers only when
    # few enough arrays have to be shown not to overlap. Whole images in between would cost more than the arithmetic.
    height, width = depth.shape
    filtered = dropped * footprint * _HALF
    which = np.empty(width, np.int32)
    jump, other = np.empty(width, np.float32), np.empty(width, np.float32)
    place, share = np.empty(width, np.float32), np.empty(width, np.float32)
    far, strength = np.empty(width, np.float32), np.empty(width, np.float32)
    bias, weight, weights = np.zeros(width, np.float32), np.empty(width, np.float32), np.empty(width, np.float32)
    sigma, measured = np.empty(width, np.float32), np.empty(width, np.float32)
    inside = slice(1, width + 1)
    for y in range(height):
        here, left, right = distance[y + 1, inside], distance[y + 1, :width], distance[y + 1, 2:]
        above, below = distance[y, inside], distance[y + 2, inside]
        _largest_jump(here, left, right, above, below, least_jump, jump)
        _which_neighbour(here, left, right, above, jump, which)
        own, left, right = amplitude[y + 1, inside], amplitude[y + 1, :width], amplitude[y + 1, 2:]
        _choose(which, left, right, amplitude[y, inside], amplitude[y + 2, inside], other)
        _normal_cdf(edge[y], place)
        _shares(here, jump, place, footprint, share)
        _add_light(own, other, share, strength)
        _move(here, jump, other, share, strength, far)
        _filter_out(share, place, filtered, far)

        if nodes.shape[0] > 0:
            at = min(max((y - stride // 2) / stride, 0.0), nodes.shape[0] - 1.0)
            top = min(int(at), max(nodes.shape[0] - 2, 0))
            low = min(top + 1, nodes.shape[0] - 1)
            _spread_row(here, nodes[top], nodes[low], np.float32(at - top), slant, weight, weights, bias)

        _sigmas(strength, base, growth, sigma)
        _add_errors(far, bias, sigma, noise[y], measured)
        if wiggle.shape[0] > 0:
            _add_wiggle(far, wiggle, periods_per_m, measured)
        if offset.shape[0] > 0:
            _add_residual(factor[y], offset[y], measured)
        _to_depth(measured, ray[y], ambiguity, depth[y])
        _returns(strength, flicker[y], softness, least_strength, far, lit[y], valid[y])
        _limit(nearest, farthest, depth[y], valid[y])
