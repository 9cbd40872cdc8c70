"""GraspNet-1Billion: 190 cluttered tables of 88 objects, seen 256 times each by a Kinect and a RealSense.

Real depth is uint16 and ``factor_depth`` (1000) units a metre, planar z, 0 where the sensor saw nothing. GraspNet
ships no clean depth: with ``depth: rendered`` it is cast from the objects' models at their annotated poses on the
table, with normals and masks, and the real frame rides along as ``depth_raw``, pixel for pixel. Grasps are carried as
rectangles and, with ``grasps``, as 6-D ones in the camera's frame, which ``prepare`` first compacts (the raw labels
are tens of GB, see ``labels``). The world is the table: z up, its upper side at 0.
One core reads 40 raw frames of 1280x720 a second with colour and all labels, and renders 9; 4096 grasps add 1 ms.
Paper: Fang et al., "GraspNet-1Billion: a large-scale benchmark for general object grasping", CVPR 2020.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from functools import lru_cache
from pathlib import Path
from types import MappingProxyType
from typing import ClassVar, Literal, TypeVar

import numpy as np
import numpy.typing as npt
from pydantic import Field, model_validator

from depthforge.errors import DecodeError
from depthforge.frame import Camera, DepthImage, Finding, Frame, FrameRef, Licence
from depthforge.geometry import Float32, Float64, encode_normals
from depthforge.labels.catalogue import (
    DEPTH_RAW,
    GRASPS,
    INSTANCE,
    NORMALS,
    OBJECT_ID,
    OBJECT_POSE,
    POSE,
    RECT_GRASPS,
    RGB,
)
from depthforge.labels.spec import LabelSpec
from depthforge.meshes import mesh_bytes
from depthforge.registry import sources
from depthforge.sources.base import Note, Preparation, Report, Source, SourceConfig, ignore_findings, say_nothing
from depthforge.sources.graspnet.files import (
    NUM_OBJECTS,
    CameraName,
    Objects,
    PosesFrom,
    SceneFiles,
    SplitName,
    load_camera,
    load_camera_poses,
    load_objects,
    load_rect_grasps,
)
from depthforge.sources.graspnet.grasps import to_camera
from depthforge.sources.graspnet.labels import GraspSettings, GraspStore
from depthforge.sources.graspnet.rendered import MODELS_KEPT, CleanScenes
from depthforge.sources.graspnet.tree import GraspNetTree
from depthforge.sources.images import decode_depth, decode_ids, decode_rgb, require_size

__all__ = ["GraspNet", "GraspNetConfig"]

MASK = replace(INSTANCE, description="object id + 1, as in GraspNet's label images; 0 is background")
IDS = replace(
    OBJECT_ID, description="GraspNet's ids, 0 to 87, of the objects of the scene, row for row with object_pose"
)
_SCENES_KEPT = 8
_NO_DEPTH = np.float32(np.nan)
_GRASP_BYTES = 17 * 4
# Those of the scene, of the frame, what moves them into the camera in double precision, and what the writer reads back.
_GRASP_COPIES = 6

Scalar = TypeVar("Scalar", bound=np.generic)


class GraspNetConfig(SourceConfig):
    """The ``source`` block of a manifest that reads GraspNet-1Billion."""

    local_fields: ClassVar[frozenset[str]] = frozenset({"root", "prepared", "trust"})

    root: Path = Field(description="folder that holds scenes/, and models/, grasp_label/ and collision_label/ if used")
    camera: CameraName = Field(default="realsense", description="whose images: a D435, or an Azure Kinect")
    split: SplitName | None = Field(
        default=None, description="scenes 0-99, 100-129, 130-159 or 160-189; default: every scene found"
    )
    include: tuple[str, ...] = Field(default=("*",), description="globs of scene names to read: scene_0000")
    exclude: tuple[str, ...] = Field(default=(), description="globs of scene names to leave out")
    depth: Literal["rendered", "raw"] = Field(
        default="rendered",
        description="rendered: clean depth, normals and masks from the models on the table, and the sensor's own as "
        "depth_raw; raw: the sensor's own",
    )
    table_size_m: float = Field(
        default=1.0, gt=0, le=10, description="side of the rendered table; beyond it there is no clean depth"
    )
    poses: PosesFrom = Field(
        default="auto", description="object poses from meta/*.mat or annotations/*.xml; auto: the first that exists"
    )
    grasps: GraspSettings | None = Field(
        default=None, description="carry 6-D grasps, from grasp_label/ and collision_label/; default: none"
    )
    prepared: Path | None = Field(
        default=None, description="folder for the compacted grasps; made by the first run, used by every later one"
    )
    width: int = Field(
        default=1280, ge=16, le=8192, description="pixels of the images on disk; GraspNet's are 1280 wide"
    )
    height: int = Field(
        default=720, ge=16, le=8192, description="pixels of the images on disk; GraspNet's are 720 high"
    )

    @model_validator(mode="after")
    def _has_a_place_for_grasps(self) -> GraspNetConfig:
        if self.grasps is not None and self.prepared is None:
            raise ValueError("`grasps` needs `prepared`, a folder for what is made of the raw labels once")
        return self


@sources.register("graspnet")
class GraspNet(Source):
    """GraspNet-1Billion as it lies on disk; keys are ``graspnet/scene_0000/realsense-0000``."""

    Config = GraspNetConfig
    config: GraspNetConfig
    licence: Licence = Licence("CC BY-NC-SA 4.0 (GraspNet-1Billion)", True, "https://graspnet.net")
    typical_depth_m: ClassVar[tuple[float, float]] = (0.2, 3.0)

    def __init__(self, config: SourceConfig) -> None:
        assert isinstance(config, GraspNetConfig)
        self.config = config
        self._root = config.root.expanduser()
        self._clean = CleanScenes(config.table_size_m, config.poses)
        self._camera_poses = lru_cache(_SCENES_KEPT)(load_camera_poses)
        self._store: GraspStore | None = None
        if config.grasps is not None and config.prepared is not None:
            self._store = GraspStore(self._root, config.prepared.expanduser(), config.grasps)

    @property
    def size(self) -> tuple[int, int]:
        return self.config.height, self.config.width

    @property
    def labels(self) -> Mapping[str, LabelSpec]:
        specs = [RGB, POSE, MASK, IDS, OBJECT_POSE, RECT_GRASPS]
        if self.config.depth == "rendered":
            specs += [NORMALS, DEPTH_RAW]
        if self.config.grasps is not None:
            specs.append(GRASPS)
        return MappingProxyType({spec.name: spec for spec in specs})

    def prepare(self, note: Note = say_nothing) -> None:
        """Compact the grasps of the scenes that are asked for, when grasps are."""
        if self._store is not None:
            self._store.compact(list(self._tree.scenes(ignore_findings)), note)

    def to_prepare(self) -> Preparation | None:
        """Return of how many objects and scenes the grasps are still to be compacted; no frame depends on it."""
        if self._store is None:
            return None
        objects, scenes = self._store.to_compact(list(self._tree.scenes(ignore_findings)))
        if not objects + scenes:
            return None
        task = f"compact the grasps (objects: {objects}, scenes: {scenes}), kept in {self.config.prepared}"
        return Preparation(task, drops_frames=False)

    def frames(self, report: Report = ignore_findings) -> Iterator[FrameRef]:
        found_any = False
        for files in self._tree.scenes(report):
            if self._store is not None and not self._store.has(files.name):
                why = "the grasps of the scene are not compacted yet; `depthforge synthesize` begins with that"
                report(Finding("warning", f"scenes/{files.name}", why))
            for number in self._tree.frames(files, report):
                found_any = True
                key = f"{self.name}/{files.name}/{files.camera}-{number:04d}"
                yield FrameRef(key, f"{files.number}/{number}")
        if not found_any:
            raise self._tree.nothing_left()

    def read(self, ref: FrameRef, wanted: frozenset[str]) -> Frame:
        scene, number = (int(part) for part in ref.locator.split("/"))
        files = SceneFiles(self._root, scene, self.config.camera)
        objects = load_objects(files, number, self.config.poses)
        camera = load_camera(files, self.size, objects)
        T_table_cam = self._pose(files, number)
        labels: dict[str, npt.NDArray[np.generic]] = {}
        if self.config.depth == "rendered":
            depth_m = self._render(files, number, objects, camera, T_table_cam, wanted, labels)
        else:
            depth_m = _read_raw(files, number, camera, objects)
            mask = _read_if_there(files.image("label", number), camera, decode_ids) if "instance" in wanted else None
            if mask is not None:
                labels["instance"] = _require_objects(mask, files.image("label", number))
        if objects is not None:
            labels |= {name: value for name, value in _geometry(objects).items() if name in wanted}
        if "rect_grasps" in wanted and (rectangles := load_rect_grasps(files, number)) is not None:
            labels["rect_grasps"] = rectangles
        if "grasps" in wanted and objects is not None and (grasps := self._grasps(files, objects)) is not None:
            labels["grasps"] = self._visible(grasps, depth_m, camera)
        return Frame(
            key=ref.key,
            depth_m=depth_m,
            valid=depth_m > 0,
            camera=camera,
            rgb=_read_if_there(files.image("rgb", number), camera, decode_rgb) if "rgb" in wanted else None,
            T_world_cam=T_table_cam if "T_world_cam" in wanted else None,
            labels=labels,
        )

    def working_bytes(self) -> int:
        """Return what a frame's grasps take, and Open3D and the models that are kept when clean depth is rendered."""
        grasps = self.config.grasps
        grasp_bytes = 0 if grasps is None else _GRASP_COPIES * grasps.max_grasps * _GRASP_BYTES
        if self.config.depth == "raw":
            return grasp_bytes
        models = self.config.root.expanduser().glob("models/*/nontextured.ply")
        return grasp_bytes + mesh_bytes(models, MODELS_KEPT)

    def close(self) -> None:
        self._clean.clear()
        self._camera_poses.cache_clear()

    @property
    def _tree(self) -> GraspNetTree:
        config = self.config
        renders = config.depth == "rendered"
        return GraspNetTree(self._root, config.camera, config.split, config.include, config.exclude, renders)

    def _pose(self, files: SceneFiles, number: int) -> Float64 | None:
        poses = self._camera_poses(files)
        return None if poses is None or number >= len(poses) else poses[number].copy()

    def _render(
        self,
        files: SceneFiles,
        number: int,
        objects: Objects | None,
        camera: Camera,
        T_table_cam: Float64 | None,
        wanted: frozenset[str],
        labels: dict[str, npt.NDArray[np.generic]],
    ) -> DepthImage:
        """Return the clean depth, and put those of its labels into ``labels`` that are ``wanted``."""
        if objects is None or T_table_cam is None:
            what = "poses of its objects" if objects is None else "pose of its camera"
            raise DecodeError(f"the image has no {what}, so its depth cannot be rendered", where=files.folder)
        scene = self._clean.scene(files)
        scene.require_fits(objects, T_table_cam, where=f"{files.folder}, image {number:04d}")
        view = scene.cast(objects, T_table_cam, camera)
        if "normals" in wanted:
            labels["normals"] = encode_normals(view.hits.normals)
        if "instance" in wanted:
            labels["instance"] = view.instance
        if "depth_raw" in wanted and files.image("depth", number).is_file():
            raw_m = _read_raw(files, number, camera, objects)
            labels["depth_raw"] = np.where(raw_m > 0, raw_m, _NO_DEPTH)
        return view.hits.depth_m

    def _grasps(self, files: SceneFiles, objects: Objects) -> Float32 | None:
        """Return the scene's grasps in the camera's frame; None when they are not compacted."""
        rows = None if self._store is None else self._store.rows(files.name)
        if rows is None:
            return None
        grasps = np.empty(rows.shape, np.float32)
        done = np.zeros(len(rows), np.bool_)
        for object_id, T_cam_object in zip(objects.ids.tolist(), objects.T_cam_object, strict=True):
            mine = rows[:, 16] == object_id
            grasps[mine] = to_camera(rows[mine], T_cam_object)
            done |= mine
        if not done.all():
            raise DecodeError(
                "there are grasps of objects that the image has no pose of",
                where=files.scene,
                expected=objects.ids.tolist(),
                found=np.unique(rows[~done, 16]).astype(int).tolist(),
                remedy="object_id_list.txt and the poses are not of one release; extract the scene again",
            )
        return grasps

    def _visible(self, grasps: Float32, depth_m: DepthImage, camera: Camera) -> Float32:
        """Return the grasps (N, 17); with ``visible_only`` those whose point the depth image shows."""
        settings = self.config.grasps
        if settings is None or not settings.visible_only:
            return grasps
        x, y, z = grasps[:, 13:16].T.astype(np.float64)
        ahead = z > 0
        at = np.where(ahead, z, 1.0)
        u, v = np.rint(camera.fx * x / at + camera.cx), np.rint(camera.fy * y / at + camera.cy)
        inside = ahead & (u >= 0) & (u < camera.width) & (v >= 0) & (v < camera.height)
        seen_m = depth_m[np.where(inside, v, 0).astype(np.intp), np.where(inside, u, 0).astype(np.intp)]
        return np.asarray(grasps[inside & (seen_m > 0) & (z <= seen_m + settings.visible_within_m)])


