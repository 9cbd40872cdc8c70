"""CyCADA: which networks move in which stage, consistency by hand, inputs there and back, and the same bytes again."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from depthforge.errors import InputError
from depthforge.tasks import learning
from depthforge.tasks.adaptation import AdaptationConfig, require_adaptable
from depthforge.tasks.base import Task, View
from depthforge.tasks.cycada import CycadaObjective, stages_of
from depthforge.tasks.grasping import Grasping, GraspingConfig
from depthforge.tasks.learning import StepBatches, TaskTraining, train_task
from depthforge.tasks.normals import Normals, NormalsConfig
from depthforge.tasks.pose import Pose, PoseConfig
from depthforge.tasks.reading import Frames
from depthforge.tasks.segmentation import Segmentation, SegmentationConfig
from depthforge.training.objective import Batch
from tests.tasks.corpora import make_corpus
from tests.tasks.test_grasping import grasped_view
from tests.tasks.test_segmentation import classed_view

CONFIG = AdaptationConfig(method="cycada", width=4)


def segmentation(**fields: Any) -> Segmentation:
    tiny = {"width": 4, "decoder_width": 8, "near_width": 4, "batch_size": 2, "crop_px": 32, "steps": 2}
    return Segmentation(SegmentationConfig(**{"setting": "small", **tiny, **fields}))


def grasping() -> Grasping:
    return Grasping(GraspingConfig(setting="small", width=4, side_px=48, batch_size=2, steps=2))


def batch_of(task: Task, views: list[View]) -> Batch:
    sides: list[dict[str, Tensor]] = []
    for seed in (0, 1):
        examples = [task.draw(view, np.random.default_rng(seed)) for view in views]
        tensors = [{**e.inputs, **({} if seed else e.targets)} for e in examples if e is not None]
        sides.append({name: torch.stack([each[name] for each in tensors]) for name in tensors[0]})
    return Batch(*sides)


def normals(**fields: Any) -> Normals:
    tiny = {"network": "published", "width": 4, "trunk_layers": 1, "batch_size": 2, "crop_px": 32, "steps": 2}
    return Normals(NormalsConfig(**{"setting": "small", **tiny, **fields}))


def wall_view(slope: float) -> View:
    """A slanted wall of 48x64 pixels with a hole."""
    depth_m = 2 + slope * torch.arange(64.0).expand(48, 64)[None]
    valid = torch.ones(1, 48, 64, dtype=torch.bool)
    valid[:, 20:24, 30:34] = False
    K = torch.tensor([[60.0, 0.0, 31.5], [0.0, 60.0, 23.5], [0.0, 0.0, 1.0]], dtype=torch.float64)
    return View(f"a/b/{slope}", torch.where(valid, depth_m, 0.0), valid, depth_m, torch.ones_like(valid), K)


CASES = {
    "normals": (normals, [wall_view(0.01), wall_view(0.03)]),
    "segmentation": (segmentation, [classed_view(48, 64), classed_view(48, 64, seed=1)]),
    "grasping": (grasping, [grasped_view(), grasped_view(seed=1)]),
}


@pytest.mark.parametrize("name", CASES)
def test_each_stage_moves_its_networks_and_no_others(name: str) -> None:
    make, views = CASES[name]
    task = make()
    made = CycadaObjective(task, CONFIG, 2, torch.Generator().manual_seed(0))
    assert stages_of(2) == (2, 2, 1, 1)
    batch = batch_of(task, views)
    moved = []
    for _ in range(6):
        before = {n: [w.detach().clone() for w in net.parameters()] for n, net in made.networks.items()}
        losses = made.step(batch)
        assert torch.isfinite(losses["total"])
        moved.append(
            {
                n
                for n, net in made.networks.items()
                if any(not torch.equal(w, old) for w, old in zip(net.parameters(), before[n], strict=True))
            }
        )
    pixels = {"generator", "inverse", "discriminator", "clean_discriminator"}
    assert moved == [{"network"}, {"network"}, pixels, pixels, {"network"}, {"network", "features"}]


def test_translated_images_are_held_to_the_truth_and_to_the_networks_own_word() -> None:
    task, views = segmentation(), CASES["segmentation"][1]
    made = CycadaObjective(task, CONFIG, 2, torch.Generator().manual_seed(0))
    batch = batch_of(task, views)
    network, cycle = made.networks["network"], made.cycle
    cycle._labelled = batch.clean
    random = torch.Generator().manual_seed(1)
    noisy, cleaned = (torch.rand(2, 1, 32, 32, generator=random) * 1.2 - 0.1 for _ in range(2))
    real = task.depth_of(batch.real)
    terms = cycle.further_terms(Batch({}, {"depth": real}), noisy, cleaned)
    assert network.training
    network.eval()
    with torch.no_grad():
        truth = task.loss(task.predict(network, task.inputs_of(noisy.clamp(0, 1))), batch.clean)["classes"]
        word = {"classes": task.predict(network, task.inputs_of(real))["scores"].argmax(1)}
        own = task.loss(task.predict(network, task.inputs_of(cleaned.clamp(0, 1))), word)["classes"]
    assert terms["semantic"].item() == pytest.approx(truth.item(), rel=1e-5)
    assert terms["semantic_real"].item() == pytest.approx(own.item(), rel=1e-5)
    without = CycadaObjective(
        task, CONFIG.model_copy(update={"semantic_weight": 0.0}), 2, torch.Generator().manual_seed(0)
    )
    assert without.cycle.further_terms(Batch({}, {"depth": real}), noisy, cleaned) == {}


@pytest.mark.parametrize("name", CASES)
def test_inputs_become_depth_and_inputs_again(name: str) -> None:
    make, views = CASES[name]
    task = make()
    inputs = batch_of(task, views).clean
    depth = task.depth_of(inputs)
    assert depth.shape[1] == 1
    assert 0 <= float(depth.min()) <= float(depth.max()) <= 1
    for key, value in task.inputs_of(depth).items():
        torch.testing.assert_close(value, inputs[key], atol=1e-6, rtol=0)


def test_the_network_deceives_only_a_discriminator_that_is_right() -> None:
    """With the discriminator wrong before, one update of the network a step; with it right, two."""
    task, views = segmentation(), CASES["segmentation"][1]
    updates = []
    for past in ([0.0] * 99, [1.0] * 99):
        made = CycadaObjective(task, CONFIG, 2, torch.Generator().manual_seed(0))
        made._done, made._right = 5, past
        optimiser = made.optimisers["adapted"]
        made.step(batch_of(task, views))
        updates.append(max(int(state["step"]) for state in optimiser.state.values()))
        assert len(made._right) == 100
    assert updates == [1, 2]


def test_a_stopped_training_ends_with_the_same_bytes(
    synthetic: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    task = segmentation()
    source, target = Frames(synthetic, task, "depth_clean"), Frames(synthetic, task, "depth_noisy")
    made = TaskTraining(task, source, adaptation=CONFIG, target=target)
    assert made.num_steps == 6
    monkeypatch.setattr(learning, "_CHECKPOINT_EVERY", 3)
    train_task(made, tmp_path / "whole")
    torch.rand(3)
    steps = StepBatches.steps

    class StoppedError(Exception):
        pass

    def until_four(self: StepBatches, first: int, last: int) -> Any:
        for number, batch in enumerate(steps(self, first, last), start=first):
            if number == 4:
                raise StoppedError
            yield batch

    monkeypatch.setattr(StepBatches, "steps", until_four)
    with pytest.raises(StoppedError):
        train_task(made, tmp_path / "stopped")
    monkeypatch.setattr(StepBatches, "steps", steps)
    train_task(made, tmp_path / "stopped")
    first, second = ((tmp_path / name / "weights.safetensors").read_bytes() for name in ("whole", "stopped"))
    assert first == second


@pytest.mark.parametrize("name", ["segmentation", "grasping"])
def test_frames_without_labels_give_inputs_and_nothing_else_is_asked_of_them(
    synthetic: Path, tmp_path: Path, name: str
) -> None:
    task = CASES[name][0]()
    bare = make_corpus(tmp_path / "bare", labels={"semantic": "off"})
    with pytest.raises(InputError, match=f"lacks what the task {name} needs"):
        Frames(bare, task, "depth_noisy")
    target = Frames(bare, task, "depth_noisy", labelled=False)
    random = np.random.default_rng(0)
    drawn = [task.draw_unlabelled(target[place], random) for place in range(4)]
    (key,) = CASES[name][0]().draw_unlabelled(CASES[name][1][0], random) or {}
    assert all(inputs is not None and set(inputs) == {key} for inputs in drawn)
    if name == "segmentation":
        made = TaskTraining(task, Frames(synthetic, task, "depth_noisy"), adaptation=CONFIG, target=target)
        assert train_task(made, tmp_path / "out").training["adaptation"]["method"] == "cycada"


def test_a_task_on_crops_is_refused() -> None:
    with pytest.raises(InputError, match="task pose cannot be brought to another sensor by cycada"):
        CycadaObjective(Pose(PoseConfig(setting="small")), CONFIG, 2, torch.Generator())


def test_normals_of_frames_without_truth_are_learnt_from_and_their_truth_is_not_looked_at() -> None:
    task, view = normals(), CASES["normals"][1][0]
    blind = replace(view, truth_m=torch.zeros_like(view.truth_m), truth_valid=torch.zeros_like(view.truth_valid))
    assert task.draw(blind, np.random.default_rng(0)) is None
    seen, unseen = (task.draw_unlabelled(each, np.random.default_rng(0)) for each in (view, blind))
    assert seen is not None
    assert unseen is not None
    for name in ("depth_m", "hole"):
        torch.testing.assert_close(seen[name], unseen[name], rtol=0, atol=0)


def test_what_normals_say_is_a_truth_that_their_loss_takes() -> None:
    task = normals()
    said = torch.tensor([0.0, 0.0, -1.0]).view(1, 3, 1, 1).expand(1, 3, 4, 4)
    targets = task.targets_said({"normals": said})
    assert targets["known"].all()
    other = torch.tensor([0.0, -1.0, 0.0]).view(1, 3, 1, 1).expand(1, 3, 4, 4)
    assert task.loss({"normals": said}, targets)["normals"].item() == 0
    assert task.loss({"normals": other}, targets)["normals"].item() == pytest.approx(2 / 3)


def test_the_small_network_of_normals_is_refused_with_what_to_write() -> None:
    task = Normals(NormalsConfig(setting="small"))
    with pytest.raises(InputError, match="small network of normals cannot be brought") as caught:
        require_adaptable(task, CONFIG)
    assert "network: published" in str(caught.value.remedy)
