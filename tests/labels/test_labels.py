"""Labels through a change of size and through noise: what scales, what takes the nearest pixel, what is counted."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from depthforge.errors import FrameError, InputError
from depthforge.frame import Camera, Frame
from depthforge.geometry import back_project, decode_normals, encode_normals
from depthforge.labels import catalogue as specs
from depthforge.labels.recomputing import after_noise, needed_by_noise
from depthforge.labels.resize import resize_camera, resize_frame, resize_label
from depthforge.labels.spec import LabelSpec, NoiseRule

CAMERA = Camera(fx=20, fy=24, cx=7.5, cy=5.5, width=16, height=12)
BY_NAME = {spec.name: spec for spec in vars(specs).values() if isinstance(spec, LabelSpec)}


def frame_of(**labels: np.ndarray) -> Frame:
    depth_m = 1 + np.arange(12 * 16, dtype=np.float32).reshape(12, 16)
    valid = np.ones((12, 16), np.bool_)
    valid[0, 0] = False
    depth_m[0, 0] = 0
    rgb = np.zeros((12, 16, 3), np.uint8)
    rgb[:, 8:] = 200
    return Frame("a/b/c", depth_m, valid, CAMERA, rgb=rgb, labels=labels)


def test_every_label_of_the_house_has_a_name_of_its_own_and_a_way_to_resize() -> None:
    assert len(BY_NAME) == sum(isinstance(spec, LabelSpec) for spec in vars(specs).values())
    for spec in BY_NAME.values():
        assert spec.layout == "image" or spec.resize in ("none", "count", "box_2d", "rect_grasps"), spec.name


def test_half_the_size_takes_every_second_pixel_and_averages_colour() -> None:
    half = resize_frame(frame_of(), BY_NAME, 8, 6)
    np.testing.assert_array_equal(half.depth_m, frame_of().depth_m[::2, ::2])
    np.testing.assert_array_equal(half.valid, frame_of().valid[::2, ::2])
    assert half.rgb is not None
    assert half.rgb[:, :4].max() == 0
    assert half.rgb[:, 4:].min() == 200
    assert half.camera == Camera(10, 12, 3.5, 2.5, 8, 6)
    assert half.require_sound() is half


def test_the_same_size_is_the_same_frame() -> None:
    frame = frame_of()
    assert resize_frame(frame, BY_NAME, 16, 12) is frame


@given(width=st.integers(1, 40), height=st.integers(1, 40))
def test_a_resized_camera_sees_the_same_corners(width: int, height: int) -> None:
    camera = resize_camera(CAMERA, width, height)
    for before, after in ((CAMERA, camera),):
        for size, focal, centre in (("width", "fx", "cx"), ("height", "fy", "cy")):
            for edge in (-0.5, None):
                old, new = (getattr(c, size) - 0.5 if edge is None else edge for c in (before, after))
                slope = [(u - getattr(c, centre)) / getattr(c, focal) for u, c in ((old, before), (new, after))]
                assert slope[0] == pytest.approx(slope[1], abs=1e-12)


@given(width=st.integers(1, 40), height=st.integers(1, 40))
def test_any_size_holds_only_depths_that_were_there(width: int, height: int) -> None:
    frame = resize_frame(frame_of(), BY_NAME, width, height).require_sound()
    assert frame.depth_m.shape == (height, width)
    assert set(frame.depth_m.ravel()) <= set(frame_of().depth_m.ravel())


def test_a_plane_stays_the_plane() -> None:
    x, y = (np.arange(16) - 7.5) / 20, (np.arange(12) - 5.5) / 24
    # the plane n . p = 2 with n = (0.3, 0.2, 1)
    depth_m = (2 / (0.3 * x[None, :] + 0.2 * y[:, None] + 1)).astype(np.float32)
    frame = Frame("a/b/c", depth_m, depth_m > 0, CAMERA)
    odd = resize_frame(frame, BY_NAME, 48, 36)  # three pixels for one: each middle one has the old centre
    points = back_project(odd.depth_m, odd.camera)[1::3, 1::3]
    np.testing.assert_allclose(points @ [0.3, 0.2, 1], 2, atol=1e-6)


def test_normals_average_and_are_unit_again() -> None:
    unit = np.zeros((12, 16, 3), np.float32)
    unit[..., 2] = -1
    unit[:, 1] = (0.6, 0, -0.8)
    unit[4:6, 4:6] = 0
    stored = encode_normals(unit)
    half = resize_label(stored, specs.NORMALS, CAMERA, 8, 6)
    assert half.dtype == np.int16
    normals = decode_normals(half)
    length = np.linalg.norm(normals, axis=2)
    assert not normals[2, 2].any(), "no normal where the nearest pixel had none"
    np.testing.assert_allclose(length[length > 0], 1, atol=1e-4)
    mean = np.array([0.3, 0, -0.9])
    np.testing.assert_allclose(normals[0, 0], mean / np.linalg.norm(mean), atol=1e-3)
    np.testing.assert_allclose(normals[0, 1], [0, 0, -1], atol=1e-4)


def test_flow_is_in_the_new_pixels_and_nan_where_there_was_none() -> None:
    flow = np.full((12, 16, 2), [4.0, -6.0], np.float32)
    flow[1, 0] = np.nan
    half = resize_label(flow, specs.FLOW, CAMERA, 8, 4)
    assert np.isnan(half[0, 0]).all()
    np.testing.assert_array_equal(half[1, 1], [2, -2])


def test_boxes_keep_their_edges_on_the_image() -> None:
    whole = np.array([[-0.5, -0.5, 15.5, 11.5], [np.nan] * 4], np.float32)
    half = resize_label(whole, specs.BOX_2D, CAMERA, 8, 4)
    np.testing.assert_array_equal(half[0], [-0.5, -0.5, 7.5, 3.5])
    assert np.isnan(half[1]).all()


def test_rectangle_grasps_scale_along_and_across_the_opening() -> None:
    #                   centre  opens to the right by 4  height  score id
    along_x = np.array([[7.5, 5.5, 11.5, 5.5, 6, 0.5, 3]], np.float32)
    found = resize_label(along_x, specs.RECT_GRASPS, CAMERA, 32, 12)
    np.testing.assert_allclose(found[0], [15.5, 5.5, 23.5, 5.5, 6, 0.5, 3])
    along_y = np.array([[7.5, 5.5, 7.5, 8.5, 6, 0.5, 3]], np.float32)
    np.testing.assert_allclose(resize_label(along_y, specs.RECT_GRASPS, CAMERA, 32, 12)[0, 4], 12)


def test_what_is_not_of_the_pixel_grid_is_carried_bit_for_bit() -> None:
    poses = np.random.default_rng(0).random((3, 4, 4))
    assert resize_label(poses, specs.OBJECT_POSE, CAMERA, 3, 3) is poses


def test_rows_cannot_be_resampled_and_intrinsics_go_with_the_camera() -> None:
    with pytest.raises(FrameError, match="only images"):
        resize_label(np.zeros(3), LabelSpec("scores", "float64", "ragged", ""), CAMERA, 8, 6)
    with pytest.raises(InputError, match="camera"):
        resize_label(np.eye(3), specs.INTRINSICS, CAMERA, 8, 6)


def silhouettes() -> tuple[np.ndarray, dict[str, np.ndarray]]:
    """Return two overlapping silhouettes, of rows 0 and 40, and their counts."""
    bits = np.zeros((12, 16), np.uint64)
    bits[:4, :4] |= np.uint64(1)
    bits[2:6, 2:6] |= np.uint64(1 << 40)
    counts = np.zeros(41, np.uint32)
    counts[[0, 40]] = 16
    visible = counts.copy()
    visible[0] = 12
    return bits, {
        "object_silhouettes": bits,
        "object_px_count_all": counts,
        "object_px_count_valid": counts,
        "object_px_count_visib": visible,
    }


def test_noise_changes_only_how_many_pixels_of_an_object_are_measured() -> None:
    _, labels = silhouettes()
    valid = np.ones((12, 16), np.bool_)
    valid[3, 3] = valid[0, 0] = valid[5, 5] = valid[5, 4] = False
    frame = frame_of(**labels)
    noisy = after_noise(frame, valid, BY_NAME)
    counts = noisy.labels["object_px_count_valid"]
    assert (counts[0], counts[40], counts.sum(), counts.dtype) == (14, 13, 27, np.uint32)
    for name in labels.keys() - {"object_px_count_valid"}:
        assert noisy.labels[name] is labels[name]
    assert frame.labels["object_px_count_valid"][0] == 16, "the input is left alone"


def test_a_count_that_cannot_be_taken_anew_is_left_out() -> None:
    _, labels = silhouettes()
    del labels["object_silhouettes"]
    assert "object_px_count_valid" not in after_noise(frame_of(**labels), np.ones((12, 16), np.bool_), BY_NAME).labels
    plain = frame_of()
    assert after_noise(plain, plain.valid, BY_NAME) is plain


def test_counts_scale_with_the_area_and_measured_pixels_are_counted() -> None:
    _, labels = silhouettes()
    half = resize_frame(frame_of(**labels), BY_NAME, 8, 6).labels
    assert (half["object_px_count_all"][0], half["object_px_count_valid"][0]) == (4, 3)  # (0, 0) is a hole
    assert half["object_px_count_visib"][0] == 3


def test_what_is_counted_needs_its_silhouettes() -> None:
    assert needed_by_noise([BY_NAME["object_px_count_valid"], BY_NAME["rgb"]]) == {"object_silhouettes"}
    assert needed_by_noise([BY_NAME["rgb"]]) == frozenset()


def test_a_label_of_a_source_of_its_own_brings_what_noise_does_to_it() -> None:
    """Defect: the promise was on the spec and the computation was hard-coded for one label."""
    spec = LabelSpec(
        "nearest_m",
        "float32",
        "frame",
        "nearest measured depth",
        resize="none",
        noise=NoiseRule(lambda frame, valid: np.float32(frame.depth_m[valid].min()).reshape(()), frozenset({"rgb"})),
    )
    frame = frame_of(nearest_m=np.float32(0).reshape(()))
    valid = np.zeros((12, 16), np.bool_)
    valid[2, 3] = valid[5, 5] = True
    assert after_noise(frame, valid, {"nearest_m": spec}).labels["nearest_m"] == frame.depth_m[2, 3]
    assert needed_by_noise([spec]) == {"rgb"}
