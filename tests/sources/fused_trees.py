"""Scans of an analytic room, and the source that fuses them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from depthforge.frame import Camera, Finding, Frame
from depthforge.geometry import look_at
from depthforge.manifest import PluginBlock
from depthforge.registry import sources
from depthforge.scenes.raycast import Hits, Scene, box, cast, ellipsoid
from depthforge.sources.fused import Fused
from tests.sources.tree_files import png, write

CAMERA = Camera(60.0, 60.0, 31.5, 23.5, 64, 48)
ROOM = Scene(
    [box((4, 4, 0.2), (0, 2.1, 0.0)), box((4, 0.2, 3), (0, 2.2, 1.5)), ellipsoid((0.5, 0.4, 0.5), (0, 1.7, 0.5))]
)
WRONG_POSE, NO_POSE, UNREADABLE, NUM = 3, 5, 7, 9


def pose(number: int) -> np.ndarray:
    return look_at((0.12 * number - 0.5, 0.0, 1.0), (0.0, 2.0, 0.6))


def seen(number: int) -> Hits:
    return cast(ROOM, pose(number), CAMERA)


def write_scan(root: Path, *, num_frames: int = NUM, faults: bool = True) -> Path:
    """Depth in millimetres with a hole at the top left; one pose is 20 cm off, one file of poses and one image bad."""
    for number in range(num_frames):
        millimetres = np.rint(seen(number).depth_m * 1000).astype(np.uint16)
        millimetres[:4, :4] = 0
        content = png(millimetres)
        write(root / f"room/{number}.png", content[:-9] if faults and number == UNREADABLE else content)
        stored = pose(number)
        stored[1, 3] -= 0.2 if faults and number == WRONG_POSE else 0
        if not (faults and number == NO_POSE):
            write(root / f"room/{number}.txt", "\n".join(" ".join(map(repr, row)) for row in stored.tolist()))
    return root


def block(root: Path, **fields: Any) -> dict[str, Any]:
    of = {
        "name": "rgbd_folder",
        "root": str(root),
        "dataset": "analytic",
        "depth": "{scene}/{frame}.png",
        "depth_scale": 1000,
        "camera": {"width": 64, "height": 48, "fx": 60, "fy": 60, "cx": 31.5, "cy": 23.5},
        "pose": {"file": "{scene}/{frame}.txt"},
    }
    chosen = {"voxel_m": 0.03, "min_weight": 2, "max_residual_m": 0.01, **fields}
    return {"name": "fused", "of": of, "prepared": str(root / "prepared"), **chosen}


def make(root: Path, **fields: Any) -> Fused:
    parsed = PluginBlock.parse(sources, block(root, **fields))
    source: Fused = sources.get("fused")(parsed.config)
    return source


def listed(source: Fused) -> tuple[list[str], list[Finding]]:
    findings: list[Finding] = []
    return [ref.key for ref in source.frames(findings.append)], findings


def frame_of(source: Fused, index: int = 0) -> Frame:
    return source.read(list(source.frames())[index], frozenset(source.labels)).require_sound()
