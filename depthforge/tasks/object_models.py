"""Models of objects, for figures that want their shape: points, diameter, and how they look the same when turned.

Folders of models as BOP, LineMOD and GraspNet lay them out. Only BOP's ``models_info.json`` says symmetries; without it
an object has none here, and ADD-S, which needs no list of them, is the figure to look at.
Source: the BOP toolkit's format of data sets.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, Final, NamedTuple

import numpy as np

from depthforge.errors import DecodeError, MissingDataError
from depthforge.geometry import Float64, quaternion_from_rotation
from depthforge.meshes import load_mesh
from depthforge.tasks.rotations import NO_SYMMETRY, Symmetry

__all__ = ["ObjectModel", "load_object_model"]

_MM: Final = 1e-3
# The name of a model's file by the object's id, and metres in a unit of its vertices.
_LAYOUTS: Final = (("obj_{:06d}.ply", _MM), ("obj_{:02d}.ply", _MM), ("{:03d}/nontextured.ply", 1.0))
_MOST_POINTS: Final = 1000


class ObjectModel(NamedTuple):
    """An object's ``points_m`` (N, 3), at most 1000 of its vertices, its diameter and its symmetry."""

    points_m: Float64
    diameter_m: float
    symmetry: Symmetry


def load_object_model(folder: Path, object_id: int) -> ObjectModel:
    """Return the model of an object out of a folder of models.

    Raises MissingDataError when there is none, DecodeError when it or ``models_info.json`` cannot be read, and
    MissingDependencyError without Open3D.
    """
    for name, metres_per_unit in _LAYOUTS:
        path = folder / name.format(object_id)
        if path.is_file():
            vertices = load_mesh(path, metres_per_unit=metres_per_unit).vertices.astype(np.float64)
            break
    else:
        raise MissingDataError(
            f"there is no model of object {object_id}",
            where=folder,
            expected=" or ".join(name.format(object_id) for name, _ in _LAYOUTS),
            remedy="name the folder of the data set's models, or leave `models` out",
        )
    points = vertices[:: -(-len(vertices) // _MOST_POINTS)]
    info = _info(folder, object_id)
    diameter_m = float(info["diameter"]) * _MM if "diameter" in info else _diameter(vertices)
    return ObjectModel(points, diameter_m, _symmetry(info, folder))


def _info(folder: Path, object_id: int) -> dict[str, Any]:
    path = folder / "models_info.json"
    if not path.is_file():
        return {}
    try:
        return dict(json.loads(path.read_text()).get(str(object_id), {}))
    except (ValueError, TypeError, AttributeError) as error:
        raise DecodeError("the list of models cannot be read", where=path, found=error) from None


def _symmetry(info: dict[str, Any], folder: Path) -> Symmetry:
    try:
        turns = [
            quaternion_from_rotation(np.asarray(matrix, np.float64).reshape(4, 4)[:3, :3])
            for matrix in info.get("symmetries_discrete", [])
        ]
        axes = [np.asarray(each["axis"], np.float64).reshape(3) for each in info.get("symmetries_continuous", [])]
    except (ValueError, TypeError, KeyError) as error:
        raise DecodeError(
            "the symmetries of a model cannot be read", where=folder / "models_info.json", found=error
        ) from None
    axis = axes[0] / np.linalg.norm(axes[0]) if axes else None
    return Symmetry(np.concatenate([NO_SYMMETRY.turns, np.reshape(turns, (-1, 4))]), axis)


def _diameter(vertices: Float64) -> float:
    from scipy.spatial import ConvexHull
    from scipy.spatial.distance import pdist

    return float(pdist(vertices[ConvexHull(vertices).vertices]).max())
