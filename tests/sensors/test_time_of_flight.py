"""Time of flight: noise by amplitude, mixed pixels, one bounce of light against plain sums, drop-out, range, cone."""

from __future__ import annotations

from statistics import NormalDist
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from pydantic import ValidationError

from depthforge.frame import Camera, Frame
from depthforge.geometry import normals_from_depth, pixel_rays, ray_cosine
from depthforge.sensors import tof_kernels as kernels
from depthforge.sensors.base import Sensor
from depthforge.sensors.preset import parse_sensor
from depthforge.sensors.surface import infrared_albedo, surface_of
from depthforge.sensors.time_of_flight import TimeOfFlight, lit_pixels
from depthforge.testing.sensors import SensorTests

WORDS = (11, 22)
CAMERA = Camera(fx=60.0, fy=60.0, cx=31.5, cy=23.5, width=64, height=48)
PERFECT: dict[str, Any] = {
    "base_noise_m": 0.0,
    "range_noise_m": 0.0,
    "footprint_px": 0.0,
    "edge_dropout": 0.0,
    "multipath_albedo": 0.0,
    "min_amplitude": 0.0,
    "amplitude_softness": 0.0,
    "min_depth_m": 0.0,
    "max_depth_m": 1000.0,
}

Depth = npt.NDArray[np.float32]


def tof(**changes: Any) -> TimeOfFlight:
    return TimeOfFlight(**{**PERFECT, **changes})


def frame_of(depth_m: npt.NDArray[Any], camera: Camera = CAMERA, rgb: npt.NDArray[np.uint8] | None = None) -> Frame:
    return Frame("test/scene/0", depth_m.astype(np.float32), depth_m > 0, camera, rgb=rgb)


def wall(z_m: float, camera: Camera = CAMERA) -> Depth:
    return np.full(camera.size, z_m, np.float32)


def slanted(tilt_deg: float, z_m: float = 2.0, camera: Camera = CAMERA) -> npt.NDArray[np.float64]:
    """A plane turned about the vertical axis."""
    x, _ = pixel_rays(camera)
    return np.tile(z_m / (1 - np.tan(np.deg2rad(tilt_deg)) * x), (camera.height, 1))


def amplitude_of(depth_m: npt.NDArray[Any], tilt_deg: float, camera: Camera = CAMERA) -> npt.NDArray[np.float64]:
    """cos / r^2 of such a plane."""
    x, _ = pixel_rays(camera)
    ray = ray_cosine(camera).astype(np.float64)
    tilt = np.deg2rad(tilt_deg)
    cosine = (np.cos(tilt) - np.sin(tilt) * x[None, :]) * ray
    amplitude: npt.NDArray[np.float64] = cosine / (depth_m / ray) ** 2
    return amplitude


def corner(camera: Camera = CAMERA, sign: float = 1.0) -> npt.NDArray[np.float64]:
    """Two walls at right angles that meet 2 m ahead; ``sign`` -1 is a corner that sticks out."""
    x, _ = pixel_rays(camera)
    return np.tile(2.0 / (1 + sign * np.abs(x)), (camera.height, 1))


class TestTimeOfFlight(SensorTests):
    @pytest.fixture
    def sensor(self) -> Sensor:
        return TimeOfFlight()


def test_a_perfect_sensor_measures_what_is_there() -> None:
    depth_m = slanted(40.0)
    measured = tof().measure(frame_of(depth_m), WORDS)
    assert measured.valid.all()
    np.testing.assert_allclose(measured.depth_m, depth_m, rtol=1e-6)


@pytest.mark.parametrize(("tilt_deg", "z_m"), [(0, 1), (0, 2), (0, 4), (50, 1), (50, 3), (-40, 2)])
def test_noise_along_the_ray_is_range_squared_over_cosine(tilt_deg: float, z_m: float) -> None:
    depth_m = slanted(tilt_deg, z_m)
    sensor = tof(range_noise_m=0.0001)
    ray = ray_cosine(CAMERA).astype(np.float64)
    errors = [(sensor.measure(frame_of(depth_m), (n, 0)).depth_m - depth_m) / ray for n in range(8)]
    expected_m = 0.0001 / amplitude_of(depth_m, tilt_deg)
    scaled = np.array(errors) / expected_m
    num = scaled.size
    assert scaled.std() == pytest.approx(1.0, abs=4 / np.sqrt(2 * num))
    assert abs(scaled.mean()) < 4 / np.sqrt(num)
    # Not on average alone: near and far, frontal and grazing.
    for columns in (slice(0, 20), slice(44, 64)):
        assert scaled[:, :, columns].std() == pytest.approx(1.0, abs=0.04)


