"""KITTI by drive: the raw recordings, and depth completion, which borrows calibration, images and poses of them."""

from __future__ import annotations

import re
from collections.abc import Iterator
from functools import lru_cache
from pathlib import Path

import numpy as np
import numpy.typing as npt

from depthforge.errors import DecodeError, MissingDataError
from depthforge.frame import Finding
from depthforge.geometry import invert_pose
from depthforge.sources.base import Report
from depthforge.sources.file_tree import Tree, open_tree
from depthforge.sources.kitti.calibration import Calibration, of_raw, parse_pinhole
from depthforge.sources.kitti.files import imu_pose, parse_oxts
from depthforge.sources.kitti.published_tree import (
    IMAGES,
    UNPACK_AGAIN,
    DepthKind,
    ImageFile,
    KittiLayout,
    LayoutName,
    Listed,
    Parts,
    num_lines,
    report_gaps,
    stems,
)
from depthforge.sources.tree_file import File, names_in

__all__ = ["DepthCompletion", "Raw", "Selection"]

_DATE = re.compile(r"\d{4}_\d{2}_\d{2}")
_DRIVE = re.compile(r"\d{4}_\d{2}_\d{2}_drive_\d{4}_(sync|extract)")
_SELECTED = re.compile(r"(.+_sync)_(?:groundtruth_depth|velodyne_raw)_(\d{10})_image_0(\d)\.png")
_CACHED = 64


class _Days:
    """Calibrations and GPS/IMU packets of a raw tree, which depth completion borrows."""

    def __init__(self, tree: Tree) -> None:
        self.tree = tree
        self.calibration = lru_cache(_CACHED)(self._calibration)
        self._origin = lru_cache(_CACHED)(self._first_packet)

    def path(self, drive: str, *below: str) -> str:
        return "/".join([drive[:10], drive, *below])

    def _calibration(self, date: str) -> Calibration:
        files = [File(self.tree, f"{date}/calib_{name}.txt") for name in ("cam_to_cam", "velo_to_cam", "imu_to_velo")]
        try:
            cam_to_cam = files[0].text()
        except FileNotFoundError:
            raise DecodeError(
                "no calibration for this day of recordings",
                where=files[0].where,
                remedy=f"fetch {date}_calib.zip from KITTI's raw data and unpack it beside the drives",
            ) from None
        others = [data.decode(errors="replace") if (data := file.read_if_there()) else None for file in files[1:]]
        return of_raw(cam_to_cam, *others, where=files[0].where)

    def _first_packet(self, drive: str) -> npt.NDArray[np.float64]:
        folder = self.path(drive, "oxts/data")
        packets = (name for name in names_in(self.tree, folder) if name.endswith(".txt"))
        file = File(self.tree, f"{folder}/{min(packets)}")
        return parse_oxts(file.text(), where=file.where)

    def pose_cam0(self, drive: str, name: str) -> npt.NDArray[np.float64] | None:
        """Return T_world_cam0 of a frame; None without packets or without the IMU's calibration."""
        T_cam0_imu = self.calibration(drive[:10]).T_cam0_imu
        file = File(self.tree, self.path(drive, "oxts/data", f"{name}.txt"))
        data = file.read_if_there()
        if data is None or T_cam0_imu is None:
            return None
        packet = parse_oxts(data.decode(errors="replace"), where=file.where)
        return imu_pose(packet, self._origin(drive)) @ invert_pose(T_cam0_imu)


class Raw(KittiLayout):
    name: LayoutName = "raw"
    expected = "<date>/<date>_drive_<number>_sync/velodyne_points/data/*.bin and <date>/calib_cam_to_cam.txt"

    def __init__(self, root: Path, camera: int) -> None:
        super().__init__(root, camera)
        self._days = lru_cache(1)(lambda: _Days(self.tree()))

    def close(self) -> None:
        self._days.cache_clear()
        super().close()

    def frames(self, report: Report) -> Iterator[Listed]:
        top = self.tree().scan("")
        if "calib_cam_to_cam.txt" in top.files:
            raise MissingDataError(
                "this is one day of KITTI's raw data, not the folder of days",
                where=self.root,
                expected=self.expected,
                remedy=f"root: {self.root.parent}",
            )
        for date in sorted(name for name in top.folders if _DATE.fullmatch(name)):
            for drive in self.folders(date):
                match = _DRIVE.fullmatch(drive)
                if match and match[1] == "extract":
                    message = "unsynchronised and unrectified; ignored"
                    report(Finding("error", f"{date}/{drive}", message, "fetch the [synced+rectified data]"))
                elif match:
                    yield from self._drive(drive, report)

    def _drive(self, drive: str, report: Report) -> Iterator[Listed]:
        days, tree = self._days(), self.tree()
        folder = days.path(drive, "velodyne_points")
        scans = stems(tree, f"{folder}/data", ".bin")
        if not scans:
            report(Finding("error", folder, "no laser scans", UNPACK_AGAIN))
            return
        try:
            days.calibration(drive[:10])
        except DecodeError as error:
            report(Finding("error", drive[:10], f"{drive} skipped: {error.message}", error.remedy))
            return
        report_gaps(len(scans), num_lines(File(tree, f"{folder}/timestamps.txt")), folder, "laser scans", report)
        self.report_without_image(scans, days.path(drive, f"image_{self.camera:02d}/data"), report)
        if missing := len(scans - stems(tree, days.path(drive, "oxts/data"), ".txt")):
            report(Finding("warning", days.path(drive), f"{missing} of {len(scans)} frames have no GPS/IMU packet"))
        for name in sorted(scans):
            yield Listed(drive, name, f"{drive}/{name}")

    def parts(self, locator: str, *, with_pose: bool) -> Parts:
        drive, name = locator.split("/")
        days = self._days()

        def image(camera: int) -> File:
            return ImageFile(self.tree(), f"{days.path(drive, f'image_{camera:02d}/data')}/{name}")

        return Parts(
            days.calibration(drive[:10]),
            self.file(f"{drive[:10]}/calib_cam_to_cam.txt").where,
            image(self.camera),
            None if self.partner is None else image(self.partner),
            scan=self.file(days.path(drive, "velodyne_points/data", f"{name}.bin")),
            T_world_cam0=days.pose_cam0(drive, name) if with_pose else None,
        )


