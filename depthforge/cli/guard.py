"""The process that waits for the one that works, so that a command ends with a documented exit code whatever ends it.

Ray ends a driver from its native code where its node or its head is gone (``_exit(1)``, or an abort), and the kernel
ends one that takes too much memory: no line of Python runs then. So a command that uses Ray works in a child, forked
before anything heavy is loaded (2 ms), and the parent waits: it passes signals on, says what happened to a child that
could not say it itself, and ends what that child left running. The child ends with its parent. The alternative, a
thread, dies with the process that it watches.
"""

from __future__ import annotations

import ctypes
import os
import signal
import sys
import time
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Final

from depthforge.errors import IncompleteError

__all__ = ["DOCUMENTED", "USES_RAY", "code_of_end", "fork_worker", "wants_guard"]

#: Exit codes that a command gives by itself; see docs/cli.md.
DOCUMENTED: Final = frozenset({0, 2, 3, 4, 5, 6, 7, 130, 143})
USES_RAY: Final = frozenset(
    {"append", "convert", "evaluate", "export", "nightly", "select", "synthesize", "train", "try"}
)
_OF_SIGNAL: Final = {signal.SIGINT: 130, signal.SIGTERM: 143}
_PR_SET_PDEATHSIG, _PR_SET_CHILD_SUBREAPER = 1, 36
_FROM_KERNEL: Final = 0x80
_LEFT_OVER_S: Final = 10.0


def wants_guard(arguments: Sequence[str]) -> bool:
    """Say whether a command line starts Ray: then it may be ended from outside Python."""
    return (
        sys.platform == "linux"
        and bool(arguments)
        and arguments[0] in USES_RAY
        and not {"--inline", "--help", "-h", "--dry-run"} & set(arguments)
    )


def fork_worker() -> None:
    """Return in a new process that does the work; this one waits for it here and exits as it did.

    To be called before a thread is started.
    """
    watched = {*_OF_SIGNAL, signal.SIGCHLD}
    mask = signal.pthread_sigmask(signal.SIG_BLOCK, watched)
    _prctl(_PR_SET_CHILD_SUBREAPER, 1)  # what the child leaves running becomes this process's
    parent = os.getpid()
    sys.stdout.flush()
    sys.stderr.flush()
    worker = os.fork()
    if worker == 0:
        _prctl(_PR_SET_CHILD_SUBREAPER, 0)
        _prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
        if os.getppid() != parent:
            os._exit(IncompleteError.exit_code)
        signal.pthread_sigmask(signal.SIG_SETMASK, mask)
        return
    status, asked = _wait(worker, watched)
    code, words = code_of_end(status, asked)
    if words is not None:
        print(words, file=sys.stderr, flush=True)
        _end_what_is_left()
    os._exit(code)


def code_of_end(status: int, asked: signal.Signals | None) -> tuple[int, str | None]:
    """Return the exit code for a worker's wait ``status``, and what to say where it could not say anything itself.

    ``asked`` is the signal that was passed on to it, if any.
    """
    code = os.waitstatus_to_exitcode(status)
    if code in DOCUMENTED:
        return code, None
    if asked is not None:
        said = "ended by SIGTERM" if asked == signal.SIGTERM else "interrupted"
        return _OF_SIGNAL[asked], f"{said}; run the same command again to go on where it stopped"
    if code == -signal.SIGKILL:
        found = "SIGKILL: of the kernel where memory ran out, or of somebody"
        remedy = "run the same command again: committed shards are kept; with fewer --workers if memory ran out"
    else:
        how = signal.Signals(-code).name if code < 0 else f"exit code {code}"
        found = f"{how}: so Ray ends a driver whose node or head is gone"
        remedy = "run the same command again, when the cluster is there: committed shards and checkpoints are kept"
    return (
        IncompleteError.exit_code,
        f"error: {IncompleteError('the run was ended from outside', found=found, remedy=remedy)}",
    )


def _wait(worker: int, watched: set[signal.Signals]) -> tuple[int, signal.Signals | None]:
    """Wait for ``worker``; return its status and the last signal that was passed on to it."""
    asked: signal.Signals | None = None
    while True:
        with suppress(ChildProcessError):
            while (ended := os.waitpid(-1, os.WNOHANG))[0]:
                if ended[0] == worker:
                    return ended[1], asked
        came = signal.sigwaitinfo(watched)
        if came.si_signo in _OF_SIGNAL:
            asked = signal.Signals(came.si_signo)
            if came.si_code != _FROM_KERNEL:  # a terminal sends Ctrl-C to both
                with suppress(ProcessLookupError):
                    os.kill(worker, came.si_signo)


def _end_what_is_left() -> None:
    """Kill what the worker had started: nothing of a run that has ended may go on to write."""
    deadline = time.monotonic() + _LEFT_OVER_S
    while time.monotonic() < deadline:
        for child in _children():
            with suppress(ProcessLookupError, PermissionError):
                os.kill(child, signal.SIGKILL)
        try:
            os.waitpid(-1, 0)
        except ChildProcessError:
            return


def _children() -> list[int]:
    """Return the processes whose parent is this one."""
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdecimal():
            with suppress(OSError, ValueError, IndexError):
                # After the name, which may hold anything: state, parent.
                parent = int((entry / "stat").read_text().rpartition(")")[2].split()[1])
                if parent == os.getpid():
                    found.append(int(entry.name))
    return found


def _prctl(option: int, value: int) -> None:
    ctypes.CDLL(None, use_errno=True).prctl(option, int(value), 0, 0, 0)
