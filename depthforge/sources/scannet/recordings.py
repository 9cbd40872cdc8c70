"""One ScanNet scan on disk: a folder of exported frames, or a ``.sens`` stream; labels as folders or archives.

Both give depth and colour as stored, poses, and the two cameras with the sizes that their intrinsics are of (the
exporter can shrink images and leaves the intrinsics as they were).
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from functools import cached_property
from pathlib import Path

import numpy as np
import numpy.typing as npt

from depthforge.errors import DecodeError
from depthforge.frame import Camera, Finding
from depthforge.labels.resize import resize_camera
from depthforge.sources.base import Report
from depthforge.sources.file_tree import Listing, Tree, open_tree
from depthforge.sources.images import decode_depth, decode_ids, decode_rgb
from depthforge.sources.pose_files import parse_matrix
from depthforge.sources.scannet.sens import SensFile

__all__ = ["ExportedScan", "Scan", "SensScan", "fit_to_size"]

DEPTH_SIZE, COLOUR_SIZE = (480, 640), (968, 1296)
_COLOUR_SUFFIXES = (".jpg", ".png", ".jpeg")
# As SensReader exports them, and as they lie in scannet_frames_25k.
_INTRINSICS = ("intrinsic/intrinsic_{}.txt", "intrinsics_{}.txt", "intrinsic_{}.txt")
_TRY_EXPORT = "export the scan again with ScanNet's SensReader"
# Colour is taken to be seen from where depth is: farther apart than this is worth a word.
_SAME_PLACE_M, _SAME_TURN = 0.005, 0.005

Matrix = npt.NDArray[np.float64]


class Scan(ABC):
    """One recording: ``folder`` below the top of a tree, ``name`` like scene0000_00."""

    def __init__(self, top: Path, folder: str) -> None:
        self.path = top / folder
        self.folder = folder
        self.name = folder.rpartition("/")[2]
        self._tree = open_tree(self.path)

    @abstractmethod
    def frames(self, report: Report) -> list[tuple[int, str]]:
        """Return (number, locator below the top) of every frame with depth, in order of number."""

    @abstractmethod
    def depth(self, item: str) -> npt.NDArray[np.uint16]:
        """Return stored depth (H, W); ``item`` is what a locator ends in."""

    @abstractmethod
    def color(self, item: str) -> npt.NDArray[np.uint8] | None:
        """Return colour (H, W, 3) as stored, None when the frame has none."""

    @abstractmethod
    def pose(self, item: str) -> Matrix | None:
        """Return the stored (4, 4) camera-to-world matrix, None when the frame has none; it may not be finite."""

    @abstractmethod
    def cameras(self) -> tuple[Camera, Camera | None]:
        """The cameras of depth and colour; None when colour's is not known. Raises DecodeError."""

    @property
    def depth_shift(self) -> float | None:
        """Units per metre as the file states them."""
        return None

    @abstractmethod
    def lost(self, frames: list[tuple[int, str]]) -> int:
        """Return how many of ``frames`` have a pose that is none: not finite, because tracking was lost."""

    @abstractmethod
    def report_view(self, report: Report) -> None:
        """Say when colour is not seen from where depth is."""

    def labels_in(self, kind: str) -> Tree | None:
        """Return the tree that holds ``kind``/<frame>.png; None when there is neither folder nor archive."""
        if kind in self._names.folders:
            return self._tree
        archive = f"{self.name}_2d-{kind}.zip"
        if archive not in self._names.files:
            return None
        if archive not in self._archives:
            self._archives[archive] = open_tree(self.path / archive)
        return self._archives[archive]

    def label_ids(self, kind: str, item: str) -> npt.NDArray[np.uint16] | None:
        """Return ids (H, W) in their own size, None when there are none for this frame; DecodeError names the file."""
        tree = self.labels_in(kind)
        path = f"{kind}/{_stem(item)}.png"
        data = None if tree is None else tree.read_if_there(path)
        return None if data is None or tree is None else decode_ids(data, where=tree.describe(path))

    def report_labels(self, kinds: tuple[str, ...], items: list[str], report: Report) -> None:
        """Say which kinds of labels the scan, or some of its frames, lack."""
        for kind in kinds:
            try:
                tree = self.labels_in(kind)
            except DecodeError as error:
                report(Finding("error", f"{self.folder}/{self.name}_2d-{kind}.zip", error.message, error.remedy))
                continue
            if tree is None:
                report(Finding("warning", self.folder, f"no {kind}: neither a folder nor {self.name}_2d-{kind}.zip"))
                continue
            have = _stems(tree, kind)
            missing = sum(_stem(item) not in have for item in items)
            if missing:
                report(Finding("warning", f"{self.folder}/{kind}", f"{missing} of {len(items)} frames have no {kind}"))

    @cached_property
    def _names(self) -> Listing:
        return self._tree.scan("")

    @cached_property
    def _archives(self) -> dict[str, Tree]:
        return {}


