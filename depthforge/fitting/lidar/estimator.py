"""Fits a spinning lidar to its sparse scans in an image: beams, firings, noise, range and losses, each read off.

A scan of rows allows no clean guess, and none is needed: its returns say where the beams are (``beams``), how
they fired, how noisy their range is and which firings were lost (``rows``). Losses are split by maximum
likelihood into those that happen to any return and those that grow with range and grazing angle as received power
falls. Known beforehand is where the lidar stands and which way its azimuths begin: the sensor that the fit starts from
has it. How it looks down and leans is found.

What scans cannot tell keeps its value, and the report says why: the farthest and nearest range where no scan reaches
it, the step of the range below the file's own rounding, losses by power where hardly any return is weak, beams outside
of the image.

On real HDL-64E frames of KITTI it finds 32 + 14 beams, 0.345 and 0.507 degrees apart, a firing each 0.167 degrees (the
mean: KITTI's scanner shifts by half a step every seventh) and 8 mm, from the default sensor, whose mounting is 0.6
degrees off, as from the preset. On one core six frames of 1242x375 take 5 s, and 0.3 s for each that it is judged on.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from depthforge.errors import InputError
from depthforge.fitting.burst import Burst
from depthforge.fitting.candidates import Target, stored, with_values
from depthforge.fitting.estimators import CurveKind, Estimate
from depthforge.fitting.lidar.beams import Comb, Polar, Returns, assign, find_beams, returns_of, sharpness
from depthforge.fitting.lidar.rows import (
    Rows,
    Triples,
    firing_step_deg,
    range_sigma_m,
    range_step_m,
    rows_of,
    smoothed_points,
    triples_of,
)
from depthforge.fitting.lidar.scan_curves import KINDS, FrameRows, curves_of, scene_of, target_of
from depthforge.fitting.scan_curves import Curves
from depthforge.fitting.scans import Scans
from depthforge.frame import Frame
from depthforge.realism.views import evenly_spaced
from depthforge.seeding import frame_words
from depthforge.sensors.base import Sensor
from depthforge.sensors.lidar import Lidar

__all__ = ["LidarEstimator"]

Float64 = npt.NDArray[np.float64]

_DENSEST: Final = 0.15
_FEWEST_RETURNS: Final = 500
_MOST_JUDGED: Final = 6
_FEWEST_TRIPLES: Final = 500
# Twice the difference of log likelihoods that the growth of losses must make, and how many it must be of.
_TELLS: Final = 20.0
_FEWEST_WEAK: Final = 150
_CELLS: Final = 8
_MOST_LOST: Final = 0.27
# A limit of the range is where many frames end, and they end there at once.
_REACHED: Final = 0.985
_LEAST_BEAMS_NEAREST: Final = 3
_FINEST_STEP_M: Final = 0.005
# Sharpness of rows, see `beams`: HDL-64E frames have 0.85, of two days of KITTI together 0.6.
_SHARP: Final = 0.75
_SHARPER_ALONE: Final = 0.1


@dataclass(frozen=True)
class _Layout:
    """A lidar's beams as tables over all of them."""

    combs: tuple[Comb, ...]
    elevation_deg: Float64
    height_m: Float64

    @classmethod
    def of(cls, combs: Sequence[Comb]) -> _Layout:
        elevation = [comb.top_deg - np.arange(comb.num_beams) * comb.spacing_deg for comb in combs]
        height = [np.full(comb.num_beams, comb.height_m) for comb in combs]
        return cls(tuple(combs), np.concatenate(elevation), np.concatenate(height))

    @classmethod
    def of_sensor(cls, sensor: Lidar) -> _Layout:
        combs = [
            Comb(
                block.highest_deg,
                (block.highest_deg - block.lowest_deg) / max(block.num_beams - 1, 1) or 1.0,
                block.height_m,
                block.num_beams,
            )
            for block in sensor.beams
        ]
        return cls.of(combs)

    @property
    def inner(self) -> npt.NDArray[np.bool_]:
        """Which beams are not the first or last of a block: blocks at two heights cross, and the nearer hides one."""
        return np.concatenate(
            [np.minimum(np.arange(c.num_beams), np.arange(c.num_beams)[::-1]) > 0 for c in self.combs]
        )


