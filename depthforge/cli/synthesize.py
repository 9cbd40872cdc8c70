"""``depthforge synthesize``: the main job."""

from __future__ import annotations

from pathlib import Path

import click

from depthforge.cli.convert import exit_code, run, summary_lines
from depthforge.cli.options import RunOptions, echo_json, run_options
from depthforge.corpus.verify import verify_corpus
from depthforge.errors import IntegrityError

__all__ = ["command"]


@click.command("synthesize")
@run_options
def command(manifest: Path, options: RunOptions) -> int:
    """Convert a clean data set into a verified noisy corpus.

    Reads MANIFEST, checks all that can be checked, converts what is not yet committed, verifies every file of the
    corpus and says what was made and where. Run it again after any interruption: it goes on where it stopped.
    """
    report = run(manifest, options)
    if report is None:
        return 0
    # Each shard was re-read and compared as it was committed; here its files are hashed once more.
    verdict = verify_corpus(Path(report.out), deep=False)
    if not verdict.ok:
        raise IntegrityError(
            "the corpus does not verify",
            where=report.out,
            found="; ".join(str(problem) for problem in verdict.problems[:3]),
            remedy=f"depthforge verify {report.out}",
        )
    if options.as_json:
        echo_json({**report.to_json(), "verified": True})
    else:
        click.echo("\n".join([*summary_lines(report), f"  verified {verdict.num_files} files"]))
        click.echo(f"next: depthforge inspect {report.out}")
    return exit_code(report)
