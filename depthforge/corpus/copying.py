"""Frames of finished corpora copied into a new one: compressed chunks as they are, wherever both encode alike.

A chunk is copied with its checksum and never decoded; what the new corpus encodes otherwise, and ragged rows, which
share chunks, are decoded and encoded again, without loss. The row of the index is copied too, so the commit, which
reads everything back, compares it with the hashes of the corpus that it came from.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, ClassVar, Literal

import numpy as np

from depthforge.corpus.chains import chain_of
from depthforge.corpus.reader import CorpusReader
from depthforge.corpus.schema import CorpusSchema
from depthforge.corpus.writer import ShardReceipt, ShardWriter
from depthforge.labels.spec import LabelSpec
from depthforge.plan import WorkItem

__all__ = ["Copier", "CopyJob", "CopyPiece"]


@dataclass(frozen=True, slots=True)
class CopyPiece:
    """A shard to make: its work item, and for each frame the number of its parent and its position there."""

    item: WorkItem
    origins: tuple[tuple[int, int], ...]

    @property
    def shard(self) -> str:
        """Its name."""
        return self.item.shard


@dataclass(frozen=True)
class CopyJob:
    """What a worker needs besides its shards."""

    root: str
    fingerprint: str
    schema: CorpusSchema
    parents: tuple[str, ...]
    gpu_use: ClassVar[Literal["never"]] = "never"

    def open(self, frame_ended: Callable[[], None] = lambda: None) -> Copier:
        """Return what copies its shards."""
        return Copier(self, frame_ended)


class Copier:
    """The opened parents of a job, kept between shards."""

    def __init__(self, job: CopyJob, frame_ended: Callable[[], None] = lambda: None) -> None:
        self._job, self._frame_ended = job, frame_ended
        self._parents: list[CorpusReader] = []
        self._rows: tuple[tuple[int, str], list[dict[str, Any]]] | None = None

    def load(self) -> None:
        """Open the parents; raises what ``CorpusReader`` raises."""
        if not self._parents:
            self._parents = [CorpusReader(parent) for parent in self._job.parents]

    def convert(self, piece: CopyPiece) -> ShardReceipt:
        """Copy the frames of a shard and commit it.

        Raises StorageError when the output cannot be written, IntegrityError when a frame is not what was committed.
        """
        self.load()
        with ShardWriter(self._job.root, piece.item, self._job.schema, fingerprint=self._job.fingerprint) as writer:
            for number, position in piece.origins:
                self._copy(self._parents[number], number, position, writer)
                self._frame_ended()
            return writer.commit()

    def close(self) -> None:
        """Let go of the parents."""
        self._parents, self._rows = [], None

    def _copy(self, parent: CorpusReader, number: int, position: int, writer: ShardWriter) -> None:
        shard, row = parent.index.place(position)
        if self._rows is None or self._rows[0] != (number, shard):
            self._rows = ((number, shard), parent.index.rows_of(shard))
        known = self._rows[1][row]
        chunks: dict[str, bytes | None] = {}
        ragged: dict[str, Any] = {}
        for spec in self._job.schema.stored:
            there = parent.has(spec.name, position)
            if spec.layout == "ragged":
                ragged[spec.name] = parent.stored(spec.name, position) if there else None
            else:
                chunks[spec.name] = self._chunk(parent, spec, position) if there else None
        writer.copy(known, chunks, ragged)

    def _chunk(self, parent: CorpusReader, spec: LabelSpec, position: int) -> bytes:
        schema = self._job.schema
        chain = chain_of(schema, spec)
        content = parent.chunk(spec.name, position, chain.to_json())
        if content is not None:
            return content
        if schema.is_jpeg(spec.name):
            file = parent.jpeg_file(spec.name, position) or b""
            return chain.encode(np.frombuffer(file, np.uint8))
        return chain.encode(np.ascontiguousarray(parent.stored(spec.name, position)))
