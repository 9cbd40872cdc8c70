"""Versions of a corpus whose source grows: a folder of corpora, each whole, each of its own identity, none ever edited.

A version holds the shards of the accepted one before it, bit for bit (``corpus.reuse``), and new shards with the frames
that have come since; a scene stays in its split. What it is lies in files alone: ``v0001``, ``v0002``, ... are corpora;
``report/verdict.json`` in each says whether it was accepted; ``latest`` links to the last accepted one. A plan costs
the keys of the version before in memory, about 150 bytes a frame. The alternative, appending in place, would change
the identity of a corpus under whoever trains on it.
"""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import Any, Final, Self

from depthforge.corpus.companions import is_corpus, planned, put_verdict, verdict
from depthforge.corpus.layout import CorpusInfo
from depthforge.corpus.plan_file import PlanSummary, write_plan
from depthforge.durable import storage_errors, sync_directory
from depthforge.errors import CorpusMismatchError, DepthforgeError, InputError, told
from depthforge.frame import FrameRef
from depthforge.identity import differences
from depthforge.manifest import Manifest
from depthforge.plan import WorkItem, plan_shards, split_of
from depthforge.stages.prepare import Planner
from depthforge.storage import open_storage

__all__ = ["LATEST", "Version", "Versions", "as_planned", "grown_from", "require_same_but_frames"]

LATEST: Final = "latest"


@dataclass(frozen=True, slots=True)
class Version:
    """One corpus of the folder; ``verdict`` is None until it was judged."""

    folder: Path
    verdict: dict[str, Any] | None

    @classmethod
    def at(cls, folder: Path) -> Self:
        """Return the version in ``folder``; one whose verdict cannot be read was not judged."""
        return cls(folder, verdict(open_storage(folder)))

    @property
    def is_accepted(self) -> bool:
        """True for one that was judged and found good."""
        return self.verdict is not None and self.verdict.get("accepted") is True

    @property
    def info(self) -> CorpusInfo:
        """What the corpus says of itself."""
        return CorpusInfo.load(self.folder)

    def plan(self) -> Iterator[WorkItem]:
        """Return which frame lies in which shard."""
        return planned(open_storage(self.folder)) or iter(())

    def judge(self, found: dict[str, Any]) -> Version:
        """Keep ``found`` beside the corpus, whose ``report/`` is no part of its hashes."""
        put_verdict(open_storage(self.folder), found)
        return Version(self.folder, found)


@dataclass(frozen=True, slots=True)
class Versions:
    """What the folder ``out`` holds, oldest first."""

    out: Path
    all: tuple[Version, ...]

    @classmethod
    def of(cls, out: Path) -> Self:
        """Look at ``out``; raises InputError where it is itself a corpus."""
        if is_corpus(open_storage(out)):
            raise InputError(
                "corpus.out is a corpus, and versions of one lie in a folder of their own",
                where=out,
                remedy="--out another folder; the corpus there is not touched",
            )
        names = (
            sorted(name for name in os.listdir(out) if name[:1] == "v" and name[1:].isdecimal()) if out.is_dir() else []
        )
        return cls(out, tuple(Version.at(out / name) for name in names))

    @property
    def accepted(self) -> Version | None:
        """The last one that was found good."""
        return next((version for version in reversed(self.all) if version.is_accepted), None)

    @property
    def begun(self) -> Version | None:
        """The last one, if it was begun, described and not judged: what is not whole is finished first."""
        last = self.all[-1] if self.all else None
        if last is None or last.verdict is not None or planned(open_storage(last.folder)) is None:
            return None
        try:
            last.info  # noqa: B018
        except DepthforgeError:
            return None
        return last

    def next(self) -> Version:
        """Return the version after all that there are; its folder is not made."""
        number = int(self.all[-1].folder.name[1:]) + 1 if self.all else 1
        return Version(self.out / f"v{number:04d}", None)

    def point_to(self, version: Version) -> None:
        """Let ``latest`` lead to ``version``, from one moment to the next."""
        link, temporary = self.out / LATEST, self.out / f".{LATEST}.tmp"
        with storage_errors(link):
            temporary.unlink(missing_ok=True)
            temporary.symlink_to(version.folder.name)
            os.replace(temporary, link)
            sync_directory(self.out)


def as_planned(version: Version) -> Planner:
    """Return a planner that plans what ``version`` was begun with, whatever the source lists now."""

    def plan(manifest: Manifest, refs: Iterable[FrameRef], plan_file: Path) -> PlanSummary:
        for _ in refs:  # whoever watches the listing samples it
            pass
        return write_plan(plan_file, version.plan())

    return plan


def grown_from(base: Version) -> Planner:
    """Return a planner that keeps the shards of ``base`` and puts what is new into shards after them.

    Its plan is that of ``base`` where nothing is new. It raises InputError where frames of ``base`` are gone.
    """

    def plan(manifest: Manifest, refs: Iterable[FrameRef], plan_file: Path) -> PlanSummary:
        known: set[str] = set()
        splits: dict[str, str] = {}
        counts: Counter[str] = Counter()
        for item in base.plan():
            counts[item.split] += 1
            for ref in item.frames:
                known.add(ref.key)
                splits[ref.scene] = item.split
        seen = 0

        def fresh() -> Iterator[FrameRef]:
            nonlocal seen
            for ref in refs:
                if ref.key in known:
                    seen += 1
                    continue
                splits.setdefault(ref.scene, split_of(ref.scene, manifest.splits, manifest.seed))
                yield ref

        new = plan_shards(
            fresh(),
            splits=manifest.splits,
            seed=manifest.seed,
            shard_frames=manifest.corpus.shard_frames,
            assigned=splits,
        )
        after = (_after(item, counts[item.split]) for item in new)
        summary = write_plan(plan_file, chain(base.plan(), after))
        if seen < len(known):
            raise InputError(
                "the source has lost frames that the version before holds",
                where=base.folder,
                expected=f"all of its {len(known)} frames, and new ones",
                found=f"{seen} of them",
                remedy="bring them back, or begin anew in another corpus.out",
            )
        return summary

    return plan


def require_same_but_frames(base: CorpusInfo, grown: CorpusInfo, where: Path) -> None:
    """Raise CorpusMismatchError where two versions differ in more than in which frames they hold."""
    old, new = ({name: each.identity[name] for name in each.identity if name != "plan"} for each in (base, grown))
    changed = differences(old, new)
    if changed:
        raise CorpusMismatchError(
            "the manifest is not that of the versions before",
            where=where,
            expected="the same in everything but the frames of the source",
            found=told(changed, joint="; "),
            remedy="begin anew in another corpus.out",
        )


def _after(item: WorkItem, num_before: int) -> WorkItem:
    number = int(item.shard.rpartition("-")[2]) + num_before
    return WorkItem(f"{item.split}-{number:06d}", item.split, item.frames)
