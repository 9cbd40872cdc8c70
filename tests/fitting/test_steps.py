"""Disparity steps and file units, from the depth values alone."""

from __future__ import annotations

import numpy as np
import pytest

from depthforge.fitting.steps import disparity_steps_m, file_step_m
from depthforge.frame import DepthImage
from depthforge.realism.views import DepthView
from depthforge.sensors.structured_light import StructuredLight
from tests.fitting.rooms import CAMERA, room, scan


def view(depth_m: DepthImage) -> DepthView:
    return DepthView(depth_m, depth_m > 0, CAMERA)


@pytest.mark.parametrize("unit_m", [0.0, 0.001])
@pytest.mark.parametrize("steps_m", [150.0, 345.0, 700.0])
def test_the_comb_in_one_over_z_is_found_whatever_the_file_rounded(steps_m: float, unit_m: float) -> None:
    sensor = StructuredLight(
        focal_length_px=150, baseline_m=steps_m / 8 / 150, raw_scale_m=steps_m, disparity_sigma_px=0.1
    )
    frame = scan(sensor, 1, unit_m=unit_m)
    found = disparity_steps_m([view(frame.depth_m)], unit_m)
    assert found == pytest.approx(steps_m, rel=2e-3)


def test_depth_without_steps_has_none() -> None:
    noisy = room(0) * (1 + 0.01 * np.random.default_rng(0).normal(size=CAMERA.size))
    assert disparity_steps_m([view(noisy.astype(np.float32))], 0.0) is None
    in_millimetres = (np.rint(noisy * 1000) / 1000).astype(np.float32)
    assert disparity_steps_m([view(in_millimetres)], 0.001) is None


@pytest.mark.parametrize("unit_m", [0.01, 1 / 256, 0.001, 2e-4, 1e-4])
def test_the_unit_of_the_file_is_the_coarsest_that_fits(unit_m: float) -> None:
    depth_m = (np.rint(room(0) / unit_m) * unit_m).astype(np.float32)
    assert file_step_m([view(depth_m)]) == unit_m


def test_float_depth_has_no_unit() -> None:
    assert file_step_m([view(room(0))]) == 0.0
