"""New corpora of the frames of finished ones: some of one (``select``), or all of several (``append``).

Nothing is edited in place: the new corpus has an identity of its own, whose provenance names its parents, and its
arrays are theirs, copied as they are encoded (``depthforge.corpus.copying``). Keys, of which every frame has one, are
held.
"""

from __future__ import annotations

import os
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import Any, Final

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from depthforge.corpus.companions import planned, translator_files
from depthforge.corpus.copying import CopyJob, CopyPiece
from depthforge.corpus.layout import CorpusInfo
from depthforge.corpus.plan_file import write_plan
from depthforge.corpus.reader import CorpusReader
from depthforge.corpus.schema import CorpusSchema
from depthforge.corpus.store import CorpusStore, open_for_writing
from depthforge.corpus.where import Where
from depthforge.corpus.writer import ShardReceipt
from depthforge.errors import IncompleteError, InputError, told
from depthforge.frame import FrameRef
from depthforge.plan import plan_shards, split_of
from depthforge.progress import Progress, Silent
from depthforge.stages.cluster import STALL_LIMIT_S, RayOptions
from depthforge.stages.convert import ConversionReport
from depthforge.stages.crew import Failure, in_words
from depthforge.stages.runners import run_inline, run_on_ray
from depthforge.stages.work import Counted

__all__ = ["append_corpora", "select_frames"]

_VERSION: Final = 1


def select_frames(
    corpus: Path,
    out: Path,
    *,
    where: str | None = None,
    splits: Mapping[str, float] | None = None,
    seed: int = 0,
    **options: Any,
) -> ConversionReport:
    """Make a corpus at ``out`` of the frames of ``corpus`` that ``where`` holds for, scenes split anew by ``splits``.

    ``options`` are those of how it runs: ``num_workers``, ``inline``, ``address``, ``stall_limit_s``, ``progress``.
    Raises InputError and UnknownNameError for a condition that is none, or that no frame fulfils, and what
    ``CorpusReader``, ``open_for_writing`` and the runners raise.
    """
    reader = CorpusReader(corpus)
    chosen = np.ones(len(reader), np.bool_) if where is None else Where(where, reader.schema).mask(reader.index)
    if not chosen.any():
        raise InputError(
            "no frame fulfils the condition",
            where=f"--where {where!r}",
            found=f"{len(reader)} frames in {reader.address}",
            remedy="depthforge inspect CORPUS shows the ranges",
        )
    asked = {"where": where, "splits": None if splits is None else dict(splits), "seed": seed}
    return _make("select", [reader], [chosen], out, asked, splits, seed, **options)


def append_corpora(corpora: Sequence[Path], out: Path, **options: Any) -> ConversionReport:
    """Make a corpus at ``out`` of all frames of ``corpora``, which one sensor and one schema made.

    ``options`` as of :func:`select_frames`. Raises InputError where they differ, or hold frames of the same key.
    """
    readers = [CorpusReader(corpus) for corpus in corpora]
    if len(readers) < 2:
        raise InputError("there is nothing to append", expected="two corpora or more", found=len(readers))
    for other in readers[1:]:
        _require_alike(readers[0], other)
    everything = [np.ones(len(reader), np.bool_) for reader in readers]
    return _make("append", readers, everything, out, {}, None, 0, **options)


