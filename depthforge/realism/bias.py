"""How far depth is off the clean depth once noise is averaged away: the bent wall that no measure of noise sees.

Noise is what a plane leaves of a window, and normals turn with the slope: neither sees a wall that comes out 5 %
farther, or bends over half of the image. Here depth is averaged over blocks of 16x16 pixels, over those that both
images have, and compared with the clean mean of the same pixels, as a share of it. White noise of 1 % of depth leaves
0.06 %; noise correlated over 3 px four times that. A depth edge that moved shows in the blocks it lies in, and the
median over blocks does not heed them. Without clean depth (a real scan) there is nothing to compare. 640x480 on one
core: 2 ms.
"""

from __future__ import annotations

from typing import Any, Final

import numpy as np
import numpy.typing as npt

from depthforge.frame import BoolImage, DepthImage

__all__ = ["measure_bias"]

Float64 = npt.NDArray[np.float64]

_BLOCK: Final = 16
_LEAST_VALID: Final = 0.25


def measure_bias(depth_m: DepthImage, valid: BoolImage, clean: tuple[DepthImage, BoolImage]) -> Float64:
    """Return (noisy - clean) / clean depth of each block of the image (H, W), (N,); positive is too far.

    Blocks with less than a quarter of their pixels valid in both are left out, as is the remainder of the image at the
    right and the bottom; an image smaller than a block has none.
    """
    clean_m, clean_valid = clean
    both = valid & clean_valid
    zero = np.float32(0)
    count = _block_sums(both)
    difference = _block_sums(np.subtract(depth_m, clean_m, where=both, out=np.zeros_like(depth_m)))
    whole = _block_sums(np.where(both, clean_m, zero))
    enough = count >= _LEAST_VALID * _BLOCK**2
    bias: Float64 = difference[enough] / whole[enough]
    return bias


def _block_sums(image: npt.NDArray[Any]) -> Float64:
    rows, columns = image.shape[0] // _BLOCK, image.shape[1] // _BLOCK
    blocks = image[: rows * _BLOCK, : columns * _BLOCK].reshape(rows, _BLOCK, columns, _BLOCK)
    sums: Float64 = blocks.sum(axis=3, dtype=np.float32).sum(axis=1, dtype=np.float64)
    return sums
