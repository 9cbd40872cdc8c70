"""The simulated noise of active stereo beside a real RealSense frame: how far it reaches from pixel to pixel."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from tests.real.parity import realsense_noise, simulated_realsense_noise


def test_noise_reaches_as_far_as_that_of_a_real_frame(shared_data: Path) -> None:
    real = realsense_noise(shared_data / "real" / "graspnet_realsense")
    assert real.correlation[0] == pytest.approx(real.correlation[1], abs=0.1), "the same along rows and columns"
    simulated = simulated_realsense_noise(real.sigma_px)
    assert simulated.sigma_px == pytest.approx(real.sigma_px, rel=0.15)
    np.testing.assert_allclose(simulated.correlation, real.correlation, atol=0.1)
