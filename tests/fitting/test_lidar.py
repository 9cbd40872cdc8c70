"""A lidar's beams, firings, noise and losses come back from scans of streets; what they cannot tell is said."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import numpy as np
import pytest
import yaml

from depthforge.errors import InputError
from depthforge.fitting.fit import Fit, fit_sensor
from depthforge.fitting.lidar import LidarEstimator, beams
from depthforge.fitting.lidar.beams import Comb, returns_of, sharpness
from depthforge.fitting.lidar.rows import cut_off_sigma
from depthforge.fitting.report import draw_curves, lines, preset_text, to_json
from depthforge.registry import sensors
from depthforge.sensors.lidar import BeamBlock, Lidar
from depthforge.sensors.preset import Preset
from tests.fitting.rooms import scan
from tests.fitting.streets import TRUE, street_scans

START = Lidar(position_m=TRUE.position_m, beams=(BeamBlock(num_beams=16, highest_deg=15, lowest_deg=-15),))


@pytest.fixture(scope="module", autouse=True)
def _few_turns() -> Iterator[None]:
    """Half as far as the search goes by itself, which takes a quarter of its time."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(beams, "TURNS_DEG", np.arange(-1.0, 1.01, 0.1))
        yield


@pytest.fixture(scope="module")
def fit() -> Fit:
    """From another lidar that is mounted straight, at the same place."""
    return fit_sensor(START, street_scans())


def test_beams_are_found_and_how_the_lidar_is_turned(fit: Fit) -> None:
    assert isinstance(fit.sensor, Lidar)
    upper, lower = fit.sensor.beams
    assert (upper.num_beams, upper.height_m) == (14, pytest.approx(0.2, abs=0.01))
    # The image ends above the last beam.
    assert (lower.num_beams, lower.height_m) == (6, pytest.approx(0.12, abs=0.01))
    for found, true in zip((upper, lower), TRUE.beams, strict=True):
        step = (true.highest_deg - true.lowest_deg) / (true.num_beams - 1)
        assert (found.highest_deg - found.lowest_deg) / (found.num_beams - 1) == pytest.approx(step, rel=0.01)
        assert found.highest_deg == pytest.approx(true.highest_deg, abs=0.03)
    assert fit.sensor.rotation_deg == pytest.approx(TRUE.rotation_deg, abs=0.03)


def test_firings_noise_and_losses_come_back_within_a_tenth(fit: Fit) -> None:
    assert isinstance(fit.sensor, Lidar)
    assert fit.sensor.azimuth_step_deg == pytest.approx(TRUE.azimuth_step_deg, rel=0.002)
    assert fit.sensor.range_sigma_m == pytest.approx(TRUE.range_sigma_m, rel=0.1)
    assert fit.sensor.half_range_m == pytest.approx(TRUE.half_range_m, rel=0.1)
    # 15,000 returns, of which 700 were lost so, and as many for lack of power.
    assert fit.sensor.random_dropout == pytest.approx(TRUE.random_dropout, abs=0.007)


def test_what_scans_cannot_tell_keeps_its_value_and_is_said(fit: Fit) -> None:
    assert set(fit.skipped) >= {"position_m", "range_step_m", "log_sigma", "min_range_m"}
    for name in fit.skipped:
        assert getattr(fit.sensor, name) == getattr(START, name)
    assert "nearer than" in fit.skipped["min_range_m"]


def test_frames_that_were_held_out_look_like_scans_of_the_fitted_lidar(fit: Fit) -> None:
    for curve in ("pixels with a return", "rows in a column", "next return along a row"):
        before, after = fit.on_held_out.misfits((curve,))
        assert after < 1.5, curve
        assert after < 0.2 * before, curve
    assert fit.on_held_out.misfits(fit.curves)[1] < 1.5


def test_the_preset_is_read_again(fit: Fit) -> None:
    preset = Preset.model_validate(yaml.safe_load(preset_text(fit)))
    again = sensors.get(preset.sensor).model_validate(preset.parameters)
    assert isinstance(again, Lidar)
    assert again.beams[0].num_beams == 14
    table = "\n".join(lines(fit))
    assert "(14, 1.8" in table
    assert "left as it is: known beforehand" in table
    assert to_json(fit)["curves"]["held_out"]["rows in a column"]["unit"] == ""
    assert draw_curves(fit).startswith(b"\x89PNG")


def test_a_coarse_step_of_the_range_is_told_and_no_part_of_its_noise_and_where_it_ends() -> None:
    lidar = TRUE.model_copy(
        update={"range_step_m": 0.04, "range_sigma_m": 0.02, "half_range_m": 1000.0, "max_range_m": 40.0}
    )
    scans = street_scans(lidar)
    found = LidarEstimator().estimate(TRUE, scans, None, lambda line: None)
    assert found.values["range_step_m"] == pytest.approx(0.04, rel=0.01)
    assert found.values["range_sigma_m"] == pytest.approx(0.02, rel=0.1)
    assert found.values["random_dropout"] == pytest.approx(0.05, rel=0.1)
    assert "lack of power" in found.skipped["half_range_m"]
    assert found.values["max_range_m"] == pytest.approx(40.0, abs=0.3)


