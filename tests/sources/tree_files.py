"""How the trees that tests write by hand get their files."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np


def png(image: np.ndarray) -> bytes:
    """Encode an image (H, W) or, as RGB, (H, W, 3)."""
    stored = cv2.cvtColor(image, cv2.COLOR_RGB2BGR) if image.ndim == 3 else image
    return cv2.imencode(".png", stored, [cv2.IMWRITE_PNG_COMPRESSION, 1])[1].tobytes()


def write(path: Path, data: bytes | str) -> Path:
    """Write a file and the folders above it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data.encode() if isinstance(data, str) else data)
    return path
