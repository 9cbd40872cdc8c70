"""Adaptation: losses and schedules by hand, labels of the target unseen, the same weights again."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from depthforge.errors import InputError
from depthforge.tasks import learning
from depthforge.tasks.adaptation import AdaptationConfig, AdaptedObjective, unit_weights
from depthforge.tasks.base import Tensors
from depthforge.tasks.enhancement import Enhancement
from depthforge.tasks.learning import StepBatches, TaskTraining, train_task
from depthforge.tasks.pose import Pose, PoseConfig
from depthforge.tasks.reading import Frames
from depthforge.training.objective import Batch
from tests.tasks.tables import corpus_of

METHODS: tuple[Literal["dann", "uan"], ...] = ("dann", "uan")


@pytest.fixture(scope="module")
def sides(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    root = tmp_path_factory.mktemp("adaptation")
    source = corpus_of(root / "source", models=(0, 3), num_scenes=8, frames_per_scene=2)
    return source, corpus_of(root / "target", models=(0, 3), num_scenes=4, frames_per_scene=3, first_scene=50)


def small(**fields: Any) -> Pose:
    options = {"objects": (0, 3), "width": 4, "side_px": 32, "batch_size": 4, "steps": 8}
    return Pose(PoseConfig(**{"setting": "small", **options, **fields}))


def training(sides: tuple[Path, Path], method: Literal["dann", "uan"] | None, **fields: Any) -> TaskTraining:
    task = fields.pop("task", small())
    source = Frames(sides[0], task, "depth_noisy")
    if method is None:
        return TaskTraining(task, source, **fields)
    config = AdaptationConfig(method=method, hidden=16)
    return TaskTraining(task, source, adaptation=config, target=Frames(sides[1], task, "depth_clean"), **fields)


def batch_of(seed: int = 0) -> Batch:
    random = torch.Generator().manual_seed(seed)
    quaternions = F.normalize(torch.randn(6, 4, generator=random), dim=1)
    source = {"crop": torch.randn(6, 2, 32, 32, generator=random)}
    labels = {"object": torch.tensor([0, 1, 0, 1, 1, 0]), "quaternion": quaternions}
    return Batch({**source, **labels}, {"crop": torch.randn(5, 2, 32, 32, generator=random)})


def objective(method: Literal["dann", "uan"], steps: int = 10) -> AdaptedObjective:
    config = AdaptationConfig(method=method, hidden=16)
    made = AdaptedObjective(small(), config, steps, torch.Generator().manual_seed(0))
    for name, network in made.networks.items():
        if name != "network":
            network.eval()  # no dropout, so that losses can be worked out
    return made


def test_dann_adds_the_mean_loss_of_a_discriminator_over_both_sides() -> None:
    made, batch = objective("dann"), batch_of()
    network, adversary = made.networks["network"], made.networks["adversary"]
    with torch.no_grad():
        features = network.features(torch.cat([batch.clean["crop"], batch.real["crop"]]))
        logits = adversary(features)
        said = network.read(features[:6])
        expected = (F.softplus(-logits[:6]).sum() + F.softplus(logits[6:]).sum()) / 11
    losses = made.step(batch)
    assert losses["domain"].item() == pytest.approx(expected.item(), rel=1e-5)
    assert losses["class"].item() == pytest.approx(F.cross_entropy(said.logits, batch.clean["object"]).item(), rel=1e-5)
    assert losses["total"].item() == pytest.approx(sum(losses[n].item() for n in ("class", "rotation", "domain")))


def test_the_network_climbs_what_the_discriminator_descends() -> None:
    """The gradient that reaches the features is that of the discriminator's loss, reversed and scaled by the pull."""
    made, batch = objective("dann", steps=10), batch_of()
    made._done = 3
    pull = 2 / (1 + math.exp(-3)) - 1
    terms = made._dann(batch)
    weights = list(made.networks["network"].parameters())
    (seen,) = torch.autograd.grad(terms["domain"], weights[:1], retain_graph=True)
    features = made.networks["network"].features(torch.cat([batch.clean["crop"], batch.real["crop"]]))
    logits = made.networks["adversary"](features)
    goal = torch.cat([torch.ones(6), torch.zeros(5)])
    (plain,) = torch.autograd.grad(F.binary_cross_entropy_with_logits(logits, goal), weights[:1])
    torch.testing.assert_close(seen, -pull * plain, rtol=1e-3, atol=1e-7)


def test_uan_weighs_examples_by_likeness() -> None:
    made, batch = objective("uan"), batch_of()
    network, adversary, judge = (made.networks[name] for name in ("network", "adversary", "judge"))
    with torch.no_grad():
        expected: list[Tensor] = []
        judged = []
        for side, goal in ((batch.clean, 1.0), (batch.real, 0.0)):
            features = network.features(side["crop"])
            logits = network.read(features).logits
            likeness = torch.sigmoid(judge(features))
            share = F.softmax(logits / (10 if goal else 1), dim=1)
            entropy = -(share * share.log()).sum(dim=1) / math.log(2)
            raw = entropy - likeness if goal else likeness - entropy
            weight = (raw - raw.min()) / (raw.max() - raw.min())
            weight = weight / weight.mean()
            sign = -1 if goal else 1
            expected.append((weight * F.softplus(sign * adversary(features))).mean())
            judged.append(F.softplus(sign * judge(features)).mean())
    losses = made.step(batch)
    assert losses["domain"].item() == pytest.approx(torch.stack(expected).mean().item(), rel=1e-4)
    assert losses["judge"].item() == pytest.approx(torch.stack(judged).mean().item(), rel=1e-4)


