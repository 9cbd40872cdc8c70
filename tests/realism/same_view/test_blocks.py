"""Block errors of known size, and errors of the pose, which are none of the sensor's."""

from __future__ import annotations

import numpy as np
import pytest

from depthforge.realism.same_view.blocks import BLOCK, measure_blocks, summarise
from tests.realism.same_view.made import measured, truth
from tests.realism.scenes import CAMERA, wall, white


def block_field(seed: int, sigma: float) -> np.ndarray:
    """One number for each block, (240, 320)."""
    draw = np.random.default_rng(seed).normal(0, sigma, (CAMERA.height // BLOCK, CAMERA.width // BLOCK))
    return np.kron(draw, np.ones((BLOCK, BLOCK)))


def test_block_errors_of_known_sd_are_found_under_white_noise() -> None:
    depth_m = wall()
    frames = [
        measure_blocks(truth(depth_m), measured(depth_m * (1 + block_field(seed, 0.004) + white(seed, 0.005))))
        for seed in range(4)
    ]
    # The white noise leaves 0.5 % / 16 in a block.
    assert summarise(frames)["block_sd"] == pytest.approx(0.4, rel=0.1)


def test_a_bias_of_one_percent_is_told_with_its_sign() -> None:
    found = summarise([measure_blocks(truth(wall()), measured(wall() * 0.99))])
    assert found["block_bias"] == pytest.approx(-1, abs=1e-3)
    assert found["block_sd"] == pytest.approx(0, abs=1e-3)


def test_a_small_error_of_the_pose_leaves_nothing() -> None:
    """The wall seen by a camera that is 4 mm nearer, 3 mm aside and turned by 0.2 degrees about each axis."""
    angle = np.radians(0.2)
    x = (np.arange(CAMERA.width) - CAMERA.cx) / CAMERA.fx
    y = ((np.arange(CAMERA.height) - CAMERA.cy) / CAMERA.fy)[:, None]
    normal, distance = np.array([0.3, -0.2, -1.0]), 2.0
    turn = np.array([[1, -angle, angle], [angle, 1, -angle], [-angle, angle, 1]])
    moved = np.array([0.003, 0.0, 0.004])
    turned = turn.T @ normal
    depth_m = (normal[2] * distance - normal @ moved) / (turned[0] * x + turned[1] * y + turned[2])
    frame = measure_blocks(truth(wall()), measured(depth_m))
    assert np.abs(frame.error).max() > 0.002
    assert summarise([frame])["block_sd"] < 0.01


def test_the_spread_is_told_by_depth() -> None:
    depth_m = np.where(np.arange(CAMERA.width) < 160, 0.8, 1.2) * np.ones(CAMERA.size)
    sigma = np.where(np.arange(CAMERA.width) < 160, 0.002, 0.008)
    frames = [
        measure_blocks(truth(depth_m), measured(depth_m * (1 + sigma * block_field(seed, 1)))) for seed in range(4)
    ]
    found = summarise(frames)
    assert found["block_sd_at_0_71_m"] == pytest.approx(0.2, rel=0.15)
    assert found["block_sd_at_1_m"] == pytest.approx(0.8, rel=0.15)
    assert np.isnan(found["block_sd_at_2_m"])


def test_blocks_with_holes_and_outliers_are_left_out() -> None:
    depth_m = wall().astype(float)
    valid = np.ones(CAMERA.size, bool)
    valid[:, :160] = False
    depth_m[:BLOCK] *= 1.2
    found = measure_blocks(truth(wall()), measured(depth_m, valid))
    assert len(found.error) == 10 * 14
    assert np.abs(found.error).max() < 1e-6


def test_too_few_blocks_say_nothing() -> None:
    nothing = np.zeros(CAMERA.size, bool)
    assert summarise([measure_blocks(truth(wall()), measured(wall(), nothing))]) == {}
