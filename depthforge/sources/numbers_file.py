"""Matrices and rows of numbers in files, whatever the file is: text, .npy, .npz, HDF5 or JSON.

People save a pose or intrinsics with whatever is at hand; the bytes say which, and the shape of the numbers says the
rest. JSON is entered by a path of keys, ``camera.K`` or ``frames.0.pose``.
"""

from __future__ import annotations

import json
import re
from typing import Any

import numpy as np
import numpy.typing as npt

from depthforge.errors import DecodeError, told
from depthforge.sources.containers import Form, read_container, what_it_is

__all__ = ["is_json", "parse_json", "read_numbers", "read_rows", "text_of"]

Numbers = npt.NDArray[np.float64]

_SEPARATORS = re.compile(r"[\s,;\[\]()]+")


def text_of(data: bytes, *, where: str, what: str) -> str:
    """Return a file as text; raise DecodeError naming ``what`` was expected when it is none."""
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError:
        raise DecodeError(f"not {what}", where=where, expected="a text file", found=what_it_is(data)) from None
    if "\0" in text:
        raise DecodeError(f"not {what}", where=where, expected="a text file", found="a file with zero bytes")
    return text


def is_json(data: bytes) -> bool:
    """Return whether a file is JSON, or means to be: in brackets may also be what NumPy prints, without commas."""
    start = data[:64].lstrip(b"\xef\xbb\xbf \t\r\n")[:1]
    if start != b"[":
        return start == b"{"
    try:
        json.loads(data)
    except (ValueError, RecursionError):
        return False
    return True


def parse_json(data: bytes, key: str | None, *, where: str) -> Any:
    """Return what is at the path ``key`` (names and numbers, joined by dots) of a JSON file. Raises DecodeError."""
    try:
        value = json.loads(text_of(data, where=where, what="JSON"))
    except (ValueError, RecursionError) as error:
        raise DecodeError("not JSON", where=where, found=error) from None
    for step in (key or "").split(".") if key else ():
        try:
            value = value[int(step)] if isinstance(value, list) else value[step]
        except (KeyError, IndexError, ValueError, TypeError):
            known = told(value) if isinstance(value, dict) else type(value).__name__
            raise DecodeError(
                "JSON without that key", where=where, expected=f"key {key!r}", found=f"{known} at {step!r}"
            ) from None
    return value


def read_numbers(data: bytes, key: str | None, *, where: str, what: str) -> Numbers:
    """Return the array of float64 in a file, in its own shape; of text, the numbers of all lines in one row.

    Text is numbers between white space, commas or brackets; lines that begin with ``#`` say nothing. Raises
    DecodeError that names ``what`` was expected.
    """
    stored = read_container(data, Form(key=key), where=where)
    if stored is not None:
        if stored.dtype.kind not in "iuf":
            raise DecodeError(f"not {what}", where=where, expected="numbers", found=stored.dtype)
        return stored.astype(np.float64)
    if is_json(data):
        return _array(parse_json(data, key, where=where), where, what)
    rows = _rows_of_text(data, where, what)
    return np.array([number for row in rows for number in row], dtype=np.float64)


def read_rows(data: bytes, key: str | None, *, where: str, what: str) -> list[Numbers]:
    """Return the rows of a file, arrays of float64: lines of a text, or along the first axis. Raises DecodeError."""
    if read_container(data, Form(key=key), where=where) is not None or is_json(data):
        array = read_numbers(data, key, where=where, what=what)
        return [np.atleast_1d(row) for row in array] if array.ndim else [array.reshape(1)]
    return [np.array(row, dtype=np.float64) for row in _rows_of_text(data, where, what)]


def _rows_of_text(data: bytes, where: str, what: str) -> list[list[float]]:
    rows = []
    for number, line in enumerate(text_of(data, where=where, what=what).splitlines(), 1):
        stripped = line.strip()
        if not stripped or stripped[0] == "#":
            continue
        try:
            rows.append([float(word) for word in _SEPARATORS.split(stripped) if word])
        except ValueError:
            raise DecodeError(
                f"not {what}", where=f"{where}, line {number}", expected="numbers", found=stripped[:120]
            ) from None
    return rows


def _array(value: Any, where: str, what: str) -> Numbers:
    try:
        array = np.array(value, dtype=np.float64)
    except (TypeError, ValueError, OverflowError):
        found = told(value) if isinstance(value, dict) else str(value)[:80]
        raise DecodeError(
            f"not {what}", where=where, expected="lists of numbers", found=found, remedy="name them with `key`"
        ) from None
    return array
