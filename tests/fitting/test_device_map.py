"""A device's map read off scans with truth: given back where there is one, none where nothing repeats."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pytest

from depthforge.errors import InputError
from depthforge.fitting.device_map import device_map_px, error_maps_px, halves_of
from depthforge.frame import Camera, Frame
from depthforge.realism.same_view.views import Measured, SameView
from depthforge.seeding import frame_words
from depthforge.sensors.fields import stretched
from depthforge.sensors.residual_errors import device_error
from depthforge.sensors.structured_light import StructuredLight
from tests.realism.scenes import CAMERA, wall

BASELINE_M = 0.1
SENSOR = StructuredLight(
    focal_length_px=CAMERA.fx,
    baseline_m=BASELINE_M,
    raw_scale_m=8 * CAMERA.fx * BASELINE_M,
    disparity_sigma_px=0.08,
    disparity_correlation_px=5.0,
    interpolate_px=1.0,
    match_threshold_px=0.5,
    mass_fraction=0.5,
    slow_sigma_px=0.03,
    slow_length_px=40.0,
    outlier_share=0.002,
)


def views(sensor: StructuredLight, count: int) -> Iterator[SameView]:
    """Walls at many depths and slants, in whole millimetres."""
    draw = np.random.default_rng(3)
    for number in range(count):
        depth_m = wall((*draw.uniform(-0.4, 0.4, 2), -1.0), draw.uniform(0.8, 2.5))
        truth = Measured(depth_m, np.ones(depth_m.shape, np.bool_))
        frame = Frame(f"made/walls/{number:04d}", depth_m, truth.valid, CAMERA)
        measured, valid = sensor.measure(frame, frame_words(0, frame.key, "map"))
        real_m = (np.rint(1000 * measured) / 1000).astype(np.float32)
        yield SameView(frame.key, CAMERA, truth, Measured(real_m, valid & (real_m > 0)), {})


def rows_of(error: np.ndarray) -> tuple[tuple[float, ...], ...]:
    """A map of 24x32 numbers: means over cells of 10x10 px."""
    return tuple(map(tuple, error.reshape(24, 10, 32, 10).mean(axis=(1, 3)).tolist()))


KNOWN = rows_of(0.1 * device_error(8, CAMERA.size, 80.0))


def over_image(rows: tuple[tuple[float, ...], ...]) -> np.ndarray:
    return stretched(np.array(rows, np.float32), CAMERA.size).astype(np.float64)


def test_a_sensor_with_a_known_map_gives_it_back_within_a_tenth() -> None:
    sensor = SENSOR.model_copy(update={"device_map_px": KNOWN})
    found = device_map_px(views(sensor, 48), BASELINE_M, (24, 32))
    assert found is not None
    assert (len(found), len(found[0])) == (24, 32)
    expected = over_image(KNOWN)
    assert (over_image(found) - expected).std() < 0.1 * expected.std()


def test_pixels_are_those_of_the_sensor_where_its_focal_length_is_another() -> None:
    sensor = SENSOR.model_copy(update={"device_map_px": KNOWN})
    found = device_map_px(views(sensor, 8), BASELINE_M, (12, 16))
    twice = device_map_px(views(sensor, 8), BASELINE_M, (12, 16), focal_length_px=2 * CAMERA.fx)
    assert found is not None
    np.testing.assert_allclose(np.array(twice), 2 * np.array(found), atol=2e-4)


def test_where_nothing_repeats_there_is_no_map() -> None:
    """Slow errors are another in each frame; what their mean holds is chance."""
    for changes in ({}, {"slow_sigma_px": 0.15, "slow_length_px": 20.0}):
        sensor = SENSOR.model_copy(update=changes)
        assert device_map_px(views(sensor, 16), BASELINE_M, (24, 32)) is None
    assert device_map_px(views(SENSOR.model_copy(update={"device_map_px": KNOWN}), 5), BASELINE_M, (24, 32)) is None
    assert device_map_px([], BASELINE_M, (24, 32)) is None


def test_what_does_not_repeat_is_left_out_where_some_does() -> None:
    """The left half of the device has an error, the right half none: there the mean of few frames is chance."""
    known = over_image(KNOWN)
    known[:, 160:] = 0
    sensor = SENSOR.model_copy(
        update={"device_map_px": rows_of(2 * known), "slow_sigma_px": 0.2, "slow_length_px": 20.0}
    )
    shown = list(views(sensor, 8))
    found = device_map_px(shown, BASELINE_M, (30, 40))
    assert found is not None
    mean = np.nanmean(halves_of(error_maps_px(shown, BASELINE_M)), axis=0)
    right = np.s_[:, 28:]
    assert np.nanstd(mean[right]) > 0.02
    assert np.array(found)[right].std() < 0.7 * np.nanstd(mean[right])


def test_a_place_that_no_scan_shows_has_no_error() -> None:
    sensor = SENSOR.model_copy(update={"device_map_px": KNOWN})
    shown = []
    for view in views(sensor, 12):
        valid = view.real.valid.copy()
        valid[:100, :100] = False
        shown.append(view._replace(real=Measured(np.where(valid, view.real.depth_m, np.float32(0)), valid)))
    found = device_map_px(shown, BASELINE_M, (24, 32))
    assert found is not None
    np.testing.assert_array_equal(np.array(found)[:8, :8], 0)
    assert np.array(found)[12:, 12:].std() > 0.03


def test_scans_of_two_sizes_are_refused() -> None:
    first = next(views(SENSOR, 1))
    half = Camera(CAMERA.fx, CAMERA.fy, 79.5, 59.5, 160, 120)
    small = Measured(np.ascontiguousarray(first.real.depth_m[:120, :160]), first.real.valid[:120, :160].copy())
    with pytest.raises(InputError, match="not of one size"):
        error_maps_px([first, first._replace(camera=half, truth=small, real=small)], BASELINE_M)
