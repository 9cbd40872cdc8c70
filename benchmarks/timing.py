"""What every benchmark shares: repeats in turn, medians, ratios, a table, JSON, and one line about the machine.

Machines are noisy and drift: contestants run in turn, A B C A B C, and the figure of each is its median; quote ratios
from one run, never seconds from two.
"""

from __future__ import annotations

import json
import os
import platform
import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

__all__ = ["in_turn", "machine", "print_json", "print_table", "shared_folder"]


def in_turn(
    contestants: Mapping[str, Callable[[], Any]], *, repeats: int, warm_up: int = 1, calls: int = 1
) -> dict[str, list[float]]:
    """Run every contestant ``warm_up`` times uncounted, then ``repeats`` times in turn; return the seconds of each.

    A turn is ``calls`` calls in a row, each timed by itself: the first finds the caches of the contestant before.
    """
    seconds: dict[str, list[float]] = {name: [] for name in contestants}
    for round_number in range(warm_up + repeats):
        for name, contestant in contestants.items():
            for _ in range(calls):
                start = time.perf_counter()
                contestant()
                if round_number >= warm_up:
                    seconds[name].append(time.perf_counter() - start)
    return seconds


def median(seconds: Sequence[float]) -> float:
    """Return the median of some seconds."""
    return statistics.median(seconds)


def machine() -> str:
    """Return one line about this machine: processor, cores that may be used, Python."""
    model = platform.processor() or "unknown processor"
    try:
        for line in Path("/proc/cpuinfo").read_text().splitlines():
            if line.startswith("model name"):
                model = line.split(":", 1)[1].strip()
                break
    except OSError:
        pass
    cores = len(os.sched_getaffinity(0))
    return f"{model}, {cores} {'core' if cores == 1 else 'cores'}, Python {platform.python_version()}"


def shared_folder(*parts: str) -> Path | None:
    """Return a folder of real data beside the checkout (or under DEPTHFORGE_SHARED), None where it is absent."""
    root = Path(os.environ.get("DEPTHFORGE_SHARED", Path(__file__).resolve().parents[2] / "shared"))
    path = root.joinpath(*parts)
    return path if path.exists() else None


def print_table(title: str, rows: Sequence[Sequence[object]], header: Sequence[str]) -> None:
    """Print ``rows`` under ``header``, columns aligned."""
    text = [[str(cell) for cell in row] for row in (header, *rows)]
    widths = [max(len(row[i]) for row in text) for i in range(len(header))]
    print(f"\n{title}")
    for index, row in enumerate(text):
        print("  " + "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip())
        if index == 0:
            print("  " + "  ".join("-" * width for width in widths))


def print_json(value: Any) -> None:
    """Print ``value`` as JSON, the machine included."""
    print(json.dumps({"machine": machine(), **value}, indent=2))
