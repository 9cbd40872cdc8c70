from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from depthforge.corpus.depth_statistics import depth_statistics
from depthforge.encoding import DepthEncoding

STEPS = hnp.arrays(np.uint16, (4, 6), elements=st.sampled_from([0, 1, 2, 900, 1000, 65535]))


@given(STEPS, STEPS)
def test_figures_are_those_of_numpy(clean: np.ndarray, noisy: np.ndarray) -> None:
    found = depth_statistics(clean, noisy, DepthEncoding())
    as_metres = [np.where(steps > 0, steps / 1000, np.nan) for steps in (clean, noisy)]
    assert found.hole_fraction_clean == pytest.approx(np.isnan(as_metres[0]).mean())
    assert found.hole_fraction_noisy == pytest.approx(np.isnan(as_metres[1]).mean())
    measured = np.sort(as_metres[0][~np.isnan(as_metres[0])])
    if measured.size:
        assert found.depth_min_m == pytest.approx(measured[0])
        assert found.depth_max_m == pytest.approx(measured[-1])
        assert found.depth_median_m == pytest.approx(measured[(measured.size - 1) // 2])
    else:
        assert found.depth_min_m is found.depth_median_m is found.depth_max_m is None
    noise = (as_metres[1] - as_metres[0])[~np.isnan(as_metres[0] + as_metres[1])]
    if noise.size:
        assert found.noise_mean_abs_m == pytest.approx(np.abs(noise).mean())
        assert found.noise_rmse_m == pytest.approx(np.sqrt((noise**2).mean()))
        assert found.noise_bias_m == pytest.approx(noise.mean(), abs=1e-12)
    else:
        assert found.noise_mean_abs_m is found.noise_rmse_m is found.noise_bias_m is None


@given(STEPS, STEPS)
def test_float32_gives_the_same_figures_as_steps(clean: np.ndarray, noisy: np.ndarray) -> None:
    as_float = [np.where(steps > 0, steps / 1000, np.nan).astype(np.float32) for steps in (clean, noisy)]
    found = depth_statistics(*as_float, DepthEncoding(dtype="float32"))
    expected = depth_statistics(clean, noisy, DepthEncoding())
    for a, b in zip(found, expected, strict=True):
        assert (a is None) == (b is None)
        assert a is None or a == pytest.approx(b, rel=1e-5, abs=1e-6)
