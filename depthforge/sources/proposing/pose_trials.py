"""Which files of numbers are poses, and in which convention: decided by re-projecting neighbouring frames.

Every reading is tried that a manifest can state: direction, axes, index offset, a hand-eye matrix, depth along the ray,
and at once with them every plausible unit of depth and of translations; where some reading fits beyond doubt, scales
are tried of the best only. All are tried on images of a fraction of the pixels, the best few on whole ones; the
simplest that is about as good as the best is taken. 0.2 ms a reading and pair of frames, up to 72 readings without a
scale and 24 scales. A search by gradients would find any scale, but also those that no manifest would have.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from itertools import pairwise, product
from typing import Any, Final, NamedTuple

import numpy as np
import numpy.typing as npt

from depthforge.errors import DepthforgeError
from depthforge.frame import Camera, DepthImage, Frame
from depthforge.geometry import invert_pose, ray_length_to_z
from depthforge.sources.conventions import AXES, Axes, Direction, to_house_pose
from depthforge.sources.reprojection import reprojection_error

__all__ = ["Runs", "Trial", "Tried", "best_reading"]

Matrix = npt.NDArray[np.float64]
Runs = Sequence[Sequence[Frame]]
ReadRuns = Callable[[Mapping[str, Any]], Runs]
"""From a pose block to runs of consecutive frames with the poses that it gives."""

_OFFSETS: Final = (0, -1, 1)
_TRANSLATIONS: Final = (1.0, 0.001, 0.01)
_DIRECTIONS: Final[tuple[Direction, ...]] = ("camera_to_world", "world_to_camera")
_GOOD: Final = 0.05
_BEYOND_DOUBT: Final = 0.005
#: How much smaller the error of a reading with another scale has to be: more readings fit better by chance.
_CLEARLY: Final = 0.5
_STILL_M: Final = 0.002
_KEPT: Final = 8
_WIDEST: Final = 2
_ROUGHLY: Final = 6
_SMALL_PX: Final = 160


class Trial(NamedTuple):
    """A pose block, units of depth a metre, the median error of re-projection, and whether depth is along the ray.

    ``tells_unit`` says that every other plausible unit of depth fits worse; ``is_still`` that the camera moves less
    than 2 mm, or as much of an angle, between frames.
    """

    block: dict[str, Any]
    unit: float
    error: float
    is_ray_length: bool = False
    tells_unit: bool = False
    is_still: bool = False


class Tried(NamedTuple):
    """The reading to take, None where none fits; how many were tried; and the best error among them."""

    best: Trial | None
    num_readings: int
    least: float


class _Pair(NamedTuple):
    """Two neighbouring frames, whole and small."""

    whole: tuple[Frame, Frame]
    small: tuple[Frame, Frame]


class _Reading(NamedTuple):
    """What may be meant by poses. ``pairs`` are the frames with the poses of ``block``, ``factor`` scales their motion:
    depth in another unit is the same as translations in another one, and costs no new images.
    """

    block: Mapping[str, Any]
    pairs: Sequence[_Pair]
    is_ray_length: bool
    hand: str
    T_hand_cam: Matrix
    direction: Direction
    axes: Axes
    unit: float
    translation: float
    factor: float

    def motion(self, pair: _Pair) -> Matrix | None:
        """Return the motion from the axes of the first frame to those of the second; None where it has none."""
        first, second = (self._pose(frame) for frame in pair.whole)
        if first is None or second is None or not (np.isfinite(first).all() and np.isfinite(second).all()):
            return None
        return invert_pose(second) @ first

    def _pose(self, frame: Frame) -> Matrix | None:
        assert frame.T_world_cam is not None, "pairs have poses"
        pose = to_house_pose(frame.T_world_cam, self.direction, self.axes, where="")
        if pose is None:
            return None
        pose = pose @ self.T_hand_cam
        pose[:3, 3] *= self.factor
        return pose

    def error(self, pairs: Iterable[_Pair], *, small: bool) -> float | None:
        """Return the median error over pairs, None where it cannot be told."""
        errors = []
        for pair in pairs:
            motion = self.motion(pair)
            if motion is not None:
                error = reprojection_error(*(pair.small if small else pair.whole), motion)
                errors += [] if error is None else [error]
        return float(np.median(errors)) if errors else None

    def stated(self) -> dict[str, Any]:
        """Return the pose block that says this."""
        words: dict[str, Any] = {} if self.direction == "camera_to_world" else {"direction": self.direction}
        words |= {} if self.axes == "opencv" else {"axes": self.axes}
        words |= {"T_hand_cam": self.hand} if self.hand else {}
        words |= {} if self.translation == 1.0 else {"translation_scale": self.translation}
        return {**self.block, **words}


def best_reading(
    block: Mapping[str, Any], read: ReadRuns, units: Sequence[float], hands: Mapping[str, Matrix], *, counts: bool
) -> Tried:
    """Return the simplest reading of the poses of ``block`` that fits about as well as the best one.

    Depth of the runs is by the first of ``units``; ``counts`` says that the block may have an offset.
    """
    found: list[tuple[dict[str, Any], list[_Pair]]] = []
    for offset in _OFFSETS if counts else _OFFSETS[:1]:
        offset_block = {**block, "offset": offset} if offset else dict(block)
        try:
            pairs = _pairs(read(offset_block))
        except DepthforgeError:
            continue
        found += [(offset_block, pairs)] if pairs else []
    rays: dict[tuple[str, int], DepthImage] = {}
    plain = [
        each
        for is_ray in (False, True)
        for own, pairs in _of_quantity(found, rays, is_ray)
        for each in _readings(own, pairs, units[0], hands, is_ray)
    ]
    tried = _best(plain, widest=False)
    least = min((error for _, error in tried), default=1.0)
    scaled = [
        each._replace(unit=unit, translation=translation, factor=translation * unit / units[0])
        for each in ([reading for reading, _ in tried] if least < _BEYOND_DOUBT else plain)
        for unit, translation in product(units, _TRANSLATIONS[:1] if each.hand else _TRANSLATIONS)
        if (unit, translation) != (units[0], 1.0)
    ]
    others = _best(scaled, widest=True)
    if min((error for _, error in others), default=1.0) < _CLEARLY * least:
        tried = others
    num_readings = len(plain) + len(scaled)
    if not tried:
        return Tried(None, num_readings, 1.0)
    least = min(error for _, error in tried)
    if least > _GOOD:
        return Tried(None, num_readings, least)
    reading, error = next(each for each in tried if each[1] <= 1.25 * least + 5e-4)
    tells = _tells_unit(reading, error, units)
    return Tried(
        Trial(reading.stated(), reading.unit, error, reading.is_ray_length, tells, _is_still(reading)),
        num_readings,
        least,
    )


def _pairs(runs: Runs) -> list[_Pair]:
    kept = [[frame for frame in run if frame.T_world_cam is not None] for run in runs]
    return [_Pair((a, b), (_smaller(a), _smaller(b))) for run in kept for a, b in pairwise(run)]


def _smaller(frame: Frame) -> Frame:
    """Return a frame of every n-th pixel, so that its longer side has some 160."""
    step = max(1, max(frame.camera.size) // _SMALL_PX)
    if step == 1:
        return frame
    depth_m, camera = np.ascontiguousarray(frame.depth_m[::step, ::step]), frame.camera
    height, width = depth_m.shape
    small = Camera(camera.fx / step, camera.fy / step, camera.cx / step, camera.cy / step, width, height)
    valid = np.ascontiguousarray(frame.valid[::step, ::step])
    return Frame(frame.key, depth_m, valid, small, T_world_cam=frame.T_world_cam)


def _along_ray(frame: Frame, known: dict[tuple[str, int], DepthImage]) -> Frame:
    """Return a frame whose depth was stored along the ray, not as planar z; ``known`` keeps what was computed."""
    key = frame.key, frame.camera.width
    if key not in known:
        z = np.where(frame.valid, ray_length_to_z(frame.depth_m, frame.camera), 0)
        known[key] = z.astype(np.float32)
    return replace(frame, depth_m=known[key])


def _of_quantity(
    found: Sequence[tuple[dict[str, Any], list[_Pair]]],
    rays: dict[tuple[str, int], DepthImage],
    is_ray_length: bool,
) -> Iterator[tuple[dict[str, Any], list[_Pair]]]:
    for block, pairs in found:
        if is_ray_length:
            pairs = [
                _Pair((_along_ray(a, rays), _along_ray(b, rays)), (_along_ray(c, rays), _along_ray(d, rays)))
                for (a, b), (c, d) in pairs
            ]
        yield block, pairs


def _readings(
    block: dict[str, Any], pairs: Sequence[_Pair], unit: float, hands: Mapping[str, Matrix], is_ray_length: bool
) -> Iterator[_Reading]:
    # COLMAP's and nerfstudio's own files have one convention, whatever a manifest says.
    has_own = block.get("format") in ("colmap", "nerfstudio")
    for hand, T_hand_cam in ({"": np.eye(4)} | dict(hands)).items():
        for direction in _DIRECTIONS[:1] if has_own else _DIRECTIONS:
            for axes in AXES[:1] if has_own else AXES:
                yield _Reading(block, pairs, is_ray_length, hand, T_hand_cam, direction, axes, unit, 1.0, 1.0)


def _best(readings: Sequence[_Reading], *, widest: bool) -> list[tuple[_Reading, float]]:
    """Return the readings that fit small images best, in their order, with their error on whole ones."""
    rough = []
    for at, reading in enumerate(readings):
        pairs = _widest(reading)[: _WIDEST if widest else _ROUGHLY]
        error = reading.error(pairs, small=True)
        if error is not None:
            rough.append((error, at))
    kept = sorted(at for _, at in sorted(rough)[:_KEPT])
    found = ((readings[at], readings[at].error(readings[at].pairs, small=False)) for at in kept)
    return [(reading, error) for reading, error in found if error is not None]


def _widest(reading: _Reading) -> list[_Pair]:
    """Return the pairs, those between which the camera moves most first."""

    def motion(pair: _Pair) -> float:
        a, b = (frame.T_world_cam for frame in pair.whole)
        assert a is not None, "pairs have poses"
        assert b is not None, "pairs have poses"
        return float(np.abs(invert_pose(b) @ a - np.eye(4))[:3, 3].max())

    return sorted(reading.pairs, key=motion, reverse=True)


def _is_still(reading: _Reading) -> bool:
    motions = [motion for pair in reading.pairs if (motion := reading.motion(pair)) is not None]
    return not motions or max(float(np.abs(motion - np.eye(4)).max()) for motion in motions) <= _STILL_M


def _tells_unit(reading: _Reading, error: float, units: Sequence[float]) -> bool:
    """Return whether every other unit fits clearly worse than the one of ``reading``."""
    for unit in units:
        if unit != reading.unit:
            other = reading._replace(factor=reading.factor * unit / reading.unit).error(reading.pairs, small=False)
            if other is None or other < 2 * error + 2e-3:
                return False
    return True