class ExportedScan(Scan):
    """``depth/<i>.png``, ``color/<i>.jpg``, ``pose/<i>.txt`` and ``intrinsic/``; numbers padded or not."""

    def frames(self, report: Report) -> list[tuple[int, str]]:
        numbered: dict[int, str] = {}
        for name in sorted(self._tree.scan("depth").files):
            stem, _, suffix = name.rpartition(".")
            if suffix != "png" or not stem.isdecimal():
                report(Finding("warning", f"{self.folder}/depth/{name}", "not a depth image <number>.png; ignored"))
            elif int(stem) in numbered:
                report(Finding("error", f"{self.folder}/depth/{name}", f"the same frame as {numbered[int(stem)]}.png"))
            else:
                numbered[int(stem)] = stem
        frames = sorted(numbered.items())
        self._report_unpaired(frames, report)
        return [(number, f"{self.folder}/depth/{stem}.png") for number, stem in frames]

    def depth(self, item: str) -> npt.NDArray[np.uint16]:
        path = f"depth/{_stem(item)}.png"
        where = self._tree.describe(path)
        data = self._tree.read_if_there(path)
        if data is None:
            raise DecodeError("the depth image has gone since it was listed", where=where)
        stored = decode_depth(data, where=where)
        if stored.dtype != np.uint16:
            raise DecodeError("ScanNet's depth is 16-bit integers", where=where, found=stored.dtype, remedy=_TRY_EXPORT)
        return stored.astype(np.uint16, copy=False)

    def color(self, item: str) -> npt.NDArray[np.uint8] | None:
        for suffix in _COLOUR_SUFFIXES:
            path = f"color/{_stem(item)}{suffix}"
            data = self._tree.read_if_there(path)
            if data is not None:
                return decode_rgb(data, where=self._tree.describe(path))
        return None

    def pose(self, item: str) -> Matrix | None:
        return self._matrix(f"pose/{_stem(item)}.txt")

    def cameras(self) -> tuple[Camera, Camera | None]:
        return self._cameras

    @cached_property
    def _cameras(self) -> tuple[Camera, Camera | None]:
        depth = self._camera("depth", DEPTH_SIZE)
        if depth is None:
            raise DecodeError(
                "the scan has no intrinsics",
                where=self.path / _INTRINSICS[0].format("depth"),
                expected=f"a 4 x 4 matrix there, or fx_depth and the like in {self.name}.txt",
                remedy=_TRY_EXPORT,
            )
        return depth, self._camera("color", COLOUR_SIZE)

    def report_view(self, report: Report) -> None:
        between = [self._matrix(f"intrinsic/extrinsic_{camera}.txt") for camera in ("depth", "color")]
        _report_apart(self.folder, between, report)

    def _camera(self, which: str, nominal: tuple[int, int]) -> Camera | None:
        height = int(self._meta.get(f"{which}Height", nominal[0]))
        width = int(self._meta.get(f"{which}Width", nominal[1]))
        for path in _INTRINSICS:
            K = self._matrix(path.format(which))
            if K is not None:
                return _camera_of(K, (height, width), where=self._tree.describe(path.format(which)))
        names = [f"{name}_{which}" for name in ("fx", "fy", "mx", "my")]
        if not all(name in self._meta for name in names):
            return None
        fx, fy, cx, cy = (self._meta[name] for name in names)
        return Camera(fx, fy, cx, cy, width, height)

    @cached_property
    def _meta(self) -> dict[str, float]:
        """What <id>.txt says in single numbers: lines of ``key = value``."""
        data = self._tree.read_if_there(f"{self.name}.txt")
        values = {}
        for line in (data or b"").decode(errors="replace").splitlines():
            key, _, value = line.partition("=")
            try:
                values[key.strip()] = float(value)
            except ValueError:
                continue  # axisAlignment, sceneType: not numbers
        return values

    def _matrix(self, path: str) -> Matrix | None:
        data = self._tree.read_if_there(path)
        if data is None:
            return None
        return parse_matrix(data.decode(errors="replace"), (4, 4), where=self._tree.describe(path))

    def _report_unpaired(self, frames: list[tuple[int, str]], report: Report) -> None:
        """Say how many frames lack a colour image, a pose file, or a pose that tracking did not lose."""
        colour, poses = _stems(self._tree, "color"), _stems(self._tree, "pose")
        without_colour = sum(stem not in colour for _, stem in frames)
        without_pose = sum(stem not in poses for _, stem in frames)
        if without_colour:
            message = f"{without_colour} of {len(frames)} frames have no colour image"
            report(Finding("warning", f"{self.folder}/color", message))
        if without_pose:
            report(
                Finding("warning", f"{self.folder}/pose", f"{without_pose} of {len(frames)} frames have no pose file")
            )
        extra = len(colour - {stem for _, stem in frames})
        if extra:
            report(Finding("warning", f"{self.folder}/depth", f"{extra} colour images have no depth image"))

    def lost(self, frames: list[tuple[int, str]]) -> int:
        # A small text file is read for each: 30 microseconds when it is in memory.
        count = 0
        for _, locator in frames:
            try:
                pose = self.pose(locator)
            except DecodeError:
                continue  # said when the frame is read
            count += pose is not None and not np.isfinite(pose).all()
        return count


