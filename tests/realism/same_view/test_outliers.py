"""Gross errors of known share and size."""

from __future__ import annotations

import numpy as np
import pytest

from depthforge.realism.same_view.outliers import measure_errors, summarise
from tests.realism.same_view.made import box, measured, truth
from tests.realism.scenes import CAMERA


def test_a_known_share_of_outliers_is_counted() -> None:
    depth_m = np.full(CAMERA.size, 1.2)
    far_off = np.random.default_rng(0).uniform(size=CAMERA.size) < 0.01
    frame = measure_errors(truth(depth_m), measured(np.where(far_off, 1.1 * depth_m, 1.03 * depth_m)))
    assert summarise([frame])["outlier_share"] == pytest.approx(100 * far_off[::2].mean())


def test_errors_beside_a_silhouette_do_not_count() -> None:
    frame = measure_errors(truth(box()), measured(box(grown_px=8)))
    assert frame.num_outliers == 0
    # The box is 80 px: what is left of it is farther than 15 px from its edges.
    assert frame.num_pixels < CAMERA.width * CAMERA.height / 2


def test_errors_beside_missing_truth_do_not_count() -> None:
    known = np.ones(CAMERA.size, bool)
    known[:, :100] = False
    depth_m = np.full(CAMERA.size, 1.0)
    wrong = depth_m.copy()
    wrong[:, 100:110] = 2.0
    assert measure_errors(truth(depth_m, known), measured(wrong)).num_outliers == 0


def test_the_percentile_of_even_errors_is_99_percent_of_the_largest() -> None:
    draw = np.random.default_rng(1)
    near, far = np.full(CAMERA.size, 0.8), np.full(CAMERA.size, 2.2)
    frames = [
        measure_errors(truth(depth_m), measured(depth_m + draw.uniform(-largest_m, largest_m, CAMERA.size)))
        for depth_m, largest_m in ((near, 0.01), (far, 0.04))
    ]
    found = summarise(frames)
    assert found["error_p99_at_0_71_m"] == pytest.approx(9.9, rel=0.03)
    assert found["error_p99_at_2_m"] == pytest.approx(39.6, rel=0.03)
    assert np.isnan(found["error_p99_at_1_m"])


def test_the_truth_itself_has_no_error() -> None:
    depth_m = np.full(CAMERA.size, 0.8)
    found = summarise([measure_errors(truth(depth_m), measured(depth_m))])
    assert found["error_p99_at_0_71_m"] == 0
    assert found["outlier_share"] == 0
