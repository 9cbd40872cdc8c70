"""A tar file as a stream, the same bytes for the same members: no time, no owner. One member is held at a time."""

from __future__ import annotations

import io
import tarfile
from collections.abc import Iterator
from contextlib import contextmanager

from depthforge.export.base import Files

__all__ = ["TarStream", "tar_stream"]


class TarStream:
    """A tar file that is being written."""

    def __init__(self, tar: tarfile.TarFile) -> None:
        self._tar = tar

    def add(self, name: str, content: bytes) -> None:
        """Append a member."""
        member = tarfile.TarInfo(name)
        member.size, member.mode = len(content), 0o444
        self._tar.addfile(member, io.BytesIO(content))
        # tarfile keeps what it knows of every member, 2 KB each, for a reader.
        self._tar.members.clear()  # type: ignore[attr-defined]


@contextmanager
def tar_stream(files: Files, name: str) -> Iterator[TarStream]:
    """Yield a new tar file, which is there when the block ends without an error."""
    with files.stream(name) as file, tarfile.open(fileobj=file, mode="w|", format=tarfile.GNU_FORMAT) as tar:
        yield TarStream(tar)
