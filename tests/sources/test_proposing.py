"""What is proposed for folders as people have them: read again by the source, it is the truth."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from depthforge.errors import MissingDataError
from depthforge.sources.file_tree import open_tree
from depthforge.sources.proposing import Proposal, propose
from depthforge.sources.proposing.groups import groups_of
from depthforge.sources.proposing.scales import scale_of
from depthforge.sources.proposing.words import roles_of
from depthforge.yaml_files import parse_yaml
from tests.sources.simulator_tree import write_simulator


@pytest.fixture(scope="module")
def simulator(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("simulator") / "every form"
    write_simulator(root)
    return root


def only(simulator: Path, root: Path, *forms: str) -> Path:
    for form in forms:
        for scene in ("kitchen", "office A"):
            target = root / scene / form
            target.parent.mkdir(parents=True, exist_ok=True)
            source = simulator / scene / form
            shutil.copytree(source, target) if source.is_dir() else shutil.copy(source, target)
    return root


def source_of(proposal: Proposal) -> dict[str, Any]:
    block: dict[str, Any] = parse_yaml(proposal.manifest, where="proposed").value["source"]
    return block


@pytest.mark.parametrize(
    ("form", "expected"),
    [
        ("depth", {"depth": "{scene}/depth/{frame}.png", "depth_scale": 1000}),
        ("depth_u32", {"depth": "{scene}/depth_u32/{frame}.npy", "depth_scale": 1000}),
        ("depth_npz", {"depth": "{scene}/depth_npz/{frame}.npz", "depth_scale": 1}),
        ("depth_exr", {"depth": "{scene}/depth_exr/{frame}.exr", "depth_scale": 1}),
        ("depth_ray", {"depth": "{scene}/depth_ray/{frame}.npy", "depth_scale": 1, "quantity": "ray_length"}),
    ],
)
def test_each_form_of_depth_is_told(simulator: Path, tmp_path: Path, form: str, expected: dict[str, Any]) -> None:
    proposal = propose(only(simulator, tmp_path, form, "rgb", "pose", "K.txt"), is_real=False)
    block = source_of(proposal)
    assert proposal.fill_in == ()
    assert {name: block.get(name) for name in ("depth", "depth_scale", "quantity")} == {"quantity": None, **expected}
    assert block["pose"] == {"file": "{scene}/pose/{frame}.txt"}
    assert block["camera"] == {"matrix_file": "{scene}/K.txt"}
    assert block["rgb"] == "{scene}/rgb/{frame}.jpg"


def test_poses_of_another_direction_and_axes_are_told(simulator: Path, tmp_path: Path) -> None:
    root = only(simulator, tmp_path, "depth", "pose", "K.txt")
    for path in root.glob("*/pose/*.txt"):
        np.savetxt(path, np.linalg.inv(np.loadtxt(path) @ np.diag([1, -1, -1, 1])))
    pose = source_of(propose(root, is_real=False))["pose"]
    assert pose == {"file": "{scene}/pose/{frame}.txt", "direction": "world_to_camera", "axes": "opengl"}


def test_what_is_missing_is_named_and_stands_as_no_number(simulator: Path, tmp_path: Path) -> None:
    proposal = propose(only(simulator, tmp_path, "depth", "rgb"), is_real=False)
    (line,) = proposal.fill_in
    assert line.startswith("the intrinsics: source.camera fx, fy, cx, cy, in pixels of 64 x 48")
    assert source_of(proposal)["camera"]["fx"] == "FILL_IN"


def test_a_folder_without_depth_says_what_it_holds(simulator: Path, tmp_path: Path) -> None:
    with pytest.raises(MissingDataError, match="no depth") as caught:
        propose(only(simulator, tmp_path, "rgb", "pose"), is_real=False)
    assert "{scene}/rgb/{frame}.jpg (rgb, 6 files" in str(caught.value.found)
    with pytest.raises(MissingDataError, match="no such folder"):
        propose(tmp_path / "nothing", is_real=False)
    (tmp_path / "empty").mkdir()
    with pytest.raises(MissingDataError, match="an empty folder"):
        propose(tmp_path / "empty", is_real=False)


def test_digits_that_vary_are_the_frame_and_zeros_before_numbers_are_not(tmp_path: Path) -> None:
    for index in (0, 1, 10):
        (tmp_path / f"T_base2ee0{index}.npz").touch()
    for stamp in ("1305031102.160407", "1305031103.194330"):
        (tmp_path / f"{stamp}.png").touch()
    assert [group.template for group in groups_of(open_tree(tmp_path))] == ["T_base2ee0{frame}.npz", "{frame}.png"]


def test_names_say_what_is_in_files() -> None:
    assert roles_of("images_depths") == ["depth", "rgb"]
    assert roles_of("frame-{frame}.pose") == ["pose"]
    assert roles_of("kitchen") == []


def test_codes_and_units_follow_from_the_histogram() -> None:
    plane = np.linspace(800, 2400, 10000).astype(np.uint16).reshape(100, 100)
    plane[:10] = 65535
    scale = scale_of([plane])
    assert (scale.units[0], scale.invalid) == (1000, (65535,))
    metres = np.linspace(0.8, 2.4, 10000, dtype=np.float32).reshape(100, 100)
    metres[:10] = 1e10
    assert scale_of([metres]).invalid == (1e10,)
    assert scale_of([metres[10:]]).units == (1.0,)
