"""Tar files of ``.npz``: a tar for each shard, a file for each frame with every field under its name.

Needs NumPy alone to read. Depth is as the corpus stores it: uint16 with ``depth_scale_m`` beside it, or float32 metres.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np
import numpy.typing as npt

from depthforge.export.arrays import npz
from depthforge.export.base import ExportFrame, Files, Format, Part
from depthforge.export.tar_files import tar_stream
from depthforge.registry import formats

__all__ = ["NpzTar"]


@formats.register("npz")
class NpzTar(Format):
    """Tar shards of one .npz a frame, for whoever has NumPy and nothing else."""

    depth_kinds = ("uint16", "float32")

    def write(self, part: Part, frames: Iterable[ExportFrame], out: Files) -> dict[str, Any]:
        with tar_stream(out, f"{part.name}.tar") as tar:
            for frame in frames:
                tar.add(f"{frame.key}.npz", npz(self._arrays(frame)))
        return {}

    def _arrays(self, frame: ExportFrame) -> dict[str, npt.NDArray[Any]]:
        arrays: dict[str, npt.NDArray[Any]] = {}
        for name in self.depths:
            if self.depth == "uint16":
                arrays[name] = frame.depth_steps(name, self.step_m)
            else:
                arrays[name] = frame.depth_float(name, self.invalid)
        arrays["depth_scale_m"] = np.array(self.step_m if self.depth == "uint16" else 1.0)
        for spec in self.labels:
            if (array := frame.label(spec.name)) is not None:
                arrays[spec.name] = array
        return arrays
