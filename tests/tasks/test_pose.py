"""Pose: its battery, what an example holds, figures worked out by hand, and objects told apart on other tables."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from depthforge.errors import InputError, MissingDataError
from depthforge.geometry import quaternion_from_rotation, rotation_from_quaternion
from depthforge.meshes import encode_ply
from depthforge.networks.pose_net import PoseNet
from depthforge.scenes.tabletop import object_mesh
from depthforge.tasks.base import Metrics, View
from depthforge.tasks.judging import judge_network, predictor
from depthforge.tasks.learning import TaskTraining, load_task_network, train_task
from depthforge.tasks.pose import Pose, PoseConfig
from depthforge.tasks.reading import Frames
from depthforge.tasks.rotations import rotation_error_deg
from depthforge.testing.tasks import TaskTests, wall_view
from tests.tasks.tables import corpus_of

QUARTER = np.array([np.sqrt(0.5), 0, 0, np.sqrt(0.5)])


def posed_view(
    height: int = 144, width: int = 160, *, key: str = "test/wall/0000", object_id: int = 2, wxyz: np.ndarray = QUARTER
) -> View:
    """A wall whose near box is an object, seen to the left of the middle and above it."""
    view = wall_view(height, width, key=key, seed=object_id)
    mask = torch.zeros(height, width, dtype=torch.int32)
    mask[height // 3 : height // 2, width // 4 : width // 2] = 1
    pose = torch.eye(4, dtype=torch.float64)
    pose[:3, :3] = torch.from_numpy(rotation_from_quaternion(wxyz))
    pose[:3, 3] = torch.tensor([-0.2, -0.1, 1.3])
    labels = {"instance": mask, "object_id": torch.tensor([object_id]), "object_pose": pose[None]}
    return replace(view, labels=labels, images=frozenset({"instance"}))


class OfOneObject(TaskTests):
    @pytest.fixture
    def views(self) -> list[View]:
        return [posed_view(), posed_view(key="test/wall/0001", object_id=5)]


class TestSmall(OfOneObject):
    @pytest.fixture
    def task(self) -> Pose:
        return Pose(PoseConfig(setting="small", width=8))


class TestPublished(OfOneObject):
    @pytest.fixture
    def task(self) -> Pose:
        return Pose(PoseConfig(width=8, fewest_px=24, side_px=64, rotation="allocentric", background=False))


def test_the_published_network_has_the_published_size() -> None:
    network = Pose().network()
    assert isinstance(network, PoseNet)
    assert sum(p.numel() for p in network.parameters()) == 11_308_814
    assert network.num_features == 256


def test_an_example_is_crop_class_and_rotation() -> None:
    (example,) = Pose(PoseConfig(setting="small", objects=(7, 2), rotation="camera")).examples(posed_view())
    assert example.inputs["crop"].shape == (2, 64, 64)
    assert example.targets["object"].item() == 1
    np.testing.assert_allclose(example.targets["quaternion"], QUARTER, atol=1e-6)
    # 0.5 m before the wall: out of reach at the crop's border.
    assert example.inputs["crop"][0, 0, 0].item() == pytest.approx(1)
    allocentric = Pose(PoseConfig(setting="small", rotation="allocentric"))
    (turned,) = allocentric.examples(posed_view())
    ray_deg = np.rad2deg(np.arctan2(np.hypot(0.2, 0.1), 1.3))
    assert rotation_error_deg(turned.targets["quaternion"], QUARTER) == pytest.approx(ray_deg, abs=1e-3)


def test_objects_that_are_not_asked_for_are_left_out() -> None:
    view = posed_view(object_id=4)
    assert Pose(PoseConfig(setting="small", objects=(1, 2))).examples(view) == []
    assert Pose(PoseConfig(setting="small", objects=(1, 2))).draw(view, np.random.default_rng(0)) is None
    assert Pose(PoseConfig(setting="small", fewest_px=60)).examples(view) == []


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"crop_px": 64}, "side_px"),
        ({"objects": (1, 1)}, "twice"),
        ({"fewest_px": 64, "most_px": 64}, "below"),
        ({"batch_size": 1}, "at least 2"),
    ],
)
def test_settings_that_make_no_sense_are_refused(options: dict[str, object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        PoseConfig(**options)


def test_figures_are_means_over_all_crops() -> None:
    task = Pose(PoseConfig(setting="small"))
    metrics = Metrics(task)
    for number, (angle_deg, said) in enumerate(((10.0, 2), (50.0, 3))):
        (example,) = task.examples(posed_view(key=f"test/wall/{number}"))
        turn = np.deg2rad(90 + angle_deg) / 2
        logits = torch.zeros(10)
        logits[said] = 1
        quaternion = torch.tensor([-np.cos(turn), 0, 0, -np.sin(turn)], dtype=torch.float32)
        metrics.update({"logits": logits, "quaternion": quaternion}, example)
    found = metrics.figures()
    assert found["error_deg"] == pytest.approx(30, abs=1e-3)
    assert found["accuracy"] == pytest.approx(50)
    assert all(np.isnan(found[name]) for name in ("least_error_deg", "add", "adds"))


def test_models_say_what_is_alike_and_how_far_points_move(tmp_path: Path) -> None:
    pytest.importorskip("open3d")
    (tmp_path / "002").mkdir()
    (tmp_path / "002/nontextured.ply").write_bytes(encode_ply(object_mesh(2)))
    info = '{"2": {"symmetries_continuous": [{"axis": [0, 0, 1], "offset": [0, 0, 0]}]}}'
    (tmp_path / "models_info.json").write_text(info)
    task = Pose(PoseConfig(setting="small", models=tmp_path))
    (example,) = task.examples(posed_view())
    metrics = Metrics(task)
    half_a_turn = quaternion_from_rotation(rotation_from_quaternion(QUARTER) @ np.diag([-1.0, -1.0, 1.0]))
    metrics.update({"logits": torch.zeros(10), "quaternion": torch.from_numpy(half_a_turn).float()}, example)
    found = metrics.figures()
    assert found["error_deg"] == pytest.approx(180, abs=1e-3)
    assert found["least_error_deg"] == pytest.approx(0, abs=1e-3)
    # Far by its own points, near by the nearest.
    assert (found["add"], found["adds"]) == (0, 100)
    (unknown,) = task.examples(posed_view(object_id=3))
    with pytest.raises(MissingDataError, match="no model of object 3"):
        metrics.update({"logits": torch.zeros(10), "quaternion": torch.tensor([1.0, 0, 0, 0])}, unknown)


def test_a_corpus_without_objects_is_refused(tmp_path: Path, synthetic: Path) -> None:
    task = Pose(PoseConfig(setting="small", objects=(500, 501), steps=2))
    with pytest.raises(InputError, match="no frame holds anything that the task pose"):
        train_task(TaskTraining(task, Frames(synthetic, task, "depth_noisy")), tmp_path / "out")


def test_it_tells_objects_apart_on_tables_that_it_has_not_seen(tmp_path: Path) -> None:
    train = corpus_of(tmp_path / "train", models=(0, 3), num_scenes=16, frames_per_scene=3)
    test = corpus_of(tmp_path / "test", models=(0, 3), num_scenes=4, frames_per_scene=3, first_scene=100)
    options = {"objects": (0, 3), "width": 8, "side_px": 48, "steps": 100, "learning_rate": 3e-3}
    task = Pose(PoseConfig(setting="small", **options))
    lines: list[str] = []
    train_task(TaskTraining(task, Frames(train, task, "depth_noisy")), tmp_path / "out", lines.append)
    frames = Frames(test, task, "depth_noisy")
    found = judge_network(task, frames, predictor(task, load_task_network(task, tmp_path / "out"))).figures()
    assert found["accuracy"] > 85
    # Two random rotations are 126 degrees apart on average.
    assert found["error_deg"] < 110
