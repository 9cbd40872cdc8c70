"""The field that draws holes: its variance, its two lengths in the image, and what of it stays from frame to frame."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from depthforge.frame import Frame
from depthforge.seeding import frame_words
from depthforge.testing.translators import clean_frame
from depthforge.translators.hole_fields import Correlation, CorrelationSettings, hole_field
from depthforge.translators.hybrid import Hybrid
from depthforge.translators.hybrid_network import HybridNetwork

SIZE = (240, 320)


def wall(z_m: float = 2.0, **changes: Any) -> Frame:
    depth_m = np.full(SIZE, z_m, np.float32)
    frame = replace(clean_frame(*SIZE), depth_m=depth_m, valid=depth_m > 0, T_world_cam=np.eye(4))
    return replace(frame, **changes)


def drawn(correlation: Correlation, number: int = 0, **changes: Any) -> np.ndarray:
    frame = wall(**changes)
    return hole_field(frame, frame_words(0, f"a/b/{number}"), correlation).whole


def correlation_of(first: np.ndarray, second: np.ndarray) -> float:
    return float((first * second).mean() / np.sqrt((first**2).mean() * (second**2).mean()))


@settings(max_examples=15, deadline=None)
@given(
    short_px=st.floats(0, 12),
    long_m=st.floats(0.02, 0.3),
    long_share=st.floats(0, 1),
    persistence=st.floats(0, 1),
    z_m=st.floats(0.3, 6),
)
def test_its_variance_is_one_whatever_it_is_made_of(
    short_px: float, long_m: float, long_share: float, persistence: float, z_m: float
) -> None:
    made = Correlation(short_px, long_m, long_share, persistence)
    fields = [hole_field(wall(z_m), frame_words(n, "a/b/c"), made).whole for n in range(12)]
    assert np.mean([(field**2).mean() for field in fields]) == pytest.approx(1, abs=0.35)


@pytest.mark.parametrize("z_m", [0.5, 0.7, 4.0])
@pytest.mark.parametrize("persistence", [0.0, 1.0])
def test_it_is_as_large_in_the_image_nearer_and_farther(z_m: float, persistence: float) -> None:
    """At a lag of its length a field has fallen to 1/e, be it long or short, on surfaces or over the image."""
    focal_px = wall().camera.fx
    for made, length_px in (
        (Correlation(4.0, 1.0, 0.0, persistence), 4),
        (Correlation(4.0, 16 * 2 / focal_px, 1.0, persistence), 16),
    ):
        found = []
        for number in range(12):
            field = hole_field(wall(z_m), frame_words(number, "a/b/c"), made).whole
            found.append(correlation_of(field[:, length_px:], field[:, :-length_px]))
        assert np.mean(found) == pytest.approx(1 / np.e, abs=0.1)


@pytest.mark.parametrize("persistence", [0.0, 0.3, 0.9, 1.0])
def test_as_much_of_it_stays_from_frame_to_frame_as_is_asked(persistence: float) -> None:
    made = Correlation(4.0, 0.1, 0.5, persistence)
    found = [correlation_of(drawn(made, 2 * n), drawn(made, 2 * n + 1)) for n in range(6)]
    assert np.mean(found) == pytest.approx(persistence, abs=0.06)
    # It lies on the surface: the camera moves by 20 px to the right, and the field by as many to the left.
    pose = np.eye(4)
    pose[0, 3] = 20 * 2.0 / wall().camera.fx
    moved = [drawn(made, 2 * n + 1, T_world_cam=pose) for n in range(6)]
    kept = [correlation_of(drawn(made, 2 * n)[:, 20:], moved[n][:, :-20]) for n in range(6)]
    assert np.mean(kept) == pytest.approx(persistence, abs=0.06)


def test_without_a_pose_every_frame_has_its_own() -> None:
    made = Correlation(4.0, 0.1, 0.5, 1.0)
    found = [correlation_of(drawn(made, n, T_world_cam=None), drawn(made, n + 50, T_world_cam=None)) for n in range(8)]
    assert np.mean(found) == pytest.approx(0, abs=0.08)


def test_the_long_field_is_that_of_the_whole() -> None:
    found = [hole_field(wall(), frame_words(n, "a/b/c"), Correlation(4.0, 0.1, 0.7, 0.5)) for n in range(6)]
    assert np.mean([correlation_of(long, whole) for long, whole in found]) == pytest.approx(np.sqrt(0.7), abs=0.04)
    long, whole = hole_field(wall(), (1, 2), Correlation(4.0, 0.1, 1.0, 0.5))
    assert long is whole


def test_what_is_not_set_is_as_it_was_measured() -> None:
    measured = Correlation(3.0, 0.4, 0.6, 0.9)
    assert CorrelationSettings().over(measured) == measured
    assert CorrelationSettings(long_share=0.0, persistence=1.0).over(measured) == (3.0, 0.4, 0.0, 1.0)
    network = Hybrid.make_networks(Hybrid.Config())["holes"]
    assert isinstance(network, HybridNetwork)
    assert network.correlation == pytest.approx(Correlation())
    network.persistence.fill_(0.25)
    assert network.correlation.persistence == 0.25
