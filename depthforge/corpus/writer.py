"""Write one shard: frames in, one committed zarr group with its index part out.

One writer owns a whole shard (several writers inside one lose data silently). A frame is checked, encoded, hashed
and compressed as it is added and goes straight to a temporary directory beside its destination. ``commit`` syncs,
reads everything back and compares it with the hashes, renames, and writes the index part last: that file is the
commit. Killed at any point, the shard is either committed or absent. A second writer of the same shard, started after
a node was thought lost, finds the index part and drops its own work.

Cost on one core at 640x480 (both depths, two label images; zstd 1): 7 ms a frame, 12 with colour, of which the codec
takes two thirds, compressing and then decompressing everything once (benchmarks/bench_writing).
"""

from __future__ import annotations

import math
import re
import shutil
from collections import Counter
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Final, Self

import numpy as np
import numpy.typing as npt

from depthforge.corpus.arrays import ArrayWriter, write_group
from depthforge.corpus.chunks import ChunkCodec
from depthforge.corpus.depth_statistics import depth_statistics
from depthforge.corpus.index import FileDigest, Reject, ShardCommit, index_part, intact_commit, rejects_part
from depthforge.corpus.layout import FORMAT_VERSION, QUANTITY, Layout
from depthforge.corpus.schema import DEPTH_CLEAN, DEPTH_NOISY, CorpusSchema, encode_depth, offsets_name
from depthforge.corpus.shard import ShardReader, content_hash
from depthforge.durable import locked, storage_errors, sync_directory, temporary_beside, write_atomically
from depthforge.errors import CorpusError, DepthforgeError, FrameError, IntegrityError, MissingLabelError
from depthforge.frame import BoolImage, DepthImage, Frame, FrameRef
from depthforge.labels.catalogue import INTRINSICS, POSE, RGB
from depthforge.labels.spec import LabelSpec
from depthforge.labels.vocabularies import VOCABULARIES, class_names
from depthforge.plan import WorkItem

__all__ = ["ShardReceipt", "ShardWriter", "label_of"]

# Rows of ragged labels share chunks of about this many bytes: a frame's few rows alone would not compress.
_RAGGED_CHUNK_BYTES: Final = 65536
_ABSOLUTE_PATH: Final = re.compile(r"(?<![\w./])/(?:[^\s'\":,]+/)+")


@dataclass(frozen=True, slots=True)
class ShardReceipt:
    """What a commit did: small and picklable."""

    shard: str
    num_frames: int
    num_rejects: int
    stored_bytes: int
    rejects_by_error: dict[str, int]


