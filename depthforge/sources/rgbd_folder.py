"""Any folder of depth images, described in the manifest: file names, unit, quantity, invalid codes, camera, poses.

This is how your own scans and your own simulator come in, and the public sequences that are a folder of images
(7-Scenes, Redwood, ICL-NUIM, SUN RGB-D). Nothing is guessed: a unit or an axis that is not stated has the default
written in the schema. One core reads 230 real depth frames a second. A data set with a structure of its own is better
served by a source of its own, which is about 200 lines.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from functools import lru_cache, partial
from types import MappingProxyType
from typing import Literal

import numpy as np
import numpy.typing as npt

from depthforge.errors import DecodeError, MissingDataError
from depthforge.frame import RGB_FILE, Camera, Finding, Frame, FrameRef, Licence
from depthforge.labels.catalogue import BOX_2D, BOX_CLASS, BOX_INSTANCE, INSTANCE, NORMALS, POSE, RGB
from depthforge.labels.spec import LabelSpec
from depthforge.registry import sources
from depthforge.sources.base import Report, Source, ignore_findings
from depthforge.sources.companions import Companions, Listings
from depthforge.sources.described_cameras import DescribedCameras
from depthforge.sources.described_depth import DescribedDepth
from depthforge.sources.described_frames import fits_no_frame, nothing_found, selected
from depthforge.sources.described_labels import box_labels, read_boxes, read_normals, same_view
from depthforge.sources.described_poses import DescribedPoses, FrameFiles
from depthforge.sources.file_tree import Tree, is_there, open_tree
from depthforge.sources.ids import ColourTable, DescribedIds, made_table
from depthforge.sources.images import Colour, read_colour, require_size
from depthforge.sources.rgbd_config import RgbdFolderConfig
from depthforge.sources.templates import PathTemplate

__all__ = ["RgbdFolder", "RgbdFolderConfig"]

SEMANTIC = LabelSpec("semantic", "uint16", "image", "class ids of the data set, 0 is unlabelled")
MASK = LabelSpec("mask", "bool", "image", "whether a pixel is in the mask of the data set")
_IDS = MappingProxyType({"semantic": SEMANTIC, "instance": INSTANCE, "mask": MASK})
_SHOWN_AS = MappingProxyType({"camera.matrix_file": "intrinsics"})

Has = Callable[[str, Mapping[str, str]], bool]


class _Opened:
    """What is open and kept while a folder is read."""

    def __init__(self, config: RgbdFolderConfig, tree: Tree, depth: PathTemplate) -> None:
        self.tree = tree
        self.listings = Listings(tree)
        self.cameras = DescribedCameras(config.camera, self.listings)
        self._depth = depth
        self.poses = None if config.pose is None else DescribedPoses(config.pose, self.listings, self.frames_of)

    def frames_of(self, fields: Mapping[str, str]) -> list[tuple[str, str]]:
        """Return (path of depth, frame) of every frame in the scene of a frame with these fields, in order of path."""
        return sorted((path, found["frame"]) for path, found in self._depth.frames_of(self.tree, fields))


@sources.register("rgbd_folder")
class RgbdFolder(Source):
    """Any folder of depth images, with colour, poses and labels, that the manifest describes.

    Keys: ``<dataset>/<scene>/<frame>``; a frame that is a whole number is padded to six digits. The scene is what
    {scene} and every other placeholder but {frame} match, joined by ``_``.
    """

    Config = RgbdFolderConfig
    adapter_version = 2
    ships_colour_files = True
    config: RgbdFolderConfig
    licence = Licence("stated in the manifest", True)

    def __init__(self, config: RgbdFolderConfig) -> None:
        self.config = config
        self.licence = Licence(**config.licence.model_dump())
        self._root = config.root
        self._template = PathTemplate(config.depth)
        self._depth = DescribedDepth(config)
        given = {name: getattr(config, name) for name in _IDS}
        self._ids = {name: DescribedIds(block) for name, block in given.items() if block is not None}
        self._companions = self._companion_files()
        names_images = ("colmap", "nerfstudio", "transforms_json")
        pose_format = None if config.pose is None else config.pose.format
        self._by_image = config.camera.format in names_images or pose_format in names_images
        self._open = lru_cache(1)(self._opened)
        self._first_size = lru_cache(1)(self._size_of_first)
        self._colours = lru_cache(16)(self._table_of_scene)

    @property
    def size(self) -> tuple[int, int]:
        stated = (self.config.camera.height, self.config.camera.width)
        return self._first_size() if stated[0] is None or stated[1] is None else (stated[0], stated[1])

    @property
    def labels(self) -> Mapping[str, LabelSpec]:
        config = self.config
        found = {RGB.name: RGB} if config.rgb else {}
        found |= {POSE.name: POSE} if config.pose is not None else {}
        for name, ids in self._ids.items():
            found[name] = _IDS[name] if name == "mask" else replace(_IDS[name], dtype=ids.block.dtype)
        found |= {NORMALS.name: NORMALS} if config.normals is not None else {}
        if config.boxes is not None:
            of_boxes = {spec.name: spec for spec in (BOX_2D, BOX_CLASS, BOX_INSTANCE)}
            found |= {name: of_boxes[name] for name in box_labels(config.boxes)}
        return MappingProxyType(found)

    def frames(self, report: Report = ignore_findings) -> Iterator[FrameRef]:
        opened = self._open()
        # A template that fits no frame is a slip of the pen: nothing is yielded until each has fitted one.
        waiting = set(self._per_frame(opened))
        held: list[FrameRef] = []
        found_any = False
        for files in self._template.scenes(opened.tree, self.config.scene):
            refs = selected(files, self._template, self.config, report)
            waiting -= self._report_unpaired(opened, refs, report)
            held += refs
            found_any = found_any or bool(refs)
            if not waiting:
                yield from held
                held = []
        if held:
            raise self._unmatched(opened, min(waiting), held[0].locator)
        if not found_any:
            raise nothing_found(opened.tree, self._root, self.config)

    def read(self, ref: FrameRef, wanted: frozenset[str]) -> Frame:
        opened, config = self._open(), self.config
        data = opened.tree.read_if_there(ref.locator)
        where = opened.tree.describe(ref.locator)
        if data is None:
            raise DecodeError("the depth image has gone since it was listed", where=where)
        stored = self._depth.stored(data, where=where)
        if not config.is_resampled:
            remedy = "`resize` gives images of several sizes the same one, `reframe` those of several cameras"
            require_size(stored, self.size, where=where, remedy=remedy)
        fields = self._fields(ref.locator)
        files = self._files(opened, ref.locator, fields)
        camera = opened.cameras.of(fields, files, stored.shape[:2])
        depth_m, valid = self._depth.to_metres(stored, camera)
        colour = self._read_colour(opened, fields, camera, wanted)
        needs_pose = "T_world_cam" in wanted or ("normals" in wanted and self._normals_are_of_world)
        T_world_cam = opened.poses.read(fields, files) if needs_pose and opened.poses is not None else None
        return Frame(
            key=ref.key,
            depth_m=depth_m,
            valid=valid,
            camera=camera,
            rgb=colour.rgb,
            rgb_file=colour.rgb_file,
            T_world_cam=T_world_cam if "T_world_cam" in wanted else None,
            labels=self._read_labels(opened, fields, camera, wanted, T_world_cam),
        )

    def close(self) -> None:
        for cache in (self._open, self._first_size, self._colours):
            cache.cache_clear()

    # --- listing ---------------------------------------------------------------------------------------------------

    def _opened(self) -> _Opened:
        if not is_there(self._root):
            raise MissingDataError(
                "no such folder",
                where=self._root,
                expected=f"a folder or archive with {self.config.depth}",
                remedy="depthforge synthesize manifests/demo.yaml needs no data",
            )
        return _Opened(self.config, open_tree(self._root), self._template)

    def _companion_files(self) -> dict[str, Companions]:
        templates: dict[str, list[str]] = {}
        for field, text in self.config.companion_templates():
            if field not in ("pose", "pose.stamps"):
                templates.setdefault(_SHOWN_AS.get(field, field), []).append(text)
        return {name: Companions(texts) for name, texts in templates.items()}

    def _fields(self, path: str) -> dict[str, str]:
        return {"scene": self.config.scene, **self._template.fields(path)}

    def _files(self, opened: _Opened, depth: str, fields: Mapping[str, str]) -> FrameFiles:
        colour = self._companions.get("rgb")
        path = colour.path(fields, opened.listings) if self._by_image and colour is not None else None
        return (depth,) if path is None else (path, depth)

    def _per_frame(self, opened: _Opened) -> dict[str, Has]:
        """Return, for everything that belongs to frames, whether a frame (path of depth, fields) has it."""
        found: dict[str, Has] = {}
        for name, companions in self._companions.items():
            found[name] = _has_file(companions, opened.listings)
        poses = opened.poses
        if poses is not None:
            found["T_world_cam"] = lambda path, fields: poses.has(fields, self._files(opened, path, fields))
        return found

    def _report_unpaired(self, opened: _Opened, refs: list[FrameRef], report: Report) -> set[str]:
        """Say how many frames have no colour image, pose or label, and return what some frame has."""
        paired = [(ref.locator, self._fields(ref.locator)) for ref in refs]
        some = set()
        for name, has in self._per_frame(opened).items():
            missing = [path for path, fields in paired if not has(path, fields)]
            if len(missing) < len(paired):
                some.add(name)
            if missing:
                severity: Literal["error", "warning"] = "error" if name == "intrinsics" else "warning"
                report(Finding(severity, missing[0], f"{len(missing)} of {len(refs)} frames have no {name} file"))
        return some

    def _unmatched(self, opened: _Opened, name: str, depth: str) -> MissingDataError:
        fields, pose = self._fields(depth), self.config.pose
        if name == "T_world_cam" and pose is not None:
            path = PathTemplate(pose.file).fill(fields, 0 if pose.is_list else pose.offset)
            return fits_no_frame(name, [pose.file], path, depth, opened.listings)
        templates = self._companions[name].templates
        return fits_no_frame(name, [text.text for text in templates], templates[0].fill(fields), depth, opened.listings)

    # --- reading ---------------------------------------------------------------------------------------------------

    def _size_of_first(self) -> tuple[int, int]:
        ref = next(iter(self.frames()))
        tree = self._open().tree
        height, width = self._depth.stored(tree.read(ref.locator), where=tree.describe(ref.locator)).shape
        return height, width

    @property
    def _normals_are_of_world(self) -> bool:
        return self.config.normals is not None and self.config.normals.space == "world"

    def _read_labels(
        self,
        opened: _Opened,
        fields: Mapping[str, str],
        camera: Camera,
        wanted: frozenset[str],
        T_world_cam: npt.NDArray[np.float64] | None,
    ) -> dict[str, npt.NDArray[np.generic]]:
        config = self.config
        labels: dict[str, npt.NDArray[np.generic]] = {}
        for name, ids in self._ids.items():
            file = self._file(opened, name, fields) if name in wanted else None
            if file is not None:
                scene = tuple(sorted((field, value) for field, value in fields.items() if field != "frame"))
                found = ids.read(file[0], partial(self._colours, name, scene), where=file[1])
                require_size(found, camera.size, where=file[1])
                labels[name] = found != 0 if name == "mask" else found
        if config.normals is not None and "normals" in wanted:
            file = self._file(opened, "normals", fields)
            if file is not None:
                labels["normals"] = read_normals(file[0], config.normals, T_world_cam, where=file[1])
                require_size(labels["normals"], camera.size, where=file[1])
        if config.boxes is not None and wanted & set(box_labels(config.boxes)):
            file = self._file(opened, "boxes", fields)
            if file is not None:
                found_boxes = read_boxes(file[0], config.boxes, camera, where=file[1])
                labels |= {name: rows for name, rows in found_boxes.items() if name in wanted}
        return labels

    def _file(self, opened: _Opened, name: str, fields: Mapping[str, str]) -> tuple[bytes, str] | None:
        """Return the bytes of a frame's companion file and how an error names it, None where there is none."""
        path = self._companions[name].path(fields, opened.listings)
        data = None if path is None else opened.tree.read_if_there(path)
        return None if data is None or path is None else (data, opened.tree.describe(path))

    def _table_of_scene(self, name: str, scene: tuple[tuple[str, str], ...]) -> ColourTable:
        opened, fields = self._open(), dict(scene)
        frames = (frame for _, frame in opened.frames_of(fields))
        files = (self._file(opened, name, {**fields, "frame": frame}) for frame in frames)
        return made_table(file for file in files if file is not None)

    def _read_colour(
        self, opened: _Opened, fields: Mapping[str, str], camera: Camera, wanted: frozenset[str]
    ) -> Colour:
        file = None
        if self.config.rgb and wanted & {RGB.name, RGB_FILE}:
            file = self._file(opened, "rgb", fields)
        if file is None:
            return Colour()
        data, where = file
        colour = read_colour(data, wanted, camera.size, where=where, any_size=True)
        if colour.rgb is None or colour.rgb.shape[:2] == camera.size:
            return colour
        return Colour(same_view(colour.rgb, camera, where=where))


def _has_file(companions: Companions, listings: Listings) -> Has:
    return lambda _, fields: companions.existing(fields, listings) is not None
