"""Faults, injected into real runs at random moments, and what must hold after each: shared by the tests and the table.

A trial starts ``depthforge synthesize`` on a Ray of its own over forty tiny shards, lets one fault happen, waits for
the end, and runs the same command again without a fault. It passes when nothing hung, every end had a documented code
and said what to do, an unfinished corpus did not verify, and the corpus in the end is, byte for byte, that of a process
that nobody disturbed, with no temporary left. All choices come from one seed.
"""

from __future__ import annotations

import os
import random
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import psutil
import yaml

from depthforge.cli.guard import DOCUMENTED
from depthforge.corpus.reader import CorpusReader
from depthforge.corpus.verify import verify_corpus
from depthforge.durable import is_temporary
from depthforge.manifest_file import load_manifest
from tests.conftest import REPOSITORY
from tests.heads import end_family, environment
from tests.stages.runs import contents, run

__all__ = ["FAULTS", "Bench", "CannotInjectError", "Trial", "attempt"]

NUM_SCENES, FRAMES_PER_SCENE, SHARD_FRAMES = 4, 40, 4
NUM_FRAMES = NUM_SCENES * FRAMES_PER_SCENE
NUM_SHARDS = NUM_FRAMES // SHARD_FRAMES
LIMIT_S = 120.0
_REMEDIES = ("again", "free some space", "wait for it to end", "choose another folder")


class CannotInjectError(Exception):
    """This machine does not let us: mounting needs root."""


@dataclass
class Trial:
    """What became of one fault: ``codes`` of every command in order; ``wrong`` is empty when all that must hold did."""

    fault: str
    injected: bool = False
    codes: list[int] = field(default_factory=list)
    lost_frames: int = 0
    duplicate_frames: int = 0
    hung: bool = False
    wrong: list[str] = field(default_factory=list)


@dataclass(frozen=True)
class Bench:
    """What trials share: a data set of small PNG files, the manifest, and the corpus of an undisturbed process."""

    folder: Path
    whole: dict[str, bytes]

    @classmethod
    def make(cls, folder: Path) -> Bench:
        """Write the data set and make its corpus in this process."""
        v, u = np.mgrid[:240, :320] / 5.0
        for scene in range(NUM_SCENES):
            depth = folder / "data" / f"room{scene}" / "depth"
            depth.mkdir(parents=True)
            for frame in range(FRAMES_PER_SCENE):
                image = (1200 + 9 * u + 5 * v + 10 * frame + 50 * scene).astype(np.uint16)
                assert cv2.imwrite(str(depth / f"{frame:02d}.png"), image)
        bench = cls(folder, {})
        run(load_manifest(bench.manifest(folder / "whole")))
        bench.whole.update(contents(folder / "whole"))
        return bench

    def manifest(self, out: Path, data: Path | None = None) -> Path:
        """Write the manifest of a run into ``out``."""
        camera = {"width": 320, "height": 240, "fx": 300.0, "fy": 300.0, "cx": 159.5, "cy": 119.5}
        value = {
            "name": "chaos",
            "source": {
                "name": "rgbd_folder",
                "root": str(data or self.folder / "data"),
                "dataset": "rooms",
                "depth": "{scene}/depth/{frame}.png",
                "depth_scale": 1000,
                "camera": camera,
                "licence": {"name": "none", "non_commercial": False},
            },
            "translator": {"name": "simulation", "sensor": {"name": "structured_light", "focal_length_px": 300.0}},
            "corpus": {"out": str(out), "shard_frames": SHARD_FRAMES},
            "max_reject_fraction": 0.2,
        }
        path = out.parent / "chaos.yaml"
        path.write_text(yaml.safe_dump(value))
        return path


