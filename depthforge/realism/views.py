"""What realism is measured on: depth with its validity and camera, from anything that yields frames.

Frames are taken evenly spaced in key order, so that the first and the second half of a set are different stretches
of a recording.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np

from depthforge.addresses import Address
from depthforge.corpus.reader import CorpusFrame, CorpusReader, no_noisy_depth
from depthforge.errors import InputError
from depthforge.frame import BoolImage, Camera, DepthImage
from depthforge.labels.catalogue import DEPTH_RAW, INTRINSICS
from depthforge.sources.base import Source
from depthforge.sources.soundness import require_plausible_scans

__all__ = ["DepthView", "clean_views", "evenly_spaced", "noisy_views", "real_views", "source_views"]


class DepthView(NamedTuple):
    """One depth image: ``depth_m`` (H, W) float32 planar z in metres, read only where ``valid`` (H, W) bool.

    ``clean`` is what the same frame would be without noise, as (depth_m, valid), where that is known.
    """

    depth_m: DepthImage
    valid: BoolImage
    camera: Camera
    clean: tuple[DepthImage, BoolImage] | None = None


def evenly_spaced(total: int, count: int) -> list[int]:
    """Return at most ``count`` different positions out of ``total``, the first and the last among them."""
    return np.unique(np.linspace(0, total - 1, min(count, total)).round().astype(int)).tolist() if total else []


def in_pairs(total: int, count: int) -> list[int]:
    """Return about ``count`` different positions out of ``total``: evenly spaced ones, and after each the next."""
    if count >= total:
        return list(range(total))
    first = {number * (total - 1) // max(count // 2, 1) for number in range(max(count // 2, 1))}
    return sorted(first | {place + 1 for place in first})


def noisy_views(corpus: Address, count: int, shards: frozenset[str] | None = None) -> Iterator[DepthView]:
    """Yield the noisy depth of ``count`` frames of a corpus, or of some of its shards, clean depth beside it.

    InputError when it has no noisy depth (at once), or no frame.
    """
    reader = CorpusReader(corpus, allow_unfinished=True)
    if not reader.schema.noisy_depth:
        raise no_noisy_depth(corpus, (spec.name for spec in reader.schema.produced))
    return (
        DepthView(frame.noisy_depth_m, frame.noisy_valid, _camera(frame), (frame.clean_depth_m, frame.clean_valid))
        for frame in _frames(reader, count, shards=shards)
    )


def real_views(corpus: Address, count: int) -> Iterator[DepthView]:
    """Yield the scans of ``count`` frames of a corpus: what it has as ``depth_raw``, else its noisy depth.

    A corpus of the source ``fused`` has the scans as a label, and in its noisy depth what a simulation makes of their
    truth; one of scans has them as its depth. InputError when it has neither (at once), or no frame.
    """
    reader = CorpusReader(corpus, allow_unfinished=True)
    if not any(spec.name == DEPTH_RAW.name for spec in reader.schema.fields):
        return noisy_views(corpus, count)
    return (
        DepthView(raw_m, np.isfinite(raw_m) & (raw_m > 0), _camera(frame))
        for frame in _frames(reader, count, DEPTH_RAW.name)
        if (raw_m := frame.labels.get(DEPTH_RAW.name)) is not None
    )


def clean_views(corpus: Address, count: int, shards: frozenset[str] | None = None) -> Iterator[DepthView]:
    """Yield the clean depth of the same frames as :func:`noisy_views`."""
    for frame in _frames(CorpusReader(corpus, allow_unfinished=True), count, shards=shards):
        yield DepthView(frame.clean_depth_m, frame.clean_valid, _camera(frame))


def source_views(source: Source, count: int) -> Iterator[DepthView]:
    """Yield ``count`` frames of a source as they are, evenly spaced in key order; no corpus is written."""
    source.prepare()
    references = list(source.frames())
    require_plausible_scans(source, references)
    for place in evenly_spaced(len(references), count):
        frame = source.read(references[place], frozenset())
        yield DepthView(frame.depth_m, frame.valid, frame.camera)


def _frames(
    reader: CorpusReader, count: int, *labels: str, shards: frozenset[str] | None = None
) -> Iterator[CorpusFrame]:
    places = _places(reader, shards)
    if not places:
        raise InputError("the corpus holds no frame yet", where=reader.storage.address)
    in_key_order = sorted(places, key=reader.key)
    for place in evenly_spaced(len(in_key_order), count):
        yield reader.read(in_key_order[place], labels=[INTRINSICS.name, *labels])


def _places(reader: CorpusReader, shards: frozenset[str] | None) -> Sequence[int]:
    if shards is None:
        return range(len(reader))
    places: list[int] = []
    start = 0
    for at in reader.index.shards:
        if at.shard in shards:
            places += range(start, start + at.num_frames)
        start += at.num_frames
    return places


def _camera(frame: CorpusFrame) -> Camera:
    K = frame.labels[INTRINSICS.name]
    height, width = frame.clean_depth_m.shape
    return Camera(float(K[0, 0]), float(K[1, 1]), float(K[0, 2]), float(K[1, 2]), width, height)
