"""The folder that an export goes to: whose it is, which parts are done, and when all of it is.

``.export/job.json`` says what is being made and ``.export/parts/*.json`` which parts are; both go when ``export.json``
is written, last of all: that file is the commit. A part's receipt is put after its files are durable, so a run that is
killed goes on with the parts that have none, and makes the same bytes.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Any, Final

from depthforge.durable import storage_errors
from depthforge.errors import CorpusBusyError, CorpusError, CorpusMismatchError, told
from depthforge.export.base import Part, Receipt
from depthforge.identity import differences
from depthforge.storage import Place, Storage, open_storage

__all__ = ["DESCRIPTION", "STATE", "ExportOutput", "open_output", "put_receipt"]

DESCRIPTION: Final = "export.json"
STATE: Final = ".export"
_JOB: Final = f"{STATE}/job.json"
_LOCK: Final = ".export.lock"


class ExportOutput:
    """An export that this run may write to; made by :func:`open_output`."""

    def __init__(self, storage: Storage, identity: Mapping[str, Any]) -> None:
        self.storage = storage
        self._identity = dict(identity)

    @property
    def is_finished(self) -> bool:
        """True when everything was written."""
        return self.storage.exists(DESCRIPTION)

    def description(self) -> dict[str, Any]:
        """Return what ``export.json`` of a finished export says."""
        return dict(json.loads(self.storage.read(DESCRIPTION)))

    def pending(self, parts: Sequence[Part]) -> list[Part]:
        """Return the parts that have no receipt."""
        done = set(self.storage.children(f"{STATE}/parts"))
        return [part for part in parts if f"{part.name}.json" not in done]

    def receipts(self, parts: Sequence[Part]) -> Iterator[Receipt]:
        """Yield the receipt of every part, read when it is asked for."""
        for part in parts:
            yield Receipt(**json.loads(self.storage.read(_receipt_name(part.name))))

    def finish(self, description: Mapping[str, Any]) -> None:
        """Remove the state of the run and write the description, which says that the export is whole."""
        remove_leftovers(self.storage)
        value = {"identity": self._identity, **description}
        self.storage.write(DESCRIPTION, _json(value))
        self.storage.delete_prefix(STATE)


def put_receipt(storage: Storage, receipt: Receipt) -> None:
    """Say that a part is done."""
    storage.write(_receipt_name(receipt.shard), _json(asdict(receipt)))


@contextmanager
def open_output(place: Place, identity: Mapping[str, Any]) -> Iterator[ExportOutput]:
    """Open the folder of an export (made if need be) for one run that makes what ``identity`` says.

    Raises CorpusBusyError when another run writes there, CorpusMismatchError when it holds another export,
    CorpusError when it holds something else, StorageError when it cannot be written.
    """
    storage = open_storage(place)
    with storage_errors(storage.address):
        found = _identity_of(storage)
        if found is None:
            _refuse_strangers(storage)
        elif found != dict(identity):
            raise CorpusMismatchError(
                "the folder holds another export",
                where=storage.address,
                expected="an export of the same corpus with the same options",
                found="; ".join(differences(found, dict(identity))),
                remedy="choose another --out, or remove that folder",
            )
        lock = storage.try_lock(_LOCK)
    if lock is None:
        raise CorpusBusyError(
            "another run is writing this export",
            where=storage.address,
            found=storage.lock_owner(_LOCK) or "a process that has just started",
            remedy="wait for it to end, or choose another --out",
        )
    try:
        output = ExportOutput(storage, identity)
        if not output.is_finished:
            lock.sign(f"process {os.getpid()}")
            remove_leftovers(storage)
            if found is None:
                storage.write(_JOB, _json(identity))
        elif storage.children(STATE):
            storage.delete_prefix(STATE)  # of a run that was killed as it ended
        yield output
    finally:
        lock.release()


def remove_leftovers(storage: Storage) -> None:
    """Remove the temporary files that dead runs and workers left anywhere in a folder."""
    root = storage.local_path("x")
    if root is None:
        return  # an object store has none
    for folder, _, _ in os.walk(root.parent):
        prefix = Path(folder).relative_to(root.parent).as_posix()
        storage.remove_leftovers("" if prefix == "." else prefix)


def _identity_of(storage: Storage) -> dict[str, Any] | None:
    """Return what is being made, or was, in a folder; None where there is no sign of an export."""
    for name, inner in ((DESCRIPTION, "identity"), (_JOB, None)):
        try:
            value = json.loads(storage.read(name))
            found = value if inner is None else value[inner]
            return dict(found)
        except FileNotFoundError:
            continue
        except (ValueError, KeyError, TypeError) as error:
            raise CorpusError(
                "the folder holds a file of an export that cannot be read", where=storage.where(name), found=error
            ) from error
    return None


def _refuse_strangers(storage: Storage) -> None:
    others = [name for name in storage.children() if name != STATE]
    if others:
        raise CorpusError(
            "the folder holds other files and no export",
            where=storage.address,
            expected=f"an empty folder, or one with an export begun before ({DESCRIPTION})",
            found=told(others),
            remedy="choose another --out; files that depthforge did not write are never removed",
        )


def _receipt_name(part: str) -> str:
    return f"{STATE}/parts/{part}.json"


def _json(value: Mapping[str, Any]) -> bytes:
    return (json.dumps(value, indent=1, sort_keys=True) + "\n").encode()
