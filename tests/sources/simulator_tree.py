"""One simulator's output in the forms that people write: a box room with spheres, 64x48, and each frame's truth."""

from __future__ import annotations

import json
from pathlib import Path
from typing import NamedTuple

import cv2
import numpy as np
import OpenEXR

WIDTH, HEIGHT, FOCAL_PX = 64, 48, 60.0
SCENES = ("kitchen", "office A")
FRAMES = 3


class Rendered(NamedTuple):
    """Planar z and ray length (H, W) float32 metres, ids (H, W) int32, colour (H, W, 3), and T_world_cam."""

    z: np.ndarray
    ray: np.ndarray
    ids: np.ndarray
    rgb: np.ndarray
    pose: np.ndarray


def pose(index: int) -> np.ndarray:
    angle = 0.1 * index
    matrix = np.eye(4)
    matrix[:3, :3] = [[np.cos(angle), 0, np.sin(angle)], [0, 1, 0], [-np.sin(angle), 0, np.cos(angle)]]
    matrix[:3, 3] = [0.1 * index, 0, -1]
    return matrix


def render(scene: str, index: int) -> Rendered:
    T = pose(index)
    u, v = np.meshgrid(np.arange(WIDTH), np.arange(HEIGHT))
    rays = np.stack([(u - (WIDTH - 1) / 2) / FOCAL_PX, (v - (HEIGHT - 1) / 2) / FOCAL_PX, np.ones(u.shape)], -1)
    ways, eye = rays @ T[:3, :3].T, T[:3, 3]
    z, ids = np.full((HEIGHT, WIDTH), np.inf), np.zeros((HEIGHT, WIDTH), np.int32)
    number = 0
    for axis, walls in enumerate(((-3.0, 3.0), (-1.2, 1.4), (-3.0, 4.0))):
        for wall in walls:
            number += 1
            with np.errstate(divide="ignore", invalid="ignore"):
                far = (wall - eye[axis]) / ways[..., axis]
            nearer = (far > 1e-6) & (far < z)
            z[nearer], ids[nearer] = far[nearer], number
    random = np.random.default_rng(len(scene))
    for _ in range(6):
        centre, radius = random.uniform([-1.5, -0.5, 1], [1.5, 1, 3]), random.uniform(0.15, 0.4)
        number += 1
        a, b = (ways**2).sum(-1), ways @ (eye - centre)
        inside = b**2 - a * (((eye - centre) ** 2).sum() - radius**2)
        near = np.where(inside > 0, (-b - np.sqrt(np.maximum(inside, 0))) / a, np.inf)
        nearer = (near > 1e-6) & (near < z)
        z[nearer], ids[nearer] = near[nearer], number
    rgb = np.stack([(ids * 37) % 255, (ids * 91) % 255, (ids * 53) % 255], -1).astype(np.uint8)
    ray = z * np.linalg.norm(rays, axis=-1)
    return Rendered(z.astype(np.float32), ray.astype(np.float32), ids, rgb, T)


def quaternion(R: np.ndarray) -> list[float]:
    w = np.sqrt(max(0.0, 1 + np.trace(R))) / 2
    return [(R[2, 1] - R[1, 2]) / (4 * w), (R[0, 2] - R[2, 0]) / (4 * w), (R[1, 0] - R[0, 1]) / (4 * w), w]


def write_simulator(root: Path) -> dict[tuple[str, int], Rendered]:
    """Write the output of both scenes in every form below ``root``; return the truth by scene and frame."""
    truth = {}
    for scene in SCENES:
        folder = root / scene
        lines, frames = ["# timestamp tx ty tz qx qy qz qw"], []
        for index in range(FRAMES):
            made = truth[scene, index] = render(scene, index)
            _write_frame(folder, f"{index:04d}", made)
            stamp = [index * 0.1, *made.pose[:3, 3], *quaternion(made.pose[:3, :3])]
            lines.append(" ".join(map(str, stamp)))
            frames.append(
                {
                    "file_path": f"rgb/{index:04d}.jpg",
                    "depth_file_path": f"depth/{index:04d}.png",
                    "transform_matrix": made.pose.tolist(),
                }
            )
        (folder / "groundtruth.txt").write_text("\n".join(lines))
        cx, cy = (WIDTH - 1) / 2, (HEIGHT - 1) / 2
        whole = {"fl_x": FOCAL_PX, "fl_y": FOCAL_PX, "cx": cx, "cy": cy, "w": WIDTH, "h": HEIGHT, "frames": frames}
        (folder / "transforms.json").write_text(json.dumps(whole))
        K = np.eye(4)
        K[:2, :3] = [[FOCAL_PX, 0, cx], [0, FOCAL_PX, cy]]
        np.savetxt(folder / "K.txt", K[:3, :3])
        np.savetxt(folder / "K4.txt", K)
    return truth


def _write_frame(folder: Path, name: str, made: Rendered) -> None:
    mm = np.round(made.z * 1000)
    images = {
        "depth/{}.png": mm.astype(np.uint16),
        "depth_tif/{}.tiff": made.z,
        "depth_pfm/{}.pfm": made.z,
        "rgb/{}.jpg": made.rgb[..., ::-1],
        "inst/{}.png": made.ids.astype(np.uint16),
        "inst_rgb/{}.png": made.rgb[..., ::-1],
    }
    arrays = {
        "depth_npy/{}.npy": made.z,
        "depth_ray/{}.npy": made.ray,
        "depth_f16/{}.npy": made.z.astype(np.float16),
        "depth_npy3/{}.npy": made.z[..., None],
        "depth_u32/{}.npy": mm.astype(np.uint32),
        "inst_npy/{}.npy": made.ids,
    }
    for form in (*images, *arrays, "depth_npz/", "depth_exr/", "pose/", "pose_json/"):
        (folder / form.partition("/")[0]).mkdir(parents=True, exist_ok=True)
    for form, image in images.items():
        cv2.imwrite(str(folder / form.format(name)), image)
    for form, array in arrays.items():
        np.save(folder / form.format(name), array)
    np.savez_compressed(folder / f"depth_npz/{name}.npz", depth=made.z)
    head = {"compression": OpenEXR.ZIP_COMPRESSION, "type": OpenEXR.scanlineimage}
    OpenEXR.File(head, {"Y": made.z}).write(str(folder / f"depth_exr/{name}.exr"))
    np.savetxt(folder / f"pose/{name}.txt", made.pose)
    (folder / f"pose_json/{name}.json").write_text(json.dumps({"T_world_cam": made.pose.tolist()}))
