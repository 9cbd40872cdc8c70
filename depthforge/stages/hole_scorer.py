"""How the checkpoints of ``hybrid`` are scored: probabilities of holes against the holes of held-out scans.

The pairs are at hand, so no statistics of two sets are needed: the score is the log loss as a share of that of a
constant, the scans' own rate of holes; 1 is no better than knowing that rate. Before it is taken, the network is
calibrated on the held-out pairs (``calibrate``): probabilities that are drawn from must be right, not merely in order.
How holes are correlated is measured there too (``hole_correlation``), and changes no score.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final, NamedTuple

import cv2
import numpy as np
import numpy.typing as npt
import torch

from depthforge.corpus.picture import coloured_depth
from depthforge.errors import InputError
from depthforge.frame import Frame
from depthforge.labels.catalogue import DEPTH_RAW
from depthforge.realism.same_view.hole_places import HoleOverlap, measure_overlap, summarise
from depthforge.stages.hole_correlation import Chances, measured_correlation
from depthforge.training.objective import Objective
from depthforge.training.scoring import HeldOut, Scored
from depthforge.translators.hole_fields import Correlation
from depthforge.translators.hybrid import Hybrid
from depthforge.translators.hybrid_network import PRIOR_SHARE, PRIOR_WIDE, HybridNetwork
from depthforge.translators.learned import Learned, LearnedConfig, device_of

__all__ = ["Calibration", "HoleScorer", "Parts", "calibrate", "hole_figures", "unseen_figures"]


_STRIDE: Final = 3
_NEWTON_STEPS: Final = 30
_HIGHEST_TEMPERATURE: Final = 1000.0
_LEAST_SHARE: Final = 1e-4
_PICTURES: Final = 4
_NOT_OF_PHYSICS: Final = 0.05
_SHOWN: Final = {
    "hole_auc": "holes, AUC",
    "hole_average_precision": "holes, average precision",
    "hole_log_loss": "holes, log loss",
    "hole_log_loss_skill": "holes, skill over a constant, %",
    "hole_calibration_error": "holes, calibration error, %",
}


class Parts(NamedTuple):
    """What ``HybridNetwork.parts`` gives, of one frame (H, W) or of some pixels (N,)."""

    frequency: npt.NDArray[np.float32]
    of_wide: npt.NDArray[np.float32]
    logit: npt.NDArray[np.float32]


class Calibration(NamedTuple):
    """The numbers of a ``HybridNetwork`` that held-out pairs decide.

    The logit h becomes h / ``temperature`` + ``offset``; ``thin`` holes of the physics and ``wide`` ones are
    real ones that often.
    """

    temperature: float
    offset: float
    thin: float
    wide: float

    @classmethod
    def of(cls, network: HybridNetwork) -> Calibration:
        """Return what a network is calibrated to."""
        shares = (float(torch.sigmoid(share.detach())) for share in (network.thin, network.wide))
        return cls(float(network.temperature), float(network.offset), *shares)

    def of_network(self) -> dict[str, float]:
        """Return the values of the network's own tensors, by name."""
        return {**self._asdict(), "thin": _logit(self.thin), "wide": _logit(self.wide)}

    def probability(self, parts: Parts) -> npt.NDArray[np.float32]:
        """Return how likely each pixel is to be a hole, of the shape of ``parts``."""
        physics = self.thin * (parts.frequency - parts.of_wide) + self.wide * parts.of_wide
        found: npt.NDArray[np.float32] = 1 - (1 - physics) * (1 - self.learnt(parts))
        return found

    def learnt(self, parts: Parts) -> npt.NDArray[np.float32]:
        """Return how likely each pixel is to be a hole that the physics does not make."""
        found: npt.NDArray[np.float32] = 1 / (1 + np.exp(-parts.logit / self.temperature - self.offset))
        return found


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
        parts = [_parts(network, images["inputs"], device) for _, images in self._seen]
        known = [images["known"][0] > 0 for _, images in self._seen]
        holes = [images["hole"][0] > 0 for _, images in self._seen]
        sampled = [
            [image[here][::_STRIDE] for image in (*each, hole)]
            for each, here, hole in zip(parts, known, holes, strict=True)
        ]
        frequency, of_wide, logit, hole = (np.concatenate(images) for images in zip(*sampled, strict=True))
        found_to_be = calibrate(Parts(frequency, of_wide, logit), hole)
        with torch.no_grad():
            for name, value in found_to_be.of_network().items():
                getattr(network, name).fill_(value)
        found = [found_to_be.probability(each) for each in parts]
        correlation = self._correlation(found_to_be, parts, known, holes)
        with torch.no_grad():
            for name, value in correlation._asdict().items():
                getattr(network, name).fill_(value)
        shown = _shown(known, holes, found)
        skill = shown.get(_SHOWN["hole_log_loss_skill"], float("nan"))
        return Scored(
            round(1 - skill / 100, 4) if np.isfinite(skill) else 1.0,
            shown,
            details={
                "measured_on": "the held-out ends of the recordings that were trained on",
                "calibration": {name: round(value, 4) for name, value in found_to_be._asdict().items()},
                "correlation": {name: round(value, 4) for name, value in correlation._asdict().items()},
            },
            summary=f"on {len(found)} held-out scans; " + ", ".join(f"{name} {v:.3g}" for name, v in shown.items()),
            pictures={"samples.png": self._picture(found)},
        )

    def _correlation(
        self,
        calibration: Calibration,
        parts: Sequence[Parts],
        known: Sequence[npt.NDArray[np.bool_]],
        holes: Sequence[npt.NDArray[np.bool_]],
    ) -> Correlation:
        chances = [
            Chances(calibration.learnt(each), hole, here & (each.frequency < _NOT_OF_PHYSICS) & np.isfinite(each.logit))
            for each, here, hole in zip(parts, known, holes, strict=True)
        ]
        return measured_correlation([frame for frame, _ in self._seen], chances, Correlation())

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
    calibration = Calibration.of(network)
    found = [calibration.probability(_parts(network, each["inputs"], device)) for each in seen]
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


