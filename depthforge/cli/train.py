"""``depthforge train``: a learned translator from clean depth and unpaired real scans."""

from __future__ import annotations

from pathlib import Path

import click

from depthforge.addresses import Address
from depthforge.cli.options import CORPUS, as_json, debug, echo_json, manifest_argument, stall_limit
from depthforge.cli.progress import frame_progress
from depthforge.manifest import Manifest
from depthforge.manifest_file import load_manifest
from depthforge.stages.train import TrainingReport, train
from depthforge.stages.training_folder import is_trained
from depthforge.stages.training_plan import plan_lines, plan_training

__all__ = ["command", "run", "summary_lines"]


@click.command("train")
@manifest_argument
@click.option("--out", metavar="DIR|URL", type=CORPUS, help="Where the translator goes.")
@click.option("--workers", metavar="N", type=click.IntRange(min=1), help="Processes, a GPU each where there are any.")
@click.option("--inline", is_flag=True, help="Run in this process, without Ray: for debugging.")
@click.option("--address", metavar="ADDRESS", envvar="RAY_ADDRESS", help="A Ray cluster; default: a local Ray.")
@stall_limit
@click.option("--seed", metavar="N", type=click.IntRange(min=0), help="Seed, over the manifest's.")
@click.option("--translator", metavar="NAME", help="Another translator, with its defaults.")
@click.option("--device", type=click.Choice(["auto", "cpu", "cuda"]), help="Over the manifest's; auto: a GPU if any.")
@click.option("--overwrite", is_flag=True, help="Replace the translator that is there.")
@click.option("--dry-run", is_flag=True, help="Print what would be trained, on what and for how long; write nothing.")
@as_json
@debug
def command(
    manifest: Path,
    out: Address | None,
    workers: int | None,
    inline: bool,
    address: str | None,
    stall_limit_s: float,
    seed: int | None,
    translator: str | None,
    device: str | None,
    overwrite: bool,
    dry_run: bool,
    as_json: bool,
    debug: bool,
) -> int:
    """Train the translator of MANIFEST on its clean source and unpaired real scans.

    Goes on from the last checkpoint of an interrupted run. What is left in `training.out`: the weights of the best
    checkpoint, their card, the curves of the training, and pictures of held-out frames.
    """
    loaded = load_manifest(manifest).overridden(seed=seed, translator=translator)
    changed = {"out": out, "workers": workers, "device": device}
    settings = {name: value for name, value in changed.items() if value is not None}
    if loaded.training is not None and settings:
        loaded = loaded.model_copy(update={"training": loaded.training.model_copy(update=settings)})
    if dry_run:
        plan = plan_training(loaded, inline=inline)
        click.echo("\n".join(plan_lines(plan, is_trained=is_trained(plan))))
        return 0
    report = run(loaded, inline=inline, address=address, stall_limit_s=stall_limit_s, overwrite=overwrite)
    echo_json(report.to_json()) if as_json else click.echo("\n".join(summary_lines(report)))
    return 0


def run(
    manifest: Manifest, *, inline: bool, address: str | None, stall_limit_s: float, overwrite: bool
) -> TrainingReport:
    """Train, showing progress on stderr."""
    return train(
        manifest,
        inline=inline,
        address=address,
        stall_limit_s=stall_limit_s,
        overwrite=overwrite,
        progress=frame_progress("training"),
    )


def summary_lines(report: TrainingReport) -> list[str]:
    """Return what was trained and where, a line each."""
    unseen = [
        f"  {how:<10}  {each['first']} to {each['last']}: "
        + ", ".join(f"{name} {value:.3g}" for name, value in each.items() if isinstance(value, float))
        for how, found in (("unseen", report.unseen), ("left out", report.left_out))
        for each in found
    ]
    if report.nothing_to_do:
        return [
            f"nothing to train: {report.out} holds the {report.translator} of this manifest (step {report.best_step})",
            *unseen,
        ]
    early = ", stopped early" if report.stopped_early else ""
    resumed = f", resumed from step {report.resumed_from}" if report.resumed_from else ""
    figures = ", ".join(f"{name} {value:.3g}" for name, value in report.figures.items())
    how_long = f"{max(report.scores, default=0)} steps in {report.seconds:.0f} s"
    return [
        f"trained {report.translator} for {how_long}{resumed}{early}",
        f"  translator  {report.out}",
        f"  trained on  {report.clean_frames} clean and {report.real_frames} real frames",
        f"  chosen      step {report.best_step}, score {report.best_score:.3f} (lower is closer to real)",
        f"  held out    {figures}",
        *unseen,
    ]
