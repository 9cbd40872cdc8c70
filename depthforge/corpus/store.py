"""The life of a corpus directory: opened by one run, filled shard by shard, finished with a card and checksums.

The state is the files themselves: a shard is done when its index part is there, the corpus when ``SHA256SUMS`` is.
Nothing else is recorded, so nothing can disagree with the disk; going on with 10 000 shards reads as many footers,
about 4 seconds, and a finished corpus is known by its index alone (:func:`finished_corpus`). One run at a time writes:
the lock is the kernel's and goes with the process.
"""

from __future__ import annotations

import json
import os
import socket
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from depthforge.corpus.companions import translator_card
from depthforge.corpus.croissant import croissant
from depthforge.corpus.dataset_card import dataset_card
from depthforge.corpus.frame_index import FrameIndex, is_sealed, write_index
from depthforge.corpus.index import CorpusTotals, FileDigest, ShardCommit, intact_commit, parts
from depthforge.corpus.layout import CORPUS_FILE, CorpusInfo, Layout
from depthforge.corpus.plan_file import read_plan
from depthforge.corpus.rejects import Reason, reasons
from depthforge.corpus.replacement import begin_replacement, complete_replacement, is_pending, seal_replacement
from depthforge.corpus.summary import summarise
from depthforge.durable import storage_errors
from depthforge.errors import (
    CorpusBusyError,
    CorpusError,
    CorpusMismatchError,
    DepthforgeError,
    IncompleteError,
    StorageError,
    told,
)
from depthforge.frame import Finding
from depthforge.identity import differences
from depthforge.plan import WorkItem
from depthforge.storage import Lock, Place, Storage, name_order, open_storage

__all__ = ["CorpusStore", "CorpusTotals", "finished_corpus", "open_for_writing"]


@contextmanager
def open_for_writing(
    root: Place, info: CorpusInfo, plan_file: Path, *, overwrite: bool = False
) -> Iterator[CorpusStore]:
    """Open the corpus at ``root`` (made if need be) for one run that writes what ``info`` and the plan describe.

    A corpus of the same fingerprint is gone on with; ``overwrite`` replaces whatever corpus is there, which stays as it
    is until the new one is whole. So does a run of more frames than a trial with a lower ``limit`` had. Raises
    CorpusBusyError when another run holds it, CorpusMismatchError when it was made from something else, CorpusError
    when the directory holds other files, StorageError when it cannot be written.
    """
    storage = open_storage(root)
    with storage_errors(storage.address):
        if not is_pending(storage):
            _refuse_strangers(storage)
        lock = storage.try_lock(Layout.lock)
    if lock is None:
        raise CorpusBusyError(
            "another run is writing this corpus",
            where=storage.address,
            found=_owner_of_lock(storage),
            remedy="wait for it to end, or choose another --out" + _when_free(storage),
        )
    try:
        with storage_errors(storage.address):
            start = datetime.now(UTC).isoformat(timespec="seconds")
            lock.sign(f"process {os.getpid()} on {socket.gethostname()}, started {start}")
            if is_pending(storage):  # of a run that was killed as it ended
                _replace(storage)
            replaces = storage.exists(Layout.info) and (overwrite or _is_trial(storage, info))
            place = begin_replacement(storage) if replaces else storage
            if replaces and place.children() and not _is_of(place, info):
                _remove_corpus(place)
            _start_or_resume(place, info, plan_file)
        store = CorpusStore(place, info, lock, replaces=replaces)
        yield store
        if replaces and store.is_finished:
            store.require_lock()
            with storage_errors(storage.address):
                seal_replacement(storage)
                _replace(storage)
    finally:
        lock.release()


def finished_corpus(root: Place) -> tuple[CorpusInfo, FrameIndex] | None:
    """Return what a finished corpus is and its index; None when there is none at ``root``, or not all of it.

    Reads three small files and lists two folders: no shard is opened, so a file that went from one is ``verify``'s to
    find.
    """
    storage = open_storage(root)
    if not (storage.exists(Layout.info) and storage.exists(Layout.sums) and is_sealed(storage)):
        return None
    try:
        info = CorpusInfo.load(storage)
        index = FrameIndex(storage, info)
    except DepthforgeError:
        return None  # the run that follows says what is wrong, or mends it
    there = set(parts(storage)), set(storage.children(Layout.shards))
    needed = {at.shard for at in index.shards}, {f"{at.shard}.zarr" for at in index.shards if at.num_frames}
    if len(index.shards) != info.plan.num_shards or not all(map(set.issubset, needed, there)):
        return None
    return info, index


