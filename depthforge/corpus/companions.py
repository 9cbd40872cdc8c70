"""What lies beside the frames of a finished corpus and says more of it: a translator's card, a day, tables, a report.

The report and the tables of tasks are made after the corpus is sealed. They are no part of it: ``SHA256SUMS`` does not
list them, and a run that changes the corpus takes them away.
"""

from __future__ import annotations

import io
import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import pyarrow as pa
import pyarrow.parquet as pq

from depthforge.corpus.layout import Layout
from depthforge.corpus.plan_file import read_plan
from depthforge.corpus.tables import read_table
from depthforge.durable import storage_errors
from depthforge.errors import InputError
from depthforge.plan import WorkItem
from depthforge.storage import Storage

__all__ = [
    "finished_on",
    "is_corpus",
    "kept_translator",
    "planned",
    "put_report",
    "put_task_table",
    "put_verdict",
    "task_tables",
    "translator_card",
    "translator_files",
    "verdict",
]

_VERDICT: Final = f"{Layout.report}/verdict.json"


def translator_card(storage: Storage) -> dict[str, Any] | None:
    """Return the card of the learned translator that made the corpus, None where it was no learned one."""
    name = f"{Layout.translator}/card.json"
    return json.loads(storage.read(name)) if storage.exists(name) else None


def kept_translator(storage: Storage) -> Path:
    """Return a folder of this machine with the files that the corpus keeps of its translator, or with copies."""
    return storage.local_copy(Layout.translator)


def translator_files(storage: Storage) -> dict[str, bytes]:
    """Return the files that the corpus keeps of its translator, by name."""
    prefix = f"{Layout.translator}/"
    objects = storage.objects(Layout.translator)
    return {found.name.removeprefix(prefix): storage.read(found.name) for found in objects}


def is_corpus(storage: Storage) -> bool:
    """Say whether a corpus lies there, finished or not."""
    return storage.exists(Layout.info)


def planned(storage: Storage) -> Iterator[WorkItem] | None:
    """Return the work items of the corpus in the order of its plan, None where it has none yet."""
    return read_plan(storage.open(Layout.plan).file()) if storage.exists(Layout.plan) else None


def verdict(storage: Storage) -> dict[str, Any] | None:
    """Return what was found when the corpus was held against real scans; None where it was not, or cannot be read."""
    try:
        found = json.loads(storage.read(_VERDICT))
    except (OSError, ValueError):
        return None
    return found if isinstance(found, dict) else None


def put_verdict(storage: Storage, found: Mapping[str, Any]) -> None:
    """Keep what was found beside the corpus; StorageError when it cannot be written."""
    with storage_errors(storage.where(_VERDICT)):
        storage.write(_VERDICT, (json.dumps(found, indent=2, sort_keys=True) + "\n").encode())


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
