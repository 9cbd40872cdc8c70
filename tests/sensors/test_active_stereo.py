"""Active stereo against the geometry of two imagers: shadows, noise, steps, ranges, edges, and what colour changes."""

from __future__ import annotations

from dataclasses import replace
from statistics import NormalDist
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from depthforge.frame import Camera, Frame
from depthforge.sensors import stereo_kernels as kernels
from depthforge.sensors.active_stereo import ActiveStereo
from depthforge.sensors.base import Sensor
from depthforge.sensors.preset import parse_sensor
from depthforge.testing.sensors import SensorTests

WORDS = (11, 22)
# f B = 50 m px: disparities are 50 / z, whole pixels at 5 m (10), 2.5 m (20) and 1.25 m (40).
CAMERA = Camera(fx=100.0, fy=100.0, cx=31.5, cy=23.5, width=64, height=48)
PERFECT: dict[str, Any] = {
    "baseline_m": 0.5,
    "focal_length_px": 100.0,
    "noise_sigma_px": 0.0,
    "fattening_px": 0.0,
    "edge_jitter_px": 0.0,
    "edge_hole_rate": 0.0,
    "confidence_softness": 0.0,
    "max_depth_m": 100.0,
}

Depth = npt.NDArray[np.float32]


def stereo(**changes: Any) -> ActiveStereo:
    return ActiveStereo(**{**PERFECT, **changes})


def frame_of(depth_m: npt.NDArray[Any], camera: Camera = CAMERA, rgb: npt.NDArray[np.uint8] | None = None) -> Frame:
    depth_m = depth_m.astype(np.float32)
    return Frame("test/scene/0", depth_m, depth_m > 0, replace_size(camera, depth_m.shape), rgb=rgb)


def replace_size(camera: Camera, size: tuple[int, ...]) -> Camera:
    height, width = size
    return replace(camera, width=width, height=height, cx=(width - 1) / 2, cy=(height - 1) / 2)


def wall(z_m: float, size: tuple[int, int] = (48, 64)) -> Depth:
    return np.full(size, z_m, np.float32)


def wall_with_box(left: int = 30) -> Depth:
    depth_m = wall(5.0)
    depth_m[10:30, left : left + 16] = 2.5
    return depth_m


class TestActiveStereo(SensorTests):
    @pytest.fixture
    def sensor(self) -> Sensor:
        return ActiveStereo()


@pytest.mark.parametrize(("side", "shadow", "band"), [("right", (14, 24), (0, 10)), ("left", (40, 50), (54, 64))])
def test_a_box_throws_a_shadow_of_the_difference_of_disparities_on_one_side(
    side: str, shadow: tuple[int, int], band: tuple[int, int]
) -> None:
    expected = np.ones((48, 64), np.bool_)
    expected[10:30, shadow[0] : shadow[1]] = False
    expected[:, band[0] : band[1]] = False
    depth_m, valid = stereo(second_imager=side).measure(frame_of(wall_with_box(24)), WORDS)
    np.testing.assert_array_equal(valid, expected)
    np.testing.assert_allclose(depth_m[valid], wall_with_box(24)[valid], rtol=1e-6)
    expected[:, band[0] : band[1]] = True
    expected[10:30, shadow[0] : shadow[1]] = False
    kept = stereo(second_imager=side, blank_band=False).measure(frame_of(wall_with_box(24)), WORDS)
    np.testing.assert_array_equal(kept.valid, expected)


@pytest.mark.parametrize(("near_m", "far_m", "baseline_m"), [(1.1, 3.7, 0.3), (0.8, 2.0, 0.2), (2.0, 9.0, 0.5)])
def test_any_shadow_is_as_wide_as_the_geometry_says_to_a_pixel(near_m: float, far_m: float, baseline_m: float) -> None:
    depth_m = wall(far_m, (8, 160))
    depth_m[:, 90:140] = near_m
    valid = stereo(baseline_m=baseline_m, blank_band=False).measure(frame_of(depth_m), WORDS).valid
    expected_px = 100.0 * baseline_m * (1 / near_m - 1 / far_m)
    assert (~valid[:, :90]).sum(1) == pytest.approx(np.full(8, expected_px), abs=1.0)
    assert valid[:, 90:].all()


