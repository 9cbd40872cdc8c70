"""What a benchmark found, kept: typed files in benchmarks/results, from which docs/performance.md is made.

Every benchmark takes ``--save`` beside ``--json``, and says in its function ``figures`` which few of its numbers stand
on the page. A file holds one benchmark; a benchmark whose parts run apart (one sensor, one data set) has a run for each
part, and saving one leaves the others as they are. So what is on the page was measured, when, where and by which
command is beside it, and a table in a README, typed by hand, is not needed.
"""

from __future__ import annotations

import argparse
import datetime
import json
import re
import shlex
import sys
from collections.abc import Mapping, Sequence
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Annotated, Any, Final, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, JsonValue, model_validator

from benchmarks.timing import machine

__all__ = ["RESULTS", "WHOLE", "Figure", "Results", "Run", "add_result_options", "load", "save_run"]

RESULTS: Final = Path(__file__).resolve().parent / "results"
WHOLE: Final = "all"
"""The part of a benchmark that has no parts."""
PACKAGES: Final = ("numpy", "numba", "torch", "zarr", "zarrs", "ray", "open3d-cpu", "tensorstore", "webdataset")
"""Whose versions matter: what computes, what stores, and the peers."""


class _Typed(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", strict=True, allow_inf_nan=False)


class Figure(_Typed):
    """One number of the page: ``value`` in ``unit``, of ``data``.

    Beside it the ``peer_value`` of a ``peer``, in the same unit, or the ``ratio`` to it where that was taken round by
    round; a peer with neither is what ``value`` is a difference from. ``better`` says which way; ``equal`` is for what
    should be as the peer's. ``bar`` is what was asked of the value, or of the ratio (``bar_of``).
    """

    name: str
    value: float
    unit: str
    better: Literal["higher", "lower", "equal"]
    data: str
    peer: str | None = None
    peer_value: float | None = None
    ratio: float | None = None
    bar: float | None = None
    bar_of: Literal["value", "ratio"] = "value"

    @model_validator(mode="after")
    def _agrees(self) -> Self:
        if self.peer is None and (self.peer_value is not None or self.ratio is not None or self.bar_of == "ratio"):
            raise ValueError(f"{self.name}: a peer's value, a ratio and a bar of a ratio need a peer")
        if self.bar is not None and self.better == "equal":
            raise ValueError(f"{self.name}: what should equal the peer's has no bar; give how far apart they are one")
        if self.bar is not None and self.bar_of == "ratio" and self.times is None:
            raise ValueError(f"{self.name}: a bar of a ratio, and no ratio")
        return self

    @property
    def times(self) -> float | None:
        """How many times as good as the peer: as fast, as small; for ``equal``, how many times the peer's value."""
        if self.ratio is not None or self.peer_value is None:
            return self.ratio
        ours, theirs = self.value, self.peer_value
        over, under = (theirs, ours) if self.better == "lower" else (ours, theirs)
        return over / under if under else None

    @property
    def meets_bar(self) -> bool | None:
        """Whether the bar is met; None without one."""
        if self.bar is None:
            return None
        if self.bar_of == "ratio":
            assert self.times is not None
            return self.times >= self.bar
        return self.value <= self.bar if self.better == "lower" else self.value >= self.bar


class Run(_Typed):
    """What one command found: its figures, all that it ``measured`` (as of ``--json``), and where and when.

    ``date`` is the day in UTC; ``note`` says what else must be known, as that other work ran beside it.
    """

    command: str
    machine: str
    date: datetime.date
    packages: dict[str, str]
    note: str = ""
    figures: Annotated[tuple[Figure, ...], Field(min_length=1)]
    measured: dict[str, JsonValue]


class Results(_Typed):
    """The file of one benchmark: the last run of each of its parts."""

    benchmark: str
    parts: dict[str, Run]


def add_result_options(parser: argparse.ArgumentParser) -> None:
    """Add ``--json``, ``--save`` and ``--note``, which every benchmark takes."""
    parser.add_argument("--json", action="store_true", help="print all that was measured as JSON")
    parser.add_argument("--save", action="store_true", help="keep it in benchmarks/results, for docs/performance.md")
    parser.add_argument("--note", default="", help="what must be known beside what is saved")


def load(folder: Path = RESULTS) -> dict[str, Results]:
    """Return every results file by the benchmark's name; ValueError names a file that does not hold what it should."""
    found = {}
    for path in sorted(folder.glob("*.json")):
        found[path.stem] = _read(path)
    return found


def save_run(
    benchmark: str,
    measured: Mapping[str, Any],
    figures: Sequence[Figure],
    *,
    part: str = WHOLE,
    note: str = "",
    folder: Path = RESULTS,
) -> Path:
    """Put a run of this process into the file of a benchmark, in place of the last run of that part; return the file.

    ``measured`` is anything that JSON can hold; numbers that are not finite become null.
    """
    path = folder / f"{benchmark}.json"
    others = dict(_read(path).parts) if path.exists() else {}
    run = Run(
        command=_command(benchmark),
        machine=machine(),
        date=datetime.datetime.now(datetime.UTC).date(),
        packages=_packages(),
        note=note,
        figures=tuple(figures),
        measured=json.loads(json.dumps(measured), parse_constant=lambda _: None),
    )
    parts = dict(sorted({**others, part: run}.items()))
    folder.mkdir(parents=True, exist_ok=True)
    path.write_text(Results(benchmark=benchmark, parts=parts).model_dump_json(indent=2, exclude_defaults=True) + "\n")
    print(f"saved {part} in {path.name}; docs/generate.py puts it on the page", file=sys.stderr)
    return path


def _read(path: Path) -> Results:
    found = Results.model_validate_json(path.read_text())
    if found.benchmark != path.stem:
        raise ValueError(f"{path.name} holds the results of {found.benchmark}")
    return found


def _command(benchmark: str) -> str:
    """Return the command line of this process, of absolute paths only the end, which means something elsewhere."""
    typed = (re.sub(r"(^|=)/\S*/", r"\1", each) for each in sys.argv[1:])
    return shlex.join(["python", "-m", f"benchmarks.{benchmark}", *typed])


def _packages() -> dict[str, str]:
    found = {}
    for name in PACKAGES:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            continue
    return found
