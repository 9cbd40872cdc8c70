"""Intrinsics in every form that people keep, COLMAP's models, transforms.json: golden values and named faults."""

from __future__ import annotations

import io
import json
import struct
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from depthforge.errors import DecodeError
from depthforge.geometry import invert_pose
from depthforge.sources.colmap_files import parse_colmap_cameras, parse_colmap_images
from depthforge.sources.conventions import to_house_pose
from depthforge.sources.image_names import ByName
from depthforge.sources.intrinsics import Intrinsics, parse_intrinsics
from depthforge.sources.transforms_json import named_images

K = np.array([[600.0, 0, 319.5], [0, 610, 239.5], [0, 0, 1]])
FOUR = (600.0, 610.0, 319.5, 239.5)


def npy(array: np.ndarray) -> bytes:
    buffer = io.BytesIO()
    np.save(buffer, array)
    return buffer.getvalue()


def lines(array: np.ndarray) -> bytes:
    return "\n".join(" ".join(str(value) for value in row) for row in np.atleast_2d(array)).encode()


def four(found: Intrinsics) -> tuple[float, ...]:
    return tuple(found[:4])


K4 = np.eye(4)
K4[:3, :3] = K


@pytest.mark.parametrize(
    "data",
    [
        lines(K),
        lines(K4),
        lines(K4[:3]),
        b"# fx fy cx cy\n600, 610, 319.5, 239.5\n",
        b"\xef\xbb\xbf[[600 0 319.5]\n [0 610 239.5]\n [0 0 1]]",
        npy(K),
        npy(K.astype(np.float32)),
        npy(K4),
        json.dumps(K.tolist()).encode(),
        json.dumps({"fx": 600, "fy": 610, "cx": 319.5, "cy": 239.5}).encode(),
        json.dumps({"cam_K": K.ravel().tolist()}).encode(),
        json.dumps({"intrinsic_matrix": K.T.ravel().tolist(), "width": 640, "height": 480}).encode(),
    ],
)
def test_every_form_of_intrinsics(data: bytes) -> None:
    assert four(parse_intrinsics(data, None, where="")) == FOUR


def test_intrinsics_by_key_with_size_and_with_an_angle() -> None:
    whole = {"cameras": [{"K": K.tolist(), "w": 640, "h": 480, "k1": 0.5}]}
    found = parse_intrinsics(json.dumps(whole).encode(), "cameras.0", where="")
    assert (four(found), found.size, found.distortion) == (FOUR, (480, 640), {"k1": 0.5})
    assert four(parse_intrinsics(b"500 320 240", None, where="")) == (500, 500, 320, 240)
    angle = {"camera_angle_x": np.pi / 2, "w": 640, "h": 480}
    assert four(parse_intrinsics(json.dumps(angle).encode(), None, where="")) == pytest.approx((320, 320, 320, 240))


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (lines(K.T), "transposed"),
        (lines(K[:2]), "not intrinsics"),
        (b"-600 610 1 1", "pinhole"),
        (b"600 nan 1 1", "pinhole"),
        (lines(np.array([[600, 9, 1], [0, 600, 1], [0, 0, 1]])), "skew"),
        (lines(np.eye(3) * 2), "not a matrix of intrinsics"),
        (b"a b c", "not intrinsics"),
        (b'{"focal": 3}', "no intrinsics"),
        (b'{"fx": "a", "fy": 1, "cx": 1, "cy": 1}', "not intrinsics"),
        (b'{"K": {"data": null}}', "not intrinsics"),
        (b"{", "not JSON"),
        (b"\x89PNG\r\n\x1a\n\xff", "not intrinsics"),
    ],
)
def test_what_is_no_pinhole(data: bytes, message: str) -> None:
    with pytest.raises(DecodeError, match=message) as raised:
        parse_intrinsics(data, None, where="K.txt")
    assert str(raised.value.where).startswith("K.txt")


