"""Procedural rooms as Replicator's BasicWriter writes them: two render products, one of them with colourised labels.

Rooms go in turn to the two layouts of several products, ``<product>/<annotator>/<annotator>_0000.npy`` and
``<annotator>/<product>_<annotator>_0000.npy``. The first have segmentations in colours that differ from frame to frame,
the others ids of their own, in 16 bits. The stage is in centimetres; depth is in metres and infinite where a ray met
nothing. Boxes, normals and point clouds are left out. 0.3 s a frame.
"""

from __future__ import annotations

import io
import json
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt

from depthforge.frame import Camera, Frame
from depthforge.geometry import invert_pose, opencv_to_opengl
from depthforge.labels.vocabularies import class_names
from depthforge.registry import layouts
from depthforge.samples.base import Layout
from depthforge.samples.room_views import RoomViews, colour_of
from depthforge.samples.writing import png, require_empty, write_file
from depthforge.seeding import frame_words

__all__ = ["ReplicatorLayout"]

CAMERA = Camera(732.9993, 732.9993, 639.5, 359.5, 1280, 720)
_METRES_PER_UNIT = 0.01
_NEAR_FAR = (1.0, 1_000_000.0)
_APERTURE = 20.955


@layouts.register("replicator")
class ReplicatorLayout(Layout):
    """Output of NVIDIA Replicator's BasicWriter (``manifests/replicator.yaml``)."""

    def __init__(self, camera: Camera = CAMERA) -> None:
        self._camera = camera

    def write(self, root: Path, *, num_scenes: int, frames_per_scene: int, seed: int) -> int:
        """Write a render product for each room under ``root``; see ``Layout.write``."""
        require_empty(root)
        rooms = RoomViews(num_scenes=num_scenes, frames_per_scene=frames_per_scene, seed=seed)
        for scene in range(num_scenes):
            product, has_ids = f"Replicator_{scene:02d}", scene % 2 == 1
            for number in range(frames_per_scene):
                frame = rooms.see(scene, number, self._camera)
                for name, suffix, content in _files(frame, has_ids=has_ids):
                    annotator = name.removesuffix("_labels").removesuffix("_mapping")
                    file = f"{name}_{number:04d}.{suffix}"
                    path = f"{annotator}/{product}_{file}" if has_ids else f"{product}/{annotator}/{file}"
                    write_file(root / path, content)
        return num_scenes * frames_per_scene


def _files(frame: Frame, *, has_ids: bool) -> list[tuple[str, str, bytes]]:
    """Return annotator, suffix and content of each file of a frame."""
    names = class_names("nyu40")
    semantic, instance = frame.labels["semantic"], frame.labels["instance"]
    classes = {kind: {"class": names[kind]} for kind in np.unique(semantic).tolist() if kind}
    owners = dict(zip(instance.ravel().tolist(), semantic.ravel().tolist(), strict=True))
    prims = {idx: f"/World/{names[kind].replace(' ', '_')}_{idx:03d}" for idx, kind in owners.items() if idx}
    semantic_png, semantic_names = _segmented(semantic, classes, {"class": "BACKGROUND"}, frame, has_ids=has_ids)
    instance_png, instance_names = _segmented(instance, prims, "BACKGROUND", frame, has_ids=has_ids)
    return [
        ("rgb", "png", _rgba_png(colour_of(frame), 255)),
        ("distance_to_image_plane", "npy", _npy(np.where(frame.valid, frame.depth_m, np.float32(np.inf)))),
        ("camera_params", "json", json.dumps(_camera_params(frame)).encode()),
        ("semantic_segmentation", "png", semantic_png),
        ("semantic_segmentation_labels", "json", json.dumps(semantic_names).encode()),
        ("instance_segmentation", "png", instance_png),
        ("instance_segmentation_mapping", "json", json.dumps(instance_names).encode()),
    ]


def _segmented(
    ids: npt.NDArray[Any], values: dict[int, Any], background: Any, frame: Frame, *, has_ids: bool
) -> tuple[bytes, dict[str, Any]]:
    """Return a segmentation and what its JSON says: ids from 2 up in 16 bits, or colours of this frame alone."""
    order = sorted(values)
    places = np.zeros(int(ids.max()) + 1, np.intp)
    places[order] = np.arange(1, len(order) + 1)
    if has_ids:
        image = np.where(places > 0, places + 1, 0)[ids].astype(np.uint16)
        return png(image), {"0": background, **{str(place + 2): values[key] for place, key in enumerate(order)}}
    words = np.random.Generator(np.random.Philox(key=frame_words(0, frame.key, "colours")))
    codes = words.choice(np.arange(1, 1 << 24), len(order), replace=False)
    colours = np.concatenate([[[0, 0, 0]], np.stack([codes & 255, codes >> 8 & 255, codes >> 16], axis=1)])
    names = {"(0, 0, 0, 0)": background}
    for colour, key in zip(colours[1:].tolist(), order, strict=True):
        names[f"({', '.join(map(str, [*colour, 255]))})"] = values[key]
    return _rgba_png(colours.astype(np.uint8)[places[ids]], np.where(places > 0, 255, 0)[ids]), names


def _camera_params(frame: Frame) -> dict[str, Any]:
    camera = frame.camera
    assert frame.T_world_cam is not None
    view = invert_pose(opencv_to_opengl(frame.T_world_cam)).T
    view[3, :3] /= _METRES_PER_UNIT
    projection = np.zeros((4, 4))
    projection[0, 0], projection[1, 1] = 2 * camera.fx / camera.width, 2 * camera.fy / camera.height
    projection[2, 3], projection[3, 2] = -1.0, _NEAR_FAR[0]
    return {
        "cameraAperture": [_APERTURE, _APERTURE * camera.height / camera.width],
        "cameraApertureOffset": [0.0, 0.0],
        "cameraFocalLength": _APERTURE * camera.fx / camera.width,
        "cameraModel": "pinhole",
        "cameraNearFar": list(_NEAR_FAR),
        "cameraProjection": projection.ravel().tolist(),
        "cameraViewTransform": view.ravel().tolist(),
        "metersPerSceneUnit": _METRES_PER_UNIT,
        "renderProductResolution": [camera.width, camera.height],
    }


def _rgba_png(rgb: npt.NDArray[np.uint8], alpha: npt.NDArray[Any] | int) -> bytes:
    channel = np.broadcast_to(np.asarray(alpha, np.uint8), rgb.shape[:2])[..., None]
    stored = np.concatenate([rgb[..., ::-1], channel], axis=2)
    encoded, content = cv2.imencode(".png", stored, [cv2.IMWRITE_PNG_COMPRESSION, 3])
    assert encoded
    return bytes(content)


def _npy(array: npt.NDArray[Any]) -> bytes:
    content = io.BytesIO()
    np.save(content, array)
    return content.getvalue()