class Run:
    """One command under fire."""

    def __init__(self, bench: Bench, folder: Path, trial: Trial, rng: random.Random) -> None:
        self.bench, self.folder, self.trial, self.rng = bench, folder, trial, rng
        self.out = folder / "corpus"
        self.manifest = bench.manifest(self.out)
        self.errors: list[str] = []

    def start(self, *options: str, **more: str) -> subprocess.Popen[bytes]:
        """Start the command on a local Ray of two workers."""
        line = [sys.executable, "-m", "depthforge", "synthesize", str(self.manifest), "--workers", "2", *options]
        pipe = subprocess.PIPE
        more = {"RAY_AUTH_MODE": "disabled", "RAY_worker_niceness": "0", **more}
        return subprocess.Popen(line, env=environment(REPOSITORY, **more), stdout=pipe, stderr=pipe)

    def finish(self, process: subprocess.Popen[bytes], *, killed: bool = False) -> int:
        """Wait for the end of a command and check how it ended."""
        try:
            _, stderr = process.communicate(timeout=LIMIT_S)
        except subprocess.TimeoutExpired:
            self.trial.hung = True
            self.trial.wrong.append(f"did not end within {LIMIT_S:g} s")
            end_family(process)
            return -1
        code, said = process.returncode, stderr.decode()
        if code == -signal.SIGTERM and not self.out.exists():  # it came before the first line of Python
            code, said = 143, "again"
        self.trial.codes.append(code)
        self.errors.append(said)
        if killed:
            return code
        if code not in DOCUMENTED:
            self.trial.wrong.append(f"ended with {code}, which is documented nowhere: {said[-500:]}")
        if code not in (0, 4):
            if not any(word in said for word in _REMEDIES):
                self.trial.wrong.append(f"ended with {code} and did not say what to do: {said[-500:]}")
            if verify_corpus_ok(self.out) and contents_of(self.out) != self.bench.whole:
                self.trial.wrong.append("an unfinished corpus verifies")
        return code

    def until_committed(self, count: int, process: subprocess.Popen[bytes]) -> None:
        """Wait until ``count`` shards are committed, or the command has ended."""
        deadline = time.monotonic() + LIMIT_S
        while len(list(self.out.glob("index/*.parquet"))) < count and process.poll() is None:
            if time.monotonic() > deadline:
                return
            time.sleep(0.001)

    def until_a_moment(self, process: subprocess.Popen[bytes]) -> None:
        """Wait for a random moment of the run: after some shards, and up to 50 ms more."""
        self.until_committed(self.rng.randrange(NUM_SHARDS - 1), process)
        time.sleep(self.rng.random() * 0.05)

    def until_started(self, process: subprocess.Popen[bytes], wanted: Callable[[str], bool]) -> list[psutil.Process]:
        """Wait for a random moment at which there are processes of such a name; return them."""
        self.until_a_moment(process)
        deadline = time.monotonic() + LIMIT_S
        while process.poll() is None and time.monotonic() < deadline:
            found = [child for child, name in family_of(process.pid) if wanted(name)]
            if found:
                return found
            time.sleep(0.002)
        return []


def kill_driver(run: Run) -> None:
    """SIGKILL to the command, or to the process that works for it."""
    process = run.start()
    run.until_a_moment(process)
    whole_command = run.rng.random() < 0.5
    with suppress(psutil.NoSuchProcess):
        victims = [psutil.Process(process.pid)]
        if not whole_command:
            victims = victims[0].children() or victims
        run.trial.injected = process.poll() is None
        victims[0].kill()
    run.finish(process, killed=whole_command)


def kill_worker(run: Run) -> None:
    """SIGKILL to a worker that makes a shard."""
    _kill_one(run, lambda name: name.startswith("ray::train-"), expect=(0,))


def kill_actor(run: Run) -> None:
    """SIGKILL to an actor: one that waits for work, or the one to which all others tell where they are."""
    _kill_one(run, lambda name: name.startswith(("ray::Mailbox", "ray::_Holder")), expect=(0,))


def kill_raylet(run: Run) -> None:
    """SIGKILL to what starts processes on Ray's node: the workers that there are may well make the rest without it."""
    _kill_one(run, lambda name: name == "raylet", expect=(0, 5))


def lose_node(run: Run) -> None:
    """All that computes on Ray's node hangs, and the node dies: nothing ends the run before somebody notices."""
    process = run.start()
    found = run.until_started(process, lambda name: name == "raylet")
    workers = found[0].children(recursive=True) if found else []
    for worker in workers:
        with suppress(psutil.NoSuchProcess):
            worker.suspend()
    for raylet in found[:1]:
        with suppress(psutil.NoSuchProcess):
            raylet.kill()
            run.trial.injected = True
    code = run.finish(process)
    for worker in workers:
        with suppress(psutil.NoSuchProcess):
            worker.kill()
    if code not in (0, 5):
        run.trial.wrong.append(f"ended with {code}: {run.errors[-1][-500:]}")