def test_the_shadow_of_a_thin_pole_stands_away_from_it() -> None:
    depth_m = wall(5.0)
    depth_m[:, 50:52] = 1.25
    valid = stereo(blank_band=False).measure(frame_of(depth_m), WORDS).valid
    np.testing.assert_array_equal(np.flatnonzero(~valid[20]), [20, 21])


@settings(max_examples=40, deadline=None)
@given(
    disparities=st.lists(st.integers(1, 8).map(lambda n: 3 * n), min_size=1, max_size=40),
    side=st.sampled_from([1.0, -1.0]),
)
def test_the_second_view_is_the_nearest_of_all_that_fall_together(disparities: list[int], side: float) -> None:
    row = np.array(disparities)
    column = np.arange(row.size) - int(side) * row
    hidden = np.array([(row[column == at] > own).any() for at, own in zip(column, row, strict=True)])
    inside = (column >= 0) & (column < row.size)
    inverse = np.zeros((3, row.size + 2), np.float32)
    inverse[1, 1:-1] = row
    out = np.empty((1, row.size), np.bool_)
    kernels.visible(inverse, np.float32(1), np.float32(side), False, out)
    np.testing.assert_array_equal(out[0], inside & ~hidden)


@pytest.mark.parametrize("tilt", [0.0, 0.3, -0.3, 0.58, -0.58])
def test_a_smooth_surface_hides_nothing_of_itself(tilt: float) -> None:
    disparity = 60 + tilt * (np.arange(160) - 80)
    depth_m = np.tile(50.0 / disparity, (4, 1))
    sensor = stereo(blank_band=False, max_incidence_deg=89.9)
    assert sensor.measure(frame_of(depth_m), WORDS).valid.all()


@pytest.mark.parametrize("z_m", [0.6, 1.5, 4.0])
@pytest.mark.parametrize("correlation_px", [0.0, 2.0])
def test_noise_of_a_wall_is_z_squared_sigma_over_f_b(z_m: float, correlation_px: float) -> None:
    sensor = stereo(
        baseline_m=0.05,
        focal_length_px=450.0,
        noise_sigma_px=0.08,
        noise_correlation_px=correlation_px,
        steps_per_px=65536,
        blank_band=False,
    )
    frame = frame_of(wall(z_m, (120, 160)))
    depth_m = np.array([sensor.measure(frame, (seed, 0)).depth_m for seed in range(3)], np.float64)
    errors = depth_m - z_m
    expected_m = z_m**2 * 0.08 / (450.0 * 0.05)
    num_independent = 3 * 120 * 160 / (1 + 1.6 * correlation_px**2)
    assert np.std(errors) == pytest.approx(expected_m, rel=4 / np.sqrt(2 * num_independent))
    # It is disparity that is unbiased.
    assert abs((1 / depth_m - 1 / z_m).mean()) * 450.0 * 0.05 < 4 * 0.08 / np.sqrt(num_independent)
    shared = np.mean([(error[:, 1:] * error[:, :-1]).mean() for error in errors]) / expected_m**2
    assert shared == pytest.approx(np.exp(-1 / correlation_px**2) if correlation_px else 0.0, abs=0.05)


def test_slanted_surfaces_are_noisier_by_the_asked_growth() -> None:
    camera = Camera(fx=4000.0, fy=4000.0, cx=63.5, cy=47.5, width=128, height=96)  # all rays nearly parallel
    y = (np.arange(96) - 47.5) / 4000.0
    depth_m = np.tile((2.0 / (1.0 - np.tan(np.deg2rad(60.0)) * y))[:, None], (1, 128))
    sensor = stereo(
        noise_sigma_px=0.05, noise_angle_growth=1.5, noise_correlation_px=0.0, steps_per_px=65536, blank_band=False
    )
    measured = sensor.measure(Frame("a/b/c", depth_m.astype(np.float32), depth_m > 0, camera), WORDS).depth_m
    # 1 / cos(60 degrees) - 1 = 1.
    assert (50 / measured - 50 / depth_m).std() == pytest.approx(0.05 * 2.5, rel=0.04)


