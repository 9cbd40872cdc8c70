"""A file of a data set, by the tree that holds it: a folder or an archive."""

from __future__ import annotations

from dataclasses import dataclass

from depthforge.errors import DecodeError
from depthforge.sources.file_tree import Tree

__all__ = ["File", "names_in"]


@dataclass(frozen=True, slots=True)
class File:
    """A path in a tree; whether there is such a file shows when it is read."""

    tree: Tree
    path: str

    @property
    def where(self) -> str:
        """How an error should name it."""
        return self.tree.describe(self.path)

    def read(self) -> bytes:
        """Return its bytes; raise FileNotFoundError when there is none, DecodeError when it is damaged."""
        return self.tree.read(self.path)

    def read_if_there(self) -> bytes | None:
        """Return its bytes, None when there is no such file."""
        return self.tree.read_if_there(self.path)

    def text(self) -> str:
        """Return it as text; raise FileNotFoundError as ``read``, DecodeError when it is none."""
        try:
            return self.read().decode()
        except UnicodeDecodeError as error:
            raise DecodeError("not a text file", where=self.where, found=error) from None


def names_in(tree: Tree, folder: str) -> frozenset[str]:
    """Return the names of the files in a folder; none when there is no such folder."""
    return frozenset(tree.scan_if_there(folder).files)
