"""Procedural rooms as BlenderProc's ``write_hdf5`` writes them, by a script that stores ``cam_K`` and the pose.

``<room>/<frame>.hdf5``, gzipped: ``colors``, ``normals`` (0.5 n + 0.5, OpenGL axes), ``instance_segmaps`` with their
attribute map, ``class_segmaps``; every second room has ``distance`` of the mist pass in place of ``depth``. Where a ray
met nothing depth is 1e10 and distance 10000. File numbers are not padded. 0.3 s a frame.
"""

from __future__ import annotations

import io
import json
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from depthforge.frame import Camera, Frame
from depthforge.geometry import normals_from_depth, opencv_to_opengl, z_to_ray_length
from depthforge.labels.vocabularies import class_names
from depthforge.registry import layouts
from depthforge.samples.base import Layout
from depthforge.samples.room_views import RoomViews, colour_of
from depthforge.samples.writing import require_empty, write_file

__all__ = ["BlenderProcLayout"]

# BlenderProc's own field of view, of 640x480.
CAMERA = Camera(888.8889, 888.8889, 319.5, 239.5, 640, 480)
_BACKGROUND, _MIST_END = np.float32(1e10), np.float32(10000)
_VERSION = b"2.8.0"


@layouts.register("blenderproc")
class BlenderProcLayout(Layout):
    """HDF5 frames of BlenderProc (``manifests/blenderproc.yaml``)."""

    def __init__(self, camera: Camera = CAMERA) -> None:
        self._camera = camera

    def write(self, root: Path, *, num_scenes: int, frames_per_scene: int, seed: int) -> int:
        """Write a folder for each room under ``root``; see ``Layout.write``."""
        require_empty(root)
        rooms = RoomViews(num_scenes=num_scenes, frames_per_scene=frames_per_scene, seed=seed)
        for scene in range(num_scenes):
            for number in range(frames_per_scene):
                frame = rooms.see(scene, number, self._camera)
                content = _file(_datasets(frame, is_distance=scene % 2 == 1))
                write_file(root / f"room{scene:04d}" / f"{number}.hdf5", content)
        return num_scenes * frames_per_scene


def _datasets(frame: Frame, *, is_distance: bool) -> dict[str, npt.NDArray[Any] | bytes]:
    camera = frame.camera
    assert frame.T_world_cam is not None
    normals = normals_from_depth(frame.depth_m, frame.valid, camera) * np.array([1, -1, -1], np.float32)
    semantic, instance = frame.labels["semantic"], frame.labels["instance"]
    if is_distance:
        distance = z_to_ray_length(frame.depth_m, camera)
        depth = {"distance": np.where(frame.valid, distance, _MIST_END)}
    else:
        depth = {"depth": np.where(frame.valid, frame.depth_m, _BACKGROUND)}
    names = class_names("nyu40")
    pairs = sorted(set(zip(instance.ravel().tolist(), semantic.ravel().tolist(), strict=True)))
    attributes = [{"idx": idx, "name": f"{names[kind]}.{idx:03d}", "category_id": kind} for idx, kind in pairs]
    return {
        **depth,
        "colors": colour_of(frame),
        "normals": np.float32(0.5) * normals + np.float32(0.5),
        "instance_segmaps": instance.astype(np.uint8),
        "class_segmaps": semantic.astype(np.uint8),
        "instance_attribute_maps": json.dumps(attributes).encode(),
        "cam_K": camera.K,
        "cam2world_matrix": opencv_to_opengl(frame.T_world_cam),
        "blender_proc_version": _VERSION,
    }


def _file(datasets: dict[str, npt.NDArray[Any] | bytes]) -> bytes:
    import h5py

    content = io.BytesIO()
    with h5py.File(content, "w") as file:
        for name, value in datasets.items():
            if isinstance(value, bytes):
                file.create_dataset(name, data=np.bytes_(value))
            else:
                file.create_dataset(name, data=value, compression="gzip")
    return content.getvalue()
