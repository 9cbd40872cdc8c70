"""A plain tree of PNG files: what every tool opens without a library.

``<split>/<dataset>/<scene>/<field>/<frame>.png``: depth in millimetres, 16 bits, 0 where nothing was measured; ids as
they are; colour as PNG, or as the JPEG file that the corpus holds. What PNG cannot hold is ``.npy`` beside it.
``camera.json`` of a scene has the unit and, for each frame, K and what else is no image (pose, baseline).
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from typing import Any, Final

from depthforge.export.arrays import npy, plain
from depthforge.export.base import ExportFrame, Files, Format, Part
from depthforge.export.images import fits_png, png
from depthforge.registry import formats

__all__ = ["PngTree"]

_STEP_M: Final = 1e-3


@formats.register("png")
class PngTree(Format):
    """Folders of 16-bit PNG in millimetres with a camera.json for each scene."""

    depth_kinds = ("uint16",)
    works_by = "scene"

    @property
    def step_m(self) -> float:
        """A millimetre, whatever the corpus stores."""
        return _STEP_M

    def write(self, part: Part, frames: Iterable[ExportFrame], out: Files) -> dict[str, Any]:
        folder, cameras = f"{part.split}/{part.scene}", {}
        for frame in frames:
            for name in self.depths:
                out.write(f"{folder}/{name}/{frame.name}.png", png(frame.depth_steps(name, _STEP_M)))
            about: dict[str, Any] = {}
            for spec in self.labels:
                file = frame.jpeg() if spec.name == "rgb" else None
                if file is not None:
                    out.write(f"{folder}/{spec.name}/{frame.name}.jpg", file)
                    continue
                array = frame.label(spec.name)
                if array is None:
                    continue
                if spec.layout == "frame":
                    about[spec.name] = plain(array)
                elif fits_png(spec):
                    out.write(f"{folder}/{spec.name}/{frame.name}.png", png(array))
                else:
                    out.write(f"{folder}/{spec.name}/{frame.name}.npy", npy(array))
            cameras[frame.name] = about
        schema = self.reader.schema
        camera = {
            "depth": {"unit": "mm", "metres_per_step": _STEP_M, "quantity": "planar z", "no_measurement": 0},
            "height": schema.height,
            "width": schema.width,
            "frames": cameras,
        }
        out.write(f"{folder}/camera.json", (json.dumps(camera, indent=1, sort_keys=True) + "\n").encode())
        return {}
