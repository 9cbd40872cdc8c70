"""KITTI: real drives through Karlsruhe, with the sparse depth of a spinning HDL-64E laser, stereo colour and poses.

Raw recordings, the object and the odometry benchmark ship laser scans, which are projected here: P R_rect Tr x, the
nearest point of a pixel. Depth completion ships depth images in 1/256 m, one scan (``velodyne_raw``) or eleven of them
(``groundtruth``). Image sizes differ from drive to drive (1242x375, 1226x370, 1224x370, 1241x376, 1238x374), so every
frame is cropped to one size at its bottom centre, by default the 1216x352 of the depth completion benchmark; K and
boxes follow. A real set: use it as ``training.real``, in ``evaluate --real`` or, with ``identity``, as it is.
One core reads 480 scans or 220 depth images a second, 70 (real) to 110 (made-up) with colour. See ``layouts``.
Papers: Geiger et al., "Vision meets robotics: the KITTI dataset", IJRR 2013; Uhrig et al., "Sparsity invariant CNNs",
3DV 2017.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace
from fnmatch import fnmatchcase
from functools import lru_cache
from pathlib import Path
from types import MappingProxyType
from typing import Any, ClassVar, Literal

import numpy as np
import numpy.typing as npt
from pydantic import Field, model_validator

from depthforge.errors import DecodeError, FrameError, MissingDataError, told
from depthforge.frame import Camera, DepthImage, Frame, FrameRef, Licence
from depthforge.geometry import invert_pose
from depthforge.jpeg import read_header
from depthforge.labels.catalogue import BASELINE, BOX_2D, BOX_CLASS, BOX_POSE, BOX_SIZE, POSE, RGB, RGB_RIGHT
from depthforge.labels.spec import LabelSpec
from depthforge.registry import sources
from depthforge.sources.base import ImageSize, Report, Source, SourceConfig, ignore_findings
from depthforge.sources.images import decode_depth, decode_rgb, require_size
from depthforge.sources.kitti.files import parse_labels, parse_scan, project_scan
from depthforge.sources.kitti.layouts import detect_layout, layout_of, misfit
from depthforge.sources.kitti.published_tree import DepthKind, KittiLayout, LayoutName, Parts, Split
from depthforge.sources.tree_file import File

__all__ = ["Kitti", "KittiConfig"]

_PER_METRE = 256.0
_LARGEST_8_BIT = 255
_FARTHEST_M = 130.0
_PNG_HEADER = b"\x89PNG\r\n\x1a\n"
_BOX_SPECS = (replace(BOX_CLASS, vocabulary="kitti_object"), BOX_2D, BOX_POSE, BOX_SIZE)
_BOX_NAMES = frozenset(spec.name for spec in _BOX_SPECS)
_STEREO = (RGB_RIGHT, BASELINE)
_TRY_WITHOUT_DATA = "depthforge sample --layout kitti DIR, then export KITTI_ROOT=DIR"


class KittiConfig(SourceConfig):
    """The ``source`` block of a manifest that reads KITTI."""

    local_fields: ClassVar[frozenset[str]] = frozenset({"root", "raw_root", "trust"})

    root: Path = Field(description="folder of the layout: of the days (raw), of train and val, training, or sequences")
    layout: LayoutName | Literal["auto"] = Field(
        default="auto",
        description="which of KITTI's trees lies under root; auto: by the names of its folders, and of trees side by "
        "side in it the first of raw, depth_completion, object and odometry",
    )
    camera: Literal[0, 1, 2, 3] = Field(
        default=2, description="0 and 1 are the grey pair, 2 and 3 the colour pair, left and right"
    )
    crop: ImageSize = Field(
        default=ImageSize(width=1216, height=352),
        description="every image is cut to this size at its bottom centre, as the depth completion benchmark does",
    )
    split: Split | None = Field(
        default=None,
        description="of depth_completion: train (default), val or val_selection_cropped; of object: training (default) "
        "or testing",
    )
    depth: DepthKind = Field(
        default="velodyne_raw",
        description="of depth_completion: one scan as the sensor gave it, or eleven scans filtered by stereo",
    )
    raw_root: Path | None = Field(
        default=None,
        description="of depth_completion: folder of the days of raw data, for calibration, images and poses; "
        "default: root",
    )
    include: tuple[str, ...] = Field(default=("*",), description="globs of scenes (drives, sequences) to read")
    exclude: tuple[str, ...] = Field(default=(), description="globs of scenes to leave out")
    max_depth_m: float | None = Field(default=None, gt=0, description="farther depth is invalid; default: none is")

    @model_validator(mode="after")
    def _fits_the_layout(self) -> KittiConfig:
        problem = None if self.layout == "auto" else misfit(self.layout, self.split, self.camera)
        if problem is not None:
            raise ValueError(problem)
        return self


@sources.register("kitti")
class Kitti(Source):
    """KITTI in any of its published layouts.

    Keys: ``kitti/2011_09_26_drive_0001_sync/0000000005-camera2`` (raw, depth completion),
    ``kitti/object-training/000123-camera2``, ``kitti/sequence-00/000123-camera2``. The frames of the object benchmark
    come from drives that it does not name, and neighbours are among them: they are one scene, which no split divides.
    """

    Config = KittiConfig
    config: KittiConfig
    licence = Licence("CC BY-NC-SA 3.0", True, "https://www.cvlibs.net/datasets/kitti/")

    def __init__(self, config: SourceConfig) -> None:
        assert isinstance(config, KittiConfig)
        self.config = config
        self._layout = lru_cache(1)(self._find_layout)

    @property
    def size(self) -> tuple[int, int]:
        return self.config.crop.height, self.config.crop.width

    @property
    def labels(self) -> Mapping[str, LabelSpec]:
        specs: tuple[LabelSpec, ...] = (RGB,) if self.config.layout == "object" else (RGB, POSE)
        if self.config.camera in (0, 2):
            specs += _STEREO
        if self.config.layout in ("object", "auto"):
            specs += _BOX_SPECS
        return MappingProxyType({spec.name: spec for spec in specs})

    def frames(self, report: Report = ignore_findings) -> Iterator[FrameRef]:
        found = skipped = 0
        try:
            for scene, name, locator in self._layout().frames(report):
                if self._is_chosen(scene):
                    found += 1
                    yield FrameRef(f"{self.name}/{scene}/{name}-camera{self.config.camera}", locator)
                else:
                    skipped += 1
        except FileNotFoundError as error:
            if isinstance(error, MissingDataError):
                raise
            raise self._nothing("no such folder") from None
        if not found:
            raise self._nothing(f"{skipped} frames, none let through by include and exclude" if skipped else None)

    def read(self, ref: FrameRef, wanted: frozenset[str]) -> Frame:
        parts = self._layout().parts(ref.locator, with_pose=POSE.name in wanted)
        number, where = self.config.camera, parts.where
        dropped: dict[str, int] = {}
        stored = self._depth_image(parts.depth) if parts.depth is not None else None
        size = self._image_size(parts, stored)
        left, top = self._corner(size, ref.key)
        fx, fy, cx, cy = parts.calibration.intrinsics(number, where=where)
        baseline_m = self._baseline(parts)
        height, width = self.size
        camera = Camera(fx, fy, cx - left, cy - top, width, height, baseline_m)
        if stored is not None:
            depth_m = np.ascontiguousarray(stored[top : top + height, left : left + width])
        else:
            depth_m = self._projected(parts, camera, dropped)
        if self.config.max_depth_m is not None:
            depth_m[depth_m > self.config.max_depth_m] = 0.0

        def cut(file: File | None) -> npt.NDArray[np.uint8] | None:
            data = None if file is None else file.read_if_there()
            if file is None or data is None:
                return None
            image = decode_rgb(data, where=file.where)
            require_size(image, size, where=file.where)
            return np.ascontiguousarray(image[top : top + height, left : left + width])

        labels: dict[str, Any] = {}
        if RGB_RIGHT.name in wanted and RGB_RIGHT.name in self.labels:
            labels[RGB_RIGHT.name] = cut(parts.right)
        if BASELINE.name in wanted and baseline_m is not None:
            labels[BASELINE.name] = np.array(baseline_m, np.float64)
        if wanted & _BOX_NAMES and parts.labels is not None:
            labels |= self._box_labels(parts, left, top, wanted, dropped)
        T_world_cam = None
        if POSE.name in wanted and parts.T_world_cam0 is not None:
            T_world_cam = parts.T_world_cam0 @ invert_pose(parts.calibration.T_cam_cam0(number, where=where))
        return Frame(
            key=ref.key,
            depth_m=depth_m,
            valid=depth_m > 0,
            camera=camera,
            rgb=cut(parts.image) if RGB.name in wanted else None,
            T_world_cam=T_world_cam,
            labels={name: value for name, value in labels.items() if value is not None},
            dropped=dropped,
        )

    def close(self) -> None:
        if self._layout.cache_info().currsize:
            self._layout().close()
        self._layout.cache_clear()

    def _find_layout(self) -> KittiLayout:
        config = self.config
        root = config.root.expanduser()
        raw_root = None if config.raw_root is None else config.raw_root.expanduser()
        if config.layout != "auto":
            name = config.layout
        else:
            name, own_root = detect_layout(root, remedy=_TRY_WITHOUT_DATA)
            if raw_root is None and own_root != root:
                raw_root = root / "raw"
            root = own_root
        return layout_of(name, root, config.camera, split=config.split, depth=config.depth, raw_root=raw_root)

    def _is_chosen(self, scene: str) -> bool:
        def matches(patterns: tuple[str, ...]) -> bool:
            return any(fnmatchcase(scene, pattern) for pattern in patterns)

        return matches(self.config.include) and not matches(self.config.exclude)

    def _nothing(self, found: str | None) -> MissingDataError:
        root = self._layout().root
        remedy = f"is `layout` right, and root its top folder? Without data: {_TRY_WITHOUT_DATA}"
        if found is None:
            names = sorted(path.name for path in root.iterdir()) if root.is_dir() else []
            found = told(names, none="an empty folder")
            if any(name.endswith(".zip") for name in names):
                remedy = f"unpack the .zip archives here; {remedy}"
        return MissingDataError(
            f"no KITTI frames in the layout {self._layout().name}",
            where=root,
            expected=self._layout().expected,
            found=found,
            remedy=remedy,
        )

    # -- depth ----------------------------------------------------------------------------------------------------

    def _depth_image(self, file: File) -> DepthImage:
        """Return the whole image of depth completion in metres."""
        try:
            stored = decode_depth(file.read(), where=file.where)
        except FileNotFoundError:
            raise DecodeError("the depth image has gone since it was listed", where=file.where) from None
        largest = float(stored.max(initial=0))
        # The sanity rule of KITTI's development kit: no 16-bit depth of a scan is that near everywhere.
        if stored.dtype != np.uint16 or 0 < largest <= _LARGEST_8_BIT:
            raise DecodeError(
                "depth was saved with 8 bits",
                where=file.where,
                expected="16-bit PNG, metres times 256",
                found=f"{stored.dtype}, largest value {largest:g}",
                remedy="unpack data_depth_annotated.zip or data_depth_velodyne.zip again",
            )
        if largest / _PER_METRE > _FARTHEST_M:
            raise DecodeError(
                "depth is in the wrong unit",
                where=file.where,
                expected=f"metres times 256, at most {_FARTHEST_M:g} m",
                found=f"a largest value of {largest:g}, {largest / _PER_METRE:.0f} m",
                remedy="millimetres or centimetres? Read such a copy with `name: rgbd_folder` and its depth_scale",
            )
        return np.multiply(stored, np.float32(1.0 / _PER_METRE), dtype=np.float32)

    def _projected(self, parts: Parts, camera: Camera, dropped: dict[str, int]) -> DepthImage:
        """Return a scan's depth image, or one without any depth where no scan was published."""
        data = None if parts.scan is None else parts.scan.read_if_there()
        if parts.scan is None or data is None:
            if self._layout().name == "odometry":
                return np.zeros(camera.size, np.float32)
            raise DecodeError("the laser scan has gone since it was listed", where=parts.scan and parts.scan.where)
        if parts.calibration.T_cam0_velo is None:
            raise DecodeError(
                "the calibration does not say where the laser is",
                where=parts.where,
                expected="Tr in calib.txt (odometry), calib_velo_to_cam.txt (raw)",
                remedy="unpack the archive of calibrations again",
            )
        to_camera = parts.calibration.T_cam_cam0(self.config.camera, where=parts.where)
        scan = parse_scan(data, where=parts.scan.where)
        dropped.update(scan.dropped)
        return project_scan(scan.points, to_camera @ parts.calibration.T_cam0_velo, camera)

    def _image_size(self, parts: Parts, stored: DepthImage | None) -> tuple[int, int]:
        """Return (height, width) of the whole image: of the depth, by the calibration, or of the colour image."""
        if stored is not None:
            return stored.shape
        by_calibration = (parts.calibration.sizes or {}).get(self.config.camera)
        if by_calibration is not None:
            return by_calibration
        data = None if parts.image is None else parts.image.read_if_there()
        try:
            if data is not None and data.startswith(_PNG_HEADER) and len(data) >= 24:
                return int.from_bytes(data[20:24], "big"), int.from_bytes(data[16:20], "big")
            header = read_header(data or b"")
        except ValueError:
            raise DecodeError(
                "the size of the image is unknown, which the crop needs",
                where=parts.image and parts.image.where,
                expected="a PNG or JPEG image, whether rgb is wanted or not",
                found="no such file" if data is None else f"a file that starts with {data[:8]!r}",
                remedy="unpack the images of this camera beside the scans",
            ) from None
        return header.height, header.width

    def _corner(self, size: tuple[int, int], key: str) -> tuple[int, int]:
        """Return the column and row of the whole image at which the crop starts."""
        height, width = self.size
        if size[0] < height or size[1] < width:
            raise FrameError(
                "the image is smaller than the crop",
                where=key,
                expected=f"{width} x {height} pixels or more",
                found=f"{size[1]} x {size[0]}",
                remedy=f"crop: {{width: {min(width, size[1])}, height: {min(height, size[0])}}} in the source block",
            )
        return (size[1] - width) // 2, size[0] - height

    def _baseline(self, parts: Parts) -> float | None:
        partner = self._layout().partner
        if partner is None or partner not in parts.calibration.projections or parts.right is None:
            return None
        return parts.calibration.baseline_m(self.config.camera, partner, where=parts.where)

    # -- boxes ----------------------------------------------------------------------------------------------------

    def _box_labels(
        self, parts: Parts, left: int, top: int, wanted: frozenset[str], dropped: dict[str, int]
    ) -> dict[str, Any]:
        """Return the boxes of the object benchmark; 2-D ones, which are of camera 2, cut to the crop."""
        file = parts.labels
        data = None if file is None else file.read_if_there()
        if file is None or data is None:
            return {}
        labels = parse_labels(data.decode(errors="replace"), where=file.where)
        dropped.update(labels.dropped)
        edges = labels.box_2d - np.array([left, top, left, top], np.float32)
        height, width = self.size
        edges = np.clip(edges, 0, np.array([width - 1, height - 1] * 2, np.float32))
        is_empty = (edges[:, 0] >= edges[:, 2]) | (edges[:, 1] >= edges[:, 3])
        edges[is_empty | (self.config.camera != 2)] = np.nan
        # Labels are in the axes of rectified camera 0, from which camera 2 stands 6 cm to the left.
        to_camera = parts.calibration.T_cam_cam0(self.config.camera, where=parts.where)
        values = {
            BOX_CLASS.name: labels.classes,
            BOX_2D.name: edges,
            BOX_POSE.name: to_camera @ labels.pose,
            BOX_SIZE.name: labels.size,
        }
        return {name: value for name, value in values.items() if name in wanted}
