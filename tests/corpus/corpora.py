"""Tiny corpora for tests: 12x16 frames whose every value follows from their number."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow.parquet as pq

from depthforge.corpus import frame_index, store, writer
from depthforge.corpus.layout import CorpusInfo, Layout, SourceInfo, TranslatorInfo
from depthforge.corpus.plan_file import write_plan
from depthforge.corpus.schema import CorpusSchema
from depthforge.corpus.store import CorpusStore, open_for_writing
from depthforge.corpus.writer import ShardReceipt, ShardWriter
from depthforge.errors import DecodeError
from depthforge.frame import Camera, Capture, Frame, FrameRef, Licence, NoisyDepth
from depthforge.labels.catalogue import INSTANCE, INTRINSICS, NORMALS, OBJECT_ID, OBJECT_POSE, POSE, RGB, SEMANTIC_NYU40
from depthforge.plan import WorkItem, plan_shards
from depthforge.storage import local

HEIGHT, WIDTH = 12, 16
CAMERA = Camera(20.0, 21.0, 8.0, 6.0, WIDTH, HEIGHT)
FIELDS = (INTRINSICS, POSE, RGB, NORMALS, SEMANTIC_NYU40, INSTANCE, OBJECT_ID, OBJECT_POSE)
SCHEMA = CorpusSchema(HEIGHT, WIDTH, FIELDS, shard_frames=4)


def ref(number: int) -> FrameRef:
    """The reference of a frame: ten frames to a scene."""
    return FrameRef(f"tiny/scene-{number // 10:02d}/{number:04d}", str(number))


def clean_mm(number: int) -> npt.NDArray[np.int64]:
    """Clean depth in millimetres, 0 where there is none: a ramp with a hole."""
    y, x = np.mgrid[:HEIGHT, :WIDTH]
    depth = 1000 + 10 * number + 7 * y + 3 * x
    depth[:2, :3] = 0
    return depth


def noisy_mm(number: int) -> npt.NDArray[np.int64]:
    """Noisy depth in millimetres, 0 where there is none: 5 mm too far, with a larger hole."""
    depth = np.where(clean_mm(number) > 0, clean_mm(number) + 5, 0)
    depth[5, :] = 0
    return depth


def noisy(number: int) -> Capture:
    """What a translator made of a frame: noisy depth."""
    return Capture(NoisyDepth(metres(noisy_mm(number)), noisy_mm(number) > 0))


def metres(depth_mm: npt.NDArray[np.int64]) -> npt.NDArray[np.float32]:
    """Millimetres as float32 metres."""
    return (depth_mm / 1000).astype(np.float32)


def make_frame(number: int) -> Frame:
    """A clean frame with every label; every third has no rgb, objects vary in number from 0 to 2."""
    random = np.random.default_rng(number)
    pose = np.eye(4)
    pose[0, 3] = number
    return Frame(
        key=ref(number).key,
        depth_m=metres(clean_mm(number)),
        valid=clean_mm(number) > 0,
        camera=CAMERA,
        rgb=random.integers(0, 255, (HEIGHT, WIDTH, 3), np.uint8) if number % 3 else None,
        T_world_cam=pose,
        labels={
            "normals": random.integers(-32767, 32767, (HEIGHT, WIDTH, 3), np.int16),
            "semantic": np.full((HEIGHT, WIDTH), number, np.uint16),
            "instance": np.arange(HEIGHT * WIDTH, dtype=np.uint16).reshape(HEIGHT, WIDTH),
            "object_id": np.arange(number % 3, dtype=np.uint32) + 3_000_000_000,
            "object_pose": random.random((number % 3, 4, 4)),
        },
    )


def read_source(reference: FrameRef, wanted: frozenset[str]) -> Frame:
    """Read a frame as a source would."""
    return make_frame(int(reference.locator))


def items(count: int, schema: CorpusSchema = SCHEMA) -> list[WorkItem]:
    """The plan of ``count`` frames in two splits."""
    refs = (ref(number) for number in range(count))
    return list(plan_shards(refs, splits={"train": 0.5, "val": 0.5}, seed=0, shard_frames=schema.shard_frames))


def one_item(*numbers: int) -> WorkItem:
    """A work item of some frames."""
    return WorkItem("train-000000", "train", tuple(ref(number) for number in numbers))


def make_info(folder: Path, count: int, schema: CorpusSchema = SCHEMA, **manifest: Any) -> tuple[CorpusInfo, Path]:
    """Describe a corpus of ``count`` frames and write its plan into ``folder``."""
    folder.mkdir(parents=True, exist_ok=True)
    plan = write_plan(folder / "plan.parquet", items(count, schema))
    content = {"name": "tiny", "description": "for tests", "seed": 1, **manifest}
    identity = {name: value for name, value in content.items() if name != "description"} | {"schema": schema.to_json()}
    info = CorpusInfo.describe(
        name="tiny",
        identity={**identity, "plan": {"num_frames": plan.num_frames, "digest": plan.digest}},
        manifest=content,
        source=SourceInfo(name="tiny", adapter_version=1, licence=Licence("CC BY-NC 4.0", True, "https://example.org")),
        translator=TranslatorInfo(name="farther", version=1, fingerprint="0" * 32),
        schema=schema,
        plan=plan,
    )
    return info, folder / "plan.parquet"


def new_root(folder: Path) -> Path:
    """An empty corpus directory, as a writer may find it."""
    root = folder / "corpus"
    for name in ("shards", "index", "rejects"):
        (root / name).mkdir(parents=True)
    return root


def write_shard(
    root: Path,
    item: WorkItem,
    schema: CorpusSchema = SCHEMA,
    *,
    fingerprint: str = "f" * 32,
    rejected: Iterable[int] = (),
) -> ShardReceipt:
    """Write one shard, rejecting some frames by number."""
    refused = set(rejected)
    with ShardWriter(root, item, schema, fingerprint=fingerprint) as shard:
        for reference in item.frames:
            number = int(reference.locator)
            if number in refused:
                shard.reject(reference, "read", DecodeError("the file is cut short", where=f"/data/{number}.png"))
            else:
                shard.add(make_frame(number), noisy(number))
        return shard.commit()


def fill(corpus: CorpusStore, rejected: Iterable[int] = ()) -> None:
    """Write every pending shard."""
    for item in corpus.pending():
        write_shard(
            corpus.storage, item, corpus.info.corpus_schema, fingerprint=corpus.info.fingerprint, rejected=rejected
        )


def build(folder: Path, count: int = 22, schema: CorpusSchema = SCHEMA, rejected: Iterable[int] = (7,)) -> Path:
    """Make a finished corpus of ``count`` frames under ``folder`` and return its root."""
    info, plan_file = make_info(folder, count, schema)
    root = folder / "corpus"
    with open_for_writing(root, info, plan_file) as corpus:
        fill(corpus, rejected)
        corpus.finish()
    return root


def index_of(root: Path, shard: str = "train-000000") -> list[dict[str, object]]:
    """The rows of the index part of a shard."""
    return pq.read_table(root / Layout.index_part(shard)).to_pylist()


def files_of(root: Path) -> dict[str, bytes]:
    """Every file below ``root`` by its relative path."""
    return {p.relative_to(root).as_posix(): p.read_bytes() for p in sorted(root.rglob("*")) if p.is_file()}


KILLS = (
    "before the first file",
    "while adding",
    "before the sync",
    "before the re-read",
    "before the rename",
    "after the rename",
    "while writing the index",
    "while writing the index of the whole",
    "before the checksums",
)


def run_and_die(folder: Path, point: str) -> None:
    """Make the corpus of :func:`build`, killed with SIGKILL at ``point`` of its second shard (or of finishing)."""

    def after(
        function: Callable[..., Any], calls: int, counts: Callable[..., bool] = lambda *_, **__: True
    ) -> Callable[..., Any]:
        """Die instead of the call that follows ``calls`` of those that count."""
        seen = 0

        def wrapped(*args: Any, **kwargs: Any) -> Any:
            nonlocal seen
            seen += counts(*args, **kwargs)
            if seen > calls:
                os.kill(os.getpid(), signal.SIGKILL)
            return function(*args, **kwargs)

        return wrapped

    kind: Any = ShardWriter
    if point == "before the first file":
        kind._open = after(kind._open, 1)
    elif point == "while adding":
        kind._encode = after(kind._encode, 6)
    elif point == "before the sync":
        kind._finish = after(kind._finish, 1)
    elif point == "before the re-read":
        kind._reread = after(kind._reread, 1)
    elif point == "before the rename":
        kind._publish = after(kind._publish, 1)
    elif point == "after the rename":
        local.sync_directory = after(local.sync_directory, 1, lambda path: path.name == "shards")
    elif point == "while writing the index":
        writer.index_part = after(writer.index_part, 1)
    elif point == "while writing the index of the whole":
        frame_index._row_groups = after(frame_index._row_groups, 0)
    elif point == "before the checksums":
        store.croissant = after(store.croissant, 0)
    build(folder)


if __name__ == "__main__":
    run_and_die(Path(sys.argv[1]), sys.argv[2])
