"""KITTI by benchmark: object detection, whose frames stand alone, and odometry, whose frames are sequences."""

from __future__ import annotations

from collections.abc import Iterator
from functools import lru_cache
from pathlib import Path

import numpy as np
import numpy.typing as npt

from depthforge.errors import DecodeError
from depthforge.frame import Finding
from depthforge.sources.base import Report
from depthforge.sources.kitti.calibration import Calibration, of_object, of_odometry
from depthforge.sources.kitti.files import parse_poses
from depthforge.sources.kitti.published_tree import (
    IMAGES,
    UNPACK_AGAIN,
    ImageFile,
    KittiLayout,
    LayoutName,
    Listed,
    Parts,
    num_lines,
    report_gaps,
    stems,
)

__all__ = ["Objects", "Odometry"]

_CACHED = 64


class Objects(KittiLayout):
    name: LayoutName = "object"
    expected = "{training,testing}/{velodyne,calib,image_2,label_2}/, or the folders of one of them"

    def __init__(self, root: Path, camera: int, split: str) -> None:
        super().__init__(root, camera)
        self.split = split
        self._top = lru_cache(1)(self._find_top)

    def _find_top(self) -> str:
        """Return what stands before the folders of the split: nothing where root is that of the split itself."""
        folders = self.tree().scan("").folders
        return "" if "velodyne" in folders and self.split not in folders else f"{self.split}/"

    def frames(self, report: Report) -> Iterator[Listed]:
        self.tree().scan("")
        scans, calibrations = (
            stems(self.tree(), f"{self._top()}{folder}", suffix)
            for folder, suffix in (("velodyne", ".bin"), ("calib", ".txt"))
        )
        if missing := len(scans - calibrations):
            remedy = "unpack data_object_calib.zip beside the scans"
            report(
                Finding("error", f"{self._top()}calib", f"{missing} of {len(scans)} frames have no calibration", remedy)
            )
        images = stems(self.tree(), f"{self._top()}image_{self.camera}", *IMAGES)
        expected = images | calibrations
        if scans and (gone := len(expected - scans)):
            message = f"{gone} of {len(expected)} laser scans are missing"
            report(Finding("error", f"{self._top()}velodyne", message, UNPACK_AGAIN))
        self.report_without_image(scans, f"{self._top()}image_{self.camera}", report)
        labelled = stems(self.tree(), f"{self._top()}label_2", ".txt")
        if self.split == "training" and (missing := len(scans - labelled)):
            report(Finding("warning", f"{self._top()}label_2", f"{missing} of {len(scans)} frames have no labels"))
        for name in sorted(scans & calibrations):
            yield Listed(f"object-{self.split}", name, name)

    def parts(self, locator: str, *, with_pose: bool) -> Parts:
        calib = self.file(f"{self._top()}calib/{locator}.txt")
        try:
            calibration = of_object(calib.text(), where=calib.where)
        except FileNotFoundError:
            raise DecodeError("the calibration has gone since it was listed", where=calib.where) from None
        right = None if self.partner is None else ImageFile(self.tree(), f"{self._top()}image_{self.partner}/{locator}")
        return Parts(
            calibration,
            calib.where,
            ImageFile(self.tree(), f"{self._top()}image_{self.camera}/{locator}"),
            right,
            scan=self.file(f"{self._top()}velodyne/{locator}.bin"),
            labels=self.file(f"{self._top()}label_2/{locator}.txt"),
        )


class Odometry(KittiLayout):
    name: LayoutName = "odometry"
    expected = "sequences/<number>/{image_0..3,velodyne,calib.txt} and poses/<number>.txt"

    def __init__(self, root: Path, camera: int) -> None:
        super().__init__(root, camera)
        self._calibration = lru_cache(_CACHED)(self._read_calibration)
        self._poses = lru_cache(_CACHED)(self._read_poses)

    def close(self) -> None:
        self._calibration.cache_clear()
        self._poses.cache_clear()
        super().close()

    def frames(self, report: Report) -> Iterator[Listed]:
        self.tree().scan("")
        for sequence in (name for name in self.folders("sequences") if name.isdecimal()):
            folder = f"sequences/{sequence}"
            images = stems(self.tree(), f"{folder}/image_{self.camera}", *IMAGES)
            scans = stems(self.tree(), f"{folder}/velodyne", ".bin")
            if not images and not scans:
                report(Finding("error", folder, f"neither laser scans nor images of camera {self.camera}"))
                continue
            try:
                calibration = self._calibration(sequence)
            except DecodeError as error:
                report(Finding("error", folder, f"skipped: {error.message}", error.remedy))
                continue
            names = images | scans
            self._report_depth(len(scans), len(names), calibration, folder, report)
            self._report_poses(sequence, names, report)
            times = num_lines(self.file(f"{folder}/times.txt"))
            report_gaps(len(names), times, folder, "frames", report)
            for name in sorted(names):
                yield Listed(f"sequence-{sequence}", name, f"{sequence}/{name}")

    def _report_depth(self, scans: int, total: int, calibration: Calibration, folder: str, report: Report) -> None:
        if not scans:
            message = "no laser scans: frames have no depth"
            report(Finding("warning", folder, message, "unpack data_odometry_velodyne.zip here"))
        elif calibration.T_cam0_velo is None:
            message = "calib.txt has no Tr, so that laser scans cannot be projected"
            report(Finding("error", folder, message, "unpack data_odometry_calib.zip here"))
        elif scans < total:
            report(Finding("error", folder, f"{total - scans} of {total} laser scans are missing", UNPACK_AGAIN))

    def _report_poses(self, sequence: str, names: set[str], report: Report) -> None:
        try:
            poses = self._poses(sequence)
        except DecodeError as error:
            report(Finding("error", f"poses/{sequence}.txt", f"frames have no pose: {error.message}", error.remedy))
            return
        without = len(names) if poses is None else sum(int(name) >= len(poses) for name in names)
        if without:
            report(Finding("warning", f"poses/{sequence}.txt", f"{without} of {len(names)} frames have no pose"))

    def parts(self, locator: str, *, with_pose: bool) -> Parts:
        sequence, name = locator.split("/")
        folder = f"sequences/{sequence}"
        poses = self._poses(sequence) if with_pose else None
        right = None if self.partner is None else ImageFile(self.tree(), f"{folder}/image_{self.partner}/{name}")
        return Parts(
            self._calibration(sequence),
            self.file(f"{folder}/calib.txt").where,
            ImageFile(self.tree(), f"{folder}/image_{self.camera}/{name}"),
            right,
            scan=self.file(f"{folder}/velodyne/{name}.bin"),
            T_world_cam0=poses[int(name)] if poses is not None and int(name) < len(poses) else None,
        )

    def _read_calibration(self, sequence: str) -> Calibration:
        file = self.file(f"sequences/{sequence}/calib.txt")
        try:
            return of_odometry(file.text(), where=file.where)
        except FileNotFoundError:
            remedy = "unpack data_odometry_calib.zip here"
            raise DecodeError("no calibration for this sequence", where=file.where, remedy=remedy) from None

    def _read_poses(self, sequence: str) -> npt.NDArray[np.float64] | None:
        file = self.file(f"poses/{sequence}.txt")
        data = file.read_if_there()
        return None if data is None else parse_poses(data.decode(errors="replace"), where=file.where)
