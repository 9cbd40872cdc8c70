"""Frames through another camera: the geometry, each kind of label, the empty border, and what is too narrow."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from depthforge.errors import FrameError
from depthforge.frame import Camera, Frame
from depthforge.geometry import decode_normals, encode_normals
from depthforge.labels import catalogue as specs
from depthforge.labels.resize import reframe_frame, resize_frame
from depthforge.labels.sampling import onto_camera, to_size
from depthforge.labels.spec import LabelSpec

CAMERA = Camera(fx=20, fy=24, cx=7.5, cy=5.5, width=16, height=12, baseline_m=0.1)
BY_NAME = {spec.name: spec for spec in vars(specs).values() if isinstance(spec, LabelSpec)}
CAMERAS = st.builds(
    Camera,
    fx=st.floats(5, 80),
    fy=st.floats(5, 80),
    cx=st.floats(-4, 40),
    cy=st.floats(-4, 40),
    width=st.integers(1, 40),
    height=st.integers(1, 40),
)


def frame_of(camera: Camera = CAMERA, **labels: np.ndarray) -> Frame:
    """Return a frame whose every pixel differs from all others in depth, colour and id."""
    size = camera.size
    order = np.arange(size[0] * size[1]).reshape(size)
    rgb = np.stack([order % 251, order // 7 % 256, order % 13], axis=2).astype(np.uint8)
    labels = {"instance": order.astype(np.uint16), **labels}
    return Frame("a/b/c", (1 + order).astype(np.float32), np.ones(size, np.bool_), camera, rgb=rgb, labels=labels)


def reframed(frame: Frame, **changes: float) -> Frame:
    return reframe_frame(frame, BY_NAME, replace(frame.camera, **changes)).require_sound()


@given(CAMERAS)
def test_a_frame_in_its_own_camera_is_the_frame(camera: Camera) -> None:
    flow = np.random.default_rng(0).normal(size=(*camera.size, 2)).astype(np.float32)
    frame = frame_of(camera, flow=flow)
    sampling = onto_camera(camera, camera)
    np.testing.assert_array_equal(sampling.nearest(frame.depth_m), frame.depth_m)
    assert frame.rgb is not None
    np.testing.assert_array_equal(sampling.mean(frame.rgb), frame.rgb)
    assert reframe_frame(frame, BY_NAME, camera) == replace(frame, reframed_from=camera)


@given(before=CAMERAS, after=CAMERAS)
def test_a_pixel_is_the_one_that_its_ray_meets(before: Camera, after: Camera) -> None:
    sampling = onto_camera(before, after)
    order = 1 + np.arange(before.height * before.width).reshape(before.size)
    found = sampling.nearest(order)
    for row, column in {(0, 0), (after.height - 1, after.width - 1), (after.height // 2, after.width // 3)}:
        x, y = (column - after.cx) / after.fx, (row - after.cy) / after.fy
        u, v = x * before.fx + before.cx, y * before.fy + before.cy
        if min(abs(u % 1 - 0.5), abs(v % 1 - 0.5)) < 1e-6:
            continue  # two pixels are as near
        near = round(v), round(u)
        is_inside = 0 <= near[0] < before.height and 0 <= near[1] < before.width
        assert found[row, column] == (order[near] if is_inside else 0)


@given(width=st.integers(1, 60), height=st.integers(1, 60))
def test_resizing_is_reframing_to_the_scaled_camera(width: int, height: int) -> None:
    frame = frame_of(flow=np.ones((12, 16, 2), np.float32), box_2d=np.array([[1, 2, 9, 8]], np.float32))
    resized = resize_frame(frame, BY_NAME, width, height)
    same = reframe_frame(frame, BY_NAME, resized.camera)
    assert same.camera == resized.camera
    np.testing.assert_array_equal(same.depth_m, resized.depth_m)
    np.testing.assert_array_equal(same.rgb, resized.rgb)
    for name in frame.labels:
        np.testing.assert_allclose(same.labels[name], resized.labels[name], rtol=1e-6)


@given(before=st.integers(1, 3000), after=st.integers(1, 3000))
def test_ties_of_a_new_size_go_to_the_left(before: int, after: int) -> None:
    nearest = to_size(Camera(1, 1, 0, 0, before, 1), after, 1).columns.nearest
    in_whole_numbers = ((2 * np.arange(after) + 1) * before - 1) // (2 * after)
    np.testing.assert_array_equal(nearest, in_whole_numbers)


def test_a_crop_takes_the_pixels_of_its_window() -> None:
    frame = frame_of()
    crop = reframed(frame, cx=4.5, cy=3.5, width=10, height=8)
    window = np.s_[2:10, 3:13]
    np.testing.assert_array_equal(crop.depth_m, frame.depth_m[window])
    assert frame.rgb is not None
    np.testing.assert_array_equal(crop.rgb, frame.rgb[window])
    np.testing.assert_array_equal(crop.labels["instance"], frame.labels["instance"][window])
    assert crop.camera == Camera(20, 24, 4.5, 3.5, 10, 8, 0.1)
    assert crop.reframed_from == CAMERA


def test_a_plane_is_off_by_half_a_pixel_of_its_slope_at_most() -> None:
    """Of a plane n . p = d the inverse depth is linear in the image, so half a pixel is a fixed step of it."""
    normal, distance_m = np.array([0.4, -0.3, 1.0]), 2.0

    def inverse_depth(camera: Camera) -> np.ndarray:
        x = (np.arange(camera.width) - camera.cx) / camera.fx
        y = (np.arange(camera.height) - camera.cy) / camera.fy
        return np.asarray((normal[0] * x[None, :] + normal[1] * y[:, None] + normal[2]) / distance_m)

    before = Camera(600, 600, 599.5, 339.5, 1200, 680)
    kinect = Camera(585, 585, 319.5, 239.5, 640, 480)
    depth_m = (1 / inverse_depth(before)).astype(np.float32)
    frame = reframe_frame(Frame("a/b/c", depth_m, depth_m > 0, before), BY_NAME, kinect)
    assert frame.camera == kinect
    assert frame.valid.all()
    half_a_pixel = 0.5 * (abs(normal[0]) / 600 + abs(normal[1]) / 600) / distance_m
    off = np.abs(1 / frame.depth_m - inverse_depth(kinect))
    assert off.max() <= half_a_pixel * 1.001
    assert off.max() > 0.9 * half_a_pixel


def test_colour_is_the_mean_over_what_a_pixel_covers_and_linear_where_it_grows() -> None:
    ramp = np.repeat(np.arange(0, 160, 10, dtype=np.uint8)[None, :], 12, axis=0)
    frame = replace(frame_of(), rgb=np.stack([ramp] * 3, axis=2))
    # Half a focal length: a pixel covers two columns, here the halves of two and the whole of the one between, and the
    # first of them one and a half.
    half = reframed(frame, fx=10, fy=12, cx=3.75, cy=2.5, width=7, height=5)
    assert half.rgb is not None
    np.testing.assert_array_equal(half.rgb[2, :, 0], [3, 20, 40, 60, 80, 100, 120])
    twice = reframed(frame, fx=40, fy=48, cx=5, cy=4, width=10, height=8)
    assert twice.rgb is not None
    np.testing.assert_array_equal(twice.rgb[4, :, 1], np.rint(10 * (7.5 + (np.arange(10) - 5) / 2)))


def test_normals_are_unit_and_none_beyond_the_frame() -> None:
    unit = np.zeros((12, 16, 3), np.float32)
    unit[:, :8] = (0.6, 0, -0.8)
    unit[:, 8:] = (0, 0, -1)
    found = reframed(frame_of(normals=encode_normals(unit)), fx=18, cx=8.5, width=18)
    normals = decode_normals(found.labels["normals"])
    length = np.linalg.norm(normals, axis=2)
    np.testing.assert_array_equal(found.valid, length > 0)
    np.testing.assert_allclose(length[found.valid], 1, atol=1e-4)
    np.testing.assert_allclose(normals[5, 4], [0.6, 0, -0.8], atol=1e-4)
    np.testing.assert_allclose(normals[5, 12], [0, 0, -1], atol=1e-4)


def test_flow_scales_with_the_focal_lengths() -> None:
    flow = np.full((12, 16, 2), [4.0, -6.0], np.float32)
    found = reframed(frame_of(flow=flow), fx=30, fy=36, cx=4.5, cy=3.5, width=12, height=8).labels["flow"]
    np.testing.assert_array_equal(found, np.full((8, 12, 2), [6, -9], np.float32))


def test_boxes_are_clipped_to_the_image_and_none_beyond_it() -> None:
    boxes = np.array([[2, 3, 8, 9], [0, 0, 15, 11], [0, 0, 2, 11], [np.nan] * 4], np.float32)
    found = reframed(frame_of(box_2d=boxes), fx=40, cx=6.5, cy=3.5, width=10, height=8).labels["box_2d"]
    np.testing.assert_allclose(found[0], [-0.5, 1, 7.5, 7])
    np.testing.assert_allclose(found[1], [-0.5, -0.5, 9.5, 7.5])
    assert np.isnan(found[2:]).all()
    assert found.dtype == np.float32


def test_rectangle_grasps_go_where_their_pixels_go_and_those_beyond_the_image_are_left_out() -> None:
    grasps = np.array(
        [
            [8, 6, 10, 6, 2, 0.5, 3],  # inside
            [1, 6, 2, 6, 2, 0.6, 4],  # wholly left of the window
            [2, 6, 4, 6, 2, 0.7, 5],  # reaches into it
            [8, 0.5, 9, 0.5, 1.5, 0.8, 6],  # above it
        ],
        np.float32,
    )
    found = reframed(frame_of(rect_grasps=grasps), cx=4.5, cy=3.5, width=10, height=8).labels["rect_grasps"]
    np.testing.assert_allclose(found, [[5, 4, 7, 4, 2, 0.5, 3], [-1, 4, 1, 4, 2, 0.7, 5]], atol=1e-6)


def test_counts_scale_with_the_area_and_what_is_of_no_pixel_stays() -> None:
    pose = np.random.default_rng(0).random((2, 4, 4))
    counts = np.array([100, 40], np.uint32)
    frame = frame_of(object_pose=pose, object_px_count_visib=counts)
    found = reframed(replace(frame, T_world_cam=np.eye(4)), fx=10, fy=12, cx=3.5, cy=2.5, width=7, height=5)
    np.testing.assert_array_equal(found.labels["object_px_count_visib"], [25, 10])
    assert found.labels["object_pose"] is pose
    np.testing.assert_array_equal(found.T_world_cam, np.eye(4))


def test_beyond_the_view_everything_is_missing() -> None:
    raw = np.full((12, 16), 2.0, np.float32)
    flow = np.zeros((12, 16, 2), np.float32)
    wide = reframed(frame_of(depth_raw=raw, flow=flow), cx=9.5, cy=7.5, width=20, height=16)
    inside = np.zeros((16, 20), np.bool_)
    inside[2:14, 2:18] = True
    np.testing.assert_array_equal(wide.valid, inside)
    np.testing.assert_array_equal(wide.depth_m[inside], frame_of().depth_m.ravel())
    assert wide.rgb is not None
    assert not wide.rgb[~inside].any()
    assert not wide.labels["instance"][~inside].any()
    np.testing.assert_array_equal(np.isnan(wide.labels["depth_raw"]), ~inside)
    np.testing.assert_array_equal(np.isnan(wide.labels["flow"]).all(axis=2), ~inside)


def test_a_view_of_which_more_than_half_would_be_empty_is_an_error() -> None:
    reframed(frame_of(), cx=15.5, width=32)  # half of it
    with pytest.raises(FrameError, match="too narrow") as caught:
        reframed(frame_of(), cx=16, width=33)
    assert "48%" in str(caught.value.found)
    assert "-22 to +22 degrees across" in str(caught.value.found)
    assert "wider" in str(caught.value.remedy)
