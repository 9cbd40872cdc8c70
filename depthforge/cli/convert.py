"""``depthforge convert``: the conversion stage alone."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import click

from depthforge.cli.options import RunOptions, echo_json, run_options
from depthforge.cli.progress import frame_progress
from depthforge.errors import printable
from depthforge.frame import Finding
from depthforge.stages.convert import ConversionReport, convert, finished
from depthforge.stages.estimate import Estimate, estimate
from depthforge.stages.prepare import Prepared, prepare

__all__ = ["command", "exit_code", "run", "summary_lines"]


@click.command("convert")
@run_options
def command(manifest: Path, options: RunOptions) -> int:
    """Run the conversion stage alone: what `synthesize` does, without the check of the whole corpus at its end."""
    report = run(manifest, options)
    if isinstance(report, int):
        return report
    echo_json(report.to_json()) if options.as_json else click.echo("\n".join(summary_lines(report)))
    return exit_code(report)


def run(path: Path, options: RunOptions) -> ConversionReport | int:
    """Prepare and convert; in a dry run print the plan and return the exit code."""
    manifest = options.read_manifest(path)
    progress = frame_progress("converting")
    if not (options.dry_run or options.overwrite or options.retry_rejects):
        report = finished(manifest)
        if report is not None:
            return report
    with prepare(manifest, progress.note, dry_run=options.dry_run) as prepared:
        for line in finding_lines(prepared.findings):
            progress.warn(line)
        if options.dry_run:
            cost = estimate(prepared, num_workers=options.num_workers)
            plan = _plan_json(prepared, cost) if options.as_json else _plan_lines(prepared, cost)
            echo_json(plan) if options.as_json else click.echo("\n".join(plan))
            return _planned_exit_code(prepared)
        return convert(
            prepared,
            out=manifest.corpus.out,
            num_workers=options.workers,
            inline=options.inline,
            address=options.address,
            stall_limit_s=options.stall_limit_s,
            frame_limit_s=options.frame_limit_s,
            overwrite=options.overwrite,
            retry_rejects=options.retry_rejects,
            progress=progress,
        )


def finding_lines(findings: Sequence[Finding]) -> list[str]:
    """Return a line for each kind of finding: how often, and where first."""
    first: dict[str, Finding] = {}
    for finding in findings:
        first.setdefault(finding.message, finding)
    counts = Counter(finding.message for finding in findings)
    return [
        f"{first[message].path}: {message}" + (f" (and {count - 1} more like it)" if count > 1 else "")
        for message, count in counts.items()
    ]


def exit_code(report: ConversionReport) -> int:
    """0 done, 4 done without some frames or parts of the data set."""
    return 4 if report.num_rejects or report.left_out else 0


def _planned_exit_code(prepared: Prepared) -> int:
    """3 where more of the frames that were looked at would be rejected than the run bears, else as the run's own."""
    num_refused = len(prepared.refused)
    if num_refused > prepared.manifest.max_reject_fraction * prepared.plan.num_frames:
        return 3
    return 4 if num_refused or any(each.severity == "error" for each in prepared.findings) else 0


def summary_lines(report: ConversionReport) -> list[str]:
    """Return what was made and where, a line each."""
    if report.nothing_to_do:
        head = [
            f"nothing to do: {report.out} is finished and was made from this manifest",
            "  source   not listed again; depthforge verify --source compares it with the corpus",
        ]
    elif not report.made_shards:
        head = [f"finished {report.out}: an earlier run had committed every shard"]
    else:
        head = [
            f"made {report.made_frames} frames in {report.made_shards} shards in {report.seconds:.1f} s "
            f"({report.frames_per_second:.1f} frames/s, start-up included)"
        ]
    told = [f"           {reason}" for reason in report.reasons[:3]]
    named = "depthforge check MANIFEST names them" if report.nothing_to_do else "each is named above"
    left_out = [f"  left out {report.left_out} parts of the data set; {named}"] if report.left_out else []
    return [
        *head,
        f"  corpus   {report.out}",
        f"  holds    {report.num_frames} frames in {report.num_shards} shards, {report.stored_bytes / 2**20:.1f} MiB",
        f"  rejects  {report.num_rejects}" + (f"; depthforge rejects {report.out} says why" if told else ""),
        *told,
        *(["           mend the data and run again with --retry-rejects to make them anew"] if told else []),
        *left_out,
    ]


def _plan_json(prepared: Prepared, cost: Estimate) -> dict[str, object]:
    to_prepare = prepared.to_prepare
    at_most = to_prepare is not None and to_prepare.drops_frames
    return {
        "out": str(prepared.manifest.corpus.out),
        "to_prepare": None if to_prepare is None else to_prepare.task,
        "frames_are_at_most": at_most,
        # That of a corpus depends on its frames.
        "fingerprint": None if at_most else prepared.info.fingerprint,
        "frames": cost.num_frames,
        "shards": cost.num_shards,
        "frames_per_split": prepared.plan.frames_per_split,
        "raw_bytes": cost.raw_bytes,
        "workers": cost.num_workers,
        "worker_bytes": cost.worker_bytes,
        "total_bytes": cost.total_bytes,
        "available_bytes": cost.available_bytes,
        "seconds": cost.seconds,
        "findings": len(prepared.findings),
        "refused": [error.to_json() for error in prepared.refused],
    }


def _plan_lines(prepared: Prepared, cost: Estimate) -> list[str]:
    manifest = prepared.manifest
    splits = ", ".join(f"{count} {name}" for name, count in sorted(prepared.plan.frames_per_split.items()))
    fields = ", ".join(spec.name for spec in prepared.schema.stored)
    to_prepare = prepared.to_prepare
    first, at_most = [], ""
    if to_prepare is not None:
        then = "which may leave out frames" if to_prepare.drops_frames else "which leaves out no frame"
        first = [f"  first    {to_prepare.task}; {then}"]
        at_most = "at most " if to_prepare.drops_frames else ""
    if cost.seconds is not None:
        after = "" if to_prepare is None else " after that"
        duration = f"about {cost.seconds:.0f} s{after} (timed on the first frames, without writing)"
    elif to_prepare is not None:
        duration = "unknown before that"
    else:
        duration = "unknown: none of the first frames could be read"
    available = f" of {cost.available_bytes / 2**30:.1f} GiB free" if cost.available_bytes is not None else ""
    return [
        f"plan of {manifest.name}: {manifest.source.name} -> {manifest.translator.name}; nothing was written",
        f"  out      {manifest.corpus.out}",
        *first,
        f"  frames   {at_most}{cost.num_frames} ({splits}), "
        f"{prepared.schema.height}x{prepared.schema.width} (height x width)",
        f"  fields   {fields}",
        f"  shards   {at_most}{cost.num_shards} of up to {manifest.corpus.shard_frames} frames",
        f"  bytes    {at_most}{cost.raw_bytes / 2**30:.2f} GiB before compression (a half to a quarter of it on disk)",
        f"  memory   {'at most' if to_prepare is None else 'at least'} {cost.worker_bytes / 2**20:.0f} MiB a worker, "
        f"{cost.total_bytes / 2**30:.2f} GiB for {cost.num_workers}{available}",
        f"  time     {duration}",
        f"  findings {len(prepared.findings)}",
        *(f"  rejects  {printable(error.where)}: {printable(error.message)}" for error in prepared.refused),
    ]
