"""Views made with known errors, of the camera of ``tests.realism.scenes``; 0.1 m between its eyes: 50 px at 1 m."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from depthforge.realism.same_view.truth import Truth, truth_of
from depthforge.realism.same_view.views import Measured, SameView
from tests.realism.scenes import CAMERA

BASELINE_M = 0.1
DISPARITY_M_PX = CAMERA.fx * BASELINE_M

Image = npt.NDArray[np.floating]
Mask = npt.NDArray[np.bool_]


def measured(depth_m: Image, valid: Mask | None = None) -> Measured:
    """Depth (240, 320); all of it valid unless said otherwise."""
    valid = np.ones(CAMERA.size, bool) if valid is None else valid
    return Measured(np.where(valid, depth_m, 0).astype(np.float32), valid)


def view(truth: Measured, real: Measured, key: str = "made/scene/0", **more: object) -> SameView:
    """A view whose only candidate is the truth itself unless said otherwise."""
    return SameView(key, CAMERA, truth, real, **{"candidates": {"clean": truth}, **more})  # type: ignore[arg-type]


def truth(depth_m: Image, valid: Mask | None = None, baseline_m: float | None = BASELINE_M) -> Truth:
    """The truth of a view."""
    image = measured(depth_m, valid)
    return truth_of(view(image, image), baseline_m)


def box(near_m: float = 1.0, far_m: float = 2.0, grown_px: int = 0) -> Image:
    """A box at columns 120 to 199 and rows 80 to 159, ``grown_px`` larger on every side, before a wall."""
    depth_m = np.full(CAMERA.size, far_m)
    depth_m[80 - grown_px : 160 + grown_px, 120 - grown_px : 200 + grown_px] = near_m
    return depth_m
