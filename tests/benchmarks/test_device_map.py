"""The picture of a device's own error: where it is nearer, farther and not known, and whether halves agree."""

from __future__ import annotations

import numpy as np

from benchmarks.draw_device_map import drawn, picture_of
from depthforge.sensors.fields import stretched

CAPTION_ROWS = 36


def test_nearer_is_red_farther_blue_and_what_is_not_known_grey() -> None:
    picture = drawn(np.array([[1.0, -1.0], [0.0, np.nan]], np.float32), 1.0, "")[CAPTION_ROWS:]
    assert picture.shape == (640, 640, 3)
    np.testing.assert_array_equal(picture[100, 100], [0, 0, 255])
    np.testing.assert_array_equal(picture[100, 500], [255, 0, 0])
    np.testing.assert_array_equal(picture[500, 100], [255, 255, 255])
    np.testing.assert_array_equal(picture[500, 500], [127, 127, 127])


def test_a_map_that_repeats_is_drawn_thrice_and_one_that_does_not_is_left_white() -> None:
    draw = np.random.default_rng(0)
    device = stretched(draw.normal(0, 0.1, (6, 8)).astype(np.float32), (60, 80))
    repeats = [device + draw.normal(0, 0.01, device.shape).astype(np.float32) for _ in range(8)]
    chance = [stretched(draw.normal(0, 0.1, (12, 16)).astype(np.float32), (60, 80)) for _ in range(8)]
    for maps, is_white in ((repeats, False), (chance, True)):
        last = picture_of(maps, (30, 40))[CAPTION_ROWS:, 2 * 648 : 2 * 648 + 640]
        assert bool((last == 255).all()) == is_white
