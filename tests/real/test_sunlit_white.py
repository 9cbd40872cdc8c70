"""A sunlit room of a rendering, a seventh of it clipped to white: stereo sees it, as it is exposed for the room."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest

from depthforge.frame import Camera, Frame
from depthforge.seeding import frame_words
from depthforge.sensors.preset import parse_sensor

RENDERED = Camera(fx=525.0, fy=525.0, cx=319.5, cy=239.5, width=640, height=480)


@pytest.mark.parametrize("preset", ["d435", "d435_drawn"])
def test_sunlit_white_of_a_rendering_is_measured(preset: str, shared_data: Path) -> None:
    root = shared_data / "clean" / "livingroom1"
    rgb = cv2.cvtColor(cv2.imread(str(root / "image" / "00000.jpg")), cv2.COLOR_BGR2RGB)
    depth_m = cv2.imread(str(root / "depth" / "00000.png"), cv2.IMREAD_UNCHANGED).astype(np.float32) / 1000
    frame = Frame("livingroom1/all/000000", depth_m, depth_m > 0, RENDERED, rgb)
    clipped = (rgb.min(axis=2) >= 252) & frame.valid
    assert clipped.mean() > 0.1
    measured = parse_sensor(preset).measure(frame, frame_words(0, frame.key)).valid
    assert (~measured & clipped).sum() < 0.1 * clipped.sum()
    assert (~measured & frame.valid).sum() < 0.07 * frame.valid.sum()
