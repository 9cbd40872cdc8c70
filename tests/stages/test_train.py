"""The training stage on tiny rooms: what it leaves, how it goes on, and what it refuses."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import time
from contextlib import suppress
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
import torch
import yaml

from depthforge.corpus.reader import CorpusReader
from depthforge.corpus.verify import verify_corpus
from depthforge.durable import write_atomically
from depthforge.errors import CorpusMismatchError, InputError, MissingDataError, NotFiniteLossError
from depthforge.manifest import Manifest, parse_manifest
from depthforge.stages.observe import TrainingObserver
from depthforge.stages.sides import threads_of_a_worker
from depthforge.stages.train import TrainingReport, train
from depthforge.stages.training_folder import is_trained
from depthforge.stages.training_plan import plan_lines, plan_training
from depthforge.training.checkpoint import Checkpoints
from depthforge.training.loop import Evaluated
from depthforge.training.objective import Batch
from depthforge.training.translator_card import read_card
from tests.heads import Head
from tests.sources import fused_trees
from tests.stages.runs import contents, run

ROOMS: dict[str, Any] = {
    "name": "procedural",
    "num_scenes": 2,
    "frames_per_scene": 4,
    "width": 64,
    "height": 48,
    "focal_px": 60.0,
}
BLIND = {"name": "structured_light", "raw_scale_m": 1e-3}
SCANS = {**ROOMS, "seed": 1, "sensor": {"name": "structured_light", "focal_length_px": 60.0}}


def manifest(folder: Path, block: dict[str, Any] | None = None, /, **changes: Any) -> Manifest:
    value = {
        "name": "tiny-dcl",
        "source": ROOMS,
        "translator": {"name": "dcl", "width": 2, "max_depth_m": 8, "num_vectors": 16, "residual": 1.0},
        "training": {
            "real": SCANS,
            "out": str(folder / "translator"),
            "epochs": 2,
            "decay_epochs": 1,
            "steps_per_epoch": 2,
            "batch_size": 2,
            "crop_px": 32,
            "held_out": 0.5,
            "evaluate_every": 2,
            "evaluation_frames": 2,
            **(block or {}),
        },
        "corpus": {"out": str(folder / "corpus"), "shard_frames": 4},
        **changes,
    }
    return parse_manifest(value, where="test")


class Lines:
    """Keeps what a training says."""

    def __init__(self) -> None:
        self.notes: list[str] = []
        self.warnings: list[str] = []

    def note(self, line: str) -> None:
        self.notes.append(line)

    def warn(self, message: str) -> None:
        self.warnings.append(message)


def trained(folder: Path, **options: Any) -> TrainingReport:
    return train(manifest(folder), inline=True, **options)


@pytest.fixture(scope="module")
def first(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, TrainingReport, Lines]:
    """A training that ended: its folder, its report, and what it said."""
    folder, lines = tmp_path_factory.mktemp("first"), Lines()
    return folder, trained(folder, progress=lines), lines


@pytest.fixture
def done(first: tuple[Path, TrainingReport, Lines], tmp_path: Path) -> Path:
    """A folder of this test alone with that training in it."""
    shutil.copytree(first[0], tmp_path, dirs_exist_ok=True)
    return tmp_path


def test_what_a_training_leaves(first: tuple[Path, TrainingReport, Lines]) -> None:
    folder, report, lines = first
    out = folder / "translator"
    assert sorted(report.scores) == [2, 4, 6]
    assert report.best_step == min(report.scores, key=lambda step: (report.scores[step], step))
    card = read_card(out)
    assert card.translator == "dcl"
    assert card.normalisation.max_depth_m == 8
    assert card.architecture["residual"] == 1.0
    assert card.training["best_step"] == card.training["step"] == report.best_step
    assert card.trained_on["clean"]["frames"] == card.trained_on["real"]["frames"] == 8
    assert card.trained_on["real"]["licence"]["name"] == "Apache-2.0"
    assert len(card.figures["holes_by_threshold"]) == 6
    assert str(folder) not in card.to_bytes().decode(), "a card says nothing of the machine"
    best = Checkpoints(out / "checkpoints").path(report.best_step)
    assert (out / "weights.safetensors").read_bytes() == (best / "weights.safetensors").read_bytes()
    table = pq.read_table(out / "curves.parquet").to_pylist()
    assert {row["step"] for row in table if row["name"] == "generator"} == {2, 4, 6}
    assert (out / "curves.png").read_bytes()[:4] == (out / "samples.png").read_bytes()[:4] == b"\x89PNG"
    assert any("step 6/6  epoch 3/3  generator" in line for line in lines.notes)
    assert not (out / "frames").exists(), "decoded frames go with the training"


def test_a_trained_translator_is_not_trained_again_and_converts(done: Path) -> None:
    untrained = plan_training(manifest(done / "elsewhere"))
    assert not is_trained(untrained)
    assert plan_lines(untrained, is_trained=False)[0] == "plan of dcl: to be trained; nothing was written"
    assert is_trained(plan_training(manifest(done)))
    assert trained(done).nothing_to_do
    run(manifest(done))
    corpus = done / "corpus"
    assert verify_corpus(corpus, deep=True).ok
    frame = CorpusReader(corpus).read(0)
    assert not np.array_equal(frame.noisy_depth_m, frame.clean_depth_m)
    assert (frame.noisy_valid <= frame.clean_valid).all()
    assert (corpus / "translator" / "card.json").read_bytes() == (done / "translator" / "card.json").read_bytes()
    card = (corpus / "README.md").read_text()
    assert f"- chosen: the checkpoint of step {read_card(done / 'translator').training['best_step']}" in card
    assert "- real: 8 frames of procedural; real: " in card
    everything = b"".join(contents(corpus).values())
    assert str(done).encode() not in everything, "a corpus says nothing of the machine"
    recorded = json.loads((corpus / "corpus.json").read_text())["manifest"]
    assert recorded["training"]["real"]["seed"] == 1


def test_conversion_without_training_says_how_to_train(tmp_path: Path) -> None:
    with pytest.raises(MissingDataError, match="no trained translator") as caught:
        run(manifest(tmp_path))
    assert "depthforge train MANIFEST" in str(caught.value)


def test_two_trainings_end_alike_and_another_seed_elsewhere(done: Path) -> None:
    trained(done / "two")
    train(manifest(done / "three", seed=1), inline=True)
    one, two, three = (read_card(done / name / "translator") for name in (".", "two", "three"))
    assert one.weights_sha256 == two.weights_sha256 != three.weights_sha256
    assert one.figures == two.figures


def test_another_manifest_is_refused_until_it_may_overwrite(done: Path) -> None:
    other = manifest(done, {"batch_size": 1})
    with pytest.raises(CorpusMismatchError, match="trained from something else") as caught:
        train(other, inline=True)
    assert "training.batch_size: 2 -> 1" in str(caught.value)
    assert train(other, inline=True, overwrite=True).num_steps == 6


class Killed(BaseException):
    """What kill -9 is to a test in one process."""


def test_killed_as_it_is_published_it_ends_with_the_same_translator(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The training had stopped early, all of it was on disk, and nobody had been told yet."""
    scores, looked_at, evaluate = {2: 1.0, 4: 2.0, 6: 0.5}, [], TrainingObserver.evaluate

    def scored(self: TrainingObserver, step: int, objective: Any) -> Evaluated:
        looked_at.append(step)
        return replace(evaluate(self, step, objective), score=scores[step])

    def killed_at(name: str, path: Path, content: bytes) -> None:
        if path.name == name:
            raise Killed
        write_atomically(path, content)

    monkeypatch.setattr(TrainingObserver, "evaluate", scored)
    whole, cut = (manifest(tmp_path / name, {"patience": 1}) for name in ("whole", "cut"))
    expected = train(whole, inline=True)
    for name in ("weights.safetensors", "card.json"):
        with monkeypatch.context() as patch:
            patch.setattr("depthforge.stages.train.write_atomically", partial(killed_at, name))
            with pytest.raises(Killed):
                train(cut, inline=True)
        assert not is_trained(plan_training(cut))
    found = train(cut, inline=True)
    assert looked_at == [2, 4, 2, 4], "not a step more"
    assert (found.best_step, found.stopped_early, found.scores) == (2, True, expected.scores)
    first, second = (tmp_path / name / "translator" / "weights.safetensors" for name in ("whole", "cut"))
    assert first.read_bytes() == second.read_bytes()
    assert read_card(second.parent).training["best_step"] == 2


