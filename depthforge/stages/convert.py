"""The conversion stage: a prepared run to a finished corpus, from wherever the last run stopped."""

from __future__ import annotations

import os
import time
from collections import Counter
from dataclasses import asdict, dataclass, field, replace
from typing import Any

from depthforge.addresses import Address
from depthforge.corpus.index import CorpusTotals
from depthforge.corpus.rejects import Reason, reasons
from depthforge.corpus.store import CorpusStore, finished_corpus, open_for_writing
from depthforge.corpus.writer import ShardReceipt
from depthforge.errors import CorpusError, IncompleteError
from depthforge.identity import fingerprint_of
from depthforge.manifest import Manifest
from depthforge.progress import Progress, Silent
from depthforge.stages.cluster import FRAME_LIMIT_S, STALL_LIMIT_S, RayOptions
from depthforge.stages.crew import Failure, in_words
from depthforge.stages.estimate import estimate, require_memory
from depthforge.stages.prepare import Prepared, corpus_identity, make_source, make_translator
from depthforge.stages.runners import run_inline, run_on_ray
from depthforge.stages.shards import job_of
from depthforge.storage import open_storage

__all__ = ["ConversionReport", "convert", "finished"]

#: Where the first shards hold nothing but rejects, the others are not tried.
_SHARDS_OF_REJECTS = 2
_REASONS_TOLD = 3


@dataclass
class ConversionReport:
    """What a conversion did, and what the corpus now holds."""

    out: str
    fingerprint: str
    num_frames: int = 0
    num_rejects: int = 0
    num_shards: int = 0
    stored_bytes: int = 0
    made_frames: int = 0
    made_shards: int = 0
    seconds: float = 0.0
    nothing_to_do: bool = False
    rejects_by_error: dict[str, int] = field(default_factory=dict)
    reasons: list[Reason] = field(default_factory=list)
    findings: int = 0
    left_out: int = 0
    """Parts of the data set that the listing had to leave out."""

    @property
    def frames_per_second(self) -> float:
        """Rate of this run, start-up of Ray included."""
        return self.made_frames / self.seconds if self.seconds else 0.0

    def to_json(self) -> dict[str, Any]:
        """Return plain data."""
        return {**asdict(self), "frames_per_second": round(self.frames_per_second, 2)}


def finished(manifest: Manifest) -> ConversionReport | None:
    """Return the report of a run that has nothing to do: its corpus is finished and was made from ``manifest``.

    None when anything is to be done, or more frames were rejected than ``manifest`` allows. The source is not listed,
    so what it gained or lost since is not seen (``verify --source`` compares); a million frames take a second where
    their listing takes a minute.
    """
    start, found = time.monotonic(), finished_corpus(manifest.corpus.out)
    if found is None:
        return None
    info, index = found
    manifest = manifest.with_weights()
    source, translator = make_source(manifest.source), make_translator(manifest.translator)
    try:
        colour = info.corpus_schema.colour
        if fingerprint_of(corpus_identity(manifest, source, translator, info.plan, colour)) != info.fingerprint:
            return None
    finally:
        source.close()
    totals, rejects = CorpusTotals.of(index.shards), Counter[str]()
    for shard in index.shards:
        rejects.update(shard.rejects_by_error)
    if totals.num_rejects > manifest.max_reject_fraction * info.plan.num_frames:
        return None
    return ConversionReport(
        str(manifest.corpus.out),
        info.fingerprint,
        **asdict(totals),
        seconds=time.monotonic() - start,
        nothing_to_do=True,
        rejects_by_error=dict(rejects.most_common()),
        reasons=reasons(open_storage(manifest.corpus.out)) if rejects else [],
        left_out=index.left_out,
    )


