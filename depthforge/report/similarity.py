"""What translators hold to be alike, as a picture: a row for each corpus, as Fig. 8 of DCL's paper has DCL beside CUT.

Left the clean depth with the place that is asked about, then the similarity of its features to those of all other
places, then the noisy depth and the same of it. A translator that keeps the geometry has two like maps in its row; how
alike is told as a number.
"""

from __future__ import annotations

import io
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from depthforge.corpus.reader import CorpusFrame, CorpusReader
from depthforge.errors import InputError
from depthforge.frame import Camera, Frame
from depthforge.labels.catalogue import INTRINSICS, POSE, RGB
from depthforge.seeding import frame_words
from depthforge.stages.redrawing import translator_of
from depthforge.translators.feature_similarity import SimilarPlaces, similar_places
from depthforge.translators.learned_depth import LearnedDepth

__all__ = ["Alike", "alike_in", "draw_alike"]


@dataclass(frozen=True)
class Alike:
    """One row of the picture: a frame of a corpus, the pixel asked about, and what its translator holds to be alike."""

    corpus: str
    method: str
    frame: CorpusFrame
    at_px: tuple[int, int]
    places: SimilarPlaces


def alike_in(corpus: Path, key: str | None = None, at_px: tuple[int, int] | None = None, tap: int = 14) -> Alike:
    """Return the row of a corpus that a learned translator made: of the frame ``key`` (the first), at a pixel (centre).

    Raises as ``CorpusReader`` for a corpus or frame that is not there, InputError for a corpus of another translator,
    and as ``similar_places``.
    """
    reader = CorpusReader(corpus)
    translator = translator_of(reader)
    if not isinstance(translator, LearnedDepth):
        raise InputError(
            "the corpus was not made by a generator whose features could be compared",
            where=corpus,
            expected="a corpus of the translator dcl or cut",
            found=translator.name,
        )
    labels = sorted((translator.wanted | translator.uses) | {INTRINSICS.name})
    frame = reader.read(0 if key is None else key, labels)
    height, width = frame.clean_valid.shape
    at_px = (height // 2, width // 2) if at_px is None else at_px
    K = frame.labels[INTRINSICS.name]
    camera = Camera(float(K[0, 0]), float(K[1, 1]), float(K[0, 2]), float(K[1, 2]), width, height)
    clean = Frame(
        frame.key,
        frame.clean_depth_m,
        frame.clean_valid,
        camera,
        rgb=frame.labels.get(RGB.name),
        T_world_cam=frame.labels.get(POSE.name),
    )
    words = frame_words(int(reader.info.manifest["seed"]), frame.key, translator.fingerprint)
    places = similar_places(translator, clean, words, at_px, tap)
    return Alike(Path(corpus).name, translator.name, frame, at_px, places)


def draw_alike(rows: Sequence[Alike]) -> bytes:
    """Return the picture as PNG; nothing measured is white, and the place asked about is crossed."""
    from matplotlib.figure import Figure

    drawing = Figure(figsize=(13.0, 2.7 * len(rows)), layout="constrained")
    panels = drawing.subplots(len(rows), 4, squeeze=False)
    for line, row in zip(panels, rows, strict=True):
        frame, places = row.frame, row.places
        far_m = float(frame.clean_depth_m[frame.clean_valid].max()) if frame.clean_valid.any() else 1.0
        # One scale for both maps of a row: they are to be compared.
        least = min(float(places.clean.min()), float(places.noisy.min()))
        depths = (
            np.where(frame.clean_valid, frame.clean_depth_m, np.nan),
            np.where(frame.noisy_valid, frame.noisy_depth_m, np.nan),
        )
        titles = (f"{row.method}: clean depth", f"{row.method}: noisy depth")
        for side, (depth, title, found) in enumerate(zip(depths, titles, (places.clean, places.noisy), strict=True)):
            shown = line[2 * side].imshow(depth, cmap="viridis", vmin=0, vmax=far_m)
            _mark(line[2 * side], row.at_px, "black")
            line[2 * side].set_title(title, fontsize=9)
            drawing.colorbar(shown, ax=line[2 * side], label="m", shrink=0.8)
            shown = line[2 * side + 1].imshow(found, cmap="magma", vmin=least, vmax=1)
            _mark(line[2 * side + 1], places.at, "cyan")
            drawing.colorbar(shown, ax=line[2 * side + 1], label="cosine similarity", shrink=0.8)
        line[1].set_title("features like those of the cross", fontsize=9)
        line[3].set_title(f"the same; both maps correlate by {places.agreement:.2f}", fontsize=9)
        line[0].set_ylabel(row.corpus, fontsize=9)
    content = io.BytesIO()
    drawing.savefig(content, format="png", dpi=110)
    return content.getvalue()


def _mark(panel: Any, at: tuple[int, int], colour: str) -> None:
    panel.plot(at[1], at[0], "x", color=colour, markersize=7, markeredgewidth=2)
    panel.set_xticks([])
    panel.set_yticks([])
