"""From a manifest to everything a run needs: plug-ins, schema, plan and fingerprint.

All that can be checked is checked here, before a worker starts: names, labels, the data on disk.
"""

from __future__ import annotations

import errno
import heapq
import tempfile
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from itertools import islice
from pathlib import Path
from typing import Any

from depthforge import registry
from depthforge.corpus.layout import FORMAT_VERSION, CorpusInfo, PlanInfo, SourceInfo, TranslatorInfo
from depthforge.corpus.plan_file import PlanSummary, read_plan, write_plan
from depthforge.corpus.schema import DEPTH_CLEAN, DEPTH_NOISY, CorpusSchema
from depthforge.encoding import ColourEncoding
from depthforge.errors import FrameError, InputError, StorageError
from depthforge.frame import RGB_FILE, Finding, FrameRef
from depthforge.identity import changed_fields
from depthforge.labels.catalogue import INTRINSICS, POSE, RGB
from depthforge.labels.spec import LabelSpec
from depthforge.manifest import Manifest, PluginBlock
from depthforge.plan import plan_shards, splits_by_rank
from depthforge.sources.base import Note, Preparation, Source, SourceConfig, say_nothing
from depthforge.sources.resized import build_source
from depthforge.sources.soundness import Examined, RunSampler, examine, require_plausible
from depthforge.stages.acceptance import acceptance, require_known_labels, wanted_labels
from depthforge.stages.pipelining import Rejected, attempt
from depthforge.translators.base import Translator

__all__ = [
    "Planner",
    "Prepared",
    "corpus_identity",
    "describe",
    "make_source",
    "make_translator",
    "prepare",
    "schema_of",
]


Planner = Callable[[Manifest, Iterable[FrameRef], Path], PlanSummary]
"""Writes the plan of a listing, which it goes through to its end, to a file."""

# Frames at the head of a plan in which colour is looked for.
_LOOKED_AT = 16


@dataclass(frozen=True)
class Prepared:
    """A run that is ready to start. ``plan_file`` lives as long as the context of :func:`prepare`.

    In a dry run ``to_prepare`` is what the source has to make first; the plan is of its ``candidates`` then.
    ``refused`` is why some of the frames that were looked at will be rejected.
    """

    manifest: Manifest
    source: Source
    translator: Translator
    schema: CorpusSchema
    plan: PlanSummary
    plan_file: Path
    info: CorpusInfo
    findings: tuple[Finding, ...]
    to_prepare: Preparation | None = None
    refused: tuple[FrameError, ...] = ()


def plan_whole(manifest: Manifest, refs: Iterable[FrameRef], plan_file: Path) -> PlanSummary:
    """Write the plan; where a split came out empty and scenes suffice, once more with scenes in splits by rank."""
    options: dict[str, Any] = {
        "splits": manifest.splits,
        "seed": manifest.seed,
        "shard_frames": manifest.corpus.shard_frames,
    }
    plan = write_plan(plan_file, plan_shards(refs, limit=manifest.limit, **options))
    asked = {name for name, share in manifest.splits.items() if share > 0}
    if asked <= plan.frames_per_split.keys():
        return plan
    scenes = {ref.scene for ref in _frames_of(plan_file)}
    if len(scenes) < len(asked):
        return plan
    by_hash = plan_file.rename(plan_file.with_name("by-hash.parquet"))
    in_order = heapq.merge(*(_frames_of(by_hash, split) for split in plan.frames_per_split), key=lambda ref: ref.key)
    assigned = splits_by_rank(scenes, manifest.splits, manifest.seed)
    return write_plan(plan_file, plan_shards(in_order, assigned=assigned, **options))