def test_base_noise_adds_in_quadrature_and_is_the_same_everywhere() -> None:
    ray = ray_cosine(CAMERA).astype(np.float64)
    for range_noise_m, expected_m in ((0.0, 0.003), (0.004, None)):
        sensor = tof(base_noise_m=0.003, range_noise_m=range_noise_m)
        error = np.array([(sensor.measure(frame_of(wall(1.0)), (n, 0)).depth_m - 1.0) / ray for n in range(8)])
        sigma_m = np.hypot(0.003, range_noise_m / amplitude_of(wall(1.0), 0.0)) if expected_m is None else expected_m
        assert (error / sigma_m).std() == pytest.approx(1.0, abs=0.02)


def test_noise_can_be_correlated() -> None:
    error = tof(base_noise_m=0.01, noise_correlation_px=3.0).measure(frame_of(wall(2.0)), WORDS).depth_m - 2.0
    shared = (error[:, 1:] * error[:, :-1]).mean() / error.var()
    assert shared == pytest.approx(np.exp(-1 / 9), abs=0.06)


def test_dark_surfaces_are_noisier_and_the_reference_surface_is_not() -> None:
    grey = 128
    reference = float(infrared_albedo(0.1)[grey])
    sensor = tof(range_noise_m=0.001, darkest_albedo=0.1, reference_albedo=reference)
    plain = sensor.measure(frame_of(wall(1.0)), WORDS)
    same = sensor.measure(frame_of(wall(1.0), rgb=np.full((48, 64, 3), grey, np.uint8)), WORDS)
    np.testing.assert_allclose(same.depth_m, plain.depth_m, atol=1e-6)
    dark = sensor.measure(frame_of(wall(1.0), rgb=np.zeros((48, 64, 3), np.uint8)), WORDS)
    np.testing.assert_allclose(dark.depth_m - 1, (plain.depth_m - 1) * reference / 0.1, atol=2e-6)


@pytest.mark.parametrize("footprint_px", [0.5, 1.0, 2.0])
def test_mixed_pixels_fly_between_the_two_surfaces_beside_the_edge_only(footprint_px: float) -> None:
    camera = Camera(200.0, 200.0, 31.5, 199.5, 64, 400)
    depth_m = wall(3.0, camera)
    depth_m[:, :32] = 1.5
    measured = tof(footprint_px=footprint_px).measure(frame_of(depth_m, camera), WORDS).depth_m
    np.testing.assert_allclose(measured[:, :31], 1.5, rtol=1e-6)
    np.testing.assert_allclose(measured[:, 33:], 3.0, rtol=1e-6)
    beside = measured[:, 31:33]
    flying = (beside > 1.5 * 1.000001) & (beside < 3.0 * 0.999999)
    assert (flying | np.isclose(beside, 1.5) | np.isclose(beside, 3.0)).all()
    assert flying.mean() == pytest.approx(footprint_px / 2, abs=0.08)
    # The near surface is four times as bright: pixels of the far one are drawn to it, and not the other way.
    near, far = beside[:, 0][flying[:, 0]], beside[:, 1][flying[:, 1]]
    assert np.mean(near - 1.5) < 0.5 * np.mean(3.0 - far)


