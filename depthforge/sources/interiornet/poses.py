"""InteriorNet's camera files: cam0.ccam, cam0.render and cam0.timestamp, as one row per frame.

Rows are kept as they are written and turned into a matrix when asked for, so a frame pays for its own pose only
(40 microseconds) and a file of 1000 for splitting its text (3 ms, once per process). Sources: layouts of
google-research `lighthouse/data_loader.py` and ethz-mrl/supereight2; axes are OpenGL in the files and OpenCV here.
"""

from __future__ import annotations

from itertools import dropwhile
from typing import Protocol

import numpy as np
import numpy.typing as npt

from depthforge.errors import DecodeError, FrameError, InputError
from depthforge.frame import Camera
from depthforge.geometry import look_at, opengl_to_opencv, rotation_from_quaternion

__all__ = ["DEFAULT_CAMERA", "PoseFile", "count_poses", "parse_poses", "parse_timestamps"]

# Every package was rendered with these; cam0.ccam repeats them per frame where it is present.
DEFAULT_CAMERA = Camera(fx=600.0, fy=600.0, cx=320.0, cy=240.0, width=640, height=480)

_RENDER_HEADER_LINES = 3
_LINES_PER_FRAME = 2
_COLUMNS = {"ccam": 15, "render": 10}

Pose = npt.NDArray[np.float64]


class PoseFile(Protocol):
    """The cameras of one trajectory, by row."""

    def pose(self, row: int) -> Pose | None:
        """Return T_world_cam (4, 4) float64, OpenCV axes, metres; None where the file has no finite pose."""

    def camera(self, row: int) -> Camera:
        """Return the intrinsics of one frame; raise FrameError when they are not a pinhole's."""


def parse_poses(text: str, *, where: str) -> PoseFile:
    """Return the rows of a ``.ccam`` or ``.render`` file (``where`` ends in its suffix); raise DecodeError."""
    kind = where.rpartition(".")[2]
    rows = _rows(text, kind)
    if kind == "render" and len(rows) % _LINES_PER_FRAME:
        raise DecodeError(
            "cam0.render has two lines per frame, shutter open and close",
            where=where,
            expected=f"{_RENDER_HEADER_LINES} header lines and an even number of others",
            found=f"{len(rows)} others",
        )
    for number, row in enumerate(rows):
        if len(row.split()) != _COLUMNS[kind]:
            raise DecodeError(
                f"line {number} of the poses has another number of columns",
                where=where,
                expected=_COLUMNS[kind],
                found=row[:120],
            )
    return _Ccam(rows, where) if kind == "ccam" else _Render(rows[::_LINES_PER_FRAME], where)


def count_poses(text: str, *, where: str) -> int:
    """Return how many frames a ``.ccam`` or ``.render`` file has poses for, without parsing them."""
    kind = where.rpartition(".")[2]
    return len(_rows(text, kind)) // (_LINES_PER_FRAME if kind == "render" else 1)


def parse_timestamps(text: str) -> list[str]:
    """Return the image names without suffix of a ``timestamp,filename`` table, in row order; its header is skipped.

    Both data.csv and cam0.timestamp are such tables; lines that are not ``number,name`` are left out.
    """
    stems = []
    for line in text.splitlines():
        timestamp, _, name = line.partition(",")
        if name and not timestamp.lstrip().startswith("#") and timestamp.strip().replace(".", "", 1).isdigit():
            stems.append(name.strip().rpartition("/")[2].rpartition(".")[0] or name.strip())
    return stems


def _rows(text: str, kind: str) -> list[str]:
    lines = text.splitlines()
    if kind == "render":
        lines = lines[_RENDER_HEADER_LINES:]
    rows = [line for line in lines if line.strip() and not line.lstrip().startswith("#")]
    if kind == "ccam":
        # The data set's own files begin with the version of their format and the number of cameras, a line each.
        rows = list(dropwhile(lambda row: len(row.split()) == 1, rows))
    return rows


def _numbers(row: str) -> Pose:
    """Return the numbers of a line; whatever is not one (``-nan(ind)``) is NaN."""
    values = []
    for word in row.split():
        try:
            values.append(float(word))
        except ValueError:
            values.append(float("nan"))
    return np.array(values)


class _Ccam:
    """cam0.ccam: ``f cx cy d0 d1 d2 qw qx qy qz px py pz W H``, camera to world, OpenGL axes."""

    def __init__(self, rows: list[str], where: str) -> None:
        self._rows = rows
        self._where = where

    def pose(self, row: int) -> Pose | None:
        quaternion, position = np.split(_numbers(self._rows[row])[6:13], [4])
        if not (np.isfinite(position).all() and np.isfinite(quaternion).all() and quaternion.any()):
            return None
        T_world_cam_gl = np.eye(4)
        T_world_cam_gl[:3, :3] = rotation_from_quaternion(quaternion)
        T_world_cam_gl[:3, 3] = position
        return opengl_to_opencv(T_world_cam_gl)

    def camera(self, row: int) -> Camera:
        values = _numbers(self._rows[row])
        focal, cx, cy, width, height = values[[0, 1, 2, 13, 14]]
        if not (np.isfinite(values[[0, 1, 2, 13, 14]]).all() and focal > 0) or np.any(values[3:6]):
            raise FrameError(
                "the camera is not a pinhole without distortion",
                where=f"{self._where}, frame {row}",
                expected="f cx cy 0 0 0 ...",
                found=self._rows[row][:60],
            )
        return Camera(float(focal), float(focal), float(cx), float(cy), int(width), int(height))


class _Render:
    """cam0.render: ``timestamp eye(3) lookat(3) up(3)``; lookat and up are points of the world, not directions."""

    def __init__(self, rows: list[str], where: str) -> None:
        self._rows = rows
        self._where = where

    def pose(self, row: int) -> Pose | None:
        eye, target, above = np.split(_numbers(self._rows[row])[1:], 3)
        if not np.isfinite((eye, target, above)).all():
            return None
        try:
            return look_at(eye, target, above - eye)
        except InputError as error:
            raise FrameError(error.message, where=f"{self._where}, frame {row}", found=self._rows[row][:120]) from None

    def camera(self, row: int) -> Camera:
        return DEFAULT_CAMERA
