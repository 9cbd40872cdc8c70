"""NumPy files from many threads: Python's parser of headers is not made for that, and nothing of it shows."""

from __future__ import annotations

import io
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest

from depthforge.sources.npy import load_npy, read_npy_header


def npy(array: np.ndarray) -> bytes:
    stream = io.BytesIO()
    np.save(stream, array)
    return stream.getvalue()


def test_many_threads_read_what_was_written() -> None:
    arrays = [np.full((k + 1, 2), k, np.float32) for k in range(40)]
    stored = [npy(array) for array in arrays]
    with ThreadPoolExecutor(8) as pool:
        for _ in range(5):
            for array, read in zip(arrays, pool.map(lambda data: load_npy(io.BytesIO(data)), stored), strict=True):
                np.testing.assert_array_equal(read, array)
            headers = list(pool.map(lambda data: read_npy_header(io.BytesIO(data)), stored))
    assert headers == [((k + 1, 2), False, np.dtype(np.float32)) for k in range(40)]


def test_what_is_no_array_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="magic"):
        read_npy_header(io.BytesIO(b"not a file of NumPy"))
    path = tmp_path / "objects.npy"
    np.save(path, np.array([{}], dtype=object), allow_pickle=True)
    with pytest.raises(ValueError, match="pickle"):
        load_npy(path)


@pytest.mark.parametrize(
    "damage",
    [
        lambda data: data[:25] + b"(" + data[25:],
        lambda data: data.replace(b"(2, 3)", b"{2: 3}"),
        lambda data: data.replace(b"'shape'", b"'shapf'"),
        lambda data: data.replace(b"(2, 3), ", b"(2,10**14),")[:128] + data[128:],
        lambda data: b"PK\x03\x04" + data,
        lambda data: b"",
    ],
)
def test_a_damaged_header_is_a_value_error(damage: Callable[[bytes], bytes]) -> None:
    """NumPy itself lets out errors of the tokenizer and of zip archives."""
    with pytest.raises((ValueError, EOFError)):
        load_npy(io.BytesIO(damage(npy(np.zeros((2, 3))))))
