"""Fields as columns of Parquet that Hugging Face's `datasets` reads: images as files, arrays as nested lists.

Depth and ids go as 16-bit PNG inside an ``Image`` column, whose bytes `datasets` hands on as they are: it is arrays put
into such a column that become 8 bits. What PNG cannot hold is an array column of its own type. The feature of each
column stands in the Parquet schema, where `datasets` looks for it.
Source: huggingface/datasets, `features/image.py` and `features/features.py`; Parquet metadata ``huggingface``.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from depthforge.export.base import ExportFrame, Format
from depthforge.export.images import fits_png, png
from depthforge.labels.spec import LabelSpec

__all__ = [
    "IMAGE_TYPE",
    "Column",
    "array_column",
    "as_arrow",
    "columns_of",
    "feature_metadata",
    "field_values",
    "nested",
]

IMAGE_TYPE = pa.struct([("bytes", pa.binary()), ("path", pa.string())])
_IMAGE = {"_type": "Image"}


class Column(NamedTuple):
    """A column: its name, its Arrow type, and its feature as `datasets` writes it."""

    name: str
    type: pa.DataType
    feature: dict[str, Any]


def columns_of(form: Format) -> list[Column]:
    """Return the columns of every field that goes out in ``form``."""
    columns = []
    for name in form.depths:
        if form.depth == "uint16":
            columns.append(Column(name, IMAGE_TYPE, _IMAGE))
        else:
            shape = (form.reader.schema.height, form.reader.schema.width)
            columns.append(array_column(name, shape, "float32"))
    for spec in form.labels:
        columns.append(_label_column(form, spec))
    return columns


def _label_column(form: Format, spec: LabelSpec) -> Column:
    if spec.name == "rgb" or fits_png(spec):
        return Column(spec.name, IMAGE_TYPE, _IMAGE)
    shape: tuple[int | None, ...] = spec.shape(form.reader.schema.height, form.reader.schema.width)
    return array_column(spec.name, (None, *shape[1:]) if spec.layout == "ragged" else shape, spec.dtype)


def array_column(name: str, shape: Sequence[int | None], dtype: str) -> Column:
    """Return the column of arrays of ``shape``, whose first length may be None: it varies."""
    kind: pa.DataType = pa.from_numpy_dtype(np.dtype(dtype))
    for _ in shape:
        kind = pa.list_(kind)
    if len(shape) > 1:
        return Column(name, kind, {"shape": list(shape), "dtype": dtype, "_type": f"Array{len(shape)}D"})
    value = {"dtype": dtype, "_type": "Value"}
    return Column(name, kind, {"feature": value, "_type": "List"} if shape else value)


def field_values(form: Format, frame: ExportFrame) -> dict[str, Any]:
    """Return what a frame has for the columns of :func:`columns_of`: a file's bytes, an array, or None."""
    values: dict[str, Any] = {}
    for name in form.depths:
        is_image = form.depth == "uint16"
        values[name] = png(frame.depth_steps(name, form.step_m)) if is_image else frame.depth_float(name, form.invalid)
    for spec in form.labels:
        file = frame.jpeg() if spec.name == "rgb" else None
        array = None if file is not None else frame.label(spec.name)
        if array is not None and (spec.name == "rgb" or fits_png(spec)):
            file = png(array)
        values[spec.name] = array if file is None else file
    return values


def as_arrow(column: Column, values: Sequence[Any]) -> pa.Array:
    """Return the values of some rows as one Arrow array of the column's type."""
    if column.type == IMAGE_TYPE:
        files = pa.array(values, pa.binary())
        paths = pa.nulls(len(values), pa.string())
        mask = pa.array([value is None for value in values])
        return pa.StructArray.from_arrays([files, paths], fields=list(IMAGE_TYPE), mask=mask)
    if not pa.types.is_list(column.type):
        return pa.array([value.item() if isinstance(value, np.ndarray) else value for value in values], column.type)
    return nested(values, column.type)


def nested(arrays: Sequence[npt.NDArray[Any] | None], kind: pa.DataType) -> pa.Array:
    """Return arrays, or None, as nested lists: built from their numbers, not one by one."""
    present = [array for array in arrays if array is not None]
    if not present:
        return pa.nulls(len(arrays), kind)
    depth = present[0].ndim
    flat = np.concatenate([array.ravel() for array in present])
    level: pa.Array = pa.array(flat)
    for axis in range(depth - 1, 0, -1):
        lengths = np.concatenate(
            [np.full(int(np.prod(array.shape[:axis])), array.shape[axis], np.int32) for array in present]
        )
        level = pa.ListArray.from_arrays(pa.array(np.concatenate([[0], np.cumsum(lengths)]).astype(np.int32)), level)
    rows = [0 if array is None else len(array) for array in arrays]
    offsets = pa.array(np.concatenate([[0], np.cumsum(rows)]).astype(np.int32))
    mask = pa.array([array is None for array in arrays])
    return pa.ListArray.from_arrays(offsets, level, mask=mask).cast(kind)


def feature_metadata(columns: Sequence[Column], more: Mapping[str, Any]) -> dict[bytes, bytes]:
    """Return the metadata of a Parquet file with these columns; ``more`` stands beside it, under ``depthforge``."""
    features = {column.name: column.feature for column in columns}
    huggingface = json.dumps({"info": {"features": features}}).encode()
    return {b"huggingface": huggingface, b"depthforge": json.dumps(dict(more), sort_keys=True).encode()}