class LidarEstimator:
    """Beams, firings, noise and losses of a spinning lidar."""

    kinds: Mapping[str, CurveKind] = KINDS
    fewest_frames = 2
    most_burst_frames = 0
    shares_factor = False
    uses_truth = False

    def require(self, frames: Sequence[Frame], unit_m: float, where: str) -> None:
        """Raise InputError for dense depth, and for scans with next to no returns."""
        share = float(np.mean([frame.valid.mean() for frame in frames]))
        if share > _DENSEST:
            raise InputError(
                "these are no scans of a spinning lidar: most pixels have depth",
                where=where,
                expected=f"sparse rows, at most {_DENSEST:.0%} of the pixels, as a scan leaves them in an image",
                found=f"{share:.0%}",
                remedy="name the manifest of single scans (not merged or completed depth), or fit a camera",
            )
        num = sum(int(np.count_nonzero(frame.valid)) for frame in frames) / len(frames)
        if num < _FEWEST_RETURNS:
            raise InputError(
                "the scans have too few returns",
                where=where,
                expected=f"at least {_FEWEST_RETURNS} in a frame",
                found=f"{num:.0f}",
            )

    def estimate(self, start: Sensor, scans: Scans, burst: Burst | None, note: Callable[[str], None]) -> Estimate:
        """Return what the scans tell; InputError when their returns lie in no rows."""
        assert isinstance(start, Lidar)
        returns = returns_of(scans.fitted)
        combs, turned = find_beams(returns, start, note)
        beam, polar = assign(combs, returns, start, turned)
        step_deg = firing_step_deg(beam, polar, returns.frame, returns.pixel_deg) if combs else None
        if not combs:
            raise InputError(
                "the returns of the scans lie in no rows of evenly spaced beams",
                where=scans.dataset,
                expected="single scans of a spinning lidar, at least 2.5 px from row to row",
                found=f"{returns.num} returns in {len(scans.fitted)} frames",
                remedy="name single scans, give position_m of the sensor that the fit starts from, or larger images",
            )
        _require_one_mounting(scans, returns, combs, turned, start)
        note("beams: " + "; ".join(f"{c.num_beams} from {c.top_deg:.2f} by {c.spacing_deg:.3f} deg" for c in combs))
        down, right, lean = start.rotation_deg
        values: dict[str, Any] = {
            "beams": tuple(comb.block for comb in combs),
            "rotation_deg": (round(down + turned[0], 3), right, round(lean + turned[1], 3)),
        }
        skipped = {
            "position_m": "known beforehand, from the calibration, as is the turn to the right: rows hardly tell them",
        }
        if step_deg is None:
            why = "the returns of a row are no comb of firings: the image is too small, or the mounting off"
            skipped.update(dict.fromkeys(("azimuth_step_deg", "range_sigma_m", "random_dropout"), why))
        else:
            values["azimuth_step_deg"] = round(step_deg, 5)
            sensor = with_values(start, values)
            assert isinstance(sensor, Lidar)
            rows = _laid_out(returns, beam, polar, _Layout.of(combs), sensor)
            found = _of_rows(rows, _Layout.of(combs), scans, sensor)
            values.update(found.values)
            skipped.update(found.skipped)
        limits = _limits(scans, returns, beam, polar)
        values.update(limits.values)
        return Estimate(values, {**skipped, **limits.skipped})

    def curves_of_fit(
        self, frames: Sequence[Frame], unit_m: float, start: Sensor, fitted: Sensor
    ) -> tuple[Target, Curves, Curves]:
        """Return the curves of scans, and of the sensor before and after on their surfaces; of 6 frames at most."""
        assert isinstance(start, Lidar)
        assert isinstance(fitted, Lidar)
        seen = [frame for frame in frames if np.count_nonzero(frame.valid) >= _FEWEST_RETURNS]
        if not seen:
            raise InputError(
                "the scans to judge the fit by have too few returns",
                where=frames[0].key,
                expected=f"at least {_FEWEST_RETURNS} in a frame",
                remedy="raise --frames, or name other scans",
            )
        chosen = [seen[place] for place in evenly_spaced(len(seen), _MOST_JUDGED)]
        target = target_of([_frame_rows(frame, fitted) for frame in chosen])
        widest_deg = max(comb.spacing_deg for comb in _Layout.of_sensor(fitted).combs)
        scenes = [scene_of(frame, smoothed_points(_rows_by(frame, fitted)[0]), widest_deg) for frame in chosen]

        def simulated(sensor: Lidar) -> Curves:
            measured = []
            for scene in scenes:
                depth_m, valid = sensor.measure(scene, frame_words(0, scene.key, "fit"))
                depth_m = stored(depth_m, unit_m)
                measured.append(_frame_rows(Frame(scene.key, depth_m, valid & (depth_m > 0), scene.camera), sensor))
            return curves_of(measured)

        return target, simulated(start), simulated(fitted)


