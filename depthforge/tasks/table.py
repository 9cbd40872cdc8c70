"""A finished table as text, data and a picture: ``table.md``, ``table.parquet`` and ``table.png``.

Measured rows come with the mean over seeds and a 95 % interval over test frames and seeds; published rows stand below
them, marked as published and as of other data. The picture has a panel for each figure, rows from top to bottom.
"""

from __future__ import annotations

import io
import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import pyarrow as pa
import pyarrow.parquet as pq

from depthforge.durable import write_atomically
from depthforge.tasks.base import Figure
from depthforge.tasks.judging import Interval
from depthforge.tasks.published import PublishedTable

__all__ = ["TABLE_FILES", "Table", "report_rows", "write_table"]

TABLE_FILES: Final = ("table.md", "table.parquet", "table.png")
_PANELS_A_ROW: Final = 3


@dataclass(frozen=True)
class Table:
    """``rows``: figures by row and id; ``trained_on`` says in words what each row's network was trained on."""

    name: str
    task: str
    steps: str
    seeds: Sequence[int]
    tested: str
    columns: Sequence[Figure]
    rows: Mapping[str, Mapping[str, Interval]]
    trained_on: Mapping[str, str]
    published: PublishedTable | None

    def markdown(self) -> str:
        """Return the table as Markdown."""
        head = ["", *map(_titled, self.columns), "trained on"]
        best = {figure.id: self._best(figure) for figure in self.columns}
        lines = [
            f"# {self.name}",
            "",
            f"Task {self.task}, {self.steps}, {_plural(len(self.seeds), 'seed')} a row. {self.tested} In brackets the "
            "95 % interval of a bootstrap over test frames and seeds; the best measured row is bold.",
            "",
            "| " + " | ".join(head) + " |",
            "|---" * len(head) + "|",
        ]
        for row, figures in self.rows.items():
            cells = [_cell(figures[f.id], f, row == best[f.id]) for f in self.columns]
            lines.append("| " + " | ".join([_as_text(row), *cells, _as_text(self.trained_on[row])]) + " |")
        if self.published is not None:
            for row, values in self.published.rows.items():
                by_id = dict(zip(self.published.figures, values, strict=True))
                cells = [f"*{by_id[f.id]:g}*" if f.id in by_id else "" for f in self.columns]
                lines.append("| " + " | ".join([f"published: {_as_text(row)}", *cells, "other data"]) + " |")
            lines += ["", f"Published: {self.published.source} ({self.published.remark}). Only orders compare."]
        better = "; ".join(f"{f.title}: {f.better} is better" for f in self.columns)
        return "\n".join([*lines, "", better + ".", ""])

    def arrow(self) -> pa.Table:
        """Return a line for each row and figure: measured ones, then published ones."""
        lines: list[dict[str, Any]] = []
        units = {figure.id: (figure.unit, figure.better) for figure in self.columns}
        for row, figures in self.rows.items():
            for figure_id, found in figures.items():
                lines.append(_line(row, "measured", figure_id, units[figure_id], *found))
        if self.published is not None:
            for row, values in self.published.rows.items():
                for figure_id, value in zip(self.published.figures, values, strict=True):
                    lines.append(_line(row, "published", figure_id, units[figure_id], value, None, None))
        return pa.Table.from_pylist(lines)

    def for_report(self) -> list[dict[str, str]]:
        """Return the measured rows as a corpus keeps them for its report: see :func:`report_rows`."""
        return report_rows(self.columns, self.rows, self.trained_on)

    def png(self) -> bytes:
        """Draw a panel for each figure: values and intervals, measured rows black and published ones grey."""
        from matplotlib.figure import Figure as Drawing

        across = min(_PANELS_A_ROW, len(self.columns))
        down = math.ceil(len(self.columns) / across)
        theirs = self.published.rows if self.published is not None else {}
        height = 0.28 * (len(self.rows) + len(theirs)) + 1.0
        drawing = Drawing(figsize=(5.2 * across, height * down), layout="constrained")
        panels = drawing.subplots(down, across, squeeze=False, sharey=True).ravel()
        names = [*self.rows, *(f"published: {name}" for name in theirs)]
        for panel, figure in zip(panels, self.columns, strict=False):
            panel.set_title(f"{_titled(figure)}: {figure.better} is better", fontsize=9)
            for place, found in enumerate(figures[figure.id] for figures in self.rows.values()):
                if math.isfinite(found.value):
                    panel.plot([found.low, found.high], [place, place], color="black", linewidth=1)
                    panel.plot(found.value, place, "o", color="black", markersize=4)
            if self.published is not None and figure.id in self.published.figures:
                column = self.published.figures.index(figure.id)
                for place, values in enumerate(theirs.values(), start=len(self.rows)):
                    panel.plot(values[column], place, "o", color="grey", markersize=4)
            panel.set_yticks(range(len(names)), names)
            panel.grid(axis="x", linewidth=0.4)
        panels[0].set_ylim(len(names) - 0.5, -0.5)
        for panel in panels[len(self.columns) :]:
            panel.set_axis_off()
        content = io.BytesIO()
        drawing.savefig(content, format="png")
        return content.getvalue()

    def _best(self, figure: Figure) -> str | None:
        known = {
            row: found[figure.id].value for row, found in self.rows.items() if math.isfinite(found[figure.id].value)
        }
        if len(known) < 2:
            return None
        return (min if figure.better == "lower" else max)(known, key=known.__getitem__)


def report_rows(
    columns: Sequence[Figure], rows: Mapping[str, Mapping[str, Interval]], trained_on: Mapping[str, str] | None = None
) -> list[dict[str, str]]:
    """Return a line a row for the report of a corpus: what it was trained on, then each figure with its interval."""
    return [
        {
            "row": row,
            **({} if trained_on is None else {"trained on": trained_on[row]}),
            **{_titled(figure): _cell(found[figure.id], figure, False) for figure in columns},
        }
        for row, found in rows.items()
    ]


def write_table(table: Table, folder: Path) -> None:
    """Write the three files, each whole or not at all; StorageError when the disk is full."""
    buffer = io.BytesIO()
    pq.write_table(table.arrow(), buffer)
    contents = (table.markdown().encode(), buffer.getvalue(), table.png())
    for name, content in zip(TABLE_FILES, contents, strict=True):
        write_atomically(folder / name, content)


def _titled(figure: Figure) -> str:
    return f"{figure.title}, {figure.unit}" if figure.unit else figure.title


def _as_text(words: str) -> str:
    """Return words that Markdown shows as they are in a cell of a table."""
    return re.sub(r"([*_|`\\])", r"\\\1", words)


def _cell(found: Interval, figure: Figure, is_best: bool) -> str:
    if not math.isfinite(found.value):
        return ""
    value = f"{found.value:.{figure.decimals}f}"
    bounds = f"{found.low:.{figure.decimals}f}, {found.high:.{figure.decimals}f}"
    return f"{f'**{value}**' if is_best else value} [{bounds}]"


def _line(
    row: str, kind: str, figure: str, unit: tuple[str, str], value: float, low: float | None, high: float | None
) -> dict[str, Any]:
    return {
        "row": row,
        "kind": kind,
        "figure": figure,
        "unit": unit[0],
        "better": unit[1],
        "value": _number(value),
        "low": _number(low),
        "high": _number(high),
    }


def _number(value: float | None) -> float | None:
    return None if value is None or not math.isfinite(value) else value


def _plural(count: int, what: str) -> str:
    return f"{count} {what}" if count == 1 else f"{count} {what}s"