def calibrate(parts: Parts, holes: npt.NDArray[np.bool_]) -> Calibration:
    """Return the calibration with which ``parts`` (N,) have the least log loss for ``holes`` (N,).

    Platt, "Probabilistic outputs for support vector machines", 1999, by Newton's method. Before each step a hole counts
    by how likely it is what the logits tell and not the physics (Dempster, Laird and Rubin, 1977), and the physics'
    share is as often right as holes say, wide ones with the prior of ``HybridNetwork``. The start where there are no
    holes or nothing else. Where the order of the logits says nothing (T would not be positive) the constant is left.
    """
    start = Calibration(1.0, 0.0, 0.5, PRIOR_WIDE)
    if holes.all() or not holes.any():
        return start
    of_thin, of_wide, logits = (each.astype(np.float64) for each in (parts.frequency - parts.of_wide, *parts[1:]))
    thin, wide = start.thin, start.wide
    prior = PRIOR_SHARE * len(logits)
    scale, offset = 1.0, 0.0
    for _ in range(_NEWTON_STEPS):
        p = 1 / (1 + np.exp(-np.clip(scale * logits + offset, -40, 40)))
        either = np.maximum(1 - (1 - thin * of_thin - wide * of_wide) * (1 - p), 1e-12)
        y, of_physics = np.where(holes, p / either, 0.0), np.where(holes, 1 / either, 0.0)
        thin = _share(thin * float(of_physics @ of_thin), float(of_thin.sum()))
        wide = _share(wide * float(of_physics @ of_wide) + PRIOR_WIDE * prior, float(of_wide.sum()) + prior)
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
        return Calibration(1 / scale, offset, thin, wide)
    rate = float(np.clip(y.mean(), 1e-6, 1 - 1e-6))
    return Calibration(_HIGHEST_TEMPERATURE, _logit(rate), thin, wide)


def _share(part: float, whole: float) -> float:
    return min(max(part / max(whole, 1e-9), _LEAST_SHARE), 1 - _LEAST_SHARE)


def _logit(share: float) -> float:
    return float(np.log(share / (1 - share)))


def _parts(network: HybridNetwork, inputs: npt.NDArray[np.float32], device: torch.device) -> Parts:
    with torch.inference_mode():
        parts = network.parts(torch.from_numpy(inputs[None]).to(device))
    return Parts(*(part[0, 0].float().cpu().numpy() for part in parts))
