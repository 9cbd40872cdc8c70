"""A storage that is a folder: objects are files, published by rename, locked by ``flock``.

Durability is that of :mod:`depthforge.durable`: a file is synced before it gets its name, and the folder after. Folders
are made when something is written into them. Reads are one ``pread`` each, so readers share no position.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from depthforge.durable import (
    is_temporary,
    remove,
    remove_temporaries,
    storage_errors,
    sync_directory,
    temporary_beside,
    try_lock,
    unlock,
    write_atomically,
)
from depthforge.storage.base import (
    Lock,
    ObjectReader,
    ObjectWriter,
    Staged,
    Storage,
    StoredObject,
    is_stray,
    require_name,
)

__all__ = ["LocalFolder"]


@dataclass(frozen=True)
class LocalFolder(Storage):
    """The objects of a folder, which is made with the first that is written."""

    root: Path

    @property
    def address(self) -> str:
        return str(self.root)

    def where(self, name: str = "") -> str:
        return str(self.root / name)

    def read(self, name: str) -> bytes:
        with _absent_is_not_found():
            return self._path(name).read_bytes()

    def open(self, name: str) -> ObjectReader:
        return _FileReader(self, name)

    def size(self, name: str) -> int:
        with _absent_is_not_found():
            return self._path(name).stat().st_size

    def exists(self, name: str) -> bool:
        return self._path(name).is_file()

    def objects(self, prefix: str = "", *, with_strays: bool = False) -> Iterator[StoredObject]:
        folder = self._folder(prefix)
        return _walk(folder, f"{prefix}/" if prefix else "", with_strays) if folder.is_dir() else iter(())

    def children(self, prefix: str = "") -> list[str]:
        try:
            names = os.listdir(self._folder(prefix))
        except FileNotFoundError:
            return []
        return sorted(name for name in names if not (is_temporary(name) or is_stray(name)))

    def level(self, prefix: str = "") -> tuple[list[str], list[str]]:
        folder, names = self._folder(prefix), self.children(prefix)
        folders = [name for name in names if (folder / name).is_dir()]
        return folders, [name for name in names if (folder / name).is_file()]

    def create(self, name: str) -> ObjectWriter:
        path = self._path(name)
        self._make_folder(path.parent)
        with storage_errors(path):
            return _ReplacingWriter(path)

    def write(self, name: str, content: bytes) -> None:
        path = self._path(name)
        self._make_folder(path.parent)
        write_atomically(path, content)

    def put_if_absent(self, name: str, content: bytes) -> bool:
        # Not by a hard link, which is one call: exFAT, SMB and many FUSE file systems know none.
        path = self._path(name)
        with self._locking(path.with_name(f".{path.name}.lock")):
            if path.exists():
                return False
            write_atomically(path, content)
            return True

    def delete(self, *names: str) -> None:
        with storage_errors(self.root):
            folders: dict[Path, None] = {}
            for name in names:
                path = self._path(name)
                with suppress(FileNotFoundError, NotADirectoryError):
                    path.unlink()
                    folders[path.parent] = None
            for folder in folders:
                sync_directory(folder)

    def delete_prefix(self, prefix: str) -> None:
        path = self._path(prefix)
        if path.is_dir():
            with storage_errors(path):
                remove(path)
                sync_directory(path.parent)

    def stage(self, name: str) -> Staged:
        final = self._path(name)
        self._make_folder(final.parent)
        return _StagedFolder(self, name, temporary_beside(final))

    def remove_leftovers(self, *prefixes: str) -> None:
        with storage_errors(self.root):
            for prefix in prefixes:
                remove_temporaries(self._folder(prefix))

    def try_lock(self, name: str) -> Lock | None:
        path = self._path(name)
        self._make_folder(path.parent)
        with storage_errors(path):
            handle = try_lock(path)
        return None if handle is None else _FileLock(path, handle)

    def lock_owner(self, name: str) -> str | None:
        try:
            return self._path(name).read_text()
        except OSError:
            return None

    def locked(self, name: str) -> AbstractContextManager[None]:
        return self._locking(self._path(name))

    def within(self, prefix: str) -> LocalFolder:
        return LocalFolder(self._path(prefix))

    def adopt(self, prefix: str, *, last: str) -> None:
        folder = self._path(prefix)
        with storage_errors(folder):
            if folder.is_dir():
                for name in sorted(os.listdir(folder), key=lambda name: name == last):
                    os.replace(folder / name, self._path(name))
                sync_directory(self._path(last).parent)
                remove(folder)

    def local_copy(self, prefix: str) -> Path:
        return self._folder(prefix)

    def local_path(self, name: str) -> Path:
        return self._path(name)

    @contextmanager
    def _locking(self, path: Path) -> Iterator[None]:
        self._make_folder(path.parent)
        with storage_errors(path):
            handle = try_lock(path, wait=True)
        assert handle is not None
        try:
            yield
        finally:
            unlock(path, handle)

    def _path(self, name: str) -> Path:
        return self.root / require_name(name)

    def _folder(self, prefix: str) -> Path:
        return self._path(prefix) if prefix else self.root

    def _make_folder(self, folder: Path) -> None:
        """Make a folder of the storage that may be there; its name, and those above it in the storage, are durable."""
        if folder.is_dir():
            return
        with storage_errors(folder):
            if folder == self.root:
                folder.mkdir(parents=True, exist_ok=True)
                return
            self._make_folder(folder.parent)
            folder.mkdir(exist_ok=True)
            sync_directory(folder.parent)


class _FileReader(ObjectReader):
    """A file that closes itself when nobody uses it any more, so that no thread reads from a closed number."""

    def __init__(self, storage: LocalFolder, name: str) -> None:
        self._handle = -1
        self._storage, self._name = storage, name
        with _absent_is_not_found():
            self._handle = os.open(storage.local_path(name), os.O_RDONLY | os.O_CLOEXEC)

    def __del__(self) -> None:
        if self._handle >= 0:
            os.close(self._handle)

    def __reduce__(self) -> tuple[Any, ...]:
        return (_FileReader, (self._storage, self._name))

    @property
    def size(self) -> int:
        return os.fstat(self._handle).st_size

    def read_at(self, offset: int, length: int) -> bytes:
        return os.pread(self._handle, length, offset)


class _FileWriter(ObjectWriter):
    def __init__(self, path: Path) -> None:
        self._path = path
        self._file = open(path, "xb")  # noqa: SIM115

    def write(self, content: bytes) -> None:
        with storage_errors(self._path):
            self._file.write(content)

    def finish(self) -> None:
        with storage_errors(self._path):
            self._file.flush()
            os.fsync(self._file.fileno())
            self._file.close()

    def abandon(self) -> None:
        """Let go of the file, whatever state it is in."""
        # A full disk shows again when the buffer is flushed; the caller already knows.
        try:
            self._file.close()
        except OSError:
            self._file.raw.close()


class _ReplacingWriter(_FileWriter):
    """A file under a temporary name, which takes the place of another when it is finished."""

    def __init__(self, path: Path) -> None:
        self._final = path
        super().__init__(temporary_beside(path))

    def finish(self) -> None:
        super().finish()
        with storage_errors(self._final):
            os.replace(self._path, self._final)
            sync_directory(self._final.parent)

    def abandon(self) -> None:
        super().abandon()
        with suppress(OSError):
            self._path.unlink()


class _StagedFolder(Staged):
    """A temporary folder beside its destination."""

    def __init__(self, storage: LocalFolder, name: str, folder: Path) -> None:
        super().__init__(storage, name, folder.relative_to(storage.root).as_posix())
        self._final = storage.local_path(name)
        self._folder: Path | None = folder
        self._writers: list[_FileWriter] = []
        self._folders: dict[Path, None] = {folder: None}
        with storage_errors(self._final):
            folder.mkdir()

    def create(self, name: str) -> ObjectWriter:
        assert self._folder is not None
        path = self._folder / require_name(name)
        with storage_errors(path):
            path.parent.mkdir(parents=True, exist_ok=True)
            writer = _FileWriter(path)
        self._writers.append(writer)
        self._remember(path.parent)
        return writer

    def take(self, source: Storage, source_name: str, name: str) -> None:
        """Link the file under a second name; a copy on another file system, or on one without links."""
        assert self._folder is not None
        here, path = source.local_path(source_name), self._folder / require_name(name)
        if here is None:
            return super().take(source, source_name, name)
        with storage_errors(path):
            path.parent.mkdir(parents=True, exist_ok=True)
        try:
            os.link(here, path)
        except OSError:
            return super().take(source, source_name, name)
        self._remember(path.parent)
        return None

    def _remember(self, folder: Path) -> None:
        while folder not in self._folders:
            self._folders[folder] = None
            folder = folder.parent

    def seal(self) -> None:
        with storage_errors(self._final):
            for folder in self._folders:
                sync_directory(folder)

    def publish(self) -> None:
        assert self._folder is not None
        with storage_errors(self._final):
            if self._final.exists():
                stale = temporary_beside(self._final)
                self._final.rename(stale)
                shutil.rmtree(stale, ignore_errors=True)
            self._folder.rename(self._final)
            self._folder = None
            sync_directory(self._final.parent)

    def drop(self) -> None:
        for writer in self._writers:
            writer.abandon()
        self._writers.clear()
        if self._folder is not None:
            shutil.rmtree(self._folder, ignore_errors=True)
            self._folder = None


class _FileLock(Lock):
    def __init__(self, path: Path, handle: int) -> None:
        self._path, self._handle = path, handle

    def sign(self, text: str) -> None:
        with storage_errors(self._path):
            os.ftruncate(self._handle, 0)
            os.pwrite(self._handle, text.encode(), 0)

    def release(self) -> None:
        unlock(self._path, self._handle)


@contextmanager
def _absent_is_not_found() -> Iterator[None]:
    """Say FileNotFoundError, too, of a name below a file."""
    try:
        yield
    except NotADirectoryError as error:
        raise FileNotFoundError(*error.args, error.filename) from None


def _walk(folder: Path, prefix: str, with_strays: bool) -> Iterator[StoredObject]:
    """Yield every file below ``folder``, but for those of a run in progress; links to folders are not followed."""
    with os.scandir(folder) as entries:
        found = sorted(entries, key=lambda entry: entry.name)
    for entry in found:
        if is_temporary(entry.name) or (is_stray(entry.name) and not with_strays):
            continue
        if entry.is_dir(follow_symlinks=False):
            yield from _walk(Path(entry.path), f"{prefix}{entry.name}/", with_strays)
        elif entry.is_file():
            yield StoredObject(prefix + entry.name, entry.stat().st_size)
