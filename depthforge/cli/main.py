"""The entry point: subcommands load when they are called, errors become one clear message and an exit code.

0 done, 2 usage, 3 input invalid, 4 done without some frames, 5 failed or incomplete, 6 integrity, 130 interrupted
(Ctrl-C), 143 ended from outside (SIGTERM): both leave what is committed, and the same command goes on. So does one of
which Ray or the kernel ends the process: see ``guard``.
"""

from __future__ import annotations

import importlib
import json
import signal
import sys
import threading
import traceback
from collections.abc import Sequence
from keyword import iskeyword
from types import FrameType
from typing import Any

import click

from depthforge import __version__
from depthforge.cli.guard import fork_worker, wants_guard
from depthforge.errors import DepthforgeError, UnknownNameError

__all__ = ["COMMANDS", "cli", "main", "read_options"]

# Name -> first line of its help, so that `depthforge --help` imports no command.
COMMANDS = {
    "init": "Look at a folder and propose a manifest for it.",
    "synthesize": "Convert a clean data set into a verified noisy corpus: the main job.",
    "check": "Say whether a data set on disk is complete, readable and plausible.",
    "train": "Train a learned translator on clean depth and unpaired real scans.",
    "fit": "Fit a simulated sensor to unpaired scans of the real one.",
    "translator": "Look at trained translators, and import published ones.",
    "submit": "Run the main job on a Ray cluster as a job: log followed, exit code passed on.",
    "nightly": "Make a new version of a corpus of what is new in its source, held against real scans.",
    "convert": "Run the conversion stage alone.",
    "verify": "Say whether a corpus is whole, bit for bit.",
    "rejects": "Say why frames of a corpus were not converted.",
    "inspect": "Show what a corpus holds: units, fields, counts, statistics, pictures.",
    "report": "Make one HTML page of a corpus: pictures, plots, numbers, with no network.",
    "export": "Write a corpus in another format: WebDataset, Hugging Face, BOP, COCO ...",
    "select": "Make a new corpus of some frames of another, or split it anew.",
    "append": "Make a new corpus of the frames of several.",
    "evaluate": "Say in numbers how close a corpus is to real scans.",
    "try": "Train small networks on a corpus and test them on real scans.",
    "sample": "Write procedural scenes in a data set's own layout.",
    "list": "List sources, translators, sensors, tasks and sample layouts, or print the manifest's JSON Schema.",
}


class _LazyGroup(click.Group):
    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in COMMANDS:
            return None
        # A module cannot be called `try`.
        name = f"{cmd_name}_" if iskeyword(cmd_name) else cmd_name
        module = importlib.import_module(f"depthforge.cli.{name}")
        command: click.Command = module.command
        return command

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        if args and args[0] not in COMMANDS:
            raise click.UsageError(str(UnknownNameError("command", args[0], COMMANDS)).replace("depthforge list", ""))
        return super().resolve_command(ctx, args)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Commands"):
            formatter.write_dl(list(COMMANDS.items()))


@click.group(cls=_LazyGroup, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
@click.version_option(__version__, prog_name="depthforge")
def cli() -> None:
    """Clean depth in, sensor-real depth out, every label carried.

    The main job: depthforge synthesize manifests/demo.yaml
    """


class _Terminated(KeyboardInterrupt):
    """SIGTERM: what a batch system sends before it kills."""


def _terminate(number: int, frame: FrameType | None) -> None:
    # Whoever ends a group of processes may reach this one twice; it is asked to end once.
    signal.signal(number, signal.SIG_IGN)
    raise _Terminated


def read_options(name: str, arguments: Sequence[str]) -> dict[str, Any]:
    """Return the values that the subcommand ``name`` would get from ``arguments``, without running it.

    Raises:
        click.UsageError: what the command line would be refused for.
    """
    parent = click.Context(cli, info_name="depthforge", **cli.context_settings)
    command = cli.get_command(parent, name)
    if command is None:
        raise click.UsageError(f"there is no command {name!r}")
    # Below its group: a command remembers the names of its help option from the first context that it meets.
    return command.make_context(name, list(arguments), parent=parent).params


def _interrupted(error: BaseException) -> int:
    """Say what ended the run and return its exit code."""
    # Ray raises a KeyboardInterrupt of its own for whatever a handler raised within it; what is left is the handler's
    # mark that it has been called.
    is_marked = signal.getsignal(signal.SIGTERM) is signal.SIG_IGN
    terminated = is_marked or isinstance(error, _Terminated) or isinstance(error.__cause__, _Terminated)
    what = "ended by SIGTERM" if terminated else "interrupted"
    click.echo(f"{what}; run the same command again to go on where it stopped", err=True)
    return 143 if terminated else 130


def _known(error: Exception) -> DepthforgeError | None:
    """Return what is no defect of depthforge: its own errors, and files and folders that the system refuses."""
    if isinstance(error, DepthforgeError):
        return error
    if isinstance(error, OSError) and error.filename is not None:
        remedy = "check that it is there, and that this user may read (or write) it and enter the folders above it"
        return DepthforgeError("a file or folder is refused", where=error.filename, found=error.strerror, remedy=remedy)
    return None


def main(arguments: list[str] | None = None) -> None:
    """Run a command line and exit with its code; without ``arguments`` that of this process, which it may fork."""
    owns_process = arguments is None
    arguments = sys.argv[1:] if arguments is None else arguments
    if owns_process and wants_guard(arguments):
        fork_worker()
    if threading.current_thread() is threading.main_thread():
        signal.signal(signal.SIGTERM, _terminate)
    try:
        code = cli.main(args=arguments, prog_name="depthforge", standalone_mode=False)
    except click.ClickException as error:
        error.show()
        sys.exit(error.exit_code)
    except (click.Abort, KeyboardInterrupt) as error:
        sys.exit(_interrupted(error))
    except Exception as error:
        if isinstance(error, SystemError) and isinstance(error.__cause__, KeyboardInterrupt):
            sys.exit(_interrupted(error))  # within a compiled function
        if "--debug" in arguments:
            if not owns_process:
                raise
            traceback.print_exc()
        known = _known(error)
        if known is not None:
            if "--json" in arguments:
                click.echo(json.dumps({"error": known.to_json()}, indent=2))
            click.echo(f"error: {known}", err=True)
            sys.exit(known.exit_code)
        click.echo(f"internal error: {type(error).__name__}: {error}", err=True)
        click.echo("  try:      the same command with --debug; please report what it shows", err=True)
        sys.exit(5)
    sys.exit(code if isinstance(code, int) else 0)
