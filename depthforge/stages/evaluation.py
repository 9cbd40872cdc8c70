"""How close is a corpus to a real sensor? In the same view where it holds both, and unpaired in any case."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from depthforge.addresses import Address
from depthforge.corpus.reader import CorpusReader
from depthforge.errors import InputError, MissingDataError
from depthforge.manifest import PluginBlock
from depthforge.manifest_file import load_manifest
from depthforge.realism.compare import Comparison, evaluate_corpus
from depthforge.realism.same_view.comparison import SameViewComparison, compare_same_views
from depthforge.realism.same_view.views import SameView, carries_real_depth, same_views
from depthforge.realism.views import DepthView, real_views, source_views
from depthforge.sources.base import Note, say_nothing
from depthforge.stages.prepare import make_source
from depthforge.stages.recording import fused_recording, recording_views, scans_of
from depthforge.stages.redrawing import HoleFrequency, baseline_of, translator_of

__all__ = ["Evaluation", "corpus_views", "evaluate", "evaluate_against", "seed_of"]


@dataclass(frozen=True, slots=True)
class Evaluation:
    """``same_view`` is None where nothing says what a real sensor measured in the views of the corpus."""

    same_view: SameViewComparison | None
    unpaired: Comparison

    def to_json(self) -> dict[str, Any]:
        """Return plain data: the unpaired comparison, and the same-view one as ``same_view`` where there is one."""
        paired = {} if self.same_view is None else {"same_view": self.same_view.to_json()}
        return {**self.unpaired.to_json(), **paired}

    def lines(self) -> list[str]:
        """Return both tables, the same-view one first."""
        if self.same_view is None:
            return self.unpaired.lines()
        return [*self.same_view.lines(), "", "unpaired", *self.unpaired.lines()]


def evaluate_against(
    corpus: Address,
    real: Path | None,
    *,
    num_frames: int = 40,
    draws: int = 8,
    baseline_m: float | None = None,
    note: Note = say_nothing,
) -> Evaluation | None:
    """Hold a corpus against ``real``, a corpus of scans or the manifest whose source reads them.

    None of it means what the corpus itself carries of its sensor (``depth_raw``); where there is none, the answer is
    None. ``num_frames`` are those of the corpus and of each half of the scans, ``draws`` as of :func:`corpus_views`;
    what stands in the way of a same-view table is said to ``note``. Raises as :func:`evaluate` and the source do.
    """
    reader = CorpusReader(corpus, allow_unfinished=True)
    is_paired = carries_real_depth(reader)
    if real is None and not is_paired:
        return None
    with ExitStack() as stack:
        block = None
        if real is None or real.is_dir():
            scans = real_views(real or corpus, 2 * num_frames)
        else:
            block = load_manifest(real).source
            scans = source_views(make_source(scans_of(block)), 2 * num_frames)
        views: Iterator[SameView] | None = None
        if is_paired:
            views = corpus_views(corpus, num_frames, draws)
        elif block is not None:
            folder = Path(stack.enter_context(TemporaryDirectory(prefix="depthforge-fused-")))
            views = _views_of_recording(reader, block, folder, num_frames, draws, note)
        return evaluate(corpus, scans, views, baseline_m=baseline_m, num_frames=num_frames)


def evaluate(
    corpus: Address,
    real: Iterable[DepthView],
    views: Iterable[SameView] | None,
    *,
    baseline_m: float | None = None,
    num_frames: int = 40,
) -> Evaluation:
    """Hold ``num_frames`` frames of a corpus against ``real`` scans, and compare ``views``, if there are any.

    ``baseline_m`` is the real sensor's, by default what the corpus says. Raises as ``evaluate_corpus`` and
    ``compare_same_views`` do.
    """
    if baseline_m is None:
        baseline_m = baseline_of(CorpusReader(corpus, allow_unfinished=True))
    paired = None if views is None else compare_same_views(views, baseline_m)
    return Evaluation(paired, evaluate_corpus(corpus, real, num_frames=num_frames))


def corpus_views(corpus: Address, num_frames: int, draws: int = 8) -> Iterator[SameView]:
    """Yield frames of a corpus that carries ``depth_raw``, with holes' probabilities from ``draws`` drawings.

    Fewer than two give none. Raises as ``same_views``, ``translator_of`` and the translator do.
    """
    if draws < 2:
        return same_views(corpus, num_frames)
    reader = CorpusReader(corpus, allow_unfinished=True)
    probability = HoleFrequency(translator_of(reader), seed_of(reader), draws)
    return same_views(corpus, num_frames, probability, probability.labels)


def seed_of(reader: CorpusReader) -> int:
    """Return the seed of the manifest that made a corpus."""
    return int(reader.info.manifest.get("seed", 0))


def _views_of_recording(
    reader: CorpusReader, block: PluginBlock, folder: Path, num_frames: int, draws: int, note: Note
) -> Iterator[SameView] | None:
    """Return the fused recording as the translator of the corpus sees it; without one None, and why to ``note``."""
    try:
        source = fused_recording(block, folder, note)
    except (InputError, MissingDataError) as error:
        note(f"no same-view table: {error}")
        return None
    if source is None:
        return None
    return recording_views(source, translator_of(reader), num_frames, seed=seed_of(reader), draws=draws)
