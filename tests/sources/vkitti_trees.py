"""Virtual KITTI trees of both versions written by hand from the documented layouts."""

from __future__ import annotations

import math
import struct
import zlib
from pathlib import Path

import cv2
import numpy as np

from depthforge.frame import Finding, Frame
from depthforge.sources.base import ImageSize
from depthforge.sources.vkitti import Vkitti, VkittiConfig
from tests.sources.tree_files import png, write

W, H = 46, 15
SIZE = ImageSize(width=W, height=H)
# Centimetres: the road 6 m away, a car at 7.25 m, the sky.
DEPTH = np.full((H, W), 1234, np.uint16)
DEPTH[:3] = 65535
DEPTH[5, 7] = 725
DEPTH[5, 8] = 65534
RGB_IMAGE = np.dstack([np.full((H, W), 200), np.full((H, W), 100), np.full((H, W), 50)]).astype(np.uint8)
CLASS_COLOURS = {
    "Terrain": (210, 0, 200), "Sky": (90, 200, 255), "Tree": (0, 199, 0), "Vegetation": (90, 240, 0),
    "Building": (140, 140, 140), "Road": (100, 60, 100), "GuardRail": (250, 100, 255), "TrafficSign": (255, 255, 0),
    "TrafficLight": (200, 200, 0), "Pole": (255, 130, 0), "Misc": (80, 80, 80), "Truck": (160, 60, 60),
    "Car": (255, 127, 80), "Van": (0, 139, 139),
}  # fmt: skip
SCENEGT = "Category(:id) r g b\nTerrain 210 0 200\nSky 90 200 255\nCar:12 10 20 30\nVan:0 30 20 10\n"
EXTRINSICS_V1 = "frame r1,1 r1,2 r1,3 t1 r2,1 r2,2 r2,3 t2 r3,1 r3,2 r3,3 t3 0 0.1 0.2 1\n"
MOT_HEADER = (
    "frame tid label truncated occluded alpha l t r b w3d h3d l3d x3d y3d z3d ry rx rz truncr occupr orig_label "
    "moving model color\n"
)
MOT_ROW = "0 12 DontCare 0 0 -1.5 3 4 20 11 1.6 1.5 4.0 2.0 1.7 10.0 0.0 0.0 0.0 0.0 1.0 Van True Fiat White\n"
EVERYTHING = frozenset(Vkitti(VkittiConfig(root=Path())).labels)