def test_dense_depth_is_no_scan_of_a_lidar() -> None:
    frames = [scan(sensors.get("gaussian_dropout")(), number) for number in range(2)]
    with pytest.raises(InputError, match="no scans of a spinning lidar") as caught:
        LidarEstimator().require(frames, 0.0, "test")
    assert "merged" in str(caught.value.remedy)


def test_returns_in_no_rows() -> None:
    scattered = street_scans()
    rng = np.random.default_rng(0)
    frames = []
    for frame in scattered.fitted:
        valid = rng.random(frame.valid.shape) < 0.03
        depth_m = np.where(valid, rng.uniform(3, 50, valid.shape), 0).astype(np.float32)
        frames.append(replace(frame, depth_m=depth_m, valid=valid))
    with pytest.raises(InputError, match="no rows of evenly spaced beams"):
        LidarEstimator().estimate(START, replace(scattered, fitted=tuple(frames)), None, lambda line: None)


def test_scans_of_two_mountings() -> None:
    first = street_scans()
    other = street_scans(TRUE.model_copy(update={"rotation_deg": (-0.2, 0.0, 0.7)}))
    mixed = replace(first, fitted=(first.fitted[0], other.fitted[1]))
    with pytest.raises(InputError, match="mounted in different ways"):
        LidarEstimator().estimate(START, mixed, None, lambda line: None)


def test_rows_are_as_sharp_as_pixels_let_them_be() -> None:
    returns = returns_of(street_scans().fitted)
    combs = [
        Comb(block.highest_deg, (block.highest_deg - block.lowest_deg) / (block.num_beams - 1), block.height_m, num)
        for block, num in zip(TRUE.beams, (14, 6), strict=True)
    ]
    assert sharpness(combs, returns, TRUE, (0.0, 0.0)) == pytest.approx(1.0, abs=0.03)
    assert sharpness(combs, returns, TRUE, (0.0, 1.0)) < 0.7


def test_a_beam_is_the_nearest_of_its_comb() -> None:
    comb = Comb(2.0, 0.5, 0.1, 4)
    number, off = comb.nearest(np.array([2.1, 1.45, 0.4, -3.0]))
    assert number.tolist() == [0, 1, 3, 3]
    assert off == pytest.approx([0.1, -0.05, -0.1, -3.5])
    assert comb.block == BeamBlock(num_beams=4, highest_deg=2.0, lowest_deg=0.5, height_m=0.1)


def test_noise_is_told_from_edges() -> None:
    rng = np.random.default_rng(1)
    values = np.concatenate([rng.normal(0, 0.02, 20_000), rng.uniform(-5, 5, 6_000)])
    assert cut_off_sigma(values) == pytest.approx(0.02, rel=0.02)
    assert np.isnan(cut_off_sigma(values[:50]))


def test_a_held_out_frame_without_returns_is_passed_over_and_nothing_else_is_an_error() -> None:
    frame = street_scans().held_out[0]
    blank = replace(frame, depth_m=np.zeros_like(frame.depth_m), valid=np.zeros_like(frame.valid))
    alone, _, _ = LidarEstimator().curves_of_fit([frame], 0.0, TRUE, TRUE)
    both, _, _ = LidarEstimator().curves_of_fit([blank, frame], 0.0, TRUE, TRUE)
    for name, values in alone.curves.items():
        np.testing.assert_array_equal(both.curves[name], values)
    with pytest.raises(InputError, match="too few returns"):
        LidarEstimator().curves_of_fit([blank, blank], 0.0, TRUE, TRUE)


@pytest.mark.slow
def test_noise_of_a_finer_lidar_comes_back_from_among_edges() -> None:
    """A cut of the differences alone takes 15 mm for 16.8."""
    finer = TRUE.model_copy(
        update={
            "beams": (BeamBlock(num_beams=16, highest_deg=2.0, lowest_deg=-13.0, height_m=0.1),),
            "azimuth_step_deg": 0.4,
            "rotation_deg": (-0.8, 0.0, 0.7),
            "range_sigma_m": 0.015,
            "random_dropout": 0.1,
            "half_range_m": 100.0,
        }
    )
    fit = fit_sensor(Lidar(position_m=TRUE.position_m), street_scans(finer))
    assert isinstance(fit.sensor, Lidar)
    assert fit.sensor.range_sigma_m == pytest.approx(0.015, rel=0.1)
    assert "half_range_m" in fit.skipped
