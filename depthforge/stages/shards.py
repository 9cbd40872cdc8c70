"""Convert one shard: what every runner has done, in this process or on Ray.

Read a frame, make it noisy, hand it to the writer; a frame that fails becomes a reject row and the shard goes on.
Frames go one by one, or in batches through a heavy translator (``pipelining``). A shard is a pure function of its work
item and job: it may run twice, anywhere, and gives the same bytes.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial

from depthforge.corpus.companions import kept_translator
from depthforge.corpus.schema import CorpusSchema
from depthforge.corpus.writer import ShardReceipt, ShardWriter, as_held
from depthforge.errors import FrameError, FrameHungError
from depthforge.frame import Capture, Frame, FrameRef
from depthforge.labels.catalogue import RGB
from depthforge.labels.recomputing import after_noise, needed_by_noise
from depthforge.manifest import PluginBlock
from depthforge.plan import WorkItem
from depthforge.seeding import frame_words
from depthforge.sources.base import Source
from depthforge.sources.soundness import require_sound
from depthforge.stages.acceptance import present_labels, require_depth, require_labels, required_labels, wanted_labels
from depthforge.stages.mailbox import FramePlace, Pulse
from depthforge.stages.pipelining import Rejected, attempt, convert_in_batches
from depthforge.stages.prepare import Prepared, make_source, make_translator
from depthforge.stages.work import COMMIT, Hung
from depthforge.storage import LocalFolder, Place, Storage, open_storage
from depthforge.translators.base import GpuUse, Translator, require_produced

__all__ = ["Converter", "ShardJob", "job_of", "limit_threads", "open_writer"]


@dataclass(frozen=True)
class ShardJob:
    """What a worker needs besides its work item: a few kilobytes, sent once."""

    storage: Storage
    fingerprint: str
    seed: int
    source: PluginBlock
    translator: PluginBlock
    schema: CorpusSchema
    wanted: frozenset[str]
    required: frozenset[str]
    needs_depth: bool = True
    heavy: bool = False
    gpu_use: GpuUse = "never"
    translator_kept: bool = False
    """True when the translator's files are to be taken from the corpus, which every worker reaches."""

    def open(self) -> Converter:
        """Return what converts its shards; whoever opens it closes it."""
        return Converter(self)


def job_of(prepared: Prepared, root: Place) -> ShardJob:
    """Return the job of a prepared run that writes to ``root``, whose translator's files lie where they do now."""
    storage = open_storage(root)
    if isinstance(storage, LocalFolder):
        storage = LocalFolder(storage.root.absolute())
    manifest = prepared.manifest
    wanted = wanted_labels(manifest.labels, prepared.source, prepared.translator)
    return ShardJob(
        storage=storage,
        fingerprint=prepared.info.fingerprint,
        seed=manifest.seed,
        source=manifest.source,
        translator=manifest.translator,
        schema=prepared.schema,
        wanted=as_held(wanted, prepared.schema)
        | (prepared.translator.wanted | prepared.translator.uses) & {RGB.name}
        | needed_by_noise(spec for name, spec in prepared.source.labels.items() if name in wanted),
        required=required_labels(manifest.labels, prepared.translator),
        needs_depth=prepared.translator.needs_depth,
        heavy=prepared.translator.heavy,
        gpu_use=prepared.translator.gpu_use,
    )


