"""What a corpus holds, from its description and its index alone: no array is opened."""

from __future__ import annotations

from collections import Counter
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import pyarrow as pa

from depthforge.corpus.frame_index import FrameIndex
from depthforge.corpus.index import CorpusTotals, DepthStatistics
from depthforge.corpus.layout import CorpusInfo, Layout
from depthforge.corpus.rejects import Reason, reasons
from depthforge.labels.spec import LabelSpec
from depthforge.storage import Place, open_storage

__all__ = ["CorpusSummary", "FieldSummary", "SplitSummary", "summarise"]


_REASONS_TOLD = 5


@dataclass(frozen=True, slots=True)
class FieldSummary:
    """One field beside depth; ``num_present`` counts the frames that have it."""

    name: str
    dtype: str
    layout: str
    description: str
    units: str | None
    num_present: int


@dataclass(frozen=True, slots=True)
class SplitSummary:
    """What one split was planned to hold, and holds."""

    num_planned: int
    num_frames: int
    num_rejects: int
    num_shards: int


@dataclass(frozen=True)
class CorpusSummary:
    """What a corpus holds. ``statistics`` are means over frames of the index's figures (metres, fractions), except
    that the depth range is the smallest minimum and the largest maximum; None where no frame measures anything.
    ``dropped`` counts, in words, single values that were no values and are not stored.
    """

    name: str
    fingerprint: str
    is_finished: bool
    quantity: str
    units: dict[str, str]
    height: int
    width: int
    depth: dict[str, Any]
    codec: dict[str, Any]
    source: str
    translator: str
    licence: str
    non_commercial: bool
    totals: CorpusTotals
    splits: dict[str, SplitSummary]
    fields: tuple[FieldSummary, ...]
    statistics: dict[str, float | None]
    rejects_by_error: dict[str, int]
    reasons: list[Reason]
    dropped: dict[str, int]
    raw_bytes: int

    @property
    def compression(self) -> float | None:
        """Raw bytes for each stored byte."""
        return self.raw_bytes / self.totals.stored_bytes if self.totals.stored_bytes else None

    def to_json(self) -> dict[str, Any]:
        """Return plain data."""
        return {**asdict(self), "compression": self.compression}

    def lines(self) -> list[str]:
        """Return a page of text, a fact a line."""
        state = "finished" if self.is_finished else "NOT FINISHED"
        if self.depth["dtype"] == "uint16":
            stored = f"uint16 x {self.depth['scale_m']:g} m, 0 is no measurement"
        else:
            stored = "float32, NaN is no measurement"
        size = f"{self.totals.stored_bytes / 2**20:.1f} MiB"
        if self.compression is not None:
            size += f", {self.compression:.1f} times smaller than raw"
        return [
            f"{self.name}: {self.totals.num_frames} frames of {self.width}x{self.height}, {state}",
            f"  depth        {self.quantity} in {self.units['depth']}, stored as {stored}",
            f"  source       {self.source}; licence: {self.licence}",
            f"  translator   {self.translator}",
            f"  fingerprint  {self.fingerprint}",
            f"  size         {size}, {self.totals.num_shards} shards, codec {self.codec['name']} {self.codec['level']}",
            *(self._split_line(name) for name in self.splits),
            *(f"  field        {self._field_text(field)}" for field in self.fields),
            *self._statistics_lines(),
            f"  rejects      {self.totals.num_rejects}",
            *(
                f"               {reason}" + (f"; try: {reason.remedy}" if reason.remedy else "")
                for reason in self.reasons[:_REASONS_TOLD]
            ),
            *self._more_reasons(),
            *(f"  dropped      {count} {what}" for what, count in self.dropped.items()),
        ]

    def _more_reasons(self) -> list[str]:
        more = len(self.reasons) - _REASONS_TOLD
        return [f"               and {more} other reasons: depthforge rejects lists them"] if more > 0 else []

    def _split_line(self, name: str) -> str:
        split = self.splits[name]
        return (
            f"  split        {name}: {split.num_frames} of {split.num_planned} frames in {split.num_shards} shards, "
            f"{split.num_rejects} rejects"
        )

    def _field_text(self, field: FieldSummary) -> str:
        units = f" [{field.units}]" if field.units else ""
        return f"{field.name}{units}: {field.dtype}, in {field.num_present} frames; {field.description}"

    def _statistics_lines(self) -> list[str]:
        figures = self.statistics
        if figures["depth_min_m"] is None:
            return ["  holes        nothing is measured"]
        holes = f"clean {figures['hole_fraction_clean']:.1%}"
        if figures["hole_fraction_noisy"] is not None:
            holes += f", noisy {figures['hole_fraction_noisy']:.1%}"
        depth = (
            f"{figures['depth_min_m']:.3f} to {figures['depth_max_m']:.3f} m, median {figures['depth_median_m']:.3f} m"
        )
        lines = [f"  holes        {holes} (mean over frames)", f"  clean depth  {depth}"]
        if figures["noise_rmse_m"] is not None:
            mm = {name: (figures[name] or 0.0) * 1000 for name in ("noise_mean_abs_m", "noise_rmse_m", "noise_bias_m")}
            lines.append(
                f"  noise        mean abs {mm['noise_mean_abs_m']:.2f} mm, rmse {mm['noise_rmse_m']:.2f} mm, "
                f"bias {mm['noise_bias_m']:+.2f} mm (mean over frames)"
            )
        return lines


