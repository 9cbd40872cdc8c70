"""Convert one shard: the function that every runner calls, in this process, in a pool or on Ray.

Read a frame, make it noisy, hand it to the writer; a frame that fails becomes a reject row and the shard goes on.
A shard is a pure function of its work item and job: it may run twice, anywhere, and gives the same bytes.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from depthforge.corpus.schema import CorpusSchema
from depthforge.corpus.writer import ShardReceipt, ShardWriter
from depthforge.errors import FrameError, StorageError
from depthforge.frame import Frame, FrameRef
from depthforge.manifest import PluginBlock
from depthforge.plan import WorkItem
from depthforge.seeding import frame_words
from depthforge.sources.base import Source
from depthforge.stages.prepare import (
    Prepared,
    make_source,
    make_translator,
    present_labels,
    require_labels,
    required_labels,
    wanted_labels,
)
from depthforge.translators.base import NoisyDepth, Translator

__all__ = ["ShardJob", "convert_shard", "job_of", "limit_threads", "open_writer"]


@dataclass(frozen=True)
class ShardJob:
    """What a worker needs besides its work item: a few kilobytes, sent once."""

    root: Path
    fingerprint: str
    seed: int
    source: PluginBlock
    translator: PluginBlock
    schema: CorpusSchema
    wanted: frozenset[str]
    required: frozenset[str]


def job_of(prepared: Prepared, root: Path) -> ShardJob:
    """Return the job of a prepared run that writes to ``root``."""
    manifest = prepared.manifest
    return ShardJob(
        root=root.absolute(),
        fingerprint=prepared.info.fingerprint,
        seed=manifest.seed,
        source=manifest.source,
        translator=manifest.translator,
        schema=prepared.schema,
        wanted=wanted_labels(manifest.labels, prepared.source, prepared.translator),
        required=required_labels(manifest.labels, prepared.translator),
    )


def convert_shard(item: WorkItem, job: ShardJob) -> ShardReceipt:
    """Convert the frames of ``item`` and commit the shard; return its receipt.

    Raises StorageError when the output cannot be written; whatever is wrong with a frame is a reject row.
    """
    source, translator = _plugins(job)
    with open_writer(item, job) as writer:
        for ref in item.frames:
            stage = "read"
            try:
                frame = _read(source, ref, job)
                stage = "translate"
                noisy = _translate(translator, frame, job)
                stage = "write"
                writer.add(frame, noisy.depth_m, noisy.valid, present_labels(frame))
            # SystemError is how a worker that is being shut down sees its exit from inside compiled code: such a
            # frame has nothing wrong with it, and must be read again by whoever goes on.
            except (MemoryError, SystemError, StorageError):
                raise
            # A bug in a plug-in must not lose the other frames: it becomes a row that names it.
            except Exception as error:
                writer.reject(ref, stage, error)
        return writer.commit()


def open_writer(item: WorkItem, job: ShardJob) -> ShardWriter:
    """Return the writer of one shard."""
    return ShardWriter(job.root, item, job.schema, fingerprint=job.fingerprint)


def limit_threads(count: int = 1) -> None:
    """Let the kernels of this process use ``count`` threads: workers are processes, one per core."""
    import cv2
    import numba

    cv2.setNumThreads(count)
    numba.set_num_threads(min(count, numba.config.NUMBA_NUM_THREADS))


def _read(source: Source, ref: FrameRef, job: ShardJob) -> Frame:
    frame = source.read(ref, job.wanted).require_sound()
    if not frame.valid.any():
        raise FrameError(
            "the frame has no valid depth",
            where=ref.key,
            remedy="nothing can be simulated from an empty frame; depthforge check lists such frames",
        )
    require_labels(frame, job.required)
    return frame


def _translate(translator: Translator, frame: Frame, job: ShardJob) -> NoisyDepth:
    return translator.translate(frame, frame_words(job.seed, frame.key, translator.fingerprint))


_cache: tuple[tuple[str, Path], Source, Translator] | None = None


def _plugins(job: ShardJob) -> tuple[Source, Translator]:
    """Return the job's plug-ins, built once per process: kernels stay compiled and archives open between shards."""
    global _cache
    key = (job.fingerprint, job.root)
    if _cache is None or _cache[0] != key:
        if _cache is not None:
            _cache[1].close()
        _cache = (key, make_source(job.source), make_translator(job.translator))
    return _cache[1], _cache[2]