def test_the_sensor_filters_its_share_of_mixed_pixels_the_most_mixed_first() -> None:
    camera = Camera(200.0, 200.0, 31.5, 199.5, 64, 400)
    depth_m = wall(3.0, camera)
    depth_m[:, :32] = 1.5
    everything = tof(footprint_px=1.0).measure(frame_of(depth_m, camera), WORDS)
    flying = (everything.depth_m > 1.51) & (everything.depth_m < 2.99)
    filtered = tof(footprint_px=1.0, edge_dropout=0.6).measure(frame_of(depth_m, camera), WORDS)
    assert everything.valid.all()
    lost = ~filtered.valid
    assert not lost[:, :31].any()
    assert not lost[:, 33:].any()
    assert lost[:, 31:33].mean() == pytest.approx(0.6 / 2, abs=0.06)
    far = flying[:, 32]
    assert everything.depth_m[:, 32][far & lost[:, 32]].max() < everything.depth_m[:, 32][far & ~lost[:, 32]].min()
    np.testing.assert_array_equal(filtered.depth_m[filtered.valid], everything.depth_m[filtered.valid])
    none_left = tof(footprint_px=1.0, edge_dropout=1.0).measure(frame_of(depth_m, camera), WORDS)
    kept = none_left.depth_m[none_left.valid]
    assert (np.isclose(kept, 1.5) | np.isclose(kept, 3.0)).all()


def test_a_smooth_surface_has_no_mixed_pixels() -> None:
    depth_m = slanted(50.0)  # up to 0.3 m from pixel to pixel
    measured = tof(footprint_px=2.0, edge_jump_m=0.05, edge_dropout=1.0).measure(frame_of(depth_m), WORDS)
    np.testing.assert_allclose(measured.depth_m, depth_m, rtol=1e-6)


def test_a_corner_reads_too_far_most_of_all_at_its_edge() -> None:
    depth_m = corner()
    bias_m = tof(multipath_albedo=0.5).measure(frame_of(depth_m), WORDS).depth_m - depth_m
    assert bias_m.min() >= -1e-6
    profile = bias_m[20:28].mean(0)
    assert profile[28:36].mean() > 0.005
    assert profile[28:36].mean() > 2 * profile[[2, 3, 60, 61]].mean()
    brighter = tof(multipath_albedo=1.0).measure(frame_of(depth_m), WORDS).depth_m - depth_m
    assert (brighter[:, 20:44] > bias_m[:, 20:44]).all()


@pytest.mark.parametrize("depth_m", [slanted(0.0), slanted(45.0), corner(sign=-0.5)], ids=["wall", "slanted", "convex"])
def test_planes_and_convex_corners_have_no_multipath(depth_m: npt.NDArray[np.float64]) -> None:
    measured = tof(multipath_albedo=1.0).measure(frame_of(depth_m), WORDS)
    np.testing.assert_allclose(measured.depth_m, depth_m, atol=2e-5)


def test_one_bounce_is_the_sum_over_all_pairs() -> None:
    camera = Camera(fx=15.0, fy=14.0, cx=7.5, cy=5.5, width=16, height=12)
    x, y = pixel_rays(camera)
    depth_m = np.broadcast_to(2.0 / (1 + np.abs(x[None, :] - 0.1) + 0.2 * y[:, None]), (12, 16)).astype(np.float32)
    valid = np.ones((12, 16), np.bool_)
    valid[3, 4:7] = False
    surface = surface_of(depth_m, valid, camera)
    nodes = np.empty((10, 12, 16), np.float32)
    kernels.scatter_nodes(surface.inverse, (15.0, 14.0, 7.5, 5.5), 1, 1, nodes)
    bias = np.empty(12 * 16, np.float32)
    kernels.gather_light(nodes.reshape(10, -1), np.float32(0.4), np.float32(5.0), bias)

    # Where the cross product of central differences is defined, it agrees with the normals.
    normals = normals_from_depth(depth_m, valid, camera)
    known = (normals != 0).any(-1) & (np.abs(x[None, :] - 0.1) > 2 / 15)
    np.testing.assert_allclose(np.moveaxis(nodes[3:6], 0, -1)[known], normals[known], atol=2e-3)

    rays = np.stack(np.broadcast_arrays(x[None, :], y[:, None], 1.0), -1)
    point = (rays * depth_m[..., None]).reshape(-1, 3)
    distance = np.linalg.norm(point, axis=1)
    normal = np.moveaxis(nodes[3:6], 0, -1).reshape(-1, 3).astype(np.float64)
    cosine = -(normal * point).sum(1) / distance
    solid_angle = 1 / (15.0 * 14.0 * np.linalg.norm(rays, axis=-1).ravel() ** 3)
    seen = valid.ravel()
    for p in np.flatnonzero(seen)[::7]:
        step = point[p] - point
        length = np.linalg.norm(step, axis=1) + 1e-12
        leaving = (normal * step).sum(1) / length
        arriving = -(step @ normal[p]) / length
        area = solid_angle * distance**2 / np.maximum(cosine, 0.05)
        light = np.where(
            seen & (leaving > 1e-6) & (arriving > 1e-6),
            0.4 * solid_angle * leaving * arriving / (np.pi * length**2 + area),
            0,
        )
        phase = 5.0 * (distance + length - distance[p]) / 2
        light[phase >= np.pi] = 0
        direct = cosine[p] / distance[p] ** 2
        expected_m = (light * np.sin(phase)).sum() / (5.0 * (direct + light.sum()))
        assert bias[p] == pytest.approx(expected_m, rel=0.01, abs=1e-5)
    assert not bias[~seen].any()


