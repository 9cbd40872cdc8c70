"""The index of a whole corpus: ``index.parquet``, all parts of a finished one in a file, or the parts themselves.

Opening reads the footer alone, which names every shard with its number of frames: 0.1 s for 3125 shards of 1600 frames,
where reading as many parts takes seconds on a disk and minutes on an object store. Columns are read when they are asked
for, and of the row groups of one split alone. An unfinished corpus has parts only, whose footers are read one by one.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from itertools import accumulate
from typing import Any, Final, NamedTuple, Self

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from depthforge.corpus.index import METADATA_KEY, ShardCommit, index_columns, intact_commit, parts
from depthforge.corpus.layout import FORMAT_VERSION, CorpusInfo, Layout
from depthforge.corpus.tables import open_table, read_row_groups, read_table
from depthforge.errors import IncompleteError, IntegrityError
from depthforge.storage import Storage

__all__ = ["FrameIndex", "IndexedShard", "is_sealed", "write_index"]

_GROUP_ROWS: Final = 65536
# Of the columns of text none repeats but these; what does not repeat costs time and room in a dictionary.
_DICTIONARIES: Final = ["split", "shard"]


class IndexedShard(NamedTuple):
    """A committed shard: its name, its split, and what it holds; ``stored_bytes`` of its files on disk."""

    shard: str
    split: str
    num_frames: int
    num_rejects: int
    rejects_by_error: dict[str, int]
    stored_bytes: int

    @classmethod
    def of(cls, commit: ShardCommit) -> Self:
        """Return what the index of the whole says of a commit."""
        return cls(*(getattr(commit, name) for name in cls._fields))


class FrameIndex:
    """Every committed frame of a corpus, or of one split, ordered by split, shard and row.

    ``shards`` holds the shards in that order; ``dropped`` counts, in words, single values that all frames of the corpus
    lack; ``left_out`` the parts of the data set that the listing of a finished one had to leave out. Raises
    IntegrityError when the index cannot be read, IncompleteError when the corpus is not finished and
    ``allow_unfinished`` is false.
    """

    def __init__(
        self, storage: Storage, info: CorpusInfo, split: str | None = None, *, allow_unfinished: bool = False
    ) -> None:
        self._storage = storage
        self._schema = info.corpus_schema
        self._is_sealed = is_sealed(storage)
        if not self._is_sealed and not allow_unfinished:
            raise IncompleteError(
                "the corpus is not finished",
                where=storage.address,
                expected=f"{info.plan.num_shards} committed shards and {Layout.index_whole}",
                found=f"{len(parts(storage))} committed shards",
                remedy="run the conversion again to finish it, or open what there is with allow_unfinished=True",
            )
        if self._is_sealed:
            found, self.dropped, self.left_out = _sealed_shards(self._footer(), storage, info.fingerprint)
        else:
            found, self.dropped = _committed_shards(storage, info)
            self.left_out = 0
        self._before = sum(shard.num_frames for shard in found if split is not None and shard.split < split)
        self.shards = tuple(shard for shard in found if split in (None, shard.split))
        self._starts = np.array([0, *accumulate(shard.num_frames for shard in self.shards)], np.int64)

    def __len__(self) -> int:
        return int(self._starts[-1])

    @property
    def is_whole(self) -> bool:
        """True when it is the index of a finished corpus."""
        return self._is_sealed

    def place(self, position: int) -> tuple[str, int]:
        """Return the shard of the frame at ``position`` and its row there; IndexError when there is none."""
        if not 0 <= position < len(self):
            raise IndexError(f"frame {position} of {len(self)} in {self._storage.address}")
        number = int(np.searchsorted(self._starts, position, side="right")) - 1
        return self.shards[number].shard, position - int(self._starts[number])

    def table(self, columns: Sequence[str]) -> pa.Table:
        """Return ``columns`` of the index, a row for each frame; IntegrityError when they cannot be read."""
        wanted = index_columns(self._schema)
        wanted = pa.schema([wanted.field(name) for name in columns])
        if self._is_sealed:
            return self._sealed_table(wanted)
        return pa.concat_tables([wanted.empty_table(), *(_part(self._storage, at.shard, wanted) for at in self.shards)])

    def rows_of(self, shard: str) -> list[dict[str, Any]]:
        """Return every column of the index for the frames of one shard; IntegrityError when they cannot be read."""
        rows: list[dict[str, Any]] = _part(self._storage, shard, index_columns(self._schema)).to_pylist()
        return rows

    def _sealed_table(self, wanted: pa.Schema) -> pa.Table:
        start, stop = self._before, self._before + len(self)
        with _readable(self._storage, Layout.index_whole), self._footer() as file:
            ends = list(accumulate(file.metadata.row_group(i).num_rows for i in range(file.metadata.num_row_groups)))
            begins = [0, *ends]
            groups = [i for i, end in enumerate(ends) if begins[i] < stop and end > start]
            if not groups:
                return wanted.empty_table()
            rows = read_row_groups(file, groups, wanted.names).cast(wanted)
            return rows.slice(start - begins[groups[0]], stop - start)

    def _footer(self) -> pq.ParquetFile:
        with _readable(self._storage, Layout.index_whole):
            return open_table(self._storage.open(Layout.index_whole).file())


def is_sealed(storage: Storage) -> bool:
    """Say whether every planned shard of the corpus is committed, and its whole index written."""
    return storage.exists(Layout.index_whole)


def write_index(storage: Storage, info: CorpusInfo, commits: Mapping[str, ShardCommit], *, left_out: int = 0) -> None:
    """Write ``index.parquet`` from the parts of ``commits``; holds the rows of one row group.

    ``left_out`` is how many parts of the data set are not in the plan, for whoever asks without listing it again.
    """
    columns = index_columns(info.corpus_schema)
    order = sorted(commits.values(), key=lambda commit: (commit.split, commit.shard))
    dropped = sum((Counter(commit.dropped) for commit in order), Counter[str]())
    footer = {
        "format_version": FORMAT_VERSION,
        "fingerprint": info.fingerprint,
        "shards": [IndexedShard.of(commit)._asdict() for commit in order],
        **({"dropped": dropped} if dropped else {}),
        **({"left_out": left_out} if left_out else {}),
    }
    metadata = {METADATA_KEY: json.dumps(footer, sort_keys=True).encode()}
    target = storage.create(Layout.index_whole)
    try:
        described = columns.with_metadata(metadata)
        with pq.ParquetWriter(target.file(), described, compression="zstd", use_dictionary=_DICTIONARIES) as writer:
            for group in _row_groups(storage, order, columns):
                writer.write_table(group.replace_schema_metadata(metadata), row_group_size=len(group))
        target.finish()
    finally:
        target.abandon()


def _row_groups(storage: Storage, order: Sequence[ShardCommit], columns: pa.Schema) -> Iterator[pa.Table]:
    """Yield the rows of all parts, in tables that hold one split and no more rows than they must."""
    held: list[pa.Table] = []
    for commit, following in zip(order, [*order[1:], None], strict=True):
        if commit.num_frames:
            held.append(_part(storage, commit.shard, columns))
        is_last = following is None or following.split != commit.split
        if held and (is_last or sum(map(len, held)) >= _GROUP_ROWS):
            yield pa.concat_tables(held)
            held.clear()


def _part(storage: Storage, shard: str, columns: pa.Schema) -> pa.Table:
    name = Layout.index_part(shard)
    with _readable(storage, name):
        return read_table(storage.read(name), columns.names).cast(columns)


def _sealed_shards(
    file: pq.ParquetFile, storage: Storage, fingerprint: str
) -> tuple[list[IndexedShard], dict[str, int], int]:
    with _readable(storage, Layout.index_whole), file:
        value = json.loads((file.metadata.metadata or {})[METADATA_KEY])
        for name, expected in (("format_version", FORMAT_VERSION), ("fingerprint", fingerprint)):
            if value[name] != expected:
                raise ValueError(f"{name} {value[name]!r}, corpus.json says {expected!r}")
        found = [IndexedShard(**shard) for shard in value["shards"]]
        if sum(shard.num_frames for shard in found) != file.metadata.num_rows:
            raise ValueError("its rows are not those of its shards")
        return found, dict(value.get("dropped", {})), int(value.get("left_out", 0))


def _committed_shards(storage: Storage, info: CorpusInfo) -> tuple[list[IndexedShard], dict[str, int]]:
    found: list[IndexedShard] = []
    dropped: Counter[str] = Counter()
    for shard in parts(storage):
        commit = intact_commit(storage, shard, info.fingerprint)
        if commit is not None:
            found.append(IndexedShard.of(commit))
            dropped.update(commit.dropped)
    return sorted(found, key=lambda shard: (shard.split, shard.shard)), dict(dropped)


@contextmanager
def _readable(storage: Storage, name: str) -> Iterator[None]:
    """Turn whatever says that a file of the index is not what it should be into an IntegrityError."""
    try:
        yield
    except (OSError, ValueError, KeyError, TypeError, pa.ArrowException) as error:
        what = "the index" if name == Layout.index_whole else "a part of the index"
        mended_by = "" if name == Layout.index_whole else f" and {name}"
        raise IntegrityError(
            f"{what} cannot be read",
            where=storage.where(name),
            found=error,
            remedy=f"remove {Layout.sums}{mended_by} from the corpus and run the conversion again: it makes anew what "
            "is missing and keeps every other shard",
        ) from error
