"""What the network of hybrid sees: nothing that names the room, the place or the distance."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from depthforge.frame import Camera, Frame
from depthforge.sensors.gaussian_dropout import GaussianDropout
from depthforge.translators.hybrid_inputs import (
    COLOUR_CHANNELS,
    GEOMETRY_CHANNELS,
    hole_frequency,
    inputs_of,
    well_known,
)

SIZE = (96, 128)
FB = 40.0
NAMES = (*GEOMETRY_CHANNELS, *COLOUR_CHANNELS)


def scene(shift_px: int = 0, scale: float = 1.0, light: float = 1.0) -> Frame:
    height, width = SIZE
    y, x = np.mgrid[:height, :width].astype(np.float32)
    inverse = 0.5 + 0.0005 * (x - shift_px)
    box = (x >= 40 + shift_px) & (x < 70 + shift_px) & (y >= 30) & (y < 60)
    inverse = np.where(box, inverse + 0.4, inverse) / scale
    rgb = np.where(box[..., None], np.uint8(40), np.uint8(120)) * np.ones(3, np.uint8)
    camera = Camera(100.0, 100.0, (width - 1) / 2, (height - 1) / 2, width, height)
    depth_m = (1 / inverse).astype(np.float32)
    return Frame("a/b/0", depth_m, depth_m > 0, camera, rgb=(rgb * light).astype(np.uint8))


def channels(frame: Frame, fb: float = FB) -> dict[str, np.ndarray]:
    found = inputs_of(frame, np.zeros(SIZE, np.float32), fb, colour=True)
    assert found.dtype == np.float32
    return dict(zip(NAMES, found, strict=True))


def test_slopes_are_in_pixels_of_disparity() -> None:
    found = channels(scene())
    assert found["slope of disparity along x"][10, 20] == pytest.approx(0.0005 * FB, rel=1e-3)
    assert found["slope of disparity along y"][10, 20] == pytest.approx(0, abs=1e-5)
    assert found["slope of disparity along x"].max() == 4.0


def test_the_same_surface_elsewhere_in_the_image_looks_the_same() -> None:
    here, there = channels(scene()), channels(scene(shift_px=16))
    for name in (*GEOMETRY_CHANNELS[:2], *GEOMETRY_CHANNELS[5:], "luminance over its surroundings", "saturation"):
        np.testing.assert_allclose(there[name][20:70, 40:100], here[name][20:70, 24:84], atol=2e-3, err_msg=name)


def test_a_model_twice_as_large_and_twice_as_far_has_half_the_disparity_a_quarter_of_the_light_and_no_other_trace() -> (
    None
):
    near, far = channels(scene()), channels(scene(scale=2.0), 2 * FB)
    for name in GEOMETRY_CHANNELS:
        less = 0.5 if name == "light that comes back, log2" else 0.0  # log2 4 times its scale of 1/4
        np.testing.assert_allclose(far[name], near[name] - less, atol=1e-4, err_msg=name)


def test_where_truth_ends_there_is_no_trace_of_it() -> None:
    """The rim of fused truth is where sensors lose depth, and a network would learn the rim."""
    whole = scene()
    valid = whole.valid.copy()
    valid[:, 90:100] = False
    valid[70:75] = False
    lacking = replace(whole, valid=valid, depth_m=np.where(valid, whole.depth_m, np.float32(0)))
    frequency = np.where(valid, np.float32(0.25), np.float32(1))
    found = dict(zip(NAMES, inputs_of(lacking, frequency, FB, colour=True), strict=True))
    expected = dict(zip(NAMES, inputs_of(whole, np.full(SIZE, 0.25, np.float32), FB, colour=True), strict=True))
    for name in ("cosine of incidence", "light that comes back, log2", *GEOMETRY_CHANNELS[4:]):
        np.testing.assert_allclose(found[name][80:, 75:], expected[name][80:, 75:], atol=0.05, err_msg=name)
    nothing = replace(whole, valid=np.zeros(SIZE, np.bool_), depth_m=np.zeros(SIZE, np.float32))
    assert np.isfinite(inputs_of(nothing, np.ones(SIZE, np.float32), FB, colour=True)).all()


def test_exposure_changes_nothing_of_the_mean() -> None:
    bright, dim = channels(scene()), channels(scene(light=0.5))
    np.testing.assert_allclose(dim["luminance over the mean"], bright["luminance over the mean"], atol=0.02)


def test_silhouettes_are_told_by_the_side_that_is_near() -> None:
    found = channels(scene())
    left, right = (found[f"nearness to a silhouette whose near side is {side}"] for side in ("left", "right"))
    # The box is near: left of its right edge, right of its left edge.
    assert left[45, 70] == pytest.approx(1.0)
    assert right[45, 40] == pytest.approx(1.0)
    assert left[45, 40] < 0.05 > right[45, 70]
    assert left[45, 78] == pytest.approx(np.exp(-1), abs=0.05)


def test_frequency_counts_drawings_without_a_measurement() -> None:
    frame = scene()
    holes = frame.valid.copy()
    holes[:10] = False
    frame = replace(frame, valid=holes, depth_m=np.where(holes, frame.depth_m, np.float32(0)))
    found = hole_frequency([GaussianDropout(pixel_dropout=0.25).measure(frame, (seed, 0)) for seed in range(64)])
    assert (found[:10] == 1).all()
    assert found[10:].mean() == pytest.approx(0.25, abs=0.01)


def test_without_colour_there_is_geometry_alone() -> None:
    frame = replace(scene(), rgb=None)
    assert inputs_of(frame, np.zeros(SIZE, np.float32), FB, colour=False).shape == (len(GEOMETRY_CHANNELS), *SIZE)


def test_the_ragged_rim_of_truth_is_not_known_well_and_the_border_of_the_image_is() -> None:
    random = np.random.default_rng(0)
    valid = np.ones(SIZE, np.bool_)
    valid[:30] = random.random((30, SIZE[1])) < 0.5
    valid[60:63, 40:43] = False
    known = well_known(valid)
    assert not known[:25].any()
    assert known[45:, :35].all()
    assert known[58, 41]
    assert not known[61, 41]
    assert not (known & ~valid).any()
