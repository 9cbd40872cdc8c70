"""Fits Dex-Net noise: the grid and size of its additive field, on how many frames it is, and the factor of a frame.

The field is the same everywhere in a frame and on every frame that has it, so nothing is simulated on scans: their flat
windows (``realism.windows``) give its size and its correlation, and the field itself, drawn on grids of many spacings
and measured in the same windows, says which grid has that correlation and what size at its points that is. A frame has
the field when its windows are at least half as noisy as those of the noisiest frame. In a window the quieter ones
count, since what is bent or creased is louder.

A factor of a whole frame cannot be seen in it: a room 3 % nearer is another room. In a static burst it is each frame's
ratio to the mean over time, and the shape of its distribution is one over its variance. N frames tell that to
sqrt(2 / (N - 1)): 200 frames to 10 %, 51 to 20 %, and with fewer it keeps its value.

16 frames of 640x480 take 5 s on one core.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from depthforge.errors import InputError
from depthforge.fitting.burst import Burst
from depthforge.fitting.candidates import Target, scenes_of, simulate, with_values
from depthforge.fitting.estimators import CurveKind, Estimate
from depthforge.fitting.scan_curves import Curves, share_of
from depthforge.fitting.scans import Scans, require_noise
from depthforge.frame import BoolImage, DepthImage, Frame
from depthforge.realism.noise import DEPTH_EDGES_M
from depthforge.realism.windows import fit_windows
from depthforge.sensors.base import Sensor
from depthforge.sensors.dexnet import DexNet, additive_noise

__all__ = ["DexNetEstimator", "gamma_of", "least_between"]

Float64 = npt.NDArray[np.float64]

_WINDOWS_PX: Final = (24, 12)
_ENOUGH_WINDOWS: Final = 100
_QUIET: Final = 0.3
_ALL_OVER: Final = 0.1
_CORRELATED: Final = 0.6
# Of the noisiest frame's noise: frames with the field are alike, frames without it have next to none.
_HAS_FIELD: Final = 0.5
_FEWEST_WINDOWS: Final = 24
_MOST_WIDE: Final = 0.5
_DRAWS: Final = 3
_FIELD_PIXELS: Final = 400_000
_MOST_FIELDS: Final = 40
# A grid of the image's own spacing, and the other interpolation, are as likely until they are this much worse.
_AS_GOOD: Final = 1.5
_FEWEST_BURST: Final = 51
_LEAST_ERROR: Final = 0.02


def _octaves(values: Float64) -> Float64:
    return np.asarray(1000.0 * 2.0**values)


def _as_it_is(values: Float64) -> Float64:
    return values


KINDS: Final[dict[str, CurveKind]] = {
    "frames with noise": CurveKind("", "%", np.zeros, lambda values: np.asarray(100 * share_of(values))),
    "noise against depth": CurveKind(
        "depth, m", "mm", lambda count: np.asarray(np.sqrt(DEPTH_EDGES_M[1:] * DEPTH_EDGES_M[:-1])), _octaves, True
    ),
    "noise correlation along x": CurveKind("distance, px", "", lambda count: np.arange(1.0, count + 1), _as_it_is),
    "noise correlation along y": CurveKind("distance, px", "", lambda count: np.arange(1.0, count + 1), _as_it_is),
}


@dataclass(frozen=True)
class _Flat:
    """The flat windows of a frame: depth (N,) metres, residuals (N, size, size) and their spread (N,), metres."""

    depth_m: Float64
    residual_m: Float64
    sigma_m: Float64

    @classmethod
    def of(cls, depth_m: DepthImage, valid: BoolImage, size: int) -> _Flat:
        windows = fit_windows(depth_m, valid, size)
        scale = windows.depth_m**2
        return cls(windows.depth_m, windows.residual * scale[:, None, None], windows.sigma_m)

    @property
    def noise_m(self) -> float:
        """How noisy the quieter windows are; 0 when there are none."""
        return float(np.quantile(self.sigma_m, _QUIET)) if self.sigma_m.size else 0.0


class DexNetEstimator:
    """Additive field from the noise of flat surfaces, factor from a static burst."""

    kinds: Mapping[str, CurveKind] = KINDS
    fewest_frames = 4
    most_burst_frames = 400
    shares_factor = True
    uses_truth = False

    def require(self, frames: Sequence[Frame], unit_m: float, where: str) -> None:
        """Raise InputError unless some frame is rough all over, by more than the rounding of its file."""
        flats = [_Flat.of(frame.depth_m, frame.valid, _WINDOWS_PX[-1]) for frame in frames]
        quietest = [np.quantile(flat.sigma_m, _ALL_OVER) if flat.sigma_m.size else 0.0 for flat in flats]
        require_noise([frames[int(np.argmax(quietest))]], unit_m, where, quantile=_ALL_OVER)

    def estimate(self, start: Sensor, scans: Scans, burst: Burst | None, note: Callable[[str], None]) -> Estimate:
        """Return the field's grid, size and rate, and with a burst the shape of the factor."""
        assert isinstance(start, DexNet)
        flats = _flats_of(scans.fitted)
        noisy = _with_field(flats)
        num_windows = sum(len(flat.sigma_m) for flat in noisy)
        if num_windows < _FEWEST_WINDOWS:
            raise InputError(
                "the scans show too little to fit anything",
                where=scans.dataset,
                expected=f"{_FEWEST_WINDOWS} flat windows in frames with noise",
                found=f"{num_windows} in {len(noisy)} frames",
                remedy="raise --frames, or record more",
            )
        values: dict[str, Any] = {"additive_rate": round(len(noisy) / len(flats), 4)}
        note(f"{len(noisy)} of {len(flats)} frames have the additive field")
        told, skipped = gamma_of(burst)
        values.update(told)
        shape, size = scans.fitted[0].valid.shape, noisy[0].residual_m.shape[1]
        field, is_told = _field_like(np.concatenate(_correlations(noisy)), shape, size, start)
        if field.downscale > _MOST_WIDE * size:
            why = f"windows of {size} px are too small for a grid as wide as that of the noise"
            return Estimate(values, {**skipped, **dict.fromkeys(("additive_sigma_m", "downscale"), why)})
        values["downscale"] = round(field.downscale, 4)
        if is_told:
            values["interpolation"] = field.interpolation
        else:
            skipped["interpolation"] = "the other one fits as well, on a grid of another spacing"
        of_field = float(np.quantile(np.concatenate([f.sigma_m for f in _fields(field, shape, size)]), _QUIET))
        found_m = float(np.quantile(np.concatenate([flat.sigma_m for flat in noisy]), _QUIET))
        values["additive_sigma_m"] = round(np.sqrt(max(found_m**2 - scans.unit_m**2 / 12, 0.0)) / of_field, 6)
        return Estimate(values, skipped)

    def curves_of_fit(
        self, frames: Sequence[Frame], unit_m: float, start: Sensor, fitted: Sensor
    ) -> tuple[Target, Curves, Curves]:
        """Return the curves of scans, and of the sensor before and after on their clean guesses."""
        scans = _flats_of(frames)
        size = scans[0].residual_m.shape[1]
        curves = _curves(scans, size)
        without = [_curves([*scans[:i], *scans[i + 1 :]], size) for i in range(len(scans))]
        errors = {}
        for name in curves:
            values = np.array([each[name] for each in without])
            jackknife = np.sqrt((len(without) - 1) * np.mean((values - values.mean(axis=0)) ** 2, axis=0))
            errors[name] = np.fmax(jackknife, _LEAST_ERROR)
        scenes = scenes_of(frames)

        def simulated(sensor: Sensor) -> Curves:
            seen = [simulate(sensor, scene, unit_m, draw) for draw in range(_DRAWS) for scene in scenes]
            return _curves([_Flat.of(*each, size) for each in seen], size)

        return Target(curves, errors), simulated(start), simulated(fitted)


