"""Fits a sensor to scans: reads off what can be, matches the rest, and holds the result against frames it never saw."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from depthforge.errors import InputError
from depthforge.fitting.approaches import plan_for
from depthforge.fitting.burst import Burst
from depthforge.fitting.candidates import (
    Float64,
    Scene,
    Target,
    measure_scans,
    misfit,
    parameters_of,
    refined,
    residuals,
    scenes_of,
    simulated_curves,
    target_of,
    with_values,
)
from depthforge.fitting.estimators import CurveKind, Estimator
from depthforge.fitting.recipes import Recipe, Stage
from depthforge.fitting.scan_curves import Curves
from depthforge.fitting.scans import Scans
from depthforge.fitting.search import FROM_AFAR, NEARBY, ResidualsOf, match_stages
from depthforge.sensors.base import Sensor

__all__ = ["Fit", "SetFit", "fit_sensor"]

_FEWEST_HOLES = 1e-4
_MOST_ROUNDS = 2
# How often the fitted sensor's own simulation is taken for scans of a known truth. Noise alone needs it once; what a
# guess does to edges depends on how many holes there are.
NUM_BOOTSTRAPS = 2


@dataclass(frozen=True)
class SetFit:
    """Curves of one set of frames: of the scans, and of the sensor before and after fitting, simulated on them."""

    real: Target
    start: Curves
    fitted: Curves

    def misfits(self, curves: Sequence[str]) -> tuple[float, float]:
        """Return the root mean square residual of the sensor before and after, 1 being as well as scans are known."""
        return misfit(self.start, self.real, curves), misfit(self.fitted, self.real, curves)


@dataclass(frozen=True)
class Fit:
    """A fitted sensor.

    ``read_off`` and ``matched`` are the parameters that were found, ``skipped`` why others were not; ``on_fitted`` and
    ``on_held_out`` say how well it does on the frames that it was fitted to, and on the others. ``kinds`` are the
    curves of a sensor that has its own; those of ``scan_curves`` otherwise.
    """

    start: Sensor
    sensor: Sensor
    scans: Scans
    read_off: dict[str, Any]
    fixed: dict[str, Any]
    matched: dict[str, Any]
    skipped: dict[str, str]
    curves: tuple[str, ...]
    burst: Burst | None
    on_fitted: SetFit
    on_held_out: SetFit
    kinds: Mapping[str, CurveKind] = field(default_factory=dict)


def fit_sensor(
    start: Sensor, scans: Scans, *, burst: Burst | None = None, note: Callable[[str], None] = lambda line: None
) -> Fit:
    """Return ``start`` with the parameters that its plan finds in ``scans``; the same scans give the same answer.

    With a ``burst`` the noise is that of the burst, and what flat surfaces of the scans show has no say. Raises
    InputError for a sensor without a plan, and when the scans show nothing that it could use.
    """
    plan = plan_for(start)
    if isinstance(plan, Recipe):
        return _fit_by_stages(plan, start, scans, burst, note)
    return _fit_by_estimator(plan, start, scans, burst, note)


def _fit_by_estimator(
    estimator: Estimator, start: Sensor, scans: Scans, burst: Burst | None, note: Callable[[str], None]
) -> Fit:
    found = estimator.estimate(start, scans, burst, note)
    sensor = with_values(start, found.values)
    note("read off: " + ", ".join(found.values))
    return Fit(
        start=start,
        sensor=sensor,
        scans=scans,
        read_off=found.values,
        fixed={},
        matched={},
        skipped=found.skipped,
        curves=tuple(estimator.kinds),
        burst=burst,
        on_fitted=SetFit(*estimator.curves_of_fit(scans.fitted, scans.unit_m, start, sensor)),
        on_held_out=SetFit(*estimator.curves_of_fit(scans.held_out, scans.unit_m, start, sensor)),
        kinds=estimator.kinds,
    )


def _fit_by_stages(
    recipe: Recipe, start: Sensor, scans: Scans, burst: Burst | None, note: Callable[[str], None]
) -> Fit:
    read_off = recipe.read_off(scans, start)
    sensor = with_values(start, {**recipe.fixed, **read_off})
    note("read off: " + (", ".join(f"{name} {value}" for name, value in read_off.items()) or "nothing"))
    scenes = scenes_of(scans.fitted)
    target = target_of(measure_scans(scans.fitted, scenes))
    stages, skipped = _stages(recipe, scans, target, burst)
    skipped |= {name: why for name, why in recipe.untold.items() if name not in read_off}
    if not stages:
        raise InputError(
            "the scans show too little to fit anything",
            where=scans.dataset,
            expected="flat surfaces at several distances, and holes",
            found="; ".join(sorted(set(skipped.values()))),
            remedy="raise --frames, or record more",
        )
    sensor = _match(sensor, stages, scenes, target, scans.unit_m, burst, note)
    matched = {name: getattr(sensor, name) for stage in stages for name in stage.names}
    curves = tuple(dict.fromkeys(curve for stage in recipe.stages for curve in stage.curves))
    return Fit(
        start=start,
        sensor=sensor,
        scans=scans,
        read_off=read_off,
        fixed=dict(recipe.fixed),
        matched=matched,
        skipped=skipped,
        curves=curves,
        burst=burst,
        on_fitted=_on_scenes(start, sensor, scenes, target, scans.unit_m),
        on_held_out=_on_scans(start, sensor, scans),
    )


def _match(
    sensor: Sensor,
    stages: Sequence[Stage],
    scenes: Sequence[Scene],
    target: Target,
    unit_m: float,
    burst: Burst | None,
    note: Callable[[str], None],
) -> Sensor:
    def against(wanted: Target) -> ResidualsOf:
        def residuals_of(candidate: Sensor, stage: Stage) -> Float64:
            if burst is not None and stage.from_burst:
                return residuals(burst.simulated(candidate), burst.target, stage.curves)
            return residuals(simulated_curves(candidate, scenes, unit_m, None, stage.curves), wanted, stage.curves)

        return residuals_of

    matched = match_stages(sensor, stages, against(target), radii=FROM_AFAR, note=note)
    choices = [choice.name for stage in stages for choice in stage.choices]
    # What one of these loses the others' curves count: they are gone through once more before anything rests on them.
    holes = [stage for stage in stages if not stage.from_burst]
    coupled = holes if len(holes) > 1 else []
    matched = match_stages(matched, coupled, against(target), radii=NEARBY, kept_by=stages, note=note)
    for _ in range(NUM_BOOTSTRAPS if coupled else 1):
        note("measuring what the clean guess is to blame for")
        residuals_of = against(refined(matched, scenes, target, unit_m))
        for _ in range(_MOST_ROUNDS):
            before = matched
            matched = match_stages(matched, stages, residuals_of, radii=NEARBY, late=True, note=note)
            # Another choice changes what the other stages have to explain.
            if all(getattr(matched, name) == getattr(before, name) for name in choices):
                break
        matched = match_stages(matched, coupled, residuals_of, radii=NEARBY, late=True, kept_by=stages, note=note)
    return matched


def _stages(
    recipe: Recipe, scans: Scans, target: Target, burst: Burst | None
) -> tuple[tuple[Stage, ...], dict[str, str]]:
    """Return the stages that these scans can tell something of, and why others are left out, by parameter."""
    holes = sum(float((~frame.valid).mean()) for frame in scans.fitted) / len(scans.fitted)
    kept, skipped = [], {}
    for stage in recipe.stages:
        silent = all(_is_silent(target, curve) for curve in stage.curves)
        if stage.about_holes and holes < _FEWEST_HOLES:
            skipped.update(dict.fromkeys(stage.names, f"the scans have no holes ({holes:.3%} of their pixels)"))
        elif silent and not (burst is not None and stage.from_burst):
            skipped.update(dict.fromkeys(stage.names, f"the scans show too little of {', '.join(stage.curves)}"))
        else:
            kept.append(stage)
    return tuple(kept), skipped


def _is_silent(target: Target, curve: str) -> bool:
    values = target.curves[curve]
    return bool((values != values).all())


def _on_scenes(start: Sensor, sensor: Sensor, scenes: Sequence[Scene], target: Target, unit_m: float) -> SetFit:
    return SetFit(target, simulated_curves(start, scenes, unit_m), simulated_curves(sensor, scenes, unit_m))


def _on_scans(start: Sensor, sensor: Sensor, scans: Scans) -> SetFit:
    scenes = scenes_of(scans.held_out)
    return _on_scenes(start, sensor, scenes, target_of(measure_scans(scans.held_out, scenes)), scans.unit_m)


def changed_parameters(fit: Fit) -> dict[str, Any]:
    """Return the parameters of the fitted sensor that are not the sensor's defaults, for its preset."""
    defaults = {name: field.default for name, field in type(fit.sensor).model_fields.items()}
    return {
        name: value for name, value in parameters_of(fit.sensor).items() if name != "preset" and value != defaults[name]
    }
