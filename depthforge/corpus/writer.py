"""Write one shard: frames in, one committed zarr group with its index part out.

One writer owns a whole shard (several writers inside one lose data silently). A frame is checked, encoded, hashed
and compressed as it is added and goes straight to a temporary directory beside its destination. ``commit`` syncs,
reads everything back and compares it with the hashes, renames, and writes the index part last: that file is the
commit. Killed at any point, the shard is either committed or absent. A second writer of the same shard, started after
a node was thought lost, finds the index part and drops its own work. Held are one frame and, of each ragged label, one
chunk of 64 KiB.

Cost on one core at 640x480 (both depths, two label images; zstd 1): 7 ms a frame, 12 with colour, of which the codec
takes two thirds, compressing and then decompressing everything once (benchmarks/bench_writing).
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from itertools import chain
from types import TracebackType
from typing import Any, Final, Self

import numpy as np
import numpy.typing as npt

from depthforge.corpus.arrays import ArrayWriter, write_group
from depthforge.corpus.chains import chain_of
from depthforge.corpus.content_hashes import content_hash, content_hashes
from depthforge.corpus.depth_statistics import depth_statistics
from depthforge.corpus.encode import encode_depth
from depthforge.corpus.index import (
    FileDigest,
    Reject,
    ShardCommit,
    index_columns,
    index_part,
    intact_commit,
    rejects_part,
)
from depthforge.corpus.layout import FORMAT_VERSION, QUANTITY, Layout
from depthforge.corpus.ragged import RaggedWriter
from depthforge.corpus.schema import DEPTH_CLEAN, DEPTH_NOISY, CorpusSchema
from depthforge.corpus.shard import ShardReader
from depthforge.errors import CorpusError, DepthforgeError, FrameError, IntegrityError, MissingLabelError
from depthforge.frame import RGB_FILE, Capture, Frame, FrameRef
from depthforge.jpeg import encode_jpeg, read_header, why_not_carried
from depthforge.labels.catalogue import INTRINSICS, POSE, RGB
from depthforge.labels.spec import LabelSpec
from depthforge.labels.vocabularies import VOCABULARIES, class_names
from depthforge.plan import WorkItem
from depthforge.storage import Place, Staged, open_storage

__all__ = ["ShardReceipt", "ShardWriter", "as_held", "jpeg_of", "label_of"]

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
    """Writes the shard of one work item into the corpus at ``root``; a context manager that aborts on an exception.

    Frames and rejects come in the order of ``item.frames``, each frame exactly once.
    """

    def __init__(self, root: Place, item: WorkItem, schema: CorpusSchema, *, fingerprint: str) -> None:
        self._storage = open_storage(root)
        self._item = item
        self._schema = schema
        self._fingerprint = fingerprint
        self._group: Staged | None = None
        self._writers: dict[str, ArrayWriter] = {}
        self._ragged: dict[str, RaggedWriter] = {}
        self._codecs = {spec.name: chain_of(schema, spec) for spec in schema.stored}
        self._rows: list[dict[str, Any]] = []
        self._rejects: list[Reject] = []
        self._dropped: Counter[str] = Counter()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> None:
        self.abort()

    def add(self, frame: Frame, capture: Capture, present: frozenset[str] | None = None) -> None:
        """Store one frame with what the translator made of it.

        ``present`` names the labels that count as present (default: those that the frame carries); the others of
        the schema are stored as missing. Raises FrameError, leaving no trace of the frame, when it does not fit the
        schema or its depth cannot be stored, and StorageError when the disk is full.
        """
        self._require_next(frame.key)
        dropped = Counter(frame.dropped)
        arrays = self._encode(frame, capture, present, dropped)
        statistics = depth_statistics(arrays[DEPTH_CLEAN], arrays.get(DEPTH_NOISY), self._schema.depth)
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
            if spec in self._schema.fields:
                row[f"has_{spec.name}"] = array is not None
            row[f"hash_{spec.name}"] = None if array is None else content_hash(array)
            if spec.layout != "ragged":
                chunks[spec.name] = None if array is None else self._codecs[spec.name].encode(array)
        self._append(row, chunks, arrays)
        self._dropped.update(dropped)

    def copy(
        self, row: Mapping[str, Any], chunks: Mapping[str, bytes | None], ragged: Mapping[str, npt.NDArray[Any] | None]
    ) -> None:
        """Store a frame of another corpus: its ``row`` of the index there, and each field as it is encoded here.

        The commit compares what is read back with the hashes in ``row``. Raises StorageError when the disk is full.
        """
        self._require_next(row["key"])
        own = {"split": self._item.split, "shard": self._item.shard, "row": len(self._rows)}
        known = set(index_columns(self._schema).names)
        self._append({**{name: row[name] for name in row if name in known}, **own}, chunks, ragged)

    def _append(
        self,
        row: dict[str, Any],
        chunks: Mapping[str, bytes | None],
        arrays: Mapping[str, npt.NDArray[Any] | None],
    ) -> None:
        if self._group is None:
            self._open()
        for name, chunk in chunks.items():
            self._writers[name].append(chunk)
        for name, rows in self._ragged.items():
            rows.append(arrays[name])
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
            files: dict[str, FileDigest] = {}
            if self._group is not None:
                self._finish(self._group)
                files = self._reread(self._group)
            with self._storage.locked(Layout.commit_lock(shard)):
                commit = intact_commit(self._storage, shard, self._fingerprint)
                if commit is None:
                    commit = self._publish(files)
        finally:
            self.abort()
        return ShardReceipt(shard, commit.num_frames, commit.num_rejects, commit.stored_bytes, commit.rejects_by_error)

    def abort(self) -> None:
        """Remove what was written and not committed; harmless after a commit."""
        if self._group is not None:
            self._group.drop()
            self._group = None

    def _require_next(self, key: str) -> None:
        position = len(self._rows) + len(self._rejects)
        expected = self._item.frames[position].key if position < len(self._item.frames) else "nothing more"
        if key != expected:
            raise CorpusError("frames come in the order of the plan", where=key, expected=expected)

    def _encode(
        self, frame: Frame, capture: Capture, present: frozenset[str] | None, dropped: Counter[str]
    ) -> dict[str, Any]:
        """Return every field as it is stored, None for a label that the frame does not have; count into ``dropped``."""
        schema, size = self._schema, (self._schema.height, self._schema.width)
        arrays: dict[str, Any] = {
            **_encoded_depths(frame, capture, schema, dropped),
            **_produced_images(frame, capture, schema),
        }
        for spec in schema.fields:
            array = _jpeg_of(frame, schema) if schema.is_jpeg(spec.name) else label_of(frame, spec)
            if present is not None and spec.name != INTRINSICS.name:
                if spec.name in present and array is None:
                    raise MissingLabelError(f"the frame has no {spec.name}", where=frame.key)
                array = array if spec.name in present else None
            if array is not None and not schema.is_jpeg(spec.name):
                spec.require_fits(array, *size, where=frame.key)
                array = np.ascontiguousarray(array, np.dtype(spec.dtype).newbyteorder("<"))
            arrays[spec.name] = array
        return arrays

    def _open(self) -> None:
        """Begin the group with an empty array for each field."""
        group = self._group = self._storage.stage(Layout.shard(self._item.shard))
        for spec in self._schema.stored:
            if spec.layout == "ragged":
                self._ragged[spec.name] = RaggedWriter(group, spec, self._schema, _attributes(spec))
                continue
            self._writers[spec.name] = ArrayWriter(
                group,
                spec.name,
                dtype=np.dtype(spec.dtype),
                chunk_shape=(1, *spec.shape(self._schema.height, self._schema.width)),
                dimension_names=self._schema.dimension_names(spec),
                fill_value=spec.missing,
                attributes=_attributes(spec),
                codec=self._codecs[spec.name],
            )

    def _finish(self, group: Staged) -> None:
        """Complete every array and make the whole group durable."""
        for writer in self._writers.values():
            writer.finish(len(self._rows))
        for ragged in self._ragged.values():
            ragged.finish()
        attributes = {
            "format_version": FORMAT_VERSION,
            "fingerprint": self._fingerprint,
            "shard": self._item.shard,
            "split": self._item.split,
            "keys": [row["key"] for row in self._rows],
        }
        write_group(group, attributes)
        group.seal()

    def _reread(self, group: Staged) -> dict[str, FileDigest]:
        """Read the whole shard back, compare each frame with its hash and return the digest of every file."""
        reader = ShardReader(group.storage, group.prefix)
        try:
            for spec in self._schema.stored:
                for row, found in zip(self._rows, content_hashes(reader, spec.name), strict=True):
                    expected = row[f"hash_{spec.name}"]
                    if expected not in (None, found):
                        raise IntegrityError(
                            f"{spec.name} does not read back as it was written",
                            where=f"{self._storage.where(group.name)}: {row['key']}",
                            expected=expected,
                            found=found,
                            remedy="check the disk and the memory of this machine",
                        )
        finally:
            reader.close()
        return {
            group.name + staged.name.removeprefix(group.prefix): FileDigest.of(group.storage, staged.name)
            for staged in group.storage.objects(group.prefix)
        }

    def _publish(self, files: dict[str, FileDigest]) -> ShardCommit:
        """Put shard and rejects at their places, then the index part. Called under the shard's lock."""
        storage, item = self._storage, self._item
        index, rejects = Layout.index_part(item.shard), Layout.rejects_part(item.shard)
        if self._group is not None:
            self._group.publish()
        else:  # of a run that was killed before its commit
            storage.delete_prefix(Layout.shard(item.shard))
        if self._rejects:
            content = rejects_part(self._rejects, shard=item.shard, split=item.split)
            storage.write(rejects, content)
            files = {**files, rejects: FileDigest.of_bytes(content)}
        else:
            storage.delete(rejects)
        commit = ShardCommit(
            fingerprint=self._fingerprint,
            shard=item.shard,
            split=item.split,
            num_frames=len(self._rows),
            num_rejects=len(self._rejects),
            rejects_by_error=dict(sorted(Counter(reject.error for reject in self._rejects).items())),
            files=files,
            dropped=dict(sorted(self._dropped.items())),
        )
        storage.delete(index)  # one that commits nothing: damaged, or of another corpus
        if storage.put_if_absent(index, index_part(self._rows, self._schema, commit)):
            return commit
        # Only where a lock does not reach every machine.
        theirs = intact_commit(storage, item.shard, self._fingerprint)
        if theirs is None:
            raise CorpusError("another writer of the shard has put an index part that commits nothing", where=index)
        return theirs


