"""The settled gain: the mean that is read out is what was aimed at, saturation included."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from depthforge.sensors.exposure import settled_gain


@settings(max_examples=50, deadline=None)
@given(st.integers(0, 2**32 - 1), st.floats(0.05, 0.95), st.floats(0.1, 4.0))
def test_the_mean_read_out_is_the_target_however_light_is_spread(seed: int, target: float, spread: float) -> None:
    light = np.exp(spread * np.random.default_rng(seed).normal(size=(41, 58))).astype(np.float32)
    gain = settled_gain(light, target, 0.0, 1e12)
    assert np.minimum(light[::4, ::4] * gain, 1).mean() == pytest.approx(target, rel=1e-6)


def test_a_highlight_does_not_darken_the_room() -> None:
    room = np.full((80, 80), 0.5, np.float32)
    plain = settled_gain(room, 0.35, 0.01, 100)
    room[:8, :8] = 1000.0  # a hundredth of the image
    assert plain == pytest.approx(0.7)
    assert settled_gain(room, 0.35, 0.01, 100) == pytest.approx((0.35 - 0.01) / (0.99 * 0.5))


def test_gain_is_bounded_and_the_dark_has_the_longest_exposure() -> None:
    grey = np.full((8, 8), 0.1, np.float32)
    assert settled_gain(grey, 0.35, 0.05, 2.0) == 2.0
    assert settled_gain(100 * grey, 0.35, 0.05, 2.0) == 0.05
    assert settled_gain(0 * grey, 0.35, 0.05, 2.0) == 2.0
    assert settled_gain(grey, 1.0, 0.05, 20.0) == pytest.approx(10.0)
