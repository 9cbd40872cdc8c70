"""Procedural tables in GraspNet-1Billion's layout: both cameras, models, grasp and collision labels, annotations.

Scenes are numbered so that the first four fall into the four splits (0, 100, 130, 160, then 1, 101, ...). Depth is
uint16 millimetres as a simulated structured-light sensor took it; object poses are rounded as GraspNet rounds them
(0.1 mm) and the .mat and .xml of an image say the same. Grasp labels come from the geometry of the models
(``grasp_labels``) at 6 points of each object, where GraspNet has thousands; rectangles are the grasps that an image
sees from behind. A scene has 256 images a camera in GraspNet and as many as asked for here. About 0.6 s and 2.5 MB
an image, 1 s and 0.3 MB an object.
Source: graspnet.net and graspnet/graspnetAPI, for what the files hold.
"""

from __future__ import annotations

import io
from collections.abc import Sequence
from pathlib import Path
from typing import Any
from xml.sax.saxutils import escape

import numpy as np
import numpy.typing as npt

from depthforge.frame import Camera, Frame
from depthforge.geometry import Float64, invert_pose, quaternion_from_rotation, rotation_from_quaternion
from depthforge.labels.resize import resize_camera
from depthforge.registry import layouts
from depthforge.samples.base import Layout
from depthforge.samples.grasp_labels import GraspLabels, collides, label_grasps, surface_points
from depthforge.samples.ply import ply_bytes
from depthforge.samples.writing import png, require_empty, write_file
from depthforge.scenes.raycast import Shape, cast
from depthforge.scenes.tabletop import Tabletop, build_tabletop, object_mesh, object_model
from depthforge.seeding import frame_generator, frame_words
from depthforge.sensors.structured_light import StructuredLight
from depthforge.sources.graspnet.files import NOMINAL_K, CameraName, SceneFiles
from depthforge.sources.graspnet.grasps import grasp_rows, to_camera

__all__ = ["GraspNetLayout"]

_SIZE = (1280, 720)
_UNITS_PER_METRE = 1000.0
_FIRST_SCENES = (0, 100, 130, 160)
_POINTS_PER_OBJECT = 6
_DISTANCE_M = (0.4, 0.65)
_MOST_RECTANGLES = 60
_MOST_TILTED = np.cos(np.deg2rad(35.0))


