"""A ray-caster for scenes of analytic shapes: exact planar depth, normals and shape ids, with nothing but numba.

Every shape is one idea: the part of the cube [-1, 1]^3 where x^2 + y^2 <= A + B z + C z^2, moved and stretched into
the world. Boxes, cylinders, cones, ellipsoids and cushions are choices of (A, B, C), and a ray meets any of them in
one interval: three slabs and one quadratic. Rays go through pixel centres with z = 1 per unit of t, so t *is* depth.

The image is cut into tiles of 16x16 pixels. Interval arithmetic on a tile's rays drops the shapes that it cannot
see and bounds the depth of the rest from below; pixels then try shapes front to back and stop at the first bound
behind the nearest hit. A furnished room of 250 shapes takes 18 to 29 ms at 640x480 on one core, against 65 to 85 ms
for the same room as triangles in Open3D (which also is 100 MB of package). There is no fast-math and no threading
inside, so bytes repeat whatever the machine's load; the GIL is released, so threads may cast frames at once.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from depthforge.errors import InputError
from depthforge.frame import BoolImage, Camera, DepthImage
from depthforge.geometry import Float32, Float64, pixel_rays
from depthforge.kernels import njit

__all__ = ["Hits", "Scene", "Shape", "box", "cast", "cone", "cushion", "cylinder", "ellipsoid", "enter"]

_TILE = 16
_NEAR = 1e-3
# x^2 + y^2 never exceeds 2 inside the cube: this profile leaves the cube whole.
_WHOLE_CUBE = (3.0, 0.0, 0.0)


@dataclass(frozen=True, slots=True, eq=False)
class Shape:
    """One convex solid: ``T_world_unit`` (4, 4) places the cube [-1, 1]^3, of which ``profile`` (A, B, C) keeps a part.

    The part is x^2 + y^2 <= A + B z + C z^2 in the cube's own coordinates.
    """

    T_world_unit: Float64
    profile: tuple[float, float, float] = _WHOLE_CUBE

    def placed(self, T_world_parent: Float64) -> Shape:
        """Return this shape, given in a parent's frame, in the world."""
        return Shape(T_world_parent @ self.T_world_unit, self.profile)


def _solid(
    size: Sequence[float], centre: Sequence[float], rotation: Float64 | None, profile: tuple[float, float, float]
) -> Shape:
    if not all(math.isfinite(length) and length > 0 for length in size):
        raise InputError("a shape needs a finite size above 0 along each axis", expected="metres > 0", found=size)
    T_world_unit = np.eye(4)
    T_world_unit[:3, :3] = np.diag(np.asarray(size, dtype=np.float64) / 2)
    if rotation is not None:
        T_world_unit[:3, :3] = rotation @ T_world_unit[:3, :3]
    T_world_unit[:3, 3] = centre
    return Shape(T_world_unit, profile)


def box(size: Sequence[float], centre: Sequence[float] = (0, 0, 0), rotation: Float64 | None = None) -> Shape:
    """Return a box of edge lengths ``size`` (3,), metres, turned by ``rotation`` (3, 3) about its ``centre``."""
    return _solid(size, centre, rotation, _WHOLE_CUBE)


def cylinder(
    radius: float, height: float, centre: Sequence[float] = (0, 0, 0), rotation: Float64 | None = None
) -> Shape:
    """Return a closed cylinder about its own z axis, metres."""
    return _solid((2 * radius, 2 * radius, height), centre, rotation, (1.0, 0.0, 0.0))


def cone(
    radius_bottom: float,
    radius_top: float,
    height: float,
    centre: Sequence[float] = (0, 0, 0),
    rotation: Float64 | None = None,
) -> Shape:
    """Return a closed cone frustum about its own z axis, metres; a radius may be 0; ``centre`` is mid-height."""
    widest = max(radius_bottom, radius_top)
    mean, slope = (radius_top + radius_bottom) / 2, (radius_top - radius_bottom) / 2
    size = (2 * widest, 2 * widest, height)
    if not widest > 0 or min(radius_bottom, radius_top) < 0:
        raise InputError("a cone needs radii of 0 or more, one above 0", found=(radius_bottom, radius_top))
    return _solid(size, centre, rotation, ((mean / widest) ** 2, 2 * mean * slope / widest**2, (slope / widest) ** 2))