class ShardWriter:
    """Writes the shard of one work item under ``root``; as a context manager it aborts on an exception.

    Frames and rejects come in the order of ``item.frames``, each frame exactly once.
    """

    def __init__(self, root: Path, item: WorkItem, schema: CorpusSchema, *, fingerprint: str) -> None:
        self._layout = Layout(root)
        self._item = item
        self._schema = schema
        self._fingerprint = fingerprint
        self._temporary: Path | None = None
        self._writers: dict[str, ArrayWriter] = {}
        self._codecs = {spec.name: ChunkCodec.of(schema.codec, np.dtype(spec.dtype).itemsize) for spec in schema.stored}
        self._ragged: dict[str, list[npt.NDArray[Any]]] = {s.name: [] for s in schema.fields if s.layout == "ragged"}
        self._rows: list[dict[str, Any]] = []
        self._rejects: list[Reject] = []

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> None:
        self.abort()

    def add(
        self, frame: Frame, noisy_depth_m: DepthImage, noisy_valid: BoolImage, present: frozenset[str] | None = None
    ) -> None:
        """Store one frame with its noisy depth ((H, W) float32 metres, read where ``noisy_valid``).

        ``present`` names the labels that count as present (default: those that the frame carries); the others of
        the schema are stored as missing. Raises FrameError, leaving no trace of the frame, when it does not fit the
        schema or its depth cannot be stored, and StorageError when the disk is full.
        """
        self._require_next(frame.key)
        arrays = self._encode(frame, noisy_depth_m, noisy_valid, present)
        statistics = depth_statistics(arrays[DEPTH_CLEAN], arrays[DEPTH_NOISY], self._schema.depth)
        row: dict[str, Any] = {
            "key": frame.key,
            "split": self._item.split,
            "shard": self._item.shard,
            "row": len(self._rows),
            **statistics._asdict(),
        }
        chunks: dict[str, bytes | None] = {}
        for spec in self._schema.stored:
            array = arrays[spec.name]
            if spec.name not in (DEPTH_CLEAN, DEPTH_NOISY):
                row[f"has_{spec.name}"] = array is not None
            row[f"hash_{spec.name}"] = None if array is None else content_hash(array)
            if spec.layout != "ragged":
                chunks[spec.name] = None if array is None else self._codecs[spec.name].encode(array)
        with storage_errors(self._layout.shards):
            if self._temporary is None:
                self._open()
            for name, chunk in chunks.items():
                self._writers[name].append(chunk)
        for name, rows in self._ragged.items():
            array = arrays[name]
            rows.append(self._no_rows(name) if array is None else array)
        self._rows.append(row)

    def reject(self, ref: FrameRef, stage: str, error: BaseException) -> None:
        """Record that a frame could not be converted; local paths in the message are cut to file names."""
        self._require_next(ref.key)
        message = error.message if isinstance(error, DepthforgeError) else str(error) or type(error).__name__
        if isinstance(error, DepthforgeError):
            if error.expected is not None:
                message += f"; expected {error.expected}"
            if error.found is not None:
                message += f"; found {error.found}"
        remedy = error.remedy if isinstance(error, DepthforgeError) else None
        kind = type(error).__name__
        self._rejects.append(
            Reject(ref.key, ref.locator, stage, kind, _portable(message), _portable(remedy) if remedy else None)
        )

    def commit(self) -> ShardReceipt:
        """Make the shard part of the corpus and return its receipt.

        Raises CorpusError when a planned frame was neither added nor rejected, StorageError when the disk is full,
        IntegrityError when what was written does not read back.
        """
        if len(self._rows) + len(self._rejects) != len(self._item.frames):
            missing = self._item.frames[len(self._rows) + len(self._rejects)]
            raise CorpusError("a planned frame was neither added nor rejected", where=missing.key)
        shard = self._item.shard
        try:
            with storage_errors(self._layout.shard(shard)):
                files: dict[str, FileDigest] = {}
                if self._temporary is not None:
                    self._finish(self._temporary)
                    files = self._reread(self._temporary)
                with locked(self._layout.index / f".{shard}.lock"):
                    commit = intact_commit(self._layout, shard, self._fingerprint)
                    if commit is None:
                        commit = self._publish(files)
        finally:
            self.abort()
        return ShardReceipt(shard, commit.num_frames, commit.num_rejects, commit.stored_bytes, commit.rejects_by_error)

    def abort(self) -> None:
        """Remove what was written and not committed; harmless after a commit."""
        for writer in self._writers.values():
            writer.close()
        self._writers.clear()
        if self._temporary is not None:
            shutil.rmtree(self._temporary, ignore_errors=True)
            self._temporary = None

    def _require_next(self, key: str) -> None:
        position = len(self._rows) + len(self._rejects)
        expected = self._item.frames[position].key if position < len(self._item.frames) else "nothing more"
        if key != expected:
            raise CorpusError("frames come in the order of the plan", where=key, expected=expected)

    def _encode(
        self, frame: Frame, noisy_depth_m: DepthImage, noisy_valid: BoolImage, present: frozenset[str] | None
    ) -> dict[str, Any]:
        """Return every field as it is stored, None for a label that the frame does not have."""
        schema, size = self._schema, (self._schema.height, self._schema.width)
        for image in (frame.depth_m, frame.valid, noisy_depth_m, noisy_valid):
            if image.shape != size:
                raise FrameError("an image has the wrong size", where=frame.key, expected=size, found=image.shape)
        arrays: dict[str, Any] = {
            DEPTH_CLEAN: encode_depth(frame.depth_m, frame.valid, schema.depth, where=f"{frame.key}: clean depth"),
            DEPTH_NOISY: encode_depth(noisy_depth_m, noisy_valid, schema.depth, where=f"{frame.key}: noisy depth"),
        }
        for spec in schema.fields:
            array = label_of(frame, spec)
            if present is not None and spec.name != INTRINSICS.name:
                if spec.name in present and array is None:
                    raise MissingLabelError(f"the frame has no {spec.name}", where=frame.key)
                array = array if spec.name in present else None
            if array is not None:
                spec.require_fits(array, *size, where=frame.key)
                array = np.ascontiguousarray(array, np.dtype(spec.dtype).newbyteorder("<"))
            arrays[spec.name] = array
        return arrays

    def _open(self) -> None:
        """Create the temporary group with an empty array for each field."""
        self._temporary = temporary_beside(self._layout.shard(self._item.shard))
        self._temporary.mkdir()
        for spec in self._schema.stored:
            if spec.layout != "ragged":
                shape = (1, *spec.shape(self._schema.height, self._schema.width))
                self._writers[spec.name] = self._array(spec.name, spec, shape, self._schema.dimension_names(spec))

    def _array(
        self, name: str, spec: LabelSpec, chunk_shape: tuple[int, ...], dims: tuple[str, ...], *, offsets: bool = False
    ) -> ArrayWriter:
        assert self._temporary is not None
        dtype = np.dtype(np.int64 if offsets else spec.dtype)
        return ArrayWriter(
            self._temporary / name,
            dtype=dtype,
            chunk_shape=chunk_shape,
            dimension_names=dims,
            fill_value=0 if offsets else spec.missing,
            attributes={"long_name": f"first row of each frame in {spec.name}"} if offsets else _attributes(spec),
            codec=ChunkCodec.of(self._schema.codec, dtype.itemsize),
        )

    def _write_ragged(self, name: str, frames: list[npt.NDArray[Any]]) -> None:
        """Write the rows of all frames of a ragged label, and the offsets at which each frame begins."""
        spec = next(spec for spec in self._schema.fields if spec.name == name)
        rows = np.concatenate(frames)
        row_bytes = max(1, math.prod(spec.trailing) * rows.itemsize)
        chunk_rows = max(1, _RAGGED_CHUNK_BYTES // row_bytes)
        writer = self._array(name, spec, (chunk_rows, *spec.trailing), self._schema.dimension_names(spec))
        self._writers[name] = writer
        for start in range(0, len(rows), chunk_rows):
            chunk = np.zeros((chunk_rows, *spec.trailing), rows.dtype)
            taken = rows[start : start + chunk_rows]
            chunk[: len(taken)] = taken
            writer.append(self._codecs[name].encode(chunk))
        writer.finish(len(rows))
        offsets = np.cumsum([0, *(len(frame) for frame in frames)], dtype="<i8")
        name = offsets_name(name)
        writer = self._writers[name] = self._array(name, spec, (len(offsets),), ("frame_edge",), offsets=True)
        writer.append(ChunkCodec.of(self._schema.codec, 8).encode(offsets))
        writer.finish(len(offsets))

    def _no_rows(self, name: str) -> npt.NDArray[Any]:
        spec = next(spec for spec in self._schema.fields if spec.name == name)
        return np.empty((0, *spec.trailing), np.dtype(spec.dtype).newbyteorder("<"))

    def _finish(self, directory: Path) -> None:
        """Complete every array and make the whole directory durable."""
        for writer in self._writers.values():
            writer.finish(len(self._rows))
        for name, frames in self._ragged.items():
            self._write_ragged(name, frames)
        attributes = {
            "format_version": FORMAT_VERSION,
            "fingerprint": self._fingerprint,
            "shard": self._item.shard,
            "split": self._item.split,
            "keys": [row["key"] for row in self._rows],
        }
        write_group(directory, attributes)
        for path in (directory, *(path for path in directory.rglob("*") if path.is_dir())):
            sync_directory(path)

    def _reread(self, directory: Path) -> dict[str, FileDigest]:
        """Read the whole shard back, compare each frame with its hash and return the digest of every file."""
        reader = ShardReader(directory)
        try:
            for spec in self._schema.stored:
                for row, found in zip(self._rows, reader.content_hashes(spec.name), strict=True):
                    expected = row[f"hash_{spec.name}"]
                    if expected not in (None, found):
                        raise IntegrityError(
                            f"{spec.name} does not read back as it was written",
                            where=f"{self._layout.shard(self._item.shard)}: {row['key']}",
                            expected=expected,
                            found=found,
                            remedy="check the disk and the memory of this machine",
                        )
        finally:
            reader.close()
        final = self._layout.shard(self._item.shard).relative_to(self._layout.root)
        files = sorted(path for path in directory.rglob("*") if path.is_file())
        return {(final / path.relative_to(directory)).as_posix(): FileDigest.of(path) for path in files}

    def _publish(self, files: dict[str, FileDigest]) -> ShardCommit:
        """Move shard and rejects to their places, then write the index part. Called under the shard's lock."""
        layout, item = self._layout, self._item
        final, rejects = layout.shard(item.shard), layout.rejects_part(item.shard)
        if final.exists():  # of a run that was killed before its commit
            stale = temporary_beside(final)
            final.rename(stale)
            shutil.rmtree(stale, ignore_errors=True)
        if self._temporary is not None:
            self._temporary.rename(final)
            self._temporary = None
        sync_directory(layout.shards)
        if self._rejects:
            content = rejects_part(self._rejects, shard=item.shard, split=item.split)
            write_atomically(rejects, content)
            files = {**files, rejects.relative_to(layout.root).as_posix(): FileDigest.of_bytes(content)}
        else:
            with suppress(FileNotFoundError):
                rejects.unlink()
        commit = ShardCommit(
            fingerprint=self._fingerprint,
            shard=item.shard,
            split=item.split,
            num_frames=len(self._rows),
            num_rejects=len(self._rejects),
            rejects_by_error=dict(sorted(Counter(reject.error for reject in self._rejects).items())),
            files=files,
        )
        write_atomically(layout.index_part(item.shard), index_part(self._rows, self._schema, commit))
        return commit


def label_of(frame: Frame, spec: LabelSpec) -> npt.NDArray[Any] | None:
    """Return what ``frame`` holds of the field ``spec`` (camera matrix, pose, colour or label), None if nothing."""
    if spec.name == INTRINSICS.name:
        return frame.camera.K
    if spec.name == RGB.name:
        return frame.rgb
    if spec.name == POSE.name:
        return frame.T_world_cam
    return frame.labels.get(spec.name)


def _attributes(spec: LabelSpec) -> dict[str, Any]:
    """Return the attributes of an array: what a reader that knows nothing of depthforge needs."""
    attributes: dict[str, Any] = {"long_name": spec.description}
    if spec.units is not None:
        attributes["units"] = spec.units
    if spec.scale is not None:
        attributes["scale_factor"] = spec.scale
    if spec.vocabulary is not None:
        attributes["vocabulary"] = spec.vocabulary
        if spec.vocabulary in VOCABULARIES:
            attributes["class_names"] = list(class_names(spec.vocabulary))
    if spec.name in (DEPTH_CLEAN, DEPTH_NOISY):
        attributes["quantity"] = QUANTITY
        # xarray reads the _FillValue of a float from base64 of its eight bytes; this one is NaN.
        attributes["_FillValue"] = 0 if spec.dtype == "uint16" else "AAAAAAAA+H8="
    return attributes


def _portable(text: str) -> str:
    """Cut absolute paths to their last part: a corpus says nothing of the machine that wrote it."""
    return _ABSOLUTE_PATH.sub("", text)
