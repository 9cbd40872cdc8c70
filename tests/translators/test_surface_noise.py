"""Noise and holes on surfaces: what a place keeps from frame to frame, and what training draws."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from depthforge.frame import Frame
from depthforge.seeding import frame_words
from depthforge.testing.translators import clean_frame
from depthforge.translators.surface_noise import (
    HoleFields,
    drawn_anchored,
    drawn_hole_field,
    frame_anchored,
    frame_hole_field,
    points_of,
)


def moved(frame: Frame, pixels: int, key: str) -> Frame:
    """The same wall, flat at 2 m, from a camera that went sideways by ``pixels``, in a scene's world."""
    pose = np.eye(4)
    pose[0, 3] = 2.0 * pixels / frame.camera.fx
    depth_m = np.full_like(frame.depth_m, 2.0)
    return replace(frame, key=key, depth_m=depth_m, valid=depth_m > 0, T_world_cam=pose)


def two_views() -> tuple[Frame, Frame]:
    frame = clean_frame(48, 64)
    return moved(frame, 0, "set/room/0000"), moved(frame, 10, "set/room/0001")


def test_points_are_metres_before_the_camera_and_the_origin_for_holes() -> None:
    frame = clean_frame(48, 64)
    points = points_of(frame)
    assert (points.shape, points.dtype) == ((3, 48, 64), np.float32)
    np.testing.assert_array_equal(points[2], frame.depth_m)
    assert points[0, 20, 60] == pytest.approx((60 - 31.5) / 57.6 * frame.depth_m[20, 60], rel=1e-6)
    assert not points[:, ~frame.valid].any()


def test_anchored_noise_stays_on_its_surface() -> None:
    one, two = two_views()
    words = [frame_words(0, frame.key, "x") for frame in (one, two)]
    first, second = (frame_anchored(f, w, 2, 0.2) for f, w in zip((one, two), words, strict=True))
    assert first.shape == (2, 48, 64)
    np.testing.assert_allclose(first[:, :, 10:], second[:, :, :-10], atol=1e-3)
    assert abs(np.corrcoef(first[0].ravel(), first[1].ravel())[0, 1]) < 0.5
    unposed = [frame_anchored(replace(f, T_world_cam=None), w, 1, 0.2) for f, w in zip((one, two), words, strict=True)]
    assert np.abs(unposed[0][:, :, 10:] - unposed[1][:, :, :-10]).max() > 0.5


def test_of_the_field_of_holes_the_long_share_stays() -> None:
    one, two = two_views()
    words = [frame_words(0, frame.key, "x") for frame in (one, two)]

    def kept(**options: float) -> float:
        fields = HoleFields(long_m=0.1, **options)
        first, second = (frame_hole_field(f, w, fields) for f, w in zip((one, two), words, strict=True))
        return float(np.corrcoef(first[:, 10:].ravel(), second[:, :-10].ravel())[0, 1])

    assert kept(long_share=1.0) == pytest.approx(1.0, abs=1e-3)
    assert kept(long_share=0.7, short_px=1.0) == pytest.approx(0.7, abs=0.15)
    assert abs(kept(long_share=0.0, short_px=1.0)) < 0.15


def test_training_draws_standard_normal_fields_of_the_same_length() -> None:
    points = torch.from_numpy(points_of(moved(clean_frame(120, 160), 0, "a/b/0"))).expand(6, -1, -1, -1)
    random = torch.Generator().manual_seed(0)
    anchored = drawn_anchored(points, 2, 0.05, random)
    assert anchored.shape == (6, 2, 120, 160)
    assert float(anchored.std()) == pytest.approx(1.0, abs=0.05)
    # A pixel is 2 m / 144 px: at 3.6 of them the field has fallen to 1/e.
    lag = [float((anchored[..., :-k] * anchored[..., k:]).mean()) for k in (1, 4, 30)]
    assert lag[0] > 0.8
    assert lag[1] == pytest.approx(0.33, abs=0.1)
    assert abs(lag[2]) < 0.1
    assert not torch.equal(anchored[0], anchored[1])
    field = drawn_hole_field(points, HoleFields(), random)
    assert field.shape == (6, 1, 120, 160)
    again = torch.Generator().manual_seed(0)
    assert torch.equal(drawn_anchored(points, 2, 0.05, again), anchored)
    assert torch.equal(drawn_hole_field(points, HoleFields(), again), field)
