"""Pairs for training: fused where there are poses, guessed where there are none or where they do not fuse."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from depthforge.labels.catalogue import DEPTH_RAW
from depthforge.manifest import PluginBlock
from depthforge.progress import Silent
from depthforge.registry import sources
from depthforge.stages import pairing
from depthforge.stages.pairing import FUSED, GUESSED, pairs_of
from depthforge.stages.recording import fused_recording
from tests.sources.fused_trees import block, write_scan


class Heard(Silent):
    """Keeps what was warned of."""

    def __init__(self) -> None:
        self.warnings: list[str] = []

    def warn(self, line: str) -> None:
        self.warnings.append(line)


@pytest.fixture(scope="module")
def scan(tmp_path_factory: pytest.TempPathFactory) -> Path:
    pytest.importorskip("open3d", exc_type=ImportError)
    return write_scan(tmp_path_factory.mktemp("recording"), faults=False)


def parsed(fields: dict[str, Any]) -> PluginBlock:
    return PluginBlock.parse(sources, fields)


def test_posed_scans_are_paired_with_their_fused_truth(scan: Path, tmp_path: Path) -> None:
    recording = pairs_of(parsed(block(scan)), tmp_path, Heard())
    assert recording.truth == FUSED
    frame = recording.read(recording.refs[0], frozenset())
    scan_m = np.nan_to_num(frame.labels[DEPTH_RAW.name].astype(np.float32)).reshape(frame.depth_m.shape)
    both = frame.valid & (scan_m > 0)
    assert both.mean() > 0.5
    assert 0 < np.median(np.abs(scan_m - frame.depth_m)[both]) < 0.02


def test_scans_without_poses_are_paired_with_their_clean_guess(scan: Path, tmp_path: Path) -> None:
    fields = {name: value for name, value in block(scan)["of"].items() if name != "pose"}
    heard = Heard()
    recording = pairs_of(parsed(fields), tmp_path, heard)
    assert recording.truth == GUESSED
    assert heard.warnings == []
    frame = recording.read(recording.refs[0], frozenset())
    assert frame.valid.all()
    assert (frame.labels[DEPTH_RAW.name] == 0).any()


def test_poses_that_do_not_fuse_are_said_and_done_without(scan: Path, tmp_path: Path) -> None:
    fields = {**block(scan), "max_residual_m": 1e-6, "prepared": str(tmp_path / "strict")}
    heard = Heard()
    recording = pairs_of(parsed(fields), tmp_path, heard)
    assert recording.truth == GUESSED
    assert len(heard.warnings) == 1
    assert "poses" in heard.warnings[0]
    assert "mm" in heard.warnings[0]
    assert "clean guess" in heard.warnings[0]


def test_two_recordings_of_one_description_have_each_its_own_mesh(
    scan: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The folder is no part of a source's identity, and meshes go by identity."""
    kept_in: list[Path] = []

    def watched(block: PluginBlock, folder: Path, note: Any) -> Any:
        kept_in.append(folder)
        return fused_recording(block, folder, note)

    monkeypatch.setattr(pairing, "fused_recording", watched)
    shutil.copytree(scan / "room", tmp_path / "another" / "room")
    posed = block(scan)["of"]
    for root in (scan, tmp_path / "another", scan):
        pairs_of(parsed({**posed, "root": str(root)}), tmp_path / "fused", Heard())
    assert kept_in[0] == kept_in[2] != kept_in[1]
    assert all(folder.parent == tmp_path / "fused" and any(folder.iterdir()) for folder in kept_in)