@contextmanager
def prepare(
    manifest: Manifest, note: Note = say_nothing, *, dry_run: bool = False, planner: Planner = plan_whole
) -> Iterator[Prepared]:
    """Check ``manifest`` against its plug-ins and its data, and plan the run, by ``planner``.

    What the source has to make once (``Source.prepare``) is made here, and told to ``note``; in a dry run it is not.

    Raises UnknownNameError for a label that the source does not have, MissingDataError when there is nothing to
    read, InputError when the listing is unsound or values are implausible (``sources.soundness``), StorageError when
    the temporary folder has no room for the plan.
    """
    manifest = manifest.with_weights()
    source = make_source(manifest.source)
    translator = make_translator(manifest.translator)
    schema = schema_of(manifest, source, translator)
    if not dry_run:
        source.prepare(note)
    to_prepare = source.to_prepare() if dry_run else None
    listing = source.frames if to_prepare is None else source.candidates
    findings: list[Finding] = []
    sampler = RunSampler()
    with tempfile.TemporaryDirectory(prefix="depthforge-plan-") as folder:
        plan_file = Path(folder) / "frames.parquet"
        try:
            plan = planner(manifest, sampler.watch(listing(findings.append)), plan_file)
        except OSError as error:
            if error.errno not in (errno.ENOSPC, errno.EDQUOT):
                raise
            raise StorageError(
                "there is no room for the plan", where=folder, remedy="free some space there, or set TMPDIR"
            ) from error
        if plan.num_frames == 0:
            raise InputError("the source holds no frame", where=source.name, remedy="depthforge check MANIFEST")
        findings += _empty_splits(manifest, plan)
        refused: list[FrameError] = []
        try:
            if to_prepare is None:
                examined = _examine(manifest, source, translator, sampler)
                findings += examined.findings
                refused = examined.refused
            if manifest.corpus.colour != "lossless" and any(spec.name == RGB.name for spec in schema.fields):
                schema = replace(schema, colour=_colour(manifest, source, plan_file))
        finally:
            source.close()
        info = describe(manifest, source, translator, schema, plan)
        yield Prepared(
            manifest, source, translator, schema, plan, plan_file, info, tuple(findings), to_prepare, tuple(refused)
        )


def _frames_of(plan_file: Path, split: str | None = None) -> Iterator[FrameRef]:
    """Yield the planned frames, in key order within a split."""
    return (ref for item in read_plan(plan_file) if split in (None, item.split) for ref in item.frames)


def _empty_splits(manifest: Manifest, plan: PlanSummary) -> list[Finding]:
    """Return a warning for each split that got no scene: there are fewer scenes than splits."""
    return [
        Finding(
            "warning",
            f"splits.{name}",
            f"the split {name!r} is empty: {share:.0%} of the scenes were to be its, and none is",
            "there are fewer scenes than splits, and scenes are never divided; use fewer splits, or name more scenes "
            "apart in the source block",
        )
        for name, share in manifest.splits.items()
        if share > 0 and not plan.frames_per_split.get(name)
    ]


def _examine(manifest: Manifest, source: Source, translator: Translator, sampler: RunSampler) -> Examined:
    wanted = wanted_labels(manifest.labels, source, translator)
    if source.ships_colour_files and RGB.name in wanted:
        wanted = wanted - {RGB.name} | {RGB_FILE}  # the file is enough to look at, and quicker
    examined = examine(source, sampler.runs, wanted, acceptance(manifest, source, translator))
    if len(examined.refused) < examined.num_frames or manifest.max_reject_fraction < 1:
        require_plausible(source, examined.findings)
    return examined


def make_source(block: PluginBlock) -> Source:
    """Build the source that a manifest names."""
    assert isinstance(block.config, SourceConfig)
    return build_source(block.name, block.config)


def make_translator(block: PluginBlock) -> Translator:
    """Build the translator that a manifest names."""
    translator: Translator = registry.translators.get(block.name)(block.config)
    return translator


