"""The real side of a comparison: posed scans become a corpus of truth and measurement, once."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import yaml

from depthforge.corpus.reader import CorpusReader
from depthforge.stages.real_side import real_corpus
from depthforge.tasks.enhancement import Enhancement
from depthforge.tasks.reading import Frames
from tests.sources.fused_trees import block, seen, write_scan


@pytest.fixture(scope="module")
def manifest(tmp_path_factory: pytest.TempPathFactory) -> Path:
    pytest.importorskip("open3d", exc_type=ImportError)
    root = write_scan(tmp_path_factory.mktemp("scans"), num_frames=6, faults=False)
    fields = {
        "name": "room",
        "source": block(root),
        "translator": "simulation",
        "corpus": {"out": str(root / "unused")},
    }
    path = root / "room.yaml"
    path.write_text(yaml.safe_dump(fields))
    return path


def test_scans_are_fused_and_paired_with_what_was_measured(manifest: Path, tmp_path: Path) -> None:
    notes: list[str] = []
    corpus = real_corpus(manifest, tmp_path, notes.append)
    assert corpus == tmp_path / "real"
    assert any("converting 6 frames" in note for note in notes)
    view = Frames(corpus, Enhancement(), "depth_raw")[2]
    measured = np.rint(seen(2).depth_m * 1000) / 1000
    both = (view.valid & view.truth_valid)[0].numpy()
    np.testing.assert_allclose(view.depth_m[0].numpy()[both], measured[both], atol=1e-4)
    assert not view.valid[0, :4, :4].any(), "the hole of the scan"
    assert float((view.truth_m - view.depth_m)[0][both].abs().median()) < 0.01
    again: list[str] = []
    assert real_corpus(manifest, tmp_path, again.append) == corpus
    assert again == []


def test_a_corpus_is_taken_as_it_is(manifest: Path, tmp_path: Path) -> None:
    corpus = real_corpus(manifest, tmp_path)
    assert real_corpus(corpus, tmp_path / "elsewhere") == corpus
    assert not (tmp_path / "elsewhere").exists()
    assert len(CorpusReader(corpus)) == 6
