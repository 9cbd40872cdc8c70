"""Several processes: gradients are averaged, all hold the same weights, and what fails in one ends all of them.

Two processes run every case, one after the other, and write what became of it: one start of a group serves all tests.
"""

from __future__ import annotations

import json
import os
import shutil
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import distributed, multiprocessing, nn

from depthforge.errors import DepthforgeError, StorageError, TrainingCollapsedError
from depthforge.training.agreement import all_agree, failing_together
from depthforge.training.checkpoint import Checkpoints
from depthforge.training.loop import Evaluated, LoopSettings, TrainingLoop
from depthforge.training.objective import Batch, Objective, descend, frozen

SETTINGS = LoopSettings(steps_per_epoch=4, epochs=1, decay_epochs=0, evaluate_every=2, seed=5)
ENDS_WITHIN_S = 20.0


class UnpicklableError(Exception):
    def __init__(self, one: str, other: str) -> None:
        super().__init__(f"{one} {other}")


@dataclass(frozen=True)
class Case:
    """Where a training fails after its checkpoint of step 2, in which processes, and what each is to raise."""

    name: str
    ranks: tuple[int, ...]
    where: str
    error: Exception
    says: str
    kind: str
    checkpoints: tuple[int, ...] = (2,)


def storage() -> Exception:
    return StorageError("no room for it", where="the disk")


CASES = [
    Case("state of the first", (0,), "write_state", storage(), "no room for a checkpoint", "StorageError"),
    Case("state of the second", (1,), "write_state", storage(), "no room for a checkpoint", "StorageError"),
    Case("evaluation", (0,), "evaluate", storage(), "no room for it", "StorageError"),
    Case("translator", (0,), "save", storage(), "no room for it", "StorageError"),
    Case("curves", (0,), "logged", storage(), "no room for it", "StorageError"),
    Case("commit", (0,), "commit", storage(), "no room for it", "StorageError"),
    Case("batches of the first", (0,), "batches", storage(), "no room for it", "StorageError"),
    Case("batches of the second", (1,), "batches", storage(), "no room for it", "StorageError"),
    Case("step of the first", (0,), "step", RuntimeError("out of luck"), "out of luck", "RuntimeError"),
    Case("step of the second", (1,), "step", RuntimeError("out of luck"), "out of luck", "RuntimeError"),
    Case("between two updates", (1,), "update", KeyError("head"), "'head'", "KeyError"),
    Case("behind the last update", (1,), "losses", storage(), "no room for it", "StorageError"),
    Case("both", (0, 1), "step", storage(), "no room for it", "StorageError"),
    Case("a state that is damaged", (1,), "resume", storage(), "no room for it", "StorageError", (2, 4)),
    Case("no pickle of it", (1,), "step", UnpicklableError("a", "b"), "UnpicklableError: a b", "RuntimeError"),
    Case("loss that is no number", (1,), "poison", storage(), "is not a finite number", "NotFiniteLossError"),
    Case("collapse", (0,), "collapse", TrainingCollapsedError("one picture"), "one picture", "TrainingCollapsedError"),
]


class Observing:
    """An observer that may fail."""

    def __init__(self, fail: Any) -> None:
        self._fail = fail

    def logged(self, step: int, losses: Any, images_per_second: float) -> None:
        self._fail("logged", step)

    def evaluate(self, step: int, objective: Objective) -> Evaluated:
        self._fail("evaluate", step)
        try:
            self._fail("collapse", step)
        except TrainingCollapsedError as sign:
            return Evaluated(float(step), {}, sign)
        return Evaluated(float(step), {})

    def save(self, step: int, objective: Objective, evaluated: Evaluated, checkpoints: Checkpoints) -> None:
        self._fail("save", step)

    def state_dict(self) -> dict[str, Any]:
        return {}

    def resumed(self, step: int, state: dict[str, Any]) -> None:
        pass