class Converter:
    """The plug-ins of a job, built once: kernels stay compiled, archives open and models loaded between shards.

    ``convert`` may run in several threads at once: each has a source of its own, the translator is shared.
    Whoever builds a converter closes it.
    """

    def __init__(self, job: ShardJob) -> None:
        self.job = job
        self.translator = _translator_of(job)
        self._idle_sources: list[Source] = []

    def load(self) -> None:
        """Load everything that the first frame needs; raises what ``Translator.load`` raises."""
        self.translator.load()

    def convert(self, item: WorkItem, pulse: Pulse | None = None, hung: Hung | None = None) -> ShardReceipt:
        """Convert the frames of ``item`` and commit the shard; return its receipt.

        ``pulse`` is told of every stage of every frame as it begins. Where a worker was ended because a frame of this
        shard did not end, ``hung`` is not None: frames go one by one, so that what hangs is known, and those of
        ``hung`` are rejected unseen. Raises StorageError when the output cannot be written, what ``Translator.load``
        raises, and MemoryError or SystemError when this process is at its end; whatever is wrong with a frame is a
        reject row.
        """
        self.translator.load()
        source = self._idle_sources.pop() if self._idle_sources else make_source(self.job.source)
        try:
            with open_writer(item, self.job) as writer:
                told = pulse or _say_nothing
                if self.translator.heavy and hung is None:
                    self._convert_batches(item, source, writer, told)
                else:
                    self._convert_frames(item, source, writer, told, hung or {})
                _tell(told, item.shard, len(item.frames), item.frames[-1].key, COMMIT)
                return writer.commit()
        finally:
            self._idle_sources.append(source)

    def close(self) -> None:
        """Close what the sources hold open."""
        while self._idle_sources:
            self._idle_sources.pop().close()

    def _convert_frames(self, item: WorkItem, source: Source, writer: ShardWriter, pulse: Pulse, hung: Hung) -> None:
        for number, ref in enumerate(item.frames):
            if ref.key in hung:
                rejected: Rejected | None = Rejected(hung[ref.key], FrameHungError.at(ref.key, hung[ref.key]))
            else:
                rejected = self._convert_frame(ref, source, writer, partial(_tell, pulse, item.shard, number, ref.key))
            if rejected is not None:
                writer.reject(ref, rejected.stage, rejected.error)

    def _convert_frame(
        self, ref: FrameRef, source: Source, writer: ShardWriter, begin: Callable[[str], None]
    ) -> Rejected | None:
        begin("read")
        frame = attempt("read", _read, source, ref, self.job)
        if isinstance(frame, Rejected):
            return frame
        begin("translate")
        translate = _translate_alone if self.translator.heavy else _translate
        capture = attempt("translate", translate, self.translator, frame, self.job)
        if isinstance(capture, Rejected):
            return capture
        begin("write")
        return attempt("write", _write, writer, frame, capture, self.job)

    def _convert_batches(self, item: WorkItem, source: Source, writer: ShardWriter, pulse: Pulse) -> None:
        ended = 0

        def read(ref: FrameRef) -> Frame:
            _tell(pulse, item.shard, ended, ref.key, "read")
            return _read(source, ref, self.job)

        def translate(frames: Sequence[Frame]) -> list[Capture]:
            _tell(pulse, item.shard, ended, frames[0].key, "translate")
            return _translate_batch(self.translator, frames, self.job)

        def write(frame: Frame, capture: Capture) -> None:
            nonlocal ended
            _tell(pulse, item.shard, ended, frame.key, "write")
            _write(writer, frame, capture, self.job)
            ended += 1

        def reject(ref: FrameRef, rejected: Rejected) -> None:
            nonlocal ended
            writer.reject(ref, rejected.stage, rejected.error)
            ended += 1

        convert_in_batches(
            item.frames,
            batch_size=self.translator.batch_size,
            read=read,
            translate=translate,
            write=write,
            reject=reject,
        )


def _translator_of(job: ShardJob) -> Translator:
    translator = make_translator(job.translator)
    if not job.translator_kept:
        return translator
    config = translator.relocated(kept_translator(job.storage))
    return make_translator(job.translator.model_copy(update={"config": config}))


def _say_nothing(shard: str, place: FramePlace) -> None:
    pass


def _tell(pulse: Pulse, shard: str, ended: int, key: str, stage: str) -> None:
    pulse(shard, FramePlace(ended, stage, key))


def open_writer(item: WorkItem, job: ShardJob) -> ShardWriter:
    """Return the writer of one shard."""
    return ShardWriter(job.storage, item, job.schema, fingerprint=job.fingerprint)


def limit_threads(count: int = 1) -> None:
    """Let the kernels of this process use ``count`` threads: workers are processes, one per core."""
    import cv2
    import numba

    cv2.setNumThreads(count)
    numba.set_num_threads(min(count, numba.config.NUMBA_NUM_THREADS))


def _read(source: Source, ref: FrameRef, job: ShardJob) -> Frame:
    frame = require_sound(source.read(ref, job.wanted))
    if job.needs_depth:
        require_depth(frame)
    require_labels(frame, job.required)
    return frame


def _translate(translator: Translator, frame: Frame, job: ShardJob) -> Capture:
    capture = translator.translate(frame, frame_words(job.seed, frame.key, translator.fingerprint))
    require_produced(translator, frame, capture)
    return capture


def _translate_batch(translator: Translator, frames: Sequence[Frame], job: ShardJob) -> list[Capture]:
    fingerprint = translator.fingerprint
    words = [frame_words(job.seed, frame.key, fingerprint) for frame in frames]
    captures = translator.translate_batch(frames, words)
    if len(captures) != len(frames):
        raise FrameError(
            "the translator did not return one capture for each frame",
            where=frames[0].key,
            expected=len(frames),
            found=len(captures),
        )
    for frame, capture in zip(frames, captures, strict=True):
        require_produced(translator, frame, capture)
    return captures


def _translate_alone(translator: Translator, frame: Frame, job: ShardJob) -> Capture:
    return _translate_batch(translator, [frame], job)[0]


def _write(writer: ShardWriter, frame: Frame, capture: Capture, job: ShardJob) -> None:
    if capture.depth is not None:
        frame = after_noise(frame, capture.depth.valid, {spec.name: spec for spec in job.schema.fields})
    writer.add(frame, capture, present_labels(frame))
