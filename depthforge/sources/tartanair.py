"""TartanAir v1 and v2 (and TartanGround): clean AirSim renderings with poses and mesh ids, indoors and out.

v1: ``<env>/<env>/Easy/P000/depth_left/000000_left_depth.npy``, float metres, 640 x 480. v2:
``<Env>/Data_easy/P000/depth_lcam_front/000000_lcam_front_depth.png``, 640 x 640, whose four bytes a pixel in the order
blue, green, red, alpha are a little-endian float32: a pixel R, G, B, A of (128, 0, 0, 63) is 1 m, and read in any other
order it is another plausible number. Both are planar z; the sky is about 1e4 or more and is no measurement. Poses are
lines of ``tx ty tz qx qy qz qw``, one a frame, camera-to-world with NED axes (x forward, y right, z down); the world
keeps them. f is 320, the baseline 0.25 m; the principal point of v1 is as printed, (320, 240), which may count from the
first pixel's corner, that of v2 is (319.5, 319.5). Segmentation holds ids of AirSim's meshes, random in each
environment: they are instances, not classes. Fisheye and equirectangular images are no pinhole and are not read.
Easy and Hard are how the camera moves; both and all trajectories of an environment are one scene, so that a split
never shows one place on both sides. One core reads 1000 frames a second of v1, 80 of v2; 40 to 70 with colour and ids.
Sources: castacks/tartanair_tools, ``data_type.md``; castacks/tartanairpy, ``docs/modalities.rst``; Wang et al.,
"TartanAir: a dataset to push the limits of visual SLAM", IROS 2020.
"""

from __future__ import annotations

import io
import re
from collections.abc import Iterator, Mapping
from functools import lru_cache
from types import MappingProxyType
from typing import Final, Literal

import numpy as np
import numpy.typing as npt
from pydantic import Field, model_validator

from depthforge.addresses import Address
from depthforge.errors import DecodeError, MissingDataError
from depthforge.frame import Camera, DepthImage, Finding, Frame, FrameRef, Licence
from depthforge.labels.catalogue import INSTANCE, POSE, RGB
from depthforge.labels.spec import LabelSpec
from depthforge.registry import sources
from depthforge.sources.base import Report, SourceConfig
from depthforge.sources.conventions import to_house_pose
from depthforge.sources.file_tree import Listing, Tree
from depthforge.sources.images import decode_as_stored, decode_depth, decode_ids, decode_rgb, require_size
from depthforge.sources.npy import load_npy
from depthforge.sources.scene_folders import (
    SceneFolders,
    SceneFoldersConfig,
    folders_with,
    measured,
    numbered_files,
    path_in,
    read_listed,
)
from depthforge.sources.trajectories import pose_of
from depthforge.sources.tree_file import File

__all__ = ["TartanAir", "TartanAirConfig", "depth_of_bytes"]

_CAMERA: Final = MappingProxyType(
    {
        "v1": Camera(320.0, 320.0, 320.0, 240.0, 640, 480, baseline_m=0.25),
        "v2": Camera(320.0, 320.0, 319.5, 319.5, 640, 640, baseline_m=0.25),
    }
)
_DIFFICULTY: Final = re.compile(r"(?:Data_)?(\w+)")
_NUMBERS = 7
_TRAJECTORIES_KEPT = 8


class TartanAirConfig(SceneFoldersConfig):
    """The ``source`` block of a manifest that reads TartanAir."""

    root: Address = Field(description="folder or URL that holds the environments, or a trajectory; or a .zip or .tar")
    version: Literal["v1", "v2"] = Field(default="v1", description="v2 is TartanGround's as well")
    camera: Literal["left", "right"] = Field(default="left", description="of the stereo pair")
    face: Literal["front", "left", "right", "back", "top", "bottom"] = Field(
        default="front", description="where the camera looks, of v2's six"
    )
    max_depth_m: float = Field(
        default=10000.0, gt=0, le=10000, description="this far or farther is no measurement: sky"
    )

    @model_validator(mode="after")
    def _v1_looks_ahead(self) -> TartanAirConfig:
        if self.version == "v1" and self.face != "front":
            raise ValueError("v1 has no faces but front")
        return self

    @property
    def view(self) -> str:
        """How files and folders name the camera."""
        return self.camera if self.version == "v1" else f"{self.camera[0]}cam_{self.face}"


