"""Where the bytes of a corpus lie. ``open_storage`` turns what a user says into a :class:`Storage`."""

from __future__ import annotations

from pathlib import Path
from typing import TypeAlias

from depthforge.addresses import local_folder
from depthforge.storage.base import (
    Lock,
    ObjectReader,
    ObjectWriter,
    Staged,
    Storage,
    StoredObject,
    is_stray,
    name_order,
)
from depthforge.storage.local import LocalFolder

__all__ = [
    "LocalFolder",
    "Lock",
    "ObjectReader",
    "ObjectWriter",
    "Place",
    "Staged",
    "Storage",
    "StoredObject",
    "is_stray",
    "name_order",
    "open_storage",
]

Place: TypeAlias = Storage | Path | str
"""A storage, or the address of one."""


def open_storage(place: Place) -> Storage:
    """Return the storage at an address (a storage is returned as it is); nothing is made and nothing is read.

    Raises InputError for an address that no storage is written for, such as ``s3://bucket/corpus``.
    """
    return place if isinstance(place, Storage) else LocalFolder(local_folder(place))