def test_files_of_others_are_left_alone(tmp_path: Path) -> None:
    (tmp_path / "translator").mkdir()
    (tmp_path / "translator" / "thesis.tex").write_text("mine")
    with pytest.raises(CorpusMismatchError, match="holds other files"):
        trained(tmp_path, overwrite=True)
    assert (tmp_path / "translator" / "thesis.tex").read_text() == "mine"


def test_a_trained_translator_of_other_options_is_refused_at_conversion(done: Path) -> None:
    weights = str(done / "translator")
    for change, kind in (({"width": 4}, "architecture"), ({"max_depth_m": 6}, "normalisation")):
        block = {"name": "dcl", "width": 2, "max_depth_m": 8, "residual": 1.0, "weights": weights, **change}
        with pytest.raises(InputError, match=f"another {kind}") as caught:
            run(manifest(done, translator=block))
        assert "(the card of the weights)" in str(caught.value)


@pytest.mark.parametrize(
    ("training", "changes", "error", "says"),
    [
        ({"real": {**SCANS, "num_scenes": 1, "frames_per_scene": 1}}, {}, InputError, "one frame cannot be both"),
        ({"crop_px": 64}, {}, InputError, "smaller than the crops"),
        ({"crop_px": None, "real": {**SCANS, "width": 72}}, {}, InputError, "different sizes"),
        (
            {"real": {**SCANS, "sensor": BLIND}},
            {},
            InputError,
            "the unit of depth looks wrong",
        ),
        ({}, {"translator": {"name": "simulation"}}, InputError, "needs no training"),
        ({}, {"training": None}, InputError, "does not say how to train"),
    ],
    ids=["one frame", "crop", "sizes", "all invalid", "not learned", "no block"],
)
def test_what_cannot_be_trained_is_said(
    tmp_path: Path, training: dict[str, Any], changes: dict[str, Any], error: type[Exception], says: str
) -> None:
    with pytest.raises(error, match=says):
        train(manifest(tmp_path, training, **changes), inline=True)


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
def test_a_gpu_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="a GPU is asked for and there is none"):
        train(manifest(tmp_path, {"device": "cuda"}), inline=True)


