"""Run a manifest as a Ray job: hand it to the head of a cluster, follow its log, end with its exit code.

    python pipelines/run.py manifests/demo.yaml --address http://HEAD:8265 --out /shared/corpora/demo

The head starts ``depthforge synthesize MANIFEST --address auto`` on its own node, so the driver sits in the cluster and
this command may run anywhere that reaches the dashboard's port. Costs about 10 s over a driver of one's own, and needs
``ray[default]`` here and on the head. The alternative, ``depthforge synthesize --address HEAD:6379``, needs none of
this but a driver that can reach, and be reached from, every port of every node.
"""

from __future__ import annotations

import asyncio
import os
import shlex
import signal
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import click

from depthforge.cli.main import main, read_options
from depthforge.cli.options import RunOptions
from depthforge.errors import DepthforgeError, InputError, MissingDependencyError
from depthforge.manifest import Manifest
from depthforge.stages.cluster import send_known_token

__all__ = ["HeadUnreachableError", "command", "entry_point", "exit_code", "job_address", "job_environment"]

HOW_TO_START = "ray start --head --disable-usage-stats --dashboard-host 0.0.0.0"
# A job is asked to end, and Ray kills it 3 s later; what takes longer is a head in trouble.
STOP_LIMIT_S = 30.0
# Reconnections in a row without a new line of the log between them, 5 s apart.
MAX_RECONNECTIONS = 12


class HeadUnreachableError(DepthforgeError, ConnectionError):
    """The head's Jobs API does not answer, or answers with a refusal."""


@click.command("run", context_settings={"ignore_unknown_options": True, "help_option_names": ["-h", "--help"]})
@click.argument("manifest", metavar="MANIFEST", type=click.Path(path_type=Path))
@click.argument("options", metavar="[OPTIONS OF depthforge synthesize]", nargs=-1, type=click.UNPROCESSED)
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
def command(
    manifest: Path, options: tuple[str, ...], address: str | None, working_dir: Path, variables: tuple[str, ...]
) -> int:
    """Run MANIFEST on a Ray cluster as a job, show its log and end with the exit code of `depthforge synthesize`.

    Ctrl-C stops the job; the same command goes on where it stopped. MANIFEST lies in the working directory; data and
    outputs lie where every node reaches them under the same absolute path.
    """
    if str(manifest).startswith("-"):
        raise click.UsageError("MANIFEST comes first, before the options of depthforge synthesize")
    url = job_address(address, os.environ)
    environment = job_environment(variables, os.environ)
    # The manifest is read here too, since a mistake in it should not wait for a cluster to be found.
    os.environ.update(environment)
    _check_outputs(_read(manifest, options), manifest)
    inside = _path_inside(manifest, working_dir)
    return _run(_connect(url), entry_point(inside, options), working_dir, environment)


def job_address(given: str | None, environment: Any) -> str:
    """Return the URL of the Jobs API: as given, or else from the variables that Ray reads; raises UsageError."""
    address = given or environment.get("RAY_API_SERVER_ADDRESS") or environment.get("RAY_ADDRESS")
    if address and address.startswith(("http://", "https://")):
        return str(address).rstrip("/")
    found = f"not {address!r}" if address else "and there is none"
    raise click.UsageError(
        f"needs the dashboard of a running head as --address http://HEAD:8265, or in RAY_API_SERVER_ADDRESS, {found}.\n"
        f"A head starts with:\n  {HOW_TO_START}"
    )


def job_environment(variables: Sequence[str], environment: Any) -> dict[str, str]:
    """Return the variables that ``--env`` names, with the values given or those set here; raises UsageError."""
    chosen: dict[str, str] = {}
    for variable in variables:
        name, equals, value = variable.partition("=")
        if not equals and name not in environment:
            raise click.UsageError(f"--env {name}: the environment variable is not set here; give --env {name}=VALUE")
        chosen[name] = value if equals else environment[name]
    return chosen


def entry_point(manifest: Path, options: Sequence[str]) -> str:
    """Return the shell command that the head runs; Ray sets RAY_ADDRESS for it, which ``auto`` follows."""
    words = ["python", "-m", "depthforge", "synthesize", manifest.as_posix(), "--address", "auto", *options]
    return shlex.join(words)


