"""Which frames of a corpus: an expression over the columns of its index, parsed and never run as code.

Python's grammar is read into a tree of which only comparisons, ``and``, ``or``, ``not``, ``in``, names, numbers,
strings and ``like(column, "pattern*")`` are known; anything else is refused by name. Columns are those of the index
(hole fractions, depth range, noise, ``has_<label>``, split) with ``dataset``, ``scene`` and ``frame`` from the key.
A figure that a frame does not have is neither more nor less than any number.
"""

from __future__ import annotations

import ast
import fnmatch
import operator
from collections.abc import Callable, Mapping
from typing import Any, Final

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from depthforge.corpus.frame_index import FrameIndex
from depthforge.corpus.index import index_columns
from depthforge.corpus.schema import CorpusSchema
from depthforge.errors import InputError, UnknownNameError

__all__ = ["Where"]

Mask = npt.NDArray[np.bool_]
_PARTS_OF_KEY: Final = {"dataset": 0, "scene": 1, "frame": 2}
_LONGEST: Final = 2000
_COMPARISONS: Final[Mapping[type[ast.cmpop], Callable[[Any, Any], Any]]] = {
    ast.Eq: operator.eq,
    ast.NotEq: operator.ne,
    ast.Lt: operator.lt,
    ast.LtE: operator.le,
    ast.Gt: operator.gt,
    ast.GtE: operator.ge,
}


class Where:
    """A parsed condition; ``columns`` of the index are what it reads. InputError where ``text`` is none.

    ``schema`` says which columns there are; UnknownNameError for another one.
    """

    def __init__(self, text: str, schema: CorpusSchema) -> None:
        self.text = text
        known = [name for name in index_columns(schema).names if not name.startswith("hash_")]
        self._known = {*known, *_PARTS_OF_KEY} - {"shard", "row"}
        try:
            if len(text) > _LONGEST:
                raise ValueError(f"{len(text)} characters")
            self._tree = ast.parse(text.strip(), mode="eval").body
        except (SyntaxError, ValueError, RecursionError, MemoryError) as error:
            raise self._refused(error) from None
        names = {node.id for node in ast.walk(self._tree) if isinstance(node, ast.Name)} - {"like"}
        for name in sorted(names - self._known):
            raise UnknownNameError("column", name, self._known, where="--where")
        self.columns = frozenset("key" if name in _PARTS_OF_KEY else name for name in names)
        self._evaluate(self._tree, {name: np.empty(0, object) for name in names}, 0)

    def mask(self, index: FrameIndex) -> Mask:
        """Return for every frame of ``index`` whether it is wanted: (N,) bool."""
        table = index.table(sorted(self.columns | {"key"}))
        names = {node.id for node in ast.walk(self._tree) if isinstance(node, ast.Name)} - {"like"}
        values = {name: _column(table, name) for name in names}
        return self._evaluate(self._tree, values, len(table))

    def _evaluate(self, node: ast.expr, values: Mapping[str, npt.NDArray[Any]], count: int) -> Mask:
        if isinstance(node, ast.BoolOp):
            masks = [self._evaluate(each, values, count) for each in node.values]
            joined = np.logical_and.reduce(masks) if isinstance(node.op, ast.And) else np.logical_or.reduce(masks)
            return np.asarray(joined, np.bool_)
        if isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.Not):
            return ~self._evaluate(node.operand, values, count)
        if isinstance(node, ast.Name) and node.id.startswith("has_"):
            return values[node.id].astype(np.bool_)
        if isinstance(node, ast.Call):
            return self._like(node, values)
        if isinstance(node, ast.Compare):
            sides = [node.left, *node.comparators]
            masks = [
                self._compare(left, kind, right, values, count)
                for left, kind, right in zip(sides, node.ops, sides[1:], strict=False)
            ]
            return np.asarray(np.logical_and.reduce(masks), np.bool_)
        raise self._refused(ast.unparse(node))

    def _compare(self, left: ast.expr, kind: ast.cmpop, right: ast.expr, values: Mapping[str, Any], count: int) -> Mask:
        one = self._value(left, values)
        if isinstance(kind, ast.In | ast.NotIn):
            if not isinstance(right, ast.List | ast.Tuple | ast.Set):
                raise self._refused(ast.unparse(right))
            others = [self._value(each, values) for each in right.elts]
            found = np.zeros(count, np.bool_)
            for other in others:
                found |= self._compared(ast.Eq, one, other, count)
            return found if isinstance(kind, ast.In) else ~found
        if type(kind) not in _COMPARISONS:
            raise self._refused("is")
        return self._compared(type(kind), one, self._value(right, values), count)

    def _compared(self, kind: type[ast.cmpop], one: Any, other: Any, count: int) -> Mask:
        try:
            return np.broadcast_to(np.asarray(_COMPARISONS[kind](one, other), np.bool_), count)
        except TypeError:
            raise self._refused("a text against a number") from None

    def _value(self, node: ast.expr, values: Mapping[str, Any]) -> Any:
        if isinstance(node, ast.Name):
            return values[node.id]
        if isinstance(node, ast.Constant) and isinstance(node.value, int | float | str | bool):
            return node.value
        if isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.USub) and isinstance(node.operand, ast.Constant):
            return -self._value(node.operand, values)
        raise self._refused(ast.unparse(node))

    def _like(self, node: ast.Call, values: Mapping[str, Any]) -> Mask:
        is_like = isinstance(node.func, ast.Name) and node.func.id == "like" and not node.keywords
        if not is_like or len(node.args) != 2 or not isinstance(node.args[0], ast.Name):
            raise self._refused(ast.unparse(node))
        column, pattern = self._value(node.args[0], values), self._value(node.args[1], values)
        if not isinstance(pattern, str):
            raise self._refused(ast.unparse(node))
        return np.array([fnmatch.fnmatchcase(str(text), pattern) for text in column], np.bool_)

    def _refused(self, found: object) -> InputError:
        return InputError(
            "this is no condition on frames",
            where=f"--where {self.text[:200]!r}",
            expected="comparisons of columns with numbers or strings, joined by and, or, not: "
            'hole_fraction_noisy < 0.3 and has_rgb and like(scene, "kitchen*")',
            found=found,
        )


def _column(table: pa.Table, name: str) -> npt.NDArray[Any]:
    if name in _PARTS_OF_KEY:
        part = _PARTS_OF_KEY[name]
        return np.array([key.split("/")[part] for key in table["key"].to_pylist()], object)
    column = table[name].combine_chunks()
    if pa.types.is_floating(column.type):
        return np.asarray(column.to_numpy(zero_copy_only=False), np.float64)
    return np.array(column.to_pylist(), object)
