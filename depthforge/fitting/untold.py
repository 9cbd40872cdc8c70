"""Why a parameter keeps the value that a fit starts from, where scans of no kind, or not of this kind, tell it.

A report names every parameter of the sensor: read off, matched, set, or left as it is for one of these reasons. Those
that depend on the scans at hand (too few holes, no comb of steps) are given by who looked.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from depthforge.sensors.base import Sensor

__all__ = ["NOT_PARAMETERS", "why_untold"]

NOT_PARAMETERS: Final = frozenset({"preset"})
"""Fields of a sensor that say where its values are from."""

_PAIRS: Final = "only the truth of the same view tells it: fit to scans with poses, which are fused"
_BUILD: Final = "known beforehand, of the camera's data sheet: only its product with other parameters shows"
_COLOUR: Final = "depth alone does not tell it: how bright a surface is in the infra-red is not in the scans"
_TOGETHER: Final = "moves the same curves as parameters that are matched: kept, so that those are told"
_MODEL: Final = "says how holes are softened from place to place; no curve tells it from patches"
_WINDOW: Final = "what it does to depth is in the correlation of noise, which is matched"

# By name, for any sensor that has it.
_ANYWHERE: Final[Mapping[str, str]] = {
    "baseline_m": _BUILD,
    "focal_length_px": _BUILD,
    "window_px": _WINDOW,
    "slow_sigma_px": _PAIRS,
    "slow_sigma_m": _PAIRS,
    "slow_length_px": _PAIRS,
    "slow_octaves": "how many there are is set by hand; size and length of the first are fitted for that many",
    "device_map_px": _PAIRS,
    "device_map_m": _PAIRS,
    "device_seed": "a drawn device is no particular one; what this one has of its own is in its map",
    "device_sigma_px": "a drawn device is no particular one; what this one has of its own is in its map",
    "device_sigma_m": "a drawn device is no particular one; what this one has of its own is in its map",
    "device_length_px": "a drawn device is no particular one; what this one has of its own is in its map",
    "outlier_share": _PAIRS,
    "outlier_size_px": _PAIRS,
    "fattening_px": f"a clean guess has silhouettes where the scan has them; {_PAIRS}",
    "fattening_columns": f"a clean guess has silhouettes where the scan has them; {_PAIRS}",
    "fattening_rows": f"a clean guess has silhouettes where the scan has them; {_PAIRS}",
    "edge_jitter_px": f"a clean guess has silhouettes where the scan has them; {_PAIRS}",
    "patch_size_px": "patches lie on surfaces: their size is matched in metres (patch_size_m)",
    "patch_size_m": "patches are matched in pixels (patch_size_px); a size in metres is for frames with poses",
    "patch_persistence": f"what stays of patches shows between frames that see the same; {_PAIRS}",
    "patch_incidence": "moves the same curves as parameters that are matched: kept, so that those are told",
    "darkest_albedo": _COLOUR,
    "saturation_level": _COLOUR,
    "texture_levels": _COLOUR,
    "projector_reach_m": _COLOUR,
    "reference_albedo": _COLOUR,
    "min_depth_m": "no limit shows",
    "max_depth_m": "no limit shows",
}

_LOST: Final[Mapping[str, str]] = {
    "patch_edge_growth": f"where silhouettes truly are has to be known; {_PAIRS}",
    "patch_hole_growth": f"where silhouettes truly are has to be known; {_PAIRS}",
    "saturated_m": "what is missing near the camera may also not be there",
    "saturated_spread": "what is missing near the camera may also not be there",
}

_BY_SENSOR: Final[Mapping[str, Mapping[str, str]]] = {
    "structured_light": {
        "steps_per_px": "only its product with focal length and baseline shows, which is read off for this value",
        "match_decay_px": _TOGETHER,
        "fill_radius_px": _TOGETHER,
        "lit_share": f"which part of a shadow is lit after all shows at true silhouettes; {_PAIRS}",
        **_LOST,
        "published": "artefacts of published code, which no camera has",
    },
    "matched_structured_light": {
        "ambient": _COLOUR,
        "projector_power": _COLOUR,
        "projector_near_m": _COLOUR,
        "dot_spacing_px": _TOGETHER,
        "dot_sigma_px": _TOGETHER,
        "exposure": _TOGETHER,
        "read_noise": _TOGETHER,
        "steps_per_px": "only its product with focal length and baseline shows, which is read off for this value",
        **_LOST,
    },
    "active_stereo": {
        "noise_angle_growth": "noise against angle is matched by the noise itself; growth beyond it is told too badly",
        "edge_jump_px": _TOGETHER,
        "max_incidence_deg": _TOGETHER,
        "max_disparity_gradient": _TOGETHER,
        "min_confidence": _TOGETHER,
        "confidence_softness": _MODEL,
        "hole_correlation_px": _MODEL,
    },
    "time_of_flight": {
        "edge_jump_m": _TOGETHER,
        "modulation_mhz": "known beforehand, of the camera's data sheet",
        "multipath_albedo": "its bias bends walls, and scans of unknown rooms do not say which walls are straight",
        "wiggling_m": "its bias bends walls, and scans of unknown rooms do not say which walls are straight",
        "min_amplitude": _COLOUR,
        "amplitude_softness": _COLOUR,
        "unambiguous_range_m": "known beforehand, by the camera's modulation",
        "light_cone": "known beforehand, of the camera's data sheet",
        "light_cone_deg": "known beforehand, of the camera's data sheet",
    },
    "gaussian_dropout": {"edge_jump": _TOGETHER},
    "redwood": {
        "steps_per_px": "only its product with depth_disparity_m_px shows, which is for this value",
        "distortion": "a warped lens and bent walls are alike to scans of unknown rooms",
        "distortion_strength": "a warped lens and bent walls are alike to scans of unknown rooms",
    },
    "matched_stereo": {
        "aligned_offset_m": _BUILD,
        "second_imager": "of the camera's build; shadows show it only where the frame has silhouettes",
        "ambient": _COLOUR,
        "projector_at": _BUILD,
        "projector_near_m": _COLOUR,
        "dot_spacing_px": _TOGETHER,
        "dot_sigma_px": _TOGETHER,
        "albedo_length_m": _COLOUR,
        "highlight_light": _COLOUR,
        "exposure": _TOGETHER,
        "least_gain": _COLOUR,
        "most_gain": _COLOUR,
        "levels": _TOGETHER,
        "match_columns": _TOGETHER,
        "match_rows": _TOGETHER,
        "beyond_px": "how far the matcher searches about the truth: a matter of speed",
        "least_margin": _TOGETHER,
        "smallest_island_px": _TOGETHER,
    },
    "lidar": {
        "position_m": "known beforehand: where the lidar stands",
        "log_sigma": "what surfaces reflect is not in the scans",
        "thickness_m": "a matter of the simulation: how densely a clean frame samples edges",
        "beams": "no rows are found",
        "azimuth_step_deg": "no row of the scans tells its firings",
        "rotation_deg": "no rows are found",
        "range_sigma_m": "no row is smooth enough to tell it",
        "range_step_m": "the file rounds more coarsely",
        "min_range_m": "no limit that scans reach",
        "max_range_m": "no limit that scans reach",
        "beam_bias_sigma_m": "a scan does not say by how much all ranges of a beam are off: its surfaces are not known",
        "random_dropout": "too few gaps between two returns of one surface",
        "half_range_m": "hardly any return is weak",
    },
    "dexnet": {
        "gamma_shape": "a factor of a whole frame cannot be seen in it; a static burst (--burst) shows it",
        "interpolation": "the other one fits as well, on a grid of another spacing",
        "downscale": "windows of flat surfaces are too small for the grid",
        "additive_sigma_m": "windows of flat surfaces are too small for the grid",
    },
}


def why_untold(sensor: Sensor, parameter: str) -> str | None:
    """Return why scans do not tell a parameter of a sensor, None where nothing says it."""
    return _BY_SENSOR.get(sensor.name, {}).get(parameter) or _ANYWHERE.get(parameter)
