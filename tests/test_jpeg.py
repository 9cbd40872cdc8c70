from __future__ import annotations

import io
import struct

import cv2
import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from depthforge.jpeg import decode_jpeg, encode_jpeg, is_whole, read_header, why_not_carried


def picture(height: int = 24, width: int = 32) -> npt.NDArray[np.uint8]:
    y, x = np.mgrid[:height, :width]
    return np.stack([x * 7 % 256, y * 9 % 256, (x + y) * 3 % 256], axis=-1).astype(np.uint8)


def file_of(image: npt.NDArray[np.uint8], *options: int) -> bytes:
    return bytes(cv2.imencode(".jpg", image, list(options))[1].tobytes())


def with_header(data: bytes, **changes: int) -> bytes:
    """Change fields of the frame header of a baseline file."""
    at = data.index(b"\xff\xc0")
    fields = {
        "process": (at + 1, "B"),
        "precision": (at + 4, "B"),
        "height": (at + 5, ">H"),
        "components": (at + 9, "B"),
    }
    changed = bytearray(data)
    for name, value in changes.items():
        struct.pack_into(fields[name][1], changed, fields[name][0], value)
    return bytes(changed)


def test_the_header_of_every_kind_that_is_carried() -> None:
    assert read_header(file_of(picture()))[:4] == (24, 32, 8, 3)
    assert read_header(file_of(picture()[..., 0]))[:4] == (24, 32, 8, 1)
    progressive = file_of(picture(), cv2.IMWRITE_JPEG_PROGRESSIVE, 1)
    assert read_header(progressive) == (24, 32, 8, 3, 0xC2)
    for data in (file_of(picture()), file_of(picture()[..., 0]), progressive):
        assert why_not_carried(data) is None


@pytest.mark.parametrize(
    ("changes", "why"),
    [
        ({"components": 4}, "a JPEG of 4 components (CMYK?)"),
        ({"precision": 12}, "a JPEG of 12 bits"),
        ({"process": 0xC3}, "a JPEG of process SOF3"),
        ({"process": 0xC9}, "a JPEG of process SOF9"),
        ({"height": 0}, "a JPEG that does not say its size"),
    ],
)
def test_what_decoders_do_not_agree_on_is_not_carried(changes: dict[str, int], why: str) -> None:
    assert why_not_carried(with_header(file_of(picture()), **changes)) == why


def test_a_real_cmyk_file_is_not_carried() -> None:
    image = pytest.importorskip("PIL.Image")
    stream = io.BytesIO()
    image.new("CMYK", (32, 24), (10, 20, 30, 40)).save(stream, "JPEG")
    assert why_not_carried(stream.getvalue()) == "a JPEG of 4 components (CMYK?)"


@given(st.integers(0, 4000), st.sampled_from([0, 1]), st.booleans())
@settings(max_examples=150, deadline=None)
def test_a_file_that_is_cut_anywhere_is_not_whole_even_with_a_thumbnail(cut: int, progressive: int, grey: bool) -> None:
    """The thumbnail within the file has an end of its own, which is not that of the file."""
    image = picture()[..., 0] if grey else picture()
    file = file_of(image, cv2.IMWRITE_JPEG_PROGRESSIVE, progressive, cv2.IMWRITE_JPEG_RST_INTERVAL, 2)
    thumbnail = file_of(picture(8, 8))
    data = file[:2] + b"\xff\xe1" + struct.pack(">H", len(thumbnail) + 2) + thumbnail + file[2:]
    assert is_whole(data)
    assert is_whole(data + bytes(64)), "cameras pad files"
    assert not is_whole(data[: min(cut, len(data) - 1)])
    assert read_header(data)[:2] == (24, 32)


def test_what_is_no_whole_file_is_not_carried() -> None:
    data = file_of(picture())
    assert why_not_carried(data[:-40]) == "a JPEG that is truncated"
    assert why_not_carried(data[:30]) == "cut before its frame header"
    assert str(why_not_carried(b"\x89PNG\r\n")).startswith("not a JPEG")
    assert str(why_not_carried(b"")).startswith("not a JPEG")
    assert str(why_not_carried(b"\xff\xd8\xff\xe0\x00\x04abcdefgh")).startswith("no marker at byte")


@given(st.binary(max_size=200))
@settings(max_examples=200)
def test_any_bytes_after_a_signature_have_a_header_or_a_reason(tail: bytes) -> None:
    assert why_not_carried(b"\xff\xd8\xff" + tail) != ""


def test_pixels_are_those_of_opencv_and_orientation_is_ignored() -> None:
    plain = file_of(cv2.cvtColor(picture(), cv2.COLOR_RGB2BGR), cv2.IMWRITE_JPEG_QUALITY, 100)
    # A TIFF header with one entry: orientation (0x0112) 6, a quarter turn.
    tiff = b"II*\x00\x08\x00\x00\x00\x01\x00\x12\x01\x03\x00\x01\x00\x00\x00\x06\x00\x00\x00\x00\x00\x00\x00"
    exif = b"Exif\x00\x00" + tiff
    turned = plain[:2] + b"\xff\xe1" + struct.pack(">H", len(exif) + 2) + exif + plain[2:]
    assert cv2.imdecode(np.frombuffer(turned, np.uint8), cv2.IMREAD_COLOR).shape == (32, 24, 3), "the tag is one"
    for data in (plain, turned):
        assert why_not_carried(data) is None
        assert np.abs(decode_jpeg(data).astype(int) - picture()).mean() < 6
    np.testing.assert_array_equal(decode_jpeg(turned), decode_jpeg(plain))


def test_grey_becomes_three_equal_channels() -> None:
    pixels = decode_jpeg(file_of(picture()[..., 0]))
    assert pixels.shape == (24, 32, 3)
    assert np.ptp(pixels, axis=-1).max() == 0


def test_a_new_file_is_near_its_pixels_and_nearer_with_more_quality() -> None:
    smooth = cv2.GaussianBlur(picture(48, 64), (0, 0), 3)
    errors = [np.abs(decode_jpeg(encode_jpeg(smooth, quality)).astype(int) - smooth).mean() for quality in (50, 100)]
    assert errors[1] < 1 < errors[0] + 1


@pytest.mark.parametrize("data", [b"", b"\xff\xd8\xff", b"\xff\xd8\xff\xd9", b"\x89PNG\r\n\x1a\n"])
def test_what_is_no_jpeg_has_no_pixels(data: bytes) -> None:
    with pytest.raises(ValueError, match="JPEG"):
        decode_jpeg(data)
