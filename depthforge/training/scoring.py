"""What tells a good checkpoint of a training from a bad one: the scorer, which each method brings.

An adversarial loss does not say it, being relative to a discriminator that moves too; so at every checkpoint the
scorer looks at frames that were held out from training. What it looks for is the method's own: noisy depth is held to
the sensor's noise and to the scene's geometry (``stages.depth_scorer``), colour to whatever its method cares about.
The loop and its observer know a score, figures and pictures, and ask no more.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

from depthforge.frame import Frame
from depthforge.manifest import WatchSettings
from depthforge.training.loop import Evaluated
from depthforge.training.objective import Objective

__all__ = ["HeldOut", "Scored", "Scorer"]


@dataclass(frozen=True, slots=True)
class HeldOut:
    """What a scorer is made for: frames of both sides that training does not see, and the manifest's settings.

    Frames hold what ``Learned.trains_on`` says. ``seed`` keys what a method draws for a frame.
    """

    clean: Sequence[Frame]
    real: Sequence[Frame]
    seed: int
    watch: WatchSettings


@dataclass(frozen=True, slots=True)
class Scored(Evaluated):
    """What looking at a checkpoint gave: as ``Evaluated``, and what is told and kept of it.

    ``terms``: what the score is made of. ``details``: more for the card, plain data. ``summary``: the end of the line
    "step 500: score 2.345 ...". ``notes``: lines to tell before it. ``pictures``: PNG files by name, of how held-out
    frames are translated now.
    """

    terms: Mapping[str, float] = field(default_factory=dict)
    details: Mapping[str, Any] = field(default_factory=dict)
    summary: str = ""
    notes: Sequence[str] = ()
    pictures: Mapping[str, bytes] = field(default_factory=dict)


class Scorer(Protocol):
    """Scores the checkpoints of one training."""

    def score(self, step: int, objective: Objective, losses: Mapping[str, float]) -> Scored:
        """Look at the networks, which are in evaluation mode; ``losses`` are the latest means.

        The figures are finite numbers or NaN; the same networks give the same score.
        """

    def state_dict(self) -> dict[str, Any]:
        """Return what the next score depends on besides the networks: plain data, for the checkpoint."""

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Continue from a ``state_dict``."""
