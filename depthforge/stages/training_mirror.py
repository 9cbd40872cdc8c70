"""A training whose folder lies in an object store: made in a folder of this machine, and mirrored as it goes.

Training writes and reads files all the time, and its parts must appear together; an object store offers neither. So the
run works in a temporary folder. It begins with what the store has, each new checkpoint goes up as soon as it is there
(its list of files last, which is what makes it one), and the rest when the run ends, however it ends, ``card.json``
last. Who is killed loses the steps since the last checkpoint, as in a folder. One run at a time, by the store's lock.
"""

from __future__ import annotations

import json
import shutil
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from depthforge.errors import CorpusBusyError, DepthforgeError
from depthforge.progress import Progress
from depthforge.storage import Storage, make_work_folder, open_storage
from depthforge.training.checkpoint import Checkpoints
from depthforge.training.translator_card import CARD_FILE

__all__ = ["mirrored"]

_CHECKPOINTS: Final = "checkpoints"
_LOCK: Final = ".lock"
# Made again from the data, large, or of a process that is running.
_LEFT: Final = ("frames", ".ray", _CHECKPOINTS)
_LOOK_EVERY_S: Final = 2.0


@contextmanager
def mirrored(url: str, progress: Progress) -> Iterator[Path]:
    """Give a folder that begins as what lies at ``url`` and is put there as it changes.

    Raises CorpusBusyError when another run trains there, StorageError when the store cannot be read or written.
    """
    storage = open_storage(url)
    lock = storage.try_lock(_LOCK)
    if lock is None:
        raise CorpusBusyError(
            "another run is training here",
            where=storage.address,
            found=storage.lock_owner(_LOCK) or "a process that has just started",
            remedy="wait for it to end, or change training.out; if it died on another machine, its lock is free "
            f"{storage.lets_go_after_s:.0f} s after",
        )
    try:
        work = make_work_folder()
        try:
            folder = work / "training"
            folder.mkdir()
            _fetch(storage, folder)
            ended = threading.Event()
            thread = threading.Thread(target=_keep_up, args=(storage, folder, ended, progress), daemon=True)
            thread.start()
            try:
                yield folder
            finally:
                ended.set()
                thread.join()
                if lock.is_held:
                    _put_checkpoints(storage, folder)
                    _put_rest(storage, folder)
        finally:
            shutil.rmtree(work, ignore_errors=True)
    finally:
        lock.release()


def _keep_up(storage: Storage, folder: Path, ended: threading.Event, progress: Progress) -> None:
    while not ended.wait(_LOOK_EVERY_S):
        try:
            _put_checkpoints(storage, folder)
        except (DepthforgeError, OSError) as error:  # a checkpoint that was pruned meanwhile, or a store that fails
            if isinstance(error, DepthforgeError):
                progress.warn(f"a checkpoint is not in {storage.address} yet: {error.message}")


def _fetch(storage: Storage, folder: Path) -> None:
    """Copy what the store has into an empty folder; of checkpoints those that are whole."""
    for each in storage.objects():
        room, _, rest = each.name.partition("/")
        if room == _CHECKPOINTS and not rest.endswith(".json"):
            continue
        if room == _CHECKPOINTS and "/" not in rest:
            step = rest.removesuffix(".json")
            for name in json.loads(storage.read(each.name)):
                _write(folder / _CHECKPOINTS / step / name, storage.read(f"{_CHECKPOINTS}/{step}/{name}"))
        elif room != _CHECKPOINTS:
            _write(folder / each.name, storage.read(each.name))


def _put_checkpoints(storage: Storage, folder: Path) -> None:
    """Put the checkpoints that the store lacks, and remove those that are here no more."""
    checkpoints = Checkpoints(folder / _CHECKPOINTS)
    here = {checkpoints.path(step).name for step in checkpoints.steps()}
    there = {name.removesuffix(".json") for name in storage.children(_CHECKPOINTS) if name.endswith(".json")}
    for name in sorted(here - there):
        files = sorted((folder / _CHECKPOINTS / name).iterdir())
        staged = storage.stage(f"{_CHECKPOINTS}/{name}")
        try:
            for path in files:
                staged.write(path.name, path.read_bytes())
            staged.publish()
        finally:
            staged.drop()
        storage.write(f"{_CHECKPOINTS}/{name}.json", json.dumps([path.name for path in files]).encode())
    for name in sorted(there - here):
        storage.delete(f"{_CHECKPOINTS}/{name}.json")
        storage.delete_prefix(f"{_CHECKPOINTS}/{name}")


def _put_rest(storage: Storage, folder: Path) -> None:
    """Put every other file, the card last, and remove what is here no more."""
    names = {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()}
    names = {name for name in names if name.split("/")[0] not in _LEFT and not name.split("/")[-1].startswith(".")}
    gone = {each.name for each in storage.objects() if each.name.split("/")[0] != _CHECKPOINTS} - names
    storage.delete(*sorted(gone, key=lambda name: name != CARD_FILE))
    for name in sorted(names, key=lambda name: (name == CARD_FILE, name)):
        storage.write(name, (folder / name).read_bytes())


def _write(path: Path, content: bytes) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)
