"""What is measured of a scan, and in the same way of a simulation of it: curves that each say one thing of a sensor.

Noise is what a plane leaves of flat windows (``realism.windows``): its size against depth and against the angle of the
surface, its correlation along x and y, and its white part against the slope of 1/z, which is where a sensor that looks
aside by chance shows it (``slopes``). Only windows that are flat in the clean guess count, and of those in a bin the
quieter ones, since what is bent without the guess knowing is louder. Holes (``hole_counts``): within surfaces how many,
how long, how many single ones and how far they reach, against depth and angle, and by distance beside silhouettes: left
and right of them on the far side, where a projector's shadow lies, and on the near side. At silhouettes it also counts
depth that belongs to neither side (flying pixels) and depth of the wrong side (fraying).

Values are stretched so that a difference means as much anywhere on a curve: log2 of noise, arc sines of the square root
of shares. A frame gives sums and samples (``Measurement``), frames together curves (``summarise``), and leaving out
a frame in turn says how far a curve may be believed (``uncertainty``).

640x480 on one core: 11 ms a frame for all curves (noise 5, hole sizes 3, the rest 3), and 23 ms once for the places.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Final

import cv2
import numpy as np
import numpy.typing as npt

from depthforge.fitting.hole_counts import (
    NUM_DEPTHS,
    NUM_LENGTHS,
    TOGETHER_PX,
    count_beside,
    count_by_bin,
    count_singles,
    count_together,
    holes_within_surfaces,
    holes_within_true_surfaces,
)
from depthforge.fitting.places import (
    ANGLE_EDGES_DEG,
    DISTANCE_EDGES_PX,
    NUM_ANGLES,
    NUM_DISTANCES,
    Places,
    window_px,
    without_specks,
)
from depthforge.fitting.slopes import NUM_SLOPES, SLOPE_EDGES, white_by_slope, white_by_slope_of_inverse
from depthforge.frame import BoolImage, Camera, DepthImage
from depthforge.realism.noise import DEPTH_EDGES_M
from depthforge.realism.windows import Windows, fit_windows

__all__ = [
    "CURVES",
    "Curves",
    "Measurement",
    "Places",
    "measure",
    "measure_deviations",
    "places_of",
    "share_of",
    "summarise",
    "uncertainty",
]

Float64 = npt.NDArray[np.float64]

NUM_OCTAVES: Final = 20

# Below this share of depth a residual is the rounding of float32.
_ROUNDING = 1e-6
# A bin of a scan speaks when this many windows lie in it; its simulation, which has holes elsewhere, with fewer.
_FEWEST_WINDOWS = 24
_FEWEST_SIMULATED = 4
_FEWEST_PIXELS = 200
# Of the windows in a bin the noise is this quantile: what is bent or creased without the guess knowing is louder. Its
# standard error, in those of a mean, for a normal law.
_QUIET = 0.3
_QUIET_ERROR = 1.32

# Name of each curve -> what its places mean.
CURVES: Final[dict[str, str]] = {
    "noise against depth": "depth, m",
    "noise against angle": "angle, deg",
    "noise correlation along x": "distance, px",
    "noise correlation along y": "distance, px",
    "white noise against slope": "slope, 1/m per px",
    "holes against depth": "depth, m",
    "holes against angle": "angle, deg",
    "holes left of silhouettes": "distance, px",
    "holes right of silhouettes": "distance, px",
    "holes inside silhouettes": "distance, px",
    "holes within surfaces": "",
    "single holes": "",
    "holes beside holes": "distance, px",
    "hole lengths": "length, px",
    "hole sizes": "area, px",
    "flying pixels at silhouettes": "distance, px",
    "frayed silhouettes": "distance, px",
}

Curves = dict[str, Float64]
"""Stretched values of each curve of ``CURVES``; NaN where there is not enough to measure."""


@dataclass(frozen=True)
class Measurement:
    """The sums and samples of one depth image; see ``measure``.

    ``window_*`` (N,): depth (m), noise (share of depth squared, 1/m) and angle (deg) of each flat window;
    ``correlation`` (2, lags): summed over ``num_correlated`` windows. ``num_pixels``: away from silhouettes, with the
    holes and the single holes among them. ``by_slope`` (bins, 2): how many pixels, and the sum of their white noise
    (1/m), see ``slopes``. The rest are counts of pixels: by depth, by
    angle and beside silhouettes, each with those of them that are holes.
    """

    window_depth_m: Float64
    window_sigma_per_m: Float64
    window_angle_deg: Float64
    correlation: Float64
    num_correlated: int
    by_slope: Float64
    by_depth: Float64
    by_angle: Float64
    beside: Float64
    together: Float64
    lengths: Float64
    octaves: Float64
    num_holes: int
    num_singles: int
    num_pixels: int


def measure(
    depth_m: DepthImage,
    valid: BoolImage,
    places: Places,
    usable: BoolImage | None = None,
    curves: Iterable[str] = CURVES,
) -> Measurement:
    """Measure a scan, or a simulation of it, in the places of its clean guess.

    ``usable`` (H, W) bool restricts the windows of noise: to what the scan measured, when a simulation is measured.
    Of what only other ``curves`` need nothing is measured, which takes half of the time.
    """
    wanted = frozenset(curves)
    holes = ~valid
    found = replace(
        _measure_nothing(int(np.count_nonzero(places.away))), num_holes=int(np.count_nonzero(holes & places.away))
    )
    if "white noise against slope" in wanted:
        found = replace(found, by_slope=white_by_slope(depth_m, valid, places.slope_bin))
    if any(curve.startswith("noise") for curve in wanted):
        seen = valid if usable is None else valid & usable
        windows = _restrict(fit_windows(*without_specks(depth_m, seen), window_px(depth_m.shape)), places.flat)
        noisy = windows.residual[windows.sigma_m > _ROUNDING * windows.depth_m]
        correlation, num_correlated = _correlation_of(noisy, windows.size // 3)
        found = replace(
            found,
            window_depth_m=windows.depth_m,
            window_sigma_per_m=windows.sigma_m / windows.depth_m**2,
            window_angle_deg=_window_angles_deg(windows, places.camera),
            correlation=correlation,
            num_correlated=num_correlated,
        )
    if wanted & {"holes against depth", "hole lengths"}:
        by_depth, lengths = (
            holes_within_surfaces(depth_m, valid)
            if places.surface_bin is None
            else holes_within_true_surfaces(valid, places.surface_bin)
        )
        found = replace(found, by_depth=by_depth, lengths=lengths)
    if "holes beside holes" in wanted:
        found = replace(found, together=count_together(holes, places.away))
    if "single holes" in wanted:
        found = replace(found, num_singles=count_singles(holes, places.away))
    if "holes against angle" in wanted:
        found = replace(found, by_angle=count_by_bin(places.angle_bin, holes, NUM_ANGLES))
    if any(curve.endswith("silhouettes") for curve in wanted):
        beside = count_beside(depth_m, valid, places.beside, places.near, places.far, 3 * NUM_DISTANCES)
        found = replace(found, beside=beside)
    if "hole sizes" in wanted:
        counted = holes if places.known is None else holes & places.known
        _, _, components, _ = cv2.connectedComponentsWithStats(counted.view(np.uint8), connectivity=4)
        areas = components[1:, cv2.CC_STAT_AREA].astype(np.float64)
        octave = np.minimum(np.frexp(areas)[1] - 1, NUM_OCTAVES - 1)
        octaves = np.bincount(octave, weights=areas, minlength=NUM_OCTAVES).astype(np.float64)
        found = replace(found, octaves=octaves)
    return found


def _measure_nothing(num_pixels: int) -> Measurement:
    none = np.empty(0)
    return Measurement(
        window_depth_m=none,
        window_sigma_per_m=none,
        window_angle_deg=none,
        correlation=np.zeros((2, 1)),
        num_correlated=0,
        by_slope=np.zeros((NUM_SLOPES, 2)),
        by_depth=np.zeros((NUM_DEPTHS, 2)),
        by_angle=np.zeros((NUM_ANGLES, 2)),
        beside=np.zeros((3 * NUM_DISTANCES, 4)),
        together=np.zeros((len(TOGETHER_PX), 2)),
        lengths=np.zeros(NUM_LENGTHS),
        octaves=np.zeros(NUM_OCTAVES),
        num_holes=0,
        num_singles=0,
        num_pixels=num_pixels,
    )


def measure_deviations(
    deviation: npt.NDArray[np.float32], mean: npt.NDArray[np.float32], always: BoolImage, places: Places
) -> Measurement:
    """Measure the noise of a static burst: deviations of 1/z (T, H, W) from the ``mean`` over time (H, W).

    Windows are those that are ``always`` valid; there are no counts of holes.
    """
    size = window_px(always.shape)
    smooth = np.divide(1, mean, out=np.zeros_like(mean), where=always)
    windows = _restrict(fit_windows(smooth, always, size), places.flat)
    row, column = np.nonzero(windows.usable)
    times = len(deviation)
    cut = np.lib.stride_tricks.sliding_window_view(deviation, (size, size), axis=(1, 2))
    residual = cut[:, row * size, column * size].astype(np.float64)  # (T, N, size, size)
    sigma = np.sqrt(np.mean(residual**2, axis=(0, 2, 3)) * times / (times - 1))
    by_slope = np.sum([white_by_slope_of_inverse(each, always, places.slope_bin) for each in deviation], axis=0)
    correlation, num = _correlation_of(residual.swapaxes(0, 1).reshape(-1, size, size), size // 3)
    return replace(
        _measure_nothing(always.size),
        window_depth_m=windows.depth_m,
        window_sigma_per_m=sigma,
        window_angle_deg=_window_angles_deg(windows, places.camera),
        correlation=correlation,
        num_correlated=num,
        by_slope=by_slope,
    )


def summarise(frames: Sequence[Measurement], *, simulated: bool = False) -> Curves:
    """Return the curves of a set of frames; bins of ``simulated`` ones need fewer windows."""
    fewest = _FEWEST_SIMULATED if simulated else _FEWEST_WINDOWS
    depth_m, angle, log_sigma = _windows(frames)
    num_correlated = sum(f.num_correlated for f in frames)
    correlation = np.sum([f.correlation for f in frames], axis=0)
    correlation = correlation / num_correlated if num_correlated >= fewest else correlation * np.nan
    by_slope = np.sum([f.by_slope for f in frames], axis=0)
    by_depth = np.sum([f.by_depth for f in frames], axis=0)
    by_angle = np.sum([f.by_angle for f in frames], axis=0)
    beside = np.sum([f.beside for f in frames], axis=0).reshape(3, NUM_DISTANCES, 4)
    together = np.sum([f.together for f in frames], axis=0)
    lengths = np.sum([f.lengths for f in frames], axis=0)
    octaves = np.sum([f.octaves for f in frames], axis=0)
    num_pixels, num_holes, num_singles = (
        np.array([sum(getattr(f, name) for f in frames)], np.float64)
        for name in ("num_pixels", "num_holes", "num_singles")
    )
    at_silhouette = beside[:, :3].sum(axis=0)
    return {
        # Noise at 1 m were it that of a disparity: flat for a stereo or structured-light sensor.
        "noise against depth": _quiet_by_bin(log_sigma, depth_m, DEPTH_EDGES_M, fewest),
        "noise against angle": _quiet_by_bin(log_sigma, angle, ANGLE_EDGES_DEG, fewest),
        "noise correlation along x": correlation[0],
        "noise correlation along y": correlation[1],
        "white noise against slope": _log_mean(by_slope[:, 1], by_slope[:, 0]),
        "holes against depth": _stretched_share(by_depth[:, 1], by_depth[:, 0]),
        "holes against angle": _stretched_share(by_angle[:, 1], by_angle[:, 0]),
        "holes left of silhouettes": _stretched_share(beside[0, :, 1], beside[0, :, 0]),
        "holes right of silhouettes": _stretched_share(beside[1, :, 1], beside[1, :, 0]),
        "holes inside silhouettes": _stretched_share(beside[2, :5, 1], beside[2, :5, 0]),
        "holes within surfaces": _stretched_share(num_holes, num_pixels),
        "single holes": _stretched_share(num_singles, num_pixels),
        "holes beside holes": _stretched_share(together[:, 1], together[:, 0]),
        "hole lengths": _stretched_share(np.cumsum(lengths)[:-1], np.full(NUM_LENGTHS - 1, lengths.sum())),
        # Cumulated, so that holes twice as large are half as far off as holes four times as large.
        "hole sizes": np.cumsum(octaves)[:-1] / octaves.sum()
        if octaves.sum() > 0
        else np.full(NUM_OCTAVES - 1, np.nan),
        "flying pixels at silhouettes": _stretched_share(
            at_silhouette[:, 2], at_silhouette[:, 0] - at_silhouette[:, 1]
        ),
        "frayed silhouettes": _stretched_share(at_silhouette[:, 3], at_silhouette[:, 0] - at_silhouette[:, 1]),
    }


def uncertainty(frames: Sequence[Measurement]) -> Curves:
    """Return the standard error of each curve's values, by leaving out a frame in turn (jackknife)."""
    count = len(frames)
    without = [summarise([*frames[:i], *frames[i + 1 :]]) for i in range(count)] if count > 1 else [summarise(frames)]
    errors: Curves = {}
    for name in CURVES:
        values = np.array([curves[name] for curves in without])
        errors[name] = np.sqrt((count - 1) * np.mean((values - values.mean(axis=0)) ** 2, axis=0))
    # The jackknife of a quantile is rough: it is at least what the spread of its windows says.
    depth_m, angle, log_sigma = _windows(frames)
    for name, places, edges in (
        ("noise against depth", depth_m, DEPTH_EDGES_M),
        ("noise against angle", angle, ANGLE_EDGES_DEG),
    ):
        errors[name] = np.fmax(errors[name], _quiet_errors(log_sigma, places, edges))
    return errors


