"""``depthforge synthesize``: the main job."""

from __future__ import annotations

from pathlib import Path

import click

from depthforge.cli.convert import exit_code, run, summary_lines
from depthforge.cli.options import echo_json, manifest_argument, read_manifest, run_options
from depthforge.corpus.verify import verify_corpus
from depthforge.errors import IntegrityError

__all__ = ["command"]


@click.command("synthesize")
@manifest_argument
@run_options
def command(
    manifest: Path,
    out: Path | None,
    workers: int | None,
    inline: bool,
    address: str | None,
    seed: int | None,
    limit: int | None,
    translator: str | None,
    overwrite: bool,
    retry_rejects: bool,
    dry_run: bool,
    as_json: bool,
    debug: bool,
) -> int:
    """Convert a clean data set into a verified noisy corpus.

    Reads MANIFEST, checks all that can be checked, converts what is not yet committed, verifies every file of the
    corpus and says what was made and where. Run it again after any interruption: it goes on where it stopped.
    """
    resolved = read_manifest(manifest, out=out, seed=seed, limit=limit, translator=translator)
    report = run(
        resolved,
        workers=workers,
        inline=inline,
        address=address,
        overwrite=overwrite,
        retry_rejects=retry_rejects,
        dry_run=dry_run,
        as_json=as_json,
    )
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
    if as_json:
        echo_json({**report.to_json(), "verified": True})
    else:
        click.echo("\n".join([*summary_lines(report), f"  verified {verdict.num_files} files"]))
        click.echo(f"next: depthforge inspect {report.out}")
    return exit_code(report)
