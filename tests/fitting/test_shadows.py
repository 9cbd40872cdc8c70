"""Shadows of a known width come back as the share of a window that has to be lit, on the projector's side."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from depthforge.fitting.candidates import scenes_of, with_values
from depthforge.fitting.estimators import Estimate
from depthforge.fitting.scans import Scans
from depthforge.fitting.shadows import told_by_shadows
from depthforge.frame import NoisyDepth
from depthforge.sensors.base import Sensor
from depthforge.sensors.gaussian_dropout import GaussianDropout
from depthforge.sensors.structured_light import StructuredLight
from tests.fitting.rooms import CAMERA, scans, with_truth

TRUE = StructuredLight(
    focal_length_px=CAMERA.fx, baseline_m=0.15, raw_scale_m=180.0, interpolate_px=1.0, match_threshold_px=1.0,
    mass_fraction=0.5, fray_radius_px=1.5, shift_sigma_px=0.0, projector_side="right",
)  # fmt: skip


def told(sensor: Sensor, of_rooms: Scans) -> Estimate:
    return told_by_shadows(sensor, scenes_of(of_rooms.fitted, of_rooms.truth), of_rooms.fitted, of_rooms)


@pytest.mark.parametrize("side", ["left", "right"])
@pytest.mark.parametrize("share", [0.42, 0.57])
def test_what_has_to_be_lit_comes_back(side: str, share: float) -> None:
    true = with_values(TRUE, {"lit_share": share, "projector_side": side, "patch_share": 0.02, "patch_size_px": 12.0})
    start = with_values(true, {"lit_share": 1.0, "projector_side": "none"})
    assert told(start, with_truth(scans(true, 24))).values["lit_share"] == pytest.approx(share, rel=0.1)


def test_no_side_of_a_shadow_is_no_share() -> None:
    found = told(TRUE, with_truth(scans(with_values(TRUE, {"projector_side": "none"}), 24)))
    assert found.values == {}
    assert "no side shows" in found.skipped["lit_share"]


def test_too_few_silhouettes_say_nothing() -> None:
    of_rooms = with_truth(scans(TRUE, 2))
    flat = {key: NoisyDepth(np.full_like(depth_m, 2.0), valid) for key, (depth_m, valid) in of_rooms.truth.items()}
    assert "fewer than 60 silhouettes" in told(TRUE, replace(of_rooms, truth=flat)).skipped["lit_share"]


def test_a_sensor_without_a_projector_is_told_nothing() -> None:
    assert told_by_shadows(GaussianDropout(), [], [], scans(GaussianDropout(), 2)) == Estimate({})
