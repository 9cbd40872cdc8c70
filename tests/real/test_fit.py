"""Fitting to a real Kinect v1 (7-Scenes RedKitchen): what is read off it, and that the shipped fit is nearer to it."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from depthforge.fitting.recipes import RECIPES
from depthforge.fitting.scans import read_scans
from depthforge.realism.choice import evaluate_translator
from depthforge.realism.describe import describe
from depthforge.realism.views import DepthView, evenly_spaced
from depthforge.registry import sources
from depthforge.seeding import frame_words
from depthforge.sensors.preset import parse_sensor
from depthforge.sources.base import Source

KINECT = {"width": 640, "height": 480, "fx": 585, "fy": 585, "cx": 320, "cy": 240}
RENDERED = {"width": 640, "height": 480, "fx": 525, "fy": 525, "cx": 319.5, "cy": 239.5}


def rgbd(**fields: object) -> Source:
    cls = sources.get("rgbd_folder")
    licence = {"name": "research use", "non_commercial": True}
    source: Source = cls(cls.Config.model_validate({"depth_scale": 1000, "licence": licence, **fields}))
    return source


def redkitchen(shared_data: Path) -> Source:
    root = str(shared_data / "real" / "redkitchen_kinect")
    return rgbd(root=root, dataset="k", depth="frame-{frame}.depth.png", invalid=[0, 65535], camera=KINECT)


def test_what_the_scans_say_of_themselves(shared_data: Path) -> None:
    """Steps of 1/8 px at 575.5 px and 75 mm, and its eight blank columns."""
    scans = read_scans(redkitchen(shared_data), 6, wanted=frozenset())
    assert scans.unit_m == 0.001
    start = parse_sensor("kinect_v1")
    told = RECIPES[start.name].read_off(scans, start)
    found = told.values
    assert found["raw_scale_m"] == pytest.approx(345.3, abs=0.5)
    assert found["baseline_m"] == pytest.approx(345.3 / 8 / 585, rel=0.002)
    # The nearest thing in the kitchen is 0.8 m away, and that says nothing of the sensor.
    assert "min_depth_m" in told.skipped
    assert (found["blind_left_px"], found["blind_right_px"]) == (0, 8)


def test_the_shipped_fit_is_nearer_to_scans_that_it_has_not_seen(shared_data: Path) -> None:
    scans = redkitchen(shared_data)
    references = list(scans.frames())
    held_out = references[(len(references) + 1) // 2 :]
    frames = [scans.read(held_out[place], frozenset()) for place in evenly_spaced(len(held_out), 10)]
    real = describe(DepthView(frame.depth_m, frame.valid, frame.camera) for frame in frames)
    room = rgbd(
        root=str(shared_data / "clean" / "livingroom1"), dataset="l", depth="depth/{frame}.png", camera=RENDERED
    )
    rooms = list(room.frames())
    clean = [room.read(rooms[place], frozenset()) for place in evenly_spaced(len(rooms), 4)]

    def score(name: str) -> float:
        views = []
        for frame in clean:
            depth_m, valid = parse_sensor(name).measure(frame, frame_words(0, frame.key, "test"))
            stored = (np.rint(depth_m * 1000) / 1000).astype(np.float32)
            views.append(DepthView(stored, valid & (stored > 0), frame.camera, (frame.depth_m, frame.valid)))
        return evaluate_translator(views, real).score.total

    assert score("kinect_v1") < 0.8 * score("kinect_v1_published")
