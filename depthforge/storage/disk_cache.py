"""Pieces of objects on this machine's disk, for whoever reads them again: bounded, and shared by processes.

A piece is a file, written under a temporary name and renamed, so nobody sees a part of one, killed or not. A file that
an earlier boot wrote may have lost its content in a power cut: its checksum is compared when it is first used. Pieces
are fetched once by all processes of the machine (a lock of the kernel a piece), touched when they are used, and the
least recently used go when there are too many. Whoever has one open reads on, for a file that is removed stays until
it is closed. A full or read-only disk turns the cache off and nothing else.
"""

from __future__ import annotations

import hashlib
import os
import stat
import tempfile
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any, Final

import google_crc32c

from depthforge.durable import try_lock, unlock

__all__ = ["DEFAULT_CACHE_BYTES", "DiskCache"]

DEFAULT_CACHE_BYTES: Final = 10 * 2**30
_TRAILER_BYTES: Final = 16  # the boot that wrote it, and the checksum of the content
_TOUCH_EVERY_S: Final = 30.0
# Of the bound: what may be written before the folder is looked through, and what is then left.
_LOOK_AFTER: Final = 0.02
_KEPT: Final = 0.9


class DiskCache:
    """A folder of at most some ``max_bytes``, and for each process that writes a fiftieth of that more.

    Without a ``folder`` it lies with the temporary files, one for each user. It pickles as what it was made of.
    """

    def __init__(self, folder: Path | str | None = None, max_bytes: int = DEFAULT_CACHE_BYTES) -> None:
        self.folder = Path(folder) if folder is not None else _default_folder()
        self.max_bytes = max_bytes
        self._is_off = max_bytes <= 0
        self._touched: dict[str, float] = {}
        self._unseen_bytes: int | None = None
        self._looking = threading.Lock()

    def __reduce__(self) -> tuple[Any, ...]:
        return (DiskCache, (self.folder, self.max_bytes))

    def read(self, key: str, fetch: Callable[[], bytes], offset: int = 0, length: int | None = None) -> bytes:
        """Return ``length`` bytes from ``offset`` of the piece ``key`` (default: all), which ``fetch`` gets if need be.

        ``key`` says everything that decides the content. Raises what ``fetch`` raises.
        """
        path = self._path(key)
        found = self._read(path, offset, length)
        if found is not None:
            return found
        handle = self._lock(path)
        try:
            found = self._read(path, offset, length)  # another process had the lock, and got it
            if found is not None:
                return found
            content = fetch()
            self._put(path, content)
        finally:
            if handle is not None:
                unlock(path.with_suffix(".lock"), handle)
        return content[offset:] if length is None else content[offset : offset + length]

    def holds(self, key: str) -> bool:
        """Say whether there is a piece of that key, as far as its name tells."""
        return not self._is_off and self._path(key).exists()

    def _path(self, key: str) -> Path:
        name = hashlib.sha256(key.encode()).hexdigest()
        return self.folder / name[:2] / name

    def _read(self, path: Path, offset: int, length: int | None) -> bytes | None:
        if self._is_off:
            return None
        try:
            handle = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW)
        except OSError:
            return None
        try:
            size = os.fstat(handle).st_size - _TRAILER_BYTES
            trailer = os.pread(handle, _TRAILER_BYTES, size) if size >= 0 else b""
            if trailer[:8] != _boot() and not _is_whole(path, handle, size, trailer):
                return None
            self._touch(path)
            wanted = size - offset if length is None else min(length, size - offset)
            return os.pread(handle, max(0, wanted), offset)
        except OSError:
            return None
        finally:
            os.close(handle)

    def _put(self, path: Path, content: bytes) -> None:
        if self._is_off:
            return
        temporary = path.with_name(f"{path.name}.{os.urandom(6).hex()}.tmp")
        try:
            _make_private(self.folder)
            path.parent.mkdir(exist_ok=True)
            with open(temporary, "xb") as file:
                file.write(content)
                file.write(_trailer(content))
            os.replace(temporary, path)
        except OSError:  # full, read-only, or somebody else's
            with suppress(OSError):
                temporary.unlink()
            self._is_off = True
            return
        self._evict(len(content) + _TRAILER_BYTES)

    def _lock(self, path: Path) -> int | None:
        if self._is_off:
            return None
        try:
            _make_private(self.folder)
            path.parent.mkdir(exist_ok=True)
            return try_lock(path.with_suffix(".lock"), wait=True)
        except OSError:
            self._is_off = True
            return None

    def _touch(self, path: Path) -> None:
        now = time.monotonic()
        if now - self._touched.get(path.name, -_TOUCH_EVERY_S) >= _TOUCH_EVERY_S:
            self._touched[path.name] = now
            with suppress(OSError):
                os.utime(path)

    def _evict(self, written: int) -> None:
        """Remove the least recently used pieces when there may be too many; one process does it at a time."""
        if self._unseen_bytes is not None:
            self._unseen_bytes += written
            if self._unseen_bytes < _LOOK_AFTER * self.max_bytes:
                return
        if not self._looking.acquire(blocking=False):
            return
        try:
            handle = try_lock(self.folder / "evicting.lock")
            if handle is None:
                return
            try:
                self._unseen_bytes = 0
                self._remove_oldest()
            finally:
                unlock(self.folder / "evicting.lock", handle)
        except OSError:
            pass  # the next one that writes looks again
        finally:
            self._looking.release()

    def _remove_oldest(self) -> None:
        found: list[tuple[float, int, str]] = []
        for part in os.scandir(self.folder):
            for entry in os.scandir(part.path) if part.is_dir() else ():
                with suppress(OSError):
                    about = entry.stat()
                    is_left_over = entry.name.endswith(".tmp") and time.time() - about.st_mtime > 3600
                    if not entry.name.endswith((".tmp", ".lock")) or is_left_over:
                        found.append((0.0 if is_left_over else about.st_mtime, about.st_size, entry.path))
        total = sum(size for _, size, _ in found)
        if total <= self.max_bytes and not any(when == 0.0 for when, _, _ in found):
            return
        for when, size, path in sorted(found):
            if when > 0.0 and total <= _KEPT * self.max_bytes:
                break
            with suppress(OSError):
                os.unlink(path)
            total -= size


