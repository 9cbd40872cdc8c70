"""Arrays of an export as files of NumPy, the same bytes for the same values."""

from __future__ import annotations

import io
import math
import zipfile
from collections.abc import Mapping
from typing import Any, Final

import numpy as np
import numpy.typing as npt

__all__ = ["npy", "npz", "plain"]

# Deflate's fastest level: a fifth of the time of NumPy's own, for 5 to 10 % more bytes.
_LEVEL: Final = 1


def npy(array: npt.NDArray[Any]) -> bytes:
    """Return the ``.npy`` file of an array."""
    content = io.BytesIO()
    np.lib.format.write_array(content, np.ascontiguousarray(array), allow_pickle=False)
    return content.getvalue()


def npz(arrays: Mapping[str, npt.NDArray[Any]]) -> bytes:
    """Return the compressed ``.npz`` file of some arrays; it holds no time of day."""
    content = io.BytesIO()
    with zipfile.ZipFile(content, "w") as archive:
        for name, array in arrays.items():
            member = zipfile.ZipInfo(f"{name}.npy")
            archive.writestr(member, npy(array), zipfile.ZIP_DEFLATED, _LEVEL)
    return content.getvalue()


def plain(array: npt.NDArray[Any]) -> Any:
    """Return an array as lists for JSON, which holds every float64 to the last bit; None for what is no number."""
    value = array.tolist()
    return _without_nan(value)


def _without_nan(value: Any) -> Any:
    if isinstance(value, list):
        return [_without_nan(item) for item in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value
