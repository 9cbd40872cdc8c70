"""The plan of a training: what it refuses, what it is made of, and what makes it another training."""

from __future__ import annotations

import json
import pickle
from pathlib import Path
from typing import Any

import pytest

from depthforge.errors import CorpusMismatchError, InputError
from depthforge.sources.procedural import Procedural
from depthforge.stages.train import train
from depthforge.stages.training_folder import identity_of, start_or_resume
from depthforge.stages.training_plan import plan_lines, plan_training
from tests.stages.test_train import manifest


@pytest.mark.parametrize(
    ("batch_size", "workers", "remedy"),
    [
        (12, 5, "training.batch_size: 10 or 15; or training.workers (--workers): 4 or 6"),
        (7, 2, "training.batch_size: 6 or 8; or training.workers (--workers): 1 or 7"),
        (2, 3, "training.batch_size: 3; or training.workers (--workers): 2"),
    ],
)
def test_a_batch_that_the_workers_cannot_share_is_refused(
    tmp_path: Path, batch_size: int, workers: int, remedy: str
) -> None:
    with pytest.raises(InputError, match=f"{workers} workers cannot share a batch of {batch_size}") as caught:
        train(manifest(tmp_path, {"batch_size": batch_size, "workers": workers}))
    assert (caught.value.expected, caught.value.found) == (
        f"a multiple of training.workers, {workers}",
        str(batch_size),
    )
    assert caught.value.remedy == remedy
    assert not (tmp_path / "translator").exists()


def test_each_worker_has_its_share(tmp_path: Path) -> None:
    plan = plan_training(manifest(tmp_path, {"batch_size": 12, "workers": 4}))
    assert plan.batch_per_worker == 3
    assert any(line.startswith("  workers   4 with 3 of each side, ") for line in plan_lines(plan, is_trained=False))


def test_one_process_is_not_several_workers(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="one process cannot be several workers"):
        train(manifest(tmp_path, {"workers": 2}), inline=True)


def test_a_plan_travels_to_workers(tmp_path: Path) -> None:
    plan = plan_training(manifest(tmp_path))
    assert pickle.loads(pickle.dumps(plan)) == plan
    assert plan.translator.name == "dcl"
    assert plan.steps_per_epoch(9) == 2
    unsaid = plan_training(manifest(tmp_path, {"steps_per_epoch": None}))
    assert (unsaid.steps_per_epoch(9), unsaid.steps_per_epoch(1)) == (4, 1)


CHANGES_THE_TRAINING: list[dict[str, Any]] = [
    {"workers": 2},
    {"batch_size": 4},
    {"precision": "bfloat16"},
    {"precision": "tf32"},
    {"compile": True},
    {"patience": 3},
    {"evaluate_every": 3},
    {"evaluation_frames": 3},
    {"max_frames": 5},
    {"held_out": 0.4},
]
CHANGES_NOTHING: list[dict[str, Any]] = [
    {"out": "elsewhere"},
    {"keep_checkpoints": 5},
    {"device": "cpu"},
    {"watch": {"enabled": False}},
]


@pytest.mark.parametrize("change", [*CHANGES_THE_TRAINING, *CHANGES_NOTHING], ids=str)
def test_what_changes_the_result_is_the_identity(tmp_path: Path, change: dict[str, Any]) -> None:
    same = identity_of(plan_training(manifest(tmp_path, change))) == identity_of(plan_training(manifest(tmp_path)))
    assert same == (change in CHANGES_NOTHING)


def test_a_source_that_gives_other_frames_is_another_training(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    plan = plan_training(manifest(tmp_path))
    before = identity_of(plan)
    monkeypatch.setattr(Procedural, "adapter_version", Procedural.adapter_version + 1)
    assert identity_of(plan) != before


def test_another_number_of_workers_is_refused_in_the_same_folder(tmp_path: Path) -> None:
    start_or_resume(tmp_path, plan_training(manifest(tmp_path)), overwrite=False)
    with pytest.raises(CorpusMismatchError, match="trained from something else") as caught:
        start_or_resume(tmp_path, plan_training(manifest(tmp_path, {"workers": 2})), overwrite=False)
    assert caught.value.found == "training.workers: default -> 2"


def test_every_field_that_another_training_differs_in_is_told(tmp_path: Path) -> None:
    start_or_resume(tmp_path, plan_training(manifest(tmp_path)), overwrite=False)
    (file,) = tmp_path.glob("training.json")
    before = json.loads(file.read_text())
    before["training"] |= {f"field_{number}": 1 for number in range(8)}
    file.write_text(json.dumps(before))
    with pytest.raises(CorpusMismatchError) as caught:
        start_or_resume(tmp_path, plan_training(manifest(tmp_path)), overwrite=False)
    assert caught.value.found == "; ".join(f"training.field_{number}: 1 -> default" for number in range(8))
