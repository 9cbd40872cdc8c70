"""One HDF5 file of BlenderProc: its arrays, the left ones where it is stereo, and what its script stored beside them.

An array lies under its key; of a stereo pair it is ``(2, H, W, ...)`` under that key, or under the key with ``_0`` and
``_1`` (segmentations ``_L`` and ``_R``) behind it. What a script stores is a numeric array or JSON as bytes; a camera's
state stands under its own key or in the list ``cam_states``. Shapes are looked at before anything is read.
Source: DLR-RM/BlenderProc 2.8, python/writer/WriterUtility.py and renderer/SegMapRendererUtility.py.
"""

from __future__ import annotations

import io
import json
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from depthforge.errors import DecodeError, DepthforgeError

__all__ = ["Container", "open_container"]

_LARGEST: Final = 16384
_LEFT: Final = ("", "_0", "_L")


class Container:
    """An open file; every method raises DecodeError where it is damaged."""

    def __init__(self, file: Any, where: str) -> None:
        self._file = file
        self.where = where

    @property
    def keys(self) -> list[str]:
        """The keys of the file."""
        return sorted(self._file.keys())

    def image(self, name: str, channels: tuple[int, ...] = ()) -> npt.NDArray[Any] | None:
        """Return the image (H, W), or (H, W, C) with C one of ``channels``, under a key, the left one; None without."""
        key = self._key(name)
        if key is None:
            return None
        data = self._file[key]
        shape: tuple[int, ...] = getattr(data, "shape", None) or ()
        num_dims = 3 if channels else 2
        image = shape[-num_dims:]
        is_stereo = len(shape) == num_dims + 1 and shape[0] == 2
        fits = len(image) == num_dims and (is_stereo or len(shape) == num_dims)
        fits = fits and all(1 <= length <= _LARGEST for length in image[:2]) and (not channels or image[2] in channels)
        if not fits or data.dtype.kind not in "uif":
            raise DecodeError(
                f"{key} is not an image",
                where=self.where,
                expected=f"(H, W{', ' if channels else ''}{' or '.join(map(str, channels))}), or two of them",
                found=f"{shape} {getattr(data, 'dtype', 'a group')}",
            )
        return np.asarray(data[0] if is_stereo else data[()])

    def state(self, name: str) -> Any:
        """Return what a script stored under a key, or in its list of the camera's states; None without it."""
        key = self._key(name)
        if key is not None:
            return self._stored(key)
        states = self._stored("cam_states") if "cam_states" in self._file else None
        first = states[0] if isinstance(states, list) and states else states
        return first.get(name) if isinstance(first, dict) else None

    def _key(self, name: str) -> str | None:
        return next((name + suffix for suffix in _LEFT if name + suffix in self._file), None)

    def matrix(self, name: str, rows: int) -> npt.NDArray[np.float64] | None:
        """Return a square matrix that a script stored; None without it."""
        stored = self.state(name)
        if stored is None:
            return None
        try:
            matrix = np.asarray(stored, np.float64)
        except (TypeError, ValueError):
            matrix = np.zeros(0)
        if matrix.size == 2 * rows * rows and matrix.ndim == 3:
            matrix = matrix[0]
        if matrix.size != rows * rows:
            expected = f"{rows} x {rows} numbers"
            raise DecodeError(f"{name} is no matrix", where=self.where, expected=expected, found=str(stored)[:120])
        return matrix.reshape(rows, rows)

    def _stored(self, name: str) -> Any:
        data = self._file[name]
        if not hasattr(data, "dtype") or data.size > 1 << 24:
            raise DecodeError(f"{name} is no value", where=self.where, found=type(data).__name__)
        value = data[()]
        if isinstance(value, np.ndarray) and value.dtype.kind in "SO" and value.size == 1:
            value = value.reshape(()).item()
        if not isinstance(value, (bytes, str)):
            return value
        try:
            return json.loads(value)
        except (ValueError, RecursionError) as error:
            raise DecodeError(f"{name} is not JSON", where=self.where, found=error) from None


@contextmanager
def open_container(data: bytes, where: str) -> Iterator[Container]:
    """Open a file; raise DecodeError, in the block too, for whatever HDF5 finds wrong with it."""
    import h5py

    try:
        with h5py.File(io.BytesIO(data), "r") as file:
            yield Container(file, where)
    except DepthforgeError:
        raise
    except Exception as error:
        # Of damaged files h5py raises OSError, KeyError, RuntimeError, ValueError, TypeError and more.
        raise DecodeError(
            "the HDF5 file is damaged", where=where, found=error, remedy="render that frame again, or copy it again"
        ) from None
