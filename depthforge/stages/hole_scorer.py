"""How the checkpoints of ``hybrid`` are scored: probabilities of holes against the holes of held-out scans.

The pairs are at hand, so no statistics of two sets are needed: the score is the log loss as a share of that of a
constant, the scans' own rate of holes; 1 is no better than knowing that rate. Before it is taken, the logits are
calibrated on the held-out pairs (a temperature and an offset, by Newton's method), and what was found goes into the
network: probabilities that are drawn from must be right, not merely in order.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

import cv2
import numpy as np
import numpy.typing as npt
import torch

from depthforge.corpus.picture import coloured_depth
from depthforge.errors import InputError
from depthforge.frame import Frame
from depthforge.labels.catalogue import DEPTH_RAW
from depthforge.realism.same_view.hole_places import HoleOverlap, measure_overlap, summarise
from depthforge.training.objective import Objective
from depthforge.training.scoring import HeldOut, Scored
from depthforge.translators.hybrid import Hybrid
from depthforge.translators.hybrid_network import HybridNetwork
from depthforge.translators.learned import Learned, LearnedConfig, device_of

__all__ = ["HoleScorer", "calibrate", "hole_figures", "unseen_figures"]

Float64 = npt.NDArray[np.float64]

_STRIDE: Final = 3
_NEWTON_STEPS: Final = 30
_HIGHEST_TEMPERATURE: Final = 1000.0
_PICTURES: Final = 4
_SHOWN: Final = {
    "hole_auc": "holes, AUC",
    "hole_average_precision": "holes, average precision",
    "hole_log_loss": "holes, log loss",
    "hole_log_loss_skill": "holes, skill over a constant, %",
    "hole_calibration_error": "holes, calibration error, %",
}


class HoleScorer:
    """Scores probabilities of holes; see the module.

    InputError for a method that has none and brings no scorer; FrameError as of its ``images``.
    """

    def __init__(self, translator: type[Learned], config: LearnedConfig, held_out: HeldOut) -> None:
        if not issubclass(translator, Hybrid):
            raise InputError(
                f"nothing says how checkpoints of {translator.name} are scored",
                where=f"{translator.__module__}.{translator.__qualname__}",
                expected="make_scorer returns a Scorer, or the method is `hybrid`",
            )
        made = translator(config)
        self._seen = [(frame, made.images(frame)) for frame in held_out.real]

    def score(self, step: int, objective: Objective, losses: Mapping[str, float]) -> Scored:
        """Calibrate the network on the held-out pairs and hold its probabilities against the scans."""
        network = objective.networks["holes"]
        assert isinstance(network, HybridNetwork)
        device = next(network.parameters()).device
        logits = [_logits(network, images["inputs"], device) for _, images in self._seen]
        known = [images["known"][0] > 0 for _, images in self._seen]
        holes = [images["hole"][0] > 0 for _, images in self._seen]
        sampled = [
            (each[here][::_STRIDE], hole[here][::_STRIDE])
            for each, here, hole in zip(logits, known, holes, strict=True)
        ]
        x, y = (np.concatenate([pair[part] for pair in sampled]) for part in (0, 1))
        temperature, offset = calibrate(x.astype(np.float64), y)
        network.temperature.fill_(temperature)
        network.offset.fill_(offset)
        found = [1 / (1 + np.exp(-(each / temperature + offset))) for each in logits]
        shown = _shown(known, holes, found)
        skill = shown.get(_SHOWN["hole_log_loss_skill"], float("nan"))
        return Scored(
            round(1 - skill / 100, 4) if np.isfinite(skill) else 1.0,
            shown,
            details={
                "measured_on": "the held-out ends of the recordings that were trained on",
                "calibration": {"temperature": round(temperature, 4), "offset": round(offset, 4)},
            },
            summary=f"on {len(found)} held-out scans; " + ", ".join(f"{name} {v:.3g}" for name, v in shown.items()),
            pictures={"samples.png": self._picture(found)},
        )

    def state_dict(self) -> dict[str, Any]:
        """Return nothing: a score depends on the network alone."""
        return {}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Take nothing."""

    def _picture(self, found: list[npt.NDArray[np.float32]]) -> bytes:
        """Draw the truth, the scan, its holes where there is truth, and their probability, a row for each pair."""
        rows = []
        for place in np.unique(np.linspace(0, len(found) - 1, _PICTURES).round().astype(int)):
            frame, images = self._seen[int(place)]
            far_m = max(float(frame.depth_m.max()), 0.1)
            scan_m = np.asarray(frame.labels[DEPTH_RAW.name], np.float32).reshape(frame.camera.size)
            known = images["known"][0] > 0
            masks = (np.where(known, images["hole"][0], 0), np.where(known, found[int(place)], 0))
            grey = [np.repeat((255 * mask).astype(np.uint8)[..., None], 3, axis=2) for mask in masks]
            rows.append(np.hstack([coloured_depth(frame.depth_m, far_m), coloured_depth(scan_m, far_m), *grey]))
        _, png = cv2.imencode(".png", np.vstack(rows))
        return png.tobytes()


