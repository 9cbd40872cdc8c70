"""Matched stereo as a sensor: what windows do to planes, silhouettes, dark and bright surfaces, and borders."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from pydantic import ValidationError

from depthforge.errors import FrameError
from depthforge.frame import Camera, Frame
from depthforge.seeding import frame_words
from depthforge.sensors.base import Sensor
from depthforge.sensors.matched_stereo import MatchedStereo
from depthforge.sensors.preset import parse_sensor
from depthforge.testing.sensors import SensorTests

CAMERA = Camera(fx=200.0, fy=200.0, cx=79.5, cy=59.5, width=160, height=120)
QUIET = {"shot_noise": 0.02, "read_noise": 0.01, "max_sigma_px": 1.0}
INSIDE = np.s_[12:-12, 32:-16]


def stereo(**changes: Any) -> MatchedStereo:
    return MatchedStereo(**{"baseline_m": 0.1, **QUIET, **changes})


def frame_of(depth_m: np.ndarray, rgb: np.ndarray | None = None, camera: Camera = CAMERA) -> Frame:
    depth_m = depth_m.astype(np.float32)
    return Frame("test/scene/0", depth_m, depth_m > 0, camera, rgb)


def wall(z_m: float = 2.0) -> np.ndarray:
    return np.full(CAMERA.size, z_m)


def wall_with_box() -> np.ndarray:
    depth_m = wall(4.0)  # disparity 5 px
    depth_m[30:90, 70:120] = 1.0  # disparity 20 px
    return depth_m


class TestMatchedStereo(SensorTests):
    sizes = ((48, 64), (37, 53), (60, 80))

    @pytest.fixture
    def sensor(self) -> Sensor:
        return MatchedStereo(preset=None, smallest_island_px=4)


@pytest.mark.parametrize("z_m", [1.0, 1.9, 3.1])
def test_a_wall_is_measured_where_it_is_and_noise_grows_with_the_square(z_m: float) -> None:
    measured = stereo().measure(frame_of(wall(z_m)), (1, 2))
    assert measured.valid[INSIDE].mean() > 0.99
    error_px = 20.0 / measured.depth_m[INSIDE] - 20.0 / z_m
    assert abs(float(np.median(error_px))) <= 1 / 32
    assert 0.005 < float(np.std(error_px)) < 0.2


def test_disparities_are_steps() -> None:
    measured = stereo().measure(frame_of(wall(1.7)), (1, 2))
    steps = 20.0 * 32 / measured.depth_m[measured.valid]
    np.testing.assert_allclose(steps, np.rint(steps), atol=1e-2)


def test_more_noise_in_the_images_is_more_noise_in_depth() -> None:
    spread = [
        float(np.std(20.0 / stereo(shot_noise=noise).measure(frame_of(wall()), (1, 2)).depth_m[INSIDE].clip(1)))
        for noise in (0.01, 0.04, 0.1)
    ]
    assert spread[0] < spread[1] < spread[2]


def test_a_shadow_falls_left_of_what_is_near_and_as_wide_as_the_jump() -> None:
    measured = stereo().measure(frame_of(wall_with_box()), (1, 2))
    rows = measured.valid[45:75]
    widths = [int((~row[45:75]).sum()) for row in rows]
    assert 9 <= float(np.median(widths)) <= 18  # 15 px, less what the near surface grows over
    assert float(rows[:, 124:140].mean()) > 0.9


def test_the_surface_with_more_contrast_grows_over_the_other() -> None:
    rgb = np.full((*CAMERA.size, 3), 120, np.uint8)
    rgb[:, :, :] += np.random.default_rng(1).integers(0, 12, (*CAMERA.size, 1), dtype=np.uint8)
    rgb[30:90, 70:120] = np.random.default_rng(0).integers(0, 256, (60, 50, 1), dtype=np.uint8)
    depth_m = stereo(projector_power=0.0).measure(frame_of(wall_with_box(), rgb), (1, 2)).depth_m
    beyond, within = depth_m[45:75, 120:123], depth_m[45:75, 117:120]
    assert float((np.abs(beyond - 1.0) < 0.1).mean()) > 0.5
    assert float((np.abs(within - 1.0) < 0.1).mean()) > 0.9


def reaches(sensor: MatchedStereo) -> tuple[float, float]:
    """Return how far beyond its right side and beyond its lower side the box is measured, pixels, means of eight."""
    right, below = [], []
    for seed in range(8):
        depth_m = sensor.measure(frame_of(wall_with_box()), (seed, 2)).depth_m
        is_near = (depth_m > 0.5) & (depth_m < 2.0)
        right += [int(np.flatnonzero(row).max()) - 119 for row in is_near[45:75]]
        below += [int(np.flatnonzero(column).max()) - 89 for column in is_near[:, 85:105].T]
    return float(np.mean(right)), float(np.mean(below))


def test_tests_of_confidence_shrink_near_things_and_fattening_makes_them_larger_than_they_are() -> None:
    """Known truth: of two surfaces with equal texture the windows change hands at the silhouette itself."""
    bare, tested, fat = (
        reaches(stereo(smallest_island_px=30, **changes))
        for changes in ({}, {"least_margin": 0.05}, {"least_margin": 0.05, "fattening_columns": 3, "fattening_rows": 4})
    )
    assert np.abs(bare).max() < 2.0
    assert tested[0] < bare[0] - 0.3
    assert 1.0 < fat[0] - tested[0] < 5.0
    assert 2.0 < fat[1] - tested[1] < 6.0
    assert min(fat) > 1.0


def test_a_thin_thing_melts_into_what_is_behind_it() -> None:
    depth_m = wall(4.0)
    depth_m[:, 80] = 1.0
    measured = stereo(ambient=3.0).measure(frame_of(depth_m), (1, 2))
    assert float((np.abs(measured.depth_m[12:-12, 80] - 1.0) < 0.1).mean()) < 0.3


def test_no_texture_and_no_projector_is_no_measurement() -> None:
    grey = np.full((*CAMERA.size, 3), 128, np.uint8)
    dark = stereo(projector_power=0.0, max_sigma_px=0.25).measure(frame_of(wall(), grey), (1, 2))
    lit = stereo().measure(frame_of(wall(), grey), (1, 2))
    assert dark.valid[INSIDE].mean() < 0.05
    assert lit.valid[INSIDE].mean() > 0.99


def test_what_is_too_bright_is_lost_and_what_is_dark_is_noisy() -> None:
    rgb = np.full((*CAMERA.size, 3), 60, np.uint8)
    rgb[:, 80:] = 255
    measured = stereo(exposure=0.9, ambient=2.0).measure(frame_of(wall(), rgb), (1, 2))
    assert measured.valid[12:-12, 100:-16].mean() < 0.2
    dimmed = np.full((*CAMERA.size, 3), 200, np.uint8)
    dimmed[:, 80:] = 10
    depth_m = stereo(read_noise=0.03).measure(frame_of(wall(), dimmed), (1, 2)).depth_m
    light, dark = (20.0 / np.where(part > 0, part, 2.0) for part in (depth_m[12:-12, 32:68], depth_m[12:-12, 92:-16]))
    assert float(np.std(dark)) > 1.5 * float(np.std(light))


def spotted(spot: int, around: int) -> np.ndarray:
    """Return grey noise about ``around`` with a spot of 36 x 36 pixels."""
    rgb = np.random.default_rng(0).integers(around - 20, around + 20, (*CAMERA.size, 1), dtype=np.uint8).repeat(3, 2)
    rgb[40:76, 70:106] = spot
    return rgb


def test_nothing_is_seen_on_a_highlight_and_all_is_on_a_white_wall_in_the_sun() -> None:
    camera = replace(CAMERA, fx=400.0, fy=400.0)
    sensor = stereo(baseline_m=0.05, projector_power=1.0, max_sigma_px=0.25, smallest_island_px=0)
    spot = np.s_[48:68, 78:98]
    on_spot = sensor.measure(frame_of(wall(), spotted(255, 120), camera), (1, 2)).valid
    assert on_spot[spot].mean() == 0.0
    assert on_spot[12:-12, 32:60].mean() > 0.99
    assert sensor.measure(frame_of(wall(), spotted(200, 120), camera), (1, 2)).valid[spot].mean() > 0.99
    without = sensor.model_copy(update={"highlight_light": 0.0})
    assert without.measure(frame_of(wall(), spotted(255, 120), camera), (1, 2)).valid[spot].mean() > 0.99
    sunlit = spotted(255, 120)
    sunlit[:, :100] = 255  # two thirds of the view
    assert sensor.measure(frame_of(wall(), sunlit, camera), (1, 2)).valid[INSIDE].mean() > 0.99


def test_a_room_twice_as_bright_is_exposed_half_as_long() -> None:
    lights = {"ambient": 0.3, "projector_power": 0.22}
    once = stereo(**lights).measure(frame_of(wall()), (1, 2))
    twice = stereo(**{name: 2 * light for name, light in lights.items()}).measure(frame_of(wall()), (1, 2))
    assert (once.depth_m == twice.depth_m).mean() > 0.99


def test_what_the_longest_exposure_leaves_dark_is_noisy() -> None:
    spread = []
    for most in (8.0, 0.5):
        depth_m = stereo(most_gain=most).measure(frame_of(wall()), (1, 2)).depth_m[INSIDE]
        spread.append(float(np.std(20.0 / depth_m[depth_m > 0])))
    assert spread[1] > 2 * spread[0]


def corner_from(metres_right: float, with_pose: bool = True) -> Frame:
    """Return two walls, at 1.5 and 2 m, seen from so far right of the origin, and which scene they are of."""
    columns = (np.arange(CAMERA.width) - CAMERA.cx) / CAMERA.fx
    depth_m = np.where(columns * 1.5 + metres_right < 0.0, 1.5, 2.0) * np.ones(CAMERA.size)
    pose = np.eye(4)
    pose[0, 3] = metres_right
    return replace(frame_of(depth_m), T_world_cam=pose if with_pose else None)


def albedo_of(frame: Frame, words: tuple[int, int], **changes: Any) -> np.ndarray:
    sensor = stereo(**changes)
    return sensor._albedo(frame, sensor._disparity(frame.depth_m, CAMERA.fx), CAMERA.fx, words)


def test_a_surface_without_colour_has_one_albedo_from_wherever_it_is_seen() -> None:
    """A step of 10 pixels at 2 m: what both frames see of that wall is the same, moved."""
    words = [frame_words(3, f"test/scene/{number}") for number in range(2)]
    here, there = (albedo_of(corner_from(x), each) for x, each in zip((0.0, 0.1), words, strict=True))
    seen = here[:, 92:150]
    np.testing.assert_allclose(there[:, 82:140], seen, atol=0.03)
    assert float(seen.std()) > 0.08
    assert abs(float(seen.mean()) - 0.45) < 0.05
    other = albedo_of(corner_from(0.1), frame_words(3, "test/another/0"))
    assert np.corrcoef(other[:, 82:140].ravel(), seen.ravel())[0, 1] < 0.3


def test_without_a_pose_every_frame_has_an_albedo_of_its_own() -> None:
    words = [frame_words(3, f"test/scene/{number}") for number in range(2)]
    here, there = (albedo_of(corner_from(0.0, with_pose=False), each) for each in words)
    assert abs(np.corrcoef(here.ravel(), there.ravel())[0, 1]) < 0.3
    np.testing.assert_array_equal(here, albedo_of(corner_from(0.0, with_pose=False), words[0]))


def test_the_made_up_albedo_varies_over_the_length_asked_for_whatever_is_matched() -> None:
    """At 2 m and f = 200 a length of 0.08 m is 8 pixels; at twice the focal length it is 16 of the sensor's."""
    lags = []
    for scale in (1, 2):
        fields = []
        for number in range(12):
            disparity = np.full((120 * scale, 160 * scale), 10.0 * scale, np.float32)
            sensor = stereo(albedo_length_m=0.08, darkest_albedo=0.0)
            field = sensor._albedo(frame_of(wall()), disparity, 200.0 * scale, (number, 5)) - 0.45
            fields.append((field[:, : -8 * scale] * field[:, 8 * scale :]).mean() / (field**2).mean())
        lags.append(float(np.mean(fields)))
    np.testing.assert_allclose(lags, 1 / np.e, atol=0.08)


