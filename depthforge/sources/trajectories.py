"""Lists of poses, a line each: TUM (seconds, x y z w) and EuRoC (nanoseconds, w x y z); and which line a frame has.

Stamps are kept as they are written, as decimal fractions: float32 resolves 128 s at today's seconds since 1970 and
float64 256 ns at its nanoseconds. Poses are associated, never interpolated. Ten thousand lines take 0.1 s.
Sources: "File Formats" of the TUM RGB-D benchmark; Burri et al., "The EuRoC micro aerial vehicle datasets", IJRR 2016.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Sequence
from decimal import Decimal, InvalidOperation
from typing import Literal, NamedTuple, TypeAlias

import numpy as np
import numpy.typing as npt

from depthforge.errors import DecodeError, InputError
from depthforge.geometry import rotation_from_quaternion

__all__ = ["QuaternionOrder", "Stamped", "associate", "parse_stamped_poses", "pose_of"]

QuaternionOrder: TypeAlias = Literal["xyzw", "wxyz"]
Matrix = npt.NDArray[np.float64]

_NUMBERS = 8


class Stamped(NamedTuple):
    """A pose (4, 4) as stored, and its stamp."""

    stamp: Decimal
    matrix: Matrix


def parse_stamped_poses(text: str, order: QuaternionOrder, *, where: str) -> list[Stamped]:
    """Return the poses of a list, in the order of its lines, which need not be that of time.

    A line is a stamp, a translation and a quaternion in ``order``, separated by white space or commas; what follows
    the eighth number is not read (EuRoC adds velocities). Lines that are empty or begin with ``#`` say nothing. A
    quaternion of zeros gives a rotation of zeros, which is no pose. Raises DecodeError naming ``where`` and the line.
    """
    poses = []
    for number, line in enumerate(text.splitlines(), 1):
        words = line.replace(",", " ").split()
        if not words or words[0].startswith("#"):
            continue
        try:
            stamp = Decimal(words[0])
            values = [float(word) for word in words[1:_NUMBERS]]
        except (InvalidOperation, ValueError):
            values = []
        if len(values) != _NUMBERS - 1 or not stamp.is_finite():
            raise DecodeError(
                "not a list of poses",
                where=f"{where}, line {number}",
                expected=f"a stamp, tx ty tz and a quaternion ({order}): eight numbers",
                found=line[:120],
            )
        poses.append(Stamped(stamp, pose_of(values[:3], values[3:], order)))
    if not poses:
        raise DecodeError("a list of poses without a pose", where=where, expected="lines of eight numbers")
    return poses


def pose_of(translation: Sequence[float], quaternion: Sequence[float], order: QuaternionOrder) -> Matrix:
    """Return the matrix (4, 4) of a translation and a quaternion; its rotation is zeros where the quaternion is.

    Numbers that are not finite give a matrix of NaN: a lost pose.
    """
    matrix = np.eye(4)
    if not np.isfinite([*translation, *quaternion]).all():
        return np.full((4, 4), np.nan)
    matrix[:3, 3] = translation
    x, y, z, w = quaternion if order == "xyzw" else (*quaternion[1:], quaternion[0])
    try:
        matrix[:3, :3] = rotation_from_quaternion((w, x, y, z))
    except InputError:
        matrix[:3, :3] = 0.0
    return matrix


def associate(first: Sequence[Decimal], second: Sequence[Decimal], tolerance: Decimal) -> dict[int, int]:
    """Return for positions in ``first`` the position in ``second`` that belongs to it: one to one, the nearest first.

    Pairs are taken by rising difference, each stamp once, as the tool of the TUM benchmark does, up to ``tolerance``
    inclusive. Equal differences go to the earlier stamps. Either may be in any order.
    """
    order = sorted(range(len(second)), key=lambda position: second[position])
    stamps = [second[position] for position in order]
    pairs = []
    for index, stamp in enumerate(first):
        at = bisect_left(stamps, stamp - tolerance)
        while at < len(stamps) and stamps[at] <= stamp + tolerance:
            pairs.append((abs(stamps[at] - stamp), stamp, stamps[at], index, order[at]))
            at += 1
    found: dict[int, int] = {}
    taken: set[int] = set()
    for *_, index, other in sorted(pairs):
        if index not in found and other not in taken:
            found[index] = other
            taken.add(other)
    return found
