"""Grids of holes that registration leaves are told from the holes of sensors."""

from __future__ import annotations

import cv2
import numpy as np
import pytest

from depthforge.seeding import frame_words
from depthforge.sensors.preset import parse_sensor
from depthforge.sources.hole_grid import hole_grid
from depthforge.testing.translators import clean_frame


def warped(depth_m: np.ndarray, ratio: float) -> np.ndarray:
    """Return depth moved pixel by pixel into an image ``ratio`` times as wide and as high, as registration does."""
    height, width = depth_m.shape
    out = np.zeros((round(height * ratio), round(width * ratio)), np.float32)
    rows, columns = np.mgrid[:height, :width]
    # A parallax that depends on depth moves the grid, as between two cameras.
    x = np.clip(np.rint(columns * ratio + 3 / np.maximum(depth_m, 0.5)).astype(int), 0, out.shape[1] - 1)
    out[np.clip(np.rint(rows * ratio).astype(int), 0, out.shape[0] - 1), x] = depth_m
    return out


@pytest.mark.parametrize("ratio", [1.07, 1.15, 1.2])
def test_a_grid_is_named_with_its_period(ratio: float) -> None:
    masks = [warped(clean_frame(240, 320).depth_m, ratio) > 0]
    found = hole_grid(masks)
    assert found is not None
    assert found.period_px == pytest.approx(ratio / (ratio - 1), abs=1.1)
    assert found.share > 0.6


@pytest.mark.parametrize("preset", ["kinect_v1", "kinect_v1_published", "d435_drawn", "femto_bolt"])
def test_the_holes_of_sensors_are_no_grid(preset: str) -> None:
    sensor = parse_sensor(preset)
    frame = clean_frame(240, 320)
    assert hole_grid([sensor.measure(frame, frame_words(seed, frame.key)).valid for seed in range(3)]) is None


def test_neither_are_single_pixels_at_random_nor_large_holes_nor_none() -> None:
    random = np.random.default_rng(0)
    assert hole_grid([random.random((240, 320)) > 0.05]) is None
    blobs = cv2.GaussianBlur(random.standard_normal((240, 320)), (0, 0), 4) > -0.02
    assert hole_grid([blobs]) is None
    assert hole_grid([np.ones((240, 320), np.bool_), np.zeros((240, 320), np.bool_)]) is None
    assert hole_grid([]) is None