def test_the_second_image_ends_where_the_first_does() -> None:
    native = stereo().measure(frame_of(wall(1.0)), (1, 2)).valid
    aligned = stereo(blank_band=False).measure(frame_of(wall(1.0)), (1, 2)).valid
    assert not native[:, :17].any()
    assert native[12:-12, 26:-12].mean() > 0.99
    assert aligned[12:-12, 4:].mean() > 0.95


def test_an_imager_on_the_left_is_one_on_the_right_of_the_mirrored_scene() -> None:
    depth_m = wall_with_box()
    rgb = np.random.default_rng(0).integers(0, 256, (*CAMERA.size, 3), dtype=np.uint8)
    left = stereo(second_imager="left").measure(frame_of(depth_m, rgb), (1, 2))
    right = stereo().measure(frame_of(depth_m[:, ::-1], rgb[:, ::-1]), (1, 2))
    np.testing.assert_array_equal(left.depth_m, right.depth_m[:, ::-1])


def test_images_may_be_matched_at_another_size_than_the_frame() -> None:
    """Half the focal length, half the disparity: twice the noise in depth, in blocks of two pixels."""
    own = stereo().measure(frame_of(wall(1.3)), (1, 2))
    half = stereo(focal_length_px=100.0).measure(frame_of(wall(1.3)), (1, 2))
    spread = [float(np.std(1 / each.depth_m[INSIDE][each.valid[INSIDE]])) for each in (own, half)]
    assert spread[1] > 1.3 * spread[0]
    pairs = half.depth_m[:, ::2], half.depth_m[:, 1::2]
    np.testing.assert_array_equal(*pairs)


