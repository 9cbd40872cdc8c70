"""Reading the Parquet files of a corpus on the thread that asks, whatever they lie in.

Arrow reads with threads of its own where it may, and one of them can still be letting go of the Python object that it
read from when the interpreter ends: the process is then aborted although all its work was done ("terminate called
without an active exception"). The tables of a corpus are small, so nothing is lost by reading them without threads.
"""

from collections.abc import Iterator, Sequence
from io import BytesIO, RawIOBase
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq


def open_table(source: Path | RawIOBase | BytesIO) -> pq.ParquetFile:
    """Open a Parquet file to read its footer or its row groups; raises OSError or pyarrow.ArrowException."""
    return pq.ParquetFile(source, pre_buffer=False)


def read_table(content: bytes, columns: Sequence[str] | None = None) -> pa.Table:
    """Return the table in the bytes of a Parquet file, or some of its columns in the order of their names.

    Raises pyarrow.ArrowException when it is no such file, KeyError when it lacks a column.
    """
    with open_table(BytesIO(content)) as file:
        table = file.read(columns, use_threads=False)
    return table if columns is None else table.select(columns)


def read_row_groups(file: pq.ParquetFile, groups: Sequence[int], columns: Sequence[str]) -> pa.Table:
    """Return some row groups of an open Parquet file, as :func:`read_table` does."""
    return file.read_row_groups(groups, columns, use_threads=False).select(columns)


def row_groups(source: Path | RawIOBase | BytesIO) -> Iterator[pa.Table]:
    """Yield the row groups of a Parquet file, each when it is asked for; raises what :func:`open_table` raises."""
    with open_table(source) as file:
        for group in range(file.num_row_groups):
            yield file.read_row_group(group, use_threads=False)
