"""``depthforge export``: a corpus in another format."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from depthforge.cli.options import LOCAL_PATH, as_json, debug, echo_json, stall_limit
from depthforge.cli.progress import frame_progress
from depthforge.export.base import Options
from depthforge.stages.exporting import ExportReport, export_corpus

__all__ = ["command"]


@click.command("export")
@click.argument("corpus", metavar="CORPUS", type=LOCAL_PATH)
@click.option(
    "--to", "format_name", metavar="FORMAT", required=True, help="The format; `depthforge list` names all of them."
)
@click.option("--out", metavar="DIR", type=LOCAL_PATH, required=True, help="Where the export goes: an empty folder.")
@click.option("--split", metavar="NAME", help="Only the frames of this split.")
@click.option("--labels", metavar="NAMES", help="Only these fields, depth among them, by commas; default: all.")
@click.option(
    "--invalid",
    type=click.Choice(("0", "nan", "inf")),
    default="0",
    show_default=True,
    help="What stands where nothing was measured; 16-bit depth holds 0 alone.",
)
@click.option(
    "--depth",
    type=click.Choice(("uint16", "float32")),
    help="Numbers of depth, where a format holds both; default: as the corpus stores it.",
)
@click.option("--workers", metavar="N", type=click.IntRange(min=1), help="Workers; default: one per core.")
@click.option("--inline", is_flag=True, help="Run in this process, without Ray: for debugging.")
@click.option("--address", metavar="ADDRESS", envvar="RAY_ADDRESS", help="A Ray cluster; default: a local Ray.")
@stall_limit
@as_json
@debug
def command(
    corpus: Path,
    format_name: str,
    out: Path,
    split: str | None,
    labels: str | None,
    workers: int | None,
    inline: bool,
    address: str | None,
    stall_limit_s: float,
    as_json: bool,
    debug: bool,
    **depth: Any,
) -> int:
    """Write CORPUS in another format, both depths and every label that it can hold, and say what it cannot.

    Frames are streamed; an export that was ended goes on where it stopped, with the same command.
    """
    fields = None if labels is None else tuple(filter(None, map(str.strip, labels.split(","))))
    report = export_corpus(
        corpus,
        format_name,
        out,
        Options(split=split, fields=fields, **depth),
        num_workers=workers,
        inline=inline,
        address=address,
        stall_limit_s=stall_limit_s,
        progress=frame_progress("exporting"),
    )
    echo_json(report.to_json()) if as_json else click.echo("\n".join(_lines(report)))
    return 0


def _lines(report: ExportReport) -> list[str]:
    head = f"exported {report.num_frames} frames as {report.format} in {report.seconds:.1f} s"
    if report.nothing_to_do:
        head = f"nothing to do: {report.out} holds this export"
    lost = [f"  not carried as it is: {loss}" for loss in report.losses]
    return [
        head,
        f"  out      {report.out}",
        f"  holds    {report.num_frames} frames in {report.num_parts} parts, {report.stored_bytes / 2**20:.1f} MiB",
        *(lost or ["  carried  everything"]),
    ]
