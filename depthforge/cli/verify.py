"""``depthforge verify``: is a corpus whole?"""

from __future__ import annotations

from pathlib import Path

import click

from depthforge.addresses import Address
from depthforge.cli.options import CORPUS, as_json, debug, echo_json
from depthforge.cli.progress import frame_progress
from depthforge.corpus.verify import verify_corpus
from depthforge.manifest_file import load_manifest
from depthforge.stages.prepare import make_source

__all__ = ["command"]


@click.command("verify")
@click.argument("corpus", metavar="CORPUS", type=CORPUS)
@click.option(
    "--source",
    metavar="MANIFEST",
    type=click.Path(path_type=Path),
    help="Also read the source again, as this manifest finds it, and compare clean depth and every label.",
)
@click.option("--fast", is_flag=True, help="Hash the files and count the rows; decode no array.")
@as_json
@debug
def command(corpus: Address, source: Path | None, fast: bool, as_json: bool, debug: bool) -> int:
    """Say whether CORPUS is whole, bit for bit.

    Every file against its hash, every planned frame in the index or the rejects exactly once, every array against the
    hash of its content. Ends with 6 when something is wrong.
    """
    read_again = make_source(load_manifest(source).source) if source else None
    progress = frame_progress("verifying")
    report = verify_corpus(corpus, source=read_again, deep=not fast, progress=progress)
    echo_json(report.to_json()) if as_json else click.echo("\n".join(report.lines()))
    return 0 if report.ok else 6
