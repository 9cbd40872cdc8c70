"""The sample layout against its own format pages, and there and back through the reader."""

from __future__ import annotations

import xml.etree.ElementTree as ET
from pathlib import Path

import cv2
import numpy as np
import pytest
from scipy.io import loadmat

from depthforge.errors import InputError
from depthforge.frame import Frame
from depthforge.geometry import Float64
from depthforge.registry import layouts
from depthforge.samples.grasp_labels import label_grasps, surface_points
from depthforge.samples.graspnet import GraspNetLayout
from depthforge.scenes.raycast import ellipsoid
from depthforge.scenes.tabletop import object_mesh, object_model
from depthforge.sources.check import check_source
from depthforge.sources.graspnet import GraspNet, GraspNetConfig
from depthforge.sources.graspnet.grasps import grasp_rotations, view_directions

SHRINK = 8
SIZE = {"width": 160, "height": 90}
SEED = 5


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("graspnet")
    assert GraspNetLayout(SHRINK).write(root, num_scenes=2, frames_per_scene=2, seed=SEED) == 8
    return root


@pytest.fixture(scope="module")
def folder(root: Path) -> Path:
    return root / "scenes/scene_0100/kinect"


def source(root: Path, **fields: object) -> GraspNet:
    return GraspNet(GraspNetConfig.model_validate({"root": root, **SIZE, **fields}))


def read(made: GraspNet) -> list[Frame]:
    return [made.read(ref, frozenset(made.labels)).require_sound() for ref in made.frames()]


def test_the_tree_is_graspnets(root: Path, folder: Path) -> None:
    assert sorted(path.name for path in (root / "scenes").iterdir()) == ["scene_0000", "scene_0100"]
    names = {str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file()}
    per_frame = {"rgb": "png", "depth": "png", "label": "png", "rect": "npy", "annotations": "xml", "meta": "mat"}
    assert names == {"camK.npy", "camera_poses.npy", "cam0_wrt_table.npy"} | {
        f"{kind}/{frame:04d}.{suffix}" for kind, suffix in per_frame.items() for frame in range(2)
    }
    ids = [int(line) for line in (folder.parent / "object_id_list.txt").read_text().split()]
    for number in ids:
        assert (root / f"models/{number:03d}/nontextured.ply").is_file()
        with np.load(root / f"grasp_label/{number:03d}_labels.npz") as labels:
            count = len(labels["points"])
            assert labels["offsets"].shape == (count, 300, 12, 4, 3)
            assert labels["scores"].shape == labels["collision"].shape == (count, 300, 12, 4)
            assert labels["collision"].dtype == np.bool_
    with np.load(root / "collision_label/scene_0100/collision_labels.npz") as masks:
        assert masks.files == [f"arr_{k}" for k in range(len(ids))]
    rs_wrt_kn = np.load(folder.parent / "rs_wrt_kn.npy")
    assert rs_wrt_kn.shape == (2, 4, 4)
    kinect, realsense = (np.load(folder.parent / name / "cam0_wrt_table.npy") for name in ("kinect", "realsense"))
    np.testing.assert_allclose(realsense, kinect @ rs_wrt_kn[0], atol=1e-9)


