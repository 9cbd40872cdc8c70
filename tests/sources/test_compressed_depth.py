"""compressedDepth against the numbers of its definition; RVL against an encoder written from the paper; fuzz."""

from __future__ import annotations

import struct
from contextlib import suppress

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.testing import assert_array_equal

from depthforge.errors import DecodeError
from depthforge.sources.rosbag.compressed_depth import decode_compressed_depth, decode_rvl
from depthforge.sources.rosbag.images import unpack_image
from tests.sources.tree_files import png

A, B = 10100.0, -1009.0
CODES = np.array([[9091, 4041, 1011], [0, 1, 65535]], np.uint16)
HEADER = struct.pack("<iff", 0, A, B)


def rvl(values: list[int]) -> bytes:
    """Encode as the paper does: runs of zeros, runs of differences, groups of three bits in words, highest first."""
    groups: list[int] = []

    def put(value: int) -> None:
        while True:
            groups.append((value & 7) | (8 if value >> 3 else 0))
            value >>= 3
            if not value:
                return

    at, previous = 0, 0
    while at < len(values):
        zeros = next((k for k, value in enumerate(values[at:]) if value), len(values) - at)
        at += zeros
        put(zeros)
        run = next((k for k, value in enumerate(values[at:]) if not value), len(values) - at)
        put(run)
        for value in values[at : at + run]:
            difference = value - previous
            put((difference << 1) ^ (difference >> 31))
            previous = value
        at += run
    groups += [0] * (-len(groups) % 8)
    words = ["".join(f"{group:x}" for group in groups[k : k + 8]) for k in range(0, len(groups), 8)]
    return b"".join(struct.pack("<I", int(word, 16)) for word in words)


def rvl_message(image: np.ndarray, header: bytes = bytes(12)) -> bytes:
    return header + struct.pack("<II", image.shape[1], image.shape[0]) + rvl(image.ravel().tolist())


def decode(data: bytes, text: str, size: tuple[int, int] = (2, 3)) -> np.ndarray:
    return decode_compressed_depth(data, text, size, where="bag, topic")


@pytest.mark.parametrize("text", ["16UC1; compressedDepth", "16UC1; compressedDepth png", "mono16; compressedDepth"])
@pytest.mark.parametrize("header", [bytes(12), HEADER, b""])
def test_integers_in_png_are_as_they_are_whatever_the_parameters(text: str, header: bytes) -> None:
    assert_array_equal(decode(header + png(CODES), text), CODES, strict=True)


@pytest.mark.parametrize("coder", ["", " png", " rvl"])
def test_floats_are_quantised_inverse_depth(coder: str) -> None:
    data = rvl_message(CODES, HEADER) if coder == " rvl" else HEADER + png(CODES)
    found = decode(data, f"32FC1; compressedDepth{coder}")
    assert found.dtype == np.float32
    np.testing.assert_allclose(found[0], [1.0, 2.0, 5.0], rtol=1e-6)
    np.testing.assert_allclose(found[1], [0.0, A / 1010, A / 66544], rtol=1e-6)


def test_steps_are_those_of_the_definition() -> None:
    metres = decode(HEADER + png(np.array([[1011, 1012, 1], [2, 0, 0]], np.uint16)), "32FC1; compressedDepth")
    assert metres[0, 0] - metres[0, 1] == pytest.approx(2.5e-3, rel=0.02)
    assert metres[0, 2] - metres[1, 0] == pytest.approx(9.9e-3, rel=0.02)


def test_rvl_by_hand() -> None:
    # 2 zeros, 1 value, +500 = 1000 as a difference: groups 2, 1, then 1000 = 0b1111101000 in threes: 0, 5, 7, 1.
    stream = struct.pack("<I", 0x218DF100)
    assert_array_equal(decode_rvl(stream, 3, where=""), np.array([0, 0, 500], np.uint16), strict=True)


@given(st.lists(st.one_of(st.just(0), st.integers(0, 65535)), min_size=1, max_size=80))
def test_rvl_there_and_back(values: list[int]) -> None:
    assert decode_rvl(rvl(values), len(values), where="").tolist() == values


def test_what_does_not_fit_is_named() -> None:
    good = rvl_message(CODES)
    with pytest.raises(DecodeError, match="another size"):
        decode(good, "16UC1; compressedDepth rvl", (3, 2))
    with pytest.raises(DecodeError, match="another size"):
        decode(bytes(12) + png(CODES), "16UC1; compressedDepth", (480, 640))
    with pytest.raises(DecodeError, match="does not fit its image"):
        decode(good[:-4], "16UC1; compressedDepth rvl")
    with pytest.raises(DecodeError, match="two parameters"):
        decode(png(CODES), "32FC1; compressedDepth")
    with pytest.raises(DecodeError, match="without its parameters"):
        decode(bytes(12) + png(CODES), "32FC1; compressedDepth")
    with pytest.raises(DecodeError, match="does not say what it is"):
        decode(bytes(12) + png(CODES), "jpeg")
    with pytest.raises(DecodeError, match="precision"):
        decode(bytes(12) + png(CODES.astype(np.uint8)), "16UC1; compressedDepth")
    with pytest.raises(DecodeError, match="no PNG"):
        decode(bytes(12) + b"\xff\xd8\xff", "16UC1; compressedDepth")


@given(
    st.binary(max_size=200),
    st.sampled_from(["16UC1", "32FC1", "8UC1", ""]),
    st.sampled_from(["; compressedDepth", "; compressedDepth rvl", ""]),
    st.booleans(),
)
def test_any_bytes_are_an_image_or_an_error(data: bytes, encoding: str, coder: str, sized: bool) -> None:
    message = bytes(12) + struct.pack("<II", 20, 20) + data if sized else data
    with suppress(DecodeError):
        assert decode(message, encoding + coder, (20, 20)).shape == (20, 20)


@given(
    st.integers(0, 2**32 - 1),
    st.integers(0, 2**32 - 1),
    st.sampled_from(["16UC1", "32FC1", "rgb8", "yuv422"]),
    st.booleans(),
    st.integers(0, 2**32 - 1),
    st.binary(max_size=64),
)
def test_any_image_message_is_an_image_or_an_error(
    height: int, width: int, encoding: str, big: bool, step: int, data: bytes
) -> None:
    pixels = np.frombuffer(data, np.uint8)
    for h, w, s in ((height, width, step), (height % 5, width % 5, step % 20)):
        try:
            image = unpack_image(
                height=h, width=w, encoding=encoding, is_bigendian=big, step=s, data=pixels, where="bag"
            )
        except DecodeError:
            continue
        assert image.shape[:2] == (h, w)