def share_of(stretched: Float64) -> Float64:
    """Return the shares (0..1) whose stretched values these are."""
    return np.sin(np.clip(stretched, 0.0, np.pi / 2)) ** 2


def places_of(curve: str, count: int) -> Float64:
    """Return where on its axis the ``count`` values of a curve lie: middles of bins, in the unit of ``CURVES``."""
    if curve in ("noise against depth", "holes against depth"):
        return np.asarray(np.sqrt(DEPTH_EDGES_M[1:] * DEPTH_EDGES_M[:-1]))
    if curve in ("noise against angle", "holes against angle"):
        return np.asarray((ANGLE_EDGES_DEG[1:] + ANGLE_EDGES_DEG[:-1]) / 2)
    if curve.startswith("noise correlation"):
        return np.arange(1.0, count + 1)
    if curve == "white noise against slope":
        return np.asarray(np.sqrt(SLOPE_EDGES[1:] * np.maximum(SLOPE_EDGES[:-1], SLOPE_EDGES[1:] / 2)))
    if curve in ("holes within surfaces", "single holes"):
        return np.zeros(1)
    if curve == "holes beside holes":
        return np.array(TOGETHER_PX, np.float64)
    if curve in ("hole sizes", "hole lengths"):
        return np.asarray(2.0 ** np.arange(1, count + 1))
    return np.asarray((DISTANCE_EDGES_PX[1 : count + 1] + DISTANCE_EDGES_PX[:count] - 1) / 2)


