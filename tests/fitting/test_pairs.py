"""What only pairs tell: slow errors, gross errors and bleed of known size come back."""

from __future__ import annotations

from dataclasses import replace

import cv2
import numpy as np
import pytest
from pydantic import Field

from depthforge.fitting.candidates import scenes_of, with_values
from depthforge.fitting.estimators import Estimate
from depthforge.fitting.pairs import told_by_errors, told_by_silhouettes
from depthforge.fitting.scans import Scans
from depthforge.frame import NoisyDepth
from depthforge.sensors.active_stereo import ActiveStereo
from depthforge.sensors.base import Sensor
from depthforge.sensors.gaussian_dropout import GaussianDropout
from depthforge.sensors.matched_stereo import MatchedStereo
from tests.fitting.rooms import CAMERA, scans, with_truth


def told(sensor: Sensor, of_rooms: Scans) -> Estimate:
    return told_by_errors(sensor, scenes_of(of_rooms.fitted, of_rooms.truth), of_rooms.fitted, of_rooms)


@pytest.mark.parametrize("length_px", [10.0, 16.0])
def test_a_slow_error_is_what_noise_does_not_explain(length_px: float) -> None:
    true = GaussianDropout(sigma_constant_m=0.006, correlation_px=2.0, slow_sigma_m=0.004, slow_length_px=length_px)
    found = told(with_values(true, {"slow_sigma_m": 0.0}), with_truth(scans(true, 32)))
    assert found.values["slow_sigma_m"] == pytest.approx(0.004, rel=0.15)
    assert found.values["slow_length_px"] == pytest.approx(length_px, rel=0.5)


def test_each_octave_of_a_slow_error_is_as_strong_as_its_sensor_makes_it() -> None:
    true = GaussianDropout(
        sigma_constant_m=0.006, correlation_px=2.0, slow_sigma_m=0.004, slow_length_px=10.0, slow_octaves=2
    )
    found = told(with_values(true, {"slow_sigma_m": 0.0}), with_truth(scans(true, 32)))
    assert found.values["slow_sigma_m"] == pytest.approx(0.004, rel=0.15)
    assert found.values["slow_length_px"] == pytest.approx(10.0, rel=0.5)


def test_lengths_are_told_in_the_images_that_a_sensor_matches() -> None:
    of_frame = ActiveStereo(
        baseline_m=0.3, focal_length_px=75.0, blank_band=False, slow_sigma_px=0.06, slow_length_px=24.0
    )
    start = MatchedStereo(baseline_m=0.3, focal_length_px=75.0, blank_band=False, shot_noise=0.002, read_noise=0.002)
    found = told(start, with_truth(scans(of_frame, 12)))
    assert found.values["slow_length_px"] == pytest.approx(24.0 * 75.0 / CAMERA.fx, rel=0.4)


def test_noise_alone_is_no_slow_error_and_makes_no_outliers() -> None:
    true = GaussianDropout(sigma_constant_m=0.006, correlation_px=2.0)
    found = told(true, with_truth(scans(true, 12)))
    assert found.values == {"slow_sigma_m": 0.0, "outlier_share": 0.0}
    assert set(found.skipped) == {"device_map_m", "slow_length_px", "outlier_size_px"}


def test_outliers_come_back_by_share_and_size() -> None:
    true = GaussianDropout(sigma_constant_m=0.004, outlier_share=0.02, outlier_size_px=6.0)
    found = told(with_values(true, {"outlier_share": 0.0}), with_truth(scans(true, 32)))
    assert found.values["outlier_share"] == pytest.approx(0.02, rel=0.3)
    assert found.values["outlier_size_px"] == pytest.approx(6.0, rel=0.4)


