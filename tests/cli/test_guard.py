"""Whatever ends the process that works, the command ends with a documented code and leaves nothing running."""

from __future__ import annotations

import signal
import subprocess
import sys
import time

import click
import psutil
import pytest

from depthforge.cli.guard import DOCUMENTED, USES_RAY, code_of_end, wants_guard
from depthforge.cli.main import COMMANDS, cli
from tests.conftest import REPOSITORY
from tests.heads import environment

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="the guard needs prctl")

BEGIN = "import os, signal, subprocess, sys, time; from depthforge.cli.guard import fork_worker; fork_worker();"


def start(work: str) -> subprocess.Popen[str]:
    """Start a guarded process whose worker runs ``work``."""
    pipe = subprocess.PIPE
    return subprocess.Popen(
        [sys.executable, "-c", f"{BEGIN} {work}"], env=environment(REPOSITORY), stdout=pipe, stderr=pipe, text=True
    )


@pytest.mark.parametrize("code", [0, 3, 4, 5, 6, 130])
def test_a_documented_code_goes_through_in_silence(code: int) -> None:
    process = start(f"print('out'); sys.exit({code})")
    out, err = process.communicate(timeout=30)
    assert (process.returncode, out, err) == (code, "out\n", "")


@pytest.mark.parametrize(
    ("work", "found"),
    [
        ("os._exit(1)", "exit code 1: so Ray ends a driver whose node or head is gone"),
        ("os.abort()", "SIGABRT: so Ray ends a driver"),
        ("os.kill(os.getpid(), signal.SIGKILL)", "SIGKILL: of the kernel where memory ran out"),
    ],
)
def test_an_end_from_outside_python_is_5_and_said(work: str, found: str) -> None:
    process = start(work)
    _, err = process.communicate(timeout=30)
    assert process.returncode == 5
    assert err.startswith("error: the run was ended from outside\n")
    assert found in err
    assert "run the same command again" in err


def test_what_an_ended_worker_had_started_ends_with_it() -> None:
    process = start(
        "child = subprocess.Popen(['sleep', '300'], start_new_session=True); print(child.pid, flush=True); os._exit(1)"
    )
    out, _ = process.communicate(timeout=30)
    assert process.returncode == 5
    assert not psutil.pid_exists(int(out))


@pytest.mark.parametrize(("number", "code"), [(signal.SIGTERM, 143), (signal.SIGINT, 130)])
def test_a_signal_is_passed_on_and_the_worker_ends_as_it_likes(number: signal.Signals, code: int) -> None:
    name = f"signal.{number.name}"
    process = start(f"signal.signal({name}, lambda *_: sys.exit({code})); print('ready', flush=True); time.sleep(60)")
    assert process.stdout is not None
    assert process.stdout.readline() == "ready\n"
    process.send_signal(number)
    process.communicate(timeout=30)
    assert process.returncode == code


def test_a_signal_that_the_worker_does_not_outlive_is_said() -> None:
    process = start("signal.signal(signal.SIGTERM, signal.SIG_DFL); print('ready', flush=True); time.sleep(60)")
    assert process.stdout is not None
    assert process.stdout.readline() == "ready\n"
    process.terminate()
    _, err = process.communicate(timeout=30)
    assert process.returncode == 143
    assert "ended by SIGTERM; run the same command again" in err


def test_the_worker_ends_with_the_process_that_waits() -> None:
    process = start("print(os.getpid(), flush=True); time.sleep(60)")
    assert process.stdout is not None
    worker = int(process.stdout.readline())
    assert worker != process.pid
    process.kill()
    process.wait()
    deadline = time.monotonic() + 10
    while psutil.pid_exists(worker) and psutil.Process(worker).status() != psutil.STATUS_ZOMBIE:
        assert time.monotonic() < deadline, "the worker outlives the command"
        time.sleep(0.02)


def test_every_wait_status_becomes_a_documented_code() -> None:
    for status in [*(code << 8 for code in range(256)), *(each for each in signal.Signals if each < 32)]:
        for asked in (None, signal.SIGTERM, signal.SIGINT):
            code, words = code_of_end(int(status), asked)
            assert code in DOCUMENTED
            assert (words is None) == (status == code << 8)


def test_only_commands_that_start_ray_are_guarded() -> None:
    assert COMMANDS.keys() >= USES_RAY
    assert wants_guard(["synthesize", "m.yaml"])
    assert not wants_guard(["synthesize", "m.yaml", "--inline"])
    assert not wants_guard(["verify", "corpus"])
    assert not wants_guard([])


def test_every_command_that_can_do_without_ray_is_guarded_where_it_does_not() -> None:
    """A command has --inline where it starts Ray otherwise: none of them may be forgotten."""
    context = click.Context(cli)
    found = set()
    for name in COMMANDS:
        command = cli.get_command(context, name)
        assert command is not None
        if any("--inline" in parameter.opts for parameter in command.params):
            found.add(name)
    assert found <= USES_RAY
    assert {"synthesize", "export", "select", "append"} <= found
