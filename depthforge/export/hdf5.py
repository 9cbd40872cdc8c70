"""HDF5 files with the keys of BlenderProc: ``<split>/<dataset>/<scene>/<number>.hdf5``, a file a frame.

``depth`` is clean planar z in metres, ``depth_noisy`` what the sensor would have measured; ``colors``, ``normals``
(0.5 n + 0.5, OpenGL axes), ``instance_segmaps`` with ``instance_attribute_maps`` where every instance has one class,
``class_segmaps``, ``cam_K``, ``cam2world_matrix`` (OpenGL axes). Every other field has the name that the corpus gives
it. The attribute ``key`` of the file is the frame's; numbers count the frames of a scene.
Source: DLR-RM/BlenderProc 2.8, python/writer/WriterUtility.py.
"""

from __future__ import annotations

import io
import json
from collections.abc import Iterable
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from depthforge.corpus.schema import DEPTH_CLEAN
from depthforge.export.base import ExportFrame, Files, Format, Part
from depthforge.geometry import opencv_to_opengl
from depthforge.labels.catalogue import INSTANCE, INTRINSICS, NORMALS, POSE, RGB
from depthforge.registry import formats

__all__ = ["BlenderProcHdf5"]

# The fastest level of gzip, which every HDF5 library brings, with the bytes of numbers put side by side.
_COMPRESSION: Final = {"compression": "gzip", "compression_opts": 1, "shuffle": True}
_KEYS: Final = {
    RGB.name: "colors",
    INSTANCE.name: "instance_segmaps",
    "semantic": "class_segmaps",
    INTRINSICS.name: "cam_K",
    DEPTH_CLEAN: "depth",
}
_HALF: Final = np.float32(0.5)


@formats.register("hdf5")
class BlenderProcHdf5(Format):
    """One HDF5 file a frame, with the keys that BlenderProc gives them."""

    depth_kinds = ("float32",)
    works_by = "scene"

    def write(self, part: Part, frames: Iterable[ExportFrame], out: Files) -> dict[str, Any]:
        import h5py

        for frame in frames:
            content = io.BytesIO()
            with h5py.File(content, "w", track_order=False) as file:
                file.attrs["key"] = frame.key
                for name, value in self._datasets(frame).items():
                    if isinstance(value, bytes):
                        file.create_dataset(name, data=np.bytes_(value), track_times=False)
                    else:
                        options = _COMPRESSION if value.size > 64 else {}
                        file.create_dataset(name, data=value, track_times=False, **options)
                for name in self.depths:
                    depth = file[_KEYS.get(name, name)]
                    depth.attrs["units"], depth.attrs["quantity"] = "m", "planar z"
                    depth.attrs["no_measurement"] = self.invalid
            out.write(f"{part.split}/{part.scene}/{frame.index}.hdf5", content.getvalue())
        return {}

    def _datasets(self, frame: ExportFrame) -> dict[str, npt.NDArray[Any] | bytes]:
        found = {spec.name: array for spec in self.labels if (array := frame.label(spec.name)) is not None}
        datasets: dict[str, npt.NDArray[Any] | bytes] = {
            _KEYS.get(name, name): frame.depth_float(name, self.invalid) for name in self.depths
        }
        for name, array in found.items():
            if name == NORMALS.name:
                datasets["normals"] = blenderproc_normals(array, float(self.reader.spec(name).scale or 1))
            elif name == POSE.name:
                datasets["cam2world_matrix"] = opencv_to_opengl(array)
            else:
                datasets[_KEYS.get(name, name)] = array
        classes = classes_of_instances(found.get(INSTANCE.name), found.get("semantic"))
        if classes is not None:
            attributes = [{"idx": idx, "name": f"{idx:03d}", "category_id": kind} for idx, kind in classes.items()]
            datasets["instance_attribute_maps"] = json.dumps(attributes).encode()
        return datasets


def blenderproc_normals(stored: npt.NDArray[Any], scale: float) -> npt.NDArray[np.float32]:
    """Return normals (H, W, 3) as 0.5 n + 0.5 in OpenGL axes; 0.5 three times where there is none."""
    axes = np.array([scale, -scale, -scale], np.float32) * _HALF
    opengl: npt.NDArray[np.float32] = stored.astype(np.float32) * axes + _HALF
    return opengl


def classes_of_instances(instance: npt.NDArray[Any] | None, semantic: npt.NDArray[Any] | None) -> dict[int, int] | None:
    """Return the class of every instance; None where one has several, or where 0 is not the class of no instance."""
    if instance is None or semantic is None or int(semantic.max(initial=0)) > 65535:
        return None
    pairs = np.unique(instance.ravel().astype(np.uint64) << np.uint64(16) | semantic.ravel().astype(np.uint64))
    ids, kinds = (pairs >> np.uint64(16)).tolist(), (pairs & np.uint64(65535)).tolist()
    if len(set(ids)) != len(ids) or any(idx == 0 and kind for idx, kind in zip(ids, kinds, strict=True)):
        return None
    return dict(zip(ids, kinds, strict=True))
