"""Real scans and clean sequences, read where they lie; the blocks are what their manifests say under ``source``.

What the data must show is in the README beside it: holes, value ranges, and how well one frame falls onto the next
when it is carried there by the two poses. A wrong unit, axis or direction of the poses costs decimetres there.
"""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from depthforge.frame import Frame
from depthforge.geometry import invert_pose, reproject
from depthforge.manifest import PluginBlock
from depthforge.registry import sources
from depthforge.sources.base import Source
from depthforge.sources.check import check_source

REDKITCHEN_KINECT = {
    "name": "rgbd_folder",
    "root": "real/redkitchen_kinect",
    "dataset": "7scenes",
    "scene": "redkitchen",
    "depth": "frame-{frame}.depth.png",
    "rgb": "frame-{frame}.color.jpg",
    "depth_scale": 1000,
    "invalid": [0, 65535],
    "camera": {"width": 640, "height": 480, "matrix_file": "camera-intrinsics.txt"},
    "pose": {"file": "frame-{frame}.pose.txt"},
}
DESK_F200 = {
    "name": "rgbd_folder",
    "root": "real/desk_f200",
    "dataset": "tsdf-fusion",
    "scene": "desk",
    "depth": "frame-{frame}.depth.png",
    "rgb": "frame-{frame}.color.jpg",
    "depth_scale": 1000,
    "camera": {"width": 640, "height": 480, "matrix_file": "intrinsics.K.txt"},
    "pose": {"file": "frame-{frame}.pose.txt"},
}
LIVINGROOM1 = {
    "name": "rgbd_folder",
    "root": "clean/livingroom1",
    "dataset": "icl-nuim",
    "scene": "livingroom1",
    "depth": "depth/{frame}.png",
    "rgb": "image/{frame}.jpg",
    "depth_scale": 1000,
    "camera": {"width": 640, "height": 480, "fx": 525, "fy": 525, "cx": 319.5, "cy": 239.5},
    "pose": {"file": "trajectory.log", "format": "trajectory_log"},
}
LIVINGROOM1_REDWOOD_KINECT = {**LIVINGROOM1, "root": "clean/livingroom1_redwood_kinect", "rgb": "color/{frame}.jpg"}
SUN_FRAME = {
    "name": "rgbd_folder",
    "root": "clean/livingroom1_redwood_kinect/other_formats",
    "dataset": "sun",
    "depth": "{frame}_depth.png",
    "rgb": "{frame}_color.jpg",
    "exclude": ["TUM_*"],
    "depth_scale": 1000,
    "rotate_right_bits": 3,
    "camera": {"width": 640, "height": 480, "fx": 525, "fy": 525, "cx": 319.5, "cy": 239.5},
}
ICL_SIMKINECT = {
    "name": "rgbd_folder",
    "root": "clean/icl_simkinect",
    "dataset": "icl-nuim",
    "scene": "simkinect",
    "depth": "depth/{frame}.png",
    "depth_scale": 5000,
    "camera": {"width": 640, "height": 480, "fx": 480, "fy": 480, "cx": 319.5, "cy": 239.5},
}
INTERIORNET_DCL = {
    "name": "rgbd_folder",
    "root": "clean/interiornet_dcl",
    "dataset": "interiornet-dcl",
    "depth": "eval_depth/{scene}_{frame}.png",
    "rgb": "eval_depth/rgb_{scene}_{frame}.png",
    "exclude": ["eval_depth/rgb_*"],
    # Every image was divided by its own maximum: 5 m is an invention, of the right order for a room.
    "assume_max_depth_m": 5.0,
    "quantity": "ray_length",
    "camera": {"width": 640, "height": 480, "fx": 600, "fy": 600, "cx": 320, "cy": 240},
}


def make(block: dict[str, Any], data: Path, **fields: Any) -> Source:
    parsed = PluginBlock.parse(sources, {**block, **fields, "root": str(data / block["root"])})
    source: Source = sources.get(parsed.name)(parsed.config)
    return source


def read(source: Source, count: int) -> list[Frame]:
    refs = list(source.frames())[:count]
    return [source.read(ref, frozenset(source.labels)).require_sound() for ref in refs]


def warp_mm(source: Frame, target: Frame) -> float:
    """Return the median |z difference| in mm of ``source`` carried into ``target`` by their poses."""
    assert source.T_world_cam is not None
    assert target.T_world_cam is not None
    T_target_source = invert_pose(target.T_world_cam) @ source.T_world_cam
    depth_m, seen = reproject(source.depth_m, source.valid, source.camera, T_target_source, target.camera)
    both = seen & target.valid
    assert both.mean() > 0.1
    return float(np.median(np.abs(depth_m[both] - target.depth_m[both])) * 1000)


