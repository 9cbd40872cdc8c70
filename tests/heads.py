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

__all__ = ["Head", "Machine", "end_family", "environment", "free_ports", "ray_head", "short_folder"]


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


class Machine:
    """A Ray node as a machine of its own would be: an address on loopback, processes, a folder; ended by process id."""

    def __init__(self, repository: Path, folder: Path, ip: str, *, cores: int, head: str | None = None) -> None:
        """Start a head at ``ip``, or a node that joins the one at ``head``."""
        port, *agents = free_ports(5)
        self.address = head or f"{ip}:{port}"
        names = ("--dashboard-agent-listen-port", "--dashboard-agent-grpc-port", "--runtime-env-agent-port")
        command = [sys.executable, "-m", "ray.scripts.scripts", "start", "--block", "--disable-usage-stats"]
        command += ["--node-ip-address", ip, "--num-cpus", str(cores), "--num-gpus", "0"]
        command += ["--object-store-memory", "80000000", "--metrics-export-port", "0"]
        if head is None:
            command += ["--head", "--include-dashboard=false", "--port", str(port), "--temp-dir", str(folder / "ray")]
            command += ["--ray-client-server-port", str(agents[3])]
        else:
            command += ["--address", head]
        for name, agent in zip(names, agents[:3], strict=True):
            command += [name, str(agent)]
        self._log = folder / f"{ip}-{port}.log"
        with self._log.open("wb") as output:
            self._process = subprocess.Popen(
                command,
                env=environment(repository, RAY_worker_niceness="0", RAY_AUTH_MODE="disabled"),
                cwd=folder,
                stdout=output,
                stderr=subprocess.STDOUT,
            )

    def family(self) -> dict[psutil.Process, str]:
        """Return its processes and their names."""
        family = {}
        with suppress(psutil.NoSuchProcess):
            for child in psutil.Process(self._process.pid).children(recursive=True):
                with suppress(psutil.NoSuchProcess):
                    family[child] = child.name()
        return family

    def wait(self, *, limit_s: float = 60.0) -> None:
        """Wait until its Ray has started."""
        deadline = time.monotonic() + limit_s
        while "Ray runtime started" not in self._log.read_text():
            assert self._process.poll() is None, self._log.read_text()
            assert time.monotonic() < deadline, self._log.read_text()
            time.sleep(0.1)

    def works_on(self, what: str) -> bool:
        """Say whether one of its workers does something whose name begins with ``what``."""
        return any(name.startswith(f"ray::{what}") for name in self.family().values())

    def lose(self) -> None:
        """Kill all of it at once, as a power cut does."""
        family = [*self.family(), psutil.Process(self._process.pid)] if self._process.poll() is None else []
        for each in family:
            with suppress(psutil.NoSuchProcess):
                each.suspend()  # so that none sees another die and says goodbye
        for each in family:
            with suppress(psutil.NoSuchProcess):
                each.kill()
        psutil.wait_procs(family, timeout=10)
        self._process.wait(timeout=10)