def _restrict(windows: Windows, flat: BoolImage) -> Windows:
    keep = flat[windows.usable]
    return Windows(windows.size, windows.usable & flat, windows.plane[keep], windows.residual[keep])


def _correlation_of(residual: Float64, lags: int) -> tuple[Float64, int]:
    """Return the autocorrelation of windows (N, size, size) at 1 to ``lags`` px, along x and y, summed; and N."""
    size = residual.shape[1]
    variance = np.einsum("nyx,nyx->n", residual, residual) / size**2
    noisy = residual[variance > 0] / np.sqrt(variance[variance > 0])[:, None, None]
    sums: Float64 = np.zeros((2, lags))
    for lag in range(1, lags + 1):
        along_x = np.einsum("nyx,nyx->", noisy[:, :, lag:], noisy[:, :, :-lag])
        along_y = np.einsum("nyx,nyx->", noisy[:, lag:], noisy[:, :-lag])
        sums[:, lag - 1] = np.array([along_x, along_y]) / (size * (size - lag))
    return sums, len(noisy)


def _window_angles_deg(windows: Windows, camera: Camera) -> Float64:
    row, column = np.nonzero(windows.usable)
    right, down, value = windows.plane.T
    middle = (windows.size - 1) / 2
    x, y = column * windows.size + middle - camera.cx, row * windows.size + middle - camera.cy
    normal = np.stack([camera.fx * right, camera.fy * down, value - right * x - down * y])
    ray = np.stack([x / camera.fx, y / camera.fy, np.ones(len(x))])
    cosine = np.sum(normal * ray, axis=0) / (np.linalg.norm(normal, axis=0) * np.linalg.norm(ray, axis=0))
    angles: Float64 = np.degrees(np.arccos(np.clip(np.abs(cosine), 0, 1)))
    return angles


