"""The curves of a training: every loss and figure by step, in ``curves.parquet``, and a picture of them.

The file is small (three columns; 100,000 rows are a megabyte) and is rewritten as a whole, atomically: there is
never a torn tail to repair. Write it with each checkpoint, since a training that goes on from one drops the rows after
it. Losses go by their name, everything else as ``group/name``: ``evaluation/normals off clean, deg``, ``score/total``.
A group has a panel of the picture, but for ``evaluation``, whose figures have units of their own and get one each.
The picture takes 0.5 to 4 s, which is why it is drawn apart from the rows (``draw_picture``).
"""

from __future__ import annotations

import io
import math
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, NamedTuple

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq

from depthforge.durable import storage_errors, write_atomically
from depthforge.errors import InputError, MissingDataError

if TYPE_CHECKING:
    from matplotlib.axes import Axes

__all__ = ["CURVES_FILE", "PICTURE_FILE", "Curve", "CurveWriter", "draw_curves", "draw_picture", "read_curves"]

CURVES_FILE: Final = "curves.parquet"
PICTURE_FILE: Final = "curves.png"

_SCHEMA: Final = pa.schema(
    [("step", pa.int64()), ("name", pa.dictionary(pa.int32(), pa.string())), ("value", pa.float64())]
)
_COLUMNS: Final = 3
# A panel whose values span more than this has a logarithmic axis.
_LOGARITHMIC_SPAN: Final = 30.0
# Curves with more points than this are drawn faint, with their running mean on top.
_MANY: Final = 150
_TITLES: Final = {
    "generator": "generator losses",
    "discriminator": "discriminator losses",
    "score": "score, lower is better",
}


class Curve(NamedTuple):
    """``steps`` (N,) int64, ascending, and ``values`` (N,) float64, which may be NaN or infinite."""

    steps: npt.NDArray[np.int64]
    values: npt.NDArray[np.float64]


class CurveWriter:
    """Collects rows (step, name, value) and writes them into ``folder``."""

    def __init__(self, folder: Path, *, resumed_step: int = 0) -> None:
        """Continue the curves in ``folder`` up to ``resumed_step``, that included; 0 starts anew.

        Raises InputError when they cannot be read; missing ones are empty.
        """
        self.folder = folder
        self._rows: dict[str, dict[int, float]] = {}
        if resumed_step and (folder / CURVES_FILE).exists():
            for name, curve in read_curves(folder / CURVES_FILE).items():
                kept = {s: v for s, v in zip(*(each.tolist() for each in curve), strict=True) if s <= resumed_step}
                if kept:
                    self._rows[name] = kept

    def add(self, step: int, values: Mapping[str, float], group: str | None = None) -> None:
        """Take in ``values`` of ``step``, under ``group`` if any; a second value of a name and step replaces."""
        for name, value in values.items():
            self._rows.setdefault(name if group is None else f"{group}/{name}", {})[step] = float(value)

    @property
    def curves(self) -> dict[str, Curve]:
        """All that was taken in, by name."""
        return {name: _curve(list(points), list(points.values())) for name, points in self._rows.items()}

    def write(self) -> None:
        """Write ``curves.parquet``, whole or as it was before. Raises StorageError when there is no room."""
        curves = self.curves
        table = pa.table(
            [
                pa.array([s for curve in curves.values() for s in curve.steps.tolist()], pa.int64()),
                pa.array([n for n, curve in curves.items() for _ in range(len(curve.steps))], pa.string()).cast(
                    _SCHEMA.field("name").type
                ),
                pa.array([v for curve in curves.values() for v in curve.values.tolist()], pa.float64()),
            ],
            schema=_SCHEMA,
        )
        sink = io.BytesIO()
        pq.write_table(table, sink, compression="zstd")
        with storage_errors(self.folder):
            self.folder.mkdir(parents=True, exist_ok=True)
            write_atomically(self.folder / CURVES_FILE, sink.getvalue())


def read_curves(path: Path) -> dict[str, Curve]:
    """Return the curves of a ``curves.parquet`` by name, in the order in which they began.

    Raises MissingDataError when there is none, InputError when it is not one.
    """
    try:
        table = pq.read_table(path)
        steps, names, values = (table[name].to_numpy(zero_copy_only=False) for name in _SCHEMA.names)
    except FileNotFoundError:
        raise MissingDataError("there are no training curves", where=path, remedy="depthforge train MANIFEST") from None
    except (OSError, pa.ArrowException, KeyError) as error:
        raise InputError("the training curves cannot be read", where=path, found=error) from None
    of: dict[str, Any] = {name: names == name for name in dict.fromkeys(names.tolist())}
    return {name: _curve(steps[rows].tolist(), values[rows].tolist()) for name, rows in of.items()}


def draw_picture(folder: Path) -> None:
    """Draw ``curves.png`` of ``curves.parquet``, with the step of the best score marked, if there is one.

    Raises what ``read_curves`` raises, StorageError when there is no room.
    """
    curves = read_curves(folder / CURVES_FILE)
    steps, scores = curves.get("score/total", Curve(np.empty(0, np.int64), np.empty(0)))
    best = int(steps[np.nanargmin(scores)]) if np.isfinite(scores).any() else None
    with storage_errors(folder):
        write_atomically(folder / PICTURE_FILE, draw_curves(curves, chosen_step=best))


