"""Ragged labels: streamed to disk as frames come, and read back for their hashes, without ever holding them all."""

from __future__ import annotations

import hashlib
import tracemalloc
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from depthforge.corpus.content_hashes import content_hash, content_hashes
from depthforge.corpus.schema import CorpusSchema
from depthforge.corpus.shard import ShardReader
from depthforge.corpus.writer import ShardWriter
from depthforge.encoding import Codec
from depthforge.errors import FrameError
from depthforge.frame import Camera, Capture, Frame, FrameRef, NoisyDepth
from depthforge.labels.catalogue import GRASPS
from depthforge.labels.spec import LabelSpec
from depthforge.plan import WorkItem
from depthforge.storage import LocalFolder

POINTS = LabelSpec("points", "float32", "ragged", "", (2,), ("axis",), resize="none")
MATRICES = LabelSpec("matrices", "float64", "ragged", "", (40, 300), ("row", "column"), resize="none")
IDS = LabelSpec("ids", "uint16", "ragged", "", resize="none")
NEVER = LabelSpec("never", "uint16", "ragged", "", resize="none")
# Rows that end at a chunk's edge, cross it, fill several chunks, and frames without a row or without the label.
ROWS = (8192, 0, 1, 8191, 20000, None, 3)


def write_ragged(
    root: Path, fields: tuple[LabelSpec, ...], rows: tuple[int | None, ...], codec: Codec | None = None
) -> Path:
    """Write one shard of 2x3 frames, frame i with ``rows[i]`` rows of each label (None: without the labels)."""
    root.mkdir(parents=True, exist_ok=True)
    schema = CorpusSchema(2, 3, fields, codec=codec or Codec(name="none"), shard_frames=len(rows))
    keys = [f"a/b/{number:04d}" for number in range(len(rows))]
    item = WorkItem("train-000000", "train", tuple(FrameRef(key, "") for key in keys))
    with ShardWriter(root, item, schema, fingerprint="f" * 32) as writer:
        for frame in make_frames(keys, fields, rows):
            writer.add(frame, Capture(NoisyDepth(frame.depth_m, frame.valid)))
        writer.commit()
    return root / "shards/train-000000.zarr"


def make_frames(keys: list[str], fields: tuple[LabelSpec, ...], rows: tuple[int | None, ...]) -> Iterator[Frame]:
    depth_m, camera = np.ones((2, 3), np.float32), Camera(1, 1, 0, 0, 3, 2)
    for number, (key, count) in enumerate(zip(keys, rows, strict=True)):
        labels = {}
        for spec in fields:
            if count is not None and spec.name != NEVER.name:
                size = min(count, 3) if spec.name == MATRICES.name else count
                values = np.arange(size * int(np.prod(spec.trailing)), dtype=np.int64) + 7 * number
                labels[spec.name] = (values % 60000).reshape(size, *spec.trailing).astype(spec.dtype)
        yield Frame(key, depth_m, depth_m > 0, camera, labels=labels)


def digests(shard: Path) -> dict[str, str]:
    return {
        path.relative_to(shard).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest()[:16]
        for path in sorted(shard.glob("*/c.*"))
    }


# The chunks of this shard as they were before rows were streamed, when all of them were held until the commit.
DIGESTS = {
    "depth_clean/c.0.0.0": "65f59f6ae8739ffb",
    "depth_noisy/c.0.0.0": "65f59f6ae8739ffb",
    "ids/c.0": "402b94002efe94ee",
    "matrices/c.0.0.0": "721192ba7df8e298",
    "points/c.0.0": "d6870646ac44caee",
}
FIELDS = (POINTS, MATRICES, IDS, NEVER)


def test_the_bytes_of_a_ragged_label_are_those_of_all_its_rows_written_at_once(tmp_path: Path) -> None:
    assert digests(write_ragged(tmp_path / "corpus", FIELDS, ROWS)) == DIGESTS


@pytest.mark.parametrize("codec", ["zstd", "fast", "small", "none"])
def test_every_frame_reads_back_its_own_rows(tmp_path: Path, codec: str) -> None:
    shard = write_ragged(tmp_path / "corpus", FIELDS, ROWS, Codec(name=codec))
    reader = ShardReader(LocalFolder(shard.parent), shard.name)
    for row, frame in enumerate(make_frames([f"a/b/{n}" for n in range(len(ROWS))], FIELDS, ROWS)):
        for spec in FIELDS:
            expected = frame.labels.get(spec.name, np.empty((0, *spec.trailing), spec.dtype))
            np.testing.assert_array_equal(reader.read_ragged(spec.name, row), expected)
    for spec in FIELDS:
        rows = [reader.read_ragged(spec.name, row) for row in range(len(ROWS))]
        assert list(content_hashes(reader, spec.name)) == [content_hash(array) for array in rows]


def peak_bytes(root: Path, num_frames: int) -> int:
    """The most that Python and NumPy hold while a shard of frames with 4096 grasps each is written and re-read."""
    tracemalloc.start()
    try:
        write_ragged(root, (GRASPS,), (4096,) * num_frames)
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


def test_what_is_held_does_not_grow_with_the_ragged_rows_of_a_shard(tmp_path: Path) -> None:
    frame_bytes = 4096 * 17 * 4
    peak_bytes(tmp_path / "imports", 1)
    few, many = peak_bytes(tmp_path / "few", 16), peak_bytes(tmp_path / "many", 144)
    assert many - few < 128 * 0.04 * 2**20, "the bound of benchmarks/bench_memory: 0.04 MiB a frame"
    assert many < 12 * frame_bytes + 2**20


def test_a_frame_that_does_not_fit_leaves_no_row_behind(tmp_path: Path) -> None:
    (tmp_path / "corpus").mkdir()
    schema = CorpusSchema(2, 3, (POINTS, IDS), codec=Codec(name="none"))
    item = WorkItem("train-000000", "train", (FrameRef("a/b/0", ""), FrameRef("a/b/1", "")))
    first, second = make_frames(["a/b/0", "a/b/1"], (POINTS, IDS), (2, 3))
    bad = replace(first, labels={**first.labels, "ids": first.labels["ids"].astype(np.uint32)})
    with ShardWriter(tmp_path / "corpus", item, schema, fingerprint="f" * 32) as writer:
        with pytest.raises(FrameError) as caught:
            writer.add(bad, Capture(NoisyDepth(bad.depth_m, bad.valid)))
        writer.reject(item.frames[0], "write", caught.value)
        writer.add(second, Capture(NoisyDepth(second.depth_m, second.valid)))
        writer.commit()
    reader = ShardReader(LocalFolder(tmp_path / "corpus"), "shards/train-000000.zarr")
    np.testing.assert_array_equal(reader.read_ragged("points", 0), second.labels["points"])
    assert len(reader.array("points")) == 3
