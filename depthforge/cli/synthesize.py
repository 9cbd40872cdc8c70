"""``depthforge synthesize``: the main job."""

from __future__ import annotations

from pathlib import Path

import click

from depthforge.cli.convert import exit_code, run, summary_lines
from depthforge.cli.options import RunOptions, echo_json, run_options
from depthforge.corpus.verify import verify_corpus
from depthforge.errors import IntegrityError, told
from depthforge.stages.training_folder import is_trained
from depthforge.stages.training_plan import plan_lines, plan_training

__all__ = ["command"]


@click.command("synthesize")
@run_options
def command(manifest: Path, options: RunOptions) -> int:
    """Convert a clean data set into a verified noisy corpus.

    Reads MANIFEST, checks all that can be checked, trains the translator if it is a learned one that is not trained
    yet, converts what is not yet committed, verifies every file of the corpus and says what was made and where. Run it
    again after any interruption: it goes on where it stopped.
    """
    trained = _train(manifest, options)
    if trained is not None and options.dry_run:
        return 0
    report = run(manifest, options)
    if isinstance(report, int):
        return report
    if report.nothing_to_do:
        lines = [*summary_lines(report), f"next: depthforge report {report.out}, inspect or verify it"]
        echo_json({**report.to_json(), "verified": False}) if options.as_json else click.echo("\n".join(lines))
        return exit_code(report)
    # Each shard was re-read and compared as it was committed; here its files are hashed once more.
    verdict = verify_corpus(Path(report.out), deep=False)
    if not verdict.ok:
        raise IntegrityError(
            "the corpus does not verify",
            where=report.out,
            found=told(verdict.problems, joint="; "),
            remedy=f"depthforge verify {report.out}",
        )
    if options.as_json:
        echo_json({**report.to_json(), "verified": True})
    else:
        click.echo("\n".join([*summary_lines(report), f"  verified {verdict.num_files} files"]))
        click.echo(f"next: depthforge report {report.out}, or inspect it")
    return exit_code(report)


def _train(path: Path, options: RunOptions) -> bool | None:
    """Train what the manifest's translator still needs; None when it needs nothing.

    A dry run prints what would be trained: the conversion can be planned only with the weights.
    """
    manifest = options.read_manifest(path)
    if manifest.training is None or not manifest.with_weights().translator.takes(manifest.training.out):
        return None
    if is_trained(plan_training(manifest)):
        return None
    if options.dry_run:
        lines = plan_lines(plan_training(manifest, inline=options.inline), is_trained=False)
        echo_json({"to_train": lines}) if options.as_json else click.echo("\n".join(lines))
        return True
    # Only here, since it loads torch.
    from depthforge.cli.train import run as train_run
    from depthforge.cli.train import summary_lines as train_lines

    report = train_run(
        manifest,
        inline=options.inline,
        address=options.address,
        stall_limit_s=options.stall_limit_s,
        overwrite=options.overwrite,
    )
    click.echo("\n".join(train_lines(report)), err=options.as_json)
    return True
