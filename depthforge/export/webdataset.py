"""WebDataset: a tar for each shard of the corpus, a sample for each frame.

``<split>-000000.tar`` holds ``<dataset>/<scene>/<frame>.<field>.<kind>``: depth and ids as ``.png16``, which is PNG
(float depth as ``.npy``), colour as PNG or as the very JPEG file that the corpus holds, other images and ragged labels
as ``.npy``, and ``.json`` with key, split, unit, camera and pose. A dot would end the key, so those in names become
``%2E``. Why not ``.png``: every image decoder of webdataset (``pil``, ``rgb`` ...) makes three channels of 8 bits of
it, without a word. What none of them knows stays bytes, until :func:`decode_png16` is asked for it.
Source: webdataset, `docs/webdataset-format`; its reader `tariterators.base_plus_ext`.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt

from depthforge.errors import DecodeError
from depthforge.export.arrays import npy, plain
from depthforge.export.base import ExportFrame, Files, Format, Part
from depthforge.export.images import fits_png, png
from depthforge.export.tar_files import tar_stream
from depthforge.registry import formats

__all__ = ["WebDataset", "decode_png16"]


def decode_png16(content: bytes) -> npt.NDArray[np.generic]:
    """Return the image of a ``.png16`` member with all its bits: for ``webdataset.handle_extension("png16", ...)``."""
    image = cv2.imdecode(np.frombuffer(content, np.uint8), cv2.IMREAD_UNCHANGED)
    if image is None:
        raise DecodeError("not a PNG file", expected="a member of depthforge export --to webdataset")
    return np.asarray(image if image.ndim == 2 else image[..., ::-1])


@formats.register("webdataset")
class WebDataset(Format):
    """Tar shards of WebDataset: PNG and .npy members, a JSON for each frame."""

    depth_kinds = ("uint16", "float32")

    def write(self, part: Part, frames: Iterable[ExportFrame], out: Files) -> dict[str, Any]:
        with tar_stream(out, f"{part.name}.tar") as tar:
            for frame in frames:
                key = frame.key.replace("%", "%25").replace(".", "%2E")
                for suffix, content in self._members(frame):
                    tar.add(f"{key}.{suffix}", content)
        return {}

    def _members(self, frame: ExportFrame) -> Iterable[tuple[str, bytes]]:
        about: dict[str, Any] = {"key": frame.key, "split": frame.part.split, "depth": self.describe()["depth"]}
        for name in self.depths:
            if self.depth == "uint16":
                yield f"{name}.png16", png(frame.depth_steps(name, self.step_m))
            else:
                yield f"{name}.npy", npy(frame.depth_float(name, self.invalid))
        for spec in self.labels:
            file = frame.jpeg() if spec.name == "rgb" else None
            if file is not None:
                yield f"{spec.name}.jpg", file
                continue
            array = frame.label(spec.name)
            if array is None:
                continue
            if spec.layout == "frame":
                about[spec.name] = plain(array)
            elif fits_png(spec):
                yield f"{spec.name}.{'png' if spec.resize == 'area' else 'png16'}", png(array)
            else:
                yield f"{spec.name}.npy", npy(array)
        yield "json", json.dumps(about, sort_keys=True).encode()