def kill_head(run: Run) -> None:
    """SIGKILL to the process that knows the cluster."""
    _kill_one(run, lambda name: name == "gcs_server", expect=(0, 5))


def _kill_one(run: Run, wanted: Callable[[str], bool], expect: tuple[int, ...]) -> None:
    process = run.start()
    found = run.until_started(process, wanted)
    if found and process.poll() is None:
        with suppress(psutil.NoSuchProcess):
            run.rng.choice(found).kill()
            run.trial.injected = True
    code = run.finish(process)
    if code not in expect and not run.trial.hung:
        run.trial.wrong.append(f"ended with {code}, not one of {expect}: {run.errors[-1][-500:]}")


def terminate(run: Run) -> None:
    """SIGTERM to the command, as a scheduler that preempts sends it; it has a grace period of 30 s."""
    process = run.start()
    run.until_a_moment(process)
    run.trial.injected = process.poll() is None
    process.terminate()
    start = time.monotonic()
    code = run.finish(process)
    if code not in (0, 143) or time.monotonic() - start > 30:
        run.trial.wrong.append(f"SIGTERM: {code} after {time.monotonic() - start:.0f} s")


def stop_worker(run: Run) -> None:
    """SIGSTOP to a worker, as a hung file system stops it; it does not come back."""
    process = run.start("--frame-limit", "4", "--stall-limit", "60")
    found = run.until_started(process, lambda name: name.startswith("ray::train-"))
    victim = run.rng.choice(found) if found else None
    if victim is not None:
        with suppress(psutil.NoSuchProcess):
            victim.suspend()
            run.trial.injected = True
    run.finish(process)
    if victim is not None:
        with suppress(psutil.NoSuchProcess):
            victim.kill()


def slow_source(run: Run) -> None:
    """A frame that takes seconds to come."""
    with _fifo(run, delay_s=1.0 + run.rng.random()):
        code = run.finish(run.start("--frame-limit", "30"))
    if code != 0:
        run.trial.wrong.append(f"a slow frame: {code}, {run.errors[-1][-500:]}")


def stalled_source(run: Run) -> None:
    """A frame that never comes: one retry, then a row that names it; with its file back it is made."""
    with _fifo(run, delay_s=None) as key:
        code = run.finish(run.start("--frame-limit", "3"))
        if code != 4 or f"{key} hangs in read again" not in run.errors[-1]:
            run.trial.wrong.append(f"a stalled frame: {code}, {run.errors[-1][-500:]}")
    run.finish(run.start("--retry-rejects"))


@contextmanager
def _fifo(run: Run, *, delay_s: float | None) -> Iterator[str]:
    """Put a pipe in the place of a frame that the checks before the run do not look at; yield its key."""
    data = run.folder / "data"
    shutil.copytree(run.bench.folder / "data", data)
    run.manifest = run.bench.manifest(run.out, data)
    scene, frame = run.rng.randrange(NUM_SCENES), run.rng.randrange(3, FRAMES_PER_SCENE - 1)
    path = data / f"room{scene}" / "depth" / f"{frame:02d}.png"
    content = path.read_bytes()
    path.unlink()
    os.mkfifo(path)
    ended = threading.Event()

    def feed() -> None:
        while not ended.is_set():
            try:
                pipe = os.open(path, os.O_WRONLY | os.O_NONBLOCK)
            except OSError:  # nobody reads yet
                time.sleep(0.01)
                continue
            time.sleep(delay_s or 0.0)
            with suppress(OSError):
                os.write(pipe, content)
            os.close(pipe)

    feeder = threading.Thread(target=feed)
    if delay_s is not None:
        feeder.start()
    run.trial.injected = True
    try:
        yield f"rooms/room{scene}/{frame:06d}"
    finally:
        ended.set()
        if delay_s is not None:
            feeder.join()
        path.unlink()
        path.write_bytes(content)


