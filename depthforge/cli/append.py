"""``depthforge append``: a new corpus of the frames of several."""

from __future__ import annotations

from pathlib import Path

import click

from depthforge.cli.convert import summary_lines
from depthforge.cli.options import LOCAL_PATH, as_json, debug, echo_json
from depthforge.cli.progress import frame_progress
from depthforge.stages.selecting import append_corpora

__all__ = ["command"]


@click.command("append")
@click.argument("corpora", metavar="CORPUS...", type=LOCAL_PATH, nargs=-1, required=True)
@click.option("--out", metavar="DIR", type=LOCAL_PATH, required=True, help="Where the new corpus goes.")
@click.option("--workers", metavar="N", type=click.IntRange(min=1), help="Workers; default: one per core.")
@click.option("--inline", is_flag=True, help="Run in this process, without Ray.")
@as_json
@debug
def command(corpora: tuple[Path, ...], out: Path, workers: int | None, inline: bool, as_json: bool, debug: bool) -> int:
    """Make a new corpus of all frames of several that one sensor and one schema made: a new version of the first.

    Nothing is edited in place: every CORPUS stays as it is, and the new one names them.
    """
    report = append_corpora(corpora, out, num_workers=workers, inline=inline, progress=frame_progress("copying"))
    echo_json(report.to_json()) if as_json else click.echo("\n".join(summary_lines(report)))
    return 0