def _make(
    made_by: str,
    parents: Sequence[CorpusReader],
    chosen: Sequence[npt.NDArray[np.bool_]],
    out: Path,
    asked: dict[str, Any],
    splits: Mapping[str, float] | None,
    seed: int,
    *,
    num_workers: int | None = None,
    inline: bool = False,
    address: str | None = None,
    stall_limit_s: float = STALL_LIMIT_S,
    progress: Progress | None = None,
) -> ConversionReport:
    start, progress = time.monotonic(), progress or Silent()
    first = parents[0].info
    schema = parents[0].schema
    frames = _Frames(parents, chosen, splits, seed)
    with tempfile.TemporaryDirectory() as folder:
        plan_file = Path(folder) / "plan.parquet"
        plan = write_plan(plan_file, (piece.item for piece in frames.pieces(schema.shard_frames)))
        provenance = {
            "made_by": made_by,
            **asked,
            "parents": [
                {"name": each.info.name, "fingerprint": each.fingerprint, "num_frames": len(each)} for each in parents
            ],
        }
        identity = {
            **provenance,
            "version": _VERSION,
            "schema": schema.to_json(),
            "plan": {"num_frames": plan.num_frames, "digest": plan.digest},
        }
        info = CorpusInfo.describe(
            name=first.name,
            identity=identity,
            manifest={**first.manifest, "made_from": provenance},
            source=first.source,
            translator=first.translator,
            schema=schema,
            plan=plan,
        )
        report = ConversionReport(str(out), info.fingerprint)
        with open_for_writing(out, info, plan_file) as store:
            report.nothing_to_do = store.is_finished
            if not report.nothing_to_do:
                store.reopen()
                store.keep(translator_files(parents[0].storage))
                job = CopyJob(
                    str(Path(store.storage.address).absolute()),
                    info.fingerprint,
                    schema,
                    tuple(str(Path(each.address).absolute()) for each in parents),
                )
                workers = RayOptions(
                    num_workers=num_workers if address else num_workers or len(os.sched_getaffinity(0)),
                    address=address,
                    stall_limit_s=stall_limit_s,
                )
                pending = {item.shard for item in store.pending()}
                pieces = (piece for piece in frames.pieces(schema.shard_frames) if piece.shard in pending)
                _run(pieces, job, store, report, progress, workers, inline=inline)
                store.finish()
            totals = store.totals()
            report.num_frames, report.num_shards = totals.num_frames, totals.num_shards
            report.stored_bytes = totals.stored_bytes
    report.seconds = time.monotonic() - start
    return report


def _run(
    pieces: Iterator[CopyPiece],
    job: CopyJob,
    store: CorpusStore,
    report: ConversionReport,
    progress: Progress,
    workers: RayOptions,
    *,
    inline: bool,
) -> None:
    failures: list[Failure] = []

    def done(result: ShardReceipt | Failure) -> None:
        if isinstance(result, Failure):
            failures.append(result)
            progress.warn(f"{result.shard}: {in_words(result.error)}")
            return
        report.made_shards += 1
        report.made_frames += result.num_frames
        progress.advance(frames=result.num_frames, rejects=0)

    progress.start(num_frames=store.info.plan.num_frames, done_frames=store.totals().num_frames)
    try:
        if inline:
            run_inline(pieces, Counted(job), done)
        else:
            run_on_ray(pieces, Counted(job), done, workers, progress.warn)
    finally:
        progress.stop()
    if failures:
        raise IncompleteError(
            f"{len(failures)} of {store.info.plan.num_shards} shards could not be copied",
            where=", ".join(failure.shard for failure in failures),
            found=in_words(failures[0].error),
            remedy="depthforge verify CORPUS says what is wrong with the corpus that they come from",
        )


class _Frames:
    """The frames of a new corpus in the order of their keys, with where each comes from."""

    def __init__(
        self,
        parents: Sequence[CorpusReader],
        chosen: Sequence[npt.NDArray[np.bool_]],
        splits: Mapping[str, float] | None,
        seed: int,
    ) -> None:
        keys = [
            reader.keys.combine_chunks().filter(pa.array(mask)) for reader, mask in zip(parents, chosen, strict=True)
        ]
        everything = pa.chunked_array(keys, pa.string()).combine_chunks()
        order = pc.sort_indices(everything).to_numpy()
        self._keys = everything.take(pa.array(order))
        self._parents = np.repeat(np.arange(len(parents)), [len(each) for each in keys])[order]
        self._positions = np.concatenate([np.flatnonzero(mask) for mask in chosen])[order]
        locators = [_locators(reader, own) for reader, own in zip(parents, keys, strict=True)]
        self._locators = pa.chunked_array(locators, pa.string()).combine_chunks().take(pa.array(order))
        names = self._keys.to_pylist()
        twice = [one for one, following in pairwise(names) if one == following]
        if twice:
            raise InputError(
                "two corpora hold a frame of the same key",
                where=", ".join(reader.address for reader in parents),
                found=told(twice),
                remedy="leave them out of one: depthforge select",
            )
        self._assigned = _splits_of_scenes(parents, names, self._parents, self._positions, splits, seed)

    def pieces(self, shard_frames: int) -> Iterator[CopyPiece]:
        """Yield the shards; the same each time."""
        origins: dict[str, tuple[int, int]] = {}

        def refs() -> Iterator[FrameRef]:
            rows = (
                self._keys.to_pylist(),
                self._locators.to_pylist(),
                self._parents.tolist(),
                self._positions.tolist(),
            )
            for key, locator, parent, position in zip(*rows, strict=True):
                origins[key] = (parent, position)
                yield FrameRef(key, locator)

        splits = dict.fromkeys(sorted(set(self._assigned.values())), 1.0)
        for item in plan_shards(refs(), splits=splits, seed=0, shard_frames=shard_frames, assigned=self._assigned):
            yield CopyPiece(item, tuple(origins.pop(ref.key) for ref in item.frames))


