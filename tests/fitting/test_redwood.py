"""What the Redwood model leaves on slanted walls: blocks, shifts and steps are read off, its noise is matched."""

from __future__ import annotations

import numpy as np
import pytest

from depthforge.fitting import fit as fitting
from depthforge.fitting.blocks import block_and_shift_px
from depthforge.fitting.fit import Fit, fit_sensor
from depthforge.fitting.recipes import RECIPES
from depthforge.fitting.scans import views_of
from depthforge.frame import Camera
from depthforge.realism.views import DepthView
from depthforge.sensors.redwood import Redwood
from tests.fitting.rooms import scans

TRUE = Redwood(
    depth_disparity_m_px=40.0,
    noise_sigma_px=0.05,
    shift_sigma_px=0.4,
    block_px=2,
    blind_border_cells=(0, 2, 4, 2),
    distortion="none",
)


@pytest.fixture(scope="module")
def fit() -> Fit:
    """One number needs no more than a short search."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(fitting, "FROM_AFAR", ((0.4, 0.1),))
        patch.setattr(fitting, "NEARBY", ((0.06,),))
        return fit_sensor(Redwood(distortion="none"), scans(TRUE, 10, unit_m=0.001))


def test_what_is_read_off(fit: Fit) -> None:
    assert isinstance(fit.sensor, Redwood)
    assert fit.sensor.depth_disparity_m_px == pytest.approx(40.0, rel=1e-3)
    assert fit.sensor.block_px == 2
    assert fit.sensor.shift_sigma_px == pytest.approx(0.4, rel=0.1)
    assert fit.sensor.blind_border_cells == (0, 2, 4, 2)
    assert "limit" in fit.skipped["max_depth_m"]


def test_a_limit_of_depth_is_read_off() -> None:
    found = RECIPES["redwood"].read_off(scans(Redwood(max_depth_m=2.5), 6, unit_m=0.001), Redwood())
    assert found.values["max_depth_m"] == pytest.approx(2.5, abs=0.05)


def test_noise_is_matched(fit: Fit) -> None:
    assert isinstance(fit.sensor, Redwood)
    assert fit.sensor.noise_sigma_px == pytest.approx(0.05, rel=0.1)
    before, after = fit.on_held_out.misfits(("noise against depth",))
    assert after < 0.5 * before


def test_what_is_not_told_is_said(fit: Fit) -> None:
    assert "warped lens" in fit.skipped["distortion_strength"]
    assert "product" in fit.skipped["steps_per_px"]
    assert "shift_sigma_px" not in fit.skipped


@pytest.mark.parametrize(("side", "shift_px"), [(2, 0.0), (2, 0.25), (3, 0.5), (4, 0.3)])
def test_blocks_and_shifts(side: int, shift_px: float) -> None:
    sensor = Redwood(block_px=side, shift_sigma_px=shift_px, distortion="none")
    found, shift = block_and_shift_px(views_of(scans(sensor, 16).fitted))
    assert found == side
    assert shift == pytest.approx(shift_px, rel=0.1)


def test_without_blocks_nothing_is_said_of_a_shift() -> None:
    measured = scans(Redwood(block_px=1), 6, unit_m=0.001)
    assert block_and_shift_px(views_of(measured.fitted)) == (1, None)
    found = RECIPES["redwood"].read_off(measured, Redwood())
    assert found.values["block_px"] == 1
    assert "shift_sigma_px" not in found.values
    assert "blocks tell it" in found.skipped["shift_sigma_px"]


def test_a_ramp_without_noise_is_a_staircase_or_none() -> None:
    at = np.arange(64)
    camera = Camera(60, 60, 31.5, 31.5, 64, 64)
    for side in (1, 2, 5):
        inverse = 0.5 + 0.002 * (at - at % side)[None] + 0.001 * (at - at % side)[:, None]
        view = DepthView((1 / inverse).astype(np.float32), np.ones((64, 64), np.bool_), camera)
        assert block_and_shift_px([view, view]) == (side, 0.0 if side > 1 else None)
