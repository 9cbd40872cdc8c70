"""InteriorNet trees written by hand from the documented layout: a tilted plane and a sphere, exact values."""

from __future__ import annotations

import math
import shutil
import tarfile
import zipfile
from pathlib import Path

import numpy as np

from depthforge.frame import Finding, Frame
from depthforge.sources.interiornet import InteriorNet, InteriorNetConfig
from tests.sources.tree_files import png, write

EVERYTHING = frozenset({"rgb", "T_world_cam", "semantic", "instance", "normals"})
STEPS_NS = 40_000_000
ROOM, VIEWS = "3FO4KA6US640", "3FO4II2X5NUD_Guest_room"

# The scene in OpenCV camera axes: the plane z = 3 + 0.25 x behind a sphere of radius 0.5 at (0.2, -0.1, 2).
PLANE = np.array([0.25, 0.0, -1.0]) / math.hypot(0.25, 1.0)
CENTRE, RADIUS = np.array([0.2, -0.1, 2.0]), 0.5


def scene() -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return ray length (480, 640) in metres, unit normals (480, 640, 3) towards the camera, and the sphere's mask."""
    v, u = np.mgrid[0:480, 0:640]
    rays = np.stack([(u - 320) / 600, (v - 240) / 600, np.ones_like(u)], axis=-1)
    rays /= np.linalg.norm(rays, axis=-1, keepdims=True)
    plane_m = 3.0 / (rays[..., 2] - 0.25 * rays[..., 0])
    along = rays @ CENTRE
    square = along**2 - CENTRE @ CENTRE + RADIUS**2
    sphere_m = along - np.sqrt(np.maximum(square, 0))
    on_sphere = square > 0
    ray_m = np.where(on_sphere, sphere_m, plane_m)
    normals = np.where(on_sphere[..., None], (rays * ray_m[..., None] - CENTRE) / RADIUS, PLANE)
    return ray_m, normals, on_sphere


RAY_M, NORMALS, ON_SPHERE = scene()
RAY_MM = np.rint(RAY_M * 1000).astype(np.uint16)
RAY_MM[470:, :] = 0


def encode_gl(normals_cv: np.ndarray) -> np.ndarray:
    """OpenCV camera axes -> OpenGL camera axes -> uint16 with n = 2 v / 65535 - 1."""
    return np.rint((normals_cv * [1, -1, -1] + 1) / 2 * 65535).astype(np.uint16)


DEPTH_PNG = png(RAY_MM)
RGB_PNG = png(np.dstack([np.full((480, 640), 10), np.full((480, 640), 20), np.full((480, 640), 30)]).astype(np.uint8))
NYU_PNG = png(np.where(ON_SPHERE, 35, 1).astype(np.uint8))
INSTANCE_PNG = png(np.where(ON_SPHERE, 300, 7).astype(np.uint16))
NORMALS_PNG = png(encode_gl(NORMALS))


def write_images(folder: Path, stem: str, *, colour: str = "cam0") -> None:
    write(folder / f"{colour}/data/{stem}.png", RGB_PNG)
    write(folder / f"depth0/data/{stem}.png", DEPTH_PNG)
    write(folder / f"normal0/data/{stem}.png", NORMALS_PNG)
    write(folder / f"label0/data/{stem}_nyu.png", NYU_PNG)
    write(folder / f"label0/data/{stem}_instance.png", INSTANCE_PNG)
    write(folder / f"label0/data/{stem}_nyu_mask.png", RGB_PNG)


def table(stems: list[str]) -> str:
    return "#timestamp [ns],filename\n" + "".join(f"{stem},{stem}.png\n" for stem in stems)


def ccam(num_frames: int) -> str:
    """Frame i stands at (i, 2, 3), turned by 90 degrees about the world's z."""
    head = "".join(f"#line {i}\n" for i in range(6))
    w = math.sqrt(0.5)
    return head + "".join(f"600 320 240 0 0 0 {w!r} 0 0 {w!r} {i} 2 3 640 480\n" for i in range(num_frames))


def render(num_frames: int) -> str:
    """Frame i stands at (1, i, 1.5) and looks along the world's x, level; lookat and up are points."""
    head = "header one\nheader two\nheader three\n"
    lines = "".join(f"{i} 1 {i} 1.5 3 {i} 1.5 1 {i} 2.5\n" * 2 for i in range(num_frames))
    return head + lines


def write_room(root: Path, *, name: str = ROOM, num_frames: int = 3, trajectories: tuple[int, ...] = (1,)) -> Path:
    """A trajectory scene of HD5 with its ground truth; names are timestamps that do not sort as text."""
    stems = [str(i * STEPS_NS) for i in range(num_frames)]
    for number in trajectories:
        folder = root / f"HD5/{name}/original_{number}_{number}"
        for stem in stems:
            write_images(folder, stem)
        write(folder / "depth0/data.csv", table(stems))
        write(folder / "cam0/data.csv", table(stems))
        truth = root / f"GroundTruth_HD1-HD6/{name}/velocity_angular_{number}_{number}"
        write(truth / "cam0.ccam", ccam(num_frames))
        write(truth / "cam0.timestamp", "timestamp,image_name\n" + "".join(f"{s},{s}.png\n" for s in stems))
    return root / f"HD5/{name}/original_{trajectories[0]}_{trajectories[0]}"


def write_views(root: Path, *, name: str = VIEWS, num_frames: int = 3, inner: str = "") -> Path:
    folder = root / "HD7" / name / inner
    for i in range(num_frames):
        write_images(folder, str(i))
    write(folder / "cam0.render", render(num_frames))
    return folder


def source(root: Path, **fields: object) -> InteriorNet:
    return InteriorNet(InteriorNetConfig(root=root, **fields))


def listed(root: Path, **fields: object) -> tuple[list[str], list[Finding]]:
    findings: list[Finding] = []
    return [ref.key for ref in source(root, **fields).frames(findings.append)], findings


def read_first(root: Path, wanted: frozenset[str] = EVERYTHING, **fields: object) -> Frame:
    reader = source(root, **fields)
    return reader.read(next(iter(reader.frames())), wanted)


def messages(findings: list[Finding]) -> str:
    return "\n".join(f"{f.severity} {f.path}: {f.message}" for f in findings)


def pack(folder: Path, suffix: str, *, inner: str) -> Path:
    """Replace a folder by an archive that holds it below ``inner``."""
    archive = folder.with_name(folder.name + suffix)
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    if suffix == ".zip":
        with zipfile.ZipFile(archive, "w", zipfile.ZIP_DEFLATED) as zipped:
            for i, path in enumerate(files):
                method = zipfile.ZIP_STORED if i % 2 else zipfile.ZIP_DEFLATED
                zipped.write(path, f"{inner}/{path.relative_to(folder)}", method)
    else:
        with tarfile.open(archive, "w") as tar:
            for path in files:
                tar.add(path, f"./{inner}/{path.relative_to(folder)}")
    shutil.rmtree(folder)
    return archive
