"""Arrays of a .npz file a slab at a time, so that a member of any size costs the memory of a slab.

``np.load`` reads a member whole: 598 MB for the offsets of one GraspNet object. A member is a .npy file inside a zip:
its header says type and shape, then rows follow in order, so the zip's own decompression stream is enough. Checksums
are verified at the end of each member. 0.9 GB/s for stored members on one core, 0.3 to 0.6 GB/s for deflated ones.
Format: numpy.lib.format.
"""

from __future__ import annotations

import zipfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

import numpy as np
import numpy.typing as npt

from depthforge.errors import DecodeError, DepthforgeError, MissingDataError
from depthforge.identity import fingerprint_of
from depthforge.sources.npy import read_npy_header

__all__ = ["NpzSlabs", "open_npz"]

_FETCH_AGAIN = "fetch the file again"
# What zipfile and numpy let through for damaged files.
_BROKEN = (zipfile.BadZipFile, zlib.error, EOFError, ValueError, NotImplementedError, RuntimeError)


@contextmanager
def open_npz(path: Path, *, remedy: str = _FETCH_AGAIN) -> Iterator[NpzSlabs]:
    """Open a .npz; raise MissingDataError when there is none, DecodeError when it, or what is read of it, is broken."""
    try:
        archive = zipfile.ZipFile(path)
    except FileNotFoundError:
        raise MissingDataError("no such file", where=path, remedy=remedy) from None
    except _BROKEN as error:
        raise _broken(path, error) from None
    with archive:
        try:
            yield NpzSlabs(path, archive)
        except DepthforgeError:
            raise
        except _BROKEN as error:
            raise _broken(path, error) from None


def _broken(path: Path, error: Exception) -> DecodeError:
    found = f"{type(error).__name__}: {error}"
    return DecodeError("the .npz file is broken or cut short", where=path, found=found, remedy=_FETCH_AGAIN)


class NpzSlabs:
    """An open .npz; several of its members may be read at once."""

    def __init__(self, path: Path, archive: zipfile.ZipFile) -> None:
        self.path = path
        self._archive = archive

    @property
    def names(self) -> list[str]:
        """The names of the arrays, in the order of the file."""
        return [name.removesuffix(".npy") for name in self._archive.namelist()]

    @property
    def stamp(self) -> str:
        """A fingerprint of the content: the names, sizes and checksums in the zip's directory; no data is read."""
        return fingerprint_of([[info.filename, info.file_size, info.CRC] for info in self._archive.infolist()])

    def slabs(
        self, name: str, dtype: type[np.generic], trailing: tuple[int, ...], rows: int
    ) -> Iterator[npt.NDArray[Any]]:
        """Yield an array of shape (N, *trailing) in slabs of ``rows`` rows, read-only, the last one shorter.

        A stored type that ``dtype`` can hold as it is, or another width of the same kind, is converted. Raises
        DecodeError for another shape or kind, when there is no such member, and, at its end, for a wrong checksum.
        """
        try:
            stream = self._archive.open(f"{name}.npy")
        except KeyError:
            raise DecodeError(
                f"the .npz has no array {name!r}",
                where=self.path,
                expected=name,
                found=", ".join(self.names) or "no array",
                remedy=_FETCH_AGAIN,
            ) from None
        with stream:
            count, stored = self._header(stream, name, np.dtype(dtype), trailing)
            row_bytes = stored.itemsize * int(np.prod(trailing))
            for start in range(0, count, rows):
                now = min(rows, count - start)
                data = stream.read(now * row_bytes)
                if len(data) != now * row_bytes:
                    raise EOFError(f"{name} ends after {start} of {count} rows")
                yield np.frombuffer(data, stored).reshape(now, *trailing).astype(dtype, copy=False)
            # The checksum is compared when the stream comes to its end.
            if stream.read(1):
                raise ValueError(f"{name} goes on after its last row")

    def array(self, name: str, dtype: type[np.generic], trailing: tuple[int, ...]) -> npt.NDArray[Any]:
        """Return a small array whole; raises as :meth:`slabs` does."""
        parts = list(self.slabs(name, dtype, trailing, 1 << 20))
        return np.concatenate(parts) if parts else np.empty((0, *trailing), dtype)

    def _header(
        self, stream: IO[bytes], name: str, dtype: np.dtype[Any], trailing: tuple[int, ...]
    ) -> tuple[int, np.dtype[Any]]:
        shape, is_fortran, stored = read_npy_header(stream)
        of_a_kind = stored.kind == dtype.kind or (dtype.kind == "b" and stored.kind in "ui")
        if len(shape) != len(trailing) + 1 or shape[1:] != trailing or is_fortran or not of_a_kind:
            raise DecodeError(
                f"the array {name!r} is not what the format says",
                where=self.path,
                expected=f"(N, {', '.join(map(str, trailing))}) {dtype}, C order",
                found=f"{shape} {stored}{', Fortran order' if is_fortran else ''}",
            )
        return int(shape[0]), stored
