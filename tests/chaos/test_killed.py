"""Kill -9 of a worker and of the driver, at several moments; the corpus ends up as if nothing had happened."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path

import psutil
import pytest
import yaml

from depthforge.corpus.verify import verify_corpus
from depthforge.durable import is_temporary
from depthforge.manifest_file import load_manifest
from tests.heads import Head
from tests.stages.runs import contents, run

pytestmark = [pytest.mark.ray, pytest.mark.slow]

NUM_SHARDS = 20


@pytest.fixture(scope="module")
def manifest(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run of twenty small shards, long enough to be shot at."""
    path = tmp_path_factory.mktemp("manifest") / "chaos.yaml"
    value = {
        "name": "chaos",
        "source": {"name": "procedural", "num_scenes": 2, "frames_per_scene": 40, "width": 320, "height": 240},
        "translator": {"name": "simulation"},
        "corpus": {"out": str(path.parent / "whole"), "shard_frames": 4},
    }
    path.write_text(yaml.safe_dump(value))
    run(load_manifest(path))
    return path


@pytest.fixture(scope="module")
def whole(manifest: Path) -> dict[str, bytes]:
    """The corpus of an undisturbed run."""
    return contents(manifest.parent / "whole")


def start(manifest: Path, out: Path, head: Head | None = None) -> subprocess.Popen[bytes]:
    """Start the command on a Ray of its own, or on that of ``head``; its workers descend from this process."""
    command = [sys.executable, "-m", "depthforge", "synthesize", str(manifest), "--out", str(out), "--workers", "2"]
    command += [] if head is None else ["--address", head.address]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, preexec_fn=_heed_interrupts)


def _heed_interrupts() -> None:
    """A shell starts what runs in its background deaf to SIGINT, and the tests may be such a command."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)


def wait_for_shards(out: Path, count: int, process: subprocess.Popen[bytes]) -> None:
    deadline = time.monotonic() + 120
    while len(list(out.glob("index/*.parquet"))) < count:
        assert process.poll() is None, process.communicate()
        assert time.monotonic() < deadline, "the run makes no shards"
        time.sleep(0.002)


def _is_aside(path: str) -> bool:
    return any(is_temporary(part) for part in Path(path).parts)


def family_of(pid: int) -> dict[psutil.Process, str]:
    """Return what descends from a process, with its name; one that ends while it is looked at is left out."""
    family = {}
    for child in psutil.Process(pid).children(recursive=True):
        with suppress(psutil.NoSuchProcess):
            family[child] = child.name()
    return family


def committed(out: Path) -> int:
    return len(list(out.glob("index/*.parquet")))


@pytest.mark.parametrize(("after_shards", "more_s"), [(0, 0.0), (NUM_SHARDS // 2, 0.031)])
def test_a_killed_driver_loses_nothing_that_was_committed(
    manifest: Path, whole: dict[str, bytes], tmp_path: Path, after_shards: int, more_s: float
) -> None:
    out = tmp_path / "corpus"
    process = start(manifest, out)
    wait_for_shards(out, after_shards, process)
    time.sleep(more_s)
    family = family_of(process.pid)
    process.kill()
    process.communicate()
    kept = committed(out)
    assert kept >= after_shards
    if out.exists() and kept < NUM_SHARDS:
        assert not verify_corpus(out).ok, "an unfinished corpus must not pass for a whole one"
    report = run(load_manifest(manifest).overridden(out=out))
    assert report.made_shards <= NUM_SHARDS - kept
    # A worker of the killed run that lives a little longer may leave a temporary, which the next run removes.
    assert {path: data for path, data in contents(out).items() if not _is_aside(path)} == whole
    # Ray's own agents notice within a minute; what computes and what schedules must be gone.
    workers = [child for child, name in family.items() if not name.endswith("Agent")]
    _, alive = psutil.wait_procs(workers, timeout=30)
    assert not alive, "workers of the killed run live on"


def test_a_killed_worker_is_replaced(manifest: Path, whole: dict[str, bytes], head: Head, tmp_path: Path) -> None:
    out = tmp_path / "corpus"
    process = start(manifest, out, head)
    for after_shards in (1, NUM_SHARDS // 2):
        wait_for_shards(out, after_shards, process)
        workers = [child for child, name in family_of(os.getpid()).items() if name.startswith("ray::train-")]
        if workers:
            with suppress(psutil.NoSuchProcess):
                workers[0].kill()
    _, stderr = process.communicate(timeout=120)
    assert process.returncode == 0, stderr.decode()
    assert contents(out) == whole


def test_a_dead_ray_node_ends_the_run_and_loses_nothing(
    manifest: Path, whole: dict[str, bytes], tmp_path: Path
) -> None:
    out = tmp_path / "corpus"
    process = start(manifest, out)
    wait_for_shards(out, 1, process)
    raylet = next(child for child, name in family_of(process.pid).items() if name == "raylet")
    # Stopped workers cannot end the run before anybody notices; one that has just begun has no name of Ray's yet.
    workers = raylet.children(recursive=True)
    for worker in workers:
        with suppress(psutil.NoSuchProcess):
            worker.suspend()
    raylet.kill()
    _, stderr = process.communicate(timeout=120)
    for worker in workers:
        with suppress(psutil.NoSuchProcess):
            worker.kill()
    # Ray ends a driver whose node has died, with 1, when it notices before the driver does: that is 5 from outside. A
    # fast machine may have written the last shard before the node died: such a run is whole.
    assert process.returncode == 5 or (process.returncode == 0 and contents(out) == whole), stderr.decode()
    if process.returncode == 5:
        assert "run the same command again" in stderr.decode()
    run(load_manifest(manifest).overridden(out=out))
    assert contents(out) == whole


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_terminated_run_ends_and_can_go_on(
    manifest: Path, whole: dict[str, bytes], head: Head, tmp_path: Path, number: signal.Signals, code: int
) -> None:
    out = tmp_path / "corpus"
    process = start(manifest, out, head)
    wait_for_shards(out, 1, process)
    process.send_signal(number)
    _, stderr = process.communicate(timeout=60)
    assert process.returncode == code, stderr.decode()
    assert "run the same command again" in stderr.decode()
    run(load_manifest(manifest).overridden(out=out))
    assert contents(out) == whole
