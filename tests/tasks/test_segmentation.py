"""Segmentation: its battery on rooms, classes of a corpus that do not fit, and figures worked out by hand."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from depthforge.errors import InputError
from depthforge.labels.catalogue import SEMANTIC_NYU40
from depthforge.labels.spec import LabelSpec
from depthforge.networks.deeplab import DeepLab
from depthforge.tasks.base import Metrics, View
from depthforge.tasks.class_lists import UNLABELLED
from depthforge.tasks.judging import judge_network, predictor
from depthforge.tasks.learning import TaskTraining, load_task_network, train_task
from depthforge.tasks.reading import Frames
from depthforge.tasks.segmentation import Segmentation, SegmentationConfig
from depthforge.testing.tasks import TaskTests, wall_view
from tests.tasks.tables import corpus_of

TINY = {"width": 8, "decoder_width": 16, "near_width": 4, "batch_size": 4}


def classed_view(height: int, width: int, *, key: str = "test/wall/0000", seed: int = 0) -> View:
    """A wall whose near box is a table; a stripe is not labelled."""
    view = wall_view(height, width, key=key, seed=seed)
    semantic = torch.ones(height, width, dtype=torch.int32)
    semantic[height // 3 : height // 2, width // 4 : width // 2] = 7
    semantic[-3:] = 0
    return replace(view, labels={"semantic": semantic}, images=frozenset({"semantic"}))


class OfRooms(TaskTests):
    @pytest.fixture
    def views(self) -> list[View]:
        return [classed_view(144, 160), classed_view(144, 160, key="test/wall/0001", seed=1)]


class TestSmall(OfRooms):
    @pytest.fixture
    def task(self) -> Segmentation:
        return Segmentation(SegmentationConfig(setting="small", **TINY))


class TestPublished(OfRooms):
    @pytest.fixture
    def task(self) -> Segmentation:
        return Segmentation(SegmentationConfig(crop_px=48, layers=50, **TINY))


def test_the_published_network_has_the_published_size_and_figures() -> None:
    task = Segmentation()
    network = task.network()
    assert isinstance(network, DeepLab)
    assert sum(p.numel() for p in network.parameters()) == 40_347_503
    small = Segmentation(SegmentationConfig(setting="small")).network()
    assert sum(p.numel() for p in small.parameters()) == 4_156_863
    assert [figure.id for figure in task.figures][:4] == ["miou_15", "miou_12", "accuracy", "iou_wall"]
    assert len(task.figures) == 18


def test_classes_and_channels_of_a_view() -> None:
    view = classed_view(40, 60)
    view.depth_m[0, 0, 0] = 25.0
    (example,) = Segmentation().examples(view)
    image, classes = example.inputs["image"], example.targets["classes"]
    assert image.shape == (2, 40, 60)
    assert image[:, 0, 0].tolist() == [1, 1]
    z = float(view.depth_m[0, 30, 30])
    assert image[0, 30, 30].item() == pytest.approx(z / 5 - 1)
    # Where nothing was measured: 0 m, and said so.
    assert image[:, 20, 31].tolist() == [-1, 0]
    assert [classes[0, 0].item(), classes[15, 20].item(), classes[-1, 0].item()] == [0, 6, UNLABELLED]


def test_a_draw_is_flipped_every_other_time() -> None:
    task, view = Segmentation(SegmentationConfig(crop_px=40)), classed_view(40, 40)
    (whole,) = task.examples(view)
    drawn = [task.draw(view, np.random.default_rng(seed)) for seed in range(40)]
    flips = 0
    for example in drawn:
        assert example is not None
        flipped = not torch.equal(example.inputs["image"], whole.inputs["image"])
        flips += flipped
        for given, expected in ((example.inputs, whole.inputs), (example.targets, whole.targets)):
            for name, value in given.items():
                assert torch.equal(value, expected[name].flip(-1) if flipped else expected[name])
    assert 10 < flips < 30


def test_figures_are_of_one_matrix_over_all_frames() -> None:
    task = Segmentation(SegmentationConfig(classes=("wall", "table", "others"), left_out=("others",)))
    metrics = Metrics(task)
    for number, said in enumerate((0, 1)):
        (example,) = task.examples(classed_view(40, 60, key=f"test/wall/{number}"))
        scores = torch.zeros(3, 40, 60)
        scores[said] = 1
        metrics.update({"scores": scores}, example)
    # Of 37 x 60 labelled pixels 7 x 15 are table.
    table, labelled = 7 * 15, 37 * 60
    wall = labelled - table
    ious = {"wall": 100 * wall / (2 * wall + table), "table": 100 * table / (2 * table + wall)}
    found = metrics.figures()
    assert found["iou_wall"] == pytest.approx(ious["wall"])
    assert found["iou_table"] == pytest.approx(ious["table"])
    assert np.isnan(found["iou_others"])
    assert found["miou_3"] == found["miou_2"] == pytest.approx((ious["wall"] + ious["table"]) / 2)
    assert found["accuracy"] == pytest.approx(50)


def test_the_loss_is_the_mean_over_labelled_pixels() -> None:
    task = Segmentation(SegmentationConfig(classes=("wall", "table")))
    scores = torch.zeros(1, 2, 1, 3)
    scores[0, 1, 0, 0] = np.log(3)
    targets = {"classes": torch.tensor([[[1, 0, UNLABELLED]]])}
    loss = task.loss({"scores": scores}, targets)["classes"]
    assert loss.item() == pytest.approx((-np.log(3 / 4) - np.log(1 / 2)) / 2)
    nothing = {"classes": torch.full((1, 1, 3), UNLABELLED)}
    assert task.loss({"scores": scores}, nothing)["classes"].item() == 0


def test_classes_that_do_not_fit_are_named(synthetic: Path) -> None:
    with pytest.raises(ValueError, match="unknown class 'fridge'"):
        SegmentationConfig(classes=("wall", "fridge"))
    task = Segmentation(SegmentationConfig(vocabulary="vkitti", classes=("Road", "Car", "others")))
    with pytest.raises(InputError, match="classes are not those") as caught:
        Frames(synthetic, task, "depth_noisy")
    assert "expected: vkitti, of which: Road, Car, others" in str(caught.value)
    assert "found:    nyu40: wall, floor" in str(caught.value)
    assert "vocabulary: nyu40" in str(caught.value)
    raw = LabelSpec("semantic", "uint16", "image", "ScanNet's own label ids, 0 is unlabelled")
    with pytest.raises(InputError, match="ids of no known vocabulary: ScanNet's own"):
        Segmentation().require_labels({"semantic": raw}, where="here")
    Segmentation().require_labels({"semantic": SEMANTIC_NYU40}, where="here")


def test_batch_norm_wants_more_than_one() -> None:
    with pytest.raises(ValueError, match="batches of at least 2"):
        SegmentationConfig(batch_size=1)


def test_it_learns_classes_of_rooms(tmp_path: Path) -> None:
    rooms = {"num_scenes": 6, "frames_per_scene": 4, "width": 96, "height": 72, "focal_px": 70.0}
    train = corpus_of(tmp_path / "train", "procedural", **rooms)
    test = corpus_of(tmp_path / "test", "procedural", **{**rooms, "num_scenes": 2, "seed": 1})
    classes = ("wall", "floor", "ceiling", "others")
    options = {
        "classes": classes,
        "left_out": (),
        "crop_px": 48,
        "steps": 100,
        "learning_rate": 5e-3,
        "decay": 0.5,
        "layers": 18,
    }
    task = Segmentation(SegmentationConfig(**{**TINY, **options}))
    lines: list[str] = []
    training = TaskTraining(task, Frames(train, task, "depth_noisy"))
    train_task(training, tmp_path / "out", lines.append)
    frames = Frames(test, task, "depth_noisy")
    found = judge_network(task, frames, predictor(task, load_task_network(task, tmp_path / "out"))).figures()
    always_wall = Metrics(task)
    for view in (frames[place] for place in range(len(frames))):
        for example in task.examples(view):
            scores = torch.zeros(4, *view.size)
            scores[0] = 1
            always_wall.update({"scores": scores}, example)
    assert found["miou_4"] > 2 * always_wall.figures()["miou_4"]
    assert found["accuracy"] > always_wall.figures()["accuracy"] + 10
