"""A new corpus in the place of an old one, which stays whole and readable until the new one is.

The new one is made in ``.replacement/`` within the storage of the old. When it is finished, a marker is written, the
old corpus is removed and the new one's files are moved into its place, ``corpus.json`` last. A run that is killed in
that leaves the marker, and whoever opens the corpus for writing next completes it: each step may be done twice.
"""

from __future__ import annotations

from depthforge.corpus.layout import Layout
from depthforge.storage import Storage

__all__ = ["begin_replacement", "complete_replacement", "is_pending", "seal_replacement"]

_WHOLE = f"{Layout.replacement}-is-whole"


def begin_replacement(storage: Storage) -> Storage:
    """Return where the corpus is made that is to take the place of that in ``storage``, with what is there of it."""
    return storage.within(Layout.replacement)


def seal_replacement(storage: Storage) -> None:
    """Say that the new corpus is whole."""
    storage.write(_WHOLE, b"")


def is_pending(storage: Storage) -> bool:
    """Say whether a whole replacement waits to take its place."""
    return storage.exists(_WHOLE)


def complete_replacement(storage: Storage) -> None:
    """Put the whole replacement in place, after the old corpus has been removed; call it under the lock."""
    # The description says what a corpus is: it goes last, so that nothing opens before the rest is there.
    storage.adopt(Layout.replacement, last=Layout.info)
    storage.delete(_WHOLE)
