"""What structured light can do beyond the published model: off by default, each measured by what it is for."""

from __future__ import annotations

import numpy as np
import pytest

from depthforge.frame import BoolImage, DepthImage
from depthforge.sensors.structured_light import StructuredLight, simulate
from depthforge.sensors.structured_light_shadows import illuminated

SIZE = (96, 128)
WHOLE = np.ones(SIZE, np.bool_)
QUIET = {"shift_sigma_px": 0.0, "noise_sigma_steps": 0.0, "focal_length_px": 600.0, "raw_scale_m": 360.0}


def seen(sensor: StructuredLight, depth_m: DepthImage, draw: int = 0) -> tuple[DepthImage, BoolImage]:
    return simulate(depth_m, WHOLE, (3, draw), sensor)


def flat(depth_m: float) -> DepthImage:
    return np.full(SIZE, depth_m, np.float32)


def box(near_m: float = 1.0, far_m: float = 2.0) -> DepthImage:
    """A near box in the middle of a wall: columns 50 to 79, rows 30 to 69."""
    depth_m = flat(far_m)
    depth_m[30:70, 50:80] = near_m
    return depth_m


@pytest.mark.parametrize("power", [0.0, -0.5])
@pytest.mark.parametrize("z_m", [0.8, 2.0])
def test_disparity_noise_has_the_stated_size_at_any_depth(power: float, z_m: float) -> None:
    sensor = StructuredLight(
        **QUIET, steps_per_px=80, baseline_m=0.075, disparity_sigma_px=0.2, disparity_sigma_power=power,
        interpolate_px=4, match_threshold_px=10,
    ).model_copy(update={"raw_scale_m": 3600.0})  # fmt: skip
    depth_m, valid = seen(sensor, flat(z_m))
    disparity_px = 600 * 0.075 / depth_m[valid]
    assert disparity_px.std() == pytest.approx(0.2 * z_m**power, rel=0.03)
    assert disparity_px.mean() == pytest.approx(600 * 0.075 / z_m, rel=1e-3)


def test_its_correlation_falls_to_1_over_e_at_the_stated_lag() -> None:
    sensor = StructuredLight(
        **QUIET, disparity_sigma_px=0.5, disparity_correlation_px=3, interpolate_px=8, match_threshold_px=10
    )
    depth_m, _ = seen(sensor, flat(1.5))
    noise = 1 / depth_m - np.mean(1 / depth_m)
    at_3_px = np.mean(noise[:, 3:] * noise[:, :-3]) / noise.var()
    assert at_3_px == pytest.approx(np.exp(-1), abs=0.08)


def test_interpolation_follows_a_slope_that_dots_cut_into_cells() -> None:
    slope = (1.0 + 0.01 * np.arange(SIZE[1], dtype=np.float32))[None, :].repeat(SIZE[0], axis=0)
    ragged, smooth = (
        StructuredLight(**QUIET, interpolate_px=interpolate, match_threshold_px=10) for interpolate in (0.0, 1.0)
    )
    errors = []
    for sensor in (ragged, smooth):
        depth_m, valid = seen(sensor, slope)
        errors.append(np.abs(360 / depth_m[valid] - 360 / slope[valid]).max())
    assert errors[1] <= 0.51 < 1.0 < errors[0]


@pytest.mark.parametrize(("side", "columns"), [("right", slice(28, 50)), ("left", slice(80, 102))])
def test_the_shadow_falls_away_from_the_projector_and_is_as_wide_as_the_disparity_differs(
    side: str, columns: slice
) -> None:
    sensor = StructuredLight(**QUIET, projector_side=side)
    lit = illuminated(box(), WHOLE, (0, 0), sensor)
    width_px = 600 * 0.075 * (1 / 1.0 - 1 / 2.0)
    dark = ~lit[50]
    assert dark.sum() == pytest.approx(width_px, abs=1.5)
    assert dark[columns].sum() == dark.sum()
    assert lit[:30].all()
    assert lit[70:].all()


def test_no_projector_no_shadow() -> None:
    assert illuminated(box(), WHOLE, (0, 0), StructuredLight(**QUIET)).all()


def test_patches_take_the_stated_share_and_grow_with_depth() -> None:
    def share(z_m: float) -> float:
        sensor = StructuredLight(**QUIET, patch_share=0.2, patch_growth=0.5, patch_size_px=6)
        return float(np.mean([1 - illuminated(flat(z_m), WHOLE, (0, draw), sensor).mean() for draw in range(40)]))

    # A normal law, its quantile for 0.2 moved by half a quantile an octave.
    assert share(2.0) == pytest.approx(0.2, abs=0.015)
    assert share(4.0) == pytest.approx(0.3667, abs=0.02)
    assert share(1.0) == pytest.approx(0.0898, abs=0.015)


def test_range_and_blank_columns() -> None:
    ramp = np.linspace(0.5, 5.0, SIZE[1], dtype=np.float32)[None, :].repeat(SIZE[0], axis=0)
    sensor = StructuredLight(**QUIET, min_depth_m=0.8, max_depth_m=4.0, blind_left_px=3, blind_right_px=8)
    depth_m, valid = seen(sensor, ramp)
    assert depth_m[valid].min() >= 0.8
    assert depth_m[valid].max() <= 4.0
    full = seen(StructuredLight(**QUIET, blind_left_px=3, blind_right_px=8), flat(2.0))[1]
    assert full[:, 3:-8].all()
    assert not full[:, :3].any()
    assert not full[:, -8:].any()


def test_all_of_it_is_off_by_default() -> None:
    explicit = StructuredLight(
        disparity_sigma_px=0, interpolate_px=0, projector_side="none", patch_share=0, min_depth_m=0, blind_right_px=0
    )
    for one, other in zip(seen(StructuredLight(), box()), seen(explicit, box()), strict=True):
        assert np.array_equal(one, other)
