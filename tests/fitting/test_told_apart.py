"""Patches of a sensor are not told from its own scans, and are from those of one that loses more pixels."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from depthforge.fitting.candidates import scenes_of
from depthforge.fitting.told_apart import auc_of, patches_of_scans, patches_of_sensor
from depthforge.sensors.gaussian_dropout import GaussianDropout
from tests.fitting.rooms import scans, with_truth

TRUE = GaussianDropout(sigma_constant_m=0.006, correlation_px=2.0, pixel_dropout=0.02)


def test_a_sensor_that_loses_more_is_told_and_the_scans_own_is_not() -> None:
    of_rooms = with_truth(scans(TRUE, 12))
    scenes = scenes_of(of_rooms.fitted, of_rooms.truth)
    real = patches_of_scans(of_rooms.fitted, scenes)
    own, worse = (
        auc_of(patches_of_sensor(sensor, scenes, 0.0), real)
        for sensor in (TRUE, TRUE.model_copy(update={"pixel_dropout": 0.1}))
    )
    assert own is not None
    assert worse is not None
    assert own < 0.62
    assert worse > 0.9


def test_what_the_truth_does_not_know_is_not_shown() -> None:
    of_rooms = with_truth(scans(TRUE, 4))
    blind = [replace(frame, valid=frame.valid & of_rooms.truth[frame.key].valid) for frame in of_rooms.fitted]
    scenes = scenes_of(of_rooms.fitted, of_rooms.truth)
    for whole, less in zip(patches_of_scans(of_rooms.fitted, scenes), patches_of_scans(blind, scenes), strict=True):
        assert np.array_equal(whole, less)


def test_too_few_frames_tell_nothing() -> None:
    of_rooms = with_truth(scans(TRUE, 3))
    scenes = scenes_of(of_rooms.fitted, of_rooms.truth)
    assert auc_of(patches_of_sensor(TRUE, scenes, 0.0), patches_of_scans(of_rooms.fitted, scenes)) is None