def test_disparity_comes_in_steps() -> None:
    sensor = stereo(noise_sigma_px=0.2, steps_per_px=32, blank_band=False)
    depth_m = sensor.measure(frame_of(wall(3.0)), WORDS).depth_m.astype(np.float64)
    steps = 32 * 50.0 / depth_m
    np.testing.assert_allclose(steps, np.rint(steps), atol=1e-3)
    assert np.unique(np.rint(steps)).size > 10
    flat = stereo(steps_per_px=2, blank_band=False).measure(frame_of(wall(3.0)), WORDS).depth_m
    np.testing.assert_allclose(flat, 50.0 / 16.5, rtol=1e-6)  # 16.67 px


def test_the_search_ends_at_the_largest_disparity_and_depth_at_its_limit() -> None:
    z = np.linspace(0.3, 4.0, 300)
    depth_m = np.tile(z[:, None], (1, 8))
    sensor = stereo(
        baseline_m=0.1, focal_length_px=500.0, max_disparity_px=100, max_depth_m=3.0, blank_band=False, steps_per_px=64
    )
    measured = sensor.measure(frame_of(depth_m), WORDS)
    steps = np.rint(np.float32(500 * 0.1) / depth_m.astype(np.float32) * 64)
    np.testing.assert_array_equal(measured.valid, (steps <= 100 * 64) & (50.0 * 64 / steps <= 3.0))
    assert z[measured.valid[:, 0]].min() == pytest.approx(0.5, abs=0.02)
    assert measured.depth_m[measured.valid].max() <= 3.0


@pytest.mark.parametrize("tilt_deg", [60.0, 75.0, 80.0, 83.0])
def test_pixels_are_lost_with_the_angle_of_incidence_by_a_normal_law(tilt_deg: float) -> None:
    camera = Camera(fx=4000.0, fy=4000.0, cx=63.5, cy=47.5, width=128, height=96)  # all rays nearly parallel
    y = (np.arange(96) - 47.5) / 4000.0
    depth_m = np.tile((2.0 / (1.0 - np.tan(np.deg2rad(tilt_deg)) * y))[:, None], (1, 128))
    sensor = stereo(
        baseline_m=0.001, max_incidence_deg=80.0, confidence_softness=0.3, hole_correlation_px=0.0, blank_band=False
    )
    lost = 1 - sensor.measure(Frame("a/b/c", depth_m.astype(np.float32), depth_m > 0, camera), WORDS).valid.mean()
    cosine = 1 / np.hypot(1.0, np.tan(np.deg2rad(tilt_deg)))
    enough = cosine / np.cos(np.deg2rad(80.0))
    assert lost == pytest.approx(NormalDist().cdf((1 - enough) / 0.3), abs=0.03)


def test_a_steep_row_has_no_match() -> None:
    x = np.arange(64)
    gentle, steep = (np.tile(50.0 / (40 + slope * (x - 32)), (8, 1)) for slope in (0.5, 0.7))
    sensor = stereo(max_disparity_gradient=0.6, max_incidence_deg=89.9, blank_band=False)
    assert sensor.measure(frame_of(gentle), WORDS).valid.all()
    assert not sensor.measure(frame_of(steep), WORDS).valid.any()


def test_holes_come_in_patches_of_the_asked_size() -> None:
    depth_m = wall(3.0, (96, 128))
    # The threshold is 1 / cos: frontal pixels have what they need, give or take.
    sensor = stereo(max_incidence_deg=0.1, confidence_softness=0.5, hole_correlation_px=5.0, blank_band=False)
    valid = sensor.measure(frame_of(depth_m, replace(CAMERA, fx=4000.0, fy=4000.0)), WORDS).valid
    assert valid.mean() == pytest.approx(0.5, abs=0.15)
    assert (valid[:, 1:] == valid[:, :-1]).mean() > 0.85  # white noise: a half


def test_a_near_surface_grows_over_what_is_behind_it() -> None:
    depth_m, valid = stereo(fattening_px=2.0).measure(frame_of(wall_with_box()), WORDS)
    near = np.isclose(depth_m, 2.5)
    assert near[12:28, 28:48].all(), "two pixels to either side, in the shadow too"
    assert not near[:, :28].any()
    assert not near[:, 48:].any()
    assert near[8:32, 32:44].all()
    assert not near[:8].any()
    assert not near[32:].any()
    assert not valid[15:25, 20:28].any(), "the rest of the shadow stays"


