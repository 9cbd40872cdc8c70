"""HDF5 frames of BlenderProc: ``<frame>.hdf5`` with depth or distance, colours, normals and segmentations.

``depth`` is planar z, ``distance`` the length of the ray from Blender's mist pass, which is blended at edges and is
10000 where there is nothing: `depth` is taken where there are both. By default BlenderProc stores neither intrinsics
nor poses: they are read where the script put ``cam_K`` and ``cam2world_matrix`` (OpenGL axes), and intrinsics else come
from the manifest. The ids of instances mean something within their file alone; classes are the ``category_id`` of its
attribute map, since the class image has the bits of the instance image and wraps. One core, 640x480: 90 frames a second
of depth, 13 with all labels, most of it the decompression of normals.
Source: DLR-RM/BlenderProc 2.8, writer/WriterUtility.py, renderer/RendererUtility.py, tests/testCameraProjection.py.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from functools import lru_cache
from pathlib import Path
from types import MappingProxyType
from typing import Any, Final, Literal

import numpy as np
import numpy.typing as npt
from pydantic import Field

from depthforge.errors import DecodeError, FrameError, MissingDataError, told
from depthforge.frame import Camera, DepthImage, Finding, Frame, FrameRef, Licence
from depthforge.geometry import ray_length_to_z
from depthforge.labels.catalogue import INSTANCE, NORMALS, POSE, RGB
from depthforge.labels.spec import LabelSpec
from depthforge.pinhole import PinholeBlock
from depthforge.registry import sources
from depthforge.sources.base import Report, Source, SourceConfig, ignore_findings
from depthforge.sources.blenderproc.container import Container, open_container
from depthforge.sources.blenderproc.labels import colour_of, ids_of, normals_of
from depthforge.sources.conventions import to_house_pose
from depthforge.sources.file_tree import Tree, open_tree
from depthforge.sources.images import require_size
from depthforge.sources.rgbd_config import LicenceBlock

__all__ = ["BlenderProc", "BlenderProcConfig"]

SEMANTIC: Final = LabelSpec("semantic", "uint16", "image", "category_id of BlenderProc's objects, 0 is none")
_SUFFIXES: Final = (".hdf5", ".h5")
_NOTHING: Final = np.float32(65504)  # the largest half: BlenderProc's own tests take it for infinite
_SAME_PX: Final = 1e-2
_OFF_PINHOLE: Final = ((0, 1, 2, 2, 2), (1, 0, 0, 1, 2))


class BlenderProcConfig(SourceConfig):
    """The ``source`` block of a manifest that reads frames of BlenderProc."""

    root: Path = Field(description="the folder of <frame>.hdf5, or of folders of them, each a scene; or a .zip or .tar")
    quantity: Literal["depth", "distance"] | None = Field(
        default=None, description="which to read; left out: `depth`, and `distance` in files without it"
    )
    camera: PinholeBlock | None = Field(default=None, description="where the files hold no cam_K")
    metres_per_unit: float = Field(default=1.0, gt=0, description="of Blender's units")
    antialiasing_distance_max: float = Field(
        default=10000.0, gt=0, description="what BlenderProc was told: from 0.999 of it on `distance` is nothing"
    )
    max_depth_m: float | None = Field(default=None, gt=0, description="farther is no measurement")
    every: int = Field(default=1, ge=1, description="read every n-th frame of a scene")
    licence: LicenceBlock = LicenceBlock(name="not stated; ask the owner of the data", non_commercial=True)


@sources.register("blenderproc")
class BlenderProc(Source):
    """What BlenderProc's `write_hdf5` writes: depth or distance, colour, normals, instances and classes.

    Keys: ``blenderproc/<folder>/<frame>``, six digits; the folder is ``all`` where frames lie in the root itself.
    """

    Config = BlenderProcConfig
    config: BlenderProcConfig
    licence = Licence("stated in the manifest", True)

    def __init__(self, config: SourceConfig) -> None:
        assert isinstance(config, BlenderProcConfig)
        self.config = config
        self.licence = Licence(**config.licence.model_dump())
        self._root = config.root.expanduser()
        self._tree = lru_cache(1)(self._open)
        self._first_size = lru_cache(1)(self._find_size)

    @property
    def size(self) -> tuple[int, int]:
        """(height, width) as the manifest states it, else that of the first frame, which is opened for it."""
        return self.config.camera.camera().size if self.config.camera is not None else self._first_size()

    @property
    def labels(self) -> Mapping[str, LabelSpec]:
        """Whatever BlenderProc may have been asked for; a frame carries what its file has."""
        return MappingProxyType({spec.name: spec for spec in (RGB, NORMALS, INSTANCE, SEMANTIC, POSE)})

    def frames(self, report: Report = ignore_findings) -> Iterator[FrameRef]:
        tree = self._tree()
        found_any = False
        for folder in sorted(_folders(tree, ""), key=lambda folder: f"{_scene(folder)}/"):
            numbered = _numbered(tree, folder, report)
            for number in sorted(numbered)[:: self.config.every]:
                found_any = True
                yield FrameRef(f"{self.name}/{_scene(folder)}/{number:06d}", numbered[number])
        if not found_any:
            raise self._nothing(tree)

    def read(self, ref: FrameRef, wanted: frozenset[str]) -> Frame:
        where = self._tree().describe(ref.locator)
        with self._file(ref.locator) as file:
            name, stored = self._stored(file)
            camera = self._camera(file, stored.shape[:2])
            if not self.config.is_resampled and camera.size != self.size:
                require_size(stored, self.size, where=where)
            depth_m = self._depth_m(name, stored, camera)
            labels: dict[str, npt.NDArray[np.generic]] = {}
            if "normals" in wanted and (normals := file.image("normals", (3,))) is not None:
                labels["normals"] = normals_of(normals, depth_m > 0, where)
            if wanted & {"instance", "semantic"}:
                labels |= {label: ids for label, ids in ids_of(file).items() if label in wanted}
            rgb = colour_of(file) if "rgb" in wanted else None
            pose = self._pose(file) if "T_world_cam" in wanted else None
        for array in (*labels.values(), *([] if rgb is None else [rgb])):
            require_size(array, camera.size, where=where)
        return Frame(ref.key, depth_m, depth_m > 0, camera, rgb, pose, labels)

    def close(self) -> None:
        for cache in (self._tree, self._first_size):
            cache.cache_clear()

    def _open(self) -> Tree:
        if not self._root.exists():
            raise MissingDataError(
                "no such folder",
                where=self._root,
                expected="a folder of BlenderProc's <frame>.hdf5",
                remedy="none at hand: depthforge sample --layout blenderproc DIR",
            )
        return open_tree(self._root)

    def _nothing(self, tree: Tree) -> MissingDataError:
        listing = tree.scan("")
        names = sorted([f"{name}/" for name in listing.folders] + listing.files)
        return MissingDataError(
            "no frame of BlenderProc",
            where=self._root,
            expected="<frame>.hdf5, the frame a whole number, here or in folders below",
            found=told(names, none="an empty folder"),
            remedy="none at hand: depthforge sample --layout blenderproc DIR",
        )

    def _file(self, path: str) -> Any:
        tree = self._tree()
        data = tree.read_if_there(path)
        if data is None:
            raise DecodeError("the frame has gone since it was listed", where=tree.describe(path))
        return open_container(data, tree.describe(path))

    def _find_size(self) -> tuple[int, int]:
        with self._file(next(self.frames()).locator) as file:
            height, width = self._stored(file)[1].shape[:2]
        return height, width

    def _stored(self, file: Container) -> tuple[str, npt.NDArray[Any]]:
        names = ("depth", "distance") if self.config.quantity is None else (self.config.quantity,)
        for name in names:
            stored = file.image(name)
            if stored is not None:
                return name, stored
        raise DecodeError(
            "a frame without depth",
            where=file.where,
            expected=" or ".join(names),
            found=", ".join(file.keys) or "no key",
            remedy="render with bproc.renderer.enable_depth_output(activate_antialiasing=False)",
        )

    def _camera(self, file: Container, size: tuple[int, ...]) -> Camera:
        height, width = size
        stated = None if self.config.camera is None else self.config.camera.camera()
        K = file.matrix("cam_K", 3)
        if K is None:
            if stated is None:
                raise DecodeError(
                    "a frame without intrinsics",
                    where=file.where,
                    expected="the key cam_K, or `camera:` in the source block",
                    found=", ".join(file.keys),
                    remedy="state `camera: {width, height, fx, fy, cx, cy}`; BlenderProc's default for 512x512 is "
                    "fx = fy = 711.111, cx = cy = 255.5",
                )
            return stated
        fx, fy, cx, cy = K[[0, 1, 0, 1], [0, 1, 2, 2]].tolist()
        if not (np.isfinite(K).all() and fx > 0 and fy > 0 and np.allclose(K[_OFF_PINHOLE], (0, 0, 0, 0, 1))):
            expected = "fx 0 cx, 0 fy cy, 0 0 1"
            raise DecodeError("cam_K is no pinhole camera", where=file.where, expected=expected, found=K.tolist())
        camera = Camera(fx, fy, cx, cy, width, height)
        if stated is not None and np.abs(camera.K - stated.K).max() > _SAME_PX:
            raise FrameError(
                "the manifest states another camera than the file",
                where=file.where,
                expected=f"cam_K: {_camera_text(camera)}",
                found=f"`camera:` {_camera_text(stated)}",
                remedy="leave `camera:` out",
            )
        return camera

    def _depth_m(self, name: str, stored: npt.NDArray[Any], camera: Camera) -> DepthImage:
        values = stored.astype(np.float32)
        limit = _NOTHING
        if name == "distance":
            limit = np.float32(min(float(_NOTHING), 0.999 * self.config.antialiasing_distance_max))
        with np.errstate(invalid="ignore"):
            values[~((values > 0) & (values < limit))] = 0
        if name == "distance":
            values = ray_length_to_z(values, camera)
        if self.config.metres_per_unit != 1.0:
            values *= np.float32(self.config.metres_per_unit)
        if self.config.max_depth_m is not None:
            values[values > self.config.max_depth_m] = 0
        return values

    def _pose(self, file: Container) -> npt.NDArray[np.float64] | None:
        stored = file.matrix("cam2world_matrix", 4)
        if stored is None:
            return None
        pose = to_house_pose(stored, "camera_to_world", "opengl", where=f"{file.where}, cam2world_matrix")
        if pose is not None:
            pose[:3, 3] *= self.config.metres_per_unit
        return pose


def _camera_text(camera: Camera) -> str:
    return f"fx {camera.fx:g}, fy {camera.fy:g}, cx {camera.cx:g}, cy {camera.cy:g}"


def _scene(folder: str) -> str:
    return folder.replace("/", ".") if folder else "all"


def _folders(tree: Tree, folder: str) -> Iterator[str]:
    yield folder
    for name in tree.scan(folder).folders:
        if not name.startswith("."):
            yield from _folders(tree, f"{folder}/{name}" if folder else name)


def _numbered(tree: Tree, folder: str, report: Report) -> dict[int, str]:
    """Return the files of a folder by their numbers, which BlenderProc does not pad; the rest is reported."""
    numbered: dict[int, str] = {}
    for name in sorted(tree.scan(folder).files):
        stem, dot, suffix = name.rpartition(".")
        if name.startswith(".") or dot + suffix not in _SUFFIXES:
            continue
        path = f"{folder}/{name}" if folder else name
        if not (stem.isascii() and stem.isdecimal()):
            report(Finding("warning", path, "no frame: its name is not a number; ignored"))
        elif int(stem) in numbered:
            report(Finding("error", path, f"the same frame as {numbered[int(stem)]}; ignored"))
        else:
            numbered[int(stem)] = path
    return numbered
