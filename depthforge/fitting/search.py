"""Moves a sensor's parameters until a simulation of the scans measures like the scans: indirect inference.

The scene is the clean guess of each scan. The candidate sensor sees it, its depth is rounded as the file's was, and the
curves of what comes out are held against those of the scans. Every candidate draws the same random numbers, so a
curve moves with the parameters alone, and the same scans give the same parameters. The numbers of a stage are moved
by least squares on a response surface: each residual as a quadratic in the parameters, from a Sobol sequence of twice
as many points as it has terms, in a region that shrinks around the answer and moves on while the answer lies at its
border. A zoomed patch is another patch, and rounded depth moves in steps, so differences of neighbouring parameters are
mostly chance; a surface averages over it (Gauss-Newton on differences stopped 90 % off the size of patches). Choices
are tried one by one. The best candidate that was tried is the answer: where curves have a kink a surface's least is
not. Residuals are in units of what leaving out frames says of the scans' curves, with a floor; large
ones are softened on the surface and not before it is fitted, since a quadratic has no kink (with softened values five
parameters of noise were left 20 % off what had a thirtieth of the cost).

The guess is not clean: what is left of the noise adds to the candidate's, and silhouettes are as ragged as the sensor
made them. So the fitted sensor's own simulation is taken for scans of a known truth: a guess is made of *it*, the same
sensor simulated on that, and by how much the curves differ the target is moved; then the stages are gone through again,
all of it twice. (A parametric bootstrap; Gourieroux, Monfort and Renault, "Indirect inference", J. Applied Econometrics
8, 1993.)

What a guess cannot know it cannot give back: structure below some pixels is lost in it, and the holes that it made in
the scans are put down to patches.

Cost: 15 to 25 ms to simulate and measure a frame of 640x480, some 250 times for structured light;
``benchmarks/bench_fit.py`` prints whole fits.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Final

import numpy as np
import numpy.typing as npt
from pydantic import ValidationError

from depthforge.errors import InputError
from depthforge.fitting.clean_guess import clean_guess
from depthforge.fitting.places import Places
from depthforge.fitting.recipes import Choice, Number, Stage
from depthforge.fitting.scan_curves import CURVES, Curves, Measurement, measure, summarise, uncertainty
from depthforge.frame import BoolImage, DepthImage, Frame, NoisyDepth
from depthforge.seeding import frame_words
from depthforge.sensors.base import Sensor

__all__ = [
    "FROM_AFAR",
    "NEARBY",
    "ResidualsOf",
    "Scene",
    "Target",
    "match_stages",
    "misfit",
    "residuals",
    "scenes_of",
    "simulated_curves",
]

Float64 = npt.NDArray[np.float64]
Note = Callable[[str], None]
ResidualsOf = Callable[[Sensor, Stage], Float64]
"""Gives the residuals of a candidate for the curves of a stage."""

# What a curve cannot be expected to be known better than, in its stretched units.
_FLOORS: Final = {
    "noise": 0.03,
    "noise correlation": 0.01,
    "white": 0.01,
    "holes": 0.01,
    "hole sizes": 0.01,
    "other": 0.01,
}
_ENOUGH_PIXELS: Final = 2_000_000
_MOST_DRAWS: Final = 4
_BIAS_DRAWS: Final = 3
_SPREAD_DRAWS: Final = 8
_MISSING: Final = 5.0
_LARGEST: Final = 4.0
# A region whose answer lies this near to its border is searched again around it, so many times.
_AT_THE_BORDER: Final = 0.98
_MOST_REPEATS: Final = 2
_WHISKER: Final = 0.02
# Half widths of the regions of a sweep, as shares of the bounds, when nothing is known, and near the answer.
FROM_AFAR: Final = ((0.5, 0.2, 0.08),)
NEARBY: Final = ((0.12, 0.05),)


@dataclass(frozen=True)
class Scene:
    """One clean guess: ``frame`` has it for depth, without holes; ``measured`` (H, W) is what the scan measured."""

    frame: Frame
    places: Places
    measured: BoolImage


@dataclass(frozen=True)
class Target:
    """What simulations are to measure: curves, and how well each is known."""

    curves: Curves
    errors: Curves


def scenes_of(frames: Sequence[Frame]) -> list[Scene]:
    """Return the clean guess of each scan; frames without any depth are left out."""
    scenes = []
    for frame in frames:
        if frame.valid.any():
            guess_m = clean_guess(frame.depth_m, frame.valid)
            whole = np.ones(frame.valid.shape, np.bool_)
            clean = replace(frame, depth_m=guess_m, valid=whole)
            scenes.append(Scene(clean, Places.of(guess_m, frame.camera, frame.depth_m, frame.valid), frame.valid))
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
    measured = [
        measure(*simulate(sensor, scene, unit_m, draw), scene.places, scene.measured, curves)
        for draw in draws
        for scene in scenes
    ]
    return summarise(measured, simulated=True)


def _num_draws(scenes: Sequence[Scene]) -> int:
    pixels = sum(scene.measured.size for scene in scenes)
    return int(np.clip(round(_ENOUGH_PIXELS / max(pixels, 1)), 1, _MOST_DRAWS))


def residuals(found: Curves, target: Target, curves: Sequence[str]) -> Float64:
    """Return the differences of curves in units of their error, each curve divided by the root of its length.

    What the target has and the simulation has not (every window a hole) counts as far off.
    """
    parts = []
    for name in curves:
        wanted = target.curves[name]
        known = ~np.isnan(wanted)
        if not known.any():
            continue
        error = np.hypot(np.nan_to_num(target.errors[name][known], nan=0.1), _floor(name))
        off = (found[name][known] - wanted[known]) / error
        off = np.clip(np.where(np.isnan(off), _MISSING, off), -1e3, 1e3)
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


def match_stages(
    sensor: Sensor,
    stages: Sequence[Stage],
    residuals_of: ResidualsOf,
    *,
    radii: Sequence[Sequence[float]] = FROM_AFAR,
    late: bool = False,
    kept_by: Sequence[Stage] | None = None,
    note: Note = lambda line: None,
) -> Sensor:
    """Return ``sensor`` with the parameters of ``stages`` moved to where ``residuals_of`` finds least amiss.

    ``radii`` are, for each sweep through the stages, the half widths of the regions that are searched in turn, as
    shares of a parameter's bounds; ``late`` choices are made only when asked for. A sweep is taken back where it left
    the curves of the stages ``kept_by`` (those that are swept, unless others are named) further off, all together.
    """
    if not stages:
        return sensor
    kept_by = stages if kept_by is None else kept_by
    least = _cost(sensor, kept_by, residuals_of)
    for sweep, of_sweep in enumerate(radii):
        swept = sensor
        for stage in stages:
            before = swept
            for choice in stage.choices:
                if late or not choice.late:
                    swept = _choose(swept, choice, stage, residuals_of)
            if stage.numbers:
                swept = _move(swept, stage, residuals_of, of_sweep)
            note(f"sweep {sweep + 1}: {_moved(before, swept, stage)}")
        cost = _cost(swept, kept_by, residuals_of)
        if cost <= least:
            sensor, least = swept, cost
        else:
            note(f"sweep {sweep + 1}: taken back, what one stage won the others lost")
    return sensor


def refined(sensor: Sensor, scenes: Sequence[Scene], target: Target, unit_m: float) -> Target:
    """Return the target less what the guess is to blame for, with errors that know how ``sensor`` varies by chance.

    ``sensor``'s own simulation is taken for scans, of scenes that are known, and a guess is made of it; by how much its
    curves on that guess exceed those of the scans is the bias. What chance does to both is taken off by how far the
    same random numbers are off on ``scenes``, and what is not larger than the rest of it is shrunk to nothing (James,
    Stein). The draws of the fit are chance, too: by how much they are off the mean of others is added. Leaving out
    frames does not see the patches that happen not to be in any frame: an error is at least the spread of the curves
    over repeated simulations.
    """
    differences: dict[str, list[Float64]] = {name: [] for name in CURVES}
    # What chance does to the curves, it does with the same random numbers on the scenes that are known, too.
    expected = simulated_curves(sensor, scenes, unit_m)
    for draw in range(100, 100 + _BIAS_DRAWS):
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
        bias = _shrunk(np.array(differences[name]), np.hypot(errors[name], _floor(name)))
        curves[name] = target.curves[name] + of_draws + bias
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


def _cost(sensor: Sensor, stages: Sequence[Stage], residuals_of: ResidualsOf) -> float:
    return sum(_squares(residuals_of(sensor, stage)) for stage in stages)


def _squares(off: Float64) -> float:
    return float(np.sum(softened(off) ** 2))


def _choose(sensor: Sensor, choice: Choice, stage: Stage, residuals_of: ResidualsOf) -> Sensor:
    """Return ``sensor`` with the option that leaves least amiss; with its own value where no option is better."""
    own = getattr(sensor, choice.name)
    others = [with_values(sensor, {choice.name: option}) for option in choice.options if option != own]
    return min([sensor, *others], key=lambda each: _squares(residuals_of(each, stage)))


def _move(sensor: Sensor, stage: Stage, residuals_of: ResidualsOf, radii: Sequence[float]) -> Sensor:
    """Return the best candidate tried: ``sensor``, points around it, and the least of the surfaces through those."""
    from scipy.stats import qmc

    numbers = stage.numbers
    at = np.array([number.to_unit(_start(number, getattr(sensor, number.name))) for number in numbers])
    num_terms = _terms(at[None] - at).shape[1]
    points: list[Float64] = []
    values: list[Float64] = []
    best, least = sensor, _squares(residuals_of(sensor, stage))

    def try_at(unit: Float64) -> None:
        nonlocal best, least
        candidate = with_values(sensor, _values(numbers, unit))
        points.append(unit)
        values.append(residuals_of(candidate, stage))
        cost = _squares(values[-1])
        if cost < least:
            best, least = candidate, cost

    design = qmc.Sobol(len(numbers), scramble=False).random(_sobol_count(num_terms))[1 : 1 + 2 * num_terms]
    try_at(at)
    for radius in radii:
        for _ in range(1 + _MOST_REPEATS):
            low, high = np.maximum(at - radius, 0.0), np.minimum(at + radius, 1.0)
            for unit in low + design * (high - low):
                try_at(unit)
            shift = _least_shift(np.array(points), np.array(values), at, radius)
            # From the surface's least, not from the best so far: near the answer that is the best by chance.
            at = np.clip(at + radius * shift, 0.0, 1.0)
            try_at(at)
            if not np.any((np.abs(shift) > _AT_THE_BORDER) & (at > 0.0) & (at < 1.0)):
                break
    return best


def _least_shift(points: Float64, values: Float64, at: Float64, radius: float) -> Float64:
    """Return where a quadratic surface through the points (N, P) near ``at`` is least: (P,), in radii from there."""
    from scipy.optimize import least_squares

    near = np.flatnonzero(np.all(np.abs(points - at) <= 1.01 * radius, axis=1))
    shifts, near_values = (points[near] - at) / radius, values[near]
    # A point that is far off says where the answer is not; near the answer the surface has to be right.
    size = np.linalg.norm(near_values, axis=1)
    weight = (1.0 / np.maximum(np.median(size) + size, 1e-9))[:, None]
    surface = np.linalg.lstsq(weight * _terms(shifts), weight * near_values, rcond=1e-6)[0]
    low, high = np.maximum(at - radius, 0.0), np.minimum(at + radius, 1.0)
    # The surface is flat where a curve says nothing; a whisker keeps what moves nothing where it is.
    solution = least_squares(
        lambda shift: np.concatenate([softened(_terms(shift[None])[0] @ surface), _WHISKER * shift]),
        np.zeros(len(at)),
        bounds=((low - at) / radius - 1e-9, (high - at) / radius + 1e-9),
    )
    return np.asarray(solution.x)


def _terms(shift: Float64) -> Float64:
    """Return 1, the coordinates and their products of points (N, P)."""
    first, second = np.triu_indices(shift.shape[1])
    return np.concatenate([np.ones((len(shift), 1)), shift, shift[:, first] * shift[:, second]], axis=1)


def _sobol_count(num_terms: int) -> int:
    """Return the power of two that leaves 2 x ``num_terms`` points after the corner, which is dropped."""
    return 1 << (2 * num_terms).bit_length()


def _values(numbers: Sequence[Number], units: Float64) -> dict[str, float]:
    values = {number.name: number.from_unit(unit) for number, unit in zip(numbers, units.tolist(), strict=True)}
    return {
        number.name: 0.0 if number.off is not None and values[number.name] <= number.off else values[number.name]
        for number in numbers
    }


def _start(number: Number, value: Any) -> float:
    outside = value is None or value < number.low or (number.scale == "log" and value <= 0)
    if outside and number.start is not None:
        return number.start
    return float(number.low if value is None else value)


def _moved(before: Sensor, after: Sensor, stage: Stage) -> str:
    return ", ".join(
        f"{name} {_short(getattr(before, name))} -> {_short(getattr(after, name))}" for name in stage.names
    )


def _short(value: Any) -> str:
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def _floor(curve: str) -> float:
    if curve.startswith("noise correlation"):
        return _FLOORS["noise correlation"]
    if curve == "hole sizes":
        return _FLOORS["hole sizes"]
    return _FLOORS.get(curve.split()[0], _FLOORS["other"])
