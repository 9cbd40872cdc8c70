"""``depthforge evaluate``: how close is a corpus to a real sensor?"""

from __future__ import annotations

from pathlib import Path

import click

from depthforge.cli.options import LOCAL_PATH, as_json, debug, echo_json
from depthforge.manifest_file import load_manifest
from depthforge.realism.compare import evaluate_corpus
from depthforge.realism.views import noisy_views, source_views
from depthforge.stages.prepare import make_source

__all__ = ["command"]


@click.command("evaluate")
@click.argument("corpus", metavar="CORPUS", type=LOCAL_PATH)
@click.option(
    "--real",
    metavar="CORPUS|MANIFEST",
    required=True,
    type=LOCAL_PATH,
    help="Real scans: a corpus of them, or the manifest whose source reads them.",
)
@click.option(
    "--frames",
    metavar="N",
    type=click.IntRange(2, 1000),
    default=40,
    show_default=True,
    help="Frames of CORPUS, and of each half of the real scans.",
)
@as_json
@debug
def command(corpus: Path, real: Path, frames: int, as_json: bool, debug: bool) -> int:
    """Say in numbers how close CORPUS is to real scans.

    Holes, noise against depth, quantisation, normals, and whether patches can be told apart: for its clean depth, its
    noisy depth and one half of the real scans, each against the other half.
    """
    if real.is_dir():
        scans = noisy_views(real, 2 * frames)
    else:
        scans = source_views(make_source(load_manifest(real).source), 2 * frames)
    comparison = evaluate_corpus(corpus, scans, num_frames=frames)
    echo_json(comparison.to_json()) if as_json else click.echo("\n".join(comparison.lines()))
    return 0
