"""A dataset's files in an object store, at ``s3://bucket/prefix`` and the like.

A folder is listed by one request and a file read by one; what a conversion reads it reads once, so nothing is kept.
"""

from __future__ import annotations

from depthforge.errors import InputError
from depthforge.sources.file_tree import Listing, Tree
from depthforge.storage import open_storage

__all__ = ["ObjectTree"]


class ObjectTree(Tree):
    """The objects below a URL."""

    def __init__(self, url: str) -> None:
        self._storage = open_storage(url)

    def scan(self, folder: str) -> Listing:
        folders, files = self._storage.level(folder)
        if not folders and not files:
            raise FileNotFoundError(self.describe(folder))
        return Listing(*([name for name in names if not name.startswith(".")] for names in (folders, files)))

    def read(self, path: str) -> bytes:
        try:
            return self._storage.read(path)
        except InputError:  # as damaged lists have it
            raise FileNotFoundError(self.describe(path)) from None

    def describe(self, path: str) -> str:
        return self._storage.where(path)
