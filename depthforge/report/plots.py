"""Plots as inline SVG: lines, histograms, ranges and bars, drawn for a phone's width and coloured by the style sheet.

A plot is 360 units wide, so that its letters are legible at that many pixels; wider pages lay plots side by side. A
series is told by its colour, its dashes and its marker, so that colour alone says nothing. Nothing here decides a
colour: the classes ``s-clean``, ``s-noisy``, ``s-real``, ``s-held`` and ``s-other`` do, for light and dark.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from depthforge.report.markup import Child, Markup, join, tag

__all__ = ["Range", "histogram", "line_plot", "range_plot", "ratio_plot", "series_class"]

_WIDTH: Final = 360
_HEIGHT: Final = 220
_LEFT: Final = 46
_RIGHT: Final = 10
_TOP: Final = 12
_BOTTOM: Final = 40
_TICKS: Final = 5
_FEWEST_LOG_TICKS: Final = 3
_BAR: Final = 9
_KNOWN: Final = {"clean": "s-clean", "noisy": "s-noisy", "real": "s-real", "real, held out": "s-held"}

Points = Sequence[tuple[float, float | None]]


@dataclass(frozen=True, slots=True)
class Range:
    """One mark of a range plot: from ``low`` to ``high`` with ``middle``; ``label`` is told when it is pointed at."""

    label: str
    low: float
    middle: float
    high: float


@dataclass(frozen=True, slots=True)
class _Axis:
    """What maps values from ``low`` to ``high`` to a stretch of the picture."""

    low: float
    high: float
    start: float
    stop: float
    is_log: bool = False

    def __call__(self, value: float) -> float:
        low, high, value = (math.log(v) if self.is_log else v for v in (self.low, self.high, value))
        share = (value - low) / (high - low) if high > low else 0.5
        return round(self.start + share * (self.stop - self.start), 1)

    @property
    def ticks(self) -> list[float]:
        """Round values within the axis."""
        return _log_ticks(self.low, self.high) if self.is_log else _ticks(self.low, self.high)


def series_class(name: str) -> str:
    """Return the class that colours a series, by its name."""
    return _KNOWN.get(name, "s-other")


def line_plot(
    title: str, series: Mapping[str, Points], *, x: str, y: str, is_log: bool = False, diagonal: bool = False
) -> Markup:
    """Return lines through ``series`` (points by name, None for a gap); ``is_log`` makes both axes logarithmic.

    ``diagonal`` draws the line of equal x and y. A series without a point is left out.
    """
    known = {name: [(a, b) for a, b in points if b is not None and (not is_log or (a > 0 and b > 0))] for name, points
             in series.items()}  # fmt: skip
    known = {name: points for name, points in known.items() if points}
    if not known:
        return _nothing(title)
    xs = [a for points in known.values() for a, _ in points]
    ys = [b for points in known.values() for _, b in points]
    if diagonal:
        xs, ys = [*xs, *ys], [*xs, *ys]
    across, up = _axes(_bounds(xs, is_log, from_zero=False), _bounds(ys, is_log, from_zero=not is_log), is_log)
    parts: list[Child] = [_frame(across, up, x, y)]
    if diagonal:
        ends = max(across.low, up.low), min(across.high, up.high)
        parts.append(_line(across(ends[0]), up(ends[0]), across(ends[1]), up(ends[1]), "diagonal"))
    for name, points in known.items():
        corners = " ".join(f"{across(a)},{up(b)}" for a, b in points)
        parts.append(tag("polyline", points=corners, class_=f"line {series_class(name)}"))
        parts += [_marker(across(a), up(b), name) for a, b in points]
    return _figure(title, parts, known, _HEIGHT)


def histogram(title: str, edges: Sequence[float], counts: Mapping[str, Sequence[int]], *, x: str, y: str) -> Markup:
    """Return the outlines of histograms over the same ``edges`` (one more than counts)."""
    most = max((max(values, default=0) for values in counts.values()), default=0)
    if not most:
        return _nothing(title)
    across, up = _axes((edges[0], edges[-1] * 1.02), (0.0, most * 1.05), False)
    parts: list[Child] = [_frame(across, up, x, y)]
    for name, values in counts.items():
        corners = [(edges[0], 0.0)]
        for index, value in enumerate(values):
            corners += [(edges[index], value), (edges[index + 1], value)]
        corners.append((edges[-1], 0.0))
        text = " ".join(f"{across(a)},{up(b)}" for a, b in corners)
        parts.append(tag("polyline", points=text, class_=f"area {series_class(name)}"))
    return _figure(title, parts, counts, _HEIGHT)


def range_plot(title: str, ranges: Mapping[str, Sequence[Range]], *, x: str, y: str) -> Markup:
    """Return an upright stroke for each range, with a tick at its middle; several series stand beside each other."""
    every = [each for marks in ranges.values() for each in marks]
    if not every:
        return _nothing(title)
    num_places = max(len(marks) for marks in ranges.values())
    values = [value for each in every for value in (each.low, each.high)]
    across, up = _axes((0.0, num_places), _bounds(values, False, from_zero=True), False)
    parts: list[Child] = [_frame(across, up, x, y, x_ticks=False)]
    for number, (name, marks) in enumerate(ranges.items()):
        shift = (number + 1) / (len(ranges) + 1)
        for place, mark in enumerate(marks):
            at = across(place + shift)
            stroke = _line(at, up(mark.low), at, up(mark.high), f"range {series_class(name)}")
            middle = tag("circle", cx=at, cy=up(mark.middle), r=2.5, class_=f"dot {series_class(name)}")
            parts.append(tag("g", tag("title", f"{name}, {mark.label}"), stroke, middle))
    return _figure(title, parts, ranges, _HEIGHT)


def ratio_plot(title: str, ratios: Mapping[str, Mapping[str, float]], *, x: str) -> Markup:
    """Return lying bars from 1, on a logarithmic axis: for each row (its text above) the ratio of each series, above 0.

    What is above 1 lies right of the line at 1, what is below lies left of it.
    """
    values = [value for row in ratios.values() for value in row.values()]
    if not values:
        return _nothing(title)
    names = list(dict.fromkeys(name for row in ratios.values() for name in row))
    row_height = 18 + (_BAR + 3) * len(names) + 6
    bottom = _TOP + row_height * len(ratios)
    across = _Axis(min(*values, 1.0) / 1.6, max(*values, 1.0) * 1.1, 10, _WIDTH - _RIGHT - 40, is_log=True)
    parts: list[Child] = []
    for tick in across.ticks:
        parts.append(_line(across(tick), _TOP, across(tick), bottom, "grid"))
        parts.append(_text(across(tick), bottom + 14, figure_text(tick), "middle"))
    one = across(1.0)
    parts.append(_line(one, _TOP, one, bottom, "diagonal"))
    top = float(_TOP)
    for label, row in ratios.items():
        parts.append(_text(10, top + 13, label, "start", "name"))
        at = top + 18
        for name in names:
            if name in row:
                start, stop = sorted((one, across(row[name])))
                width = max(1.0, round(stop - start, 1))
                bar = f"bar {series_class(name)}"
                parts.append(tag("rect", x=start, y=at, width=width, height=_BAR, class_=bar))
                parts.append(_text(start + width + 4, at + _BAR - 1, figure_text(row[name]), "start"))
            at += _BAR + 3
        top += row_height
    parts.append(_text((_WIDTH - 30) / 2, bottom + 32, x, "middle"))
    return _figure(title, parts, names, bottom + 38)


def figure_text(value: float) -> str:
    """Return a number as it stands at a tick."""
    return f"{value:.3g}" if abs(value) < 10_000 else f"{value:.2g}"


def _figure(title: str, parts: Iterable[Child], names: Iterable[str], height: float) -> Markup:
    names = list(names)
    told = f"{title}: {', '.join(names)}"
    picture = tag(
        "svg",
        tag("title", told),
        *parts,
        viewBox=f"0 0 {_WIDTH} {round(height)}",
        role="img",
        aria_label=told,
        class_="plot",
    )
    keys = [tag("li", _swatch(name), name) for name in names]
    legend = tag("ul", *keys, class_="legend") if len(names) > 1 else None
    return tag("figure", tag("figcaption", title), picture, legend, class_="plot-figure")


def _swatch(name: str) -> Markup:
    kind = series_class(name)
    drawn = [_line(0, 6, 26, 6, f"line {kind}"), _marker(13, 6, name)]
    return tag("svg", *drawn, viewBox="0 0 26 12", class_="swatch", aria_hidden="true")


def _nothing(title: str) -> Markup:
    told = tag("p", "Nothing was measured.", class_="note")
    return tag("figure", tag("figcaption", title), told, class_="plot-figure")


def _axes(x: tuple[float, float], y: tuple[float, float], is_log: bool) -> tuple[_Axis, _Axis]:
    return (
        _Axis(*x, _LEFT, _WIDTH - _RIGHT, is_log),
        _Axis(*y, _HEIGHT - _BOTTOM, _TOP, is_log),
    )


def _frame(across: _Axis, up: _Axis, x: str, y: str, *, x_ticks: bool = True) -> Markup:
    parts: list[Child] = []
    for tick in up.ticks:
        parts.append(_line(_LEFT, up(tick), _WIDTH - _RIGHT, up(tick), "grid"))
        parts.append(_text(_LEFT - 5, up(tick) + 4, figure_text(tick), "end"))
    for tick in across.ticks if x_ticks else []:
        parts.append(_line(across(tick), _TOP, across(tick), _HEIGHT - _BOTTOM, "grid"))
        parts.append(_text(across(tick), _HEIGHT - _BOTTOM + 14, figure_text(tick), "middle"))
    parts.append(_line(_LEFT, _HEIGHT - _BOTTOM, _WIDTH - _RIGHT, _HEIGHT - _BOTTOM, "axis"))
    parts.append(_text((_LEFT + _WIDTH - _RIGHT) / 2, _HEIGHT - 8, x, "middle"))
    middle = (_TOP + _HEIGHT - _BOTTOM) / 2
    parts.append(tag("text", y, x=-middle, y=11, text_anchor="middle", transform="rotate(-90)"))
    return join(*parts)


def _line(x1: float, y1: float, x2: float, y2: float, kind: str) -> Markup:
    return tag("line", x1=x1, y1=y1, x2=x2, y2=y2, class_=kind)


def _text(x: float, y: float, text: str, anchor: str, kind: str | None = None) -> Markup:
    return tag("text", text, x=x, y=y, text_anchor=anchor, class_=kind)


def _marker(x: float, y: float, name: str) -> Markup:
    """Return a circle, a square or a diamond, by the series."""
    kind = f"dot {series_class(name)}"
    if name == "noisy":
        return tag("rect", x=round(x - 2.5, 1), y=round(y - 2.5, 1), width=5, height=5, class_=kind)
    if name.startswith("real"):
        return tag("path", d=f"M{x} {round(y - 3.6, 1)}l3.6 3.6l-3.6 3.6l-3.6 -3.6z", class_=kind)
    return tag("circle", cx=x, cy=y, r=2.8, class_=kind)


def _bounds(values: Sequence[float], is_log: bool, *, from_zero: bool) -> tuple[float, float]:
    low, high = min(values), max(values)
    if is_log:
        return low / 1.15, high * 1.15
    if from_zero:
        low = min(low, 0.0)
    margin = (high - low) * 0.05 or abs(high) * 0.05 or 1.0
    return (low if from_zero and low == 0 else low - margin), high + margin


def _ticks(low: float, high: float) -> list[float]:
    """Return at most about five multiples of 1, 2 or 5 times a power of ten within the bounds."""
    rough = (high - low) / _TICKS
    if rough <= 0:
        return [low]
    power = 10.0 ** math.floor(math.log10(rough))
    step = next((each * power for each in (1, 2, 5) if each * power >= rough), 10 * power)
    first = math.ceil(low / step - 1e-9)
    return [float(f"{number * step:.12g}") for number in range(first, math.floor(high / step + 1e-9) + 1)]


def _log_ticks(low: float, high: float) -> list[float]:
    """Return 1, 2 and 5 times powers of ten within the bounds; where they are many the powers, where few even steps."""
    exponents = range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)
    powers = [10.0**exponent for exponent in exponents if low <= 10.0**exponent <= high]
    found = [value for exponent in exponents for each in (1, 2, 5) if low <= (value := each * 10.0**exponent) <= high]
    if len(found) < _FEWEST_LOG_TICKS:
        return [value for value in _ticks(low, high) if value > 0]
    return powers if len(found) > _TICKS + 2 and len(powers) > 1 else found