def test_growth_is_ragged_and_averages_what_was_asked() -> None:
    depth_m = wall(5.0, (200, 64))
    depth_m[:, 20:40] = 2.5
    sensor = stereo(fattening_px=3.0, edge_jitter_px=1.0, hole_correlation_px=2.0, blank_band=False)
    grown = np.isclose(sensor.measure(frame_of(depth_m), WORDS).depth_m[:, 40:], 2.5).sum(1)
    assert grown.mean() == pytest.approx(3.0, abs=0.3)
    assert grown.std() == pytest.approx(1.0, abs=0.35)


def test_the_asked_share_of_pixels_at_edges_is_lost_and_no_other() -> None:
    depth_m = wall(5.0, (200, 64))
    depth_m[:, 20:40] = 2.5
    sensor = stereo(edge_hole_rate=0.3, window_px=7, hole_correlation_px=1.0, blank_band=False)
    lost = ~sensor.measure(frame_of(depth_m), WORDS).valid
    assert lost[:, 40:43].mean() == pytest.approx(0.3, abs=0.06)  # far side, within 3.5 px
    assert lost[:, 37:40].mean() == pytest.approx(0.3, abs=0.06)
    assert not lost[:, 44:].any()
    assert not lost[:, 24:36].any()


def test_without_colour_nothing_of_texture_happens() -> None:
    far = frame_of(wall(9.0))
    sensors = [stereo(blank_band=False), stereo(blank_band=False, projector_reach_m=0.1, texture_levels=200.0)]
    for sensor in sensors:
        assert sensor.measure(far, WORDS).valid.all()


@pytest.mark.parametrize(
    ("z_m", "grey", "expected"),
    [(1.0, 255, True), (5.9, 255, True), (6.1, 255, False), (6.1, 0, False), (2.6, 0, True), (2.8, 0, False)],
)
def test_a_plain_wall_is_seen_as_far_as_the_projector_reaches(z_m: float, grey: int, expected: bool) -> None:
    rgb = np.full((48, 64, 3), grey, np.uint8)
    sensor = stereo(blank_band=False, projector_reach_m=6.0, darkest_albedo=0.2, saturation_level=256)
    camera = replace(CAMERA, fx=4000.0, fy=4000.0)  # no oblique rays
    valid = sensor.measure(frame_of(wall(z_m), camera, rgb), WORDS).valid
    assert valid.all() if expected else not valid.any()  # black reflects a fifth: 6 m x sqrt(0.2) = 2.7 m


def test_horizontal_contrast_takes_the_place_of_the_projector_and_vertical_contrast_does_not() -> None:
    ramp = np.tile(np.uint8(3) * np.arange(64, dtype=np.uint8), (64, 1))
    sensor = stereo(blank_band=False, projector_reach_m=0.0, texture_levels=2.9, max_depth_m=100.0)
    frames = [frame_of(wall(9.0, (64, 64)), rgb=np.repeat(image[..., None], 3, 2)) for image in (ramp, ramp.T)]
    assert sensor.measure(frames[0], WORDS).valid[:, 4:-4].all()
    assert not sensor.measure(frames[1], WORDS).valid.any()
    weaker = stereo(blank_band=False, projector_reach_m=0.0, texture_levels=3.1)
    assert not weaker.measure(frames[0], WORDS).valid.any()


def test_highlights_drop_out_and_a_white_wall_in_the_sun_does_not() -> None:
    camera = replace(CAMERA, fx=250.0, fy=250.0)  # a highlight is at most 25 pixels square
    rgb = np.full((48, 64, 3), 150, np.uint8)
    rgb[10:30, 20:40] = 255
    rgb[40, 50] = 255  # a single pixel is no patch
    sensor = stereo(blank_band=False, saturation_level=250)
    valid = sensor.measure(frame_of(wall(1.0), camera, rgb), WORDS).valid
    assert not valid[12:28, 22:38].any()
    assert valid[:, :18].all()
    assert valid[32:].all()
    sunlit = rgb.copy()
    sunlit[:, :50] = 255
    assert sensor.measure(frame_of(wall(1.0), camera, sunlit), WORDS).valid.all()
    rgb[..., 2] = 100  # one channel that is not saturated: a colour, not a highlight
    assert sensor.measure(frame_of(wall(1.0), camera, rgb), WORDS).valid.all()