def test_weights_have_mean_one_and_start_at_nothing() -> None:
    weights = unit_weights(torch.tensor([0.2, 0.4, 0.9]))
    assert weights.tolist() == pytest.approx([0, 0.6667, 2.3333], abs=1e-4)
    assert unit_weights(torch.tensor([0.3, 0.3])).tolist() == [1, 1]


def test_pull_and_rate_follow_the_progress() -> None:
    dann, uan = objective("dann", steps=10), objective("uan", steps=10)
    for made in (dann, uan):
        made._done = 5
    assert (dann.progress, uan.progress) == (0.5, 1.0)
    assert dann._pull() == pytest.approx(2 / (1 + math.exp(-5)) - 1)
    rates = []
    optimiser = dann.optimisers["network"]
    step = optimiser.step
    optimiser.step = lambda *a: rates.append(optimiser.param_groups[0]["lr"]) or step(*a)  # type: ignore[assignment]
    dann.step(batch_of())
    assert rates == [pytest.approx(2e-3 * 6**-0.75)]
    # Afterwards it is what the loop had set.
    assert optimiser.param_groups[0]["lr"] == 2e-3


@pytest.mark.parametrize("method", METHODS)
def test_labels_of_the_target_change_nothing(sides: tuple[Path, Path], method: Literal["dann", "uan"]) -> None:
    made = training(sides, method)
    batch = StepBatches(made.task, made.frames, 0, made.target)[0]
    assert set(batch.clean) == {"crop", "object", "quaternion"}
    assert set(batch.real) == {"crop"}
    assert len(batch.real["crop"]) == len(batch.clean["crop"]) == 4


@pytest.mark.parametrize("method", METHODS)
def test_the_same_settings_give_the_same_bytes_through_a_stop_or_not(
    sides: tuple[Path, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, method: Literal["dann", "uan"]
) -> None:
    monkeypatch.setattr(learning, "_CHECKPOINT_EVERY", 4)
    made = training(sides, method)
    card = train_task(made, tmp_path / "whole")
    assert card.training["adaptation"]["method"] == method
    torch.rand(3)
    steps = StepBatches.steps

    class StoppedError(Exception):
        pass

    def until_six(self: StepBatches, first: int, last: int) -> Any:
        for number, batch in enumerate(steps(self, first, last), start=first):
            if number == 6:
                raise StoppedError
            yield batch

    monkeypatch.setattr(StepBatches, "steps", until_six)
    with pytest.raises(StoppedError):
        train_task(made, tmp_path / "stopped")
    monkeypatch.setattr(StepBatches, "steps", steps)
    train_task(made, tmp_path / "stopped")
    first, second = ((tmp_path / name / "weights.safetensors").read_bytes() for name in ("whole", "stopped"))
    assert first == second
    assert training(sides, None).identity() != made.identity()
    assert "adaptation" not in training(sides, None).identity()


def test_what_cannot_be_adapted_is_named(sides: tuple[Path, Path], synthetic: Path) -> None:
    task = Enhancement()
    frames = Frames(synthetic, task, "depth_noisy")
    with pytest.raises(InputError, match="task enhancement cannot be brought to another sensor by dann"):
        TaskTraining(task, frames, adaptation=AdaptationConfig(method="dann"), target=frames)
    with pytest.raises(InputError, match="said together"):
        replace(training(sides, None), adaptation=AdaptationConfig(method="dann"))


class Points(Pose):
    """Two classes of points (x, y) told by a small perceptron; nothing but the network is pose's."""

    def network(self) -> nn.Module:
        network = nn.Sequential(nn.Linear(2, 16), nn.ReLU(), nn.Linear(16, 2))
        network.num_features = 16  # type: ignore[assignment]
        return network

    def initialise(self, network: nn.Module, random: torch.Generator) -> None:
        for weights in network.parameters():
            weights.data.copy_(torch.randn(weights.shape, generator=random) * 0.3)

    def features(self, network: nn.Module, inputs: Tensors) -> Tensor:
        return network[1](network[0](inputs["crop"]))  # type: ignore[index, no-any-return]

    def read(self, network: nn.Module, features: Tensor) -> dict[str, Tensor]:
        return {"logits": network[2](features)}  # type: ignore[index]

    def loss(self, prediction: Tensors, targets: Tensors) -> dict[str, Tensor]:
        return {"class": F.cross_entropy(prediction["logits"], targets["object"])}


def test_dann_leaves_aside_what_only_the_source_has() -> None:
    """y names the class at the source and wavers at random at the target; x says it less surely, at both."""

    def points(random: torch.Generator, *, source: bool) -> dict[str, Tensor]:
        classes = torch.randint(2, (64,), generator=random)
        signs = 2.0 * classes - 1
        x = signs + 0.8 * torch.randn(64, generator=random)
        y = 3 * signs if source else torch.randn(64, generator=random)
        return {"crop": torch.stack([x, y], dim=1), "object": classes}

    def accuracy(weight: float) -> float:
        task = Points(PoseConfig(objects=(0, 1), learning_rate=1e-2))
        config = AdaptationConfig(method="dann", hidden=32, weight=weight)
        made = AdaptedObjective(task, config, 300, torch.Generator().manual_seed(0))
        random = torch.Generator().manual_seed(1)
        for _ in range(300):
            target = points(random, source=False)
            made.step(Batch(points(random, source=True), {"crop": target["crop"]}))
        right = []
        for _ in range(20):
            test = points(random, source=False)
            said = task.predict(made.networks["network"], test)["logits"].argmax(dim=1)
            right.append((said == test["object"]).float().mean().item())
        return sum(right) / len(right)

    assert accuracy(1.0) > accuracy(0.0) + 0.05