class CorpusStore:
    """A corpus that this run may write to; made by :func:`open_for_writing`."""

    def __init__(self, storage: Storage, info: CorpusInfo, lock: Lock, *, replaces: bool = False) -> None:
        self.storage = storage
        self.info = info
        self.replaces = replaces
        """True when an older corpus stays at its place until this one is whole."""
        self._lock = lock
        self._known: dict[str, ShardCommit] = {}

    def require_lock(self) -> None:
        """Raise CorpusBusyError when another run has taken the corpus over, which can happen in an object store."""
        if not self._lock.is_held:
            raise CorpusBusyError(
                "this run has lost the corpus: it did not answer for so long that its lock became free",
                where=self.storage.address,
                expected=f"a run that renews its lock every {self.storage.lets_go_after_s:.0f} s",
                found=_owner_of_lock(self.storage),
                remedy="run the same command again, when no other runs: committed shards are kept",
            )

    @property
    def is_finished(self) -> bool:
        """True when every planned shard is committed and the index of the whole and the checksums are written."""
        written = self.storage.exists(Layout.sums) and is_sealed(self.storage)
        return written and len(self._commits()) == self.info.plan.num_shards

    def committed(self) -> set[str]:
        """Return the names of the shards that are done."""
        return set(self._commits())

    def pending(self) -> Iterator[WorkItem]:
        """Yield the shards that are still to do, in the order of the plan."""
        done = self.committed()
        return (item for item in read_plan(self.storage.open(Layout.plan).file()) if item.shard not in done)

    def totals(self) -> CorpusTotals:
        """Return what is committed now."""
        return CorpusTotals.of(self._commits().values())

    def rejects_by_error(self) -> Counter[str]:
        """Return how many frames were rejected, by class of error."""
        counts: Counter[str] = Counter()
        for commit in self._commits().values():
            counts.update(commit.rejects_by_error)
        return counts

    def reasons(self) -> list[Reason]:
        """Return why frames were rejected, commonest first."""
        return reasons(self.storage)

    def forget_rejects(self) -> int:
        """Take back the commit of every shard that has rejects, so that it is made again; return how many."""
        shards = [name for name, commit in self._commits().items() if commit.num_rejects]
        if shards:
            self.reopen()
            self.storage.delete(*(Layout.index_part(name) for name in shards))
        for name in shards:
            del self._known[name]
        return len(shards)

    def reopen(self) -> None:
        """Take back what says that the corpus is finished, its report and tables of tasks, before any of it changes."""
        self.storage.delete(Layout.sums)
        self.storage.delete(Layout.index_whole, Layout.report_page)
        self.storage.delete_prefix(Layout.tasks)

    def keep(self, files: Mapping[str, bytes]) -> None:
        """Keep a translator's ``files`` (content by name) in ``translator/``, each whole or not at all."""
        if files:
            self.storage.remove_leftovers(Layout.translator)
        for name, content in files.items():
            self.storage.write(f"{Layout.translator}/{name}", content)

    def finish(self, findings: Sequence[Finding] = ()) -> None:
        """Write the index of the whole, the dataset card, the Croissant metadata and, last, ``SHA256SUMS`` over all.

        Raises IncompleteError when a planned shard is not committed. Digests of shards come from their commits:
        nothing is read again but the small files.
        """
        self.require_lock()
        commits = self._commits()
        if len(commits) != self.info.plan.num_shards:
            raise IncompleteError(
                "the corpus is not complete",
                where=self.storage.address,
                expected=f"{self.info.plan.num_shards} shards",
                found=len(commits),
                remedy="run the same command again: committed shards are kept",
            )
        storage = self.storage
        with storage_errors(storage.address):
            storage.remove_leftovers(Layout.shards, Layout.index, Layout.rejects)
            left_out = sum(finding.severity == "error" for finding in findings)
            write_index(storage, self.info, commits, left_out=left_out)
            digests = {name: digest for commit in commits.values() for name, digest in commit.files.items()}
            for name in self._small_files():
                digests[name] = FileDigest.of(storage, name)
            trained = translator_card(storage)
            card = dataset_card(self.info, summarise(storage), findings, trained).encode()
            digests[Layout.card] = _written(storage, Layout.card, card)
            metadata = croissant(self.info, digests, published=datetime.now(UTC).date(), trained=trained)
            digests[Layout.croissant] = _written(storage, Layout.croissant, metadata)
            lines = (f"{digests[name].sha256}  {name}\n" for name in sorted(digests, key=name_order))
            storage.write(Layout.sums, "".join(lines).encode())

    def _small_files(self) -> Iterator[str]:
        """Yield every file that no commit covers: the description, the plan, the index, the translator."""
        yield from (Layout.info, Layout.plan, Layout.index_whole)
        yield from (Layout.index_part(shard) for shard in self._commits())
        yield from (name for name, _ in self.storage.objects(Layout.translator))

    def _commits(self) -> dict[str, ShardCommit]:
        """Return every commit by shard; a footer is read once, for only this run adds or removes index parts."""
        for shard in parts(self.storage):
            if shard not in self._known:
                commit = intact_commit(self.storage, shard, self.info.fingerprint)
                if commit is not None:
                    self._known[shard] = commit
        return self._known


