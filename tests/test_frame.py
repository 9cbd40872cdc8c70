from __future__ import annotations

import pickle
from dataclasses import replace

import numpy as np
import pytest

from depthforge.errors import FrameError
from depthforge.frame import Camera, Frame, FrameRef
from depthforge.labels.catalogue import NORMALS, OBJECT_POSE, RGB

CAMERA = Camera(fx=600.0, fy=610.0, cx=3.5, cy=2.5, width=8, height=6)


def frame(**changes: object) -> Frame:
    sound = Frame(
        key="set/room/0001",
        depth_m=np.full((6, 8), 1.5, np.float32),
        valid=np.ones((6, 8), bool),
        camera=CAMERA,
        rgb=np.zeros((6, 8, 3), np.uint8),
    )
    return replace(sound, **changes)  # type: ignore[arg-type]


def test_intrinsics() -> None:
    np.testing.assert_array_equal(CAMERA.K, [[600, 0, 3.5], [0, 610, 2.5], [0, 0, 1]])
    assert CAMERA.size == (6, 8)


def test_the_scene_is_the_key_without_its_frame() -> None:
    assert FrameRef("set/room/0001", "x").scene == "set/room"


def test_a_sound_frame_passes_and_pickles() -> None:
    sound = frame()
    assert sound.require_sound() is sound
    again = pickle.loads(pickle.dumps(sound))
    np.testing.assert_array_equal(again.depth_m, sound.depth_m)


def changed_depth(value: float) -> np.ndarray:
    depth = np.full((6, 8), 1.5, np.float32)
    depth[2, 3] = value
    return depth


@pytest.mark.parametrize(
    "changes",
    [
        {"depth_m": np.ones((6, 7), np.float32)},
        {"depth_m": np.ones((6, 8), np.float64)},
        {"valid": np.ones((6, 8), np.uint8)},
        {"rgb": np.zeros((6, 9, 3), np.uint8)},
        {"depth_m": changed_depth(float("nan"))},
        {"depth_m": changed_depth(float("inf"))},
        {"depth_m": changed_depth(-1.0)},
        {"depth_m": changed_depth(0.0)},
        {"valid": np.zeros((6, 8), bool)},
    ],
)
def test_an_unsound_frame_is_named(changes: dict[str, object]) -> None:
    with pytest.raises(FrameError, match="set/room/0001"):
        frame(**changes).require_sound()


def test_labels_say_their_shape() -> None:
    assert NORMALS.shape(6, 8) == (6, 8, 3)
    assert OBJECT_POSE.shape(6, 8, rows=5) == (5, 4, 4)
    RGB.require_fits(np.zeros((6, 8, 3), np.uint8), 6, 8, where="x")
    OBJECT_POSE.require_fits(np.zeros((0, 4, 4)), 6, 8, where="x")


@pytest.mark.parametrize("array", [np.zeros((6, 8), np.uint8), np.zeros((6, 8, 3), np.int16)])
def test_a_label_of_another_shape_or_type_is_refused(array: np.ndarray) -> None:
    with pytest.raises(FrameError, match="'rgb'"):
        RGB.require_fits(array, 6, 8, where="set/room/0001")
