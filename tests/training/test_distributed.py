"""Several processes: gradients are averaged, all hold the same weights, and all stop together."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import distributed, multiprocessing, nn

from depthforge.errors import NotFiniteLossError
from depthforge.training.checkpoint import Checkpoints
from depthforge.training.loop import LoopSettings, TrainingLoop
from depthforge.training.objective import Batch, descend
from depthforge.translators.one_way_objectives import DclConfig, DclObjective

SETTINGS = LoopSettings(steps_per_epoch=2, epochs=1, decay_epochs=0, evaluate_every=2, seed=5)


def worker(rank: int, folder: Path) -> None:
    os.environ["GLOO_SOCKET_IFNAME"] = "lo"
    torch.set_num_threads(1)
    distributed.init_process_group("gloo", f"file://{folder}/meeting", rank=rank, world_size=2)
    found = {"mean": _averaged(rank)}
    for name, poisoned in (("sound", False), ("poisoned", True)):
        torch.save(found | _trained(rank, folder / name, poisoned), folder / f"{name}-{rank}.pt")
    distributed.barrier()
    distributed.destroy_process_group()
    # All is said; on a busy machine gloo's threads have been seen to abort the interpreter's own end.
    os._exit(0)


def _trained(rank: int, points: Path, poisoned: bool) -> dict[str, Any]:
    """Return a weight after training, and the error that ended it; rank 1 sees no numbers when ``poisoned``."""
    objective = DclObjective(DclConfig(width=2, num_vectors=16), torch.Generator().manual_seed(1))

    def batches(first: int, last: int) -> Any:
        for step in range(first, last):
            random = torch.Generator().manual_seed(10 * step + rank)
            clean, real = (torch.rand(2, 1, 32, 32, generator=random) for _ in range(2))
            yield Batch(clean * float("nan") if poisoned and rank == 1 else clean, real)

    loop = TrainingLoop(objective, batches, SETTINGS, Checkpoints(points), None, device=torch.device("cpu"), rank=rank)
    found: dict[str, Any] = {}
    try:
        loop.run()
    except NotFiniteLossError as error:
        found["error"] = error.message
    return {**found, "weight": objective.generator.stem.conv.weight.detach()}


def _averaged(rank: int) -> torch.Tensor:
    """One step of SGD down rank + 1 times the weight, from 0: the mean gradient is 1.5."""
    linear = nn.Linear(1, 1, bias=False)
    nn.init.zeros_(linear.weight)
    descend((rank + 1.0) * linear.weight.sum(), torch.optim.SGD(linear.parameters(), lr=1.0))
    return linear.weight.detach()


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of what two processes left: one start of both serves all tests."""
    folder = tmp_path_factory.mktemp("two")
    multiprocessing.spawn(worker, (folder,), nprocs=2)  # type: ignore[no-untyped-call]
    return folder


def both(folder: Path, name: str) -> list[dict[str, Any]]:
    return [torch.load(folder / f"{name}-{rank}.pt", weights_only=True) for rank in range(2)]


def test_gradients_are_averaged_and_the_weights_are_the_same(trained: Path) -> None:
    first, second = both(trained, "sound")
    assert first["mean"].item() == second["mean"].item() == -1.5
    assert "error" not in first | second
    assert torch.equal(first["weight"], second["weight"])
    states = sorted(path.name for path in (trained / "sound").rglob("state-*"))
    assert states == ["state-0.safetensors", "state-1.safetensors"]


def test_the_process_whose_losses_are_sound_stops_too(trained: Path) -> None:
    for found in both(trained, "poisoned"):
        assert "step" in found["error"]
