"""What lies where in a GraspNet-1Billion tree, and its small files: poses, cameras, object lists, rectangle grasps.

    scenes/scene_%04d/{kinect,realsense}/{rgb,depth,label}/%04d.png, rect/%04d.npy, annotations/%04d.xml, meta/%04d.mat
    scenes/scene_%04d/{kinect,realsense}/{camK,camera_poses,cam0_wrt_table}.npy, scenes/scene_%04d/object_id_list.txt
    models/%03d/nontextured.ply, grasp_label/%03d_labels.npz, collision_label/scene_%04d/collision_labels.npz

An image's objects are in its .mat (ids count from 1 there, as in the label images) and its .xml (from 0); both give
object-to-camera, whatever ``pos_in_world`` says. A .mat takes 0.7 ms to read, a .xml 0.4 ms.
Source: graspnet/graspnetAPI `graspnet.py` and `utils/xmlhandler.py`, graspnet/graspnet-baseline `graspnet_dataset.py`.
"""

from __future__ import annotations

import io
import xml.etree.ElementTree as ET
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, TypeAlias

import numpy as np
import numpy.typing as npt

from depthforge.errors import DecodeError, InputError
from depthforge.frame import Camera
from depthforge.geometry import Float64, rotation_from_quaternion
from depthforge.sources.conventions import first_not_rigid
from depthforge.sources.npy import load_npy

__all__ = [
    "FRAMES_PER_SCENE",
    "NOMINAL_K",
    "NUM_OBJECTS",
    "SPLITS",
    "CameraName",
    "Objects",
    "PosesFrom",
    "SceneFiles",
    "SplitName",
    "load_camera",
    "load_camera_poses",
    "load_object_ids",
    "load_objects",
    "load_rect_grasps",
]

CameraName: TypeAlias = Literal["kinect", "realsense"]
SplitName: TypeAlias = Literal["train", "test_seen", "test_similar", "test_novel"]
PosesFrom: TypeAlias = Literal["auto", "meta", "annotations"]
SPLITS: dict[SplitName, range] = {
    "train": range(100),
    "test_seen": range(100, 130),
    "test_similar": range(130, 160),
    "test_novel": range(160, 190),
}
NUM_OBJECTS = 88
FRAMES_PER_SCENE = 256
# fx, fy, cx, cy; graspnetAPI utils/utils.py
NOMINAL_K: dict[CameraName, tuple[float, float, float, float]] = {
    "kinect": (631.55, 631.21, 638.43, 366.50),
    "realsense": (927.17, 927.37, 651.32, 349.62),
}
_DEFAULT_UNITS_PER_METRE = 1000.0
# Farther from the camera, or from the table, nothing of this data set is.
_FARTHEST_M = 5.0
_FETCH_AGAIN = "extract the archive of the scene again"


@dataclass(frozen=True, slots=True)
class SceneFiles:
    """The paths of one scene seen by one camera."""

    root: Path
    number: int
    camera: CameraName

    @property
    def name(self) -> str:
        """As GraspNet names it: scene_0000."""
        return f"scene_{self.number:04d}"

    @property
    def scene(self) -> Path:
        return self.root / "scenes" / self.name

    @property
    def folder(self) -> Path:
        return self.scene / self.camera

    def image(self, kind: Literal["rgb", "depth", "label"], frame: int) -> Path:
        return self.folder / kind / f"{frame:04d}.png"

    def model(self, object_id: int) -> Path:
        return self.root / "models" / f"{object_id:03d}" / "nontextured.ply"


@dataclass(frozen=True, slots=True, eq=False)
class Objects:
    """The objects of an image: ids (N,) from 0, T_cam_object (N, 4, 4) metres, and depth units a metre if stated."""

    ids: npt.NDArray[np.uint32]
    T_cam_object: Float64
    units_per_metre: float = _DEFAULT_UNITS_PER_METRE
    K: Float64 | None = None


def load_objects(files: SceneFiles, frame: int, which: PosesFrom) -> Objects | None:
    """Return what the .mat (``meta``) or the .xml (``annotations``) of an image says; ``auto``: the first that exists.

    None when there is no such file; DecodeError when it is damaged, or its poses are not rigid or not in metres.
    """
    if which != "annotations":
        path = files.folder / "meta" / f"{frame:04d}.mat"
        data = _read_if_there(path)
        if data is not None:
            return _sound(_parse_meta(data, path), path)
    if which != "meta":
        path = files.folder / "annotations" / f"{frame:04d}.xml"
        data = _read_if_there(path)
        if data is not None:
            return _sound(_parse_annotations(data, path), path)
    return None


