"""Hypersim: 461 rendered indoor scenes with poses, NYU40 classes, instances and normals.

``ai_VVV_NNN/images/scene_cam_XX_geometry_hdf5/frame.IIII.depth_meters.hdf5`` is ray length in metres as float16 (steps
of 3.9 mm at 4 to 8 m), NaN where a ray met nothing; z is along the axis of the scene's pinhole (see ``cameras``), so
the table of the cameras is needed. Poses are camera-to-world with OpenGL axes in asset units, of which
metadata_scene.csv says how many metres they are. Of classes and instances -1 is none. Colour is the tone-mapped JPEG
of the previews, in sRGB; the HDR images need an exposure and are not read. Normals that face away from the camera,
which some renderings have, are turned. Two cameras that the publishers found inside walls are left out.
One core reads 100 frames a second, 70 with colour, 12 with every label: gzip of the normals is most of it.
Paper: Roberts et al., "Hypersim: a photorealistic synthetic dataset for holistic indoor scene understanding", ICCV
2021; https://github.com/apple/ml-hypersim.
"""

from __future__ import annotations

import io
import re
from collections.abc import Iterator, Mapping
from functools import lru_cache
from pathlib import Path
from types import MappingProxyType
from typing import Any, ClassVar, Final, Literal, NamedTuple

import numpy as np
import numpy.typing as npt
from pydantic import Field

from depthforge.addresses import Address
from depthforge.errors import DecodeError, MissingDataError
from depthforge.frame import RGB_FILE, Finding, Frame, FrameRef, Licence
from depthforge.geometry import encode_normals, ray_length_to_z
from depthforge.labels.catalogue import INSTANCE, NORMALS, POSE, RGB, SEMANTIC_NYU40
from depthforge.labels.spec import LabelSpec
from depthforge.registry import sources
from depthforge.sources.base import Report, SourceConfig
from depthforge.sources.conventions import to_house_pose
from depthforge.sources.file_tree import Listing, Tree
from depthforge.sources.hypersim.cameras import (
    CAMERA_TABLE,
    SPLIT_TABLE,
    Pinhole,
    pinhole_of,
    read_camera_table,
    read_split_table,
)
from depthforge.sources.hypersim.normals import normals_towards
from depthforge.sources.images import Colour, read_colour, require_size
from depthforge.sources.scene_folders import (
    SceneFolders,
    SceneFoldersConfig,
    folders_with,
    measured,
    numbered_files,
    path_in,
    read_listed,
)
from depthforge.sources.tree_file import File

__all__ = ["Hypersim", "HypersimConfig"]

_GEOMETRY: Final = re.compile(r"(.*?)/?images/scene_(cam_\d+)_geometry_hdf5")
_INSIDE_WALLS: Final = frozenset({("ai_004_009", "cam_01"), ("ai_038_007", "cam_00")})
_LAST_NYU40: Final = 40
_CAMERAS_KEPT = 32


class HypersimConfig(SceneFoldersConfig):
    """The ``source`` block of a manifest that reads Hypersim."""

    local_fields: ClassVar[frozenset[str]] = frozenset({"root", "camera_parameters"})
    root: Address = Field(description="folder or URL that holds ai_VVV_NNN/, or a .zip or .tar of it")
    camera_parameters: Path | None = Field(
        default=None, description=f"{CAMERA_TABLE} of ml-hypersim's contrib/mikeroberts3000, where it is not in root"
    )
    split: Literal["all", "train", "val", "test"] = Field(
        default="all", description=f"every frame, or those that {SPLIT_TABLE} in root lists"
    )
    max_depth_m: float | None = Field(default=None, gt=0, description="farther is no measurement")
    width: int = Field(default=1024, gt=0, le=8192, description="of the images, pixels")
    height: int = Field(default=768, gt=0, le=8192, description="of the images, pixels")


class _Keyframes(NamedTuple):
    """Poses of a camera: rotations (N, 3, 3), positions (N, 3) in metres, and which frame each is of."""

    rotations: npt.NDArray[np.float64]
    positions_m: npt.NDArray[np.float64]
    row_of: Mapping[int, int]


