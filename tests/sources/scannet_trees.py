"""ScanNet trees written by hand from the documented layout: tiny images, exact values, and every trap."""

from __future__ import annotations

import struct
import zipfile
import zlib
from pathlib import Path

import cv2
import numpy as np

from tests.sources.tree_files import png, write

WIDTH, HEIGHT = 16, 12
COLOUR_WIDTH, COLOUR_HEIGHT = 32, 24
DEPTH_K = (20.0, 20.0, 7.5, 5.5)
# Twice the pixels, and another 10 % of focal length: a depth pixel u is at (u - 7.5) * 2.2 + 15.5 of colour.
COLOUR_K = (44.0, 44.0, 15.5, 11.5)
POSE = np.array([[0, 0, 1, 0.5], [-1, 0, 0, 1.5], [0, -1, 0, 2.5], [0, 0, 0, 1]], float)
LOST = np.full((4, 4), -np.inf)
TABLE = (
    "id\traw_category\tcategory\tcount\tnyu40id\tnyuClass\n1\twall\twall\t9\t1\twall\n2\tchair\tchair\t9\t5\tchair\n"
)
TABLE += "1163\tobject\tobject\t1\t40\totherprop\n1357\tthing\tthing\t1\t\tvoid\n"
# Every value is its own: (row * 16 + column) * 10 millimetres from 1 m; a hole top left.
DEPTH_MM = (1000 + 10 * np.arange(WIDTH * HEIGHT)).reshape(HEIGHT, WIDTH).astype(np.uint16)
DEPTH_MM[0, 0] = 0
LABEL = np.where(np.arange(COLOUR_WIDTH) < 16, 2, 1163) * np.ones((COLOUR_HEIGHT, 1), int)
INSTANCE = np.where(np.arange(COLOUR_HEIGHT) < 12, 7, 9)[:, None] * np.ones((1, COLOUR_WIDTH), int)
RGB = np.zeros((COLOUR_HEIGHT, COLOUR_WIDTH, 3), np.uint8)
RGB[..., 0] = 200


def jpeg(image: np.ndarray) -> bytes:
    return cv2.imencode(".jpg", image[..., ::-1])[1].tobytes()


def matrix_text(matrix: np.ndarray) -> str:
    return "\n".join(" ".join(str(value) for value in row) for row in matrix) + "\n"


def four(K: tuple[float, float, float, float]) -> np.ndarray:
    fx, fy, cx, cy = K
    return np.array([[fx, 0, cx, 0], [0, fy, cy, 0], [0, 0, 1, 0], [0, 0, 0, 1]])


META = f"axisAlignment = 1 0 0 0\ncolorHeight = {COLOUR_HEIGHT}\ncolorWidth = {COLOUR_WIDTH}\n"
META += f"depthHeight = {HEIGHT}\ndepthWidth = {WIDTH}\nsceneType = Bathroom\n"


def write_export(scan: Path, numbers: tuple[int, ...] = (0, 2, 10), lost: tuple[int, ...] = (2,)) -> Path:
    """A scan as SensReader exports it; numbers are not padded, and do not sort as text."""
    for number in numbers:
        write(scan / f"depth/{number}.png", png(DEPTH_MM + np.uint16(number)))
        write(scan / f"color/{number}.jpg", jpeg(RGB))
        write(scan / f"pose/{number}.txt", matrix_text(LOST if number in lost else POSE))
        write(scan / f"label-filt/{number}.png", png(LABEL.astype(np.uint16)))
        write(scan / f"instance-filt/{number}.png", png(INSTANCE.astype(np.uint8)))
    write(scan / "intrinsic/intrinsic_depth.txt", matrix_text(four(DEPTH_K)))
    write(scan / "intrinsic/intrinsic_color.txt", matrix_text(four(COLOUR_K)))
    write(scan / "intrinsic/extrinsic_depth.txt", matrix_text(np.eye(4)))
    write(scan / "intrinsic/extrinsic_color.txt", matrix_text(np.eye(4)))
    write(scan / f"{scan.name}.txt", META)
    return scan


def sens_header(num_frames: int, *, version: int = 4, depth_format: int = 1, shift: float = 1000.0) -> bytes:
    """The header by the format's own order: colour's matrices come before depth's."""
    name = b"StructureSensor"
    head = struct.pack("<I", version) + struct.pack("<Q", len(name)) + name
    for matrix in (four(COLOUR_K), np.eye(4), four(DEPTH_K), np.eye(4)):
        head += struct.pack("<16f", *matrix.ravel())
    head += struct.pack("<i", 2) + struct.pack("<i", depth_format)
    head += struct.pack("<4I", COLOUR_WIDTH, COLOUR_HEIGHT, WIDTH, HEIGHT)
    return head + struct.pack("<f", shift) + struct.pack("<Q", num_frames)


def sens_frame(depth: np.ndarray, pose: np.ndarray = POSE, colour: bytes | None = None, packed: bool = True) -> bytes:
    colour = jpeg(RGB) if colour is None else colour
    blob = depth.astype("<u2").tobytes()
    blob = zlib.compress(blob) if packed else blob
    head = struct.pack("<16f", *pose.ravel()) + struct.pack("<4Q", 11, 12, len(colour), len(blob))
    return head + colour + blob


def write_stream(scan: Path, num_frames: int = 3, *, shift: float = 1000.0) -> Path:
    """A scan as it is downloaded: a stream, and archives of labels; frame 1 has lost its pose."""
    data = sens_header(num_frames, shift=shift)
    for number in range(num_frames):
        data += sens_frame(DEPTH_MM + np.uint16(number), LOST if number == 1 else POSE)
    write(scan / f"{scan.name}.sens", data)
    for kind, image in (("label", LABEL.astype(np.uint16)), ("instance", INSTANCE.astype(np.uint8))):
        with zipfile.ZipFile(scan / f"{scan.name}_2d-{kind}-filt.zip", "w") as archive:
            for number in range(num_frames):
                archive.writestr(f"{kind}-filt/{number}.png", png(image))
    return scan


def write_tree(root: Path) -> Path:
    """Two scans of one room, exported, and a streamed one of another, with the table."""
    write(root / "scannetv2-labels.combined.tsv", TABLE)
    write_export(root / "scans/scene0000_00")
    write_export(root / "scans/scene0000_01", numbers=(1,), lost=())
    write_stream(root / "scans/scene0003_00")
    return root
