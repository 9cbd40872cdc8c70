"""The matcher against the sums it stands for, and on views whose disparity is known."""

from __future__ import annotations

from typing import Any

import cv2
import numpy as np
import pytest

from depthforge.sensors import stereo_matching as matching
from depthforge.sensors.stereo_matching import Match, Windows, match_views

WINDOWS = Windows(match=(4, 3), fit=(3, 3), surface=(2, 2))
PAD = 24
INSIDE = np.s_[8:-8, 16:-16]


def texture(height: int, width: int, seed: int = 0, sigma: float = 1.2) -> np.ndarray:
    noise = np.random.default_rng(seed).normal(size=(height, width + 64))
    smooth = cv2.GaussianBlur(noise, (0, 0), sigma)
    return (0.5 + 0.1 * smooth / smooth.std()).astype(np.float64)


def views_of(disparity: np.ndarray, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Render a band-limited texture, fixed to the right view, by cubic splines: exact to a thousandth of a pixel."""
    height, width = disparity.shape
    whole = texture(height, width + PAD, seed)
    right = whole[:, 32 : 32 + PAD + width]
    rows, columns = np.mgrid[:height, :width].astype(np.float32)
    at = columns + PAD + 32 - disparity.astype(np.float32)
    left = cv2.remap(whole, at, rows, cv2.INTER_LANCZOS4, borderMode=cv2.BORDER_REFLECT)
    return left.astype(np.float32), np.ascontiguousarray(right, dtype=np.float32)


def match(disparity: np.ndarray, seed: int = 0, **more: Any) -> Match:
    return match_views(*views_of(disparity, seed), disparity.astype(np.float32), WINDOWS, **more)


@pytest.mark.parametrize("shift_px", [3.0, 7.0, 7.25, 7.5, 7.75, 12.4])
def test_a_shift_is_found_almost_without_a_pull_to_whole_pixels(shift_px: float) -> None:
    found = match(np.full((96, 128), shift_px))
    assert found.found[INSIDE].mean() > 0.999
    error = (found.disparity - shift_px)[INSIDE]
    assert abs(float(np.median(error))) < 0.05
    assert float(np.abs(error).max()) < 0.15


@pytest.mark.parametrize(("across", "down"), [(0.06, 0.0), (-0.06, 0.0), (0.0, 0.12), (0.04, -0.08)])
def test_slanted_surfaces_are_followed(across: float, down: float) -> None:
    rows, columns = np.mgrid[:96, :128]
    disparity = 12.0 + across * (columns - 64) + down * (rows - 48)
    found = match(disparity)
    error = (found.disparity - disparity)[INSIDE]
    assert found.found[INSIDE].mean() > 0.99
    assert abs(float(np.median(error))) < 0.02
    assert float(1.4826 * np.median(np.abs(error))) < 0.05


def test_costs_are_census_bits_summed_over_windows() -> None:
    """The best cost, its disparity and its rival, against loops over every pixel of a small image."""
    disparity = np.full((20, 44), 5.0)
    left, right = views_of(disparity)
    left += np.random.default_rng(1).normal(0, 0.05, left.shape).astype(np.float32)
    bounds = matching._reach(disparity.astype(np.float32), WINDOWS.match, 2)
    lowest, highest = (int(bound[0, 0]) for bound in bounds)
    assert (lowest, highest) == (3, 8)
    census = [matching._census(image) for image in (left, right)]
    half_columns, half_rows = WINDOWS.match
    costs = np.full((highest + 1, *left.shape), 10**6)
    for d in range(lowest, highest + 1):
        for y, x in np.ndindex(*left.shape):
            rows = [min(max(row, 0), 19) for row in range(y - half_rows, y + half_rows + 1)]
            columns = [min(max(column, 0), 43) for column in range(x - half_columns, x + half_columns + 1)]
            costs[d, y, x] = sum(
                int(
                    census[0][row, column] ^ census[1][row, min(max(column - d + PAD, 0), right.shape[1] - 1)]
                ).bit_count()
                for row in rows
                for column in columns
            )
    best = np.full(left.shape, 0xFFFFFFFF, np.uint32)
    right_best = np.full(right.shape, 0xFFFFFFFF, np.uint32)
    fine, margin = np.empty_like(left), np.ones_like(left)
    matching._match(*census, *bounds, *WINDOWS.match, np.float32(1), True, best, right_best, fine, margin)
    np.testing.assert_array_equal(best >> 10, costs.min(axis=0))
    np.testing.assert_array_equal(best & 1023, costs.argmin(axis=0))
    chosen = costs.argmin(axis=0)
    apart = np.abs(np.arange(highest + 1)[:, None, None] - chosen) > 1
    second = np.where(apart, costs, 10**6).min(axis=0)
    worse = np.where(second < 10**6, second - costs.min(axis=0), 1)
    np.testing.assert_allclose(margin, np.minimum(worse, 1))


def test_what_the_right_imager_does_not_see_has_no_match() -> None:
    disparity = np.full((96, 160), 4.0)
    disparity[:, 90:] = 20.0
    left, right = views_of(disparity)
    # The strip that only the left imager sees, left of the near surface, shows something of its own.
    left[:, 74:90] = texture(96, 160, seed=9)[:, 74:90]
    found = match_views(left, right, disparity.astype(np.float32), WINDOWS)
    assert found.found[8:-8, 78:84].mean() < 0.15
    assert found.found[8:-8, 20:66].mean() > 0.99
    assert found.found[8:-8, 100:150].mean() > 0.99


def test_a_wider_search_finds_the_same() -> None:
    """Where texture does not repeat, what lies beyond the band about the truth never wins."""
    _, columns = np.mgrid[:96, :128]
    disparity = 10.0 + 0.05 * (columns - 64)
    disparity[30:60, 40:80] = 18.0
    narrow, wide = match(disparity, beyond_px=1), match(disparity, beyond_px=9)
    same = np.abs(narrow.disparity - wide.disparity) < 0.01
    assert same[narrow.found & wide.found].mean() > 0.98


def test_exposure_changes_no_match() -> None:
    disparity = np.full((64, 96), 6.0)
    left, right = views_of(disparity)
    dark = match_views(left * np.float32(0.5), right * np.float32(0.5), disparity.astype(np.float32), WINDOWS)
    bright = match_views(left, right, disparity.astype(np.float32), WINDOWS)
    np.testing.assert_array_equal(dark.found, bright.found)
    np.testing.assert_allclose(dark.disparity, bright.disparity, atol=1e-4)
    np.testing.assert_allclose(dark.information * 4, bright.information, rtol=1e-3)


def test_a_texture_that_repeats_leaves_no_margin() -> None:
    columns = np.broadcast_to(np.arange(96 + PAD + 64), (64, 96 + PAD + 64))
    whole = (0.5 + 0.3 * np.sign(np.sin(2 * np.pi * (columns + 0.25) / 4))).astype(np.float32)
    disparity = np.full((64, 96), 8.0, np.float32)
    left, right = whole[:, 24:120].copy(), whole[:, 32 - PAD : 128].copy()
    found = match_views(left, right, disparity, WINDOWS, beyond_px=6)
    assert float(np.median(found.margin[INSIDE])) == 0.0
    unique = match(np.full((64, 96), 8.0), beyond_px=6)
    assert float(np.median(unique.margin[INSIDE])) > 0.1
