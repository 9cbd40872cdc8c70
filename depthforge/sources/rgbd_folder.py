"""Any folder of depth images, described in the manifest: file names, unit, quantity, invalid codes, camera, poses.

This is how your own scans come in, and the public sequences that are a folder of PNGs (7-Scenes, Redwood, ICL-NUIM,
TUM, SUN RGB-D). Nothing is guessed: a unit or an axis that is not stated has the default written in the schema.
One core reads 230 real depth frames a second. A data set with a structure of its own is better served by a source
of its own, which is about 200 lines.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from fnmatch import fnmatchcase
from functools import lru_cache
from types import MappingProxyType

import cv2
import numpy as np
import numpy.typing as npt

from depthforge.errors import DecodeError, FrameError, InputError, MissingDataError
from depthforge.frame import RGB_FILE, BoolImage, Camera, DepthImage, Finding, Frame, FrameRef, Licence
from depthforge.geometry import ray_length_to_z
from depthforge.labels.catalogue import INSTANCE, POSE, RGB
from depthforge.labels.spec import LabelSpec
from depthforge.registry import sources
from depthforge.sources.base import Report, Source, ignore_findings
from depthforge.sources.conventions import to_house_pose
from depthforge.sources.file_tree import Tree, open_tree
from depthforge.sources.images import Colour, decode_depth, decode_ids, decode_relative_depth, read_colour, require_size
from depthforge.sources.pose_files import parse_matrix, parse_trajectory_log
from depthforge.sources.rgbd_config import RgbdFolderConfig
from depthforge.sources.templates import PathTemplate
from depthforge.sources.tree_file import names_in

__all__ = ["RgbdFolder", "RgbdFolderConfig"]

SEMANTIC = LabelSpec("semantic", "uint16", "image", "class ids of the data set, 0 is unlabelled")


@sources.register("rgbd_folder")
class RgbdFolder(Source):
    """Any folder of depth images, with colour and poses, that the manifest describes.

    Keys: ``<dataset>/<scene>/<frame>``; a frame that is a whole number is padded to six digits.
    """

    Config = RgbdFolderConfig
    ships_colour_files = True
    config: RgbdFolderConfig
    licence = Licence("stated in the manifest", True)

    def __init__(self, config: RgbdFolderConfig) -> None:
        self.config = config
        self.licence = Licence(**config.licence.model_dump())
        self._root = config.root.expanduser()
        self._depth = PathTemplate(config.depth)
        self._tree = lru_cache(1)(self._open)
        self._trajectory = lru_cache(16)(self._read_trajectory)
        self._camera = lru_cache(1)(self._read_camera)
        self._metres = lru_cache(1)(self.metres_of_codes)

    @property
    def size(self) -> tuple[int, int]:
        return self.config.camera.height, self.config.camera.width

    @property
    def labels(self) -> Mapping[str, LabelSpec]:
        config = self.config
        given = ((RGB, config.rgb), (POSE, config.pose), (SEMANTIC, config.semantic), (INSTANCE, config.instance))
        return MappingProxyType({spec.name: spec for spec, where in given if where is not None})

    def frames(self, report: Report = ignore_findings) -> Iterator[FrameRef]:
        tree = self._tree()
        found_any = False
        for files in self._depth.scenes(tree):
            refs = self._selected(files, report)
            self._report_unpaired(tree, refs, report)
            for ref in refs:
                found_any = True
                yield ref
        if not found_any:
            raise self._nothing(tree)

    def read(self, ref: FrameRef, wanted: frozenset[str]) -> Frame:
        tree, camera, config = self._tree(), self._camera(), self.config
        depth_m, valid = self._read_depth(tree, ref.locator, camera)
        named = self._names(ref.locator)
        colour = self._read_colour(tree, named, camera, wanted)
        labels: dict[str, npt.NDArray[np.generic]] = {}
        for label, template in (("semantic", config.semantic), ("instance", config.instance)):
            if label in wanted and template is not None:
                path = PathTemplate(template).fill(**named)
                data = tree.read_if_there(path)
                if data is not None:
                    labels[label] = decode_ids(data, where=tree.describe(path))
                    require_size(labels[label], camera.size, where=tree.describe(path))
        return Frame(
            key=ref.key,
            depth_m=depth_m,
            valid=valid,
            camera=camera,
            rgb=colour.rgb,
            rgb_file=colour.rgb_file,
            T_world_cam=self._read_pose(tree, named) if "T_world_cam" in wanted else None,
            labels=labels,
        )

    def close(self) -> None:
        for cache in (self._tree, self._trajectory, self._camera):
            cache.cache_clear()

    def _open(self) -> Tree:
        if not self._root.exists():
            raise MissingDataError(
                "no such folder",
                where=self._root,
                expected=f"a folder or archive with {self.config.depth}",
                remedy="depthforge synthesize manifests/demo.yaml needs no data",
            )
        return open_tree(self._root)

    def _names(self, path: str) -> dict[str, str]:
        fields = self._depth.fields(path)
        return {"scene": fields.get("scene", self.config.scene), "frame": fields["frame"]}

    def _selected(self, files: Iterator[tuple[str, dict[str, str]]], report: Report) -> list[FrameRef]:
        """Return the references of one scene (or of all, where scenes share a folder) in key order."""
        refs: dict[str, FrameRef] = {}
        for path, fields in files:
            if any(fnmatchcase(path, pattern) for pattern in self.config.exclude):
                continue
            if not self._in_ranges(fields["frame"], path):
                continue
            key = f"{self.config.dataset}/{fields.get('scene', self.config.scene)}/{_frame_name(fields['frame'])}"
            if key in refs:
                report(Finding("error", path, f"the same frame as {refs[key].locator}; ignored"))
            else:
                refs[key] = FrameRef(key, path)
        kept: list[FrameRef] = []
        scene, position = "", 0
        for key in sorted(refs):
            ref = refs[key]
            position = position + 1 if ref.scene == scene else 0
            scene = ref.scene
            if position % self.config.every == 0:
                kept.append(ref)
        return kept

    def _in_ranges(self, frame: str, path: str) -> bool:
        if self.config.ranges is None:
            return True
        if not frame.isdecimal():
            raise InputError("ranges need frames that are whole numbers", where=path, found=frame)
        return any(first <= int(frame) <= last for first, last in self.config.ranges)

    def _report_unpaired(self, tree: Tree, refs: list[FrameRef], report: Report) -> None:
        """Say how many frames have no colour image, pose or label file; folders are scanned once."""
        config = self.config
        per_frame = {"rgb": config.rgb, "semantic": config.semantic, "instance": config.instance}
        if config.pose is not None:
            per_frame["T_world_cam"] = config.pose.file
        files = lru_cache(64)(lambda folder: names_in(tree, folder))
        for label, text in per_frame.items():
            if text is None or not refs:
                continue
            template = PathTemplate(text)
            paths = [template.fill(**self._names(ref.locator)) for ref in refs]
            missing = [path for path in paths if path.rpartition("/")[2] not in files(path.rpartition("/")[0])]
            if missing:
                report(Finding("warning", missing[0], f"{len(missing)} of {len(refs)} frames have no {label} file"))

    def _nothing(self, tree: Tree) -> MissingDataError:
        listing = tree.scan("")
        names = sorted([f"{name}/" for name in listing.folders] + listing.files)
        return MissingDataError(
            "no depth image",
            where=self._root,
            expected=f"files like {self.config.depth}",
            found=f"{', '.join(names[:8])}{' ...' if len(names) > 8 else ''}" if names else "an empty folder",
            remedy="compare `depth`, `exclude` and `ranges` of the source with the names above",
        )

    def _read_depth(self, tree: Tree, path: str, camera: Camera) -> tuple[DepthImage, BoolImage]:
        config, where = self.config, tree.describe(path)
        data = tree.read_if_there(path)
        if data is None:
            raise DecodeError("the depth image has gone since it was listed", where=where)
        if config.assume_max_depth_m is not None:
            stored_m = decode_relative_depth(data, where=where) * np.float32(config.assume_max_depth_m)
        else:
            stored = decode_depth(data, where=where)
            if stored.dtype == np.uint16:
                stored_m = self._metres().take(stored.astype(np.uint16, copy=False))
            else:
                stored_m = self._metres_of_floats(stored)
        require_size(stored_m, camera.size, where=where)
        depth_m = ray_length_to_z(stored_m, camera) if config.quantity == "ray_length" else stored_m
        valid = depth_m > config.min_depth_m
        if config.max_depth_m is not None:
            valid &= depth_m <= config.max_depth_m
        depth_m[~valid] = 0.0
        return depth_m, valid

    def metres_of_codes(self) -> npt.NDArray[np.float32]:
        """Return what each of the 65536 codes is in metres, 0 for invalid ones: one look-up decodes a pixel."""
        codes = np.arange(1 << 16, dtype=np.uint32)
        bits = self.config.rotate_right_bits
        values = (codes >> bits) | ((codes << (16 - bits)) & 0xFFFF)
        metres = values.astype(np.float64) / (self.config.depth_scale or 1.0)
        metres[[code for code in self.config.invalid if 0 <= code < 1 << 16]] = 0.0
        return metres.astype(np.float32)

    def _metres_of_floats(self, stored: npt.NDArray[np.generic]) -> DepthImage:
        values = stored.astype(np.float32, copy=False)
        usable = np.isfinite(values) & ~np.isin(values, self.config.invalid)
        return np.where(usable, values / np.float32(self.config.depth_scale or 1.0), np.float32(0))

    def _read_colour(self, tree: Tree, named: dict[str, str], camera: Camera, wanted: frozenset[str]) -> Colour:
        if self.config.rgb is None or not wanted & {RGB.name, RGB_FILE}:
            return Colour()
        path = PathTemplate(self.config.rgb).fill(**named)
        data = tree.read_if_there(path)
        if data is None:
            return Colour()
        colour = read_colour(data, wanted, camera.size, where=tree.describe(path), any_size=True)
        if colour.rgb is None or colour.rgb.shape[:2] == camera.size:
            return colour
        height, width = colour.rgb.shape[:2]
        # Same view, more pixels: averaging keeps colour on its depth. Any other size shows another view.
        if height * camera.width != width * camera.height or height < camera.height:
            raise FrameError(
                "the colour image is not the view of the depth image",
                where=tree.describe(path),
                expected=f"{camera.width} x {camera.height} pixels, or larger in the same proportion",
                found=f"{width} x {height}",
                remedy="register colour to depth first, or leave `rgb` out",
            )
        smaller = cv2.resize(colour.rgb, (camera.width, camera.height), interpolation=cv2.INTER_AREA)
        return Colour(np.asarray(smaller, dtype=np.uint8))

    def _read_pose(self, tree: Tree, named: dict[str, str]) -> npt.NDArray[np.float64] | None:
        pose = self.config.pose
        if pose is None:
            return None
        path = PathTemplate(pose.file).fill(**named)
        where = tree.describe(path)
        if pose.format == "trajectory_log":
            matrix = self._trajectory(path).get(int(named["frame"])) if named["frame"].isdecimal() else None
        else:
            data = tree.read_if_there(path)
            matrix = None if data is None else parse_matrix(data.decode(errors="replace"), (4, 4), where=where)
        return None if matrix is None else to_house_pose(matrix, pose.direction, pose.axes, where=where)

    def _read_trajectory(self, path: str) -> dict[int, npt.NDArray[np.float64]]:
        tree = self._tree()
        data = tree.read_if_there(path)
        return {} if data is None else parse_trajectory_log(data.decode(errors="replace"), where=tree.describe(path))

    def _read_camera(self) -> Camera:
        camera = self.config.camera
        if camera.matrix_file is None:
            fx, fy, cx, cy = (float(value or 0.0) for value in (camera.fx, camera.fy, camera.cx, camera.cy))
        else:
            tree = self._tree()
            where = tree.describe(camera.matrix_file)
            data = tree.read_if_there(camera.matrix_file)
            if data is None:
                raise MissingDataError("no file of intrinsics", where=where, expected="3 x 3 numbers")
            K = parse_matrix(data.decode(errors="replace"), (3, 3), where=where)
            fx, fy, cx, cy = K[[0, 1, 0, 1], [0, 1, 2, 2]].tolist()
        return Camera(fx, fy, cx, cy, camera.width, camera.height, camera.baseline_m)


def _frame_name(frame: str) -> str:
    return f"{int(frame):06d}" if frame.isdecimal() else frame