def _require_one_mounting(
    scans: Scans, returns: Returns, combs: Sequence[Comb], turned: tuple[float, float], start: Lidar
) -> None:
    """Raise InputError where a frame by itself has much sharper rows than all together."""
    together = sharpness(combs, returns, start, turned)
    if len(scans.fitted) == 1 or together > _SHARP:
        return
    own = returns_of(scans.fitted[:1])
    own_combs, own_turn = find_beams(own, start)
    alone = sharpness(own_combs, own, start, own_turn)
    if alone > together + _SHARPER_ALONE:
        raise InputError(
            "the scans are of lidars that are mounted in different ways",
            where=scans.dataset,
            expected=f"rows as sharp as those of a single frame, {alone:.2f}",
            found=f"{together:.2f} for {len(scans.fitted)} frames together",
            remedy="fit recordings of one calibration: one day of KITTI, one car",
        )


def _laid_out(returns: Returns, beam: npt.NDArray[np.int64], polar: Polar, layout: _Layout, sensor: Lidar) -> Rows:
    """Return the rows of returns; a beam is where its returns lie, which is not quite evenly spaced."""
    off = polar.elevation - layout.elevation_deg[np.maximum(beam, 0)]
    own = [off[beam == index] for index in range(len(layout.elevation_deg))]
    elevation = layout.elevation_deg + np.array([np.median(each) if len(each) else 0.0 for each in own])
    return rows_of(returns, beam, polar, elevation, layout.height_m, sensor)


def _of_rows(rows: Rows, layout: _Layout, scans: Scans, sensor: Lidar) -> Estimate:
    values: dict[str, Any] = {}
    skipped: dict[str, str] = {}
    # A step is seen where the file and the pixels leave it; what they leave of it is one part of the noise.
    finest_m = max(_FINEST_STEP_M, 2.5 * scans.unit_m)
    step_m = range_step_m(rows, finest_m)
    if step_m is None:
        skipped["range_step_m"] = f"the scans show no step of the range of {1000 * finest_m:.0f} mm or more"
    else:
        values["range_step_m"] = round(step_m, 4)
    sigma_m, num = range_sigma_m(rows, is_coarse=step_m is not None)
    if np.isfinite(sigma_m):
        rounding = ((step_m or sensor.range_step_m) ** 2 + scans.unit_m**2) / 12
        values["range_sigma_m"] = round(float(np.sqrt(max(sigma_m**2 - rounding, 0.0))), 5)
    else:
        skipped["range_sigma_m"] = f"only {num} returns lie between two others of their row"
        sigma_m = sensor.range_sigma_m
    losses = _losses(triples_of(rows, sigma_m, layout.inner), sensor)
    return Estimate({**values, **losses.values}, {**skipped, **losses.skipped})


