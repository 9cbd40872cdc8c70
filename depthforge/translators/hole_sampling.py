"""Holes drawn with given probabilities, correlated as a sensor's are: a Gaussian copula.

A pixel is a hole where Phi(n) < P for a standard normal field n, so its chance is P whatever the field's correlation.
Independent pixels are told from a sensor at once; n is smooth (``hole_fields``, ``surface_noise``), and where it
belongs to the scene a lost surface stays lost from frame to frame.

P is cut to 1/4096 before it is compared, so that the last bit of a sum over threads moves no hole. 640x480: 3 ms.

Source: Sklar's copula as used by Monteiro et al., "Stochastic segmentation networks", NeurIPS 2020, for masks.
"""

from __future__ import annotations

from functools import lru_cache
from statistics import NormalDist

import numpy as np
import numpy.typing as npt

from depthforge.frame import BoolImage

__all__ = ["LEVELS", "fixed_point", "sampled_holes"]

Float32 = npt.NDArray[np.float32]

LEVELS = 4096
"""Probabilities are multiples of one over it."""


def fixed_point(probability: Float32) -> npt.NDArray[np.int32]:
    """Return probabilities (H, W) in [0, 1] as whole numbers from 0 to LEVELS."""
    levels: npt.NDArray[np.int32] = np.rint(np.clip(probability, 0, 1) * np.float32(LEVELS)).astype(np.int32)
    return levels


def sampled_holes(levels: npt.NDArray[np.int32], field: Float32) -> BoolImage:
    """Return where a hole is drawn, (H, W) bool; ``levels`` (H, W) are probabilities in fixed point.

    ``field`` (H, W) is N(0, 1) at every pixel.
    """
    holes: BoolImage = field < _thresholds()[levels]
    return holes


@lru_cache(maxsize=1)
def _thresholds() -> Float32:
    inside = [NormalDist().inv_cdf(level / LEVELS) for level in range(1, LEVELS)]
    return np.array([-np.inf, *inside, np.inf], np.float32)
