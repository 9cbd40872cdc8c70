"""How close is a corpus to a real sensor? In the same view where it holds both, and unpaired in any case."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from depthforge.corpus.reader import CorpusReader
from depthforge.realism.compare import Comparison, evaluate_corpus
from depthforge.realism.same_view.comparison import SameViewComparison, compare_same_views
from depthforge.realism.same_view.views import SameView, same_views
from depthforge.realism.views import DepthView
from depthforge.stages.redrawing import HoleFrequency, baseline_of, translator_of

__all__ = ["Evaluation", "corpus_views", "evaluate", "seed_of"]


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


def evaluate(
    corpus: Path,
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


def corpus_views(corpus: Path, num_frames: int, draws: int = 8) -> Iterator[SameView]:
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
