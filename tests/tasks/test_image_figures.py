"""Figures of images against values worked out by hand or from their definition."""

from __future__ import annotations

import math

import numpy as np
import pytest

from depthforge.tasks.histograms import histogram, quantile
from depthforge.tasks.image_figures import away_from_edges, implied_normals, local_rmse_m, ssim


def defined_ssim(first: np.ndarray, second: np.ndarray, known: np.ndarray, data_range: float) -> float:
    """SSIM as its definition says, window by window, over known pixels."""
    offsets = np.arange(-5, 6)
    line = np.exp(-(offsets**2) / (2 * 1.5**2))
    kernel = np.outer(line, line)
    found = []
    height, width = first.shape
    for v, u in zip(*np.nonzero(known), strict=True):
        rows, columns = (v + offsets), (u + offsets)
        inside = np.ix_((rows >= 0) & (rows < height), (columns >= 0) & (columns < width))
        window = np.ix_(rows[(rows >= 0) & (rows < height)], columns[(columns >= 0) & (columns < width)])
        weight = kernel[inside] * known[window]
        weight = weight / weight.sum()
        x, y = first[window], second[window]
        mx, my = (weight * x).sum(), (weight * y).sum()
        vx, vy = (weight * (x - mx) ** 2).sum(), (weight * (y - my) ** 2).sum()
        cov = (weight * (x - mx) * (y - my)).sum()
        c1, c2 = (0.01 * data_range) ** 2, (0.03 * data_range) ** 2
        found.append((2 * mx * my + c1) * (2 * cov + c2) / ((mx**2 + my**2 + c1) * (vx + vy + c2)))
    return float(np.mean(found))


def test_ssim_is_that_of_its_definition_with_gaps_and_borders() -> None:
    random = np.random.default_rng(0)
    first = random.uniform(1, 3, (18, 23)).astype(np.float32)
    second = (first + random.normal(0, 0.2, first.shape)).astype(np.float32)
    known = random.random(first.shape) > 0.2
    assert ssim(second, first, known, 1.0) == pytest.approx(defined_ssim(second, first, known, 1.0), abs=1e-6)


def test_ssim_of_two_constants_is_the_luminance_term() -> None:
    one, two = np.full((16, 16), 1.0, np.float32), np.full((16, 16), 2.0, np.float32)
    c1 = (0.01 * 10) ** 2
    everywhere = np.ones((16, 16), bool)
    assert ssim(two, one, everywhere, 10.0) == pytest.approx((2 * 2 + c1) / (1 + 4 + c1), abs=1e-6)
    assert ssim(one, one, everywhere, 10.0) == pytest.approx(1)
    assert math.isnan(ssim(one, one, ~everywhere, 10.0))


def test_the_local_rmse_forgets_offsets_and_cuts_outliers() -> None:
    random = np.random.default_rng(0)
    truth = np.full((120, 160), 2.0, np.float32)
    noise = random.normal(0, 0.004, truth.shape).astype(np.float32)
    used = np.ones(truth.shape, bool)
    # Of 961 pixels the mean takes one 961st of the variance with it.
    assert local_rmse_m(truth + 0.3 + noise, truth, used) == pytest.approx(0.004, rel=0.02)
    spike = truth.copy()
    spike[60, 80] += 50
    assert local_rmse_m(spike, truth, used) <= 0.1
    assert math.isnan(local_rmse_m(truth, truth, ~used))


def test_pixels_near_steps_and_gaps_are_left_out() -> None:
    truth = np.full((40, 60), 2.0, np.float32)
    truth[:, 30:] = 3.0
    known = np.ones(truth.shape, bool)
    known[0, 0] = False
    away = away_from_edges(truth, known)
    assert away[20, 25]
    assert away[20, 35]
    assert not away[20, 27:34].any()
    assert not away[0, :4].any()


def test_a_plane_implies_its_normal_exactly_whatever_the_reach() -> None:
    K = np.array([[500.0, 0, 79.5], [0, 490.0, 59.5], [0, 0, 1]])
    normal = np.array([0.3, -0.2, -0.9])
    normal /= np.linalg.norm(normal)
    v, u = np.mgrid[:120, :160]
    rays = np.stack([(u - K[0, 2]) / K[0, 0], (v - K[1, 2]) / K[1, 1], np.ones_like(u)], axis=-1)
    depth_m = (-2.0 / (rays @ normal)).astype(np.float32)
    for reach in (3, 6):
        found = implied_normals(depth_m, K, reach)[10:-10, 10:-10]
        np.testing.assert_allclose(found, np.broadcast_to(normal, found.shape), atol=2e-3)


def test_a_histogram_keeps_the_median() -> None:
    values = np.random.default_rng(0).gamma(2.0, 4.0, 10_001)
    counts = histogram(values, 0.05, 3600)
    assert counts.sum() == len(values)
    assert quantile(counts, 0.05) == pytest.approx(float(np.median(values)), abs=0.05)
    assert quantile(counts, 0.05, 0.9) == pytest.approx(float(np.quantile(values, 0.9)), abs=0.05)
    assert math.isnan(quantile(np.zeros(4), 1.0))
    assert histogram(np.array([1e9]), 0.05, 10)[-1] == 1