@sources.register("tartanair")
class TartanAir(SceneFolders):
    """TartanAir v1, v2 and TartanGround, as they lie on disk.

    Keys: ``tartanair/hospital/Easy-P000-000042`` is frame 42 of a trajectory of v1,
    ``tartanair/Hospital/easy-P000-000042`` one of v2. Every trajectory of an environment falls into the same split.
    """

    Config = TartanAirConfig
    config: TartanAirConfig
    typical_depth_m = (0.3, 300.0)
    recording_is = "<environment>/<difficulty>/P000/ with depth_left/ (v1) or depth_lcam_front/ (v2)"
    licence: Licence = Licence(
        "CC BY 4.0 (v1's as remembered; check)", False, "https://theairlab.org/tartanair-dataset"
    )

    def __init__(self, config: SourceConfig) -> None:
        super().__init__(config)
        self._trajectory = lru_cache(_TRAJECTORIES_KEPT)(self._read_trajectory)

    @property
    def size(self) -> tuple[int, int]:
        """(height, width) of every frame, in pixels."""
        return _CAMERA[self.config.version].size

    @property
    def labels(self) -> Mapping[str, LabelSpec]:
        """Colour, pose, and ids of meshes as instances."""
        return MappingProxyType({spec.name: spec for spec in (RGB, POSE, INSTANCE)})

    def world_of(self, ref: FrameRef) -> str:
        """Return ``tartanair/hospital/Easy-P000``: a trajectory, whose frames follow each other."""
        return ref.key.rpartition("-")[0]

    def recordings(self, tree: Tree) -> Iterator[tuple[str, str]]:
        """Yield every trajectory that has depth of any camera, by environment and difficulty."""

        def is_trajectory(listing: Listing) -> bool:
            return any(name.startswith("depth_") for name in listing.folders)

        for folder in folders_with(tree, is_trajectory):
            environment, difficulty, trajectory = ("root", "", *self.parts_of(folder))[-3:]
            match = _DIFFICULTY.fullmatch(difficulty)
            yield f"{environment}/{match[1] if match else difficulty}-{trajectory}-", folder

    def list_frames(self, tree: Tree, folder: str, report: Report) -> list[tuple[str, str]]:
        """Return the frames of a trajectory; raise unless it has depth of this camera and a pose for each frame."""
        view, suffix = self.config.view, "npy" if self.config.version == "v1" else "png"
        below = f"depth_{view}"
        folders = tree.scan(folder).folders
        if below not in folders:
            found = sorted(name for name in folders if name.startswith("depth_"))
            raise MissingDataError(
                f"the trajectory has no depth of this camera in {self.config.version}",
                where=tree.describe(folder),
                expected=below,
                found=", ".join(found),
                remedy="depth_left is v1, depth_lcam_front v2: set `version`, `camera` and `face` of the source; fish "
                "and equirect are no pinhole images, which is all that a frame can be",
            )
        named = numbered_files(tree, path_in(folder, below), "", f"_{view}_depth.{suffix}")
        poses = self._trajectory(folder)
        if poses is None:
            report(Finding("warning", folder, f"no pose_{view}.txt: its frames have no pose"))
        elif list(named) != list(range(len(poses))):
            raise DecodeError(
                "the trajectory is not that of the depth images",
                where=tree.describe(path_in(folder, f"pose_{view}.txt")),
                expected=f"a line for each of the {len(named)} depth images, numbered from 0",
                found=f"{len(poses)} lines",
                remedy="line i is the pose of frame i: fetch the missing images, or the list that goes with these",
            )
        return [(f"{number:06d}", path_in(folder, f"{below}/{name}")) for number, name in named.items()]

    def read(self, ref: FrameRef, wanted: frozenset[str]) -> Frame:
        """Return one frame; see ``Source.read``."""
        tree, config = self._tree(), self.config
        above, _, name = ref.locator.rpartition("/")
        folder = above.rpartition("/")[0]
        digits = name.partition("_")[0]
        data, where = read_listed(tree, ref.locator), tree.describe(ref.locator)
        stored_m = decode_depth(data, where=where) if config.version == "v1" else depth_of_bytes(data, where=where)
        require_size(stored_m, self.size, where=where)
        if stored_m.dtype != np.float32:
            raise DecodeError("TartanAir's depth is floating point", where=where, found=stored_m.dtype)
        depth_m, valid = measured(stored_m.astype(np.float32, copy=False), config.max_depth_m, open_end=True)
        rgb = None
        if RGB.name in wanted:
            path = path_in(folder, f"image_{config.view}/{digits}_{config.view}.png")
            image = tree.read_if_there(path)
            if image is not None:
                rgb = decode_rgb(image, where=tree.describe(path))
                require_size(rgb, self.size, where=tree.describe(path))
        labels: dict[str, npt.NDArray[np.generic]] = {}
        ids = self._mesh_ids(tree, folder, digits) if INSTANCE.name in wanted else None
        if ids is not None:
            labels[INSTANCE.name] = ids
        poses = self._trajectory(folder) if POSE.name in wanted else None
        pose = None
        if poses is not None:
            if int(digits) >= len(poses):
                raise DecodeError("the trajectory has no line for the frame", where=where, found=len(poses))
            pose = to_house_pose(poses[int(digits)], "camera_to_world", "ned", where=ref.key)
        return Frame(ref.key, depth_m, valid, _CAMERA[config.version], rgb, pose, labels)

    def close(self) -> None:
        """Release what is open."""
        super().close()
        self._trajectory.cache_clear()

    def _mesh_ids(self, tree: Tree, folder: str, digits: str) -> npt.NDArray[np.uint16] | None:
        view = self.config.view
        path = path_in(folder, f"seg_{view}/{digits}_{view}_seg.{'npy' if self.config.version == 'v1' else 'png'}")
        data = tree.read_if_there(path)
        if data is None:
            return None
        where = tree.describe(path)
        ids = decode_ids(data, where=where) if self.config.version == "v2" else _npy_ids(data, where=where)
        require_size(ids, self.size, where=where)
        return ids

    def _read_trajectory(self, folder: str) -> list[npt.NDArray[np.float64]] | None:
        """Return the pose of every frame as stored, None when there is no list."""
        file = File(self._tree(), path_in(folder, f"pose_{self.config.view}.txt"))
        if file.read_if_there() is None:
            return None
        poses = []
        for number, line in enumerate(file.text().splitlines(), 1):
            words = line.split()
            try:
                values = [float(word) for word in words]
            except ValueError:
                values = []
            if words and len(values) != _NUMBERS:
                raise DecodeError(
                    "not a list of poses",
                    where=f"{file.where}, line {number}",
                    expected="tx ty tz qx qy qz qw",
                    found=line[:120],
                )
            if words:
                poses.append(pose_of(values[:3], values[3:], "xyzw"))
        return poses


