"""YAML 1.2 as plain values, with the line and column of each: what a user writes.

Scalars follow the core schema (YAML 1.2.2, 10.3.2), so ``off`` and ``no`` are words and ``1e3`` is a number, with one
exception: digits after a zero (``000010``, a scene's name) stay text, which a field that wants a number reads all the
same. A key that is there twice is an error, as are tags, other versions and several documents. ruamel.yaml parses; its
own constructors still read dates and ``1_000``. A manifest of 60 lines takes 5 ms.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from types import MappingProxyType
from typing import Any, Final, NamedTuple, TypeAlias

from ruamel.yaml import YAML
from ruamel.yaml.error import MarkedYAMLError, YAMLError
from ruamel.yaml.nodes import MappingNode, Node, ScalarNode, SequenceNode

from depthforge.errors import ManifestError

__all__ = ["FILL_IN", "Path", "Place", "YamlFile", "parse_yaml"]

Path: TypeAlias = tuple[str | int, ...]
"""Keys and positions from the top of a file to a value."""

_CORE: Final[tuple[tuple[re.Pattern[str], Callable[[str], Any]], ...]] = (
    (re.compile(r"null|Null|NULL|~|"), lambda text: None),
    (re.compile(r"true|True|TRUE"), lambda text: True),
    (re.compile(r"false|False|FALSE"), lambda text: False),
    (re.compile(r"[-+]?(0|[1-9][0-9]*)"), int),
    (re.compile(r"0o[0-7]+"), lambda text: int(text[2:], 8)),
    (re.compile(r"0x[0-9a-fA-F]+"), lambda text: int(text[2:], 16)),
    (re.compile(r"[-+]?(\.[0-9]+|(0|[1-9][0-9]*)(\.[0-9]*)?)([eE][-+]?[0-9]+)?"), float),
    (re.compile(r"[-+]?\.(inf|Inf|INF)"), lambda text: float(text.replace(".", ""))),
    (re.compile(r"\.(nan|NaN|NAN)"), lambda text: float("nan")),
)
_TAG: Final = "tag:yaml.org,2002:"
_TAGS: Final = frozenset(
    _TAG + name for name in ("str", "null", "bool", "int", "float", "timestamp", "seq", "map", "merge")
)
_MOST_VALUES: Final = 100_000
_VERSION: Final = re.compile(r"^%YAML\s+1\.2\s*$")

FILL_IN: Final = "FILL_IN"
"""What `init` writes where a person has to: it is no number and no block, so that such a manifest is refused."""


class Place(NamedTuple):
    """Where something stands in a file, counted from 1."""

    line: int
    column: int

    def __str__(self) -> str:
        return f"line {self.line}, column {self.column}"


class YamlFile(NamedTuple):
    """What a file says, and where it says it."""

    value: Any
    places: Mapping[Path, Place]

    def place_of(self, path: Path) -> Place | None:
        """Return where ``path`` stands, or where the deepest part of it that is there does; None for an empty path."""
        for length in range(len(path), 0, -1):
            if path[:length] in self.places:
                return self.places[path[:length]]
        return None


def parse_yaml(text: str, *, where: object) -> YamlFile:
    """Return a YAML 1.2 document; an empty one is None.

    Raises ManifestError, naming ``where`` with line and column, for what is no YAML, says a key twice, has a tag or
    a directive of another version, or holds more than 100,000 values (aliases of aliases).
    """
    for number, line in enumerate(text.splitlines(), 1):
        if line.startswith("%YAML") and not _VERSION.match(line):
            raise ManifestError("another version of YAML", where=f"{where}, line {number}", expected="1.2", found=line)
    try:
        node = YAML(typ="safe", pure=True).compose(text)
        places: dict[Path, Place] = {}
        value = _Building(where, places).value_of(node, ()) if node is not None else None
    except ManifestError:
        raise
    except MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        place = f", {Place(mark.line + 1, mark.column + 1)}" if mark is not None else ""
        problem = " ".join(str(part) for part in (error.problem, error.context) if part)
        raise ManifestError("not YAML", where=f"{where}{place}", found=problem) from None
    except (YAMLError, ValueError, RecursionError) as error:
        raise ManifestError("not YAML", where=where, found=error) from None
    return YamlFile(value, MappingProxyType(places))


class _Building:
    """Plain values from nodes, counted."""

    def __init__(self, where: object, places: dict[Path, Place]) -> None:
        self._where = where
        self._places = places
        self._num_values = 0
        self._within: list[Node] = []

    def value_of(self, node: Node, path: Path) -> Any:
        self._num_values += 1
        if self._num_values > _MOST_VALUES:
            raise ManifestError("too many values", where=self._where, expected=f"at most {_MOST_VALUES}")
        if node.tag not in _TAGS:
            raise self._error("a tag", node, found=node.tag)
        self._places.setdefault(path, _place(node))
        if isinstance(node, ScalarNode):
            return self._scalar(node)
        if any(node is each for each in self._within):
            raise self._error("a value that contains itself", node)
        self._within.append(node)
        try:
            if isinstance(node, SequenceNode):
                return [self.value_of(item, (*path, index)) for index, item in enumerate(node.value)]
            assert isinstance(node, MappingNode)
            return dict(self._items(node, path))
        finally:
            self._within.pop()

    def _items(self, node: MappingNode, path: Path) -> Iterator[tuple[Any, Any]]:
        first: dict[Any, Place] = {}
        merged: list[MappingNode] = []
        for key_node, value_node in node.value:
            if isinstance(key_node, ScalarNode) and key_node.value == "<<" and key_node.style is None:
                merged += _merged(value_node)
                continue
            key = self._scalar(key_node) if isinstance(key_node, ScalarNode) else None
            if not isinstance(key, str | int | float | bool):
                raise self._error("a key is a word", key_node)
            if key in first:
                raise self._error(f"the key {key!r} is there twice", key_node, found=f"the first is at {first[key]}")
            first[key] = _place(key_node)
            self._places[(*path, key)] = first[key]  # type: ignore[arg-type]
            yield key, self.value_of(value_node, (*path, key))  # type: ignore[arg-type]
        for other in merged:
            for key, value in self._items(other, path):
                if key not in first:
                    first[key] = _place(other)
                    yield key, value

    def _scalar(self, node: ScalarNode) -> Any:
        if node.style is not None or node.tag == f"{_TAG}str":
            return node.value
        for pattern, convert in _CORE:
            if pattern.fullmatch(node.value):
                return convert(node.value)
        return node.value

    def _error(self, message: str, node: Node, *, found: object = None) -> ManifestError:
        return ManifestError(message, where=f"{self._where}, {_place(node)}", found=found)


def _merged(node: Node) -> list[MappingNode]:
    if isinstance(node, MappingNode):
        return [node]
    if isinstance(node, SequenceNode) and all(isinstance(each, MappingNode) for each in node.value):
        return list(node.value)
    raise MarkedYAMLError(problem="a merge key takes mappings", problem_mark=node.start_mark)


def _place(node: Node) -> Place:
    return Place(node.start_mark.line + 1, node.start_mark.column + 1)
