"""Output of NVIDIA Replicator's BasicWriter, as Isaac Sim writes it: depth, colour, camera, segmentations.

Depth is ``distance_to_image_plane`` (planar z), in its absence ``distance_to_camera`` (along the ray), metres, infinite
where there is nothing; the PNGs beside it are for viewing. Colours of segmentations differ from frame to frame, so ids
are made from names: a class is its place in ``classes`` of the manifest, or among all names that the data set has,
sorted; an instance is the place of its prim among those of its scene. For that the JSON of all frames is read once in a
process. One core, 1280x720, beside other work: 220 frames a second of depth, 8 with all labels, most of it the decoding
of three PNGs.
Source: omni.replicator.core 1.12, BasicWriter; Isaac Sim 5.1.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from functools import lru_cache, partial
from pathlib import Path
from types import MappingProxyType
from typing import Any, Final, Literal

import numpy as np
import numpy.typing as npt
from pydantic import Field

from depthforge.errors import DecodeError, DepthforgeError, MissingDataError, told
from depthforge.frame import RGB_FILE, Camera, Finding, Frame, FrameRef, Licence
from depthforge.geometry import ray_length_to_z
from depthforge.labels.catalogue import INSTANCE, POSE, RGB
from depthforge.labels.spec import LabelSpec
from depthforge.pinhole import PinholeBlock
from depthforge.registry import sources
from depthforge.sources.base import Report, Source, SourceConfig, ignore_findings
from depthforge.sources.file_tree import Tree, open_tree
from depthforge.sources.images import Colour, read_colour, require_size
from depthforge.sources.replicator.files import (
    CameraParams,
    decode_npy_depth,
    parse_camera_params,
    parse_json,
    segments_of,
)
from depthforge.sources.replicator.tree import FrameFiles, find_frames
from depthforge.sources.rgbd_config import LicenceBlock

__all__ = ["Replicator", "ReplicatorConfig"]

SEMANTIC: Final = LabelSpec(
    "semantic", "uint16", "image", "class by `classes` of the manifest, or by the sorted names, from 1; 0 is none"
)
_NO_CLASS: Final = frozenset({"BACKGROUND", "UNLABELLED"})
_INSTANCES: Final = ("instance_segmentation", "instance_id_segmentation")
_COLOUR_SUFFIXES: Final = ("png", "jpg", "jpeg")


class ReplicatorConfig(SourceConfig):
    """The ``source`` block of a manifest that reads output of Replicator's BasicWriter."""

    root: Path = Field(description="BasicWriter's output_dir, or a .zip or .tar of it; each render product is a scene")
    camera: PinholeBlock | None = Field(default=None, description="where no camera_params were written")
    metres_per_unit: float | None = Field(
        default=None, gt=0, description="of the stage, for poses; left out: as camera_params say. Depth is in metres"
    )
    classes: tuple[str, ...] | None = Field(
        default=None, description="names of the classes, the first is 1; left out: all that occur, sorted"
    )
    semantic_type: str = Field(default="class", description="which type of semantics to read")
    nested_class: Literal["whole", "first", "last"] = Field(
        default="whole",
        description="of a prim within labelled prims (`rectangle, cube`): the text as a class of its own, or one part",
    )
    max_depth_m: float | None = Field(default=None, gt=0, description="farther is no measurement")
    every: int = Field(default=1, ge=1, description="read every n-th frame of a scene")
    licence: LicenceBlock = LicenceBlock(name="not stated; ask the owner of the data", non_commercial=True)


