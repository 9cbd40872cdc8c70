"""Fits a sensor to scans: reads off what can be, matches the rest, and holds the result against frames it never saw.

With the truth of the views, what only pairs tell is read off, too: how far near surfaces grow before the stages, since
holes beside silhouettes depend on it, and slow errors, the device's own and outliers after them, since they are what
noise does not explain. A part that makes a used curve worse on held-out frames is taken back (``judging``).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from depthforge.errors import InputError
from depthforge.fitting.approaches import plan_for
from depthforge.fitting.burst import Burst
from depthforge.fitting.candidates import (
    Float64,
    Scene,
    Target,
    measure_scans,
    parameters_of,
    refined,
    residuals,
    scenes_of,
    simulated_curves,
    target_of,
    with_values,
)
from depthforge.fitting.estimators import CurveKind, Estimate, Estimator
from depthforge.fitting.judging import ERRORS, Part, SetFit, Worse, take_back, worse_curves, worse_errors, worse_patches
from depthforge.fitting.pairs import error_figures, told_by_errors, told_by_silhouettes
from depthforge.fitting.persistence import told_between_frames
from depthforge.fitting.recipes import Recipe, Stage
from depthforge.fitting.scan_curves import CURVES
from depthforge.fitting.scans import Scans, without_recording
from depthforge.fitting.search import FROM_AFAR, NEARBY, ResidualsOf, match_stages
from depthforge.fitting.shadows import told_by_shadows
from depthforge.fitting.told_apart import auc_of, patches_of_scans, patches_of_sensor
from depthforge.fitting.untold import NOT_PARAMETERS, why_untold
from depthforge.frame import Frame
from depthforge.realism.views import evenly_spaced
from depthforge.sensors.base import Sensor

__all__ = ["Fit", "LeftOut", "fit_sensor", "leave_recordings_out"]

_FEWEST_HOLES = 1e-4
_MOST_ROUNDS = 2
# Candidates are tried on so many pixels of the scans: 9 frames of 640x480, and six of larger ones.
_ENOUGH_PIXELS = 2_500_000
_FEWEST_TRIED = 6
# How often the fitted sensor's own simulation is taken for scans of a known truth. Noise alone needs it once; what a
# guess does to edges depends on how many holes there are.
NUM_BOOTSTRAPS = 2


@dataclass(frozen=True)
class Fit:
    """A fitted sensor.

    ``read_off`` and ``matched`` are the parameters that were found, ``fixed`` those that were set, ``skipped`` why each
    of the others was not; ``on_fitted`` and ``on_held_out`` say how well it does on the frames that it was fitted to,
    and on the others. ``curves`` are those that were used, ``kinds`` those of a sensor that has its own; those of
    ``scan_curves`` otherwise.
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

    @property
    def worse(self) -> tuple[Worse, ...]:
        """What was used and got worse on held-out frames: patches, errors, and then curves, the worst first."""
        patches = worse_patches(self.on_held_out)
        return (
            *(() if patches is None else (patches,)),
            *worse_errors(self.on_held_out),
            *worse_curves(self.on_held_out, self.curves),
        )

    @property
    def worse_unused(self) -> tuple[Worse, ...]:
        """The curves that had no say and got worse on held-out frames, the worst first."""
        names = [name for name in (self.kinds or CURVES) if name not in self.curves]
        return worse_curves(self.on_held_out, names)


@dataclass(frozen=True)
class LeftOut:
    """How a fit to all recordings but one does on that one: misfits before and after, and the curves that got worse."""

    dataset: str
    before: float
    after: float
    worse: tuple[Worse, ...]


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


def leave_recordings_out(
    start: Sensor, scans: Scans, *, note: Callable[[str], None] = lambda line: None
) -> tuple[LeftOut, ...]:
    """Return, for each of several recordings, how a fit to the others does on the whole of it; none of one recording.

    Takes as long as a fit for each of them. Raises as ``fit_sensor``.
    """
    found = []
    for number, recording in enumerate(scans.recordings):
        note(f"leaving {recording.dataset} out")
        fit = fit_sensor(start, without_recording(scans, number), note=note)
        found.append(LeftOut(recording.dataset, *fit.on_held_out.misfits(fit.curves), fit.worse))
    return tuple(found)


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
        skipped=_reasons(sensor, found.skipped, found.values),
        curves=tuple(estimator.kinds),
        burst=burst,
        on_fitted=SetFit(*estimator.curves_of_fit(scans.fitted, scans.unit_m, start, sensor)),
        on_held_out=SetFit(*estimator.curves_of_fit(scans.held_out, scans.unit_m, start, sensor)),
        kinds=estimator.kinds,
    )


