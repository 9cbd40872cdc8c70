"""The loop of the spinning lidar, compiled; ``lidar`` says what it computes.

A ray from the lidar, seen by the camera, is a straight line of pixels, and a point on it at inverse depth w lies at
(u0 + au w, v0 + av w): linear in w. So are planes in the inverse-depth image, which is why the march goes by w, a pixel
at most at a time, from the nearest surface of the image outwards, and why one linear solve at the crossing is exact
on planes.
"""

from __future__ import annotations

import math

import numpy as np

from depthforge.kernels import njit

__all__ = ["scan"]

_LEAST_FORWARD = 0.02  # cosine to the camera's axis: rays beyond 88.9 degrees never cross the image
# Neighbouring pixels lie on one surface when their inverse depths differ by less than this share, or by less than a
# plane that passes the camera at this distance can make them differ.
_SAME_SURFACE = 0.04
_NEAREST_PLANE_M = 1.0
_REFINEMENTS = 2  # of the pixel whose plane is taken

_compiled = njit(error_model="numpy")


@_compiled
def _inside(start, slope, low, high, near, far):  # type: ignore[no-untyped-def]
    """Return the part of [near, far] in which start + slope * w lies in [low, high)."""
    if abs(slope) < 1e-9:
        return (near, far) if low <= start < high else (1.0, 0.0)
    first, second = (low - start) / slope, (high - start) / slope
    return max(near, min(first, second)), min(far, max(first, second))


@_compiled
def _is_one_surface(a, b, slope_limit):  # type: ignore[no-untyped-def]
    return abs(a - b) <= max(_SAME_SURFACE * min(a, b), slope_limit) and min(a, b) > 0.0


@_compiled
def _slope(here, before, after, slope_limit):  # type: ignore[no-untyped-def]
    """Return the change of inverse depth per pixel: the smaller of two sides, of those on the same surface."""
    left = here - before if _is_one_surface(here, before, slope_limit) else np.inf
    right = after - here if _is_one_surface(here, after, slope_limit) else np.inf
    least = left if abs(left) < abs(right) else right
    return least if abs(least) < np.inf else 0.0


@_compiled
def _gradient(inverse, row, column, slope_limit):  # type: ignore[no-untyped-def]
    height, width = inverse.shape
    here = np.float64(inverse[row, column])
    # Beyond the border there is nothing: 0 is on no surface.
    left = np.float64(inverse[row, column - 1]) if column > 0 else 0.0
    right = np.float64(inverse[row, column + 1]) if column + 1 < width else 0.0
    above = np.float64(inverse[row - 1, column]) if row > 0 else 0.0
    below = np.float64(inverse[row + 1, column]) if row + 1 < height else 0.0
    return _slope(here, left, right, slope_limit), _slope(here, above, below, slope_limit)


@_compiled
def _march(inverse, u0, au, v0, av, near, far, thickness, slope_limit):  # type: ignore[no-untyped-def]
    """Return the inverse depth of the first surface that the ray meets, its row and column; 0 where it meets none."""
    num_steps = max(1, math.ceil((near - far) * max(abs(au), abs(av))))
    step = (near - far) / num_steps
    in_front, last = True, 0.0
    for k in range(num_steps + 1):
        w = near - k * step
        column, row = int(u0 + au * w + 0.5), int(v0 + av * w + 0.5)
        surface = np.float64(inverse[row, column])
        if w > surface:
            in_front, last = True, surface
            continue
        # Behind the surface: through it in this step, or past an edge and behind what hides it from the camera.
        close = 1.0 / max(w, 1e-9) - 1.0 / surface <= thickness
        if in_front and (close or _is_one_surface(surface, last, slope_limit)):
            return surface, row, column
        in_front, last = False, surface
    return 0.0, 0, 0


@_compiled
def _refine(inverse, u0, au, v0, av, found, row, column, slope_limit):  # type: ignore[no-untyped-def]
    """Return where the ray meets the plane through the pixel, in inverse depth, and the plane's gradient."""
    height, width = inverse.shape
    w, across, down = found, 0.0, 0.0
    for _ in range(_REFINEMENTS):
        here = np.float64(inverse[row, column])
        across, down = _gradient(inverse, row, column, slope_limit)
        rest = 1.0 - across * au - down * av
        if rest < 0.1:
            return here, across, down  # along the surface: its pixel is as good as any
        w = (here + across * (u0 - column) + down * (v0 - row)) / rest
        next_column, next_row = int(u0 + au * w + 0.5), int(v0 + av * w + 0.5)
        if not (0 <= next_column < width and 0 <= next_row < height):
            break
        if not _is_one_surface(here, np.float64(inverse[next_row, next_column]), slope_limit):
            break
        row, column = next_row, next_column
    return w, across, down