@pytest.mark.parametrize(
    ("block", "num_frames", "holes", "median_m"),
    [
        ({**REDKITCHEN_KINECT, "every": 4}, 100, (0.10, 0.12), (1.2, 2.2)),
        (DESK_F200, 25, (0.62, 0.66), (0.3, 0.6)),
        ({**LIVINGROOM1, "every": 4}, 53, (0.01, 0.03), (1.5, 2.5)),
        (LIVINGROOM1_REDWOOD_KINECT, 5, (0.12, 0.14), (1.5, 2.5)),
        (SUN_FRAME, 1, (0.15, 0.20), (1.5, 4.0)),
        (ICL_SIMKINECT, 10, (0.0, 0.0), (2.0, 4.0)),
        (INTERIORNET_DCL, 6, (0.001, 0.003), (1.0, 4.0)),
    ],
    ids=["redkitchen", "desk", "livingroom1", "redwood_kinect", "sun", "icl", "interiornet_dcl"],
)
def test_frames_holes_and_range(
    shared_data: Path, block: dict[str, Any], num_frames: int, holes: tuple[float, float], median_m: tuple[float, float]
) -> None:
    source = make(block, shared_data)
    report = check_source(source)
    assert report.ok, "\n".join(report.lines())
    # Registration to colour left every fourth row and column of that recording without depth.
    grids = [issue for issue in report.issues if "regular grid" in issue.message]
    assert len(grids) == (block is DESK_F200)
    assert report.issues == grids
    assert report.num_read == num_frames
    assert all(count == num_frames for count in report.labels.values())
    mean_holes = np.mean([1 - frame.valid.mean() for frame in read(source, num_frames)])
    assert holes[0] <= mean_holes <= holes[1]
    assert report.depth_m is not None
    assert median_m[0] <= report.depth_m.median <= median_m[1]


@pytest.mark.parametrize(
    ("block", "most_mm"),
    [(REDKITCHEN_KINECT, 8.0), (DESK_F200, 4.0), (LIVINGROOM1, 2.0), (LIVINGROOM1_REDWOOD_KINECT, 8.0)],
    ids=["redkitchen", "desk", "livingroom1", "redwood_kinect"],
)
def test_poses_carry_a_frame_onto_the_next(shared_data: Path, block: dict[str, Any], most_mm: float) -> None:
    frames = read(make(block, shared_data), 12)
    assert np.median([warp_mm(before, after) for before, after in pairwise(frames)]) < most_mm


@pytest.mark.parametrize(("direction", "axes"), [("world_to_camera", "opencv"), ("camera_to_world", "opengl")])
def test_a_wrong_pose_convention_shows(shared_data: Path, direction: str, axes: str) -> None:
    pose = {**REDKITCHEN_KINECT["pose"], "direction": direction, "axes": axes}
    frames = read(make(REDKITCHEN_KINECT, shared_data, pose=pose, every=5), 8)
    assert np.median([warp_mm(before, after) for before, after in pairwise(frames)]) > 20


def test_first_pose_intrinsics_and_invalid_codes_of_redkitchen(shared_data: Path) -> None:
    source = make(REDKITCHEN_KINECT, shared_data)
    first = read(source, 1)[0]
    assert first.key == "7scenes/redkitchen/000000"
    assert first.T_world_cam is not None
    np.testing.assert_allclose(first.T_world_cam[:3, 3], [-0.34045634, 0.01646982, 0.29656917], atol=1e-8)
    np.testing.assert_allclose(first.T_world_cam[0, :3], [0.90931290, 0.27262229, -0.31422433], atol=1e-8)
    camera = first.camera
    assert (camera.fx, camera.fy, camera.cx, camera.cy) == (585, 585, 320, 240)
    assert max(frame.depth_m.max() for frame in read(source, 40)) < 10


def test_redwood_noise_against_its_clean_frames(shared_data: Path) -> None:
    noisy = read(make(LIVINGROOM1_REDWOOD_KINECT, shared_data), 5)
    clean = read(make(LIVINGROOM1, shared_data), 5)
    differences = [
        n.depth_m[n.valid & c.valid] - c.depth_m[n.valid & c.valid] for n, c in zip(noisy, clean, strict=True)
    ]
    difference_mm = np.concatenate(differences) * 1000
    assert 13 < np.abs(difference_mm).mean() < 16
    assert 6 < np.median(np.abs(difference_mm)) < 8
