"""Tiny BOP and LineMOD trees written by hand: flat plates before a tilted wall, values that can be checked on paper.

The camera has f = 100 px and its axis through (32, 24) of 64x48 pixels. A plate 100 mm wide, 450 mm away, faces it:
its edge is 11.1 px from its middle, so 23 x 23 pixels see it.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np

from tests.sources.tree_files import png, write

WIDTH, HEIGHT = 64, 48
CAM_K = [100.0, 0.0, 32.0, 0.0, 100.0, 24.0, 0.0, 0.0, 1.0]
IDENTITY = [1.0, 0.0, 0.0, 0.0, 1.0, 0.0, 0.0, 0.0, 1.0]
QUARTER_TURN = [0.0, -1.0, 0.0, 1.0, 0.0, 0.0, 0.0, 0.0, 1.0]


def plate_ply(slope: float = 0.0, scale: float = 1.0) -> str:
    """A plate of 100 x 100 units, z = ``slope`` x, as an ASCII PLY file."""
    rise = 50 * slope
    corners = [(-50, -50, -rise), (50, -50, rise), (50, 50, rise), (-50, 50, -rise)]
    vertices = "".join(f"{x * scale} {y * scale} {z * scale}\n" for x, y, z in corners)
    return (
        "ply\nformat ascii 1.0\nelement vertex 4\nproperty float x\nproperty float y\nproperty float z\n"
        f"element face 2\nproperty list uchar int vertex_indices\nend_header\n{vertices}3 0 1 2\n3 0 2 3\n"
    )


PLATE = plate_ply()


def rgb_png() -> bytes:
    return png(np.broadcast_to(np.array([10, 20, 30], np.uint8), (HEIGHT, WIDTH, 3)))


def wall_mm() -> np.ndarray:
    """Depth (H, W) of the wall z = 800 + 0.25 x, millimetres."""
    u = np.arange(WIDTH, dtype=np.float64)[None, :].repeat(HEIGHT, axis=0)
    return 800.0 / (1.0 - 0.25 * (u - 32) / 100)


def plate_mask(shift: int = 0) -> np.ndarray:
    """The silhouette of a plate 450 mm away, moved by ``shift`` columns (4.5 mm each)."""
    u, v = np.meshgrid(np.arange(WIDTH), np.arange(HEIGHT))
    return (np.abs(u - 32 - shift) <= 11) & (np.abs(v - 24) <= 11)


def pose_row(obj_id: int, shift: int = 0, z_mm: float = 450.0, rotation: list[float] = IDENTITY) -> dict[str, Any]:
    return {"cam_R_m2c": rotation, "cam_t_m2c": [4.5 * shift, 0.0, z_mm], "obj_id": obj_id}


def scene_mm() -> np.ndarray:
    """Plate 5, moved right by 8 columns, stands 1 mm before plate 2; both before the wall; row 20 is lost."""
    depth = np.where(plate_mask(8), 449.0, np.where(plate_mask(0), 450.0, wall_mm()))
    depth[20] = 0.0
    return depth


ROWS = [pose_row(2), pose_row(5, shift=8, z_mm=449.0)]
BEHIND = plate_mask(0) & ~plate_mask(8)
INFO = [
    {
        "bbox_obj": [21, 13, 22, 22],
        "bbox_visib": [21, 13, 7, 22],
        "px_count_all": 529,
        "px_count_valid": 506,
        "px_count_visib": 184,
        "visib_fract": 184 / 529,
    },
    {
        "bbox_obj": [29, 13, 22, 22],
        "bbox_visib": [-1, -1, -1, -1],
        "px_count_all": 600,
        "px_count_valid": 506,
        "px_count_visib": 529,
        "visib_fract": 529 / 600,
    },
]


def write_bop_scene(
    root: Path,
    *,
    split: str = "test",
    scene: int = 1,
    images: tuple[int, ...] = (3, 12),
    depth_scale: float = 0.1,
    suffix: str = "",
) -> Path:
    """Write a scene; codes times ``depth_scale`` are millimetres."""
    folder = root / split / f"{scene:06d}"
    codes = np.rint(scene_mm() / depth_scale).astype(np.uint16)
    for image in images:
        write(folder / f"depth{suffix}/{image:06d}.png", png(codes))
        write(folder / f"rgb{suffix}/{image:06d}.png", rgb_png())
        for row, (mask, visible) in enumerate([(plate_mask(0), BEHIND), (plate_mask(8), plate_mask(8))]):
            write(folder / f"mask{suffix}/{image:06d}_{row:06d}.png", png(mask.astype(np.uint8) * 255))
            write(folder / f"mask_visib{suffix}/{image:06d}_{row:06d}.png", png(visible.astype(np.uint8) * 255))
    camera = {"cam_K": CAM_K, "depth_scale": depth_scale, "cam_R_w2c": QUARTER_TURN, "cam_t_w2c": [1000, 2000, 3000]}
    write_json(folder / f"scene_camera{suffix}.json", dict.fromkeys(images, camera))
    write_json(folder / f"scene_gt{suffix}.json", dict.fromkeys(images, ROWS))
    write_json(folder / f"scene_gt_info{suffix}.json", dict.fromkeys(images, INFO))
    return folder


def write_json(path: Path, entries: Any) -> None:
    keyed = {str(key): value for key, value in entries.items()} if isinstance(entries, dict) else entries
    write(path, json.dumps(keyed))


def edit_json(path: Path, image: int, change: dict[str, Any], row: int | None = None) -> None:
    """Change (or, for a value of None, take out) fields of an image's entry, or of one row of it."""
    content = json.loads(path.read_text())
    entry = content[str(image)] if row is None else content[str(image)][row]
    entry.update(change)
    for name in [name for name, value in change.items() if value is None]:
        del entry[name]
    path.write_text(json.dumps(content))


