"""Several machines as far as one goes: nodes with addresses and processes of their own.

They join late and are lost, the head is lost. Whatever is lost, the corpus and the weights are those of one process
that nobody disturbed.
"""

from __future__ import annotations

import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
import yaml

from depthforge.corpus.verify import verify_corpus
from depthforge.manifest_file import load_manifest
from depthforge.stages.train import train
from depthforge.training.checkpoint import Checkpoints
from tests.conftest import REPOSITORY
from tests.heads import Machine, end_family, environment, short_folder
from tests.stages.runs import contents, run
from tests.stages.test_train import ROOMS, SCANS

pytestmark = [pytest.mark.ray, pytest.mark.slow]

SMALL_ROOMS = {"name": "procedural", "num_scenes": 2, "frames_per_scene": 60, "width": 320, "height": 240}
NUM_SHARDS = 30
Start = Callable[..., Machine]


@pytest.fixture
def machine() -> Iterator[Start]:
    """Return a starter of machines, each with an address of its own; all are gone at the end."""
    with short_folder() as folder, ExitStack() as stack:
        count = 0

        def start(*, cores: int, head: Machine | None = None) -> Machine:
            nonlocal count
            count += 1
            address = None if head is None else head.address
            started = Machine(REPOSITORY, folder, f"127.0.0.{count}", cores=cores, head=address)
            stack.callback(started.lose)
            started.wait()
            return started

        yield start


def write(folder: Path, **fields: Any) -> Path:
    value = {
        "name": "machines",
        "source": SMALL_ROOMS,
        "translator": {"name": "simulation"},
        "corpus": {"out": str(folder / "corpus"), "shard_frames": 4},
        **fields,
    }
    path = folder / "machines.yaml"
    path.write_text(yaml.safe_dump(value))
    return path


def start(command: str, manifest: Path, *options: str) -> subprocess.Popen[bytes]:
    line = [sys.executable, "-m", "depthforge", command, str(manifest), *options]
    pipe = subprocess.PIPE
    more = {"RAY_AUTH_MODE": "disabled", "RAY_worker_niceness": "0"}
    return subprocess.Popen(line, env=environment(REPOSITORY, **more), stdout=pipe, stderr=pipe)


class DoneTooSoonError(AssertionError):
    """A run was over before what should happen to it could."""


def until(condition: Callable[[], bool], process: subprocess.Popen[bytes], *, limit_s: float = 120.0) -> None:
    deadline = time.monotonic() + limit_s
    while not condition():
        if process.poll() is not None:
            raise DoneTooSoonError(process.communicate())
        assert time.monotonic() < deadline, "nothing has come of it"
        time.sleep(0.01)


def committed(out: Path) -> int:
    return len(list(out.glob("index/*.parquet")))


def whole(manifest: Path, folder: Path) -> dict[str, bytes]:
    """Return the corpus that one process makes."""
    run(load_manifest(manifest).overridden(out=folder / "alone"))
    return contents(folder / "alone")


def test_a_machine_that_joins_late_and_is_lost_changes_no_byte(machine: Start, tmp_path: Path) -> None:
    head = machine(cores=1)
    # How long a machine takes to join differs tenfold with what else runs: more frames where it came too late.
    for attempt, scenes in enumerate((2, 8, 32)):
        folder = tmp_path / str(scenes)
        folder.mkdir()
        manifest, out = write(folder, source={**SMALL_ROOMS, "num_scenes": scenes}), folder / "corpus"
        process = start("synthesize", manifest, "--address", head.address)
        try:
            until(lambda: committed(out) >= 2, process)  # noqa: B023
            late = machine(cores=1, head=head)
            until(lambda: late.works_on("train-"), process)  # noqa: B023
            late.lose()
            _, stderr = process.communicate(timeout=150)
            break
        except DoneTooSoonError:
            late.lose()
            assert attempt < 2
        finally:
            end_family(process)
    assert process.returncode == 0, stderr.decode()
    assert b"is replaced" in stderr, stderr.decode()
    assert contents(out) == whole(manifest, folder)
    assert verify_corpus(out).ok


def test_a_lost_head_ends_the_run_with_5_and_a_new_one_goes_on(machine: Start, tmp_path: Path) -> None:
    manifest, out = write(tmp_path), tmp_path / "corpus"
    head = machine(cores=1)
    node = machine(cores=1, head=head)
    process = start("synthesize", manifest, "--address", head.address)
    try:
        until(lambda: committed(out) >= 3 and node.works_on("train-"), process)
        head.lose()
        lost = time.monotonic()
        _, stderr = process.communicate(timeout=120)
    finally:
        end_family(process)
    assert process.returncode == 5, stderr.decode()
    assert time.monotonic() - lost < 60
    assert b"run the same command again" in stderr
    kept = committed(out)
    assert 3 <= kept < NUM_SHARDS
    node.lose()
    again = start("synthesize", manifest, "--address", machine(cores=2).address)
    stdout, stderr = again.communicate(timeout=150)
    assert again.returncode == 0, stderr.decode()
    assert f"resuming: {4 * kept} of {4 * NUM_SHARDS} frames are committed" in stderr.decode()
    assert b"verified" in stdout
    assert contents(out) == whole(manifest, tmp_path)


@pytest.fixture
def training(tmp_path: Path) -> Callable[[str], Path]:
    """Return a writer of the same small training into a folder of its own."""

    def make(name: str) -> Path:
        folder = tmp_path / name
        folder.mkdir()
        settings = {"real": SCANS, "out": str(folder / "translator"), "epochs": 10, "decay_epochs": 0}
        settings |= {"steps_per_epoch": 2, "batch_size": 2, "crop_px": 32, "held_out": 0.5}
        settings |= {"evaluate_every": 2, "evaluation_frames": 2}
        block = {"name": "dcl", "width": 2, "max_depth_m": 8, "num_vectors": 16, "residual": 1.0}
        return write(folder, source=ROOMS, translator=block, training=settings)

    return make


def weights(manifest: Path) -> bytes:
    return (manifest.parent / "translator" / "weights.safetensors").read_bytes()


def has_checkpoint(manifest: Path) -> bool:
    return bool(Checkpoints(manifest.parent / "translator" / "checkpoints").steps())


def test_a_training_outlives_the_machine_that_it_ran_on(machine: Start, training: Callable[[str], Path]) -> None:
    manifest, alone = training("machines"), training("alone")
    head = machine(cores=0)
    first = machine(cores=1, head=head)
    process = start("train", manifest, "--address", head.address)
    try:
        until(lambda: has_checkpoint(manifest), process)
        first.lose()
        machine(cores=1, head=head)
        _, stderr = process.communicate(timeout=200)
    finally:
        end_family(process)
    assert process.returncode == 0, stderr.decode()
    train(load_manifest(alone), inline=True)
    assert weights(manifest) == weights(alone)


def test_a_training_that_is_terminated_goes_on(training: Callable[[str], Path]) -> None:
    """SIGTERM with time to end, as a scheduler that preempts gives it."""
    manifest, alone = training("terminated"), training("alone")
    process = start("train", manifest)
    try:
        until(lambda: has_checkpoint(manifest), process)
        process.send_signal(signal.SIGTERM)
        _, stderr = process.communicate(timeout=30)
    finally:
        end_family(process)
    assert process.returncode == 143, stderr.decode()
    assert b"run the same command again" in stderr
    report = train(load_manifest(manifest), inline=True)
    assert report.resumed_from is not None
    assert report.resumed_from > 0
    train(load_manifest(alone), inline=True)
    assert weights(manifest) == weights(alone)
