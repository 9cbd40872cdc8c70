"""How far a candidate is from scans: residuals, and the scenes that candidates see."""

from __future__ import annotations

import numpy as np
import pytest

from depthforge.fitting.candidates import (
    Target,
    measure_scans,
    misfit,
    residuals,
    scenes_of,
    simulated_curves,
    target_of,
)
from depthforge.fitting.scan_curves import CURVES, Curves
from depthforge.sensors.gaussian_dropout import GaussianDropout
from tests.fitting.rooms import HEIGHT, WIDTH, room, scans, with_truth

NOISE = "noise against depth"


def curves(*values: float) -> Curves:
    return {name: np.array(values) for name in CURVES}


TARGET = Target(curves(1.0, 1.0, 1.0), curves(0.1, 0.1, 0.1))


@pytest.mark.parametrize("wrong", [6.0, -4.0])
def test_noise_that_leaves_nothing_to_measure_is_no_better_than_noise_of_the_wrong_size(wrong: float) -> None:
    nothing, far = (
        misfit(curves(np.nan, np.nan, np.nan), TARGET, (NOISE,)),
        misfit(curves(wrong, 1, 1), TARGET, (NOISE,)),
    )
    assert nothing > far
    some = misfit(curves(wrong, np.nan, np.nan), TARGET, (NOISE,))
    assert nothing > some > far


def test_a_bin_without_a_value_is_some_errors_off() -> None:
    off = residuals(curves(1.0, np.nan, 1.0), TARGET, (NOISE,)) * np.sqrt(3)
    assert off.tolist() == [0.0, pytest.approx(5.0), 0.0]


def test_with_truth_the_scene_is_the_truth_and_what_is_not_known_has_no_say() -> None:
    sensor = GaussianDropout(sigma_constant_m=0.003, pixel_dropout=0.05)
    known = with_truth(scans(sensor, 4))
    scenes = scenes_of(known.fitted, known.truth)
    left = np.s_[:, : WIDTH - WIDTH // 10]
    for frame, scene in zip(known.fitted, scenes, strict=True):
        assert np.array_equal(scene.frame.depth_m[left], room(int(frame.key[-4:]))[left])
        assert scene.frame.valid.all()
        places = scene.places
        assert not scene.measured[:, -WIDTH // 10 :].any()
        assert not places.away[:, -WIDTH // 10 :].any()
        assert (places.beside[:, -WIDTH // 10 :] == -1).all()
        assert (places.angle_bin[:, -WIDTH // 10 :] == -1).all()
    # A right tenth that is lost altogether changes nothing that is measured of holes.
    before = measure_scans(known.fitted, scenes)
    for frame in known.fitted:
        frame.valid[:, -WIDTH // 10 + 1 :] = False
    after = measure_scans(known.fitted, scenes)
    for first, second in zip(before, after, strict=True):
        assert (first.num_holes, first.num_pixels) == (second.num_holes, second.num_pixels)
        assert np.array_equal(first.beside, second.beside)
        assert first.lengths.sum() == pytest.approx(second.lengths.sum(), abs=2 * HEIGHT)


def test_simulated_on_the_truth_the_true_sensor_is_as_near_as_chance() -> None:
    sensor = GaussianDropout(sigma_constant_m=0.004, pixel_dropout=0.05, edge_dropout=0.5)
    known = with_truth(scans(sensor, 8))
    scenes = scenes_of(known.fitted, known.truth)
    measured = measure_scans(known.fitted, scenes)
    names = ("noise against depth", "holes against depth", "holes inside silhouettes", "single holes")
    assert misfit(simulated_curves(sensor, scenes, 0.0), target_of(measured), names) < 1.5