def test_intrinsics_of_another_resolution_are_scaled_about_pixel_centres() -> None:
    half = Intrinsics(*FOUR, size=(480, 640)).camera((240, 320), 0.1, where="")
    assert (half.fx, half.fy, half.cx, half.cy) == (300, 305, 159.5, 119.5)
    assert (half.width, half.height, half.baseline_m) == (320, 240, 0.1)
    with pytest.raises(DecodeError, match="other proportions"):
        Intrinsics(*FOUR, size=(480, 640)).camera((480, 480), None, where="")


# --- COLMAP --------------------------------------------------------------------------------------------------------

CAMERAS = b"# comment\n1 PINHOLE 640 480 600 610 320 240\n2 SIMPLE_RADIAL 640 480 500 320 240 0.1\n"
IMAGES = b"# comment\n1 1 0 0 0  0 0 2 1 a b.png\n\n2 1 0 0 0  1 0 0 2 c.png\n0.5 0.5 -1\n"


def colmap_binary() -> tuple[bytes, bytes]:
    cameras = struct.pack("<QiiQQ4d", 2, 1, 1, 640, 480, 600, 610, 320, 240)
    cameras += struct.pack("<iiQQ4d", 2, 2, 640, 480, 500, 320, 240, 0.1)
    images = struct.pack("<Q", 2)
    images += struct.pack("<i7di", 1, 1, 0, 0, 0, 0, 0, 2, 1) + b"a b.png\0" + struct.pack("<Q", 0)
    images += struct.pack("<i7di", 2, 1, 0, 0, 0, 1, 0, 0, 2) + b"c.png\0" + struct.pack("<Qddq", 1, 0.5, 0.5, -1)
    return cameras, images


@pytest.mark.parametrize("binary", [False, True])
def test_golden_values_of_colmap(*, binary: bool) -> None:
    cameras, images = colmap_binary() if binary else (CAMERAS, IMAGES)
    found = parse_colmap_cameras(cameras, binary=binary, where="")
    assert found[1] == Intrinsics(*FOUR, (480, 640), {})  # the corner of the first pixel is COLMAP's (0, 0)
    assert found[2] == Intrinsics(500, 500, 319.5, 239.5, (480, 640), {"SIMPLE_RADIAL 0": 0.1})
    posed = parse_colmap_images(images, binary=binary, where="")
    assert [posed[name].camera for name in ("a b.png", "c.png")] == [1, 2]
    T = to_house_pose(posed["a b.png"].matrix, "world_to_camera", "opencv", where="")
    assert T is not None
    assert T[:3, 3].tolist() == [0, 0, -2]
    np.testing.assert_array_equal(invert_pose(T)[:3, 3], [0, 0, 2])


@pytest.mark.parametrize(
    ("data", "binary", "message"),
    [
        (b"1 PINHOL 640 480 1 1 1 1", False, "cameras.txt"),
        (b"1 PINHOLE 640 480 1 1", False, "not a COLMAP camera"),
        (b"", False, "no camera"),
        (struct.pack("<QiiQQ4d", 1, 1, 99, 4, 4, 1, 1, 1, 1), True, "unknown model"),
        (colmap_binary()[0][:-4], True, "cut short"),
        (b"\1", True, "cut short"),
    ],
)
def test_what_is_no_camera_of_colmap(data: bytes, message: str, *, binary: bool) -> None:
    with pytest.raises(DecodeError, match=message):
        parse_colmap_cameras(data, binary=binary, where="x")


def test_what_is_no_image_of_colmap() -> None:
    for data, binary in (
        (b"1 1 0 0 0 0 0 2 1", False),
        (b"", False),
        (colmap_binary()[1][:-4], True),
        (b"\xff" * 8, True),
    ):
        with pytest.raises(DecodeError, match="COLMAP"):
            parse_colmap_images(data, binary=binary, where="x")


# --- transforms.json -----------------------------------------------------------------------------------------------


def transforms(**fields: Any) -> bytes:
    frame = {"file_path": "./images/1.jpg", "depth_file_path": "depth/1.png", "transform_matrix": np.eye(4).tolist()}
    whole = {"fl_x": 600, "fl_y": 610, "cx": 320, "cy": 240, "w": 640, "h": 480, "frames": [frame]}
    return json.dumps(whole | fields).encode()