def exit_code(status: str, driver_exit_code: int | None) -> int:
    """Return what this command exits with: the driver's own code, or 5 where it had none or died of a signal."""
    if status == "SUCCEEDED":
        return 0
    return driver_exit_code if driver_exit_code and driver_exit_code > 0 else 5


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
                remedy=f"--out /shared/{out}" if field == "corpus.out" else f"training: {{out: /shared/{out}}}",
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


def _connect(url: str) -> Any:
    """Return a client of the Jobs API at ``url``; raises HeadUnreachableError and MissingDependencyError."""
    send_known_token()
    try:
        import aiohttp  # noqa: F401
        import requests
        from ray.exceptions import AuthenticationError
        from ray.job_submission import JobSubmissionClient
    except ImportError as error:
        raise MissingDependencyError(
            "Ray's Jobs API cannot be imported", found=error, remedy="pip install 'ray[default]'"
        ) from None
    # Ray lets both win over the address it is given.
    for name in ("RAY_API_SERVER_ADDRESS", "RAY_ADDRESS"):
        os.environ.pop(name, None)
    try:
        return JobSubmissionClient(url)
    except AuthenticationError as error:
        raise HeadUnreachableError(
            "the head refuses this client",
            where=url,
            found=str(error).splitlines()[0],
            remedy="set RAY_AUTH_MODE=token and RAY_AUTH_TOKEN as on the head, or copy its ~/.ray/auth_token",
        ) from None
    except (ConnectionError, RuntimeError, ValueError, requests.RequestException) as error:
        raise HeadUnreachableError(
            "no head answers",
            where=url,
            found=error,
            remedy=f"give the head's dashboard as --address; a head starts with: {HOW_TO_START}",
        ) from None


def _run(client: Any, entrypoint: str, working_dir: Path, environment: dict[str, str]) -> int:
    """Submit the job, follow it to its end and return its exit code; an interruption stops it."""
    # What depthforge sets for its workers (one thread each) wins over --env; Ray would refuse the run as a conflict.
    env_vars = {**environment, "RAY_OVERRIDE_JOB_RUNTIME_ENV": "1"}
    try:
        job = client.submit_job(
            entrypoint=entrypoint, runtime_env={"working_dir": str(working_dir.resolve()), "env_vars": env_vars}
        )
    except (RuntimeError, ValueError) as error:
        raise InputError(
            "the job was not taken",
            where=working_dir.resolve(),
            found=error,
            remedy="--working-dir DIR, a small folder",
        ) from None
    click.echo(f"job {job}: {entrypoint}", err=True)
    # Schedulers end a command with SIGTERM; it means here what Ctrl-C does.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        info = asyncio.run(_follow(client, job))
    except KeyboardInterrupt:
        _stop(client, job)
        raise
    code = exit_code(info.status.value, info.driver_exit_code)
    if info.driver_exit_code is None:
        click.echo(f"error: job {job} {info.status.value}: {info.message}", err=True)
    return code


async def _follow(client: Any, job: str) -> Any:
    """Print the log as it grows until the job has ended; return its details. Goes on after a dropped connection."""
    shown = attempts = 0
    while True:
        seen = 0
        try:
            async for text in client.tail_job_logs(job):
                new = text[max(shown - seen, 0) :]
                seen += len(text)
                if new:
                    click.echo(new, nl=False)
                    shown, attempts = seen, 0
            info = client.get_job_info(job)
            if info.status.is_terminal():
                return info
            error: Exception | None = None
        # aiohttp's and requests' errors are OSErrors.
        except (OSError, RuntimeError) as lost:
            error = lost
        attempts += 1
        if attempts > MAX_RECONNECTIONS:
            raise HeadUnreachableError(
                "the head answers no more; the job may go on without this command",
                where=job,
                found=error,
                remedy=f"ray job logs --follow {job}",
            )
        await asyncio.sleep(0.2 if error is None else 5.0)


def _stop(client: Any, job: str) -> None:
    click.echo(f"asking job {job} to stop", err=True)
    deadline = time.monotonic() + STOP_LIMIT_S
    client.stop_job(job)
    while not (status := client.get_job_status(job)).is_terminal():
        if time.monotonic() > deadline:
            click.echo(f"job {job} is still {status.value}; see: ray job status {job}", err=True)
            return
        time.sleep(0.2)
    click.echo(f"job {job} has ended: {status.value}", err=True)


if __name__ == "__main__":
    main(sys.argv[1:], command=command, prog_name="pipelines/run.py")