def load_camera(files: SceneFiles, size: tuple[int, int], objects: Objects | None) -> Camera:
    """Return the camera: of camK.npy, else of the image's .mat, else GraspNet's nominal one. ``size`` is (h, w)."""
    path = files.folder / "camK.npy"
    K = _load_npy(path, (3, 3))
    if K is None and objects is not None:
        K = objects.K
    fx, fy, cx, cy = NOMINAL_K[files.camera] if K is None else K[[0, 1, 0, 1], [0, 1, 2, 2]].tolist()
    height, width = size
    if not (fx > 0 and fy > 0 and 0 < cx < width and 0 < cy < height):
        raise DecodeError(
            "the intrinsics do not fit the image",
            where=path,
            expected=f"a principal point within {width} x {height} pixels",
            found=f"fx {fx:g}, fy {fy:g}, cx {cx:g}, cy {cy:g}",
            remedy="set `width` and `height` of the source to the size of the images",
        )
    return Camera(fx, fy, cx, cy, width, height)


def load_camera_poses(files: SceneFiles) -> Float64 | None:
    """Return T_table_cam (F, 4, 4) of every image: cam0_wrt_table @ camera_poses; None when one of the two is missing.

    Raises DecodeError when one is damaged, not rigid or not in metres.
    """
    poses_path, table_path = files.folder / "camera_poses.npy", files.folder / "cam0_wrt_table.npy"
    T_cam0_cam, T_table_cam0 = _load_npy(poses_path, (None, 4, 4)), _load_npy(table_path, (4, 4))
    if T_cam0_cam is None or T_table_cam0 is None:
        return None
    for T, path in ((T_cam0_cam, poses_path), (T_table_cam0[None], table_path)):
        _require_poses(T, path)
    return np.asarray(T_table_cam0 @ T_cam0_cam, np.float64)


def load_object_ids(files: SceneFiles) -> list[int] | None:
    """Return object_id_list.txt, whose order is that of the collision arrays; None when there is none."""
    path = files.scene / "object_id_list.txt"
    data = _read_if_there(path)
    if data is None:
        return None
    words = data.decode(errors="replace").split()
    if not words or not all(word.isdecimal() and int(word) < NUM_OBJECTS for word in words):
        raise DecodeError(
            "not a list of objects",
            where=path,
            expected=f"whole numbers, 0 to {NUM_OBJECTS - 1}",
            found=" ".join(words)[:80] or "nothing",
            remedy=_FETCH_AGAIN,
        )
    return [int(word) for word in words]


def load_rect_grasps(files: SceneFiles, frame: int) -> npt.NDArray[np.float32] | None:
    """Return the rectangle grasps of an image (N, 7) float32; None when there is no file; DecodeError."""
    grasps = _load_npy(files.folder / "rect" / f"{frame:04d}.npy", (None, 7))
    return None if grasps is None else grasps.astype(np.float32)


def _parse_meta(data: bytes, path: Path) -> Objects:
    from scipy.io import loadmat

    try:
        meta = loadmat(io.BytesIO(data))
        poses, classes = np.asarray(meta["poses"], np.float64), np.asarray(meta["cls_indexes"]).ravel()
        if poses.ndim == 2:  # MATLAB drops a last axis of length 1
            poses = poses[..., None]
        if poses.shape != (3, 4, len(classes)):
            raise ValueError(f"poses {poses.shape} for {len(classes)} objects")
        units = float(np.asarray(meta["factor_depth"]).item()) if "factor_depth" in meta else _DEFAULT_UNITS_PER_METRE
        K = np.asarray(meta["intrinsic_matrix"], np.float64).reshape(3, 3) if "intrinsic_matrix" in meta else None
    except Exception as error:  # loadmat lets almost anything through for damaged files
        raise DecodeError(
            "the meta file cannot be read",
            where=path,
            expected="cls_indexes (N), poses (3, 4, N), factor_depth, intrinsic_matrix",
            found=f"{type(error).__name__}: {error}",
            remedy=_FETCH_AGAIN,
        ) from None
    if not 1.0 <= units <= 100_000.0:
        raise DecodeError("factor_depth is not a number of units a metre", where=path, expected="1000", found=units)
    T_cam_object = np.tile(np.eye(4), (len(classes), 1, 1))
    T_cam_object[:, :3] = np.moveaxis(poses, 2, 0)
    return Objects(_ids(classes.astype(np.int64) - 1, path), T_cam_object, units, K)


