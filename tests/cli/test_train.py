"""Training and its translators from the command line."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
import yaml

from depthforge.corpus.verify import verify_corpus
from depthforge.networks.generator import DepthGenerator
from depthforge.networks.initialise import initialise
from depthforge.networks.published import published_names
from depthforge.storage import open_storage
from depthforge.training import checkpoint
from depthforge.training.checkpoint import Checkpoints
from tests.cli.conftest import Outcome

Call = Callable[..., Outcome]


@pytest.fixture
def manifest(tmp_path: Path, repository: Path) -> Path:
    """``manifests/demo-dcl.yaml``, made small."""
    value = yaml.safe_load((repository / "manifests" / "demo-dcl.yaml").read_text())
    small = {"width": 64, "height": 48, "focal_px": 60, "num_scenes": 2, "frames_per_scene": 4}
    value["source"] |= small
    value["training"]["real"] |= {**small, "sensor": {"name": "structured_light", "focal_length_px": 60}}
    value["training"] |= {"out": str(tmp_path / "translator"), "crop_px": 32, "batch_size": 2, "evaluation_frames": 2}
    value["training"] |= {"steps_per_epoch": 2, "evaluate_every": 3}
    value["translator"] |= {"width": 2, "num_vectors": 16}
    value["corpus"] |= {"out": str(tmp_path / "corpus"), "shard_frames": 4}
    path = tmp_path / "demo-dcl.yaml"
    path.write_text(yaml.safe_dump(value))
    return path


def test_synthesize_trains_and_converts(depthforge: Call, manifest: Path, tmp_path: Path) -> None:
    planned = depthforge("synthesize", manifest, "--dry-run")
    assert planned.code == 0
    assert "plan of dcl: to be trained; nothing was written" in planned.out
    assert not (tmp_path / "translator").exists()

    made = depthforge("synthesize", manifest, "--inline")
    assert made.code == 0, made.err
    assert "step 6/6  epoch 3/3  generator" in made.err
    assert "trained dcl for 6 steps" in made.out
    assert "made 8 frames in 2 shards" in made.out
    assert verify_corpus(tmp_path / "corpus", deep=True).ok

    again = depthforge("synthesize", manifest, "--inline", "--dry-run")
    assert again.out.startswith("plan of demo-dcl: procedural -> dcl")
    assert "nothing to do" in depthforge("synthesize", manifest, "--inline").out

    shown = depthforge("translator", "show", tmp_path / "translator")
    assert shown.code == 0
    assert "dcl, version 1, trained" in shown.out
    assert "depth over     8.0 m" in shown.out
    assert "8 frames of procedural" in shown.out


def test_train_alone_prints_what_it_made(depthforge: Call, manifest: Path, tmp_path: Path) -> None:
    out = tmp_path / "elsewhere"
    outcome = depthforge("train", manifest, "--inline", "--out", out, "--json")
    assert outcome.code == 0, outcome.err
    report = json.loads(outcome.out)
    assert (report["translator"], report["num_steps"], report["clean_frames"]) == ("dcl", 6, 8)
    assert (out / "weights.safetensors").exists()
    again = depthforge("train", manifest, "--inline", "--out", out)
    assert again.out.startswith(f"nothing to train: {out} holds the dcl of this manifest")
    other = depthforge("train", manifest, "--inline", "--out", out, "--seed", "3")
    assert other.code == 3
    assert "seed: 0 -> 3" in other.err


@pytest.mark.parametrize("options", [(), ("--dry-run",)])
def test_workers_that_cannot_share_the_batch_are_refused(depthforge: Call, manifest: Path, options: tuple[str]) -> None:
    refused = depthforge("train", manifest, "--workers", "3", *options)
    assert refused.code == 3
    assert "3 workers cannot share a batch of 2 evenly" in refused.err
    assert "training.batch_size: 3; or training.workers (--workers): 2" in refused.err


def test_another_translator_needs_no_training(depthforge: Call, manifest: Path, tmp_path: Path) -> None:
    outcome = depthforge("synthesize", manifest, "--inline", "--translator", "simulation")
    assert outcome.code == 0, outcome.err
    assert not (tmp_path / "translator").exists()
    refused = depthforge("train", manifest, "--translator", "simulation")
    assert refused.code == 3
    assert "needs no training" in refused.err


def test_convert_before_training_says_what_to_do(depthforge: Call, manifest: Path) -> None:
    outcome = depthforge("convert", manifest, "--inline")
    assert outcome.code == 3
    assert "there is no trained translator" in outcome.err
    assert "depthforge train MANIFEST" in outcome.err


@pytest.mark.parametrize("with_rgb", [False, True])
def test_published_weights_are_imported_and_convert(
    depthforge: Call, manifest: Path, tmp_path: Path, with_rgb: bool
) -> None:
    generator = DepthGenerator(with_rgb=with_rgb)
    initialise(generator, torch.Generator().manual_seed(0))
    torch.nn.init.constant_(generator.out.bias, 0.4)
    entries = generator.state_dict() | dict(generator.named_buffers())
    checkpoint = tmp_path / "latest_net_G.pth"
    torch.save({published: entries[ours] for published, ours in published_names(generator).items()}, checkpoint)
    folder = tmp_path / "published"
    outcome = depthforge("translator", "import", checkpoint, folder)
    assert outcome.code == 0, outcome.err
    block = yaml.safe_load(outcome.out.splitlines()[-1].removeprefix("use it in a manifest: "))["translator"]
    assert block == {
        "name": "dcl",
        "with_rgb": with_rgb,
        "normalisation": "per_image",
        "quantity": "ray",
        "weights": str(folder),
    }
    shown = depthforge("translator", "show", folder)
    assert "the maximum of each image; depth is the length of the ray" in shown.out
    value = yaml.safe_load(manifest.read_text())
    manifest.write_text(yaml.safe_dump({**value, "translator": {**block, "quantity": "z"}}))
    refused = depthforge("convert", manifest, "--inline", "--limit", "2")
    assert refused.code == 3
    assert "quantity z (the manifest)" in refused.err
    assert "quantity ray" in refused.err
    manifest.write_text(yaml.safe_dump({**value, "translator": block}))
    assert depthforge("convert", manifest, "--inline", "--limit", "2").code == 0
    twice = depthforge("translator", "import", checkpoint, folder)
    assert twice.code == 3
    assert "there is a translator already" in twice.err


def test_an_unreadable_checkpoint_is_one_clear_message(depthforge: Call, tmp_path: Path) -> None:
    path = tmp_path / "latest_net_G.pth"
    path.write_bytes(b"PK\x03\x04 and no more")
    outcome = depthforge("translator", "import", path, tmp_path / "out")
    assert outcome.code == 3
    assert "the checkpoint cannot be read as tensors alone" in outcome.err
    assert not (tmp_path / "out").exists()


def test_a_real_side_that_is_not_there_names_the_folder(
    depthforge: Call, repository: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("INTERIORNET_ROOT", str(tmp_path / "clean"))
    monkeypatch.setenv("SCANS_ROOT", str(tmp_path / "scans"))
    (tmp_path / "scans").mkdir()
    monkeypatch.chdir(tmp_path)
    assert depthforge("sample", "--layout", "interiornet", tmp_path / "clean", "--scenes", 1, "--frames", 2).code == 0
    outcome = depthforge("train", repository / "manifests" / "interiornet.yaml", "--inline")
    assert outcome.code == 3
    assert str(tmp_path / "scans") in outcome.err


def test_a_training_goes_into_an_object_store_and_on_from_there(
    depthforge: Call, manifest: Path, tmp_path: Path, bucket: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert depthforge("train", manifest, "--inline").code == 0
    monkeypatch.setattr("depthforge.stages.training_mirror._LOOK_EVERY_S", 0.02)
    url, real = f"{bucket}/translator", checkpoint.Checkpoints.commit

    def commit(self: Checkpoints, step: int) -> None:
        real(self, step)
        if step == 3:  # long enough for the checkpoint to go up, and then as a killed run ends
            deadline = time.monotonic() + 20
            while f"checkpoints/step-{step:08d}.json" not in {each.name for each in open_storage(url).objects()}:
                assert time.monotonic() < deadline
                time.sleep(0.02)
            raise KeyboardInterrupt

    monkeypatch.setattr(checkpoint.Checkpoints, "commit", commit)
    stopped = depthforge("train", manifest, "--inline", "--out", url)
    assert stopped.code == 130, stopped.err
    assert not open_storage(url).exists("card.json")
    monkeypatch.setattr(checkpoint.Checkpoints, "commit", real)
    done = depthforge("train", manifest, "--inline", "--out", url)
    assert done.code == 0, done.err
    assert "step 3" in done.err
    assert f"translator  {url}" in done.out
    storage = open_storage(url)
    assert storage.read("weights.safetensors") == (tmp_path / "translator/weights.safetensors").read_bytes()
    assert storage.lock_owner(".lock") is None
    assert "nothing to train" in depthforge("train", manifest, "--inline", "--out", url).out
    value = yaml.safe_load(manifest.read_text())
    value["training"]["out"] = url
    manifest.write_text(yaml.safe_dump(value))
    made = depthforge("synthesize", manifest, "--inline", "--out", f"{bucket}/corpus")
    assert made.code == 0, made.err
    assert "made 8 frames in 2 shards" in made.out
    refused = depthforge("train", manifest, "--address", "127.0.0.1:1")
    assert refused.code == 3
    assert "a folder that every node reaches" in refused.err
