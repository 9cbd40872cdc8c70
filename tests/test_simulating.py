"""One array and one batch through a sensor: the corpus' own noise, whatever the shape and the library."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

import depthforge
from depthforge.errors import InputError, UnknownNameError
from depthforge.frame import Camera, Frame
from depthforge.seeding import frame_words
from depthforge.sensors.preset import parse_sensor

K = np.array([[120.0, 0, 63.5], [0, 120.0, 47.5], [0, 0, 1]])


@pytest.fixture
def depth_m() -> np.ndarray:
    v, u = np.mgrid[:96, :128]
    depth = np.float32(1.0 + 0.004 * u + 0.003 * v)
    depth[30:60, 40:80] = 0.8
    depth[:3] = 0.0
    return depth


def test_it_is_what_the_sensor_measures_of_such_a_frame(depth_m: np.ndarray) -> None:
    sensor = parse_sensor("kinect_v1")
    noisy, valid = depthforge.simulate(depth_m, K, sensor="kinect_v1", seed=3)
    frame = Frame("simulate/batch/000000", depth_m, depth_m > 0, Camera(120, 120, 63.5, 47.5, 128, 96))
    expected = sensor.measure(frame, frame_words(3, frame.key, sensor.name))
    np.testing.assert_array_equal(noisy, expected.depth_m)
    np.testing.assert_array_equal(valid, expected.valid)
    assert (noisy.dtype, valid.dtype) == (np.float32, np.bool_)
    assert valid.any()
    assert not valid[:3].any()


def test_a_batch_is_its_images_each_with_noise_of_its_own(depth_m: np.ndarray) -> None:
    noisy, _ = depthforge.simulate(np.stack([depth_m] * 3), K, sensor="d435", seed=1)
    first, _ = depthforge.simulate(depth_m, K, sensor="d435", seed=1)
    np.testing.assert_array_equal(noisy[0], first)
    assert not np.array_equal(noisy[1], noisy[0])
    again, _ = depthforge.simulate(np.stack([depth_m] * 3), np.stack([K] * 3), sensor="d435", seed=1)
    np.testing.assert_array_equal(again, noisy)
    other, _ = depthforge.simulate(depth_m, K, sensor="d435", seed=2)
    assert not np.array_equal(other, first)


def test_a_scene_loses_the_same_surfaces_by_every_seed_where_there_is_a_pose(depth_m: np.ndarray) -> None:
    sensor = {"name": "structured_light", "patch_share": 0.2, "patch_size_m": 0.1, "projector_side": "none"}

    def holes(seed: int, **where: object) -> np.ndarray:
        return ~depthforge.simulate(depth_m, K, sensor=sensor, seed=seed, **where)[1][10:]

    def overlap(first: np.ndarray, second: np.ndarray) -> float:
        return float((first & second).sum() / (first | second).sum())

    pose = np.eye(4)
    first = holes(1, pose=pose, scene="kitchen")
    assert 0.1 < first.mean() < 0.6
    again = holes(2, pose=torch.eye(4), scene="kitchen")
    assert overlap(again, first) > 0.8
    elsewhere = pose.copy()
    elsewhere[0, 3] = 10.0
    for other in (
        holes(2, pose=pose, scene="hall"),
        holes(2, pose=elsewhere, scene="kitchen"),
        holes(2, pose=pose),
        holes(2, scene="kitchen"),
    ):
        assert overlap(other, first) < 0.6
    batch = depthforge.simulate(np.stack([depth_m] * 2), K, sensor=sensor, pose=np.stack([pose] * 2))[1]
    assert overlap(~batch[0], ~batch[1]) > 0.8


def test_tensors_give_tensors_of_the_same_shape(depth_m: np.ndarray) -> None:
    batch = torch.from_numpy(np.stack([depth_m] * 2))[:, None]
    rgb = torch.full((2, 3, 96, 128), 90, dtype=torch.uint8)
    noisy, valid = depthforge.simulate(batch, torch.from_numpy(K), rgb=rgb)
    assert noisy.shape == valid.shape == batch.shape
    assert (noisy.dtype, valid.dtype) == (torch.float32, torch.bool)
    channels_last = np.full((2, 96, 128, 3), 90, np.uint8)
    expected, _ = depthforge.simulate(batch[:, 0].numpy(), K, rgb=channels_last)
    np.testing.assert_array_equal(noisy[:, 0].numpy(), expected)
    assert torch.all(noisy[~valid] == 0)


def test_what_is_no_depth_stays_none(depth_m: np.ndarray) -> None:
    spoiled = depth_m.copy()
    spoiled[50, 50:54] = np.nan, np.inf, -1.0, 0.0
    noisy, valid = depthforge.simulate(spoiled, K, sensor={"name": "gaussian_dropout", "pixel_dropout": 0.0})
    assert not valid[50, 50:54].any()
    assert np.isfinite(noisy).all()


def test_a_sensor_file_and_a_sensor_are_taken(depth_m: np.ndarray, tmp_path: Path) -> None:
    path = tmp_path / "mine.yaml"
    path.write_text("sensor: gaussian_dropout\nparameters: {pixel_dropout: 0.5}\n")
    by_file, _ = depthforge.simulate(depth_m, K, sensor=path)
    by_model, _ = depthforge.simulate(depth_m, K, sensor=parse_sensor(str(path)))
    np.testing.assert_array_equal(by_file, by_model)


@pytest.mark.parametrize("shape", [(96,), (2, 3, 96, 128), (0, 4), (1, 1, 1, 96, 128)])
def test_shapes_that_are_no_depth(shape: tuple[int, ...]) -> None:
    with pytest.raises(InputError, match="an image or a batch"):
        depthforge.simulate(np.ones(shape, np.float32), K)


def test_what_does_not_fit(depth_m: np.ndarray) -> None:
    with pytest.raises(InputError, match="matrix of intrinsics"):
        depthforge.simulate(depth_m, np.zeros((3, 3)))
    with pytest.raises(InputError, match="matrix of intrinsics"):
        depthforge.simulate(depth_m, np.stack([K] * 2))
    with pytest.raises(InputError, match="rgb does not fit"):
        depthforge.simulate(depth_m, K, rgb=np.zeros((96, 128, 3), np.float32))
    for pose in (np.eye(3), np.full((4, 4), np.nan), np.stack([np.eye(4)] * 2)):
        with pytest.raises(InputError, match="points of the camera into the world"):
            depthforge.simulate(depth_m, K, pose=pose)
    with pytest.raises(UnknownNameError):
        depthforge.simulate(depth_m, K, sensor="d436")
    with pytest.raises(AttributeError):
        _ = depthforge.nothing
