"""A GraspNet tree written by hand from its format pages: two boxes on a table under a camera that looks straight down.

The table is z = 0. The camera of image 0 is 0.5 m above its origin, image axes along the table's x and -y; image 1 is
0.1 m further along its own x. Object 5 is a cube of 0.1 m under the first camera, object 41 a flat box of
0.04 x 0.08 x 0.02 m at (0.12, 0.06), turned by 90 degrees about the table's z.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
from scipy.io import savemat

from depthforge.frame import Finding, Frame
from depthforge.geometry import Float64
from depthforge.meshes import encode_ply, tessellate
from depthforge.scenes.raycast import box
from depthforge.sources.graspnet import GraspNet, GraspNetConfig
from tests.sources.tree_files import png, write

WIDTH, HEIGHT = 48, 36
K = np.array([[60.0, 0, 23.5], [0, 60.0, 17.5], [0, 0, 1]])
SIZE = {"width": WIDTH, "height": HEIGHT}
OBJECT_IDS = (5, 41)
SIZES_M = {5: (0.1, 0.1, 0.1), 41: (0.04, 0.08, 0.02)}
T_TABLE_CAM0 = np.array([[1.0, 0, 0, 0], [0, -1, 0, 0], [0, 0, -1, 0.5], [0, 0, 0, 1]])
T_CAM0_CAM1 = np.array([[1.0, 0, 0, 0.1], [0, 1, 0, 0], [0, 0, 1, 0], [0, 0, 0, 1]])
TURNED = np.array([[0.0, -1, 0], [1, 0, 0], [0, 0, 1]])
PER_POINT = (300, 12, 4)


def T_table_object() -> dict[int, Float64]:
    first, second = np.eye(4), np.eye(4)
    first[:3, 3] = 0, 0, 0.05
    second[:3, :3], second[:3, 3] = TURNED, (0.12, 0.06, 0.01)
    return {5: first, 41: second}


def T_cam_object(frame: int) -> Float64:
    """Poses (2, 4, 4) in an image; inverses by ``np.linalg``, not by the code under test."""
    T_table_cam = T_TABLE_CAM0 @ (T_CAM0_CAM1 if frame else np.eye(4))
    return np.linalg.inv(T_table_cam) @ np.array([T_table_object()[k] for k in OBJECT_IDS])


def save(path: Path, array: np.ndarray) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    np.save(path, array)


def raw_depth(frame: int) -> np.ndarray:
    """Millimetres: 500 of the table, 400 of the cube's top, nothing in the first column."""
    depth = np.full((HEIGHT, WIDTH), 500, np.uint16)
    left = 16 - 15 * frame
    depth[10:26, max(left, 0) : left + 16] = 400
    depth[:, 0] = 0
    return depth


def write_frame(folder: Path, frame: int, *, meta: bool = True, annotations: bool = True) -> None:
    colour = np.zeros((HEIGHT, WIDTH, 3), np.uint8)
    colour[..., 0] = 200
    label = np.zeros((HEIGHT, WIDTH), np.uint8)
    label[12:20, 20:28] = 5 + 1
    label[3:6, 30:33] = 41 + 1
    name = f"{frame:04d}"
    write(folder / "rgb" / f"{name}.png", png(colour))
    write(folder / "depth" / f"{name}.png", png(raw_depth(frame)))
    write(folder / "label" / f"{name}.png", png(label))
    save(folder / "rect" / f"{name}.npy", np.array([[20.0, 15.0, 26.0, 15.0, 4.0, 0.9, 5.0]]))
    poses = T_cam_object(frame)
    if meta:
        (folder / "meta").mkdir(exist_ok=True)
        values = {
            "cls_indexes": np.array([[number + 1] for number in OBJECT_IDS]),
            "poses": np.stack([pose[:3] for pose in poses], axis=2).astype(np.float32),
            "intrinsic_matrix": K + np.diag([1.0, 1.0, 0.0]),
            "factor_depth": np.array([[1000.0]]),
        }
        savemat(folder / "meta" / f"{name}.mat", values)
    if annotations:
        write(folder / "annotations" / f"{name}.xml", annotation(poses).encode())


# Straight down, the camera turns the table's frame by 180 degrees about x: w x y z = 0 1 0 0. The second object is
# turned by 90 degrees about z before that: (0 1 0 0) * (c 0 0 c) = (0 c -c 0), c = cos 45.
QUATERNIONS = ("0 1 0 0", "0 0.70710678 -0.70710678 0")


def annotation(poses: Float64) -> str:
    objects = ""
    for number, pose, quaternion in zip(OBJECT_IDS, poses, QUATERNIONS, strict=True):
        x, y, z = pose[:3, 3]
        objects += (
            f"  <obj>\n    <obj_id>{number}</obj_id>\n    <obj_name>{number:03d}.ply</obj_name>\n"
            f"    <obj_path>models/{number:03d}/nontextured.ply</obj_path>\n"
            f"    <pos_in_world>{x:.4f} {y:.4f} {z:.4f}</pos_in_world>\n"
            f"    <ori_in_world>{quaternion}</ori_in_world>\n  </obj>\n"
        )
    return f"<scene>\n{objects}</scene>\n"


