"""The loop: a killed training ends as an uninterrupted one, and every way of stopping keeps what is good."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

from benchmarks.gpu_checks import made_up_batch, objective_of
from depthforge.errors import IntegrityError, NotFiniteLossError, TrainingCollapsedError
from depthforge.training import loop
from depthforge.training.checkpoint import Checkpoints
from depthforge.training.loop import Evaluated, LoopReport, LoopSettings, TrainingLoop, learning_rate_factor
from depthforge.training.objective import Batch, Objective
from depthforge.translators.cycle_objective import CycleGanConfig, CycleGanObjective
from depthforge.translators.one_way_objectives import DclConfig, DclObjective

SETTINGS = LoopSettings(steps_per_epoch=3, epochs=2, decay_epochs=1, evaluate_every=3, seed=5, log_every=2)


def batch(step: int) -> Batch:
    random = torch.Generator().manual_seed(step)
    return Batch(*({"depth": torch.rand(2, 1, 32, 32, generator=random)} for _ in range(2)))


def batches(first: int, last: int) -> Iterator[Batch]:
    return (batch(step) for step in range(first, last))


class Watching:
    """Scores checkpoints from a list, and remembers what it was told."""

    def __init__(self, scores: dict[int, float] | None = None, collapses_at: int | None = None) -> None:
        self.scores = scores or {}
        self.collapses_at = collapses_at
        self.logged_steps: list[int] = []
        self.saved: list[int] = []
        self.resumed_at: list[tuple[int, Any]] = []
        self.training = True

    def logged(self, step: int, losses: Any, images_per_second: float) -> None:
        self.logged_steps.append(step)
        assert all(isinstance(value, float) for value in losses.values())
        assert images_per_second > 0

    def evaluate(self, step: int, objective: Objective) -> Evaluated:
        self.training = any(network.training for network in objective.networks.values())
        sign = TrainingCollapsedError("one picture for all") if step == self.collapses_at else None
        return Evaluated(self.scores.get(step, float(step)), {"figure": 0.5}, sign)

    def save(self, step: int, objective: Objective, evaluated: Evaluated, checkpoints: Checkpoints) -> None:
        self.saved.append(step)

    def state_dict(self) -> dict[str, Any]:
        return {"saved": list(self.saved)}

    def resumed(self, step: int, state: dict[str, Any]) -> None:
        self.resumed_at.append((step, state))


def make(kind: str) -> Objective:
    random = torch.Generator().manual_seed(1)
    if kind == "cyclegan":
        return CycleGanObjective(CycleGanConfig(width=2, pool_size=3), random)
    return DclObjective(DclConfig(width=2, num_vectors=16, head="trained"), random)


def run(
    folder: Path, kind: str = "dcl", source: Any = batches, settings: LoopSettings = SETTINGS, **options: Any
) -> tuple[LoopReport, Objective, Watching]:
    watching, objective = Watching(**options), make(kind)
    training = TrainingLoop(objective, source, settings, Checkpoints(folder), watching, device=torch.device("cpu"))
    return training.run(), objective, watching


def weights(objective: Objective) -> dict[str, torch.Tensor]:
    return {f"{n}.{k}": v for n, net in objective.networks.items() for k, v in net.state_dict().items()}


def assert_same_weights(one: Objective, other: Objective) -> None:
    first, second = weights(one), weights(other)
    assert all(torch.equal(first[name], second[name]) for name in first)


class Killed(BaseException):
    """What kill -9 is to a test in one process."""


@pytest.fixture(scope="module", params=["dcl", "cyclegan"])
def uninterrupted(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Any:
    """The kind of objective, its report and the objective after a training that nothing disturbed."""
    report, objective, _ = run(tmp_path_factory.mktemp("whole"), request.param)
    return request.param, report, objective


@pytest.mark.parametrize("killed_at", [4, 7])
def test_a_killed_training_ends_as_an_uninterrupted_one(uninterrupted: Any, tmp_path: Path, killed_at: int) -> None:
    def until(first: int, last: int) -> Iterator[Batch]:
        for step in range(first, last):
            if step == killed_at:
                raise Killed
            yield batch(step)

    kind, whole, expected = uninterrupted
    with pytest.raises(Killed):
        run(tmp_path, kind, until)
    report, found, watching = run(tmp_path, kind)
    assert report.resumed_from == killed_at // 3 * 3
    assert watching.resumed_at[0][0] == report.resumed_from
    assert (report.best_step, report.scores) == (whole.best_step, whole.scores)
    assert_same_weights(found, expected)


def test_a_finished_training_does_nothing_more(tmp_path: Path) -> None:
    first, expected, _ = run(tmp_path)
    second, found, watching = run(tmp_path)
    assert watching.logged_steps == []
    assert (second.best_step, second.scores) == (first.best_step, first.scores)
    assert not second.stopped_early
    assert_same_weights(found, expected)


def test_what_the_observer_is_told(tmp_path: Path) -> None:
    report, _, watching = run(tmp_path)
    assert watching.logged_steps == [2, 3, 4, 6, 8, 9]
    assert watching.saved == [3, 6, 9]
    assert not watching.training, "networks are looked at in evaluation mode"
    assert report.scores == {3: 3.0, 6: 6.0, 9: 9.0}
    assert report.best_step == 3


def test_the_best_checkpoint_outlives_the_latest(tmp_path: Path) -> None:
    settings = LoopSettings(1, 8, 0, evaluate_every=1, seed=0, keep_checkpoints=2)
    report, _, _ = run(tmp_path, settings=settings, scores={step: abs(step - 3) for step in range(1, 9)})
    assert report.best_step == 3
    assert Checkpoints(tmp_path).steps() == [3, 7, 8]


def test_it_stops_when_nothing_gets_better(tmp_path: Path) -> None:
    settings = LoopSettings(1, 9, 0, evaluate_every=1, seed=0, patience=2)
    report, _, watching = run(tmp_path, settings=settings, scores={1: 5.0, 2: 1.0, 3: 2.0, 4: 1.0, 5: 0.0})
    assert watching.saved == [1, 2, 3, 4]
    assert (report.best_step, report.stopped_early) == (2, True)


def test_a_training_that_had_stopped_early_stays_stopped(tmp_path: Path) -> None:
    """Killed behind its last checkpoint, before anyone was told: what was decided there is decided again."""
    settings = LoopSettings(1, 9, 0, evaluate_every=1, seed=0, patience=2)
    scores = {1: 5.0, 2: 1.0, 3: 2.0, 4: 1.0, 5: 0.0}
    first, expected, _ = run(tmp_path, settings=settings, scores=scores)
    second, found, watching = run(tmp_path, settings=settings, scores=scores)
    assert watching.logged_steps == watching.saved == [], "not a step more"
    assert (second.best_step, second.stopped_early, second.resumed_from) == (2, True, 4)
    assert second.scores == first.scores
    assert_same_weights(found, expected)


def test_a_loss_that_is_no_number_stops_and_keeps_the_last_good_checkpoint(tmp_path: Path) -> None:
    def poisoned(first: int, last: int) -> Iterator[Batch]:
        for step in range(first, last):
            sound = batch(step)
            yield Batch({"depth": sound.clean["depth"] * float("nan")}, sound.real) if step == 4 else sound

    with pytest.raises(NotFiniteLossError, match="step 5") as caught:
        run(tmp_path, source=poisoned)
    assert "step-00000003" in str(caught.value)
    assert Checkpoints(tmp_path).steps() == [3]
    assert all(value.isfinite().all() for value in tensors(Checkpoints(tmp_path).read_state(3)["objective"]))


def tensors(state: Any) -> Iterator[torch.Tensor]:
    if isinstance(state, torch.Tensor):
        yield state
    elif isinstance(state, dict):
        for value in state.values():
            yield from tensors(value)
    elif isinstance(state, list):
        for value in state:
            yield from tensors(value)


def test_what_has_collapsed_is_no_checkpoint(tmp_path: Path) -> None:
    with pytest.raises(TrainingCollapsedError, match="one picture"):
        run(tmp_path, collapses_at=6)
    assert Checkpoints(tmp_path).steps() == [3]


def test_a_damaged_checkpoint_is_said_and_the_one_before_it_serves(tmp_path: Path) -> None:
    _, expected, _ = run(tmp_path)
    checkpoints = Checkpoints(tmp_path)
    last = checkpoints.path(9) / "state-0.safetensors"
    last.write_bytes(last.read_bytes()[:100])
    with pytest.raises(IntegrityError, match="cannot be read"):
        run(tmp_path)
    last.unlink()
    checkpoints.path(9).rmdir()
    report, found, _ = run(tmp_path)
    assert report.resumed_from == 6
    assert_same_weights(found, expected)


def test_the_published_learning_rates() -> None:
    factors = [learning_rate_factor(epoch, 40, 20) for epoch in range(60)]
    assert factors[:40] == [1.0] * 40
    assert factors[40] == pytest.approx(20 / 21)
    assert factors[59] == pytest.approx(1 / 21)
    assert learning_rate_factor(3, 4, 0) == 1.0


def test_learning_rates_reach_every_optimiser(tmp_path: Path) -> None:
    _, objective, _ = run(tmp_path)
    expected = 2e-4 * learning_rate_factor(2, 2, 1)
    rates = [group["lr"] for optimiser in objective.optimisers.values() for group in optimiser.param_groups]
    assert rates == pytest.approx([expected] * 3)


@pytest.mark.parametrize("wanted", [True, False])
def test_networks_are_compiled_if_wanted(wanted: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    compiled: list[torch.nn.Module] = []
    monkeypatch.setattr(loop, "compile_network", compiled.append)
    settings = LoopSettings(1, 1, 0, evaluate_every=1, seed=0, compile=wanted)
    _, objective, _ = run(tmp_path, settings=settings)
    assert compiled == (list(objective.networks.values()) if wanted else [])


def test_mixed_precision_trains(tmp_path: Path) -> None:
    settings = LoopSettings(2, 1, 0, evaluate_every=2, seed=5, precision="bfloat16")
    _, mixed, _ = run(tmp_path / "mixed", settings=settings)
    _, full, _ = run(tmp_path / "full", settings=LoopSettings(2, 1, 0, evaluate_every=2, seed=5))
    first, second = weights(mixed), weights(full)
    assert all(value.isfinite().all() for value in first.values())
    assert any(not torch.equal(first[name], second[name]) for name in first)
    weight = "generator.stem.conv.weight"
    torch.testing.assert_close(first[weight], second[weight], atol=2e-3, rtol=0)


def test_what_an_optimiser_goes_on_with_lies_as_the_weights_do(tmp_path: Path) -> None:
    """CUDA's fused Adam refuses moments of other strides than its weights', which a file does not keep."""
    first, second = (objective_of("dcl", "cpu", 4) for _ in range(2))
    first.step(made_up_batch(0, 2, 32))
    checkpoints = Checkpoints(tmp_path)
    checkpoints.write_state(1, {"objective": first.state_dict()})
    checkpoints.commit(1)
    second.load_state_dict(checkpoints.read_state(1)["objective"])
    looked_at = 0
    for name, optimiser in second.optimisers.items():
        pairs = zip(optimiser.state.items(), first.optimisers[name].state.items(), strict=True)
        for (weight, kept), (_, before) in pairs:
            for moment in ("exp_avg", "exp_avg_sq"):
                assert kept[moment].stride() == weight.stride()
                torch.testing.assert_close(kept[moment], before[moment], rtol=0, atol=0)
                looked_at += not weight.is_contiguous()
    assert looked_at > 20
