"""Arrays in files that are no ordinary images: .npy, .npz, HDF5, OpenEXR, PFM, and TIFF as OpenCV does not know it.

What a file is follows from its first bytes, never from its name. Reading is strict: a file gives its array whole, or
DecodeError says what it is and what to do. 640x480 of float32 on one core: NPY 0.1 ms, PFM 0.2 ms, NPZ (deflated)
5 ms, HDF5 (gzip) 6 ms, EXR (ZIP) 5 ms. OpenEXR is read by its own library: OpenCV 5 has none, and OpenCV 4 returns
zeros for a lone channel Z. Sources: Pfm, "PFM Portable FloatMap" (P. Debevec); OpenEXR technical introduction.
"""

from __future__ import annotations

import io
import zipfile
import zlib
from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any, Final, Literal, NamedTuple, TypeAlias

import numpy as np
import numpy.typing as npt

from depthforge.errors import DecodeError, MissingDependencyError, told
from depthforge.sources.exr import read_exr
from depthforge.sources.npy import npy_of_bytes

__all__ = ["WHOLE", "Form", "PfmRows", "is_tiff", "one_plane", "read_container", "read_tiff", "what_it_is"]

Array = npt.NDArray[Any]
PfmRows: TypeAlias = Literal["bottom_up", "top_down"]