def _written(storage: Storage, name: str, content: bytes) -> FileDigest:
    storage.write(name, content)
    return FileDigest.of_bytes(content)


def _refuse_strangers(storage: Storage) -> None:
    """Raise CorpusError when the storage holds files but no corpus: they are not ours to touch."""
    others = storage.children()
    if others and not _is_corpus(storage):
        raise CorpusError(
            "the directory holds other files and no corpus",
            where=storage.address,
            expected=f"an empty directory, or one with a {CORPUS_FILE} of ours",
            found=told(others),
            remedy="choose another --out; files that depthforge did not write are never removed",
        )


def _is_corpus(storage: Storage) -> bool:
    """Say whether the storage holds a corpus, its description damaged or not: its plan is a witness then."""
    try:
        value = json.loads(storage.read(Layout.info))
    except FileNotFoundError:
        return False
    except StorageError:
        raise
    except (OSError, ValueError):
        value = None
    described = isinstance(value, dict) and {"format_version", "fingerprint"} <= value.keys()
    return described or _is_parquet(storage, Layout.plan)


def _owner_of_lock(storage: Storage) -> str:
    owner = storage.lock_owner(Layout.lock)
    if owner is None:
        return "a process that has just ended"
    return owner or "a process that has just started"


def _when_free(storage: Storage) -> str:
    seconds = storage.lets_go_after_s
    return f"; if it died on another machine, its lock is free {seconds:.0f} s after" if seconds else ""


def _replace(storage: Storage) -> None:
    # Where the new description has moved already, what is there is the new corpus.
    if storage.exists(Layout.info) and begin_replacement(storage).exists(Layout.info):
        _remove_corpus(storage)
    complete_replacement(storage)


def _is_trial(storage: Storage, info: CorpusInfo) -> bool:
    """Say whether what is there is the same corpus with fewer frames, by a lower ``limit``."""
    try:
        old = CorpusInfo.load(storage).identity
    except DepthforgeError:
        return False
    fewer, more = old.get("limit"), info.identity.get("limit")
    if fewer is None or (more is not None and more <= fewer):
        return False
    of_frames = {"limit", "plan"}
    rest = ({name: value for name, value in each.items() if name not in of_frames} for each in (old, info.identity))
    return next(rest) == next(rest)


def _is_of(storage: Storage, info: CorpusInfo) -> bool:
    """Say whether what is there was begun for the same corpus."""
    try:
        return CorpusInfo.load(storage).fingerprint == info.fingerprint
    except DepthforgeError:
        return False


def _remove_corpus(storage: Storage) -> None:
    """Remove what a corpus consists of, the description last; anything else in the directory stays."""
    storage.delete(Layout.sums)
    storage.delete(Layout.index_whole)
    for prefix in (
        Layout.plans,
        Layout.shards,
        Layout.index,
        Layout.rejects,
        Layout.translator,  # these were put there by other stages
        Layout.report,
        Layout.tasks,
    ):
        storage.delete_prefix(prefix)
    storage.delete(Layout.croissant, Layout.card)
    storage.delete(Layout.info)


def _start_or_resume(storage: Storage, info: CorpusInfo, plan_file: Path) -> None:
    if storage.exists(Layout.info):
        _require_same(CorpusInfo.load(storage), info, storage)
    else:
        storage.write(Layout.info, info.to_bytes())
    storage.remove_leftovers("", Layout.plans, Layout.shards, Layout.index, Layout.rejects)
    if not _is_parquet(storage, Layout.plan):
        storage.write(Layout.plan, plan_file.read_bytes())


def _is_parquet(storage: Storage, name: str) -> bool:
    try:
        pq.read_metadata(storage.open(name).file())
    except (OSError, pa.ArrowException):
        return False
    return True


def _require_same(old: CorpusInfo, new: CorpusInfo, storage: Storage) -> None:
    if old.fingerprint == new.fingerprint:
        return
    changed = differences(old.identity, new.identity)
    # What is listed follows from the rest of the manifest, where that differs.
    asked = [each for each in changed if not each.startswith("plan.")]
    remedy = "choose another --out, or --overwrite to replace that corpus when the new one is whole"
    if asked:
        found = "; ".join(asked)
    else:
        found = "; ".join(changed) + ": the source lists other frames, or in other shards"
        remedy = f"has the data changed? depthforge verify {storage.address} --source MANIFEST compares; {remedy}"
    raise CorpusMismatchError(
        "the directory holds a corpus that was made from something else",
        where=storage.address,
        expected=f"fingerprint {new.fingerprint}, not {old.fingerprint}",
        found=found,
        remedy=remedy,
    )