def ellipsoid(size: Sequence[float], centre: Sequence[float] = (0, 0, 0), rotation: Float64 | None = None) -> Shape:
    """Return an ellipsoid of axis lengths (not half-lengths) ``size`` (3,), metres."""
    return cushion(size, centre, rotation, fullness=1.0)


def cushion(
    size: Sequence[float],
    centre: Sequence[float] = (0, 0, 0),
    rotation: Float64 | None = None,
    *,
    fullness: float = 1.25,
) -> Shape:
    """Return a box cut by a concentric ellipsoid ``fullness`` times its size: 1 is an ellipsoid, sqrt(3) the box."""
    if not 1.0 <= fullness <= math.sqrt(3.0):
        raise InputError("a cushion's fullness is out of range", expected="1 to sqrt(3)", found=fullness)
    return _solid(size, centre, rotation, (fullness**2, 0.0, -1.0))


class Scene:
    """Shapes, inverted and packed for casting; the row of a shape is its id. About 0.5 ms for 150 shapes."""

    def __init__(self, shapes: Sequence[Shape]) -> None:
        self.T_world_unit = np.array([shape.T_world_unit for shape in shapes], np.float64).reshape(-1, 4, 4)
        self.T_unit_world = np.linalg.inv(self.T_world_unit)
        self.profile = np.array([shape.profile for shape in shapes], np.float64).reshape(-1, 3)

    def __len__(self) -> int:
        return len(self.profile)


class Hits(NamedTuple):
    """What the rays of a camera met; images of (H, W)."""

    depth_m: DepthImage
    """float32 planar z in metres, 0.0 where a ray met nothing."""
    valid: BoolImage
    """bool, whether a ray met something."""
    normals: Float32
    """(H, W, 3) float32 unit normals towards the camera, OpenCV camera axes; zeros where a ray met nothing."""
    shape: npt.NDArray[np.int32]
    """int32 row of the shape (or mesh), -1 where a ray met nothing."""


def cast(scene: Scene, T_world_cam: Float64, camera: Camera) -> Hits:
    """Return what ``camera`` sees at ``T_world_cam`` (4, 4, camera-to-world, OpenCV axes).

    Shapes are solid and hit from outside only: one that the camera is inside of is not seen.
    """
    x, y = pixel_rays(camera)
    pose = np.ascontiguousarray(T_world_cam, dtype=np.float64)
    intrinsics = (float(camera.fx), float(camera.fy), float(camera.cx), float(camera.cy))
    unit_cam, bounds = _prepare(scene.T_world_unit, scene.T_unit_world, pose, intrinsics)
    depth_m, normals, shape = _cast(unit_cam, bounds, scene.profile, x, y)
    return Hits(depth_m, shape >= 0, normals, shape)


@njit(error_model="numpy")
def _prepare(world_unit, unit_world, pose, intrinsics):  # type: ignore[no-untyped-def]
    """Return each shape's camera-to-unit map (N, 3, 4) and its bounds on the image (N, 4): u, v least, u, v most."""
    fx, fy, cx, cy = intrinsics
    count = world_unit.shape[0]
    unit_cam = np.zeros((count, 3, 4))
    bounds = np.empty((count, 4))
    corners = np.empty((8, 3))
    for n in range(count):
        for i in range(3):
            for k in range(4):
                for j in range(3):
                    unit_cam[n, i, k] += unit_world[n, i, j] * pose[j, k]
            unit_cam[n, i, 3] += unit_world[n, i, 3]
        for corner in range(8):
            for k in range(3):
                corners[corner, k] = 0.0
                for j in range(3):
                    world = world_unit[n, j, 3] - pose[j, 3]
                    for i in range(3):
                        world += world_unit[n, j, i] * (1.0 if (corner >> i) & 1 else -1.0)
                    corners[corner, k] += pose[j, k] * world
        bounds[n, 0] = bounds[n, 1] = np.inf
        bounds[n, 2] = bounds[n, 3] = -np.inf
        for start in range(8):
            for axis in range(3):
                stop = start | (1 << axis)
                # Both ends of every edge, or where it passes the near plane.
                for end in (start, stop):
                    other = stop if end == start else start
                    px, py, pz = corners[end, 0], corners[end, 1], corners[end, 2]
                    if pz < _NEAR:
                        if corners[other, 2] < _NEAR:
                            continue
                        part = (_NEAR - pz) / (corners[other, 2] - pz)
                        px += part * (corners[other, 0] - px)
                        py += part * (corners[other, 1] - py)
                        pz = _NEAR
                    u, v = fx * px / pz + cx, fy * py / pz + cy
                    bounds[n, 0], bounds[n, 1] = min(bounds[n, 0], u), min(bounds[n, 1], v)
                    bounds[n, 2], bounds[n, 3] = max(bounds[n, 2], u), max(bounds[n, 3], v)
    return unit_cam, bounds


