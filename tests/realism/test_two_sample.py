"""The test cannot tell a distribution from itself, and tells different ones."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import numpy.typing as npt
import pytest

from depthforge.realism.two_sample import NUM_FEATURES, patch_features, two_sample_test
from tests.realism.scenes import correlated, view, wall, white

Noise = Callable[[int], npt.NDArray[np.float64]]


def features(noise: Noise, seeds: range, hole_fraction: float = 0.0) -> list[npt.NDArray[np.float64]]:
    found = []
    for seed in seeds:
        valid = np.random.default_rng(seed).random((240, 320)) >= hole_fraction
        seen = view(wall() + noise(seed), valid)
        found.append(patch_features(seen.depth_m, seen.valid, 0, str(seed)))
    return found


def white_noise(seed: int) -> npt.NDArray[np.float64]:
    return white(seed, 0.01)


def correlated_noise(seed: int) -> npt.NDArray[np.float64]:
    return 0.01 * correlated(seed, 1.5)


def test_the_same_distribution_is_not_told_apart() -> None:
    result = two_sample_test(features(white_noise, range(30)), features(white_noise, range(30, 60)), seed=0)
    assert result.auc == pytest.approx(0.5, abs=0.07)
    assert result.mmd2 is not None
    assert result.mmd2_p95 is not None
    assert result.mmd2 < 2 * result.mmd2_p95
    assert result.p_value is not None
    assert result.p_value > 0.02


@pytest.mark.parametrize(
    "other",
    [
        lambda: features(correlated_noise, range(10, 20)),
        lambda: features(lambda seed: 1.6 * white_noise(seed), range(10, 20)),
        lambda: features(lambda seed: np.round(white_noise(seed) + wall(), 2) - wall(), range(10, 20)),
        lambda: features(white_noise, range(10, 20), hole_fraction=0.03),
    ],
    ids=["correlation", "amplitude", "quantisation", "holes"],
)
def test_another_noise_is_told_apart(other: Callable[[], list[npt.NDArray[np.float64]]]) -> None:
    result = two_sample_test(features(white_noise, range(10)), other(), seed=0)
    assert result.auc is not None
    assert result.auc > 0.97
    assert result.p_value == pytest.approx(1 / 501)


def test_false_alarms_of_the_permutation_test_are_as_rare_as_it_says() -> None:
    draw = np.random.default_rng(0)
    frames = [[draw.normal(size=(4, NUM_FEATURES)) for _ in range(8)] for _ in range(200)]
    p_values = [two_sample_test(a, b, seed=0).p_value for a, b in zip(frames[::2], frames[1::2], strict=True)]
    assert np.mean(np.array(p_values, float) <= 0.1) == pytest.approx(0.1, abs=0.09)


def test_patches_of_one_frame_never_train_and_test_together() -> None:
    """Frames that differ from each other, but not by set: a split by patch would learn them by heart."""
    draw = np.random.default_rng(1)
    frames = [draw.normal(size=NUM_FEATURES) + 0.01 * draw.normal(size=(16, NUM_FEATURES)) for _ in range(40)]
    result = two_sample_test(frames[:20], frames[20:], seed=0)
    assert result.auc == pytest.approx(0.5, abs=0.25)
    assert result.p_value is not None
    assert result.p_value > 0.02


def test_features_repeat_and_depend_on_the_seed() -> None:
    depth, valid = wall() + white_noise(0).astype(np.float32), np.ones((240, 320), bool)
    first = patch_features(depth, valid, 0, "a")
    assert first.shape == (16, NUM_FEATURES)
    assert np.array_equal(first, patch_features(depth, valid, 0, "a"))
    assert not np.array_equal(first, patch_features(depth, valid, 1, "a"))


def test_what_is_under_holes_is_not_read() -> None:
    depth, valid = wall(), white(5) > -0.5
    garbage = np.where(valid, depth, np.float32(np.nan))
    zeros = np.where(valid, depth, np.float32(0))
    assert np.array_equal(patch_features(garbage, valid, 0, "a"), patch_features(zeros, valid, 0, "a"))


def test_frames_without_patches_are_no_test() -> None:
    empty = patch_features(np.zeros((64, 64), np.float32), np.zeros((64, 64), bool), 0, "a")
    assert empty.shape == (0, NUM_FEATURES)
    result = two_sample_test([empty, empty], features(white_noise, range(3)), seed=0)
    assert (result.auc, result.mmd2, result.p_value) == (None, None, None)