def _geometry(objects: Objects) -> dict[str, npt.NDArray[np.generic]]:
    return {OBJECT_ID.name: objects.ids, OBJECT_POSE.name: objects.T_cam_object}


def _read_raw(files: SceneFiles, number: int, camera: Camera, objects: Objects | None) -> DepthImage:
    path = files.image("depth", number)
    try:
        stored = decode_depth(path.read_bytes(), where=str(path))
    except FileNotFoundError:
        raise DecodeError("the depth image has gone since it was listed", where=path) from None
    require_size(stored, camera.size, where=str(path))
    if stored.dtype != np.uint16:
        raise DecodeError("GraspNet's depth is uint16", where=path, found=stored.dtype)
    units = 1000.0 if objects is None else objects.units_per_metre
    depth_m: DepthImage = np.multiply(stored, np.float32(1.0 / units), dtype=np.float32)
    low, high = GraspNet.typical_depth_m
    measured = depth_m[depth_m > 0]
    if measured.size and not low <= float(np.median(measured)) <= high:
        raise DecodeError(
            "the depth is not in the unit of this data set",
            where=path,
            expected=f"a median of {low:g} to {high:g} m at {units:g} units a metre",
            found=f"{np.median(measured):.3g} m",
            remedy="GraspNet's depth is in millimetres; was the file written by another tool?",
        )
    return depth_m


def _read_if_there(
    path: Path, camera: Camera, decode: Callable[..., npt.NDArray[Scalar]]
) -> npt.NDArray[Scalar] | None:
    """Return the decoded image at ``path``, or None when there is no such file."""
    try:
        data = path.read_bytes()
    except FileNotFoundError:
        return None
    image = decode(data, where=str(path))
    require_size(image, camera.size, where=str(path))
    return image


def _require_objects(mask: npt.NDArray[np.uint16], path: Path) -> npt.NDArray[np.uint16]:
    if mask.max(initial=0) > NUM_OBJECTS:
        raise DecodeError(
            "the label image holds no object ids",
            where=path,
            expected=f"0, or object id + 1: up to {NUM_OBJECTS}",
            found=mask.max(),
        )
    return mask