def _fit_by_stages(
    recipe: Recipe, start: Sensor, scans: Scans, burst: Burst | None, note: Callable[[str], None]
) -> Fit:
    found = recipe.read_off(scans, start)
    note("read off: " + (", ".join(f"{name} {value}" for name, value in found.values.items()) or "nothing"))
    fixed = _to_set(recipe, start)
    sensor = with_values(start, {**fixed, **found.values})
    frames = [scans.fitted[place] for place in evenly_spaced(len(scans.fitted), recipe.most_frames)]
    scenes = scenes_of(frames, scans.truth)
    measured = measure_scans(frames, scenes)
    # Candidates are tried on fewer of them, which the whole of the scans' curves would not suit.
    tried = evenly_spaced(len(scenes), _frames_to_try(scenes[0].frame.camera.size))
    target, of_tried = target_of(measured), target_of([measured[place] for place in tried])
    stages, skipped = _stages(recipe.stages_for(sensor), frames, target, burst)
    if scans.truth:
        stages, by_guesses = _by_truth(stages)
        skipped |= by_guesses
    skipped |= found.skipped
    if not stages:
        raise InputError(
            "the scans show too little to fit anything",
            where=scans.dataset,
            expected="flat surfaces at several distances, and holes",
            found="; ".join(sorted(set(skipped.values()))),
            remedy="raise --frames, or record more",
        )
    sensor, before = _from_pairs(sensor, (told_by_silhouettes, told_by_shadows), scenes, frames, scans)
    sensor = _match(sensor, stages, [scenes[place] for place in tried], of_tried, scans.unit_m, burst, note)
    sensor, after = _from_pairs(sensor, (told_by_errors, told_between_frames), scenes, frames, scans)
    told = (*before, *after)
    pairs = {name: value for each in told for name, value in each.values.items()}
    if scans.truth:
        note("from pairs: " + (", ".join(name for name in pairs) or "nothing"))
    curves = tuple(dict.fromkeys(curve for stage in stages for curve in stage.curves))
    used = tuple(dict.fromkeys(c for stage in stages if burst is None or not stage.from_burst for c in stage.curves))
    held_out = [scans.held_out[place] for place in evenly_spaced(len(scans.held_out), recipe.most_frames)]
    judge = _judge(start, held_out, scans)
    parts = [
        *(Part(names, curves) for each in told for names in _of_one_cause(each.values)),
        *(Part(stage.names, stage.curves) for stage in stages if burst is None or not stage.from_burst),
    ]
    sensor, on_held_out, taken = take_back(start, sensor, parts, used, judge)
    for why in dict.fromkeys(taken.values()):
        note(why)
    names = (*pairs, *(name for stage in stages for name in stage.names))
    kept = {name: getattr(sensor, name) for name in names if name not in taken}
    read_off = {**found.values, **{name: kept[name] for name in pairs if name in kept}}
    matched = {name: value for name, value in kept.items() if name not in pairs}
    skipped = {**skipped, **{name: why for each in told for name, why in each.skipped.items()}, **taken}
    return Fit(
        start=start,
        sensor=sensor,
        scans=scans,
        read_off=read_off,
        fixed={name: value for name, value in fixed.items() if name not in {*matched, *taken}},
        matched=matched,
        skipped=_reasons(sensor, skipped, {**fixed, **read_off, **matched}),
        curves=used,
        burst=burst,
        on_fitted=_on_scenes(start, sensor, scenes, target, scans.unit_m),
        on_held_out=on_held_out,
    )


def _of_one_cause(names: Iterable[str]) -> list[tuple[str, ...]]:
    """Return parameters that are read off pairs, those of one thing together, by the first word of their names."""
    causes = {name.split("_")[0]: () for name in names}
    return [tuple(name for name in names if name.split("_")[0] == cause) for cause in causes]


