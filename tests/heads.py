"""A Ray head of this machine's own: free ports, its own folder, ended by its process ids alone."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import NamedTuple

import psutil

__all__ = ["Head", "end_family", "environment", "free_ports", "ray_head", "short_folder"]


class Head(NamedTuple):
    """Where a head listens: host:port, and the URL of its Jobs API."""

    address: str
    jobs: str


def free_ports(count: int) -> list[int]:
    """Return ports that nothing listens on; the kernel picks them above those of Ray's workers (10002-19999)."""
    with ExitStack() as stack:
        sockets = [stack.enter_context(socket.socket()) for _ in range(count)]
        for listener in sockets:
            listener.bind(("127.0.0.1", 0))
        return [listener.getsockname()[1] for listener in sockets]


def environment(repository: Path, **more: str) -> dict[str, str]:
    """Return an environment without another Ray's traces, in which `python` and `ray` are those of this interpreter."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("RAY_")}
    return {
        **kept,
        "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",
        "PYTHONPATH": str(repository),
        "RAY_USAGE_STATS_ENABLED": "0",
        "OMP_NUM_THREADS": "1",
        **more,
    }


@contextmanager
def short_folder() -> Iterator[Path]:
    """A folder whose path leaves room for the names of Ray's sockets (107 bytes in all)."""
    folder = Path(tempfile.mkdtemp(prefix="df-", dir="/tmp"))
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def end_family(process: subprocess.Popen[bytes], *, limit_s: float = 3.0) -> None:
    """End a process and all that descend from it: asked first, killed after ``limit_s``."""
    try:
        family = psutil.Process(process.pid).children(recursive=True)
    except psutil.NoSuchProcess:
        family = []
    process.terminate()
    for child in family:
        with suppress(psutil.NoSuchProcess):  # it may end between any look at it and the signal
            child.terminate()
    _, alive = psutil.wait_procs(family, timeout=limit_s)
    for child in alive:
        with suppress(psutil.NoSuchProcess):
            child.kill()
    process.kill()
    process.wait()


@contextmanager
def ray_head(repository: Path, folder: Path, *, limit_s: float = 90.0) -> Iterator[Head]:
    """Start a head of two cores with the Jobs API."""
    port, dashboard, *agents = free_ports(6)
    names = ("--dashboard-agent-listen-port", "--dashboard-agent-grpc-port", "--runtime-env-agent-port")
    command = [sys.executable, "-m", "ray.scripts.scripts", "start", "--head", "--block", "--disable-usage-stats"]
    command += ["--port", str(port), "--dashboard-port", str(dashboard), "--temp-dir", str(folder / "ray")]
    command += [
        "--node-ip-address",
        "127.0.0.1",
        "--num-cpus",
        "2",
        "--object-store-memory",
        "100000000",
        "--ray-client-server-port",
        str(agents[3]),
    ]
    command += ["--metrics-export-port", "0"]
    for name, agent in zip(names, agents[:3], strict=True):
        command += [name, str(agent)]
    url, log = f"http://127.0.0.1:{dashboard}", folder / "head.log"
    with log.open("wb") as output:
        process = subprocess.Popen(
            command,
            env=environment(repository, RAY_worker_niceness="0", RAY_AUTH_MODE="disabled"),
            cwd=folder,
            stdout=output,
            stderr=subprocess.STDOUT,
        )
    try:
        deadline = time.monotonic() + limit_s
        while not _answers(url):
            assert process.poll() is None, log.read_text()
            assert time.monotonic() < deadline, log.read_text()
            time.sleep(0.1)
        yield Head(f"127.0.0.1:{port}", url)
    finally:
        end_family(process)


def _answers(url: str) -> bool:
    try:
        with urllib.request.urlopen(f"{url}/api/version", timeout=2):
            return True
    except urllib.error.HTTPError:  # it wants the token that Ray's own clients bring
        return True
    except (urllib.error.URLError, OSError):
        return False
