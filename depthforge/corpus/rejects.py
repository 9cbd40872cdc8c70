"""Why frames of a corpus were rejected: the rows of its rejects, and the reasons that they share, commonest first."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass

import pyarrow as pa

from depthforge.corpus.index import REJECTS_SCHEMA, Reject
from depthforge.corpus.layout import Layout
from depthforge.corpus.tables import read_table
from depthforge.errors import IntegrityError
from depthforge.storage import Storage

__all__ = ["Reason", "read_rejects", "reasons"]

_COLUMNS = ("key", "locator", "stage", "error", "message", "remedy")


@dataclass(frozen=True, slots=True)
class Reason:
    """What ``count`` frames were rejected for: where in the work, the class of error, what it said, what to do.

    ``message`` is what the errors have in common, ``example`` the first in full, of the frame ``key``.
    """

    count: int
    stage: str
    error: str
    message: str
    remedy: str | None
    key: str
    example: str

    def __str__(self) -> str:
        return f"{self.count} {self.error} in {self.stage}: {self.example}, such as {self.key}"


def read_rejects(storage: Storage) -> Iterator[Reject]:
    """Yield every rejected frame of a corpus, finished or not; IntegrityError for a file that cannot be read."""
    for name in sorted(storage.children(Layout.rejects)):
        path = f"{Layout.rejects}/{name}"
        if not name.endswith(".parquet"):
            continue
        try:
            read = read_table(storage.read(path))
            table = pa.concat_tables([REJECTS_SCHEMA.empty_table(), read], promote_options="default")
        except (pa.ArrowException, OSError) as error:
            raise IntegrityError("the rejects of a shard cannot be read", where=path, found=error) from None
        for row in table.select(_COLUMNS).to_pylist():
            yield Reject(**row)


def reasons(storage: Storage) -> list[Reason]:
    """Return why frames were rejected, commonest first: errors that differ only in what they found are one reason."""
    counts: Counter[tuple[str, str, str]] = Counter()
    first: dict[tuple[str, str, str], Reject] = {}
    for reject in read_rejects(storage):
        message = reject.message.split("; expected")[0].split("; found")[0]
        shared = (reject.stage, reject.error, message)
        counts[shared] += 1
        first.setdefault(shared, reject)
    return [
        Reason(count, *shared, first[shared].remedy, first[shared].key, first[shared].message)
        for shared, count in counts.most_common()
    ]
