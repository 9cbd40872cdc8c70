"""How close is a corpus to a real sensor? In the same view where it holds both, and unpaired in any case."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from depthforge.corpus.reader import CorpusReader
from depthforge.realism.compare import Comparison, evaluate_corpus
from depthforge.realism.same_view.comparison import SameViewComparison, compare_same_views
from depthforge.realism.same_view.views import same_views
from depthforge.realism.views import DepthView
from depthforge.stages.redrawing import HoleFrequency, baseline_of, translator_of

__all__ = ["Evaluation", "evaluate"]


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
    *,
    is_paired: bool,
    num_frames: int = 40,
    draws: int = 8,
    baseline_m: float | None = None,
) -> Evaluation:
    """Hold ``num_frames`` frames of a corpus against ``real`` scans and, if ``is_paired``, its own ``depth_raw``.

    The holes' probabilities come from ``draws`` drawings of the translator, none of fewer than two. ``baseline_m`` is
    the sensor's, by default what the corpus says. Raises as ``evaluate_corpus``, ``same_views`` and the translator do.
    """
    paired = same_view_of(corpus, num_frames, draws, baseline_m) if is_paired else None
    return Evaluation(paired, evaluate_corpus(corpus, real, num_frames=num_frames))


def same_view_of(corpus: Path, num_frames: int, draws: int, baseline_m: float | None) -> SameViewComparison:
    """Compare the noisy and the clean depth of a corpus with its ``depth_raw``; see :func:`evaluate`."""
    reader = CorpusReader(corpus, allow_unfinished=True)
    if baseline_m is None:
        baseline_m = baseline_of(reader)
    if draws < 2:
        return compare_same_views(same_views(corpus, num_frames), baseline_m)
    probability = HoleFrequency(translator_of(reader), int(reader.info.manifest.get("seed", 0)), draws)
    return compare_same_views(same_views(corpus, num_frames, probability, probability.labels), baseline_m)
