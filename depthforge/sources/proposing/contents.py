"""What a group of files holds, by its content first and its name second.

Two or three files of a group are read. Numbers of 16 bits and more or with fractions are depth, unless the name says
ids and few values are there; three channels of 8 bits are colour; a few numbers are a pose or intrinsics.
"""

from __future__ import annotations

import io
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from depthforge.errors import DepthforgeError
from depthforge.sources.containers import Form, one_plane, read_container
from depthforge.sources.file_tree import Tree
from depthforge.sources.images import decode_as_stored, decode_integers
from depthforge.sources.numbers_file import is_json, parse_json
from depthforge.sources.proposing.groups import Group
from depthforge.sources.proposing.words import roles_of

__all__ = ["DATA", "IMAGES", "Content", "Looked", "arrays_in", "look_at"]

Array = npt.NDArray[Any]

IMAGES: Final = frozenset(
    {".png", ".pgm", ".ppm", ".jpg", ".jpeg", ".bmp", ".webp", ".tif", ".tiff", ".exr", ".pfm", ".npy", ".npz"}
    | {".h5", ".hdf5", ".hdf"}
)
DATA: Final = frozenset(
    {".txt", ".json", ".log", ".csv", ".npy", ".npz", ".yaml", ".yml", ".intr", ".tf", ".k", ".mat"}
)
_FEW: Final = 64
_TRIED: Final = 5
_READ: Final = 6
_LEAST_SIDE: Final = 16
_MOST_CHANNELS: Final = 4


@dataclass(frozen=True)
class Content:
    """What a group is: ``kind`` is depth, relative_depth, rgb, instance, semantic, mask, normals or other.

    ``form`` says where in a file the array lies, ``planes`` are the stored numbers of the files that were read, and
    ``size`` is (height, width) of the first.
    """

    group: Group
    kind: str
    form: Form
    planes: tuple[Array, ...]
    says: str
    rank: int = 0
    size: tuple[int, int] | None = None


@dataclass(frozen=True)
class Looked:
    """What lies in a folder: images by kind, and files of numbers that may be poses or intrinsics."""

    images: tuple[Content, ...]
    numbers: tuple[Group, ...]

    def of(self, *kinds: str) -> list[Content]:
        """Return the images of some kinds, the plainest first, then those of most files."""
        return sorted(
            (each for each in self.images if each.kind in kinds), key=lambda each: (each.rank, -len(each.group.files))
        )

    def beside(self, depth: Content) -> Looked:
        """Return what may belong to the frames of ``depth``: nothing from a folder with depth of its own."""
        others = [each.group.template for each in self.of("depth", "relative_depth") if each is not depth]
        others = [template for template in others if _folders(template) != _folders(depth.group.template)]

        def is_apart(group: Group) -> bool:
            shared, below = _branch(group.template, depth.group.template)
            return bool(below) and any(f"{template}/".startswith(f"{shared}{below}/") for template in others)

        images = tuple(each for each in self.images if not is_apart(each.group))
        return Looked(images, tuple(group for group in self.numbers if not is_apart(group)))


def _folders(template: str) -> str:
    return template.rpartition("/")[0]


def _branch(template: str, other: str) -> tuple[str, str]:
    """Return the folders that two templates share, with a slash, and the one in which the first goes its own way."""
    shared = ""
    own, theirs = template.split("/")[:-1], other.split("/")[:-1]
    for index, part in enumerate(own):
        if index >= len(theirs) or theirs[index] != part:
            return shared, part
        shared += f"{part}/"
    return shared, ""


def look_at(tree: Tree, groups: Sequence[Group]) -> Looked:
    """Return what each group holds; what cannot be read is ``other`` with the reason."""
    images = [content for group in groups if group.suffix.lower() in IMAGES for content in _image(tree, group)]
    known = {content.group.template for content in images}
    numbers = [each for each in groups if each.suffix.lower() in DATA and each.template not in known]
    return Looked(tuple(images), tuple(numbers))


