"""The life of a corpus directory: opened by one run, filled shard by shard, finished with a card and checksums.

The state is the files themselves: a shard is done when its index part is there, the corpus when ``SHA256SUMS`` is.
Nothing else is recorded, so nothing can disagree with the disk; opening 10 000 shards reads as many footers, about
4 seconds. One run at a time writes: the lock is the kernel's and goes with the process.
"""

from __future__ import annotations

import json
import os
import socket
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from depthforge.corpus.dataset_card import croissant, dataset_card
from depthforge.corpus.index import CorpusTotals, FileDigest, ShardCommit, intact_commit
from depthforge.corpus.layout import CORPUS_FILE, OWNED_DIRECTORIES, OWNED_FILES, CorpusInfo, Layout
from depthforge.corpus.plan_file import read_plan
from depthforge.corpus.summary import summarise
from depthforge.durable import (
    is_temporary,
    remove,
    remove_temporaries,
    storage_errors,
    sync_directory,
    try_lock,
    unlock,
    write_atomically,
)
from depthforge.errors import CorpusBusyError, CorpusError, CorpusMismatchError, IncompleteError
from depthforge.frame import Finding
from depthforge.identity import differences
from depthforge.plan import WorkItem

__all__ = ["CorpusStore", "CorpusTotals", "open_for_writing"]


@contextmanager
def open_for_writing(
    root: Path, info: CorpusInfo, plan_file: Path, *, overwrite: bool = False
) -> Iterator[CorpusStore]:
    """Open the corpus under ``root`` (made if need be) for one run that writes what ``info`` and the plan describe.

    A corpus of the same fingerprint is gone on with; ``overwrite`` replaces whatever corpus is there. Raises
    CorpusBusyError when another run holds it, CorpusMismatchError when it was made from something else, CorpusError
    when the directory holds other files, StorageError when it cannot be written.
    """
    layout = Layout(root)
    with storage_errors(root):
        root.mkdir(parents=True, exist_ok=True)
        _refuse_strangers(layout)
        handle = try_lock(layout.lock)
    if handle is None:
        raise CorpusBusyError(
            "another run is writing this corpus",
            where=root,
            found=_owner_of(layout.lock),
            remedy="wait for it to end, or choose another --out",
        )
    try:
        with storage_errors(root):
            _sign(handle)
            if overwrite and layout.info.exists():
                _remove_corpus(layout)
            _start_or_resume(layout, info, plan_file)
        yield CorpusStore(layout, info)
    finally:
        unlock(layout.lock, handle)


class CorpusStore:
    """A corpus that this run may write to; made by :func:`open_for_writing`."""

    def __init__(self, layout: Layout, info: CorpusInfo) -> None:
        self.root = layout.root
        self.info = info
        self._layout = layout
        self._known: dict[str, ShardCommit] = {}

    @property
    def is_finished(self) -> bool:
        """True when every planned shard is committed and the checksums are written."""
        return self._layout.sums.exists() and len(self._commits()) == self.info.plan.num_shards

    def committed(self) -> set[str]:
        """Return the names of the shards that are done."""
        return set(self._commits())

    def pending(self) -> Iterator[WorkItem]:
        """Yield the shards that are still to do, in the order of the plan."""
        done = self.committed()
        return (item for item in read_plan(self._layout.plan) if item.shard not in done)

    def totals(self) -> CorpusTotals:
        """Return what is committed now."""
        return CorpusTotals.of(self._commits().values())

    def rejects_by_error(self) -> Counter[str]:
        """Return how many frames were rejected, by class of error."""
        counts: Counter[str] = Counter()
        for commit in self._commits().values():
            counts.update(commit.rejects_by_error)
        return counts

    def forget_rejects(self) -> int:
        """Take back the commit of every shard that has rejects, so that it is made again; return how many."""
        shards = [name for name, commit in self._commits().items() if commit.num_rejects]
        with storage_errors(self.root):
            if shards:
                self._layout.sums.unlink(missing_ok=True)
            for name in shards:
                self._layout.index_part(name).unlink()
                del self._known[name]
            sync_directory(self._layout.index)
        return len(shards)

    def finish(self, findings: Sequence[Finding] = ()) -> None:
        """Write the dataset card, the Croissant metadata and, last, ``SHA256SUMS`` over every file.

        Raises IncompleteError when a planned shard is not committed. Digests of shards come from their commits:
        nothing is read again but the small files.
        """
        commits = self._commits()
        if len(commits) != self.info.plan.num_shards:
            raise IncompleteError(
                "the corpus is not complete",
                where=self.root,
                expected=f"{self.info.plan.num_shards} shards",
                found=len(commits),
                remedy="run the same command again: committed shards are kept",
            )
        layout = self._layout
        with storage_errors(self.root):
            for directory in (layout.shards, layout.index, layout.rejects):
                remove_temporaries(directory)
            digests = {path: digest for commit in commits.values() for path, digest in commit.files.items()}
            for path in self._small_files():
                digests[path.relative_to(self.root).as_posix()] = FileDigest.of(path)
            trained = self._trained()
            written = {
                layout.card: dataset_card(self.info, summarise(self.root), findings, trained).encode(),
                layout.croissant: croissant(self.info, digests, published=datetime.now(UTC).date(), trained=trained),
            }
            for path, content in written.items():
                write_atomically(path, content)
                digests[path.relative_to(self.root).as_posix()] = FileDigest.of_bytes(content)
            lines = (f"{digests[path].sha256}  {path}\n" for path in sorted(digests))
            write_atomically(layout.sums, "".join(lines).encode())

    def _trained(self) -> dict[str, Any] | None:
        """Return the card of the learned translator, if it was one."""
        path = self.root / "translator" / "card.json"
        return json.loads(path.read_bytes()) if path.exists() else None

    def _small_files(self) -> Iterator[Path]:
        """Yield every file that no commit covers: the description, the plan, index parts, what other stages made."""
        yield self._layout.info
        yield self._layout.plan
        yield from (self._layout.index_part(name) for name in self._commits())
        for name in ("translator", "report"):
            yield from (path for path in (self.root / name).rglob("*") if path.is_file())

    def _commits(self) -> dict[str, ShardCommit]:
        """Return every commit by shard; a footer is read once, for only this run adds or removes index parts."""
        for path in sorted(self._layout.index.glob("*.parquet")):
            if path.stem not in self._known:
                commit = intact_commit(self._layout, path.stem, self.info.fingerprint)
                if commit is not None:
                    self._known[path.stem] = commit
        return self._known


