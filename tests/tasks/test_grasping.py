"""Grasping: its battery, where rectangles go when images are cut, magnified and turned, success, and learning."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from depthforge.networks.grasp_net import GraspNet
from depthforge.tasks.base import Metrics, View
from depthforge.tasks.grasp_maps import MAPS
from depthforge.tasks.grasp_rectangles import from_labels
from depthforge.tasks.grasping import Grasping, GraspingConfig, prepared
from depthforge.tasks.judging import judge_network, predictor
from depthforge.tasks.learning import TaskTraining, load_task_network, train_task
from depthforge.tasks.reading import Frames
from depthforge.testing.tasks import TaskTests, wall_view
from tests.tasks.tables import corpus_of

# Centre, open point, height, score, object: openings of 24 pixels along the rows, and of 20 at 53 degrees.
ROWS = np.array([[60, 60, 72, 60, 10, 1.0, 3], [90, 80, 96, 88, 8, 0.7, 3], [90, 40, 96, 40, 8, 0.6, 3]], np.float32)


def grasped_view(height: int = 144, width: int = 160, *, key: str = "test/wall/0000", seed: int = 0) -> View:
    return replace(wall_view(height, width, key=key, seed=seed), labels={"rect_grasps": torch.from_numpy(ROWS)})


class OfAWall(TaskTests):
    @pytest.fixture
    def views(self) -> list[View]:
        return [grasped_view(), grasped_view(key="test/wall/0001", seed=1)]


class TestSmall(OfAWall):
    @pytest.fixture
    def task(self) -> Grasping:
        return Grasping(GraspingConfig(setting="small"))


class TestPublished(OfAWall):
    @pytest.fixture
    def task(self) -> Grasping:
        return Grasping(GraspingConfig(fill="none", side_px=120))


def test_the_published_network_has_the_published_size() -> None:
    task = Grasping()
    network = task.network()
    assert isinstance(network, GraspNet)
    assert sum(p.numel() for p in network.parameters()) == 62_420
    optimiser = task.optimiser(network)
    assert optimiser.defaults["lr"] == 1e-3
    assert optimiser.defaults["betas"] == (0.9, 0.999)


def test_the_square_of_the_middle_is_taken_and_bad_grasps_are_not() -> None:
    (example,) = Grasping(GraspingConfig(side_px=144)).examples(grasped_view())
    # 8 columns are cut from the left; a score of 0.6 needs more friction than 0.4.
    expected = from_labels(ROWS[:2]) - (8, 0, 0, 0, 0)
    np.testing.assert_allclose(example.truth["rectangles"], expected, atol=1e-5)
    assert example.inputs["depth"].shape == (1, 144, 144)
    maps = {name: example.targets[name][0] for name in MAPS}
    assert maps["quality"][60, 52] == 1
    assert maps["quality"][60, 52 + 6] == 0
    assert maps["width"][60, 52].item() == pytest.approx(24 / (150 * 144 / 300))
    assert maps["cosine"][80, 82].item() == pytest.approx(np.cos(2 * np.arctan2(4, 3)), abs=1e-5)
    (halved,) = Grasping(GraspingConfig(side_px=72)).examples(grasped_view())
    # Pixel centres are at integers: 0.5 of the large image is 0 of the small one.
    moved = (expected - (0.5, 0.5, 0, 0, 0)) * (0.5, 0.5, 1, 0.5, 0.5)
    np.testing.assert_allclose(halved.truth["rectangles"], moved, atol=1e-5)
    assert Grasping().examples(replace(grasped_view(), labels={"rect_grasps": torch.from_numpy(ROWS[2:])})) == []


def test_depth_and_rectangles_stay_together_when_drawn() -> None:
    """Where the first grasp is, a mark is in the depth: wherever a draw moves one, the other is there."""
    view = grasped_view()
    view.depth_m[:], view.valid[:] = 1.2, True
    view.depth_m[0, 57:64, 57:64] = 0.9
    task = Grasping(GraspingConfig(side_px=144, fill="none"))
    zooms, turns = set(), set()
    for seed in range(12):
        example = task.draw(view, np.random.default_rng(seed))
        assert example is not None
        x, y, angle, opening, _ = example.truth["rectangles"][0]
        depth = example.inputs["depth"][0].numpy()
        rows, columns = np.nonzero(depth < depth.min() + 0.1)
        assert (columns.mean(), rows.mean()) == pytest.approx((x, y), abs=1.0)
        zooms.add(round(opening / 24, 3))
        turns.add(round(np.rad2deg(angle)) % 180)
        assert np.ptp(columns) + 1 == pytest.approx(7 * opening / 24, abs=1.5)
    assert turns == {0, 90}
    assert len(zooms) > 6
    assert 1 <= min(zooms) <= max(zooms) <= 2


def test_holes_are_filled_or_left_as_they_are() -> None:
    depth_m, valid = np.full((40, 40), 0.6, np.float32), np.ones((40, 40), np.bool_)
    depth_m[:, 20:] = 0.8
    holes = np.zeros_like(valid)
    holes[5:10, 5:10] = holes[30:, 36:] = True
    depth_m[holes], valid[holes] = 0, False
    filled = prepared(depth_m, valid, fill=True)
    assert filled[7, 7] == pytest.approx(-0.1, abs=0.01)
    assert filled[38, 39] == pytest.approx(0.1, abs=0.01)
    left = prepared(depth_m, valid, fill=False)
    mean_m = depth_m[valid].mean()
    assert left[7, 7] == pytest.approx(-mean_m)
    assert left[20, 0] == pytest.approx(0.6 - mean_m)
    far = np.where(valid, depth_m, 5.0).astype(np.float32)
    assert prepared(far, np.ones_like(valid), fill=True).max() == 1


def test_a_frame_is_a_success_by_any_of_three_or_the_best() -> None:
    task = Grasping(GraspingConfig(side_px=144))
    (example,) = task.examples(grasped_view())

    def measured(*wanted: tuple[int, int, float, float, float]) -> dict[str, float]:
        maps = torch.zeros(4, 1, 144, 144)
        maps[1] = 1
        for x, y, angle, opening, quality in wanted:
            place = (slice(y - 3, y + 4), slice(x - 3, x + 4))
            for image, value in zip(maps, (quality, np.cos(2 * angle), np.sin(2 * angle), opening / 72), strict=True):
                image[0][place] = value
        metrics = Metrics(task)
        metrics.update(dict(zip(MAPS, maps, strict=True)), example)
        return metrics.figures()

    ids = [figure.id for figure in task.figures]
    assert ids == [f"success_top{top}_iou{least}" for least in (50, 25) for top in (3, 1)]
    # 24 by 12 against 24 by 10.
    assert set(measured((52, 60, 0.0, 24, 1.0)).values()) == {100.0}
    # The right one is second.
    second = measured((120, 120, 0.0, 24, 1.0), (52, 60, 0.0, 24, 0.8))
    assert [second[name] for name in ids] == [100, 0, 100, 0]
    # Opened by half as much again: 36 by 18 against 24 by 10 overlap by 0.37.
    wide = measured((52, 60, 0.0, 36, 1.0))
    assert [wide[name] for name in ids] == [0, 0, 100, 100]
    assert set(measured((52, 60, np.deg2rad(40), 24, 1.0)).values()) == {0.0}
    assert set(measured().values()) == {0.0}


def test_settings_that_make_no_sense_are_refused() -> None:
    with pytest.raises(ValueError, match="side_px"):
        GraspingConfig(crop_px=64)
    with pytest.raises(ValueError, match="multiple of 12"):
        GraspingConfig(side_px=100)


def test_it_learns_to_grasp_what_it_is_shown(tmp_path: Path) -> None:
    corpus = corpus_of(tmp_path / "corpus", num_scenes=4, frames_per_scene=1)
    options = {"side_px": 48, "width": 16, "batch_size": 4, "turns": False, "least_zoom": 1.0}
    task = Grasping(GraspingConfig(setting="small", **options, steps=300, learning_rate=5e-3, decay=0.2))
    frames = Frames(corpus, task, "depth_noisy")
    network = task.network()
    task.initialise(network, torch.Generator().manual_seed(0))
    before = judge_network(task, frames, predictor(task, network.eval())).figures()
    train_task(TaskTraining(task, frames), tmp_path / "out")
    after = judge_network(task, frames, predictor(task, load_task_network(task, tmp_path / "out"))).figures()
    assert before["success_top3_iou25"] == 0
    assert after["success_top3_iou25"] >= 75