@sources.register("replicator")
class Replicator(Source):
    """What NVIDIA Replicator's `BasicWriter` writes, from Isaac Sim and Omniverse.

    Keys: ``replicator/<render product>/<frame>``, six digits; the product is ``all`` where there is one alone.
    """

    Config = ReplicatorConfig
    config: ReplicatorConfig
    ships_colour_files = True
    licence = Licence("stated in the manifest", True)

    def __init__(self, config: SourceConfig) -> None:
        assert isinstance(config, ReplicatorConfig)
        self.config = config
        self.licence = Licence(**config.licence.model_dump())
        self._root = config.root.expanduser()
        self._tree = lru_cache(1)(self._open)
        self._scenes = lru_cache(1)(self._find_scenes)
        self._first_camera = lru_cache(1)(self._find_camera)
        self._classes = lru_cache(1)(self._number_classes)
        self._prims = lru_cache(4)(self._number_prims)

    @property
    def size(self) -> tuple[int, int]:
        """(height, width) as the manifest states it, else that of the first frame, whose camera is read for it."""
        return self.config.camera.camera().size if self.config.camera is not None else self._first_camera().size

    @property
    def labels(self) -> Mapping[str, LabelSpec]:
        """Whatever BasicWriter may have been asked for; a frame carries what there are files of."""
        return MappingProxyType({spec.name: spec for spec in (RGB, SEMANTIC, INSTANCE, POSE)})

    def frames(self, report: Report = ignore_findings) -> Iterator[FrameRef]:
        for scene, frames in self._scenes().items():
            for frame in frames[:: self.config.every]:
                yield FrameRef(f"{self.name}/{scene}/{frame.name}", str(frame))
        # Numbering the classes reads the JSON of every frame: only for who wants to be told.
        if self.config.classes is None and report is not ignore_findings:
            self._report_classes(report)

    def read(self, ref: FrameRef, wanted: frozenset[str]) -> Frame:
        frame = FrameFiles.parse(ref.locator)
        if frame is None:
            raise DecodeError("no file of depth", where=ref.locator)
        where = self._tree().describe(ref.locator)
        depth_m = decode_npy_depth(self._read(ref.locator), where=where)
        params = self._params(frame)
        camera = self._camera(params, where)
        require_size(depth_m, camera.size, where=where)
        if frame.depth == "distance_to_camera":
            depth_m = ray_length_to_z(depth_m, camera)
        if self.config.max_depth_m is not None:
            depth_m[depth_m > self.config.max_depth_m] = 0
        colour = self._colour(frame, camera.size, wanted)
        pose = self._pose(frame, params) if POSE.name in wanted and params is not None else None
        labels: dict[str, npt.NDArray[np.generic]] = {}
        for label, read in (("semantic", self._semantic), ("instance", self._instance)):
            image = read(frame) if label in wanted else None
            if image is not None:
                require_size(image, camera.size, where=where)
                labels[label] = image
        return Frame(ref.key, depth_m, depth_m > 0, camera, colour.rgb, pose, labels, colour.rgb_file)

    def close(self) -> None:
        for cache in (self._tree, self._scenes, self._first_camera, self._classes, self._prims):
            cache.cache_clear()

    def _open(self) -> Tree:
        if not self._root.exists():
            raise MissingDataError(
                "no such folder",
                where=self._root,
                expected="the output_dir of Replicator's BasicWriter",
                remedy="none at hand: depthforge sample --layout replicator DIR",
            )
        return open_tree(self._root)

    def _find_scenes(self) -> dict[str, list[FrameFiles]]:
        tree = self._tree()
        scenes = find_frames(tree)
        if not scenes:
            listing = tree.scan("")
            names = sorted([f"{name}/" for name in listing.folders] + listing.files)
            raise MissingDataError(
                "no depth of Replicator",
                where=self._root,
                expected="distance_to_image_plane_####.npy or distance_to_camera_####.npy (PNGs are for viewing)",
                found=told(names, none="an empty folder"),
                remedy="BasicWriter: initialize(distance_to_image_plane=True, camera_params=True, ...)",
            )
        return scenes

    def _find_camera(self) -> Camera:
        frame = next(iter(self._scenes().values()))[0]
        return self._camera(self._params(frame), self._tree().describe(str(frame)))

    def _read(self, path: str) -> bytes:
        data = self._tree().read_if_there(path)
        if data is None:
            raise DecodeError("the file has gone since it was listed", where=self._tree().describe(path))
        return data

    def _params(self, frame: FrameFiles) -> CameraParams | None:
        path = frame.path("camera_params", "json")
        data = self._tree().read_if_there(path)
        return None if data is None else parse_camera_params(data, where=self._tree().describe(path))

    def _camera(self, params: CameraParams | None, where: str) -> Camera:
        if self.config.camera is not None:
            return self.config.camera.camera()
        if params is None:
            raise DecodeError(
                "a frame without intrinsics",
                where=where,
                expected="camera_params_####.json beside it, or `camera:` in the source block",
                remedy="BasicWriter: initialize(camera_params=True, ...)",
            )
        return params.camera

    def _pose(self, frame: FrameFiles, params: CameraParams) -> npt.NDArray[np.float64] | None:
        where = self._tree().describe(frame.path("camera_params", "json"))
        metres = self.config.metres_per_unit or params.metres_per_unit
        if metres is None:
            raise DecodeError(
                "a pose in units of the stage that are not stated",
                where=where,
                expected="metersPerSceneUnit, or `metres_per_unit` in the source block",
                remedy="0.01 for a stage in centimetres",
            )
        return params.pose(metres, where=where)

    def _colour(self, frame: FrameFiles, size: tuple[int, int], wanted: frozenset[str]) -> Colour:
        if wanted & {RGB.name, RGB_FILE}:
            for suffix in _COLOUR_SUFFIXES:
                path = frame.path("rgb", suffix)
                data = self._tree().read_if_there(path)
                if data is not None:
                    return read_colour(data, wanted, size, where=self._tree().describe(path))
        return Colour()

    def _semantic(self, frame: FrameFiles) -> npt.NDArray[np.uint16] | None:
        return self._segmented(frame, "semantic_segmentation", "labels", self._class_of, self._classes)

    def _instance(self, frame: FrameFiles) -> npt.NDArray[np.uint16] | None:
        for annotator in _INSTANCES:
            numbers_of = partial(self._prims, frame.scene, annotator)
            image = self._segmented(frame, annotator, "mapping", _prim_of, numbers_of)
            if image is not None:
                return image
        return None

    def _segmented(
        self,
        frame: FrameFiles,
        annotator: str,
        table: str,
        name_of: Callable[[Any], str | None],
        numbers_of: Callable[[], Mapping[str, int]],
    ) -> npt.NDArray[np.uint16] | None:
        """Return the ids of a segmentation by name; None where either of its two files is missing."""
        path = frame.path(annotator, "png")
        where = self._tree().describe(path)
        png = self._tree().read_if_there(path)
        entries = self._names(frame, annotator, table)
        if png is None or entries is None:
            return None
        segments = segments_of(png, entries, where=where)
        numbers = numbers_of()
        ids = np.zeros(max(len(segments.values), 1), np.uint16)
        for index, value in enumerate(segments.values):
            name = name_of(value)
            if name is not None and name not in numbers:
                raise DecodeError(
                    "a class that the manifest does not state",
                    where=where,
                    expected=told(numbers),
                    found=name[:80],
                    remedy="add it to `classes` of the source, at the end",
                )
            ids[index] = 0 if name is None else numbers[name]
        return ids.take(segments.places)

    def _names(self, frame: FrameFiles, annotator: str, table: str) -> dict[str, Any] | None:
        path = frame.path(f"{annotator}_{table}", "json", annotator)
        data = self._tree().read_if_there(path)
        return None if data is None else parse_json(data, where=self._tree().describe(path))

    def _class_of(self, value: Any) -> str | None:
        name = value.get(self.config.semantic_type) if isinstance(value, dict) else None
        if not isinstance(name, str) or name in _NO_CLASS:
            return None
        if self.config.nested_class == "whole":
            return name
        parts = [part.strip() for part in name.split(",")]
        return parts[0] if self.config.nested_class == "first" else parts[-1]

    def _number_classes(self) -> dict[str, int]:
        names = self.config.classes
        if names is None:
            frames = [frame for frames in self._scenes().values() for frame in frames]
            names = self._sorted_names(frames, "semantic_segmentation", "labels", self._class_of)
        return {name: number for number, name in enumerate(names, 1)}

    def _number_prims(self, scene: str, annotator: str) -> dict[str, int]:
        names = self._sorted_names(self._scenes()[scene], annotator, "mapping", _prim_of)
        return {name: number for number, name in enumerate(names, 1)}

    def _sorted_names(
        self, frames: list[FrameFiles], annotator: str, table: str, name_of: Callable[[Any], str | None]
    ) -> tuple[str, ...]:
        """Return every name in the JSON of these frames; a file that is damaged names nothing, and fails its frame."""
        found: set[str] = set()
        for frame in frames:
            try:
                entries = self._names(frame, annotator, table) or {}
            except DepthforgeError:
                continue
            found.update(name for value in entries.values() if (name := name_of(value)) is not None)
        if len(found) > 65535:
            raise DecodeError("more names than ids", where=self._root, expected="65535 at most", found=len(found))
        return tuple(sorted(found))

    def _report_classes(self, report: Report) -> None:
        numbers = self._classes()
        if numbers:
            named = told(f"{name} {number}" for name, number in numbers.items())
            message = f"classes are numbered by the names that occur: {named}"
            report(
                Finding("warning", ".", message, "state `classes:` in the source, so that other data has the same ids")
            )


def _prim_of(value: Any) -> str | None:
    name = value if isinstance(value, str) else None
    return None if name is None or name in _NO_CLASS else name
