"""How much of lost patches stays where it is in the world: holes of two frames at the points that both see.

``patch_persistence`` is the share of the patches' field that belongs to surfaces; the rest is new in every frame, so
how long ago the other frame was has no say, and any two of the fitted frames will do that share half of their points
by their poses and truth (``realism.same_view.between_frames``). Of points away from silhouettes in both, where holes
are patches, counts are summed over pairs: IoU is what is a hole in both over what is one in either. Simulations with
several shares are interpolated to that of the scans; where holes of the scans last longer than any patch, they are of
another kind, and nothing is told. It is told last, when share and size of patches are known.

Up to 24 pairs; 16 frames of 640x480 take 5 s on one core.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import combinations
from typing import Final, NamedTuple

import numpy as np

from depthforge.fitting.candidates import Scene, simulate, with_values
from depthforge.fitting.estimators import Estimate
from depthforge.fitting.pairs import between, true_views
from depthforge.fitting.scans import Scans
from depthforge.frame import BoolImage, Frame
from depthforge.realism.same_view.between_frames import Correspondence, correspondence
from depthforge.sensors.base import Sensor

__all__ = ["told_between_frames"]

_SHARES: Final = (0.0, 0.25, 0.5, 0.7, 0.85, 0.95, 1.0)
_MOST_PAIRS: Final = 24
_FEWEST_PAIRS: Final = 3
_FEWEST_HOLES: Final = 2000
_NAME: Final = "patch_persistence"


class _Pair(NamedTuple):
    """Two frames by their places in the list, and the points away from silhouettes that both see."""

    before: int
    now: int
    points: Correspondence


def told_between_frames(sensor: Sensor, scenes: Sequence[Scene], frames: Sequence[Frame], scans: Scans) -> Estimate:
    """Return the share of patches that stays in the world, of a sensor that has one."""
    fields = sensor.model_dump()
    if _NAME not in fields:
        return Estimate({})
    if fields["patch_size_m"] is None or not fields["patch_share"]:
        return Estimate({}, {_NAME: "has no say: patches lie over the image, or there are none"})
    pairs = _pairs(sensor, scenes, frames, scans)
    if len(pairs) < _FEWEST_PAIRS:
        why = f"{len(pairs)} pairs of the fitted frames share half of their points; {_FEWEST_PAIRS} tell it"
        return Estimate({}, {_NAME: why})
    real_iou, num_holes = _kept(pairs, [frame.valid for frame in frames])
    if num_holes < _FEWEST_HOLES:
        return Estimate({}, {_NAME: f"{num_holes} holes within surfaces that two frames see; {_FEWEST_HOLES} tell it"})
    met = []
    for share in _SHARES:
        candidate = with_values(sensor, {_NAME: share})
        met.append(_kept(pairs, [simulate(candidate, scene, scans.unit_m).valid for scene in scenes])[0])
    if real_iou > met[-1]:
        why = f"holes of the scans meet by {real_iou:.2f}, patches that stay by {met[-1]:.2f}: something else lasts"
        return Estimate({}, {_NAME: why})
    return Estimate({_NAME: round(between(_SHARES, met, real_iou), 3)})


def _pairs(sensor: Sensor, scenes: Sequence[Scene], frames: Sequence[Frame], scans: Scans) -> list[_Pair]:
    """Return pairs of frames of one world that share enough, those that are nearest in the list first."""
    truths = true_views(frames, scans, sensor)
    worlds = [frame.key.rsplit("/", 1)[0] for frame in frames]
    found: list[_Pair] = []
    for first, second in sorted(combinations(range(len(frames)), 2), key=lambda pair: (pair[1] - pair[0], pair)):
        poses = frames[first].T_world_cam, frames[second].T_world_cam
        if worlds[first] != worlds[second] or poses[0] is None or poses[1] is None:
            continue
        points = correspondence(truths[first], poses[0], truths[second], poses[1])
        if points is not None:
            away = scenes[first].places.away.ravel()[points.before] & scenes[second].places.away.ravel()[points.now]
            found.append(_Pair(first, second, Correspondence(points.before[away], points.now[away])))
        if len(found) == _MOST_PAIRS:
            break
    return found


def _kept(pairs: Sequence[_Pair], valid: Sequence[BoolImage]) -> tuple[float, int]:
    """Return the IoU of the holes of all pairs together, and how many points are one in either frame."""
    both = either = 0
    for first, second, points in pairs:
        before, now = ~valid[first].ravel()[points.before], ~valid[second].ravel()[points.now]
        both += int(np.count_nonzero(before & now))
        either += int(np.count_nonzero(before | now))
    return both / max(either, 1), either
