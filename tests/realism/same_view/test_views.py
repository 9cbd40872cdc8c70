"""Views of a corpus that holds what a real sensor measured: which frames, and what each of them is."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from depthforge.errors import InputError
from depthforge.manifest import Manifest
from depthforge.realism.same_view.views import same_views
from depthforge.realism.views import real_views
from tests.sources.fused_trees import block, write_scan
from tests.stages.runs import TINY, run


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The fused truth of nine scans; their depth is that of an analytic room, but for a hole at the top left."""
    pytest.importorskip("open3d", exc_type=ImportError)
    root = write_scan(tmp_path_factory.mktemp("views"), faults=False)
    run(
        Manifest.model_validate(
            {
                "name": "views",
                "source": block(root),
                "translator": {"name": "simulation", "min_kept": 0},
                "corpus": {"out": str(root / "corpus")},
            }
        )
    )
    return root / "corpus"


def test_a_view_holds_the_truth_what_was_measured_and_the_simulation(corpus: Path) -> None:
    views = list(same_views(corpus, 100))
    assert [view.key[-1] for view in views] == list("012345678")
    for view in views:
        assert view.scene == "analytic/room"
        assert view.T_world_cam is not None
        assert not view.real.valid[:4, :4].any()
        assert view.real.valid.sum() > view.candidates["noisy"].valid.sum()
        assert view.candidates["clean"] is view.truth
        both = view.real.valid & view.truth.valid
        assert np.median(np.abs(view.real.depth_m - view.truth.depth_m)[both]) < 0.01


def test_some_frames_come_as_pairs_of_neighbours(corpus: Path) -> None:
    numbers = [int(view.key[-1]) for view in same_views(corpus, 4)]
    assert numbers == [0, 1, 7, 8]
    assert [int(view.key[-1]) for view in same_views(corpus, 2)] == [0, 1]


def test_probabilities_are_asked_for_with_the_labels_they_need(corpus: Path) -> None:
    asked = []

    def half(frame: object, camera: object) -> np.ndarray:
        asked.append(sorted(frame.labels))  # type: ignore[attr-defined]
        return np.full(camera.size, 0.5, np.float32)  # type: ignore[attr-defined]

    view = next(same_views(corpus, 2, half, ("normals", "no such label")))
    assert asked == [["K", "T_world_cam", "depth_raw", "normals"]]
    assert view.hole_probability["noisy"].max() == 0.5


def test_real_views_are_what_was_measured(corpus: Path) -> None:
    views = list(real_views(corpus, 3))
    assert len(views) == 3
    for view, pair in zip(views, (list(same_views(corpus, 9))[at] for at in (0, 4, 8)), strict=True):
        assert np.array_equal(view.valid, pair.real.valid)
        assert view.clean is None


def test_a_corpus_without_real_measurements_is_refused(tmp_path: Path) -> None:
    run(Manifest.model_validate({**TINY, "corpus": {"out": str(tmp_path / "made")}}))
    with pytest.raises(InputError, match="depth_raw"):
        same_views(tmp_path / "made", 2)
    assert len(list(real_views(tmp_path / "made", 2))) == 2
