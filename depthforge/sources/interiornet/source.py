"""InteriorNet: 20 million views of 1.7 million furnished rooms, ray length, normals, NYU40 classes and poses.

Depth is stored as uint16 millimetres along the ray, 0 where it hit nothing, and becomes planar z in metres; poses
are camera-to-world with OpenGL axes and become OpenCV ones. HD1-HD6 hold trajectories of 1000 frames at two
lightings that share one geometry, HD7 holds 20 independent views a room. See ``tree`` for the files.
One core reads 250 depth frames a second, 160 with colour, classes and instances, 55 with normals as well; nearly
all of it is PNG decoding.
Paper: Li et al., "InteriorNet: mega-scale multi-sensor photo-realistic indoor scenes dataset", BMVC 2018.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from fnmatch import fnmatchcase
from pathlib import Path
from types import MappingProxyType
from typing import Literal, TypeVar

import cv2
import numpy as np
import numpy.typing as npt
from pydantic import Field

from depthforge.errors import DecodeError, MissingDataError, told
from depthforge.frame import Camera, Finding, Frame, FrameRef, Licence
from depthforge.geometry import encode_normals, ray_length_to_z
from depthforge.labels.catalogue import INSTANCE, NORMALS, POSE, RGB, SEMANTIC_NYU40
from depthforge.labels.spec import LabelSpec
from depthforge.registry import sources
from depthforge.sources.base import Report, Source, SourceConfig, ignore_findings
from depthforge.sources.file_tree import open_tree
from depthforge.sources.images import decode_depth, decode_ids, decode_rgb, decode_rgb16, require_size
from depthforge.sources.interiornet.poses import DEFAULT_CAMERA
from depthforge.sources.interiornet.tree import (
    PACKAGES,
    VIEWS_PACKAGE,
    Clip,
    InteriorNetTree,
    Locator,
    Scene,
)

__all__ = ["InteriorNet", "InteriorNetConfig"]

_LAST_NYU40 = 40
_METRES_PER_UNIT = np.float32(0.001)
_GL_TO_CV = np.diag([1.0, -1.0, -1.0])
# A stored vector this far from unit length means "no normal": 0 0 0 decodes to length 1.73, mid-grey to 0.
_UNIT_LENGTH = (0.5, 1.5)
_LAYOUTS = (
    "HD1..HD6/<scene>[.zip|.tar]/{lighting}_{{1,3,7}}_{{1,3,7}}/depth0/data/*.png, or "
    "HD7/<scene>[.zip|.tar]/depth0/data/*.png"
)
_TRY_WITHOUT_DATA = "depthforge sample --layout interiornet DIR, then export INTERIORNET_ROOT=DIR"

Scalar = TypeVar("Scalar", bound=np.generic)
Package = Literal["HD1", "HD2", "HD3", "HD4", "HD5", "HD6", "HD7"]


class InteriorNetConfig(SourceConfig):
    """The ``source`` block of a manifest that reads InteriorNet."""

    root: Path = Field(description="folder that holds HD1 .. HD7 and GroundTruth_HD1-HD6")
    packages: tuple[Package, ...] | None = Field(default=None, description="default: every package under root")
    lighting: Literal["original", "random"] = Field(
        default="original", description="which colour images; depth and labels are the same under both"
    )
    trajectories: tuple[Literal[1, 3, 7], ...] | None = Field(
        default=None, description="of HD1-HD6; default: every one found"
    )
    include: tuple[str, ...] = Field(default=("*",), description="globs of scene names to read")
    exclude: tuple[str, ...] = Field(default=(), description="globs of scene names to leave out")
    normals_frame: Literal["camera", "world"] = Field(
        default="camera",
        description="axes of the stored normals (undocumented): OpenGL camera axes, or the world's; "
        "`depthforge check` says when they point away from the camera",
    )


@sources.register("interiornet")
class InteriorNet(Source):
    """InteriorNet HD1-HD7 as it lies on disk, scenes as folders or archives.

    Keys: ``interiornet/HD7-<scene>/<view>`` and ``interiornet/HD5-<scene>/original_1_1-<frame>``. A scene is a room,
    so every trajectory of a room falls into the same split.
    """

    Config = InteriorNetConfig
    config: InteriorNetConfig
    typical_depth_m = (0.3, 20.0)
    licence: Licence = Licence(
        "InteriorNet terms of use: research only, non-commercial", True, "https://interiornet.org"
    )

    def __init__(self, config: InteriorNetConfig) -> None:
        self.config = config
        self._files = InteriorNetTree(config.root.expanduser(), config.lighting)

    @property
    def size(self) -> tuple[int, int]:
        return DEFAULT_CAMERA.size

    @property
    def labels(self) -> Mapping[str, LabelSpec]:
        return MappingProxyType({spec.name: spec for spec in (RGB, POSE, SEMANTIC_NYU40, INSTANCE, NORMALS)})

    def frames(self, report: Report = ignore_findings) -> Iterator[FrameRef]:
        num_scenes = num_frames = 0
        unmatched = set(self.config.include)
        for package in self._packages(report):
            for scene in self._files.scenes(package, report):
                num_scenes += 1
                matched = {pattern for pattern in self.config.include if fnmatchcase(scene.name, pattern)}
                unmatched -= matched
                if not matched or any(fnmatchcase(scene.name, pattern) for pattern in self.config.exclude):
                    continue
                for ref in self._scene_frames(scene, report):
                    num_frames += 1
                    yield ref
        if num_frames == 0:
            raise self._nothing(num_scenes)
        for pattern in sorted(unmatched):
            report(Finding("error", "", f"include: {pattern!r} matches no scene"))

    def read(self, ref: FrameRef, wanted: frozenset[str]) -> Frame:
        at = Locator.parse(ref.locator)
        clip = self._files.clip(at.entry, at.trajectory)
        poses = self._files.poses(at.entry, at.trajectory) if at.pose_row >= 0 else None
        camera = poses.camera(at.pose_row) if poses else DEFAULT_CAMERA
        depth_m = self._depth(clip, at.stem, camera)
        T_world_cam = poses.pose(at.pose_row) if poses and wanted & {"T_world_cam", "normals"} else None
        rgb = _optional(clip, f"{clip.rgb}/{at.stem}.png", camera, decode_rgb) if "rgb" in wanted else None
        labels: dict[str, npt.NDArray[np.generic]] = {}
        if "semantic" in wanted:
            path = f"{clip.labels}/{at.stem}_nyu.png"
            semantic = _optional(clip, path, camera, decode_ids)
            if semantic is not None:
                labels["semantic"] = _require_nyu40(semantic, where=clip.tree.describe(path))
        if "instance" in wanted:
            instance = _optional(clip, f"{clip.labels}/{at.stem}_instance.png", camera, decode_ids)
            if instance is not None:
                labels["instance"] = instance
        if "normals" in wanted:
            stored = _optional(clip, f"{clip.normals}/{at.stem}.png", camera, decode_rgb16)
            rotation = self._normals_rotation(T_world_cam)
            if stored is not None and rotation is not None:
                labels["normals"] = encode_normals(_unit_normals(stored, rotation))
        return Frame(
            key=ref.key,
            depth_m=depth_m,
            valid=depth_m > 0,
            camera=camera,
            rgb=rgb,
            T_world_cam=T_world_cam if "T_world_cam" in wanted else None,
            labels=labels,
        )

    def close(self) -> None:
        self._files.close()

    def _packages(self, report: Report) -> list[str]:
        try:
            folders = open_tree(self._files.root).scan("").folders
        except FileNotFoundError:
            raise self._nothing(0) from None
        found = [package for package in PACKAGES if package in folders]
        for package in self.config.packages or ():
            if package not in found:
                raise MissingDataError(
                    f"InteriorNet package {package} is not there",
                    where=self._files.root / package,
                    found=f"packages {', '.join(found)}" if found else "no package",
                    remedy=_TRY_WITHOUT_DATA,
                )
        for folder in sorted(folders):
            if folder.startswith("HD") and folder not in PACKAGES:
                report(Finding("warning", folder, "not a package of InteriorNet (HD1 .. HD7); ignored"))
        return [package for package in found if package in (self.config.packages or PACKAGES)]

    def _scene_frames(self, scene: Scene, report: Report) -> Iterator[FrameRef]:
        """Yield a room's frames in key order; a scene that cannot be read is reported and skipped."""
        try:
            refs = [
                FrameRef(f"{self.name}/{scene.package}-{scene.name}/{frame}", str(locator))
                for trajectory in self._trajectories(scene, report)
                for frame, locator in self._named_frames(scene, trajectory, report)
            ]
        except DecodeError as error:
            report(Finding("error", scene.entry, f"skipped: {error.message} ({error.found})", error.remedy))
            return
        except OSError as error:
            report(Finding("error", scene.entry, f"skipped: {error.strerror}"))
            return
        yield from refs

    def _named_frames(self, scene: Scene, trajectory: str, report: Report) -> Iterator[tuple[str, Locator]]:
        for number, locator in self._files.frames(scene, trajectory, report):
            yield f"{trajectory}-{number:07d}" if trajectory else f"{number:06d}", locator

    def _trajectories(self, scene: Scene, report: Report) -> list[str]:
        found = self._files.trajectories(scene)
        if scene.package == VIEWS_PACKAGE:
            return found
        if not found:
            report(Finding("error", scene.entry, f"no trajectory folder {self.config.lighting}_1_1, _3_3 or _7_7"))
        if self.config.trajectories is None:
            return found
        asked = [f"{self.config.lighting}_{number}_{number}" for number in sorted(set(self.config.trajectories))]
        for trajectory in asked:
            if found and trajectory not in found:
                report(Finding("warning", scene.entry, f"no trajectory {trajectory}"))
        return [trajectory for trajectory in asked if trajectory in found]

    def _nothing(self, num_scenes: int) -> MissingDataError:
        root = self._files.root
        try:
            names = sorted(path.name for path in root.iterdir())
        except OSError as error:
            found = f"no such folder ({error.strerror})"
        else:
            found = f"a folder with {told(names)}" if names else "it is empty"
        if num_scenes:
            found = f"{num_scenes} scenes, none of them readable and let through by include and exclude"
        return MissingDataError(
            "no InteriorNet frames",
            where=root,
            expected=_LAYOUTS.format(lighting=self.config.lighting),
            found=found,
            remedy=_TRY_WITHOUT_DATA,
        )

    def _depth(self, clip: Clip, stem: str, camera: Camera) -> npt.NDArray[np.float32]:
        path = f"{clip.depth}/{stem}.png"
        where = clip.tree.describe(path)
        try:
            ray_mm = decode_depth(clip.tree.read(path), where=where)
        except FileNotFoundError:
            raise DecodeError("the depth image has gone since it was listed", where=where) from None
        require_size(ray_mm, camera.size, where=where)
        depth = ray_length_to_z(ray_mm, camera)
        depth *= _METRES_PER_UNIT
        return depth

    def _normals_rotation(self, T_world_cam: npt.NDArray[np.float64] | None) -> npt.NDArray[np.float64] | None:
        """Return the rotation (3, 3) from the axes of stored normals to OpenCV camera axes; None when unknown."""
        if self.config.normals_frame == "camera":
            return _GL_TO_CV
        return None if T_world_cam is None else T_world_cam[:3, :3].T


