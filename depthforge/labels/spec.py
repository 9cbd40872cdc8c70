"""LabelSpec: what a label is, said once, for whoever stores it, resizes it, carries it through noise or draws it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from depthforge.errors import FrameError
from depthforge.frame import BoolImage, Frame

__all__ = ["LabelSpec", "NoiseRule"]


@dataclass(frozen=True, slots=True)
class NoiseRule:
    """What noise does to a label.

    ``recompute(frame, valid)`` returns the label of ``frame`` for a noisy depth that has a measurement where ``valid``
    (H, W) bool, or None when the frame lacks what that takes. ``needs`` names the other labels that it reads.
    """

    recompute: Callable[[Frame, BoolImage], npt.NDArray[Any] | None]
    needs: frozenset[str] = frozenset()


@dataclass(frozen=True, slots=True)
class LabelSpec:
    """What a label is, said once: how it is stored, what it means, how it resizes, whether noise changes it.

    ``layout``: ``image`` arrays are (H, W, *trailing), ``frame`` arrays (*trailing), ``ragged`` arrays
    (N, *trailing) with N varying by frame. ``missing`` is the stored value that means "no label here". A stored
    value times ``scale`` is the quantity in ``units``. ``resize`` names the only correct way to resample:
    ``nearest`` for ids and depth, ``area`` for colour, ``normals`` re-normalises, ``flow`` scales the vectors too,
    ``box_2d`` and ``rect_grasps`` scale pixel coordinates, ``count`` scales with the area, ``none`` is for what does
    not depend on the pixel grid.
    ``changed_by_noise`` labels are computed again from the noisy depth (``depthforge.labels.resize``); no other is.
    """

    name: str
    dtype: str
    layout: Literal["image", "frame", "ragged"]
    description: str
    trailing: tuple[int, ...] = ()
    trailing_dims: tuple[str, ...] = ()
    missing: float = 0
    scale: float | None = None
    units: str | None = None
    resize: Literal["nearest", "area", "normals", "flow", "box_2d", "rect_grasps", "count", "none"] = "nearest"
    noise: NoiseRule | None = None
    vocabulary: str | None = None

    def shape(self, height: int, width: int, rows: int = 0) -> tuple[int, ...]:
        """Return the shape of one frame's array (``rows`` counts for ragged labels only)."""
        if self.layout == "image":
            return (height, width, *self.trailing)
        if self.layout == "ragged":
            return (rows, *self.trailing)
        return self.trailing

    def require_fits(self, array: npt.NDArray[np.generic], height: int, width: int, *, where: str) -> None:
        """Raise FrameError when ``array`` is not what this spec stores."""
        rows = array.shape[0] if self.layout == "ragged" and array.ndim else 0
        expected = self.shape(height, width, rows)
        if array.shape != expected or array.dtype != np.dtype(self.dtype):
            raise FrameError(
                f"label {self.name!r} has the wrong shape or type",
                where=where,
                expected=f"{expected} {self.dtype}",
                found=f"{array.shape} {array.dtype}",
            )
