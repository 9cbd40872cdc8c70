"""Lost surfaces: as many as asked for, on the surfaces where asked for, and as long lasting."""

from __future__ import annotations

import itertools
from dataclasses import replace

import numpy as np
import pytest

from depthforge.frame import BoolImage, Camera, Frame
from depthforge.geometry import rotation_from_quaternion
from depthforge.realism.same_view.between_frames import correspondence
from depthforge.realism.same_view.truth import truth_of
from depthforge.realism.same_view.views import Measured, SameView
from depthforge.seeding import frame_words
from depthforge.sensors.active_stereo import ActiveStereo
from depthforge.sensors.base import Sensor
from depthforge.sensors.dark_patches import dark_patches, surface_field
from depthforge.sensors.structured_light import StructuredLight
from depthforge.sensors.time_of_flight import TimeOfFlight

CAMERA = Camera(300.0, 300.0, 160.0, 120.0, 320, 240)
SENSOR = StructuredLight(patch_share=0.1, patch_size_px=4, patch_size_m=0.08)
STREAM = 2


def wall(z_m: float = 2.0, *, key: str = "a/b/0", T: np.ndarray | None = None, camera: Camera = CAMERA) -> Frame:
    """A frontal wall at z = ``z_m`` in the camera."""
    depth_m = np.full(camera.size, z_m, np.float32)
    return Frame(key, depth_m, depth_m > 0, camera, T_world_cam=T)


def at(x_m: float, y_m: float, z_m: float) -> np.ndarray:
    T = np.eye(4)
    T[:3, 3] = x_m, y_m, z_m
    return T


def lost(frame: Frame, sensor: StructuredLight = SENSOR, seed: int = 0) -> BoolImage:
    words = frame_words(seed, frame.key)
    field = surface_field(frame, words, sensor, stream=STREAM)
    return dark_patches(frame.depth_m, words, sensor.patch_share, 0.0, sensor.patch_size_px, stream=STREAM, field=field)


def overlap(first: np.ndarray, second: np.ndarray) -> float:
    return float((first & second).sum() / (first | second).sum())


def expected_overlap(share: float, correlation: float) -> float:
    """IoU of the upper shares of two normal variables, by drawing."""
    x, y = np.random.default_rng(0).standard_normal((2, 2_000_000))
    y = correlation * x + np.sqrt(1 - correlation**2) * y
    threshold = np.quantile(x, 1 - share)
    return overlap(x > threshold, y > threshold)


def test_over_the_image_they_are_what_they_are_without_a_pose() -> None:
    sensor = SENSOR.model_copy(update={"patch_size_m": None})
    posed, bare = wall(T=at(1, 2, 3)), wall()
    assert surface_field(posed, (1, 2), sensor, stream=STREAM) is None
    assert sensor.measure(posed, (1, 2)).depth_m.tobytes() == sensor.measure(bare, (1, 2)).depth_m.tobytes()


@pytest.mark.parametrize("share", [0.05, 0.3])
@pytest.mark.parametrize("persistence", [0.0, 0.6, 1.0])
def test_the_share_is_kept(share: float, persistence: float) -> None:
    sensor = SENSOR.model_copy(update={"patch_share": share, "patch_persistence": persistence})
    found = [lost(wall(key=f"a/b{n}/0", T=at(n, 0, 0)), sensor).mean() for n in range(16)]
    assert np.mean(found) == pytest.approx(share, rel=0.1)


@pytest.mark.parametrize("persistence", [0.0, 0.5, 0.9, 0.97])
def test_a_camera_that_stands_still_flickers_by_what_does_not_persist(persistence: float) -> None:
    sensor = SENSOR.model_copy(update={"patch_persistence": persistence})
    masks = [lost(wall(key=f"a/b/{n}", T=at(1, 2, 3)), sensor) for n in range(10)]
    found = np.mean([overlap(first, second) for first, second in itertools.pairwise(masks)])
    assert found == pytest.approx(expected_overlap(0.1, persistence), abs=0.045)


def test_what_persists_altogether_is_lost_in_every_frame_of_a_camera_that_stands_still() -> None:
    masks = [lost(wall(key=f"a/b/{n}", T=at(1, 2, 3))) for n in range(10)]
    assert masks[0].any()
    assert all((mask == masks[0]).all() for mask in masks)


