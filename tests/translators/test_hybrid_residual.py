"""What the physics leaves of an error: what is to be learnt, what is learnt, and what is drawn of it."""

from __future__ import annotations

import cv2
import numpy as np
import pytest
import torch
from torch.nn import functional

from depthforge.frame import Camera, Frame, NoisyDepth
from depthforge.sensors.fields import correlated_normals
from depthforge.sensors.residual_errors import ResidualSensor
from depthforge.sensors.structured_light import StructuredLight
from depthforge.sensors.time_of_flight import TimeOfFlight
from depthforge.translators.hybrid_residual import (
    FIELDS_PX,
    KEPT_SHARES,
    RESIDUAL_MAPS,
    ResidualMaps,
    drawn_error,
    likelihood,
    on_steps,
    target_of,
)

CAMERA = Camera(fx=144.0, fy=144.0, cx=79.5, cy=59.5, width=160, height=120)
SENSOR = StructuredLight(focal_length_px=600.0, baseline_m=0.08)


def wall(depth_m: float = 1.5) -> Frame:
    depth = np.full(CAMERA.size, depth_m, np.float32)
    return Frame("wall", depth, np.ones(CAMERA.size, np.bool_), CAMERA)


def with_error(frame: Frame, error: np.ndarray, sensor: ResidualSensor) -> np.ndarray:
    """Return what is measured where disparity is off by ``error`` typical errors."""
    disparity = sensor.in_error_unit(frame.depth_m, frame.camera) + error * sensor.typical_error
    return (48.0 / disparity).astype(np.float32)


@pytest.mark.parametrize(("length_px", "share"), list(zip(FIELDS_PX, KEPT_SHARES, strict=True)))
def test_the_shares_are_those_of_the_fields(length_px: float, share: float) -> None:
    left = []
    for seed in range(4):
        field = correlated_normals((seed, 1), (360, 480), length_px, stream=0)
        left.append(float(((field - cv2.blur(field, (31, 31), borderType=cv2.BORDER_REFLECT)) ** 2).mean()))
    assert np.mean(left) == pytest.approx(share, abs=0.02)


def test_an_error_is_told_in_typical_errors_without_its_mean_around_and_not_beside_edges() -> None:
    frame = wall()
    fine = np.where(np.arange(160) % 2 == 0, 1.0, -1.0) * np.ones((120, 1))
    scan_m = with_error(frame, fine + 0.7, SENSOR)
    scan_m[60, 80] = 0
    scan_m[20, 20] *= 1.2
    drawn = NoisyDepth(with_error(frame, 2 * fine, SENSOR), frame.valid)
    error, spread, counts = target_of(frame, scan_m, [drawn, drawn], SENSOR)
    assert counts[60, 80] == 0 == counts[20, 20]
    assert counts.mean() > 0.99
    inside = np.s_[20:100, 30:130]
    np.testing.assert_allclose(error[inside][counts[inside] > 0], fine[inside][counts[inside] > 0], atol=0.08)
    np.testing.assert_allclose(spread[inside], 4.0, rtol=0.08)  # a window of odd width is not quite without them

    step = np.where(np.arange(160) < 80, np.float32(1.5), np.float32(2.5)) * np.ones((120, 1), np.float32)
    jump = Frame("jump", step, frame.valid, CAMERA)
    _, _, counts = target_of(jump, step, [NoisyDepth(step, frame.valid)], SENSOR)
    assert not counts[:, 77:83].any()
    assert counts[:, :70].all()


def test_a_sensor_of_distance_errs_in_metres() -> None:
    frame, sensor = wall(), TimeOfFlight()
    fine = np.where(np.arange(160) % 2 == 0, np.float32(0.02), np.float32(-0.02)) * np.ones((120, 1), np.float32)
    drawn = NoisyDepth(frame.depth_m + fine / 2, frame.valid)
    error, spread, _ = target_of(frame, frame.depth_m + fine, [drawn], sensor)
    np.testing.assert_allclose(error[20:100, 30:130], fine[20:100, 30:130] / sensor.typical_error, atol=0.15)
    np.testing.assert_allclose(spread[20:100, 30:130], 1.0, rtol=0.1)


