"""Dex-Net noise: the gamma law of the factor, the rate, and the resized field against an imaging library."""

from __future__ import annotations

from typing import Any, Literal

import numpy as np
import numpy.typing as npt
import pytest
from pydantic import ValidationError

from depthforge.sensors.base import Sensor
from depthforge.sensors.dexnet import DexNet, additive_noise, gamma_factor, simulate
from depthforge.sensors.draws import standard_normals
from depthforge.sensors.preset import parse_sensor
from depthforge.sensors.spread import interpolation_taps, spread
from depthforge.testing.sensors import SensorTests

WALL = np.full((40, 52), 0.7, np.float32)
ALWAYS = DexNet(gamma_shape=None, additive_rate=1)


class TestPresetContract(SensorTests):
    @pytest.fixture
    def sensor(self) -> Sensor:
        return parse_sensor("dexnet")


class TestAlwaysContract(SensorTests):
    @pytest.fixture
    def sensor(self) -> Sensor:
        return DexNet(additive_rate=1, interpolation="linear", downscale=7.5)


def test_the_preset_is_the_published_noise() -> None:
    sensor = parse_sensor("dexnet")
    assert isinstance(sensor, DexNet)
    assert sensor.model_dump() == {
        "name": "dexnet",
        "preset": "dexnet",
        "gamma_shape": 1000.0,
        "additive_sigma_m": 0.005,
        "additive_rate": 0.5,
        "downscale": 4.0,
        "interpolation": "cubic",
    }


@pytest.mark.parametrize("shape", [4.0, 1000.0])
def test_factors_follow_the_gamma_law(shape: float) -> None:
    from scipy.stats import gamma, kstest

    factors = [float(gamma_factor((seed, 7), DexNet(gamma_shape=shape))) for seed in range(2000)]
    assert np.mean(factors) == pytest.approx(1, abs=4 / (shape * 2000) ** 0.5)
    assert np.std(factors) == pytest.approx(shape**-0.5, rel=0.1)
    assert kstest(factors, gamma(shape, scale=1 / shape).cdf).pvalue > 1e-3


def test_without_additive_noise_the_image_is_scaled_by_one_factor() -> None:
    sensor = DexNet(additive_rate=0)
    depth_m = np.linspace(0.4, 1.2, WALL.size, dtype=np.float32).reshape(WALL.shape)
    noisy_m, _ = simulate(depth_m, depth_m > 0, (5, 6), sensor)
    np.testing.assert_array_equal(noisy_m, depth_m * gamma_factor((5, 6), sensor))
    same, valid = simulate(depth_m, depth_m > 0, (5, 6), DexNet(additive_rate=0, gamma_shape=None))
    np.testing.assert_array_equal(same, depth_m)
    assert valid.all()


@pytest.mark.parametrize("rate", [0.0, 0.2, 0.5, 1.0])
def test_the_share_of_images_with_additive_noise_is_the_rate(rate: float) -> None:
    sensor = DexNet(additive_rate=rate)
    share = np.mean([additive_noise((seed, 1), (4, 4), sensor) is not None for seed in range(2000)])
    assert share == pytest.approx(rate, abs=4 * (rate * (1 - rate) / 2000) ** 0.5)


def test_the_factor_and_the_choice_of_images_are_independent() -> None:
    factors = np.array([gamma_factor((seed, 1), DexNet()) for seed in range(1000)])
    has_noise = np.array([additive_noise((seed, 1), (4, 4), DexNet()) is not None for seed in range(1000)])
    assert abs(np.corrcoef(factors, has_noise)[0, 1]) < 4 / 1000**0.5


@pytest.mark.parametrize("kind", ["cubic", "linear"])
@pytest.mark.parametrize(("grid_size", "size"), [((10, 13), (40, 52)), ((7, 5), (37, 23)), ((6, 6), (6, 6))])
def test_the_grid_is_resized_as_an_imaging_library_does(
    kind: Literal["cubic", "linear"], grid_size: tuple[int, int], size: tuple[int, int]
) -> None:
    image = pytest.importorskip("PIL.Image")
    grid = standard_normals((1, 2), grid_size)
    resample = image.Resampling.BICUBIC if kind == "cubic" else image.Resampling.BILINEAR
    expected = np.asarray(image.fromarray(grid).resize(size[::-1], resample))
    rows, columns = (interpolation_taps(n, to, kind) for n, to in zip(grid_size, size, strict=True))
    np.testing.assert_allclose(spread(grid, rows, columns), expected, atol=2e-6)


@pytest.mark.parametrize(("kind", "shrink"), [("cubic", 0.835), ("linear", 0.70)])
def test_sigma_is_that_of_the_grid(kind: Literal["cubic", "linear"], shrink: float) -> None:
    sensor = DexNet(gamma_shape=None, additive_rate=1, interpolation=kind)
    fields = [simulate(WALL, WALL > 0, (seed, 3), sensor)[0] - 0.7 for seed in range(200)]
    # Over the pixels, sigma times the root mean square of the weights' sum of squares.
    rms = np.prod([(interpolation_taps(n // 4, n, kind).weight ** 2).sum(axis=1).mean() for n in WALL.shape]) ** 0.5
    assert np.std(fields) == pytest.approx(0.005 * float(rms), rel=0.02)
    assert float(rms) == pytest.approx(shrink, abs=0.03)


def correlation(fields: npt.NDArray[np.float32], lag: int) -> float:
    return float(np.corrcoef(fields[:, :, lag:].ravel(), fields[:, :, :-lag].ravel())[0, 1])


def test_noise_is_smooth_over_the_grid_and_white_beyond() -> None:
    fields = np.array([simulate(WALL, WALL > 0, (seed, 3), ALWAYS)[0] - 0.7 for seed in range(60)])
    assert correlation(fields, 1) > 0.9
    assert abs(correlation(fields, 16)) < 0.08


def test_what_noise_takes_below_zero_is_a_hole() -> None:
    near = np.full((60, 60), 0.005, np.float32)
    noisy_m, valid = simulate(near, near > 0, (1, 1), ALWAYS)
    assert 0.05 < (~valid).mean() < 0.2  # the normal law says 11 % beyond 1.2 sigma of 4.2 mm
    assert not noisy_m[~valid].any()


@pytest.mark.parametrize(
    "change", [{"gamma_shape": 0}, {"additive_rate": 1.1}, {"downscale": 0.5}, {"interpolation": "nearest"}]
)
def test_bounds_of_the_parameters(change: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        DexNet.model_validate(change)


def test_taps_that_reach_beyond_the_grid_are_refused() -> None:
    taps = interpolation_taps(8, 20, "cubic")
    with pytest.raises(ValueError, match="beyond a grid"):
        spread(np.zeros((7, 8), np.float32), taps, taps)
