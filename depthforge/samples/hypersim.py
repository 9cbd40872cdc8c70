"""Procedural rooms in Hypersim's layout: ray lengths and positions as float16, asset units, tilted cameras.

Even rooms have the standard camera (60 degrees across); odd ones one that is tilted by 3 degrees and shifted, as 285 of
Hypersim's 482 scenes are. Where a ray leaves through a window there is NaN, and -1 as its class. The table of the
cameras lies beside the scenes; colour is the tone-mapped preview alone. 0.6 s and 4 MB a frame.
Source: apple/ml-hypersim, README and ``contrib/mikeroberts3000``.
"""

from __future__ import annotations

import io
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from depthforge.frame import Camera, Frame
from depthforge.geometry import Float64, back_project, normals_from_depth, z_to_ray_length
from depthforge.registry import layouts
from depthforge.samples.base import Layout
from depthforge.samples.room_views import RoomViews, colour_of
from depthforge.samples.writing import require_empty, rgb_jpeg, write_file

__all__ = ["HypersimLayout", "hdf5_bytes", "uv_matrix"]

CAMERA = Camera(886.8100134752651, 886.8100134752651, 511.5, 383.5, 1024, 768)
_TILT_DEG = 3.0
_METRES_PER_UNIT = 0.0254
_FLIP = np.diag([1.0, -1.0, -1.0])


@layouts.register("hypersim")
class HypersimLayout(Layout):
    """Hypersim's scenes and the table of their cameras; the camera may be made smaller for tests."""

    def __init__(self, camera: Camera = CAMERA) -> None:
        self._camera = camera

    def write(self, root: Path, *, num_scenes: int, frames_per_scene: int, seed: int) -> int:
        """Write every room under ``root``; see ``Layout.write``."""
        require_empty(root)
        rooms = RoomViews(num_scenes=num_scenes, frames_per_scene=frames_per_scene, seed=seed)
        names = ["scene_name", "settings_output_img_width", "settings_output_img_height"]
        rows = [names + [f"M_cam_from_uv_{row}{column}" for row in range(3) for column in range(3)]]
        for scene in range(num_scenes):
            name = f"ai_{scene:03d}_001"
            camera, turn = self._camera_of(scene)
            numbers = [repr(float(value)) for value in np.ravel(uv_matrix(camera, turn))]
            rows.append([name, str(camera.width), str(camera.height), *numbers])
            frames = [rooms.see(scene, number, camera) for number in range(frames_per_scene)]
            _write_scene(root / name, frames, turn)
        write_file(root / "metadata_camera_parameters.csv", "".join(",".join(row) + "\n" for row in rows))
        return num_scenes * frames_per_scene

    def _camera_of(self, scene: int) -> tuple[Camera, Float64]:
        """Return a room's pinhole and its rotation in the axes of the camera that the data set states."""
        camera = self._camera
        if scene % 2 == 0:
            return camera, np.eye(3)
        s, c = np.sin(np.deg2rad(_TILT_DEG)), np.cos(np.deg2rad(_TILT_DEG))
        shifted = replace(camera, cx=camera.cx + 0.06 * camera.width, cy=camera.cy - 0.1 * camera.height)
        return shifted, np.array([[1.0, 0.0, 0.0], [0.0, c, -s], [0.0, s, c]])


def uv_matrix(camera: Camera, R_stored_cam: Float64) -> Float64:
    """Return M_cam_from_uv (3, 3) of a pinhole that is turned in the axes of the data set's camera."""
    width, height = camera.width, camera.height
    D = np.array([[2 / width, 0, 1 / width - 1], [0, -2 / height, 1 - 1 / height], [0, 0, 1]])
    return np.asarray(_FLIP @ R_stored_cam @ np.linalg.inv(camera.K) @ np.linalg.inv(D))


def hdf5_bytes(array: npt.NDArray[Any]) -> bytes:
    """Return an HDF5 file with one compressed data set called ``dataset``."""
    import h5py

    buffer = io.BytesIO()
    with h5py.File(buffer, "w") as file:
        file.create_dataset("dataset", data=array, compression="gzip")
    return buffer.getvalue()


def _write_scene(folder: Path, frames: list[Frame], turn: Float64) -> None:
    poses = np.stack([np.asarray(frame.T_world_cam) for frame in frames])
    stored = {
        "orientations": poses[:, :3, :3] @ turn.T @ _FLIP,
        "positions": poses[:, :3, 3] / _METRES_PER_UNIT,
        "frame_indices": np.arange(len(frames)),
    }
    for kind, values in stored.items():
        write_file(folder / f"_detail/cam_00/camera_keyframe_{kind}.hdf5", hdf5_bytes(values))
    unit = f"parameter_name,parameter_value\nmeters_per_asset_unit,{_METRES_PER_UNIT}\n"
    write_file(folder / "_detail/metadata_scene.csv", unit)
    write_file(folder / "_detail/metadata_cameras.csv", "camera_name\ncam_00\n")
    for number, frame in enumerate(frames):
        for kind, values in _geometry(frame, turn).items():
            path = f"images/scene_cam_00_geometry_hdf5/frame.{number:04d}.{kind}.hdf5"
            write_file(folder / path, hdf5_bytes(values))
        preview = folder / f"images/scene_cam_00_final_preview/frame.{number:04d}.tonemap.jpg"
        write_file(preview, rgb_jpeg(colour_of(frame)))


def _geometry(frame: Frame, turn: Float64) -> dict[str, npt.NDArray[Any]]:
    nothing = ~frame.valid
    pose = np.asarray(frame.T_world_cam)
    position = (back_project(frame.depth_m, frame.camera) @ pose[:3, :3].T + pose[:3, 3]) / _METRES_PER_UNIT
    normals = normals_from_depth(frame.depth_m, frame.valid, frame.camera) @ (turn.T @ _FLIP)
    ray_m = z_to_ray_length(frame.depth_m, frame.camera)
    return {
        "depth_meters": np.where(nothing, np.nan, ray_m).astype(np.float16),
        "position": np.where(nothing[..., None], np.nan, position).astype(np.float16),
        "normal_cam": normals.astype(np.float16),
        "semantic": _ids(frame.labels["semantic"]),
        "semantic_instance": _ids(frame.labels["instance"]),
    }


def _ids(ids: npt.NDArray[np.generic]) -> npt.NDArray[np.int16]:
    signed = ids.astype(np.int16)
    return np.where(signed == 0, np.int16(-1), signed)