def _frames_to_try(size: tuple[int, int]) -> int:
    return max(_FEWEST_TRIED, -(-_ENOUGH_PIXELS // (size[0] * size[1])))


def _from_pairs(
    sensor: Sensor,
    estimates: Sequence[Callable[[Sensor, Sequence[Scene], Sequence[Frame], Scans], Estimate]],
    scenes: Sequence[Scene],
    frames: Sequence[Frame],
    scans: Scans,
) -> tuple[Sensor, list[Estimate]]:
    """Return ``sensor`` with what the truth of the views tells, one after the other, and each of the answers."""
    told = []
    for estimate in estimates if scans.truth else ():
        told.append(estimate(sensor, scenes, frames, scans))
        sensor = with_values(sensor, told[-1].values)
    return sensor, told


def _to_set(recipe: Recipe, start: Sensor) -> dict[str, Any]:
    """Return the fixed values of a recipe, of what ``start`` leaves at the sensor's default: a preset knows better."""
    fields = type(start).model_fields
    return {name: value for name, value in recipe.fixed.items() if getattr(start, name) == fields[name].default}


def _reasons(sensor: Sensor, skipped: Mapping[str, str], told: Mapping[str, Any]) -> dict[str, str]:
    """Return why each parameter that was not found keeps its value, in the order of the sensor's fields."""
    reasons = {}
    for name in type(sensor).model_fields:
        if name in NOT_PARAMETERS or (name in told and name not in skipped):
            continue
        reasons[name] = skipped.get(name) or why_untold(sensor, name) or "no curve of the scans is made to tell it"
    return reasons


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
    are_guesses = any(scene.places.known is None for scene in scenes)
    for _ in range(NUM_BOOTSTRAPS if coupled and are_guesses else 1):
        note(f"measuring what {'the clean guess is' if are_guesses else 'chance is'} to blame for")
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
    of_recipe: Sequence[Stage], frames: Sequence[Frame], target: Target, burst: Burst | None
) -> tuple[tuple[Stage, ...], dict[str, str]]:
    """Return the stages that these scans can tell something of, and why others are left out, by parameter."""
    holes = sum(float((~frame.valid).mean()) for frame in frames) / len(frames)
    kept, skipped = [], {}
    for stage in of_recipe:
        silent = all(_is_silent(target, curve) for curve in stage.curves)
        if stage.about_holes and holes < _FEWEST_HOLES:
            skipped.update(dict.fromkeys(stage.names, f"the scans have no holes ({holes:.3%} of their pixels)"))
        elif silent and not (burst is not None and stage.from_burst):
            skipped.update(dict.fromkeys(stage.names, f"the scans show too little of {', '.join(stage.curves)}"))
        else:
            kept.append(stage)
    return tuple(kept), skipped


def _by_truth(stages: Sequence[Stage]) -> tuple[tuple[Stage, ...], dict[str, str]]:
    """Return the stages without what only guesses tell, and why that is left as it is, by parameter."""
    why = "silhouettes of a fused truth are off by its voxels and poses, which would be put down to it"
    kept = [replace(stage, choices=tuple(each for each in stage.choices if not each.by_guesses)) for stage in stages]
    left = {each.name: why for stage in stages for each in stage.choices if each.by_guesses}
    return tuple(stage for stage in kept if stage.names), left


def _is_silent(target: Target, curve: str) -> bool:
    values = target.curves[curve]
    return bool((values != values).all())


def _on_scenes(start: Sensor, sensor: Sensor, scenes: Sequence[Scene], target: Target, unit_m: float) -> SetFit:
    return SetFit(target, simulated_curves(start, scenes, unit_m), simulated_curves(sensor, scenes, unit_m))


def _judge(start: Sensor, held_out: Sequence[Frame], scans: Scans) -> Callable[[Sensor], SetFit]:
    scenes = scenes_of(held_out, scans.truth)
    target = target_of(measure_scans(held_out, scenes))
    before = simulated_curves(start, scenes, scans.unit_m)
    patches = patches_of_scans([frame for frame in held_out if frame.valid.any()], scenes)
    apart_before = auc_of(patches_of_sensor(start, scenes, scans.unit_m), patches)
    errors_of = _errors(held_out, scenes, scans)
    real, errors_before = errors_of(None), errors_of(start)

    def judged(sensor: Sensor) -> SetFit:
        apart = auc_of(patches_of_sensor(sensor, scenes, scans.unit_m), patches)
        curves, after = simulated_curves(sensor, scenes, scans.unit_m), errors_of(sensor)
        known = [name for name in ERRORS if all(name in each for each in (real, errors_before, after))]
        errors = {name: (real[name], errors_before[name], after[name]) for name in known}
        return SetFit(target, before, curves, (apart_before, apart), errors)

    return judged


def _errors(
    held_out: Sequence[Frame], scenes: Sequence[Scene], scans: Scans
) -> Callable[[Sensor | None], dict[str, float]]:
    """Return what gives the errors of a sensor off the truth of held-out views, or of the scans; none without truth."""
    if not scans.truth:
        return lambda sensor: {}
    return error_figures(held_out, scenes, scans)


def changed_parameters(fit: Fit) -> dict[str, Any]:
    """Return the parameters of the fitted sensor that are not the sensor's defaults, for its preset."""
    defaults = {name: field.default for name, field in type(fit.sensor).model_fields.items()}
    return {
        name: value for name, value in parameters_of(fit.sensor).items() if name != "preset" and value != defaults[name]
    }
