"""Recordings that cannot be read, or not all of them: damaged, unclear, of another size, of a foreign encoding."""

from __future__ import annotations

import builtins
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from depthforge.errors import (
    DecodeError,
    DepthforgeError,
    FrameError,
    InputError,
    MissingDataError,
    MissingDependencyError,
)
from depthforge.frame import Camera
from depthforge.samples.writing import rgb_jpeg
from depthforge.sources.check import check_source
from tests.sources.bag_trees import COLOUR, DEPTH, Recorder
from tests.sources.recordings import KINDS, MM, RGB, H, W, listing, make, read, write_whole


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"binning": 2}, "other pixels"),
        ({"roi": (1, 0, 3, 4)}, "other pixels"),
        ({"K": [0.0] * 9}, "not calibrated"),
    ],
)
def test_intrinsics_of_other_pixels_are_refused(tmp_path: Path, fields: dict[str, Any], message: str) -> None:
    with Recorder(tmp_path, "bag") as bag:
        bag.info(**fields)
        bag.image(DEPTH, 0, MM, "16UC1")
    with pytest.raises(DecodeError, match=message):
        list(make(tmp_path).frames())
    stated = {"width": W, "height": H, "fx": 7, "fy": 8, "cx": 2, "cy": 1}
    assert read(make(tmp_path, camera=stated)).camera == Camera(7, 8, 2, 1, W, H)


def test_topics_that_are_not_clear_are_listed(tmp_path: Path) -> None:
    with Recorder(tmp_path, "two") as bag:
        bag.info()
        bag.image(DEPTH, 0, MM, "16UC1")
        bag.image("/camera/aligned_depth/image_raw", 0, MM, "16UC1")
        bag.image("/left/image", 0, RGB, "rgb8")
        bag.image("/right/image", 0, RGB, "rgb8")
    with pytest.raises(InputError, match="several topics of depth images") as caught:
        list(make(tmp_path).frames())
    assert caught.value.found == (
        "/camera/aligned_depth/image_raw (sensor_msgs/msg/Image, 1); /camera/depth/image_raw (sensor_msgs/msg/Image, 1)"
    )
    with pytest.raises(InputError, match="several topics of colour images") as caught:
        list(make(tmp_path, depth_topic=DEPTH).frames())
    assert "none: read no colour" in str(caught.value.expected)
    assert read(make(tmp_path, depth_topic=DEPTH, rgb_topic="none")).rgb is None
    assert "rgb" not in make(tmp_path, rgb_topic="none").labels
    assert read(make(tmp_path, depth_topic=DEPTH, rgb_topic="/left/image")).rgb is not None
    with pytest.raises(InputError, match="`depth_topic` names no topic") as caught:
        list(make(tmp_path, depth_topic="/camera/dept/image_raw").frames())
    assert "/camera/depth/camera_info (sensor_msgs/msg/CameraInfo, 1)" in str(caught.value.found)


def test_no_depth_no_intrinsics_and_no_recording_are_named(tmp_path: Path) -> None:
    with Recorder(tmp_path / "a", "colour") as bag:
        bag.image(COLOUR, 0, RGB, "rgb8")
    with pytest.raises(InputError, match="no topic of depth images"):
        list(make(tmp_path / "a").frames())
    with Recorder(tmp_path / "b", "bare") as bag:
        bag.image(DEPTH, 0, MM, "16UC1")
    with pytest.raises(InputError, match="no topic of intrinsics"):
        _ = make(tmp_path / "b").size
    (tmp_path / "c").mkdir()
    for root in (tmp_path / "c", tmp_path / "nowhere"):
        with pytest.raises(MissingDataError, match="no recording of depth"):
            list(make(root).frames())


