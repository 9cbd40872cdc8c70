"""Camera poses in files: a matrix per frame, or one trajectory.log for a sequence (Redwood, Open3D)."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from depthforge.errors import DecodeError

__all__ = ["parse_matrix", "parse_trajectory_log", "pose_matrix"]

Matrix = npt.NDArray[np.float64]

_LINES_PER_POSE = 5


def parse_matrix(text: str, shape: tuple[int, int], *, where: str) -> Matrix:
    """Return a matrix of ``shape`` float64 from white-space separated numbers; raise DecodeError naming ``where``."""
    try:
        values = np.array([float(word) for word in text.split()])
        return values.reshape(shape)
    except ValueError:
        raise DecodeError(
            "not a matrix", where=where, expected=f"{shape[0]} x {shape[1]} numbers", found=text[:120]
        ) from None


def pose_matrix(numbers: Matrix, *, where: str) -> Matrix:
    """Return a pose (4, 4) from 4 x 4 or 3 x 4 numbers in whatever shape; raise DecodeError naming ``where``."""
    if numbers.size == 16:
        return numbers.reshape(4, 4)
    if numbers.size == 12:
        return np.vstack([numbers.reshape(3, 4), (0.0, 0.0, 0.0, 1.0)])
    listed = numbers.size in (7, 8) or numbers.size > 16
    raise DecodeError(
        "not a matrix of a pose",
        where=where,
        expected="4 x 4 or 3 x 4 numbers",
        found=f"{numbers.size} numbers, of shape {numbers.shape}",
        remedy="a list of poses? pose.format: rows, tum, euroc or trajectory_log" if listed else None,
    )


def parse_trajectory_log(text: str, *, where: str) -> dict[int, Matrix]:
    """Return the (4, 4) matrix of every frame number from blocks of five lines: three integers, then four rows.

    The first integer is the frame's number. Raises DecodeError. Source: redwood-data.org, "trajectory file format".
    """
    lines = [line for line in text.splitlines() if line.strip()]
    if len(lines) % _LINES_PER_POSE:
        raise DecodeError(
            "not a trajectory log", where=where, expected="five lines per pose", found=f"{len(lines)} lines"
        )
    poses = {}
    for start in range(0, len(lines), _LINES_PER_POSE):
        head = lines[start].split()
        if len(head) != 3 or not head[0].isdecimal():
            raise DecodeError(
                "not a trajectory log", where=where, expected="three integers before a matrix", found=lines[start][:120]
            )
        poses[int(head[0])] = parse_matrix(" ".join(lines[start + 1 : start + _LINES_PER_POSE]), (4, 4), where=where)
    return poses
