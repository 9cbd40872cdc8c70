"""What is proposed for a described folder: which colour, unit, intrinsics and poses, and what is left to a person."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import scipy.io

from depthforge.errors import MissingDataError
from depthforge.registry import sources
from depthforge.sources.check import check_source
from depthforge.sources.proposing import Proposal, propose
from depthforge.sources.rgbd_config import RgbdFolderConfig
from depthforge.yaml_files import FILL_IN, parse_yaml
from tests.sources.simulator_tree import FOCAL_PX, FRAMES, HEIGHT, WIDTH, pose, quaternion, render

K = np.array([[FOCAL_PX, 0, (WIDTH - 1) / 2], [0, FOCAL_PX, (HEIGHT - 1) / 2], [0, 0, 1]])


def block_of(proposal: Proposal) -> dict[str, Any]:
    block: dict[str, Any] = parse_yaml(proposal.manifest, where="proposed").value["source"]
    return block


def write(path: Path, image: np.ndarray) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    assert cv2.imwrite(str(path), image)


def write_depth(root: Path, per_metre: float = 1000, name: str = "depth/{:04d}.png", step: int = 1) -> None:
    for index in range(FRAMES):
        write(root / name.format(index), np.round(render("kitchen", step * index).z * per_metre).astype(np.uint16))


def test_colour_is_that_of_the_same_scene(tmp_path: Path) -> None:
    for scene, number in (("Bedroom", 6), ("Bedroom", 8), ("Hall", 16)):
        made = render(scene, 0)
        write(tmp_path / f"eval_depth/{scene}_{number}.png", np.round(made.z * 1000).astype(np.uint16))
        write(tmp_path / f"eval_depth/rgb_{scene}_{number}.png", made.rgb)
    block = block_of(propose(tmp_path, is_real=False))
    assert (block["depth"], block["rgb"]) == ("eval_depth/{scene}_{frame}.png", "eval_depth/rgb_{scene}_{frame}.png")
    assert block["exclude"] == ["eval_depth/rgb_*_*.png"]


def test_colour_of_mixed_formats_is_a_list_and_what_lacks_it_is_counted(tmp_path: Path) -> None:
    write_depth(tmp_path)
    for index, suffix in ((0, "jpg"), (1, "png")):
        write(tmp_path / f"rgb/{index:04d}.{suffix}", render("kitchen", index).rgb)
    for index in (0, 1):
        write(tmp_path / f"rgb small/{index:04d}.png", render("kitchen", index).rgb[::2, ::2])
    proposal = propose(tmp_path, is_real=False)
    assert block_of(proposal)["rgb"] == ["rgb/{frame}.jpg", "rgb/{frame}.png"]
    assert "rgb: 1 of 3 frames of depth have none" in proposal.evidence


def test_what_lies_with_other_depth_is_not_taken(tmp_path: Path) -> None:
    write_depth(tmp_path, name="arm/depth/{:04d}.png")
    write(tmp_path / "table/depth.png", np.full((HEIGHT, WIDTH), 900, np.uint16))
    write(tmp_path / "table/mask.png", np.full((HEIGHT, WIDTH), 255, np.uint8))
    np.savetxt(tmp_path / "table/K.txt", K)
    proposal = propose(tmp_path, is_real=False)
    assert "mask" not in block_of(proposal)
    assert block_of(proposal)["depth"] == "arm/depth/{frame}.png"
    assert block_of(proposal)["camera"]["fx"] == FILL_IN


def test_intrinsics_of_some_scenes_only_are_none(tmp_path: Path) -> None:
    for scene in ("arm", "hand"):
        write_depth(tmp_path / scene)
    np.savetxt(tmp_path / "hand/K.txt", K)
    proposal = propose(tmp_path, is_real=False)
    assert block_of(proposal)["camera"]["fx"] == FILL_IN
    np.savetxt(tmp_path / "arm/K.txt", K)
    assert block_of(propose(tmp_path, is_real=False))["camera"] == {"matrix_file": "{scene}/K.txt"}


def test_a_unit_and_intrinsics_that_a_file_states_are_taken(tmp_path: Path) -> None:
    write_depth(tmp_path, per_metre=10000, name="{:06d}_d.png")
    for index in range(FRAMES):
        meta = {"intrinsic_matrix": K, "factor_depth": 10000}
        scipy.io.savemat(tmp_path / f"{index:06d}_meta.mat", meta)
    proposal = propose(tmp_path, is_real=True)
    block = block_of(proposal)
    assert (block["depth_scale"], block["camera"]["fx"], proposal.fill_in) == (10000, FOCAL_PX, ())
    for path in tmp_path.glob("*.mat"):
        path.unlink()
    (tmp_path / "camera.json").write_text(json.dumps({"camera": {"fx": 60, "fy": 60, "cx": 31.5, "cy": 23.5}}))
    (tmp_path / "info.yaml").write_text("depth_scale: 0.0001\n")
    block = block_of(propose(tmp_path, is_real=True))
    assert (block["depth_scale"], block["camera"]["fx"]) == (10000, 60.0)


def test_several_plausible_units_are_named_beside_each_other(tmp_path: Path) -> None:
    write_depth(tmp_path, per_metre=5000)
    proposal = propose(tmp_path, is_real=False)
    assert block_of(proposal)["depth_scale"] == 5000
    (line,) = (line for line in proposal.unknown if line.startswith("the unit of depth"))
    assert "5000 a metre gives 4.7" in line
    assert "1000 (23.6 m)" in line
    assert f"# Not known: {line}" in proposal.manifest


@pytest.mark.parametrize(
    ("name", "per_metre", "camera"),
    [("{:06d}-depth.png", 10000, FILL_IN), ("frame-{:06d}.depth.png", 1000, FILL_IN)],
)
def test_a_known_data_set_is_told_by_its_names(tmp_path: Path, name: str, per_metre: float, camera: object) -> None:
    write_depth(tmp_path, per_metre=per_metre, name=name)
    proposal = propose(tmp_path, is_real=False)
    assert block_of(proposal)["depth_scale"] == per_metre
    assert not any(line.startswith("the unit") for line in proposal.unknown)
    assert block_of(proposal)["camera"]["fx"] == camera


def test_published_intrinsics_are_those_of_the_published_size(tmp_path: Path) -> None:
    plane = np.tile(np.linspace(20, 200, 640), (480, 1)).astype(np.uint8)
    for number in (6, 16):
        write(tmp_path / f"depth/3FO4IDEI1LAV_Dining_room_{number}.png", plane)
    proposal = propose(tmp_path, is_real=False)
    camera = block_of(proposal)["camera"]
    assert (camera["fx"], camera["cx"], len(proposal.fill_in)) == (600, 320, 1)
    assert "assume_max_depth_m" in proposal.fill_in[0]


def stamped(path: Path, first: int, poses: list[np.ndarray]) -> None:
    rows = [[first + index, *T[:3, 3], *quaternion(T[:3, :3])] for index, T in enumerate(poses)]
    path.write_text("\n".join(" ".join(map(str, row)) for row in rows))


def test_without_intrinsics_poses_are_those_that_frames_have(tmp_path: Path) -> None:
    write_depth(tmp_path)
    stamped(tmp_path / "a_trajectory.txt", 500, [pose(9 * index) for index in range(40)])
    stamped(tmp_path / "trajectory.txt", 0, [pose(index) for index in range(FRAMES)])
    block = block_of(propose(tmp_path, is_real=False))
    assert block["pose"] == {"file": "trajectory.txt", "format": "tum"}


def test_poses_that_nothing_tells_apart_are_to_be_chosen(tmp_path: Path) -> None:
    write_depth(tmp_path)
    stamped(tmp_path / "trajectory_a.txt", 0, [pose(3 * index) for index in range(FRAMES)])
    stamped(tmp_path / "trajectory_b.txt", 0, [pose(index) for index in range(FRAMES)])
    proposal = propose(tmp_path, is_real=False)
    assert block_of(proposal)["pose"] == FILL_IN
    (line,) = (line for line in proposal.fill_in if line.startswith("which poses"))
    assert "trajectory_a.txt" in line
    assert "trajectory_b.txt" in line
    for name in ("trajectory_a.txt", "trajectory_b.txt"):
        stamped(tmp_path / name, 0, [pose(index) for index in range(FRAMES)])
    assert block_of(propose(tmp_path, is_real=False))["pose"]["file"] == "trajectory_a.txt"


@pytest.mark.parametrize("axes", ["opencv", "opengl"])
def test_unit_and_direction_that_are_both_wrong_are_found_together(tmp_path: Path, axes: str) -> None:
    write_depth(tmp_path, per_metre=256, step=4)
    np.savetxt(tmp_path / "K.txt", K)
    (tmp_path / "pose").mkdir()
    flip = np.diag([1.0, -1, -1, 1]) if axes == "opengl" else np.eye(4)
    for index in range(FRAMES):
        np.savetxt(tmp_path / f"pose/{index:04d}.txt", np.linalg.inv(pose(4 * index) @ flip))
    proposal = propose(tmp_path, is_real=False)
    block = block_of(proposal)
    expected = {"file": "pose/{frame}.txt", "direction": "world_to_camera"} | (
        {} if axes == "opencv" else {"axes": axes}
    )
    assert (block["depth_scale"], block["pose"]) == (256, expected)
    assert not any(line.startswith("the unit") for line in proposal.unknown)


def test_a_still_camera_does_not_tell_the_unit(tmp_path: Path) -> None:
    write_depth(tmp_path, step=0)
    np.savetxt(tmp_path / "K.txt", K)
    stamped(tmp_path / "poses.txt", 0, [pose(0)] * FRAMES)
    unknown = " ".join(propose(tmp_path, is_real=False).unknown)
    assert "the unit of depth" in unknown
    assert "hardly moves" in unknown


def test_a_damaged_file_does_not_speak_for_the_others(tmp_path: Path) -> None:
    write_depth(tmp_path)
    (tmp_path / "depth/0001.png").write_bytes(b"")
    assert block_of(propose(tmp_path, is_real=False))["depth"] == "depth/{frame}.png"


@pytest.mark.parametrize("frames", [4, 20])
def test_images_in_one_array_are_named_as_that(tmp_path: Path, frames: int) -> None:
    np.savez(tmp_path / "all.npz", depth=np.ones((frames, HEIGHT, WIDTH), np.float32))
    with pytest.raises(MissingDataError) as caught:
        propose(tmp_path, is_real=False)
    assert f"many images in one array (the only one: {frames} x 48 x 64" in str(caught.value.found)
    assert "a file for each frame is read" in str(caught.value.found)


def test_scenes_at_two_levels_are_all_found(tmp_path: Path) -> None:
    for scene in ("a/one", "a/two", "b/three"):
        write_depth(tmp_path / scene)
        np.savetxt(tmp_path / scene / "K.txt", K)
    block = block_of(propose(tmp_path, is_real=False))
    assert block["depth"] == "{scene}/{sequence}/depth/{frame}.png"
    assert block["camera"] == {"matrix_file": "{scene}/{sequence}/K.txt"}


def colmap(root: Path) -> None:
    write_depth(root, step=3)
    (root / "sparse/0").mkdir(parents=True)
    (root / "sparse/0/cameras.txt").write_text(f"1 PINHOLE {WIDTH} {HEIGHT} 60 60 32 24\n")
    lines = []
    for index in range(FRAMES):
        write(root / f"images/{index:04d}.png", render("kitchen", 3 * index).rgb)
        T = np.linalg.inv(pose(3 * index))
        x, y, z, w = quaternion(T[:3, :3])
        lines.append(f"{index + 1} {w} {x} {y} {z} {T[0, 3]} {T[1, 3]} {T[2, 3]} 1 {index:04d}.png\n\n")
    (root / "sparse/0/images.txt").write_text("".join(lines))


def euroc(root: Path) -> None:
    start, step = 1403636579763555584, 50_000_000
    rows = ["#timestamp, p_x, p_y, p_z, q_w, q_x, q_y, q_z"]
    for index in range(FRAMES):
        stamp = start + step * index
        made = render("kitchen", 3 * index)
        write(root / f"mav0/depth0/data/{stamp}.png", np.round(made.z * 1000).astype(np.uint16))
        write(root / f"mav0/cam0/data/{stamp}.png", made.rgb)
        x, y, z, w = quaternion(made.pose[:3, :3])
        rows.append(",".join(map(str, [stamp + 1000, *made.pose[:3, 3], w, x, y, z])))
    (root / "mav0/state_groundtruth_estimate0").mkdir()
    (root / "mav0/state_groundtruth_estimate0/data.csv").write_text("\n".join(rows))
    (root / "mav0/cam0/sensor.yaml").write_text(
        "resolution: [64, 48]\ncamera_model: pinhole\nintrinsics: [60, 60, 31.5, 23.5]\n"
    )


@pytest.mark.parametrize(
    ("make", "form", "file"),
    [(colmap, "colmap", "sparse/0/images.txt"), (euroc, "euroc", "{scene}/state_groundtruth_estimate0/data.csv")],
)
def test_layouts_of_reconstruction_are_proposed_and_checked(
    tmp_path: Path, make: Callable[[Path], None], form: str, file: str
) -> None:
    make(tmp_path)
    block = block_of(propose(tmp_path, is_real=False))
    assert block["pose"] == {"file": file, "format": form}
    name = block.pop("name")
    report = check_source(sources.get(name)(RgbdFolderConfig.model_validate(block)))
    assert (report.ok, report.labels["rgb"], report.labels["T_world_cam"]) == (True, FRAMES, FRAMES)
    assert report.pose_error is not None
    assert report.pose_error < 0.01
