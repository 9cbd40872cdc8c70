"""Limits of a sensor: learnt where pixels that should have been measured were not, and nowhere else."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from depthforge.fitting.limits import blank_columns, far_limit, near_limit
from depthforge.fitting.recipes import RECIPES
from depthforge.fitting.scans import Scans, cuts_of
from depthforge.frame import DepthImage, Frame, NoisyDepth
from depthforge.sensors.active_stereo import ActiveStereo
from depthforge.sensors.gaussian_dropout import GaussianDropout
from depthforge.sources.rgbd_config import RgbdFolderConfig
from tests.fitting.rooms import CAMERA, scans, with_truth

QUIET = GaussianDropout(sigma_constant_m=0.003)
NEAR = GaussianDropout(sigma_constant_m=0.003, min_depth_m=2.0)
FAR = GaussianDropout(sigma_constant_m=0.003, max_depth_m=2.5)


def test_the_nearest_thing_in_a_room_is_no_limit() -> None:
    """Every frame's nearest depth is the same box: only the truth of a view could say that more was there."""
    found = near_limit(scans(NEAR, 6))
    assert isinstance(found, str)
    assert "truth" in found


def test_the_near_limit_is_where_the_truth_is_nearer_and_nothing_is_measured() -> None:
    assert near_limit(with_truth(scans(NEAR, 6))) == pytest.approx(2.0, rel=0.01)
    found = near_limit(with_truth(scans(QUIET, 6)))
    assert isinstance(found, str)
    assert "nothing in view is a little nearer" in found


def test_the_far_limit_with_truth() -> None:
    assert far_limit(with_truth(scans(FAR, 6))) == pytest.approx(2.5, rel=0.01)
    found = far_limit(with_truth(scans(QUIET, 6)))
    assert isinstance(found, str)
    assert "nothing in view is a little farther" in found


def test_a_wall_of_measurements_that_is_cut_is_a_limit_without_truth() -> None:
    assert far_limit(scans(FAR, 8)) == pytest.approx(2.5, rel=0.01)


@pytest.mark.parametrize("holes", [0.0, 0.2])
def test_the_last_wall_of_a_room_is_no_limit(holes: float) -> None:
    """All frames end at one wall, of noise and with holes in it: its measurements thin out towards the end."""
    draw = np.random.default_rng(0)

    def wall(number: int) -> Frame:
        depth_m: DepthImage = (3.0 + 0.01 * draw.normal(size=CAMERA.size)).astype(np.float32)
        valid = draw.random(CAMERA.size) >= holes
        return Frame(f"test/walls/{number:04d}", depth_m * valid, valid, CAMERA)

    frames = tuple(wall(number) for number in range(8))
    found = far_limit(Scans(frames, frames, 0.0, "test", "none", False))
    assert isinstance(found, str)
    assert "a room that ends there does the same" in found


@pytest.mark.parametrize("has_truth", [False, True])
def test_the_cut_of_the_manifest_is_none_of_the_sensor(has_truth: bool) -> None:
    of_rooms = with_truth(scans(FAR, 8)) if has_truth else scans(FAR, 8)
    found = far_limit(replace(of_rooms, cuts_m=(2.5,)))
    assert found == "the manifest of the scans itself cuts at 2.5 m"


def test_a_manifest_cuts_by_limits_and_by_codes() -> None:
    block: dict[str, Any] = {
        "root": "scans",
        "depth": "{frame}.png",
        "depth_scale": 1000,
        "invalid": [0, 4000],
        "max_depth_m": 10,
        "camera": {"width": 160, "height": 120, "fx": 150, "fy": 150, "cx": 79.5, "cy": 59.5},
    }
    assert cuts_of(RgbdFolderConfig.model_validate(block)) == (4.0, 10.0)


def test_columns_that_never_measure_are_blank_where_something_is_there() -> None:
    of_rooms = scans(QUIET, 4)
    blank = tuple(replace(frame, valid=frame.valid & (np.arange(160) >= 5)) for frame in of_rooms.fitted)
    assert blank_columns(replace(of_rooms, fitted=blank)) == (5, 0)
    known = with_truth(replace(of_rooms, fitted=blank))
    assert blank_columns(known) == (5, 0)
    nothing = {key: NoisyDepth(depth_m, valid & (np.arange(160) >= 5)) for key, (depth_m, valid) in known.truth.items()}
    found = blank_columns(replace(known, truth=nothing))
    assert isinstance(found, str)
    assert "not known" in found


@pytest.mark.parametrize("blank", [True, False])
@pytest.mark.parametrize("side", ["left", "right"])
def test_a_blank_band_is_seen_or_not(blank: bool, side: str) -> None:
    true = ActiveStereo(baseline_m=0.3, blank_band=blank, second_imager=side)
    found = RECIPES["active_stereo"].read_off(scans(true, 4), ActiveStereo(baseline_m=0.3, blank_band=not blank))
    assert found.values["blank_band"] is blank


def test_a_band_too_narrow_to_be_told_from_none() -> None:
    found = RECIPES["active_stereo"].read_off(scans(QUIET, 4), ActiveStereo(baseline_m=0.01))
    assert "too little to tell" in found.skipped["blank_band"]


def test_the_end_of_the_search_is_the_near_limit() -> None:
    true = ActiveStereo(baseline_m=0.3, blank_band=False, max_disparity_px=40.0)
    found = RECIPES["active_stereo"].read_off(with_truth(scans(true, 6)), ActiveStereo(baseline_m=0.3))
    assert found.values["max_disparity_px"] == pytest.approx(40.0, rel=0.02)
