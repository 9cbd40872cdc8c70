"""Planar z, ray length and inverse depth as shares of a range, and back; a sensor's steps among them."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from pydantic import ValidationError

from depthforge.frame import Camera, Frame
from depthforge.networks.ending import Steps
from depthforge.testing.translators import clean_frame
from depthforge.training.translator_card import Normalisation
from depthforge.translators.dcl import Dcl
from depthforge.translators.quantity import DepthSteps, depth_of, shares_of, steps_of

CAMERA = Camera(fx=2.0, fy=2.0, cx=1.0, cy=0.0, width=3, height=1)


def frame_of(*depth_m: float) -> Frame:
    depth = np.array([depth_m], np.float32)
    return Frame("a/b/0", depth, depth > 0, CAMERA)


def scale_of(quantity: str, **options: Any) -> Normalisation:
    return Normalisation(**{"max_depth_m": 4.0, **options}, quantity=quantity)


def test_rays_are_longer_than_z_off_the_axis() -> None:
    # Half a pixel's tangent on either side: sqrt(1 + 1/4) times z.
    found = shares_of(frame_of(2.0, 2.0, 0.0), scale_of("ray"))
    assert found.unit == 4.0
    assert found.share[0].tolist() == pytest.approx([0.5 * 1.25**0.5, 0.5, 0.0])


def test_what_is_beyond_the_range_along_the_ray_is_a_hole() -> None:
    found = shares_of(frame_of(3.9, 3.9, 1.0), scale_of("ray"))
    assert found.share[0].tolist() == pytest.approx([0.0, 3.9 / 4, 0.25 * 1.25**0.5])


def test_disparity_is_one_at_the_nearest() -> None:
    scale = scale_of("disparity", min_depth_m=0.5)
    found = shares_of(frame_of(0.5, 2.0, 0.4), scale)
    assert found.share[0].tolist() == [1.0, 0.25, 0.0]
    assert shares_of(frame_of(4.0, 4.1, 0.0), scale).share[0].tolist() == [0.125, 0.0, 0.0]
    each = Normalisation(mode="per_image", quantity="disparity")
    assert shares_of(frame_of(0.8, 1.6, 0.0), each).share[0].tolist() == [1.0, 0.5, 0.0]
    assert not shares_of(frame_of(0.0, 0.0, 0.0), each).share.any()


@pytest.mark.parametrize("mode", ["fixed", "per_image"])
@pytest.mark.parametrize("quantity", ["z", "ray", "disparity"])
def test_what_the_network_leaves_alone_comes_back(quantity: str, mode: str) -> None:
    frame = clean_frame(37, 53)
    config = Dcl.Config(quantity=quantity, normalisation=mode, max_depth_m=6.0)  # type: ignore[arg-type]
    found = shares_of(frame, config.scale)
    assert 0 < found.share.max() <= 1
    assert not found.share[~frame.valid].any()
    back = depth_of(found, frame.valid, frame.camera, config.scale)
    np.testing.assert_allclose(back, frame.depth_m, rtol=4e-7, atol=0)
    assert back.dtype == np.float32


def test_a_crop_has_the_rays_of_its_place() -> None:
    frame = clean_frame(48, 64)
    whole = shares_of(frame, scale_of("ray")).share
    camera = replace(frame.camera, cx=frame.camera.cx - 30, cy=frame.camera.cy - 10, width=20, height=16)
    crop = Frame(frame.key, frame.depth_m[10:26, 30:50], frame.valid[10:26, 30:50], camera)
    np.testing.assert_allclose(shares_of(crop, scale_of("ray")).share, whole[10:26, 30:50], rtol=1e-6)


@pytest.mark.parametrize(
    ("quantiser", "quantity", "expected"),
    [
        ({"step_m": 0.002}, "z", ("even", 0.0005)),
        ({"disparity_m_px": 40.0}, "z", ("inverse", 80.0)),
        ({"disparity_m_px": 40.0, "steps_per_px": 32.0}, "disparity", ("even", 0.5 / 1280)),
        ({"step_m": 0.002}, "disparity", ("inverse", 250.0)),
    ],
)
def test_steps_as_shares(quantiser: dict[str, float], quantity: str, expected: tuple[str, float]) -> None:
    steps = steps_of(DepthSteps(**quantiser), scale_of(quantity, min_depth_m=0.5))
    assert steps is not None
    assert isinstance(steps, Steps)
    assert steps.spacing == expected[0]
    assert steps.number == pytest.approx(expected[1])


def test_what_steps_cannot_be_of_is_said() -> None:
    with pytest.raises(ValidationError, match="one of the two"):
        DepthSteps()
    with pytest.raises(ValidationError, match="one of the two"):
        DepthSteps(step_m=0.1, disparity_m_px=1.0)
    for options in ({"quantity": "ray"}, {"normalisation": "per_image"}):
        with pytest.raises(ValidationError, match="a quantiser wants"):
            Dcl.Config(quantiser={"step_m": 0.01}, **options)  # type: ignore[arg-type]
    with pytest.raises(ValidationError, match="min_depth_m is not below"):
        Dcl.Config(quantity="disparity", min_depth_m=11.0)
