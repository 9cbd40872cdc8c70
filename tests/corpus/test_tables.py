"""Parquet files of a corpus: columns by name, in the caller's order, and no thread of Arrow that outlives the read."""

import ast
import io
import subprocess
import sys
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from depthforge.corpus.tables import open_table, read_row_groups, read_table, row_groups


def _content() -> bytes:
    sink = io.BytesIO()
    table = pa.table({"key": ["a", "b", "c"], "row": [0, 1, 2], "shard": ["x", "x", "y"]})
    pq.write_table(table, sink, row_group_size=2)
    return sink.getvalue()


def test_columns_come_in_the_order_asked_for() -> None:
    assert read_table(_content()).column_names == ["key", "row", "shard"]
    table = read_table(_content(), ["shard", "key"])
    assert table.to_pydict() == {"shard": ["x", "x", "y"], "key": ["a", "b", "c"]}


def test_a_column_that_is_lacking_and_a_file_that_is_none_are_errors() -> None:
    with pytest.raises(KeyError, match="pose"):
        read_table(_content(), ["key", "pose"])
    with pytest.raises(pa.ArrowInvalid, match="not a parquet file"):
        read_table(b"PAR1 and no more than that")


def test_row_groups_hold_their_rows() -> None:
    with open_table(io.BytesIO(_content())) as file:
        assert read_row_groups(file, [1], ["row", "key"]).to_pydict() == {"row": [2], "key": ["c"]}
    assert [group.column("row").to_pylist() for group in row_groups(io.BytesIO(_content()))] == [[0, 1], [2]]


def test_reading_starts_no_thread() -> None:
    """One that outlived the read could abort the interpreter at its end, after all the work was done."""
    program = f"""
import io, os, pyarrow.parquet as pq
from depthforge.corpus.tables import open_table, read_row_groups, read_table, row_groups
content = {_content()!r}
read_table(content), list(row_groups(io.BytesIO(content)))  # what Arrow starts once, whoever asks
before = len(os.listdir("/proc/self/task"))
for _ in range(20):
    read_table(content, ["key"]), list(row_groups(io.BytesIO(content)))
    with open_table(io.BytesIO(content)) as file:
        read_row_groups(file, [0, 1], ["row"])
print(before, len(os.listdir("/proc/self/task")))
pq.read_table(io.BytesIO(content))
print(len(os.listdir("/proc/self/task")) - before)
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    same, started = done.stdout.splitlines()
    assert len(set(same.split())) == 1, done.stdout
    assert int(started) > 0, "Arrow's own reading starts threads: if it does not, this module has no reason"


def test_no_other_module_reads_python_objects_with_the_threads_of_arrow(repository: Path) -> None:
    """``pq.read_table`` is for paths alone; ``ParquetFile`` of an object is read through this module."""
    found: list[str] = []
    for path in sorted((repository / "depthforge").rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text())):
            if not isinstance(node, ast.Call):
                continue
            called = ast.unparse(node.func)
            if called == "pq.read_table":
                found.append(f"{path.name}: {ast.unparse(node.args[0])}")
            elif called == "pq.ParquetFile" or called.endswith(
                (".iter_batches", ".read_row_groups", ".read_row_group")
            ):
                found.append(path.name)
    assert sorted(set(found)) == ["curves.py: path", "tables.py"]
