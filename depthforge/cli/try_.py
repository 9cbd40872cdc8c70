"""``depthforge try``: does a corpus teach a network anything about real scans?"""

from __future__ import annotations

from contextlib import ExitStack
from pathlib import Path
from tempfile import TemporaryDirectory

import click

from depthforge.addresses import Address
from depthforge.cli.options import CORPUS, LOCAL_PATH, as_json, debug, echo_json
from depthforge.registry import tasks

__all__ = ["command"]


@click.command("try")
@click.argument("corpus", metavar="CORPUS", type=CORPUS)
@click.option(
    "--real",
    metavar="CORPUS|MANIFEST",
    type=LOCAL_PATH,
    required=True,
    help="Real scans with truth: a corpus that carries depth_raw, or the manifest of posed scans, which are fused.",
)
@click.option(
    "--task", metavar="NAME", default="enhancement", show_default=True, help="A task by its name (`depthforge list`)."
)
@click.option("--steps", metavar="N", type=click.IntRange(min=1), help="Steps of each training; default: the task's.")
@click.option(
    "--seconds",
    metavar="SECONDS",
    type=click.FloatRange(min=1),
    help="Choose the steps so that all takes about so long here; what it chose is said.",
)
@click.option("--seeds", metavar="N", type=click.IntRange(1, 16), default=1, show_default=True, help="Trainings a row.")
@click.option(
    "--keep",
    metavar="DIR",
    type=LOCAL_PATH,
    help="Keep networks, results and what was made of the scans there; the same command then goes on from them.",
)
@click.option("--record", is_flag=True, help="Put the table into CORPUS, where `depthforge report` shows it.")
@as_json
@debug
def command(
    corpus: Address,
    real: Path,
    task: str,
    steps: int | None,
    seconds: float | None,
    seeds: int,
    keep: Path | None,
    record: bool,
    as_json: bool,
    debug: bool,
) -> int:
    """Train small networks on CORPUS and test them on real scans, in about five minutes.

    One is trained on the clean depth of CORPUS, one on its noisy depth, one on the first half of the real scans with
    their truth; all are tested on the second half. Says what the figures mean.
    """
    if steps is not None and seconds is not None:
        raise click.UsageError("--steps and --seconds say the same: give one")
    tasks.get(task, where="--task")
    # Only here, since it loads torch.
    from depthforge.stages.trying import try_corpus

    with ExitStack() as stack:
        folder = keep or Path(stack.enter_context(TemporaryDirectory(prefix="depthforge-try-")))
        trial = try_corpus(
            corpus,
            real,
            folder,
            task=task,
            steps=steps,
            seconds=seconds,
            seeds=range(seeds),
            note=lambda line: click.echo(line, err=True),
        )
    if record:
        click.echo(f"recorded: {trial.record(corpus)}", err=True)
    echo_json(trial.to_json()) if as_json else click.echo("\n".join(trial.lines()))
    return 0
