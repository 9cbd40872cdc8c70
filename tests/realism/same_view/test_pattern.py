"""A pattern of known size that stands still, and one that does not."""

from __future__ import annotations

import cv2
import numpy as np
import pytest

from depthforge.realism.same_view.pattern import inverse_error, low_frequency_error, mean_map, summarise
from depthforge.realism.same_view.truth import inverse_depth
from tests.realism.same_view.made import DISPARITY_M_PX, measured, truth
from tests.realism.scenes import CAMERA, wall, white

V, U = np.mgrid[-1 : 1 : CAMERA.height * 1j, -1 : 1 : CAMERA.width * 1j]


def waves(amplitude_px: float, phase: float = 0.0) -> np.ndarray:
    """A pattern (240, 320) without a slope over the image."""
    return amplitude_px * np.cos(3 * np.pi * U + phase) * np.cos(2 * np.pi * V)


def map_px(index: int, error_px: np.ndarray) -> np.ndarray:
    """The map of a slanted wall, another for each ``index``, whose disparity is off by ``error_px`` and white noise."""
    depth_m = wall((0.1 * index - 0.3, 0.2, -1.0), 1.0 + 0.1 * index)
    disparity = DISPARITY_M_PX / depth_m + error_px + white(index, 0.1)
    error = inverse_error(truth(depth_m), inverse_depth(measured(DISPARITY_M_PX / disparity)))
    return low_frequency_error(error) * np.float32(DISPARITY_M_PX)


def test_a_pattern_of_known_sd_is_found_behind_noise_and_errors_of_the_pose() -> None:
    maps = [map_px(index, waves(0.2) + 0.3 * index - 0.2 * index * U + 0.4 * V) for index in range(8)]
    found = summarise(maps)
    expected = cv2.blur(waves(0.2), (31, 31)).std()
    assert found["pattern_shared_sd"] == pytest.approx(expected, rel=0.05)
    assert found["pattern_sd"] == pytest.approx(expected, rel=0.05)
    assert found["low_frequency_sd"] == pytest.approx(expected, rel=0.05)
    assert found["pattern_correlation"] > 0.98
    shown = mean_map(maps)
    assert np.corrcoef(shown.ravel(), cv2.blur(waves(0.2), (31, 31))[4::8, 4::8].ravel())[0, 1] > 0.98


def test_an_error_that_moves_is_no_pattern() -> None:
    phases = np.linspace(0, 2 * np.pi, 4, endpoint=False)
    found = summarise([map_px(index, waves(0.2, phases[index % 4])) for index in range(8)])
    assert found["low_frequency_sd"] > 0.06
    assert found["pattern_sd"] < 0.01
    assert found["pattern_shared_sd"] < 0.01


def test_white_noise_alone_has_no_pattern() -> None:
    found = summarise([map_px(index, np.zeros(CAMERA.size)) for index in range(8)])
    assert found["pattern_shared_sd"] < 0.005
    assert abs(found["pattern_correlation"]) < 0.4


def test_silhouettes_holes_and_gross_errors_are_not_known() -> None:
    depth_m = np.full(CAMERA.size, 2.0)
    depth_m[:, 160:] = 1.0
    valid = np.ones(CAMERA.size, bool)
    valid[:50] = False
    off = depth_m.copy()
    off[200:] *= 1.5
    error = inverse_error(truth(depth_m), inverse_depth(measured(off, valid)))
    assert np.isnan(error[:50]).all()
    assert np.isnan(error[200:]).all()
    assert np.isnan(error[60:190, 157:163]).all()
    assert not np.isnan(error[60:190, :150]).any()


def test_few_frames_and_no_frame_say_nothing() -> None:
    assert summarise([]) == {}
    assert summarise([map_px(0, waves(0.2))] * 5) == {}
