"""The published profile against stored runs of the published code, stage by stage and as a whole."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest

from depthforge.sensors import structured_light as sl
from depthforge.sensors._dot_grid import DotGrid

PUBLISHED = sl.StructuredLight(published=True)
INVALID = 99999999.9
RUNS = ["frame_181_seed1181", "holes_block_seed7", "holes_speckle_seed7"]

Run = dict[str, npt.NDArray[np.float64]]


@pytest.fixture(params=RUNS)
def run(golden: Path, request: pytest.FixtureRequest) -> Run:
    with np.load(golden / "simkinect" / f"{request.param}.npz") as stored:
        return {name: stored[name] for name in stored.files}


@pytest.fixture
def grid(golden: Path) -> DotGrid:
    pattern = np.load(golden / "simkinect" / "pattern.npz")["dot_pattern"]
    return DotGrid.from_pattern(pattern, (480, 640), window=9, radius=3, mass_fraction=1 / 1.2, skip_last=True)


def draws_of(run: Run) -> npt.NDArray[np.float64]:
    """The (3, H, W) draws behind the stored shifts (sigma 0.5 px) and the stored normals."""
    return np.stack([*np.moveaxis(run["shifts"] / PUBLISHED.shift_sigma_px, -1, 0), run["final_normal"]])


def steps_of(disparity_px: npt.NDArray[np.float64]) -> npt.NDArray[np.int32]:
    return np.where(disparity_px < INVALID, np.rint(disparity_px * 8), 0).astype(np.int32)


def test_resampled_depth(run: Run) -> None:
    found = sl.resample(run["input_depth_m"], draws_of(run)[:2], PUBLISHED)
    np.testing.assert_array_equal(found > 0, run["depth_shifted"] > 0)
    np.testing.assert_allclose(found, run["depth_shifted"], rtol=1e-12)


def test_quantised_disparity(run: Run) -> None:
    np.testing.assert_array_equal(sl.quantise(run["depth_shifted"], PUBLISHED), steps_of(run["disp_quantised"]))


def test_accepted_dots_and_fill_are_bit_identical(run: Run, grid: DotGrid) -> None:
    dots = sl.match_dots(steps_of(run["disp_quantised"]), grid, PUBLISHED)
    steps = sl.fill_from_dots(dots, grid, PUBLISHED)
    np.testing.assert_array_equal(np.where(steps > 0, steps / 8, INVALID), run["out_disp"])
    # An accepted dot writes its own pixel, and holes are what no accepted dot reaches.
    np.testing.assert_array_equal(steps[dots > 0], dots[dots > 0])


def test_noisy_depth(run: Run) -> None:
    found = sl.jitter(steps_of(run["out_disp"]), run["final_normal"], PUBLISHED)
    np.testing.assert_array_equal(found, run["noisy_depth_m"])
    np.testing.assert_array_equal((found * 5000).astype(np.uint16), run["noisy_depth_u16"])


def test_whole_run(run: Run, grid: DotGrid) -> None:
    np.testing.assert_array_equal(
        sl.measure(run["input_depth_m"], draws_of(run), PUBLISHED, grid), run["noisy_depth_m"]
    )


def test_whole_run_in_single_precision(run: Run, grid: DotGrid) -> None:
    found = sl.measure(run["input_depth_m"].astype(np.float32), draws_of(run).astype(np.float32), PUBLISHED, grid)
    expected = run["noisy_depth_m"]
    assert ((found > 0) != (expected > 0)).mean() < 1e-4
    one_step_m = expected**2 / (8 * PUBLISHED.depth_disparity_m_px)
    assert (np.abs(found - expected) <= one_step_m + 1e-6).mean() >= 0.9999


def test_blind_margin_is_the_published_one_and_ours_has_none(run: Run, grid: DotGrid) -> None:
    blind = sl.measure(run["input_depth_m"], draws_of(run), PUBLISHED, grid) == 0
    assert blind[0].all()
    assert blind[-2:].all()
    assert blind[:, 0].all()
    assert blind[:, -9:].all()
    depth_m = run["input_depth_m"].astype(np.float32)
    seen = sl.simulate(depth_m, depth_m > 0, (1, 2), sl.StructuredLight())[1]
    border = [(depth_m[edge] > 0, seen[edge]) for edge in (np.s_[0], np.s_[-1], np.s_[:, 0], np.s_[:, -1])]
    assert all(measured[valid].mean() > 0.9 for valid, measured in border)
