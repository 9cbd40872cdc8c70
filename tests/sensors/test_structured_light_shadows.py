"""Shadows, silhouettes and lost surfaces of structured light, each measured by what it is for."""

from __future__ import annotations

from statistics import NormalDist
from typing import Any

import numpy as np
import pytest

from depthforge.frame import BoolImage, Camera, DepthImage, Frame
from depthforge.sensors.matched_structured_light import MatchedStructuredLight
from depthforge.sensors.structured_light import StructuredLight, simulate
from depthforge.sensors.structured_light_shadows import disparity_px, fattened, illuminated, lost_surfaces

SIZE = (96, 160)
WHOLE = np.ones(SIZE, np.bool_)
# Depth times disparity is 45 m px: 22.5 px at 2 m.
QUIET: dict[str, Any] = {"shift_sigma_px": 0, "noise_sigma_steps": 0, "focal_length_px": 600, "raw_scale_m": 360}
LIT: dict[str, Any] = {**QUIET, "projector_side": "right"}


def box(jump_px: float, far_m: float = 2.0) -> DepthImage:
    """A near box in the middle of a wall, columns 70 to 109 and rows 30 to 69, by how much its disparity is larger."""
    depth_m = np.full(SIZE, far_m, np.float32)
    depth_m[30:70, 70:110] = 45.0 / (45.0 / far_m + jump_px)
    return depth_m


def grown_by(depth_m: DepthImage, sensor: StructuredLight, draw: int = 0) -> DepthImage:
    return fattened(depth_m, disparity_px(depth_m, sensor.depth_disparity_m_px), (0, draw), sensor)


def dark(depth_m: DepthImage, **fields: Any) -> BoolImage:
    return ~illuminated(depth_m, WHOLE, (0, 0), StructuredLight(**LIT, **fields))


def test_a_narrow_shadow_vanishes_and_a_wide_one_stays() -> None:
    widths = {jump: (dark(box(jump))[50].sum(), dark(box(jump), lit_share=0.5)[50].sum()) for jump in (4, 14)}
    # The first pixel does not count. Of a window of 9 columns around a shadow of 3 px 6 are lit; at the rim of a wide
    # one 4 are.
    assert widths == {4: (3, 0), 14: (13, 13)}


def test_a_wide_shadow_loses_a_rim_where_less_light_is_enough() -> None:
    # 3 of 9 columns are lit one pixel inside the rim, 2 of 9 two pixels inside.
    assert dark(box(14), lit_share=0.3)[50].sum() == 13 - 4
    assert not dark(box(14), lit_share=0.3)[:, 110:].any()


def test_a_shadow_that_is_thin_across_the_rows_vanishes_though_it_is_wide_along_them() -> None:
    rows = np.arange(SIZE[0])[:, None]
    columns = np.arange(SIZE[1])[None, :]
    # A table's edge that falls by a pixel in six: the shadow is 12 px wide along rows and 2 px across them.
    table = np.where(rows > 30 + (SIZE[1] - columns) / 6, np.float32(45 / 34.5), np.float32(2.0)).astype(np.float32)
    assert dark(table).any(axis=1).sum() > 20
    assert not dark(table, lit_share=0.5)[:, 8:-8].any()


def test_a_shadow_is_as_wide_as_the_focal_length_of_the_image_says() -> None:
    half = Camera(300.0, 300.0, 79.5, 47.5, SIZE[1], SIZE[0])
    sensor = StructuredLight(**LIT, match_threshold_px=10, interpolate_px=4, fray_radius_px=0, mass_fraction=0.05)
    frame = Frame("test/box/0", box(20), WHOLE, half)
    halved = int((~sensor.measure(frame, (0, 0)).valid[50, 20:70]).sum())
    whole = int((~simulate(frame.depth_m, WHOLE, (0, 0), sensor)[1][50, 20:70]).sum())
    assert whole == pytest.approx(20, abs=3)
    assert halved == pytest.approx(10, abs=3)