@_compiled
def scan(  # type: ignore[no-untyped-def]
    inverse, camera, beams, rotation, azimuth, ranges, thickness, noise, bias, strength, draws, lost, out
):
    """Cast every beam at every azimuth and write planar z (H, W) where it lands, the nearest where several do.

    ``inverse`` (H, W) float32: inverse depth, 0 where there is none. ``camera``: fx, fy, cx, cy. ``beams`` (n, 6):
    origin in camera axes, sine and cosine of the elevation, azimuth of the first firing. ``rotation`` (3, 3): from the
    lidar, axes as of a camera, to the camera. ``azimuth``: its step. ``ranges``: least and most. ``noise``: sigma and
    step of the range, ``bias`` (n,) of each beam. ``strength``: logarithm of the squared range at which half of the
    straight returns are lost, and its sigma. ``draws`` (2, n, firings) are N(0, 1), for range and strength; ``lost``
    (n, firings).
    """
    fx, fy, cx, cy = camera
    height, width = inverse.shape
    nearest, farthest = ranges
    sigma, range_step = noise
    half_strength, strength_sigma = strength
    slope_limit = 1.0 / (max(fx, fy) * _NEAREST_PLANE_M)
    closest = 0.0
    for row in range(height):
        closest = max(closest, np.float64(inverse[row].max()))
    if closest == 0.0:
        return
    for beam in range(beams.shape[0]):
        px, py, pz, sine, cosine, first = beams[beam]
        for firing in range(lost.shape[1]):
            if lost[beam, firing]:
                continue
            angle = first + firing * azimuth
            right, forward = cosine * math.sin(angle), cosine * math.cos(angle)
            dx = rotation[0, 0] * right - rotation[0, 1] * sine + rotation[0, 2] * forward
            dy = rotation[1, 0] * right - rotation[1, 1] * sine + rotation[1, 2] * forward
            dz = rotation[2, 0] * right - rotation[2, 1] * sine + rotation[2, 2] * forward
            if dz < _LEAST_FORWARD or pz + farthest * dz <= 0.0:
                continue
            least_z = pz + nearest * dz
            near = min(closest, 1.0 / least_z) if least_z > 0.0 else closest
            far = 1.0 / (pz + farthest * dz)
            u0, v0 = fx * dx / dz + cx, fy * dy / dz + cy
            au, av = fx * (px - pz * dx / dz), fy * (py - pz * dy / dz)
            far, near = _inside(u0, au, -0.499, width - 0.501, far, near)
            far, near = _inside(v0, av, -0.499, height - 0.501, far, near)
            if far > near:
                continue
            found, row, column = _march(inverse, u0, au, v0, av, near, far, thickness, slope_limit)
            if found == 0.0:
                continue
            w, across, down = _refine(inverse, u0, au, v0, av, found, row, column, slope_limit)
            if w <= 0.0:
                continue
            distance = (1.0 / w - pz) / dz
            if distance < nearest or distance > farthest:
                continue
            # 1/z is linear in the image of a plane n.P = 1: its coefficients are the normal.
            nx, ny = fx * across, fy * down
            nz = np.float64(inverse[row, column]) - nx * (column - cx) / fx - ny * (row - cy) / fy
            incidence = abs(nx * dx + ny * dy + nz * dz) / math.sqrt(nx * nx + ny * ny + nz * nz)
            returned = half_strength + math.log(max(incidence, 1e-6) / (distance * distance))
            if returned + strength_sigma * draws[1, beam, firing] <= 0.0:
                continue
            distance += bias[beam] + sigma * draws[0, beam, firing]
            if range_step > 0.0:
                distance = range_step * math.floor(distance / range_step + 0.5)
            z = pz + distance * dz
            if z <= 0.0:
                continue
            u, v = fx * (px + distance * dx) / z + cx, fy * (py + distance * dy) / z + cy
            if not (-0.5 <= u < width - 0.5 and -0.5 <= v < height - 0.5):
                continue
            row, column = int(v + 0.5), int(u + 0.5)
            if out[row, column] == np.float32(0) or z < out[row, column]:
                out[row, column] = np.float32(z)