def test_a_damaged_recording_beside_others_is_reported(tmp_path: Path) -> None:
    for name in ("a", "b", "c"):
        write_whole(tmp_path, name, "ros1", 2)
    whole = (tmp_path / "b.bag").read_bytes()
    (tmp_path / "b.bag").write_bytes(whole[: len(whole) // 2])
    (tmp_path / ".hidden.bag").write_bytes(b"")
    (tmp_path / "d.bag.active").write_bytes(b"")
    keys, findings = listing(make(tmp_path))
    assert [key.split("/")[1] for key in keys] == ["a", "a", "c", "c"]
    assert [(finding.severity, finding.path) for finding in findings] == [("error", "d.bag.active"), ("error", "b.bag")]
    assert not check_source(make(tmp_path)).ok


@pytest.mark.parametrize("kind", KINDS)
def test_no_library_error_gets_out_of_damaged_files(tmp_path: Path, kind: str) -> None:
    write_whole(tmp_path, "run", kind)
    path = next(tmp_path.glob("run.bag" if kind == "ros1" else "run/run.*"))
    whole = path.read_bytes()
    rng = np.random.default_rng(0)
    for trial in range(40):
        data = bytearray(whole)
        if trial % 3 == 0:
            data = data[: int(rng.integers(0, len(whole)))]
        else:
            for at in rng.integers(0, len(whole), 40):
                data[at] = int(rng.integers(0, 256))
        path.write_bytes(data)
        source = make(tmp_path, world_frame="map")
        with suppress(DepthforgeError):
            for ref in source.frames():
                with suppress(DepthforgeError):
                    source.read(ref, frozenset(source.labels))


def test_jpeg_depth_and_unknown_encodings_are_refused(tmp_path: Path) -> None:
    with Recorder(tmp_path, "bag") as bag:
        bag.info()
        bag.compressed("/camera/depth/a", 0, rgb_jpeg(RGB), "16UC1; jpeg compressed")
        bag.image("/camera/depth/b", 0, MM.astype(np.uint8), "8UC1")
        bag.image("/camera/depth/c", 0, RGB, "rgb8")
        bag.image("/camera/depth/d", 0, MM[:2], "16UC1")
    for name, error, message in (
        ("a", DecodeError, "recorded as JPEG"),
        ("b", DecodeError, "encoding that is not read"),
        ("c", DecodeError, "no depth"),
        ("d", FrameError, "size"),
    ):
        source = make(tmp_path, depth_topic=f"/camera/depth/{name}", rgb_topic="none")
        with pytest.raises(error, match=message):
            read(source)


def test_recordings_of_several_sizes_need_resize(tmp_path: Path) -> None:
    write_whole(tmp_path, "a", "ros1")
    with Recorder(tmp_path, "b") as bag:
        bag.info(size=(2, 3))
        bag.image(DEPTH, 0, MM[:2, :3], "16UC1")
    keys, findings = listing(make(tmp_path))
    assert len(keys) == 3
    assert "another size than the first recording's" in findings[0].message
    assert len(listing(make(tmp_path, resize={"width": 3, "height": 2}))[0]) == 4


def test_names_that_clash_are_told_and_every_second_frame_is_read(tmp_path: Path) -> None:
    write_whole(tmp_path, "a", "ros1")
    write_whole(tmp_path / "x", "a", "mcap")
    (tmp_path / "x" / "a").rename(tmp_path / "a")
    keys, findings = listing(make(tmp_path, every=2))
    assert len(keys) == 2
    assert "the same scene as a" in findings[0].message


def test_without_rosbags_its_extra_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_whole(tmp_path, "a", "ros1")
    real = builtins.__import__

    def absent(name: str, *args: Any, **kwargs: Any) -> Any:
        if name.startswith("rosbags"):
            raise ImportError(name)
        return real(name, *args, **kwargs)

    monkeypatch.setattr(builtins, "__import__", absent)
    with pytest.raises(MissingDependencyError, match="rosbags") as caught:
        list(make(tmp_path).frames())
    assert caught.value.remedy == "pip install 'depthforge[ros]'"
