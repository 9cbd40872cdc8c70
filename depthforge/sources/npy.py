"""NumPy files, read by one thread at a time as far as their headers go.

NumPy parses a header with Python's own parser, whose depth count is shared by all threads of the interpreter: two that
parse at once can end in ``SystemError: AST constructor recursion depth mismatch`` (CPython 3.11, issue 106905).
"""

from __future__ import annotations

import io
import math
import threading
import tokenize
import zipfile
from pathlib import Path
from typing import IO, Any, Literal

import numpy as np
import numpy.typing as npt

__all__ = ["load_npy", "npy_of_bytes", "read_npy_header"]

_ONE_PARSES = threading.Lock()
# Besides its own errors NumPy lets through those of Python's tokenizer and parser, of zip archives, and of a shape that
# a damaged header makes too large.
_DAMAGED = (tokenize.TokenError, SyntaxError, TypeError, KeyError, RecursionError, MemoryError, zipfile.BadZipFile)


def load_npy(file: Path | IO[bytes], mmap_mode: Literal["r"] | None = None) -> npt.NDArray[Any]:
    """Return the array of a .npy file; raise ValueError, EOFError or OSError for what is none, or damaged."""
    try:
        with _ONE_PARSES:
            array = np.load(file, mmap_mode=mmap_mode, allow_pickle=False)
    except _DAMAGED as error:
        raise ValueError(f"{type(error).__name__}: {error}") from None
    if not isinstance(array, np.ndarray):
        raise ValueError("an archive of arrays (.npz), not an array")
    return array


def npy_of_bytes(data: bytes) -> npt.NDArray[Any]:
    """Return the array of a .npy file that is ``data``, read-only and without a copy; raise ValueError for any other.

    The header may promise no more than there is, so that a damaged one asks for no memory.
    """
    stream = io.BytesIO(data)
    try:
        shape, by_column, dtype = read_npy_header(stream)
    # NumPy evaluates a header as Python: a damaged one ends in whatever its tokenizer or parser raises.
    except Exception as error:
        raise ValueError(f"a damaged header: {error}") from None
    if dtype.hasobject:
        raise ValueError("Python objects, which are not read: they can run code")
    start, count = stream.tell(), math.prod(shape)
    if min(shape, default=0) < 0 or count * dtype.itemsize != len(data) - start:
        raise ValueError(f"{len(data) - start} bytes of data where {shape} of {dtype} needs {count * dtype.itemsize}")
    if count == 0 or dtype.itemsize == 0:
        raise ValueError(f"an array without a value: {shape} of {dtype}")
    return np.frombuffer(data, dtype, count, start).reshape(shape, order="F" if by_column else "C")


def read_npy_header(stream: IO[bytes]) -> tuple[tuple[int, ...], bool, np.dtype[Any]]:
    """Return shape, whether it is stored column by column, and dtype; raise ValueError for what is no .npy file."""
    version = np.lib.format.read_magic(stream)
    read = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
    with _ONE_PARSES:
        header: tuple[tuple[int, ...], bool, np.dtype[Any]] = read(stream)
    return header
