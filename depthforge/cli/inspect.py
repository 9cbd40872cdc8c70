"""``depthforge inspect``: what a corpus holds."""

from __future__ import annotations

from pathlib import Path

import click

from depthforge.cli.options import LOCAL_PATH, as_json, debug, echo_json
from depthforge.corpus.picture import picture as write_picture
from depthforge.corpus.summary import summarise

__all__ = ["command"]


@click.command("inspect")
@click.argument("corpus", metavar="CORPUS", type=LOCAL_PATH)
@click.option("--picture", metavar="FILE", type=LOCAL_PATH, help="Write a contact sheet as PNG.")
@click.option("--frames", metavar="N", type=click.IntRange(1, 64), default=6, help="Frames on the sheet.")
@as_json
@debug
def command(corpus: Path, picture: Path | None, frames: int, as_json: bool, debug: bool) -> int:
    """Show what CORPUS holds: units, fields, splits, counts, hole and noise statistics, rejects."""
    summary = summarise(corpus)
    if picture is not None:
        write_picture(corpus, picture, count=frames)
    echo_json(summary.to_json()) if as_json else click.echo("\n".join(summary.lines()))
    if picture is not None:
        click.echo(f"picture: {picture}", err=True)
    return 0
