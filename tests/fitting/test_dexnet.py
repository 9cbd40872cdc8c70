"""Dex-Net's field comes back from flat surfaces, its factor from a static burst and from nothing else."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from depthforge.errors import InputError
from depthforge.fitting.burst import read_burst
from depthforge.fitting.dexnet import DexNetEstimator, gamma_of, least_between
from depthforge.fitting.fit import fit_sensor
from depthforge.fitting.report import lines
from depthforge.fitting.scans import require_noise
from depthforge.frame import Frame
from depthforge.seeding import frame_words
from depthforge.sensors.dexnet import DexNet, additive_noise
from tests.fitting.rooms import CAMERA, scan, scans

TRUE = DexNet(additive_sigma_m=0.008, downscale=3.0, additive_rate=0.6, gamma_shape=400.0)


def still(sensor: DexNet, count: int) -> list[Frame]:
    return [scan(sensor, number, view=0, unit_m=0.001) for number in range(count)]


def test_the_field_and_on_how_many_frames_it_is() -> None:
    fit = fit_sensor(DexNet(), scans(TRUE, 10, unit_m=0.001))
    assert isinstance(fit.sensor, DexNet)
    assert fit.sensor.additive_sigma_m == pytest.approx(0.008, rel=0.1)
    assert fit.sensor.downscale == pytest.approx(3.0, rel=0.1)
    drawn = [
        additive_noise(frame_words(7, frame.key, "scan"), CAMERA.size, TRUE) is not None for frame in fit.scans.fitted
    ]
    assert fit.sensor.additive_rate == pytest.approx(np.mean(drawn), abs=1e-3)
    assert "burst" in fit.skipped["gamma_shape"]
    assert fit.sensor.gamma_shape == DexNet().gamma_shape
    assert fit.on_held_out.misfits(("noise against depth",))[1] < 2.0
    assert "frames with noise" in "\n".join(lines(fit))


def test_a_field_as_fine_as_the_image() -> None:
    measured = scans(DexNet(additive_sigma_m=0.004, downscale=1.0, additive_rate=1.0), 4, unit_m=0.001)
    found = DexNetEstimator().estimate(DexNet(), measured, None, lambda line: None).values
    assert found["downscale"] == 1.0
    assert found["additive_sigma_m"] == pytest.approx(0.004, rel=0.05)
    assert found["additive_rate"] == 1.0


def test_the_factor_is_that_of_a_burst() -> None:
    burst = read_burst(still(TRUE, 200), 0.001, "test", shares_factor=True)
    assert len(burst.factors) == 200
    # 200 draws of a gamma law tell its shape to 10 %.
    shape = 1 / np.var(burst.factors, ddof=1)
    assert shape == pytest.approx(400.0, rel=0.2)
    assert gamma_of(burst)[0]["gamma_shape"] == pytest.approx(shape, rel=1e-3)


def test_a_burst_without_a_factor_has_none() -> None:
    sensor = DexNet(gamma_shape=None, additive_rate=1.0)
    burst = read_burst(still(sensor, 60), 0.001, "test", shares_factor=True)
    assert np.std(burst.factors) < 1e-3
    assert gamma_of(burst) == ({"gamma_shape": None}, {})


def test_a_burst_of_a_factor_and_nothing_else() -> None:
    sensor = DexNet(gamma_shape=400.0, additive_rate=0.0)
    frames = [scan(sensor, number, view=0) for number in range(60)]
    burst = read_burst(frames, 0.0, "test", shares_factor=True)
    assert 1 / np.var(burst.factors) == pytest.approx(400.0, rel=0.4)


def test_a_short_burst_says_how_little_it_tells() -> None:
    burst = read_burst(still(TRUE, 16), 0.001, "test", shares_factor=True)
    told, why_not = gamma_of(burst)
    assert told == {}
    assert "37%" in why_not["gamma_shape"]


def test_a_camera_that_walks_is_no_factor() -> None:
    frames = [
        Frame(f.key, f.depth_m * np.float32(1 + 0.004 * t), f.valid, f.camera)
        for t, f in enumerate(still(DexNet(gamma_shape=None, additive_rate=1.0), 12))
    ]
    with pytest.raises(InputError, match="grow or shrink little by little"):
        read_burst(frames, 0.001, "test", shares_factor=True)


def test_without_being_asked_a_factor_is_motion() -> None:
    with pytest.raises(InputError, match="the burst moves"):
        read_burst(still(TRUE, 8), 0.001, "test")


def test_half_of_the_scans_may_be_without_noise() -> None:
    frames = scans(DexNet(additive_rate=0.3), 6, unit_m=0.001).fitted
    with pytest.raises(InputError, match="no sensor noise"):
        require_noise(frames, 0.001, "test")
    DexNetEstimator().require(frames, 0.001, "test")
    with pytest.raises(InputError, match="no sensor noise"):
        DexNetEstimator().require(scans(DexNet(additive_rate=0.0), 6, unit_m=0.001).fitted, 0.001, "test")


@pytest.mark.parametrize("least", [0.0, 2.0, 2.3, 4.0])
def test_no_trial_is_better_than_what_a_search_between_them_finds(least: float) -> None:
    def cost(place: float) -> float:
        return float(abs(place - least) ** 0.1)

    trials = np.arange(5.0)
    costs = [cost(trial) for trial in trials.tolist()]
    found, place = least_between(cost, trials, costs)
    assert found == cost(place) <= min(costs)
    assert place == pytest.approx(least, abs=2e-3)


@pytest.mark.parametrize("kind", ["one frame", "no noise", "nothing measured", "one of two measured"])
def test_held_out_frames_that_say_little_are_judged_all_the_same(kind: str) -> None:
    good = scan(TRUE.model_copy(update={"additive_rate": 1.0}), 0, unit_m=0.001)
    wall = replace(good, depth_m=np.full_like(good.depth_m, 2.0), valid=np.ones_like(good.valid))
    blank = replace(good, depth_m=np.zeros_like(good.depth_m), valid=np.zeros_like(good.valid))
    frames = {
        "one frame": [good],
        "no noise": [wall, wall],
        "nothing measured": [blank, blank],
        "one of two measured": [blank, good],
    }[kind]
    target, before, after = DexNetEstimator().curves_of_fit(frames, 0.001, DexNet(), TRUE)
    for curves in (target.curves, before, after):
        assert set(curves) == set(DexNetEstimator.kinds)
    assert np.isnan(target.curves["frames with noise"]).all() == (kind in ("no noise", "nothing measured"))
