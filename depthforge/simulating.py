"""One array, or one batch, through a simulated sensor: what training code calls without a corpus.

The same model as ``translator: simulation`` of a manifest, on the caller's arrays: 5 to 15 ms an image of 640x480 on
one core. Images of a batch are done one after the other, on the CPU; a corpus is faster where the noise may be the same
in every epoch.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import numpy.typing as npt

from depthforge.errors import InputError
from depthforge.frame import Camera, Frame
from depthforge.seeding import FrameWords, frame_words
from depthforge.sensors.base import Sensor
from depthforge.sensors.preset import parse_sensor

__all__ = ["simulate"]

Array = TypeVar("Array")


def simulate(
    depth_m: Array,
    K: Any,
    sensor: str | Path | dict[str, Any] | Sensor = "d435",
    seed: int = 0,
    rgb: Any = None,
    pose: Any = None,
    scene: str | None = None,
) -> tuple[Array, Array]:
    """Return what a sensor would have measured of clean depth: (depth, valid), arrays or tensors as ``depth_m`` is.

    ``depth_m`` is planar z in metres, (H, W), or (B, H, W) or (B, 1, H, W) for a batch; 0, negative, NaN and infinite
    are no depth. ``K`` is (3, 3) or (B, 3, 3), pixels, the centre of the first pixel being (0, 0). ``sensor`` is a
    preset (`depthforge list`), the file of one, a mapping as in a manifest, or a Sensor. ``rgb`` (..., 3) uint8, shaped
    as depth with the channels last, or (B, 3, H, W), is used by sensors that see texture and dark surfaces. ``pose``,
    (4, 4) or (B, 4, 4), takes points of the camera into the world, OpenCV axes, metres: a sensor with ``patch_size_m``
    then loses surfaces from wherever they are seen. Which ones is up to ``scene``, any name, whatever the seed is;
    without a name the images of one call are one scene. The result has the shape of ``depth_m``, float32 metres with 0
    where it is not ``valid``. Image ``b`` of a batch depends on (``seed``, ``b``, its depth, colour and pose,
    ``scene``, the sensor) alone: another seed, say the step of the training, gives other noise.

    Raises InputError for shapes that do not fit, UnknownNameError or ManifestError for a sensor that there is not.

        noisy_m, valid = depthforge.simulate(depth_m, K, sensor="d435", seed=step)
    """
    is_tensor = type(depth_m).__module__.split(".")[0] == "torch"
    images = _numpy(depth_m)
    batch = images[None] if images.ndim == 2 else images[:, 0] if images.ndim == 4 and images.shape[1] == 1 else images
    if batch.ndim != 3 or 0 in batch.shape:
        raise InputError(
            "depth is an image or a batch of them", expected="(H, W), (B, H, W) or (B, 1, H, W)", found=images.shape
        )
    matrices = _matrices(K, len(batch))
    colours = _colours(rgb, batch.shape)
    poses = _poses(pose, len(batch))
    model = sensor if isinstance(sensor, Sensor) else parse_sensor(str(sensor) if isinstance(sensor, Path) else sensor)
    noisy = np.zeros(batch.shape, np.float32)
    valid = np.zeros(batch.shape, np.bool_)
    for index, image in enumerate(batch):
        frame = _frame(
            image,
            matrices[index],
            None if colours is None else colours[index],
            None if poses is None else poses[index],
            f"simulate/batch/{index:06d}",
        )
        words = frame_words(seed, frame.key, model.name)
        if scene is not None:
            words = FrameWords(words, frame_words(0, f"simulate/scene/{scene}", model.name))
        noisy[index], valid[index] = model.measure(frame, words)
    noisy, valid = noisy.reshape(images.shape), valid.reshape(images.shape)
    return (_like(noisy, depth_m), _like(valid, depth_m)) if is_tensor else (noisy, valid)  # type: ignore[return-value]


def _frame(
    image: npt.NDArray[Any],
    K: npt.NDArray[np.float64],
    rgb: npt.NDArray[np.uint8] | None,
    pose: npt.NDArray[np.float64] | None,
    key: str,
) -> Frame:
    height, width = image.shape
    camera = Camera(float(K[0, 0]), float(K[1, 1]), float(K[0, 2]), float(K[1, 2]), width, height)
    depth_m = np.ascontiguousarray(image, np.float32)
    with np.errstate(invalid="ignore"):
        valid = np.isfinite(depth_m) & (depth_m > 0)
    return Frame(key, np.where(valid, depth_m, np.float32(0)), valid, camera, rgb=rgb, T_world_cam=pose)


def _matrices(K: Any, count: int) -> npt.NDArray[np.float64]:
    matrices = np.asarray(_numpy(K), np.float64)
    if matrices.ndim == 2:
        matrices = np.broadcast_to(matrices, (count, *matrices.shape))
    if matrices.shape != (count, 3, 3) or not (matrices[:, 0, 0] > 0).all() or not (matrices[:, 1, 1] > 0).all():
        raise InputError(
            "K is a matrix of intrinsics in pixels",
            expected=f"(3, 3) or ({count}, 3, 3), fx and fy > 0",
            found=f"{np.shape(_numpy(K))}: {np.asarray(_numpy(K)).tolist()}"[:200],
        )
    return matrices


def _poses(pose: Any, count: int) -> npt.NDArray[np.float64] | None:
    if pose is None:
        return None
    poses = np.asarray(_numpy(pose), np.float64)
    if poses.shape == (4, 4):
        poses = np.broadcast_to(poses, (count, 4, 4))
    if poses.shape != (count, 4, 4) or not np.isfinite(poses).all():
        raise InputError(
            "pose is a matrix that takes points of the camera into the world",
            expected=f"(4, 4) or ({count}, 4, 4), finite",
            found=f"{np.shape(_numpy(pose))}: {poses.tolist()}"[:200],
        )
    return poses


def _colours(rgb: Any, shape: tuple[int, ...]) -> npt.NDArray[np.uint8] | None:
    if rgb is None:
        return None
    colours = _numpy(rgb)
    if colours.ndim == 3:
        colours = colours[None]
    if colours.shape == (shape[0], 3, *shape[1:]):
        colours = np.moveaxis(colours, 1, -1)
    if colours.shape != (*shape, 3) or colours.dtype != np.uint8:
        raise InputError(
            "rgb does not fit the depth",
            expected=f"{(*shape, 3)} or {(shape[0], 3, *shape[1:])} uint8",
            found=f"{np.shape(_numpy(rgb))} {colours.dtype}",
        )
    return np.ascontiguousarray(colours)


def _numpy(value: Any) -> npt.NDArray[Any]:
    return value.detach().cpu().numpy() if hasattr(value, "detach") else np.asarray(value)


def _like(array: npt.NDArray[Any], tensor: Any) -> Any:
    import torch

    return torch.from_numpy(array).to(tensor.device)