def _losses(triples: Triples, sensor: Lidar) -> Estimate:
    """Split losses into those of any return, and those of weak ones: power by range and angle, surfaces log-normal."""
    from scipy.optimize import minimize
    from scipy.special import expit, log_ndtr, logit

    skipped = {"log_sigma": "losses tell it only together with half_range_m, which is for this value"}
    if len(triples.returned) < _FEWEST_TRIPLES:
        why = f"only {len(triples.returned)} firings lie within surfaces"
        return Estimate({}, dict.fromkeys(("random_dropout", "half_range_m", "log_sigma"), why))
    # Logarithm of the power, in bins: the likelihood is a sum over some 60 of them.
    power = np.log(triples.cosine) - 2 * np.log(triples.range_m)
    at, place = np.unique(np.rint(_CELLS * power).astype(np.int64), return_inverse=True)
    num = np.bincount(place).astype(np.float64)
    came = np.bincount(place, weights=triples.returned).astype(np.float64)
    # Where most is lost, neighbours that came back are mostly from what is brighter, or straighter, than it looks.
    kept = at >= _strongest_lost(at, num, came)
    at, num, came = at[kept], num[kept], came[kept]

    def log_return(half: float) -> Float64:
        return np.asarray(log_ndtr((2 * half + at / _CELLS) / sensor.log_sigma))

    def surprise(parameters: Float64) -> float:
        returned = np.log1p(-expit(parameters[0])) + log_return(parameters[1])
        lost = np.log(np.maximum(-np.expm1(returned), 1e-300))
        return -float(np.sum(came * returned + (num - came) * lost))

    share = float(np.clip(1 - came.sum() / num.sum(), 1e-5, 1 - 1e-5))
    plain = -float(came.sum() * np.log(1 - share) + (num - came).sum() * np.log(share))
    first = np.array([float(logit(0.5 * share)), float(np.log(sensor.half_range_m))])
    simplex = [[*first], [first[0] + 1, first[1]], [first[0], first[1] - 1]]
    options = {"xatol": 1e-4, "fatol": 1e-4, "initial_simplex": simplex}
    found = minimize(surprise, first, method="Nelder-Mead", options=options)
    num_weak = float(np.sum(num * -np.expm1(log_return(found.x[1]))))
    if 2 * (plain - found.fun) < _TELLS or num_weak < _FEWEST_WEAK:
        skipped["half_range_m"] = f"losses hardly grow with range and angle: {num_weak:.0f} for lack of power"
        if 2 * (plain - found.fun) < _TELLS:
            return Estimate({"random_dropout": round(share, 5)}, skipped)
        return Estimate({"random_dropout": round(float(expit(found.x[0])), 5)}, skipped)
    values = {"random_dropout": round(float(expit(found.x[0])), 5), "half_range_m": round(float(np.exp(found.x[1])), 2)}
    return Estimate(values, skipped)


def _strongest_lost(at: npt.NDArray[np.int64], num: Float64, came: Float64) -> int:
    """Return the cell of power below which more than a third is lost."""
    around = np.ones(5)
    share = 1 - np.convolve(came, around, "same") / np.maximum(np.convolve(num, around, "same"), 1)
    most = np.flatnonzero((share > _MOST_LOST) & (np.convolve(num, around, "same") >= 30))
    return int(at[most[-1]] + 1) if len(most) else int(at[0])


def _limits(scans: Scans, returns: Returns, beam: npt.NDArray[np.int64], polar: Polar) -> Estimate:
    """Return the nearest and the farthest range, where returns end at once in many frames and for many beams."""
    values: dict[str, Any] = {}
    skipped = {}
    kept = beam >= 0
    range_m, frame, on = polar.range_m[kept], returns.frame[kept], beam[kept]
    farthest = np.array([range_m[frame == index].max(initial=0.0) for index in range(len(scans.fitted))])
    most = float(farthest.max())
    last, before = (
        np.count_nonzero((range_m > low * most) & (range_m <= high * most)) for low, high in ((0.96, 1.0), (0.92, 0.96))
    )
    if np.count_nonzero(farthest >= _REACHED * most) >= max(2, 0.25 * len(farthest)) and last > 0.5 * before:
        values["max_range_m"] = round(most, 2)
    else:
        skipped["max_range_m"] = f"the scans end at {most:.1f} m little by little, or in one frame only"
    least = float(range_m.min())
    nearest = range_m <= 1.02 * least
    if len(np.unique(on[nearest])) >= _LEAST_BEAMS_NEAREST and len(np.unique(frame[nearest])) >= 2:
        values["min_range_m"] = round(least, 3)
    else:
        skipped["min_range_m"] = f"nothing in the image is nearer than {least:.1f} m, by the view of it"
    return Estimate(values, skipped)


def _rows_by(frame: Frame, sensor: Lidar) -> tuple[Rows, _Layout]:
    """Return the rows of one frame by the table of a sensor."""
    layout = _Layout.of_sensor(sensor)
    returns = returns_of([frame])
    beam, polar = assign(layout.combs, returns, sensor, (0.0, 0.0))
    return _laid_out(returns, beam, polar, layout, sensor), layout


def _frame_rows(frame: Frame, sensor: Lidar) -> FrameRows:
    rows, layout = _rows_by(frame, sensor)
    return FrameRows(frame, rows, triples_of(rows, sensor.range_sigma_m, layout.inner))
