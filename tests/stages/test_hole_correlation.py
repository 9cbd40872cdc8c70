"""How holes are correlated: what a copula of known lengths drew is found again, and nothing is made of too little."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from scipy.stats import multivariate_normal

from depthforge.frame import Frame
from depthforge.seeding import frame_words
from depthforge.stages.hole_correlation import Chances, copula_correlation, measured_correlation
from depthforge.testing.translators import clean_frame
from depthforge.translators.hole_fields import AT_M, Correlation, hole_field
from depthforge.translators.hole_sampling import fixed_point, sampled_holes

SIZE = (480, 640)
DEFAULT = Correlation(5.0, 0.25, 0.7, 0.7)


def scene(count: int, posed: bool = True, name: str = "b") -> list[Frame]:
    """A wall, from where a camera that moves sideways sees it."""
    frames = []
    depth_m = np.full(SIZE, 2.0, np.float32)
    for number in range(count):
        pose = np.eye(4)
        pose[0, 3] = 0.02 * number
        frames.append(
            replace(
                clean_frame(*SIZE),
                key=f"a/{name}/{number:03}",
                depth_m=depth_m,
                valid=depth_m > 0,
                T_world_cam=pose if posed else None,
            )
        )
    return frames


def chances(frames: list[Frame], made: Correlation, probability: np.ndarray | None = None) -> list[Chances]:
    columns = np.linspace(0.02, 0.3, SIZE[1], dtype=np.float32)
    known = np.broadcast_to(columns, SIZE) if probability is None else probability
    found = []
    for frame in frames:
        hole = sampled_holes(fixed_point(known), hole_field(frame, frame_words(0, frame.key), made).whole)
        found.append(Chances(np.ascontiguousarray(known), hole, np.ones(SIZE, np.bool_)))
    return found


@pytest.mark.parametrize("correlation", [-0.4, 0.0, 0.3, 0.7, 0.95])
def test_the_correlation_of_pairs_with_known_chances(correlation: float) -> None:
    """The table holds pairs of two kinds; how many are holes together is counted by another library's integral."""
    middles = (np.arange(48) + 0.5) * (8.4 / 48) - 4.2
    table = np.zeros((48, 48))
    table[17, 20], table[24, 20] = 300_000, 500_000
    covariance = [[1, correlation], [correlation, 1]]
    expected = sum(
        table[i, j] * multivariate_normal([0, 0], covariance).cdf([middles[i], middles[j]])
        for i, j in ((17, 20), (24, 20))
    )
    assert copula_correlation(table, round(expected)) == pytest.approx(correlation, abs=2e-3)


@pytest.mark.parametrize(
    "made", [Correlation(4.0, 0.12, 0.7, 0.9), Correlation(6.0, 0.1, 0.5, 0.25), Correlation(3.0, 0.1, 1.0, 0.6)]
)
def test_what_was_drawn_is_found_again(made: Correlation) -> None:
    # One wall has few patches of a long field: what is drawn on it may be far from the mean.
    frames = [frame for wall in range(10) for frame in scene(2, name=str(wall))]
    found = measured_correlation(frames, chances(frames, made), DEFAULT)
    assert found.persistence == pytest.approx(made.persistence, abs=0.08)
    # Two Gaussians may share what is measured in several ways: the curve is what counts.
    focal_px = frames[0].camera.fx
    lags = np.array([1, 2, 4, 8, 16, 32, 64])

    def curve(of: Correlation) -> np.ndarray:
        long_px = of.long_m * focal_px / AT_M
        return of.long_share * np.exp(-((lags / long_px) ** 2)) + (1 - of.long_share) * np.exp(
            -((lags / of.short_px) ** 2)
        )

    np.testing.assert_allclose(curve(found), curve(made), atol=0.12)


def test_what_cannot_be_told_is_the_defaults() -> None:
    posed, unposed = scene(4), scene(4, posed=False)
    none = [Chances(np.full(SIZE, 0.1, np.float32), np.zeros(SIZE, np.bool_), np.ones(SIZE, np.bool_)) for _ in posed]
    assert measured_correlation(posed, none, DEFAULT) == DEFAULT
    made = Correlation(3.0, 0.1, 0.5, 0.2)
    size_alone = measured_correlation(unposed, chances(unposed, made), DEFAULT)
    assert size_alone.persistence == DEFAULT.persistence
    assert size_alone.short_px != DEFAULT.short_px
    # Two scenes are two worlds: their frames say nothing of what stays.
    apart = [replace(frame, key=f"a/{number}/0") for number, frame in enumerate(posed)]
    assert measured_correlation(apart, chances(apart, made), DEFAULT).persistence == DEFAULT.persistence


def test_pixels_that_do_not_count_have_no_say() -> None:
    frames = scene(8)
    made = Correlation(4.0, 0.2, 0.6, 0.5)
    spoilt = []
    for each in chances(frames, made):
        counts = each.counts.copy()
        counts[:, :200] = False
        hole = each.hole.copy()
        hole[:, :200] = True
        spoilt.append(each._replace(counts=counts, hole=hole))
    found = measured_correlation(frames, spoilt, DEFAULT)
    assert found.persistence == pytest.approx(0.5, abs=0.1)
    assert found.short_px < 10