@sources.register("hypersim")
class Hypersim(SceneFolders):
    """Hypersim as it lies on disk; every scene by its own camera.

    Keys: ``hypersim/ai_001_001/cam_00-000042`` is frame 42 of a camera's walk through a scene.
    """

    Config = HypersimConfig
    config: HypersimConfig
    ships_colour_files = True
    typical_depth_m = (0.3, 30.0)
    recording_is = "ai_VVV_NNN/ with _detail/ and images/scene_cam_XX_geometry_hdf5/"
    licence: Licence = Licence("CC BY-SA 3.0", False, "https://github.com/apple/ml-hypersim")

    def __init__(self, config: SourceConfig) -> None:
        super().__init__(config)
        self._matrices = lru_cache(1)(self._read_matrices)
        self._pinhole = lru_cache(_CAMERAS_KEPT)(self._read_pinhole)
        self._keyframes = lru_cache(_CAMERAS_KEPT)(self._read_keyframes)

    @property
    def size(self) -> tuple[int, int]:
        """(height, width) of every frame, in pixels."""
        return self.config.height, self.config.width

    @property
    def labels(self) -> Mapping[str, LabelSpec]:
        """Colour, pose, classes, instances and normals."""
        return MappingProxyType({spec.name: spec for spec in (RGB, POSE, SEMANTIC_NYU40, INSTANCE, NORMALS)})

    def recordings(self, tree: Tree) -> Iterator[tuple[str, str]]:
        """Yield the geometry of every camera of every scene."""

        def is_scene(listing: Listing) -> bool:
            return {"_detail", "images"} <= set(listing.folders)

        for scene in folders_with(tree, is_scene):
            for name in tree.scan(path_in(scene, "images")).folders:
                folder = path_in(scene, f"images/{name}")
                match = _GEOMETRY.fullmatch(folder)
                if match is not None:
                    yield f"{self.name_of(scene)}/{match[2]}-", folder

    def list_frames(self, tree: Tree, folder: str, report: Report) -> list[tuple[str, str]]:
        """Return the frames of a camera; raise where its scene has no pinhole; see ``SceneFolders``."""
        scene, camera = _scene_and_camera(folder)
        name = self.name_of(scene)
        if (name, camera) in _INSIDE_WALLS:
            report(Finding("warning", folder, "left out: its publishers found this camera inside a wall (issue 22)"))
            return []
        self._pinhole(scene)
        if self._keyframes(scene, camera) is None:
            report(Finding("warning", path_in(scene, f"_detail/{camera}"), "no keyframes: its frames have no pose"))
        named = numbered_files(tree, folder, "frame.", ".depth_meters.hdf5")
        listed = self._split_table() if self.config.split != "all" else None
        return [
            (f"{number:06d}", f"{folder}/{file}")
            for number, file in named.items()
            if listed is None or (name, camera, number) in listed
        ]

    def read(self, ref: FrameRef, wanted: frozenset[str]) -> Frame:
        """Return one frame; see ``Source.read``."""
        tree = self._tree()
        folder, _, file = ref.locator.rpartition("/")
        scene, name = _scene_and_camera(folder)
        digits = file.split(".")[1]
        pinhole = self._pinhole(scene)
        ray_m = self._dataset(read_listed(tree, ref.locator), tree.describe(ref.locator), np.floating)
        depth_m, valid = measured(ray_length_to_z(ray_m.astype(np.float32), pinhole.camera), self.config.max_depth_m)
        labels: dict[str, npt.NDArray[np.generic]] = {}
        for label, kind in (("semantic", "semantic"), ("instance", "semantic_instance")):
            path = f"{folder}/frame.{digits}.{kind}.hdf5"
            data = tree.read_if_there(path) if label in wanted else None
            if data is not None:
                labels[label] = self._ids(data, tree.describe(path), _LAST_NYU40 if label == "semantic" else None)
        if NORMALS.name in wanted:
            path = f"{folder}/frame.{digits}.normal_cam.hdf5"
            data = tree.read_if_there(path)
            if data is not None:
                stored = self._dataset(data, tree.describe(path), np.floating, channels=3)
                labels[NORMALS.name] = encode_normals(normals_towards(pinhole, stored))
        colour = self._colour(tree, path_in(scene, f"images/scene_{name}_final_preview/frame.{digits}"), wanted)
        pose = self._pose(scene, name, int(digits), pinhole, ref.key) if POSE.name in wanted else None
        return Frame(ref.key, depth_m, valid, pinhole.camera, colour.rgb, pose, labels, colour.rgb_file)

    def close(self) -> None:
        """Release what is open."""
        super().close()
        for cache in (self._matrices, self._pinhole, self._keyframes):
            cache.cache_clear()

    def _colour(self, tree: Tree, stem: str, wanted: frozenset[str]) -> Colour:
        if wanted & {RGB.name, RGB_FILE}:
            for path in (f"{stem}.tonemap.jpg", f"{stem}.color.jpg"):
                data = tree.read_if_there(path)
                if data is not None:
                    return read_colour(data, wanted, self.size, where=tree.describe(path))
        return Colour()

    def _pose(self, scene: str, camera: str, number: int, pinhole: Pinhole, key: str) -> npt.NDArray[np.float64] | None:
        keyframes = self._keyframes(scene, camera)
        if keyframes is None:
            return None
        if number not in keyframes.row_of:
            raise DecodeError(
                "the camera has no keyframe for the frame", where=key, found=f"{len(keyframes.row_of)} keyframes"
            )
        row = keyframes.row_of[number]
        stored = np.eye(4)
        stored[:3, :3], stored[:3, 3] = keyframes.rotations[row], keyframes.positions_m[row]
        pose = to_house_pose(stored, "camera_to_world", "opengl", where=key)
        if pose is not None:
            pose[:3, :3] = pose[:3, :3] @ pinhole.R_stored_cam
        return pose

    def _ids(self, data: bytes, where: str, last: int | None) -> npt.NDArray[np.uint16]:
        ids: npt.NDArray[np.integer] = self._dataset(data, where, np.integer)
        if ids.min(initial=0) < -1 or ids.max(initial=0) > (65535 if last is None else last):
            expected = "ids from -1 up" if last is None else f"-1 and classes 1 to {last}"
            raise DecodeError("an id out of range", where=where, expected=expected, found=f"{ids.min()} to {ids.max()}")
        return np.asarray(np.maximum(ids, 0), np.uint16)

    def _dataset(self, data: bytes, where: str, kind: Any, channels: int | None = None) -> Any:
        """Return the image that a file holds, in the size of the frames."""
        values = _hdf5(data, where)
        if not np.issubdtype(values.dtype, kind) or (
            values.ndim < 2 or values.shape[2:] != (() if channels is None else (channels,))
        ):
            raise DecodeError(
                "not the values they should be",
                where=where,
                expected=f"(H, W{'' if channels is None else f', {channels}'}) {kind.__name__}",
                found=f"{values.shape} {values.dtype}",
            )
        require_size(values, self.size, where=where)
        return values

    def _read_pinhole(self, scene: str) -> Pinhole:
        matrices, where = self._matrices()
        name = self.name_of(scene)
        if name not in matrices:
            raise MissingDataError(
                "the camera of the scene is not known",
                where=where,
                expected=f"a row {name}",
                found=f"{len(matrices)} rows",
            )
        return pinhole_of(matrices[name], self.config.width, self.config.height, where=f"{where}, scene {name}")

    def _read_matrices(self) -> tuple[dict[str, npt.NDArray[np.float64]], str]:
        tree = self._tree()
        elsewhere = self.config.camera_parameters
        if elsewhere is not None and elsewhere.expanduser().is_file():
            data = elsewhere.expanduser().read_bytes()
            return read_camera_table(data, where=str(elsewhere)), str(elsewhere)
        for folder in ("", "contrib/mikeroberts3000", "evermotion_dataset/analysis"):
            path = path_in(folder, CAMERA_TABLE)
            found = tree.read_if_there(path)
            if found is not None and elsewhere is None:
                return read_camera_table(found, where=tree.describe(path)), tree.describe(path)
        raise MissingDataError(
            "no table of Hypersim's cameras: 285 of 482 scenes have one of their own",
            where=elsewhere or f"{self._root}/{CAMERA_TABLE}",
            expected="the file of ml-hypersim's contrib/mikeroberts3000; it does not come with the images",
            remedy=f"put it in root, or set `camera_parameters: PATH/{CAMERA_TABLE}` in the source",
        )

    def _split_table(self) -> frozenset[tuple[str, str, int]]:
        tree = self._tree()
        for folder in ("", "evermotion_dataset/analysis"):
            path = path_in(folder, SPLIT_TABLE)
            data = tree.read_if_there(path)
            if data is not None:
                return read_split_table(data, self.config.split, where=tree.describe(path))
        raise MissingDataError(
            "no table of Hypersim's splits",
            where=f"{self._root}/{SPLIT_TABLE}",
            expected="the file of ml-hypersim's evermotion_dataset/analysis",
            remedy="put it in root, or leave `split` out of the source",
        )

    def _read_keyframes(self, scene: str, camera: str) -> _Keyframes | None:
        tree = self._tree()
        folder = path_in(scene, f"_detail/{camera}")
        stored = {}
        for kind in ("orientations", "positions", "frame_indices"):
            path = f"{folder}/camera_keyframe_{kind}.hdf5"
            data = tree.read_if_there(path)
            if data is None and kind != "frame_indices":
                return None
            if data is not None:
                stored[kind] = _hdf5(data, tree.describe(path))
        count = stored["positions"].shape[0] if stored["positions"].ndim else 0
        numbers = stored.get("frame_indices", np.arange(count))
        shapes = (stored["orientations"].shape, stored["positions"].shape, numbers.shape)
        are_numbers = all(np.issubdtype(values.dtype, np.number) for values in (*stored.values(), numbers))
        if shapes != ((count, 3, 3), (count, 3), (count,)) or not are_numbers:
            raise DecodeError(
                "not the keyframes of a camera",
                where=tree.describe(folder),
                expected="orientations (N, 3, 3), positions (N, 3), frame_indices (N,)",
                found=shapes,
            )
        metres = self._metres_per_unit(File(tree, path_in(scene, "_detail/metadata_scene.csv")))
        row_of = {int(number): row for row, number in enumerate(numbers)}
        return _Keyframes(stored["orientations"].astype(float), stored["positions"].astype(float) * metres, row_of)

    def _metres_per_unit(self, file: File) -> float:
        try:
            rows = [line.split(",") for line in file.text().splitlines()]
        except FileNotFoundError:
            raise MissingDataError("the unit of the poses is not stated", where=file.where) from None
        stated = [row[1] for row in rows if len(row) > 1 and row[0].strip() == "meters_per_asset_unit"]
        try:
            metres = float(stated[0])
        except (IndexError, ValueError):
            metres = 0.0
        if not (np.isfinite(metres) and metres > 0):
            raise DecodeError(
                "the unit of the poses is not stated",
                where=file.where,
                expected="a row meters_per_asset_unit,<metres>",
                found=stated or "none",
            )
        return metres


def _scene_and_camera(folder: str) -> tuple[str, str]:
    match = _GEOMETRY.fullmatch(folder)
    assert match is not None, folder
    return match[1], match[2]


def _hdf5(data: bytes, where: str) -> npt.NDArray[Any]:
    import h5py

    try:
        with h5py.File(io.BytesIO(data), "r") as file:
            return np.asarray(file["dataset"][()])
    except Exception as error:
        # Of damaged files h5py raises OSError, KeyError, RuntimeError, OverflowError and more.
        raise DecodeError(
            "not an HDF5 file of Hypersim", where=where, expected="one data set called `dataset`", found=error
        ) from None
