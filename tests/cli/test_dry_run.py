"""A dry run of a source that must make something first: it says so, makes nothing, and plans as far as it can."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.cli.conftest import Outcome
from tests.sources import fused_trees
from tests.sources.graspnet_trees import SIZE, write_grasps, write_scene

pytest.importorskip("open3d", exc_type=ImportError)

Call = Callable[..., Outcome]


def manifest_of(folder: Path, source: dict[str, Any]) -> Path:
    path = folder / "m.yaml"
    corpus = {"out": str(folder / "corpus"), "shard_frames": 2}
    value = {"name": "dry", "source": source, "translator": "identity", "corpus": corpus}
    path.write_text(yaml.safe_dump(value))
    return path


def files_in(folder: Path) -> list[Path]:
    return sorted(folder.rglob("*"))


@pytest.mark.parametrize("resize", [{}, {"resize": {"width": 32, "height": 24}}])
def test_of_scans_that_are_not_fused(depthforge: Call, tmp_path: Path, resize: dict[str, Any]) -> None:
    root = fused_trees.write_scan(tmp_path, num_frames=5)
    manifest = manifest_of(tmp_path, fused_trees.block(root, **resize))
    before = files_in(tmp_path)
    done = depthforge("synthesize", manifest, "--dry-run")
    assert done.code == 0
    first = f"  first    fuse 5 frames of 1 scene, kept in {root / 'prepared'}; which may leave out frames\n"
    assert first in done.out
    for line in ("frames   at most 5 (5 train), ", "shards   at most 3 of up to 2", "time     unknown before that"):
        assert line in done.out, line
    plan = json.loads(depthforge("convert", manifest, "--dry-run", "--json").out)
    assert plan["to_prepare"] == f"fuse 5 frames of 1 scene, kept in {root / 'prepared'}"
    assert (plan["frames_are_at_most"], plan["fingerprint"], plan["seconds"]) == (True, None, None)
    assert files_in(tmp_path) == before


def test_of_scans_that_are_fused(depthforge: Call, tmp_path: Path) -> None:
    root = fused_trees.write_scan(tmp_path, num_frames=5)
    fused_trees.make(root).prepare()
    manifest = manifest_of(tmp_path, fused_trees.block(root))
    before = files_in(tmp_path)
    plan = json.loads(depthforge("synthesize", manifest, "--dry-run", "--json").out)
    assert (plan["to_prepare"], plan["frames_are_at_most"], plan["frames"]) == (None, False, 4)
    assert "frames   4 (4 train), " in depthforge("convert", manifest, "--dry-run").out
    assert files_in(tmp_path) == before
    made = json.loads(depthforge("convert", manifest, "--inline", "--json").out)
    assert (made["num_frames"], made["fingerprint"]) == (4, plan["fingerprint"])


def test_of_grasps_that_are_not_compacted(depthforge: Call, tmp_path: Path) -> None:
    write_scene(tmp_path)
    write_grasps(tmp_path)
    source = {"name": "graspnet", "root": str(tmp_path), "depth": "raw", "grasps": {}}
    manifest = manifest_of(tmp_path, {**source, "prepared": str(tmp_path / "prepared"), **SIZE})
    before = files_in(tmp_path)
    done = depthforge("convert", manifest, "--dry-run")
    assert done.code == 0
    assert f"compact the grasps (objects: 2, scenes: 1), kept in {tmp_path / 'prepared'}; which leaves" in done.out
    assert "frames   2 (2 train), " in done.out
    plan = json.loads(depthforge("convert", manifest, "--dry-run", "--json").out)
    assert files_in(tmp_path) == before
    made = json.loads(depthforge("convert", manifest, "--inline", "--json").out)
    assert (plan["frames"], plan["fingerprint"]) == (2, made["fingerprint"])
    assert made["num_frames"] == 2
    assert json.loads(depthforge("convert", manifest, "--dry-run", "--json").out)["to_prepare"] is None


def test_of_grasps_whose_raw_labels_are_missing(depthforge: Call, tmp_path: Path) -> None:
    write_scene(tmp_path)
    source = {"name": "graspnet", "root": str(tmp_path), "depth": "raw", "grasps": {}}
    manifest = manifest_of(tmp_path, {**source, "prepared": str(tmp_path / "prepared"), **SIZE})
    done = depthforge("convert", manifest, "--dry-run")
    assert done.code == 3
    assert "grasp_label.zip" in done.err
