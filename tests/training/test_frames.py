"""Decoded frames: kept as read, unreadable ones left out, a full disk and an empty side said in words."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from depthforge.errors import FrameError, InputError, StorageError
from depthforge.frame import Camera, Frame
from depthforge.training.crops import frame_at
from depthforge.training.frames import DecodedFrames, decode_frames, overlap, summarise_range

SIZE = (6, 8)
CAMERA = Camera(fx=7.0, fy=7.0, cx=3.5, cy=2.5, width=8, height=6)


def frame(index: int, depth_m: float | None = None) -> Frame:
    depth = np.full(SIZE, 1.0 + index if depth_m is None else depth_m, np.float32)
    depth[0, 0] = 0
    rgb = np.full((*SIZE, 3), index, np.uint8)
    return Frame(f"set/scene/{index:04d}", depth, depth > 0, CAMERA, rgb=rgb)


def decoded(
    folder: Path, read: Callable[[int], Frame] = frame, count: int = 5, wanted: tuple[str, ...] = ("depth", "rgb")
) -> DecodedFrames:
    return decode_frames(folder / "clean", read, count, SIZE, wanted=frozenset(wanted), name="clean")


def test_frames_come_back_as_they_were_read(tmp_path: Path) -> None:
    frames = decoded(tmp_path)
    assert frames.keys == tuple(frame(index).key for index in range(5))
    assert frames.camera == CAMERA
    assert frames.size == SIZE
    assert frames.rgb is not None
    for index in range(5):
        np.testing.assert_array_equal(frames.depth_m[index], frame(index).depth_m)
        np.testing.assert_array_equal(frames.rgb[index], frame(index).rgb)
    assert decoded(tmp_path, wanted=("depth",)).rgb is not None, "the folder is taken as it is"
    assert decoded(tmp_path / "depth", wanted=("depth",)).rgb is None


def test_a_second_run_reads_nothing(tmp_path: Path) -> None:
    first = decoded(tmp_path)

    def never(index: int) -> Frame:
        raise AssertionError

    np.testing.assert_array_equal(decoded(tmp_path, never).depth_m, first.depth_m)


def test_frames_that_cannot_be_read_or_are_empty_are_left_out(tmp_path: Path) -> None:
    def read(index: int) -> Frame:
        if index == 1:
            raise FrameError("truncated", where="1.png")
        return frame(index, depth_m=0.0 if index == 3 else None)

    frames = decoded(tmp_path, read)
    assert [key[-1] for key in frames.keys] == ["0", "2", "4"]
    np.testing.assert_array_equal(frames.depth_m[:, 1, 1], [1.0, 3.0, 5.0])


def test_every_reason_why_a_side_cannot_be_read_is_told(tmp_path: Path) -> None:
    def read(index: int) -> Frame:
        raise FrameError("truncated" if index % 2 else "of another size", where=f"{index}.png")

    with pytest.raises(InputError, match="no frame of the clean side") as caught:
        decoded(tmp_path, read)
    assert caught.value.found == "of 5 frames 0 without depth, 5 unreadable (of another size; truncated)"


def test_of_colour_alone_no_depth_is_asked(tmp_path: Path) -> None:
    frames = decoded(tmp_path, lambda index: frame(index, depth_m=0.0), wanted=("rgb",))
    assert (len(frames), frames.depth_m, frames.size) == (5, None, SIZE)
    assert sorted(path.name for path in (tmp_path / "clean").iterdir()) == ["frames.json", "rgb.npy"]
    trained, held_out = frames.split(0.4)
    assert trained.rgb is not None
    assert held_out.rgb is not None
    assert [len(trained.rgb), len(held_out.rgb)] == [3, 2]
    shown = frame_at(frames, 3)
    np.testing.assert_array_equal(shown.require_sound().rgb, frame(3).rgb)
    assert not shown.valid.any()


def test_a_side_without_colour_is_said_where_colour_alone_is_wanted(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no frame of the clean side can be trained on") as caught:
        decoded(tmp_path, lambda index: Frame("a/b/c", frame(0).depth_m, frame(0).valid, CAMERA), wanted=("rgb",))
    assert caught.value.expected == "frames with colour"


def test_a_side_of_nothing_but_holes_is_an_error_in_words(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no frame of the clean side can be trained on") as caught:
        decoded(tmp_path, lambda index: frame(index, depth_m=0.0))
    assert "5 frames 5 without depth, 0 unreadable" in str(caught.value)
    assert not list(tmp_path.iterdir()), "nothing is left behind"


def test_colour_that_is_wanted_and_absent_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="the frame has no colour"):
        decoded(tmp_path, lambda index: Frame("a/b/c", frame(0).depth_m, frame(0).valid, CAMERA))


def test_no_room_is_said_before_anything_is_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shutil, "disk_usage", lambda path: SimpleNamespace(free=10))
    with pytest.raises(StorageError, match="do not fit on the disk"):
        decoded(tmp_path)
    assert not (tmp_path / "clean").exists()


def test_planes_that_do_not_fit_leave_nothing_behind(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shutil, "disk_usage", lambda path: SimpleNamespace(free=10**5))

    def planes(frame: Frame) -> dict[str, np.ndarray]:
        return {"inputs": np.zeros((1000, *frame.depth_m.shape), np.float32)}

    with pytest.raises(StorageError, match="do not fit on the disk"):
        decode_frames(tmp_path / "real", frame, 5, SIZE, wanted=frozenset({"depth"}), name="real", images_of=planes)
    assert not list(tmp_path.iterdir())


def test_the_end_is_held_out(tmp_path: Path) -> None:
    trained, held_out = decoded(tmp_path).split(0.4)
    assert [len(trained), len(held_out)] == [3, 2]
    assert held_out.keys == (frame(3).key, frame(4).key)
    np.testing.assert_array_equal(held_out.depth_m[0], frame(3).depth_m)
    assert [len(part) for part in decoded(tmp_path).split(0.01)] == [4, 1], "at least one"
    with pytest.raises(InputError, match="one frame cannot be both"):
        decoded(tmp_path)[:1].split(0.5)


def test_ranges_that_do_not_meet_share_nothing(tmp_path: Path) -> None:
    near = summarise_range(decoded(tmp_path / "near", lambda index: frame(index, 1.0)), "clean")
    far = summarise_range(decoded(tmp_path / "far", lambda index: frame(index, 5.0)), "real")
    assert overlap(near, far) == 0
    assert overlap(near, near) == pytest.approx(1)
    assert str(far).startswith("real: 5.00 / 5.00 / 5.00 / 5.00 / 5.00 m")