def summarise(root: Place) -> CorpusSummary:
    """Summarise the corpus at ``root``, finished or not; MissingDataError when there is none."""
    storage = open_storage(root)
    info = CorpusInfo.load(storage)
    schema = info.corpus_schema
    whole = FrameIndex(storage, info, allow_unfinished=True)
    has = [f"has_{spec.name}" for spec in schema.fields]
    index = whole.table([*DepthStatistics._fields, *has])
    rejects: Counter[str] = Counter()
    for shard in whole.shards:
        rejects.update(shard.rejects_by_error)
    splits = {}
    for split, num_planned in info.plan.frames_per_split.items():
        totals = CorpusTotals.of(shard for shard in whole.shards if shard.split == split)
        splits[split] = SplitSummary(num_planned, totals.num_frames, totals.num_rejects, totals.num_shards)
    totals = CorpusTotals.of(whole.shards)
    return CorpusSummary(
        name=info.name,
        fingerprint=info.fingerprint,
        is_finished=storage.exists(Layout.sums) and totals.num_shards == info.plan.num_shards,
        quantity=info.quantity,
        units=info.units,
        height=schema.height,
        width=schema.width,
        depth=schema.depth.model_dump(mode="json"),
        codec=schema.codec.model_dump(mode="json"),
        source=f"{info.source.name} (adapter version {info.source.adapter_version})",
        translator=f"{info.translator.name} (version {info.translator.version}, {info.translator.fingerprint})",
        licence=info.source.licence.name,
        non_commercial=info.source.licence.non_commercial,
        totals=totals,
        splits=splits,
        fields=(
            *(_field(spec, totals.num_frames) for spec in schema.produced),
            *(_field(spec, _count(index, f"has_{spec.name}")) for spec in schema.fields),
        ),
        statistics={name: _overall(index, name) for name in DepthStatistics._fields},
        rejects_by_error=dict(rejects.most_common()),
        reasons=reasons(storage) if rejects else [],
        dropped=whole.dropped,
        raw_bytes=schema.bytes_per_frame * totals.num_frames,
    )


def _field(spec: LabelSpec, num_present: int) -> FieldSummary:
    return FieldSummary(spec.name, spec.dtype, spec.layout, spec.description, spec.units, num_present)


def _count(index: pa.Table, column: str) -> int:
    return int(np.count_nonzero(index[column].to_numpy()))


def _overall(index: pa.Table, column: str) -> float | None:
    values = index[column].to_numpy()
    values = values[~np.isnan(values)] if values.dtype.kind == "f" else values[:0]
    if not values.size:
        return None
    if column == "depth_min_m":
        return float(values.min())
    return float(values.max() if column == "depth_max_m" else values.mean())