@layouts.register("graspnet")
class GraspNetLayout(Layout):
    """GraspNet's tree, with images of 1280 x 720 divided by ``shrink``."""

    def __init__(self, shrink: int = 1) -> None:
        self._size = (_SIZE[0] // shrink, _SIZE[1] // shrink)

    def write(self, root: Path, *, num_scenes: int, frames_per_scene: int, seed: int) -> int:
        """Write the scenes under ``root`` and return the number of images of both cameras.

        Raises InputError unless ``root`` is empty.
        """
        require_empty(root)
        labels: dict[int, GraspLabels] = {}
        for scene in range(num_scenes):
            number = _FIRST_SCENES[scene % 4] + scene // 4
            rng = frame_generator(seed, f"graspnet/scene_{number:04d}", "tabletop")
            table = build_tabletop(rng)
            for model in table.model_of.values():
                if model not in labels:
                    labels[model] = _write_object(root, model, seed)
            files = SceneFiles(root, number, "kinect")
            collision = _write_collisions(files, table, labels)
            usable = {
                instance: _usable_rows(labels[model], collision[instance], model)
                for instance, model in table.model_of.items()
            }
            poses = table.camera_poses(rng, frames_per_scene, _DISTANCE_M)
            T_kinect_realsense = _beside()
            both = np.broadcast_to(T_kinect_realsense, (frames_per_scene, 4, 4))
            write_file(files.scene / "rs_wrt_kn.npy", _npy(both))
            _write_camera(files, table, poses, usable, self._size, seed)
            realsense = SceneFiles(root, number, "realsense")
            _write_camera(realsense, table, poses @ T_kinect_realsense, usable, self._size, seed)
        return 2 * num_scenes * frames_per_scene


def _beside() -> Float64:
    """Return the pose of the RealSense on its bracket, seen from the Kinect."""
    T = np.eye(4)
    T[:3, :3] = rotation_from_quaternion((1.0, 0.01, -0.02, 0.005))
    T[:3, 3] = 0.06, -0.02, 0.01
    return T


def _write_object(root: Path, model: int, seed: int) -> GraspLabels:
    """Write a model and its grasp labels, and return the labels."""
    write_file(root / "models" / f"{model:03d}" / "nontextured.ply", ply_bytes(object_mesh(model)))
    solids = _solids(model)
    rng = frame_generator(seed, f"graspnet/{model:03d}", "grasp points")
    points, normals = surface_points(object_mesh(model), solids, _POINTS_PER_OBJECT, rng)
    labels = label_grasps(points, normals, solids)
    write_file(root / "grasp_label" / f"{model:03d}_labels.npz", _npz(**labels._asdict()))
    return labels


def _solids(model: int) -> list[Shape]:
    return [shape for shape, _ in object_model(model)]


def _write_collisions(
    files: SceneFiles, table: Tabletop, labels: dict[int, GraspLabels]
) -> dict[int, npt.NDArray[np.bool_]]:
    """Write the list of objects and, in its order, which of their grasps collide; return these by instance."""
    placed = {
        instance: [solid.placed(T) for solid in _solids(table.model_of[instance])]
        for instance, T in table.T_world_object.items()
    }
    collision = {}
    for instance, T_table_object in table.T_world_object.items():
        others = [solid for other, solids in placed.items() if other != instance for solid in solids]
        collision[instance] = collides(labels[table.model_of[instance]], T_table_object, others)
    ids = "".join(f"{model}\n" for model in table.model_of.values())
    write_file(files.scene / "object_id_list.txt", ids.encode())
    arrays = {f"arr_{k}": mask for k, mask in enumerate(collision.values())}
    write_file(files.root / "collision_label" / files.name / "collision_labels.npz", _npz(**arrays))
    return collision


def _usable_rows(labels: GraspLabels, collision: npt.NDArray[np.bool_], model: int) -> npt.NDArray[np.float32]:
    at = np.nonzero((labels.scores > 0) & ~collision)
    angle, depth, width = labels.offsets[at].T
    return grasp_rows(labels.points[at[0]], at[1], angle, depth, width, labels.scores[at], model)


def _write_camera(
    files: SceneFiles,
    table: Tabletop,
    T_table_cam: Float64,
    usable: dict[int, npt.NDArray[np.float32]],
    size: tuple[int, int],
    seed: int,
) -> None:
    """Write all that one camera has of a scene."""
    camera = _camera(files.camera, size)
    sensor = StructuredLight(preset="kinect_v1_published")
    T_cam0_table = invert_pose(T_table_cam[0]) if len(T_table_cam) else np.eye(4)
    write_file(files.folder / "camK.npy", _npy(camera.K))
    write_file(files.folder / "camera_poses.npy", _npy(T_cam0_table @ T_table_cam))
    write_file(files.folder / "cam0_wrt_table.npy", _npy(invert_pose(T_cam0_table)))
    label_of = np.zeros(len(table.model_of) + 3, np.uint8)
    for instance, model in table.model_of.items():
        label_of[instance] = model + 1
    for number, pose in enumerate(T_table_cam):
        hits = cast(table.scene, pose, camera)
        key = f"graspnet/{files.name}/{files.camera}-{number:04d}"
        seen = Frame(key, hits.depth_m, hits.valid, camera)
        measured = sensor.measure(seen, frame_words(seed, key, "sensor"))
        write_file(files.image("rgb", number), png(table.colour(hits, pose, camera)))
        write_file(files.image("depth", number), png(np.rint(measured.depth_m * _UNITS_PER_METRE).astype(np.uint16)))
        write_file(files.image("label", number), png(label_of[table.instance[hits.shape]]))
        T_cam_object = _write_poses(files, number, table, pose, camera)
        grasps = [to_camera(usable[k], T) for k, T in zip(table.model_of, T_cam_object, strict=True)]
        write_file(files.folder / "rect" / f"{number:04d}.npy", _npy(_rectangles(np.concatenate(grasps), camera)))


def _camera(name: CameraName, size: tuple[int, int]) -> Camera:
    return resize_camera(Camera(*NOMINAL_K[name], *_SIZE), *size)


def _write_poses(files: SceneFiles, number: int, table: Tabletop, pose: Float64, camera: Camera) -> Float64:
    """Write annotation and meta file of an image, and return the poses (N, 4, 4) that they state."""
    T_cam_object, elements = [], []
    for instance, T_table_object in table.T_world_object.items():
        exact = invert_pose(pose) @ T_table_object
        position = [f"{value:.4f}" for value in exact[:3, 3]]
        quaternion = [f"{value:.6f}" for value in quaternion_from_rotation(exact[:3, :3])]
        elements.append(_annotation(table.model_of[instance], position, quaternion))
        stated = np.eye(4)
        stated[:3, :3] = rotation_from_quaternion([float(text) for text in quaternion])
        stated[:3, 3] = [float(text) for text in position]
        T_cam_object.append(stated)
    text = f'<?xml version="1.0" encoding="utf-8"?>\n<scene>\n{"".join(elements)}</scene>\n'
    write_file(files.folder / "annotations" / f"{number:04d}.xml", text.encode())
    poses = np.array(T_cam_object).reshape(-1, 4, 4)
    meta = {
        "cls_indexes": np.array([[model + 1 for model in table.model_of.values()]], np.int64),
        "poses": np.moveaxis(poses[:, :3], 0, 2).astype(np.float32),
        "intrinsic_matrix": camera.K,
        "factor_depth": np.array([[_UNITS_PER_METRE]]),
    }
    write_file(files.folder / "meta" / f"{number:04d}.mat", _mat(meta))
    return poses


def _annotation(model: int, position: Sequence[str], quaternion: Sequence[str]) -> str:
    fields = {
        "obj_id": str(model),
        "obj_name": f"{model:03d}.ply",
        "obj_path": f"models/{model:03d}/nontextured.ply",
        "pos_in_world": " ".join(position),
        "ori_in_world": " ".join(quaternion),
    }
    lines = "".join(f"    <{name}>{escape(value)}</{name}>\n" for name, value in fields.items())
    return f"  <obj>\n{lines}  </obj>\n"


def _rectangles(grasps: npt.NDArray[np.float32], camera: Camera) -> npt.NDArray[np.float32]:
    """Return the grasps (N, 17) of a camera that approach along its view as rectangles (M, 7), the best first."""
    ahead = np.flatnonzero((grasps[:, 10] > _MOST_TILTED) & (grasps[:, 15] > 0))
    chosen = grasps[ahead[np.argsort(-grasps[ahead, 0], kind="stable")][:_MOST_RECTANGLES]].astype(np.float64)
    centre = chosen[:, 13:16]
    opened = centre + chosen[:, [5, 8, 11]] * chosen[:, 1:2] / 2
    focal, principal = (camera.fx, camera.fy), (camera.cx, camera.cy)
    at, to = (point[:, :2] / point[:, 2:] * focal + principal for point in (centre, opened))
    height_px = chosen[:, 2:3] * camera.fx / centre[:, 2:]
    return np.hstack([at, to, height_px, chosen[:, :1], chosen[:, 16:]]).astype(np.float32)


def _npy(array: npt.NDArray[np.generic]) -> bytes:
    buffer = io.BytesIO()
    np.save(buffer, array)
    return buffer.getvalue()


def _npz(**arrays: npt.NDArray[np.generic]) -> bytes:
    buffer = io.BytesIO()
    np.savez_compressed(buffer, **arrays)  # type: ignore[arg-type]
    return buffer.getvalue()


def _mat(values: dict[str, Any]) -> bytes:
    from scipy.io import savemat

    buffer = io.BytesIO()
    savemat(buffer, values, do_compression=True)
    # The header says when and where it was written: put what is always the same.
    content = bytearray(buffer.getvalue())
    content[:116] = b"MATLAB 5.0 MAT-file".ljust(116)
    return bytes(content)
