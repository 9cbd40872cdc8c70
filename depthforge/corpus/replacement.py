"""A new corpus in the place of an old one, which stays whole and readable until the new one is.

The new one is made in ``.replacement/`` within the folder of the old. When it is finished, a marker is written there,
the old corpus is removed and the new one's files are renamed into its place, ``corpus.json`` last. A run that is killed
in that leaves the marker, and whoever opens the folder for writing next completes it: each step may be done twice.
"""

from __future__ import annotations

import os
from pathlib import Path

from depthforge.corpus.layout import Layout
from depthforge.durable import remove, sync_directory, write_atomically
from depthforge.storage import Storage, open_storage

__all__ = ["begin_replacement", "complete_replacement", "is_pending", "seal_replacement"]

_WHOLE = "whole"


def begin_replacement(storage: Storage) -> Storage:
    """Return where the corpus is made that is to take the place of that in ``storage``, with what is there of it."""
    return open_storage(_folder(storage))


def seal_replacement(storage: Storage) -> None:
    """Say that the new corpus is whole."""
    write_atomically(_folder(storage) / _WHOLE, b"")
    sync_directory(_folder(storage))


def is_pending(storage: Storage) -> bool:
    """Say whether a whole replacement waits to take its place."""
    folder = storage.local_path(Layout.replacement)
    return folder is not None and (folder / _WHOLE).exists()


def complete_replacement(storage: Storage) -> None:
    """Put the whole replacement in place, after the old corpus has been removed; call it under the lock."""
    folder = _folder(storage)
    waiting = sorted(path.name for path in folder.iterdir() if path.name != _WHOLE)
    # The description says what a corpus is: it goes last, so that nothing opens before the rest is there.
    for name in sorted(waiting, key=lambda name: name == Layout.info):
        os.replace(folder / name, folder.parent / name)
    sync_directory(folder.parent)
    remove(folder)


def _folder(storage: Storage) -> Path:
    folder = storage.local_path(Layout.replacement)
    assert folder is not None, "a corpus is replaced in a folder"
    return folder
