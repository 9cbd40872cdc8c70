"""What the first training worker does beside training: scores checkpoints, draws curves, words the progress.

At a checkpoint the method's scorer (``training.scoring``) looks at held-out frames; what it says becomes curves, lines,
pictures, and figures in the translator's card.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from depthforge.durable import write_atomically
from depthforge.training.checkpoint import Checkpoints
from depthforge.training.curves import CurveWriter, draw_picture
from depthforge.training.loop import Evaluated, LoopSettings
from depthforge.training.objective import Objective
from depthforge.training.progress_line import progress_line
from depthforge.training.scoring import Scorer
from depthforge.training.translator_card import TranslatorCard

__all__ = ["TrainingObserver"]

_PROGRESS_INTERVAL_S = 10.0
# A picture takes seconds, more than an evaluation of a small training; its end draws another.
_PICTURE_INTERVAL_S = 120.0


class TrainingObserver:
    """Looks at one training; see the module. ``note`` takes lines of progress."""

    def __init__(
        self,
        scorer: Scorer,
        loop: LoopSettings,
        out: Path,
        *,
        card: TranslatorCard,
        note: Callable[[str], None],
    ) -> None:
        self._scorer, self._loop = scorer, loop
        self._out, self._card, self._note = out, card, note
        self._curves = CurveWriter(out)
        self._losses: Mapping[str, float] = {}
        self._figures: dict[str, Any] = {}
        self._start, self._first_step, self._last_note = time.monotonic(), 0, 0.0
        self._last_picture = self._start

    def logged(self, step: int, losses: Mapping[str, float], images_per_second: float) -> None:
        """Take the losses into the curves; show a line of progress every ten seconds."""
        self._curves.add(step, losses)
        self._losses = losses
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
        """Score the checkpoint; keep its figures and pictures, and tell of it."""
        scored = self._scorer.score(step, objective, self._losses)
        for line in scored.notes:
            self._note(line)
        self._figures = {
            "score": scored.score,
            "score_terms": {name: round(term, 4) for name, term in scored.terms.items()},
            **{name: round(value, 5) for name, value in scored.figures.items()},
            **scored.details,
        }
        self._curves.add(step, scored.figures, group="evaluation")
        self._curves.add(step, {"total": scored.score, **scored.terms}, group="score")
        for name, png in scored.pictures.items():
            write_atomically(self._out / name, png)
        self._note(f"step {step}: score {scored.score:.3f} {scored.summary}".rstrip())
        return scored

    def save(self, step: int, objective: Objective, evaluated: Evaluated, checkpoints: Checkpoints) -> None:
        """Write the translator of this checkpoint, and the curves so far."""
        networks = {name: objective.networks[name] for name in objective.exported}
        training = {**self._card.training, "step": step}
        card = self._card.model_copy(update={"training": training, "figures": self._figures})
        checkpoints.write_weights(step, networks, card)
        self._curves.write()
        if time.monotonic() - self._last_picture >= _PICTURE_INTERVAL_S:
            draw_picture(self._out)
            self._last_picture = time.monotonic()

    def state_dict(self) -> dict[str, Any]:
        """Return what the next evaluation depends on."""
        return {"scorer": self._scorer.state_dict()}

    def resumed(self, step: int, state: dict[str, Any]) -> None:
        """Go on after ``step``: what an interrupted run had seen since is forgotten."""
        self._scorer.load_state_dict(state["scorer"])
        self._curves = CurveWriter(self._out, resumed_step=step)
        self._first_step = step
        self._note(f"resuming from the checkpoint of step {step}")
