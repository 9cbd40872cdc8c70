"""docs/architecture.md says what is there: every room, every arrow, every file that it sends a newcomer to."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest


def rooms_of(package: Path) -> set[str]:
    """The modules and packages at the top of the package."""
    names = {path.stem for path in package.glob("*.py")} | {path.parent.name for path in package.glob("*/__init__.py")}
    return names - {"__init__", "__main__"}


def arrows_of(package: Path) -> dict[str, set[str]]:
    """Which room imports which, from the code itself."""
    arrows: dict[str, set[str]] = {name: set() for name in rooms_of(package)}
    for path in package.rglob("*.py"):
        room = path.relative_to(package).parts[0].removesuffix(".py")
        if room not in arrows:
            continue
        for node in ast.walk(ast.parse(path.read_text())):
            modules: list[str] = []
            if isinstance(node, ast.ImportFrom) and node.module is not None and node.level == 0:
                below = [f"{node.module}.{alias.name}" for alias in node.names]
                modules = below if node.module == package.name else [node.module]
            elif isinstance(node, ast.Import):
                modules = [alias.name for alias in node.names]
            for module in modules:
                parts = module.split(".")
                if parts[0] == package.name and len(parts) > 1 and parts[1] in arrows and parts[1] != room:
                    arrows[room].add(parts[1])
    return arrows


@pytest.fixture
def page(repository: Path) -> str:
    return (repository / "docs" / "architecture.md").read_text()


def rows_of(page: str) -> dict[str, tuple[int, set[str]]]:
    rows = re.findall(r"^\| (\d) \| `(\w+)` \| [^|]+ \| ([^|]+) \|$", page, flags=re.MULTILINE)
    return {room: (int(floor), set(uses.split(", ")) - {"-"}) for floor, room, uses in rows}


def test_every_room_and_every_arrow_is_on_the_page(repository: Path, page: str) -> None:
    arrows = arrows_of(repository / "depthforge")
    rows = rows_of(page)
    assert rows.keys() == arrows.keys()
    for room, uses in arrows.items():
        assert rows[room][1] == uses, f"the row of `{room}` should say: {', '.join(sorted(uses)) or '-'}"


def test_no_arrow_runs_up(page: str) -> None:
    rows = rows_of(page)
    for room, (floor, uses) in rows.items():
        for used in uses:
            assert rows[used][0] <= floor, f"{room} uses {used}"


def test_every_file_that_the_page_names_is_there(repository: Path, page: str) -> None:
    paths = re.findall(r"`((?:depthforge|tests|docs|benchmarks|pipelines|docker|manifests)/[\w./-]*)`", page)
    assert len(paths) > 50
    missing = [path for path in paths if not (repository / path).exists()]
    assert not missing