def test_numbers_are_in_the_units_of_the_format_page(folder: Path) -> None:
    depth = cv2.imread(str(folder / "depth/0000.png"), cv2.IMREAD_UNCHANGED)
    assert depth.dtype == np.uint16
    assert 300 < np.median(depth[depth > 0]) < 1000, "millimetres"
    np.testing.assert_allclose(np.load(folder / "camK.npy")[0, 0], 631.55 / SHRINK)
    np.testing.assert_allclose(np.load(folder / "camera_poses.npy")[0], np.eye(4), atol=1e-9)
    T_table_cam = np.load(folder / "cam0_wrt_table.npy") @ np.load(folder / "camera_poses.npy")[1]
    assert 0.15 < T_table_cam[2, 3] < 0.7, "above the table"
    assert T_table_cam[2, 2] < 0, "and looks down at it"
    meta = loadmat(folder / "meta/0001.mat")
    ids = [int(line) for line in (folder.parent / "object_id_list.txt").read_text().split()]
    assert meta["cls_indexes"].ravel().tolist() == [number + 1 for number in ids]
    assert meta["factor_depth"].item() == 1000
    assert meta["poses"].shape == (3, 4, len(ids))
    annotation = ET.parse(folder / "annotations/0001.xml").getroot()
    assert annotation.tag == "scene"
    assert [child.tag for child in annotation[0]] == ["obj_id", "obj_name", "obj_path", "pos_in_world", "ori_in_world"]
    assert [int(element.findtext("obj_id") or "") for element in annotation] == ids
    position = [float(word) for word in (annotation[0].findtext("pos_in_world") or "").split()]
    np.testing.assert_allclose(meta["poses"][:, 3, 0], position, atol=1e-6)
    label = cv2.imread(str(folder / "label/0001.png"), cv2.IMREAD_UNCHANGED)
    assert label.dtype == np.uint8
    assert set(np.unique(label).tolist()) <= {0, *(number + 1 for number in ids)}
    # The origin of the object nearest to the camera is inside it, so its label is seen there.
    near = int(np.argmin(meta["poses"][2, 3]))
    x, y, z = meta["poses"][:, 3, near]
    u, v = (meta["intrinsic_matrix"] @ [x / z, y / z, 1])[:2]
    if 0 <= u < 159 and 0 <= v < 89:
        assert label[round(v), round(u)] == ids[near] + 1


@pytest.mark.parametrize("camera", ["kinect", "realsense"])
def test_there_and_back(root: Path, camera: str) -> None:
    pytest.importorskip("open3d")
    made = source(root, camera=camera)
    raw = read(source(root, camera=camera, depth="raw"))
    for clean, real in zip(read(made), raw, strict=True):
        both = clean.valid & real.valid
        # The sensor was simplified for one size of image, so its noise is large in one of an eighth of it.
        assert np.median(np.abs(clean.depth_m - real.depth_m)[both]) < 0.01
        assert (clean.labels["instance"] == real.labels["instance"]).mean() > 0.98
        assert np.isnan(clean.labels["depth_raw"]).mean() == pytest.approx(1 - real.valid.mean())
        np.testing.assert_array_equal(clean.T_world_cam, real.T_world_cam)
    report = check_source(made)
    assert report.ok, "\n".join(report.lines())
    assert report.issues == []


def test_both_pose_files_say_the_same(root: Path) -> None:
    of_meta, of_xml = (read(source(root, depth="raw", poses=which)) for which in ("meta", "annotations"))
    for first, second in zip(of_meta, of_xml, strict=True):
        np.testing.assert_allclose(first.labels["object_pose"], second.labels["object_pose"], atol=1e-6)
        np.testing.assert_array_equal(first.labels["object_id"], second.labels["object_id"])


def are_inside(points: Float64, number: int) -> np.ndarray:
    """Which points (..., 3) of a model's frame lie within one of its solids, surely."""
    within = np.zeros(points.shape[:-1], bool)
    for solid, _ in object_model(number):
        T = np.linalg.inv(solid.T_world_unit)
        x, y, z = np.moveaxis(points @ T[:3, :3].T + T[:3, 3], -1, 0)
        A, B, C = solid.profile
        within |= (np.abs([x, y, z]).max(axis=0) < 0.98) & (x * x + y * y < 0.98 * (A + B * z + C * z * z))
    return within


def test_carried_grasps_are_of_their_object_and_touch_nothing(root: Path, tmp_path: Path) -> None:
    made = source(root, depth="raw", grasps={"max_friction": 1.0, "max_grasps": 100_000}, prepared=tmp_path)
    made.prepare()
    for frame in read(made):
        grasps = frame.labels["grasps"].astype(np.float64)
        assert len(grasps) > 300
        T_cam_object = dict(zip(frame.labels["object_id"].tolist(), frame.labels["object_pose"], strict=True))
        approach, closing = grasps[:, [4, 7, 10]], grasps[:, [5, 8, 11]]
        tip = grasps[:, 13:16] + grasps[:, 3:4] * approach
        # The middle of a finger of 1 cm is half of that outside of the opening.
        fingers = (
            tip[:, None] + np.array([-1, 1])[:, None] * (grasps[:, 1] / 2 + 0.005)[:, None, None] * closing[:, None]
        )
        assert frame.T_world_cam is not None
        assert (fingers @ frame.T_world_cam[2, :3] + frame.T_world_cam[2, 3] > -0.001).all(), "above the table"
        for number, T in T_cam_object.items():
            assert not are_inside((fingers - T[:3, 3]) @ T[:3, :3], number).any()
        # Between the fingers there is something to hold: somewhere on the line, the object itself.
        share = np.linspace(-1, 1, 41)[:, None]
        line = tip[:, None] + share * (grasps[:, 1] / 2)[:, None, None] * closing[:, None]
        for number, T in T_cam_object.items():
            mine = grasps[:, 16] == number
            held = are_inside((line[mine] - T[:3, 3]) @ T[:3, :3], number).any(axis=1)
            assert held.mean() > 0.9, "but for what is thinner than a step"


