"""Probabilities of holes, calibrated on held-out pairs and held against their scans."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from depthforge.frame import Frame
from depthforge.labels.catalogue import DEPTH_RAW
from depthforge.manifest import WatchSettings
from depthforge.stages.hole_scorer import HoleScorer, Parts, calibrate
from depthforge.testing.translators import clean_frame
from depthforge.training.scoring import HeldOut
from depthforge.translators.hybrid import Hybrid
from depthforge.translators.hybrid_network import HybridNetwork

SENSOR = {"name": "structured_light"}


def parts_of(logits: np.ndarray, thin: np.ndarray | float = 0.0, of_wide: np.ndarray | float = 0.0) -> Parts:
    of_wide = np.broadcast_to(np.asarray(of_wide, np.float32), logits.shape)
    return Parts(np.asarray(thin + of_wide, np.float32), of_wide, logits.astype(np.float32))


def test_calibration_gives_back_temperature_and_offset() -> None:
    random = np.random.default_rng(0)
    logits = random.normal(-1, 2, 200_000)
    holes = random.random(logits.size) < 1 / (1 + np.exp(-(logits / 1.7 - 0.4)))
    found = calibrate(parts_of(logits), holes)
    assert found[:2] == pytest.approx((1.7, -0.4), rel=0.03, abs=0.02)
    assert found.wide == pytest.approx(0.9)


def test_holes_that_the_physics_tells_are_not_counted_twice_and_it_is_as_often_right_as_holes_say() -> None:
    random = np.random.default_rng(0)
    logits = random.normal(-2, 2, 400_000)
    kind = random.random(logits.size)
    thin, of_wide = (kind < 0.1).astype(np.float32), (kind > 0.8).astype(np.float32)
    learnt = random.random(logits.size) < 1 / (1 + np.exp(-(logits / 1.7 - 0.4)))
    holes = learnt | (random.random(logits.size) < 0.3 * thin + 0.6 * of_wide)
    found = calibrate(parts_of(logits, thin, of_wide), holes)
    assert found[:2] == pytest.approx((1.7, -0.4), rel=0.04, abs=0.03)
    assert found[2:] == pytest.approx((0.3, 0.6), abs=0.02)
    # Few pixels of wide holes, and the prior stands.
    few = np.where(np.arange(logits.size) < 40, np.float32(1), np.float32(0))
    assert calibrate(parts_of(logits, 0.0, few), holes & (few == 0)).wide == pytest.approx(0.9, abs=0.05)


def test_what_cannot_be_calibrated_is_left_alone() -> None:
    logits = np.linspace(-1, 1, 100)
    for holes in (np.zeros(100, np.bool_), np.ones(100, np.bool_)):
        assert calibrate(parts_of(logits), holes) == (1.0, 0.0, 0.5, 0.9)
    found = calibrate(parts_of(logits), logits < -0.5)
    assert found.temperature == 1000
    assert found.offset == pytest.approx(np.log(0.25 / 0.75))


def test_the_score_is_the_share_of_a_constants_loss_and_the_network_is_calibrated() -> None:
    frame = clean_frame(96, 128)
    random = np.random.default_rng(1)
    scan_m = np.where(random.random(frame.depth_m.shape) < 0.2, np.float32(0), frame.depth_m)
    pair = Frame(frame.key, frame.depth_m, frame.valid, frame.camera, rgb=frame.rgb, labels={DEPTH_RAW.name: scan_m})
    config = Hybrid.Config(sensor=SENSOR)
    objective = Hybrid.make_objective(config, torch.Generator().manual_seed(0))
    network = objective.networks["holes"].eval()
    assert isinstance(network, HybridNetwork)
    scorer = HoleScorer(Hybrid, config, HeldOut([], [pair], 0, WatchSettings()))
    scored = scorer.score(1, objective, {})
    # Holes at random: nothing beats their rate, and after calibration nothing is much worse than it.
    assert scored.score == pytest.approx(1.0, abs=0.04)
    assert scored.figures["holes, AUC"] == pytest.approx(0.5, abs=0.03)
    assert scored.figures["holes, calibration error, %"] < 3
    assert network.offset.item() != 0
    assert scored.pictures["samples.png"][1:4] == b"PNG"
    assert scorer.score(2, objective, {}).score == scored.score
