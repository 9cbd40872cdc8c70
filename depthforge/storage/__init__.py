"""Where the bytes of a corpus lie. ``open_storage`` turns what a user says into a :class:`Storage`."""

from __future__ import annotations

from pathlib import Path
from typing import TypeAlias

from depthforge.addresses import address_of
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
from depthforge.storage.disk_cache import DEFAULT_CACHE_BYTES, DiskCache
from depthforge.storage.local import LocalFolder
from depthforge.storage.object_staging import make_work_folder
from depthforge.storage.object_store import ObjectStorage

__all__ = [
    "DEFAULT_CACHE_BYTES",
    "DiskCache",
    "LocalFolder",
    "Lock",
    "ObjectReader",
    "ObjectStorage",
    "ObjectWriter",
    "Place",
    "Staged",
    "Storage",
    "StoredObject",
    "is_stray",
    "make_work_folder",
    "name_order",
    "open_storage",
]

Place: TypeAlias = Storage | Path | str
"""A storage, or the address of one."""


def open_storage(place: Place) -> Storage:
    """Return the storage at an address (a storage is returned as it is); nothing is made and nothing is read.

    Raises InputError for an address that no storage is written for, such as ``https://host/corpus``. The library that
    an object store needs is asked for at its first use.
    """
    if isinstance(place, Storage):
        return place
    address = address_of(place)
    return LocalFolder(address) if isinstance(address, Path) else ObjectStorage(address)
