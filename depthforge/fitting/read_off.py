"""Parameters that scans show without a simulation: disparity steps, the ends of the range, blank borders, blocks.

What a scan does not show is named with the reason (``estimators.Estimate.skipped``), and keeps its value.
"""

from __future__ import annotations

from typing import Any, Final

import numpy as np

from depthforge.fitting.blocks import block_and_shift_px
from depthforge.fitting.estimators import Estimate
from depthforge.fitting.limits import blank_columns, far_limit, near_limit
from depthforge.fitting.scans import Scans, views_of
from depthforge.fitting.steps import disparity_steps_m
from depthforge.sensors.base import Sensor
from depthforge.sensors.distortion import CELLS

__all__ = [
    "active_stereo",
    "matched_stereo",
    "matched_structured_light",
    "metric_range",
    "redwood",
    "structured_light",
]

Told = float | str
_MOST_BLIND_PX: Final = 64
# A band that should be narrower shows too little.
_LEAST_BAND_PX: Final = 2.0
_NO_COMB: Final = "the depth of the scans is no comb of disparity steps"


def structured_light(scans: Scans, sensor: Sensor) -> Estimate:
    """Return steps and the camera that has them, the range, and the columns that never measure."""
    found = _range_and_borders(scans, sensor)
    steps_m = disparity_steps_m(views_of(scans.fitted), scans.unit_m)
    if steps_m is None:
        found.skipped.update(dict.fromkeys(("raw_scale_m", "focal_length_px", "baseline_m"), _NO_COMB))
    else:
        # Of focal length x baseline x steps only the product shows: the camera's focal length is taken for the first.
        focal_px = scans.fitted[0].camera.fx
        steps_per_px = sensor.model_dump()["steps_per_px"]
        found.values["raw_scale_m"] = round(steps_m, 3)
        found.values["focal_length_px"] = focal_px
        found.values["baseline_m"] = round(steps_m / (focal_px * steps_per_px), 6)
    return found


def matched_structured_light(scans: Scans, sensor: Sensor) -> Estimate:
    """Return the baseline that the steps tell, the range, and the columns that never measure."""
    found = _range_and_borders(scans, sensor)
    steps_m = disparity_steps_m(views_of(scans.fitted), scans.unit_m)
    focal_px, steps_per_px = scans.fitted[0].camera.fx, sensor.model_dump()["steps_per_px"]
    _put(found, "baseline_m", _NO_COMB if steps_m is None else round(steps_m / (focal_px * steps_per_px), 6))
    return found


def _range_and_borders(scans: Scans, sensor: Sensor) -> Estimate:
    found = metric_range(scans, sensor)
    blank = blank_columns(scans)
    if isinstance(blank, str):
        found.skipped.update(dict.fromkeys(("blind_left_px", "blind_right_px"), blank))
    else:
        found.values["blind_left_px"], found.values["blind_right_px"] = (min(each, _MOST_BLIND_PX) for each in blank)
    return found


def active_stereo(scans: Scans, sensor: Sensor) -> Estimate:
    """Return steps, the far limit, the end of the search by the near one, and whether the border has a blank band."""
    fields = sensor.model_dump()
    focal_px = fields["focal_length_px"] or scans.fitted[0].camera.fx
    found = Estimate({}, {})
    _put(found, "max_depth_m", far_limit(scans))
    near_m = near_limit(scans)
    disparity_m_px = focal_px * fields["baseline_m"]
    _put(found, "max_disparity_px", near_m if isinstance(near_m, str) else round(disparity_m_px / near_m, 2))
    _put(found, "blank_band", _blank_band(scans, fields["baseline_m"]))
    steps_m = disparity_steps_m(views_of(scans.fitted), scans.unit_m)
    _put(found, "steps_per_px", _NO_COMB if steps_m is None else round(steps_m / disparity_m_px, 4))
    return found


matched_stereo: Final = active_stereo


def metric_range(scans: Scans, sensor: Sensor) -> Estimate:
    """Return the nearest and the farthest depth that is reported."""
    found = Estimate({}, {})
    _put(found, "min_depth_m", near_limit(scans))
    _put(found, "max_depth_m", far_limit(scans))
    return found


def redwood(scans: Scans, sensor: Sensor) -> Estimate:
    """Return blocks and the shift that they tell, steps, the far limit and the cells of the border that are blind."""
    views = views_of(scans.fitted)
    found = Estimate({}, {})
    _put(found, "max_depth_m", far_limit(scans))
    found.values["blind_border_cells"] = _blind_cells(scans)
    found.values["block_px"], shift_px = block_and_shift_px(views)
    why = "only blocks tell it, by how often the one beside is read: the scans show none, or too few"
    _put(found, "shift_sigma_px", why if shift_px is None else round(shift_px, 4))
    steps_m = disparity_steps_m(views, scans.unit_m)
    # Only the product shows: steps in a pixel are the camera's.
    steps_per_px = sensor.model_dump()["steps_per_px"]
    _put(found, "depth_disparity_m_px", _NO_COMB if steps_m is None else round(steps_m / steps_per_px, 4))
    return found


def _put(found: Estimate, name: str, told: Told) -> None:
    """Put a value, or the reason why there is none."""
    if isinstance(told, str):
        found.skipped[name] = told
    else:
        found.values[name] = told


def _blank_band(scans: Scans, baseline_m: float) -> bool | str:
    """Return whether a border is blank because the second image ends there, or why scans do not say."""
    blank = blank_columns(scans)
    if isinstance(blank, str):
        return blank
    farthest_m = float(np.quantile(np.concatenate([f.depth_m[f.valid][::7] for f in scans.fitted]), 0.99))
    # It is never narrower than the disparity of what is farthest.
    width_px = scans.fitted[0].camera.fx * baseline_m / farthest_m
    if width_px < _LEAST_BAND_PX:
        return f"a band would be {width_px:.1f} px wide where surfaces are farthest: too little to tell"
    return max(blank) >= width_px / 2


def _blind_cells(scans: Scans) -> tuple[int, int, int, int]:
    """Return how many cells of the distortion table measure nothing: left, top, right, bottom."""
    share = np.mean([frame.valid for frame in scans.fitted], axis=0)
    found: list[list[Any]] = []
    for axis in (0, 1):
        line = share.mean(axis=axis)
        # A pixel that looks aside reads from beyond the border now and then.
        seen = np.flatnonzero(line > 0.3 * np.median(line[line > 0])) if line.any() else np.array([0, len(line) - 1])
        found.append([round(blank * CELLS / len(line)) for blank in (int(seen[0]), len(line) - 1 - int(seen[-1]))])
    (left, right), (top, bottom) = found
    return left, top, right, bottom