def write_models(root: Path, ids: tuple[int, ...] = (2, 5), *, pattern: str = "obj_{:06d}.ply") -> None:
    for object_id in ids:
        write(root / "models" / pattern.format(object_id), PLATE)


INFO_YML = f"""{{image}}:
  cam_K: {CAM_K}
  depth_scale: 1.0
"""
GT_YML_ROW = """- cam_R_m2c: [1.0, 0.0, 0.0, 0.0, 1.0, 0.0, 0.0, 0.0, 1.0]
  cam_t_m2c: [{x}, 0.0, 450.0]
  obj_bb: [21, 13, 22, 22]
  obj_id: {obj_id}
"""


def write_preprocessed(root: Path, *, object_id: int = 8, images: tuple[int, ...] = (0, 1, 2, 10)) -> Path:
    """Write a folder of Linemod_preprocessed; image 1 is in train.txt, all others in test.txt."""
    folder = root / f"data/{object_id:02d}"
    codes = np.rint(np.where(plate_mask(0), 450.0, wall_mm())).astype(np.uint16)
    mask = plate_mask(0).astype(np.uint8) * 255
    for image in images:
        write(folder / f"depth/{image:04d}.png", png(codes))
        write(folder / f"rgb/{image:04d}.png", rgb_png())
        write(folder / f"mask/{image:04d}.png", png(np.dstack([mask] * 3)))
    others = GT_YML_ROW.format(x=200.0, obj_id=1) if object_id == 2 else ""
    rows = others + GT_YML_ROW.format(x=0.0, obj_id=object_id)
    write(folder / "gt.yml", "".join(f"{image}:\n{rows}" for image in images))
    write(folder / "info.yml", "".join(INFO_YML.format(image=image) for image in images))
    write(folder / "train.txt", "0001")
    write(folder / "test.txt", "\n".join(f"{image:04d}" for image in images if image != 1) + "\n")
    write(root / f"models/obj_{object_id:02d}.ply", PLATE)
    return folder
