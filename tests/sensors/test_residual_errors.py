"""Slow errors, a device's own and outliers: their laws, and that each sensor has them as large as asked for."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from depthforge.frame import Camera, Frame
from depthforge.geometry import ray_cosine
from depthforge.sensors.active_stereo import ActiveStereo
from depthforge.sensors.base import Sensor
from depthforge.sensors.fields import stretched
from depthforge.sensors.gaussian_dropout import GaussianDropout
from depthforge.sensors.matched_stereo import MatchedStereo
from depthforge.sensors.preset import parse_sensor
from depthforge.sensors.redwood import Redwood
from depthforge.sensors.residual_errors import DepthErrors, DisparityErrors, device_error, outlier_factor, slow_error
from depthforge.sensors.structured_light import StructuredLight
from depthforge.sensors.time_of_flight import TimeOfFlight
from depthforge.testing.sensors import SensorTests

Errors = DisparityErrors | DepthErrors

SIZE = (120, 160)
CAMERA = Camera(fx=200.0, fy=200.0, cx=79.5, cy=59.5, width=160, height=120)
WALL_M = 2.0
DISPARITY_M_PX = 20.0  # of each below: 10 px at the wall
INSIDE = np.s_[12:-12, 32:-16]

OF_DISPARITY: dict[str, DisparityErrors] = {
    "structured_light": StructuredLight(
        focal_length_px=200.0,
        baseline_m=0.1,
        raw_scale_m=20.0 * 4096,
        steps_per_px=4096.0,
        noise_sigma_steps=0.0,
        shift_sigma_px=0.0,
        interpolate_px=8.0,
    ),
    "active_stereo": ActiveStereo(baseline_m=0.1, noise_sigma_px=0.0, steps_per_px=4096.0),
    "redwood": Redwood(
        depth_disparity_m_px=20.0,
        steps_per_px=4096.0,
        noise_sigma_px=0.0,
        shift_sigma_px=0.0,
        block_px=1,
        distortion="none",
    ),
    "matched_stereo": MatchedStereo(
        baseline_m=0.1, shot_noise=0.005, read_noise=0.002, max_sigma_px=1.0, steps_per_px=4096.0
    ),
}
OF_DEPTH: dict[str, DepthErrors] = {
    "time_of_flight": TimeOfFlight(base_noise_m=0.0, range_noise_m=0.0, multipath_albedo=0.0, max_depth_m=20.0),
    "gaussian_dropout": GaussianDropout(sigma_quadratic_per_m=0.0),
}
EVERY = OF_DISPARITY | OF_DEPTH


def wall(words_of: str = "0") -> Frame:
    depth_m = np.full(SIZE, WALL_M, np.float32)
    return Frame(f"test/scene/{words_of}", depth_m, depth_m > 0, CAMERA)


def error_of(sensor: Errors, words: tuple[int, int] = (1, 2)) -> np.ndarray:
    """The error in px of disparity, or of distance along the axis in metres, well inside the image."""
    depth_m = sensor.measure(wall(), words).depth_m[INSIDE].astype(np.float64)
    assert (depth_m > 0).mean() > 0.98
    depth_m[depth_m == 0] = WALL_M
    return DISPARITY_M_PX / depth_m - 10.0 if isinstance(sensor, DisparityErrors) else depth_m - WALL_M


def changed(sensor: Errors, **changes: Any) -> Errors:
    return type(sensor)(**{name: getattr(sensor, name) for name in type(sensor).model_fields} | changes)


def in_unit(sensor: Errors, name: str) -> str:
    return f"{name}_px" if isinstance(sensor, DisparityErrors) else f"{name}_m"


@pytest.fixture(params=list(EVERY))
def sensor(request: pytest.FixtureRequest) -> Errors:
    return EVERY[request.param]


@pytest.mark.parametrize("name", list(EVERY))
class TestEachWithAllErrors(SensorTests):
    @pytest.fixture
    def sensor(self, name: str) -> Sensor:
        start = EVERY[name]
        small = {"smallest_island_px": 4} if name == "matched_stereo" else {}
        return changed(
            type(start)(),
            **{
                in_unit(start, "slow_sigma"): 0.05,
                in_unit(start, "device_sigma"): 0.05,
                "outlier_share": 0.05,
                **small,
            },
        )


def test_off_by_default_and_then_part_of_no_identity(sensor: Errors) -> None:
    assert type(sensor)().residual_errors(SIZE, (1, 2)) is None
    assert type(sensor)().identity.fields == {}
    assert type(sensor)().error_bytes(*SIZE) == 0


def test_a_map_is_where_it_says_with_the_amplitude_it_says(sensor: Errors) -> None:
    size = 0.5 if isinstance(sensor, DisparityErrors) else 0.02
    field = in_unit(sensor, "device_map")
    error = error_of(changed(sensor, **{field: ((-size, size), (-size, 3 * size))})) - error_of(sensor)
    expected = stretched(np.array([[-size, size], [-size, 3 * size]], np.float32), SIZE)
    if isinstance(sensor, TimeOfFlight):  # along the ray
        expected = expected * ray_cosine(CAMERA)
    np.testing.assert_allclose(error, expected[INSIDE], atol=0.05 * size)


def test_the_device_is_the_same_in_every_frame_and_another_by_its_seed(sensor: Errors) -> None:
    sigma = 0.3 if isinstance(sensor, DisparityErrors) else 0.02
    errors = [
        error_of(changed(sensor, **{in_unit(sensor, "device_sigma"): sigma, "device_seed": seed}), words)
        for seed, words in ((5, (1, 2)), (5, (8, 9)), (6, (1, 2)))
    ]
    assert np.corrcoef(errors[0].ravel(), errors[1].ravel())[0, 1] > 0.97
    assert abs(np.corrcoef(errors[0].ravel(), errors[2].ravel())[0, 1]) < 0.7
    drawn = device_error(5, SIZE, 40.0, has_seam=type(sensor).device_has_seam)[INSIDE]
    np.testing.assert_allclose(np.std(errors[0]), sigma * drawn.std(), rtol=0.1)


def test_a_map_takes_the_place_of_the_drawn_error(sensor: Errors) -> None:
    flat = {in_unit(sensor, "device_map"): ((0.0, 0.0), (0.0, 0.0)), in_unit(sensor, "device_sigma"): 0.5}
    np.testing.assert_array_equal(error_of(changed(sensor, **flat)), error_of(sensor))


def test_a_slow_error_has_the_size_asked_for_and_is_another_in_each_frame(sensor: Errors) -> None:
    sigma = 0.3 if isinstance(sensor, DisparityErrors) else 0.02
    slow = changed(sensor, **{in_unit(sensor, "slow_sigma"): sigma, "slow_length_px": 6.0})
    first, second = error_of(slow), error_of(slow, (3, 4))
    assert abs(np.corrcoef(first.ravel(), second.ravel())[0, 1]) < 0.3
    assert np.std([first, second]) == pytest.approx(sigma, rel=0.12)


def test_the_share_of_outliers_is_that_of_pixels_off_by_five_per_cent(sensor: Errors) -> None:
    wrong = changed(sensor, outlier_share=0.05, outlier_size_px=6.0)
    if isinstance(wrong, MatchedStereo):
        wrong = changed(wrong, smallest_island_px=0)
    off, seen = 0, 0
    for row in range(6):
        depth_m = wrong.measure(wall(), (row, 7)).depth_m[INSIDE]
        off += int((np.abs(depth_m - WALL_M)[depth_m > 0] > 0.05 * WALL_M).sum())
        seen += int((depth_m > 0).sum())
    assert off / seen == pytest.approx(0.05, rel=0.2)


@settings(max_examples=20, deadline=None)
@given(share=st.floats(0.002, 0.3), size_px=st.floats(2, 12))
def test_blobs_cover_the_share_with_either_sign_and_a_tail(share: float, size_px: float) -> None:
    factors = np.stack([outlier_factor(share, (200, 300), (11, row), size_px) for row in range(12)])
    wrong = factors[factors != 1]
    blobs = share * factors.size / (0.5 * size_px**2)  # about as many independent ones
    assert wrong.size / factors.size == pytest.approx(share, rel=0.05 + 5 / np.sqrt(blobs))
    assert np.abs(wrong - 1).min() >= 0.0599
    assert wrong.max() <= 1.9001
    assert wrong.min() >= 0.0999
    if blobs > 1000:
        assert 0.3 < (wrong > 1).mean() < 0.7
        assert np.median(np.abs(wrong - 1)) == pytest.approx(0.06 * 2**0.4, rel=0.1)
        assert np.quantile(np.abs(wrong - 1), 0.9) == pytest.approx(0.06 * 10**0.4, rel=0.3)


@settings(max_examples=20, deadline=None)
@given(length_px=st.floats(3, 12), sigma=st.floats(0.01, 3), word=st.integers(0, 2**64 - 1))
def test_the_autocorrelation_of_a_slow_error_is_gaussian(length_px: float, sigma: float, word: int) -> None:
    error = slow_error(sigma, (400, 400), (word, 1), length_px)
    assert error.std() == pytest.approx(sigma, rel=0.12)
    lag = round(length_px)
    for first, second in ((error[:, :-lag], error[:, lag:]), (error[:-lag], error[lag:])):
        correlation = np.corrcoef(first.ravel(), second.ravel())[0, 1]
        assert correlation == pytest.approx(np.exp(-((lag / length_px) ** 2)), abs=0.12)


@settings(max_examples=20, deadline=None)
@given(
    seed=st.integers(0, 2**63 - 1),
    length_px=st.floats(2, 60),
    has_seam=st.booleans(),
    height=st.integers(16, 90),
    width=st.integers(16, 90),
)
def test_a_drawn_device_has_unit_spread_and_nothing_affine(
    seed: int, length_px: float, has_seam: bool, height: int, width: int
) -> None:
    error = device_error(seed, (height, width), length_px, has_seam=has_seam).astype(np.float64)
    v, u = np.mgrid[:height, :width]
    assert error.std() == pytest.approx(1, abs=1e-4)
    for along in (np.ones_like(u), u - u.mean(), v - v.mean()):
        assert abs((error * along).mean()) < 1e-4 * np.abs(along).max()
    assert not error.flags.writeable or error.base is None
    again = device_error.__wrapped__(seed, (height, width), length_px, has_seam=has_seam)
    np.testing.assert_array_equal(again, error.astype(np.float32))


def test_a_seam_is_a_step_at_the_middle_column_and_nowhere_else() -> None:
    steps = np.abs(np.diff(device_error(3, (120, 160), 40.0, has_seam=True), axis=1)).mean(axis=0)
    smooth = np.abs(np.diff(device_error(3, (120, 160), 40.0), axis=1)).mean(axis=0)
    assert int(steps.argmax()) == 79
    assert steps[79] > 4 * np.delete(steps, 79).max()
    assert smooth[79] < 1.5 * np.median(smooth) + 0.05


def test_a_map_means_the_same_at_any_resolution() -> None:
    values = np.random.default_rng(0).normal(size=(12, 16)).astype(np.float32)
    full, half = stretched(values, (480, 640)), stretched(values, (240, 320))
    np.testing.assert_allclose(full.reshape(240, 2, 320, 2).mean(axis=(1, 3)), half, atol=0.02)
    np.testing.assert_array_equal(stretched(values, (12, 16)), values)
    assert stretched(values, (1, 1)).shape == (1, 1)


def test_a_device_of_a_mirrored_stereo_camera_stays_where_it_is() -> None:
    device_map = ((-0.5, 0.5), (-0.5, 0.5))
    start = changed(OF_DISPARITY["matched_stereo"], second_imager="left")
    error = error_of(changed(start, device_map_px=device_map)) - error_of(start)
    assert error[:, -10:].mean() > 0.3
    assert error[:, :10].mean() < -0.1


@pytest.mark.parametrize(
    ("rows", "says"),
    [
        (((0.0, 1.0), (2.0,)), "one length"),
        (((0.0, 1.0),), "2 to 96"),
        (tuple((0.0,) * 97 for _ in range(2)), "2 to 96"),
        (((0.0, 1.0), (2.0, 16.5)), "at most 16"),
        (((0.0, 1.0), (2.0, float("nan"))), "finite"),
    ],
)
def test_a_map_that_is_none_is_refused(rows: tuple[tuple[float, ...], ...], says: str) -> None:
    with pytest.raises(ValidationError, match=says):
        StructuredLight(device_map_px=rows)
    with pytest.raises(ValidationError, match=says):
        TimeOfFlight(device_map_m=rows)


def test_a_map_is_part_of_the_identity() -> None:
    rows = ((0.0, 1.0), (2.0, 3.0))
    sensor = StructuredLight(device_map_px=rows)
    assert sensor.identity.fields == {"device_map_px": [[0.0, 1.0], [2.0, 3.0]]}
    other = StructuredLight(device_map_px=((0.0, 1.0), (2.0, 3.5)))
    assert other.identity.fingerprint != sensor.identity.fingerprint


def test_an_azure_kinect_stays_within_the_systematic_error_of_its_data_sheet() -> None:
    azure = parse_sensor("azure_kinect")
    assert isinstance(azure, TimeOfFlight)
    for seed in range(3):
        largest = float(np.abs(device_error(seed, (576, 640), azure.device_length_px)).max())
        assert azure.device_sigma_m * largest + azure.wiggling_m < 0.011


def test_the_presets_of_a_kinect_and_of_drawn_stereo_have_their_own_devices() -> None:
    for name in ("kinect_v1", "d415_drawn", "d435_drawn", "d455_drawn"):
        sensor = parse_sensor(name)
        assert isinstance(sensor, DisparityErrors)
        assert sensor.device_sigma_px > 0 < sensor.slow_sigma_px, name
        assert 0 < sensor.outlier_share < 0.01, name


def test_octaves_of_a_slow_error_are_each_as_strong_and_twice_as_long() -> None:
    one, two, three = (slow_error(0.1, (480, 640), (3, 4), 8.0, octaves) for octaves in (1, 2, 3))
    assert three.std() == pytest.approx(np.sqrt(3) * one.std(), rel=0.15)
    second = two - one
    lagged = float((second[:, 16:] * second[:, :-16]).mean() / (second**2).mean())
    assert lagged == pytest.approx(np.exp(-1), abs=0.1)
