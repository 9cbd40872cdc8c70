"""Small recordings of ROS, and the source over a folder of them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from depthforge.frame import Finding, Frame
from depthforge.sources.rosbag import Rosbag, RosbagConfig
from tests.sources.bag_trees import COLOUR, DEPTH, OPTICAL, Recorder

H, W = 4, 6
MM = np.arange(H * W, dtype=np.uint16).reshape(H, W) * 100
MM[0, :3] = (0, 1500, 65535)
RGB = np.arange(H * W * 3, dtype=np.uint8).reshape(H, W, 3)
KINDS = ["ros1", "mcap", "sqlite3"]


def make(root: Path, **fields: Any) -> Rosbag:
    return Rosbag(RosbagConfig.model_validate({"root": root, **fields}))


def listing(source: Rosbag) -> tuple[list[str], list[Finding]]:
    findings: list[Finding] = []
    return [ref.key for ref in source.frames(findings.append)], findings


def read(source: Rosbag, index: int = 0, wanted: frozenset[str] | None = None) -> Frame:
    ref = list(source.frames())[index]
    return source.read(ref, frozenset(source.labels) if wanted is None else wanted).require_sound()


def write_whole(root: Path, name: str, kind: str, num_frames: int = 3) -> None:
    """Depth every 33 ms, colour 4 ms later, tf map -> base -> optical where x of the base goes up 0.1 m a frame."""
    with Recorder(root, name, kind) as bag:
        bag.info()
        # Optical axes (right, down, forward) in those of a base (forward, left, up).
        bag.transform("/tf_static", 0, "base", OPTICAL, (0, 0, 1), (-0.5, 0.5, -0.5, 0.5))
        for number in range(num_frames):
            at_ms = 33.0 * number
            bag.transform("/tf", at_ms + 1, "map", "base", (0.1 * number, 2, 0))
            bag.image(DEPTH, at_ms, MM + np.uint16(number), "16UC1")
            bag.image(COLOUR, at_ms + 4, RGB + np.uint8(number), "rgb8")