def draw_curves(curves: Mapping[str, Curve], *, chosen_step: int | None = None) -> bytes:
    """Return a PNG of all curves, a panel a group, with the chosen checkpoint marked where figures are drawn."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    panels = _panels(curves)
    columns = min(_COLUMNS, max(len(panels), 1))
    rows = max(math.ceil(len(panels) / columns), 1)
    figure = Figure(figsize=(4.8 * columns, 3.2 * rows), dpi=100)
    FigureCanvasAgg(figure)
    # In inches; a layout engine would draw everything twice to find them.
    width, height = figure.get_size_inches()
    figure.subplots_adjust(0.55 / width, 0.5 / height, 1 - 0.15 / width, 1 - 0.35 / height, wspace=0.17, hspace=0.32)
    last = max((int(curve.steps[-1]) for curve in curves.values() if len(curve.steps)), default=1)
    for place, (title, lines) in enumerate(panels.items(), start=1):
        axes = figure.add_subplot(rows, columns, place)
        _draw_panel(axes, title, lines, last)
        if chosen_step is not None and title not in (_TITLES["generator"], _TITLES["discriminator"]):
            axes.axvline(chosen_step, color="black", linestyle="--", linewidth=1)
            if title == _TITLES["score"]:
                _mark(axes, chosen_step, lines)
    sink = io.BytesIO()
    figure.savefig(sink, format="png", metadata={"Software": None})
    return sink.getvalue()


def _panels(curves: Mapping[str, Curve]) -> dict[str, dict[str, Curve]]:
    """Return title -> label -> curve: losses first, then the score, then every figure of its own."""
    panels: dict[str, dict[str, Curve]] = {}
    order = ["generator", "discriminator", "score"]
    groups = {name: _group(name) for name in curves}
    for group in [*order, *(group for group in dict.fromkeys(groups.values()) if group not in order)]:
        for name in (name for name in curves if groups[name] == group):
            label = name.removeprefix(f"{group}/")
            title = label if group == "evaluation" else _TITLES.get(group, group)
            panels.setdefault(title, {})[label] = curves[name]
    return panels


def _group(name: str) -> str:
    if "/" in name:
        return name.split("/", 1)[0]
    return "discriminator" if "discriminator" in name else "generator"


def _draw_panel(axes: Axes, title: str, lines: Mapping[str, Curve], last: int) -> None:
    for index, (label, curve) in enumerate(lines.items()):
        # The sum is drawn black and last, over its terms, which share out the ten colours of the cycle.
        whole = label in ("generator", "total") and len(lines) > 1
        style: dict[str, Any] = {"color": "black" if whole else f"C{index % 10}", "zorder": 3 if whole else 2}
        values = np.where(np.isfinite(curve.values), curve.values, np.nan)
        if len(values) > _MANY:
            axes.plot(curve.steps, values, linewidth=0.6, alpha=0.25, **style)
            axes.plot(curve.steps, _running_mean(values, len(values) // 40), linewidth=1.6, label=label, **style)
        else:
            marker = "o" if len(values) <= 40 else None
            axes.plot(curve.steps, values, linewidth=1.4, marker=marker, markersize=3, label=label, **style)
    # The terms of the score are bounded: one near 0 is good, and no cause to stretch the axis.
    _scale(axes, [curve.values for curve in lines.values()], may_be_log=title != _TITLES["score"])
    axes.set_xlim(0, max(last, 1) * 1.02)
    axes.set_title(title, fontsize=11)
    axes.set_xlabel("step", fontsize=9)
    axes.tick_params(labelsize=8)
    axes.grid(alpha=0.25)
    if len(lines) > 1:
        axes.legend(fontsize=7.5, ncols=1 if len(lines) < 5 else 2, framealpha=0.7)


def _scale(axes: Axes, values: list[npt.NDArray[np.float64]], *, may_be_log: bool) -> None:
    known = np.concatenate([each[np.isfinite(each)] for each in values])
    if may_be_log and known.size and known.min() > 0 and known.max() > _LOGARITHMIC_SPAN * known.min():
        axes.set_yscale("log")
    elif known.size and known.min() >= 0:
        axes.set_ylim(bottom=0)


def _mark(axes: Axes, step: int, lines: Mapping[str, Curve]) -> None:
    total = lines.get("total", next(iter(lines.values())))
    found = total.values[total.steps == step]
    if found.size and math.isfinite(found[0]):
        axes.plot(step, found[0], marker="*", markersize=13, color="black", zorder=4)
    right = step > 0.6 * axes.get_xlim()[1]
    axes.annotate(
        f"chosen: step {step}",
        (step, 0.03),
        xycoords=("data", "axes fraction"),
        xytext=(-4 if right else 4, 0),
        textcoords="offset points",
        ha="right" if right else "left",
        fontsize=8,
    )


def _running_mean(values: npt.NDArray[np.float64], width: int) -> npt.NDArray[np.float64]:
    """Return the mean over ``width`` neighbours, fewer at the ends, of those that are numbers; NaN without any."""
    known = np.isfinite(values)
    window = np.ones(max(width, 1))
    # "same" would return the window where that is longer than the curve; it never is: see _MANY.
    total = np.convolve(np.where(known, values, 0.0), window, "same")
    count = np.convolve(known.astype(np.float64), window, "same")
    mean: npt.NDArray[np.float64] = np.divide(total, count, out=np.full(len(values), np.nan), where=count > 0.5)
    return mean


def _curve(steps: list[int], values: list[float]) -> Curve:
    order = np.argsort(steps, kind="stable")
    return Curve(np.array(steps, np.int64)[order], np.array(values, np.float64)[order])
