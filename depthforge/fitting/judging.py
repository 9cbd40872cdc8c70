"""Is the fit better on frames that it has not seen? What made it worse is taken back, or said first.

Each curve is judged by itself: its misfit before and after, root mean squares in units of what the held-out scans tell
(``candidates.residuals``, not softened). It got worse when that grew by more than 1, the standard error that the scans
themselves have there, and by more than a tenth: a curve that was 40 errors off may be 42.

Before the curves come patches (``told_apart``): a sensor whose patches are told from the scans' more often than before
(AUC, by more than 0.02) is farther from the camera, whatever its curves say. Of the parts of the fit the one is taken
back without which they are told least, and so on, until they are told no more than before.

Next come errors that only the truth of the same view shows (``ERRORS``: of blocks, and outliers), where there is one:
a spread that is farther from the scans' than before, by more than a quarter, was read off truth or poses that are wrong
elsewhere. Here, too, the part goes without which they are nearest.

A part of the fit (a stage, or what was read off pairs) whose parameters, put back to what the fit started from, make
fewer curves worse is taken back, the owner of the worst curve first; but not where all used curves together lose by it,
as noise does that is far better against depth and a little worse against angle. What no single part explains, or is
worth it, stays, and the report begins with it. A trial simulates the held-out frames once: some seconds.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

import numpy as np

from depthforge.fitting.candidates import Target, misfit, residuals, with_values
from depthforge.fitting.scan_curves import Curves
from depthforge.sensors.base import Sensor

__all__ = [
    "ERRORS",
    "PATCHES",
    "Part",
    "SetFit",
    "Worse",
    "take_back",
    "worse_curves",
    "worse_errors",
    "worse_patches",
]

PATCHES: Final = "patches told from the scans', AUC"
"""What ``Worse`` calls patches."""

ERRORS: Final = {"block_sd": "spread of blocks off the truth, %", "outlier_share": "outliers, %"}
"""Figures of ``realism.same_view`` that judge a fit, and what ``Worse`` calls them."""

# A misfit that grows by less is within what is known of the scans.
_MORE_ERRORS: Final = 1.0
_MORE_SHARE: Final = 1.1
# An AUC that grows by less is within what other frames would have given; less gained is not worth a part of the fit.
_MORE_APART: Final = 0.02
_LESS_APART: Final = 0.005
# Octaves between an error of the sensor and the scans'; less than this, in per cent, is none.
_FARTHER: Final = 0.32
_LEAST_ERROR: Final = 0.02


@dataclass(frozen=True)
class SetFit:
    """Curves of one set of frames: of the scans, and of the sensor before and after fitting, simulated on them.

    ``told_apart`` is how well patches of the scans are told from those of the sensor before and after, as an AUC;
    ``errors``, by the names of ``ERRORS``, are those of the scans, and of the sensor before and after.
    """

    real: Target
    start: Curves
    fitted: Curves
    told_apart: tuple[float | None, float | None] = (None, None)
    errors: Mapping[str, tuple[float, float, float]] = field(default_factory=dict)

    def misfits(self, curves: Sequence[str]) -> tuple[float, float]:
        """Return the root mean square residual of the sensor before and after, 1 being as well as scans are known."""
        return misfit(self.start, self.real, curves), misfit(self.fitted, self.real, curves)


@dataclass(frozen=True)
class Worse:
    """A curve that the fit made worse: its misfits before and after, not softened; or patches, by their AUC."""

    curve: str
    before: float
    after: float


@dataclass(frozen=True)
class Part:
    """Parameters that were found together, and the curves that they were found by."""

    names: tuple[str, ...]
    curves: tuple[str, ...]


def worse_curves(judged: SetFit, curves: Sequence[str]) -> tuple[Worse, ...]:
    """Return those of ``curves`` that got worse, the worst first."""
    found = []
    for curve in curves:
        before, after = (
            float(np.sqrt(np.sum(residuals(each, judged.real, (curve,)) ** 2)))
            for each in (judged.start, judged.fitted)
        )
        if after > max(before + _MORE_ERRORS, _MORE_SHARE * before):
            found.append(Worse(curve, before, after))
    return tuple(sorted(found, key=lambda worse: worse.before - worse.after))


def worse_patches(judged: SetFit) -> Worse | None:
    """Return by how much patches are told from the scans' more often than before the fit, None where they are not."""
    before, after = judged.told_apart
    if before is None or after is None or after <= before + _MORE_APART:
        return None
    return Worse(PATCHES, before, after)


