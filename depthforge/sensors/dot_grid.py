"""What the match and the fill need to know about a dot pattern, computed once per image size.

The pattern never moves against the image, so which dots share a window, and in which order a pixel asks the dots
around it, is known before any depth is. Matching then touches 9 dots of a window and not 81 pixels, and filling is one
look-up for most pixels. For 640x480 the tables take 3 MB and 0.13 s.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from numpy.lib.stride_tricks import sliding_window_view

from depthforge.frame import BoolImage
from depthforge.sensors.dot_pattern import DOT_SHARE, disc_offsets

__all__ = ["DotGrid"]


@dataclass(frozen=True, slots=True)
class DotGrid:
    """The tables of one pattern for images of (H, W); a centre is a dot whose whole window lies on the pattern.

    ``centre_row`` (H + 1,), ``centre_x`` (N,): the N centres in raster order; those of row y are
    ``centre_x[centre_row[y]:centre_row[y + 1]]``. ``partner_start`` (N + 1,), ``partner`` (M,): the dots in the
    window of each centre, as window pixels counted in raster order. ``mass`` (H, W): brightness of the pattern.
    ``required_mass`` (N,): what the matching dots of a window must exceed. ``turn`` (K, H, W): the centres around a
    pixel, nearest first, as rows of ``reach`` (R + 1, 2), (dy, dx); its last row is (0, 0) and stands for "no more".
    """

    window: int
    centre_row: npt.NDArray[np.int32]
    centre_x: npt.NDArray[np.int32]
    partner_start: npt.NDArray[np.int32]
    partner: npt.NDArray[np.uint8]
    mass: npt.NDArray[np.uint8]
    required_mass: npt.NDArray[np.int32]
    turn: npt.NDArray[np.uint8]
    reach: npt.NDArray[np.int32]

    @classmethod
    def from_pattern(
        cls,
        pattern: npt.NDArray[np.uint8],
        size: tuple[int, int],
        *,
        window: int,
        radius: float,
        mass_fraction: float,
        skip_last: bool = False,
    ) -> DotGrid:
        """Build the tables of ``pattern`` (rows, columns) uint8, whose dots are its positive pixels, for ``size``.

        The pattern is cut to ``size`` (H, W); where it is smaller the image has no dots. ``window`` is the odd side of
        the matching window and ``radius`` how far a match fills, both in pixels; ``mass_fraction`` is the share of a
        window's mass that must match. ``skip_last`` leaves out the last window of every row and column, as the
        published code does.
        """
        mass = np.zeros(size, np.uint8)
        lit = pattern[: size[0], : size[1]]
        mass[: lit.shape[0], : lit.shape[1]] = lit

        half = window // 2
        last = half + int(skip_last)
        inside = tuple(slice(half, max(half, extent - last)) for extent in lit.shape)
        centres = np.zeros(size, np.bool_)
        centres[inside] = mass[inside] > 0
        y, x = np.nonzero(centres)

        # A view in place of indices, which would take 64 times the memory of the image.
        seen = sliding_window_view(np.pad(mass, half), (window, window))[y, x].reshape(len(y), window**2)
        # A whisker more, so that 5/6 of 6 dots is 5 and not 4.999.
        required = np.floor(seen.sum(1, dtype=np.int64) * mass_fraction + 1e-6)

        reach = disc_offsets(radius)
        return cls(
            window=window,
            centre_row=np.searchsorted(y, np.arange(size[0] + 1)).astype(np.int32),
            centre_x=x.astype(np.int32),
            partner_start=np.concatenate([[0], np.cumsum((seen > 0).sum(1))]).astype(np.int32),
            partner=(np.flatnonzero(seen) % window**2).astype(np.uint8),
            mass=mass,
            required_mass=required.astype(np.int32),
            turn=_turns(centres, reach),
            reach=np.array([*reach, (0, 0)], np.int32),
        )

    @staticmethod
    def building_bytes(size: tuple[int, int], *, window: int, radius: float) -> int:
        """Return how much memory :meth:`from_pattern` takes at most: more than the tables that it leaves.

        A byte for each pixel of each window, eight for each dot in one, and one for each dot near a pixel.
        """
        pixels = size[0] * size[1]
        in_window, near = DOT_SHARE * window**2, DOT_SHARE * len(disc_offsets(radius + 1))
        return round(pixels * (DOT_SHARE * (window**2 + 10 * in_window + 24) + max(1.0, near) + 4))


def _turns(centres: BoolImage, reach: list[tuple[int, int]]) -> npt.NDArray[np.uint8]:
    height, width = centres.shape
    radius = max(dy for dy, _ in reach)
    padded = np.pad(centres, radius)
    near = [padded[radius + dy :, radius + dx :][:height, :width] for dy, dx in reach]
    num_near = np.zeros(centres.shape, np.uint8)
    for is_near in near:
        num_near += is_near
    turn = np.full((max(1, int(num_near.max(initial=0))), height, width), len(reach), np.uint8)
    rank = np.zeros(centres.shape, np.uint8)
    for index, is_near in enumerate(near):
        rows, columns = np.nonzero(is_near)
        turn[rank[rows, columns], rows, columns] = index
        rank += is_near
    return turn
