"""A nightly run: what has come to a growing source becomes a new version of its corpus, held against real scans.

A version that was begun and not judged is finished first, as it was planned. Then, while the source lists frames that
the last accepted version lacks, a version is made of that one and them: committed shards are taken over, new ones are
converted, every file is verified, and the noise of the *new* frames is compared with the scans: measured on the whole
corpus, a bad night would vanish in a thousand good ones. One that lies too far off is kept, is not ``latest``, is no
base of the next, and ends the run.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from depthforge.addresses import local_folder
from depthforge.corpus.reader import CorpusReader
from depthforge.corpus.reuse import reuse_shards
from depthforge.corpus.store import open_for_writing
from depthforge.corpus.verify import verify_corpus
from depthforge.durable import storage_errors
from depthforge.errors import (
    CorpusBusyError,
    InputError,
    IntegrityError,
    RealismDriftError,
    UnknownNameError,
    told,
)
from depthforge.manifest import Manifest, NightlySettings
from depthforge.progress import Progress, Silent
from depthforge.realism.compare import DISTANCES, Comparison, evaluate_corpus
from depthforge.realism.views import source_views
from depthforge.stages.cluster import STALL_LIMIT_S
from depthforge.stages.convert import ConversionReport, convert
from depthforge.stages.evaluation import Evaluation
from depthforge.stages.prepare import Planner, Prepared, make_source, plan_whole, prepare
from depthforge.stages.recording import scans_of
from depthforge.stages.versions import LATEST, Version, Versions, as_planned, grown_from, require_same_but_frames
from depthforge.storage import open_storage

__all__ = ["Night", "complaints", "nights"]

_NOISY = "noisy"


@dataclass(frozen=True)
class Night:
    """A version that was made or finished: what the conversion did, how many shards it took over, what was measured.

    ``evaluation`` is None where the manifest has no ``nightly`` block, or no new frame was converted; ``drift`` says,
    a line each, what lies too far from the real scans.
    """

    version: Version
    report: ConversionReport
    reused_shards: int
    evaluation: Evaluation | None
    drift: tuple[str, ...]

    def require_close(self) -> None:
        """Raise RealismDriftError where the version was not accepted."""
        if self.drift:
            raise RealismDriftError(
                "the realism of the new frames has drifted",
                where=self.version.folder,
                found="".join(f"\n    {line}" for line in self.drift),
                remedy=f"look at {self.version.folder}/report/index.html; {LATEST} is still the version before; mend "
                "the new scenes, or raise the limits in the manifest (nightly), and run the same command again",
            )

    def to_json(self) -> dict[str, Any]:
        """Return plain data."""
        measured = None if self.evaluation is None else _distances(self.evaluation.unpaired)
        return {
            **self.report.to_json(),
            "version": self.version.folder.name,
            "accepted": not self.drift,
            "reused_shards": self.reused_shards,
            "distances": measured,
            "drift": list(self.drift),
        }


def nights(
    manifest: Manifest,
    *,
    num_workers: int | None = None,
    inline: bool = False,
    address: str | None = None,
    stall_limit_s: float = STALL_LIMIT_S,
    progress: Progress | None = None,
) -> Iterator[Night]:
    """Make and judge versions in ``corpus.out`` until the last one holds all that the source lists; yield each.

    Ends after one that was not accepted. Nothing is yielded where nothing is new. Raises what ``prepare``, ``convert``
    and the comparison raise, InputError for a manifest that has a ``limit``, CorpusMismatchError for one that is not
    that of the versions before, CorpusBusyError when another run works here, IntegrityError when a version does not
    verify.
    """
    progress = progress or Silent()
    _require_fit(manifest)
    options: dict[str, Any] = {"num_workers": num_workers, "inline": inline, "address": address}
    options |= {"stall_limit_s": stall_limit_s, "progress": progress}
    with _alone(local_folder(manifest.corpus.out, where="corpus.out")):
        while (night := _night(manifest, options, progress)) is not None:
            yield night
            if night.drift:
                return


def complaints(
    settings: NightlySettings, distances: Mapping[str, float | None], before: Mapping[str, float | None]
) -> list[str]:
    """Return, a line each, what lies farther from the real scans than ``settings`` allow.

    ``before`` are the distances of the version before, empty for the first. A figure that cannot be measured is one.
    """
    found = []
    for name, most in settings.at_most.items():
        value = distances[name]
        if value is None or value > most:
            found.append(f"{name}: {_cell(value)}, at most {most:g} (at_most)")
    for name, rise in settings.rise_at_most.items():
        value, old = distances[name], before.get(name)
        if old is not None and (value is None or value > old + rise):
            found.append(f"{name}: {_cell(value)} after {old:.4g}, may rise by {rise:g} (rise_at_most)")
    return found


def _night(manifest: Manifest, options: dict[str, Any], progress: Progress) -> Night | None:
    """Finish the version that was begun, or make the next; None where nothing is new."""
    versions = Versions.of(local_folder(manifest.corpus.out))
    base, begun = versions.accepted, versions.begun
    with prepare(manifest, progress.note, planner=_planner(base, begun)) as prepared:
        if base is not None:
            require_same_but_frames(base.info, prepared.info, base.folder)
            if begun is None and prepared.info.fingerprint == base.info.fingerprint:
                return None
        if manifest.nightly is not None and not prepared.schema.noisy_depth:
            raise InputError("the translator makes no noisy depth to hold against scans", where="nightly")
        # One that was not accepted is never taken up again: its frames may have been mended since, under their names.
        version = begun or versions.next()
        for finding in prepared.findings:
            progress.warn(f"{finding.path}: {finding.message}")
        reused, report = _make(version, base, prepared, options, progress)
    fresh = _shards(version) - (_shards(base) if base is not None else frozenset())
    evaluation, drift, verdict = _judged(manifest.nightly, version, base, fresh, progress)
    version = version.judge({**verdict, "accepted": not drift, "drift": drift})
    if not drift:
        versions.point_to(version)
    return Night(version, report, reused, evaluation, tuple(drift))


def _planner(base: Version | None, begun: Version | None) -> Planner:
    if begun is not None:
        return as_planned(begun)
    return plan_whole if base is None else grown_from(base)


def _make(
    version: Version, base: Version | None, prepared: Prepared, options: dict[str, Any], progress: Progress
) -> tuple[int, ConversionReport]:
    """Take over the shards of ``base``, convert the others, and verify all files."""
    reused = 0
    with open_for_writing(version.folder, prepared.info, prepared.plan_file) as store:
        if base is not None and not store.is_finished:
            reused = reuse_shards(store, base.folder)
            progress.note(f"{version.folder}: {reused} shards of {base.folder.name} are taken over")
    report = convert(prepared, out=version.folder, **options)
    verdict = verify_corpus(version.folder, deep=False)
    if not verdict.ok:
        raise IntegrityError(
            "the version does not verify",
            where=version.folder,
            found=told(verdict.problems, joint="; "),
            remedy=f"depthforge verify {version.folder}",
        )
    return reused, report


def _judged(
    settings: NightlySettings | None,
    version: Version,
    base: Version | None,
    fresh: frozenset[str],
    progress: Progress,
) -> tuple[Evaluation | None, list[str], dict[str, Any]]:
    """Measure the new frames; return the evaluation, what is too far off, and what the verdict keeps."""
    if settings is None:
        return None, [], {}
    if not any(at.num_frames for at in CorpusReader(version.folder).index.shards if at.shard in fresh):
        progress.warn(f"{version.folder}: no new frame was converted, and nothing is measured")
        return None, [], {}
    scans = source_views(make_source(scans_of(settings.real)), 2 * settings.frames)
    comparison = evaluate_corpus(version.folder, scans, num_frames=settings.frames, shards=fresh)
    distances = _distances(comparison)
    before = (base.verdict or {}).get("distances", {}) if base is not None else {}
    return Evaluation(None, comparison), complaints(settings, distances, before), {"distances": distances}


def _distances(comparison: Comparison) -> dict[str, float | None]:
    return {name: comparison.value(name, _NOISY) for name in DISTANCES}


def _shards(version: Version) -> frozenset[str]:
    return frozenset(item.shard for item in version.plan())


def _require_fit(manifest: Manifest) -> None:
    if manifest.limit is not None:
        raise InputError(
            "a nightly run takes all that is new", where="limit", found=manifest.limit, remedy="leave it out"
        )
    if manifest.nightly is not None:
        for field in ("at_most", "rise_at_most"):
            for name in getattr(manifest.nightly, field):
                if name not in DISTANCES:
                    raise UnknownNameError("distance", name, DISTANCES, where=f"nightly.{field}")


@contextmanager
def _alone(out: Path) -> Iterator[None]:
    """Hold the folder of versions for this run."""
    storage = open_storage(out)
    with storage_errors(out):
        lock = storage.try_lock(".lock")
    if lock is None:
        raise CorpusBusyError(
            "another nightly run works here", where=out, found=storage.lock_owner(".lock"), remedy="wait for it to end"
        )
    try:
        yield
    finally:
        lock.release()


def _cell(value: float | None) -> str:
    return "cannot be measured" if value is None else f"{value:.4g}"