def test_rectangles_lie_at_grasps(root: Path) -> None:
    for frame in read(source(root, depth="raw")):
        rectangles = frame.labels["rect_grasps"]
        if not len(rectangles):
            continue
        assert (np.diff(rectangles[:, 5]) <= 1e-6).all(), "best first"
        half_px = np.hypot(rectangles[:, 2] - rectangles[:, 0], rectangles[:, 3] - rectangles[:, 1])
        assert (half_px < 0.051 * frame.camera.fx / 0.2).all()
        assert set(rectangles[:, 6].astype(int)) <= set(frame.labels["object_id"].tolist())


def test_a_ball_is_held_where_its_normals_face_each_other() -> None:
    ball = ellipsoid((0.06, 0.06, 0.06))
    top = np.array([[0.0, 0.0, 0.03]])
    labels = label_grasps(top, np.array([[0.0, 0.0, 1.0]]), [ball])
    R = grasp_rotations(-np.repeat(view_directions(), 12, axis=0), np.tile(np.pi * np.arange(12) / 12, 300))
    R = R.reshape(300, 12, 3, 3)
    # The line of the fingers passes the centre at this distance; there the contacts' angle is its arcsine.
    for depth_index, depth in enumerate((0.01, 0.02, 0.03, 0.04)):
        tip = top[0] + depth * R[..., :, 0]
        along = R[..., :, 1]
        nearest = tip - np.einsum("vai,vai->va", tip, along)[..., None] * along
        sine = np.linalg.norm(nearest, axis=-1) / 0.03
        friction = sine / np.sqrt(np.maximum(1 - sine**2, 1e-12))
        stated = labels.scores[0, ..., depth_index]
        holds = stated > 0
        assert (R[..., 2, 0][holds] < 0).all(), "from above"
        assert ((stated[holds] >= friction[holds] - 1e-4) & (stated[holds] <= friction[holds] + 0.1001)).all()
        # A line through the centre needs none, and a gripper from above is free.
        ideal = (sine < 0.08) & (R[..., 2, 0] < -0.9) & (depth <= 0.03)
        assert holds[ideal].all()
        assert (stated[ideal] == np.float32(0.1)).all()
    assert labels.offsets[0, 0, :, 0, 0] == pytest.approx(np.pi * np.arange(12) / 12)


def test_points_are_on_the_outside() -> None:
    solids = [shape for shape, _ in object_model(18)]
    points, normals = surface_points(object_mesh(18), solids, 40, np.random.default_rng(0))
    assert points.shape == normals.shape == (40, 3)
    np.testing.assert_allclose(np.linalg.norm(normals, axis=1), 1)
    assert are_inside(points - 2e-3 * normals, 18).mean() > 0.9
    assert are_inside(points + 2e-3 * normals, 18).mean() < 0.1, "but for crevices"


def test_the_same_seed_gives_the_same_bytes(tmp_path: Path) -> None:
    for name in ("first", "again"):
        GraspNetLayout(4 * SHRINK).write(tmp_path / name, num_scenes=1, frames_per_scene=1, seed=SEED)

    def files(name: str) -> dict[str, bytes]:
        top = tmp_path / name
        return {str(path.relative_to(top)): path.read_bytes() for path in top.rglob("*") if path.is_file()}

    assert files("first") == files("again")


def test_it_is_found_and_writes_into_an_empty_folder_only(root: Path) -> None:
    assert layouts.get("graspnet") is GraspNetLayout
    with pytest.raises(InputError, match="empty folder"):
        GraspNetLayout().write(root, num_scenes=1, frames_per_scene=1, seed=0)
