"""The plane that objects stand on, found in a real depth image: a floor for objects rendered from models.

RANSAC over three-point planes with the camera and every object on the same side, scored by how many measurements
within 0.5 m of an object lie within 8 mm of it, then total least squares on those. Draws come from the frame's key
alone. 256 hypotheses on 1500 points take 6 ms.
Source: Fischler and Bolles, "Random sample consensus", CACM 1981.
"""

from __future__ import annotations

import numpy as np

from depthforge.frame import BoolImage, Camera, DepthImage
from depthforge.geometry import Float64, back_project, pixel_rays

__all__ = ["fit_support_plane", "render_plane"]

_HYPOTHESES, _POINTS = 256, 1500
_NEAR_AN_OBJECT_M = 0.5
_INLIER_M = 0.008
_LEAST_SHARE = 0.2
# An object's origin may lie a little below the plane: a thin object, a noisy plane.
_SINK_M = 0.02
_REACH_M = 1.0


def fit_support_plane(
    depth_m: DepthImage, usable: BoolImage, camera: Camera, centres: Float64, rng: np.random.Generator
) -> Float64 | None:
    """Return (4,) n and d of the plane n . p + d = 0 in camera axes, n unit and towards the camera; None when unsure.

    ``usable`` (H, W) marks measurements that are not of objects, ``centres`` (N, 3) the objects' origins, metres.
    """
    if not len(centres):
        return None
    points = back_project(depth_m, camera)[usable].astype(np.float64)
    if len(points) > 8 * _POINTS:
        points = points[rng.choice(len(points), 8 * _POINTS, replace=False)]
    near = np.zeros(len(points), np.bool_)
    for centre in centres:
        near |= ((points - centre) ** 2).sum(axis=1) < _NEAR_AN_OBJECT_M**2
    points = points[near]
    if len(points) < 16:
        return None
    if len(points) > _POINTS:
        points = points[rng.choice(len(points), _POINTS, replace=False)]
    plane = _best_hypothesis(points, centres, rng)
    for _ in range(2):
        if plane is None:
            return None
        inliers = points[np.abs(points @ plane[:3] + plane[3]) < _INLIER_M]
        plane = _least_squares(inliers) if len(inliers) >= max(3.0, _LEAST_SHARE * len(points)) else None
    return plane


def _best_hypothesis(points: Float64, centres: Float64, rng: np.random.Generator) -> Float64 | None:
    a, b, c = points[rng.integers(len(points), size=(_HYPOTHESES, 3))].transpose(1, 0, 2)
    normals = np.cross(b - a, c - a)
    length = np.linalg.norm(normals, axis=1)
    whole = length > 1e-9
    normals, origins = normals[whole] / length[whole, None], a[whole]
    offsets = -np.einsum("nc,nc->n", normals, origins)
    # The camera, at the origin, is at signed distance d.
    sign = np.where(offsets < 0, -1.0, 1.0)
    planes = np.column_stack([normals, offsets]) * sign[:, None]
    planes = planes[((centres @ planes[:, :3].T + planes[:, 3]) > -_SINK_M).all(axis=0)]
    if not len(planes):
        return None
    score = (np.abs(points @ planes[:, :3].T + planes[:, 3]) < _INLIER_M).sum(axis=0)
    best: Float64 = planes[int(score.argmax())]
    return best


def _least_squares(points: Float64) -> Float64:
    middle = points.mean(axis=0)
    normal = np.linalg.svd(points - middle, full_matrices=False)[2][-1]
    plane = np.append(normal, -normal @ middle)
    return plane if plane[3] > 0 else -plane


def render_plane(plane: Float64, camera: Camera, centres: Float64) -> DepthImage:
    """Return planar z (H, W) float32 of the plane up to 1 m from the middle of ``centres``; 0 elsewhere."""
    x, y = pixel_rays(camera)
    along = plane[0] * x[None, :] + plane[1] * y[:, None] + plane[2]
    depth = np.divide(-plane[3], along, out=np.zeros(camera.size), where=along < -1e-6)
    middle = centres.mean(axis=0)
    off = (depth * x[None, :] - middle[0]) ** 2 + (depth * y[:, None] - middle[1]) ** 2 + (depth - middle[2]) ** 2
    depth[off > _REACH_M**2] = 0.0
    return np.asarray(depth, np.float32)
