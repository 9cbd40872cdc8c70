"""One frame as a cloud of points that the page turns: its depths as bytes, which the page back-projects itself.

Depth is thinned by taking every n-th pixel (a mean would make points between surfaces that no sensor saw) to at most
320 across, and stored as uint16 steps up to the farthest: 150 kB a set. The clean set, the noisy one, and what a real
sensor measured where the corpus carries it, share pixels and camera.
"""

from __future__ import annotations

import base64
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from depthforge.corpus.reader import CorpusReader
from depthforge.labels.catalogue import DEPTH_RAW, INTRINSICS, RGB
from depthforge.report.statistics import FrameFigures

__all__ = ["Cloud", "choose_cloud", "make_cloud"]

_MOST_ACROSS: Final = 320
_STEPS: Final = 65535


@dataclass(frozen=True, slots=True)
class Cloud:
    """``width`` by ``height`` pixels with focal lengths and centre in those pixels; depth is step times ``scale_m``.

    ``depths`` holds steps (H, W) little-endian uint16, 0 where nothing is measured, by the name of the set; ``rgb``
    (H, W, 3) uint8 or None. ``middle_m`` is the median depth, about which the page turns the points.
    """

    key: str
    width: int
    height: int
    fx: float
    fy: float
    cx: float
    cy: float
    scale_m: float
    middle_m: float
    depths: dict[str, npt.NDArray[np.uint16]]
    rgb: npt.NDArray[np.uint8] | None

    def to_json(self) -> dict[str, Any]:
        """Return what the page's script reads: arrays as base64."""
        plain = {name: getattr(self, name) for name in self.__slots__ if name not in ("depths", "rgb")}
        depths = {name: _base64(steps.astype("<u2")) for name, steps in self.depths.items()}
        return {**plain, "depths": depths, "rgb": None if self.rgb is None else _base64(self.rgb)}


def choose_cloud(figures: FrameFigures) -> int | None:
    """Return the frame whose share of holes is the median, of those that measure anything; None without one."""
    shares = np.where(figures.holes < 1, figures.holes, np.nan)
    known = np.flatnonzero(~np.isnan(shares))
    if not known.size:
        return None
    return int(known[np.argsort(shares[known], kind="stable")[(known.size - 1) // 2]])


def make_cloud(reader: CorpusReader, position: int) -> Cloud | None:
    """Read a frame as a cloud; None where the corpus has no camera for it, or the frame measures nothing."""
    stored = {spec.name for spec in reader.schema.fields}
    labels = [name for name in (INTRINSICS.name, RGB.name, DEPTH_RAW.name) if name in stored]
    frame = reader.read(position, labels)
    K = frame.labels.get(INTRINSICS.name)
    sets = {"clean": frame.clean_depth_m}
    if frame.noisy is not None:
        sets["noisy"] = frame.noisy_depth_m
    if DEPTH_RAW.name in frame.labels:
        raw_m = frame.labels[DEPTH_RAW.name]
        sets["real"] = np.where(np.isfinite(raw_m), raw_m, 0).astype(np.float32)
    far_m = max(float(depth_m.max()) for depth_m in sets.values())
    if K is None or far_m <= 0:
        return None
    each = -(-frame.clean_depth_m.shape[1] // _MOST_ACROSS)
    scale_m = far_m / _STEPS
    thinned = {name: depth_m[::each, ::each] for name, depth_m in sets.items()}
    rgb = frame.labels.get(RGB.name)
    measured = next((z[z > 0] for z in thinned.values() if (z > 0).any()), np.array([far_m]))
    height, width = thinned["clean"].shape
    return Cloud(
        key=frame.key,
        width=width,
        height=height,
        fx=float(K[0, 0]) / each,
        fy=float(K[1, 1]) / each,
        cx=float(K[0, 2]) / each,
        cy=float(K[1, 2]) / each,
        scale_m=scale_m,
        middle_m=float(np.median(measured)),
        depths={name: np.rint(depth_m / scale_m).astype(np.uint16) for name, depth_m in thinned.items()},
        rgb=None if rgb is None else np.ascontiguousarray(rgb[::each, ::each]),
    )


def _base64(array: npt.NDArray[Any]) -> str:
    return base64.b64encode(np.ascontiguousarray(array).tobytes()).decode()
