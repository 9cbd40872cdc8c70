"""Files that are whole or absent: atomic writes, directory syncs, locks, and disk errors in words.

A file is written under a temporary name in its own directory, synced, renamed, and the directory synced: after
kill -9 or a power cut there is the old file or the new one, never a part of either. It costs two syncs, 1 to 10 ms
on a local disk. Locks are ``flock``: the kernel drops them with the process, and a lock file left behind is inert.
"""

from __future__ import annotations

import errno
import fcntl
import os
import shutil
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from depthforge.errors import DepthforgeError, StorageError

__all__ = [
    "is_temporary",
    "locked",
    "remove",
    "remove_temporaries",
    "storage_errors",
    "sync_directory",
    "temporary_beside",
    "try_lock",
    "unlock",
    "write_atomically",
]

_EXPLANATIONS = {
    errno.ENOSPC: ("there is no room left on the disk", "free some space, then run the same command again"),
    errno.EDQUOT: ("the disk quota is used up", "free some space, then run the same command again"),
    errno.EACCES: ("the output may not be written here", "check the permissions, or choose another folder"),
    errno.EPERM: ("the output may not be written here", "check the permissions, or choose another folder"),
    errno.EROFS: ("the file system is read-only", "choose another folder"),
    errno.ENOTDIR: ("a part of the path is not a directory", "choose another --out"),
    errno.EEXIST: ("the path is taken by something that is not a directory", "choose another --out"),
    errno.ENOLCK: ("the file system offers no locks", "choose an --out on a disk that does"),
}

OTHERS_DIE_WITHIN_S = 10.0


@contextmanager
def storage_errors(where: Path | str) -> Iterator[None]:
    """Turn an OSError of the block into a StorageError that says what happened to ``where``."""
    try:
        yield
    except DepthforgeError:
        raise
    except OSError as error:
        message, remedy = _EXPLANATIONS.get(error.errno or 0, ("the output cannot be written", None))
        raise StorageError(message, where=where, found=error.strerror or error, remedy=remedy) from error


def temporary_beside(path: Path) -> Path:
    """Return an unused name in the directory of ``path`` that :func:`is_temporary` knows."""
    return path.with_name(f".{path.name}.{os.urandom(6).hex()}.tmp")


def is_temporary(name: str) -> bool:
    """Say whether a file name is one of ours that no finished corpus holds: a temporary or a lock."""
    return name.startswith(".") and name.endswith((".tmp", ".lock"))


def remove_temporaries(directory: Path) -> int:
    """Remove what dead runs left in ``directory`` and return how many there were; call it under the corpus lock.

    A lock that a process still holds stays: without its file a second process would take it as well.
    """
    if not directory.is_dir():
        return 0
    num_removed = 0
    for path in [path for path in directory.iterdir() if is_temporary(path.name)]:
        if path.name.endswith(".lock"):
            handle = try_lock(path)
            if handle is None:
                continue
            unlock(path, handle)
        else:
            remove(path)
        num_removed += 1
    return num_removed


def remove(path: Path) -> None:
    """Remove a file or a tree that may be gone, even while a dying process of an earlier run removes it or fills it.

    The workers of a killed driver outlive it by a second or so. OSError when the tree still fills after ten seconds.
    """
    deadline = time.monotonic() + OTHERS_DIE_WITHIN_S
    while True:
        try:
            if path.is_dir() and not path.is_symlink():
                shutil.rmtree(path)
            else:
                path.unlink(missing_ok=True)
            return
        except OSError as error:
            if error.errno not in (errno.ENOENT, errno.ENOTEMPTY) or time.monotonic() > deadline:
                raise
            time.sleep(0.001)


def sync_directory(directory: Path) -> None:
    """Make the names in ``directory`` durable."""
    handle = os.open(directory, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def write_atomically(path: Path, content: bytes) -> None:
    """Write ``content`` to ``path`` (its directory exists), replacing what was there; StorageError when it cannot."""
    temporary = temporary_beside(path)
    with storage_errors(path):
        try:
            with open(temporary, "xb", buffering=0) as file:
                view = memoryview(content)
                while view:
                    view = view[file.write(view) :]
                os.fsync(file.fileno())
            os.replace(temporary, path)
        except BaseException:
            with suppress(OSError):
                temporary.unlink()
            raise
        sync_directory(path.parent)


def try_lock(path: Path, *, wait: bool = False) -> int | None:
    """Take the lock ``path`` and return its descriptor for :func:`unlock`; None when another holds it."""
    while True:
        handle = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o666)
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
            # The holder before us removed the file as it let go: then this is a lock on nothing.
            if os.path.samestat(os.fstat(handle), os.stat(path)):
                return handle
            os.close(handle)
        except FileNotFoundError:
            os.close(handle)
        except BlockingIOError:
            os.close(handle)
            return None
        except BaseException:
            os.close(handle)
            raise


def unlock(path: Path, handle: int) -> None:
    """Let go of a lock and remove its file."""
    with suppress(OSError):
        path.unlink()
    # Explicit, because a forked child shares the lock until it exits.
    fcntl.flock(handle, fcntl.LOCK_UN)
    os.close(handle)


@contextmanager
def locked(path: Path) -> Iterator[None]:
    """Hold the lock ``path`` for the block, waiting for it if need be."""
    handle = try_lock(path, wait=True)
    assert handle is not None
    try:
        yield
    finally:
        unlock(path, handle)