@njit(error_model="numpy")
def _tile_depths(m, n, x0, x1, y0, y1):  # type: ignore[no-untyped-def]
    """Return bounds (least, most) on the depth at which a tile's rays are inside a shape's cube; least > most: none."""
    least, most = 0.0, np.inf
    for i in range(3):
        low = min(m[n, i, 0] * x0, m[n, i, 0] * x1) + min(m[n, i, 1] * y0, m[n, i, 1] * y1) + m[n, i, 2]
        high = max(m[n, i, 0] * x0, m[n, i, 0] * x1) + max(m[n, i, 1] * y0, m[n, i, 1] * y1) + m[n, i, 2]
        origin = m[n, i, 3]
        if origin > 0.0:  # mirror, so that the origin is at or below the cube's centre
            low, high, origin = -high, -low, -origin
        if origin < -1.0:
            if high <= 0.0:
                return 1.0, 0.0
            least = max(least, (-1.0 - origin) / high)
            if low > 0.0:
                most = min(most, (1.0 - origin) / low)
        elif low > 0.0:
            most = min(most, (1.0 - origin) / low)
        elif high < 0.0:
            most = min(most, (-1.0 - origin) / high)
    # Rounding must not lose a hit on the very edge of a tile.
    return least * (1.0 - 1e-9), most * (1.0 + 1e-9)


@njit(error_model="numpy")
def enter(m, profiles, n, x, y, nearest):  # type: ignore[no-untyped-def]
    """Return (t, face) where the ray (x, y, 1) enters a shape nearer than ``nearest``; face -1: it does not.

    Faces 0, 1, 2 are the cube's along that axis, 3 is the curved one.
    """
    enter, leave, face = -np.inf, np.inf, -1
    for i in range(3):
        inverse = 1.0 / (m[n, i, 0] * x + m[n, i, 1] * y + m[n, i, 2])
        first, second = (-1.0 - m[n, i, 3]) * inverse, (1.0 - m[n, i, 3]) * inverse
        if first > second:
            first, second = second, first
        if first > enter:
            enter, face = first, i
        if second < leave:
            leave = second
    if enter > leave or leave <= 0.0 or enter >= nearest:
        return enter, -1
    A, B, C = profiles[n, 0], profiles[n, 1], profiles[n, 2]
    if A < 2.0 or B != 0.0 or C != 0.0:
        ox, oy, oz = m[n, 0, 3], m[n, 1, 3], m[n, 2, 3]
        dx = m[n, 0, 0] * x + m[n, 0, 1] * y + m[n, 0, 2]
        dy = m[n, 1, 0] * x + m[n, 1, 1] * y + m[n, 1, 2]
        dz = m[n, 2, 0] * x + m[n, 2, 1] * y + m[n, 2, 2]
        # inside where a t^2 + 2 b t + c <= 0
        a = dx * dx + dy * dy - C * dz * dz
        b = ox * dx + oy * dy - C * oz * dz - 0.5 * B * dz
        c = ox * ox + oy * oy - A - B * oz - C * oz * oz
        discriminant = b * b - a * c
        if discriminant <= 0.0:
            if a > 0.0 or c > 0.0:
                return enter, -1
        else:
            stable = -(b + math.copysign(math.sqrt(discriminant), b))
            first, second = stable / a, c / stable
            if first > second:
                first, second = second, first
            if a > 0.0:
                if first > enter:
                    enter, face = first, 3
                if second < leave:
                    leave = second
            elif enter <= first:  # a cone met along its axis: inside before the first root or after the second
                if first < leave:
                    leave = first
            elif second > enter:
                enter, face = second, 3
    if enter > leave or enter <= 0.0 or enter >= nearest:
        return enter, -1
    return enter, face