def unseen_figures(translator: Learned, frames: list[Frame]) -> dict[str, float]:
    """Return, by title, what the trained ``translator`` gives for pairs that nothing of its training has seen."""
    networks = translator.loaded()
    network, device = networks["holes"], device_of(networks)
    assert isinstance(network, HybridNetwork)
    seen = [translator.images(frame) for frame in frames]
    temperature, offset = float(network.temperature), float(network.offset)
    found = [1 / (1 + np.exp(-(_logits(network, each["inputs"], device) / temperature + offset))) for each in seen]
    return _shown([each["known"][0] > 0 for each in seen], [each["hole"][0] > 0 for each in seen], found)


def _shown(
    known: list[npt.NDArray[np.bool_]], holes: list[npt.NDArray[np.bool_]], found: list[npt.NDArray[np.float32]]
) -> dict[str, float]:
    figures = hole_figures(
        [
            measure_overlap(here, ~hole, probability < 0.5, probability)
            for here, hole, probability in zip(known, holes, found, strict=True)
        ]
    )
    return {title: figures[name] for name, title in _SHOWN.items() if name in figures}


def hole_figures(overlaps: list[HoleOverlap]) -> dict[str, float]:
    """Return the figures of holes (``realism.same_view.hole_places``) that are numbers, by id."""
    return {name: value for name, value in summarise(overlaps).items() if np.isfinite(value)}


def calibrate(logits: Float64, holes: npt.NDArray[np.bool_]) -> tuple[float, float]:
    """Return the temperature and the offset with which sigmoid(logits / T + b) has the least log loss for ``holes``.

    Platt, "Probabilistic outputs for support vector machines", 1999, by Newton's method; (1, 0) where there are no
    holes or nothing else. Where the order of the logits says nothing (T would not be positive) the constant is left.
    """
    if holes.all() or not holes.any():
        return 1.0, 0.0
    scale, offset = 1.0, 0.0
    y = holes.astype(np.float64)
    for _ in range(_NEWTON_STEPS):
        p = 1 / (1 + np.exp(-np.clip(scale * logits + offset, -40, 40)))
        weight = np.maximum(p * (1 - p), 1e-9)
        gradient = np.array([((p - y) * logits).mean(), (p - y).mean()])
        hessian = np.array(
            [[(weight * logits**2).mean(), (weight * logits).mean()], [(weight * logits).mean(), weight.mean()]]
        )
        move = np.linalg.solve(hessian + 1e-9 * np.eye(2), gradient)
        move *= min(1.0, 1.0 / max(float(np.abs(move).max()), 1e-12))
        scale, offset = scale - float(move[0]), offset - float(move[1])
        if np.abs(move).max() < 1e-8:
            break
    if scale > 1 / _HIGHEST_TEMPERATURE:
        return 1 / scale, offset
    rate = float(y.mean())
    return _HIGHEST_TEMPERATURE, float(np.log(rate / (1 - rate)))


def _logits(network: HybridNetwork, inputs: npt.NDArray[np.float32], device: torch.device) -> npt.NDArray[np.float32]:
    with torch.inference_mode():
        logit, _ = network(torch.from_numpy(inputs[None]).to(device))
        found: npt.NDArray[np.float32] = logit[0, 0].float().cpu().numpy()
    return found
