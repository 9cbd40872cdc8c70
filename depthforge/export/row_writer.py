"""Parquet files written row group by row group, each of some megabytes: memory is bounded by one of them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final

import pyarrow as pa
import pyarrow.parquet as pq

from depthforge.export.base import Files
from depthforge.export.hf_columns import IMAGE_TYPE, Column, as_arrow

__all__ = ["write_rows"]

_GROUP_BYTES: Final = 16 * 2**20


def write_rows(
    out: Files,
    name: str,
    columns: Sequence[Column],
    metadata: Mapping[bytes, bytes],
    rows: Iterable[Mapping[str, Any]],
) -> None:
    """Write the values of ``rows`` by column name to the file ``name``; files of images are not compressed again."""
    schema = pa.schema([(column.name, column.type) for column in columns], metadata=dict(metadata))
    compression = {}
    for column in columns:
        for path in ("bytes", "path") if column.type == IMAGE_TYPE else (_leaf(column),):
            compression[f"{column.name}.{path}" if path else column.name] = "none" if path == "bytes" else "zstd"
    held: list[Mapping[str, Any]] = []
    size = 0
    with (
        out.stream(name) as file,
        pq.ParquetWriter(file, schema, compression=compression, use_dictionary=False) as writer,
    ):
        for row in rows:
            held.append(row)
            size += sum(_num_bytes(value) for value in row.values())
            if size >= _GROUP_BYTES:
                writer.write_table(_table(schema, columns, held))
                held, size = [], 0
        if held:
            writer.write_table(_table(schema, columns, held))


def _table(schema: pa.Schema, columns: Sequence[Column], rows: Sequence[Mapping[str, Any]]) -> pa.Table:
    arrays = [as_arrow(column, [row[column.name] for row in rows]) for column in columns]
    return pa.Table.from_arrays(arrays, schema=schema)


def _leaf(column: Column) -> str:
    kind, path = column.type, []
    while pa.types.is_list(kind):
        path += ["list", kind.value_field.name]
        kind = kind.value_type
    return ".".join(path)


def _num_bytes(value: Any) -> int:
    return len(value) if isinstance(value, bytes) else int(getattr(value, "nbytes", 8))
