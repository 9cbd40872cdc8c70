"""Procedural rooms in NYU Depth v2's layouts: the labelled .mat with splits.mat, and the folder of a raw dump.

The labelled set is HDF5 with MATLAB's reversed axes and cells of references: ``rawDepths`` is what a Kinect measures,
``depths`` the clean depth in its place, ``labels`` the classes of NYU40 (the real set has 894), ``instances`` counted
anew for each class. The raw dump of the first room has disparity with swapped bytes and colour at times of its own, 12
ms later, by the two cameras of the Kinect. Accelerometer dumps are left out. About 0.5 s and 4 MB a frame.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from depthforge.frame import Camera
from depthforge.labels.resize import resize_camera
from depthforge.labels.vocabularies import class_names
from depthforge.registry import layouts
from depthforge.samples.base import Layout
from depthforge.samples.room_views import RoomViews, colour_of
from depthforge.samples.writing import require_empty, write_file
from depthforge.sensors.preset import parse_sensor

__all__ = ["NyuLayout"]

RGB_CAMERA = Camera(518.8579, 519.4696, 325.5824, 253.7362, 640, 480)
DEPTH_CAMERA = Camera(582.6245, 582.6910, 313.0448, 238.4439, 640, 480)
# Where the colour camera stands, from the depth camera.
_RGB_ASIDE_M = (0.02503, 0.00066, -0.00029)
_FIRST_S = 1_294_886_363.0
_FRAME_S, _COLOUR_LATER_S = 0.033, 0.012
_NO_DISPARITY = 2047
_FAR_M = 10.0


@layouts.register("nyu")
class NyuLayout(Layout):
    """``nyu_depth_v2_labeled.mat``, ``splits.mat`` and ``raw/``; the images may be made smaller for tests."""

    def __init__(self, width: int = 640, height: int = 480) -> None:
        self._rgb_camera = resize_camera(RGB_CAMERA, width, height)
        self._depth_camera = resize_camera(DEPTH_CAMERA, width, height)

    def write(self, root: Path, *, num_scenes: int, frames_per_scene: int, seed: int) -> int:
        """Write the rooms under ``root``, the first one as a dump too; the count is of labelled frames."""
        require_empty(root)
        rooms = RoomViews(num_scenes=num_scenes, frames_per_scene=frames_per_scene, seed=seed)
        root.mkdir(parents=True, exist_ok=True)
        self._write_labelled(root, rooms, num_scenes, frames_per_scene)
        _write_splits(root / "splits.mat", num_scenes, frames_per_scene)
        self._write_dump(root / "raw" / _scene_name(0), rooms, frames_per_scene)
        return num_scenes * frames_per_scene

    def _write_labelled(self, root: Path, rooms: RoomViews, num_scenes: int, frames_per_scene: int) -> None:
        import h5py

        height, width = self._rgb_camera.size
        total = num_scenes * frames_per_scene
        text = h5py.special_dtype(ref=h5py.Reference)
        with h5py.File(root / "nyu_depth_v2_labeled.mat", "w", userblock_size=512) as file:
            arrays = {
                name: file.create_dataset(name, (total, width, height), dtype, chunks=(1, width, height))
                for name, dtype in (("depths", "<f4"), ("rawDepths", "<f4"), ("labels", "<u2"), ("instances", "u1"))
            }
            images = file.create_dataset("images", (total, 3, width, height), "u1", chunks=(1, 3, width, height))
            for index in range(total):
                seen = rooms.see(*divmod(index, frames_per_scene), self._rgb_camera)
                measured = rooms.measure(seen, parse_sensor("kinect_v1_published"))
                semantic = seen.labels["semantic"].astype(np.uint16)
                # Where a ray met nothing the in-painted depth goes on as if there were a wall.
                arrays["depths"][index] = np.where(seen.valid, seen.depth_m, np.float32(_FAR_M)).clip(0, _FAR_M).T
                arrays["rawDepths"][index] = np.where(measured.depth_m <= _FAR_M, measured.depth_m, 0).T
                arrays["labels"][index] = semantic.T
                arrays["instances"][index] = _within_class(semantic, seen.labels["instance"]).T
                images[index] = colour_of(seen).T
            scenes = file.create_dataset("scenes", (1, total), text)
            for index in range(total):
                scenes[0, index] = _text(file, f"s{index}", _scene_name(index // frames_per_scene))
            names = file.create_dataset("names", (1, 40), text)
            for number, name in enumerate(class_names("nyu40")[1:]):
                names[0, number] = _text(file, f"n{number}", name)
        header = b"MATLAB 7.3 MAT-file, procedural rooms in the layout of NYU Depth v2".ljust(116) + bytes(8)
        with open(root / "nyu_depth_v2_labeled.mat", "r+b") as file:
            file.write(header + b"\x00\x02IM")

    def _write_dump(self, folder: Path, rooms: RoomViews, frames_per_scene: int) -> None:
        for number in range(frames_per_scene):
            seen = rooms.see(0, number, self._depth_camera)
            codes = _disparity(rooms.measure(seen, parse_sensor("kinect_v1_published")).depth_m)
            colour = rooms.see(0, number, self._rgb_camera, _RGB_ASIDE_M)
            at_s = _FIRST_S + _FRAME_S * number
            # A PGM of 16 bits is big-endian; the dump is not.
            head = f"P5 {codes.shape[1]} {codes.shape[0]} 65535\n".encode()
            write_file(folder / f"d-{at_s:.6f}-{3_164_794_231 + number}.pgm", head + codes.astype("<u2").tobytes())
            head = f"P6 {codes.shape[1]} {codes.shape[0]} 255\n".encode()
            name = f"r-{at_s + _COLOUR_LATER_S:.6f}-{3_164_900_000 + number}.ppm"
            write_file(folder / name, head + colour_of(colour).tobytes())


def _disparity(depth_m: npt.NDArray[np.float32]) -> npt.NDArray[np.uint16]:
    """Return what z = 351.3 / (1092.5 - d) comes from, in whole steps; 2047 where there is no depth."""
    with np.errstate(divide="ignore"):
        codes = np.rint(1092.5 - 351.3 / depth_m)
    return np.where((depth_m > 0) & (depth_m <= _FAR_M), codes, _NO_DISPARITY).astype(np.uint16)


def _within_class(semantic: npt.NDArray[np.uint16], instance: npt.NDArray[np.generic]) -> npt.NDArray[np.uint8]:
    """Return instances counted from 1 within each class of the frame."""
    counted = np.zeros(semantic.shape, np.uint8)
    for label in np.unique(semantic[semantic > 0]).tolist():
        of_class = semantic == label
        counted[of_class] = np.unique(instance[of_class], return_inverse=True)[1] + 1
    return counted


def _write_splits(path: Path, num_scenes: int, frames_per_scene: int) -> None:
    """Write the last scene as test and the others as train (a single one is train), counted from 1."""
    from scipy.io import savemat

    numbers = np.arange(1, num_scenes * frames_per_scene + 1)
    last = numbers > max(1, num_scenes - 1) * frames_per_scene
    savemat(path, {"trainNdxs": numbers[~last][:, None], "testNdxs": numbers[last][:, None]})


def _scene_name(scene: int) -> str:
    return f"living_room_{scene:04d}"


def _text(file: Any, name: str, text: str) -> Any:
    """Store a MATLAB string among the references, and return the reference to it."""
    codes = np.array([[ord(letter)] for letter in text], "<u2")
    dataset = file.create_dataset(f"#refs#/{name}", data=codes)
    dataset.attrs["MATLAB_class"] = np.bytes_("char")
    return dataset.ref
