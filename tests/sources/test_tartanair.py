"""TartanAir v1 and v2 against trajectories written by hand from the documented layouts; exact values."""

from __future__ import annotations

import io
import struct
import tarfile
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from depthforge.errors import DecodeError, MissingDataError
from depthforge.frame import Camera, Finding, Frame
from depthforge.samples.tartanair2 import float_png
from depthforge.sources.tartanair import TartanAir, TartanAirConfig, depth_of_bytes
from depthforge.testing.sources import SourceTests
from tests.sources.tree_files import png, write

EVERYTHING = frozenset({"rgb", "T_world_cam", "instance"})
POSES = "1 2 3 0 0 0 1\n0 0 0 0 0 0.70710678 0.70710678\n"


def npy(array: np.ndarray) -> bytes:
    buffer = io.BytesIO()
    np.save(buffer, array)
    return buffer.getvalue()


def depth_of(height: int) -> np.ndarray:
    depth = np.full((height, 640), 8.0, np.float32)
    depth[0, :6] = (0.5, 0.0, 1e4, np.inf, np.nan, 9999.0)
    return depth


def write_v1(root: Path, environment: str = "hospital", difficulty: str = "Easy") -> Path:
    folder = root / environment / difficulty / "P000"
    for number in range(2):
        write(folder / f"depth_left/{number:06d}_left_depth.npy", npy(depth_of(480)))
        write(folder / f"image_left/{number:06d}_left.png", png(np.full((480, 640, 3), (9, 8, 7), np.uint8)))
        write(folder / f"seg_left/{number:06d}_left_seg.npy", npy(np.full((480, 640), 200, np.uint8)))
    write(folder / "pose_left.txt", POSES)
    return root


def write_v2(root: Path) -> Path:
    folder = root / "Hospital/Data_hard/P001"
    for number in range(2):
        name = f"{number:06d}_lcam_front"
        write(folder / f"depth_lcam_front/{name}_depth.png", float_png(depth_of(640)))
        write(folder / f"image_lcam_front/{name}.png", png(np.full((640, 640, 3), (9, 8, 7), np.uint8)))
        write(folder / f"seg_lcam_front/{name}_seg.png", png(np.full((640, 640), 200, np.uint8)))
    write(folder / "pose_lcam_front.txt", POSES)
    return root


def make(root: Path, **fields: Any) -> TartanAir:
    return TartanAir(TartanAirConfig.model_validate({"root": root, **fields}))


def read_all(source: TartanAir, wanted: frozenset[str] = EVERYTHING) -> list[Frame]:
    return [source.read(ref, wanted).require_sound() for ref in source.frames()]


class TestV1Contract(SourceTests):
    num_frames = 2

    @pytest.fixture
    def source(self, tmp_path: Path) -> TartanAir:
        return make(write_v1(tmp_path))


class TestV2Contract(SourceTests):
    num_frames = 2

    @pytest.fixture
    def source(self, tmp_path: Path) -> TartanAir:
        return make(write_v2(tmp_path), version="v2")


@pytest.mark.parametrize("version", ["v1", "v2"])
def test_depth_sky_camera_and_ids(tmp_path: Path, version: str) -> None:
    root = write_v1(tmp_path) if version == "v1" else write_v2(tmp_path)
    frame, second = read_all(make(root, version=version))
    assert (
        frame.key
        == {
            "v1": "tartanair/hospital/Easy-P000-000000",
            "v2": "tartanair/Hospital/hard-P001-000000",
        }[version]
    )
    assert frame.depth_m[0, :7].tolist() == [0.5, 0, 0, 0, 0, 9999.0, 8.0], "1e4 and more is sky"
    centre = {"v1": (320, 240, 640, 480), "v2": (319.5, 319.5, 640, 640)}[version]
    assert frame.camera == Camera(320, 320, *centre, baseline_m=0.25)
    assert frame.camera.baseline_m is not None
    assert frame.camera.fx * frame.camera.baseline_m / frame.depth_m[1, 1] == 10, "disparity 10 is 8 m"
    assert frame.labels["instance"].dtype == np.uint16
    assert frame.labels["instance"][0, 0] == 200
    assert frame.rgb is not None
    assert frame.rgb[0, 0].tolist() == [9, 8, 7]
    assert make(root, version=version).world_of(next(iter(make(root, version=version).frames()))) == frame.key[:-7]
    assert second.T_world_cam is not None


def test_ned_axes(tmp_path: Path) -> None:
    first, second = read_all(make(write_v1(tmp_path)))
    assert first.T_world_cam is not None
    assert second.T_world_cam is not None
    # The identity looks along +x of the world; its image x is +y, its image y is +z, down.
    np.testing.assert_array_equal(first.T_world_cam[:3, :3], [[0, 0, 1], [1, 0, 0], [0, 1, 0]])
    assert first.T_world_cam[:3, 3].tolist() == [1, 2, 3]
    np.testing.assert_allclose(second.T_world_cam[:3, 2], [0, 1, 0], atol=1e-7)


