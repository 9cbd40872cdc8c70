"""Is the fit better on frames that it has not seen? What made it worse is taken back, or said first.

Each curve is judged by itself: its misfit before and after, root mean squares in units of what the held-out scans tell
(``candidates.residuals``, not softened). It got worse when that grew by more than 1, the standard error that the scans
themselves have there, and by more than a tenth: a curve that was 40 errors off may be 42.

A part of the fit (a stage, or what was read off pairs) whose parameters, put back to what the fit started from, make
fewer curves worse is taken back, the owner of the worst curve first; but not where all used curves together lose by it,
as noise does that is far better against depth and a little worse against angle. What no single part explains, or is
worth it, stays, and the report begins with it. A trial simulates the held-out frames once: some seconds.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np

from depthforge.fitting.candidates import Target, misfit, residuals, with_values
from depthforge.fitting.scan_curves import Curves
from depthforge.sensors.base import Sensor

__all__ = ["Part", "SetFit", "Worse", "take_back", "worse_curves"]

# A misfit that grows by less is within what is known of the scans.
_MORE_ERRORS: Final = 1.0
_MORE_SHARE: Final = 1.1


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
class Worse:
    """A curve that the fit made worse: its misfits before and after, not softened."""

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


def take_back(
    start: Sensor, fitted: Sensor, parts: Sequence[Part], used: Sequence[str], judge: Callable[[Sensor], SetFit]
) -> tuple[Sensor, SetFit, dict[str, str]]:
    """Return the fitted sensor without the parts that made ``used`` curves worse, its judgement, and why, by parameter.

    ``judge`` holds a sensor against held-out scans.
    """
    judged = judge(fitted)
    why: dict[str, str] = {}
    left = list(parts)
    while worse := worse_curves(judged, used):
        spoilt = {each.curve for each in worse}
        for part in sorted(left, key=lambda part: worse[0].curve not in part.curves):
            trial = with_values(fitted, {name: getattr(start, name) for name in part.names})
            if trial == fitted:
                continue
            seen = judge(trial)
            still = {each.curve for each in worse_curves(seen, used)}
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


def _said(worse: Worse) -> str:
    return f"{worse.curve} got worse ({worse.before:.2f} -> {worse.after:.2f})"
