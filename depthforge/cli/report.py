"""``depthforge report``: a corpus as one HTML page."""

from __future__ import annotations

from pathlib import Path

import click

from depthforge.addresses import Address
from depthforge.cli.options import CORPUS, LOCAL_PATH, as_json, debug, echo_json, realism_options
from depthforge.corpus.reader import CorpusReader
from depthforge.errors import DepthforgeError
from depthforge.report import build_report, write_report
from depthforge.stages.evaluation import Evaluation, evaluate_against

__all__ = ["command"]


@click.command("report")
@click.argument("corpus", metavar="CORPUS", type=CORPUS)
@click.option(
    "--real",
    metavar="CORPUS|MANIFEST",
    type=LOCAL_PATH,
    help="Real scans to hold it against: a corpus of them, or the manifest whose source reads them; by default the "
    "depth_raw of CORPUS, if it has any.",
)
@click.option("--out", metavar="FILE", type=LOCAL_PATH, help="Where the page goes; default: CORPUS/report/index.html.")
@realism_options
@as_json
@debug
def command(
    corpus: Address,
    real: Path | None,
    out: Path | None,
    frames: int,
    draws: int,
    baseline_m: float | None,
    as_json: bool,
    debug: bool,
) -> int:
    """Make one HTML page of CORPUS: pictures, plots and numbers, which open from disk with no network.

    What it holds, a gallery of frames, one frame as points to turn, statistics by shard, rejects and what to do about
    them, manifest, provenance and licences; with --real, or where CORPUS carries what its sensor measured, also how
    close it is to a real sensor, as of `evaluate`. The page is no part of the corpus: `verify` takes it with and
    without.
    """
    CorpusReader(corpus)  # says what is wrong with it before anything is measured
    evaluation: Evaluation | None = None
    why_not: str | None = None
    try:
        evaluation = evaluate_against(
            corpus,
            real,
            num_frames=frames,
            draws=draws,
            baseline_m=baseline_m,
            note=lambda line: click.echo(line, err=True),
        )
    except DepthforgeError as error:
        # What was asked for must be there; what the corpus merely offers must not stand in the way of the rest.
        if real is not None:
            raise
        why_not = error.message
        click.echo(f"no table of realism: {error}", err=True)
    report = build_report(corpus, evaluation, why_not=why_not)
    place = write_report(corpus, report, out)
    if as_json:
        found = {"report": place, "bytes": len(report.content), "frames": list(report.keys)}
        echo_json({**found, "realism": None if evaluation is None else evaluation.to_json()})
    else:
        click.echo(f"{place}: {len(report.keys)} frames shown, {len(report.content) / 2**20:.1f} MiB")
    return 0