def write_scene(root: Path, number: int = 0, *, camera: str = "realsense", num_frames: int = 2) -> Path:
    """Write a scene and return its camera's folder; its meta files hold another K than its camK.npy."""
    folder = root / f"scenes/scene_{number:04d}" / camera
    for frame in range(num_frames):
        write_frame(folder, frame)
    save(folder / "camK.npy", K)
    save(folder / "cam0_wrt_table.npy", T_TABLE_CAM0)
    save(folder / "camera_poses.npy", np.stack([np.eye(4), T_CAM0_CAM1][:num_frames]))
    write(folder.parent / "object_id_list.txt", b"5\n41\n")
    return folder


def write_models(root: Path, units_per_metre: float = 1.0) -> None:
    for number, size in SIZES_M.items():
        scaled = tuple(length * units_per_metre for length in size)
        write(root / f"models/{number:03d}/nontextured.ply", encode_ply(tessellate(box(scaled), 8)))


def labels_of(points: list[tuple[float, float, float]]) -> dict[str, np.ndarray]:
    """Raw grasp labels of an object without one usable grasp; in-plane angles and depths as GraspNet has them."""
    count = len(points)
    offsets = np.zeros((count, *PER_POINT, 3), np.float32)
    offsets[..., 0] = (np.pi * np.arange(12) / 12)[:, None]
    offsets[..., 1] = 0.01, 0.02, 0.03, 0.04
    return {
        "points": np.array(points, np.float32).reshape(-1, 3),
        "offsets": offsets,
        "collision": np.zeros((count, *PER_POINT), np.bool_),
        "scores": np.full((count, *PER_POINT), -1, np.float32),
    }


def set_grasp(labels: dict[str, np.ndarray], at: tuple[int, int, int, int], friction: float, width: float) -> None:
    labels["scores"][at] = friction
    labels["offsets"][(*at, 2)] = width


def write_labels(root: Path, number: int, labels: dict[str, np.ndarray]) -> Path:
    path = root / f"grasp_label/{number:03d}_labels.npz"
    path.parent.mkdir(exist_ok=True)
    np.savez_compressed(path, **labels)
    return path


def write_collisions(root: Path, masks: list[np.ndarray], scene: int = 0) -> Path:
    path = root / f"collision_label/scene_{scene:04d}/collision_labels.npz"
    path.parent.mkdir(parents=True, exist_ok=True)
    np.savez_compressed(path, **{f"arr_{k}": mask for k, mask in enumerate(masks)})
    return path


def write_grasps(root: Path) -> None:
    """Three usable grasps: two of object 5 (friction 0.2, 0.1), one of object 41 (0.4), and five that are not.

    Of the others of object 5 one needs friction 0.5, one collides with the object, one in the scene and one has
    friction 0; of object 41 one collides in the scene where object 5 has its best.
    """
    first = labels_of([(0.05, 0.0, 0.0), (0.0, 0.05, 0.01)])
    set_grasp(first, (0, 10, 3, 1), 0.2, 0.06)
    set_grasp(first, (1, 299, 11, 3), 0.1, 0.08)
    set_grasp(first, (0, 20, 0, 0), 0.5, 0.05)
    set_grasp(first, (0, 30, 0, 0), 0.1, 0.05)
    first["collision"][0, 30, 0, 0] = True
    set_grasp(first, (1, 40, 0, 0), 0.1, 0.05)
    set_grasp(first, (1, 50, 0, 0), 0.0, 0.05)
    second = labels_of([(0.0, 0.0, 0.01)])
    set_grasp(second, (0, 150, 6, 2), 0.4, 0.03)
    set_grasp(second, (0, 160, 0, 0), 0.1, 0.03)
    write_labels(root, 5, first)
    write_labels(root, 41, second)
    masks = [np.zeros((2, *PER_POINT), np.bool_), np.zeros((1, *PER_POINT), np.bool_)]
    masks[0][1, 40, 0, 0] = True
    masks[1][0, 160, 0, 0] = True
    write_collisions(root, masks)


def source(root: Path, **fields: object) -> GraspNet:
    return GraspNet(GraspNetConfig.model_validate({"root": root, **SIZE, **fields}))


def listed(root: Path, **fields: object) -> tuple[list[str], list[Finding]]:
    findings: list[Finding] = []
    return [ref.key for ref in source(root, **fields).frames(findings.append)], findings


def read(root: Path, frame: int = 0, **fields: object) -> Frame:
    reader = source(root, **fields)
    return reader.read(list(reader.frames())[frame], frozenset(reader.labels)).require_sound()


def messages(findings: list[Finding]) -> str:
    return "\n".join(f"{f.severity} {f.path}: {f.message}" for f in findings)
