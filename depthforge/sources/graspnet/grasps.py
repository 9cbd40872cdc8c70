"""6-D grasps of GraspNet: from view, in-plane angle, depth and width to rows of a GraspGroup, and a choice among them.

A grasp's gripper frame has the approach as its first column and the closing direction (binormal) as its second. The
choice is best score first; scores come in steps of 0.1, so nearly all are ties, and ties go by a seeded permutation
of the labels: any first K are spread over the object. Non-maximum suppression, greedy in that order, hashes kept
grasps by their place, so that each candidate meets its neighbours only. Measured on one core: 220 ns for a row of 17,
15 ms to choose 4096 of a million, 20 ms to suppress among 100,000 until 4096 are kept, 0.4 ms to move these into a
camera.
Source: graspnet.net, grasp format; Fang et al., "GraspNet-1Billion", CVPR 2020.
"""

from __future__ import annotations

from functools import lru_cache

import numba
import numpy as np
import numpy.typing as npt

from depthforge.geometry import Float32, Float64
from depthforge.kernels import njit

__all__ = [
    "GRASP_HEIGHT_M",
    "NUM_ANGLES",
    "NUM_DEPTHS",
    "NUM_VIEWS",
    "Keys",
    "first_of",
    "grasp_rotations",
    "grasp_rows",
    "order_keys",
    "suppress_neighbours",
    "to_camera",
    "view_directions",
]

NUM_VIEWS, NUM_ANGLES, NUM_DEPTHS = 300, 12, 4
GRASP_HEIGHT_M = 0.02
_SCORE_OF_NO_FRICTION = 1.1

Keys = npt.NDArray[np.uint64]
Words = npt.NDArray[np.uint32]


@lru_cache(maxsize=4)
def view_directions(count: int = NUM_VIEWS) -> Float64:
    """Return the Fibonacci lattice on the unit sphere, (count, 3) float64, read-only; the approach is *minus* a view.

    Z = (2 i + 1) / N - 1, X and Y = sqrt(1 - Z^2) (cos, sin)(2 pi i phi), phi = (sqrt 5 - 1) / 2.
    """
    i = np.arange(count, dtype=np.float64)
    z = (2 * i + 1) / count - 1
    radius = np.sqrt(1 - z * z)
    turn = 2 * np.pi * i * (np.sqrt(5.0) - 1) / 2
    views = np.stack([radius * np.cos(turn), radius * np.sin(turn), z], axis=1)
    views.flags.writeable = False
    return views


def grasp_rotations(approach: npt.NDArray[np.floating], angle_rad: npt.NDArray[np.floating]) -> Float64:
    """Return gripper rotations (N, 3, 3) of approach directions (N, 3), of any length, and in-plane angles (N,).

    R2 = [x, y, z] with x along the approach, y = (-x1, x0, 0) normalised, (0, 1, 0) where that is zero, z = x cross y;
    then a turn by the angle about the gripper's own x: R = R2 @ R1.
    """
    x = np.asarray(approach, np.float64)
    x = x / np.linalg.norm(x, axis=1, keepdims=True)
    y = np.stack([-x[:, 1], x[:, 0], np.zeros(len(x))], axis=1)
    length = np.linalg.norm(y, axis=1, keepdims=True)
    y = np.where(length > 0, y / np.where(length > 0, length, 1.0), (0.0, 1.0, 0.0))
    z = np.cross(x, y)
    cosine, sine = np.cos(angle_rad)[:, None], np.sin(angle_rad)[:, None]
    # The columns of R2 @ [[1, 0, 0], [0, cos, -sin], [0, sin, cos]].
    return np.stack([x, cosine * y + sine * z, cosine * z - sine * y], axis=2)


def grasp_rows(
    points: npt.NDArray[np.floating],
    view: npt.NDArray[np.integer],
    angle_rad: npt.NDArray[np.floating],
    depth_m: npt.NDArray[np.floating],
    width_m: npt.NDArray[np.floating],
    friction: npt.NDArray[np.floating],
    object_id: int,
) -> Float32:
    """Return rows (N, 17) float32 of a GraspGroup in the frame of ``points`` (N, 3): the object's.

    score = 1.1 - friction, width, height 0.02, depth, rotation row by row, translation, object id.
    """
    rows = np.empty((len(points), 17), np.float32)
    rows[:, 0] = _SCORE_OF_NO_FRICTION - np.asarray(friction, np.float64)
    rows[:, 1], rows[:, 2], rows[:, 3] = width_m, GRASP_HEIGHT_M, depth_m
    rows[:, 4:13] = grasp_rotations(-view_directions()[view], angle_rad).reshape(-1, 9)
    rows[:, 13:16] = points
    rows[:, 16] = object_id
    return rows


def to_camera(rows: Float32, T_cam_object: Float64) -> Float32:
    """Return grasps (N, 17) of one object's frame in camera axes."""
    moved = rows.copy()
    rotation = T_cam_object[:3, :3]
    moved[:, 4:13] = (rotation @ rows[:, 4:13].reshape(-1, 3, 3).astype(np.float64)).reshape(-1, 9)
    moved[:, 13:16] = rows[:, 13:16].astype(np.float64) @ rotation.T + T_cam_object[:3, 3]
    return moved


