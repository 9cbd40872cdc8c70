"""Plots put values where they belong, and say so when there is none."""

from __future__ import annotations

import re
from xml.etree import ElementTree

import pytest
from hypothesis import given
from hypothesis import strategies as st

from depthforge.report.plots import Range, _log_ticks, _ticks, histogram, line_plot, range_plot, ratio_plot

FINITE = st.floats(-1e6, 1e6, allow_nan=False)


def points_of(markup: str, kind: str) -> list[tuple[float, float]]:
    corners = re.search(rf'<polyline points="([^"]*)" class="{kind}"', markup)
    assert corners is not None
    return [(float(a), float(b)) for a, b in (pair.split(",") for pair in corners[1].split())]


def test_a_line_rises_from_the_lower_left_to_the_upper_right() -> None:
    plot = line_plot("noise", {"noisy": [(1.0, 2.0), (2.0, 4.0), (3.0, None), (4.0, 8.0)]}, x="m", y="mm")
    ElementTree.fromstring(plot)
    corners = points_of(plot, "line s-noisy")
    assert len(corners) == 3
    assert corners == sorted(corners)
    assert [b for _, b in corners] == sorted((b for _, b in corners), reverse=True)
    # From zero upwards: twice the value is twice as far above the axis, at 180.
    assert (180 - corners[1][1]) / (180 - corners[0][1]) == pytest.approx(2, abs=0.01)


def test_logarithmic_axes_make_equal_ratios_equal_steps() -> None:
    plot = line_plot("noise", {"real": [(1.0, 1.0), (2.0, 4.0), (4.0, 16.0), (8.0, 0.0)]}, x="m", y="mm", is_log=True)
    (x0, y0), (x1, y1), (x2, y2) = points_of(plot, "line s-real")
    assert x1 - x0 == pytest.approx(x2 - x1, abs=0.2)
    assert y0 - y1 == pytest.approx(y1 - y2, abs=0.2)


def test_series_are_told_apart_without_colour() -> None:
    series = {name: [(1.0, 1.0), (2.0, 2.0)] for name in ("clean", "noisy", "real", "real, held out")}
    plot = line_plot("all", series, x="x", y="y")
    for marker in ("<circle", "<rect", "<path"):
        assert marker in plot
    legend = ElementTree.fromstring(plot).find("ul")
    assert legend is not None
    assert ["".join(item.itertext()) for item in legend] == list(series)


def test_ratios_lie_right_of_one_or_left_of_it_as_far_as_their_logarithm() -> None:
    plot = ratio_plot("far", {"holes": {"clean": 16.0, "noisy": 4.0, "other": 0.25}}, x="times the floor")
    bars = re.findall(r'<rect x="([\d.]+)" y="[\d.]+" width="([\d.]+)" height="9"', plot)
    (clean, clean_width), (noisy, noisy_width), (other, other_width) = ((float(a), float(b)) for a, b in bars)
    assert clean == noisy == pytest.approx(other + other_width, abs=0.2)
    assert clean_width / noisy_width == pytest.approx(2, abs=0.01)
    assert other_width == pytest.approx(noisy_width, abs=0.2)
    assert ">holes</text>" in plot


def test_a_histogram_is_as_high_as_its_counts() -> None:
    plot = histogram("holes", [0.0, 1.0, 2.0], {"noisy": [5, 10]}, x="%", y="frames")
    heights = [180 - b for _, b in points_of(plot, "area s-noisy")]
    assert heights[0] == heights[-1] == 0
    assert heights[3] / heights[1] == pytest.approx(2, abs=0.02)


def test_a_range_spans_its_values_and_says_what_it_is() -> None:
    plot = range_plot("depth", {"clean": [Range("train <0>", 1.0, 2.0, 3.0)]}, x="shards", y="m")
    ElementTree.fromstring(plot)
    assert "<title>clean, train &lt;0&gt;</title>" in plot


@pytest.mark.parametrize(
    "plot",
    [
        line_plot("a", {"noisy": [(1.0, None)]}, x="x", y="y"),
        line_plot("a", {}, x="x", y="y"),
        histogram("a", [0.0, 1.0], {"clean": [0]}, x="x", y="y"),
        range_plot("a", {"clean": []}, x="x", y="y"),
        ratio_plot("a", {}, x="x"),
    ],
)
def test_without_a_value_it_says_so(plot: str) -> None:
    assert "Nothing was measured." in plot


@given(FINITE, FINITE)
def test_ticks_are_few_and_within(first: float, second: float) -> None:
    low, high = sorted((first, second))
    ticks = _ticks(low, high)
    assert len(ticks) <= 6
    margin = 1e-6 * max(abs(low), abs(high), 1e-9)
    assert all(low - margin <= tick <= high + margin for tick in ticks)


@given(st.floats(1e-6, 1e6), st.floats(1.01, 1e6))
def test_logarithmic_ticks_are_within(low: float, ratio: float) -> None:
    assert all(low * (1 - 1e-9) <= tick <= low * ratio * (1 + 1e-9) for tick in _log_ticks(low, low * ratio))


@given(st.lists(st.tuples(FINITE, FINITE), min_size=1, max_size=5))
def test_every_point_lies_on_the_picture(points: list[tuple[float, float]]) -> None:
    plot = line_plot("a", {"other": points}, x="x", y="y")
    ElementTree.fromstring(plot)
    for x, y in points_of(plot, "line s-other"):
        assert 46 <= x <= 350
        assert 12 <= y <= 180
