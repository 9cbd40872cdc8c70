"""Which frames of a corpus the page shows, and their pictures.

Frames are taken evenly from every split, and those with the most and the fewest holes beside them: what is usual and
what is not. The choice follows from the index alone. Pictures have one metric colour scale, as those of ``inspect``;
depth and ids are WebP without loss (a hole has sharp borders), colour and normals WebP with. 480 pixels wide, they are
about 150 kB a frame; where all of them together would pass the budget they are made again, narrower.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Final

import cv2
import numpy as np

from depthforge.corpus.picture import field_picture, round_up, spread_mm
from depthforge.corpus.reader import CorpusFrame, CorpusReader
from depthforge.corpus.schema import CorpusSchema
from depthforge.labels.catalogue import DEPTH_RAW, NORMALS, RGB
from depthforge.labels.spec import LabelSpec
from depthforge.report.statistics import FrameFigures

__all__ = ["Gallery", "GalleryFrame", "Scales", "choose_frames", "make_gallery", "pictured_labels"]

_EVENLY: Final = 16
_FEWEST_OF_SPLIT: Final = 2
_EXTREMES: Final = 4
_WIDTHS: Final = (480, 320, 240)
_BUDGET_BYTES: Final = 6_000_000
_QUALITY: Final = 85
_LOSSLESS: Final = 101
_BEYOND_SCALE: Final = 99.5


@dataclass(frozen=True, slots=True)
class Scales:
    """Where the colours end: depth at ``far_m`` metres, the difference at ``spread_mm`` millimetres either way."""

    far_m: float
    spread_mm: float


@dataclass(frozen=True, slots=True)
class GalleryFrame:
    """A frame of the page: where it is, why it was chosen, its figures by the index's names, its pictures by name."""

    key: str
    split: str
    chosen: str
    figures: dict[str, float]
    pictures: dict[str, bytes]

    @property
    def scene(self) -> str:
        """``dataset/scene``."""
        return self.key.rsplit("/", 1)[0]


@dataclass(frozen=True, slots=True)
class Gallery:
    """The frames of the page with their pictures, each ``width`` by ``height`` pixels, and the scales of colour."""

    frames: tuple[GalleryFrame, ...]
    scales: Scales
    width: int
    height: int


def choose_frames(figures: FrameFigures) -> dict[int, str]:
    """Return positions of frames in the order of the index, each with why it was chosen."""
    chosen: dict[int, str] = {}
    total = len(figures.holes)
    for start, stop in _splits(figures):
        count = max(_FEWEST_OF_SPLIT, round(_EVENLY * (stop - start) / total))
        for place in np.unique(np.linspace(start, stop - 1, min(count, stop - start)).round().astype(int)):
            chosen[int(place)] = "evenly spaced"
    shares = figures.holes
    known = np.flatnonzero(~np.isnan(shares))
    order = known[np.argsort(shares[known], kind="stable")]
    for places, why in ((order[:_EXTREMES], "fewest holes"), (order[::-1][:_EXTREMES], "most holes")):
        for place in places.tolist():
            chosen[place] = why
    return dict(sorted(chosen.items()))


def pictured_labels(schema: CorpusSchema) -> list[str]:
    """Return the fields beside depth that can be shown: colour, normals, a real measurement, ids."""
    found = [spec.name for spec in schema.produced if _is_colour(spec)]
    found += [spec.name for spec in schema.fields if _is_pictured(spec)]
    first = [name for name in (RGB.name, DEPTH_RAW.name, NORMALS.name) if name in found]
    return [*first, *(name for name in found if name not in first)]


def make_gallery(reader: CorpusReader, figures: FrameFigures, chosen: dict[int, str]) -> Gallery:
    """Read the chosen frames and draw their pictures; IntegrityError when a chunk is damaged."""
    labels = pictured_labels(reader.schema)
    scales = _scales(reader, list(chosen))
    size = reader.schema.width, reader.schema.height
    frames: list[GalleryFrame] = []
    width = height = 0
    for width in dict.fromkeys(min(each, size[0]) for each in _WIDTHS):
        height = max(1, round(size[1] * width / size[0]))
        frames = list(_within_budget(reader, figures, chosen, labels, scales, (width, height)))
        if len(frames) == len(chosen):
            break
    return Gallery(tuple(frames), scales, width, height)


def _within_budget(
    reader: CorpusReader,
    figures: FrameFigures,
    chosen: dict[int, str],
    labels: Sequence[str],
    scales: Scales,
    size: tuple[int, int],
) -> Iterator[GalleryFrame]:
    """Yield frames until their pictures take more than the budget."""
    total = 0
    for position, why in chosen.items():
        frame = reader.read(position, labels)
        pictures = dict(_pictures(frame, labels, scales, size))
        total += sum(map(len, pictures.values()))
        if total > _BUDGET_BYTES:
            return
        split = reader.index.place(position)[0].rpartition("-")[0]
        values = {name: float(column[position]) for name, column in figures.values.items()}
        yield GalleryFrame(frame.key, split, why, values, pictures)


def _pictures(
    frame: CorpusFrame, labels: Sequence[str], scales: Scales, size: tuple[int, int]
) -> Iterator[tuple[str, bytes]]:
    depth = ["clean"] if frame.noisy is None else ["clean", "noisy", "noisy - clean"]
    for name in [*depth, *(name for name in labels if name in frame.labels or name in frame.images)]:
        stored = frame.images.get(name, frame.labels.get(name))
        is_colour = stored is not None and stored.shape[2:] == (3,)
        drawn = field_picture(name, frame, scales.far_m, scales.spread_mm)
        how = cv2.INTER_AREA if is_colour else cv2.INTER_NEAREST
        drawn = cv2.resize(drawn, size, interpolation=how)
        quality = _QUALITY if is_colour else _LOSSLESS
        yield name, cv2.imencode(".webp", drawn, [cv2.IMWRITE_WEBP_QUALITY, quality])[1].tobytes()


def _scales(reader: CorpusReader, positions: Sequence[int]) -> Scales:
    """Return one scale for all pictures: a far wall that few pixels see does not turn every room blue."""
    far: list[float] = [0.0]
    off: list[float] = [1.0]
    for position in positions:
        frame = reader.read(position, [])
        if frame.clean_valid.any():
            far.append(float(np.percentile(frame.clean_depth_m[frame.clean_valid], _BEYOND_SCALE)))
        off.append(spread_mm(frame))
    return Scales(round_up(max(far) or 1.0), round_up(max(1.0, float(np.median(off[1:] or off)))))


def _splits(figures: FrameFigures) -> Iterator[tuple[int, int]]:
    """Yield where the frames of each split begin and end; a split's shards are adjacent."""
    start = stop = 0
    split: str | None = None
    for shard in figures.shards:
        if split is not None and shard.split != split:
            if stop > start:
                yield start, stop
            start = stop
        split = shard.split
        stop += shard.num_frames
    if stop > start:
        yield start, stop


def _is_pictured(spec: LabelSpec) -> bool:
    is_ids = np.dtype(spec.dtype).kind in "iub" and not spec.trailing
    return spec.layout == "image" and (is_ids or spec.name in (DEPTH_RAW.name, NORMALS.name) or _is_colour(spec))


def _is_colour(spec: LabelSpec) -> bool:
    return (spec.layout, spec.dtype, spec.trailing) == (RGB.layout, RGB.dtype, RGB.trailing)
