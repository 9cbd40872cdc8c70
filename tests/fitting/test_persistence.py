"""Patches that stay in the world by a known share are told from two looks at the same surfaces."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from depthforge.fitting.candidates import scenes_of, with_values
from depthforge.fitting.estimators import Estimate
from depthforge.fitting.persistence import told_between_frames
from depthforge.fitting.scans import Scans
from depthforge.frame import Frame, NoisyDepth
from depthforge.seeding import frame_words
from depthforge.sensors.active_stereo import ActiveStereo
from depthforge.sensors.base import Sensor
from depthforge.sensors.gaussian_dropout import GaussianDropout
from tests.fitting.rooms import CAMERA, room, scans

START = ActiveStereo(
    baseline_m=0.3, blank_band=False, noise_sigma_px=0.1, patch_share=0.15, patch_size_m=0.1, patch_size_px=8.0
)


def looked_at(sensor: Sensor, count: int) -> Scans:
    """``count`` scans of each of two rooms, by a camera that stands still, with their truth."""
    frames, truth = [], {}
    for number in range(2):
        depth_m = room(number)
        for look in range(count):
            key, known = f"test/room{number}/{look:04d}", np.ones(depth_m.shape, np.bool_)
            clean = Frame(key, depth_m, known, CAMERA, T_world_cam=np.eye(4))
            measured, valid = sensor.measure(clean, frame_words(7, key, "scan"))
            frames.append(replace(clean, depth_m=measured * valid, valid=valid))
            truth[key] = NoisyDepth(depth_m, known)
    return Scans(tuple(frames), tuple(frames), 0.0, "test", "none", False, truth=truth)


def told(sensor: Sensor, of_rooms: Scans) -> Estimate:
    return told_between_frames(sensor, scenes_of(of_rooms.fitted, of_rooms.truth), of_rooms.fitted, of_rooms)


@pytest.mark.parametrize("share", [0.6, 0.9])
def test_what_stays_comes_back(share: float) -> None:
    found = told(START, looked_at(with_values(START, {"patch_persistence": share}), 6))
    assert found.values["patch_persistence"] == pytest.approx(share, rel=0.1)


def test_holes_that_outlast_any_patch_are_of_another_kind() -> None:
    of_rooms = looked_at(START, 4)
    holes = np.indices((CAMERA.height, CAMERA.width)).sum(axis=0) % 6 == 0
    dashed = tuple(replace(frame, valid=frame.valid & ~holes) for frame in of_rooms.fitted)
    found = told(with_values(START, {"patch_share": 0.01}), replace(of_rooms, fitted=dashed))
    assert found.values == {}
    assert "something else lasts" in found.skipped["patch_persistence"]


def test_frames_that_share_too_little_say_nothing() -> None:
    of_rooms = looked_at(START, 3)
    apart = []
    for number, frame in enumerate(of_rooms.fitted):
        pose = np.eye(4)
        pose[0, 3] = 50.0 * number
        apart.append(replace(frame, T_world_cam=pose))
    found = told(START, replace(of_rooms, fitted=tuple(apart)))
    assert found.values == {}
    assert found.skipped["patch_persistence"].startswith("0 pairs")


def test_patches_over_the_image_have_nothing_that_stays() -> None:
    over_the_image = with_values(START, {"patch_size_m": None})
    assert "over the image" in told(over_the_image, looked_at(over_the_image, 2)).skipped["patch_persistence"]


def test_a_sensor_without_patches_is_told_nothing() -> None:
    assert told_between_frames(GaussianDropout(), [], [], scans(GaussianDropout(), 2)) == Estimate({})
