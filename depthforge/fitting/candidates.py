"""What a candidate sensor measures of the scans' scenes, and how far that is from the scans.

The scene is the truth of the view where that is known, or else the clean guess of each scan. The candidate sees it, its
depth is rounded as the file's was, and the curves of what comes out are held against those of the scans. Every
candidate draws the same random numbers, so a curve moves with the parameters alone, and the same scans give the same
parameters. Residuals are in units of what leaving out frames says of the scans' curves, with a floor.

The guess is not clean: what is left of the noise adds to the candidate's, and silhouettes are as ragged as the sensor
made them. So the fitted sensor's own simulation is taken for scans of a known truth: a guess is made of *it*, the same
sensor simulated on that, and by how much the curves differ the target is moved (``refined``). (A parametric bootstrap;
Gourieroux, Monfort and Renault, "Indirect inference", J. Applied Econometrics 8, 1993.) What a guess cannot know it
cannot give back: structure below some pixels is lost in it, and the holes that it made in the scans are put down to
patches. Where the scene is the truth nothing of that is needed, and pixels whose truth is not known have no say.

Cost: 15 to 45 ms of a core to simulate and measure a frame of 640x480. Frames go to as many threads as there are cores
(the loops of sensors and curves let go of the interpreter), in an order that is kept, so their number changes nothing.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from itertools import product
from typing import Any, Final

import numpy as np
import numpy.typing as npt
from pydantic import ValidationError

from depthforge.errors import InputError
from depthforge.fitting.clean_guess import clean_guess, fill_holes
from depthforge.fitting.places import Places
from depthforge.fitting.scan_curves import CURVES, Curves, Measurement, measure, summarise, uncertainty
from depthforge.frame import BoolImage, DepthImage, Frame, NoisyDepth
from depthforge.seeding import frame_words
from depthforge.sensors.base import Sensor

__all__ = [
    "Float64",
    "Scene",
    "Target",
    "measure_scans",
    "misfit",
    "parameters_of",
    "refined",
    "residuals",
    "scenes_of",
    "simulate",
    "simulated_curves",
    "softened",
    "stored",
    "target_of",
    "with_values",
]

Float64 = npt.NDArray[np.float64]

# What a curve cannot be expected to be known better than, in its stretched units.
_FLOORS: Final = {
    "noise": 0.03,
    "noise correlation": 0.01,
    "white": 0.01,
    "holes": 0.01,
    "hole sizes": 0.01,
    "other": 0.01,
}
NO_TRUTH: Final[Mapping[str, NoisyDepth]] = {}
_ENOUGH_PIXELS: Final = 2_000_000
_MOST_DRAWS: Final = 4
_BIAS_DRAWS: Final = 3
_SPREAD_DRAWS: Final = 8
_MISSING: Final = 5.0
_FARTHEST: Final = 1e3
_LARGEST: Final = 4.0
# Beyond so many the memory of frames at work grows and the time hardly falls.
_MOST_THREADS: Final = 8


@dataclass(frozen=True)
class Scene:
    """One clean guess or truth: ``frame`` has it for depth, without holes; ``measured`` (H, W) is what counts of the
    scan's noise: what it measured, where the scene is known.
    """

    frame: Frame
    places: Places
    measured: BoolImage


@dataclass(frozen=True)
class Target:
    """What simulations are to measure: curves, and how well each is known."""

    curves: Curves
    errors: Curves


def scenes_of(frames: Sequence[Frame], truth: Mapping[str, NoisyDepth] = NO_TRUTH) -> list[Scene]:
    """Return the scene of each scan: its ``truth`` by key, filled where nothing is known, or a clean guess of it.

    Frames without any depth are left out.
    """
    scenes = []
    for frame in frames:
        if frame.valid.any():
            true = truth.get(frame.key)
            known = None if true is None else true.valid
            clean_m = clean_guess(frame.depth_m, frame.valid) if true is None else fill_holes(*true)
            clean = replace(frame, depth_m=clean_m, valid=np.ones(frame.valid.shape, np.bool_))
            places = Places.of(clean_m, frame.camera, frame.depth_m, frame.valid, known)
            scenes.append(Scene(clean, places, frame.valid if known is None else frame.valid & known))
    return scenes


def measure_scans(frames: Sequence[Frame], scenes: Sequence[Scene]) -> list[Measurement]:
    """Measure scans in the places of their scenes."""
    seen = [frame for frame in frames if frame.valid.any()]
    return [measure(f.depth_m, f.valid, scene.places) for f, scene in zip(seen, scenes, strict=True)]


def target_of(measured: Sequence[Measurement]) -> Target:
    """Return the curves of scans, and how well they are known."""
    return Target(summarise(measured), uncertainty(measured))


def simulate(sensor: Sensor, scene: Scene, unit_m: float, draw: int = 0) -> NoisyDepth:
    """Return what ``sensor`` measures of a scene, stored in ``unit_m``; ``draw`` numbers independent repetitions."""
    depth_m, valid = sensor.measure(scene.frame, frame_words(draw, scene.frame.key, "fit"))
    return NoisyDepth(stored(depth_m, unit_m), valid & (depth_m > 0.5 * unit_m))


def stored(depth_m: DepthImage, unit_m: float) -> DepthImage:
    """Return depth rounded to whole units of its file; 0 does not round."""
    if unit_m <= 0:
        return depth_m
    rounded: DepthImage = (np.rint(depth_m / np.float64(unit_m)) * unit_m).astype(np.float32)
    return rounded


def simulated_curves(
    sensor: Sensor,
    scenes: Sequence[Scene],
    unit_m: float,
    draws: Sequence[int] | None = None,
    curves: Sequence[str] = tuple(CURVES),
) -> Curves:
    """Simulate and measure every scene; noise is measured where the scan measured too, other ``curves`` are NaN.

    Small sets are simulated several times (``draws``), so that chance is the scans' and not the simulation's.
    """
    draws = range(_num_draws(scenes)) if draws is None else draws

    def measured(of: tuple[int, Scene]) -> Measurement:
        draw, scene = of
        return measure(*simulate(sensor, scene, unit_m, draw), scene.places, scene.measured, curves)

    with ThreadPoolExecutor(_num_threads()) as threads:
        return summarise(list(threads.map(measured, product(draws, scenes))), simulated=True)


def _num_threads() -> int:
    return max(1, min(len(os.sched_getaffinity(0)), _MOST_THREADS))


def _num_draws(scenes: Sequence[Scene]) -> int:
    pixels = sum(scene.measured.size for scene in scenes)
    return int(np.clip(round(_ENOUGH_PIXELS / max(pixels, 1)), 1, _MOST_DRAWS))


def residuals(found: Curves, target: Target, curves: Sequence[str]) -> Float64:
    """Return the differences of curves in units of their error, each curve divided by the root of its length.

    Where the target has a value and the simulation has none it counts as far off, and never less than where it has
    one: noise that leaves no window whole is not better than noise of the wrong size.
    """
    parts = []
    for name in curves:
        wanted = target.curves[name]
        known = ~np.isnan(wanted)
        if not known.any():
            continue
        error = np.hypot(np.nan_to_num(target.errors[name][known], nan=0.1), _floor(name))
        off = (found[name][known] - wanted[known]) / error
        missing = np.isnan(off)
        away = _FARTHEST if missing.all() else max(_MISSING, float(np.abs(off[~missing]).max()))
        off = np.clip(np.where(missing, away, off), -_FARTHEST, _FARTHEST)
        parts.append(off / np.sqrt(np.count_nonzero(known)))
    return np.concatenate(parts) if parts else np.zeros(1)


def softened(off: Float64) -> Float64:
    """Return residuals that, beyond some errors, pull with their logarithm.

    What a model cannot do does not spoil what it can.
    """
    size = np.abs(off)
    return np.where(size > _LARGEST, np.sign(off) * (_LARGEST + np.log1p(np.maximum(size - _LARGEST, 0))), off)


def misfit(found: Curves, target: Target, curves: Sequence[str]) -> float:
    """Return the root mean square of ``residuals`` over curves: 1 is as good as the scans are known."""
    known = sum(bool((~np.isnan(target.curves[name])).any()) for name in curves)
    return float(np.sqrt(np.sum(softened(residuals(found, target, curves)) ** 2) / max(known, 1)))


def refined(sensor: Sensor, scenes: Sequence[Scene], target: Target, unit_m: float) -> Target:
    """Return the target less what the guess is to blame for, with errors that know how ``sensor`` varies by chance.

    ``sensor``'s own simulation is taken for scans, of scenes that are known, and a guess is made of it; by how much its
    curves on that guess exceed those of the scans is the bias. What chance does to both is taken off by how far the
    same random numbers are off on ``scenes``, and what is not larger than the rest of it is shrunk to nothing (James,
    Stein). The draws of the fit are chance, too: by how much they are off the mean of others is added. Leaving out
    frames does not see the patches that happen not to be in any frame: an error is at least the spread of the curves
    over repeated simulations. A scene that is the truth is to blame for nothing.
    """
    differences: dict[str, list[Float64]] = {name: [] for name in CURVES}
    # What chance does to the curves, it does with the same random numbers on the scenes that are known, too.
    expected = simulated_curves(sensor, scenes, unit_m)
    are_guesses = any(scene.places.known is None for scene in scenes)
    for draw in range(100, 100 + _BIAS_DRAWS) if are_guesses else ():
        scans = []
        for scene in scenes:
            depth_m, valid = simulate(sensor, scene, unit_m, draw)
            scans.append(replace(scene.frame, depth_m=depth_m * valid, valid=valid))
        again = scenes_of(scans)
        true = summarise(measure_scans(scans, again))
        by_chance = simulated_curves(sensor, scenes, unit_m, [draw])
        # Other random numbers than the scans', as in the fit: what a guess kept must not know what comes on top.
        found = simulated_curves(sensor, again, unit_m)
        for name in CURVES:
            differences[name].append((found[name] - expected[name]) - (true[name] - by_chance[name]))
    repeated = [simulated_curves(sensor, scenes, unit_m, [draw]) for draw in range(200, 200 + _SPREAD_DRAWS)]
    curves, errors = {}, {}
    for name in CURVES:
        repetitions = np.array([each[name] for each in repeated])
        errors[name] = np.fmax(target.errors[name], np.std(repetitions, axis=0, ddof=1))
        of_draws = np.nan_to_num(expected[name] - repetitions.mean(axis=0))
        curves[name] = target.curves[name] + of_draws
        if are_guesses:
            curves[name] += _shrunk(np.array(differences[name]), np.hypot(errors[name], _floor(name)))
    return Target(curves, errors)


def _shrunk(biases: Float64, errors: Float64) -> Float64:
    """Return the mean of ``biases`` (N, P), shrunk by how much of it is chance; 0 where it is not known.

    In units of the ``errors`` (P,): a bin of few windows has no say in what is believed of the others.
    """
    bias = biases.mean(axis=0)
    known = ~np.isnan(bias) & ~np.isnan(errors)
    if not known.any():
        return np.zeros_like(bias)
    chance = float(np.mean(biases[:, known].var(axis=0, ddof=1) / errors[known] ** 2)) / len(biases)
    size = float(np.mean((bias[known] / errors[known]) ** 2))
    return np.where(known, max(0.0, 1.0 - chance / max(size, 1e-12)) * bias, 0.0)


def _floor(curve: str) -> float:
    if curve.startswith("noise correlation"):
        return _FLOORS["noise correlation"]
    if curve == "hole sizes":
        return _FLOORS["hole sizes"]
    return _FLOORS.get(curve.split()[0], _FLOORS["other"])


def parameters_of(sensor: Sensor) -> dict[str, Any]:
    """Return every parameter of a sensor."""
    return {name: getattr(sensor, name) for name in type(sensor).model_fields}


def with_values(sensor: Sensor, values: Mapping[str, Any]) -> Sensor:
    """Return ``sensor`` with other parameters; InputError when it does not take them."""
    try:
        return type(sensor).model_validate({**parameters_of(sensor), **values})
    except ValidationError as error:
        first = error.errors()[0]
        raise InputError(
            f"the sensor {sensor.name} does not take what was found",
            where=".".join(str(part) for part in first["loc"]),
            expected=first["msg"],
            found=first["input"],
        ) from None
