"""``depthforge inspect``: what a corpus holds."""

from __future__ import annotations

from pathlib import Path

import click

from depthforge.addresses import Address
from depthforge.cli.options import CORPUS, LOCAL_PATH, as_json, debug, echo_json
from depthforge.corpus.extract import extract as extract_frame
from depthforge.corpus.picture import picture as write_picture
from depthforge.corpus.summary import summarise

__all__ = ["command"]


@click.command("inspect")
@click.argument("corpus", metavar="CORPUS", type=CORPUS)
@click.option("--picture", metavar="FILE", type=LOCAL_PATH, help="Write a contact sheet as PNG.")
@click.option("--frames", metavar="N", type=click.IntRange(1, 64), default=6, help="Frames on the sheet.")
@click.option("--frame", metavar="KEY", help="The one frame of the sheet, or to extract.")
@click.option("--extract", metavar="DIR", type=LOCAL_PATH, help="Write the fields of --frame as ordinary files.")
@as_json
@debug
def command(
    corpus: Address,
    picture: Path | None,
    frames: int,
    frame: str | None,
    extract: Path | None,
    as_json: bool,
    debug: bool,
) -> int:
    """Show what CORPUS holds: units, fields, splits, counts, hole and noise statistics, rejects."""
    if extract is not None:
        if frame is None:
            raise click.UsageError("--extract writes one frame: name it by --frame KEY")
        written = [str(path) for path in extract_frame(corpus, frame, extract)]
        echo_json({"files": written}) if as_json else click.echo("\n".join(written))
        return 0
    summary = summarise(corpus)
    if picture is not None:
        write_picture(corpus, picture, count=frames, keys=None if frame is None else [frame])
    echo_json(summary.to_json()) if as_json else click.echo("\n".join(summary.lines()))
    if picture is not None:
        click.echo(f"picture: {picture}", err=True)
    return 0
