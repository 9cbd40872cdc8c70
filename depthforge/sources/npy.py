"""NumPy files, read by one thread at a time as far as their headers go.

NumPy parses a header with Python's own parser, whose depth count is shared by all threads of the interpreter: two that
parse at once can end in ``SystemError: AST constructor recursion depth mismatch`` (CPython 3.11, issue 106905).
"""

from __future__ import annotations

import threading
import tokenize
import zipfile
from pathlib import Path
from typing import IO, Any, Literal

import numpy as np
import numpy.typing as npt

__all__ = ["load_npy", "read_npy_header"]

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


def read_npy_header(stream: IO[bytes]) -> tuple[tuple[int, ...], bool, np.dtype[Any]]:
    """Return shape, whether it is stored column by column, and dtype; raise ValueError for what is no .npy file."""
    version = np.lib.format.read_magic(stream)
    read = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
    with _ONE_PARSES:
        header: tuple[tuple[int, ...], bool, np.dtype[Any]] = read(stream)
    return header
