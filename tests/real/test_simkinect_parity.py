"""The published profile against stored runs of the published code, stage by stage and as a whole."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest

from depthforge.sensors import structured_light as sl
from depthforge.sensors.dot_grid import DotGrid
from tests.real.parity import (
    INVALID_DISPARITY,
    PUBLISHED,
    SIMKINECT_RUNS,
    Run,
    draws_of,
    simkinect_grid,
    simkinect_measured,
    simkinect_run,
)


@pytest.fixture(params=SIMKINECT_RUNS)
def run(golden: Path, request: pytest.FixtureRequest) -> Run:
    return simkinect_run(golden, request.param)


@pytest.fixture
def grid(golden: Path) -> DotGrid:
    return simkinect_grid(golden)


def steps_of(disparity_px: npt.NDArray[np.float64]) -> npt.NDArray[np.int32]:
    return np.where(disparity_px < INVALID_DISPARITY, np.rint(disparity_px * 8), 0).astype(np.int32)


def test_resampled_depth(run: Run) -> None:
    found = sl.resample(run["input_depth_m"], draws_of(run)[:2], PUBLISHED)
    np.testing.assert_array_equal(found > 0, run["depth_shifted"] > 0)
    np.testing.assert_allclose(found, run["depth_shifted"], rtol=1e-12)


def test_quantised_disparity(run: Run) -> None:
    np.testing.assert_array_equal(sl.quantise(run["depth_shifted"], PUBLISHED), steps_of(run["disp_quantised"]))


def test_accepted_dots_and_fill_are_bit_identical(run: Run, grid: DotGrid) -> None:
    dots = sl.match_dots(steps_of(run["disp_quantised"]), grid, PUBLISHED)
    steps = sl.fill_from_dots(dots, grid, PUBLISHED)
    np.testing.assert_array_equal(np.where(steps > 0, steps / 8, INVALID_DISPARITY), run["out_disp"])
    # An accepted dot writes its own pixel, and holes are what no accepted dot reaches.
    np.testing.assert_array_equal(steps[dots > 0], dots[dots > 0])


def test_noisy_depth(run: Run) -> None:
    found = sl.jitter(steps_of(run["out_disp"]), run["final_normal"], PUBLISHED)
    np.testing.assert_array_equal(found, run["noisy_depth_m"])
    np.testing.assert_array_equal((found * 5000).astype(np.uint16), run["noisy_depth_u16"])


def test_whole_run(run: Run, grid: DotGrid) -> None:
    np.testing.assert_array_equal(simkinect_measured(run, grid, np.float64), run["noisy_depth_m"])


def test_whole_run_in_single_precision(run: Run, grid: DotGrid) -> None:
    found = simkinect_measured(run, grid, np.float32)
    expected = run["noisy_depth_m"]
    assert ((found > 0) != (expected > 0)).mean() < 1e-4
    one_step_m = expected**2 / (8 * PUBLISHED.depth_disparity_m_px)
    assert (np.abs(found - expected) <= one_step_m + 1e-6).mean() >= 0.9999


def test_blind_margin_is_the_published_one_and_ours_has_none(run: Run, grid: DotGrid) -> None:
    blind = simkinect_measured(run, grid, np.float64) == 0
    assert blind[0].all()
    assert blind[-2:].all()
    assert blind[:, 0].all()
    assert blind[:, -9:].all()
    depth_m = run["input_depth_m"].astype(np.float32)
    seen = sl.simulate(depth_m, depth_m > 0, (1, 2), sl.StructuredLight())[1]
    border = [(depth_m[edge] > 0, seen[edge]) for edge in (np.s_[0], np.s_[-1], np.s_[:, 0], np.s_[:, -1])]
    assert all(measured[valid].mean() > 0.9 for valid, measured in border)
