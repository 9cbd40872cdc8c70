"""Surfaces that send no light back, made up: the upper level set of a Gaussian random field over the image.

Clean depth does not say what is black, glossy or transparent; this loses as many pixels, in patches of as many sizes,
in other places. Three octaves of a correlated field, each half as strong as the one before, give patches of many sizes
with ragged borders. The field has variance 1 at every pixel, so a threshold cuts off the same share everywhere.

640x480 on one core: 2 ms, 3 ms more when the share changes with depth.
"""

from __future__ import annotations

from statistics import NormalDist

import numba
import numpy as np
import numpy.typing as npt

from depthforge.frame import BoolImage
from depthforge.sensors._fields import correlated_normals

__all__ = ["REFERENCE_M", "above_share", "patch_field"]

Float32 = npt.NDArray[np.float32]

REFERENCE_M = 2.0
_OCTAVES = 3


def patch_field(words: tuple[int, int], shape: tuple[int, int], size_px: float, *, stream: int) -> Float32:
    """Return an N(0, 1) field (H, W) that varies over ``size_px``, a half and a quarter of it; uses three streams."""
    amplitudes = 0.5 ** np.arange(_OCTAVES)
    amplitudes /= np.linalg.norm(amplitudes)
    out = np.zeros(shape, np.float32)
    for octave, amplitude in enumerate(amplitudes):
        part = correlated_normals(words, shape, size_px / 2**octave, stream=stream + octave)
        out += np.float32(amplitude) * part
    return out


def above_share(field: Float32, depth_m: Float32, share: float, growth: float) -> BoolImage:
    """Return where ``field`` (H, W) lies in its upper ``share``; with depth by ``growth`` quantiles per octave.

    That is the share at 2 m; at z it is that of a normal law above its quantile less growth x log2(z / 2 m).
    """
    threshold = NormalDist().inv_cdf(1.0 - share)
    if growth == 0.0:
        above: BoolImage = field > np.float32(threshold)
        return above
    out = np.empty(field.shape, np.bool_)
    _above(field, np.ascontiguousarray(depth_m), threshold, growth / np.log(2.0), REFERENCE_M, out)
    return out


@numba.njit(nogil=True, cache=True, error_model="numpy")
def _above(field, depth, threshold, growth, reference, out):  # type: ignore[no-untyped-def]
    for y in range(field.shape[0]):
        for x in range(field.shape[1]):
            z = depth[y, x]
            out[y, x] = z > 0 and field[y, x] > threshold - growth * np.log(z / reference)