class DepthCompletion(KittiLayout):
    name: LayoutName = "depth_completion"
    expected = "{train,val}/<drive>/proj_depth/{groundtruth,velodyne_raw}/image_02/*.png"

    def __init__(self, root: Path, camera: int, split: str, depth: DepthKind, raw_root: Path | None) -> None:
        super().__init__(root, camera)
        self.split = split
        self.depth = depth
        self.raw_root = raw_root
        self._days = lru_cache(1)(lambda: _Days(self.tree() if raw_root is None else open_tree(raw_root)))

    def close(self) -> None:
        self._days.cache_clear()
        super().close()

    def frames(self, report: Report) -> Iterator[Listed]:
        self.tree().scan("")
        for drive in (name for name in self.folders(self.split) if _DRIVE.fullmatch(name)):
            folder = f"{self.split}/{drive}/proj_depth/{self.depth}/image_{self.camera:02d}"
            names = stems(self.tree(), folder, ".png")
            if not names:
                report(Finding("error", folder, "no depth images", UNPACK_AGAIN))
                continue
            try:
                self._days().calibration(drive[:10])
            except DecodeError as error:
                remedy = f"{error.remedy}, and name that folder as `raw_root`"
                report(Finding("error", drive[:10], f"{drive} skipped: {error.message}", remedy))
                continue
            # Both kinds are published for the same frames.
            other = folder.replace(self.depth, "velodyne_raw" if self.depth == "groundtruth" else "groundtruth")
            expected = names | stems(self.tree(), other, ".png")
            report_gaps(len(names), len(expected), folder, "depth images", report)
            images = stems(self._days().tree, self._images(drive), *IMAGES)
            if missing := len(names - images):
                try_this = "name the folder of KITTI's raw data as `raw_root`" if self.raw_root is None else None
                report(Finding("warning", folder, f"{missing} of {len(names)} frames have no image", try_this))
            for name in sorted(names):
                yield Listed(drive, name, f"{drive}/{name}")

    def _images(self, drive: str, camera: int | None = None) -> str:
        return self._days().path(drive, f"image_{self.camera if camera is None else camera:02d}/data")

    def parts(self, locator: str, *, with_pose: bool) -> Parts:
        drive, name = locator.split("/")
        days = self._days()
        path = f"{self.split}/{drive}/proj_depth/{self.depth}/image_{self.camera:02d}/{name}.png"
        right = None if self.partner is None else ImageFile(days.tree, f"{self._images(drive, self.partner)}/{name}")
        return Parts(
            days.calibration(drive[:10]),
            days.tree.describe(f"{drive[:10]}/calib_cam_to_cam.txt"),
            ImageFile(days.tree, f"{self._images(drive)}/{name}"),
            right,
            depth=self.file(path),
            T_world_cam0=days.pose_cam0(drive, name) if with_pose else None,
        )


class Selection(KittiLayout):
    """The 1000 validation images that the benchmark crops to 1216 x 352 itself."""

    name: LayoutName = "depth_completion"
    expected = "val_selection_cropped/{groundtruth_depth,velodyne_raw,image,intrinsics}/"

    def __init__(self, root: Path, camera: int, depth: DepthKind) -> None:
        super().__init__(root, camera)
        self.depth = depth
        self._kind = "groundtruth_depth" if depth == "groundtruth" else depth

    def frames(self, report: Report) -> Iterator[Listed]:
        self.tree().scan("")
        folder = f"val_selection_cropped/{self._kind}"
        matches = (_SELECTED.fullmatch(name) for name in names_in(self.tree(), folder))
        listed = [(m[1], m[2], m[0]) for m in matches if m and int(m[3]) == self.camera]
        images = names_in(self.tree(), "val_selection_cropped/image")
        if missing := sum(self._other(name, "image") not in images for *_, name in listed):
            report(Finding("warning", folder, f"{missing} of {len(listed)} frames have no image"))
        for drive, number, name in sorted(listed):
            yield Listed(drive, number, name)

    def _other(self, name: str, kind: str) -> str:
        return name.replace(f"_{self._kind}_", f"_{kind}_")

    def parts(self, locator: str, *, with_pose: bool) -> Parts:
        top = "val_selection_cropped"
        image = self._other(locator, "image")
        intrinsics = self.file(f"{top}/intrinsics/{image.removesuffix('.png')}.txt")
        try:
            calibration = parse_pinhole(intrinsics.text(), where=intrinsics.where)
        except FileNotFoundError:
            raise DecodeError("no intrinsics for this image", where=intrinsics.where, remedy=UNPACK_AGAIN) from None
        depth = self.file(f"{top}/{self._kind}/{locator}")
        return Parts(calibration, intrinsics.where, self.file(f"{top}/image/{image}"), depth=depth)