def schema_of(manifest: Manifest, source: Source, translator: Translator) -> CorpusSchema:
    """Return the arrays of the corpus that ``manifest`` makes; UnknownNameError for a label that there is not."""
    require_known_labels(manifest, source)
    _require_names_apart(translator, source)
    height, width = source.size
    carried: Mapping[str, LabelSpec] = {
        name: spec for name, spec in source.labels.items() if manifest.labels.get(name) != "off"
    }
    settings = manifest.corpus
    return CorpusSchema(
        height=height,
        width=width,
        fields=(INTRINSICS, *(carried[name] for name in sorted(carried))),
        depth=settings.depth,
        codec=settings.codec,
        shard_frames=settings.shard_frames,
        produced=translator.produced_images,
        noisy_depth=translator.produces_depth,
    )


def _colour(manifest: Manifest, source: Source, plan_file: Path) -> ColourEncoding:
    """Return how colour is held, by what the first frame that has any gives: its file, or pixels."""
    settings = manifest.corpus
    if settings.colour == "jpeg":
        return ColourEncoding(format="jpeg", from_pixels=True, quality=settings.jpeg_quality)
    if not source.ships_colour_files:
        return ColourEncoding()
    for ref in islice(_frames_of(plan_file), _LOOKED_AT):
        frame = attempt("read", source.read, ref, frozenset((RGB_FILE,)))
        if isinstance(frame, Rejected):
            continue  # its row in the rejects will say what is wrong
        if frame.rgb_file is not None:
            return ColourEncoding(format="jpeg")
        if frame.rgb is not None:
            break
    return ColourEncoding()


def corpus_identity(
    manifest: Manifest,
    source: Source,
    translator: Translator,
    plan: PlanSummary | PlanInfo,
    colour: ColourEncoding,
) -> dict[str, Any]:
    """Return, as plain data, what decides the bytes of a corpus: a run goes on only with one of the same identity.

    What is trained is there by the hash of its weights, in the translator's. The description of a manifest, and how
    many rejects it bears, change no byte.
    """
    return {
        "format": FORMAT_VERSION,
        "name": manifest.name,
        "seed": manifest.seed,
        "source": source.identity.to_json(),
        "translator": translator.identity.to_json(),
        "labels": {name: presence for name, presence in sorted(manifest.labels.items()) if presence != "if_present"},
        "splits": dict(sorted(manifest.splits.items())),
        "limit": manifest.limit,
        "corpus": changed_fields(manifest.corpus, without=frozenset({"out"})),
        "plan": {"num_frames": plan.num_frames, "digest": plan.digest},
        # What the data set ships; what the manifest asks for is in `corpus`.
        **({"colour": colour.format} if colour != ColourEncoding() else {}),
    }


def _require_names_apart(translator: Translator, source: Source) -> None:
    """Raise InputError when what ``translator`` produces is no image, or is called as something else of the corpus."""
    taken = {DEPTH_CLEAN, DEPTH_NOISY, INTRINSICS.name, POSE.name, RGB.name, *source.labels}
    for spec in translator.produced_images:
        if spec.layout != "image":
            raise InputError(
                "a translator produces images",
                where=f"translator {translator.name}: {spec.name}",
                expected="a LabelSpec whose layout is image",
                found=spec.layout,
            )
        if spec.name in taken:
            raise InputError(
                f"the translator produces {spec.name!r}, and the corpus has another field of that name",
                where=f"translator {translator.name}, source {source.name}",
                expected=f"a name besides {', '.join(sorted(taken))}",
                remedy="give what the translator produces a name of its own",
            )


def describe(
    manifest: Manifest, source: Source, translator: Translator, schema: CorpusSchema, plan: PlanSummary
) -> CorpusInfo:
    """Return what ``corpus.json`` says of the corpus that ``manifest`` makes by ``plan``."""
    return CorpusInfo.describe(
        name=manifest.name,
        identity=corpus_identity(manifest, source, translator, plan, schema.colour),
        manifest=manifest.portable(),
        source=SourceInfo(name=source.name, adapter_version=source.adapter_version, licence=source.licence),
        translator=TranslatorInfo(name=translator.name, version=translator.version, fingerprint=translator.fingerprint),
        schema=schema,
        plan=plan,
    )