def _default_folder() -> Path:
    return Path(tempfile.gettempdir()) / f"depthforge-cache-{os.getuid()}"


def _make_private(folder: Path) -> None:
    """Make a folder that may be there; OSError when it is another user's, who could put anything into it."""
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    about = os.lstat(folder)
    if not stat.S_ISDIR(about.st_mode) or about.st_uid != os.getuid():
        raise PermissionError(f"{folder} is somebody else's")


def _boot() -> bytes:
    """Return eight bytes that tell this boot of the machine from others."""
    global _this_boot
    if _this_boot is None:
        try:
            text = Path("/proc/sys/kernel/random/boot_id").read_bytes()
        except OSError:
            text = os.urandom(16)
        _this_boot = hashlib.sha256(text).digest()[:8]
    return _this_boot


_this_boot: bytes | None = None


def _trailer(content: bytes) -> bytes:
    return _boot() + _checksum(content)


def _checksum(content: bytes) -> bytes:
    value: int = google_crc32c.value(content)
    return value.to_bytes(8, "little")


def _is_whole(path: Path, handle: int, size: int, trailer: bytes) -> bool:
    """Compare the content of a file of an earlier boot with its checksum; say that it is of this one, or remove it."""
    content = os.pread(handle, size, 0) if size >= 0 else b""
    if len(content) != size or trailer[8:] != _checksum(content):
        with suppress(OSError):
            path.unlink()
        return False
    with suppress(OSError), open(path, "r+b") as file:
        file.seek(size)
        file.write(_boot())
    return True
