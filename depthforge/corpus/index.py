"""The two small tables of a shard: its index part, which is its commit, and its rejects.

Both are parquet with fixed columns and no time of writing, so that the same shard gives the same bytes. The index
part's key-value metadata holds, under ``depthforge``, a JSON object that binds it to one fingerprint and to the
SHA-256 of every file of the shard: reading the footer (0.3 ms) is enough to know what is committed. What single values
of its frames were dropped stands beside it, under a key of its own, which a reader need not know.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any, Final, NamedTuple, Protocol, Self

import pyarrow as pa
import pyarrow.parquet as pq

from depthforge.corpus.layout import FORMAT_VERSION, Layout
from depthforge.corpus.schema import CorpusSchema
from depthforge.errors import StorageError
from depthforge.storage import Storage

__all__ = [
    "METADATA_KEY",
    "Committed",
    "CorpusTotals",
    "DepthStatistics",
    "FileDigest",
    "Reject",
    "ShardCommit",
    "commit_metadata",
    "index_columns",
    "index_part",
    "intact_commit",
    "parts",
    "rejects_part",
]

METADATA_KEY: Final = b"depthforge"
_DROPPED_KEY: Final = b"depthforge.dropped"
_PART: Final = ".parquet"
_DIGEST_BLOCK: Final = 2**16
REJECTS_SCHEMA: Final = pa.schema(
    [(name, pa.string()) for name in ("key", "split", "shard", "locator", "stage", "error", "message", "remedy")]
)


class DepthStatistics(NamedTuple):
    """What the index says of a frame's depth.

    Fractions in [0, 1]; metres; noise is noisy minus clean where both measured. None where nothing is measured, and of
    noisy depth where the corpus has none.
    """

    hole_fraction_clean: float
    hole_fraction_noisy: float | None
    depth_min_m: float | None
    depth_median_m: float | None
    depth_max_m: float | None
    noise_mean_abs_m: float | None
    noise_rmse_m: float | None
    noise_bias_m: float | None


@dataclass(frozen=True, slots=True)
class FileDigest:
    """SHA-256 (64 hex digits) and size in bytes of a file."""

    sha256: str
    size: int

    @classmethod
    def of(cls, storage: Storage, name: str) -> Self:
        """Read an object and return its digest."""
        digest, size, reader = hashlib.sha256(), 0, storage.open(name)
        while block := reader.read_at(size, _DIGEST_BLOCK):
            digest.update(block)
            size += len(block)
        return cls(digest.hexdigest(), size)

    @classmethod
    def of_bytes(cls, content: bytes) -> Self:
        """Return the digest of a file with this content."""
        return cls(hashlib.sha256(content).hexdigest(), len(content))


@dataclass(frozen=True, slots=True)
class Reject:
    """A frame that could not be converted: where it is, what failed and what to do."""

    key: str
    locator: str
    stage: str
    error: str
    message: str
    remedy: str | None


@dataclass(frozen=True, slots=True)
class ShardCommit:
    """The footer of an index part.

    ``files`` maps a path relative to the root to the digest of that file. ``dropped`` counts, in words, single values
    of the frames that were no values and are not stored.
    """

    fingerprint: str
    shard: str
    split: str
    num_frames: int
    num_rejects: int
    rejects_by_error: dict[str, int]
    files: dict[str, FileDigest]
    dropped: dict[str, int] = field(default_factory=dict)

    @property
    def stored_bytes(self) -> int:
        """Bytes of the shard and its rejects on disk, the index part itself left out."""
        return sum(digest.size for digest in self.files.values())


class Committed(Protocol):
    """What is counted of a committed shard."""

    @property
    def num_frames(self) -> int:
        """Frames in it."""

    @property
    def num_rejects(self) -> int:
        """Planned frames that could not be converted."""

    @property
    def stored_bytes(self) -> int:
        """Bytes on disk."""


@dataclass(frozen=True, slots=True)
class CorpusTotals:
    """What is committed: frames, rejects, shards, and bytes of shards and rejects on disk."""

    num_frames: int
    num_rejects: int
    num_shards: int
    stored_bytes: int

    @classmethod
    def of(cls, commits: Iterable[Committed]) -> Self:
        """Add up what is committed."""
        num_frames = num_rejects = num_shards = stored_bytes = 0
        for commit in commits:
            num_frames += commit.num_frames
            num_rejects += commit.num_rejects
            num_shards += 1
            stored_bytes += commit.stored_bytes
        return cls(num_frames, num_rejects, num_shards, stored_bytes)


def index_columns(schema: CorpusSchema) -> pa.Schema:
    """Return the columns of an index part, without metadata."""
    columns = [("key", pa.string()), ("split", pa.string()), ("shard", pa.string()), ("row", pa.int32())]
    columns += [(name, pa.float64()) for name in DepthStatistics._fields]
    columns += [(f"has_{spec.name}", pa.bool_()) for spec in schema.fields]
    columns += [(f"hash_{spec.name}", pa.string()) for spec in schema.stored]
    return pa.schema(columns)


def index_part(rows: Sequence[Mapping[str, Any]], schema: CorpusSchema, commit: ShardCommit) -> bytes:
    """Return the parquet file that commits a shard."""
    columns = index_columns(schema).with_metadata(commit_metadata(commit))
    return _parquet(pa.Table.from_pylist([dict(row) for row in rows], schema=columns))


def commit_metadata(commit: ShardCommit) -> dict[bytes, bytes]:
    """Return the key-value metadata of an index part."""
    value = {"format_version": FORMAT_VERSION, **asdict(commit)}
    dropped = value.pop("dropped")
    metadata = {METADATA_KEY: json.dumps(value, sort_keys=True).encode()}
    return metadata | ({_DROPPED_KEY: json.dumps(dropped, sort_keys=True).encode()} if dropped else {})


def rejects_part(rejects: Sequence[Reject], *, shard: str, split: str) -> bytes:
    """Return the parquet file of a shard's rejects."""
    rows = [{**asdict(reject), "split": split, "shard": shard} for reject in rejects]
    return _parquet(pa.Table.from_pylist(rows, schema=REJECTS_SCHEMA))


def parts(storage: Storage) -> list[str]:
    """Return the names of the shards that have an index part, sorted."""
    return [name.removesuffix(_PART) for name in storage.children(Layout.index) if name.endswith(_PART)]


def intact_commit(storage: Storage, shard: str, fingerprint: str) -> ShardCommit | None:
    """Return the commit of a shard.

    None when there is no index part, it cannot be read, it is of another fingerprint, or a file that it names is
    gone or has another size: then the shard is to be made again.
    """
    try:
        metadata = pq.read_metadata(storage.open(Layout.index_part(shard)).file()).metadata or {}
        value = json.loads(metadata[METADATA_KEY])
        if value.pop("format_version") != FORMAT_VERSION:
            return None
        files = {name: FileDigest(**digest) for name, digest in value.pop("files").items()}
        commit = ShardCommit(**value, files=files, dropped=json.loads(metadata.get(_DROPPED_KEY, b"{}")))
        if any(storage.size(name) != digest.size for name, digest in files.items()):
            return None
    except StorageError:
        raise  # the storage does not answer: what is there is not known
    except (OSError, pa.ArrowException, KeyError, TypeError, ValueError):
        return None
    return commit if commit.fingerprint == fingerprint else None


def _parquet(table: pa.Table) -> bytes:
    sink = pa.BufferOutputStream()
    # Keys and hashes do not repeat: dictionaries would only cost time and room.
    pq.write_table(table, sink, compression="zstd", use_dictionary=["split", "shard"])
    return bytes(sink.getvalue())
