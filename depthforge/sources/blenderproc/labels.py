"""What a file of BlenderProc holds beside depth: colour, normals, instances and classes."""

from __future__ import annotations

from typing import Any, Final

import numpy as np
import numpy.typing as npt

from depthforge.errors import DecodeError, told
from depthforge.geometry import encode_normals
from depthforge.kernels import njit
from depthforge.sources.blenderproc.container import Container
from depthforge.sources.images import require_size

__all__ = ["colour_of", "ids_of", "normals_of"]

_CLASS_KEYS: Final = ("class_segmaps", "category_id_segmaps", "semantic_segmaps")


def colour_of(file: Container) -> npt.NDArray[np.uint8] | None:
    """Return colour (H, W, 3), None where the file has none; raise DecodeError unless it has 8 bits."""
    colours = file.image("colors", (3, 4))
    if colours is not None and colours.dtype != np.uint8:
        raise DecodeError("colours have 8 bits", where=file.where, expected="uint8", found=colours.dtype)
    # A transparent background makes a fourth channel.
    return None if colours is None else np.ascontiguousarray(colours[..., :3])


def normals_of(stored: npt.NDArray[Any], valid: npt.NDArray[np.bool_], where: str) -> npt.NDArray[np.int16]:
    """Turn 0.5 n + 0.5 in OpenGL axes into the house's normals; none where nothing was seen or they have no length."""
    require_size(stored, valid.shape[:2], where=where)
    return encode_normals(_unit_normals(stored.astype(np.float32, copy=False), valid))


@njit()
def _unit_normals(stored, valid):  # type: ignore[no-untyped-def]
    normals = np.zeros(stored.shape, np.float32)
    for v in range(stored.shape[0]):
        for u in range(stored.shape[1]):
            x, y, z = 2 * stored[v, u, 0] - 1, 1 - 2 * stored[v, u, 1], 1 - 2 * stored[v, u, 2]
            length = np.sqrt(x * x + y * y + z * z)
            if valid[v, u] and 0.9 < length < 1.1:
                normals[v, u, 0], normals[v, u, 1], normals[v, u, 2] = x / length, y / length, z / length
    return normals


def ids_of(file: Container) -> dict[str, npt.NDArray[np.generic]]:
    """Return instances and classes, those that the file has."""
    instances = file.image("instance_segmaps")
    labels: dict[str, npt.NDArray[np.generic]] = {}
    if instances is not None:
        labels["instance"] = _as_uint16(instances, "instance_segmaps", file)
        categories = _categories(file)
        if categories:
            labels["semantic"] = _classes(labels["instance"], categories, file)
    if "semantic" not in labels:
        found = next((image for key in _CLASS_KEYS if (image := file.image(key)) is not None), None)
        if found is not None:
            labels["semantic"] = _as_uint16(found, "the class image", file)
    return labels


def _categories(file: Container) -> dict[int, int]:
    """Return the category_id of every instance by the file's attribute map; nothing where it has none."""
    entries = file.state("instance_attribute_maps")
    # Of a stereo pair there is a map for each image.
    if isinstance(entries, list) and entries and isinstance(entries[0], list):
        entries = entries[0]
    if entries is None:
        return {}
    categories: dict[int, int] = {}
    for entry in entries if isinstance(entries, list) else [entries]:
        index = entry.get("idx") if isinstance(entry, dict) else None
        if not isinstance(index, int):
            raise DecodeError("not an attribute map", where=file.where, expected="a list of {idx, ...}", found=entry)
        category = entry.get("category_id", 0)
        if not isinstance(category, int) or not 0 <= category <= 65535:
            raise DecodeError("category_id is no class", where=file.where, expected="0 to 65535", found=category)
        categories[index] = category
    return categories if any("category_id" in entry for entry in entries) else {}


def _classes(instances: npt.NDArray[Any], categories: dict[int, int], file: Container) -> npt.NDArray[np.uint16]:
    """Return the class of every pixel; raise DecodeError for an instance that has none. 0 is the background."""
    table = np.full(65536, -1, np.int32)
    table[0] = 0
    for index, category in categories.items():
        if 0 <= index <= 65535:
            table[index] = category
    classes: npt.NDArray[np.int32] = table.take(instances)
    if (classes < 0).any():
        raise DecodeError(
            "instances that their attribute map does not know",
            where=file.where,
            expected="every id of instance_segmaps in instance_attribute_maps",
            found=told(sorted(set(instances[classes < 0].tolist()))),
        )
    return classes.astype(np.uint16)


def _as_uint16(image: npt.NDArray[Any], name: str, file: Container) -> npt.NDArray[np.uint16]:
    ids = image.astype(np.uint16)
    if not np.array_equal(ids, image):
        raise DecodeError(
            f"{name} holds no ids", where=file.where, expected="integers 0 to 65535", found=f"up to {image.max()}"
        )
    return ids
