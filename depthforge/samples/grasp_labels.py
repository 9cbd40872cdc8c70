"""Grasp labels of procedural objects in GraspNet's raw form, from their geometry.

At a point of the surface, for each of 300 views, 12 in-plane angles and 4 depths, two fingers close on the line
through the point, moved along the approach by the depth. Where that line enters and leaves the object the contacts
are, and the friction that holds it is the tangent of the larger angle between line and surface normal, rounded up to
GraspNet's steps of 0.1. The gripper is tried for collisions at a few points of its fingers and palm. A point costs
14,400 lines and 10 ms for an object of a few solids; no physics, no force closure beyond two contacts.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from depthforge.geometry import Float64
from depthforge.meshes import Mesh
from depthforge.scenes.raycast import Shape
from depthforge.sources.graspnet.grasps import NUM_ANGLES, NUM_DEPTHS, NUM_VIEWS, grasp_rotations, view_directions

__all__ = ["GraspLabels", "collides", "label_grasps", "surface_points"]

_DEPTHS_M = (0.01, 0.02, 0.03, 0.04)
_WIDEST_M = 0.1
_CLEARANCE_M = 0.005
_FINGER_M = 0.01
_PALM_M = 0.02
_HIGHEST_FRICTION = 1.0
_UNUSABLE = -1.0

Bools = npt.NDArray[np.bool_]


class GraspLabels(NamedTuple):
    """What a %03d_labels.npz holds: (P, 3), (P, 300, 12, 4, 3), (P, 300, 12, 4) and (P, 300, 12, 4)."""

    points: npt.NDArray[np.float32]
    offsets: npt.NDArray[np.float32]
    collision: Bools
    scores: npt.NDArray[np.float32]


def surface_points(
    mesh: Mesh, solids: Sequence[Shape], count: int, rng: np.random.Generator
) -> tuple[Float64, Float64]:
    """Return ``count`` points and outward normals (count, 3) on the outside of an object, spread by area."""
    corners = mesh.vertices[mesh.triangles].astype(np.float64)
    normals = np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0])
    area = np.linalg.norm(normals, axis=1)
    points, found = [], 0
    kept_normals = []
    while found < count:
        chosen = rng.choice(len(area), 4 * count, p=area / area.sum())
        a, b = rng.random((2, len(chosen), 1))
        a, b = np.where(a + b > 1, 1 - a, a), np.where(a + b > 1, 1 - b, b)
        first, second, third = np.moveaxis(corners[chosen], 1, 0)
        at = first + a * (second - first) + b * (third - first)
        normal = normals[chosen] / area[chosen, None]
        # What lies within another solid is not on the outside.
        outside = ~_inside(at + 1e-4 * normal, solids)
        points.append(at[outside])
        kept_normals.append(normal[outside])
        found += int(outside.sum())
    return np.concatenate(points)[:count], np.concatenate(kept_normals)[:count]


def label_grasps(points: Float64, normals: Float64, solids: Sequence[Shape]) -> GraspLabels:
    """Return the labels of an object at ``points`` (P, 3) of its surface with outward ``normals`` (P, 3)."""
    angles = np.pi * np.arange(NUM_ANGLES) / NUM_ANGLES
    shape = (len(points), NUM_VIEWS, NUM_ANGLES, NUM_DEPTHS)
    offsets = np.zeros((*shape, 3), np.float32)
    offsets[..., 0], offsets[..., 1] = angles[:, None], _DEPTHS_M
    scores, collision = np.full(shape, _UNUSABLE, np.float32), np.zeros(shape, np.bool_)
    rotations = grasp_rotations(np.repeat(-view_directions(), NUM_ANGLES, axis=0), np.tile(angles, NUM_VIEWS))
    for k, (point, normal) in enumerate(zip(points, normals, strict=True)):
        grip = np.flatnonzero(rotations[:, :, 0] @ normal < -0.1)
        row, depth = np.repeat(grip, NUM_DEPTHS), np.tile(np.arange(NUM_DEPTHS), len(grip))
        R, depth_m = rotations[row], np.array(_DEPTHS_M)[depth]
        friction, width_m = _close(point + depth_m[:, None] * R[:, :, 0], R[:, :, 1], solids)
        # Where nothing holds there is no gripper to try; its width would be endless.
        holds = np.flatnonzero(friction > 0)
        view, angle = np.divmod(row[holds], NUM_ANGLES)
        at = (k, view, angle, depth[holds])
        offsets[(*at, 2)] = width_m[holds]
        scores[at] = friction[holds]
        tried = _gripper_points(np.broadcast_to(point, (len(holds), 3)), R[holds], depth_m[holds], width_m[holds])
        collision[at] = _inside(tried, solids).any(axis=1)
    return GraspLabels(points.astype(np.float32), offsets, collision, scores)


def collides(labels: GraspLabels, T_table_object: Float64, others: Sequence[Shape]) -> Bools:
    """Return (P, 300, 12, 4) bool: which usable grasps touch ``others`` (in the table's frame) or the table, z < 0."""
    at = np.nonzero((labels.scores > 0) & ~labels.collision)
    point, view = at[:2]
    offset = labels.offsets[at].astype(np.float64)
    R = T_table_object[:3, :3] @ grasp_rotations(-view_directions()[view], offset[:, 0])
    centre = labels.points[point].astype(np.float64) @ T_table_object[:3, :3].T + T_table_object[:3, 3]
    tried = _gripper_points(centre, R, offset[:, 1], offset[:, 2])
    collision = labels.collision.copy()
    collision[at] = (_inside(tried, others) | (tried[..., 2] < 0)).any(axis=1)
    return collision


def _close(centre: Float64, along: Float64, solids: Sequence[Shape]) -> tuple[Float64, Float64]:
    """Return the friction (N,) that two fingers need which close on ``centre`` (N, 3) ``along`` a line, and the width.

    Friction is -1 where they meet nothing, open too little, or slip.
    """
    first, last = np.full(len(centre), np.inf), np.full(len(centre), -np.inf)
    normal_first, normal_last = np.zeros_like(centre), np.zeros_like(centre)
    for solid in solids:
        enter, leave = _cross(centre, along, solid)
        for t, nearer, best, normal in (
            (enter, enter < first, first, normal_first),
            (leave, leave > last, last, normal_last),
        ):
            rows = np.flatnonzero(nearer & (enter < leave))
            best[rows] = t[rows]
            normal[rows] = _normals(centre[rows] + t[rows, None] * along[rows], solid)
    width_m = 2 * np.maximum(-first, last) + 2 * _CLEARANCE_M
    cosine = np.minimum(-np.einsum("ni,ni->n", normal_first, along), np.einsum("ni,ni->n", normal_last, along))
    with np.errstate(divide="ignore", invalid="ignore"):
        friction = np.ceil(10 * np.sqrt(np.maximum(1 - cosine**2, 0)) / cosine - 1e-6) / 10
    holds = (first < last) & (width_m <= _WIDEST_M) & (cosine > 0) & (friction <= _HIGHEST_FRICTION)
    return np.where(holds, np.maximum(friction, 0.1), _UNUSABLE), width_m


def _cross(origin: Float64, direction: Float64, solid: Shape) -> tuple[Float64, Float64]:
    """Return where lines (N, 3) enter and leave a solid; enter >= leave: they do not."""
    T = np.linalg.inv(solid.T_world_unit)
    o, d = origin @ T[:3, :3].T + T[:3, 3], direction @ T[:3, :3].T
    with np.errstate(divide="ignore", invalid="ignore"):
        ends = np.sort(np.stack([(-1 - o) / d, (1 - o) / d]), axis=0)
        enter, leave = np.nanmax(ends[0], axis=1), np.nanmin(ends[1], axis=1)
        A, B, C = solid.profile
        if (A, B, C) != (3.0, 0.0, 0.0):
            a = d[:, 0] ** 2 + d[:, 1] ** 2 - C * d[:, 2] ** 2
            b = o[:, 0] * d[:, 0] + o[:, 1] * d[:, 1] - C * o[:, 2] * d[:, 2] - 0.5 * B * d[:, 2]
            c = o[:, 0] ** 2 + o[:, 1] ** 2 - A - B * o[:, 2] - C * o[:, 2] ** 2
            root = np.sqrt(np.maximum(b * b - a * c, 0))
            # Lines along a cone's side (a <= 0) are left out: they are few, and no grasp holds there.
            meets = (a > 1e-12) & (b * b > a * c)
            enter = np.where(meets, np.maximum(enter, (-b - root) / a), np.inf)
            leave = np.where(meets, np.minimum(leave, (-b + root) / a), -np.inf)
    return enter, leave


def _normals(points: Float64, solid: Shape) -> Float64:
    """Return the outward normals (N, 3) of a solid at points of its surface."""
    T = np.linalg.inv(solid.T_world_unit)
    unit = points @ T[:3, :3].T + T[:3, 3]
    A, B, C = solid.profile
    x, y, z = unit.T
    how_far = np.column_stack([np.abs(unit) - 1, x * x + y * y - (A + B * z + C * z * z)])
    face = np.argmax(how_far, axis=1)
    gradient = np.where(face[:, None] == np.arange(3), np.sign(unit), 0.0)
    curved = np.column_stack([2 * x, 2 * y, -B - 2 * C * z])
    gradient = np.where(face[:, None] == 3, curved, gradient) @ T[:3, :3]
    return np.asarray(gradient / np.linalg.norm(gradient, axis=1, keepdims=True))


def _gripper_points(centre: Float64, R: Float64, depth_m: Float64, width_m: Float64) -> Float64:
    """Return points (N, 9, 3) of open grippers: three of each finger's middle, three of the palm."""
    points = []
    for side in (-1.0, 1.0):
        for back_m in (0.0, 0.5, 1.0):
            along = depth_m - back_m * (depth_m + _PALM_M)
            across = side * (width_m / 2 + _FINGER_M / 2)
            points.append(centre + along[:, None] * R[:, :, 0] + across[:, None] * R[:, :, 1])
    for share in (-0.5, 0.0, 0.5):
        points.append(centre - (_PALM_M + _FINGER_M) * R[:, :, 0] + (share * width_m)[:, None] * R[:, :, 1])
    return np.stack(points, axis=1)


def _inside(points: Float64, solids: Sequence[Shape]) -> Bools:
    """Return which points (..., 3) lie within a solid."""
    within = np.zeros(points.shape[:-1], np.bool_)
    for solid in solids:
        T = np.linalg.inv(solid.T_world_unit)
        x, y, z = np.moveaxis(points @ T[:3, :3].T + T[:3, 3], -1, 0)
        A, B, C = solid.profile
        in_cube = (np.abs(x) <= 1) & (np.abs(y) <= 1) & (np.abs(z) <= 1)
        within |= in_cube & (x * x + y * y <= A + B * z + C * z * z)
    return within