def test_sides_that_differ_besides_the_sensor_are_warned_of(tmp_path: Path) -> None:
    lines = Lines()
    far = {**SCANS, "focal_px": 90.0, "min_depth_m": 3.0, "sensor": None}
    near = {**ROOMS, "max_depth_m": 2.5}
    with pytest.raises(InputError, match="no range in common") as raised:
        train(manifest(tmp_path, {"real": far}, source=near), inline=True)
    assert "depth_scale" in str(raised.value)
    near["trust"] = ["unit"]
    train(manifest(tmp_path, {"real": far}, source=near), inline=True, progress=lines)
    assert "clean and real depth share 0% of their range" in lines.warnings[0]
    assert lines.warnings[0].count("% of the pixels are nearer") == 2, "both histograms are summed up"
    assert "focal lengths of 60 px (clean) and 90 px (real)" in lines.warnings[1]


def test_a_loss_that_is_no_number_keeps_the_checkpoints(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from depthforge.translators.one_way_objectives import DclObjective

    step, count = DclObjective.step, 0

    def poisoned(self: DclObjective, batch: Any) -> Any:
        nonlocal count
        count += 1
        if count == 3:
            (tmp_path / "translator" / "curves.png").mkdir()  # no picture can be drawn, which must not hide the loss
        return step(self, Batch({"depth": batch.clean["depth"] * float("nan")}, batch.real) if count == 3 else batch)

    monkeypatch.setattr(DclObjective, "step", poisoned)
    with pytest.raises(NotFiniteLossError, match="step 3"):
        trained(tmp_path)
    monkeypatch.undo()
    (tmp_path / "translator" / "curves.png").rmdir()
    report = trained(tmp_path)
    assert report.resumed_from == 2


@pytest.mark.slow
@pytest.mark.ray
@pytest.mark.parametrize(
    "changes",
    [{}, {"translator": {"name": "hybrid", "sensor": {"name": "structured_light"}, "colour": False, "min_kept": 0}}],
    ids=["dcl", "hybrid"],
)
def test_on_ray_a_killed_worker_goes_on_and_ends_as_inline(head: Head, tmp_path: Path, changes: dict[str, Any]) -> None:
    """kill -9 of the training worker after its first checkpoint: Ray Train starts it again, from there."""
    long = {"epochs": 20, "evaluate_every": 6}
    expected = train(manifest(tmp_path / "inline", long, **changes), inline=True)
    path = tmp_path / "manifest.yaml"
    portable = manifest(tmp_path / "ray", long, **changes).model_dump(mode="json")
    path.write_text(yaml.safe_dump(portable))
    command = [sys.executable, "-m", "depthforge", "train", str(path), "--address", head.address, "--json"]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    killed = _kill_worker(Checkpoints(tmp_path / "ray" / "translator" / "checkpoints"))
    out, err = process.communicate(timeout=200)
    assert process.returncode == 0, err
    assert killed
    assert "resuming from the checkpoint of step" in err
    report = json.loads(out)
    assert report["best_step"] == expected.best_step
    assert report["resumed_from"] > 0
    cards = [read_card(tmp_path / name / "translator") for name in ("inline", "ray")]
    assert cards[0].weights_sha256 == cards[1].weights_sha256


@pytest.mark.parametrize(
    ("setting", "num_workers", "expected"),
    [(None, 1, 4), (None, 3, 1), (None, 9, 1), ("2", 1, 2), ("2,1", 1, 2), ("16", 2, 2), ("0", 1, 4), ("all", 1, 4)],
)
def test_a_worker_has_its_share_of_the_cores_or_as_many_threads_as_it_is_told(
    setting: str | None, num_workers: int, expected: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda pid: set(range(4)))
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    if setting is not None:
        monkeypatch.setenv("OMP_NUM_THREADS", setting)
    assert threads_of_a_worker(num_workers) == expected


def _kill_worker(checkpoints: Checkpoints) -> bool:
    """Kill the process that trains on a Ray of this one once it has written a checkpoint."""
    import psutil

    deadline = time.monotonic() + 120
    while time.monotonic() < deadline:
        if checkpoints.steps():
            for child in psutil.Process().children(recursive=True):
                with suppress(psutil.NoSuchProcess):
                    if "RayTrainWorker" in " ".join(child.cmdline()):
                        child.kill()
                        return True
        time.sleep(0.05)
    return False


def test_the_terms_of_the_scans_bind_the_corpus(done: Path) -> None:
    """A corpus of free renders with noise that was learnt from non-commercial scans is non-commercial."""
    card = read_card(done / "translator")
    terms = {"name": "Scanner's terms", "non_commercial": True, "url": None}
    card.trained_on["real"]["licence"] = terms
    (done / "translator" / "card.json").write_bytes(card.to_bytes())
    run(manifest(done))
    text = (done / "corpus" / "README.md").read_text()
    assert "license_name: Scanner's terms" in text
    assert "- procedural (the translator was trained on it, real side): Scanner's terms" in text
    assert "The most restrictive term that applies to this corpus: Scanner's terms (non-commercial use only)." in text


def test_a_plan_prepares_no_source(tmp_path: Path) -> None:
    pytest.importorskip("open3d", exc_type=ImportError)
    root = fused_trees.write_scan(tmp_path / "scan", num_frames=5)
    plan = plan_training(manifest(tmp_path, source=fused_trees.block(root)))
    first, frames = plan_lines(plan, is_trained=False)[2:4]
    assert first == f"  first     fuse 5 frames of 1 scene, kept in {root / 'prepared'}"
    assert frames.startswith("  frames    at most 5 clean, 8 real; ")
    assert not (root / "prepared").exists()
    fused_trees.make(root).prepare()
    assert plan_lines(plan, is_trained=False)[2].startswith("  frames    4 clean, 8 real; ")