_COPY_AGAIN = "fetch the file again; `depthforge check` lists every such file"
_MAX_BYTES: Final = 1 << 31  # of one array: far beyond any image, and what a damaged length may ask for
_TIFF_KINDS: Final = (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")
_NAMES: Final = MappingProxyType(
    {
        b"\x93NUMPY": "a NumPy array",
        b"PK\x03\x04": "a .zip or .npz archive",
        b"\x89HDF\r\n\x1a\n": "an HDF5 file",
        b"v/1\x01": "an OpenEXR image",
        b"\xff\xd8\xff": "a JPEG image",
        b"\x89PNG": "a PNG image",
        b"MATLAB": "a MATLAB file",
        b"\x1f\x8b": "a gzip file",
        b"(\xb5/\xfd": "a zstd file",
        b"bvx": "an LZFSE file",
        b"GIF8": "a GIF image",
        b"RIFF": "a WebP image or a video",
        b"\x80\x04": "a pickle",
        b"%YAML": "an OpenCV text file",
        b"version https://git-lfs": "a Git LFS pointer, not the file",
    }
)


class Form(NamedTuple):
    """Where in a file the array lies: ``key`` of .npz and HDF5, ``channel`` by name or number, order of PFM rows."""

    key: str | None = None
    channel: str | int | None = None
    pfm_rows: PfmRows = "bottom_up"


WHOLE: Final = Form()


def read_container(data: bytes, form: Form, *, where: str) -> Array | None:
    """Return the array in a .npy, .npz, HDF5, EXR or PFM file, as it is stored; None when the file is none of these.

    Raises DecodeError, naming ``where``; MissingDependencyError when EXR needs a library that is not installed.
    """
    for magic, read in _READERS.items():
        if data.startswith(magic):
            return read(data, form, where)
    return None


def one_plane(array: Array, form: Form, *, where: str) -> Array:
    """Return the values (H, W) of an array with one value a pixel: (H, W), (H, W, 1), (1, H, W), or the channel named.

    Raises DecodeError when there are several channels and ``form`` names none, or when they are not numbers.
    """
    if array.dtype.kind not in "iufb":
        raise DecodeError("not an array of numbers", where=where, expected="integers or floats", found=array.dtype)
    plane = array
    if plane.ndim == 3 and isinstance(form.channel, int):
        axis = 0 if plane.shape[0] < plane.shape[2] else 2
        if form.channel < plane.shape[axis]:
            return np.asarray(np.take(plane, form.channel, axis))
        raise DecodeError(
            "no such channel", where=where, expected=f"channel below {plane.shape[axis]}", found=form.channel
        )
    while plane.ndim > 2 and 1 in (plane.shape[0], plane.shape[-1]):
        plane = plane[..., 0] if plane.shape[-1] == 1 else plane[0]
    if plane.ndim != 2:
        raise DecodeError(
            "an image has one value per pixel",
            where=where,
            expected="(H, W), (H, W, 1) or (1, H, W)",
            found=array.shape,
            remedy="choose one with `channel: 0`" if plane.ndim == 3 else None,
        )
    return plane


def what_it_is(data: bytes) -> str:
    """Return in words what a file seems to be, by its first bytes."""
    for magic, name in _NAMES.items():
        if data.startswith(magic):
            return name
    return f"a file that starts with {data[:8]!r}"


def is_tiff(data: bytes) -> bool:
    """Return whether the bytes are those of a TIFF or BigTIFF."""
    return data[:4] in _TIFF_KINDS


def read_tiff(data: bytes, *, where: str) -> Array:
    """Return the first page of a TIFF of any number type and compression; needs tifffile and imagecodecs.

    Raises DecodeError, and MissingDependencyError when one of them is not installed.
    """
    try:
        import tifffile
    except ImportError as error:
        raise MissingDependencyError(
            "this TIFF (half floats, or a compression that OpenCV does not know) needs tifffile and imagecodecs",
            where=where,
            expected="the extra `formats`, or a TIFF of 16-bit integers or 32-bit floats without zstd",
            remedy="pip install 'depthforge[formats]'",
        ) from error
    try:
        with tifffile.TiffFile(io.BytesIO(data)) as file:
            page: Any = file.pages[0]
            if not 0 < page.nbytes <= _MAX_BYTES:
                raise ValueError(f"{page.nbytes} bytes of pixels")
            return np.asarray(page.asarray())
    # A damaged TIFF ends in whatever its codec raises.
    except Exception as error:
        if "imagecodecs" in str(error):
            raise MissingDependencyError(
                "the compression of this TIFF needs imagecodecs",
                where=where,
                found=error,
                remedy="pip install 'depthforge[formats]'",
            ) from error
        raise DecodeError("the TIFF cannot be decoded", where=where, found=error, remedy=_COPY_AGAIN) from None


def _npy(data: bytes, form: Form, where: str) -> Array:
    try:
        return npy_of_bytes(data)
    except ValueError as error:
        raise DecodeError("the NPY file cannot be read", where=where, found=error, remedy=_COPY_AGAIN) from None


def _npz(data: bytes, form: Form, where: str) -> Array:
    try:
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            sizes = {info.filename: info.file_size for info in archive.infolist() if info.filename.endswith(".npy")}
            key = _chosen({name.removesuffix(".npy"): name for name in sizes}, form.key, "an .npz file", where)
            if sizes[f"{key}.npy"] > _MAX_BYTES:
                raise ValueError(f"an array of {sizes[f'{key}.npy']} bytes")
            member = archive.read(f"{key}.npy")
    except (zipfile.BadZipFile, zlib.error, ValueError, OSError, EOFError, NotImplementedError, RuntimeError) as error:
        if isinstance(error, DecodeError):
            raise
        raise DecodeError("the NPZ file cannot be read", where=where, found=error, remedy=_COPY_AGAIN) from None
    return _npy(member, form, where)


def _hdf5(data: bytes, form: Form, where: str) -> Array:
    import h5py

    try:
        with h5py.File(io.BytesIO(data), "r") as file:
            found: dict[str, Any] = {}
            file.visititems(lambda name, item: found.update({name: item}) if isinstance(item, h5py.Dataset) else None)
            images = {name: item for name, item in found.items() if item.dtype.kind in "iufb" and len(item.shape) >= 2}
            dataset = found[_chosen(images if form.key is None else found, form.key, "an HDF5 file", where)]
            if dataset.dtype.hasobject or not 0 < dataset.nbytes <= _MAX_BYTES:
                raise ValueError(f"{dataset.shape} of {dataset.dtype}")
            return np.asarray(dataset[()])
    except DecodeError:
        raise
    # The library reports damage by many types.
    except Exception as error:
        raise DecodeError(
            "the HDF5 file cannot be read",
            where=where,
            found=error,
            remedy="fetch it again; a filter that h5py lacks needs `pip install hdf5plugin` and a copy without it",
        ) from None


def _exr(data: bytes, form: Form, where: str) -> Array:
    return read_exr(data, None if form.channel is None else str(form.channel), where=where)


def _pfm(data: bytes, form: Form, where: str) -> Array:
    words = data[:200].split(None, 4)
    try:
        width, height, scale = int(words[1]), int(words[2]), float(words[3])
        head = data.index(words[3], data.index(words[2], data.index(words[1], 2) + len(words[1])) + len(words[2]))
    except (IndexError, ValueError):
        raise DecodeError(
            "not a PFM image", where=where, expected="Pf, width, height and scale", found=data[:24]
        ) from None
    channels = 3 if words[0] == b"PF" else 1
    pixels = data[head + len(words[3]) + 1 :]
    if words[0] not in (b"Pf", b"PF") or not scale or min(width, height) < 1:
        raise DecodeError("not a PFM image", where=where, expected="Pf, width, height and scale", found=data[:24])
    if len(pixels) != 4 * width * height * channels:
        raise DecodeError(
            "the PFM is truncated",
            where=where,
            expected=f"{4 * width * height * channels} bytes of pixels",
            found=len(pixels),
            remedy=_COPY_AGAIN,
        )
    stored = np.frombuffer(pixels, "<f4" if scale < 0 else ">f4").reshape(height, width, channels)
    image = stored[::-1] if form.pfm_rows == "bottom_up" else stored
    return _identical(image, where).astype(np.float32)


def _identical(image: Array, where: str) -> Array:
    if not all(np.array_equal(image[..., 0], image[..., at], equal_nan=True) for at in range(1, image.shape[2])):
        raise DecodeError("the channels differ, so this is a picture", where=where, expected="one channel")
    return image[..., 0]


def _chosen(items: Mapping[str, object], key: str | None, kind: str, where: str) -> str:
    """Return the name of the array that is meant: the one ``key`` names, or the only one."""
    if key is None and len(items) == 1:
        return next(iter(items))
    if key is not None and key.strip("/") in items:
        return key.strip("/")
    raise DecodeError(
        f"{kind} with several arrays needs `key`" if key is None else f"{kind} without that array",
        where=where,
        expected="one array of numbers, or `key` in the manifest" if key is None else f"key {key!r}",
        found=told(sorted(items), none="no array"),
        remedy=f"key: {sorted(items)[0]}" if items else "is this the file that was meant?",
    )


_READERS: Final[Mapping[bytes, Callable[[bytes, Form, str], Array]]] = MappingProxyType(
    {
        b"\x93NUMPY": _npy,
        b"PK\x03\x04": _npz,
        b"\x89HDF\r\n\x1a\n": _hdf5,
        b"v/1\x01": _exr,
        b"Pf": _pfm,
        b"PF": _pfm,
    }
)
