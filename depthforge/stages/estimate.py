"""What a run will cost: frames, bytes, memory and time, told before it starts and checked against this machine."""

from __future__ import annotations

import os
import time
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

from depthforge.corpus.plan_file import read_plan
from depthforge.errors import InputError
from depthforge.stages.acceptance import wanted_labels
from depthforge.stages.crew import SHARDS_PER_GPU
from depthforge.stages.pipelining import frames_in_flight
from depthforge.stages.prepare import Prepared

__all__ = ["Estimate", "available_memory_bytes", "estimate", "require_memory"]

# Resident memory of a worker without a frame, rounded up from 320 to 340 MiB measured (benchmarks/bench_memory):
# interpreter, ray, numpy, numba with compiled kernels, OpenCV, pyarrow.
WORKER_BASE_BYTES = 400 * 2**20
# What one frame in flight needs besides its translator: its fields decoded, and encoded or re-read; and float32 images
# between: a frame's depth and a capture's with their masks, and what decoding a file passes through.
FIELD_COPIES, BETWEEN_IMAGES = 2, 4
# What a frame that waits for the model or for the writer needs: its labels, and images of depth, clean and noisy.
WAITING_IMAGES = 4


@dataclass(frozen=True)
class Estimate:
    """What a run will cost: stored bytes before compression, memory, and time if frames were sampled.

    ``worker_bytes`` bounds the resident memory of one worker: a base, what the source holds (``Source.working_bytes``),
    the translator at work (``Translator.working_bytes``), and one frame in flight: shards are written frame by frame,
    ragged rows too, so their length does not matter. Of a ragged label 32 rows are counted; a source whose frames may
    have many more says so in its ``working_bytes``. With a heavy translator it is one frame being read, one being
    written, and three batches that wait.
    ``benchmarks/bench_memory.py`` holds the bound against reality.
    """

    num_frames: int
    num_shards: int
    num_workers: int
    raw_bytes: int
    worker_bytes: int
    available_bytes: int | None
    seconds_per_frame: float | None

    @property
    def total_bytes(self) -> int:
        """Memory of all workers together."""
        return self.worker_bytes * self.num_workers

    @property
    def seconds(self) -> float | None:
        """Expected duration with every worker busy; None when no frame could be sampled."""
        if self.seconds_per_frame is None:
            return None
        return self.num_frames * self.seconds_per_frame / max(1, min(self.num_workers, self.num_shards))


def estimate(prepared: Prepared, *, num_workers: int, sample_frames: int = 3) -> Estimate:
    """Return what the run will cost, timing ``sample_frames`` frames from reading to noise (0: no timing)."""
    schema = prepared.schema
    return Estimate(
        num_frames=prepared.plan.num_frames,
        num_shards=prepared.plan.num_shards,
        num_workers=num_workers,
        raw_bytes=schema.bytes_per_frame * prepared.plan.num_frames,
        worker_bytes=_worker_bytes(prepared),
        available_bytes=available_memory_bytes(),
        seconds_per_frame=_time_frames(prepared, sample_frames) if sample_frames else None,
    )


def _worker_bytes(prepared: Prepared) -> int:
    schema, translator = prepared.schema, prepared.translator
    image_bytes = schema.height * schema.width * 4
    base_bytes = WORKER_BASE_BYTES + prepared.source.working_bytes()
    base_bytes += translator.working_bytes(schema.height, schema.width)
    frame_bytes = FIELD_COPIES * schema.bytes_per_frame + BETWEEN_IMAGES * image_bytes
    if not translator.heavy:
        return base_bytes + frame_bytes
    waiting_bytes = frames_in_flight(translator.batch_size) * (schema.bytes_per_frame + WAITING_IMAGES * image_bytes)
    on_gpu = translator.gpu_use == "required" or (translator.gpu_use == "if_present" and translator.local_gpus() > 0)
    return base_bytes + (SHARDS_PER_GPU if on_gpu else 1) * (2 * frame_bytes + waiting_bytes)


def available_memory_bytes() -> int | None:
    """Return the memory that new processes may use: free memory, less if a cgroup allows less; None if unknown."""
    try:
        pages = os.sysconf("SC_AVPHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
        with open("/proc/meminfo") as file:
            fields = dict(line.split(":", 1) for line in file)
        free = int(fields["MemAvailable"].split()[0]) * 1024 if "MemAvailable" in fields else pages
    except (OSError, ValueError, KeyError):
        return None
    try:
        limit = int(Path("/sys/fs/cgroup/memory.max").read_text())
        used = int(Path("/sys/fs/cgroup/memory.current").read_text())
    except (OSError, ValueError):  # no cgroup v2, or "max"
        return free
    return min(free, max(0, limit - used))


def _time_frames(prepared: Prepared, count: int) -> float | None:
    refs = list(islice((ref for item in read_plan(prepared.plan_file) for ref in item.frames), count + 1))
    wanted = wanted_labels(prepared.manifest.labels, prepared.source, prepared.translator)
    seconds = []
    for ref in refs:
        start = time.perf_counter()
        try:
            prepared.translator.translate(prepared.source.read(ref, wanted), (0, 0))
        except InputError:
            continue
        seconds.append(time.perf_counter() - start)
    prepared.source.close()
    # The first frame compiles kernels and opens archives: it counts only when there is no other.
    return min(seconds[1:] or seconds, default=None)


def require_memory(cost: Estimate) -> None:
    """Raise InputError when the workers of a run on this machine would not fit into its free memory."""
    if cost.available_bytes is not None and cost.total_bytes > cost.available_bytes:
        fitting = cost.available_bytes // cost.worker_bytes
        raise InputError(
            "the workers would not fit into memory",
            expected=f"at most {cost.available_bytes / 2**30:.1f} GiB, which is free now",
            found=f"{cost.num_workers} workers of up to {cost.worker_bytes / 2**30:.2f} GiB",
            remedy=f"--workers {fitting}" if fitting else "free some memory: not even one worker fits",
        )
