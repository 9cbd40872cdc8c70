"""What the first training worker does beside training: looks at held-out frames, draws curves, words the progress.

At a checkpoint the networks translate held-out clean frames as conversion would. Three questions are asked of the
result: has the training collapsed (``training.watch``), how close is it to held-out real frames (``realism.choice``),
and how much do holes depend on the threshold. A full evaluation of 16 frames of 640x480 takes some 15 s on two cores,
nearly all of it the translation.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from depthforge.corpus.picture import sheet
from depthforge.corpus.reader import CorpusFrame
from depthforge.frame import Frame, NoisyDepth
from depthforge.manifest import TrainingSettings
from depthforge.realism.choice import evaluate_translator, hole_threshold_sensitivity
from depthforge.realism.describe import Description, describe
from depthforge.realism.views import DepthView, evenly_spaced
from depthforge.seeding import frame_words
from depthforge.training.checkpoint import Checkpoints
from depthforge.training.crops import frame_at
from depthforge.training.curves import CurveWriter
from depthforge.training.frames import DecodedFrames
from depthforge.training.loop import Evaluated, LoopSettings
from depthforge.training.objective import Objective
from depthforge.training.progress_line import progress_line
from depthforge.training.translator_card import TranslatorCard
from depthforge.training.watch import Evaluation, Watch, evaluation_of
from depthforge.translators.learned import Learned, LearnedConfig, Output, image_of

__all__ = ["TrainingObserver"]

_PICTURES = 4
_PROGRESS_INTERVAL_S = 10.0

# Figures of the comparison that are drawn as curves and kept in the card: the name there, and here.
_SHOWN = {
    "holes": "holes, %",
    "patches told apart, AUC": "patches told apart, AUC",
    "noise against depth": "noise against depth, octaves",
    "normals off clean, median": "normals off clean, deg",
    "depth off clean, median": "depth off clean, %",
}


class TrainingObserver:
    """Looks at one training; see the module. ``note`` takes lines of progress."""

    def __init__(
        self,
        translator: type[Learned],
        config: LearnedConfig,
        settings: TrainingSettings,
        loop: LoopSettings,
        clean: DecodedFrames,
        real: DecodedFrames,
        out: Path,
        *,
        card: TranslatorCard,
        note: Callable[[str], None],
    ) -> None:
        self._translator, self._config, self._loop = translator, config, loop
        self._out, self._card, self._note = out, card, note
        self._clean = [frame_at(clean, index) for index in evenly_spaced(len(clean), settings.evaluation_frames)]
        self._real = [frame_at(real, index) for index in evenly_spaced(len(real), 2 * settings.evaluation_frames)]
        self._real_description: Description | None = None
        self._watch = Watch(settings.watch)
        self._curves = CurveWriter(out)
        self._adversarial_loss: float | None = None
        self._best: tuple[int, float] | None = None
        self._figures: dict[str, Any] = {}
        self._start, self._first_step, self._last_note = time.monotonic(), 0, 0.0

    def logged(self, step: int, losses: Mapping[str, float], images_per_second: float) -> None:
        """Take the losses into the curves; show a line of progress every ten seconds."""
        self._curves.add(step, losses)
        self._adversarial_loss = losses.get("gan")
        now = time.monotonic()
        if now - self._last_note >= _PROGRESS_INTERVAL_S or step == self._loop.num_steps:
            self._last_note = now
            left = (now - self._start) / max(step - self._first_step, 1) * (self._loop.num_steps - step)
            self._note(
                progress_line(
                    step,
                    self._loop.num_steps,
                    (step - 1) // self._loop.steps_per_epoch + 1,
                    self._loop.epochs + self._loop.decay_epochs,
                    losses,
                    images_per_second,
                    left,
                )
            )

    def evaluate(self, step: int, objective: Objective) -> Evaluated:
        """Translate the held-out clean frames and hold them against the real ones."""
        networks = {name: objective.networks[name] for name in objective.exported}
        translator = self._translator.of_networks(self._config.model_copy(update={"min_kept": 0.0}), networks)
        words = [frame_words(self._loop.seed, frame.key, "evaluation") for frame in self._clean]
        outputs = [translator.outputs([f], [w])[0] for f, w in zip(self._clean, words, strict=True)]
        measured = [translator.measured(f, o) for f, o in zip(self._clean, outputs, strict=True)]
        views = [
            DepthView(noisy.depth_m, noisy.valid, frame.camera, (frame.depth_m, frame.valid))
            for frame, noisy in zip(self._clean, measured, strict=True)
        ]
        judged = evaluate_translator(views, self._described_real())
        # Rounded, so that the last bit of a sum over threads does not choose between checkpoints that are alike.
        total = round(judged.score.total, 3)
        comparison = judged.comparison
        found = {name: comparison.value(name, "translated") for name in _SHOWN} if comparison else {}
        figures = {_SHOWN[name]: value for name, value in found.items() if value is not None}
        seen = self._seen(step, objective, outputs, measured, figures)
        signs = self._watch.look(seen)
        for sign in signs:
            self._note(sign.line())
        figures |= seen.figures()
        thresholds = hole_threshold_sensitivity([share for share, _ in outputs], [f.valid for f in self._clean])
        self._figures = {
            "score": total,
            "score_terms": {name: round(term, 4) for name, term in judged.score.terms.items()},
            **{name: round(value, 5) for name, value in figures.items()},
            "holes_by_threshold": {f"{threshold:.5f}": round(share, 5) for threshold, share in thresholds},
        }
        self._curves.add(step, figures, group="evaluation")
        self._curves.add(step, {"total": total, **judged.score.terms}, group="score")
        if self._best is None or total < self._best[1]:
            self._best = step, total
        self._show(measured)
        short = ", ".join(f"{name} {value:.3g}" for name, value in figures.items() if name in _SHOWN.values())
        self._note(f"step {step}: score {total:.3f} on {len(views)} held-out frames; {short}")
        return Evaluated(total, figures, self._watch.verdict(signs))

    def save(self, step: int, objective: Objective, evaluated: Evaluated, checkpoints: Checkpoints) -> None:
        """Write the translator of this checkpoint, and the curves so far."""
        networks = {name: objective.networks[name] for name in objective.exported}
        training = {**self._card.training, "step": step}
        card = self._card.model_copy(update={"training": training, "figures": self._figures})
        checkpoints.write_weights(step, networks, card)
        self._curves.write(chosen_step=self._best[0] if self._best else None)

    def state_dict(self) -> dict[str, Any]:
        """Return what the next evaluation depends on."""
        return {"watch": self._watch.state_dict(), "best": self._best}

    def resumed(self, step: int, state: dict[str, Any]) -> None:
        """Go on after ``step``: what an interrupted run had seen since is forgotten."""
        self._watch.load_state_dict(state["watch"])
        self._curves = CurveWriter(self._out, resumed_step=step)
        self._best = None if state["best"] is None else (int(state["best"][0]), float(state["best"][1]))
        self._first_step = step
        self._note(f"resuming from the checkpoint of step {step}")

    def _described_real(self) -> Description:
        if self._real_description is None:
            views = [DepthView(frame.depth_m, frame.valid, frame.camera) for frame in self._real]
            self._real_description = describe(views, name="real")
        return self._real_description

    def _seen(
        self,
        step: int,
        objective: Objective,
        outputs: list[Output],
        measured: list[NoisyDepth],
        figures: Mapping[str, float],
    ) -> Evaluation:
        real = [image_of(frame, self._config, with_rgb=False)[0] for frame in self._real[: len(measured)]]
        generated = [np.where(m.valid, o.share, np.float32(0))[None] for m, o in zip(measured, outputs, strict=True)]
        normals_deg = figures.get("normals off clean, deg")
        depth_off = figures.get("depth off clean, %")
        return evaluation_of(
            step,
            [(frame.depth_m, frame.valid) for frame in self._clean],
            [(noisy.depth_m, noisy.valid) for noisy in measured],
            [1 - float(frame.valid.mean()) for frame in self._real],
            real_logits=self._logits(objective, real),
            generated_logits=self._logits(objective, generated),
            adversarial_loss=self._adversarial_loss,
            depth_off=None if depth_off is None else depth_off / 100,
            normals_off_deg=normals_deg,
        )

    def _logits(self, objective: Objective, images: list[npt.NDArray[np.float32]]) -> npt.NDArray[np.float32] | None:
        if objective.judge is None:
            return None
        judge = objective.networks[objective.judge]
        device = next(judge.parameters()).device
        with torch.inference_mode():
            answers = [judge(torch.from_numpy(image[None]).to(device)).float().cpu().numpy() for image in images]
        return np.concatenate([answer.ravel() for answer in answers])

    def _show(self, measured: list[NoisyDepth]) -> None:
        """Draw held-out frames as they are now translated, and real ones, into ``samples.png``."""

        def translated(frame: Frame, noisy: NoisyDepth) -> CorpusFrame:
            return CorpusFrame(frame.key, frame.depth_m, frame.valid, noisy.depth_m, noisy.valid)

        places = evenly_spaced(len(measured), _PICTURES)
        shown = [translated(self._clean[place], measured[place]) for place in places]
        scans = [self._real[place] for place in evenly_spaced(len(self._real), _PICTURES)]
        real = [CorpusFrame(f.key, f.depth_m, f.valid, f.depth_m, f.valid) for f in scans]
        sheet(shown, self._out / "samples.png", beside=real)