class Players(Objective):
    """Two players of one convolution each that take turns; it may fail before, between and behind their updates."""

    def __init__(self, fail: Any) -> None:
        players = {name: nn.Conv2d(1, 1, 3, padding=1) for name in ("generator", "discriminator")}
        super().__init__(players, torch.Generator().manual_seed(1))
        self.optimisers = {name: torch.optim.SGD(player.parameters(), lr=0.1) for name, player in players.items()}
        self._fail, self._done = fail, 0

    def step(self, batch: Batch) -> dict[str, torch.Tensor]:
        self._done += 1
        self._fail("step", self._done)
        generator, discriminator = self.networks["generator"], self.networks["discriminator"]
        clean, real = batch.clean["depth"], batch.real["depth"]
        told_apart = discriminator(real).mean() - discriminator(generator(clean).detach()).mean()
        descend(-told_apart, self.optimisers["discriminator"])
        self._fail("update", self._done)
        with frozen(discriminator):
            fooled = -discriminator(generator(clean)).mean()
        descend(fooled, self.optimisers["generator"])
        self._fail("losses", self._done)
        return {"told apart": told_apart.detach(), "gan": fooled.detach()}


def trainer(rank: int, folder: Path, case: Case | None) -> TrainingLoop:
    """Return one process of a training that fails as ``case`` says, in its third step or the checkpoint of step 4."""

    def fail(where: str, step: int) -> None:
        if case is not None and case.where == where and rank in case.ranks and step > 2:
            raise case.error

    def batches(first: int, last: int) -> Iterator[Batch]:
        for step in range(first, last):
            fail("batches", step + 1)
            random = torch.Generator().manual_seed(10 * step + rank)
            clean, real = (torch.rand(2, 1, 8, 8, generator=random) for _ in range(2))
            bad = case is not None and case.where == "poison" and rank in case.ranks and step == 2
            yield Batch({"depth": clean * float("nan") if bad else clean}, {"depth": real})

    class Points(Checkpoints):
        def commit(self, step: int) -> None:
            fail("commit", step)
            super().commit(step)

        def read_state(self, step: int, *, rank: int = 0) -> dict[str, Any]:
            fail("resume", step)
            return super().read_state(step, rank=rank)

    observer = Observing(fail) if rank == 0 else None
    cpu = torch.device("cpu")
    return TrainingLoop(Players(fail), batches, SETTINGS, Points(folder), observer, device=cpu, rank=rank)


@contextmanager
def full_disk(case: Case, rank: int, points: Path) -> Iterator[None]:
    """Within, the disk has no room for the state of this process once there is a checkpoint."""
    before = shutil.disk_usage
    if case.where == "write_state" and rank in case.ranks:
        shutil.disk_usage = lambda path: SimpleNamespace(free=10) if Checkpoints(points).steps() else before(path)  # type: ignore[assignment,misc]
    try:
        yield
    finally:
        shutil.disk_usage = before


def outcome(rank: int, folder: Path, case: Case) -> dict[str, Any]:
    """Run one case to its end; return what this process raised, and when."""
    if case.where == "resume":
        trainer(rank, folder, None).run()
    start = time.monotonic()
    found: dict[str, Any] = {}
    with full_disk(case, rank, folder):
        try:
            trainer(rank, folder, case).run()
        except Exception as error:
            found = {"kind": type(error).__name__, "text": str(error), "notes": getattr(error, "__notes__", [])}
            found["own"] = error is case.error
            found["exit_code"] = error.exit_code if isinstance(error, DepthforgeError) else None
    return {**found, "seconds": time.monotonic() - start, "checkpoints": Checkpoints(folder).steps()}


