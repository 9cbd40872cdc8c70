"""Options that mean the same in every command."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import click

from depthforge.manifest import Manifest, load_manifest

__all__ = [
    "as_json",
    "debug",
    "default_workers",
    "echo_json",
    "limit",
    "manifest_argument",
    "read_manifest",
    "run_options",
]

F = TypeVar("F", bound=Callable[..., Any])

manifest_argument = click.argument("manifest", metavar="MANIFEST", type=click.Path(path_type=Path))
limit = click.option("--limit", metavar="N", type=click.IntRange(min=1), help="Only the first N frames.")
as_json = click.option("--json", "as_json", is_flag=True, help="Print the result as JSON on standard output.")
debug = click.option("--debug", is_flag=True, help="Show the traceback of an error.")


def run_options(command: F) -> F:
    """Add every option of a command that runs a manifest."""
    for option in reversed(
        (
            click.option("--out", metavar="DIR", type=click.Path(path_type=Path), help="Where the corpus goes."),
            click.option("--workers", metavar="N", type=click.IntRange(min=1), help="Workers; default: one per core."),
            click.option("--inline", is_flag=True, help="Run in this process, without Ray: for debugging."),
            click.option(
                "--address", metavar="ADDRESS", envvar="RAY_ADDRESS", help="A Ray cluster; default: a local Ray."
            ),
            click.option("--seed", metavar="N", type=click.IntRange(min=0), help="Seed, over the manifest's."),
            limit,
            click.option("--translator", metavar="NAME", help="Another translator, with its defaults."),
            click.option("--overwrite", is_flag=True, help="Replace the corpus that is there."),
            click.option("--retry-rejects", is_flag=True, help="Try again the shards that hold rejected frames."),
            click.option(
                "--dry-run", is_flag=True, help="Print frames, shards, bytes, memory and time; write nothing."
            ),
            as_json,
            debug,
        )
    ):
        command = option(command)
    return command


def read_manifest(
    path: Path, *, out: Path | None, seed: int | None, limit: int | None, translator: str | None
) -> Manifest:
    """Read the manifest and lay the command line over it."""
    return load_manifest(path).overridden(out=out, seed=seed, limit=limit, translator=translator)


def default_workers() -> int:
    """One worker for each core that this process may use."""
    return len(os.sched_getaffinity(0))


def echo_json(value: Any) -> None:
    """Print ``value`` as indented JSON."""
    click.echo(json.dumps(value, indent=2, sort_keys=False, default=str))
