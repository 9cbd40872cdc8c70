"""ScanNet's .sens streams, written byte by byte from the format: offsets, memory, and what a damaged one says."""

from __future__ import annotations

import random
import struct
import tracemalloc
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from depthforge.errors import DecodeError
from depthforge.sources.scannet.sens import SensFile
from tests.sources.scannet_trees import (
    COLOUR_K,
    DEPTH_K,
    DEPTH_MM,
    LOST,
    POSE,
    RGB,
    four,
    sens_frame,
    sens_header,
    write_stream,
)


@pytest.fixture
def stream(tmp_path: Path) -> Path:
    return write_stream(tmp_path / "scene0003_00") / "scene0003_00.sens"


def test_everything_is_where_the_format_says(stream: Path) -> None:
    sens = SensFile(stream)
    header = sens.header
    assert (header.sensor, header.num_frames, sens.num_whole) == ("StructureSensor", 3, 3)
    assert (header.depth_size, header.color_size) == ((12, 16), (24, 32))
    assert (header.depth_format, header.color_format, header.depth_shift) == ("zlib", "jpeg", 1000.0)
    np.testing.assert_allclose(header.intrinsic_depth, four(DEPTH_K))
    np.testing.assert_allclose(header.intrinsic_color, four(COLOUR_K))
    np.testing.assert_array_equal(sens.depth(2), DEPTH_MM + 2)
    np.testing.assert_allclose(sens.pose(0), POSE)
    np.testing.assert_array_equal(sens.pose(1), LOST)
    assert [sens.has_pose(index) for index in range(3)] == [True, False, True]
    colour = sens.color(0)
    assert colour is not None
    np.testing.assert_allclose(colour.mean(axis=(0, 1)), RGB.mean(axis=(0, 1)), atol=3)


def test_raw_depth_frames_without_colour_and_without_depth(tmp_path: Path) -> None:
    path = tmp_path / "a.sens"
    frame = sens_frame(DEPTH_MM, colour=b"", packed=False)
    bare = struct.pack("<16f", *POSE.ravel()) + struct.pack("<4Q", 0, 0, 0, 0)
    path.write_bytes(sens_header(2, depth_format=0) + frame + bare)
    sens = SensFile(path)
    np.testing.assert_array_equal(sens.depth(0), DEPTH_MM)
    assert sens.color(0) is None
    assert (sens.has_depth(0), sens.has_depth(1)) == (True, False)
    with pytest.raises(DecodeError, match="wrong size"):
        sens.depth(1)


@given(st.integers(0, 20_000))
def test_wherever_it_is_cut_the_whole_frames_are_read(tmp_path_factory: pytest.TempPathFactory, cut: int) -> None:
    path = tmp_path_factory.mktemp("cut") / "a.sens"
    head, frames = sens_header(3), [sens_frame(DEPTH_MM + np.uint16(number)) for number in range(3)]
    whole = head + b"".join(frames)
    data = whole[: cut % (len(whole) + 1)]
    path.write_bytes(data)
    if len(data) < len(head):
        with pytest.raises(DecodeError) as caught:
            SensFile(path)
        assert str(path) in str(caught.value)
        return
    sens = SensFile(path)
    ends = np.cumsum([len(head), *(len(frame) for frame in frames)])
    assert sens.num_whole == int(np.count_nonzero(ends[1:] <= len(data)))
    for index in range(sens.num_whole):
        np.testing.assert_array_equal(sens.depth(index), DEPTH_MM + index)
    if sens.num_whole < 3:
        with pytest.raises(DecodeError, match="ends before") as caught:
            sens.depth(sens.num_whole)
        assert str(path) in str(caught.value)


@pytest.mark.parametrize(
    ("data", "message", "found"),
    [
        (sens_header(1, version=3), "can be read", "version 3"),
        (b"PK\x03\x04" + bytes(600), "can be read", "another kind of file"),
        (sens_header(1, depth_format=2), "compressed", "depth 2"),
        (sens_header(1, shift=0.0), "makes no sense", "shift 0.0"),
        (b"", "truncated", "0 bytes"),
    ],
)
def test_what_is_no_stream_says_so(tmp_path: Path, data: bytes, message: str, found: str) -> None:
    path = tmp_path / "a.sens"
    path.write_bytes(data)
    with pytest.raises(DecodeError, match=message) as caught:
        SensFile(path)
    assert found in str(caught.value)
    assert str(path) in str(caught.value)


def test_a_corrupt_blob_is_an_error_of_its_frame(tmp_path: Path) -> None:
    path = tmp_path / "a.sens"
    good, bad = sens_frame(DEPTH_MM, colour=b""), bytearray(sens_frame(DEPTH_MM, colour=b""))
    bad[96:100] = b"\xff\xff\xff\xff"
    short = sens_frame(DEPTH_MM[:5], colour=b"")
    path.write_bytes(sens_header(3) + bytes(bad) + good + short)
    sens = SensFile(path)
    np.testing.assert_array_equal(sens.depth(1), DEPTH_MM)
    with pytest.raises(DecodeError, match="corrupt") as caught:
        sens.depth(0)
    assert "depth of frame 0" in str(caught.value)
    with pytest.raises(DecodeError, match="wrong size"):
        sens.depth(2)


def test_memory_does_not_grow_with_the_stream(tmp_path: Path) -> None:
    """1.2 GB of stream (sparse: the colours are holes), indexed and read at random in under a megabyte."""
    path, num_frames, colour_bytes = tmp_path / "long.sens", 4000, 300_000
    depth = DEPTH_MM.astype("<u2").tobytes()
    head = struct.pack("<16f", *POSE.ravel()) + struct.pack("<4Q", 0, 0, colour_bytes, len(depth))
    with open(path, "wb") as file:
        file.write(sens_header(num_frames, depth_format=0))
        for _ in range(num_frames):
            file.write(head)
            file.seek(colour_bytes, 1)
            file.write(depth)
    assert path.stat().st_size > 1.2e9
    tracemalloc.start()
    sens = SensFile(path)
    for index in random.Random(0).sample(range(num_frames), 50):
        np.testing.assert_array_equal(sens.depth(index), DEPTH_MM)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert sens.num_whole == num_frames
    assert peak < 1_000_000, "24 bytes a frame, and one frame"