def test_what_stands_still_in_the_image_is_the_device_s_own() -> None:
    draw = np.random.default_rng(1)
    rows = cv2.resize(draw.normal(size=(3, 4)), (8, 6), interpolation=cv2.INTER_CUBIC)
    true = ActiveStereo(baseline_m=0.3, blank_band=False, device_map_px=tuple(map(tuple, rows.tolist())))
    found = told(with_values(true, {"device_map_px": None}), with_truth(scans(true, 16)))
    read = cv2.resize(np.array(found.values["device_map_px"], np.float32), (8, 6), interpolation=cv2.INTER_AREA)
    # An affine field is a pose's.
    v, u = np.indices(rows.shape).reshape(2, -1)
    basis = np.stack([np.ones(u.size), u, v], axis=1)
    bent = rows.ravel() - basis @ np.linalg.lstsq(basis, rows.ravel(), rcond=None)[0]
    assert np.corrcoef(bent, read.ravel())[0, 1] > 0.6
    none = told(with_values(true, {"device_map_px": None}), with_truth(scans(ActiveStereo(baseline_m=0.3), 8)))
    assert "nothing stands still" in none.skipped["device_map_px"]


def test_a_sensor_without_such_fields_is_told_nothing() -> None:
    of_rooms = with_truth(scans(GaussianDropout(), 4))
    assert told_by_silhouettes(GaussianDropout(), [], of_rooms.fitted, of_rooms) == Estimate({})


def test_how_far_near_surfaces_grow() -> None:
    true = ActiveStereo(baseline_m=0.3, blank_band=False, fattening_px=2.5, edge_jitter_px=1.5)
    of_rooms = with_truth(scans(true, 8))
    start = with_values(true, {"fattening_px": 0.0, "edge_jitter_px": 0.5})
    scenes = scenes_of(of_rooms.fitted, of_rooms.truth)
    found = told_by_silhouettes(start, scenes, of_rooms.fitted, of_rooms)
    assert found.values["fattening_px"] == pytest.approx(2.5, rel=0.1)
    assert found.values["edge_jitter_px"] == pytest.approx(1.5, rel=0.15)


def test_a_truth_whose_silhouettes_are_off_tells_the_mean_growth_and_no_jitter() -> None:
    true = ActiveStereo(baseline_m=0.3, blank_band=False, fattening_px=2.0, edge_jitter_px=0.5)
    of_rooms = with_truth(scans(true, 16))
    # By 6 px left or right, as poses that err anew in every frame.
    truth = {
        key: NoisyDepth(*(np.roll(each, 6 * (-1) ** number, axis=1) for each in known))
        for number, (key, known) in enumerate(of_rooms.truth.items())
    }
    off = replace(of_rooms, truth=truth)
    start = with_values(true, {"fattening_px": 0.0})
    found = told_by_silhouettes(start, scenes_of(off.fitted, off.truth), off.fitted, off)
    assert set(found.values) == {"fattening_px"}
    assert found.values["fattening_px"] == pytest.approx(2.0, rel=0.25)
    assert "truth itself are off" in found.skipped["edge_jitter_px"]


def test_no_more_growth_is_tried_than_a_sensor_takes() -> None:
    class Narrow(ActiveStereo):
        name = "narrow"
        fattening_px: float = Field(default=1.0, ge=0, le=1.5)
        edge_jitter_px: float = Field(default=1.0, ge=0, le=1.5)

    of_rooms = with_truth(scans(ActiveStereo(baseline_m=0.3, blank_band=False, fattening_px=3.0), 8))
    scenes = scenes_of(of_rooms.fitted, of_rooms.truth)
    found = told_by_silhouettes(Narrow(baseline_m=0.3, blank_band=False), scenes, of_rooms.fitted, of_rooms)
    assert found.values["fattening_px"] == 1.0


def test_too_few_silhouettes_say_nothing_of_growth_and_that_is_said() -> None:
    true = ActiveStereo(baseline_m=0.3, blank_band=False)
    of_rooms = with_truth(scans(true, 1))
    truth = {key: NoisyDepth(np.full_like(depth_m, 2.0), valid) for key, (depth_m, valid) in of_rooms.truth.items()}
    flat = replace(of_rooms, truth=truth)
    found = told_by_silhouettes(true, scenes_of(flat.fitted, flat.truth), flat.fitted, flat)
    assert found.values == {}
    assert "0 silhouettes" in found.skipped["fattening_px"]