def indexed_png(indices: np.ndarray, bits: int = 8) -> bytes:
    """A palette PNG from the format's own specification, nothing borrowed from the reader."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    height, width = indices.shape
    per_byte = 8 // bits
    padded = np.zeros((height, -(-width // per_byte) * per_byte), np.uint8)
    padded[:, :width] = indices
    packed = np.zeros((height, padded.shape[1] // per_byte), np.uint8)
    for k in range(per_byte):
        packed |= padded[:, k::per_byte] << (8 - bits * (k + 1))
    rows = b"".join(b"\x00" + row.tobytes() for row in packed)
    palette = bytes((37 * k + 11) % 256 for k in range(3 << bits))
    header = struct.pack(">IIBBBBB", width, height, bits, 3, 0, 0, 0)
    body = chunk(b"IHDR", header) + chunk(b"PLTE", palette) + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")
    return b"\x89PNG\r\n\x1a\n" + body


def w2c(frame: int, right_m: float = 0.0) -> str:
    """World to camera: the camera stands at (1 + frame, 2, 3 + ...), turned 90 degrees to the left about y."""
    # Rows are the camera's axes in the world: right = -z, down = y, forward = x.
    rotation = np.array([[0.0, 0.0, -1.0], [0.0, 1.0, 0.0], [1.0, 0.0, 0.0]])
    centre = np.array([1.0 + frame, 2.0, 3.0]) + right_m * rotation[0]
    M = np.eye(4)
    M[:3, :3], M[:3, 3] = rotation, -rotation @ centre
    return " ".join(f"{value:.9g}" for value in M.ravel())


def classes_image() -> np.ndarray:
    image = np.empty((H, W, 3), np.uint8)
    image[:] = CLASS_COLOURS["Road"]
    for column, colour in enumerate(CLASS_COLOURS.values()):
        image[4, column] = colour
    return image


def flow_image() -> np.ndarray:
    """R is x, G is y, B is whether there is any."""
    image = np.zeros((H, W, 3), np.uint16)
    image[..., :] = 32768, 32768, 1
    image[2, 3] = 65535, 0, 1
    image[2, 4] = 65535, 65535, 0
    return image


def write_v1(root: Path, *, world: str = "0001", variations: tuple[str, ...] = ("clone",), frames: int = 2) -> None:
    scene = np.empty((H, W, 3), np.uint8)
    scene[:] = 210, 0, 200
    scene[:3], scene[6, 6], scene[6, 7] = (90, 200, 255), (10, 20, 30), (30, 20, 10)
    for variation in variations:
        for k in range(frames):
            name = f"{world}/{variation}/{k:05d}.png"
            write(root / f"vkitti_1.3.1_rgb/{name}", png(RGB_IMAGE))
            write(root / f"vkitti_1.3.1_depthgt/{name}", png(DEPTH))
            write(root / f"vkitti_1.3.1_scenegt/{name}", png(scene))
            if k < frames - 1:
                write(root / f"vkitti_1.3.1_flowgt/{name}", png(flow_image()))
        video = f"{world}_{variation}"
        write(root / f"vkitti_1.3.1_scenegt/{video}_scenegt_rgb_encoding.txt", SCENEGT)
        rows = "".join(f"{k} {w2c(k)}\n" for k in range(frames))
        write(root / f"vkitti_1.3.1_extrinsicsgt/{video}.txt", EXTRINSICS_V1 + rows)
        write(root / f"vkitti_1.3.1_motgt/{video}.txt", MOT_HEADER + MOT_ROW)


def write_v2(
    root: Path,
    *,
    merged: bool = True,
    world: str = "Scene01",
    variations: tuple[str, ...] = ("clone",),
    frames: int = 2,
    cameras: tuple[int, ...] = (0, 1),
    classes: str = "classSegmentation",
) -> None:
    def top(kind: str) -> Path:
        return root if merged else root / f"vkitti_2.0.3_{kind}"

    instances = np.zeros((H, W), np.uint8)
    instances[6:8, 6:8] = 13
    right = np.ascontiguousarray(RGB_IMAGE[..., ::-1])
    for variation in variations:
        for camera in cameras:
            for k in range(frames):
                at = f"{world}/{variation}/frames/{{}}/Camera_{camera}/{{}}_{k:05d}.png"
                jpg = at.format("rgb", "rgb").replace(".png", ".jpg")
                colour = cv2.cvtColor(RGB_IMAGE if camera == 0 else right, cv2.COLOR_RGB2BGR)
                write(top("rgb") / jpg, cv2.imencode(".jpg", colour, [cv2.IMWRITE_JPEG_QUALITY, 100])[1].tobytes())
                write(top("depth") / at.format("depth", "depth"), png(DEPTH))
                write(top("classSegmentation") / at.format(classes, "classgt"), png(classes_image()))
                write(
                    top("instanceSegmentation") / at.format("instanceSegmentation", "instancegt"),
                    indexed_png(instances),
                )
                if k < frames - 1:
                    write(top("forwardFlow") / at.format("forwardFlow", "flow"), png(flow_image()))
        folder = top("textgt") / world / variation
        views = [(k, camera) for k in range(frames) for camera in (0, 1)]
        header = "frame cameraID r1,1 r1,2 r1,3 t1 r2,1 r2,2 r2,3 t2 r3,1 r3,2 r3,3 t3 0 0 0 1\n"
        write(folder / "extrinsic.txt", header + "".join(f"{k} {c} {w2c(k, 0.532725 * c)}\n" for k, c in views))
        intrinsic = "frame cameraID K[0,0] K[1,1] K[0,2] K[1,2]\n"
        write(folder / "intrinsic.txt", intrinsic + "".join(f"{k} {c} 725.0087 725.0087 620.5 187\n" for k, c in views))
        colours = "".join(f"{name} {r} {g} {b}\n" for name, (r, g, b) in CLASS_COLOURS.items())
        write(folder / "colors.txt", "Category r g b\n" + colours)
        write(folder / "info.txt", "trackID label model color\n12 Truck Actros Red\n")
        bbox = "frame cameraID trackID left right top bottom number_pixels truncation_ratio occupancy_ratio isMoving\n"
        write(folder / "bbox.txt", bbox + "0 0 12 100 300 50 200 999 0.0 1.0 True\n")
        write(folder / "pose.txt", POSE_HEADER + POSE_ROW)


POSE_HEADER = (
    "frame cameraID trackID alpha width height length world_space_X world_space_Y world_space_Z rotation_world_space_y "
    "rotation_world_space_x rotation_world_space_z camera_space_X camera_space_Y camera_space_Z "
    "rotation_camera_space_y rotation_camera_space_x rotation_camera_space_z\n"
)
POSE_ROW = f"0 0 12 0 2.5 3.0 8.0 9 9 9 0 0 0 1.0 1.6 20.0 {math.pi / 2} 0 0\n"


def source(root: Path, **fields: object) -> Vkitti:
    return Vkitti(VkittiConfig(root=root, **{"stored_size": SIZE, **fields}))


def listed(root: Path, **fields: object) -> tuple[list[str], list[Finding]]:
    findings: list[Finding] = []
    return [ref.key for ref in source(root, **fields).frames(findings.append)], findings


def read(root: Path, index: int = 0, wanted: frozenset[str] = EVERYTHING, **fields: object) -> Frame:
    reader = source(root, **fields)
    return reader.read(list(reader.frames())[index], wanted)
