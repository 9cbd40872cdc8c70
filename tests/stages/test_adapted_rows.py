"""Rows of a table that are brought to the real frames without their labels: made, told, or refused early."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from depthforge.errors import InputError
from depthforge.frame import Frame, FrameRef
from depthforge.labels.catalogue import DEPTH_RAW
from depthforge.labels.spec import LabelSpec
from depthforge.registry import sources
from depthforge.stages.task_table import make_table
from depthforge.tasks.table_manifest import TableManifest
from tests.tasks.tables import Tables, corpus_of


@sources.register("scanned_tables")
class ScannedTables(Tables):
    """Tables whose depth, 4 mm too far, is also what a sensor measured."""

    @property
    def labels(self) -> Mapping[str, LabelSpec]:
        return {**super().labels, DEPTH_RAW.name: DEPTH_RAW}

    def read(self, ref: FrameRef, wanted: frozenset[str]) -> Frame:
        frame = super().read(ref, wanted - {DEPTH_RAW.name})
        raw_m = np.where(frame.valid, frame.depth_m + np.float32(0.004), np.float32(np.nan))
        return replace(frame, labels={**frame.labels, DEPTH_RAW.name: raw_m})


@pytest.fixture(scope="module")
def sides(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("adapted")
    corpus_of(root / "noisy", num_scenes=2, frames_per_scene=2)
    corpus_of(root / "real", "scanned_tables", num_scenes=2, frames_per_scene=2, first_scene=9)
    return root


def table_of(sides: Path, out: Path, task: str = "pose", **fields: Any) -> TableManifest:
    row = {"corpus": str(sides / "noisy")}
    block = {"name": task, "setting": "small", "steps": 2, "batch_size": 2, "width": 4}
    return TableManifest.model_validate(
        {
            "name": "tiny",
            "task": {**block, "objects": [0, 3], "side_px": 32} if task == "pose" else block,
            "real": {"corpus": str(sides / "real")},
            "rows": [
                {"name": "plain", **row},
                {"name": "dann", "adaptation": "dann", **row},
                {"name": "uan", "adaptation": {"method": "uan", "hidden": 8}, **row},
            ],
            "out": str(out),
            **fields,
        }
    )


def test_adapted_rows_stand_beside_plain_ones_and_the_published(sides: Path, tmp_path: Path) -> None:
    notes: list[str] = []
    table = make_table(table_of(sides, tmp_path / "out"), note=notes.append)
    assert list(table.rows) == ["plain", "dann", "uan"]
    assert all(np.isfinite(figures["error_deg"].value) for figures in table.rows.values())
    assert table.trained_on["dann"].endswith("brought to the real frames by dann, without their labels")
    page = (tmp_path / "out" / "table.md").read_text()
    assert "UAN + DCL" in page
    again: list[str] = []
    make_table(table_of(sides, tmp_path / "out"), note=again.append)
    assert not [line for line in again if "step" in line]


def test_a_task_without_one_feature_an_example_is_refused_before_anything_is_trained(
    sides: Path, tmp_path: Path
) -> None:
    manifest = table_of(sides, tmp_path / "out", task="grasping")
    with pytest.raises(InputError, match="task grasping cannot be brought to another sensor by dann"):
        make_table(manifest, only=("dann",))
    assert not (tmp_path / "out" / "networks").exists()


def test_a_dense_task_is_brought_by_cycada(sides: Path, tmp_path: Path) -> None:
    row = {"name": "cycada", "corpus": str(sides / "noisy"), "adaptation": {"method": "cycada", "width": 4}}
    manifest = table_of(sides, tmp_path / "out", task="grasping", rows=[row])
    table = make_table(manifest)
    assert np.isfinite(table.rows["cycada"]["success_top3_iou50"].value)
    assert "CyCADA + DCL" in (tmp_path / "out" / "table.md").read_text()
