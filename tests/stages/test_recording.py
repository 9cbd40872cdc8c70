"""Scans with poses, fused and measured in the same view without a corpus of them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from depthforge.errors import InputError
from depthforge.manifest import PluginBlock
from depthforge.registry import sources, translators
from depthforge.stages.prepare import make_translator
from depthforge.stages.recording import fused_recording, recording_views, scans_of
from depthforge.translators.base import Translator
from tests.sources.fused_trees import block, write_scan
from tests.stages.runs import TINY

SOFT = {"name": "simulation", "min_kept": 0}


def translator(**fields: object) -> Translator:
    return make_translator(PluginBlock.parse(translators, {**SOFT, **fields}))


@pytest.fixture(scope="module")
def scan(tmp_path_factory: pytest.TempPathFactory) -> Path:
    pytest.importorskip("open3d", exc_type=ImportError)
    return write_scan(tmp_path_factory.mktemp("recording"), faults=False)


def test_a_posed_recording_is_fused_and_measured_beside_its_truth(scan: Path, tmp_path: Path) -> None:
    raw = PluginBlock.parse(sources, block(scan)["of"])
    notes: list[str] = []
    source = fused_recording(raw, tmp_path, notes.append)
    assert source is not None
    assert source.name == "fused"
    assert notes[0].startswith("fusing")
    assert list(tmp_path.iterdir()), "the mesh lies where it was to be"


def test_a_block_that_fuses_keeps_its_own_settings_and_its_scans_are_those_that_it_fuses(
    scan: Path, tmp_path: Path
) -> None:
    fused = PluginBlock.parse(sources, block(scan))
    assert scans_of(fused).name == "rgbd_folder"
    assert scans_of(scans_of(fused)).name == "rgbd_folder"
    source = fused_recording(fused, tmp_path)
    assert source is not None
    assert not list(tmp_path.iterdir())
    views = list(recording_views(source, translator(), 4, draws=3))
    assert [view.key[-1] for view in views] == list("0178")
    for view in views:
        assert not view.real.valid[:4, :4].any()
        assert view.T_world_cam is not None
        noisy = view.candidates["noisy"]
        assert noisy.valid.sum() < view.truth.valid.sum()
        probability = view.hole_probability["noisy"]
        assert probability[noisy.valid].mean() < probability[~noisy.valid].mean()
    again = list(recording_views(source, translator(), 4, draws=1))
    assert again[0].hole_probability == {}
    assert np.array_equal(again[0].candidates["noisy"].depth_m, views[0].candidates["noisy"].depth_m)
    other = next(recording_views(source, translator(), 4, seed=1, draws=1))
    assert not np.array_equal(other.candidates["noisy"].depth_m, views[0].candidates["noisy"].depth_m)


def test_scans_without_poses_are_not_fused(scan: Path, tmp_path: Path) -> None:
    fields = {name: value for name, value in block(scan)["of"].items() if name != "pose"}
    assert fused_recording(PluginBlock.parse(sources, fields), tmp_path) is None


def test_several_scenes_are_not_fused_unasked(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="one scene"):
        fused_recording(PluginBlock.parse(sources, TINY["source"]), tmp_path)
