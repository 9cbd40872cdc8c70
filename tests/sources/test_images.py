"""Decoding is strict: what is damaged, lossy or something else is an error that names the file."""

from __future__ import annotations

import io
import pickle
import struct
import zlib

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from depthforge.errors import DecodeError, FrameError
from depthforge.sources.images import (
    decode_bytes_of_pixels,
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
    fails(decode_depth, npy(np.zeros((4, 4), np.int8)), "8 bits")


@pytest.mark.parametrize("dtype", ["<u2", ">u2", "i2", "i4", "u4", "i8", ">i4", "u8"])
def test_every_integer_whose_values_fit_is_16_bit_depth(dtype: str) -> None:
    whole = RAMP // 3
    np.testing.assert_array_equal(decode_depth(npy(whole.astype(dtype)), where=""), whole, strict=True)


def test_integers_that_do_not_fit_are_floats_and_negative_ones_no_measurement() -> None:
    large = np.array([[-5, 0, 70_000, 2_000_000]], np.int64)
    np.testing.assert_array_equal(
        decode_depth(npy(large), where=""), np.float32([[0, 0, 70_000, 2_000_000]]), strict=True
    )
    small = np.array([[-1, 7]], np.int16)
    np.testing.assert_array_equal(decode_depth(npy(small), where=""), np.uint16([[0, 7]]), strict=True)


def test_one_value_a_pixel_in_three_axes() -> None:
    metres = (RAMP / 1000).astype(np.float32)
    for shape in ((48, 64, 1), (1, 48, 64), (1, 48, 64, 1)):
        np.testing.assert_array_equal(decode_depth(npy(metres.reshape(shape)), where=""), metres, strict=True)


def test_what_is_no_image_is_called_by_its_name() -> None:
    for data, name in ((b"bvx2" + bytes(90), "LZFSE"), (b"\x1f\x8b" + bytes(90), "gzip"), (b"MATLAB 5.0", "MATLAB")):
        error = fails(decode_depth, data, "not an image")
        assert name in str(error.found)
        assert ".npy" in str(error.remedy)


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


def grey_or_palette(ids: np.ndarray, bits: int, palette: list[tuple[int, int, int]] | None = None) -> bytes:
    """Write a PNG of a given number of bits as labelling tools do."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    height, width = ids.shape
    head = struct.pack(">IIBBBBB", width, height, bits, 0 if palette is None else 3, 0, 0, 0)
    rows = b"".join(
        b"\0" + np.packbits(np.unpackbits(row.astype(np.uint8)[:, None], axis=1)[:, 8 - bits :].ravel()).tobytes()
        for row in ids
    )
    colours = b"" if palette is None else chunk(b"PLTE", bytes(value for entry in palette for value in entry))
    body = chunk(b"IHDR", head) + colours + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")
    return b"\x89PNG\r\n\x1a\n" + body


@pytest.mark.parametrize("bits", [1, 2, 4, 8])
@pytest.mark.parametrize("colours", ["grey", "black to white", "colours", "all the same"])
def test_ids_of_few_bits_and_of_palettes_are_those_stored(bits: int, colours: str) -> None:
    most = min((1 << bits) - 1, 9)
    ids = (np.arange(24 * 30).reshape(24, 30) % (most + 1)).astype(np.uint16)
    palettes = {
        "grey": None,
        "black to white": [(255 * k // most,) * 3 for k in range(most + 1)],
        "colours": [(k * 37 % 256, k * 91 % 256, 128) for k in range(most + 1)],
        "all the same": [(9, 9, 9)] * (most + 1),
    }
    data = grey_or_palette(ids, bits, palettes[colours])
    np.testing.assert_array_equal(decode_ids(data, where=""), ids, strict=True)
    fails(decode_ids, data[:40], "truncated|corrupt")


def test_ids_of_arrays() -> None:
    ids = np.array([[0, 3], [65535, 1]], np.int32)
    np.testing.assert_array_equal(decode_ids(npy(ids), where=""), ids.astype(np.uint16), strict=True)
    np.testing.assert_array_equal(decode_ids(npy(ids[..., None]), where=""), ids.astype(np.uint16), strict=True)
    np.testing.assert_array_equal(decode_ids(npy(ids.astype(np.float32)), where=""), ids.astype(np.uint16), strict=True)
    np.testing.assert_array_equal(decode_ids(npy(ids > 2), where=""), np.uint16([[0, 1], [1, 0]]), strict=True)
    fails(decode_ids, npy(ids + 1), "do not fit")
    fails(decode_ids, npy(ids - 1), "do not fit")
    fails(decode_ids, npy(ids + np.float32(0.5)), "whole numbers")
    fails(decode_ids, npy(np.array([["a"]])), "numbers")


def test_numbers_in_the_channels_of_a_picture() -> None:
    rgba = np.array([[[1, 2, 3, 4]]], np.uint8)
    data = cv2.imencode(".png", cv2.cvtColor(rgba, cv2.COLOR_RGBA2BGRA))[1].tobytes()
    np.testing.assert_array_equal(decode_bytes_of_pixels(data, where=""), rgba, strict=True)
    np.testing.assert_array_equal(decode_bytes_of_pixels(encode(COLOUR), where=""), COLOUR, strict=True)
    fails(decode_bytes_of_pixels, encode(COLOUR, ".jpg"), "do not survive")
    fails(decode_bytes_of_pixels, encode(RAMP), "not a colour image")


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