def test_the_likelihood_is_that_of_the_sum_of_variances() -> None:
    maps = ResidualMaps(
        torch.full((1, 1, 2, 2), 0.5), torch.tensor([1.0, 2.0, 4.0]).view(1, 3, 1, 1).expand(1, 3, 2, 2)
    )
    error, spread = torch.full((1, 1, 2, 2), 2.0), torch.full((1, 1, 2, 2), 0.25)
    counts = torch.tensor([[1.0, 0.0], [0.0, 0.0]])[None, None]
    shares = sum(share * each for share, each in zip(KEPT_SHARES, (1.0, 2.0, 4.0), strict=True))
    variance = 0.25 + 0.5 + shares
    expected = 0.5 * (np.log(variance) + 1.5**2 / variance) + 0.1 * shares / variance
    assert float(likelihood(maps, torch.tensor(0.5), error, spread, counts)) == pytest.approx(expected, rel=1e-5)


def test_what_a_surface_has_beyond_the_rest_is_learnt_and_what_all_have_is_the_truths() -> None:
    """Two halves of an image, one as noisy as physics and truth together and one three times as much."""
    random = torch.Generator().manual_seed(0)
    spread = torch.full((4, 1, 32, 32), 0.03)
    size = torch.where(torch.arange(32) < 16, 0.2, 0.6).expand(4, 1, 32, 32)
    error = size * torch.randn((4, 1, 32, 32), generator=random)
    raw = torch.zeros(1, RESIDUAL_MAPS, 1, 2, requires_grad=True)
    truth = torch.tensor(-3.0, requires_grad=True)
    optimiser = torch.optim.Adam([{"params": [raw]}, {"params": [truth], "lr": 0.3}], lr=0.03)
    for _ in range(400):
        optimiser.zero_grad()
        maps = ResidualMaps.of(raw.repeat_interleave(16, dim=3).expand(4, -1, 32, -1))
        likelihood(maps, functional.softplus(truth), error, spread, torch.ones_like(error)).backward()
        optimiser.step()
    shares = np.array(KEPT_SHARES)[:, None]
    variances = (ResidualMaps.of(raw.detach()).variances[0, :, 0].numpy() * shares).sum(0)
    assert functional.softplus(truth).item() == pytest.approx(0.01, abs=0.008)
    assert variances[0] < 0.005
    # The cost takes a tenth or two of it.
    assert 0.2 < variances[1] < 0.33


def test_what_is_far_off_has_no_say() -> None:
    frame = wall()
    fine = np.where(np.arange(160) % 2 == 0, 1.0, -1.0) * np.ones((120, 1))
    far = fine.copy()
    far[50, 70] = 6.0
    drawn = NoisyDepth(with_error(frame, fine, SENSOR), frame.valid)
    _, _, counts = target_of(frame, with_error(frame, far, SENSOR), [drawn], SENSOR)
    assert counts[50, 70] == 0
    assert counts[40:60, 72:90].all()


def test_what_is_drawn_has_the_bias_and_the_variances_of_the_maps() -> None:
    maps = np.zeros((RESIDUAL_MAPS, 240, 320), np.float32)
    maps[0], maps[1], maps[2] = 0.5, 3.0, 1.0
    error = drawn_error(maps, (1, 2), SENSOR) / SENSOR.typical_error
    assert error.mean() == pytest.approx(0.5, abs=0.12)
    assert error.var() == pytest.approx(4.0, rel=0.1)
    np.testing.assert_array_equal(drawn_error(maps, (1, 2), SENSOR) / SENSOR.typical_error, error)
    assert np.abs(drawn_error(maps, (1, 3), SENSOR) / SENSOR.typical_error - error).max() > 1


def test_the_last_bit_of_a_sum_changes_nothing() -> None:
    maps = np.full((RESIDUAL_MAPS, 2, 2), 0.1, np.float32)
    np.testing.assert_array_equal(on_steps(maps), on_steps(np.nextafter(maps, np.float32(1))))


def test_the_sensor_rounds_after_the_error_and_errs_as_told() -> None:
    frame = wall(2.0)
    quiet = StructuredLight(shift_sigma_px=0, noise_sigma_steps=0, steps_per_px=8.0)
    error = np.full(CAMERA.size, 0.5, np.float32)
    plain, moved = quiet.measure(frame, (1, 2)), quiet.with_added(error).measure(frame, (1, 2))
    scale = quiet.disparity_scale(CAMERA)
    off = scale / moved.depth_m[40:80, 40:120] - scale / plain.depth_m[40:80, 40:120]
    assert np.median(off) == pytest.approx(0.5, abs=1 / 16)
    # Steps of the raw disparity, whatever was added.
    raw = quiet.raw_scale_m / moved.depth_m[40:80, 40:120]
    np.testing.assert_allclose(raw, np.rint(raw), atol=2e-2)
    assert quiet.with_added(error).identity == quiet.identity