def label_of(frame: Frame, spec: LabelSpec) -> npt.NDArray[Any] | None:
    """Return what ``frame`` holds of the field ``spec`` (camera matrix, pose, colour or label), None if nothing."""
    if spec.name == INTRINSICS.name:
        return frame.camera.K
    if spec.name == RGB.name:
        return frame.rgb
    if spec.name == POSE.name:
        return frame.T_world_cam
    return frame.labels.get(spec.name)


def as_held(wanted: frozenset[str], schema: CorpusSchema) -> frozenset[str]:
    """Return ``wanted`` with the file of ``rgb`` in place of its pixels, or beside them, where files are held."""
    if RGB.name not in wanted or not schema.is_jpeg(RGB.name):
        return wanted
    return wanted | {RGB_FILE} if schema.colour.from_pixels else wanted - {RGB.name} | {RGB_FILE}


def jpeg_of(frame: Frame, schema: CorpusSchema) -> bytes | None:
    """Return the JPEG file of a frame's colour: that of its source, or one of its pixels; None without colour.

    Raises FrameError when the source ships JPEG and this frame's file is none that can be carried, or of another size.
    """
    file, encoding = frame.rgb_file, schema.colour
    if file is None and frame.rgb is not None and encoding.from_pixels:
        return encode_jpeg(frame.rgb, encoding.quality)
    if file is None and frame.rgb is not None:
        raise FrameError(
            "the colour of this frame is no JPEG file that can be carried as it is, where others of its source are",
            where=frame.key,
            expected=f"a JPEG of {schema.width} x {schema.height} pixels, 8 bits, one or three components",
            remedy="set corpus.colour: lossless (or jpeg, which makes files of pixels)",
        )
    if file is None:
        return None
    why = why_not_carried(file)
    if why is not None:
        raise FrameError("the colour of this frame cannot be carried as it is", where=frame.key, found=why)
    found, size = read_header(file)[:2], (schema.height, schema.width)
    if found != size:
        raise FrameError("an image has the wrong size", where=frame.key, expected=size, found=found)
    return file


