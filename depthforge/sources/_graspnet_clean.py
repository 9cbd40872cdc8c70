"""Clean depth of a GraspNet scene: the objects' models at their annotated poses on the table, ray-cast.

GraspNet ships no clean depth. A scene is built once, in the frame of its table, from the poses of its first image
carried there by that image's camera, and cast from every other camera; the table is a board whose upper side is
z = 0. The poses of each image are held against that scene: where they do not fit, depth would be of another place
than the labels.
"""

from __future__ import annotations

import os
import threading
from collections import OrderedDict
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from depthforge.errors import DecodeError, MissingDataError
from depthforge.frame import Camera
from depthforge.geometry import Float64
from depthforge.raycast import Hits, box
from depthforge.render import Mesh, MeshScene, load_mesh, tessellate
from depthforge.sources._graspnet_files import Objects, PosesFrom, SceneFiles, load_camera_poses, load_objects

__all__ = ["CleanScene", "CleanScenes"]

_SCENES_KEPT = 2
_TABLE_THICKNESS_M = 0.05
_FARTHEST_APART_M, _MOST_TURNED_DEG = 0.01, 3.0
_PLAUSIBLE_MODEL_M = (0.01, 1.0)


class CleanScene(NamedTuple):
    """A scene ready to cast, in its table's frame. ``instance`` (M + 1,) is the label of each mesh; the last: none."""

    meshes: MeshScene
    instance: npt.NDArray[np.uint16]
    T_table_object: dict[int, Float64]

    def cast(self, T_table_cam: Float64, camera: Camera) -> tuple[Hits, npt.NDArray[np.uint16]]:
        """Return what the camera sees, and its instance image (H, W): object id + 1, 0 for the table and nothing."""
        hits = self.meshes.cast(T_table_cam, camera)
        return hits, self.instance[hits.shape]

    def require_fits(self, objects: Objects, T_table_cam: Float64, *, where: object) -> None:
        """Raise DecodeError unless the objects' poses in an image are those of the scene, seen from its camera."""
        ids = objects.ids.tolist()
        if sorted(ids) != sorted(self.T_table_object):
            raise DecodeError(
                "the image has other objects than the first of its scene",
                where=where,
                expected=sorted(self.T_table_object),
                found=sorted(ids),
            )
        expected = np.array([self.T_table_object[number] for number in ids]).reshape(-1, 4, 4)
        found = T_table_cam @ objects.T_cam_object
        apart_m = np.linalg.norm(found[:, :3, 3] - expected[:, :3, 3], axis=1).max(initial=0)
        cosine = (np.einsum("nij,nij->n", found[:, :3, :3], expected[:, :3, :3]).min(initial=3) - 1) / 2
        turned_deg = float(np.rad2deg(np.arccos(np.clip(cosine, -1, 1))))
        if apart_m > _FARTHEST_APART_M or turned_deg > _MOST_TURNED_DEG:
            raise DecodeError(
                "the poses of the objects do not fit the pose of the camera",
                where=where,
                expected=f"as in the first image, to {_FARTHEST_APART_M * 1000:g} mm and {_MOST_TURNED_DEG:g} degrees",
                found=f"{apart_m * 1000:.1f} mm and {turned_deg:.1f} degrees apart",
                remedy="are camera_poses.npy, cam0_wrt_table.npy and the poses of one release and camera?",
            )


class CleanScenes:
    """Builds scenes when they are asked for and keeps the last two, for any thread."""

    def __init__(self, table_size_m: float, poses: PosesFrom) -> None:
        self._table_size_m, self._poses = table_size_m, poses
        self._scenes: OrderedDict[SceneFiles, CleanScene] = OrderedDict()
        self._lock = threading.Lock()

    def scene(self, files: SceneFiles) -> CleanScene:
        """Return a scene; raise DecodeError naming what is missing or broken of it."""
        with self._lock:
            if files not in self._scenes:
                self._scenes[files] = self._build(files)
            self._scenes.move_to_end(files)
            while len(self._scenes) > _SCENES_KEPT:
                self._scenes.popitem(last=False)
            return self._scenes[files]

    def clear(self) -> None:
        """Forget all scenes."""
        with self._lock:
            self._scenes.clear()

    def _build(self, files: SceneFiles) -> CleanScene:
        objects, T_table_cam = self._first(files)
        T_table_object = T_table_cam @ objects.T_cam_object
        meshes = [_load_model(files, int(number)) for number in objects.ids]
        size = (self._table_size_m, self._table_size_m, _TABLE_THICKNESS_M)
        meshes.append(tessellate(box(size, (0, 0, -_TABLE_THICKNESS_M / 2)), 8))
        scene = MeshScene(meshes, np.concatenate([T_table_object, np.eye(4)[None]]))
        instance = np.array([*(objects.ids + 1).tolist(), 0, 0], np.uint16)
        return CleanScene(scene, instance, dict(zip(objects.ids.tolist(), T_table_object, strict=True)))

    def _first(self, files: SceneFiles) -> tuple[Objects, Float64]:
        """Return the objects of the first image that has them, and the pose of its camera."""
        T_table_cam = load_camera_poses(files)
        if T_table_cam is None:
            raise DecodeError("no camera_poses.npy or no cam0_wrt_table.npy", where=files.folder)
        names = {name for kind in ("meta", "annotations") for name in _names_in(files, kind)}
        for name in sorted(names):
            number = int(name[:4])
            objects = load_objects(files, number, self._poses) if number < len(T_table_cam) else None
            if objects is not None:
                return objects, T_table_cam[number]
        raise DecodeError("no image of the scene has the poses of its objects", where=files.folder)


def _load_model(files: SceneFiles, object_id: int) -> Mesh:
    path = files.model(object_id)
    try:
        mesh = load_mesh(path)
    except MissingDataError as error:
        raise DecodeError(
            "an object of the scene has no model",
            where=path,
            remedy="fetch and extract models.zip, or set `depth: raw` in the source block",
        ) from error
    size_m = float(np.ptp(mesh.vertices, axis=0).max())
    if not _PLAUSIBLE_MODEL_M[0] <= size_m <= _PLAUSIBLE_MODEL_M[1]:
        raise DecodeError(
            "the model is not in metres",
            where=path,
            expected=f"{_PLAUSIBLE_MODEL_M[0]:g} to {_PLAUSIBLE_MODEL_M[1]:g} m across",
            found=f"{size_m:.4g}",
            remedy="GraspNet's models are in metres; divide millimetres by 1000",
        )
    return mesh


def _names_in(files: SceneFiles, kind: str) -> list[str]:
    try:
        return [name for name in os.listdir(files.folder / kind) if name[:4].isdecimal()]
    except (FileNotFoundError, NotADirectoryError):
        return []
