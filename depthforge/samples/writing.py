"""Writing a sample's files: the folder that it goes to, images and JSON as bytes, poses as text."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt

from depthforge.durable import storage_errors
from depthforge.errors import InputError
from depthforge.geometry import Float64, quaternion_from_rotation

__all__ = ["json_bytes", "png", "pose_line", "require_empty", "rgb_jpeg", "write_file"]


def require_empty(root: Path) -> None:
    """Raise InputError unless ``root`` is an empty folder, or can become one."""
    if root.exists() and (not root.is_dir() or any(root.iterdir())):
        raise InputError(
            "a sample is written into an empty folder only",
            where=root,
            expected="no such folder, or an empty one",
            remedy="name another folder",
        )


def write_file(path: Path, content: bytes | str) -> None:
    """Write a file and the folders above it; StorageError when they cannot be."""
    with storage_errors(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content.encode() if isinstance(content, str) else content)


def png(image: npt.NDArray[np.generic]) -> bytes:
    """Return a grey image (H, W) or an RGB one (H, W, 3), 8 or 16 bits, as PNG."""
    return _encoded(".png", image, cv2.IMWRITE_PNG_COMPRESSION, 3)


def rgb_jpeg(image: npt.NDArray[np.uint8]) -> bytes:
    """Return a colour image (H, W, 3), RGB, as JPEG of quality 95."""
    return _encoded(".jpg", image, cv2.IMWRITE_JPEG_QUALITY, 95)


def json_bytes(entries: Mapping[str, Any]) -> bytes:
    """Return JSON with one line for each top-level entry, as bop_toolkit writes its scene files."""
    lines = [f"  {json.dumps(name)}: {json.dumps(value)}" for name, value in entries.items()]
    return ("{\n" + ",\n".join(lines) + "\n}\n").encode()


def pose_line(T: Float64) -> str:
    """Return a rigid transform (4, 4) as ``tx ty tz qx qy qz qw``, as TUM RGB-D and TartanAir write it."""
    w, x, y, z = quaternion_from_rotation(T[:3, :3])
    return " ".join(f"{value:.9f}" for value in (*T[:3, 3], x, y, z, w))


def _encoded(suffix: str, image: npt.NDArray[np.generic], option: int, value: int) -> bytes:
    stored = image[..., ::-1] if image.ndim == 3 else image
    encoded, content = cv2.imencode(suffix, np.ascontiguousarray(stored), [option, value])
    assert encoded
    return bytes(content)