def convert(
    prepared: Prepared,
    *,
    out: Address,
    num_workers: int | None,
    inline: bool = False,
    address: str | None = None,
    stall_limit_s: float = STALL_LIMIT_S,
    frame_limit_s: float = FRAME_LIMIT_S,
    overwrite: bool = False,
    retry_rejects: bool = False,
    progress: Progress | None = None,
) -> ConversionReport:
    """Convert what is not yet committed under ``out`` and finish the corpus.

    ``num_workers`` None takes every core of the cluster at ``address``, as they come and go, or of this machine
    without one; for a translator that uses GPUs, every GPU. ``stall_limit_s`` ends a run on Ray of which no frame has
    ended for so long; ``frame_limit_s`` ends a worker whose frame does not end: the frame is tried once more, then it
    is a reject.

    Raises CorpusMismatchError when ``out`` holds something else, CorpusBusyError when another run writes there,
    StorageError when it cannot be written, InputError when the workers would not fit into memory or no node has what
    one needs, what the translator raises that a worker cannot load, IncompleteError when shards are missing at the end,
    nothing moves any more, or more frames were rejected than the manifest allows.
    """
    start, progress = time.monotonic(), progress or Silent()
    local_workers = 1 if inline else num_workers or len(os.sched_getaffinity(0))
    if address is None:
        # A GPU takes one worker; one that is required and missing is an error before anything is touched.
        num_gpus = prepared.translator.local_gpus()
        if num_gpus and num_gpus < local_workers:
            if num_workers is not None:
                progress.warn(f"{num_workers} workers are asked for, and {num_gpus} have a GPU here: those are started")
            local_workers = num_gpus
    cost = estimate(prepared, num_workers=local_workers, sample_frames=0)
    if address is None:
        require_memory(cost)
    report = ConversionReport(str(out), prepared.info.fingerprint, findings=len(prepared.findings))
    report.left_out = sum(finding.severity == "error" for finding in prepared.findings)
    ray_options = RayOptions(
        num_workers=num_workers if address else local_workers,
        address=address,
        # On this machine it has been held against what is free, which Ray knows less of.
        worker_bytes=cost.worker_bytes if address else 0,
        stall_limit_s=stall_limit_s,
        frame_limit_s=frame_limit_s * (prepared.translator.batch_size if prepared.translator.heavy else 1),
    )
    # Read before the output is opened: --overwrite may remove the corpus that they lie in.
    files = prepared.translator.files()
    with open_for_writing(out, prepared.info, prepared.plan_file, overwrite=overwrite) as store:
        if store.replaces:
            progress.note(f"the corpus at {out} is replaced; it stays until the new one is whole")
        if retry_rejects:
            store.forget_rejects()
        report.nothing_to_do = store.is_finished
        if not report.nothing_to_do:
            store.reopen()
            store.keep(files)
            failures = _run(
                prepared, store, report, progress, keeps_files=bool(files), inline=inline, ray_options=ray_options
            )
            _require_made(prepared, failures)
        _require_few_rejects(prepared, store)
        if not report.nothing_to_do:
            store.finish(prepared.findings)
        totals = store.totals()
        report.num_frames, report.num_rejects = totals.num_frames, totals.num_rejects
        report.num_shards, report.stored_bytes = totals.num_shards, totals.stored_bytes
        report.rejects_by_error = dict(store.rejects_by_error())
        report.reasons = store.reasons() if totals.num_rejects else []
    report.seconds = time.monotonic() - start
    return report


def _run(
    prepared: Prepared,
    store: CorpusStore,
    report: ConversionReport,
    progress: Progress,
    *,
    keeps_files: bool,
    inline: bool,
    ray_options: RayOptions,
) -> list[Failure]:
    """Run what is pending; count into ``report``; return the shards that could not be made."""
    failures: list[Failure] = []
    before = store.totals()
    rejects, allowed = before.num_rejects, prepared.manifest.max_reject_fraction

    def done(result: ShardReceipt | Failure) -> None:
        nonlocal rejects
        store.require_lock()
        if isinstance(result, Failure):
            failures.append(result)
            progress.warn(f"{result.shard}: {in_words(result.error)}")
            return
        report.made_shards += 1
        report.made_frames += result.num_frames
        rejects += result.num_rejects
        made_nothing = not (report.made_frames or before.num_frames)
        if made_nothing and report.made_shards >= _SHARDS_OF_REJECTS and rejects > allowed * prepared.plan.num_frames:
            raise _too_many_rejects(prepared, store, rejects)
        progress.advance(frames=result.num_frames, rejects=result.num_rejects)

    progress.start(num_frames=prepared.plan.num_frames, done_frames=before.num_frames + before.num_rejects)
    try:
        # Its translator is that of the corpus, which every worker reaches, and so that what it holds is what made it.
        job = replace(job_of(prepared, store.storage), translator_kept=keeps_files)
        if inline:
            run_inline(store.pending(), job, done)
        else:
            run_on_ray(store.pending(), job, done, ray_options, progress.warn)
    finally:
        progress.stop()
    return failures


def _require_made(prepared: Prepared, failures: list[Failure]) -> None:
    """Raise when a shard is missing: the first one's error if it is one of the corpus."""
    if failures:
        first = failures[0].error
        kind = type(first) if isinstance(first, CorpusError) else IncompleteError
        raise kind(
            f"{len(failures)} of {prepared.plan.num_shards} shards could not be made",
            where=", ".join(failure.shard for failure in failures),
            found=in_words(first),
            remedy="run the same command again: committed shards are kept; --inline --debug shows the traceback",
        )


def _require_few_rejects(prepared: Prepared, store: CorpusStore) -> None:
    num_rejects = store.totals().num_rejects
    if num_rejects > prepared.manifest.max_reject_fraction * prepared.plan.num_frames:
        raise _too_many_rejects(prepared, store, num_rejects)


def _too_many_rejects(prepared: Prepared, store: CorpusStore, num_rejects: int) -> IncompleteError:
    told = store.reasons()
    lines = [f"{each}\n      try: {each.remedy}" if each.remedy else str(each) for each in told[:_REASONS_TOLD]]
    more = [f"and {len(told) - _REASONS_TOLD} other reasons"] if len(told) > _REASONS_TOLD else []
    return IncompleteError(
        f"{num_rejects} of {prepared.plan.num_frames} frames were rejected",
        where=f"{store.storage.where('rejects')} (depthforge rejects {store.storage.address} lists them)",
        expected=f"at most {prepared.manifest.max_reject_fraction:.1%} (max_reject_fraction)",
        found="".join(f"\n    {line}" for line in lines + more),
        remedy="mend the data and run again with --retry-rejects, or raise max_reject_fraction in the manifest",
    )
