"""The export stage: a finished corpus to another format, from wherever the last run stopped.

A part is pure data to a worker, which opens the corpus and writes the part's files; the driver holds no image. What
needs every part (a card, a table of episodes) is written here at the end, from receipts that are read one by one.
"""

from __future__ import annotations

import os
import time
from collections import Counter
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Final

from depthforge.corpus.reader import CorpusReader
from depthforge.errors import CorpusError, IncompleteError
from depthforge.export.base import Files, Format, Options, Receipt
from depthforge.export.exporter import ExportJob
from depthforge.export.output import ExportOutput, open_output
from depthforge.export.parts import parts_of
from depthforge.progress import Progress, Silent
from depthforge.registry import formats
from depthforge.stages.cluster import STALL_LIMIT_S, RayOptions
from depthforge.stages.crew import Failure, in_words
from depthforge.stages.runners import run_inline, run_on_ray
from depthforge.stages.work import Counted
from depthforge.storage import Place, open_storage

__all__ = ["ExportReport", "export_corpus"]

_VERSION: Final = 1
"""Raised when the same corpus and options would give other bytes."""


@dataclass
class ExportReport:
    """What an export holds, and what the format could not carry: ``losses`` in words, some with how often."""

    out: str
    format: str
    num_frames: int = 0
    num_parts: int = 0
    stored_bytes: int = 0
    made_parts: int = 0
    seconds: float = 0.0
    nothing_to_do: bool = False
    losses: list[str] = field(default_factory=list)

    def to_json(self) -> dict[str, Any]:
        """Return plain data."""
        return asdict(self)


def export_corpus(
    corpus: Path,
    format_name: str,
    out: Place,
    options: Options | None = None,
    *,
    num_workers: int | None = None,
    inline: bool = False,
    address: str | None = None,
    stall_limit_s: float = STALL_LIMIT_S,
    progress: Progress | None = None,
) -> ExportReport:
    """Write the finished corpus at ``corpus`` as ``format_name`` into ``out``, parts that are there already left alone.

    Raises UnknownNameError for a format, field or split that there is not, IncompleteError for a corpus that is not
    finished and where parts could not be written, InputError for what the format cannot hold, CorpusMismatchError and
    CorpusError when ``out`` holds something else, CorpusBusyError when another run writes there, StorageError when it
    cannot be written.
    """
    start, progress, options = time.monotonic(), progress or Silent(), options or Options()
    kind: type[Format] = formats.get(format_name, where="--to")
    reader = CorpusReader(corpus, options.split)
    form = kind(reader, options)
    _require_frames(reader)
    storage = open_storage(out)
    job = ExportJob(reader.storage.address, storage.address, format_name, options)
    if reader.storage.local_path("x") is not None:
        job = ExportJob(str(Path(job.corpus).absolute()), str(Path(job.out).absolute()), format_name, options)
    identity = {
        "format": format_name,
        "version": _VERSION,
        "corpus": reader.info.fingerprint,
        "options": options.to_json(),
    }
    parts = parts_of(reader, form.works_by)
    report = ExportReport(storage.address, format_name, len(reader), len(parts), losses=form.losses())
    with open_output(job.out, identity) as output:
        report.nothing_to_do = output.is_finished
        if not report.nothing_to_do:
            pending = output.pending(parts)
            workers = RayOptions(
                num_workers=num_workers if address else num_workers or len(os.sched_getaffinity(0)),
                address=address,
                stall_limit_s=stall_limit_s,
            )
            done_frames = len(reader) - sum(part.stop - part.first for part in pending)
            progress.start(num_frames=len(reader), done_frames=done_frames)
            failures: list[Failure] = []

            def done(result: Receipt | Failure) -> None:
                if isinstance(result, Failure):
                    failures.append(result)
                    progress.warn(f"{result.shard}: {in_words(result.error)}")
                    return
                report.made_parts += 1
                progress.advance(frames=result.num_frames, rejects=0)

            try:
                if inline or not pending:
                    run_inline(iter(pending), Counted(job), done)
                else:
                    run_on_ray(iter(pending), Counted(job), done, workers, progress.warn)
            finally:
                progress.stop()
            _require_written(failures, len(parts))
            with Files(output.storage) as files:
                form.finish(parts, output.receipts(parts), files)
            _describe(output, form, report, Counter(part.split for part in parts))
        else:
            report.losses = output.description()["losses"]
            report.stored_bytes = output.description()["bytes"]
    report.seconds = time.monotonic() - start
    return report


def _describe(output: ExportOutput, form: Format, report: ExportReport, splits: Counter[str]) -> None:
    """Add up the receipts of all parts and write what the export is."""
    reader = form.reader
    counts: Counter[str] = Counter()
    for receipt in output.receipts(parts_of(reader, form.works_by)):
        counts.update(receipt.losses)
        report.stored_bytes += receipt.stored_bytes
    report.losses += [f"{count} {what}" for what, count in sorted(counts.items())]
    output.finish(
        {
            "bytes": report.stored_bytes,
            "conventions": reader.info.conventions,
            "corpus": {"name": reader.info.name, "fingerprint": reader.info.fingerprint},
            "licence": asdict(reader.info.source.licence),
            "losses": report.losses,
            "num_frames": report.num_frames,
            "parts_per_split": dict(splits),
            **form.describe(),
        }
    )


def _require_frames(reader: CorpusReader) -> None:
    if len(reader) == 0:
        raise CorpusError("there is no frame to export", where=reader.storage.address)


def _require_written(failures: list[Failure], num_parts: int) -> None:
    """Raise when a part is missing: the first one's error if it is one of the output or the corpus."""
    if failures:
        first = failures[0].error
        kind = type(first) if isinstance(first, CorpusError) else IncompleteError
        raise kind(
            f"{len(failures)} of {num_parts} parts could not be written",
            where=", ".join(failure.shard for failure in failures),
            found=in_words(first),
            remedy="run the same command again: what is written is kept; --inline --debug shows the traceback",
        )
