"""What a task reads of a corpus, and what it is told when the corpus lacks it."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import torch

from depthforge.corpus.reader import CorpusReader
from depthforge.errors import InputError
from depthforge.tasks.base import View
from depthforge.tasks.enhancement import Enhancement
from depthforge.tasks.labelled_sources import SOURCES_WITH, sources_with
from depthforge.tasks.normals import Normals
from depthforge.tasks.reading import Frames
from tests.tasks.corpora import make_corpus


class Grasping(Enhancement):
    """Needs a label that rooms do not have."""

    name = "grasping of a test"
    required = frozenset({"rect_grasps"})


def test_views_hold_what_the_corpus_holds(synthetic: Path, real: Path) -> None:
    reader = CorpusReader(synthetic)
    frames = Frames(synthetic, Enhancement(), "depth_noisy")
    assert frames.keys == sorted(reader.keys.to_pylist())
    for view in (frames[0], frames[-1]):
        stored = reader.read(view.key)
        torch.testing.assert_close(view.depth_m[0], torch.from_numpy(stored.noisy_depth_m))
        assert torch.equal(view.valid[0], torch.from_numpy(stored.noisy_valid))
        torch.testing.assert_close(view.truth_m[0], torch.from_numpy(stored.clean_depth_m))
        assert float(view.K[0, 0]) == 90
    clean = Frames(synthetic, Enhancement(), "depth_clean")[0]
    assert torch.equal(clean.depth_m, clean.truth_m)
    scan = Frames(real, Enhancement(), "depth_raw")[0]
    raw = torch.from_numpy(CorpusReader(real).read(scan.key).labels["depth_raw"])
    assert torch.equal(scan.valid[0], torch.isfinite(raw))
    assert float(scan.depth_m[~scan.valid].abs().sum()) == 0
    torch.testing.assert_close(scan.depth_m[scan.valid], raw[torch.isfinite(raw)])


def test_parts_follow_the_order_of_keys(real: Path) -> None:
    task = Enhancement()
    whole = Frames(real, task, "depth_raw")
    first, second = (Frames(real, task, "depth_raw", part=part) for part in ((0, 0.5), (0.5, 1)))
    assert first.keys + second.keys == whole.keys
    assert Frames(real, task, "depth_raw", every=3).keys == whole.keys[::3]


def test_a_window_moves_the_principal_point_and_cuts_images_alone(synthetic: Path) -> None:
    view = Frames(synthetic, Normals(), "depth_noisy")[0]
    window = view.window(8, 20, 32, 40)
    assert window.size == (32, 40)
    assert torch.equal(window.depth_m, view.depth_m[:, 8:40, 20:60])
    assert torch.equal(window.labels["normals"], view.labels["normals"][:, 8:40, 20:60])
    assert (float(window.K[0, 2]), float(window.K[1, 2])) == (float(view.K[0, 2]) - 20, float(view.K[1, 2]) - 8)
    rows = View(**{**_fields(view), "labels": {"rows": torch.ones(3, 4)}, "images": frozenset()})
    assert rows.window(0, 0, 16, 16).labels["rows"].shape == (3, 4)


def _fields(view: View) -> dict[str, object]:
    return {name: getattr(view, name) for name in View.__slots__}


def test_a_missing_label_is_told_with_the_sources_that_have_it(synthetic: Path) -> None:
    with pytest.raises(InputError, match="lacks what the task") as raised:
        Frames(synthetic, Grasping(), "depth_noisy")
    assert "rect_grasps comes from the sources graspnet" in str(raised.value)


def test_a_corpus_without_truth_beside_scans_is_no_test(synthetic: Path) -> None:
    with pytest.raises(InputError, match="no truth beside what a real sensor measured") as raised:
        Frames(synthetic, Enhancement(), "depth_raw")
    assert "fused" in str(raised.value)


def test_too_few_frames_and_too_small_ones_are_told(synthetic: Path) -> None:
    with pytest.raises(InputError, match="too few frames"):
        Frames(synthetic, Enhancement(), "depth_noisy", part=(0, 0.1))
    with pytest.raises(InputError, match="smaller than the crops") as raised:
        Frames(synthetic, Enhancement(), "depth_noisy").require_larger_than(128)
    assert "crop_px: 72" in str(raised.value)


def test_normals_are_read_where_they_are_and_not_missed_where_not(synthetic: Path, tmp_path: Path) -> None:
    assert "normals" in Frames(synthetic, Normals(), "depth_noisy")[0].labels
    bare = make_corpus(tmp_path / "bare", labels={"normals": "off"})
    assert "normals" not in Frames(bare, Normals(), "depth_noisy")[0].labels


def test_the_table_of_labels_is_that_of_the_page(repository: Path) -> None:
    page = (repository / "docs" / "datasets.md").read_text()
    head = re.search(r"^\| label \| (`blenderproc`.*) \| resized \|$", page, flags=re.MULTILINE)
    assert head is not None
    names = re.findall(r"`(\w+)`", head[1])
    for label, told in SOURCES_WITH.items():
        row = re.search(rf"^\| `{label}` \|(.*)\|[^|]*\|$", page[head.end() :], flags=re.MULTILINE)
        assert row is not None, label
        cells = [cell.strip() for cell in row[1].split("|")]
        assert told == tuple(name for name, cell in zip(names, cells, strict=True) if cell), label
    assert sources_with("label_of_a_plug_in") == ()
