"""The whole of a fit: what it matches, what it leaves alone and says so, and that it is the same every time."""

from __future__ import annotations

import pytest
import yaml

from depthforge.errors import InputError
from depthforge.fitting.approaches import PLANS, plan_for
from depthforge.fitting.burst import read_burst
from depthforge.fitting.fit import Fit, _by_truth, _to_set, fit_sensor
from depthforge.fitting.recipes import RECIPES, Recipe
from depthforge.fitting.report import lines, preset_text
from depthforge.fitting.untold import NOT_PARAMETERS, why_untold
from depthforge.registry import sensors
from depthforge.sensors.gaussian_dropout import GaussianDropout
from depthforge.sensors.preset import Preset
from depthforge.sensors.structured_light import StructuredLight
from tests.fitting.rooms import CAMERA, scan, scans

TOLD_BY_ESTIMATORS = {"dexnet": {"additive_rate"}, "lidar": set[str]()}
TRUE = GaussianDropout(sigma_constant_m=0.005, sigma_quadratic_per_m=0.001, correlation_px=1.5)


@pytest.fixture(scope="module")
def quiet() -> Fit:
    """A fit to scans without holes."""
    return fit_sensor(GaussianDropout(), scans(TRUE, 4, unit_m=0.001))


def test_noise_is_matched_and_better_on_frames_that_were_held_out(quiet: Fit) -> None:
    assert isinstance(quiet.sensor, GaussianDropout)
    assert quiet.sensor.sigma_constant_m == pytest.approx(TRUE.sigma_constant_m, rel=0.2)
    assert quiet.sensor.correlation_px == pytest.approx(TRUE.correlation_px, rel=0.1)
    before, after = quiet.on_held_out.misfits(("noise against depth", "noise correlation along x"))
    assert after < 0.3 * before


def test_without_holes_nothing_is_said_of_holes(quiet: Fit) -> None:
    holes = {"pixel_dropout", "blob_dropout", "blob_px", "edge_dropout"}
    assert holes == {name for name, why in quiet.skipped.items() if "no holes" in why}
    assert "no holes" in quiet.skipped["blob_dropout"]
    assert isinstance(quiet.sensor, GaussianDropout)
    assert quiet.sensor.blob_dropout == 0.0
    told = {*quiet.read_off, *quiet.matched, *quiet.fixed, *quiet.skipped}
    assert told == set(GaussianDropout.model_fields) - NOT_PARAMETERS
    assert all(quiet.skipped.values())
    assert not quiet.worse
    table = "\n".join(lines(quiet))
    for words in ("left as it is: the scans have no holes", "matched", "held-out frames", "noise against depth"):
        assert words in table, words


def test_a_preset_holds_the_parameters_and_where_they_come_from(quiet: Fit) -> None:
    preset = Preset.model_validate(yaml.safe_load(preset_text(quiet)))
    assert sensors.get(preset.sensor).model_validate(preset.parameters)
    assert preset.camera is not None
    assert preset.camera.camera() == CAMERA
    assert preset.fit is not None
    assert preset.fit["scans"]["data_set"] == "test"
    assert preset.fit["matched"] == ["correlation_px", "sigma_constant_m", "sigma_quadratic_per_m"]


def test_steps_range_and_blank_columns_are_read_off() -> None:
    true = StructuredLight(
        focal_length_px=CAMERA.fx, baseline_m=0.25, raw_scale_m=300.0, disparity_sigma_px=0.1,
        max_depth_m=2.5, blind_right_px=4, interpolate_px=1.0, noise_sigma_steps=0.0,
    )  # fmt: skip
    found = RECIPES["structured_light"].read_off(scans(true, 8, unit_m=0.001), StructuredLight()).values
    assert found["blind_left_px"] == 0
    assert found["blind_right_px"] == 4
    assert found["raw_scale_m"] == pytest.approx(300.0, rel=2e-3)
    assert found["baseline_m"] == pytest.approx(0.25, rel=2e-3)
    assert found["max_depth_m"] == pytest.approx(2.5, abs=0.05)


