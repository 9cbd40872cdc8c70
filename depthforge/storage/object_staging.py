"""Objects on their way into an object store: on this machine's disk until they are whole.

A staged group takes the disk of one shard for each worker, in the folder for temporary files (``TMPDIR`` says which).
What a dead process left there is removed by the next one of the same user that stages anything.
"""

from __future__ import annotations

import errno
import json
import os
import shutil
import tempfile
import time
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from depthforge.durable import storage_errors
from depthforge.errors import StorageError
from depthforge.storage.base import ObjectWriter, Staged, require_name
from depthforge.storage.local import LocalFolder
from depthforge.storage.processes import ProcessName

if TYPE_CHECKING:
    from depthforge.storage.object_store import ObjectStorage

__all__ = ["SpooledWriter", "StagedObjects", "copied_folder", "make_work_folder", "remove_dead_stages"]

_PREFIX: Final = "depthforge-stage-"
_OWNER: Final = "owner.json"
_UPLOADS: Final = 8
_COPIES_KEPT_S: Final = 7 * 24 * 3600.0


class SpooledWriter(ObjectWriter):
    """An object in a file without a name, which ``upload`` gets when it is finished."""

    def __init__(self, upload: Callable[[Any], None], where: str) -> None:
        self._upload, self._where = upload, where
        with storage_errors(tempfile.gettempdir()):
            self._file = tempfile.TemporaryFile(prefix=_PREFIX)  # noqa: SIM115

    def write(self, content: bytes) -> None:
        with storage_errors(tempfile.gettempdir()):
            self._file.write(content)

    def finish(self) -> None:
        with storage_errors(tempfile.gettempdir()):
            self._file.flush()
            self._file.seek(0)
        self._upload(self._file)
        self._file.close()

    def abandon(self) -> None:
        self._file.close()


class _PlainWriter(ObjectWriter):
    """A file that need not outlive this process, so nothing is synced."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._file = open(path, "xb")  # noqa: SIM115

    def write(self, content: bytes) -> None:
        with storage_errors(self._path):
            self._file.write(content)

    def finish(self) -> None:
        with storage_errors(self._path):
            self._file.close()

    def abandon(self) -> None:
        try:
            self._file.close()
        except OSError:
            self._file.raw.close()


class StagedObjects(Staged):
    """A group in a temporary folder, uploaded when it is published."""

    def __init__(self, storage: ObjectStorage, name: str) -> None:
        self._folder: Path | None = make_work_folder()
        super().__init__(LocalFolder(self._folder), name, "group")
        self._store = storage
        self._writers: list[_PlainWriter] = []

    def create(self, name: str) -> ObjectWriter:
        assert self._folder is not None
        path = self._folder / self.prefix / require_name(name)
        with storage_errors(path):
            path.parent.mkdir(parents=True, exist_ok=True)
            writer = _PlainWriter(path)
        self._writers.append(writer)
        return writer

    def seal(self) -> None:
        """Do nothing: what is staged becomes durable when it is published."""

    def publish(self) -> None:
        """Upload, then remove what lies under the name and is not of this group; call it under a lock on the name.

        StorageError when the store does not have every object whole in the end: its own listing is asked.
        """
        assert self._folder is not None
        sizes = {
            self.name + each.name.removeprefix(self.prefix): each.size
            for each in self.storage.objects(self.prefix, with_strays=True)
        }
        with ThreadPoolExecutor(_UPLOADS) as pool:
            # The largest first, so that none is left alone at the end.
            list(pool.map(self._upload, sorted(sizes, key=lambda name: -sizes[name])))
        found = {each.name: each.size for each in self._store.objects(self.name, with_strays=True)}
        self._store.delete(*sorted(found.keys() - sizes.keys()))
        found = {name: size for name, size in found.items() if name in sizes}
        if found != sizes:
            differing = sorted(name for name in sizes if found.get(name) != sizes[name])
            raise StorageError(
                "the object store says that it took a group of objects, and does not have all of it",
                where=self._store.where(differing[0]),
                expected=f"{sizes[differing[0]]} bytes",
                found=f"{found.get(differing[0], 'nothing')} bytes",
                remedy="run the same command again; if it stays so, the store is damaged, or others write there",
            )
        self.drop()

    def drop(self) -> None:
        for writer in self._writers:
            writer.abandon()
        self._writers.clear()
        if self._folder is not None:
            shutil.rmtree(self._folder, ignore_errors=True)
            self._folder = None

    def _upload(self, name: str) -> None:
        assert self._folder is not None
        with open(self._folder / f"{self.prefix}{name.removeprefix(self.name)}", "rb") as file:
            self._store.upload(name, file)


def make_work_folder() -> Path:
    """Return a new folder for temporary files, which goes with this process at the latest when another one needs one.

    It holds a file that says whose it is: what is to be empty is a folder in it. StorageError when there is no room.
    """
    remove_dead_stages()
    with storage_errors(tempfile.gettempdir()):
        folder = Path(tempfile.mkdtemp(prefix=_PREFIX))
        (folder / _OWNER).write_text(json.dumps(ProcessName.of_this().to_json()))
    return folder


def copied_folder(name: str, contents: Mapping[str, Callable[[], bytes]]) -> Path:
    """Return a folder of this user's temporary files that holds ``contents``, by file name; it is made if need be.

    It appears whole under ``name``, which decides what is in it. StorageError when it cannot be written.
    """
    room = Path(tempfile.gettempdir()) / f"depthforge-copies-{os.getuid()}"
    final = room / name
    with storage_errors(room):
        room.mkdir(mode=0o700, exist_ok=True)
        if room.is_symlink() or room.stat().st_uid != os.getuid():
            raise PermissionError(errno.EACCES, "the folder is another user's")
        with suppress(OSError):
            os.utime(final)
        if not final.is_dir():
            for old in room.iterdir():
                if time.time() - old.stat().st_mtime > _COPIES_KEPT_S:
                    shutil.rmtree(old, ignore_errors=True)
            folder = Path(tempfile.mkdtemp(prefix=".", suffix=".tmp", dir=room))
            for file, content in contents.items():
                (folder / require_name(file)).write_bytes(content())
            with suppress(FileExistsError):
                # Where another process was faster, its folder holds the same.
                if not final.is_dir():
                    folder.rename(final)
            shutil.rmtree(folder, ignore_errors=True)
    return final


def remove_dead_stages() -> None:
    """Remove what processes of this machine that have ended left in the folder for temporary files."""
    for folder in Path(tempfile.gettempdir()).glob(f"{_PREFIX}*"):
        try:
            owner = ProcessName.from_json(json.loads((folder / _OWNER).read_text()))
        except (OSError, ValueError):
            continue  # of another user, or of a process that has just begun
        if owner is not None and owner.is_dead:
            shutil.rmtree(folder, ignore_errors=True)