def worker(rank: int, folder: Path) -> None:
    os.environ["GLOO_SOCKET_IFNAME"] = "lo"
    torch.set_num_threads(1)
    distributed.init_process_group("gloo", f"file://{folder}/meeting", rank=rank, world_size=2)
    sound = trainer(rank, folder / "sound", None)
    sound.run()
    weight = sound.objective.networks["generator"].state_dict()["weight"]
    stale = trainer(rank, folder / "sound", None)
    if rank == 1:
        stale.checkpoints.steps = list  # type: ignore[method-assign]
    found: dict[str, Any] = {"resumed_from": stale.run().resumed_from, "weight": weight.tolist()}
    found |= {"mean": _averaged(rank).item(), "word_s": _seconds_of_a_word()}
    for number, case in enumerate(CASES):
        found[case.name] = outcome(rank, folder / str(number), case)
    (folder / f"{rank}.json").write_text(json.dumps(found))
    distributed.barrier()
    if rank == 1:  # it dies without a word
        os._exit(0)
    try:
        trainer(rank, folder / "left alone", None).run()
    except Exception as error:
        (folder / "alone.json").write_text(json.dumps({"kind": type(error).__name__, "text": str(error)}))
    # All is said; on a busy machine gloo's threads have been seen to abort the interpreter's own end.
    os._exit(0)


def _averaged(rank: int) -> torch.Tensor:
    """One step of SGD down rank + 1 times the weight, from 0: the mean gradient is 1.5."""
    linear = nn.Linear(1, 1, bias=False)
    nn.init.zeros_(linear.weight)
    descend((rank + 1.0) * linear.weight.sum(), torch.optim.SGD(linear.parameters(), lr=1.0))
    return linear.weight.detach()


def _seconds_of_a_word() -> float:
    with failing_together():
        start = time.perf_counter()
        for _ in range(100):
            all_agree()
        return (time.perf_counter() - start) / 100


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("processes")
    context = multiprocessing.spawn(worker, (folder,), nprocs=2, join=False)  # type: ignore[no-untyped-call]
    deadline = time.monotonic() + 120
    try:
        while not context.join(timeout=1):
            assert time.monotonic() < deadline, "a process waits for one that has stopped"
    finally:
        for process in context.processes:
            process.kill()
    return folder


@pytest.fixture(scope="module")
def found(folder: Path) -> list[dict[str, Any]]:
    return [json.loads((folder / f"{rank}.json").read_text()) for rank in range(2)]


def test_gradients_are_averaged_and_all_hold_the_same_weights(folder: Path, found: list[dict[str, Any]]) -> None:
    first, second = found
    assert first["mean"] == second["mean"] == -1.5
    assert first["weight"] == second["weight"]
    states = sorted(path.name for path in (folder / "sound" / "step-00000004").glob("state-*"))
    assert states == ["state-0.safetensors", "state-1.safetensors"]


def test_all_go_on_from_the_checkpoint_that_the_first_sees(found: list[dict[str, Any]]) -> None:
    """A folder on another machine may be listed as it was a moment ago."""
    assert [process["resumed_from"] for process in found] == [4, 4]


@pytest.mark.parametrize("case", CASES, ids=[case.name for case in CASES])
def test_what_fails_in_one_process_is_raised_by_all(found: list[dict[str, Any]], case: Case) -> None:
    for rank, process in enumerate(found):
        told = process[case.name]
        first = min(case.ranks)
        assert told["own"] or (told["kind"] == case.kind and case.says in told["text"])
        assert rank == first or not told["own"], "the first that failed says what all raise"
        assert told["seconds"] < ENDS_WITHIN_S
        assert told["checkpoints"] == list(case.checkpoints), "those before it are kept"
        assert told["exit_code"] == found[first][case.name]["exit_code"]
        if rank != first and case.where != "poison":
            assert f"worker {first} of 2, on " in told["text"] + "".join(told["notes"]), "it says where it happened"


def test_a_process_that_dies_ends_the_other(folder: Path) -> None:
    told = json.loads((folder / "alone.json").read_text())
    assert told["kind"] == "ProcessLostError"
    assert told["text"].startswith("another process of the training cannot be reached: ")


def test_the_word_before_every_message_is_short(found: list[dict[str, Any]]) -> None:
    """0.2 to 0.9 ms in most cases; a busy machine takes longer to give each process its turn."""
    assert found[0]["word_s"] < 0.05
