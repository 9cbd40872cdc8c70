"""Known parameters for ``bench_fit``: two sets for each sensor, what of them is to be found, and where it scans."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from depthforge.fitting.scans import Scans
from depthforge.registry import sensors
from depthforge.sensors.base import Sensor
from depthforge.sensors.lidar import BeamBlock, Lidar
from tests.fitting.rooms import CAMERA, scans
from tests.fitting.streets import TRUE as STREET_LIDAR
from tests.fitting.streets import street_scans

__all__ = ["DIFFERENCES", "TRUTHS", "Truth", "value_of"]

DIFFERENCES = ("disparity_sigma_power", "patch_growth", "highest_deg", "lowest_deg", "rotation_deg")
"""What is judged by a difference, of 0.1, and not by its ratio: exponents, growths, and angles in degrees."""


@dataclass(frozen=True)
class Truth:
    """A sensor, what the fit starts from, which parameters it is to find, and the first of the rooms that it scans.

    A parameter of a part is named with dots: ``beams.0.highest_deg``. Without a ``first`` the scans are of a street.
    """

    sensor: Sensor
    start: Sensor
    names: tuple[str, ...]
    first: int | None = None

    @property
    def place(self) -> str:
        """Where the scans are made, in words."""
        return "street" if self.first is None else f"rooms from {self.first}"

    def scans(self, num_rooms: int) -> Scans:
        """Make the scans; a street has as many as it has."""
        if self.first is None:
            assert isinstance(self.sensor, Lidar)
            return street_scans(self.sensor)
        return scans(self.sensor, num_rooms, first=self.first)


def value_of(sensor: Sensor, name: str) -> Any:
    """Return a parameter, or a part of one; NaN for a part that is not there."""
    value: Any = sensor
    for part in name.split("."):
        if part.isdigit() and int(part) >= len(value):
            return math.nan
        value = value[int(part)] if part.isdigit() else getattr(value, part)
    return value


def _in_rooms(name: str, known: Mapping[str, Any], true: Mapping[str, Any], first: int) -> Truth:
    cls = sensors.get(name)
    return Truth(cls(**known, **true), cls(**known), tuple(true), first)


def _on_a_street(lidar: Lidar, names: tuple[str, ...]) -> Truth:
    of_all = ("rotation_deg.0", "rotation_deg.2", "azimuth_step_deg", "range_sigma_m", "random_dropout", "half_range_m")
    return Truth(lidar, Lidar(position_m=lidar.position_m), (*names, *of_all))


_LIGHT = {
    "interpolate_px": 1.0,
    "match_threshold_px": 0.5,
    "mass_fraction": 0.5,
    "fray_radius_px": 1.5,
    "focal_length_px": CAMERA.fx,
}
_STEREO = {"baseline_m": 0.3, "blank_band": False}
_TIME_OF_FLIGHT = {"max_depth_m": 10.0}
_DROPOUT = {"edge_px": 2}
_REDWOOD = {"distortion": "none"}
_DEXNET = {"gamma_shape": None, "additive_rate": 1.0}

TRUTHS: dict[str, tuple[Truth, ...]] = {
    "structured_light": (
        _in_rooms(
            "structured_light",
            _LIGHT,
            {
                "baseline_m": 0.3,
                "raw_scale_m": 0.3 * 8 * CAMERA.fx,
                "disparity_sigma_px": 0.06,
                "disparity_sigma_power": 0.4,
                "disparity_correlation_px": 3.0,
                "noise_sigma_steps": 0.4,
                "shift_sigma_px": 0.1,
                "patch_share": 0.1,
                "patch_growth": 0.4,
                "patch_size_px": 14.0,
                "projector_side": "right",
            },
            0,
        ),
        _in_rooms(
            "structured_light",
            _LIGHT,
            {
                "baseline_m": 0.24,
                "raw_scale_m": 0.24 * 8 * CAMERA.fx,
                "disparity_sigma_px": 0.12,
                "disparity_sigma_power": 0.0,
                "disparity_correlation_px": 2.0,
                "noise_sigma_steps": 0.25,
                "shift_sigma_px": 0.4,
                "patch_share": 0.06,
                "patch_growth": 0.0,
                "patch_size_px": 24.0,
                "projector_side": "left",
            },
            1000,
        ),
    ),
    "active_stereo": (
        _in_rooms(
            "active_stereo",
            _STEREO,
            {
                "steps_per_px": 16.0,
                "noise_sigma_px": 0.2,
                "noise_correlation_px": 2.0,
                "patch_share": 0.1,
                "patch_growth": 0.4,
                "patch_size_px": 14.0,
                "second_imager": "right",
            },
            0,
        ),
        _in_rooms(
            "active_stereo",
            _STEREO,
            {
                "steps_per_px": 10.0,
                "noise_sigma_px": 0.1,
                "noise_correlation_px": 3.0,
                "patch_share": 0.06,
                "patch_growth": 0.0,
                "patch_size_px": 20.0,
                "second_imager": "left",
            },
            1000,
        ),
    ),
    "time_of_flight": (
        _in_rooms(
            "time_of_flight",
            _TIME_OF_FLIGHT,
            {
                "base_noise_m": 0.004,
                "range_noise_m": 0.0008,
                "noise_correlation_px": 1.5,
                "patch_share": 0.1,
                "patch_growth": 0.4,
                "patch_size_px": 14.0,
            },
            0,
        ),
        _in_rooms(
            "time_of_flight",
            _TIME_OF_FLIGHT,
            {
                "base_noise_m": 0.002,
                "range_noise_m": 0.002,
                "noise_correlation_px": 2.5,
                "patch_share": 0.06,
                "patch_growth": 0.0,
                "patch_size_px": 20.0,
            },
            1000,
        ),
    ),
    "gaussian_dropout": (
        _in_rooms(
            "gaussian_dropout",
            _DROPOUT,
            {
                "sigma_constant_m": 0.003,
                "sigma_quadratic_per_m": 0.002,
                "correlation_px": 1.6,
                "pixel_dropout": 0.03,
                "blob_dropout": 0.15,
                "blob_px": 8.0,
                "edge_dropout": 0.4,
            },
            0,
        ),
        _in_rooms(
            "gaussian_dropout",
            _DROPOUT,
            {
                "sigma_constant_m": 0.006,
                "sigma_quadratic_per_m": 0.001,
                "correlation_px": 2.4,
                "pixel_dropout": 0.01,
                "blob_dropout": 0.08,
                "blob_px": 12.0,
                "edge_dropout": 0.7,
            },
            1000,
        ),
    ),
    "redwood": (
        _in_rooms(
            "redwood",
            _REDWOOD,
            {"depth_disparity_m_px": 40.0, "noise_sigma_px": 0.06, "shift_sigma_px": 0.4, "block_px": 2},
            0,
        ),
        _in_rooms(
            "redwood",
            _REDWOOD,
            {"depth_disparity_m_px": 30.0, "noise_sigma_px": 1 / 36, "shift_sigma_px": 0.25, "block_px": 2},
            1000,
        ),
    ),
    "dexnet": (
        _in_rooms("dexnet", _DEXNET, {"additive_sigma_m": 0.008, "downscale": 3.0}, 0),
        _in_rooms("dexnet", _DEXNET, {"additive_sigma_m": 0.004, "downscale": 5.0}, 1000),
    ),
    "lidar": (
        # The image ends above the last beam of the lower block.
        _on_a_street(
            STREET_LIDAR,
            ("beams.0.num_beams", "beams.0.highest_deg", "beams.0.lowest_deg", "beams.1.highest_deg"),
        ),
        _on_a_street(
            STREET_LIDAR.model_copy(
                update={
                    "beams": (BeamBlock(num_beams=16, highest_deg=2.0, lowest_deg=-13.0, height_m=0.1),),
                    "azimuth_step_deg": 0.4,
                    "rotation_deg": (-0.8, 0.0, 0.7),
                    "range_sigma_m": 0.015,
                    "random_dropout": 0.1,
                    "half_range_m": 100.0,
                }
            ),
            ("beams.0.num_beams", "beams.0.highest_deg", "beams.0.lowest_deg"),
        ),
    ),
}