def gamma_of(burst: Burst | None) -> tuple[dict[str, Any], dict[str, str]]:
    """Return the shape of the factor's distribution, or why it is not told."""
    if burst is None:
        why = "a factor of a whole frame cannot be seen in it; a static burst (--burst) shows it"
        return {}, {"gamma_shape": why}
    num = len(burst.factors)
    if num < _FEWEST_BURST:
        share = np.sqrt(2 / max(num - 1, 1))
        why = f"{num} frames of a burst tell it to {share:.0%} only; 200 tell it to 10 %"
        return {}, {"gamma_shape": why}
    variance = float(np.var(burst.factors, ddof=1)) / float(np.mean(burst.factors)) ** 2
    # A factor that spreads by less than a ten thousandth is rounding.
    return {"gamma_shape": round(1 / variance, 1) if variance > 1e-8 else None}, {}


def _with_field(flats: Sequence[_Flat]) -> list[_Flat]:
    noise = np.array([flat.noise_m for flat in flats])
    return [flat for flat, its in zip(flats, noise, strict=True) if its > _HAS_FIELD * noise.max(initial=0.0)]


def _flats_of(frames: Sequence[Frame]) -> list[_Flat]:
    """Return the windows of frames: large ones where there are enough, since a plane takes a wide grid along."""
    for size in _WINDOWS_PX:
        flats = [_Flat.of(frame.depth_m, frame.valid, size) for frame in frames]
        if sum(len(flat.sigma_m) for flat in flats) >= _ENOUGH_WINDOWS:
            break
    return flats