def test_a_lost_point_is_lost_from_wherever_it_is_seen() -> None:
    """A tilted plane seen from two places: holes agree but for where a pixel of one falls between two of the other."""
    tilt = at(0.3, -0.1, 0.2)
    tilt[:3, :3] = rotation_from_quaternion([1.0, 0.05, -0.08, 0.1])
    frames = []
    for n, T in enumerate((at(0, 0, 0), tilt)):
        # The plane z = 2.5 + 0.3 x of the world along each ray.
        x, y = (np.arange(320) - 160.0) / 300.0, (np.arange(240) - 120.0) / 300.0
        rays = np.stack([*np.meshgrid(x, y), np.ones((240, 320))], -1) @ T[:3, :3].T
        z = (2.5 + 0.3 * T[0, 3] - T[2, 3]) / (rays[..., 2] - 0.3 * rays[..., 0])
        frames.append(replace(wall(key=f"a/b/{n}", T=T), depth_m=z.astype(np.float32), valid=z > 0))
    both = [(frame.key, Measured(frame.depth_m, frame.valid)) for frame in frames]
    truths = [truth_of(SameView(key, CAMERA, measured, measured, {}), None) for key, measured in both]
    points = correspondence(truths[0], frames[0].T_world_cam, truths[1], frames[1].T_world_cam)
    assert points is not None
    sensor = SENSOR.model_copy(update={"patch_size_m": 0.4})
    first, second = (lost(frame, sensor) for frame in frames)
    assert overlap(first.ravel()[points.before], second.ravel()[points.now]) > 0.85
    elsewhere = replace(frames[1], key="a/c/1")
    other = lost(elsewhere, sensor)
    assert overlap(first.ravel()[points.before], other.ravel()[points.now]) < 0.3


def test_scene_and_seed_decide_what_is_lost_and_frame_and_order_do_not() -> None:
    frames = [wall(key=f"a/b/{n}", T=at(0.1 * n, 0, 0)) for n in range(4)]
    expected = [lost(frame) for frame in frames]
    assert [lost(frame).tobytes() for frame in reversed(frames)] == [mask.tobytes() for mask in reversed(expected)]
    assert overlap(lost(replace(frames[0], key="a/b/9")), expected[0]) == 1.0
    assert overlap(lost(replace(frames[0], key="a/c/0")), expected[0]) < 0.2
    assert overlap(lost(frames[0], seed=1), expected[0]) < 0.2


def test_without_a_pose_every_frame_has_its_own_and_none_is_a_world() -> None:
    first, second = (lost(wall(key=f"a/b/{n}")) for n in range(2))
    assert overlap(first, second) < 0.2
    unknown = np.full((4, 4), np.nan)
    np.testing.assert_array_equal(lost(wall(T=unknown)), first)


def test_patches_shrink_with_distance() -> None:
    def run_px(z_m: float) -> float:
        masks = [lost(wall(z_m, key=f"a/b{n}/0")) for n in range(6)]
        return float(np.mean([mask.sum() / (mask[:, 1:] & ~mask[:, :-1]).sum() for mask in masks]))

    assert run_px(1.0) == pytest.approx(2 * run_px(2.0), rel=0.15)


@pytest.mark.parametrize(
    "sensor",
    [
        SENSOR,
        ActiveStereo(patch_share=0.2, patch_size_m=0.3, edge_hole_rate=0),
        TimeOfFlight(patch_share=0.2, patch_size_m=0.3),
    ],
)
def test_every_sensor_with_patches_keeps_them_on_surfaces(sensor: Sensor) -> None:
    assert "T_world_cam" in sensor.uses
    frames = [wall(1.5, key=f"a/b/{n}", T=at(0, 0, 0)) for n in range(2)]
    first, second = (~sensor.measure(f, frame_words(0, f.key)).valid[20:-20, 60:-20] for f in frames)
    assert 0.02 < first.mean() < 0.5
    assert overlap(first, second) > 0.8
    apart = ~sensor.measure(replace(frames[1], T_world_cam=at(9, 0, 0)), frame_words(0, "a/b/1")).valid[20:-20, 60:-20]
    assert overlap(first, apart) < 0.5