@pytest.mark.parametrize("tilt_deg", [0.0, 60.0])
def test_amplitude_below_the_limit_is_no_measurement(tilt_deg: float) -> None:
    depth_m = slanted(tilt_deg, 2.0)
    amplitude = amplitude_of(depth_m, tilt_deg)
    limit = float(np.median(amplitude))
    valid = tof(min_amplitude=limit).measure(frame_of(depth_m), WORDS).valid
    clear = np.abs(amplitude / limit - 1) > 1e-3
    np.testing.assert_array_equal(valid[clear], (amplitude > limit)[clear])


def test_amplitude_flickers_by_a_normal_law() -> None:
    camera = Camera(4000.0, 4000.0, 63.5, 63.5, 128, 128)
    for z_m in (1.8, 2.0, 2.2):
        sensor = tof(min_amplitude=0.25, amplitude_softness=0.3)
        kept = sensor.measure(frame_of(wall(z_m, camera), camera), WORDS).valid.mean()
        assert kept == pytest.approx(NormalDist().cdf((1 - 0.25 * z_m**2) / 0.3), abs=0.02)


def test_dark_surfaces_drop_out_where_bright_ones_do_not_and_only_with_colour() -> None:
    rgb = np.full((48, 64, 3), 200, np.uint8)
    rgb[:, 32:] = 10
    sensor = tof(min_amplitude=0.04)
    assert sensor.measure(frame_of(wall(3.0)), WORDS).valid.all()
    valid = sensor.measure(frame_of(wall(3.0), rgb=rgb), WORDS).valid
    assert valid[10:38, 16:32].all()
    assert not valid[:, 32:].any()


def test_beyond_the_unambiguous_range_distance_starts_again() -> None:
    ray = ray_cosine(CAMERA).astype(np.float64)
    depth_m = slanted(20.0, 4.0)
    measured = tof(unambiguous_range_m=3.0).measure(frame_of(depth_m), WORDS).depth_m / ray
    np.testing.assert_allclose(measured, (depth_m / ray) % 3.0, atol=1e-5)


def test_the_range_is_of_measured_depth_and_exact() -> None:
    depth_m = slanted(45.0)
    measured = tof(min_depth_m=1.6, max_depth_m=2.5).measure(frame_of(depth_m), WORDS)
    np.testing.assert_array_equal(measured.valid, (depth_m >= 1.6) & (depth_m <= 2.5))
    noisy = tof(base_noise_m=0.3, min_depth_m=1.6, max_depth_m=2.5).measure(frame_of(depth_m), WORDS)
    kept = noisy.depth_m[noisy.valid]
    assert kept.min() >= 1.6
    assert kept.max() <= 2.5


def test_the_systematic_error_is_a_sine_of_an_eighth_of_the_wavelength() -> None:
    ray = ray_cosine(CAMERA).astype(np.float64)
    depth_m = slanted(60.0)
    sensor = tof(wiggling_m=0.01, modulation_mhz=100.0)
    error = sensor.measure(frame_of(depth_m), WORDS).depth_m / ray - depth_m / ray
    expected = 0.01 * np.sin(2 * np.pi * depth_m / ray / (2.99792458 / 8))
    np.testing.assert_allclose(error, expected, atol=3e-5)