def _parse_annotations(data: bytes, path: Path) -> Objects:
    try:
        elements = ET.fromstring(data).findall("obj")
        ids = np.array([int(_text(element, "obj_id")) for element in elements], np.int64)
        positions = np.array([_numbers(element, "pos_in_world", 3) for element in elements], np.float64).reshape(-1, 3)
        quaternions = np.array([_numbers(element, "ori_in_world", 4) for element in elements], np.float64)
        rotations = rotation_from_quaternion(quaternions.reshape(-1, 4))
    except (ET.ParseError, ValueError, InputError) as error:
        raise DecodeError(
            "the annotation cannot be read",
            where=path,
            expected="<obj> elements with obj_id, pos_in_world (x y z) and ori_in_world (w x y z)",
            found=error,
            remedy=_FETCH_AGAIN,
        ) from None
    T_cam_object = np.tile(np.eye(4), (len(ids), 1, 1))
    T_cam_object[:, :3, :3], T_cam_object[:, :3, 3] = rotations, positions
    return Objects(_ids(ids, path), T_cam_object)


def _text(element: ET.Element, name: str) -> str:
    text = element.findtext(name)
    if text is None:
        raise ValueError(f"an object without {name}")
    return text


def _numbers(element: ET.Element, name: str, count: int) -> list[float]:
    numbers = [float(word) for word in _text(element, name).split()]
    if len(numbers) != count:
        raise ValueError(f"{name} has {len(numbers)} numbers, not {count}")
    return numbers


def _ids(ids: npt.NDArray[np.int64], path: Path) -> npt.NDArray[np.uint32]:
    if ids.size and not (ids.min() >= 0 and ids.max() < NUM_OBJECTS):
        raise DecodeError("unknown objects", where=path, expected=f"ids 0 to {NUM_OBJECTS - 1}", found=ids.tolist())
    return ids.astype(np.uint32)


def _sound(objects: Objects, path: Path) -> Objects:
    _require_poses(objects.T_cam_object, path)
    return objects


def _require_poses(T: Float64, path: Path) -> None:
    """Raise DecodeError unless ``T`` (N, 4, 4) are rigid motions of metres."""
    wrong = first_not_rigid(T, within=1e-2)
    if wrong is not None:
        row, reason = wrong
        raise DecodeError(
            "the poses are not rigid motions",
            where=path,
            expected="rotations (orthonormal, determinant +1) and translations",
            found=f"pose {row}: {reason}",
            remedy=_FETCH_AGAIN,
        )
    farthest = float(np.abs(T[:, :3, 3]).max(initial=0))
    if farthest > _FARTHEST_M:
        raise DecodeError(
            "the poses are not in metres",
            where=path,
            expected=f"nothing farther than {_FARTHEST_M:g} m",
            found=f"{farthest:g}",
            remedy="GraspNet's poses are in metres; were these converted to millimetres?",
        )


def _load_npy(path: Path, shape: tuple[int | None, ...]) -> npt.NDArray[Any] | None:
    """Return a .npy of numbers as float64, None when there is none; ``shape`` has None where any length will do."""
    data = _read_if_there(path)
    if data is None:
        return None
    try:
        array = load_npy(io.BytesIO(data)).astype(np.float64)
    except (ValueError, EOFError, OSError) as error:
        raise DecodeError("the .npy file cannot be read", where=path, found=error, remedy=_FETCH_AGAIN) from None
    fits = array.ndim == len(shape) and all(n in (None, m) for n, m in zip(shape, array.shape, strict=True))
    if not fits or not np.isfinite(array).all():
        raise DecodeError(
            "the array is not what the format says",
            where=path,
            expected=f"finite numbers ({', '.join('N' if n is None else str(n) for n in shape)})",
            found=f"{array.shape}{'' if np.isfinite(array).all() else ', not all finite'}",
            remedy=_FETCH_AGAIN,
        )
    return np.asarray(array)


def _read_if_there(path: Path) -> bytes | None:
    try:
        return path.read_bytes()
    except (FileNotFoundError, NotADirectoryError):
        return None