def arrays_in(data: bytes, where: str) -> Iterator[tuple[str | None, Array]]:
    """Yield (key, array) of every array of numbers in a .npz, HDF5 or JSON file; of others the only one, with None."""
    if data.startswith(b"PK\x03\x04"):
        with np.load(io.BytesIO(data), allow_pickle=False) as archive:
            names = list(archive.files)
        for name in names:
            array = read_container(data, Form(key=name), where=where)
            if array is not None and array.dtype.kind in "iufb":
                yield (name if len(names) > 1 else None), array
    elif data.startswith(b"\x89HDF"):
        import h5py

        found: list[str] = []
        with h5py.File(io.BytesIO(data), "r") as file:
            file.visititems(lambda name, item: found.append(name) if isinstance(item, h5py.Dataset) else None)
        for name in found:
            array = read_container(data, Form(key=name), where=where)
            if array is not None and array.dtype.kind in "iufb":
                yield (name if len(found) > 1 else None), array
    elif is_json(data):
        yield from _json_arrays(parse_json(data, None, where=where), ())
    else:
        array = read_container(data, Form(), where=where)
        if array is not None:
            yield None, array


def _json_arrays(value: Any, path: tuple[str, ...]) -> Iterator[tuple[str | None, Array]]:
    if isinstance(value, list):
        try:
            yield ".".join(path) or None, np.array(value, dtype=np.float64)
            return
        except (TypeError, ValueError):
            return
    if isinstance(value, dict) and len(path) < 3:
        for name, each in value.items():
            if isinstance(name, str) and "." not in name:
                yield from _json_arrays(each, (*path, name))


def _image(tree: Tree, group: Group) -> list[Content]:
    """Return what a group of images or arrays holds; nothing where its arrays are no images.

    A damaged file does not speak for the others: what the first readable one of a few holds counts.
    """
    said = ""
    for path in group.sample(_TRIED):
        try:
            best = _best_plane(tree.read(path), group, tree.describe(path))
        except (DepthforgeError, OSError, ValueError, KeyError) as error:
            said = said or (error.message if isinstance(error, DepthforgeError) else str(error))
            continue
        return [] if best is None else [_content(tree, group, *best)]
    return [Content(group, "other", Form(), (), f"cannot be read: {said}", 99)]


def _content(tree: Tree, group: Group, kind: str, form: Form, array: Array | None, says: str) -> Content:
    planes = []
    for path in group.sample(_READ) if kind not in ("rgb", "other") else ():
        try:
            planes.append(_plane(tree, path, form, kind))
        except (DepthforgeError, OSError, ValueError, KeyError):
            planes.append(None)
    kept = tuple(plane for plane in planes if plane is not None)
    if planes and not kept:
        return Content(group, "other", form, (), f"{says}, not readable as {kind}", 99)
    size = None if array is None else (array.shape[0], array.shape[1])
    return Content(group, kind, form, kept, says, _rank(group, kind), size)


def _best_plane(data: bytes, group: Group, where: str) -> tuple[str, Form, Array | None, str] | None:
    if data.startswith(b"v/1\x01"):
        return _exr(data, group, where)
    arrays = [*arrays_in(data, where)]
    candidates = [
        (key, array)
        for key, array in arrays
        if array.ndim >= 2 and min(array.shape[:2]) > _LEAST_SIDE and not _is_stack(array)
    ]
    stacks = [
        f"{key or 'the only one'}: {' x '.join(map(str, array.shape))}" for key, array in arrays if _is_stack(array)
    ]
    if stacks and not candidates:
        says = f"many images in one array ({', '.join(stacks)}); a file for each frame is read: write them apart"
        return "other", Form(), None, says
    if not candidates and not _holds_arrays(data):
        candidates = [(None, decode_as_stored(data, where=where))]
    if not candidates:
        return None
    ranked = []
    for key, array in candidates:
        kind = _kind(array, [*roles_of(key or ""), *roles_of(group.own_name), *_folder_roles(group)], group.suffix)
        ranked.append((kind != "depth", "depth" not in roles_of(key or ""), kind, key, array))
    _, _, kind, key, array = min(ranked, key=lambda each: each[:2])
    return kind, Form(key=key), array, f"{array.dtype} {' x '.join(map(str, array.shape))}"


