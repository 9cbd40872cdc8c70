"""``depthforge sample``: procedural scenes in a data set's own layout."""

from __future__ import annotations

import shlex
from pathlib import Path

import click

from depthforge.cli.options import LOCAL_PATH, debug
from depthforge.registry import layouts
from depthforge.samples.base import Layout

__all__ = ["command"]


@click.command("sample")
@click.argument("out", metavar="OUT", type=LOCAL_PATH)
@click.option("--layout", metavar="NAME", required=True, help="The layout to write; `depthforge list` names them.")
@click.option("--scenes", metavar="N", type=click.IntRange(1, 10000), default=3, show_default=True, help="Scenes.")
@click.option(
    "--frames", metavar="N", type=click.IntRange(1, 1000), default=20, show_default=True, help="Frames a scene."
)
@click.option(
    "--seed", metavar="N", type=click.IntRange(min=0), default=0, show_default=True, help="Seed of the rooms."
)
@debug
def command(out: Path, layout: str, scenes: int, frames: int, seed: int, debug: bool) -> int:
    """Write procedural scenes under OUT, exactly as the named data set lies on disk.

    For trying a manifest with nothing downloaded, and for tests of your own readers.
    """
    writer: Layout = layouts.get(layout, where="--layout")()
    count = writer.write(out, num_scenes=scenes, frames_per_scene=frames, seed=seed)
    click.echo(f"wrote {count} frames of {scenes} scenes in the layout of {layout} to {out}")
    click.echo(f"a manifest for them: depthforge init {shlex.quote(str(out))}")
    return 0
