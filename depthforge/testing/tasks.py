"""The battery for a task: what ``depthforge.tasks.base.Task`` promises, as tests.

A plug-in author inherits it and says how to make a small one, and the views that it takes, if a wall will not do::

    class TestMyTask(TaskTests):
        @pytest.fixture
        def task(self):
            return MyTask(MyTask.Config(setting="small"))

Views are a tilted wall with a near box and a hole in what was measured, noise of a few millimetres, and true normals.
"""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import Tensor

from depthforge.registry import tasks
from depthforge.tasks.base import Example, Metrics, Task, View
from depthforge.tasks.judging import predictor
from depthforge.tasks.learning import TaskObjective
from depthforge.training.objective import Batch

__all__ = ["TaskTests", "wall_view"]


def wall_view(height: int, width: int, *, key: str = "test/wall/0000", seed: int = 0) -> View:
    """Return a sound view: a wall from 1.5 to 3 m, a box 0.5 m nearer, noise of 3 mm, a hole of what was measured."""
    y, x = np.mgrid[:height, :width].astype(np.float32)
    truth_m = (1.5 + x / width + 0.5 * y / height).astype(np.float32)
    truth_m[height // 3 : height // 2, width // 4 : width // 2] -= np.float32(0.5)
    random = np.random.default_rng(seed)
    measured_m = truth_m + random.normal(0, 0.003, truth_m.shape).astype(np.float32)
    valid = np.ones((height, width), np.bool_)
    valid[height // 2 : height // 2 + 3, width // 2 : width // 2 + 5] = False
    measured_m[~valid] = 0
    known = np.ones((height, width), np.bool_)
    known[:2] = False
    K = np.array([[0.9 * width, 0, (width - 1) / 2], [0, 0.9 * width, (height - 1) / 2], [0, 0, 1]])
    depth_m, mask, true_m, true_mask = (torch.from_numpy(each)[None] for each in (measured_m, valid, truth_m, known))
    return View(key, depth_m, mask, torch.where(true_mask, true_m, 0), true_mask, torch.from_numpy(K))


class TaskTests:
    """Inherit, and define the fixture ``task``; override ``views`` where a wall holds nothing for it."""

    @pytest.fixture
    def views(self) -> list[View]:
        """Two views of one size that a task can take, larger than its crops."""
        return [wall_view(144, 160), wall_view(144, 160, key="test/wall/0001", seed=1)]

    def test_it_is_registered_and_its_settings_are_sound(self, task: Task) -> None:
        assert tasks.get(task.name) is type(task)
        config = type(task.config)
        assert config() == config(setting="published")
        small = config(setting="small")
        assert all(getattr(small, name) == value for name, value in config.small.items())
        assert config.model_validate({"setting": "small", "steps": 7}).steps == 7
        with pytest.raises(ValueError, match="unknown_field"):
            config.model_validate({"unknown_field": 1})
        assert config.model_validate(task.config.model_dump(mode="json")) == task.config

    def test_figures_have_ids_of_their_own_and_say_which_way_is_better(self, task: Task) -> None:
        ids = [figure.id for figure in task.figures]
        assert len(ids) == len(set(ids)) > 0
        assert all(figure.better in ("lower", "higher") and figure.title for figure in task.figures)
        assert task.headline == task.figures[0]

    def test_examples_are_a_function_of_the_view(self, task: Task, views: list[View]) -> None:
        first, again = task.examples(views[0]), task.examples(views[0])
        assert first, "the view holds an example"
        for one, other in zip(first, again, strict=True):
            assert one.key == views[0].key
            assert not one.inputs.keys() & one.targets.keys()
            for name, value in {**one.inputs, **one.targets}.items():
                assert torch.equal(value, {**other.inputs, **other.targets}[name]), name

    def test_draws_are_of_one_size_and_a_function_of_the_generator(self, task: Task, views: list[View]) -> None:
        drawn = [task.draw(view, np.random.default_rng(number)) for number, view in enumerate(views)]
        again = task.draw(views[0], np.random.default_rng(0))
        assert all(example is not None for example in (*drawn, again))
        first, second = drawn
        assert first is not None
        assert second is not None
        assert again is not None
        for name, value in {**first.inputs, **first.targets}.items():
            assert value.shape == {**second.inputs, **second.targets}[name].shape, name
            assert torch.equal(value, {**again.inputs, **again.targets}[name]), name

    def test_inputs_without_labels_are_like_those_with(self, task: Task, views: list[View]) -> None:
        kept = {name: value for name, value in views[0].labels.items() if name in task.unlabelled}
        unlabelled = task.draw_unlabelled(replace(views[0], labels=kept), np.random.default_rng(0))
        example = task.draw(views[0], np.random.default_rng(0))
        assert example is not None
        assert unlabelled is not None, "labels beyond `unlabelled` are not needed for inputs"
        shapes = [{name: value.shape for name, value in inputs.items()} for inputs in (unlabelled, example.inputs)]
        assert shapes[0] == shapes[1]

    def test_a_view_of_nothing_gives_no_example_or_one_that_measures_nothing_infinite(
        self, task: Task, views: list[View]
    ) -> None:
        nothing = torch.zeros_like(views[0].depth_m)
        empty = replace(
            views[0], depth_m=nothing, valid=nothing > 0, truth_m=nothing, truth_valid=nothing > 0, labels={}
        )
        assert all(torch.isfinite(value.float()).all() for e in task.examples(empty) for value in e.inputs.values())

    def test_weights_come_from_the_generator_alone(self, task: Task) -> None:
        drawn = []
        for _ in range(2):
            torch.rand(3)
            network = task.network()
            task.initialise(network, torch.Generator().manual_seed(5))
            drawn.append(network.state_dict())
        assert all(torch.equal(value, drawn[1][name]) for name, value in drawn[0].items())

    def test_a_step_lowers_the_loss_of_its_batch(self, task: Task, views: list[View]) -> None:
        objective = TaskObjective(task, torch.Generator().manual_seed(0))
        batch = Batch({}, _batch([_drawn(task, view) for view in views]))
        totals = [float(objective.step(batch)["total"]) for _ in range(12)]
        assert all(math.isfinite(total) for total in totals)
        assert min(totals[1:]) < totals[0]

    def test_measures_add_up_and_figures_follow_from_sums(self, task: Task, views: list[View]) -> None:
        network = task.network()
        task.initialise(network, torch.Generator().manual_seed(0))
        predict = predictor(task, network.eval())
        metrics = Metrics(task)
        for view in views:
            for example in task.examples(view):
                metrics.update(predict(example), example)
        figures = metrics.figures()
        assert list(figures) == [figure.id for figure in task.figures]
        assert metrics.keys == [view.key for view in views]
        first = dict(metrics.per_frame())[views[0].key]
        alone = task.figures_of(metrics.sums(np.array([3.0, 0.0])))
        assert alone == pytest.approx(first, nan_ok=True), "a frame taken three times says what it says once"
        again = Metrics.from_arrays(task, metrics.keys, metrics.to_arrays())
        assert again.figures() == pytest.approx(figures, nan_ok=True)
        assert all(math.isnan(value) for value in Metrics(task).figures().values())


def _drawn(task: Task, view: View) -> Example:
    example = task.draw(view, np.random.default_rng(0))
    assert example is not None
    return example


def _batch(examples: list[Example]) -> dict[str, Tensor]:
    tensors = [{**example.inputs, **example.targets} for example in examples]
    return {name: torch.stack([each[name] for each in tensors]) for name in tensors[0]}
