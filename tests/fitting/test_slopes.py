"""White noise against slope: what a shift of the line of sight leaves, and what noise of the disparity does not."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pytest

from depthforge.fitting.slopes import SLOPE_EDGES, bins_of_slope, white_by_slope, white_by_slope_of_inverse
from depthforge.sensors.fields import correlated_normals

SHAPE = (48, 64)
WHOLE = np.ones(SHAPE, np.bool_)
DRAW = np.random.default_rng(0)


def wall(slope_per_m: float, noise_per_m: npt.NDArray[np.float32] | float = 0.0) -> npt.NDArray[np.float32]:
    """A wall whose 1/z changes by ``slope_per_m`` a row, with noise of 1/z."""
    inverse = 0.5 + slope_per_m * np.arange(SHAPE[0])[:, None] + 0.0 * np.arange(SHAPE[1]) + noise_per_m
    return (1.0 / inverse).astype(np.float32)


def measured(depth_m: npt.NDArray[np.float32], slope_per_m: float) -> float:
    """The white noise of ``depth_m`` in the one bin of a wall's slope."""
    sums = white_by_slope(depth_m, WHOLE, bins_of_slope(wall(slope_per_m), WHOLE))
    place = int(np.digitize(slope_per_m, SLOPE_EDGES)) - 1
    assert np.count_nonzero(sums[:, 0]) == 1
    return float(sums[place, 1] / sums[place, 0])


@pytest.mark.parametrize("slope_per_m", [0.0, 0.001, 0.01])
def test_white_noise_is_the_same_on_every_slope(slope_per_m: float) -> None:
    noise = 0.003 * DRAW.normal(size=SHAPE).astype(np.float32)
    assert measured(wall(slope_per_m, noise), slope_per_m) == pytest.approx(0.003, rel=0.06)


@pytest.mark.parametrize("slope_per_m", [0.001, 0.01])
def test_a_shift_shows_as_shift_times_slope(slope_per_m: float) -> None:
    shift_px = 0.4 * DRAW.normal(size=SHAPE).astype(np.float32)
    assert measured(wall(slope_per_m, slope_per_m * shift_px), slope_per_m) == pytest.approx(
        0.4 * slope_per_m, rel=0.06
    )


def test_noise_that_neighbours_share_hardly_shows() -> None:
    noise = 0.003 * correlated_normals((1, 2), SHAPE, 3.0)
    assert measured(wall(0.001, noise), 0.001) < 0.15 * 0.003


def test_a_step_is_no_noise_and_a_hole_is_no_measurement() -> None:
    depth_m = wall(0.001)
    depth_m[20:, 30:] += 1.0
    valid = WHOLE.copy()
    valid[5, 5] = False
    sums = white_by_slope(depth_m, valid, bins_of_slope(wall(0.001), WHOLE))
    assert sums[:, 0].sum() == 47 * 63 - 4 - 1  # the blocks around the hole, and the corner of the step
    assert sums[:, 1].sum() < 0.02  # the rounding of float32; the step is 0.5


def test_beside_silhouettes_nothing_counts() -> None:
    usable = WHOLE.copy()
    usable[:, :32] = False
    bins = bins_of_slope(wall(0.001), usable)
    assert (bins[:, :32] == -1).all()
    assert white_by_slope(wall(0.001), WHOLE, bins)[:, 0].sum() == 47 * 31


def test_deviations_of_a_burst_are_measured_in_the_same_unit() -> None:
    noise = 0.003 * DRAW.normal(size=SHAPE).astype(np.float32)
    bins = bins_of_slope(wall(0.001), WHOLE)
    total = white_by_slope_of_inverse(noise, WHOLE, bins).sum(axis=0)
    assert total[1] / total[0] == pytest.approx(0.003, rel=0.06)