def test_limits_are_kept() -> None:
    assert not stereo(max_disparity_px=15.0).measure(frame_of(wall(1.0)), (1, 2)).valid.any()
    assert not stereo(max_depth_m=1.5).measure(frame_of(wall(2.0)), (1, 2)).valid.any()


def test_every_device_has_its_own_error_and_keeps_it() -> None:
    """The mean over frames tends to the device's error, which another device does not share."""

    def mean_error(seed: int, first: int) -> np.ndarray:
        sensor = stereo(device_seed=seed, device_sigma_px=0.3, device_length_px=20.0)
        frames = [sensor.measure(frame_of(wall()), (first, number)).depth_m for number in range(4)]
        return (20.0 / np.mean(frames, axis=0).clip(1))[INSIDE].ravel()

    one, again, other = mean_error(1, 0), mean_error(1, 9), mean_error(2, 0)
    assert np.corrcoef(one, again)[0, 1] > 0.8
    assert abs(np.corrcoef(one, other)[0, 1]) < 0.5


def test_images_of_absurd_size_are_refused_with_the_way_out() -> None:
    with pytest.raises(FrameError, match="too large") as raised:
        stereo(focal_length_px=40_000.0).measure(frame_of(wall()), (1, 2))
    assert "200 times the frame's fx of 200" in str(raised.value.found)
    assert "reframe" in str(raised.value.remedy)