def worse_errors(judged: SetFit) -> tuple[Worse, ...]:
    """Return the errors that are farther from the scans' than before the fit, the worst first."""
    worse = [
        (_octaves(real, after) - _octaves(real, before), Worse(ERRORS[name], before, after))
        for name, (real, before, after) in judged.errors.items()
    ]
    return tuple(each for farther, each in sorted(worse, key=lambda pair: -pair[0]) if farther > _FARTHER)


def _octaves(real: float, found: float) -> float:
    return abs(math.log2(max(found, _LEAST_ERROR) / max(real, _LEAST_ERROR)))


def _off(judged: SetFit) -> float:
    return sum(_octaves(real, after) for real, _, after in judged.errors.values())


def take_back(
    start: Sensor, fitted: Sensor, parts: Sequence[Part], used: Sequence[str], judge: Callable[[Sensor], SetFit]
) -> tuple[Sensor, SetFit, dict[str, str]]:
    """Return the fitted sensor without the parts that made ``used`` curves worse, its judgement, and why, by parameter.

    ``judge`` holds a sensor against held-out scans.
    """
    judged = judge(fitted)
    why: dict[str, str] = {}
    left = list(parts)
    while (patches := worse_patches(judged)) is not None:
        outcomes = [(judge(trial), part, trial) for part, trial in _without(start, fitted, left)]
        best = min(outcomes, key=lambda each: _apart(each[0]), default=None)
        if best is None or _apart(best[0]) > patches.after - _LESS_APART:
            break
        judged, guilty, fitted = best
        why.update(dict.fromkeys(guilty.names, f"taken back: on held-out frames {_said(patches)} with what was found"))
        left.remove(guilty)
    while errors := worse_errors(judged):
        outcomes = [(judge(trial), part, trial) for part, trial in _without(start, fitted, left)]
        allowed = [each for each in outcomes if worse_patches(judged) or not worse_patches(each[0])]
        best = min(allowed, key=lambda each: _off(each[0]), default=None)
        if best is None or _off(best[0]) >= _off(judged) - _FARTHER / 2:
            break
        judged, guilty, fitted = best
        why.update(
            dict.fromkeys(guilty.names, f"taken back: on held-out frames {_said(errors[0])} with what was found")
        )
        left.remove(guilty)
    while worse := worse_curves(judged, used):
        spoilt = {each.curve for each in worse}
        for part, trial in _without(start, fitted, sorted(left, key=lambda part: worse[0].curve not in part.curves)):
            seen = judge(trial)
            still = {each.curve for each in worse_curves(seen, used)}
            if worse_patches(seen) is not None and worse_patches(judged) is None:
                continue
            if len(worse_errors(seen)) > len(worse_errors(judged)):
                continue
            if still < spoilt and seen.misfits(used)[1] <= judged.misfits(used)[1]:
                gone = next(each for each in worse if each.curve not in still)
                reason = f"taken back: on held-out frames {_said(gone)} with what was found"
                why.update(dict.fromkeys(part.names, reason))
                fitted, judged = trial, seen
                left.remove(part)
                break
        else:
            break
    return fitted, judged, why


def _without(start: Sensor, fitted: Sensor, parts: Sequence[Part]) -> Iterator[tuple[Part, Sensor]]:
    """Yield each part that changed something, and the fitted sensor with its parameters put back."""
    for part in parts:
        trial = with_values(fitted, {name: getattr(start, name) for name in part.names})
        if trial != fitted:
            yield part, trial


def _apart(judged: SetFit) -> float:
    after = judged.told_apart[1]
    return 1.0 if after is None else after


def _said(worse: Worse) -> str:
    return f"{worse.curve} got worse ({worse.before:.2f} -> {worse.after:.2f})"