def _is_stack(array: Array) -> bool:
    """Return whether an array (N, H, W) or (N, H, W, C) holds images, and is none itself."""
    is_one = array.ndim < 3 or array.shape[2] <= _MOST_CHANNELS or array.shape[0] == 1
    return not is_one and min(array.shape[1:3]) > _LEAST_SIDE


def _holds_arrays(data: bytes) -> bool:
    return data.startswith((b"PK\x03\x04", b"\x89HDF", b"\x93NUMPY", b"Pf", b"PF", b"{", b"["))


def _exr(data: bytes, group: Group, where: str) -> tuple[str, Form, Array | None, str]:
    if "normals" in roles_of(group.own_name):
        return "other", Form(), None, "normals in EXR: normals.channels has to name their channels"
    for channel in (None, "R"):
        try:
            plane = read_container(data, Form(channel=channel), where=where)
        except DepthforgeError:
            continue
        assert plane is not None
        return "depth", Form(channel=channel), plane, f"EXR, {plane.dtype} {' x '.join(map(str, plane.shape))}"
    return "other", Form(), None, "EXR without a channel of depth"


def _folder_roles(group: Group) -> list[str]:
    return [role for part in reversed(group.template.split("/")[:-1]) for role in roles_of(part)]


def _kind(array: Array, roles: Sequence[str], suffix: str) -> str:
    """Return what an array is: roles are what the names say, the nearest first."""
    own = roles[0] if roles else ""
    channels = array.shape[2] if array.ndim == 3 and min(array.shape[0], array.shape[2]) > 1 else 1
    named = next((role for role in roles if role in ("mask", "instance", "semantic")), None)
    if channels >= 3:
        if "normals" in roles[:2]:
            return "normals"
        if array.dtype == np.uint8 and "instance" in roles[:2] and suffix.lower() not in (".jpg", ".jpeg"):
            return "instance"
        if array.dtype == np.uint8 and (own not in ("semantic", "mask", "depth") or "rgb" in roles[:2]):
            return "rgb"
        return "other"
    if array.dtype.kind not in "iufb" or array.size == 0:
        return "other"
    if "depth" in roles[:1] or ("depth" in roles and named is None):
        return "relative_depth" if array.dtype.itemsize == 1 else "depth"
    sampled = array.ravel()[:: max(1, array.size // 20000)]
    whole = array.dtype.kind in "iub" or bool(np.isfinite(sampled).all() and (sampled == np.rint(sampled)).all())
    if whole and named is not None:
        return "mask" if "mask" in roles and np.unique(sampled).size <= 2 else named
    if array.dtype.itemsize == 1:
        return "rgb" if own == "rgb" else "other"
    few = np.unique(sampled).size <= _FEW
    return "other" if whole and few else "depth"


def _plane(tree: Tree, path: str, form: Form, kind: str) -> Array | None:
    data, where = tree.read(path), tree.describe(path)
    stored = read_container(data, form, where=where)
    if kind in ("instance", "semantic", "mask"):
        try:
            return decode_integers(data, where=where, form=form)
        except DepthforgeError:
            return decode_as_stored(data, where=where) if stored is None else None
    if stored is not None:
        return stored if kind == "normals" else one_plane(stored, form, where=where)
    image = decode_as_stored(data, where=where)
    return image if image.ndim == 2 or kind == "normals" else None


def _rank(group: Group, kind: str) -> int:
    """Return how far a group is from the plainest of its kind: a name of that word alone, and PNG."""
    name = "rgb" if kind == "rgb" else kind.removeprefix("relative_")
    parts = [part for part in group.template.split("/") if roles_of(part)]
    last = group.own_name if roles_of(group.own_name) else parts[-1] if parts else ""
    words = [word for word in last.replace("{frame}", "").strip("._-").lower().replace("-", "_").split("_") if word]
    extra = len([word for word in words if not word.startswith(name[:5]) and word not in ("frame", "image", "images")])
    return (0 if name in roles_of(last) else 10) + extra + (group.suffix.lower() not in (".png", ".jpg")) * 2
