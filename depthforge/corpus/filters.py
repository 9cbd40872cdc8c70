"""What is done to the values of a chunk before they become bytes: differences, and another order of the axes.

zarr calls these array-to-array codecs: ``numcodecs.delta`` (of zarr-python with numcodecs) and ``transpose`` (of zarr's
core). Both only move information to where a compressor finds it, and are undone bit for bit: differences of integers
wrap modulo two to the power of their bits, and so does their running sum.

Undoing a difference is the one serial step of reading. ``np.cumsum`` over 1 or 2 byte integers waits for each sum to be
stored before it is loaded again, 2.5 ns a value; of 4 byte sums the processor passes on what it stores, so blocks that
stay in the cache are widened, summed and narrowed, 1.5 ns a value. Sums within 64-bit words of four values, and only
the words one after the other, are no faster in numpy; compiled code is not part of reading.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import numpy.typing as npt

__all__ = ["Delta", "Filter", "Transpose", "parse_filter"]

_BLOCK: Final = 1 << 15
_COMPONENTS: Final = 8
_DELTA: Final = "numcodecs.delta"


@dataclass(frozen=True)
class Delta:
    """Each value less the one before it, in C order over the whole chunk; ``dtype`` is of integers."""

    dtype: np.dtype[Any]

    def __post_init__(self) -> None:
        if self.dtype.kind not in "iu":
            raise ValueError(f"differences of {self.dtype} are not exact")

    def apply(self, values: npt.NDArray[Any]) -> npt.NDArray[Any]:
        """Return the differences of C-contiguous ``values``, of their shape and dtype."""
        flat = _unsigned(values)
        differences = np.empty_like(flat)
        differences[:1] = flat[:1]
        np.subtract(flat[1:], flat[:-1], out=differences[1:])
        return differences.view(values.dtype).reshape(values.shape)

    def undo(self, values: npt.NDArray[Any]) -> npt.NDArray[Any]:
        """Return C-contiguous ``values`` after putting their running sums in their place."""
        flat = _unsigned(values)
        if flat.itemsize >= 4:
            np.cumsum(flat, out=flat)
        else:
            _narrow_running_sum(flat)
        return values

    def encoded_shape(self, shape: tuple[int, ...]) -> tuple[int, ...]:
        """Return the shape of the differences of ``shape``: the same."""
        return shape

    def to_json(self) -> dict[str, Any]:
        """Return zarr v3 metadata."""
        return {"name": _DELTA, "configuration": {"dtype": self.dtype.str, "astype": self.dtype.str}}


@dataclass(frozen=True)
class Transpose:
    """Axis ``i`` of what is stored is axis ``order[i]`` of the chunk."""

    order: tuple[int, ...]

    def __post_init__(self) -> None:
        if sorted(self.order) != list(range(len(self.order))):
            raise ValueError(f"{self.order} is no order of {len(self.order)} axes")

    def apply(self, values: npt.NDArray[Any]) -> npt.NDArray[Any]:
        """Return ``values`` with its axes in the stored order, C-contiguous; it may lack leading axes of length 1."""
        whole = values.reshape((1,) * (len(self.order) - values.ndim) + values.shape)
        return np.ascontiguousarray(whole.transpose(self.order))

    def undo(self, values: npt.NDArray[Any]) -> npt.NDArray[Any]:
        """Return ``values`` with the axes of the chunk, C-contiguous."""
        view = values.transpose(np.argsort(self.order))
        if view.shape[-1] > _COMPONENTS:
            return np.ascontiguousarray(view)
        # numpy's inner loop is the last axis: over 3 components it takes four times as long as plane by plane.
        chunk = np.empty(view.shape, view.dtype)
        for component in range(view.shape[-1]):
            chunk[..., component] = view[..., component]
        return chunk

    def encoded_shape(self, shape: tuple[int, ...]) -> tuple[int, ...]:
        """Return the shape of what is stored of a chunk of ``shape``; ValueError when it has other axes."""
        if len(shape) != len(self.order):
            raise ValueError(f"{len(shape)} axes where the order {self.order} has {len(self.order)}")
        return tuple(shape[axis] for axis in self.order)

    def to_json(self) -> dict[str, Any]:
        """Return zarr v3 metadata."""
        return {"name": "transpose", "configuration": {"order": list(self.order)}}


Filter = Delta | Transpose


def parse_filter(step: Mapping[str, Any], dtype: np.dtype[Any]) -> Filter | None:
    """Return an array-to-array codec of the metadata of an array of ``dtype``, None for one that is not known here."""
    options = step.get("configuration", {})
    if step["name"] == "transpose" and isinstance(options["order"], list):
        return Transpose(tuple(options["order"]))
    if step["name"] == _DELTA and dtype.kind in "iu":
        stored = np.dtype(options.get("astype") or options["dtype"])
        return Delta(dtype) if dtype == np.dtype(options["dtype"]) == stored else None
    return None


def _unsigned(values: npt.NDArray[Any]) -> npt.NDArray[Any]:
    """Return C-contiguous integers as one row of unsigned ones: a view."""
    return values.reshape(-1).view(f"<u{values.itemsize}")


def _narrow_running_sum(flat: npt.NDArray[Any]) -> None:
    wide = np.empty(min(_BLOCK, flat.size), np.uint32)
    before = 0
    for start in range(0, flat.size, _BLOCK):
        part = flat[start : start + _BLOCK]
        sums = wide[: part.size]
        sums[:] = part
        sums[0] += before
        np.cumsum(sums, out=sums)
        part[:] = sums  # the low bits: the sum modulo 2**8 or 2**16
        before = int(part[-1])
