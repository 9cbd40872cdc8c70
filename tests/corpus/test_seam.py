"""Nothing but the storage opens a file of a corpus: held by reading the code, for no run takes every path."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

import depthforge

PACKAGE = Path(depthforge.__file__).parent
# What of a path touches a file; of these names, Storage has none.
ON_PATHS = {
    "chmod", "glob", "hardlink_to", "is_dir", "is_file", "iterdir", "lstat", "mkdir", "read_bytes",
    "read_text", "rename", "rglob", "rmdir", "rmtree", "samefile", "stat", "symlink_to", "touch", "truncate", "unlink",
    "walk", "write_bytes", "write_text",
}  # fmt: skip
OF_OS = {"environ", "getpid", "cpu_count", "sched_getaffinity"}
MODULES = {"shutil", "tempfile", "glob", "mmap", "fcntl"}
# Files that are of no corpus, and what reads or writes them: a picture and a frame's files that a user asked for, the
# plan that a run makes before there is a corpus.
NOT_OF_A_CORPUS = {
    ("picture.py", "write_atomically"),
    ("store.py", "plan_file.read_bytes"),
    ("extract.py", "write_atomically"),
    ("extract.py", "folder.mkdir"),
    ("extract.py", "folder / 'frame.json'"),
    ("extract.py", "folder.iterdir"),
    ("extract.py", "folder.is_dir"),
    ("where.py", "ast.walk"),  # of a condition that was parsed
}


def touches(path: Path) -> Iterator[str]:
    """Yield what in a module touches files by itself."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names if alias.name in MODULES)
        elif isinstance(node, ast.ImportFrom):
            if node.module in MODULES:
                yield str(node.module)
            if node.module == "depthforge.durable":
                yield from (alias.name for alias in node.names if alias.name != "storage_errors")
        elif isinstance(node, ast.Name) and node.id == "open":
            yield "open"
        elif isinstance(node, ast.Attribute):
            text = ast.unparse(node)
            if node.attr in ON_PATHS or (text.startswith("os.") and node.attr not in OF_OS):
                yield text
        elif isinstance(node, ast.BinOp) and isinstance(node.op, ast.Div):
            names = [side for side in ast.walk(node) if isinstance(side, ast.Constant) and isinstance(side.value, str)]
            if names:
                yield ast.unparse(node)


@pytest.mark.parametrize("path", sorted((PACKAGE / "corpus").glob("*.py")), ids=lambda path: path.name)
def test_a_module_of_the_corpus_reads_and_writes_through_the_storage(path: Path) -> None:
    assert {(path.name, what) for what in touches(path)} <= NOT_OF_A_CORPUS


def test_the_scan_finds_what_it_is_for(tmp_path: Path) -> None:
    (tmp_path / "bad.py").write_text(
        "import os, shutil\nfrom depthforge.durable import write_atomically\n"
        "open(x)\nos.replace(a, b)\npath.read_text()\nroot / 'shards'\nos.getpid()\nstorage.read(x)\n"
    )
    assert sorted(touches(tmp_path / "bad.py")) == [
        "open", "os.replace", "path.read_text", "root / 'shards'", "shutil", "write_atomically",
    ]  # fmt: skip


def test_outside_of_the_corpus_nobody_knows_where_its_files_lie() -> None:
    wrong = []
    for path in sorted(PACKAGE.rglob("*.py")):
        package = path.relative_to(PACKAGE).parts[0]
        if package in ("corpus", "storage"):
            continue
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.ImportFrom) and node.module == "depthforge.corpus.layout":
                names = {alias.name for alias in node.names}
                wrong += [f"{path.name}: {name}" for name in sorted(names & {"Layout", "CORPUS_FILE"})]
            if isinstance(node, ast.Constant) and node.value in ("corpus.json", "SHA256SUMS", "plan/frames.parquet"):
                wrong.append(f"{path.name}: {node.value}")
    assert wrong == []
