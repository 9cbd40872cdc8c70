"""What lies beside the frames of a finished corpus and says more of it: a translator's card, a day, tables, a report.

The report and the tables of tasks are made after the corpus is sealed. They are no part of it: ``SHA256SUMS`` does not
list them, and a run that changes the corpus takes them away.
"""

from __future__ import annotations

import io
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from depthforge.corpus.layout import Layout
from depthforge.corpus.tables import read_table
from depthforge.durable import storage_errors
from depthforge.errors import InputError
from depthforge.storage import Storage

__all__ = ["finished_on", "kept_translator", "put_report", "put_task_table", "task_tables", "translator_card"]


def translator_card(storage: Storage) -> dict[str, Any] | None:
    """Return the card of the learned translator that made the corpus, None where it was no learned one."""
    name = f"{Layout.translator}/card.json"
    return json.loads(storage.read(name)) if storage.exists(name) else None


def kept_translator(storage: Storage) -> Path:
    """Return a folder of this machine with the files that the corpus keeps of its translator, or with copies."""
    return storage.local_copy(Layout.translator)


def finished_on(storage: Storage) -> str | None:
    """Return the day on which the corpus was finished, as its own metadata say; None where they do not."""
    try:
        return str(json.loads(storage.read(Layout.croissant))["datePublished"])
    except (OSError, ValueError, KeyError, TypeError):
        return None


def task_tables(storage: Storage) -> dict[str, list[dict[str, object]]]:
    """Return the rows of every ``tasks/<name>.parquet`` by name; InputError for a file that is none."""
    found: dict[str, list[dict[str, object]]] = {}
    for name in storage.children(Layout.tasks):
        if not name.endswith(".parquet"):
            continue
        path = f"{Layout.tasks}/{name}"
        try:
            rows = read_table(storage.read(path)).to_pylist()
        except (pa.ArrowException, OSError) as error:
            where = storage.where(path)
            raise InputError("a table of tasks cannot be read", where=where, expected="parquet", found=error) from None
        found[name.removesuffix(".parquet")] = rows
    return found


def put_task_table(storage: Storage, name: str, rows: Sequence[Mapping[str, object]]) -> str:
    """Put a table of what tasks found into the corpus, in the place of an older one of the name; return where it lies.

    ``rows`` have the same keys, which are its columns. StorageError when it cannot be written.
    """
    buffer = io.BytesIO()
    pq.write_table(pa.Table.from_pylist([dict(row) for row in rows]), buffer)
    path = f"{Layout.tasks}/{name}.parquet"
    with storage_errors(storage.where(path)):
        storage.write(path, buffer.getvalue())
    return storage.where(path)


def put_report(storage: Storage, content: bytes) -> str:
    """Put the page of a report into the corpus, in the place of an older one, and return where it lies."""
    storage.write(Layout.report_page, content)
    return storage.where(Layout.report_page)