def _optional(
    clip: Clip, path: str, camera: Camera, decode: Callable[..., npt.NDArray[Scalar]]
) -> npt.NDArray[Scalar] | None:
    """Return the decoded image at ``path``, or None when there is no such file."""
    data = clip.tree.read_if_there(path)
    if data is None:
        return None
    where = clip.tree.describe(path)
    image = decode(data, where=where)
    require_size(image, camera.size, where=where)
    return image


def _require_nyu40(semantic: npt.NDArray[np.uint16], *, where: str) -> npt.NDArray[np.uint16]:
    if semantic.max() > _LAST_NYU40:
        raise DecodeError("not NYU40 classes", where=where, expected=f"0 to {_LAST_NYU40}", found=semantic.max())
    return semantic


def _unit_normals(stored: npt.NDArray[np.uint16], rotation: npt.NDArray[np.float64]) -> npt.NDArray[np.float32]:
    """Decode n = 2 v / 65535 - 1, turn it by ``rotation`` and make it unit; (0, 0, 0) where there is no normal.

    Source: google-research `lighthouse/data_loader.py`.
    """
    affine = np.hstack([rotation * (2.0 / 65535.0), -rotation.sum(axis=1, keepdims=True)])
    normals = cv2.transform(stored.astype(np.float32), affine.astype(np.float32))
    length = np.sqrt(np.einsum("hwc,hwc->hw", normals, normals))
    is_normal = (length > _UNIT_LENGTH[0]) & (length < _UNIT_LENGTH[1])
    scale = np.divide(1.0, length, out=np.zeros_like(length), where=is_normal)
    normals *= scale[..., None]
    return np.asarray(normals, dtype=np.float32)