def _windows(frames: Sequence[Measurement]) -> tuple[Float64, Float64, Float64]:
    """Return depth (m), angle (deg) and log2 of the noise (1/m) of every window."""
    depth_m = np.concatenate([f.window_depth_m for f in frames])
    sigma = np.concatenate([f.window_sigma_per_m for f in frames])
    angle = np.concatenate([f.window_angle_deg for f in frames])
    return depth_m, angle, np.log2(np.maximum(sigma, _ROUNDING / np.maximum(depth_m, 0.01)))


def _quiet_errors(values: Float64, places: Float64, edges: Float64) -> Float64:
    bins = np.digitize(places, edges) - 1
    errors = np.full(len(edges) - 1, np.nan)
    for index in range(len(errors)):
        inside = values[bins == index]
        if inside.size >= _FEWEST_WINDOWS:
            spread = 1.4826 * np.median(np.abs(inside - np.median(inside)))
            errors[index] = _QUIET_ERROR * spread / np.sqrt(inside.size)
    return errors


def _quiet_by_bin(values: Float64, places: Float64, edges: Float64, fewest: int) -> Float64:
    bins = np.digitize(places, edges) - 1
    of_bins = [values[bins == index] for index in range(len(edges) - 1)]
    return np.array([np.quantile(each, _QUIET) if each.size >= fewest else np.nan for each in of_bins])


def _log_mean(total: Float64, count: Float64) -> Float64:
    mean = np.divide(total, count, out=np.full(len(count), np.nan), where=count >= _FEWEST_PIXELS)
    return np.asarray(np.log2(np.maximum(mean, _ROUNDING)))


def _stretched_share(part: Float64, whole: Float64) -> Float64:
    share = np.divide(part, whole, out=np.full(len(whole), np.nan), where=whole >= _FEWEST_PIXELS)
    return np.asarray(np.arcsin(np.sqrt(share)))
