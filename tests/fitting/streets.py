"""Scans of procedural streets by a small spinning lidar of known parameters, as a camera beside it has them."""

from __future__ import annotations

from functools import lru_cache

import numpy as np

from depthforge.fitting.scans import Scans
from depthforge.frame import Camera, Frame
from depthforge.scenes.raycast import cast
from depthforge.scenes.street import build_street
from depthforge.seeding import frame_generator, frame_words
from depthforge.sensors.lidar import BeamBlock, Lidar

CAMERA = Camera(fx=360.0, fy=360.0, cx=304.5, cy=86.0, width=610, height=188)
# Fewer and wider spaced beams than an HDL-64E's, for an image of half the size; mounted as on KITTI's car.
TRUE = Lidar(
    beams=(
        BeamBlock(num_beams=14, highest_deg=1.9, lowest_deg=-8.5, height_m=0.2),
        BeamBlock(num_beams=7, highest_deg=-9.4, lowest_deg=-17.2, height_m=0.12),
    ),
    azimuth_step_deg=0.3,
    position_m=(0.06, -0.08, -0.27),
    rotation_deg=(0.6, 0.0, -0.5),
    range_sigma_m=0.03,
    random_dropout=0.05,
    half_range_m=70.0,
    max_range_m=60.0,
)


@lru_cache(maxsize=1)
def views() -> tuple[Frame, ...]:
    """Six clean views along one street."""
    street = build_street(frame_generator(3, "fitting", "street"), 60)
    frames = []
    for number in range(6):
        hits = cast(street.world(10 * number).scene, street.camera_pose(10 * number), CAMERA)
        depth_m = np.where(hits.valid, hits.depth_m, 0).astype(np.float32)
        frames.append(Frame(f"test/street/{number:04d}", depth_m, hits.valid, CAMERA))
    return tuple(frames)


def scan(lidar: Lidar, clean: Frame, *, unit_m: float = 1 / 256) -> Frame:
    """What ``lidar`` measures of a view, in whole ``unit_m``."""
    measured, valid = lidar.measure(clean, frame_words(5, clean.key, "scan"))
    stored = (np.rint(measured / unit_m) * unit_m).astype(np.float32)
    return Frame(clean.key, stored, valid & (stored > 0), clean.camera)


def street_scans(lidar: Lidar = TRUE) -> Scans:
    """Four scans to fit and two that are held out."""
    frames = [scan(lidar, clean) for clean in views()]
    return Scans(tuple(frames[:4]), tuple(frames[4:]), 0.0, "test", "none", False)
