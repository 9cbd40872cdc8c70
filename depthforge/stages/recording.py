"""A posed recording as same views: fused to its own truth, which the translator of a corpus then measures, too.

For ``evaluate --real``: whoever has scans with poses need not make a corpus of them first. A recording of one scene is
fused with the defaults of the source ``fused`` (voxels of 1 cm, frames off by over 12 mm left out), from 500 frames at
most; a table top wants smaller voxels, and a source block ``fused`` of its own says so. That takes a minute for 400
frames on two cores, and the mesh is kept only where the block says where.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Final

import numpy as np

from depthforge.errors import InputError
from depthforge.frame import FrameRef
from depthforge.labels.catalogue import DEPTH_RAW, POSE, RGB
from depthforge.manifest import PluginBlock
from depthforge.realism.same_view.views import CLEAN, NOISY, Measured, SameView
from depthforge.realism.views import evenly_spaced
from depthforge.registry import sources
from depthforge.seeding import frame_words
from depthforge.sources.base import Note, Source, say_nothing
from depthforge.sources.fused import FusedConfig
from depthforge.stages.prepare import make_source
from depthforge.stages.redrawing import HoleFrequency
from depthforge.translators.base import Translator

__all__ = ["fused_block", "fused_recording", "recording_views", "scans_of"]

_MOST_FUSED: Final = 500


def scans_of(block: PluginBlock) -> PluginBlock:
    """Return the source of the scans themselves: of a block ``fused``, the one that it fuses."""
    return block.config.of if isinstance(block.config, FusedConfig) else block


def fused_recording(block: PluginBlock, folder: Path, note: Note = say_nothing) -> Source | None:
    """Return the fused truth of the recording that ``block`` reads, prepared in ``folder`` unless it says where.

    None for scans without poses. InputError for those of several scenes, MissingDataError when nothing can be fused or
    Open3D is missing; otherwise raises as the source does.
    """
    fused = fused_block(block, folder)
    if fused is None:
        return None
    source = make_source(fused)
    source.prepare(note)
    return source


def fused_block(block: PluginBlock, folder: Path) -> PluginBlock | None:
    """Return the source block of the fused truth of the recording that ``block`` reads, itself where it is one.

    None for scans without poses, InputError for those of several scenes; otherwise raises as the source does.
    """
    if isinstance(block.config, FusedConfig):
        return block
    scans = make_source(block)
    if POSE.name not in scans.labels:
        return None
    scans.prepare()
    worlds = {scans.world_of(ref) for ref in scans.frames()}
    scans.close()
    if len(worlds) > 1:
        raise InputError(
            "only a recording of one scene is fused unasked",
            where=block.name,
            found=f"{len(worlds)} scenes",
            remedy="name one in the source block, or write a block `fused` around it",
        )
    fields = {"name": "fused", "of": block, "prepared": folder, "max_frames": _MOST_FUSED}
    return PluginBlock.parse(sources, fields)


def recording_views(
    source: Source, translator: Translator, count: int, *, seed: int = 0, draws: int = 8
) -> Iterator[SameView]:
    """Yield up to ``count`` frames of a fused recording, in pairs of consecutive ones, with what ``translator`` makes.

    The holes' probabilities come from ``draws`` drawings, none of fewer than two. Raises as source and translator do.
    """
    probability = HoleFrequency(translator, seed, draws) if draws > 1 else None
    wanted = frozenset({DEPTH_RAW.name, POSE.name, RGB.name} | translator.uses | translator.wanted)
    for ref in _pairs(list(source.frames()), count):
        frame = source.read(ref, wanted & source.labels.keys())
        noisy = translator.translate(frame, frame_words(seed, frame.key, translator.fingerprint)).depth
        if noisy is None:
            raise InputError("the translator makes no depth", where=translator.name, expected="one that produces depth")
        raw_m = np.asarray(frame.labels[DEPTH_RAW.name], np.float32)
        truth = Measured(frame.depth_m, frame.valid)
        yield SameView(
            frame.key,
            frame.camera,
            truth,
            Measured(raw_m, np.isfinite(raw_m) & (raw_m > 0)),
            {CLEAN: truth, NOISY: Measured(noisy.depth_m, noisy.valid)},
            frame.T_world_cam,
            {} if probability is None else {NOISY: probability.of(frame)},
        )


def _pairs(refs: list[FrameRef], count: int) -> list[FrameRef]:
    """Return ``count`` of the frames: evenly spaced ones, each with the next."""
    if count >= len(refs):
        return refs
    first = evenly_spaced(len(refs) - 1, max(count // 2, 1))
    chosen = {place for index in first for place in (index, index + 1)}
    return [refs[place] for place in sorted(chosen)]
