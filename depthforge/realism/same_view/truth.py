"""What the truth of a view says by itself, worked out once and used by every figure: where its edges are.

A pixel lies on a depth edge when a neighbour with truth is 5 % of depth away, or has no truth: what lies there, and how
far, is not known. Distances to edges are those of ``cv2.distanceTransform`` with a 5x5 mask (2 % off at worst);
640x480 on one core: 2 ms.
"""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
import numpy.typing as npt

from depthforge.frame import BoolImage, Camera, DepthImage
from depthforge.realism.same_view.views import Measured, SameView
from depthforge.realism.windows import MAX_JUMP

__all__ = ["Truth", "inverse_depth", "truth_of"]

Float32 = npt.NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class Truth:
    """``depth_m`` where ``valid``, its inverse (1/m, 0 elsewhere) and the distance to the nearest edge in px, (H, W).

    ``disparity_m_px`` is focal length times baseline, depth times disparity; None where the baseline is not known.
    """

    depth_m: DepthImage
    valid: BoolImage
    inverse: Float32
    edge_distance_px: Float32
    camera: Camera
    disparity_m_px: float | None


def truth_of(view: SameView, baseline_m: float | None) -> Truth:
    """Return the truth of a view; the disparity is that of a sensor with ``baseline_m``, None where not known."""
    depth_m, valid = view.truth
    inverse = inverse_depth(view.truth)
    off_edge = (~_on_edge(inverse, valid)).view(np.uint8)
    # Without any edge the transform of OpenCV gives no distance.
    distance = (
        np.full(valid.shape, np.inf, np.float32)
        if off_edge.all()
        else cv2.distanceTransform(off_edge, cv2.DIST_L2, cv2.DIST_MASK_5)
    )
    return Truth(
        depth_m, valid, inverse, distance, view.camera, None if baseline_m is None else view.camera.fx * baseline_m
    )


def inverse_depth(measured: Measured) -> Float32:
    """Return 1/z in 1/m, (H, W) float32, 0 where nothing is measured."""
    depth_m, valid = measured
    inverse: Float32 = np.divide(
        np.float32(1), depth_m, out=np.zeros(depth_m.shape, np.float32), where=valid, dtype=np.float32
    )
    return inverse


def _on_edge(inverse: Float32, valid: BoolImage) -> BoolImage:
    on_edge = ~valid
    for first, second, beside_first, beside_second in (
        (inverse[:, :-1], inverse[:, 1:], on_edge[:, :-1], on_edge[:, 1:]),
        (inverse[:-1], inverse[1:], on_edge[:-1], on_edge[1:]),
    ):
        # |a - b| / min(a, b) of depth is |1/a - 1/b| / min(1/a, 1/b); no truth is at inverse 0, a jump from anywhere.
        jump = np.abs(first - second) > np.float32(MAX_JUMP) * np.minimum(first, second)
        beside_first |= jump
        beside_second |= jump
    return on_edge
