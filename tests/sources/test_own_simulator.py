"""What one simulator writes in every form that people use, described in a manifest, against the truth that it knows."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from depthforge.frame import Frame
from depthforge.manifest import PluginBlock
from depthforge.registry import sources
from depthforge.sources.rgbd_folder import RgbdFolder
from tests.sources.simulator_tree import FOCAL_PX, FRAMES, HEIGHT, SCENES, WIDTH, Rendered, write_simulator

CAMERA = {"width": WIDTH, "height": HEIGHT, "fx": FOCAL_PX, "fy": FOCAL_PX, "cx": 31.5, "cy": 23.5}
Truth = dict[tuple[str, int], Rendered]


@pytest.fixture(scope="module")
def simulator(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Truth]:
    root = tmp_path_factory.mktemp("simulator")
    return root, write_simulator(root)


def frames(root: Path, fields: dict[str, Any]) -> dict[tuple[str, int], Frame]:
    base = {"depth": "{scene}/depth/{frame}.png", "depth_scale": 1000, "camera": CAMERA}
    block = PluginBlock.parse(sources, {"name": "rgbd_folder", "root": str(root), **base, **fields})
    source = RgbdFolder(block.config)
    found = {}
    for ref in source.frames():
        frame = source.read(ref, frozenset(source.labels)).require_sound()
        for name, value in frame.labels.items():
            source.labels[name].require_fits(value, HEIGHT, WIDTH, where=name)
        found[ref.key.split("/")[1], int(ref.key.split("/")[2])] = frame
    assert found.keys() == {(scene, index) for scene in SCENES for index in range(FRAMES)}
    return found


@pytest.mark.parametrize(
    ("fields", "tolerance_m"),
    [
        ({"depth": "{scene}/depth/{frame}.png"}, 0.0005001),
        ({"depth": "{scene}/depth_u32/{frame}.npy"}, 0.0005001),
        ({"depth": "{scene}/depth_npy/{frame}.npy", "depth_scale": 1}, 0),
        ({"depth": "{scene}/depth_npy3/{frame}.npy", "depth_scale": 1}, 0),
        ({"depth": "{scene}/depth_tif/{frame}.tiff", "depth_scale": 1}, 0),
        ({"depth": "{scene}/depth_npz/{frame}.npz", "depth_scale": 1, "key": "depth"}, 0),
        ({"depth": "{scene}/depth_pfm/{frame}.pfm", "depth_scale": 1}, 0),
        ({"depth": "{scene}/depth_exr/{frame}.exr", "depth_scale": 1}, 0),
        ({"depth": "{scene}/depth_f16/{frame}.npy", "depth_scale": 1}, 0.002),
        ({"depth": "{scene}/depth_ray/{frame}.npy", "depth_scale": 1, "quantity": "ray_length"}, 1e-6),
    ],
)
def test_depth_of_every_form_is_the_truth(
    simulator: tuple[Path, Truth], fields: dict[str, Any], tolerance_m: float
) -> None:
    root, truth = simulator
    for at, frame in frames(root, fields).items():
        assert frame.valid.all()
        np.testing.assert_allclose(frame.depth_m, truth[at].z, atol=tolerance_m, rtol=0)


def ranks(rgb: np.ndarray) -> np.ndarray:
    return rgb.astype(np.int64) @ (1, 256, 65536)


def test_ids_of_every_form_are_the_truth(simulator: tuple[Path, Truth]) -> None:
    root, truth = simulator
    colours = {(k * 37 % 255, k * 91 % 255, k * 53 % 255): k for k in range(1, 13)}
    table = {f"{r},{g},{b}": number for (r, g, b), number in colours.items()}
    forms: list[dict[str, Any]] = [
        {"instance": "{scene}/inst/{frame}.png"},
        {"instance": "{scene}/inst_npy/{frame}.npy"},
        {"instance": {"file": "{scene}/inst_rgb/{frame}.png", "colours": table}},
    ]
    for form in forms:
        for at, frame in frames(root, form).items():
            np.testing.assert_array_equal(frame.labels["instance"], truth[at].ids.astype(np.uint16), strict=True)
    numbers = {"file": "{scene}/inst_rgb/{frame}.png", "encoding": "RGB", "dtype": "uint32"}
    for at, frame in frames(root, {"instance": numbers}).items():
        np.testing.assert_array_equal(frame.labels["instance"], ranks(truth[at].rgb).astype(np.uint32), strict=True)


def test_ids_made_from_colours_are_numbered_over_the_scene(simulator: tuple[Path, Truth]) -> None:
    root, truth = simulator
    made = frames(root, {"instance": {"file": "{scene}/inst_rgb/{frame}.png", "colours": "made"}})
    for scene in SCENES:
        colours = np.unique(np.concatenate([ranks(truth[scene, index].rgb).ravel() for index in range(FRAMES)]))
        for index in range(FRAMES):
            expected = np.searchsorted(colours, ranks(truth[scene, index].rgb)) + 1
            np.testing.assert_array_equal(made[scene, index].labels["instance"], expected)


@pytest.mark.parametrize(
    "pose",
    [
        {"file": "{scene}/pose/{frame}.txt"},
        {"file": "{scene}/pose_json/{frame}.json", "key": "T_world_cam"},
        {"file": "{scene}/groundtruth.txt", "format": "tum", "stamp_scale": 0.1},
        {"file": "{scene}/groundtruth.txt", "format": "tum", "match": "line"},
        {"file": "{scene}/transforms.json", "format": "transforms_json"},
    ],
)
def test_poses_of_every_form_are_the_truth(simulator: tuple[Path, Truth], pose: dict[str, Any]) -> None:
    root, truth = simulator
    for at, frame in frames(root, {"pose": pose}).items():
        assert frame.T_world_cam is not None
        np.testing.assert_allclose(frame.T_world_cam, truth[at].pose, atol=1e-12)


@pytest.mark.parametrize(
    "camera",
    [
        {"matrix_file": "{scene}/K.txt", "width": WIDTH, "height": HEIGHT},
        {"matrix_file": "{scene}/K4.txt"},
        {"matrix_file": "{scene}/transforms.json", "format": "transforms_json"},
        {"matrix_file": "{scene}/transforms.json"},
    ],
)
def test_intrinsics_of_every_form_are_the_truth(simulator: tuple[Path, Truth], camera: dict[str, Any]) -> None:
    root, _ = simulator
    for frame in frames(root, {"camera": camera, "rgb": "{scene}/rgb/{frame}.*"}).values():
        found = frame.camera
        assert (found.fx, found.fy, found.cx, found.cy, found.width, found.height) == (60, 60, 31.5, 23.5, 64, 48)
        assert frame.rgb is not None


def test_a_list_that_times_frames_otherwise_is_an_error(simulator: tuple[Path, Truth]) -> None:
    root, _ = simulator
    late = {"file": "{scene}/groundtruth.txt", "format": "tum", "stamp_scale": 0.1, "tolerance_s": 0.02}
    with pytest.raises(Exception, match="no frame has a pose in the list") as raised:
        frames(
            root, {"depth": "{scene}/depth/000{frame}.png", "pose": {**late, "stamp_scale": 1e9}, "ranges": [[1, 9]]}
        )
    assert "stamp_scale" in str(raised.value)
    with pytest.raises(Exception, match="not a list of poses"):
        frames(root, {"pose": {"file": "{scene}/K.txt", "format": "tum"}})
    with pytest.raises(Exception, match="not a trajectory log"):
        frames(root, {"pose": {"file": "{scene}/groundtruth.txt", "format": "trajectory_log"}})
