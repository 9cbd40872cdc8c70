"""docs/performance.md, from the results files alone: no benchmark is run or imported for it.

What a benchmark compares is the first paragraph of its docstring, read from its source.
"""

from __future__ import annotations

import ast
import math
from collections.abc import Iterable, Mapping
from pathlib import Path

from benchmarks.results import Figure, Results, Run, load

__all__ = ["number", "performance_page", "performance_reference"]

HERE = Path(__file__).resolve().parent
HEAD = """# Performance

Written by `docs/generate.py` from `benchmarks/results`, which the benchmarks write: `python -m benchmarks.NAME --save`.

Machines differ and drift: of two figures of one row, measured in turn in one run, the ratio can be compared with
others; seconds of two rows cannot. *Times as good*: as fast, as small, as near; above 1 ours is better. Where ours
should equal the peer's it is ours over theirs, 1 at best. A peer without a figure is what ours is a difference from.
*Asked* is the bar that was set before anything was measured.
"""
COLUMNS = ("figure", "ours", "peer", "peer's", "times as good", "asked", "of")


def performance_reference() -> str:
    """Return docs/performance.md of this checkout."""
    docstrings = {path.stem: path.read_text() for path in sorted(HERE.glob("bench_*.py"))}
    return performance_page({name: _first_paragraph(source) for name, source in docstrings.items()}, load())


def performance_page(benchmarks: Mapping[str, str], results: Mapping[str, Results]) -> str:
    """Return the page of benchmarks, given by what each compares; ValueError for results of one that is not there."""
    unknown = sorted(set(results) - set(benchmarks))
    if unknown:
        raise ValueError(f"results of no benchmark: {', '.join(unknown)}; delete their files")
    parts = [HEAD]
    for name, compares in benchmarks.items():
        if name in results:
            parts += [f"## {name}", "", compares, ""]
            for group in _by_circumstance(results[name].parts.values()):
                parts += [*_circumstance(group[0]), "", *_table(group), ""]
    missing = [name for name in benchmarks if name not in results]
    if missing:
        parts += ["## Not run on this version", ""]
        parts += [f"- {benchmarks[name]} Run `python -m benchmarks.{name} --save`." for name in missing]
        parts += [""]
    return "\n".join(parts)


def _first_paragraph(source: str) -> str:
    docstring = ast.get_docstring(ast.parse(source)) or ""
    return " ".join(docstring.split("\n\n")[0].split())


def _by_circumstance(runs: Iterable[Run]) -> list[list[Run]]:
    """Return the runs that share a command, a machine, a day and a note together, in their order."""
    groups: dict[tuple[object, ...], list[Run]] = {}
    for run in runs:
        key = (run.command, run.machine, run.date, tuple(run.packages.items()), run.note)
        groups.setdefault(key, []).append(run)
    return list(groups.values())


def _circumstance(run: Run) -> list[str]:
    packages = ", ".join(f"{name} {version}" for name, version in run.packages.items())
    lines = [f"`{run.command}` on {run.date.isoformat()}, {run.machine}; {packages}."]
    return [*lines, *(["", f"**Note:** {run.note}."] if run.note else [])]


def _table(runs: Iterable[Run]) -> list[str]:
    rows = [_cells(figure) for run in runs for figure in run.figures]
    head = ["| " + " | ".join(COLUMNS) + " |", "|---" * len(COLUMNS) + "|"]
    return [*head, *("| " + " | ".join(cell.replace("|", "\\|") for cell in row) + " |" for row in rows)]


def _cells(figure: Figure) -> list[str]:
    ratio = figure.times
    return [
        figure.name,
        f"{number(figure.value)} {figure.unit}".rstrip(),
        figure.peer or "",
        "" if figure.peer_value is None else number(figure.peer_value),
        "" if ratio is None else number(ratio),
        _asked(figure),
        figure.data,
    ]


def _asked(figure: Figure) -> str:
    if figure.bar is None:
        return ""
    if figure.bar_of == "ratio":
        asked = f"at least {number(figure.bar)} times"
    else:
        side = "at most" if figure.better == "lower" else "at least"
        asked = f"{side} {number(figure.bar)} {figure.unit}".rstrip()
    return f"{asked}: {'met' if figure.meets_bar else '**missed**'}"


def number(value: float) -> str:
    """Return a number with three digits that count, in full from 1000 on, as a power of ten below a thousandth."""
    if value == 0:
        return "0"
    if abs(value) < 1e-3:
        return f"{value:.1e}"
    decimals = max(0, 2 - math.floor(math.log10(abs(value))))
    text = f"{value:,.{decimals}f}"
    return text.rstrip("0").rstrip(".") if "." in text else text