def order_keys(friction: Float32, label: Words, salt: int) -> Keys:
    """Return keys (N,) uint64 that put the lowest ``friction`` (N,) > 0 first; ties in an order that ``salt`` keys.

    ``label`` (N,) are the numbers of the grasps within their object: the order depends on them, and not on where the
    rows lie. Different labels have different keys.
    """
    # Floats above 0 sort as their bits do; below them a permutation of the labels decides.
    bits = friction.astype(np.float32).view(np.uint32).astype(np.uint64)
    return np.asarray(bits << np.uint64(32) | _permuted(label, salt), np.uint64)


def first_of(keys: Keys, most: int) -> npt.NDArray[np.intp]:
    """Return the rows of the ``most`` lowest keys (N,), lowest first; equal keys in their order of rows."""
    if most >= len(keys):
        return np.argsort(keys, kind="stable")
    highest = np.partition(keys, most - 1)[most - 1]
    chosen = np.flatnonzero(keys <= highest)
    return np.asarray(chosen[np.argsort(keys[chosen], kind="stable")][:most])


def _permuted(label: Words, salt: int) -> Words:
    """Return a permutation of the 32-bit words, keyed by ``salt``: the finaliser of MurmurHash3 (Appleby), twice."""
    word = np.asarray(label, np.uint32) ^ np.uint32(salt & 0xFFFFFFFF)
    for add in (salt >> 32 & 0xFFFFFFFF, 0):
        word = word ^ (word >> np.uint32(16))
        word = word * np.uint32(0x85EBCA6B)
        word = word ^ (word >> np.uint32(13))
        word = word * np.uint32(0xC2B2AE35)
        word = word ^ (word >> np.uint32(16)) ^ np.uint32(add)
    return word


def suppress_neighbours(rows: Float32, *, distance_m: float, angle_deg: float, most: int) -> npt.NDArray[np.intp]:
    """Return which of ``rows`` (N, 17), best first, to keep: ``most`` at most, none near a better one that is kept.

    What is kept of some rows stays kept when more rows follow them, so that parts may be done one after the other.

    Near is within ``distance_m`` and ``angle_deg`` both. A gripper turned by 180 degrees about its approach is the
    same grasp.
    """
    # trace(A^T B) = 1 + 2 cos(angle)
    least_trace = 1.0 + 2.0 * np.cos(np.deg2rad(angle_deg))
    kept = _suppress(
        np.ascontiguousarray(rows[:, 13:16]), np.ascontiguousarray(rows[:, 4:13]), distance_m, least_trace, most
    )
    return np.asarray(kept, np.intp)


@njit()
def _suppress(points, rotations, distance, least_trace, most):  # type: ignore[no-untyped-def]
    count = points.shape[0]
    num_buckets = 16
    while num_buckets < 2 * min(count, most):
        num_buckets *= 2
    head = np.full(num_buckets, -1, np.int64)
    following = np.empty(min(count, most), np.int64)
    kept = np.empty(min(count, most), np.int64)
    num_kept = 0
    for row in range(count):
        if num_kept == kept.shape[0]:
            break
        cx = int(np.floor(points[row, 0] / distance))
        cy = int(np.floor(points[row, 1] / distance))
        cz = int(np.floor(points[row, 2] / distance))
        is_near = False
        for step in range(27):
            x, y, z = cx + step % 3 - 1, cy + step // 3 % 3 - 1, cz + step // 9 - 1
            other = head[_bucket(x, y, z, num_buckets)]
            while other >= 0 and not is_near:
                is_near = _is_near(points, rotations, row, kept[other], distance, least_trace)
                other = following[other]
            if is_near:
                break
        if not is_near:
            bucket = _bucket(cx, cy, cz, num_buckets)
            kept[num_kept], following[num_kept], head[bucket] = row, head[bucket], num_kept
            num_kept += 1
    return kept[:num_kept]


@numba.njit(inline="always")
def _bucket(x, y, z, num_buckets):  # type: ignore[no-untyped-def]
    # Teschner et al., "Optimized spatial hashing for collision detection of deformable objects", 2003.
    return ((x * 73856093) ^ (y * 19349663) ^ (z * 83492791)) & (num_buckets - 1)


@numba.njit(inline="always")
def _is_near(points, rotations, a, b, distance, least_trace):  # type: ignore[no-untyped-def]
    square = 0.0
    for k in range(3):
        square += (points[a, k] - points[b, k]) ** 2
    if square > distance * distance:
        return False
    approach, closing, other = 0.0, 0.0, 0.0
    for k in range(3):
        approach += rotations[a, 3 * k] * rotations[b, 3 * k]
        closing += rotations[a, 3 * k + 1] * rotations[b, 3 * k + 1]
        other += rotations[a, 3 * k + 2] * rotations[b, 3 * k + 2]
    return approach + abs(closing + other) >= least_trace