class SensScan(Scan):
    """``<id>.sens``, read by offset; see ``sens``."""

    def __init__(self, top: Path, folder: str) -> None:
        super().__init__(top, folder)
        self._sens = SensFile(self.path / f"{self.name}.sens")

    def frames(self, report: Report) -> list[tuple[int, str]]:
        sens, path = self._sens, f"{self.folder}/{self.name}.sens"
        if sens.num_whole < sens.header.num_frames:
            report(
                Finding(
                    "error",
                    path,
                    f"truncated: {sens.num_whole} of {sens.header.num_frames} frames are whole, and can be used",
                    "fetch the file again",
                )
            )
        whole = [index for index in range(sens.num_whole) if sens.has_depth(index)]
        if len(whole) < sens.num_whole:
            report(Finding("warning", path, f"{sens.num_whole - len(whole)} of {sens.num_whole} frames have no depth"))
        return [(index, f"{path}#{index}") for index in whole]

    def depth(self, item: str) -> npt.NDArray[np.uint16]:
        return self._sens.depth(_index(item))

    def color(self, item: str) -> npt.NDArray[np.uint8] | None:
        return self._sens.color(_index(item))

    def pose(self, item: str) -> Matrix | None:
        return self._sens.pose(_index(item))

    def cameras(self) -> tuple[Camera, Camera | None]:
        header, where = self._sens.header, str(self._sens.path)
        depth = _camera_of(header.intrinsic_depth, header.depth_size, where=where)
        has_colour = header.intrinsic_color[0, 0] > 0 and min(header.color_size) > 0
        return depth, _camera_of(header.intrinsic_color, header.color_size, where=where) if has_colour else None

    @property
    def depth_shift(self) -> float | None:
        return self._sens.header.depth_shift

    def report_view(self, report: Report) -> None:
        header = self._sens.header
        _report_apart(f"{self.folder}/{self.name}.sens", [header.extrinsic_depth, header.extrinsic_color], report)

    def lost(self, frames: list[tuple[int, str]]) -> int:
        return sum(not self._sens.has_pose(number) for number, _ in frames)


def fit_to_size(camera: Camera, size: tuple[int, int]) -> Camera:
    """Return the camera for images of ``size`` (height, width) of the same view."""
    return camera if camera.size == size else resize_camera(camera, size[1], size[0])


def _camera_of(K: Matrix, size: tuple[int, int], *, where: str) -> Camera:
    if not (np.isfinite(K).all() and K[0, 0] > 0 and K[1, 1] > 0):
        raise DecodeError("not intrinsics", where=where, expected="focal lengths above 0", found=K.tolist())
    return Camera(float(K[0, 0]), float(K[1, 1]), float(K[0, 2]), float(K[1, 2]), size[1], size[0])


def _report_apart(where: str, between: list[Matrix | None], report: Report) -> None:
    """Report extrinsics of depth or colour that are not the identity (or unknown)."""
    for T in between:
        # All zeros is how some streams say that there are none.
        if T is None or not T.any():
            continue
        apart_m, turn = float(np.linalg.norm(T[:3, 3])), float(np.abs(T[:3, :3] - np.eye(3)).max())
        if apart_m > _SAME_PLACE_M or turn > _SAME_TURN:
            report(
                Finding(
                    "warning",
                    where,
                    f"colour is seen from {1000 * apart_m:.0f} mm beside depth; it and the labels are laid over depth "
                    "as if from the same place",
                )
            )
            return


def _index(item: str) -> int:
    return int(item.rpartition("#")[2])


def _stem(item: str) -> str:
    """Return the name of a frame's files: of ``.../depth/12.png`` and of ``....sens#12`` 12."""
    last = item.rpartition("/")[2]
    return last.rpartition("#")[2] if "#" in last else last.rpartition(".")[0]


def _stems(tree: Tree, folder: str) -> frozenset[str]:
    return frozenset(name.rpartition(".")[0] for name in tree.scan_if_there(folder).files)
