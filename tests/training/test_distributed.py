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


def worker(rank: int, folder: Path, poisoned: bool) -> None:
    os.environ["GLOO_SOCKET_IFNAME"] = "lo"
    torch.set_num_threads(1)
    distributed.init_process_group("gloo", f"file://{folder}/meeting", rank=rank, world_size=2)
    found: dict[str, Any] = {"mean": _averaged(rank)}
    objective = DclObjective(DclConfig(width=2, num_vectors=16), torch.Generator().manual_seed(1))

    def batches(first: int, last: int) -> Any:
        for step in range(first, last):
            random = torch.Generator().manual_seed(10 * step + rank)
            clean, real = (torch.rand(2, 1, 32, 32, generator=random) for _ in range(2))
            clean = clean * float("nan") if poisoned and rank == 1 else clean
            yield Batch({"depth": clean}, {"depth": real})

    loop = TrainingLoop(
        objective, batches, SETTINGS, Checkpoints(folder / "points"), None, device=torch.device("cpu"), rank=rank
    )
    try:
        loop.run()
    except NotFiniteLossError as error:
        found["error"] = error.message
    found["weight"] = objective.generator.stem.conv.weight.detach()
    torch.save(found, folder / f"{rank}.pt")
    distributed.barrier()
    distributed.destroy_process_group()
    # All is said; on a busy machine gloo's threads have been seen to abort the interpreter's own end.
    os._exit(0)


def _averaged(rank: int) -> torch.Tensor:
    """One step of SGD down rank + 1 times the weight, from 0: the mean gradient is 1.5."""
    linear = nn.Linear(1, 1, bias=False)
    nn.init.zeros_(linear.weight)
    descend((rank + 1.0) * linear.weight.sum(), torch.optim.SGD(linear.parameters(), lr=1.0))
    return linear.weight.detach()


@pytest.mark.parametrize("poisoned", [False, True])
def test_two_processes(tmp_path: Path, poisoned: bool) -> None:
    multiprocessing.spawn(worker, (tmp_path, poisoned), nprocs=2)  # type: ignore[no-untyped-call]
    first, second = (torch.load(tmp_path / f"{rank}.pt", weights_only=True) for rank in range(2))
    assert first["mean"].item() == second["mean"].item() == -1.5
    if poisoned:
        assert "step" in first["error"], "the one whose own losses are sound stops too"
        assert "step" in second["error"]
    else:
        assert torch.equal(first["weight"], second["weight"])
        states = sorted(path.name for path in (tmp_path / "points").rglob("state-*"))
        assert states == ["state-0.safetensors", "state-1.safetensors"]
