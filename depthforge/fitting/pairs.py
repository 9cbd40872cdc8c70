"""What only pairs of a scan and the truth of its view tell: errors wider than a window, gross ones, and bleed.

Slow errors. Depth is off the truth over blocks of 16 px (``realism.same_view.blocks``), with what an error of the pose
can have done taken off: the sensor's own noise leaves some of it, an error that varies slowly over the frame the rest.
So the products of blocks 0 to 4 apart, of the scans less of the fitted sensor's simulation, are those of a field of a
length; fields of a dozen lengths are put through the same blocks, and the nearest gives length and size. What all
frames share is the device's own, and is taken off first where the sensor has a map for it.

Outliers: the share of pixels more than 5 % off far from edges, less the simulation's, and how soon another one follows
one along a row or column.

Bleed: the signed distance of measured silhouettes from true ones (``realism.same_view.silhouettes``): its mean grows
with ``fattening_px``, its spread with ``edge_jitter_px``. Simulations with several of each are interpolated.

A sensor is told what it has fields for. 16 frames of 640x480 take 10 s on one core; trying fields by stages, as the
rest is, would take a minute for the slow error alone and is told nothing by curves of single windows.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from depthforge.errors import InputError
from depthforge.fitting.candidates import Scene, simulate, with_values
from depthforge.fitting.device_map import device_map_px
from depthforge.fitting.estimators import Estimate
from depthforge.fitting.hole_counts import TOGETHER_PX, count_together
from depthforge.fitting.scans import Scans
from depthforge.frame import BoolImage, Camera, Frame
from depthforge.realism.same_view.blocks import block_maps, measure_blocks
from depthforge.realism.same_view.blocks import summarise as summarise_blocks
from depthforge.realism.same_view.outliers import measure_errors
from depthforge.realism.same_view.outliers import summarise as summarise_errors
from depthforge.realism.same_view.silhouettes import find_edges, measure_silhouettes
from depthforge.realism.same_view.truth import Truth, inverse_depth, truth_of
from depthforge.realism.same_view.views import Measured, SameView
from depthforge.seeding import frame_words
from depthforge.sensors.base import Sensor
from depthforge.sensors.fields import correlated_normals
from depthforge.sensors.matched_stereo import MatchedStereo
from depthforge.sensors.residual_errors import slow_error

__all__ = ["between", "error_figures", "told_by_errors", "told_by_silhouettes", "true_views"]

Float64 = npt.NDArray[np.float64]

_MAP_CELLS: Final = (24, 32)
_LAGS: Final = 5
_LENGTHS_PX: Final = (8.0, 12.0, 16.0, 20.0, 24.0, 32.0, 40.0, 48.0, 64.0, 80.0, 112.0, 160.0)
_FEWEST_BLOCKS: Final = 300
_FEWEST_FRAMES: Final = 4
# Of the scans' block variance that the sensor's own noise does not explain.
_LEAST_SLOW: Final = 0.1
# Of depth, what trial fields are off: far less than makes a block no longer count.
_TRIAL_SHARE: Final = 0.003
_FEWEST_OUTLIERS: Final = 100
_LEAST_OUTLIERS: Final = 5e-4
_OFF: Final = 0.05
_EDGE_PX: Final = 15
_SIZES_PX: Final = (3.0, 6.0, 12.0, 24.0, 48.0, 96.0)
_FEWEST_SILHOUETTES: Final = 100
_GROWN_PX: Final = (0.0, 0.5, 1.0, 2.0, 3.0, 4.5, 6.0)
_JITTER_PX: Final = (0.0, 0.5, 1.0, 2.0, 3.0, 4.0)
# Near surfaces only grow: silhouettes that lie farther inside say how far the truth's own are off.
_INSIDE_PX: Final = -2
_FEW_INSIDE: Final = 0.02
_MORE_INSIDE: Final = 1.5


def told_by_silhouettes(sensor: Sensor, scenes: Sequence[Scene], frames: Sequence[Frame], scans: Scans) -> Estimate:
    """Return how far near surfaces grow over what is behind them, and how unevenly, for a sensor with fields for it."""
    names = ("fattening_px", "edge_jitter_px")
    if not all(name in type(sensor).model_fields for name in names):
        return Estimate({})
    truths = true_views(frames, scans, sensor)
    real = _bleed(truths, [Measured(frame.depth_m, frame.valid) for frame in frames])
    if len(real) < _FEWEST_SILHOUETTES:
        why = f"the truth has {len(real)} silhouettes with one surface on either side; {_FEWEST_SILHOUETTES} tell it"
        return Estimate({}, dict.fromkeys(names, why))

    def found(values: Mapping[str, float]) -> npt.NDArray[np.int32]:
        return _bleed(truths, _simulated(with_values(sensor, values), scenes, scans.unit_m))

    jitter_px = float(sensor.model_dump()["edge_jitter_px"])
    widths, jitters = _allowed(sensor, "fattening_px", _GROWN_PX), _allowed(sensor, "edge_jitter_px", _JITTER_PX)
    own, inside = (_share_inside(each) for each in (found({}), real))
    if inside > _MORE_INSIDE * max(own, _FEW_INSIDE):
        means = [_mean(found({"fattening_px": each})) for each in widths]
        why = (
            f"{inside:.0%} of measured silhouettes ({own:.0%} of simulated ones) lie over {-_INSIDE_PX} px within near "
            "surfaces, where growth takes none: the silhouettes of the truth itself are off by as much"
        )
        return Estimate({"fattening_px": round(between(widths, means, _mean(real)), 3)}, {"edge_jitter_px": why})
    grown_px = 0.0
    for _ in range(2):
        means = [_mean(found({"fattening_px": each, "edge_jitter_px": jitter_px})) for each in widths]
        grown_px = between(widths, means, _mean(real))
        spreads = [_spread(found({"fattening_px": grown_px, "edge_jitter_px": each})) for each in jitters]
        jitter_px = between(jitters, spreads, _spread(real))
    return Estimate({"fattening_px": round(grown_px, 3), "edge_jitter_px": round(jitter_px, 3)})


def told_by_errors(sensor: Sensor, scenes: Sequence[Scene], frames: Sequence[Frame], scans: Scans) -> Estimate:
    """Return the device's map, the slow error and the outliers, of a sensor with fields for them."""
    fields = type(sensor).model_fields
    unit = "px" if {"slow_sigma_px", "device_map_px"} & fields.keys() else "m"
    nothing = {f"slow_sigma_{unit}": 0.0, f"device_sigma_{unit}": 0.0, f"device_map_{unit}": None, "outlier_share": 0.0}
    nothing = {name: value for name, value in nothing.items() if name in fields}
    if not nothing:
        return Estimate({})
    if len(frames) < _FEWEST_FRAMES:
        return Estimate({}, dict.fromkeys(nothing, f"wants {_FEWEST_FRAMES} frames with truth"))
    truths = true_views(frames, scans, sensor)
    real = [Measured(frame.depth_m, frame.valid) for frame in frames]
    simulated = _simulated(with_values(sensor, nothing), scenes, scans.unit_m)
    values: dict[str, Any] = {}
    skipped: dict[str, str] = {}
    has_map = False
    if f"device_map_{unit}" in fields:
        of_device = _device_map(sensor, frames, scans, unit)
        has_map = bool(of_device.values)
        values |= of_device.values
        skipped |= of_device.skipped
    if f"slow_sigma_{unit}" in fields:
        slow = _slow_error(sensor, truths, real, simulated, unit, has_map=has_map)
        values |= slow.values
        skipped |= slow.skipped
    if "outlier_share" in fields:
        gross = _outliers(truths, real, simulated, _frame_px(sensor, truths[0].camera))
        values |= gross.values
        skipped |= gross.skipped
    return Estimate(values, skipped)


