"""Described folders for tests: files written by their kind, and a source made of a few fields."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np

from depthforge.frame import Frame
from depthforge.manifest import PluginBlock
from depthforge.registry import sources
from depthforge.sources.rgbd_folder import RgbdFolder

HEIGHT, WIDTH = 48, 64
CAMERA = {"width": WIDTH, "height": HEIGHT, "fx": 60, "fy": 60, "cx": 32, "cy": 24}
POSE = np.array([[0.0, -1, 0, 5], [1, 0, 0, 6], [0, 0, 1, 7], [0, 0, 0, 1]])
BASE = {"depth": "{frame}.png", "depth_scale": 1000, "camera": CAMERA}


def write(path: Path, data: bytes | str | np.ndarray) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    if isinstance(data, np.ndarray):
        if path.suffix == ".npy":
            np.save(path, data)
            return
        image = cv2.cvtColor(data, cv2.COLOR_RGB2BGR) if data.ndim == 3 else data
        data = cv2.imencode(path.suffix, image)[1].tobytes()
    path.write_bytes(data.encode() if isinstance(data, str) else data)


def text(matrix: np.ndarray) -> str:
    return "\n".join(" ".join(repr(float(value)) for value in row) for row in matrix)


def depth(code: int = 2000) -> np.ndarray:
    return np.full((HEIGHT, WIDTH), code, np.uint16)


def make(root: Path, **fields: object) -> RgbdFolder:
    block = PluginBlock.parse(sources, {"name": "rgbd_folder", "root": str(root), **BASE, **fields})
    return RgbdFolder(block.config)


def read_all(root: Path, **fields: object) -> dict[str, Frame]:
    source = make(root, **fields)
    return {ref.key: source.read(ref, frozenset(source.labels)).require_sound() for ref in source.frames()}


def read_first(root: Path, **fields: object) -> Frame:
    source = make(root, **fields)
    return source.read(next(iter(source.frames())), frozenset(source.labels)).require_sound()


def keys(root: Path, **fields: object) -> list[str]:
    return [ref.key for ref in make(root, **fields).frames()]
