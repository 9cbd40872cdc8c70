"""The battery for a sensor: what ``depthforge.sensors.base.Sensor`` promises, as tests.

A plug-in author inherits it and says how to make one::

    class TestMySensor(SensorTests):
        @pytest.fixture
        def sensor(self):
            return MySensor()

Frames are ``translators.clean_frame``: a tilted wall with a near box and a hole, in several sizes, with colour.
"""

from __future__ import annotations

import json
import pickle
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from typing import ClassVar

import numpy as np
import pytest
from pydantic import ValidationError

from depthforge.frame import Frame, NoisyDepth
from depthforge.registry import sensors
from depthforge.seeding import frame_words
from depthforge.sensors.base import Sensor
from depthforge.sensors.preset import parse_sensor
from depthforge.testing.translators import clean_frame

__all__ = ["SensorTests"]


class SensorTests:
    """Inherit, define the fixture ``sensor``, and set what does not hold of it."""

    sizes: ClassVar[tuple[tuple[int, int], ...]] = ((48, 64), (37, 53), (60, 80))
    """(height, width) at which something of a plain wall must be left."""
    tiny_sizes: ClassVar[tuple[tuple[int, int], ...]] = ((1, 1), (1, 9), (7, 1), (2, 3))
    """Sizes at which nothing need be left, but nothing may break."""
    is_random: ClassVar[bool] = True
    """Whether other words give other noise."""

    def test_output_is_sound_and_holes_stay_holes(self, sensor: Sensor) -> None:
        for size in self.sizes:
            frame = clean_frame(*size)
            _require_sound(frame, sensor.measure(frame, (1, 2)))
            assert sensor.measure(frame, (1, 2)).valid.any(), "nothing is left of a plain wall"

    def test_an_image_of_a_few_pixels_is_an_image(self, sensor: Sensor) -> None:
        for size in self.tiny_sizes:
            frame = clean_frame(*size)
            _require_sound(frame, sensor.measure(frame, (1, 2)))

    def test_an_empty_frame_gives_an_empty_frame(self, sensor: Sensor) -> None:
        whole = clean_frame(*self.sizes[0])
        nothing = replace(whole, depth_m=np.zeros_like(whole.depth_m), valid=np.zeros_like(whole.valid))
        measured = sensor.measure(nothing, (1, 2))
        assert not measured.valid.any()
        assert not measured.depth_m.any()

    def test_one_lone_pixel_and_a_frame_of_scattered_holes_are_sound(self, sensor: Sensor) -> None:
        whole = clean_frame(*self.sizes[0])
        lone = np.zeros_like(whole.valid)
        lone[lone.shape[0] // 2, lone.shape[1] // 2 - 2] = True
        scattered = whole.valid & (np.random.default_rng(1).random(lone.shape) < 0.5)
        for valid in (lone, scattered):
            frame = replace(whole, depth_m=np.where(valid, whole.depth_m, np.float32(0)), valid=valid)
            _require_sound(frame, sensor.measure(frame, (1, 2)))

    def test_depths_out_of_every_range_are_sound(self, sensor: Sensor) -> None:
        whole = clean_frame(*self.sizes[0])
        for factor in (1e-6, 0.01, 30.0, 1e6):
            frame = replace(whole, depth_m=whole.depth_m * np.float32(factor))
            _require_sound(frame, sensor.measure(frame, (1, 2)))

    def test_the_same_frame_and_words_give_the_same_bytes(self, sensor: Sensor) -> None:
        frame = clean_frame(*self.sizes[0])
        words = frame_words(0, frame.key, "fingerprint")
        first = sensor.measure(frame, words)
        sensor.measure(clean_frame(*self.sizes[-1]), (3, 4))  # neither another frame nor the order changes it
        assert _bytes(sensor.measure(frame, words)) == _bytes(first)
        assert _bytes(sensor.measure(replace(frame, key="other/name/1"), words)) == _bytes(first)

    def test_other_words_give_other_noise(self, sensor: Sensor) -> None:
        frame = clean_frame(*self.sizes[-1])
        first, second = (_bytes(sensor.measure(frame, words)) for words in ((1, 2), (1, 3)))
        assert (first != second) == self.is_random

    def test_threads_give_the_bytes_of_one(self, sensor: Sensor) -> None:
        frames = [clean_frame(*size) for size in self.sizes for _ in range(3)]
        expected = [_bytes(sensor.measure(frame, (number, 0))) for number, frame in enumerate(frames)]
        with ThreadPoolExecutor(4) as pool:
            found = pool.map(lambda pair: _bytes(sensor.measure(pair[1], (pair[0], 0))), enumerate(frames))
        assert list(found) == expected

    def test_the_input_is_left_alone_and_shares_no_memory(self, sensor: Sensor) -> None:
        frame = clean_frame(*self.sizes[0])
        arrays = [frame.depth_m, frame.valid, frame.rgb]
        before = [np.copy(array) for array in arrays if array is not None]
        measured = sensor.measure(frame, (1, 2))
        for array, was in zip(arrays, before, strict=True):
            assert array is not None
            np.testing.assert_array_equal(array, was)
            assert not np.shares_memory(array, measured.depth_m)
            assert not np.shares_memory(array, measured.valid)

    def test_a_view_is_measured_like_its_copy(self, sensor: Sensor) -> None:
        frame = clean_frame(*self.sizes[0])
        assert frame.rgb is not None
        views = replace(
            frame, depth_m=frame.depth_m[:, ::-1], valid=frame.valid[:, ::-1], rgb=frame.rgb[:, ::-1]
        )  # as a source that mirrors or crops hands it over
        copies = replace(views, depth_m=views.depth_m.copy(), valid=views.valid.copy(), rgb=frame.rgb[:, ::-1].copy())
        for array in (views.depth_m, views.valid):
            array.flags.writeable = False
        assert _bytes(sensor.measure(views, (1, 2))) == _bytes(sensor.measure(copies, (1, 2)))

    def test_colour_is_optional_and_read_only_when_declared(self, sensor: Sensor) -> None:
        frame = clean_frame(*self.sizes[0])
        bare = replace(frame, rgb=None)
        measured = sensor.measure(bare, (1, 2))
        _require_sound(bare, measured)
        if "rgb" not in sensor.uses:
            assert _bytes(sensor.measure(frame, (1, 2))) == _bytes(measured)

    def test_a_pose_is_optional_and_read_only_when_declared(self, sensor: Sensor) -> None:
        posed = replace(clean_frame(*self.sizes[0]), T_world_cam=np.eye(4))
        unknown = replace(posed, T_world_cam=np.full((4, 4), np.nan))
        bare = replace(posed, T_world_cam=None)
        measured = sensor.measure(bare, (1, 2))
        assert _bytes(sensor.measure(unknown, (1, 2))) == _bytes(measured), "a pose that is not finite is none"
        _require_sound(posed, sensor.measure(posed, (1, 2)))
        if "T_world_cam" not in sensor.uses:
            assert _bytes(sensor.measure(posed, (1, 2))) == _bytes(measured)

    def test_it_is_registered_and_travels(self, sensor: Sensor) -> None:
        cls = type(sensor)
        assert sensors.get(cls.name) is cls
        frame = clean_frame(*self.sizes[0])
        written = json.loads(json.dumps(sensor.model_dump(mode="json")))
        assert written["name"] == cls.name
        # A resolved manifest holds every field, the preset's name among them, and is read where no preset file is.
        for again in (pickle.loads(pickle.dumps(sensor)), parse_sensor(written)):
            assert again == sensor
            assert _bytes(again.measure(frame, (1, 2))) == _bytes(sensor.measure(frame, (1, 2)))

    def test_parameters_are_described_and_frozen(self, sensor: Sensor) -> None:
        cls = type(sensor)
        assert (cls.__doc__ or "").strip(), "the class says what it simulates"
        assert cls.version >= 1
        for name, field in cls.model_fields.items():
            assert field.description, f"{name} has no description"
        with pytest.raises(ValidationError):
            cls.model_validate({"no_such_parameter": 1})
        with pytest.raises(ValidationError):
            sensor.preset = "other"


def _bytes(measured: NoisyDepth) -> bytes:
    return measured.depth_m.tobytes() + measured.valid.tobytes()


def _require_sound(frame: Frame, measured: NoisyDepth) -> None:
    depth_m, valid = measured
    assert depth_m.dtype == np.float32
    assert valid.dtype == np.bool_
    assert depth_m.shape == valid.shape == frame.camera.size
    assert np.isfinite(depth_m).all()
    np.testing.assert_array_equal(depth_m > 0, valid)
    assert not (valid & ~frame.valid).any(), "a hole of the input is measured"