def error_figures(
    frames: Sequence[Frame], scenes: Sequence[Scene], scans: Scans
) -> Callable[[Sensor | None], dict[str, float]]:
    """Return what gives, by id, errors off the truth of ``frames``: of a sensor's simulation, or of the scans for None.

    They are figures of ``realism.same_view.blocks`` and ``outliers``; what is not a number is left out.
    """
    true = [Measured(*scans.truth[frame.key]) for frame in frames]
    truths = [truth_of(SameView(f.key, f.camera, t, t, {}), None) for f, t in zip(frames, true, strict=True)]
    real = [Measured(frame.depth_m, frame.valid) for frame in frames]

    def figures(sensor: Sensor | None) -> dict[str, float]:
        measured = real if sensor is None else _simulated(sensor, scenes, scans.unit_m)
        pairs = list(zip(truths, measured, strict=True))
        blocks = summarise_blocks([measure_blocks(truth, each) for truth, each in pairs])
        outliers = summarise_errors([measure_errors(truth, each) for truth, each in pairs])
        return {name: value for name, value in {**blocks, **outliers}.items() if np.isfinite(value)}

    return figures


def true_views(frames: Sequence[Frame], scans: Scans, sensor: Sensor) -> list[Truth]:
    """Return the truth of each of ``frames``, with the disparity that it has for ``sensor``."""
    baseline_m = sensor.model_dump().get("baseline_m")
    views = []
    for frame in frames:
        true = Measured(*scans.truth[frame.key])
        views.append(truth_of(SameView(frame.key, frame.camera, true, true, {}), baseline_m))
    return views


def _simulated(sensor: Sensor, scenes: Sequence[Scene], unit_m: float) -> list[Measured]:
    return [Measured(*simulate(sensor, scene, unit_m)) for scene in scenes]