@njit(error_model="numpy")
def _cast(unit_cam, bounds, profiles, x, y):  # type: ignore[no-untyped-def]
    count = profiles.shape[0]
    height, width = y.shape[0], x.shape[0]
    depth = np.zeros((height, width), np.float32)
    normals = np.zeros((height, width, 3), np.float32)
    ids = np.full((height, width), -1, np.int32)
    flat = _flat_normals(unit_cam)
    seen, least = np.empty(count, np.int64), np.empty(count)
    nearest, hit_face = np.empty((_TILE, _TILE)), np.empty((_TILE, _TILE), np.int8)
    for top in range(0, height, _TILE):
        rows = min(_TILE, height - top)
        for left in range(0, width, _TILE):
            columns = min(_TILE, width - left)
            num_seen = _shapes_of_tile(unit_cam, bounds, x, y, left, top, columns, rows, seen, least)
            nearest[:] = np.inf
            for slot in range(num_seen):
                n, bound = seen[slot], least[slot]
                if bound >= nearest[:rows, :columns].max():
                    break
                for v in range(rows):
                    for u in range(columns):
                        if bound < nearest[v, u]:
                            t, face = enter(unit_cam, profiles, n, x[left + u], y[top + v], nearest[v, u])
                            if face >= 0:
                                nearest[v, u], hit_face[v, u], ids[top + v, left + u] = t, face, n
            for v in range(rows):
                for u in range(columns):
                    n = ids[top + v, left + u]
                    if n >= 0:
                        depth[top + v, left + u] = nearest[v, u]
                        face = hit_face[v, u]
                        if face < 3:
                            for k in range(3):
                                normals[top + v, left + u, k] = flat[n, face, k]
                        else:
                            nx, ny, nz = _curved_normal(unit_cam, profiles, n, x[left + u], y[top + v], nearest[v, u])
                            normals[top + v, left + u, 0] = nx
                            normals[top + v, left + u, 1] = ny
                            normals[top + v, left + u, 2] = nz
    return depth, normals, ids


@njit(error_model="numpy")
def _shapes_of_tile(unit_cam, bounds, x, y, left, top, columns, rows, seen, least):  # type: ignore[no-untyped-def]
    """Fill ``seen`` with the shapes that a tile may see, nearest bound first, and return how many they are."""
    right, bottom = left + columns - 1, top + rows - 1
    num_seen = 0
    for n in range(bounds.shape[0]):
        if bounds[n, 0] > right + 0.01 or bounds[n, 2] < left - 0.01:
            continue
        if bounds[n, 1] > bottom + 0.01 or bounds[n, 3] < top - 0.01:
            continue
        near, far = _tile_depths(unit_cam, n, x[left], x[right], y[top], y[bottom])
        if near > far:
            continue
        slot = num_seen
        while slot > 0 and least[slot - 1] > near:
            least[slot], seen[slot] = least[slot - 1], seen[slot - 1]
            slot -= 1
        least[slot], seen[slot] = near, n
        num_seen += 1
    return num_seen


@njit()
def _flat_normals(m):  # type: ignore[no-untyped-def]
    """Return the normal in camera axes of each face of each cube that the camera is in front of, (N, 3, 3)."""
    normals = np.empty(m[:, :, :3].shape)
    for n in range(m.shape[0]):
        for i in range(3):
            # From unit to camera coordinates a normal goes by the transpose of camera-to-unit.
            normal = math.copysign(1.0, m[n, i, 3]) * m[n, i, :3]
            normals[n, i] = normal / math.sqrt((normal * normal).sum())
    return normals


@njit()
def _curved_normal(m, profiles, n, x, y, t):  # type: ignore[no-untyped-def]
    ux = m[n, 0, 3] + t * (m[n, 0, 0] * x + m[n, 0, 1] * y + m[n, 0, 2])
    uy = m[n, 1, 3] + t * (m[n, 1, 0] * x + m[n, 1, 1] * y + m[n, 1, 2])
    uz = m[n, 2, 3] + t * (m[n, 2, 0] * x + m[n, 2, 1] * y + m[n, 2, 2])
    uz = -0.5 * profiles[n, 1] - profiles[n, 2] * uz
    nx = m[n, 0, 0] * ux + m[n, 1, 0] * uy + m[n, 2, 0] * uz
    ny = m[n, 0, 1] * ux + m[n, 1, 1] * uy + m[n, 2, 1] * uz
    nz = m[n, 0, 2] * ux + m[n, 1, 2] * uy + m[n, 2, 2] * uz
    length = math.sqrt(nx * nx + ny * ny + nz * nz)
    return nx / length, ny / length, nz / length
