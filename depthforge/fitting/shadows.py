"""How wide shadows are beside true silhouettes: which side a projector is on, and what windows measure of its shadow.

A shadow is as wide as the jump of disparity, and windows of the matcher see into it: what they measure of it narrows
shadows, and closes the thin ones (``lit_share``). Holes by distance from a silhouette, which the stages match, mix wide
shadows with narrow ones; here the truth of the view says how far each jumps, and the mean width over jumps of 8 to 20
px is what simulations with several shares are interpolated to. The side is that on which the scans' shadows are wider.

Below a third hardly any shadow is left, and the share is told badly.

Before the stages, since those match holes beside silhouettes by what is left. Ten simulations: 16 frames of 640x480
take 8 s on one core.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import numpy as np

from depthforge.fitting.candidates import Scene, simulate, with_values
from depthforge.fitting.estimators import Estimate
from depthforge.fitting.pairs import between, true_views
from depthforge.fitting.scans import Scans
from depthforge.frame import Frame
from depthforge.realism.same_view.silhouettes import find_edges, measure_silhouettes
from depthforge.realism.same_view.truth import Truth, inverse_depth
from depthforge.realism.same_view.views import Measured
from depthforge.sensors.base import Sensor

__all__ = ["told_by_shadows"]

_SHARES: Final = (0.2, 0.35, 0.4, 0.45, 0.5, 0.55, 0.6, 0.7, 0.85, 1.0)
_JUMPS_PX: Final = (8, 20)
_FEWEST: Final = 60
# Where shadows of the two sides differ by less, there is no telling which side is the projector's.
_LEAST_WIDER_PX: Final = 1.0


def told_by_shadows(sensor: Sensor, scenes: Sequence[Scene], frames: Sequence[Frame], scans: Scans) -> Estimate:
    """Return the projector's side and what is lit enough, of a sensor with fields for both."""
    if not {"lit_share", "projector_side"} <= type(sensor).model_fields.keys():
        return Estimate({})
    truths = true_views(frames, scans, sensor)
    real = _mean_widths_px(truths, [Measured(frame.depth_m, frame.valid) for frame in frames])
    if real is None:
        why = f"fewer than {_FEWEST} silhouettes with a jump of {_JUMPS_PX[0]} to {_JUMPS_PX[1]} px on either side"
        return Estimate({}, {"lit_share": why})
    left_px, right_px = real
    if abs(left_px - right_px) < _LEAST_WIDER_PX:
        why = f"shadows are {left_px:.1f} px wide left of near surfaces, {right_px:.1f} px right of them: no side shows"
        return Estimate({}, {"lit_share": why})
    side, which = ("right", 0) if left_px > right_px else ("left", 1)
    widths = []
    for share in _SHARES:
        candidate = with_values(sensor, {"projector_side": side, "lit_share": share})
        made = _mean_widths_px(truths, [Measured(*simulate(candidate, scene, scans.unit_m)) for scene in scenes])
        widths.append(np.nan if made is None else made[which])
    if np.isnan(widths).any():
        return Estimate({}, {"lit_share": "simulated shadows run into one another: their width is not known"})
    return Estimate({"lit_share": round(between(_SHARES, widths, real[which]), 3)})


def _mean_widths_px(truths: Sequence[Truth], measured: Sequence[Measured]) -> tuple[float, float] | None:
    """Return the mean width of shadows left and right of near surfaces, pixels; None of too few silhouettes."""
    found = [
        measure_silhouettes(truth, find_edges(truth), each.valid, inverse_depth(each))
        for truth, each in zip(truths, measured, strict=True)
    ]
    jump, width, near_right = (np.concatenate([each[place] for each in found]) for place in range(3))
    jumps = (jump >= _JUMPS_PX[0]) & (jump < _JUMPS_PX[1])
    of_sides = width[jumps & near_right], width[jumps & ~near_right]
    if min(len(each) for each in of_sides) < _FEWEST:
        return None
    return float(of_sides[0].mean()), float(of_sides[1].mean())
