"""YCB-Video's conventions on two real Xtion frames: what the poses, units and axes of a BOP data set must mean.

The frames come in the authors' own layout (a .mat file beside each image), not in BOP's. Written as a BOP scene, with
metres as millimetres, they must read back with every object where the depth image shows it.
"""

from __future__ import annotations

import json
from pathlib import Path

import cv2
import numpy as np
import pytest
from scipy.io import loadmat

from depthforge.frame import Frame
from depthforge.geometry import back_project
from depthforge.sources.bop import Bop, BopConfig


@pytest.fixture
def ycbv(shared_data: Path) -> Path:
    folder = shared_data / "real/ycbv_xtion"
    if not folder.exists():
        pytest.skip("no real/ycbv_xtion in the shared data")
    return folder


@pytest.fixture
def frames(ycbv: Path, tmp_path: Path) -> list[Frame]:
    scene = tmp_path / "test/000001"
    for name in ("depth", "rgb", "mask", "mask_visib"):
        (scene / name).mkdir(parents=True)
    cameras, truth = {}, {}
    for image in (1, 2):
        meta = loadmat(ycbv / f"data/{image:06d}-meta.mat")
        label = cv2.imread(str(ycbv / f"data/{image:06d}-label.png"), cv2.IMREAD_UNCHANGED)
        for ours, theirs in (("depth", "depth"), ("rgb", "color")):
            (scene / ours / f"{image:06d}.png").write_bytes((ycbv / f"data/{image:06d}-{theirs}.png").read_bytes())
        # 10000 units a metre are 0.1 mm a unit.
        scale = 1000.0 / float(meta["factor_depth"][0, 0])
        cameras[image] = {"cam_K": meta["intrinsic_matrix"].ravel().tolist(), "depth_scale": scale}
        ids = meta["cls_indexes"].ravel().tolist()
        poses = np.moveaxis(meta["poses"], 2, 0)
        truth[image] = [
            {"obj_id": i, "cam_R_m2c": pose[:, :3].ravel().tolist(), "cam_t_m2c": (pose[:, 3] * 1000).tolist()}
            for i, pose in zip(ids, poses, strict=True)
        ]
        for row, object_id in enumerate(ids):
            for folder in ("mask", "mask_visib"):
                mask = np.where(label == object_id, 255, 0).astype(np.uint8)
                cv2.imwrite(str(scene / folder / f"{image:06d}_{row:06d}.png"), mask)
    (scene / "scene_camera.json").write_text(json.dumps(cameras))
    (scene / "scene_gt.json").write_text(json.dumps(truth))
    source = Bop(BopConfig(root=tmp_path, dataset="ycbv"))
    return [source.read(ref, frozenset(source.labels)).require_sound() for ref in source.frames()]


def test_depth_is_of_a_table_within_reach(frames: list[Frame]) -> None:
    for frame in frames:
        assert frame.camera.size == (480, 640)
        assert frame.camera.fx == pytest.approx(1066.778, abs=1e-3)
        assert 0.3 < np.median(frame.depth_m[frame.valid]) < 1.5
        assert 0.8 < frame.valid.mean() < 0.95


def test_object_points_fall_on_their_object(ycbv: Path, frames: list[Frame]) -> None:
    """The figures are those of the README beside the data: 74 to 99 % on the label, residual 0.8 to 3.8 mm."""
    names = sorted(path.name for path in (ycbv / "models").iterdir())
    for frame in frames:
        points_m = back_project(frame.depth_m, frame.camera).astype(np.float64)
        for row, (object_id, T) in enumerate(
            zip(frame.labels["object_id"].tolist(), frame.labels["object_pose"].astype(np.float64), strict=True)
        ):
            model = np.loadtxt(ycbv / "models" / names[object_id - 1] / "points.xyz")
            placed = model @ T[:3, :3].T + T[:3, 3]
            u = np.rint(placed[:, 0] / placed[:, 2] * frame.camera.fx + frame.camera.cx).astype(int)
            v = np.rint(placed[:, 1] / placed[:, 2] * frame.camera.fy + frame.camera.cy).astype(int)
            seen = frame.labels["semantic"][v, u] == object_id
            assert seen.mean() > 0.7
            np.testing.assert_array_equal(seen, frame.labels["instance"][v, u] == row + 1)
            on_object = points_m[(frame.labels["instance"] == row + 1) & frame.valid]
            # From measurements to the nearest model point: half a spacing of points, and the sensor's noise.
            sample = on_object[:: max(1, len(on_object) // 200)]
            nearest = np.sqrt(((sample[:, None] - placed[None]) ** 2).sum(axis=2)).min(axis=1)
            assert np.median(nearest) < 0.005


def test_counts_and_bits_are_of_the_masks(frames: list[Frame]) -> None:
    for frame in frames:
        bits = frame.labels["object_silhouettes"].astype(np.uint64)
        counts = frame.labels["object_px_count_valid"]
        for row, count in enumerate(counts.tolist()):
            assert count == np.count_nonzero((bits >> np.uint64(row)) & np.uint64(1) & frame.valid)
            assert count > 1000
