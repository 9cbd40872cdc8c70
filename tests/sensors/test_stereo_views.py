"""The two views: the right one sees what the left one sees, moved; light, dots and noise are what was asked for."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from depthforge.sensors import stereo_views as views

LIGHT = {"ambient": 0.3, "power": 0.5, "least_z": 0.4, "disparity_m_px": 20.0}


def seen_right(disparity: np.ndarray, pad: int = 0) -> np.ndarray:
    out = np.empty((disparity.shape[0], pad + disparity.shape[1]), np.float32)
    views.right_disparity(disparity.astype(np.float32), out)
    return out


def shaded(disparity: np.ndarray, albedo: np.ndarray, *, shifted: bool, at: float = 0.5, **more: Any) -> np.ndarray:
    left = more.get("left", disparity)
    tile = views.dot_rows(8.0, 1.2, 0)
    out = np.empty(disparity.shape, np.float32)
    nearest, pad = views.nearest_to_projector(left.astype(np.float32), at)
    light = [nearest, pad, *(np.float32(value) for value in (at, *LIGHT.values()))]
    arrays = [array.astype(np.float32) for array in (disparity, left)]
    views.shade(*arrays, shifted, albedo.astype(np.float32), tile, *light, out)
    return out


@settings(max_examples=25, deadline=None)
@given(st.floats(2, 12), st.floats(-0.3, 0.3))
def test_the_right_imager_sees_a_plane_at_its_own_columns(start: float, slope: float) -> None:
    """d = a + b x in the left view is d = (a + b x') / (1 - b) in the right one, where x' = x - d."""
    x = np.arange(80)
    disparity = np.broadcast_to(start + slope * (x - 40.0), (2, 80)).clip(0.5, 30)
    expected = (start + slope * (x - 40.0)) / (1 - slope)
    source = x + expected
    inside = (source > 1) & (source < 78) & (expected > 0.9) & (expected < 29)
    np.testing.assert_allclose(seen_right(disparity)[0][inside], expected[inside], atol=2e-3)


def test_the_nearer_surface_hides_and_gaps_show_the_farther_one() -> None:
    disparity = np.full((1, 60), 4.0)
    disparity[0, 30:40] = 12.0
    right = seen_right(disparity)[0]
    np.testing.assert_array_equal(right[18:28], 12.0)  # the near surface, moved by its own disparity
    np.testing.assert_array_equal(right[28:36], 4.0)  # what it hid from the left imager
    np.testing.assert_array_equal(right[:18], 4.0)


def test_columns_left_of_the_image_are_seen_with_a_margin() -> None:
    right = seen_right(np.full((1, 40), 6.0), pad=8)
    assert right.shape == (1, 48)
    np.testing.assert_array_equal(right, 6.0)


def test_holes_are_filled_with_the_farther_side() -> None:
    row = np.array([[0, 0, 8, 8, 0, 0, 3, 0], [0] * 8], np.float32)
    views.fill_rows(row)
    np.testing.assert_array_equal(row[0], [8, 8, 8, 8, 3, 3, 3, 3])
    assert (row[1] > 0).all()


def test_what_is_hidden_from_the_left_imager_wears_the_texture_beside_it() -> None:
    left = np.full((8, 96), 4.0)
    left[:, 40:60] = 12.0
    right = seen_right(left)
    albedo = np.full(left.shape, 0.3)
    albedo[:, 40:60] = 1.0
    light = shaded(right, albedo, shifted=True, left=left, at=0.0)
    bright = shaded(right, np.ones_like(albedo), shifted=True, left=left, at=0.0)
    share = light / bright
    np.testing.assert_allclose(share[:, 28:48], 1.0, rtol=1e-6)  # the near surface, 12 px to the left
    np.testing.assert_allclose(share[:, 49:90], 0.3, rtol=1e-6)  # what it hid, and what lies beside that


@pytest.mark.parametrize("projector_at", [0.0, 0.5, 1.0])
def test_both_views_show_the_same_light_of_a_surface(projector_at: float) -> None:
    disparity = np.full((16, 96), 7.0)
    albedo = np.random.default_rng(0).uniform(0.2, 1.0, disparity.shape)
    left = shaded(disparity, albedo, shifted=False, at=projector_at)
    right = shaded(disparity, albedo, shifted=True, at=projector_at)
    np.testing.assert_allclose(right[:, :-7], left[:, 7:], rtol=1e-5)


def test_dots_move_with_disparity_as_the_projector_stands() -> None:
    """From the middle between both imagers a dot moves half as far as the surface under it."""
    white = np.ones((16, 96))
    near, far = (shaded(np.full((16, 96), d), white, shifted=False) for d in (14.0, 10.0))
    near, far = near * (20 / 14) ** 2, far * (20 / 10) ** 2  # the light without its fall-off, but for the ambient one
    moved = [np.corrcoef(near[:, 20:80].ravel(), far[:, 20 - k : 80 - k].ravel())[0, 1] for k in range(6)]
    assert int(np.argmax(moved)) == 2


def test_light_falls_with_the_square_of_distance_and_is_bounded_near() -> None:
    white = np.ones((512, 512))
    mean = {d: float(shaded(np.full((512, 512), d), white, shifted=False).mean()) - 0.3 for d in (10.0, 20.0, 200.0)}
    assert mean[10.0] == pytest.approx(0.5 / 4, rel=0.02)
    assert mean[20.0] == pytest.approx(0.5, rel=0.02)
    assert mean[200.0] == pytest.approx(0.5 / 0.16, rel=0.02)


def test_a_tile_of_dots_has_mean_one_no_seam_and_its_own_device() -> None:
    tile = views.dot_rows(8.0, 1.5, 3)
    assert tile.shape == (512, 512 * views.PATTERN_SAMPLES)
    assert float(tile.mean()) == pytest.approx(1.0, abs=1e-5)
    steps = np.abs(np.diff(tile, axis=1))
    assert np.abs(tile[:, 0] - tile[:, -1]).max() <= steps.max()
    np.testing.assert_array_equal(tile, views.dot_rows(8.0, 1.5, 3))
    assert np.corrcoef(tile.ravel(), views.dot_rows(8.0, 1.5, 4).ravel())[0, 1] < 0.05


def test_noise_has_the_spread_asked_for_and_light_is_rounded_and_saturates() -> None:
    rng = np.random.default_rng(0)
    noise = rng.normal(size=(200, 200)).astype(np.float32)
    image = np.full((200, 200), 0.25, np.float32)
    views.add_noise(image, *(np.float32(v) for v in (2.0, 0.04, 0.01, 1023.0)), noise)
    assert float(image.mean()) == pytest.approx(0.5, abs=1e-3)
    assert float(image.std()) == pytest.approx(np.sqrt(0.01**2 + 0.04**2 * 0.5), rel=0.03)
    np.testing.assert_allclose(image * 1023, np.rint(image * 1023), atol=1e-3)
    bright = np.full((4, 4), 9.0, np.float32)
    views.add_noise(bright, *(np.float32(v) for v in (1.0, 0.0, 0.0, 255.0)), noise[:4, :4])
    np.testing.assert_array_equal(bright, 1.0)


def test_the_projector_lights_the_nearest_surface_of_a_column_alone() -> None:
    disparity = np.full((1, 60), 4.0, np.float32)
    disparity[0, 30:40] = 14.0
    nearest, pad = views.nearest_to_projector(disparity, 0.5)
    # The wall's columns move by 2, the box's by 7: 23 to 32 are the box's. What lies behind its right side, from there
    # to 37, the left imager does not see.
    lit = nearest[0, pad : pad + 60]
    assert set(lit[24:32]) == {14.0}
    assert set(lit[:22]) == set(lit[39:56]) == {4.0}
    light = shaded(disparity, np.ones((1, 60)), shifted=False)
    ambient_alone = LIGHT["ambient"]
    # Left of the box the wall is hidden from a projector that stands to the right of the camera.
    in_shadow, in_light = light[0, 26:30], light[0, :20]
    np.testing.assert_allclose(in_shadow[:3], ambient_alone, rtol=1e-5)
    assert in_light.max() > 1.1 * ambient_alone


def test_a_projector_beside_either_imager_has_its_shadows_on_the_other_side() -> None:
    disparity = np.full((1, 60), 4.0, np.float32)
    disparity[0, 30:40] = 14.0
    left_of_camera = shaded(disparity, np.ones((1, 60)), shifted=False, at=-0.5)
    np.testing.assert_allclose(left_of_camera[0, 41:44], LIGHT["ambient"], rtol=1e-5)
    assert left_of_camera[0, :30].max() > 1.1 * LIGHT["ambient"]