def test_a_room_that_ends_is_no_limit_of_the_sensor() -> None:
    found = RECIPES["gaussian_dropout"].read_off(scans(TRUE, 8), GaussianDropout())
    assert not found.values
    assert "max_depth_m" in found.skipped


@pytest.mark.parametrize("name", sorted(RECIPES))
def test_every_recipe_names_parameters_that_its_sensor_has(name: str) -> None:
    fields = sensors.get(name).model_fields
    recipe = RECIPES[name]
    assert {*recipe.names, *recipe.fixed} <= set(fields)
    for stage in recipe.stages:
        for number in stage.numbers:
            for value in (number.low, number.high):
                sensors.get(name).model_validate({number.name: value})
            assert number.from_unit(number.to_unit(number.high)) == pytest.approx(number.high)


@pytest.mark.parametrize("name", sorted(PLANS))
def test_every_parameter_is_found_set_or_left_with_a_reason(name: str) -> None:
    plan = PLANS[name]
    sensor = sensors.get(name)()
    told: set[str] = set()
    if isinstance(plan, Recipe):
        found = plan.read_off(scans(TRUE, 4), sensor)
        assert all(found.skipped.values())
        told = {*plan.names, *plan.fixed, *found.values, *found.skipped}
    else:
        told = TOLD_BY_ESTIMATORS[name]
    left = set(type(sensor).model_fields) - NOT_PARAMETERS - told
    assert [field for field in sorted(left) if not why_untold(sensor, field)] == []


def test_patches_on_surfaces_are_matched_in_metres() -> None:
    class OnSurfaces(GaussianDropout):
        patch_size_m: float | None = None

    recipe = RECIPES["active_stereo"]
    assert recipe.stages_for(OnSurfaces()) == recipe.stages
    names = [number.name for stage in recipe.stages_for(OnSurfaces(patch_size_m=0.2)) for number in stage.numbers]
    assert "patch_size_m" in names
    assert "patch_size_px" not in names


def test_the_truth_of_a_view_does_not_choose_what_windows_do_at_silhouettes() -> None:
    start = StructuredLight(focal_length_px=CAMERA.fx, baseline_m=0.15, interpolate_px=2.0)
    stages, why = _by_truth(RECIPES["structured_light"].stages)
    assert [stage.names for stage in stages][-1] == ("projector_side",)
    assert set(why) == {"mass_fraction", "fray_radius_px"}
    # What a start says itself is not set anew.
    assert "interpolate_px" not in _to_set(RECIPES["structured_light"], start)
    assert _to_set(RECIPES["structured_light"], start)["match_threshold_px"] == 0.5


def test_a_sensor_without_a_plan_says_which_have_one() -> None:
    class Own(GaussianDropout):
        name = "own"

    with pytest.raises(InputError, match="no parameters that are fitted") as caught:
        plan_for(Own())
    assert all(name in str(caught.value.expected) for name in ("structured_light", "lidar", "redwood", "dexnet"))


def test_every_sensor_of_ours_has_a_plan() -> None:
    assert set(PLANS) == {sensors.get(name).name for name in sensors.names()}


def test_with_a_burst_its_noise_counts_and_not_that_of_the_scans() -> None:
    louder = GaussianDropout(sigma_constant_m=0.012, sigma_quadratic_per_m=0.0005)
    still = read_burst([scan(TRUE, number, view=0) for number in range(6)], 0.0, "burst")
    fit = fit_sensor(GaussianDropout(), scans(louder, 4), burst=still)
    assert isinstance(fit.sensor, GaussianDropout)
    assert fit.sensor.sigma_constant_m == pytest.approx(TRUE.sigma_constant_m, rel=0.15)
    assert any("static burst of 6 frames" in line for line in lines(fit))
