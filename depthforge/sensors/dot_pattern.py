"""A pseudo-random infrared dot pattern of our own, as a periodic tile.

Structured light matches windows of projected dots. What matters for its noise is statistics: 11.1 % of the pixels are
dots, a 9x9 window holds 4 to 14 of them and 9 on average, the nearest neighbour of a dot is 2 to 4 px away, and no
pixel is farther than 3 px from a dot (so the pattern itself never leaves a hole). Those are the published figures of
the Kinect v1 pattern; its image is not free to use, so the tile is generated: darts thrown on a torus with a minimum
distance of 2 px until the number of dots is right, then void-and-cluster moves (the dot of the most crowded place goes
to the emptiest) until every figure holds, and no further: more would make the pattern regular.

A tile of 192x192 takes 0.2 s, once per process. Poisson-disc sampling alone leaves voids; storing the tile as a
file would hide where it comes from.
Source: Ulichney, "The void-and-cluster method for dither array generation", SPIE 1913, 1993.
"""

from __future__ import annotations

from functools import lru_cache

import numpy as np
import numpy.typing as npt

from depthforge.frame import BoolImage

__all__ = ["DOT_SHARE", "TILE_PX", "disc_offsets", "dot_tile", "tiled_dots"]

TILE_PX = 192
_NUM_DOTS = 4096
DOT_SHARE = _NUM_DOTS / TILE_PX**2
_SEED = 20_120_611
_MIN_DISTANCE_PX = 2
_MAX_NEIGHBOUR_PX = 4
_COVER_RADIUS_PX = 3
_WINDOW_PX = 9
_DOTS_IN_WINDOW = (4, 14)
_CROWDING_SIGMA_PX = 1.8
_MOVES_BETWEEN_CHECKS = 16


def disc_offsets(radius: float, smallest: float = 0.0) -> list[tuple[int, int]]:
    """Return every (dy, dx) with smallest <= distance <= radius, nearest first, equal distances in raster order."""
    reach = range(-int(radius), int(radius) + 1)
    inside = [(dy, dx) for dy in reach for dx in reach if smallest**2 <= dy * dy + dx * dx <= radius**2]
    return sorted(inside, key=lambda offset: (offset[0] ** 2 + offset[1] ** 2, offset))


@lru_cache(maxsize=1)
def dot_tile() -> BoolImage:
    """Return the (192, 192) bool tile, True at its 4096 dots; it continues without a seam. Read-only, cached."""
    dots = _throw_darts(_random_order())
    crowding = _crowding_of(dots)
    while not _is_sound(dots):
        for _ in range(_MOVES_BETWEEN_CHECKS):
            _move_dot(dots, crowding)
    dots.flags.writeable = False
    return dots


def tiled_dots(height: int, width: int) -> BoolImage:
    """Return the pattern as a (height, width) bool image, for any size."""
    repeats = (-(-height // TILE_PX), -(-width // TILE_PX))
    return np.tile(dot_tile(), repeats)[:height, :width]


def _random_order() -> npt.NDArray[np.intp]:
    # Sorting raw words, not Generator.permutation: NumPy promises the words of a bit generator, not what it does
    # with them, and the pattern must not change with its version.
    words = np.random.Philox(key=_SEED).random_raw(TILE_PX * TILE_PX)
    return np.argsort(words, kind="stable")


def _throw_darts(order: npt.NDArray[np.intp]) -> BoolImage:
    dots = np.zeros((TILE_PX, TILE_PX), np.bool_)
    free = np.ones((TILE_PX, TILE_PX), np.bool_)
    too_near = np.array([offset for offset in disc_offsets(_MIN_DISTANCE_PX) if np.hypot(*offset) < _MIN_DISTANCE_PX])
    num_dots = 0
    for y, x in zip(*np.unravel_index(order, dots.shape), strict=True):
        if free[y, x]:
            dots[y, x] = True
            free[(y + too_near[:, 0]) % TILE_PX, (x + too_near[:, 1]) % TILE_PX] = False
            num_dots += 1
            if num_dots == _NUM_DOTS:
                break
    return dots


# The bump that every dot adds to the crowding around it, in integers: sums and their argmax are exact anywhere. It is
# out of all proportion where another dot would be too near, so that no such place is ever a void.
_BUMP_OFFSETS = np.array(disc_offsets(4 * _CROWDING_SIGMA_PX))
_BUMP_SQUARED = (_BUMP_OFFSETS**2).sum(1)
_BUMP = np.rint(1e6 * np.exp(-_BUMP_SQUARED / (2 * _CROWDING_SIGMA_PX**2))).astype(np.int64)
_BUMP[_BUMP_SQUARED < _MIN_DISTANCE_PX**2] += 10**9


def _crowding_of(dots: BoolImage) -> npt.NDArray[np.int64]:
    crowding = np.zeros(dots.shape, np.int64)
    for offset, height in zip(_BUMP_OFFSETS, _BUMP, strict=True):
        crowding += height * np.roll(dots, tuple(offset), (0, 1))
    return crowding


def _move_dot(dots: BoolImage, crowding: npt.NDArray[np.int64]) -> None:
    cluster = np.unravel_index(np.where(dots, crowding, -1).argmax(), dots.shape)
    _change(dots, crowding, cluster, present=False)
    void = np.unravel_index(crowding.argmin(), dots.shape)
    _change(dots, crowding, void, present=True)


def _change(dots: BoolImage, crowding: npt.NDArray[np.int64], at: tuple[np.intp, ...], *, present: bool) -> None:
    dots[at] = present
    rows, columns = ((np.array(at) + _BUMP_OFFSETS) % TILE_PX).T
    crowding[rows, columns] += _BUMP if present else -_BUMP


def _is_sound(dots: BoolImage) -> bool:
    in_window = _count(dots, [(dy, dx) for dy in range(_WINDOW_PX) for dx in range(_WINDOW_PX)])
    covered = _count(dots, disc_offsets(_COVER_RADIUS_PX)) > 0
    neighbours = _count(dots, disc_offsets(_MAX_NEIGHBOUR_PX, smallest=1))[dots]
    fewest, most = _DOTS_IN_WINDOW
    return bool(covered.all() and neighbours.all() and in_window.min() >= fewest and in_window.max() <= most)


def _count(dots: BoolImage, offsets: list[tuple[int, int]]) -> npt.NDArray[np.int64]:
    count = np.zeros(dots.shape, np.int64)
    for offset in offsets:
        count += np.roll(dots, offset, (0, 1))
    return count