def depth_of_bytes(data: bytes, *, where: str) -> DepthImage:
    """Return depth (H, W) float32, metres as stored, of a PNG of four 8-bit channels; raise DecodeError for any other.

    Blue, green, red and alpha, in that order, are the bytes of a little-endian float32.
    """
    image = decode_as_stored(data, where=where)
    if image.dtype != np.uint8 or image.ndim != 3 or image.shape[2] != 4:
        raise DecodeError(
            "not a float in the bytes of an image",
            where=where,
            expected="a PNG of four 8-bit channels",
            found=f"{image.shape} {image.dtype}",
            remedy="was it saved again by a program that drops alpha? fetch it again",
        )
    # OpenCV gives the channels in just that order.
    return np.ascontiguousarray(image).view("<f4")[..., 0].astype(np.float32, copy=False)


def _npy_ids(data: bytes, *, where: str) -> npt.NDArray[np.uint16]:
    try:
        ids = load_npy(io.BytesIO(data))
    except (ValueError, EOFError, OSError) as error:
        raise DecodeError("the NPY file cannot be read", where=where, found=error) from None
    if (
        ids.ndim != 2
        or not np.issubdtype(ids.dtype, np.integer)
        or ids.min(initial=0) < 0
        or ids.max(initial=0) > 65535
    ):
        raise DecodeError("not an image of ids", where=where, expected="(H, W) uint8", found=f"{ids.shape} {ids.dtype}")
    return ids.astype(np.uint16)
