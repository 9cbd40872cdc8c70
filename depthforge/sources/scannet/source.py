"""ScanNet v2: 1513 real scans of 707 rooms by a Structure sensor, with poses, classes and instances.

Scans lie as ``sceneXXXX_YY`` under ``scans/`` (and ``scans_test/``) or directly under the root, as exported frames
or as ``.sens`` streams, which are read in place (see ``sens``). Depth is uint16 planar z in units of 1 / depth_shift
metres (1000) and 0 where nothing was measured; poses are camera-to-world with OpenCV axes and -infinity where tracking
was lost. Colour and labels come in colour's size and are laid over depth (see ``labels``). It is *real* depth:
the real side of a training, or, as ``source: {name: fused, of: {name: scannet, ...}}``, pairs of it with its truth.
One core reads 200 depth frames a second, 550 of a stream, and 20 to 40 with colour and labels: they have four times the
pixels. Listing costs 4 microseconds a frame, and 20 more for its pose file where lost poses are to be counted.
Paper: Dai et al., "ScanNet: richly-annotated 3D reconstructions of indoor scenes", CVPR 2017.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from fnmatch import fnmatchcase
from functools import lru_cache
from pathlib import Path
from types import MappingProxyType
from typing import Literal

import numpy as np
import numpy.typing as npt
from pydantic import Field

from depthforge.errors import DepthforgeError, MissingDataError, told
from depthforge.frame import Camera, Finding, Frame, FrameRef, Licence
from depthforge.labels.catalogue import INSTANCE, POSE, RGB, SEMANTIC_NYU40
from depthforge.labels.spec import LabelSpec
from depthforge.registry import sources
from depthforge.sources.base import Report, Source, SourceConfig, ignore_findings
from depthforge.sources.conventions import to_house_pose
from depthforge.sources.images import require_size
from depthforge.sources.scannet.labels import (
    LABEL_TABLE,
    colour_over_depth,
    ids_over_depth,
    read_nyu40_table,
    to_nyu40,
)
from depthforge.sources.scannet.recordings import ExportedScan, Scan, SensScan, fit_to_size

__all__ = ["ScanNet", "ScanNetConfig"]

SEMANTIC_RAW = LabelSpec("semantic", "uint16", "image", "ScanNet's own label ids, 0 is unlabelled")
_SCAN = re.compile(r"scene(\d{4})_(\d{2})")
_FOLDERS = ("", "scans", "scans_test", "scannet_frames_25k")
_SCANS_KEPT = 8
_TRY_WITHOUT_DATA = "depthforge sample --layout scannet DIR, then export SCANNET_ROOT=DIR"


class ScanNetConfig(SourceConfig):
    """The ``source`` block of a manifest that reads ScanNet."""

    root: Path = Field(description=f"folder that holds scans/ (or the scans themselves) and {LABEL_TABLE}")
    files: Literal["any", "exported", "sens"] = Field(
        default="any", description="read exported folders, .sens streams, or either: the folder where a scan has both"
    )
    include: tuple[str, ...] = Field(default=("*",), description="globs of scan names to read, like scene00[0-4]?_*")
    exclude: tuple[str, ...] = Field(default=(), description="globs of scan names to leave out")
    every: int = Field(default=1, ge=1, description="read every n-th frame of a scan; they are 33 ms apart")
    semantic: Literal["nyu40", "raw"] = Field(
        default="nyu40", description=f"classes by {LABEL_TABLE}, or ScanNet's own label ids"
    )
    filtered: bool = Field(
        default=True,
        description="labels of label-filt and instance-filt; else label and instance, as scannet_frames_25k has",
    )
    width: int = Field(default=640, gt=0, le=8192, description="of the depth images, pixels")
    height: int = Field(default=480, gt=0, le=8192, description="of the depth images, pixels")
    depth_shift: float = Field(
        default=1000.0, gt=0, description="units per metre of exported depth; a .sens stream states its own"
    )
    max_depth_m: float = Field(default=10.0, gt=0, description="farther is no measurement")


@sources.register("scannet")
class ScanNet(Source):
    """ScanNet as it lies on disk.

    Keys: ``scannet/scene0000/01-000042`` is frame 42 of the second scan of room 0, so that every scan of a room falls
    into the same split. Scans of one room have worlds of their own.
    """

    Config = ScanNetConfig
    config: ScanNetConfig
    typical_depth_m = (0.4, 6.0)
    licence: Licence = Licence(
        "ScanNet terms of use: non-commercial research and education", True, "https://kaldir.vc.in.tum.de/scannet"
    )

    def __init__(self, config: SourceConfig) -> None:
        assert isinstance(config, ScanNetConfig)
        self.config = config
        self._root = config.root.expanduser()
        self._scan = lru_cache(_SCANS_KEPT)(self._open)
        self._nyu40 = lru_cache(1)(lambda: read_nyu40_table(self._root / LABEL_TABLE))

    @property
    def size(self) -> tuple[int, int]:
        """(height, width) of every frame, in pixels."""
        return self.config.height, self.config.width

    @property
    def labels(self) -> Mapping[str, LabelSpec]:
        """Colour, pose, classes and instances."""
        semantic = SEMANTIC_NYU40 if self.config.semantic == "nyu40" else SEMANTIC_RAW
        return MappingProxyType({spec.name: spec for spec in (RGB, POSE, semantic, INSTANCE)})

    def frames(self, report: Report = ignore_findings) -> Iterator[FrameRef]:
        """Yield every frame with depth in key order; with a ``report``, poses are read for how many were lost."""
        num_frames = 0
        scans = self._scans(report)
        if self.config.semantic == "nyu40" and scans and not (self._root / LABEL_TABLE).is_file():
            message = "no such table: classes cannot be read as NYU40"
            report(Finding("warning", LABEL_TABLE, message, "fetch it, or set `semantic: raw` in the source"))
        for folder in scans:
            for ref in self._scan_frames(folder, report):
                num_frames += 1
                yield ref
        if num_frames == 0:
            raise self._nothing(len(scans))

    def world_of(self, ref: FrameRef) -> str:
        """Return ``scannet/scene0000/01``: every scan of a room has a world of its own."""
        return ref.key.partition("-")[0]

    def mesh_of(self, ref: FrameRef) -> Path | None:
        """Return the scan's ``<id>_vh_clean_2.ply``, if it is there."""
        scan = self._root / _folder_of(ref)
        path = scan / f"{scan.name}_vh_clean_2.ply"
        return path if path.is_file() else None

    def read(self, ref: FrameRef, wanted: frozenset[str]) -> Frame:
        """Return one frame; see ``Source.read``."""
        scan = self._scan(_folder_of(ref))
        depth_camera, colour_camera = scan.cameras()
        camera = fit_to_size(depth_camera, self.size)
        stored = scan.depth(ref.locator)
        require_size(stored, self.size, where=str(self._root / ref.locator))
        units = np.float32(scan.depth_shift or self.config.depth_shift)
        depth_m = np.divide(stored, units, dtype=np.float32)
        valid = (depth_m > 0) & (depth_m <= self.config.max_depth_m)
        depth_m[~valid] = 0
        rgb = scan.color(ref.locator) if "rgb" in wanted else None
        pose = scan.pose(ref.locator) if "T_world_cam" in wanted else None
        labels: dict[str, npt.NDArray[np.generic]] = {}
        for name in ("semantic", "instance"):
            ids = scan.label_ids(self._kind(name), ref.locator) if name in wanted else None
            if ids is not None:
                ids = ids_over_depth(ids, _camera_for(ids.shape, colour_camera, camera), camera)
                where = f"{scan.path}: {self._kind(name)} of {ref.key}"
                is_nyu40 = name == "semantic" and self.config.semantic == "nyu40"
                labels[name] = to_nyu40(ids, self._nyu40(), where=where) if is_nyu40 else ids
        return Frame(
            key=ref.key,
            depth_m=depth_m,
            valid=valid,
            camera=camera,
            rgb=None if rgb is None else colour_over_depth(rgb, _camera_for(rgb.shape, colour_camera, camera), camera),
            T_world_cam=None if pose is None else to_house_pose(pose, "camera_to_world", "opencv", where=ref.key),
            labels=labels,
        )

    def close(self) -> None:
        """Close streams and archives."""
        self._scan.cache_clear()
        self._nyu40.cache_clear()

    def _kind(self, label: str) -> str:
        kind = "label" if label == "semantic" else "instance"
        return f"{kind}-filt" if self.config.filtered else kind

    def _open(self, folder: str) -> Scan:
        path = self._root / folder
        has_stream = (path / f"{path.name}.sens").is_file()
        exported = (path / "depth").is_dir()
        if exported and self.config.files != "sens":
            return ExportedScan(self._root, folder)
        if has_stream and self.config.files != "exported":
            return SensScan(self._root, folder)
        raise MissingDataError(
            "the scan has no frames",
            where=path,
            expected={"any": f"depth/ or {path.name}.sens", "exported": "depth/", "sens": f"{path.name}.sens"}[
                self.config.files
            ],
            remedy=f"fetch {path.name}.sens with ScanNet's download script; `files` says what is read",
        )

    def _scans(self, report: Report) -> list[str]:
        """Return the folders of the scans to read, in order of name."""
        found: dict[str, str] = {}
        unmatched = set(self.config.include)
        for parent in _FOLDERS:
            top = self._root / parent
            try:
                names = [entry.name for entry in top.iterdir() if _SCAN.fullmatch(entry.name) and entry.is_dir()]
            except OSError:
                continue
            for name in sorted(names):
                matched = {pattern for pattern in self.config.include if fnmatchcase(name, pattern)}
                unmatched -= matched
                folder = f"{parent}/{name}" if parent else name
                if not matched or any(fnmatchcase(name, pattern) for pattern in self.config.exclude):
                    continue
                if name in found:
                    report(Finding("warning", folder, f"the same scan as {found[name]}; ignored"))
                else:
                    found[name] = folder
        for pattern in sorted(unmatched) if found else ():
            report(Finding("error", "", f"include: {pattern!r} matches no scan"))
        return [found[name] for name in sorted(found)]

    def _scan_frames(self, folder: str, report: Report) -> list[FrameRef]:
        """Return the references of a scan; one that cannot be read is reported and skipped."""
        try:
            scan = self._scan(folder)
            frames = scan.frames(report)[:: self.config.every]
            scan.cameras()
            if report is not ignore_findings:
                self._look_at(scan, frames, report)
        except DepthforgeError as error:
            report(Finding("error", self._relative(error.where, folder), f"skipped: {error.message}", error.remedy))
            return []
        except OSError as error:
            report(Finding("error", folder, f"skipped: {error.strerror}"))
            return []
        match = _SCAN.fullmatch(scan.name)
        assert match is not None
        room, recording = match.groups()
        return [FrameRef(f"{self.name}/scene{room}/{recording}-{number:06d}", locator) for number, locator in frames]

    def _look_at(self, scan: Scan, frames: list[tuple[int, str]], report: Report) -> None:
        """Report lost poses, labels that are not there, and colour from another place."""
        lost = scan.lost(frames)
        if lost:
            message = f"{lost} of {len(frames)} frames have no finite pose (tracking was lost); their depth is kept"
            report(Finding("warning", scan.folder, message, "labels.T_world_cam: required leaves them out"))
        scan.report_labels((self._kind("semantic"), self._kind("instance")), [item for _, item in frames], report)
        scan.report_view(report)

    def _relative(self, where: str | None, folder: str) -> str:
        """Return the path below the root that an error names; ``folder`` when it names none."""
        prefix = f"{self._root}/"
        return where.removeprefix(prefix) if where is not None and where.startswith(prefix) else folder

    def _nothing(self, num_scans: int) -> MissingDataError:
        try:
            names = sorted(path.name for path in self._root.iterdir())
        except OSError as error:
            found = f"no such folder ({error.strerror})"
        else:
            found = told(names, none="an empty folder")
        if num_scans:
            found = f"{num_scans} scans, none with frames that can be read; `depthforge check` says why"
        return MissingDataError(
            "no ScanNet frames",
            where=self._root,
            expected="scans/sceneXXXX_YY/ with depth/<i>.png or sceneXXXX_YY.sens, or sceneXXXX_YY/ itself",
            found=found,
            remedy=f"root is a scan: name the folder above, and the scan in `include: [{self._root.name}]`"
            if _SCAN.fullmatch(self._root.name)
            else _TRY_WITHOUT_DATA,
        )


def _folder_of(ref: FrameRef) -> str:
    """Return the folder of the scan: above depth/ of an exported frame, that of the stream of a streamed one."""
    return ref.locator.rpartition("/depth/")[0] or ref.locator.rpartition("/")[0]


def _camera_for(shape: tuple[int, ...], colour: Camera | None, depth: Camera) -> Camera:
    """Return the camera of an image of the colour camera; without its intrinsics, one that sees what depth sees."""
    return fit_to_size(depth if colour is None else colour, (shape[0], shape[1]))