def test_the_longest_search_tells_disparities_apart() -> None:
    """Keys of the search hold disparities below 1024: twice the limit and what lies beyond stays below."""
    camera = Camera(fx=200.0, fy=200.0, cx=499.5, cy=11.5, width=1000, height=24)
    depth_m = np.full(camera.size, 0.055)  # 364 px at a baseline of 0.1 m
    depth_m[:, :400] = 0.02  # 1000 px, beyond the limit
    measured = stereo(max_disparity_px=400.0, beyond_px=64).measure(frame_of(depth_m, camera=camera), (1, 2))
    seen = measured.depth_m[measured.valid]
    assert seen.size > 100
    np.testing.assert_allclose(np.median(seen), 0.055, rtol=0.01)
    with pytest.raises(ValidationError):
        stereo(max_disparity_px=401.0)


def test_a_texture_that_repeats_is_lost_where_a_margin_is_asked_for() -> None:
    stripes = np.where(np.arange(CAMERA.width) // 2 % 2, 60, 220).astype(np.uint8)
    rgb = np.broadcast_to(stripes[None, :, None], (*CAMERA.size, 3)).copy()
    sensor = stereo(projector_power=0.0, beyond_px=6)
    kept = sensor.measure(frame_of(wall(), rgb), (1, 2)).valid[INSIDE].mean()
    asked = sensor.model_copy(update={"least_margin": 0.02}).measure(frame_of(wall(), rgb), (1, 2))
    assert kept > 0.3
    assert asked.valid[INSIDE].mean() < 0.3 * kept


def test_a_slow_error_has_the_spread_and_the_length_asked_for() -> None:
    sensor = stereo(slow_sigma_px=0.4, slow_length_px=6.0, steps_per_px=4096)
    depth_m = sensor.measure(frame_of(wall()), (1, 2)).depth_m[INSIDE]
    error = 20.0 / depth_m.clip(1) - 10.0
    assert 0.3 < float(np.std(error)) < 0.5
    error = error - error.mean()
    lag = float((error[:, :-6] * error[:, 6:]).mean() / (error**2).mean())
    assert 0.2 < lag < 0.55  # 1/e


def test_a_hole_and_an_island_stay_out() -> None:
    depth_m = wall()
    depth_m[40:60, 60:100] = 0
    measured = stereo().measure(frame_of(depth_m), (1, 2))
    assert not measured.valid[40:60, 60:100].any()
    lone = np.zeros(CAMERA.size)
    lone[60:63, 80:83] = 2.0
    assert not stereo().measure(frame_of(lone), (1, 2)).valid.any()


def test_colour_in_another_layout_changes_nothing() -> None:
    rgb = np.random.default_rng(0).integers(0, 256, (*CAMERA.size, 3), dtype=np.uint8)
    frame = frame_of(wall(), rgb)
    again = replace(frame, rgb=np.asfortranarray(rgb))
    np.testing.assert_array_equal(stereo().measure(frame, (1, 2)).depth_m, stereo().measure(again, (1, 2)).depth_m)


@pytest.mark.parametrize(
    ("name", "baseline_m", "nearest_m"),
    [
        ("d405", 0.018, 0.064),
        ("d415", 0.055, 0.29),
        ("d435", 0.05, 0.168),
        ("d435i", 0.05, 0.254),
        ("d455", 0.095, 0.322),
        ("gemini_335", 0.05, 0.254),
    ],
)
def test_presets_are_the_cameras_of_their_data_sheets(name: str, baseline_m: float, nearest_m: float) -> None:
    camera = parse_sensor(name)
    assert isinstance(camera, MatchedStereo)
    assert camera.baseline_m == baseline_m
    assert camera.focal_length_px is not None
    assert camera.focal_length_px * baseline_m / camera.max_disparity_px == pytest.approx(nearest_m, abs=0.002)


def test_a_camera_without_a_projector_measures_texture_alone() -> None:
    rgb = np.full((*CAMERA.size, 3), 128, np.uint8)
    rgb[:, 80:] = np.random.default_rng(0).integers(0, 256, (CAMERA.height, 80, 1), dtype=np.uint8)
    camera = parse_sensor({"preset": "d405", "focal_length_px": CAMERA.fx})
    valid = camera.measure(frame_of(wall(0.3), rgb), (1, 2)).valid
    assert not valid[12:-12, 16:64].any()
    assert valid[12:-12, 92:-12].mean() > 0.99


def test_depth_aligned_to_a_camera_beside_has_the_shadow_of_both_baselines() -> None:
    """Jump of 15 px at a baseline of 0.1 m; each centimetre to the right adds 1.5 px to the shadow."""

    def shadow_px(offset_m: float) -> float:
        sensor = stereo(blank_band=False, aligned_offset_m=offset_m)
        valid = sensor.measure(frame_of(wall_with_box()), (1, 2)).valid[45:75, 30:75]
        return float(np.median((~valid).sum(axis=1)))

    own, beside, behind = shadow_px(0.001), shadow_px(0.04), shadow_px(-0.04)
    assert beside - own == pytest.approx(6, abs=2)
    assert own - behind == pytest.approx(6, abs=2)


def test_depth_aligned_to_a_camera_beside_is_where_that_camera_sees_it() -> None:
    depth_m = wall_with_box()
    measured = stereo(blank_band=False, aligned_offset_m=0.04).measure(frame_of(depth_m), (1, 2))
    inside = measured.valid & (depth_m == 1.0)
    inside[:, :74] = inside[:, 116:] = False
    assert inside[34:86, 74:116].mean() > 0.95
    assert (np.abs(measured.depth_m[inside] - 1.0) < 0.03).mean() > 0.98


def test_the_rim_of_a_near_thing_is_not_matched_between_it_and_what_is_behind() -> None:
    """Without the projector's shadow the same dots lie on both, and match at a disparity in the middle."""
    depth_m = np.full((160, 360), 1.2, np.float32)
    depth_m[30:130, 120:260] = 0.35
    camera = Camera(400.0, 400.0, 179.5, 79.5, 360, 160)
    frame = Frame("a/b/0", depth_m, depth_m > 0, camera, rgb=np.full((160, 360, 3), 128, np.uint8))
    sensor = parse_sensor({"preset": "d435i", "focal_length_px": 400.0, "blank_band": False})
    measured = sensor.measure(frame, (0, 1))
    between = measured.valid & (measured.depth_m > 0.42) & (measured.depth_m < 1.0)
    assert between.mean() < 0.001
