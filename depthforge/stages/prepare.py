"""From a manifest to everything a run needs: plug-ins, schema, plan, fingerprint and what it will cost.

All that can be checked is checked here, before a worker starts: names, labels, the data on disk, the memory.
"""

from __future__ import annotations

import os
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

import numpy as np

from depthforge import registry
from depthforge.corpus.layout import FORMAT_VERSION, CorpusInfo, SourceInfo, TranslatorInfo
from depthforge.corpus.planned import PlanSummary, read_plan, write_plan
from depthforge.corpus.schema import CorpusSchema
from depthforge.errors import InputError, MissingLabelError, UnknownNameError
from depthforge.frame import INTRINSICS, Finding, Frame, LabelSpec
from depthforge.manifest import CHANGES_NO_BYTE, Labels, Manifest, PluginBlock
from depthforge.plan import plan_shards
from depthforge.seeding import fingerprint_of
from depthforge.sources.base import Source
from depthforge.translators.base import Translator

__all__ = ["Estimate", "Prepared", "available_memory_bytes", "estimate", "prepare"]

# Resident memory of a worker without a frame, rounded up from 320 to 340 MiB measured (benchmarks/bench_memory):
# interpreter, ray, numpy, numba with compiled kernels, OpenCV, pyarrow.
WORKER_BASE_BYTES = 400 * 2**20
# What one frame in flight needs: its fields decoded, encoded, compressed and re-read, and float32 images between.
FIELD_COPIES, BETWEEN_IMAGES = 6, 24


@dataclass(frozen=True)
class Prepared:
    """A run that is ready to start. ``plan_file`` lives as long as the context of :func:`prepare`."""

    manifest: Manifest
    source: Source
    translator: Translator
    schema: CorpusSchema
    plan: PlanSummary
    plan_file: Path
    info: CorpusInfo
    findings: tuple[Finding, ...]


@dataclass(frozen=True)
class Estimate:
    """What a run will cost: stored bytes before compression, memory, and time if frames were sampled.

    ``worker_bytes`` bounds the resident memory of one worker: a base, and one frame in flight: shards are written frame
    by frame, so their length does not matter. ``benchmarks/bench_memory.py`` holds the bound against reality.
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


@contextmanager
def prepare(manifest: Manifest) -> Iterator[Prepared]:
    """Check ``manifest`` against its plug-ins and its data, and plan the run.

    Raises UnknownNameError for a label that the source does not have, MissingDataError when there is nothing to
    read, InputError when the listing is unsound.
    """
    source = make_source(manifest.source)
    translator = make_translator(manifest.translator)
    schema = _schema(manifest, source, translator)
    findings: list[Finding] = []
    with tempfile.TemporaryDirectory(prefix="depthforge-plan-") as folder:
        plan_file = Path(folder) / "frames.parquet"
        items = plan_shards(
            source.frames(findings.append),
            splits=manifest.splits,
            seed=manifest.seed,
            shard_frames=manifest.corpus.shard_frames,
            limit=manifest.limit,
        )
        plan = write_plan(plan_file, items)
        if plan.num_frames == 0:
            raise InputError("the source holds no frame", where=source.name, remedy="depthforge check MANIFEST")
        info = _info(manifest, source, translator, schema, plan)
        yield Prepared(manifest, source, translator, schema, plan, plan_file, info, tuple(findings))


def make_source(block: PluginBlock) -> Source:
    """Build the source that a manifest names."""
    source: Source = registry.sources.get(block.name)(block.config)
    return source


def make_translator(block: PluginBlock) -> Translator:
    """Build the translator that a manifest names."""
    translator: Translator = registry.translators.get(block.name)(block.config)
    return translator


def wanted_labels(labels: Labels, source: Source, translator: Translator) -> frozenset[str]:
    """Return the labels to read: what the manifest does not turn off and what the translator itself needs."""
    return frozenset(name for name in source.labels if labels.get(name) != "off") | translator.wanted


def required_labels(labels: Labels, translator: Translator) -> frozenset[str]:
    """Return the labels without which a frame is rejected."""
    return frozenset(name for name, presence in labels.items() if presence == "required") | translator.wanted


def require_labels(frame: Frame, required: frozenset[str]) -> None:
    """Raise MissingLabelError when ``frame`` lacks a required label."""
    absent = sorted(required - present_labels(frame))
    if absent:
        raise MissingLabelError(
            f"the frame has no {' and no '.join(absent)}",
            where=frame.key,
            remedy=f"complete the data set, or set labels.{absent[0]}: if_present (or off) in the manifest",
        )


def present_labels(frame: Frame) -> frozenset[str]:
    """Return the names of the labels that the frame carries; a pose that is not finite is none."""
    present = set(frame.labels)
    if frame.rgb is not None:
        present.add("rgb")
    if frame.T_world_cam is not None and np.isfinite(frame.T_world_cam).all():
        present.add("T_world_cam")
    return frozenset(present)


def estimate(prepared: Prepared, *, num_workers: int, sample_frames: int = 3) -> Estimate:
    """Return what the run will cost, timing ``sample_frames`` frames from reading to noise (0: no timing)."""
    schema = prepared.schema
    image_bytes = schema.height * schema.width * 4
    return Estimate(
        num_frames=prepared.plan.num_frames,
        num_shards=prepared.plan.num_shards,
        num_workers=num_workers,
        raw_bytes=schema.bytes_per_frame * prepared.plan.num_frames,
        worker_bytes=WORKER_BASE_BYTES + FIELD_COPIES * schema.bytes_per_frame + BETWEEN_IMAGES * image_bytes,
        available_bytes=available_memory_bytes(),
        seconds_per_frame=_time_frames(prepared, sample_frames) if sample_frames else None,
    )


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


def _schema(manifest: Manifest, source: Source, translator: Translator) -> CorpusSchema:
    for name in manifest.labels:
        if name not in source.labels:
            raise UnknownNameError("label", name, source.labels, where=f"labels.{name} (source {source.name})")
    height, width = source.size
    carried: Mapping[str, LabelSpec] = {
        name: spec for name, spec in source.labels.items() if manifest.labels.get(name) != "off"
    }
    settings = manifest.corpus
    return CorpusSchema(
        height=height,
        width=width,
        fields=(INTRINSICS, *(carried[name] for name in sorted(carried))),
        depth=settings.depth,
        codec=settings.codec,
        shard_frames=settings.shard_frames,
    )


def _info(
    manifest: Manifest, source: Source, translator: Translator, schema: CorpusSchema, plan: PlanSummary
) -> CorpusInfo:
    portable = manifest.portable()
    identity = {name: value for name, value in portable.items() if name not in CHANGES_NO_BYTE}
    fingerprint = fingerprint_of(
        {
            "format": FORMAT_VERSION,
            "manifest": identity,
            "adapter_version": source.adapter_version,
            "translator": translator.fingerprint,
            "plan": plan.digest,
        }
    )
    return CorpusInfo.describe(
        name=manifest.name,
        fingerprint=fingerprint,
        manifest=portable,
        source=SourceInfo(name=source.name, adapter_version=source.adapter_version, licence=source.licence),
        translator=TranslatorInfo(name=translator.name, version=translator.version, fingerprint=translator.fingerprint),
        schema=schema,
        plan=plan,
    )
