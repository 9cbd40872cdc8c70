"""The plan of a corpus on disk: ``plan/frames.parquet``, a row per frame that the corpus should hold.

Written once, before the first shard, and read back by every resume and by ``verify``: what was promised, against
which index and rejects are counted. Rows of a shard are adjacent and in row order. Both directions stream.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from io import RawIOBase
from itertools import groupby
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from depthforge.corpus.tables import row_groups
from depthforge.frame import FrameRef
from depthforge.plan import WorkItem

__all__ = ["PLAN_FILE", "PlanSummary", "read_plan", "write_plan"]

PLAN_FILE = "plan/frames.parquet"
_SCHEMA = pa.schema([("key", pa.string()), ("locator", pa.string()), ("split", pa.string()), ("shard", pa.string())])
_ROWS_AT_ONCE = 16384


@dataclass(frozen=True, slots=True)
class PlanSummary:
    """What a plan holds, and ``digest``: 32 hex digits over every key and the shard that it goes to."""

    num_frames: int
    num_shards: int
    frames_per_split: dict[str, int]
    digest: str


def write_plan(path: Path, items: Iterable[WorkItem]) -> PlanSummary:
    """Write the plan to ``path``, a local file from which a corpus takes it, and return its summary."""
    digest = hashlib.blake2b(digest_size=16)
    frames_per_split: dict[str, int] = {}
    num_shards = 0
    rows: list[list[str]] = [[], [], [], []]
    with pq.ParquetWriter(path, _SCHEMA, compression="zstd") as writer:

        def flush() -> None:
            writer.write_table(pa.table(rows, schema=_SCHEMA))
            for column in rows:
                column.clear()

        for item in items:
            num_shards += 1
            frames_per_split[item.split] = frames_per_split.get(item.split, 0) + len(item.frames)
            rows[0].extend(ref.key for ref in item.frames)
            rows[1].extend(ref.locator for ref in item.frames)
            rows[2].extend([item.split] * len(item.frames))
            rows[3].extend([item.shard] * len(item.frames))
            digest.update("\0".join((item.shard, *(ref.key for ref in item.frames), "")).encode())
            if len(rows[0]) >= _ROWS_AT_ONCE:
                flush()
        flush()
    return PlanSummary(sum(frames_per_split.values()), num_shards, frames_per_split, digest.hexdigest())


def read_plan(plan: Path | RawIOBase) -> Iterator[WorkItem]:
    """Yield the work items of a written plan (a path, or the open object of a corpus), in the order they were planned.

    Raises OSError, pyarrow.ArrowException or KeyError when it is no plan.
    """
    rows = (
        row
        for group in row_groups(plan)
        for row in zip(*(group.column(name).to_pylist() for name in _SCHEMA.names), strict=True)
    )
    for (shard, split), refs in groupby(rows, key=lambda row: (row[3], row[2])):
        yield WorkItem(shard, split, tuple(FrameRef(key, locator) for key, locator, _, _ in refs))