def test_confidence_says_what_is_kept() -> None:
    rng = np.random.default_rng(0)
    rgb = rng.integers(90, 100, (48, 64, 3)).astype(np.uint8)
    frame = frame_of(wall_with_box(), rgb=rgb)
    for threshold in (0.3, 0.5, 0.7):
        sensor = stereo(min_confidence=threshold, projector_reach_m=4.0)
        confidence = sensor.confidence(frame)
        assert confidence.min() >= 0
        assert confidence.max() < 1
        np.testing.assert_array_equal(sensor.measure(frame, WORDS).valid, confidence > threshold)


def test_noise_and_steps_are_the_sensors_and_shadows_the_frames() -> None:
    """The same sensor behind frames of two resolutions: depth noise is the same, shadows scale."""
    sensor = stereo(focal_length_px=400.0, noise_sigma_px=0.1, noise_correlation_px=0.0, steps_per_px=4096)
    for scale in (1, 2):
        camera = Camera(100.0 * scale, 100.0 * scale, 0, 0, 1, 1)
        depth_m = np.kron(wall_with_box(), np.ones((scale, scale)))
        measured = sensor.measure(frame_of(depth_m, camera), WORDS)
        assert (~measured.valid[20 * scale, 20 * scale : 30 * scale]).all()
        error = (measured.depth_m - depth_m)[40 * scale :, 20 * scale :]
        assert error.std() == pytest.approx(25 * 0.1 / 200, rel=0.12)


@pytest.mark.parametrize(("z_m", "growth", "quantile"), [(2.0, 0.7, 0.0), (4.0, 0.7, 0.7), (4.0, 0.0, 0.0)])
def test_made_up_dark_patches_lose_their_share_and_more_with_depth(z_m: float, growth: float, quantile: float) -> None:
    sensor = stereo(blank_band=False, patch_share=0.2, patch_growth=growth, patch_size_px=8.0)
    frame = frame_of(wall(z_m))
    lost = np.mean([~sensor.measure(frame, (n, 0)).valid for n in range(30)])
    assert lost == pytest.approx(1 - NormalDist().cdf(NormalDist().inv_cdf(0.8) - quantile), abs=0.05)


def test_presets_are_the_cameras_of_their_data_sheets() -> None:
    d435, d415, d455 = (parse_sensor(name) for name in ("d435_drawn", "d415_drawn", "d455_drawn"))
    for camera, baseline_m, nearest_m in ((d435, 0.05, 0.168), (d415, 0.055, 0.29), (d455, 0.095, 0.322)):
        assert isinstance(camera, ActiveStereo)
        assert camera.baseline_m == baseline_m
        assert camera.focal_length_px is not None
        assert camera.focal_length_px * baseline_m / camera.max_disparity_px == pytest.approx(nearest_m, abs=0.002)
        # Intel: within 2 % at 2 m.
        sigma_m = 4 * camera.noise_sigma_px / (camera.focal_length_px * baseline_m)
        assert 0.002 < sigma_m < 0.04


def test_what_is_no_sensor_is_refused() -> None:
    for wrong in ({"window_px": 6}, {"baseline_m": 0}, {"second_imager": "above"}, {"min_confidence": 1.0}):
        with pytest.raises(ValidationError):
            ActiveStereo(**wrong)  # type: ignore[arg-type]


def test_a_frame_of_one_surface_has_no_edges() -> None:
    frame = frame_of(wall(2.0))
    with_edges, without = (
        ActiveStereo(**{**PERFECT, "edge_hole_rate": rate, "fattening_px": px}).measure(frame, WORDS)
        for rate, px in ((1.0, 4.0), (0.0, 0.0))
    )
    np.testing.assert_array_equal(with_edges.valid, without.valid)
    np.testing.assert_array_equal(with_edges.depth_m, without.depth_m)
    assert without.valid.any()