def _fields(sensor: DexNet, shape: tuple[int, ...], size: int) -> list[_Flat]:
    """Return fields of a sensor (with its own size) on a wall of 1 m, as flat windows, as if they were a millimetre."""
    flats = []
    for draw in range(int(np.clip(_FIELD_PIXELS // (shape[0] * shape[1]), _DRAWS, _MOST_FIELDS))):
        field = additive_noise((draw, 0), shape, sensor)
        assert field is not None
        flat = _Flat.of(np.float32(1) + np.float32(1e-3) * field, np.ones(shape, np.bool_), size)
        flats.append(_Flat(flat.depth_m, 1e3 * flat.residual_m, 1e3 * flat.sigma_m))
    return flats


def _correlations(flats: Sequence[_Flat]) -> tuple[Float64, Float64]:
    """Return the autocorrelation of the quieter windows at 1 to half their size, along x and along y."""
    sigma = np.concatenate([flat.sigma_m for flat in flats])
    residual = np.concatenate([flat.residual_m for flat in flats])
    kept = residual[(sigma <= np.quantile(sigma, _CORRELATED)) & (sigma > 0)]
    variance = np.mean(kept**2)
    lags = range(1, residual.shape[1] // 2 + 1)
    along_x = np.array([np.mean(kept[:, :, lag:] * kept[:, :, :-lag]) for lag in lags])
    along_y = np.array([np.mean(kept[:, lag:] * kept[:, :-lag]) for lag in lags])
    return along_x / variance, along_y / variance


def _field_like(correlation: Float64, shape: tuple[int, ...], size: int, start: DexNet) -> tuple[DexNet, bool]:
    """Return the field, of size 1, that correlates as ``correlation`` (along x, then y), and if its curves are told."""

    def field(log_spacing: float, interpolation: str) -> DexNet:
        values = {"downscale": float(np.exp(log_spacing)), "interpolation": interpolation}
        sensor = with_values(start, {**values, "additive_sigma_m": 1.0, "additive_rate": 1.0})
        assert isinstance(sensor, DexNet)
        return sensor

    def off(log_spacing: float, interpolation: str) -> float:
        found = np.concatenate(_correlations(_fields(field(log_spacing, interpolation), shape, size)))
        return float(np.sum((found - correlation) ** 2))

    best = {}
    for interpolation in ("cubic", "linear"):
        trials = np.log(np.geomspace(1.0, size, 15))
        costs = [off(each, interpolation) for each in trials.tolist()]
        found = least_between(partial(off, interpolation=interpolation), trials, costs)
        best[interpolation] = min((costs[0] / _AS_GOOD, 0.0), found)
    own, other = best[start.interpolation], best["linear" if start.interpolation == "cubic" else "cubic"]
    if other[0] * _AS_GOOD < own[0] and other[1] > 0:
        return field(other[1], "linear" if start.interpolation == "cubic" else "cubic"), True
    return field(own[1], start.interpolation), own[1] > 0 and own[0] * _AS_GOOD < other[0]


def least_between(cost: Callable[[float], float], trials: Float64, costs: Sequence[float]) -> tuple[float, float]:
    """Return the least cost, and where: of ``trials`` (N,) and of a bounded search beside the best of them.

    The search alone passes a trial by where the cost has a kink.
    """
    from scipy.optimize import minimize_scalar

    best = int(np.argmin(costs))
    bounds = (trials[max(best - 1, 0)], trials[min(best + 1, len(trials) - 1)])
    found = minimize_scalar(cost, bounds=bounds, method="bounded", options={"xatol": 2e-3})
    return min((costs[best], float(trials[best])), (float(found.fun), float(found.x)))


def _curves(flats: Sequence[_Flat], size: int) -> Curves:
    """Return the curves of frames whose windows are ``size`` wide; NaN throughout where none has any noise."""
    noisy = _with_field(flats)
    if not noisy:
        lengths = (1, len(DEPTH_EDGES_M) - 1, size // 2, size // 2)
        return {name: np.full(length, np.nan) for name, length in zip(KINDS, lengths, strict=True)}
    depth_m, sigma_m = (np.concatenate([getattr(flat, name) for flat in noisy]) for name in ("depth_m", "sigma_m"))
    bins = np.digitize(depth_m, DEPTH_EDGES_M) - 1
    by_depth = [sigma_m[bins == index] for index in range(len(DEPTH_EDGES_M) - 1)]
    along_x, along_y = _correlations(noisy)
    least = 1e-6
    return {
        "frames with noise": np.array([np.arcsin(np.sqrt(len(noisy) / len(flats)))]),
        "noise against depth": np.array(
            [np.log2(max(np.quantile(each, _QUIET), least)) if len(each) >= 8 else np.nan for each in by_depth]
        ),
        "noise correlation along x": along_x,
        "noise correlation along y": along_y,
    }
