"""hybrid: the physics of a sensor, and holes where a network says."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import torch

from depthforge.errors import FrameError, InputError
from depthforge.frame import Frame
from depthforge.labels.catalogue import DEPTH_RAW
from depthforge.seeding import frame_words
from depthforge.testing.translators import TranslatorTests, clean_frame
from depthforge.training.objective import Batch
from depthforge.training.translator_card import TranslatorCard
from depthforge.training.weights import write_translator
from depthforge.translators.hole_sampling import LEVELS
from depthforge.translators.hybrid import Hybrid
from depthforge.translators.hybrid_network import HybridNetwork

SENSOR = {"name": "structured_light", "projector_side": "right", "patch_share": 0.3}


def written(folder: Path, logit: float | None = None, **options: Any) -> Hybrid:
    """Write weights: random ones, or such that every logit is ``logit`` whatever the physics says; return the
    translator that uses them.
    """
    config = Hybrid.Config(sensor=SENSOR, weights=folder, **options)
    networks = Hybrid.make_networks(config)
    network = networks["holes"]
    assert isinstance(network, HybridNetwork)
    network.initialise(torch.Generator().manual_seed(0))
    if logit is not None:
        with torch.no_grad():
            network.holes.last.weight.zero_()
            assert network.holes.last.bias is not None
            network.holes.last.bias.fill_(logit)
            network.thin.fill_(-40.0)
            network.wide.fill_(-40.0)
            if network.residual is not None:
                network.residual.last.weight.zero_()
                assert network.residual.last.bias is not None
                network.residual.last.bias[1:] = -30.0
    card = TranslatorCard(
        translator="hybrid",
        version=Hybrid.version,
        architecture=config.architecture,
        normalisation=None,
        units=None,
        origin="a test",
    )
    write_translator(folder, networks, card)
    return Hybrid(config)


def drawn(translator: Hybrid, frame: Frame, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    depth = translator.translate(frame, frame_words(seed, frame.key)).depth
    assert depth is not None
    return depth.depth_m, depth.valid


class TestContract(TranslatorTests):
    """The battery."""

    @pytest.fixture
    def translator(self, tmp_path: Path) -> Hybrid:
        return written(tmp_path, min_kept=0.0, residual=True)


def test_holes_are_where_the_network_says_and_not_where_the_physics_drew_them(tmp_path: Path) -> None:
    frame = clean_frame(120, 160)
    none, all_lost = written(tmp_path / "none", -30.0), written(tmp_path / "all", 30.0, min_kept=0.0)
    depth_m, valid = drawn(none, frame)
    physics = none.config.physics.measure(frame, frame_words(0, frame.key))
    assert physics.valid.sum() < frame.valid.sum()
    assert valid.sum() > 0.99 * frame.valid.sum()
    np.testing.assert_array_equal(depth_m[physics.valid], physics.depth_m[physics.valid])
    filled = valid & ~physics.valid
    assert np.abs(depth_m - frame.depth_m)[filled].max() < 0.6
    assert not drawn(all_lost, frame)[1].any()


def test_as_many_holes_as_the_probability_says_other_ones_with_other_words(tmp_path: Path) -> None:
    frame, translator = clean_frame(120, 160), written(tmp_path, -1.0, long_m=0.05)
    masks = [drawn(translator, frame, seed)[1] for seed in range(8)]
    share = 1 - np.mean([mask[frame.valid].mean() for mask in masks])
    assert share == pytest.approx(1 / (1 + np.e), abs=0.05)
    assert not np.array_equal(masks[0], masks[1])


def test_range_and_borders_are_the_sensors(tmp_path: Path) -> None:
    sensor = {**SENSOR, "max_depth_m": 2.0, "blind_right_px": 8}
    translator = written(tmp_path, -30.0)
    limited = Hybrid.of_networks(
        Hybrid.Config(sensor=sensor, min_kept=0.0), {name: net.eval() for name, net in translator.loaded().items()}
    )
    depth_m, valid = drawn(limited, clean_frame(120, 160))
    assert depth_m.max() <= 2.0
    assert not valid[:, -8:].any()
    assert valid.any()


def test_what_is_lost_near_the_camera_is_the_sensors_and_not_learnt(tmp_path: Path) -> None:
    """A network that loses nothing: half of what is as far as ``saturated_m`` is a hole, by the law of the sensor."""
    near = {**SENSOR, "saturated_m": 0.6, "saturated_spread": 0.25}
    config = written(tmp_path, -30.0, min_kept=0.0).config.model_copy(
        update={"sensor": Hybrid.Config(sensor=near).sensor}
    )
    translator = Hybrid(config)
    frame = clean_frame(120, 160)
    wall = replace(frame, depth_m=np.full((120, 160), 0.6, np.float32), valid=np.ones((120, 160), np.bool_))
    levels = translator.hole_levels(wall, (1, 2))[10:-10, 10:-10]
    assert np.abs(levels - LEVELS / 2).max() <= 1
    shares = [1 - drawn(translator, wall, seed)[1].mean() for seed in range(30)]
    assert np.mean(shares) == pytest.approx(0.5, abs=0.1)
    far = translator.hole_levels(replace(wall, depth_m=wall.depth_m * 3), (1, 2))[10:-10, 10:-10]
    assert far.max() <= 1
    # Another limit makes another corpus by the same weights.
    assert translator.fingerprint != written(tmp_path, -30.0, min_kept=0.0).fingerprint
    ramp = np.linspace(0.3, 3.0, 160, dtype=np.float32)[None].repeat(120, axis=0)
    pair = replace(wall, depth_m=ramp, labels={DEPTH_RAW.name: ramp})
    known = translator.images(pair)["known"][0]
    assert not known[:, ramp[0] < 0.9].any()
    assert known[20:-20, (ramp[0] > 1.1) & (ramp[0] < 2.5)].all()


def test_holes_of_the_physics_are_its_own_drawing_as_often_as_they_are_believed(tmp_path: Path) -> None:
    translator = written(tmp_path, -30.0, min_kept=0.0)
    network = translator.loaded()["holes"]
    assert isinstance(network, HybridNetwork)
    network.thin.data.fill_(-40.0)
    network.wide.data.fill_(torch.logit(torch.tensor(0.75)))
    box_m = np.full((240, 320), 2.0, np.float32)
    box_m[60:180, 120:200] = 0.6
    frame = replace(clean_frame(240, 320), depth_m=box_m, valid=np.ones((240, 320), np.bool_))
    shares, expected = [], []
    for seed in range(12):
        physics = translator.config.physics.measure(frame, frame_words(seed, frame.key))
        holes = frame.valid & ~physics.valid
        lost = frame.valid & ~drawn(translator, frame, seed)[1]
        assert not (lost & ~holes)[:, :-8].any()
        square = np.ones((7, 7), np.uint8)
        wide = cv2.dilate(cv2.erode(holes.view(np.uint8), square), square) > 0
        shares.append((lost & holes)[:, :-8].sum())
        expected.append(0.75 * (wide & holes)[:, :-8].sum())
    assert np.sum(expected) > 1000
    assert np.sum(shares) == pytest.approx(np.sum(expected), rel=0.15)


def test_the_long_field_is_as_large_in_the_image_nearer_and_farther(tmp_path: Path) -> None:
    """A wall at 0.5 and at 4 m: the same share is lost, in patches of as many pixels, and a still camera keeps them."""
    translator = written(tmp_path, 0.0, min_kept=0.0, short_px=2.0, long_share=0.95)
    frame = clean_frame(240, 320)
    whole = np.ones((240, 320), np.bool_)
    lengths = {}
    for z_m in (0.5, 0.7, 4.0):
        wall = replace(frame, depth_m=np.full((240, 320), z_m, np.float32), valid=whole)
        lost = [~drawn(translator, replace(wall, key=f"a/{n}/0"), n)[1][20:-20, 20:-20] for n in range(8)]
        assert np.mean(lost) == pytest.approx(0.5, abs=0.15)
        lengths[z_m] = np.mean([1 / max((each[:, 1:] != each[:, :-1]).mean(), 1e-6) for each in lost])
    assert lengths[0.5] == pytest.approx(lengths[4.0], rel=0.3)
    assert lengths[0.7] == pytest.approx(lengths[4.0], rel=0.3)


def test_calibration_moves_probabilities(tmp_path: Path) -> None:
    translator = written(tmp_path, 0.0)
    network = translator.loaded()["holes"]
    assert isinstance(network, HybridNetwork)
    network.temperature.fill_(2.0)
    network.offset.fill_(-np.log(3))
    frame = clean_frame(48, 64)
    levels = translator.hole_levels(frame, (1, 2))
    assert np.unique(levels[frame.valid]).tolist() == [LEVELS // 4]
    assert (levels[~frame.valid] == LEVELS).all()


def test_colour_that_is_missing_is_said_and_may_be_done_without(tmp_path: Path) -> None:
    frame = clean_frame(48, 64)
    bare = Frame(frame.key, frame.depth_m, frame.valid, frame.camera)
    with pytest.raises(FrameError, match="no colour") as raised:
        drawn(written(tmp_path / "colour"), bare)
    assert "colour: false" in str(raised.value)
    blind = written(tmp_path / "blind", colour=False)
    assert blind.wanted == frozenset()
    assert drawn(blind, bare)[1].any()


def test_weights_are_of_one_physics(tmp_path: Path) -> None:
    translator = written(tmp_path)
    other = Hybrid.Config(sensor={**SENSOR, "baseline_m": 0.1}, weights=tmp_path)
    with pytest.raises(InputError, match="another architecture"):
        Hybrid(other).load()
    # Patches are left out, and where they come from does not matter.
    patched = Hybrid.Config(sensor={**SENSOR, "patch_share": 0.1}, weights=tmp_path)
    assert Hybrid(patched).fingerprint == translator.fingerprint
    # Another camera of its kind, another driver's range and another stream make other bytes by the same weights.
    moved = Hybrid(
        Hybrid.Config(
            sensor={**SENSOR, "max_depth_m": 2.0, "device_seed": 3, "focal_length_px": 500.0}, weights=tmp_path
        )
    )
    moved.load()
    assert moved.fingerprint != translator.fingerprint
    assert Hybrid(patched.model_copy(update={"long_m": 0.5})).fingerprint != translator.fingerprint


def test_a_pair_says_what_was_lost_and_a_frame_alone_nothing() -> None:
    frame = clean_frame(48, 64)
    translator = Hybrid(Hybrid.Config(sensor=SENSOR))
    assert set(translator.images(frame)) == {"inputs"}
    scan_m = frame.depth_m.copy()
    scan_m[10:18] = 0
    scan_m[18], scan_m[19] = np.nan, np.inf
    pair = Frame(frame.key, frame.depth_m, frame.valid, frame.camera, rgb=frame.rgb, labels={DEPTH_RAW.name: scan_m})
    seen = translator.images(pair)
    assert seen["hole"][0, 12].all()
    np.testing.assert_array_equal(seen["known"][0] > 0, frame.valid)
    np.testing.assert_array_equal(seen["hole"][0] > 0, ~(np.isfinite(scan_m) & (scan_m > 0)))


def test_training_learns_which_surface_is_lost_and_steps_repeat() -> None:
    """A sensor that loses what is dark: two objectives from one seed agree, and the loss falls below the constant's."""
    config = Hybrid.Config(sensor=SENSOR, learning_rate=1e-2, without_colour=0.0, light=0.0, residual=False)
    random = np.random.default_rng(0)
    dark = np.repeat(np.repeat(random.random((4, 1, 4, 4)) < 0.3, 8, axis=2), 8, axis=3)
    inputs = torch.zeros(4, 10, 32, 32)
    inputs[:, 8] = torch.from_numpy(np.where(dark, -1.0, 0.4)[:, 0].astype(np.float32))
    real = {
        "inputs": inputs,
        "hole": torch.from_numpy(dark.astype(np.float32)),
        "known": torch.ones(4, 1, 32, 32),
    }
    runs = []
    for _ in range(2):
        generator = torch.Generator().manual_seed(1)
        objective = Hybrid.make_objective(config, generator)
        runs.append([float(objective.step(Batch({}, real))["bce"]) for _ in range(40)])
    assert runs[0] == runs[1]
    assert runs[0][-1] < 0.3 < 0.6 < runs[0][0]
