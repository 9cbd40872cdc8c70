"""Kill -9 of an actor that holds a model: once, and again and again."""

from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import psutil
import pytest

from depthforge.errors import IncompleteError
from depthforge.manifest import Manifest, parse_manifest
from depthforge.progress import Silent
from tests.heads import Head
from tests.stages.learned import write_weights
from tests.stages.runs import contents, run

pytestmark = pytest.mark.ray

NUM_SHARDS = 4


class Watch(Silent):
    """Keeps what it is told."""

    def __init__(self) -> None:
        self.warnings: list[str] = []

    def warn(self, message: str) -> None:
        self.warnings.append(message)


@pytest.fixture
def learned(tmp_path: Path) -> Callable[[Path], Manifest]:
    """Return a maker of runs of four shards through an untrained translator, long enough to be shot at."""
    value = {
        "name": "chaos",
        "source": {"name": "procedural", "num_scenes": 1, "frames_per_scene": 40, "width": 160, "height": 120},
        "translator": write_weights(tmp_path / "weights"),
    }

    def make(out: Path) -> Manifest:
        return parse_manifest({**value, "corpus": {"out": str(out), "shard_frames": 40 // NUM_SHARDS}}, where="test")

    return make


@contextmanager
def killing(*, times: int, when: Callable[[], bool]) -> Iterator[list[int]]:
    """Kill actors of this process that are making a shard, ``times`` of them at most, while ``when`` says so."""
    killed: list[int] = []
    ended = threading.Event()

    def kill() -> None:
        while not ended.wait(0.005) and len(killed) < times:
            for child in psutil.Process().children(recursive=True):
                try:
                    name = child.name()
                except psutil.NoSuchProcess:
                    continue
                if name.startswith("ray::train-") and child.pid not in killed and len(killed) < times and when():
                    os.kill(child.pid, signal.SIGKILL)
                    killed.append(child.pid)

    thread = threading.Thread(target=kill)
    thread.start()
    try:
        yield killed
    finally:
        ended.set()
        thread.join()


def begun(out: Path) -> bool:
    """Say whether a shard is being written."""
    return any(out.glob("shards/.*.tmp"))


@pytest.mark.slow
def test_a_killed_actor_is_replaced_and_its_shard_made_again(
    learned: Callable[[Path], Manifest], head: Head, tmp_path: Path
) -> None:
    run(learned(tmp_path / "whole"))
    out, watch = tmp_path / "corpus", Watch()
    with killing(times=1, when=lambda: begun(out)) as killed:
        report = run(learned(out), inline=False, num_workers=2, address=head.address, progress=watch)
    assert len(killed) == 1
    assert any("is replaced" in warning for warning in watch.warnings)
    assert (report.num_frames, report.made_shards) == (40, NUM_SHARDS)
    assert contents(out) == contents(tmp_path / "whole")


@pytest.mark.slow
def test_actors_that_always_die_end_the_run_and_the_shards_are_named(
    learned: Callable[[Path], Manifest], head: Head, tmp_path: Path
) -> None:
    out, watch = tmp_path / "corpus", Watch()
    start = time.monotonic()
    with killing(times=100, when=lambda: True) as killed, pytest.raises(IncompleteError) as caught:
        run(learned(out), inline=False, num_workers=1, address=head.address, progress=watch)
    assert time.monotonic() - start < 200
    assert len(killed) == 4
    assert "no worker is left" in str(caught.value)
    assert "train-000000" in str(caught.value)
    assert run(learned(out)).num_frames == 40
