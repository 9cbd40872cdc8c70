"""What the index says of a corpus, shard by shard and over all frames: no array is opened.

A corpus of many shards is told in groups of neighbouring ones, so that the page does not grow with it. Reading the
columns of a million frames takes 0.1 s.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from depthforge.corpus.frame_index import IndexedShard
from depthforge.corpus.index import DepthStatistics
from depthforge.corpus.reader import CorpusReader
from depthforge.report.markup import Child, Markup, tag
from depthforge.report.plots import Range, histogram, line_plot, range_plot
from depthforge.report.tables import figure, section, table

__all__ = ["FrameFigures", "ShardGroup", "frame_figures", "shard_groups", "statistics_section"]

Float64 = npt.NDArray[np.float64]

_MOST_GROUPS: Final = 40
_HISTOGRAM_BINS: Final = 25
_NOISE_BINS: Final = 12
_FEWEST_FRAMES: Final = 3


@dataclass(frozen=True, slots=True)
class FrameFigures:
    """The index's figures of every frame, in its order: each (N,) float64 under its name, NaN where there is none.

    ``shards`` are the shards that these frames lie in, in the same order.
    """

    values: dict[str, Float64]
    shards: tuple[IndexedShard, ...]

    def __getitem__(self, name: str) -> Float64:
        return self.values[name]

    @property
    def has_noise(self) -> bool:
        """Whether there is noisy depth."""
        return not bool(np.isnan(self.values["hole_fraction_noisy"]).all())

    @property
    def holes(self) -> Float64:
        """The share of holes by which frames are told apart: of noisy depth, or of clean where there is no other."""
        return self.values["hole_fraction_noisy" if self.has_noise else "hole_fraction_clean"]


@dataclass(frozen=True, slots=True)
class ShardGroup:
    """Neighbouring shards of one split: their ``name``, and their frames ``start`` to ``stop`` in the index."""

    name: str
    split: str
    start: int
    stop: int
    num_rejects: int


def frame_figures(reader: CorpusReader) -> FrameFigures:
    """Read what the index says of each frame."""
    table = reader.index.table(list(DepthStatistics._fields))
    values = {name: table[name].to_numpy().astype(np.float64) for name in DepthStatistics._fields}
    return FrameFigures(values, reader.index.shards)


def shard_groups(shards: Sequence[IndexedShard], most: int = _MOST_GROUPS) -> list[ShardGroup]:
    """Return at most about ``most`` groups of neighbouring shards, none of two splits."""
    each = -(-len(shards) // most) or 1
    groups: list[ShardGroup] = []
    start = first = 0
    while first < len(shards):
        members = [shards[first]]
        while len(members) < each and first + len(members) < len(shards):
            following = shards[first + len(members)]
            if following.split != members[0].split:
                break
            members.append(following)
        stop = start + sum(shard.num_frames for shard in members)
        name = members[0].shard
        if len(members) > 1:
            name = f"{name} to {members[-1].shard.rpartition('-')[2]}"
        groups.append(ShardGroup(name, members[0].split, start, stop, sum(shard.num_rejects for shard in members)))
        start, first = stop, first + len(members)
    return groups


def statistics_section(figures: FrameFigures) -> Markup:
    """Return the section of statistics: over frames, and shard by shard."""
    groups = shard_groups(figures.shards)
    is_grouped = len(groups) < len(figures.shards)
    what = f"{len(figures.shards)} shards in {len(groups)} groups" if is_grouped else f"{len(groups)} shards"
    plots: list[Child] = [_hole_histogram(figures), _depth_histogram(figures)]
    if figures.has_noise:
        plots.append(_noise_curve(figures))
    by_shard: list[Child] = [_hole_ranges(figures, groups), _depth_ranges(figures, groups)]
    return section(
        "statistics",
        "Statistics",
        tag("p", f"Of all {len(figures.holes):,} frames, from the index of the corpus.", class_="lead"),
        tag("div", *plots, class_="plots"),
        tag("h3", "By shard"),
        tag("p", f"{what}, in their order; a stroke spans the frames of one from least to most, its dot is the median.",
            class_="note"),
        tag("div", *by_shard, class_="plots"),
        tag("details", tag("summary", "The same as a table"), _group_table(figures, groups)),
    )  # fmt: skip


def _hole_histogram(figures: FrameFigures) -> Markup:
    shares = {name: 100 * values for name, values in _hole_shares(figures)}
    most = max((float(np.nanmax(values)) for values in shares.values() if not np.isnan(values).all()), default=1.0)
    edges = np.linspace(0, max(most, 0.1), _HISTOGRAM_BINS + 1)
    counts = {name: np.histogram(values[~np.isnan(values)], edges)[0].tolist() for name, values in shares.items()}
    return histogram("Holes in a frame", edges.tolist(), counts, x="share of pixels, %", y="frames")


def _depth_histogram(figures: FrameFigures) -> Markup:
    medians = figures["depth_median_m"]
    known = medians[~np.isnan(medians)]
    edges = np.linspace(0, float(known.max()) if known.size else 1.0, _HISTOGRAM_BINS + 1)
    counts = {"clean": np.histogram(known, edges)[0].tolist()}
    return histogram("Median clean depth of a frame", edges.tolist(), counts, x="metres", y="frames")


def _noise_curve(figures: FrameFigures) -> Markup:
    """Draw the median over frames of their noise, by their median depth."""
    depth, noise = figures["depth_median_m"], 1000 * figures["noise_mean_abs_m"]
    both = ~(np.isnan(depth) | np.isnan(noise))
    depth, noise = depth[both], noise[both]
    points: list[tuple[float, float | None]] = []
    if depth.size:
        edges = np.unique(np.quantile(depth, np.linspace(0, 1, _NOISE_BINS + 1)))
        bins = np.clip(np.searchsorted(edges, depth, side="right") - 1, 0, max(len(edges) - 2, 0))
        for index in range(max(len(edges) - 1, 1)):
            inside = bins == index
            if np.count_nonzero(inside) >= min(_FEWEST_FRAMES, depth.size):
                points.append((float(np.median(depth[inside])), float(np.median(noise[inside]))))
    title = "Noise of a frame against its depth"
    return line_plot(title, {"noisy": points}, x="median depth, m", y="mean |noisy - clean|, mm")


def _hole_ranges(figures: FrameFigures, groups: Sequence[ShardGroup]) -> Markup:
    ranges = {}
    for name, values in _hole_shares(figures):
        ranges[name] = list(_ranges(100 * values, 100 * values, 100 * values, groups, "%"))
    return range_plot("Holes, shard by shard", ranges, x="shards", y="share of pixels, %")


def _depth_ranges(figures: FrameFigures, groups: Sequence[ShardGroup]) -> Markup:
    marks = _ranges(figures["depth_min_m"], figures["depth_median_m"], figures["depth_max_m"], groups, "m")
    return range_plot("Clean depth, shard by shard", {"clean": list(marks)}, x="shards", y="metres")


def _ranges(low: Float64, middle: Float64, high: Float64, groups: Sequence[ShardGroup], unit: str) -> Iterator[Range]:
    for group in groups:
        part = slice(group.start, group.stop)
        found = [
            _over(*each) for each in ((np.nanmin, low[part]), (np.nanmedian, middle[part]), (np.nanmax, high[part]))
        ]
        if None not in found:
            least, median, most = (value for value in found if value is not None)
            label = f"{group.name}: {figure(least)} to {figure(most)} {unit}, median {figure(median)}"
            yield Range(label, least, median, most)


def _group_table(figures: FrameFigures, groups: Sequence[ShardGroup]) -> Markup:
    columns = ["shard", "frames", "rejects", "holes clean, %", "holes noisy, %", "nearest, m", "median, m",
               "farthest, m", "noise, mm"]  # fmt: skip
    if not figures.has_noise:
        columns = [name for name in columns if not name.startswith(("holes noisy", "noise"))]
    rows: list[list[Child]] = []
    for group in groups:
        part = slice(group.start, group.stop)
        known: dict[str, Child] = {
            "shard": group.name,
            "frames": group.stop - group.start,
            "rejects": group.num_rejects,
            "holes clean, %": figure(_over(np.nanmedian, 100 * figures["hole_fraction_clean"][part])),
            "holes noisy, %": figure(_over(np.nanmedian, 100 * figures["hole_fraction_noisy"][part])),
            "nearest, m": figure(_over(np.nanmin, figures["depth_min_m"][part])),
            "median, m": figure(_over(np.nanmedian, figures["depth_median_m"][part])),
            "farthest, m": figure(_over(np.nanmax, figures["depth_max_m"][part])),
            "noise, mm": figure(_over(np.nanmedian, 1000 * figures["noise_mean_abs_m"][part])),
        }
        rows.append([known[name] for name in columns])
    return table(columns, rows, caption="Shards: medians over their frames, nearest and farthest of all")


def _hole_shares(figures: FrameFigures) -> Iterator[tuple[str, Float64]]:
    yield "clean", figures["hole_fraction_clean"]
    if figures.has_noise:
        yield "noisy", figures["hole_fraction_noisy"]


def _over(function: Any, values: Float64) -> float | None:
    """Return ``function`` of the values that there are, None without any."""
    if not values.size or np.isnan(values).all():
        return None
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)
        return float(function(values))