def _bleed(truths: Sequence[Truth], measured: Sequence[Measured]) -> npt.NDArray[np.int32]:
    found = []
    for truth, each in zip(truths, measured, strict=True):
        errors = measure_silhouettes(truth, find_edges(truth), each.valid, inverse_depth(each))
        found += [errors.bleed_x_px, errors.bleed_y_px]
    return np.concatenate(found)


def _allowed(sensor: Sensor, name: str, values: Sequence[float]) -> list[float]:
    """Return those of ``values`` that a sensor takes for a parameter."""
    taken = []
    for value in values:
        try:
            with_values(sensor, {name: value})
        except InputError:
            continue
        taken.append(value)
    return taken


def _share_inside(bleed: npt.NDArray[np.int32]) -> float:
    return float(np.mean(bleed < _INSIDE_PX)) if len(bleed) else 0.0


def _mean(bleed: npt.NDArray[np.int32]) -> float:
    return float(bleed.mean()) if len(bleed) else 0.0


def _spread(bleed: npt.NDArray[np.int32]) -> float:
    return float(bleed.std()) if len(bleed) else 0.0


def between(values: Sequence[float], gives: Sequence[float], wanted: float) -> float:
    """Return the value that gives what is wanted, between those tried; the nearest of them beyond."""
    rising = np.maximum.accumulate(np.array(gives))
    return float(np.interp(wanted, rising + 1e-9 * np.arange(len(rising)), values))


def _device_map(sensor: Sensor, frames: Sequence[Frame], scans: Scans, unit: str) -> Estimate:
    """Return the map of the device's own error, with none drawn beside it, or why there is none."""
    name = f"device_map_{unit}"
    if unit == "m":
        return Estimate({}, {name: "a map is read off in pixels of disparity, of sensors that measure that"})
    views = [
        SameView(frame.key, frame.camera, Measured(*scans.truth[frame.key]), Measured(frame.depth_m, frame.valid), {})
        for frame in frames
    ]
    camera = frames[0].camera
    found = device_map_px(views, _disparity_m_px(sensor, camera) / camera.fx, _MAP_CELLS)
    if found is None:
        return Estimate({}, {name: "nothing stands still in the image that both halves of the scans agree on"})
    return Estimate({name: found, f"device_sigma_{unit}": 0.0})


def _slow_error(
    sensor: Sensor,
    truths: Sequence[Truth],
    real: Sequence[Measured],
    simulated: Sequence[Measured],
    unit: str,
    *,
    has_map: bool,
) -> Estimate:
    sigma_name, length_name = f"slow_sigma_{unit}", "slow_length_px"
    in_unit = _share_in_unit(sensor, truths[0].camera, unit)
    products = _products(truths, real, in_unit, has_map=has_map)
    if products is None:
        why = f"fewer than {_FEWEST_BLOCKS} blocks of 16 px are measured where the truth is known"
        return Estimate({}, dict.fromkeys((sigma_name, length_name), why))
    own = _products(truths, simulated, in_unit, has_map=has_map)
    wanted = products - (0.0 if own is None else own)
    if wanted[0] <= _LEAST_SLOW * products[0]:
        why = "no more slow error than the sensor's own noise makes"
        return Estimate({sigma_name: 0.0}, {length_name: why})
    median_m = np.float32(np.median(np.concatenate([truth.depth_m[truth.valid][::64] for truth in truths])))
    trial = abs(float(in_unit(_TRIAL_SHARE, median_m)))
    octaves, frame_px = int(sensor.model_dump()["slow_octaves"]), _frame_px(sensor, truths[0].camera)
    best: tuple[float, float, float] | None = None
    for length_px in _LENGTHS_PX:
        made = [
            _with_field(truth, each, trial, length_px, octaves, number, in_unit)
            for number, (truth, each) in enumerate(zip(truths, real, strict=True))
        ]
        of_unit = _products(truths, made, in_unit, has_map=has_map)
        if of_unit is None:
            continue
        variance = max(float(wanted @ of_unit / (of_unit @ of_unit)), 0.0)
        off = float(np.sum((wanted - variance * of_unit) ** 2))
        if best is None or off < best[0]:
            best = off, trial * float(np.sqrt(variance)), length_px
    assert best is not None
    return Estimate({sigma_name: round(best[1], 5), length_name: round(best[2] / frame_px, 2)})


def _frame_px(sensor: Sensor, camera: Camera) -> float:
    """Return how many pixels of the frame are one of the images that a sensor measures in, where lengths are told."""
    if isinstance(sensor, MatchedStereo) and sensor.focal_length_px is not None:
        return camera.fx / sensor.focal_length_px
    return 1.0


