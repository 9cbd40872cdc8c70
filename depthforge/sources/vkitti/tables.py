"""The text tables of Virtual KITTI: poses, intrinsics, colour codes and boxes of one video.

Every table has a header line that names its columns; columns are found by name, since 1.3.1 and 2.0.3 order them
differently (2.0.3's boxes are left, *right*, top, bottom). Poses are stored world-to-camera. The boxes of a video,
50,000 rows at 30 a view, are parsed once a process, in 0.7 s.
Source: the README of Virtual KITTI 1.3.1 and of 2.0.3.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from depthforge.errors import DecodeError, told
from depthforge.geometry import invert_pose
from depthforge.labels.vocabularies import class_names
from depthforge.sources.conventions import first_not_rigid
from depthforge.sources.kitti.boxes import box_pose

__all__ = [
    "Boxes",
    "ColourTable",
    "View",
    "no_boxes",
    "parse_boxes_v1",
    "parse_boxes_v2",
    "parse_colours",
    "parse_extrinsics",
    "parse_intrinsics",
]

Float64 = npt.NDArray[np.float64]
Int64 = npt.NDArray[np.int64]
Ids = npt.NDArray[np.uint16]

_CLASSES = {name.lower(): number for number, name in enumerate(class_names("vkitti"))}
_VEHICLES = frozenset(_CLASSES[name] for name in ("truck", "car", "van"))
_FETCH_AGAIN = "unpack the archive of this table again"


class View(NamedTuple):
    """One image of a video: its frame, and its camera (0 in version 1.3.1, which has one)."""

    frame: int
    camera: int


@dataclass(frozen=True, slots=True)
class Boxes:
    """The boxes of one view, row for row; NaN where a table has none."""

    classes: Ids
    instances: npt.NDArray[np.uint32]
    box_2d: npt.NDArray[np.float32]
    pose: Float64
    size: Float64

    def at(self, rows: Int64) -> Boxes:
        """Return some of the rows."""
        return Boxes(self.classes[rows], self.instances[rows], self.box_2d[rows], self.pose[rows], self.size[rows])


def no_boxes() -> Boxes:
    """Return the boxes of a view that has none."""
    empty = np.empty((0, 4, 4))
    return Boxes(np.empty(0, np.uint16), np.empty(0, np.uint32), np.empty((0, 4), np.float32), empty, np.empty((0, 3)))


def _by_view(views: Int64, boxes: Boxes) -> dict[View, Boxes]:
    """Return the rows of each view in their order; ``views`` (N, 2) are the frame and camera of each row."""
    order = np.lexsort((views[:, 1], views[:, 0]))
    changes = np.flatnonzero((np.diff(views[order], axis=0) != 0).any(axis=1)) + 1
    grouped = {}
    for rows in np.split(order, changes):
        if len(rows):
            frame, camera = views[rows[0]].tolist()
            grouped[View(frame, camera)] = boxes.at(rows)
    return grouped


class _Table:
    """A table with a header line; ``rows`` are lists of words."""

    def __init__(self, text: str, needed: tuple[str, ...], where: str) -> None:
        lines = [(number, line.split()) for number, line in enumerate(text.splitlines(), start=1) if line.strip()]
        self.where = where
        self.columns = lines[0][1] if lines else []
        missing = [name for name in needed if name not in self.columns]
        if missing:
            raise DecodeError(
                f"the table has no column {', '.join(map(repr, missing))}",
                where=where,
                expected=f"a header line with {' '.join(needed)}",
                found=told(self.columns, none="an empty file", joint=" "),
                remedy=_FETCH_AGAIN,
            )
        for number, words in lines[1:]:
            # The last column is a model or a colour, which may be of several words.
            if len(words) < len(self.columns):
                raise DecodeError(
                    "a row of the table is not whole",
                    where=f"{where}:{number}",
                    expected=f"{len(self.columns)} columns",
                    found=f"{len(words)}",
                    remedy=_FETCH_AGAIN,
                )
        self.rows = [words for _, words in lines[1:]]

    def texts(self, name: str) -> list[str]:
        column = self.columns.index(name)
        return [row[column] for row in self.rows]

    def numbers(self, *names: str) -> Float64:
        """Return columns (rows, names) float64."""
        columns = [self.columns.index(name) for name in names]
        return self._floats(row[column] for row in self.rows for column in columns).reshape(-1, len(names))

    def integers(self, *names: str) -> Int64:
        """Return columns (rows, names) int64."""
        return self.numbers(*names).astype(np.int64)

    def last(self, count: int) -> Float64:
        """Return the last ``count`` columns, which a header may name alike."""
        return self._floats(word for row in self.rows for word in row[-count:]).reshape(-1, count)

    def views(self) -> Int64:
        """Return the frame and the camera of each row (rows, 2)."""
        if "cameraID" in self.columns:
            return self.integers("frame", "cameraID")
        frames = self.integers("frame")
        return np.hstack([frames, np.zeros_like(frames)])

    def _floats(self, words: Iterable[str]) -> Float64:
        try:
            values = np.array([float(word) for word in words])
        except ValueError as error:
            raise DecodeError("not a table of numbers", where=self.where, found=error, remedy=_FETCH_AGAIN) from None
        if not np.isfinite(values).all():
            raise DecodeError(
                "the table has numbers that are not finite", where=self.where, found="nan or inf", remedy=_FETCH_AGAIN
            )
        return values


def parse_extrinsics(text: str, *, where: str) -> dict[View, Float64]:
    """Return T_world_cam (4, 4) of every view, from rows of world-to-camera matrices; raise DecodeError."""
    table = _Table(text, ("frame", "r1,1"), where)
    matrices = table.last(16).reshape(-1, 4, 4)
    wrong = first_not_rigid(matrices)
    if wrong is not None:
        row, reason = wrong
        raise DecodeError(
            "a row is not a rigid transform",
            where=where,
            expected="frame, then 4 x 4 numbers, world to camera",
            found=f"{reason}, in the row {' '.join(table.rows[row][:10])}",
            remedy=_FETCH_AGAIN,
        )
    return dict(zip(_keys(table), invert_pose(matrices), strict=True))


def parse_intrinsics(text: str, *, where: str) -> dict[View, tuple[float, float, float, float]]:
    """Return fx, fy, cx, cy of every view; raise DecodeError."""
    table = _Table(text, ("frame", "cameraID", "K[0,0]", "K[1,1]", "K[0,2]", "K[1,2]"), where)
    values = table.numbers("K[0,0]", "K[1,1]", "K[0,2]", "K[1,2]")
    rows = [(float(fx), float(fy), float(cx), float(cy)) for fx, fy, cx, cy in values]
    return dict(zip(_keys(table), rows, strict=True))


def _keys(table: _Table) -> list[View]:
    return [View(frame, camera) for frame, camera in table.views().tolist()]


class ColourTable:
    """The colours of a video: which class and, in version 1.3.1, which instance each stands for."""

    def __init__(self, codes: npt.NDArray[np.uint32], classes: Ids, instances: Ids) -> None:
        order = np.argsort(codes)
        self._codes, self._classes, self._instances = codes[order], classes[order], instances[order]

    def decode(self, rgb: npt.NDArray[np.uint8], *, where: str) -> tuple[Ids, Ids]:
        """Return class ids and instance ids (H, W) uint16 of a colour image; 0 is none.

        Raises DecodeError for a colour that is not in the table. Neighbours mostly are alike, so only the first pixel
        of each run is looked up: 4 ms at 1242x375.
        """
        packed = rgb.reshape(-1, 3) @ np.array([1 << 16, 1 << 8, 1], np.uint32)
        starts = np.concatenate([[0], np.flatnonzero(packed[1:] != packed[:-1]) + 1])
        colours = packed[starts]
        rows = np.minimum(np.searchsorted(self._codes, colours), len(self._codes) - 1)
        unknown = self._codes[rows] != colours
        if unknown.any():
            at = int(unknown.argmax())
            code = int(colours[at])
            v, u = divmod(int(starts[at]), rgb.shape[1])
            raise DecodeError(
                f"the colour ({code >> 16}, {code >> 8 & 255}, {code & 255}) is not in the video's table",
                where=f"{where} at column {u}, row {v}",
                expected=f"one of {len(self._codes)} colours",
                remedy="each video has colours of its own: is the table of this video, and is the image unscaled?",
            )
        lengths = np.diff(starts, append=packed.size)
        size = rgb.shape[:2]
        return (
            np.repeat(self._classes[rows], lengths).reshape(size),
            np.repeat(self._instances[rows], lengths).reshape(size),
        )


def parse_colours(text: str, *, where: str) -> ColourTable:
    """Return the table of ``Category(:id) r g b`` rows (1.3.1) or ``Category r g b`` rows (2.0.3); raise DecodeError.

    A vehicle's instance is its track plus 1, as in the images of 2.0.3, so that 0 is none; ids of other classes, which
    are counted apart, are left out.
    """
    table = _Table(text, ("r", "g", "b"), where)
    if not table.rows:
        raise DecodeError("the table of colours is empty", where=where, remedy=_FETCH_AGAIN)
    rgb = table.numbers("r", "g", "b").astype(np.uint32)
    names = [row[0].partition(":") for row in table.rows]
    classes = [_class(category, where) for category, _, _ in names]
    instances = [
        int(number) + 1 if number.isdecimal() and kind in _VEHICLES else 0
        for kind, (_, _, number) in zip(classes, names, strict=True)
    ]
    codes = rgb @ np.array([1 << 16, 1 << 8, 1], np.uint32)
    return ColourTable(codes.astype(np.uint32), np.array(classes, np.uint16), np.array(instances, np.uint16))


def parse_boxes_v1(text: str, *, where: str) -> dict[View, Boxes]:
    """Return the boxes of a ``motgt`` table, DontCare rows as the class that they are of; raise DecodeError."""
    table = _Table(text, ("frame", "tid", "orig_label", "l", "t", "r", "b", "w3d", "h3d", "l3d"), where)
    size = table.numbers("l3d", "h3d", "w3d")
    place = table.numbers("x3d", "y3d", "z3d", "ry", "rx", "rz")
    boxes = Boxes(
        np.array([_class(name, where) for name in table.texts("orig_label")], np.uint16),
        (table.integers("tid")[:, 0] + 1).astype(np.uint32),
        table.numbers("l", "t", "r", "b").astype(np.float32),
        box_pose(place[:, :3], size[:, 1], *place[:, 3:].T),
        size,
    )
    return _by_view(table.views(), boxes)


def parse_boxes_v2(bbox: str, pose: str | None, info: str | None, *, where: Callable[[str], str]) -> dict[View, Boxes]:
    """Return the boxes of ``bbox.txt`` with their 3-D boxes from ``pose.txt`` and classes from ``info.txt``.

    Without one of the latter two, its values are NaN or class 0. ``where`` names each of the three files. Raises
    DecodeError.
    """
    table = _Table(bbox, ("frame", "cameraID", "trackID", "left", "right", "top", "bottom"), where("bbox"))
    tracks = table.integers("frame", "cameraID", "trackID")
    classes = {} if info is None else _classes_of_tracks(info, where("info"))
    poses, sizes = np.full((len(tracks), 4, 4), np.nan), np.full((len(tracks), 3), np.nan)
    if pose is not None:
        others, T_cam_box, size = _boxes_of_tracks(pose, where("pose"))
        row_of = {key: row for row, key in enumerate(map(tuple, others.tolist()))}
        rows = np.array([row_of.get(key, -1) for key in map(tuple, tracks.tolist())], np.int64)
        poses[rows >= 0], sizes[rows >= 0] = T_cam_box[rows[rows >= 0]], size[rows[rows >= 0]]
    boxes = Boxes(
        np.array([classes.get(track, 0) for track in tracks[:, 2].tolist()], np.uint16),
        (tracks[:, 2] + 1).astype(np.uint32),
        table.numbers("left", "top", "right", "bottom").astype(np.float32),
        poses,
        sizes,
    )
    return _by_view(tracks[:, :2], boxes)


def _classes_of_tracks(text: str, where: str) -> dict[int, int]:
    table = _Table(text, ("trackID", "label"), where)
    classes = [_class(name, where) for name in table.texts("label")]
    return dict(zip(table.integers("trackID")[:, 0].tolist(), classes, strict=True))


def _boxes_of_tracks(text: str, where: str) -> tuple[Int64, Float64, Float64]:
    """Return frame, camera and track (N, 3), T_cam_box (N, 4, 4) and length, height, width (N, 3) of every row."""
    names = [f"camera_space_{axis}" for axis in "XYZ"] + [f"rotation_camera_space_{axis}" for axis in "yxz"]
    table = _Table(text, ("frame", "cameraID", "trackID", "width", "height", "length", *names), where)
    size, place = table.numbers("length", "height", "width"), table.numbers(*names)
    T_cam_box = box_pose(place[:, :3], size[:, 1], *place[:, 3:].T)
    return table.integers("frame", "cameraID", "trackID"), T_cam_box, size


def _class(name: str, where: str) -> int:
    try:
        return _CLASSES[name.lower()]
    except KeyError:
        raise DecodeError(
            f"{name!r} is not a class of Virtual KITTI",
            where=where,
            expected=f"one of {', '.join(class_names('vkitti')[1:])}",
        ) from None
