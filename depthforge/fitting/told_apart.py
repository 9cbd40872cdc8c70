"""How well a sensor's simulation of scans is told from the scans, patch by patch: what no curve was fitted to.

Curves say one thing each, and a sensor that meets all of them may still not look like the camera: the classifier of
``realism.two_sample`` (energies of noise and holes by octaves, along rows and columns, and equal neighbours) is asked
how often it tells a patch of the one from a patch of the other. 0.5 is never, 1 always. Scene and place are the same on
both sides, and of what the truth does not know nothing is shown.

64 patches a frame; 20 ms a frame of 640x480 and its simulation.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import numpy as np
import numpy.typing as npt

from depthforge.fitting.candidates import Scene, simulate
from depthforge.frame import BoolImage, DepthImage, Frame
from depthforge.realism.two_sample import patch_features, two_sample_test
from depthforge.sensors.base import Sensor

__all__ = ["Patches", "auc_of", "patches_of_scans", "patches_of_sensor"]

Patches = list[npt.NDArray[np.float64]]
"""The features (N, 23) of each frame's patches."""

_DRAWS: Final = 4
_FEWEST_FRAMES: Final = 4


def patches_of_scans(frames: Sequence[Frame], scenes: Sequence[Scene]) -> Patches:
    """Return the features of scans, where the truth of their ``scenes`` is known."""
    return [_features(f.depth_m, f.valid, scene) for f, scene in zip(frames, scenes, strict=True)]


def patches_of_sensor(sensor: Sensor, scenes: Sequence[Scene], unit_m: float) -> Patches:
    """Return the same of what ``sensor`` measures of ``scenes``."""
    return [_features(*simulate(sensor, scene, unit_m), scene) for scene in scenes]


def auc_of(simulated: Patches, scans: Patches) -> float | None:
    """Return the area under the classifier's curve; None of fewer than four frames with patches."""
    if min(sum(bool(len(frame)) for frame in side) for side in (simulated, scans)) < _FEWEST_FRAMES:
        return None
    return two_sample_test(simulated, scans, 0).auc


def _features(depth_m: DepthImage, valid: BoolImage, scene: Scene) -> npt.NDArray[np.float64]:
    shown = valid if scene.places.known is None else valid & scene.places.known
    seen_m = np.where(shown, depth_m, np.float32(0))
    return np.concatenate([patch_features(seen_m, shown, draw, scene.frame.key) for draw in range(_DRAWS)])