def test_golden_values_of_transforms() -> None:
    found = named_images(transforms(), where="")
    assert found.keys() == {"images/1.jpg", "depth/1.png"}
    image = found["images/1.jpg"]
    T = to_house_pose(image.matrix, "camera_to_world", "opengl", where="")
    np.testing.assert_array_equal(T, np.diag([1.0, -1, -1, 1]))
    assert image.intrinsics is not None
    assert image.intrinsics.counted_from_centre() == Intrinsics(*FOUR, (480, 640), {})


def test_a_frame_has_its_own_intrinsics_and_a_scale_is_undone() -> None:
    matrix = np.eye(4)
    matrix[:3, 3] = [1, 2, 3]
    frames = [{"file_path": "a", "transform_matrix": matrix[:3].tolist(), "fl_x": 300}]
    found = named_images(transforms(frames=frames, applied_scale=0.5), where="")["a"]
    assert found.matrix[:, 3].tolist() == [2, 4, 6, 1]
    assert found.intrinsics is not None
    assert found.intrinsics.fx == 300


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"[]", "not a transforms.json"),
        (transforms(frames=[]), "not a transforms.json"),
        (transforms(frames=[{}]), "a frame without an image"),
        (transforms(frames=[{"file_path": "a"}]), "transform_matrix is no matrix"),
        (transforms(frames=[{"file_path": "a", "transform_matrix": [["x"] * 4] * 4}]), "transform_matrix is no matrix"),
        (transforms(applied_scale=0), "cannot be undone"),
        (transforms(fl_x=None), "not intrinsics|pinhole"),
    ],
)
def test_what_is_no_transforms(data: bytes, message: str) -> None:
    with pytest.raises(DecodeError, match=message):
        named_images(data, where="t.json")


def test_an_image_is_found_by_the_end_of_its_path_or_by_its_name() -> None:
    named = ByName(
        {"rgb/1.jpg": "one", "./rgb/2.jpg": "two", "left/3.png": "three", "right/3.png": "other", "4": "four"}
    )
    assert named.find(["kitchen/rgb/1.jpg"], "1") == "one"
    assert named.find(["kitchen/depth/2.png"], "2") == "two"
    assert named.find(["depth/3.png"], "3") is None
    assert named.find(["left/3.exr"], "3") is None
    assert named.find(["depth/4.png"], "4") == "four"


# --- whatever the bytes are ----------------------------------------------------------------------------------------


@settings(max_examples=150, deadline=2000)
@given(
    st.one_of(
        st.binary(max_size=200),
        st.text(max_size=200).map(str.encode),
        st.recursive(
            st.none() | st.booleans() | st.floats() | st.text(max_size=5),
            lambda inner: (
                st.lists(inner, max_size=4)
                | st.dictionaries(
                    st.sampled_from(
                        ["frames", "file_path", "transform_matrix", "K", "w", "h", "fx", "cx", "cy", "data", "k1"]
                    ),
                    inner,
                    max_size=5,
                )
            ),
            max_leaves=12,
        ).map(lambda value: json.dumps(value).encode()),
        st.tuples(
            st.sampled_from([CAMERAS, IMAGES, transforms(), *colmap_binary()]),
            st.integers(0, 300),
            st.binary(max_size=5),
        ).map(lambda cut: cut[0][: cut[1]] + cut[2] + cut[0][cut[1] + len(cut[2]) :]),
    )
)
def test_arbitrary_bytes_are_read_or_refused(data: bytes) -> None:
    for parse in (
        lambda: parse_intrinsics(data, None, where="x"),
        lambda: named_images(data, where="x"),
        lambda: parse_colmap_cameras(data, binary=False, where="x"),
        lambda: parse_colmap_cameras(data, binary=True, where="x"),
        lambda: parse_colmap_images(data, binary=False, where="x"),
        lambda: parse_colmap_images(data, binary=True, where="x"),
    ):
        try:
            parse()
        except DecodeError:
            continue