def full_disk(run: Run) -> None:
    """A disk with room for a part of the corpus, which then grows."""
    size = sum(len(data) for data in run.bench.whole.values())
    room = int(size * (0.3 + 0.5 * run.rng.random()))
    with _mounted(run, f"size={room}"):
        run.trial.injected = True
        code = run.finish(run.start())
        if code != 5:
            run.trial.wrong.append(f"a full disk: {code}, {run.errors[-1][-500:]}")
        _remount(run, "size=64m")
        _check_again(run)


def read_only_output(run: Run) -> None:
    """An output that becomes read-only in the middle."""
    with _mounted(run, "size=64m"):
        process = run.start()
        run.until_a_moment(process)
        done = subprocess.run(["mount", "-o", "remount,ro", str(run.out)], capture_output=True)
        run.trial.injected = done.returncode == 0 and process.poll() is None
        code = run.finish(process)
        if run.trial.injected and code not in (0, 5):
            run.trial.wrong.append(f"a read-only output: {code}, {run.errors[-1][-500:]}")
        _remount(run, "rw")
        _check_again(run)


@contextmanager
def _mounted(run: Run, options: str) -> Iterator[None]:
    run.out.mkdir(parents=True)
    made = subprocess.run(["mount", "-t", "tmpfs", "-o", options, "tmpfs", str(run.out)], capture_output=True)
    if made.returncode:
        raise CannotInjectError(made.stderr.decode())
    try:
        yield
    finally:
        subprocess.run(["umount", "-l", str(run.out)], check=True)


def _remount(run: Run, options: str) -> None:
    deadline = time.monotonic() + 20
    while subprocess.run(["mount", "-o", f"remount,{options}", str(run.out)], capture_output=True).returncode:
        assert time.monotonic() < deadline
        time.sleep(0.2)


def out_of_memory(run: Run) -> None:
    """A machine whose memory is said to be full: Ray ends worker after worker."""
    more = {"RAY_memory_usage_threshold": "0.0001", "RAY_memory_monitor_refresh_ms": "100"}
    process = run.start(**more)
    run.trial.injected = True
    run.finish(process)


def clock_jumps(run: Run) -> None:
    """A clock that jumps by up to a day, to and fro, in every process of the run."""
    hook = run.folder / "hook"
    hook.mkdir()
    (hook / "sitecustomize.py").write_text(_JUMPING_CLOCK)
    path = os.pathsep.join((str(hook), str(REPOSITORY)))
    run.trial.injected = True
    code = run.finish(run.start(PYTHONPATH=path, CHAOS_SEED=str(run.rng.randrange(2**31))))
    if code != 0:
        run.trial.wrong.append(f"a jumping clock: {code}, {run.errors[-1][-500:]}")


_JUMPING_CLOCK = """\
import os, random, time
_true, _rng = time.time, random.Random(int(os.environ["CHAOS_SEED"]) + os.getpid())
_off = 0.0
def _jumping():
    global _off
    if _rng.random() < 0.05:
        _off = _rng.uniform(-86400, 86400)
    return _true() + _off
time.time = _jumping
"""


def two_drivers(run: Run) -> None:
    """Two commands on one output: one is refused, the other makes the corpus."""
    processes = [run.start(), run.start()]
    run.trial.injected = True
    codes = [run.finish(process) for process in processes]
    if sorted(codes) not in ([0, 5], [0, 0]):
        run.trial.wrong.append(f"two drivers ended with {codes}")
    if sorted(codes) == [0, 5] and not any("another run is writing this corpus" in said for said in run.errors):
        run.trial.wrong.append("the second driver was not told of the first")


def corrupted_shard(run: Run) -> None:
    """A byte of a committed shard that turns: ``verify`` finds it and says how to make it anew."""
    run.finish(run.start())
    files = sorted(path for path in run.out.glob("shards/**/*") if path.is_file())
    victim = run.rng.choice([path for path in files if path.stat().st_size])
    content = bytearray(victim.read_bytes())
    content[run.rng.randrange(len(content))] ^= 1 << run.rng.randrange(8)
    victim.write_bytes(bytes(content))
    run.trial.injected = True
    line = [sys.executable, "-m", "depthforge", "verify", str(run.out)]
    done = subprocess.run(line, env=environment(REPOSITORY), capture_output=True, text=True, timeout=LIMIT_S)
    run.trial.codes.append(done.returncode)
    shard = victim.relative_to(run.out / "shards").parts[0].removesuffix(".zarr")
    if done.returncode != 6 or f"index/{shard}.parquet" not in done.stdout + done.stderr:
        run.trial.wrong.append(f"verify: {done.returncode}, {done.stdout[-500:]}{done.stderr[-500:]}")
    (run.out / "SHA256SUMS").unlink()
    (run.out / "index" / f"{shard}.parquet").unlink()