def test_the_light_cone_is_a_hexagon_with_corners_left_and_right() -> None:
    camera = Camera(fx=50.0, fy=50.0, cx=50.0, cy=50.0, width=101, height=101)
    lit = lit_pixels(camera, "hexagon", (75.0, 65.0))
    half_x, half_y = 50 * np.tan(np.deg2rad(37.5)), 50 * np.tan(np.deg2rad(32.5))
    assert np.flatnonzero(lit[50]).tolist() == list(range(50 - int(half_x), 50 + int(half_x) + 1))
    assert np.flatnonzero(lit[:, 50]).tolist() == list(range(50 - int(half_y), 50 + int(half_y) + 1))
    top = 50 - int(half_y)
    assert lit[top].sum() == 2 * int(half_x * (1 - int(half_y) / (2 * half_y))) + 1
    circle = lit_pixels(camera, "circle", (75.0, 75.0))
    assert circle.sum() == pytest.approx(np.pi * half_x**2, rel=0.02)
    assert lit_pixels(camera, "full", (75.0, 65.0)).all()
    sensor = tof(light_cone="hexagon")
    np.testing.assert_array_equal(sensor.measure(frame_of(wall(1.0, camera), camera), WORDS).valid, lit)


@pytest.mark.parametrize(("z_m", "growth", "quantile"), [(2.0, 0.7, 0.0), (4.0, 0.7, 0.7), (4.0, 0.0, 0.0)])
def test_made_up_dark_patches_lose_their_share_and_more_with_depth(z_m: float, growth: float, quantile: float) -> None:
    sensor = tof(patch_share=0.2, patch_growth=growth, patch_size_px=8.0)
    frame = frame_of(wall(z_m))
    lost = np.mean([~sensor.measure(frame, (n, 0)).valid for n in range(30)])
    assert lost == pytest.approx(1 - NormalDist().cdf(NormalDist().inv_cdf(0.8) - quantile), abs=0.05)


def test_presets_are_the_cameras_of_their_data_sheets() -> None:
    azure, kinect = parse_sensor("azure_kinect"), parse_sensor("kinect_v2")
    for camera, nearest_m, farthest_m in ((azure, 0.5, 3.86), (kinect, 0.5, 4.5)):
        assert isinstance(camera, TimeOfFlight)
        assert (camera.min_depth_m, camera.max_depth_m) == (nearest_m, farthest_m)
        # A reference surface seen frontally is measured over the whole range, with less than 17 mm of noise.
        assert 1 / farthest_m**2 > 2 * camera.min_amplitude
        assert np.hypot(camera.base_noise_m, camera.range_noise_m * farthest_m**2) < 0.017
        assert camera.wiggling_m < 0.011


@pytest.mark.parametrize(("z_m", "spread_m"), [(1.0, 0.0025), (8.0, 0.0123)])
def test_a_scanned_spot_spreads_as_its_data_sheet_says(z_m: float, spread_m: float) -> None:
    """L515 on a target of 95 % reflectivity: 2.5 mm at 1 m, 15.5 mm at 9 m, between them by the model's law."""
    camera = Camera(fx=2000.0, fy=2000.0, cx=31.5, cy=23.5, width=64, height=48)
    measured = parse_sensor("l515").measure(frame_of(wall(z_m, camera), camera), WORDS)
    assert measured.valid.mean() > 0.9
    assert float(np.std(measured.depth_m[measured.valid])) == pytest.approx(spread_m, rel=0.06)
    assert not parse_sensor("l515").measure(frame_of(wall(9.1, camera), camera), WORDS).valid.any()


def test_the_same_module_in_another_camera_measures_the_same() -> None:
    frame = frame_of(slanted(30.0))
    azure, bolt = (parse_sensor(name).measure(frame, WORDS) for name in ("azure_kinect", "femto_bolt"))
    np.testing.assert_array_equal(azure.depth_m, bolt.depth_m)


def test_what_is_no_sensor_is_refused() -> None:
    for wrong in (
        {"min_depth_m": 4.0, "max_depth_m": 3.0},
        {"light_cone_deg": (0.0, 60.0)},
        {"light_cone": "square"},
        {"footprint_px": 3.0},
    ):
        with pytest.raises(ValidationError):
            TimeOfFlight(**wrong)  # type: ignore[arg-type]
