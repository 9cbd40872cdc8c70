"""Structured light, rendered and matched: planes, steps, shadows on one side, edges, and what is lost."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from pydantic import ValidationError

from depthforge.frame import Camera, Frame, NoisyDepth
from depthforge.sensors.base import Sensor
from depthforge.sensors.matched_structured_light import MatchedStructuredLight
from depthforge.sensors.preset import parse_sensor
from depthforge.testing.sensors import SensorTests

CAMERA = Camera(fx=400.0, fy=400.0, cx=79.5, cy=59.5, width=160, height=120)
# Depth times disparity is 40 m px.
INSIDE = np.s_[10:-10, 30:-10]


def measured(depth_m: np.ndarray, rgb: np.ndarray | None = None, **fields: Any) -> NoisyDepth:
    depth_m = depth_m.astype(np.float32)
    sensor = MatchedStructuredLight(**{"baseline_m": 0.1, **fields})
    return sensor.measure(Frame("test/scene/0", depth_m, depth_m > 0, CAMERA, rgb), (1, 2))


def wall(z_m: float = 2.0) -> np.ndarray:
    return np.full(CAMERA.size, z_m)


def box(jump_px: float) -> np.ndarray:
    """A near box on a wall of 20 px of disparity, columns 80 to 119 and rows 30 to 89."""
    depth_m = wall()
    depth_m[30:90, 80:120] = 40.0 / (20.0 + jump_px)
    return depth_m


class TestMatchedStructuredLight(SensorTests):
    sizes = ((48, 64), (37, 53), (60, 80))

    @pytest.fixture
    def sensor(self) -> Sensor:
        return parse_sensor("kinect_v1_matched")


@pytest.mark.parametrize("z_m", [0.8, 1.7, 3.1])
def test_a_wall_is_measured_where_it_is_in_whole_steps(z_m: float) -> None:
    depth_m, valid = measured(wall(z_m))
    assert valid[INSIDE].mean() > 0.99
    steps = 8 * 40.0 / depth_m[INSIDE][valid[INSIDE]]
    assert np.abs(steps - np.rint(steps)).max() < 1e-3
    assert np.median(steps) == pytest.approx(8 * 40.0 / z_m, abs=0.51)
    assert 0.1 < steps.std() < 2.0


def test_noise_of_the_raw_value_is_white_and_as_large_as_said() -> None:
    exact = 40.0 / 20.0
    plain, noisy = (
        8 * 40.0 / measured(wall(exact), shot_noise=0, read_noise=0, noise_sigma_steps=sigma).depth_m[INSIDE]
        for sigma in (0.0, 2.0)
    )
    added = noisy - plain
    assert added.std() == pytest.approx(np.sqrt(2.0**2 + 1 / 12), rel=0.05)
    assert abs(np.corrcoef(added[:, 1:].ravel(), added[:, :-1].ravel())[0, 1]) < 0.05


LEFT_OF_BOX, RIGHT_OF_BOX = np.s_[60:80], np.s_[120:140]


@pytest.mark.parametrize(
    ("side", "shadow", "other"), [("right", LEFT_OF_BOX, RIGHT_OF_BOX), ("left", RIGHT_OF_BOX, LEFT_OF_BOX)]
)
def test_the_shadow_lies_away_from_the_projector_and_is_narrower_than_the_jump(
    side: str, shadow: slice, other: slice
) -> None:
    holes = ~measured(box(14), projector_side=side).valid[45:75]
    assert 6 < holes[:, shadow].sum(axis=1).mean() < 14
    assert holes[:, other].sum(axis=1).mean() < 1.5


def test_a_narrow_shadow_has_no_hole() -> None:
    assert (~measured(box(4)).valid[45:75, 60:100]).sum(axis=1).mean() < 0.5


def test_more_correlation_asked_for_makes_wider_shadows() -> None:
    holes = [~measured(box(14), least_correlation=least).valid[45:75, LEFT_OF_BOX] for least in (0.4, 0.7)]
    narrow, wide = (each.sum(axis=1).mean() for each in holes)
    assert wide > narrow + 1.5


def test_dark_surfaces_are_lost() -> None:
    rgb = np.full((*CAMERA.size, 3), 255, np.uint8)
    rgb[:, 80:] = 20
    light = {"darkest_albedo": 0.02, "shot_noise": 0.05, "read_noise": 0.04}
    depth_m, valid = measured(wall(), rgb, **light)
    bright, black = np.s_[20:-20, 30:70], np.s_[20:-20, 90:140]
    assert valid[bright].mean() > 0.99
    assert valid[black].mean() < 0.7
    assert np.abs(depth_m[bright] - 2.0).mean() < 0.02


def test_range_and_blank_columns() -> None:
    ramp = np.repeat(np.linspace(0.6, 4.0, CAMERA.height)[:, None], CAMERA.width, axis=1)
    depth_m, valid = measured(ramp, min_depth_m=1.0, max_depth_m=3.0, blind_left_px=3, blind_right_px=8)
    assert depth_m[valid].min() >= 1.0
    assert depth_m[valid].max() <= 3.0
    assert not valid[:, :3].any()
    assert not valid[:, -8:].any()
    assert valid[60, 40:140].all()


def test_a_window_has_a_centre() -> None:
    with pytest.raises(ValidationError, match="its side is odd"):
        MatchedStructuredLight(window_px=8)
