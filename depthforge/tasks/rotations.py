"""Rotations as unit quaternions w, x, y, z: the loss, the error, the error of what looks alike when turned, and ADD.

A quaternion and its negative are one rotation, so a label's sign is that of the prediction. An object that looks the
same after some rotations of its own frame has as many right answers: the smallest error over them is what can be asked.

Sources: Bousmalis et al., CVPR 2017 (the angle between rotations as the error of a crop's pose); Hinterstoisser et al.,
ACCV 2012 (ADD, and ADD-S for symmetric objects); the BOP toolkit's models_info.json for what symmetries are.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from depthforge.geometry import Float64

__all__ = [
    "NO_SYMMETRY",
    "Symmetry",
    "add_m",
    "adds_m",
    "least_error_deg",
    "quaternion_loss",
    "ray_rotation",
    "rotation_error_deg",
]


class Symmetry(NamedTuple):
    """Rotations of an object's own frame that leave it as it is.

    ``turns`` (S, 4) are single ones, the identity among them; ``axis`` (3,), of unit length, one about which any turn
    does; None where there is none.
    """

    turns: Float64
    axis: Float64 | None = None


NO_SYMMETRY = Symmetry(np.array([[1.0, 0.0, 0.0, 0.0]]))


def quaternion_loss(predicted: Tensor, target: Tensor) -> Tensor:
    """Return the mean squared difference of unit quaternions (B, 4), each target with the prediction's sign."""
    sign = torch.where((predicted.detach() * target).sum(dim=1, keepdim=True) < 0, -1.0, 1.0)
    return (predicted - sign * target).square().mean()


def rotation_error_deg(a: npt.ArrayLike, b: npt.ArrayLike) -> Float64:
    """Return the angle (...) in degrees, 0 to 180, between rotations that are unit quaternions (..., 4).

    It is 2 acos |a . b|, in a form that is exact near 0 as well.
    """
    first, second = np.asarray(a, np.float64), np.asarray(b, np.float64)
    apart, together = np.linalg.norm(first - second, axis=-1), np.linalg.norm(first + second, axis=-1)
    least, most = np.minimum(apart, together), np.maximum(apart, together)
    return np.asarray(np.rad2deg(4 * np.arctan2(least, most)))


def least_error_deg(predicted: npt.ArrayLike, target: npt.ArrayLike, symmetry: Symmetry) -> float:
    """Return the smallest angle in degrees between a rotation (4,) and the ones that an object's symmetry makes equal.

    Both are object-to-camera.
    """
    # What is left to turn, in the object's frame: a symmetry of the object is no error.
    relative = _product(_conjugate(np.asarray(target, np.float64)), np.asarray(predicted, np.float64))
    left = _product(_conjugate(symmetry.turns), relative)
    if symmetry.axis is None:
        return float(rotation_error_deg(left, NO_SYMMETRY.turns).min())
    # The turn about the axis that comes nearest takes w and the part of the vector along the axis with it.
    along = left[:, 1:] @ symmetry.axis
    across = np.linalg.norm(left[:, 1:] - along[:, None] * symmetry.axis, axis=1)
    return float(np.rad2deg(2 * np.arctan2(across, np.hypot(left[:, 0], along))).min())


def ray_rotation(point: npt.ArrayLike) -> Float64:
    """Return the least rotation (3, 3) that turns the camera's axis to the ray of a ``point`` (3,) before the camera.

    ``ray_rotation(t).T @ R`` is how an object at t, turned by R, looks in a crop around it (allocentric).
    """
    x, y, z = np.asarray(point, np.float64) / np.linalg.norm(point)
    return np.array(
        [[1 - x * x / (1 + z), -x * y / (1 + z), x], [-x * y / (1 + z), 1 - y * y / (1 + z), y], [-x, -y, z]]
    )


def add_m(points_m: Float64, predicted: Float64, target: Float64) -> float:
    """Return the mean distance in metres of a model's points (N, 3) under two rotations (3, 3): ADD of the rotation.

    Both poses have the same translation, so only the rotation is judged.
    """
    return float(np.linalg.norm(points_m @ (predicted - target).T, axis=1).mean())


def adds_m(points_m: Float64, predicted: Float64, target: Float64) -> float:
    """Return as :func:`add_m` the mean distance to the nearest point of the target's, whichever it is: ADD-S."""
    from scipy.spatial import cKDTree

    distance, _ = cKDTree(points_m @ target.T).query(points_m @ predicted.T)
    return float(np.mean(distance))


def _conjugate(q: Float64) -> Float64:
    return np.asarray(q * (1.0, -1.0, -1.0, -1.0))


def _product(a: Float64, b: Float64) -> Float64:
    """Return the Hamilton product of quaternions (..., 4)."""
    w1, x1, y1, z1 = np.moveaxis(np.atleast_2d(a), -1, 0)
    w2, x2, y2, z2 = np.moveaxis(np.atleast_2d(b), -1, 0)
    product = [
        w1 * w2 - x1 * x2 - y1 * y2 - z1 * z2,
        w1 * x2 + x1 * w2 + y1 * z2 - z1 * y2,
        w1 * y2 - x1 * z2 + y1 * w2 + z1 * x2,
        w1 * z2 + x1 * y2 - y1 * x2 + z1 * w2,
    ]
    return np.stack(product, axis=-1)