def _jpeg_of(frame: Frame, schema: CorpusSchema) -> npt.NDArray[np.uint8] | None:
    file = jpeg_of(frame, schema)
    return None if file is None else np.frombuffer(file, np.uint8)


def _encoded_depths(
    frame: Frame, capture: Capture, schema: CorpusSchema, dropped: Counter[str]
) -> dict[str, npt.NDArray[Any]]:
    """Return clean depth, and noisy depth where the corpus has it, as they are stored; count into ``dropped``."""
    if (capture.depth is not None) != schema.noisy_depth:
        has = "no noisy depth" if capture.depth is None else "noisy depth"
        raise FrameError(f"the frame comes with {has}, against the schema of the corpus", where=frame.key)
    depths = {DEPTH_CLEAN: (frame.depth_m, frame.valid)}
    if capture.depth is not None:
        depths[DEPTH_NOISY] = capture.depth
    size = (schema.height, schema.width)
    for image in chain.from_iterable(depths.values()):
        if image.shape != size:
            raise FrameError("an image has the wrong size", where=frame.key, expected=size, found=image.shape)
    encoded: dict[str, npt.NDArray[Any]] = {}
    for name, depth in depths.items():
        strays: Counter[str] = Counter()
        which = name.removeprefix("depth_")
        where = f"{frame.key}: {which} depth"
        encoded[name] = encode_depth(*depth, schema.depth, where=where, dropped=strays)
        dropped.update({f"{which} {what}": count for what, count in strays.items()})
    return encoded


def _produced_images(frame: Frame, capture: Capture, schema: CorpusSchema) -> dict[str, npt.NDArray[Any]]:
    """Return what a translator made besides depth, as it is stored."""
    specs = {spec.name: spec for spec in schema.produced}
    if capture.images.keys() != specs.keys():
        raise FrameError(
            "the frame does not come with the images of the corpus",
            where=frame.key,
            expected=sorted(specs),
            found=sorted(capture.images),
        )
    for name, spec in specs.items():
        spec.require_fits(capture.images[name], schema.height, schema.width, where=frame.key)
    return {
        name: np.ascontiguousarray(capture.images[name], np.dtype(spec.dtype).newbyteorder("<"))
        for name, spec in specs.items()
    }


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
