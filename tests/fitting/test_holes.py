"""Holes within surfaces: at which depth, and how long."""

from __future__ import annotations

import numpy as np
import pytest

from depthforge.fitting.candidates import measure_scans, scenes_of, simulated_curves
from depthforge.fitting.hole_counts import NUM_LENGTHS, holes_within_surfaces, holes_within_true_surfaces
from depthforge.fitting.scan_curves import share_of
from depthforge.realism.noise import DEPTH_EDGES_M
from depthforge.sensors.active_stereo import ActiveStereo
from tests.fitting.rooms import scans, with_truth


@pytest.mark.parametrize(("length", "octave"), [(1, 0), (2, 1), (3, 1), (4, 2), (7, 2), (8, 3), (31, 4)])
def test_a_hole_in_a_wall_is_as_long_as_its_row(length: int, octave: int) -> None:
    depth_m, valid = np.full((3, 48), 2.2, np.float32), np.ones((3, 48), np.bool_)
    valid[1, 5 : 5 + length] = False
    by_depth, lengths = holes_within_surfaces(depth_m, valid)
    place = int(np.digitize(2.2, DEPTH_EDGES_M)) - 1
    assert by_depth[place].tolist() == [3 * 48, length]
    assert lengths.tolist() == [length * (k == octave) for k in range(NUM_LENGTHS)]


def test_what_lies_between_two_surfaces_or_at_the_border_is_of_none() -> None:
    depth_m, valid = np.full((1, 48), 2.2, np.float32), np.ones((1, 48), np.bool_)
    depth_m[:, 20:] = 1.1
    valid[:, 15:20] = valid[:, :4] = valid[:, 44:] = False
    by_depth, lengths = holes_within_surfaces(depth_m, valid)
    assert by_depth[:, 1].sum() == 0
    assert lengths.sum() == 0


def test_a_shadow_is_as_long_as_it_is_high_and_no_column_says_so() -> None:
    """Above and below the shadow of a box is the same wall: along columns it would be a hole of 20 px."""
    depth_m, valid = np.full((30, 48), 2.0, np.float32), np.ones((30, 48), np.bool_)
    depth_m[5:25, 20:40] = 1.0
    valid[5:25, 15:20] = False
    assert holes_within_surfaces(depth_m, valid)[1].sum() == 0


def test_by_the_truth_a_hole_counts_when_it_lies_within_surfaces_as_a_whole() -> None:
    valid, bins = np.ones((1, 48), np.bool_), np.full((1, 48), 5, np.int16)
    valid[:, 10:13] = False  # within
    valid[:, 20:25] = False  # its end lies in a shadow
    bins[:, 24:30] = -1
    valid[:, :3] = valid[:, 45:] = False  # at the border
    by_depth, lengths = holes_within_true_surfaces(valid, bins)
    assert by_depth[5].tolist() == [48 - 5 - 6 - 5, 3]
    assert by_depth.sum() == by_depth[5].sum()
    assert lengths.tolist() == [0, 3] + [0] * (NUM_LENGTHS - 2)


def test_shadows_and_bleed_of_stereo_are_no_patches() -> None:
    """Nothing of what stereo loses beside silhouettes and in its blank band counts where patches are told."""
    sensor = ActiveStereo(baseline_m=0.3, fattening_px=2.0, edge_jitter_px=2.0, confidence_softness=0.0)
    of_rooms = with_truth(scans(sensor, 8))
    scenes = scenes_of(of_rooms.fitted, of_rooms.truth)
    lost = np.mean([(~frame.valid & of_rooms.truth[frame.key].valid).mean() for frame in of_rooms.fitted])
    assert lost > 0.1
    counts = np.sum([each.by_depth for each in measure_scans(of_rooms.fitted, scenes)], axis=0)
    assert counts[:, 1].sum() < 0.003 * counts[:, 0].sum()
    patched = simulated_curves(sensor.model_copy(update={"patch_share": 0.05}), scenes, 0.0)["holes against depth"]
    assert np.nanmean(share_of(patched)) > 0.01