def _splits_of_scenes(
    parents: Sequence[CorpusReader],
    keys: Sequence[str],
    whose: npt.NDArray[np.int64],
    positions: npt.NDArray[np.int64],
    splits: Mapping[str, float] | None,
    seed: int,
) -> dict[str, str]:
    """Return the split of every scene: drawn anew, or that of the parents, which must agree."""
    if splits is not None:
        return {scene: split_of(scene, splits, seed) for scene in {key.rsplit("/", 1)[0] for key in keys}}
    columns = [reader.index.table(["split"])[0].to_pylist() for reader in parents]
    assigned: dict[str, str] = {}
    for key, parent, position in zip(keys, whose.tolist(), positions.tolist(), strict=True):
        scene, split = key.rsplit("/", 1)[0], columns[parent][position]
        if assigned.setdefault(scene, split) != split:
            raise InputError(
                "a scene is in two splits",
                where=scene,
                found=f"{assigned[scene]} and {split}",
                remedy="depthforge select CORPUS --splits train=0.8,val=0.2 splits one of them anew",
            )
    return assigned


def _locators(reader: CorpusReader, keys: pa.Array) -> pa.Array:
    """Return where the source finds each frame, from the plan of its corpus."""
    known: dict[str, str] = {}
    wanted = set(keys.to_pylist())
    for item in planned(reader.storage) or ():
        known.update((ref.key, ref.locator) for ref in item.frames if ref.key in wanted)
    return pa.array([known.get(key, "") for key in keys.to_pylist()], pa.string())


def _require_alike(first: CorpusReader, other: CorpusReader) -> None:
    """Raise InputError unless frames of both can stand in one corpus, which says one source, one noise, one schema."""
    told_of: dict[str, Callable[[CorpusReader], Any]] = {
        "the arrays of a frame": lambda each: _arrays(each.schema),
        "the source": lambda each: each.info.source.name,
        "the translator": lambda each: each.info.translator.fingerprint,
        "the seed": lambda each: each.info.manifest.get("seed"),
    }
    for what, of in told_of.items():
        expected, found = of(first), of(other)
        if expected != found:
            differing = (
                [
                    f"{name}: {expected.get(name)} and {found.get(name)}"
                    for name in sorted({*expected, *found})
                    if expected.get(name) != found.get(name)
                ]
                if isinstance(expected, dict)
                else [f"{expected} and {found}"]
            )
            raise InputError(
                f"{what} differ{'' if what.endswith('frame') else 's'}, so these corpora do not make one",
                where=f"{first.address}, {other.address}",
                expected="corpora of one source, one translator, one seed and one schema",
                found=told(differing, joint="; "),
                remedy="CorpusDataset([first, second]) reads corpora that differ as one",
            )


def _arrays(schema: CorpusSchema) -> dict[str, Any]:
    """Return what decides the arrays of a frame, the codec aside: what is encoded otherwise is encoded again."""
    value = replace(schema, shard_frames=1).to_json()
    fields = {spec["name"]: str(spec) for spec in (*value["fields"], *value["produced"])}
    kept = {name: str(value[name]) for name in ("height", "width", "depth", "colour", "noisy_depth")}
    return {**fields, **kept}
