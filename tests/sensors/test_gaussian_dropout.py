"""Gaussian noise and drop-out: every parameter measured on what it makes."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from depthforge.sensors.base import Sensor
from depthforge.sensors.gaussian_dropout import GaussianDropout, beside_edges, simulate
from depthforge.sensors.preset import parse_sensor
from depthforge.testing.sensors import SensorTests

Float32 = npt.NDArray[np.float32]
SIZE = (200, 300)
NUM_PIXELS = SIZE[0] * SIZE[1]
QUIET = GaussianDropout(sigma_quadratic_per_m=0)


class TestPresetContract(SensorTests):
    @pytest.fixture
    def sensor(self) -> Sensor:
        return parse_sensor("gaussian_dropout")


class TestDefaultContract(SensorTests):
    @pytest.fixture
    def sensor(self) -> Sensor:
        return GaussianDropout()


def wall(z: float, size: tuple[int, int] = SIZE) -> Float32:
    return np.full(size, z, np.float32)


def measured(depth_m: Float32, sensor: GaussianDropout, seed: int = 1) -> tuple[Float32, npt.NDArray[np.bool_]]:
    return simulate(depth_m, depth_m > 0, (seed, 2), sensor)


def with_(**change: Any) -> GaussianDropout:
    return GaussianDropout.model_validate({"sigma_quadratic_per_m": 0, **change})


def test_without_noise_and_drop_out_depth_is_left_as_it_is() -> None:
    depth_m = np.linspace(0.1, 70, NUM_PIXELS, dtype=np.float32).reshape(SIZE)
    noisy_m, valid = measured(depth_m, QUIET)
    np.testing.assert_array_equal(noisy_m, depth_m)
    assert valid.all()


@pytest.mark.parametrize("z", [0.5, 2.0, 6.0])
@pytest.mark.parametrize("correlation_px", [0.0, 3.0])
def test_sigma_is_the_polynomial_of_depth(z: float, correlation_px: float) -> None:
    sensor = with_(
        sigma_constant_m=0.002, sigma_linear=0.001, sigma_quadratic_per_m=0.0015, correlation_px=correlation_px
    )
    error_m = (measured(wall(z), sensor)[0] - np.float32(z)).astype(np.float64)
    sigma_m = 0.002 + 0.001 * z + 0.0015 * z**2
    # A correlated field holds fewer independent draws: one for each area of about 2 pi (length / 2)^2 pixels.
    independent = NUM_PIXELS / max(1.0, 1.6 * correlation_px**2)
    assert error_m.std() == pytest.approx(sigma_m, rel=4 / (2 * independent) ** 0.5)
    assert error_m.mean() == pytest.approx(0, abs=4 * sigma_m / independent**0.5)


def test_default_noise_is_that_of_the_kinect_as_published() -> None:
    error_m = measured(wall(1), GaussianDropout())[0] - 1
    assert error_m.std() == pytest.approx(0.001425, rel=0.02)


@pytest.mark.parametrize("length_px", [2.0, 5.0])
def test_correlation_falls_to_1_over_e_at_the_length(length_px: float) -> None:
    error_m = measured(wall(2), with_(sigma_constant_m=0.01, correlation_px=length_px))[0] - 2
    lag = int(length_px)
    for moved, still in ((error_m[lag:], error_m[:-lag]), (error_m[:, lag:], error_m[:, :-lag])):
        assert np.corrcoef(moved.ravel(), still.ravel())[0, 1] == pytest.approx(np.exp(-1), abs=0.06)


def test_white_noise_is_white() -> None:
    error_m = measured(wall(2), with_(sigma_constant_m=0.01))[0] - 2
    assert abs(np.corrcoef(error_m[:, 1:].ravel(), error_m[:, :-1].ravel())[0, 1]) < 4 / NUM_PIXELS**0.5


@pytest.mark.parametrize("probability", [0.0, 0.01, 0.4, 1.0])
def test_pixels_drop_out_at_their_rate(probability: float) -> None:
    share = (~measured(wall(2), with_(pixel_dropout=probability))[1]).mean()
    assert share == pytest.approx(probability, abs=4 * (probability * (1 - probability) / NUM_PIXELS) ** 0.5)


@pytest.mark.parametrize(("share", "blob_px"), [(0.03, 4.0), (0.3, 4.0), (0.1, 12.0)])
def test_blobs_leave_out_their_share_of_the_image_in_pieces_of_their_size(share: float, blob_px: float) -> None:
    sensor = with_(blob_dropout=share, blob_px=blob_px)
    holes = np.array([~measured(wall(2), sensor, seed)[1] for seed in range(12)])
    blobs = holes.size / (2 * np.pi * blob_px**2)
    assert holes.mean() == pytest.approx(share, abs=4 * (share * (1 - share) / blobs) ** 0.5)
    # Neighbours of a hole are holes, pixels far from it no more often than any.
    near = holes[:, :, 1:][holes[:, :, :-1]].mean()
    far = holes[:, :, 60:][holes[:, :, :-60]].mean()
    assert near > 0.65
    assert far == pytest.approx(share, abs=0.6 * share)


def test_drop_outs_are_independent_of_each_other_and_of_the_noise() -> None:
    sensor = with_(pixel_dropout=0.3, blob_dropout=0.2, blob_px=2, sigma_constant_m=0.01)
    noisy_m, valid = measured(wall(2), sensor)
    assert valid.mean() == pytest.approx(0.7 * 0.8, abs=0.02)
    error_m = noisy_m[valid] - 2
    assert error_m.mean() == pytest.approx(0, abs=4 * 0.01 / valid.sum() ** 0.5)
    np.testing.assert_array_equal(error_m, (measured(wall(2), with_(sigma_constant_m=0.01))[0] - 2)[valid])


@settings(max_examples=25, deadline=None)
@given(size=st.tuples(st.integers(1, 20), st.integers(1, 20)), seed=st.integers(0, 1000), edge_px=st.integers(1, 6))
def test_edges_are_where_neighbours_jump_and_what_is_near(size: tuple[int, int], seed: int, edge_px: int) -> None:
    rng = np.random.default_rng(seed)
    depth_m = rng.choice([0, 1, 1.02, 1.5], size, p=[0.1, 0.55, 0.3, 0.05]).astype(np.float32)
    jumps = np.zeros(size, np.bool_)
    for y, x in np.ndindex(size):
        for b, a in ((y, x + 1), (y + 1, x)):
            if b < size[0] and a < size[1]:
                near, far = sorted((float(depth_m[y, x]), float(depth_m[b, a])))
                jumps[y, x] |= 0 < near * 1.05 < far
                jumps[b, a] |= 0 < near * 1.05 < far
    expected = np.zeros(size, np.bool_)
    for y, x in np.argwhere(jumps):
        expected[max(0, y - edge_px + 1) : y + edge_px, max(0, x - edge_px + 1) : x + edge_px] = True
    np.testing.assert_array_equal(beside_edges(depth_m, with_(edge_px=edge_px)), expected)


def test_pixels_beside_an_edge_drop_out_at_their_rate_and_no_others() -> None:
    depth_m = wall(2)
    depth_m[:, 150:] = 3
    valid = np.array([measured(depth_m, with_(edge_dropout=0.6, edge_px=3), seed)[1] for seed in range(4)])
    assert (~valid[:, :, 147:153]).mean() == pytest.approx(0.6, abs=4 * (0.24 / (4 * 200 * 6)) ** 0.5)
    assert valid[:, :, :147].all()
    assert valid[:, :, 153:].all()
    both = measured(depth_m, with_(edge_dropout=0.5, edge_px=3, pixel_dropout=0.2))[1]
    assert both[:, 147:153].mean() == pytest.approx(0.5 * 0.8, abs=0.06)
    assert both[:, :147].mean() == pytest.approx(0.8, abs=0.02)


def test_measured_depth_stays_in_the_range() -> None:
    depth_m = np.tile(np.linspace(0.1, 5, 300, dtype=np.float32), (200, 1))
    noisy_m, valid = measured(depth_m, with_(sigma_constant_m=0.05, min_depth_m=0.5, max_depth_m=4))
    assert noisy_m[valid].min() >= 0.5
    assert noisy_m[valid].max() <= 4
    assert valid[:, (depth_m[0] > 0.8) & (depth_m[0] < 3.7)].all()
    # At the limit itself half of the noise is beyond it.
    at_limit = measured(wall(4), with_(sigma_constant_m=0.05, max_depth_m=4))[1]
    assert at_limit.mean() == pytest.approx(0.5, abs=0.02)


@pytest.mark.parametrize(
    "change",
    [
        {"sigma_constant_m": -0.1},
        {"pixel_dropout": 1.5},
        {"blob_dropout": 1.0},
        {"edge_px": 0},
        {"min_depth_m": 3, "max_depth_m": 2},
        {"sigma_linear": float("nan")},
    ],
)
def test_bounds_of_the_parameters(change: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        GaussianDropout.model_validate(change)
