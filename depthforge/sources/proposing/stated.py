"""What files beside depth state by name, and what the names of a known data set say: units a metre, intrinsics.

A number called ``factor_depth`` or ``depth_scale`` is units per metre, metres per unit or millimetres per unit,
depending on who wrote it: of the three it is the one that makes the depths plausible.
"""

from __future__ import annotations

import io
import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final, NamedTuple

import numpy as np

from depthforge.errors import DepthforgeError
from depthforge.sources.file_tree import Tree
from depthforge.sources.numbers_file import is_json, parse_json
from depthforge.sources.proposing.groups import Group
from depthforge.yaml_files import parse_yaml

__all__ = ["DataSet", "data_set_of", "named_numbers", "stated_unit"]

_UNIT_NAMES: Final = (
    "factor_depth",
    "depth_factor",
    "png_depth_scale",
    "depth_scale",
    "depth_units",
    "depth_unit_scale",
)
_MOST_BYTES: Final = 1 << 20
_MOST_FILES: Final = 12
_CLOSE: Final = 0.001


class DataSet(NamedTuple):
    """A data set told by the names of its files: units a metre, and (fx, fy, cx, cy) of images (height, width)."""

    name: str
    unit: float | None
    camera: tuple[float, float, float, float] | None
    size: tuple[int, int] | None


#: By an expression that the path of a depth image fits. Units and cameras are those that the data sets publish.
_DATA_SETS: Final = (
    (
        re.compile(r"(.*/)?3FO4[0-9A-Z]{8}[_/].*"),
        DataSet("InteriorNet", None, (600.0, 600.0, 320.0, 240.0), (480, 640)),
    ),
    (re.compile(r"(.*/)?\d{6}-depth\.png"), DataSet("YCB-Video", 10000.0, None, None)),
    (re.compile(r"(.*/)?frame-\d{6}\.depth\.png"), DataSet("7-Scenes", 1000.0, None, None)),
)


def data_set_of(path: str) -> DataSet | None:
    """Return the data set that the path of a depth image is of, None where it is no known one."""
    return next((known for expression, known in _DATA_SETS if expression.fullmatch(path)), None)


def stated_unit(tree: Tree, groups: Sequence[Group], plausible: Sequence[float]) -> tuple[float, str] | None:
    """Return the units a metre that a file states by name, one of the plausible ones, and where; None without any."""
    small = [group for group in groups if group.suffix.lower() in (".mat", ".json", ".yaml", ".yml")]
    for group in small[:_MOST_FILES]:
        for named in named_numbers(tree, group.sample(1)[0]):
            for name in _UNIT_NAMES:
                value = named.get(name)
                if isinstance(value, int | float) and not isinstance(value, bool) and value > 0:
                    for reading in (float(value), 1 / value, 1000 / value):
                        for unit in plausible:
                            if abs(reading / unit - 1) < _CLOSE:
                                return unit, f"{group.template} states {name}: {value:g}"
    return None


def named_numbers(tree: Tree, path: str) -> Iterator[Mapping[str, Any]]:
    """Yield the mappings of a .mat, JSON or YAML file, the outer one first; nothing for any other file."""
    try:
        data = tree.read(path)
    except (DepthforgeError, OSError):
        return
    if len(data) > _MOST_BYTES:
        return
    where = tree.describe(path)
    if path.lower().endswith(".mat"):
        whole: Any = _mat(data)
    else:
        try:
            whole = (
                parse_json(data, None, where=where) if is_json(data) else parse_yaml(data.decode(), where=where).value
            )
        except (DepthforgeError, UnicodeDecodeError):
            return
    yield from _mappings(whole, 3)


def _mappings(value: Any, levels: int) -> Iterator[Mapping[str, Any]]:
    if isinstance(value, dict) and levels:
        yield {re.sub(r"^_", "", str(key)): each for key, each in value.items()}
        for each in value.values():
            yield from _mappings(each, levels - 1)


def _mat(data: bytes) -> dict[str, Any]:
    """Return the arrays of numbers of a MATLAB file, those of one number as that; nothing where it is damaged."""
    from scipy.io import loadmat

    try:
        arrays = {name: np.asarray(each) for name, each in loadmat(io.BytesIO(data)).items() if name[0] != "_"}
    except Exception:  # loadmat lets almost anything through for damaged files; such a file states nothing
        return {}
    numbers = {name: each for name, each in arrays.items() if each.dtype.kind in "iuf"}
    return {name: each.item() if each.size == 1 else each.tolist() for name, each in numbers.items()}
