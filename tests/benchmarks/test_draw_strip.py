"""The strip: figures of a made-up recording whose holes are known, and what its picture shows."""

from __future__ import annotations

import numpy as np
import pytest

from benchmarks.draw_strip import Step, figures_of, picture
from depthforge.frame import Camera, Frame, NoisyDepth
from depthforge.realism.same_view.views import Measured

CAMERA = Camera(100.0, 100.0, 40.0, 30.0, 80, 60)


def step(number: int) -> Step:
    """A wall; the real sensor always loses columns 10 to 19, the simulated one 10 columns that move by 5 a frame."""
    depth_m = np.full(CAMERA.size, 2.0, np.float32)
    real, simulated = (np.ones(CAMERA.size, np.bool_) for _ in range(2))
    real[:, 10:20] = False
    simulated[:, 10 + 5 * number : 20 + 5 * number] = False
    frame = Frame(f"a/b/{number}", depth_m, depth_m > 0, CAMERA, T_world_cam=np.eye(4))
    return Step(frame, Measured(depth_m * real, real), NoisyDepth(depth_m * simulated, simulated))


def test_holes_that_stay_and_holes_that_move_are_told_apart() -> None:
    found = figures_of([step(n) for n in range(3)])
    assert found["real"]["holes_kept_iou"] == 1.0
    assert found["real"]["hole_flicker"] == 0.0
    assert found["simulated"]["holes_kept_iou"] == pytest.approx(1 / 3, abs=0.07)
    assert found["simulated"]["hole_iou"] == pytest.approx((10 + 5 + 0) / (10 + 15 + 20), abs=1e-6)


def test_the_picture_has_a_column_a_frame_and_white_holes() -> None:
    drawn = picture([step(n) for n in range(3)], width_px=80)
    assert drawn.shape == (120, 240, 3)
    assert (drawn[:60, 12:18] == 255).all()
    assert (drawn[60:, 160 + 22 : 160 + 28] == 255).all()
    assert not (drawn[:60, 30:70] == 255).all(axis=-1).any()
