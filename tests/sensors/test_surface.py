"""The surface that depth shows: planes exactly, edges from their own side, holes as nothing."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pytest

from depthforge.frame import Camera
from depthforge.sensors.surface import infrared_albedo, luminance_of, surface_of

CAMERA = Camera(fx=60.0, fy=55.0, cx=31.5, cy=20.0, width=64, height=48)


def plane(
    normal: tuple[float, float, float], offset_m: float
) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.float64]]:
    """Depth of the plane n . X = offset and the cosine of its incidence."""
    x = (np.arange(CAMERA.width) - CAMERA.cx) / CAMERA.fx
    y = (np.arange(CAMERA.height) - CAMERA.cy) / CAMERA.fy
    rays = np.stack(np.broadcast_arrays(x[None, :], y[:, None], 1.0), axis=-1)
    unit = np.array(normal) / np.linalg.norm(normal)
    along = rays @ unit
    return (offset_m / along).astype(np.float32), along / np.linalg.norm(rays, axis=-1)


@pytest.mark.parametrize("normal", [(0, 0, 1), (0.5, 0, 1), (0, -0.7, 1), (0.6, 0.4, 0.9)])
def test_planes_have_their_incidence_and_slope_up_to_the_border(normal: tuple[float, float, float]) -> None:
    depth_m, cosine = plane(normal, 2.0)
    surface = surface_of(depth_m, depth_m > 0, CAMERA)
    np.testing.assert_allclose(surface.cosine, cosine, atol=2e-4)
    expected = normal[0] / np.linalg.norm(normal) / 2.0 / CAMERA.fx
    np.testing.assert_allclose(surface.slope, expected, atol=2e-6)
    np.testing.assert_allclose(surface.inverse[1:-1, 1:-1], 1 / depth_m, rtol=1e-6)
    assert not surface.inverse[[0, -1]].any()
    assert not surface.inverse[:, [0, -1]].any()


def test_at_an_edge_each_side_has_the_slope_of_its_own_surface() -> None:
    far, cosine = plane((0.3, 0, 1), 3.0)
    depth_m = far.copy()
    depth_m[:, 30:] -= 1.0
    surface = surface_of(depth_m, depth_m > 0, CAMERA)
    np.testing.assert_allclose(surface.cosine[:, :30], cosine[:, :30], atol=2e-4)
    assert np.abs(surface.slope).max() < 0.005  # the jump is 0.17


def test_holes_and_what_is_no_depth_are_zero_and_leave_their_neighbours_alone() -> None:
    depth_m, cosine = plane((0.2, 0.2, 1), 2.0)
    odd = np.array([np.nan, np.inf, -1.0, 0.0, 1e-12], np.float32)
    depth_m[10, 10:15] = odd
    valid = np.ones(depth_m.shape, np.bool_)
    valid[20, 20] = False
    surface = surface_of(depth_m, valid, CAMERA)
    hole = surface.inverse[1:-1, 1:-1] == 0
    assert hole.sum() == odd.size + 1
    np.testing.assert_allclose(surface.cosine[~hole], cosine[~hole], atol=2e-4)
    assert np.isfinite(surface.cosine).all()
    assert np.isfinite(surface.slope).all()


def test_brightness_is_rec_601_and_albedo_rises_from_the_darkest_to_one() -> None:
    rgb = np.array([[[255, 255, 255], [0, 0, 0], [255, 0, 0], [0, 255, 0], [0, 0, 255]]], np.uint8)
    np.testing.assert_array_equal(luminance_of(rgb), [[255, 0, 76, 149, 28]])
    albedo = infrared_albedo(0.2)
    assert (albedo[0], albedo[255]) == (np.float32(0.2), np.float32(1.0))
    assert (np.diff(albedo) > 0).all()
