"""``depthforge submit``: the main job as a job of a Ray cluster."""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Literal

import click

from depthforge.cli.main import read_options
from depthforge.cli.options import RunOptions, debug
from depthforge.errors import InputError
from depthforge.manifest import Manifest
from depthforge.stages.jobs import HOW_TO_START, JobEnd, Jobs, entry_point

__all__ = ["command", "job_address", "job_environment"]

OnInterrupt = Literal["ask", "stop", "leave"]


@click.command("submit", context_settings={"ignore_unknown_options": True})
@click.argument("manifest", metavar="[MANIFEST]", required=False, type=click.Path(path_type=Path))
@click.argument("options", metavar="[-- OPTIONS OF synthesize]", nargs=-1, type=click.UNPROCESSED)
@click.option(
    "--address", metavar="URL", help="The head's dashboard, http://HEAD:8265; default: RAY_API_SERVER_ADDRESS."
)
@click.option(
    "--working-dir",
    metavar="DIR",
    type=click.Path(path_type=Path),
    default=Path(),
    help="Uploaded, without what .gitignore names (512 MiB at most); the job runs in its copy. Default: this folder.",
)
@click.option(
    "--env",
    "variables",
    metavar="NAME[=VALUE]",
    multiple=True,
    help="An environment variable of the job; without VALUE as it is set here. May be given several times.",
)
@click.option("--follow", metavar="JOB", help="Submit nothing: follow a job that was submitted before.")
@click.option(
    "--on-interrupt",
    type=click.Choice(["ask", "stop", "leave"]),
    help="What Ctrl-C does to the job; default: ask on a terminal, stop elsewhere. SIGTERM never asks, and stops.",
)
@debug
def command(
    manifest: Path | None,
    options: tuple[str, ...],
    address: str | None,
    working_dir: Path,
    variables: tuple[str, ...],
    follow: str | None,
    on_interrupt: OnInterrupt | None,
    debug: bool,
) -> int:
    """Run `depthforge synthesize MANIFEST` as a job of a Ray cluster, show its log and end with its exit code.

    MANIFEST is checked here first and lies in the working directory; data and outputs lie where every node reaches them
    under the same absolute path. A lost connection is made again; whoever has left follows again by --follow. The same
    command goes on where a stopped or lost job stopped.
    """
    url = job_address(address, os.environ)
    if follow is not None:
        if manifest is not None:
            raise click.UsageError("--follow JOB submits nothing, and takes no MANIFEST")
        return _follow(Jobs(url), follow, on_interrupt)
    if manifest is None:
        raise click.UsageError("Missing argument 'MANIFEST', or --follow JOB")
    if str(manifest).startswith("-"):
        raise click.UsageError("MANIFEST comes first, before the options of depthforge synthesize")
    environment = job_environment(variables, os.environ)
    # The manifest is read here too, since a mistake in it should not wait for a cluster to be found.
    os.environ.update(environment)
    _check_outputs(_read(manifest, options), manifest)
    line = entry_point(_path_inside(manifest, working_dir), options)
    jobs = Jobs(url)
    job = jobs.submit(line, working_dir, environment)
    _say(f"job {job}: {line}")
    return _follow(jobs, job, on_interrupt)


def job_address(given: str | None, environment: Mapping[str, str]) -> str:
    """Return the URL of the Jobs API: as given, or else from the variables that Ray reads; raises UsageError."""
    address = given or environment.get("RAY_API_SERVER_ADDRESS") or environment.get("RAY_ADDRESS")
    if address and address.startswith(("http://", "https://")):
        return str(address).rstrip("/")
    found = f"not {address!r}" if address else "and there is none"
    raise click.UsageError(
        f"needs the dashboard of a running head as --address http://HEAD:8265, or in RAY_API_SERVER_ADDRESS, {found}.\n"
        f"A head starts with:\n  {HOW_TO_START}"
    )


def job_environment(variables: Sequence[str], environment: Mapping[str, str]) -> dict[str, str]:
    """Return the variables that ``--env`` names, with the values given or those set here; raises UsageError."""
    chosen: dict[str, str] = {}
    for variable in variables:
        name, equals, value = variable.partition("=")
        if not equals and name not in environment:
            raise click.UsageError(f"--env {name}: the environment variable is not set here; give --env {name}=VALUE")
        chosen[name] = value if equals else environment[name]
    return chosen


def _follow(jobs: Jobs, job: str, on_interrupt: OnInterrupt | None) -> int:
    """Show the log of ``job`` to its end and return its exit code; an interruption does as it was told."""
    try:
        end: JobEnd = jobs.follow(job, lambda text: click.echo(text, nl=False))
    except KeyboardInterrupt as interruption:
        terminated = type(interruption) is not KeyboardInterrupt  # of main: SIGTERM
        if _is_to_stop(job, on_interrupt, terminated=terminated):
            jobs.stop(job, _say)
        else:
            _say(f"job {job} goes on; to follow it again: depthforge submit --follow {job} --address {jobs.url}")
        raise
    if end.message is not None:
        _say(f"error: job {job} {end.status}: {end.message}")
    return end.exit_code


def _is_to_stop(job: str, on_interrupt: OnInterrupt | None, *, terminated: bool) -> bool:
    if on_interrupt == "leave":
        return False
    asks = on_interrupt == "ask" or (on_interrupt is None and sys.stdin.isatty())
    if terminated or not asks:
        return True
    try:
        return click.confirm(f"\nstop job {job}?", default=False, err=True)
    except (click.Abort, KeyboardInterrupt):
        return False


def _say(line: str) -> None:
    click.echo(line, err=True)


def _read(manifest: Path, options: Sequence[str]) -> Manifest:
    """Read the manifest with the options laid over it, as the job will; raises UsageError and InputError."""
    values = read_options("synthesize", [str(manifest), *options])
    path = values.pop("manifest")
    return RunOptions(**values).read_manifest(path)


def _check_outputs(manifest: Manifest, where: Path) -> None:
    """Refuse outputs that would land in the job's copy of the working directory, which Ray deletes."""
    outputs = {"corpus.out": manifest.corpus.out}
    if manifest.training is not None:
        outputs["training.out"] = manifest.training.out
    for field, out in outputs.items():
        if isinstance(out, Path) and not out.is_absolute():
            raise InputError(
                f"{field} is relative: it would lie in the job's own copy of the working directory and go with it",
                where=where,
                expected="an absolute path that every node reaches",
                found=out,
                remedy=f"-- --out /shared/{out}" if field == "corpus.out" else f"training: {{out: /shared/{out}}}",
            )


def _path_inside(manifest: Path, working_dir: Path) -> Path:
    try:
        return manifest.resolve().relative_to(working_dir.resolve())
    except ValueError:
        raise InputError(
            "the manifest is not in the working directory, so the job would not have it",
            where=manifest,
            expected=f"a file under {working_dir.resolve()}",
            remedy=f"--working-dir {manifest.resolve().parent}",
        ) from None