def test_a_pixel_of_v2_is_a_little_endian_float_in_the_order_bgra() -> None:
    """The PNG of one pixel R, G, B, A is put together by hand: filter byte, then the pixel."""

    def chunk(kind: bytes, body: bytes) -> bytes:
        return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))

    header = struct.pack(">IIBBBBB", 1, 1, 8, 6, 0, 0, 0)
    pixel = zlib.compress(bytes([0, 128, 0, 0, 63]))
    data = b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", pixel) + chunk(b"IEND", b"")
    depth = depth_of_bytes(data, where="x")
    assert (depth.dtype, depth.tolist()) == (np.float32, [[1.0]])


def test_max_depth_is_the_start_of_the_sky(tmp_path: Path) -> None:
    root = write_v1(tmp_path)
    assert read_all(make(root, max_depth_m=9999))[0].depth_m[0, 5] == 0
    assert not read_all(make(root, max_depth_m=8))[0].valid[1].any()


def test_difficulties_of_an_environment_are_one_scene(tmp_path: Path) -> None:
    root = write_v1(write_v1(write_v1(tmp_path), difficulty="Hard"), environment="ocean")
    refs = list(make(root).frames())
    assert {ref.scene for ref in refs} == {"tartanair/hospital", "tartanair/ocean"}
    assert [ref.key for ref in make(root, include=("*/Hard-*",)).frames()] == [
        "tartanair/hospital/Hard-P000-000000",
        "tartanair/hospital/Hard-P000-000001",
    ]


def test_a_trajectory_for_a_root_and_a_tar_have_the_same_keys(tmp_path: Path) -> None:
    root = write_v1(tmp_path / "data")
    keys = [ref.key for ref in make(root).frames()]
    assert [ref.key for ref in make(root / "hospital/Easy/P000").frames()] == keys
    with tarfile.open(tmp_path / "data.tar", "w") as archive:
        archive.add(root, ".")
    assert [ref.key for ref in make(tmp_path / "data.tar").frames()] == keys
    np.testing.assert_array_equal(read_all(make(tmp_path / "data.tar"))[1].depth_m, read_all(make(root))[1].depth_m)


def test_the_other_version_and_other_projections_are_named(tmp_path: Path) -> None:
    with pytest.raises(MissingDataError, match="no depth of this camera in v1") as caught:
        list(make(write_v2(tmp_path)).frames())
    assert "depth_lcam_front" in str(caught.value)
    folder = tmp_path / "fish/Data_easy/P000"
    write(folder / "depth_lcam_fish/000000_lcam_fish_depth.png", b"")
    with pytest.raises(MissingDataError, match="no depth of this camera") as caught:
        list(make(tmp_path / "fish", version="v2").frames())
    assert "fish and equirect are no pinhole" in str(caught.value)
    with pytest.raises(ValueError, match="v1 has no faces"):
        make(tmp_path, face="back")


@pytest.mark.parametrize("text", ["1 2 3 0 0 0 1\n", POSES + POSES])
def test_a_trajectory_of_another_length_is_refused(tmp_path: Path, text: str) -> None:
    write(write_v1(tmp_path) / "hospital/Easy/P000/pose_left.txt", text)
    with pytest.raises(DecodeError, match="not that of the depth images") as caught:
        list(make(tmp_path).frames())
    assert f"{len(text.splitlines())} lines" in str(caught.value)


def test_damaged_and_missing_poses(tmp_path: Path) -> None:
    path = write_v1(tmp_path) / "hospital/Easy/P000/pose_left.txt"
    write(path, "1 2 3\n")
    with pytest.raises(DecodeError, match="not a list of poses") as caught:
        list(make(tmp_path).frames())
    assert "pose_left.txt, line 1" in str(caught.value)
    path.unlink()
    findings: list[Finding] = []
    assert len(list(make(tmp_path).frames(findings.append))) == 2
    assert [finding.message for finding in findings] == ["no pose_left.txt: its frames have no pose"]
    assert read_all(make(tmp_path))[0].T_world_cam is None


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (b"", "empty"),
        (float_png(depth_of(640))[:-30], "truncated"),
        (png(np.zeros((640, 640, 3), np.uint8)), "not a float in the bytes"),
        (png(np.zeros((640, 640), np.uint16)), "not a float in the bytes"),
        (float_png(depth_of(480)), "wrong size"),
    ],
)
def test_damaged_depth_of_v2(tmp_path: Path, data: bytes, words: str) -> None:
    source = make(write_v2(tmp_path), version="v2")
    ref = next(iter(source.frames()))
    write(tmp_path / ref.locator, data)
    with pytest.raises(DecodeError, match=words) as caught:
        source.read(ref, EVERYTHING)
    assert ref.locator in str(caught.value)


@pytest.mark.parametrize(
    ("path", "data"),
    [
        ("depth_left/000000_left_depth.npy", b"\x93NUMPY"),
        ("depth_left/000000_left_depth.npy", npy(np.zeros((480, 640), np.uint16))),
        ("seg_left/000000_left_seg.npy", b"no"),
        ("seg_left/000000_left_seg.npy", npy(np.zeros((480, 640), np.float32))),
        ("seg_left/000000_left_seg.npy", npy(np.zeros((4, 4), np.uint8))),
    ],
)
def test_damaged_files_of_v1(tmp_path: Path, path: str, data: bytes) -> None:
    source = make(write_v1(tmp_path))
    write(tmp_path / "hospital/Easy/P000" / path, data)
    with pytest.raises(DecodeError) as caught:
        source.read(next(iter(source.frames())), EVERYTHING)
    assert path in str(caught.value)
