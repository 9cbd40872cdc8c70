"""How large a sensor's holes are and how long they stay, measured on the pairs that a network is calibrated on.

A network says how likely each pixel is to be lost; that two pixels are lost together more often than that says is the
correlation of the field that draws them (``translators.hole_fields``). Of pixels a lag apart in one frame, and of
points that two consecutive frames see, those that are lost in both are counted; the correlation of a Gaussian copula
with which as many are expected is found by bisection. Two Gaussians are fitted to it over lags, a short and a long one.

Only pixels that the physics does not lose count: its holes are drawn otherwise. What the network does not know of a
surface is in the correlation too, and belongs there: the whole surface was lost or not. But the long field is no longer
than 0.25 m in a view of 2 m, though a measurement of one room may say so: one drawing of a room would have twice as
many holes as another, and be less like the sensor's for it.

The expected count is a sum of bivariate normal integrals over a table of both pixels' quantiles, each by Plackett's
identity, "A reduction formula for normal multivariate integrals", Biometrika 1954, and Gauss and Legendre's rule.
16 frames of 640x480 take 3 s of a core.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import Final, NamedTuple

import numpy as np
import numpy.typing as npt
from scipy.special import ndtr, ndtri

from depthforge.frame import BoolImage, Frame
from depthforge.realism.same_view.between_frames import correspondence
from depthforge.realism.same_view.truth import truth_of
from depthforge.realism.same_view.views import Measured, SameView
from depthforge.translators.hole_fields import AT_M, Correlation

__all__ = ["Chances", "copula_correlation", "measured_correlation"]

Float32 = npt.NDArray[np.float32]

_LAGS_PX: Final = (1, 2, 4, 8, 16, 32, 64, 96, 128)
_STRIDE: Final = 3
_BINS: Final = 48
_FARTHEST: Final = 4.2
_NODES: Final = 32
_HIGHEST: Final = 0.995
_FEWEST: Final = 200.0
_SAME_SURFACE: Final = 0.05
_SHORT_PX: Final = (1.0, 20.0)
_SHORTEST_LONG_PX: Final = 6.0
_LONGEST_M: Final = 0.25
_LONGER: Final = 2.0
_STEPS: Final = 40


class Chances(NamedTuple):
    """Of one frame (H, W): how likely each pixel is to be lost by what is learnt, where it was, and which count."""

    probability: Float32
    hole: BoolImage
    counts: BoolImage


class _Joint:
    """Pairs of pixels: how many there are of each two quantiles, and in how many both are holes."""

    def __init__(self) -> None:
        self.table = np.zeros(_BINS * _BINS)
        self.both = 0

    def add(self, first: npt.NDArray[np.int64], second: npt.NDArray[np.int64], both: npt.NDArray[np.bool_]) -> None:
        self.table += np.bincount(first * _BINS + second, minlength=_BINS * _BINS)
        self.both += int(np.count_nonzero(both))

    def correlation(self) -> float | None:
        """Return it, None where too few holes are expected together or seen."""
        found = copula_correlation(self.table.reshape(_BINS, _BINS), self.both)
        return found if self.both >= _FEWEST else None


def measured_correlation(frames: Sequence[Frame], chances: Sequence[Chances], default: Correlation) -> Correlation:
    """Return how holes of ``frames`` are correlated, in the order in which they were taken; what cannot be told is
    ``default``'s: the size where few holes are seen, the persistence where consecutive frames have no poses.
    """
    levels = [_levels(each.probability) for each in chances]
    within = {lag: _Joint() for lag in _LAGS_PX}
    for frame, chance, level in zip(frames, chances, levels, strict=True):
        for lag, joint in within.items():
            _add_lag(joint, lag, frame, chance, level)
    between = _Joint()
    for (frame, chance, level), (other, of_other, level_of_other) in pairwise(
        zip(frames, chances, levels, strict=True)
    ):
        _add_pair(between, frame, chance, level, other, of_other, level_of_other)
    known = {lag: (found, joint.both) for lag, joint in within.items() if (found := joint.correlation()) is not None}
    short_px, long_m, long_share = default[:3]
    if len(known) >= 4:
        pixels_per_metre = frames[0].camera.fx / AT_M
        short_px, long_px, long_share = _fitted(known, max(_LONGEST_M * pixels_per_metre, 2 * _SHORTEST_LONG_PX))
        long_m = long_px / pixels_per_metre
    stays = between.correlation()
    return Correlation(short_px, long_m, long_share, default.persistence if stays is None else max(stays, 0.0))


def copula_correlation(table: npt.NDArray[np.float64], both: int) -> float:
    """Return the correlation with which ``both`` pairs are expected to lie below both thresholds.

    ``table`` (N, N) counts the pairs by the quantiles of both thresholds, N equal steps from -4.2 to 4.2.
    """
    middles = (np.arange(len(table)) + 0.5) * (2 * _FARTHEST / len(table)) - _FARTHEST
    first, second = (axis[table > 0] for axis in np.meshgrid(middles, middles, indexing="ij"))
    weight = table[table > 0]
    low, high = -_HIGHEST, _HIGHEST
    for _ in range(_STEPS):
        middle = (low + high) / 2
        if float(weight @ _both_below(first, second, middle)) < both:
            low = middle
        else:
            high = middle
    return (low + high) / 2


def _both_below(
    first: npt.NDArray[np.float64], second: npt.NDArray[np.float64], correlation: float
) -> npt.NDArray[np.float64]:
    """Return the chance (N,) that two normals of ``correlation`` are below ``first`` and ``second`` (N,)."""
    at, weights = np.polynomial.legendre.leggauss(_NODES)
    # With r = sin(t) the integrand is smooth up to a correlation of 1.
    angle = np.arcsin(correlation)
    t = (at + 1) / 2 * angle
    a, b = first[:, None], second[:, None]
    integrand = np.exp(-(a * a - 2 * a * b * np.sin(t) + b * b) / (2 * np.cos(t) ** 2))
    found: npt.NDArray[np.float64] = ndtr(first) * ndtr(second) + integrand @ weights * angle / (4 * np.pi)
    return found


def _levels(probability: Float32) -> npt.NDArray[np.int64]:
    quantile = np.nan_to_num(ndtri(np.clip(probability.astype(np.float64), 1e-5, 1 - 1e-5)))  # NaN does not count
    step = 2 * _FARTHEST / _BINS
    found: npt.NDArray[np.int64] = np.clip((quantile + _FARTHEST) // step, 0, _BINS - 1).astype(np.int64)
    return found


def _add_lag(joint: _Joint, lag: int, frame: Frame, chance: Chances, level: npt.NDArray[np.int64]) -> None:
    """Add pairs of pixels ``lag`` apart, along rows and along columns, that lie on one surface."""
    rows = slice(None, None, _STRIDE)
    for image in (_turned(frame, chance, level, rows), _turned(frame, chance, level, rows, along_columns=True)):
        depth_m, counts, hole, quantile = image
        if lag >= depth_m.shape[1]:
            continue
        here, there = (slice(None), slice(None, -lag)), (slice(None), slice(lag, None))
        near = np.abs(depth_m[here] - depth_m[there]) < _SAME_SURFACE * depth_m[here]
        pairs = counts[here] & counts[there] & near
        joint.add(quantile[here][pairs], quantile[there][pairs], (hole[here] & hole[there])[pairs])


def _turned(
    frame: Frame, chance: Chances, level: npt.NDArray[np.int64], rows: slice, *, along_columns: bool = False
) -> tuple[Float32, BoolImage, BoolImage, npt.NDArray[np.int64]]:
    images = frame.depth_m, chance.counts, chance.hole, level
    return tuple((image.T if along_columns else image)[rows] for image in images)  # type: ignore[return-value]


def _add_pair(
    joint: _Joint,
    before: Frame,
    of_before: Chances,
    level_before: npt.NDArray[np.int64],
    now: Frame,
    of_now: Chances,
    level_now: npt.NDArray[np.int64],
) -> None:
    """Add the points that two frames see; none where one has no pose, or they see little in common."""
    if before.T_world_cam is None or now.T_world_cam is None or _scene(before) != _scene(now):
        return
    first, second = (truth_of(_alone(frame), None) for frame in (before, now))
    points = correspondence(first, before.T_world_cam, second, now.T_world_cam)
    if points is None:
        return
    pairs = of_before.counts.ravel()[points.before] & of_now.counts.ravel()[points.now]
    there, here = points.before[pairs], points.now[pairs]
    both = of_before.hole.ravel()[there] & of_now.hole.ravel()[here]
    joint.add(level_before.ravel()[there], level_now.ravel()[here], both)


def _scene(frame: Frame) -> str:
    return frame.key.rpartition("/")[0]


def _alone(frame: Frame) -> SameView:
    truth = Measured(frame.depth_m, frame.valid)
    return SameView(frame.key, frame.camera, truth, truth, {}, frame.T_world_cam, {})


def _fitted(known: dict[int, tuple[float, int]], longest_px: float) -> tuple[float, float, float]:
    """Return the short and the long length in pixels and the long one's share, of correlations by lag and their counts.

    Gaussians fall to 1/e at their length; of a grid of lengths the least squares, the share of each in closed form.
    """
    lags = np.array(list(known), np.float64)
    correlation, counts = (np.array(column, np.float64) for column in zip(*known.values(), strict=True))
    weight = np.sqrt(counts)
    best = (np.inf, 0.0, 0.0, 0.0)
    for short_px in np.geomspace(*_SHORT_PX, _STEPS):
        short = np.exp(-((lags / short_px) ** 2))
        for long_px in np.geomspace(_SHORTEST_LONG_PX, longest_px, _STEPS):
            if long_px < _LONGER * short_px:
                continue
            rise = np.exp(-((lags / long_px) ** 2)) - short
            share = float(np.clip((weight * rise) @ (correlation - short) / ((weight * rise) @ rise), 0, 1))
            off = float(weight @ (correlation - short - share * rise) ** 2)
            best = min(best, (off, float(short_px), float(long_px), share))
    return best[1:]
