"""Training of a task: the same weights from the same settings, through a kill or not, and a task that gets better."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from depthforge.errors import CorpusMismatchError, InputError
from depthforge.tasks import learning
from depthforge.tasks.base import Example, Task, View
from depthforge.tasks.enhancement import Enhancement, EnhancementConfig
from depthforge.tasks.judging import figures_with_intervals, judge_given, judge_network, predictor
from depthforge.tasks.learning import StepBatches, TaskTraining, load_task_network, train_task
from depthforge.tasks.normals import Normals, NormalsConfig
from depthforge.tasks.reading import Frames
from depthforge.training.weights import load_networks


def small(**fields: Any) -> Enhancement:
    return Enhancement(EnhancementConfig(**{"setting": "small", "crop_px": 48, "width": 8, "steps": 12, **fields}))


def training(corpus: Path, task: Task | None = None, **fields: Any) -> TaskTraining:
    task = task or small()
    return TaskTraining(task, Frames(corpus, task, fields.pop("input_depth", "depth_noisy")), **fields)


def weights(folder: Path) -> bytes:
    return (folder / "weights.safetensors").read_bytes()


def test_the_same_settings_give_the_same_bytes_and_another_seed_others(synthetic: Path, tmp_path: Path) -> None:
    card = train_task(training(synthetic), tmp_path / "a")
    assert card.translator == "task enhancement"
    assert card.training["step"] == 12
    assert not (tmp_path / "a" / "checkpoints").exists()
    torch.rand(5)
    train_task(training(synthetic), tmp_path / "b")
    assert weights(tmp_path / "a") == weights(tmp_path / "b")
    train_task(training(synthetic, seed=1), tmp_path / "c")
    assert weights(tmp_path / "a") != weights(tmp_path / "c")


def test_loader_processes_change_nothing(synthetic: Path) -> None:
    alone, shared = (
        [batch.real for batch in StepBatches(task, Frames(synthetic, task, "depth_noisy"), 0).steps(2, 5)]
        for task in (small(), small(loader_workers=1))
    )
    for one, other in zip(alone, shared, strict=True):
        assert all(torch.equal(value, other[name]) for name, value in one.items())


def test_a_killed_training_ends_with_the_weights_of_one_that_was_not(
    synthetic: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(learning, "_CHECKPOINT_EVERY", 4)
    train_task(training(synthetic), tmp_path / "whole")

    class KilledError(Exception):
        pass

    def dies(line: str) -> None:
        raise KilledError

    steps = StepBatches.steps

    def until_seven(self: StepBatches, first: int, last: int) -> Any:
        for number, batch in enumerate(steps(self, first, last), start=first):
            if number == 7:
                raise KilledError
            yield batch

    monkeypatch.setattr(StepBatches, "steps", until_seven)
    with pytest.raises(KilledError):
        train_task(training(synthetic), tmp_path / "killed")
    assert not (tmp_path / "killed" / "card.json").exists()
    monkeypatch.setattr(StepBatches, "steps", steps)
    notes: list[str] = []
    train_task(training(synthetic), tmp_path / "killed", notes.append)
    assert notes[0] == "resuming from the checkpoint of step 4"
    assert weights(tmp_path / "killed") == weights(tmp_path / "whole")
    assert train_task(training(synthetic), tmp_path / "whole", dies).training["step"] == 12, "nothing is left to do"


def test_a_folder_of_another_training_is_refused(synthetic: Path, tmp_path: Path) -> None:
    train_task(training(synthetic, steps=2), tmp_path / "a")
    with pytest.raises(CorpusMismatchError, match="trained from something else") as raised:
        train_task(training(synthetic, steps=3), tmp_path / "a")
    assert "steps: 2 -> 3" in str(raised.value)


def test_fine_tuning_goes_on_from_a_network(synthetic: Path, real: Path, tmp_path: Path) -> None:
    task = small()
    train_task(training(synthetic, task, steps=3), tmp_path / "first")
    frames = Frames(real, task, "depth_raw", every=4)
    tuned = TaskTraining(task, frames, start=tmp_path / "first", steps=1, learning_rate=2e-5)
    card = train_task(tuned, tmp_path / "tuned")
    assert card.training["learning_rate"] == 2e-5
    before, after = load_task_network(task, tmp_path / "first"), load_task_network(task, tmp_path / "tuned")
    changes = [
        float((b - a).detach().abs().max()) for a, b in zip(before.parameters(), after.parameters(), strict=True)
    ]
    # One step of Adam moves a weight by its learning rate at most, and a weight decay of a ten-thousandth of that.
    assert 0 < max(changes) < 2.2e-5


def test_epochs_count_frames_and_steps_count_themselves(synthetic: Path) -> None:
    by_epochs = EnhancementConfig(setting="small", crop_px=48, steps=None, epochs=3, batch_size=4)
    assert training(synthetic, Enhancement(by_epochs)).num_steps == 6
    assert training(synthetic, small(steps=5)).num_steps == 5
    assert training(synthetic, small(steps=5), steps=9).num_steps == 9


@pytest.mark.parametrize("task", [small(steps=60), Normals(NormalsConfig(setting="small", crop_px=48, steps=60))])
def test_what_is_learnt_from_noise_beats_the_input_itself(task: Task, synthetic: Path, tmp_path: Path) -> None:
    train_task(training(synthetic, task), tmp_path / "out")
    frames = Frames(synthetic, task, "depth_noisy")
    given = judge_given(task, frames)
    assert given is not None
    network = load_task_network(task, tmp_path / "out")
    found = judge_network(task, frames, predictor(task, network))
    headline = task.headline.id
    assert found.figures()[headline] < 0.92 * given.figures()[headline]
    (interval,) = [figures_with_intervals([found, found], task)[headline]]
    assert interval.low <= interval.value <= interval.high
    assert interval == figures_with_intervals([found, found], task)[headline]


def test_crops_larger_than_frames_are_told_before_a_step(synthetic: Path) -> None:
    with pytest.raises(InputError, match="smaller than the crops"):
        training(synthetic, small(crop_px=128))


class Unlearnable(Enhancement):
    """Finds nothing to learn in any view."""

    def examples(self, view: View) -> list[Example]:
        return []


def test_frames_that_hold_nothing_for_a_task_are_told(synthetic: Path, tmp_path: Path) -> None:
    task = Unlearnable(small().config)
    with pytest.raises(InputError, match="could learn from"):
        train_task(training(synthetic, task), tmp_path / "out")
    with pytest.raises(InputError, match="could be tested on"):
        judge_network(task, Frames(synthetic, task, "depth_noisy"), lambda _: {})


def test_the_published_network_trains_too(synthetic: Path, tmp_path: Path) -> None:
    task = Enhancement(EnhancementConfig(width=4, trunk_layers=1, crop_px=32, batch_size=2, steps=2))
    assert train_task(training(synthetic, task), tmp_path / "out").architecture["network"] == "published"


def test_weights_of_another_task_are_refused(synthetic: Path, tmp_path: Path) -> None:
    task = small(steps=1)
    train_task(training(synthetic, task), tmp_path / "out")
    with pytest.raises(InputError):
        load_task_network(Normals(NormalsConfig(setting="small", width=8)), tmp_path / "out")
    network = task.network()
    assert load_networks(tmp_path / "out", {"network": network}).translator == "task enhancement"
