"""Moves a sensor's parameters until a simulation of the scans measures like the scans: indirect inference.

The numbers of a stage are moved by least squares on a response surface: each residual (``fitting.candidates``) as a
quadratic in the parameters, from a Sobol sequence of twice as many points as it has terms, in a region that shrinks
around the answer and moves on while the answer lies at its border. A zoomed patch is another patch, and rounded depth
moves in steps, so differences of neighbouring parameters are mostly chance; a surface averages over it (Gauss-Newton on
differences stopped 90 % off the size of patches). Choices are tried one by one. The best candidate that was tried is
the answer: where curves have a kink a surface's least is not. Large residuals are softened on the surface and not
before it is fitted, since a quadratic has no kink (with softened values five parameters of noise were left 20 % off
what had a thirtieth of the cost).

Cost: some 250 candidates for structured light; ``benchmarks/bench_fit.py`` prints whole fits.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Final

import numpy as np

from depthforge.fitting.candidates import Float64, softened, with_values
from depthforge.fitting.recipes import Choice, Number, Stage
from depthforge.sensors.base import Sensor

__all__ = ["FROM_AFAR", "NEARBY", "ResidualsOf", "match_stages"]

Note = Callable[[str], None]
ResidualsOf = Callable[[Sensor, Stage], Float64]
"""Gives the residuals of a candidate for the curves of a stage."""

# A region whose answer lies this near to its border is searched again around it, so many times.
_AT_THE_BORDER: Final = 0.98
_MOST_REPEATS: Final = 2
_WHISKER: Final = 0.02
# Half widths of the regions of a sweep, as shares of the bounds, when nothing is known, and near the answer.
FROM_AFAR: Final = ((0.5, 0.2, 0.08),)
NEARBY: Final = ((0.12, 0.05),)


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
