"""Virtual KITTI 1.3.1 and 2.0.3: five driving scenes of KITTI as a game engine renders them, ten times each.

Depth is stored as uint16 centimetres of planar z, 65535 for the sky and what is farther: both are invalid here. Poses
are world-to-camera and become camera-to-world. Each scene comes in ten variations: five camera directions, and five
kinds of weather or daylight that share the depth of ``clone`` bit for bit. By default those five are left out, since a
corpus of depth would otherwise hold the same frames six times, and a key's scene is the *world*, so that no split puts
variations of one frame on both sides. Colours stand for classes by a table of their own in each video.
One core reads 190 depth frames a second, 95 with colour, classes and instances, 60 with everything (1242x375, made-up
streets). See ``tree`` for the files.
Papers: Gaidon et al., "Virtual worlds as proxy for multi-object tracking analysis", CVPR 2016; Cabon et al., "Virtual
KITTI 2", 2020.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from functools import lru_cache
from types import MappingProxyType
from typing import Any, TypeVar

import numpy as np
import numpy.typing as npt

from depthforge.errors import DecodeError, InputError, MissingDataError, told
from depthforge.frame import RGB_FILE, BoolImage, Camera, DepthImage, Finding, Frame, FrameRef, Licence
from depthforge.geometry import invert_pose
from depthforge.labels.catalogue import (
    BASELINE,
    BOX_2D,
    BOX_CLASS,
    BOX_INSTANCE,
    BOX_POSE,
    BOX_SIZE,
    FLOW,
    INSTANCE,
    POSE,
    RGB,
    RGB_RIGHT,
)
from depthforge.labels.resize import resize_camera, resize_label
from depthforge.labels.spec import LabelSpec
from depthforge.registry import sources
from depthforge.sources.base import Report, Source, SourceConfig, ignore_findings
from depthforge.sources.images import Colour, decode_depth, decode_rgb, decode_rgb16, read_colour, require_size
from depthforge.sources.vkitti.config import SHIPPED, VARIATIONS, VkittiConfig
from depthforge.sources.vkitti.palette import decode_palette_indices
from depthforge.sources.vkitti.tables import (
    View,
    no_boxes,
)
from depthforge.sources.vkitti.tree import V1, V2, Locator, VkittiTree
from depthforge.sources.vkitti.video import VideoTables

__all__ = ["Vkitti", "VkittiConfig"]

_SAME_DEPTH = ("clone", "fog", "morning", "overcast", "rain", "sunset")

SEMANTIC = LabelSpec("semantic", "uint16", "image", "Virtual KITTI class ids, 0 is unlabelled", vocabulary="vkitti")
_BOX_SPECS = (replace(BOX_CLASS, vocabulary="vkitti"), BOX_INSTANCE, BOX_2D, BOX_POSE, BOX_SIZE)
_BOX_NAMES = frozenset(spec.name for spec in _BOX_SPECS)
_SPECS = (RGB, POSE, SEMANTIC, INSTANCE, FLOW, RGB_RIGHT, BASELINE, *_BOX_SPECS)

_INTRINSICS = {V1: (725.0, 725.0, 620.5, 187.0), V2: (725.0087, 725.0087, 620.5, 187.0)}
_BASELINE_M = 0.532725
_METRES_PER_UNIT = 0.01
_FAR = 65535
# From a car the road before it is always in view: 6 m away, less when a car stands in the way.
_NEAREST_M = (0.2, 40.0)
_MOST_ZEROS = 0.5
_LAYOUT = (
    "vkitti_1.3.1_depthgt/<world>/<variation>/*.png, vkitti_2.0.3_depth/Scene01/<variation>/frames/depth/..., or "
    "Scene01/<variation>/frames/depth/Camera_0/depth_*.png"
)
_TRY_WITHOUT_DATA = "depthforge sample --layout vkitti DIR, then export VKITTI_ROOT=DIR"

Scalar = TypeVar("Scalar", bound=np.generic)


@sources.register("vkitti")
class Vkitti(Source):
    """Virtual KITTI as it lies on disk.

    Keys: ``vkitti/Scene01/clone-00012`` (1.3.1) and ``vkitti/Scene01/clone-camera0-00012`` (2.0.3).
    """

    Config = VkittiConfig
    ships_colour_files = True
    config: VkittiConfig
    licence = Licence(
        "CC BY-NC-SA 3.0", True, "https://europe.naverlabs.com/research/computer-vision/proxy-virtual-worlds-vkitti-2/"
    )

    def __init__(self, config: SourceConfig) -> None:
        assert isinstance(config, VkittiConfig)
        self.config = config
        self._files = VkittiTree(config.root.expanduser())
        self._tables = VideoTables(self._files)

    @property
    def size(self) -> tuple[int, int]:
        return self.config.stored_size.height, self.config.stored_size.width

    @property
    def labels(self) -> Mapping[str, LabelSpec]:
        absent = {RGB_RIGHT.name, BASELINE.name} if self.config.camera == 1 or self.config.version == V1 else set()
        return MappingProxyType({spec.name: spec for spec in _SPECS if spec.name not in absent})

    # -- what there is --------------------------------------------------------------------------------------------

    def frames(self, report: Report = ignore_findings) -> Iterator[FrameRef]:
        version = self._version(report)
        found_any = False
        worlds = {_scene_name(world): world for world in self._files.worlds(version)}
        for asked in self.config.worlds or ():
            if asked not in worlds:
                report(Finding("error", asked, "no such world under root"))
        for name in sorted(worlds):
            if self.config.worlds is None or name in self.config.worlds:
                for variation in self._variations(version, worlds[name], report):
                    for ref in self._video(version, name, worlds[name], variation, report):
                        found_any = True
                        yield ref
        if not found_any:
            raise self._nothing(f"no frame in {', '.join(sorted(worlds)) or 'any world'}")

    def _version(self, report: Report) -> str:
        config = self.config
        try:
            there = self._files.versions(report)
        except FileNotFoundError:
            raise self._nothing("no such folder") from None
        if not there:
            raise self._nothing(self._names_under_root())
        if config.version == "auto":
            if len(there) > 1:
                raise InputError(
                    "both versions of Virtual KITTI are there",
                    where=self._files.root,
                    found=" and ".join(there),
                    remedy=f"say which: `version: {V2}` in the source block",
                )
            version = there[0]
        else:
            version = config.version
            if version not in there:
                raise MissingDataError(
                    f"no depth of Virtual KITTI {version}",
                    where=self._files.root,
                    expected=_LAYOUT,
                    found=f"version {there[0]}",
                    remedy=f"`version: {there[0]}` in the source block, or fetch the depth of {version}",
                )
        if version == V1 and config.camera == 1:
            raise InputError(
                "Virtual KITTI 1.3.1 has one camera", where="source.camera", expected="0", found=1,
                remedy="the stereo pair came with 2.0.3",
            )  # fmt: skip
        return version

    def _variations(self, version: str, world: str, report: Report) -> list[str]:
        """Return the variations of a world to read, sorted; those that repeat the depth of another are left out."""
        there = self._files.variations(version, world)
        for name in there:
            if name not in VARIATIONS:
                report(Finding("warning", f"{world}/{name}", "not a variation of Virtual KITTI; ignored"))
        known = [name for name in VARIATIONS if name in there]
        if self.config.variations is not None:
            for name in self.config.variations:
                if name not in known:
                    report(Finding("warning", f"{world}/{name}", "this variation is not there"))
            return [name for name in known if name in self.config.variations]
        alike = [name for name in _SAME_DEPTH if name in known]
        repeats = alike[1:]
        if repeats:
            count = sum(len(self._files.frames(version, world, name, "depth", self.config.camera)) for name in repeats)
            message = f"{count} frames of {', '.join(repeats)} left out: they have the depth of {alike[0]}"
            report(Finding("warning", world, message, "name them under `variations` to read them too"))
        return [name for name in known if name not in repeats]

    def _video(self, version: str, name: str, world: str, variation: str, report: Report) -> Iterator[FrameRef]:
        camera = self.config.camera
        path = f"{world}/{variation}"
        numbers = self._files.frames(version, world, variation, "depth", camera)
        if not numbers:
            report(Finding("error", path, f"no depth images of camera {camera}"))
            return
        expected = set(range(max(numbers) + 1))
        try:
            poses = self._tables.poses(version, world, variation)
        except DecodeError as error:
            report(Finding("error", path, f"frames have no pose: {error.message} ({error.found})", error.remedy))
        else:
            expected |= {view.frame for view in poses if view.camera == camera}
            if not poses:
                report(Finding("warning", path, "no table of extrinsics: frames have no pose"))
        if missing := len(expected - numbers):
            remedy = "unpack the archive of depth again"
            report(Finding("error", path, f"{missing} of {len(expected)} depth images are missing", remedy))
        for what in ("rgb", "semantic", "instance"):
            others = self._files.frames(version, world, variation, what, camera)
            if missing := len(numbers - others):
                report(Finding("warning", path, f"{missing} of {len(numbers)} frames have no {what} image"))
        middle = "" if version == V1 else f"camera{camera}-"
        for number in sorted(numbers):
            key = f"{self.name}/{name}/{variation}-{middle}{number:05d}"
            yield FrameRef(key, str(Locator(version, world, variation, number)))

    def _names_under_root(self) -> str:
        names = sorted(path.name for path in self._files.root.iterdir()) if self._files.root.is_dir() else []
        return f"a folder with {told(names)}" if names else "it is empty"

    def _nothing(self, found: str) -> MissingDataError:
        return MissingDataError(
            "no Virtual KITTI frames", where=self._files.root, expected=_LAYOUT, found=found, remedy=_TRY_WITHOUT_DATA
        )

    # -- one frame ------------------------------------------------------------------------------------------------

    def read(self, ref: FrameRef, wanted: frozenset[str]) -> Frame:
        at = Locator.parse(ref.locator)
        video, view = (at.version, at.world, at.variation), View(at.frame, self.config.camera)
        T_world_cam = self._pose(video, view) if wanted & {POSE.name, BASELINE.name} else None
        is_left = at.version == V2 and self.config.camera == 0
        baseline_m = self._baseline(video, at.frame) if is_left else None
        camera = self._camera(at, view, baseline_m)
        depth_m, valid = self._depth(at)
        colour = self._colour(at, wanted)
        labels: dict[str, Any] = {}
        if wanted & {SEMANTIC.name, INSTANCE.name}:
            labels |= self._segments(at, wanted)
        if FLOW.name in wanted:
            labels[FLOW.name] = self._flow(at)
        if RGB_RIGHT.name in wanted and is_left:
            labels[RGB_RIGHT.name] = self._image(at, "rgb", decode_rgb, camera=1)
        if BASELINE.name in wanted and is_left:
            labels[BASELINE.name] = np.array(baseline_m, np.float64)
        if wanted & _BOX_NAMES:
            labels |= self._box_labels(video, view, wanted)
        return Frame(
            key=ref.key,
            depth_m=depth_m,
            valid=valid,
            camera=camera,
            rgb=colour.rgb,
            rgb_file=colour.rgb_file,
            T_world_cam=T_world_cam if POSE.name in wanted else None,
            labels={name: value for name, value in labels.items() if value is not None},
        )

    def close(self) -> None:
        self._tables.close()
        self._files.close()

    def _depth(self, at: Locator) -> tuple[DepthImage, BoolImage]:
        file = self._files.image(at, "depth", self.config.camera)
        data = None if file is None else file.read_if_there()
        if file is None or data is None:
            where = self._files.root if file is None else file.where
            raise DecodeError("the depth image has gone since it was listed", where=where)
        stored = decode_depth(data, where=file.where)
        require_size(stored, self.size, where=file.where)
        if stored.dtype != np.uint16:
            raise DecodeError("not Virtual KITTI depth", where=file.where, expected="uint16", found=stored.dtype)
        depth_m = _metres().take(stored.astype(np.uint16, copy=False))
        valid = depth_m > 0
        _require_centimetres(stored, depth_m, valid, file.where)
        if self.config.max_depth_m is not None:
            valid &= depth_m <= np.float32(self.config.max_depth_m)
            depth_m[~valid] = 0.0
        return depth_m, valid

    def _file(self, at: Locator, what: str, camera: int | None = None) -> tuple[bytes, str] | None:
        """Return the content of an image file and where it lies, or None when there is none."""
        file = self._files.image(at, what, self.config.camera if camera is None else camera)
        data = None if file is None else file.read_if_there()
        return None if file is None or data is None else (data, file.where)

    def _image(
        self, at: Locator, what: str, decode: Callable[..., npt.NDArray[Scalar]], *, camera: int | None = None
    ) -> npt.NDArray[Scalar] | None:
        """Return a decoded image of this size, or None when there is none."""
        found = self._file(at, what, camera)
        if found is None:
            return None
        data, where = found
        image = decode(data, where=where)
        require_size(image, self.size, where=where)
        return image

    def _colour(self, at: Locator, wanted: frozenset[str]) -> Colour:
        found = self._file(at, "rgb") if wanted & {RGB.name, RGB_FILE} else None
        return Colour() if found is None else read_colour(found[0], wanted, self.size, where=found[1])

    def _segments(self, at: Locator, wanted: frozenset[str]) -> dict[str, Any]:
        """Return those of semantic and instance that are wanted and there."""
        labels: dict[str, Any] = {}
        in_colours = wanted & ({SEMANTIC.name, INSTANCE.name} if at.version == V1 else {SEMANTIC.name})
        colours = self._image(at, "semantic", decode_rgb) if in_colours else None
        if colours is not None:
            file = self._files.image(at, "semantic", self.config.camera)
            assert file is not None
            table = self._tables.colours(at.version, at.world, at.variation)
            if table is None:
                raise DecodeError(
                    "the classes of this video cannot be decoded: its table of colours is missing",
                    where=file.where,
                    expected="vkitti_1.3.1_scenegt/<world>_<variation>_scenegt_rgb_encoding.txt"
                    if at.version == V1
                    else f"{at.world}/{at.variation}/colors.txt, of vkitti_2.0.3_textgt",
                    remedy="unpack it, or leave out semantic and instance (`labels: {semantic: off, instance: off}`)",
                )
            semantic, instance = table.decode(colours, where=file.where)
            if SEMANTIC.name in wanted:
                labels[SEMANTIC.name] = semantic
            if INSTANCE.name in wanted and at.version == V1:
                labels[INSTANCE.name] = instance
        if INSTANCE.name in wanted and at.version == V2:
            labels[INSTANCE.name] = self._image(at, "instance", decode_palette_indices)
        return labels

    def _flow(self, at: Locator) -> npt.NDArray[np.float32] | None:
        stored = self._image(at, "flow", decode_rgb16)
        if stored is None:
            return None
        height, width = self.size
        span = np.array([width - 1, height - 1], np.float32)
        flow = (stored[..., :2].astype(np.float32) * np.float32(2.0 / 65535.0) - np.float32(1.0)) * span
        flow[stored[..., 2] == 0] = np.nan
        return np.asarray(flow, np.float32)

    def _box_labels(self, video: tuple[str, str, str], view: View, wanted: frozenset[str]) -> dict[str, Any]:
        boxes = self._tables.boxes(*video)
        if boxes is None:
            return {}
        here = boxes.get(view) or no_boxes()
        shipped = Camera(1.0, 1.0, 0.0, 0.0, *SHIPPED)
        width, height = self.config.stored_size.width, self.config.stored_size.height
        values = {
            BOX_CLASS.name: here.classes.copy(),
            BOX_INSTANCE.name: here.instances.copy(),
            BOX_2D.name: resize_label(here.box_2d, BOX_2D, shipped, width, height).copy(),
            BOX_POSE.name: here.pose.copy(),
            BOX_SIZE.name: here.size.copy(),
        }
        return {name: value for name, value in values.items() if name in wanted}

    def _camera(self, at: Locator, view: View, baseline_m: float | None) -> Camera:
        intrinsics = self._tables.intrinsics(at.version, at.world, at.variation).get(view, _INTRINSICS[at.version])
        shipped = Camera(*intrinsics, *SHIPPED, baseline_m)
        return resize_camera(shipped, self.config.stored_size.width, self.config.stored_size.height)

    def _pose(self, video: tuple[str, str, str], view: View) -> npt.NDArray[np.float64] | None:
        pose = self._tables.poses(*video).get(view)
        return None if pose is None else pose.copy()

    def _baseline(self, video: tuple[str, str, str], frame: int) -> float:
        """Return how far right the other camera stands, by their poses; the documented distance without them."""
        left, right = (self._tables.poses(*video).get(View(frame, camera)) for camera in (0, 1))
        if left is None or right is None:
            return _BASELINE_M
        return float((invert_pose(left) @ right)[0, 3])


def _scene_name(world: str) -> str:
    """Return the name of a world in version 2: 0001 and scene01 are Scene01."""
    return f"Scene{int(world[-4:].lstrip('scenSCEN')):02d}"


@lru_cache(maxsize=1)
def _metres() -> npt.NDArray[np.float32]:
    """Return what each of the 65536 codes is in metres, 0 for the sky."""
    metres = (np.arange(1 << 16) * _METRES_PER_UNIT).astype(np.float32)
    metres[_FAR] = 0.0
    return metres


def _require_centimetres(stored: npt.NDArray[Any], depth_m: DepthImage, valid: BoolImage, where: str) -> None:
    """Raise DecodeError for depth that no camera on a car sees: sparse, or in another unit."""
    zeros = 1.0 - np.count_nonzero(stored) / stored.size
    if zeros > _MOST_ZEROS:
        raise DecodeError(
            "not Virtual KITTI depth, which has a value at every pixel",
            where=where,
            found=f"{zeros:.0%} of the pixels are 0",
            remedy="sparse depth is that of a lidar: read KITTI with `name: kitti`",
        )
    if not valid.any():
        return
    nearest = float(depth_m[valid].min())
    if not _NEAREST_M[0] <= nearest <= _NEAREST_M[1]:
        raise DecodeError(
            "depth is in the wrong unit",
            where=where,
            expected=f"centimetres: the nearest surface {_NEAREST_M[0]:g} to {_NEAREST_M[1]:g} m away",
            found=f"{nearest:g} m",
            remedy="use the depth images as they are shipped; a copy in other units is read with `name: rgbd_folder`",
        )
