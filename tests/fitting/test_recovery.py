"""Known parameters come back within 10 %: a stage at a time, on a few small rooms. The whole is in bench_fit."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from depthforge.fitting.candidates import measure_scans, residuals, scenes_of, simulated_curves, target_of, with_values
from depthforge.fitting.recipes import RECIPES, Stage
from depthforge.fitting.scans import Scans
from depthforge.fitting.search import match_stages
from depthforge.registry import sensors
from depthforge.sensors.base import Sensor
from tests.fitting.rooms import CAMERA, known_scenes, scans

NOISE, HOLES = 0, 1
STEREO = {"baseline_m": 0.3, "blank_band": False, "steps_per_px": 16.0}
LIGHT = {"focal_length_px": CAMERA.fx, "baseline_m": 0.3, "raw_scale_m": 360.0, "interpolate_px": 1.0}


def matched(start: Sensor, stage: Stage, scans: Scans, radii: tuple[float, ...], known: bool = False) -> Sensor:
    """Match one stage, from where the recipe begins; on the ``known`` scenes, or on clean guesses."""
    scenes = known_scenes(scans.fitted) if known else scenes_of(scans.fitted)
    target = target_of(measure_scans(scans.fitted, scenes))

    def residuals_of(candidate: Sensor, stage: Stage) -> Any:
        return residuals(simulated_curves(candidate, scenes, 0.0, [0], stage.curves), target, stage.curves)

    return match_stages(start, [stage], residuals_of, radii=(radii,))


@pytest.mark.parametrize(
    ("name", "count", "known", "true"),
    [
        ("structured_light", 8, {**LIGHT, "noise_sigma_steps": 0.0, "shift_sigma_px": 0.1},
         {"disparity_sigma_px": 0.15, "disparity_correlation_px": 2.5}),
        ("active_stereo", 6, STEREO, {"noise_sigma_px": 0.2, "noise_correlation_px": 2.0}),
        ("time_of_flight", 6, {}, {"base_noise_m": 0.004, "range_noise_m": 0.0008, "noise_correlation_px": 1.5}),
        ("gaussian_dropout", 8, {},
         {"sigma_constant_m": 0.003, "sigma_quadratic_per_m": 0.002, "correlation_px": 1.6}),
    ],
)  # fmt: skip
def test_noise(name: str, count: int, known: dict[str, Any], true: dict[str, float]) -> None:
    sensor: Sensor = sensors.get(name)(**known)
    stage = RECIPES[name].stages[NOISE]
    asked = replace(stage, numbers=tuple(number for number in stage.numbers if number.name in true))
    found = matched(sensor, asked, scans(with_values(sensor, true), count), (0.4, 0.15, 0.06))
    assert {key: getattr(found, key) for key in true} == pytest.approx(true, rel=0.1)


def test_a_shift_is_told_by_slopes() -> None:
    """Away from silhouettes: what a guess does to those has no say."""
    true = {"noise_sigma_steps": 0.3, "shift_sigma_px": 0.3}
    sensor: Sensor = sensors.get("structured_light")(**LIGHT, disparity_sigma_px=0.1, disparity_correlation_px=2.5)
    stage = RECIPES["structured_light"].stages[NOISE]
    asked = replace(stage, numbers=tuple(number for number in stage.numbers if number.name in true))
    found = matched(sensor, asked, scans(with_values(sensor, true), 8), (0.3, 0.1), known=True)
    assert {key: getattr(found, key) for key in true} == pytest.approx(true, rel=0.1)


def test_drop_out() -> None:
    sensor: Sensor = sensors.get("gaussian_dropout")(sigma_constant_m=0.003)
    true = {"pixel_dropout": 0.03, "blob_dropout": 0.15, "blob_px": 8.0}
    found = matched(
        sensor, RECIPES["gaussian_dropout"].stages[HOLES], scans(with_values(sensor, true), 12), (0.4, 0.15, 0.06)
    )
    assert {key: getattr(found, key) for key in true} == pytest.approx(true, rel=0.1)


def test_the_same_scans_give_the_same_sensor() -> None:
    sensor: Sensor = sensors.get("gaussian_dropout")(sigma_constant_m=0.003)
    once, again = (
        matched(sensor, RECIPES["gaussian_dropout"].stages[NOISE], scans(sensor, 4), (0.1,)) for _ in range(2)
    )
    assert once == again
