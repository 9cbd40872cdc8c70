"""The bent wall: how far depth is off the truth over blocks of 16x16 pixels, with the error of the pose taken out.

White noise averages out over a block (1 % of depth leaves 0.06 %), so what is left is what a camera's calibration, its
optics and its correlated noise do. A pose that is a little off moves all blocks together: to first order a rigid error
of six numbers changes z by a field in the span of {1, u, v} x {1/z, 1, z} as a share of depth (translation gives 1/z
times an affine field; rotation gives products of u and v that stay within it over a view of 60 degrees to a tenth of
their size). That field is fitted to the blocks of each frame by least squares, once over all and once over those
within three robust deviations, and taken off before their spread is measured. It also takes a real calibration error
of that shape, so the signed median is told of the blocks as they are.

Of pixels more than 5 % off nothing is averaged: those are outliers, or another surface. 640x480 on one core: 4 ms.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Final, NamedTuple

import numpy as np
import numpy.typing as npt

from depthforge.realism.same_view.figures import FEWEST, Figure, bins_of_depth, by_depth, depth_ids
from depthforge.realism.same_view.truth import Truth
from depthforge.realism.same_view.views import Measured

__all__ = ["BLOCK", "FIGURES", "BlockErrors", "block_maps", "measure_blocks", "summarise"]

Float64 = npt.NDArray[np.float64]

BLOCK: Final = 16

FIGURES: Final = (
    Figure("block_bias", "16-px blocks, signed median off truth", "% depth", "as real"),
    Figure("block_sd", "16-px blocks, sd without the pose's field", "% depth", "as real"),
    *by_depth("block_bias", "blocks, signed median", "% depth", "as real"),
    *by_depth("block_sd", "blocks, sd", "% depth", "as real"),
)

_MOST_OFF: Final = np.float32(0.05)
_LEAST_VALID: Final = 0.75
# Nine numbers are fitted to the blocks of a frame.
_FEWEST_BLOCKS: Final = 40
_NORMAL: Final = 1.4826


class BlockErrors(NamedTuple):
    """Of each block of one frame (N,): true depth in metres, (measured - true) / true, and that without the pose."""

    depth_m: Float64
    error: Float64
    residual: Float64


def measure_blocks(truth: Truth, measured: Measured) -> BlockErrors:
    """Return the errors of the blocks at least three quarters of which both images have; none of too few blocks."""
    depth_m, error, residual = block_maps(truth, measured)
    known = ~np.isnan(residual)
    return BlockErrors(depth_m[known], error[known], residual[known])


def block_maps(truth: Truth, measured: Measured) -> tuple[Float64, Float64, Float64]:
    """Return the three of ``BlockErrors`` as maps (rows, columns) of blocks; NaN where a block does not count."""
    both = truth.valid & measured.valid
    relative = np.zeros(both.shape, np.float32)
    np.subtract(measured.depth_m, truth.depth_m, out=relative, where=both)
    np.divide(relative, truth.depth_m, out=relative, where=both)
    both &= np.abs(relative) < _MOST_OFF
    count = _block_sums(both.astype(np.float32))
    depth_m, error, residual = (np.full(count.shape, np.nan) for _ in range(3))
    enough = count >= _LEAST_VALID * BLOCK**2
    if np.count_nonzero(enough) < _FEWEST_BLOCKS:
        return depth_m, error, residual
    zero = np.float32(0)
    error[enough] = _block_sums(np.where(both, relative, zero))[enough] / count[enough]
    depth_m[enough] = _block_sums(np.where(both, truth.depth_m, zero))[enough] / count[enough]
    row, column = np.nonzero(enough)
    u, v = column / count.shape[1] - 0.5, row / count.shape[0] - 0.5
    residual[enough] = error[enough] - _pose_field(u, v, depth_m[enough], error[enough])
    return depth_m, error, residual


def summarise(frames: Sequence[BlockErrors]) -> dict[str, float]:
    """Return the figures of a set of frames, by id: the spread is the median over frames, by depth that of all."""
    known = [frame for frame in frames if len(frame.error)]
    if not known:
        return {}
    depth_m, error, residual = (np.concatenate(values) for values in zip(*known, strict=True))
    found = {
        "block_bias": 100 * float(np.median(error)),
        "block_sd": 100 * float(np.median([_spread(frame.residual) for frame in known])),
    }
    for name, of_bin in zip(depth_ids("block_bias"), bins_of_depth(depth_m, error), strict=True):
        found[name] = 100 * float(np.median(of_bin)) if len(of_bin) >= FEWEST else math.nan
    for name, of_bin in zip(depth_ids("block_sd"), bins_of_depth(depth_m, residual), strict=True):
        found[name] = 100 * _spread(of_bin) if len(of_bin) >= FEWEST else math.nan
    return found


def _pose_field(u: Float64, v: Float64, depth_m: Float64, error: Float64) -> Float64:
    """Return what a rigid error of the pose can have added to each block."""
    plane = np.stack([np.ones_like(u), u, v], axis=1)
    basis = np.concatenate([plane, plane / depth_m[:, None], plane * depth_m[:, None]], axis=1)
    first: Float64 = basis @ np.linalg.lstsq(basis, error, rcond=None)[0]
    rest = error - first
    near = np.abs(rest - np.median(rest)) <= 3 * _spread(rest)
    if np.count_nonzero(near) < _FEWEST_BLOCKS:
        return first
    field: Float64 = basis @ np.linalg.lstsq(basis[near], error[near], rcond=None)[0]
    return field


def _spread(values: Float64) -> float:
    """Return the standard deviation of the bulk: 1.4826 times the median distance from the median."""
    return _NORMAL * float(np.median(np.abs(values - np.median(values))))


def _block_sums(image: npt.NDArray[np.float32]) -> Float64:
    rows, columns = image.shape[0] // BLOCK, image.shape[1] // BLOCK
    blocks = image[: rows * BLOCK, : columns * BLOCK].reshape(rows, BLOCK, columns, BLOCK)
    sums: Float64 = blocks.sum(axis=3).sum(axis=1, dtype=np.float64)
    return sums