@pytest.mark.parametrize("growth_px", [1.0, 1.4, 2.0])
def test_near_surfaces_grow_by_as_much_as_is_said(growth_px: float) -> None:
    sensor = StructuredLight(**QUIET, fattening_px=growth_px, edge_jitter_px=0.5)
    clean = box(14)
    clean[:, 88:90] = 0
    near_m, grown = clean[35, 75], [grown_by(clean, sensor, draw) for draw in range(24)]
    widths = [(each[30:70] == near_m).sum(axis=1) for each in grown]
    assert np.mean(widths) == pytest.approx(38 + 2 * growth_px, abs=0.15)
    assert all(((each == 0) == (clean == 0)).all() for each in grown)
    assert set(np.unique(np.concatenate(grown))) == set(np.unique(clean))


def test_what_has_grown_into_a_shadow_is_measured() -> None:
    sensor = StructuredLight(**LIT, fattening_px=2, match_threshold_px=10, mass_fraction=0.3, interpolate_px=4)
    depth_m, valid = simulate(box(14), WHOLE, (0, 0), sensor)
    assert valid[50, 68:70].all()
    assert depth_m[50, 68:70] == pytest.approx(depth_m[50, 75], rel=0.01)
    assert not valid[50, 61:65].any()


def test_a_slope_does_not_grow() -> None:
    slope = (45.0 / (20.0 + 0.5 * np.arange(SIZE[1], dtype=np.float32)))[None, :].repeat(SIZE[0], axis=0)
    assert np.array_equal(grown_by(slope, StructuredLight(**QUIET, fattening_px=2.0)), slope)


def test_patches_are_larger_by_the_stated_quantiles_beside_silhouettes_and_holes() -> None:
    sensor = StructuredLight(
        **QUIET, patch_share=0.1, patch_size_px=6, patch_edge_growth=0.5, patch_hole_growth=1.5
    )  # fmt: skip
    clean = np.full(SIZE, 2.0, np.float32)
    clean[:, 80:] = 1.0
    clean[:, :20] = 0
    lost = [lost_surfaces(clean, disparity_px(clean, 45.0), (0, draw), sensor) for draw in range(60)]
    share = np.mean(np.array(lost)[:, 20:-20], axis=(0, 1))
    normal = NormalDist()
    expected = {k: 1 - normal.cdf(normal.inv_cdf(0.9) - k) for k in (0.0, 0.5, 1.5)}
    assert share[21:23] == pytest.approx(expected[1.5], abs=0.04)
    assert share[78:82] == pytest.approx(expected[0.5], abs=0.04)
    assert np.mean(share[40:60]) == pytest.approx(expected[0.0], abs=0.015)


def test_half_is_lost_to_light_where_it_is_said_and_a_normal_share_of_the_logarithm_elsewhere() -> None:
    sensor = StructuredLight(**QUIET, saturated_m=0.4, saturated_spread=0.2)

    def share(z_m: float) -> float:
        flat = np.full(SIZE, z_m, np.float32)
        return float(np.mean([lost_surfaces(flat, disparity_px(flat, 45.0), (0, draw), sensor) for draw in range(30)]))

    assert share(0.4) == pytest.approx(0.5, abs=0.03)
    assert share(0.4 * np.exp(0.2)) == pytest.approx(1 - NormalDist().cdf(1), abs=0.02)
    assert share(1.2) == 0
    for told in (sensor, MatchedStructuredLight(saturated_m=0.4, saturated_spread=0.2)):
        likely = told.near_loss(np.array([[0.4, 0.4 * np.exp(0.2), 1.2, 0.0]], np.float32))
        np.testing.assert_allclose(likely, [[0.5, 1 - NormalDist().cdf(1), 0, 0]], atol=1e-5)


def test_what_saturates_nowhere_has_no_probability_of_it_and_a_sharp_limit_is_a_step() -> None:
    depth_m = np.array([[0.39, 0.41]], np.float32)
    assert StructuredLight(**QUIET).near_loss(depth_m) is None
    sharp = StructuredLight(**QUIET, saturated_m=0.4, saturated_spread=0.0).near_loss(depth_m)
    np.testing.assert_allclose(sharp, [[1, 0]], atol=1e-6)


def test_a_sensor_without_losses_loses_nothing() -> None:
    assert lost_surfaces(box(14), disparity_px(box(14), 45.0), (0, 0), StructuredLight(**QUIET)) is None
    assert np.array_equal(grown_by(box(14), StructuredLight(**QUIET)), box(14))