def _refuse_strangers(layout: Layout) -> None:
    """Raise CorpusError when ``root`` holds files but no corpus: they are not ours to touch."""
    others = sorted(path.name for path in layout.root.iterdir() if not is_temporary(path.name))
    if others and not _is_corpus(layout):
        raise CorpusError(
            "the directory holds other files and no corpus",
            where=layout.root,
            expected=f"an empty directory, or one with a {CORPUS_FILE} of ours",
            found=", ".join(others[:5]) + (", ..." if len(others) > 5 else ""),
            remedy="choose another --out; files that depthforge did not write are never removed",
        )


def _is_corpus(layout: Layout) -> bool:
    try:
        value = json.loads(layout.info.read_bytes())
    except (OSError, ValueError):
        return False
    return isinstance(value, dict) and {"format_version", "fingerprint"} <= value.keys()


def _sign(handle: int) -> None:
    """Say in the lock file who holds it."""
    start = datetime.now(UTC).isoformat(timespec="seconds")
    os.ftruncate(handle, 0)
    os.pwrite(handle, f"process {os.getpid()} on {socket.gethostname()}, started {start}".encode(), 0)


def _owner_of(lock: Path) -> str:
    with suppress(OSError):
        return lock.read_text() or "a process that has just started"
    return "a process that has just ended"


def _remove_corpus(layout: Layout) -> None:
    """Remove what a corpus consists of, the description last; anything else in the directory stays."""
    layout.sums.unlink(missing_ok=True)
    for name in OWNED_DIRECTORIES:
        remove(layout.root / name)
    for name in reversed(OWNED_FILES):
        (layout.root / name).unlink(missing_ok=True)
    sync_directory(layout.root)


def _start_or_resume(layout: Layout, info: CorpusInfo, plan_file: Path) -> None:
    if layout.info.exists():
        _require_same(CorpusInfo.load(layout.root), info, layout)
    else:
        write_atomically(layout.info, info.to_bytes())
    layout.make_directories()
    for directory in (layout.root, layout.plan.parent, layout.shards, layout.index, layout.rejects):
        remove_temporaries(directory)
    if not _is_parquet(layout.plan):
        write_atomically(layout.plan, plan_file.read_bytes())


def _is_parquet(path: Path) -> bool:
    try:
        pq.read_metadata(path)
    except (OSError, pa.ArrowException):
        return False
    return True


def _require_same(old: CorpusInfo, new: CorpusInfo, layout: Layout) -> None:
    if old.fingerprint == new.fingerprint:
        return
    changed = differences(old.identity, new.identity)
    raise CorpusMismatchError(
        "the directory holds a corpus that was made from something else",
        where=layout.root,
        expected=f"fingerprint {new.fingerprint}",
        found="; ".join(changed) or f"fingerprint {old.fingerprint}",
        remedy="choose another --out, or --overwrite to replace that corpus",
    )
