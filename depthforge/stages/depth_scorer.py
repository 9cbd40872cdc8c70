"""How the checkpoints of a method of depth are scored: held-out clean frames, translated as conversion would.

Three questions are asked of the result: has the training collapsed (``training.watch``), how close is it to held-out
real frames (``realism.choice``), and how much do holes depend on the threshold. A full evaluation of 16 frames of
640x480 takes some 15 s on two cores, nearly all of it the translation.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from depthforge.corpus.picture import sheet_png
from depthforge.corpus.reader import CorpusFrame
from depthforge.errors import InputError
from depthforge.frame import NoisyDepth
from depthforge.realism.choice import evaluate_translator, hole_threshold_sensitivity
from depthforge.realism.describe import Description, describe
from depthforge.realism.views import DepthView, evenly_spaced
from depthforge.seeding import frame_words
from depthforge.training.objective import Objective
from depthforge.training.scoring import HeldOut, Scored
from depthforge.training.watch import Evaluation, Watch, evaluation_of
from depthforge.translators.learned import Learned, LearnedConfig
from depthforge.translators.learned_depth import LearnedDepth, LearnedDepthConfig
from depthforge.translators.quantity import Shares, shares_of

__all__ = ["DepthScorer"]

_PICTURES = 4

# Figures of the comparison that are drawn as curves and kept in the card: the name there, and here.
_SHOWN = {
    "holes": "holes, %",
    "patches told apart, AUC": "patches told apart, AUC",
    "noise against depth": "noise against depth, octaves",
    "normals off clean, median": "normals off clean, deg",
    "depth off clean, median": "depth off clean, %",
}


class DepthScorer:
    """Scores noisy depth; see the module. InputError for a method that makes none and brings no scorer."""

    def __init__(self, translator: type[Learned], config: LearnedConfig, held_out: HeldOut) -> None:
        if not (issubclass(translator, LearnedDepth) and isinstance(config, LearnedDepthConfig)):
            raise InputError(
                f"nothing says how checkpoints of {translator.name} are scored",
                where=f"{translator.__module__}.{translator.__qualname__}",
                expected="make_scorer returns a Scorer, or the method is one of LearnedDepth",
            )
        self._translator, self._config, self._held_out = translator, config, held_out
        self._real_description: Description | None = None
        self._watch = Watch(held_out.watch)

    def score(self, step: int, objective: Objective, losses: Mapping[str, float]) -> Scored:
        """Translate the held-out clean frames and hold them against the real ones."""
        clean = self._held_out.clean
        networks = {name: objective.networks[name] for name in objective.exported}
        translator = self._translator.of_networks(self._config.model_copy(update={"min_kept": 0.0}), networks)
        words = [frame_words(self._held_out.seed, frame.key, "evaluation") for frame in clean]
        outputs = [translator.outputs([f], [w])[0] for f, w in zip(clean, words, strict=True)]
        measured = [translator.measured(f, o) for f, o in zip(clean, outputs, strict=True)]
        views = [
            DepthView(noisy.depth_m, noisy.valid, frame.camera, (frame.depth_m, frame.valid))
            for frame, noisy in zip(clean, measured, strict=True)
        ]
        score, comparison = evaluate_translator(views, self._described_real())
        found = {name: comparison.value(name, "translated") for name in _SHOWN} if comparison else {}
        figures = {_SHOWN[name]: value for name, value in found.items() if value is not None}
        seen = self._seen(step, objective, outputs, measured, figures, losses.get("gan"))
        signs = self._watch.look(seen)
        thresholds = hole_threshold_sensitivity([share for share, _ in outputs], [f.valid for f in clean])
        shown = ", ".join(f"{name} {value:.3g}" for name, value in figures.items())
        return Scored(
            # Rounded, so that the last bit of a sum over threads does not choose between checkpoints that are alike.
            round(score.total, 3),
            figures | seen.figures(),
            self._watch.verdict(signs),
            terms=score.terms,
            details={"holes_by_threshold": {f"{threshold:.5f}": round(share, 5) for threshold, share in thresholds}},
            summary=f"on {len(views)} held-out frames" + (f"; {shown}" if shown else ""),
            notes=[sign.line() for sign in signs],
            pictures={"samples.png": self._samples(measured)},
        )

    def state_dict(self) -> dict[str, Any]:
        """Return the state of the watch."""
        return self._watch.state_dict()

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Continue from a ``state_dict``."""
        self._watch.load_state_dict(state)

    def _described_real(self) -> Description:
        if self._real_description is None:
            views = [DepthView(frame.depth_m, frame.valid, frame.camera) for frame in self._held_out.real]
            self._real_description = describe(views, name="real")
        return self._real_description

    def _seen(
        self,
        step: int,
        objective: Objective,
        outputs: list[Shares],
        measured: list[NoisyDepth],
        figures: Mapping[str, float],
        adversarial_loss: float | None,
    ) -> Evaluation:
        clean, real = self._held_out.clean, self._held_out.real
        generated = [np.where(m.valid, o.share, np.float32(0))[None] for m, o in zip(measured, outputs, strict=True)]
        depth_off = figures.get("depth off clean, %")
        return evaluation_of(
            step,
            [(frame.depth_m, frame.valid) for frame in clean],
            [(noisy.depth_m, noisy.valid) for noisy in measured],
            [1 - float(frame.valid.mean()) for frame in real],
            real_logits=_logits(
                objective, [shares_of(frame, self._config.scale).share[None] for frame in real[: len(measured)]]
            ),
            generated_logits=_logits(objective, generated),
            adversarial_loss=adversarial_loss,
            depth_off=None if depth_off is None else depth_off / 100,
            normals_off_deg=figures.get("normals off clean, deg"),
        )

    def _samples(self, measured: list[NoisyDepth]) -> bytes:
        """Draw held-out frames as they are now translated, with real ones beside them."""
        clean, real = self._held_out.clean, self._held_out.real
        shown = [
            CorpusFrame(clean[place].key, clean[place].depth_m, clean[place].valid, measured[place])
            for place in evenly_spaced(len(measured), _PICTURES)
        ]
        scans = [real[place] for place in evenly_spaced(len(real), _PICTURES)]
        beside = [CorpusFrame(f.key, f.depth_m, f.valid, NoisyDepth(f.depth_m, f.valid)) for f in scans]
        return sheet_png(shown, beside=beside)


def _logits(objective: Objective, images: list[npt.NDArray[np.float32]]) -> npt.NDArray[np.float32] | None:
    if objective.watched_discriminator is None:
        return None
    discriminator = objective.networks[objective.watched_discriminator]
    device = next(discriminator.parameters()).device
    with torch.inference_mode():
        answers = [discriminator(torch.from_numpy(image[None]).to(device)).float().cpu().numpy() for image in images]
    return np.concatenate([answer.ravel() for answer in answers])
