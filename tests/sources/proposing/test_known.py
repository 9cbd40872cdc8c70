"""Which layout is told where a root is a level above or below what its source wants."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from depthforge.registry import layouts
from depthforge.samples.base import Layout
from depthforge.sources.check import check_source
from depthforge.sources.kitti import Kitti, KittiConfig
from depthforge.sources.proposing import propose
from depthforge.yaml_files import parse_yaml


@pytest.fixture(scope="module")
def kitti(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("sample") / "kitti"
    writer: Layout = layouts.get("kitti")()
    writer.write(root, num_scenes=1, frames_per_scene=2, seed=0)
    return root


@pytest.mark.parametrize(
    ("below", "root", "options"),
    [
        ("object/training", "object/training", {}),
        ("odometry/sequences", "odometry", {"camera": 0}),
        ("odometry/sequences/00", "odometry", {"include": ["sequence-00"], "camera": 0}),
    ],
)
def test_kitti_is_told_by_its_parts(kitti: Path, below: str, root: str, options: dict[str, object]) -> None:
    block = parse_yaml(propose(kitti / below, is_real=True).manifest, where="proposed").value["source"]
    assert block == {"name": "kitti", "root": str(kitti / root), **options}
    source = Kitti(KittiConfig(**{name: value for name, value in block.items() if name != "name"}))
    assert check_source(source).ok


def test_kitti_objects_need_no_folder_of_their_split(kitti: Path, tmp_path: Path) -> None:
    shutil.copytree(kitti / "object/training", tmp_path / "above/my kitti")
    plain = Kitti(KittiConfig(root=kitti / "object"))
    moved = Kitti(KittiConfig(root=tmp_path / "above/my kitti"))
    assert [ref.key for ref in moved.frames()] == [ref.key for ref in plain.frames()]
    block = parse_yaml(propose(tmp_path / "above", is_real=True).manifest, where="proposed").value["source"]
    assert block == {"name": "kitti", "root": str(tmp_path / "above/my kitti")}


def test_the_testing_split_pointed_at_is_read_as_that(kitti: Path, tmp_path: Path) -> None:
    shutil.copytree(kitti / "object/training", tmp_path / "testing")
    refs = list(Kitti(KittiConfig(root=tmp_path / "testing")).frames())
    assert {ref.scene for ref in refs} == {"kitti/object-testing"}
