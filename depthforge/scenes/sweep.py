"""A spinning laser scanner's exact ranges in a procedural scene: one ray for each beam at each azimuth.

Each azimuth first drops the shapes whose sphere its half plane misses, then every beam tries the rest; the arithmetic
of a ray and a shape is that of ``raycast``, which casts images. A turn of 64 beams at 2000 azimuths among 2000 shapes
takes 55 ms on one core. Reading the beams off a rendered depth image instead would round every ray to a pixel.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from depthforge.geometry import Float64
from depthforge.kernels import njit
from depthforge.scenes.raycast import Scene, enter

__all__ = ["Sweep", "sweep"]

# Columns are the axes of a camera that looks forward, left, back, right: right, down, forward in sensor axes.
_QUADRANTS = np.array(
    [
        [[0, 0, 1], [-1, 0, 0], [0, -1, 0]],
        [[1, 0, 0], [0, 0, 1], [0, -1, 0]],
        [[0, 0, -1], [1, 0, 0], [0, -1, 0]],
        [[-1, 0, 0], [0, 0, -1], [0, -1, 0]],
    ],
    np.float64,
)


class Sweep(NamedTuple):
    """What the beams met, azimuth by azimuth; arrays of (A, B)."""

    range_m: Float64
    """Distance along the beam; 0 where it met nothing within range."""
    shape: npt.NDArray[np.int32]
    """Row of the shape, -1 where it met nothing."""


def sweep(
    scene: Scene, T_world_sensor: Float64, azimuth_rad: Float64, elevation_rad: Float64, *, max_range_m: float
) -> Sweep:
    """Return what a scanner at ``T_world_sensor`` (4, 4; x forward, y left, z up) meets.

    ``azimuth_rad`` (A,) counts from forward to the left, ``elevation_rad`` (B,) upwards, within 80 degrees of level.
    """
    views = np.tile(np.eye(4), (4, 1, 1))
    views[:, :3, :3] = _QUADRANTS
    unit_views = scene.T_unit_world @ (T_world_sensor @ views)[:, None]
    rotation, origin = T_world_sensor[:3, :3], T_world_sensor[:3, 3]
    centres = (scene.T_world_unit[:, :3, 3] - origin) @ rotation
    radii = np.sqrt((scene.T_world_unit[:, :3, :3] ** 2).sum(axis=(1, 2)))
    found = _sweep(
        np.ascontiguousarray(unit_views[:, :, :3]),
        scene.profile,
        np.ascontiguousarray(centres),
        radii,
        np.asarray(azimuth_rad, np.float64),
        np.asarray(elevation_rad, np.float64),
        float(max_range_m),
    )
    return Sweep(*found)


@njit(error_model="numpy")
def _sweep(unit_views, profiles, centres, radii, azimuths, elevations, max_range):  # type: ignore[no-untyped-def]
    num_azimuths, num_beams = azimuths.shape[0], elevations.shape[0]
    ranges = np.zeros((num_azimuths, num_beams))
    shapes = np.full((num_azimuths, num_beams), -1, np.int32)
    near = np.empty(radii.shape[0], np.int64)
    for a in range(num_azimuths):
        east, north = math.cos(azimuths[a]), math.sin(azimuths[a])
        count = 0
        for n in range(radii.shape[0]):
            x, y, radius = centres[n, 0], centres[n, 1], radii[n]
            along = x * east + y * north
            if abs(x * north - y * east) <= radius and along >= -radius and along <= max_range + radius:
                near[count] = n
                count += 1
        quadrant = math.floor(azimuths[a] / (0.5 * math.pi) + 0.5)
        turn = azimuths[a] - quadrant * 0.5 * math.pi
        view = unit_views[quadrant % 4]
        right = -math.tan(turn)
        for b in range(num_beams):
            down = -math.tan(elevations[b]) / math.cos(turn)
            # Depth in the quadrant's view times this is distance.
            stretch = math.sqrt(1.0 + right * right + down * down)
            nearest = max_range / stretch
            for k in range(count):
                n = near[k]
                depth, face = enter(view, profiles, n, right, down, nearest)
                if face >= 0:
                    nearest, shapes[a, b] = depth, n
            if shapes[a, b] >= 0:
                ranges[a, b] = nearest * stretch
    return ranges, shapes
