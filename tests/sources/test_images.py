"""Decoding is strict: what is damaged, lossy or something else is an error that names the file."""

from __future__ import annotations

import io
import pickle

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from depthforge.errors import DecodeError, FrameError
from depthforge.sources.images import (
    decode_depth,
    decode_ids,
    decode_relative_depth,
    decode_rgb,
    decode_rgb16,
    require_size,
)

RAMP = (np.arange(48 * 64, dtype=np.uint16).reshape(48, 64) * 21).astype(np.uint16)
COLOUR = np.dstack([np.full((48, 64), value, np.uint8) for value in (200, 100, 50)])


def encode(image: np.ndarray, suffix: str = ".png") -> bytes:
    if image.ndim == 3:
        image = cv2.cvtColor(image, cv2.COLOR_RGB2BGR)
    return cv2.imencode(suffix, image)[1].tobytes()


def npy(array: np.ndarray) -> bytes:
    buffer = io.BytesIO()
    np.save(buffer, array)
    return buffer.getvalue()


def fails(decode: object, data: bytes, message: str) -> DecodeError:
    with pytest.raises(DecodeError, match=message) as raised:
        decode(data, where="room/7.png")  # type: ignore[operator]
    assert raised.value.where == "room/7.png"
    assert isinstance(raised.value, FrameError)
    return raised.value


@pytest.mark.parametrize("suffix", [".png", ".tiff", ".pgm"])
def test_16_bit_depth_is_exact(suffix: str) -> None:
    np.testing.assert_array_equal(decode_depth(encode(RAMP, suffix), where=""), RAMP, strict=True)


def test_floating_point_depth() -> None:
    metres = (RAMP / 1000).astype(np.float32)
    np.testing.assert_array_equal(decode_depth(encode(metres, ".tiff"), where=""), metres, strict=True)
    np.testing.assert_array_equal(decode_depth(npy(metres.astype(np.float64)), where=""), metres, strict=True)


def test_identical_channels_are_one() -> None:
    data = encode(np.dstack([RAMP] * 3))
    np.testing.assert_array_equal(decode_depth(data, where=""), RAMP, strict=True)
    fails(decode_depth, encode(np.dstack([RAMP, RAMP, RAMP + 1])), "channels differ")


def test_8_bit_depth_is_refused() -> None:
    error = fails(decode_depth, encode(np.full((48, 64), 7, np.uint8)), "precision")
    assert "16-bit" in str(error.remedy)
    fails(decode_depth, npy(np.zeros((4, 4), np.int64)), "precision")


def test_not_an_image() -> None:
    fails(decode_depth, b"", "empty")
    fails(decode_depth, b"not a picture", "not an image")
    fails(decode_depth, b"\x93NUMPY garbage", "NPY")
    fails(decode_depth, npy(np.zeros((4, 4, 3), np.float32)), "one value per pixel")


@settings(max_examples=60, deadline=None)
@given(st.floats(0.0, 1.0, exclude_max=True))
def test_any_truncation_of_a_png_is_found(share: float) -> None:
    data = encode(RAMP)
    fails(decode_depth, data[: int(len(data) * share)], "truncated|empty|not an image")


@settings(max_examples=60, deadline=None)
@given(st.data())
def test_any_changed_byte_of_a_png_is_found(data: st.DataObject) -> None:
    whole = bytearray(encode(RAMP))
    at = data.draw(st.integers(0, len(whole) - 1))
    whole[at] ^= data.draw(st.integers(1, 255))
    fails(decode_depth, bytes(whole), "corrupt|truncated|not an image")


def test_truncated_jpeg_is_found() -> None:
    data = encode(COLOUR, ".jpg")
    assert decode_rgb(data, where="").shape == (48, 64, 3)
    fails(decode_rgb, data[: len(data) // 2], "truncated")


def test_colour_is_rgb() -> None:
    assert decode_rgb(encode(COLOUR), where="")[0, 0].tolist() == [200, 100, 50]
    assert decode_rgb(encode(COLOUR[..., 0]), where="")[0, 0].tolist() == [200, 200, 200]
    wide = COLOUR.astype(np.uint16) * 257
    np.testing.assert_array_equal(decode_rgb16(encode(wide), where=""), wide, strict=True)
    fails(decode_rgb16, encode(COLOUR), "three 16-bit channels")


def test_ids_of_8_and_16_bits() -> None:
    np.testing.assert_array_equal(decode_ids(encode(RAMP), where=""), RAMP, strict=True)
    np.testing.assert_array_equal(decode_ids(encode(COLOUR[..., 0]), where=""), np.full((48, 64), 200, np.uint16))
    error = fails(decode_ids, encode(COLOUR), "channels differ")
    assert "visualisation" in str(error.remedy)


def test_relative_depth_is_a_share_of_the_largest_value() -> None:
    relative = decode_relative_depth(encode(np.array([[0, 51, 255]], np.uint8)), where="")
    np.testing.assert_allclose(relative, [[0, 0.2, 1]], rtol=1e-6)
    assert relative.dtype == np.float32
    assert decode_relative_depth(encode(np.array([[65535]], np.uint16)), where="")[0, 0] == 1


def test_wrong_size_names_both() -> None:
    with pytest.raises(DecodeError) as raised:
        require_size(RAMP, (480, 640), where="7.png")
    assert (raised.value.expected, raised.value.found) == ("640 x 480 pixels", "64 x 48")
    assert str(pickle.loads(pickle.dumps(raised.value))) == str(raised.value)