FAULTS: dict[str, Callable[[Run], None]] = {
    "kill -9 of the driver": kill_driver,
    "kill -9 of a worker": kill_worker,
    "kill -9 of an actor": kill_actor,
    "kill -9 of the raylet": kill_raylet,
    "loss of the node": lose_node,
    "kill -9 of the head": kill_head,
    "SIGTERM": terminate,
    "SIGSTOP of a worker": stop_worker,
    "slow source file": slow_source,
    "stalled source file": stalled_source,
    "full disk": full_disk,
    "read-only output": read_only_output,
    "out of memory": out_of_memory,
    "clock jumps": clock_jumps,
    "two drivers": two_drivers,
    "corrupted shard": corrupted_shard,
}


def attempt(bench: Bench, fault: str, folder: Path, seed: int) -> Trial:
    """Let ``fault`` happen to a run in ``folder``, run the same again, and say what became of it."""
    trial = Trial(fault)
    rng = random.Random(f"{fault}:{seed}")
    target = Run(bench, folder, trial, rng)
    FAULTS[fault](target)
    if not trial.hung and fault not in ("full disk", "read-only output"):
        _check_again(target)
    return trial


def _check_again(run: Run) -> None:
    """Run the same command again, undisturbed and in this process, and hold the corpus against the whole one."""
    trial = run.trial
    try:
        _run_when_free(run.manifest)
    except Exception as error:
        trial.wrong.append(f"the run after it: {type(error).__name__}: {error}")
        return
    verdict = verify_corpus(run.out)
    if not verdict.ok:
        trial.wrong += [f"verify after it: {problem}" for problem in verdict.problems]
    trial.lost_frames, trial.duplicate_frames = lost_and_duplicate(run.out)
    found, whole = contents_of(run.out), run.bench.whole
    if found != whole:
        differing = sorted(name for name in found.keys() | whole.keys() if found.get(name) != whole.get(name))
        trial.wrong.append(f"the corpus differs: {differing[:5]}")
    left = [path for path in run.out.rglob("*") if is_temporary(path.name)]
    if left:
        trial.wrong.append(f"temporaries are left: {left[:3]}")


def _run_when_free(manifest: Path) -> None:
    """Run inline; what a killed run left running may hold the output for a moment."""
    from depthforge.errors import CorpusBusyError

    deadline = time.monotonic() + 30
    while True:
        try:
            run(load_manifest(manifest))
            return
        except CorpusBusyError:
            if time.monotonic() > deadline:
                raise
            time.sleep(0.2)


def lost_and_duplicate(out: Path) -> tuple[int, int]:
    """Return how many frames of the data set the corpus lacks, and how many rows are there twice."""
    reader = CorpusReader(out)
    counts = Counter(reader.key(position) for position in range(len(reader)))
    return NUM_FRAMES - len(counts), sum(counts.values()) - len(counts)


def contents_of(out: Path) -> dict[str, bytes]:
    """Return every file of a corpus but for temporaries."""
    found = contents(out) if out.exists() else {}
    return {name: data for name, data in found.items() if not any(is_temporary(part) for part in Path(name).parts)}


def verify_corpus_ok(out: Path) -> bool:
    """Say whether there is a corpus that verifies."""
    return (out / "corpus.json").exists() and verify_corpus(out, deep=False).ok


def family_of(pid: int) -> list[tuple[psutil.Process, str]]:
    """Return what descends from a process, with its name."""
    family: list[tuple[psutil.Process, Any]] = []
    with suppress(psutil.NoSuchProcess):
        for child in psutil.Process(pid).children(recursive=True):
            with suppress(psutil.NoSuchProcess):
                family.append((child, child.name()))
    return family
