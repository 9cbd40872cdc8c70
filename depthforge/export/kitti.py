"""KITTI: odometry's sequences and poses, depth as its depth benchmark stores it.

``<split>/sequences/<dataset>/<scene>/`` with ``image_2``, ``depth`` (what the sensor would have measured, uint16 / 256
metres, 0 where nothing was), ``depth_clean``, ``calib.txt``, ``times.txt``; and ``<split>/poses/<dataset>/<scene>.txt``
with a row of 3x4 numbers a frame, camera to world in OpenCV axes. The world stays the data set's, where KITTI's own is
the first camera. A corpus knows no time, so times count frames; ``Tr`` is a lidar's axes at the camera's centre.
Source: KITTI devkits of odometry and depth, readme.txt; `pykitti.odometry`.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from depthforge.corpus.schema import DEPTH_CLEAN
from depthforge.export.base import ExportFrame, Files, Format, Part
from depthforge.export.images import png
from depthforge.labels.catalogue import BASELINE, INTRINSICS, POSE, RGB
from depthforge.registry import formats

__all__ = ["KittiSequences"]

_STEP_M: Final = 1 / 256
_LIDAR_AXES: Final = np.array([[0.0, -1, 0, 0], [0, 0, -1, 0], [1, 0, 0, 0]])


@formats.register("kitti")
class KittiSequences(Format):
    """KITTI sequences: 16-bit depth of 1/256 m, colour, calib.txt and poses."""

    depth_kinds = ("uint16",)
    works_by = "scene"

    @property
    def step_m(self) -> float:
        """KITTI's 1/256 m, whatever the corpus stores."""
        return _STEP_M

    def losses(self) -> list[str]:
        carried = {RGB.name, INTRINSICS.name, POSE.name, BASELINE.name}
        told = [f"{spec.name}: KITTI has no place for it" for spec in self.labels if spec.name not in carried]
        return [*super().losses(), *told]

    def write(self, part: Part, frames: Iterable[ExportFrame], out: Files) -> dict[str, Any]:
        folder = f"{part.split}/sequences/{part.scene}"
        poses: list[str] = []
        camera: npt.NDArray[Any] | None = None
        for frame in frames:
            stem = f"{frame.index:06d}"
            for name in self.depths:
                kind = "depth_clean" if name == DEPTH_CLEAN and len(self.depths) > 1 else "depth"
                out.write(f"{folder}/{kind}/{stem}.png", png(frame.depth_steps(name, _STEP_M)))
            if self.has(RGB.name):
                file = frame.jpeg()
                rgb = None if file is not None else frame.label(RGB.name)
                if file is not None:
                    out.write(f"{folder}/image_2/{stem}.jpg", file)
                elif rgb is not None:
                    out.write(f"{folder}/image_2/{stem}.png", png(rgb))
            pose = frame.label(POSE.name) if self.has(POSE.name) else None
            rows = np.full((3, 4), np.nan) if pose is None else pose[:3]
            frame.losses.add("frames whose pose is not known: a row of nan", int(not np.isfinite(rows).all()))
            poses.append(_numbers(rows))
            K = frame.label(INTRINSICS.name) if self.has(INTRINSICS.name) else None
            if camera is None:
                camera = K
                self._write_calibration(frame, K, f"{folder}/calib.txt", out)
            elif K is not None and not np.array_equal(K, camera):
                frame.losses.add("frames with another K than the first of their scene, which calib.txt has")
        out.write(f"{part.split}/poses/{part.scene}.txt", ("\n".join(poses) + "\n").encode())
        out.write(f"{folder}/times.txt", "".join(f"{index:.6e}\n" for index in range(len(poses))).encode())
        return {}

    def _write_calibration(self, frame: ExportFrame, K: npt.NDArray[Any] | None, name: str, out: Files) -> None:
        if K is None:
            return
        left = np.hstack([K, np.zeros((3, 1))])
        baseline = frame.label(BASELINE.name) if self.has(BASELINE.name) else None
        right = left.copy()
        if baseline is not None and np.isfinite(baseline):
            right[0, 3] = -K[0, 0] * float(baseline)
        named = {"P0": left, "P1": right, "P2": left, "P3": right, "Tr": _LIDAR_AXES}
        out.write(name, "".join(f"{key}: {_numbers(value)}\n" for key, value in named.items()).encode())


def _numbers(array: npt.NDArray[Any]) -> str:
    """Return numbers as text that gives every float64 back."""
    return " ".join(f"{value:.17g}" for value in array.ravel().tolist())
