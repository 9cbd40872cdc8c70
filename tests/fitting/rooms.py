"""Scans of rooms that are easy to guess: a wall, a floor and boxes, by a sensor of known parameters."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from depthforge.fitting.candidates import Scene
from depthforge.fitting.places import Places
from depthforge.fitting.scans import Scans
from depthforge.fitting.steps import file_step_m
from depthforge.frame import Camera, DepthImage, Frame, NoisyDepth
from depthforge.realism.views import DepthView
from depthforge.seeding import frame_generator, frame_words
from depthforge.sensors.base import Sensor

WIDTH, HEIGHT = 160, 120
CAMERA = Camera(fx=150.0, fy=150.0, cx=79.5, cy=59.5, width=WIDTH, height=HEIGHT)


def room(number: int) -> DepthImage:
    """Clean depth (120, 160) of a room: a slanted wall, the floor, three boxes before them."""
    draw = frame_generator(0, f"room {number}")
    x = (np.arange(WIDTH) - CAMERA.cx) / CAMERA.fx
    y = ((np.arange(HEIGHT) - CAMERA.cy) / CAMERA.fy)[:, None]
    wall = draw.uniform(1.8, 4.0) / (1 + draw.uniform(-0.4, 0.4) * x + 0 * y)
    depth = np.minimum(wall, draw.uniform(0.7, 1.1) / np.maximum(y, 0.05))
    for _ in range(3):
        left, top = draw.integers(0, WIDTH - 50), draw.integers(0, HEIGHT - 50)
        width, height = draw.integers(30, 50, 2)
        part = np.s_[top : top + height, left : left + width]
        depth[part] = np.minimum(depth[part], draw.uniform(0.8, 1.8))
    return depth.astype(np.float32)


def scan(sensor: Sensor, number: int, *, view: int | None = None, unit_m: float = 0.0) -> Frame:
    """What ``sensor`` measures of room ``view`` (``number`` by default), in whole ``unit_m``."""
    depth_m = room(number if view is None else view)
    clean = Frame(f"test/rooms/{number:04d}", depth_m, np.ones(depth_m.shape, np.bool_), CAMERA)
    measured, valid = sensor.measure(clean, frame_words(7, clean.key, "scan"))
    if unit_m > 0:
        measured = (np.rint(measured / unit_m) * unit_m).astype(np.float32)
    return Frame(clean.key, measured * valid, valid & (measured > 0), CAMERA)


def scans(sensor: Sensor, count: int, *, first: int = 0, unit_m: float = 0.0) -> Scans:
    """``count`` scans to fit, of the rooms from ``first`` on, and half as many that are held out."""
    numbers = range(first, first + count + max(count // 2, 2))
    frames = [scan(sensor, number, unit_m=unit_m) for number in numbers]
    views = [DepthView(frame.depth_m, frame.valid, frame.camera) for frame in frames]
    return Scans(tuple(frames[:count]), tuple(frames[count:]), file_step_m(views), "test", "none", False)


def known_scenes(frames: Sequence[Frame]) -> list[Scene]:
    """What a fit would simulate on if its clean guesses were right: the rooms that ``frames`` are scans of."""
    scenes = []
    for frame in frames:
        depth_m = room(int(frame.key.rsplit("/", 1)[1]))
        whole = replace(frame, depth_m=depth_m, valid=np.ones(depth_m.shape, np.bool_))
        scenes.append(Scene(whole, Places.of(depth_m, frame.camera, frame.depth_m, frame.valid), frame.valid))
    return scenes


def with_truth(scans: Scans) -> Scans:
    """The same scans with the rooms that they are of, of which the right tenth is not known."""
    truth = {}
    for frame in (*scans.fitted, *scans.held_out):
        known = np.ones(frame.valid.shape, np.bool_)
        known[:, -WIDTH // 10 :] = False
        depth_m = room(int(frame.key.rsplit("/", 1)[1]))
        truth[frame.key] = NoisyDepth(np.where(known, depth_m, np.float32(0)), known)
    return replace(scans, truth=truth)
