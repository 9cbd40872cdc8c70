"""Identity returns what it was given."""

from __future__ import annotations

import numpy as np

from depthforge.frame import Camera, Frame
from depthforge.registry import translators


def test_depth_and_valid_are_unchanged() -> None:
    identity = translators.get("identity")
    translator = identity(identity.Config())
    depth_m = np.array([[0.0, 1.25]], np.float32)
    frame = Frame("a/b/c", depth_m, depth_m > 0, Camera(1, 1, 0, 0, 2, 1))
    noisy = translator.translate(frame, (1, 2))
    assert noisy.depth_m is frame.depth_m
    assert noisy.valid is frame.valid
    assert translator.wanted == frozenset()