def _share_in_unit(sensor: Sensor, camera: Camera, unit: str) -> Callable[[Any, Any], Any]:
    """Return what makes an error in the sensor's unit of one that is a share of depth, given depth in metres."""
    if unit == "m":
        return lambda share, depth_m: share * depth_m
    scale = _disparity_m_px(sensor, camera)
    return lambda share, depth_m: -share * scale / depth_m


def _disparity_m_px(sensor: Sensor, camera: Camera) -> float:
    """Return depth times disparity of a sensor, metres x its pixels."""
    fields = sensor.model_dump()
    return float(
        fields.get("depth_disparity_m_px") or (fields.get("focal_length_px") or camera.fx) * fields["baseline_m"]
    )


def _products(
    truths: Sequence[Truth], measured: Sequence[Measured], in_unit: Callable[[Any, Any], Any], *, has_map: bool
) -> Float64 | None:
    """Return the mean product of blocks 0 to 4 apart along rows and columns; None of too few blocks."""
    maps = []
    for truth, each in zip(truths, measured, strict=True):
        depth_m, _, residual = block_maps(truth, each)
        maps.append(in_unit(residual, depth_m))
    stack = np.stack(maps)
    if np.count_nonzero(~np.isnan(stack)) < _FEWEST_BLOCKS:
        return None
    if has_map:
        count = np.sum(~np.isnan(stack), axis=0)
        mean = np.divide(np.nansum(stack, axis=0), count, out=np.zeros(count.shape), where=count > 1)
        # What is left of N values about their own mean is (N - 1) / N of their variance.
        stack = (stack - mean) * np.sqrt(np.where(count > 1, count / np.maximum(count - 1, 1), 1.0))
    # A block that is far off is another surface.
    limit = 5 * 1.4826 * np.nanmedian(np.abs(stack))
    stack[np.abs(stack) > limit] = np.nan
    products = [np.nanmean(stack * stack)]
    for lag in range(1, _LAGS):
        rows, columns = stack[:, lag:] * stack[:, :-lag], stack[:, :, lag:] * stack[:, :, :-lag]
        products.append(np.nanmean(np.concatenate([rows.ravel(), columns.ravel()])))
    return np.array(products)


def _with_field(
    truth: Truth,
    real: Measured,
    sigma: float,
    length_px: float,
    octaves: int,
    number: int,
    in_unit: Callable[[Any, Any], Any],
) -> Measured:
    """Return the truth, where it was measured, with a slow error of ``sigma`` in the sensor's unit."""
    field = slow_error(1.0, truth.depth_m.shape, frame_words(number, "slow error", "fit"), length_px, octaves)
    valid = truth.valid & real.valid
    depth_m = np.where(valid, truth.depth_m, np.float32(1))
    share = sigma * field / in_unit(np.float32(1), depth_m)
    return Measured((depth_m * (1 + share)).astype(np.float32), valid)


def _outliers(
    truths: Sequence[Truth], real: Sequence[Measured], simulated: Sequence[Measured], frame_px: float
) -> Estimate:
    shares = [
        summarise_errors([measure_errors(truth, each) for truth, each in zip(truths, measured, strict=True)])
        for measured in (real, simulated)
    ]
    share = (shares[0]["outlier_share"] - shares[1]["outlier_share"]) / 100
    if not share > _LEAST_OUTLIERS:
        return Estimate({"outlier_share": 0.0}, {"outlier_size_px": "there are no more outliers than noise makes"})
    values = {"outlier_share": round(share, 5)}
    masks = [_outlier_mask(truth, each) for truth, each in zip(truths, real, strict=True)]
    if sum(int(np.count_nonzero(mask)) for mask, _ in masks) < _FEWEST_OUTLIERS:
        return Estimate(values, {"outlier_size_px": "there are too few outliers to tell how large they are"})
    wanted = _together(masks)
    found = []
    for size_px in _SIZES_PX:
        drawn = []
        for number, (mask, where) in enumerate(masks):
            field = correlated_normals(frame_words(number, "outliers", "fit"), mask.shape, size_px)
            drawn.append((where & (field > np.quantile(field, 1 - share)), where))
        found.append(float(np.mean(_together(drawn) - wanted)))
    return Estimate(values | {"outlier_size_px": round(between(_SIZES_PX, found, 0.0) / frame_px, 1)})


def _outlier_mask(truth: Truth, measured: Measured) -> tuple[BoolImage, BoolImage]:
    where = truth.valid & measured.valid & (truth.edge_distance_px > _EDGE_PX)
    return where & (np.abs(measured.depth_m - truth.depth_m) > _OFF * truth.depth_m), where


def _together(masks: Sequence[tuple[BoolImage, BoolImage]]) -> Float64:
    counts = np.sum([count_together(mask, where) for mask, where in masks], axis=0)
    shares: Float64 = np.divide(counts[:, 1], counts[:, 0], out=np.zeros(len(TOGETHER_PX)), where=counts[:, 0] > 0)
    return shares
