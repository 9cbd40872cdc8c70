"""The section on realism: how close the corpus is to a real sensor, in the tables and curves of ``evaluate``."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Final

from depthforge.realism.compare import HELD_OUT, REFERENCE, Comparison
from depthforge.realism.compare import Figure as UnpairedFigure
from depthforge.realism.same_view.comparison import REAL, Row, SameViewComparison
from depthforge.realism.same_view.views import CLEAN, NOISY
from depthforge.report.markup import Child, Markup, tag
from depthforge.report.plots import line_plot, ratio_plot
from depthforge.report.tables import figure, section, table
from depthforge.stages.evaluation import Evaluation

__all__ = ["realism_section"]

_MAIN: Final = (
    "hole_rate",
    "hole_iou",
    "hole_auc",
    "hole_calibration_error",
    "block_sd",
    "outlier_share",
    "pattern_sd",
    "bleed_x_mean",
    "bleed_y_mean",
    "error_correlation",
)
_COMMAND: Final = "depthforge report CORPUS --real SCANS"


def realism_section(evaluation: Evaluation | None, why_not: str | None = None) -> Markup:
    """Return the section; without an ``evaluation`` it says how to get one, and ``why_not`` if something failed."""
    title = "Realism"
    if evaluation is None:
        return section("realism", title, *_how_to(why_not))
    parts: list[Child] = [
        tag(
            "p",
            "No single score: each figure is one of its own. The floor is what remains between two stretches of the "
            "real sensor's own recording; nearer than that, a simulation cannot be told from the sensor by it.",
            class_="lead",
        )
    ]
    if evaluation.same_view is not None:
        parts += _same_view(evaluation.same_view)
    parts += _unpaired(evaluation.unpaired)
    return section("realism", title, *parts)


def _how_to(why_not: str | None) -> Iterator[Child]:
    if why_not is not None:
        yield tag("p", f"It could not be measured: {why_not}", class_="warning")
    yield tag(
        "p",
        "This corpus has not been held against a real sensor. Where you have scans of one, of whatever rooms, this "
        "page can show holes, noise against depth, quantisation and normals beside theirs:",
        class_="lead",
    )
    yield tag("pre", tag("code", _COMMAND), tabindex=0)
    yield tag(
        "p",
        "SCANS is a corpus of real scans, or the manifest whose source reads them. A recording of one scene with poses "
        "is fused on the way and compared in the same views, pixel by pixel. A corpus made by the source ",
        tag("code", "fused"),
        " carries its sensor's own measurement (",
        tag("code", "depth_raw"),
        "), and needs no --real.",
    )


def _same_view(found: SameViewComparison) -> Iterator[Child]:
    yield tag("h3", "In the same views")
    pairs = f", {found.num_pairs} pairs of consecutive ones" if found.num_pairs else ""
    baseline = "" if found.baseline_m is None else f" Baseline {figure(found.baseline_m)} m."
    yield tag(
        "p",
        f"{found.num_frames} frames{pairs}: what the sensor measured against what the simulation makes of the truth; "
        f"clean is the truth itself, a sensor without any error.{baseline}",
        class_="note",
    )
    main = [row for row in found.rows if row.id in _MAIN and _has_values(row)]
    yield _same_view_table(found, main, "The main figures, in the same views")
    plots: list[Child] = [
        _curve(found, "block_sd", "Slow errors, sd of 16-px blocks", "% of depth"),
        _curve(found, "error_p99", "99 % of errors are below", "mm"),
    ]
    points = found.calibration.get(NOISY, ())
    if points:
        promised = {NOISY: [(100 * each.promised, 100 * each.found) for each in points]}
        plots.append(
            line_plot(
                "Probability of a hole: promised and found", promised, x="promised, %", y="found, %", diagonal=True
            )
        )
    yield tag("div", *plots, class_="plots")
    rows = [row for row in found.rows if _has_values(row)]
    every = _same_view_table(found, rows, "All figures, in the same views")
    yield tag("details", tag("summary", f"All {len(rows)} figures"), every)


def _curve(found: SameViewComparison, stem: str, title: str, unit: str) -> Markup:
    curve = found.curve(stem)
    series = {name: [(depth_m, row.values.get(name)) for depth_m, row in curve] for name in found.names}
    series.pop(CLEAN, None)
    return line_plot(title, series, x="depth, m", y=unit, is_log=True)


def _same_view_table(found: SameViewComparison, rows: Sequence[Row], caption: str) -> Markup:
    names = sorted(found.names, key=lambda name: (name != REAL, name != NOISY))
    columns = ["figure", *names, "floor", "noisy off real, in floors", "better"]
    cells: list[list[Child]] = [
        [
            _named(row.title, row.unit),
            *(figure(row.values.get(name)) for name in names),
            figure(row.floor),
            _in_floors(row),
            row.better,
        ]
        for row in rows
    ]
    return table(columns, cells, caption=caption)


def _named(title: str, unit: str) -> Child:
    return [title, " ", tag("small", unit)] if unit else title


def _in_floors(row: Row) -> Child:
    """Return how far the simulation is from the sensor, in floors: below one they cannot be told apart."""
    real, noisy = row.values.get(REAL), row.values.get(NOISY)
    if row.better != "as real" or real is None or noisy is None or not row.floor:
        return "-"
    off = abs(noisy - real) / row.floor
    text = f"{off:.1f}"
    return tag("span", f"{text} ✓", class_="within", title="within the floor") if off <= 1 else text


def _unpaired(found: Comparison) -> Iterator[Child]:
    sets = list(found.samples)
    yield tag("h3", "Unpaired: any rooms, by their statistics")
    told = "; ".join(f"{name}: {each.num_frames} frames, {each.cameras}" for name, each in found.samples.items())
    yield tag("p", told, class_="note")
    floors: dict[str, dict[str, float]] = {}
    for row in found.distances:
        floor = row.values.get(HELD_OUT)
        if floor and floor > 0 and not row.name.startswith("patches"):
            known = {name: row.values.get(name) for name in (CLEAN, NOISY)}
            floors[row.name] = {name: value / floor for name, value in known.items() if value}
    noise = {name: [(depth_m, values.get(name)) for depth_m, values in found.curve("noise")] for name in sets}
    step = {name: [(depth_m, values.get(name)) for depth_m, values in found.curve("step")] for name in sets}
    plots = [
        ratio_plot("Distance to the real sensor", floors, x="times the floor (dashed)"),
        line_plot("Noise against depth", noise, x="depth, m", y="mm", is_log=True),
        line_plot("Step between depths", step, x="depth, m", y="mm", is_log=True),
    ]
    yield tag("div", *plots, class_="plots")
    others = [name for name in sets if name != REFERENCE]
    caption = f"Distance to {REFERENCE!r}; {HELD_OUT!r} is the floor"
    yield table(["distance", *others], _unpaired_rows(found.distances, others), caption=caption)
    whole = table(["figure", *sets], _unpaired_rows(found.figures, sets), caption="Figures of each set")
    yield tag("details", tag("summary", f"All {len(found.figures)} figures of each set"), whole)


def _unpaired_rows(figures: Sequence[UnpairedFigure], names: Sequence[str]) -> list[list[Child]]:
    return [[_named(row.name, row.unit), *(figure(row.values.get(name)) for name in names)] for row in figures]


def _has_values(row: Row) -> bool:
    return any(value is not None for value in row.values.values())
