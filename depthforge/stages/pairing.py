"""Pairs for training: what a real sensor measured in a view, beside the truth of that view.

Scans with poses are fused to their own truth (``stages.recording``), and each is paired with its render. Scans without
poses, or with poses that do not fuse, are paired with their clean guess: the guess knows nothing of what was lost where
nothing around it was measured, so a translator of such pairs is weaker, and the card says which kind it was made of.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

from depthforge.errors import InputError, MissingDataError, told
from depthforge.fitting.clean_guess import clean_guess
from depthforge.frame import Finding, Frame, FrameRef
from depthforge.identity import fingerprint_of
from depthforge.labels.catalogue import DEPTH_RAW
from depthforge.manifest import PluginBlock
from depthforge.progress import Progress
from depthforge.sources.base import Source
from depthforge.stages.prepare import make_source
from depthforge.stages.recording import fused_recording, scans_of

__all__ = ["FUSED", "GUESSED", "Recording", "mark_of", "pairs_of"]

FUSED: Final = "fused from posed scans"
GUESSED: Final = "clean guess of scans without poses"


@dataclass(frozen=True)
class Recording:
    """Frames of one source, in key order; of pairs, ``truth`` says where it comes from (FUSED or GUESSED)."""

    source: Source
    refs: Sequence[FrameRef]
    truth: str | None = None

    def read(self, ref: FrameRef, wanted: frozenset[str]) -> Frame:
        """Return a frame; of pairs its depth is the truth and ``depth_raw`` the scan. Raises as the source."""
        if self.truth == FUSED:
            wanted = wanted | {DEPTH_RAW.name}
        scan = self.source.read(ref, wanted & self.source.labels.keys())
        if self.truth != GUESSED:
            return scan
        guess_m = clean_guess(scan.depth_m, scan.valid)
        labels = {**scan.labels, DEPTH_RAW.name: scan.depth_m}
        return replace(scan, depth_m=guess_m, valid=guess_m > 0, labels=labels)


def pairs_of(block: PluginBlock, folder: Path, progress: Progress) -> Recording:
    """Return the pairs of the recording that ``block`` reads; what is fused is kept in ``folder``, apart for each.

    Poses that do not fuse are said, with the residual, and done without. Raises as the source does otherwise.
    """
    try:
        # Sources of one description have one identity wherever they lie: two of them must not share a mesh.
        fused = fused_recording(block, folder / mark_of(block), progress.note)
        if fused is not None:
            findings: list[Finding] = []
            refs = list(fused.frames(findings.append))
            if refs:
                return Recording(fused, refs, FUSED)
            _warn(block, told(finding.message for finding in findings), progress)
    except (MissingDataError, InputError) as error:
        _warn(block, error.message if error.found is None else f"{error.message} ({error.found})", progress)
    source = make_source(scans_of(block))
    source.prepare(progress.note)
    return Recording(source, list(source.frames()), GUESSED)


def mark_of(block: PluginBlock) -> str:
    """Return 16 hex digits that differ for whatever two blocks differ in, the folder included; no path can be told."""
    return fingerprint_of(block.flat())[:16]


def _warn(block: PluginBlock, why: str, progress: Progress) -> None:
    progress.warn(
        f"the poses of {scans_of(block).name} are not used: {why}. Its scans are paired with their clean guess, and "
        "the translator will be the weaker"
    )
