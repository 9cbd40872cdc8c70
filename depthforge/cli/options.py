"""Options that mean the same in every command."""

from __future__ import annotations

import functools
import json
import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import click

from depthforge.addresses import Address, address_of, local_folder
from depthforge.errors import InputError
from depthforge.manifest import Manifest
from depthforge.manifest_file import load_manifest
from depthforge.stages.cluster import FRAME_LIMIT_S, STALL_LIMIT_S

__all__ = [
    "CORPUS",
    "LOCAL_PATH",
    "RunOptions",
    "as_json",
    "debug",
    "echo_json",
    "realism_options",
    "run_options",
    "stall_limit",
]


class _LocalPath(click.Path):
    """A path of a mounted file system; a URL, which ``Path`` would take for one, is a usage error."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        try:
            return super().convert(local_folder(value), param, ctx)
        except InputError as error:
            self.fail(f"{error.found}: {error.message}; {error.remedy}", param, ctx)


LOCAL_PATH = _LocalPath(path_type=Path)
"""The type of every argument that names a file or a folder of this machine."""


class _CorpusPlace(click.ParamType[Address]):
    """The folder of a corpus, or its URL in an object store."""

    name = "place"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        try:
            return address_of(value)
        except InputError as error:
            found = f"{error.found}: " if error.found else ""
            self.fail(f"{found}{error.message}; expected {error.expected}; {error.remedy or ''}", param, ctx)


CORPUS = _CorpusPlace()
"""The type of every argument that names a corpus."""

manifest_argument = click.argument("manifest", metavar="MANIFEST", type=click.Path(path_type=Path))
as_json = click.option("--json", "as_json", is_flag=True, help="Print the result as JSON on standard output.")
stall_limit = click.option(
    "--stall-limit",
    "stall_limit_s",
    metavar="SECONDS",
    type=click.FloatRange(min=0, min_open=True),
    default=STALL_LIMIT_S,
    show_default=True,
    help="End a run on Ray in which nothing has moved for so long.",
)
debug = click.option("--debug", is_flag=True, help="Show the traceback of an error.")


@dataclass(frozen=True)
class RunOptions:
    """What the command line says of a run, over its manifest."""

    out: Address | None
    workers: int | None
    inline: bool
    address: str | None
    stall_limit_s: float
    frame_limit_s: float
    seed: int | None
    limit: int | None
    translator: str | None
    sensor: str | None
    overwrite: bool
    retry_rejects: bool
    dry_run: bool
    as_json: bool
    debug: bool

    @property
    def num_workers(self) -> int:
        """Workers of a run on this machine: one for each core that this process may use, unless said otherwise."""
        return 1 if self.inline else self.workers or len(os.sched_getaffinity(0))

    def read_manifest(self, path: Path) -> Manifest:
        """Read the manifest and lay the command line over it."""
        return load_manifest(path).overridden(
            out=self.out, seed=self.seed, limit=self.limit, translator=self.translator, sensor=self.sensor
        )


def run_options(command: Callable[[Path, RunOptions], int]) -> Callable[..., int]:
    """Add MANIFEST and every option of a command that runs one; ``command`` gets them gathered."""

    @functools.wraps(command)
    def gather(manifest: Path, **values: Any) -> int:
        return command(manifest, RunOptions(**values))

    gathered: Callable[..., int] = gather
    for option in reversed(
        (
            manifest_argument,
            click.option("--out", metavar="DIR|URL", type=CORPUS, help="Where the corpus goes."),
            click.option(
                "--workers",
                metavar="N",
                type=click.IntRange(min=1),
                help="Workers; default: one per core (or GPU, where one is used), here or of the cluster.",
            ),
            click.option("--inline", is_flag=True, help="Run in this process, without Ray: for debugging."),
            click.option(
                "--address", metavar="ADDRESS", envvar="RAY_ADDRESS", help="A Ray cluster; default: a local Ray."
            ),
            stall_limit,
            click.option(
                "--frame-limit",
                "frame_limit_s",
                metavar="SECONDS",
                type=click.FloatRange(min=0, min_open=True),
                default=FRAME_LIMIT_S,
                show_default=True,
                help="Replace a worker on Ray of which no frame ends for so long; the second time reject the frame.",
            ),
            click.option("--seed", metavar="N", type=click.IntRange(min=0), help="Seed, over the manifest's."),
            click.option("--limit", metavar="N", type=click.IntRange(min=1), help="Only the first N frames."),
            click.option("--translator", metavar="NAME", help="Another translator, with its defaults."),
            click.option(
                "--sensor", metavar="NAME", help="Simulate this sensor: a preset (`depthforge list`) or its .yaml file."
            ),
            click.option(
                "--overwrite", is_flag=True, help="Replace the corpus that is there, when the new one is whole."
            ),
            click.option("--retry-rejects", is_flag=True, help="Try again the shards that hold rejected frames."),
            click.option(
                "--dry-run",
                is_flag=True,
                help="Print what a source needs made first, frames, shards, bytes, memory and time; write nothing.",
            ),
            as_json,
            debug,
        )
    ):
        gathered = option(gathered)
    return gathered


def realism_options(command: Callable[..., int]) -> Callable[..., int]:
    """Give a command what it needs to hold a corpus against real scans: ``frames``, ``draws`` and ``baseline_m``."""
    for option in reversed(
        (
            click.option(
                "--frames",
                metavar="N",
                type=click.IntRange(2, 1000),
                default=40,
                show_default=True,
                help="Frames of CORPUS, and of each half of the real scans, that realism is measured on.",
            ),
            click.option(
                "--draws",
                metavar="N",
                type=click.IntRange(1, 64),
                default=8,
                show_default=True,
                help="Drawings of the noise from which the holes' probabilities come, in the same view; 1: none.",
            ),
            click.option(
                "--baseline",
                "baseline_m",
                metavar="METRES",
                type=click.FloatRange(min=0, min_open=True),
                help="Distance of the real sensor's two eyes, for disparities in the same view; by default what CORPUS "
                "says.",
            ),
        )
    ):
        command = option(command)
    return command


def echo_json(value: Any) -> None:
    """Print ``value`` as indented JSON."""
    click.echo(json.dumps(value, indent=2, sort_keys=False, default=str))
