"""A corpus in pieces of work: its shards, or its scenes. Reads the index alone."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from itertools import groupby
from typing import Literal, NamedTuple

from depthforge.corpus.reader import CorpusReader
from depthforge.export.base import Part

__all__ = ["parts_of"]


class _Piece(NamedTuple):
    split: str
    scene: str | None
    first: int
    stop: int


def parts_of(reader: CorpusReader, works_by: Literal["shard", "scene"]) -> list[Part]:
    """Return the parts of an export in the order of positions; together they hold every frame once."""
    pieces = list(_shards(reader) if works_by == "shard" else _scenes(reader))
    counts, seen, parts = Counter(piece.split for piece in pieces), Counter[str](), []
    for serial, piece in enumerate(pieces):
        number = seen[piece.split]
        seen[piece.split] += 1
        name = f"{piece.split}-{number:06d}"
        parts.append(Part(name, piece.split, number, counts[piece.split], serial, piece.first, piece.stop, piece.scene))
    return parts


def _shards(reader: CorpusReader) -> Iterator[_Piece]:
    first = 0
    for shard in reader.index.shards:
        if shard.num_frames:
            yield _Piece(shard.split, None, first, first + shard.num_frames)
            first += shard.num_frames


def _scenes(reader: CorpusReader) -> Iterator[_Piece]:
    """Yield scenes, which a split never divides, and whose frames follow each other in it."""
    first = 0
    splits = (shard.split for shard in reader.index.shards for _ in range(shard.num_frames))
    keys = (key for chunk in reader.keys.chunks for key in chunk.to_pylist())
    named = ((split, key.rsplit("/", 1)[0]) for split, key in zip(splits, keys, strict=True))
    for (split, scene), frames in groupby(named):
        stop = first + sum(1 for _ in frames)
        yield _Piece(split, scene, first, stop)
        first = stop
