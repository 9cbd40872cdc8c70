"""How the holes of a depth image are counted: by place, by depth, by how near to one another they are.

Patches are told from what is lost at silhouettes by what ends a hole along its row: measurements of one surface. That
asks no guess. Counting what lies away from a guess's silhouettes does: where it has them wrong, what the sensor lost
there counts as patches, and the simulation, whose silhouettes are where the guess has them, has none of it (4 % too
many; ``count_together`` says how far holes reach in that way, for a look at it, and fits nothing). A single hole, all
around which is measured, is a pixel that was lost by itself.

Where the truth of the view is known, it says which surface a pixel is of, and a hole that touches a silhouette's
shadow, the border or what nobody knows is no patch, however it ends.
"""

from __future__ import annotations

from typing import Final

import cv2
import numpy as np
import numpy.typing as npt

from depthforge.frame import BoolImage, DepthImage
from depthforge.kernels import njit
from depthforge.realism.noise import DEPTH_EDGES_M
from depthforge.realism.windows import MAX_JUMP

__all__ = [
    "NUM_DEPTHS",
    "NUM_LENGTHS",
    "TOGETHER_PX",
    "count_beside",
    "count_by_bin",
    "count_singles",
    "count_together",
    "holes_within_surfaces",
    "holes_within_true_surfaces",
]

Float64 = npt.NDArray[np.float64]

# At these distances from a hole it is counted how often there is another, pixels.
TOGETHER_PX: Final = (1, 2, 4, 8, 16, 32)
NUM_DEPTHS: Final = len(DEPTH_EDGES_M) - 1
# Lengths of holes along a row are counted by octaves: 1, 2-3, 4-7 ... px, the last without an end.
NUM_LENGTHS: Final = 9
# A depth whose inverse lies this far between those of the two sides belongs to neither.
_BETWEEN = 0.2


def count_singles(holes: BoolImage, away: BoolImage) -> int:
    """Return how many ``holes`` (H, W) of ``away`` have no other among their eight neighbours."""
    around = cv2.boxFilter(holes.view(np.uint8), -1, (3, 3), normalize=False, borderType=cv2.BORDER_REPLICATE)
    return int(np.count_nonzero(holes & away & (around == 1)))


def count_by_bin(bins: npt.NDArray[np.int16], holes: BoolImage, num: int) -> Float64:
    """Return (num, 2): pixels of each bin, and holes among them."""
    code = np.bincount((2 * (bins + 1) + holes).ravel(), minlength=2 * (num + 1))[2:].reshape(num, 2)
    return np.stack([code.sum(axis=1), code[:, 1]], axis=1).astype(np.float64)


def holes_within_surfaces(depth_m: DepthImage, valid: BoolImage) -> tuple[Float64, Float64]:
    """Return (bins, 2): pixels at each depth, and holes among them; and (octaves,): those holes by length.

    A hole is at the depth of the measurements that end it along its row, where those agree; between two surfaces it
    may be a shadow and is of none. The clean guess is not asked: it gives the whole of a hole to one surface, and it
    is where a guess puts silhouettes that bends what is counted away from them. Columns are not walked: a shadow is
    long and narrow, and above and below it there is the same wall.
    """
    counts, lengths = np.zeros((NUM_DEPTHS, 2), np.float64), np.zeros(NUM_LENGTHS, np.float64)
    _walk_holes(depth_m, valid, np.float32(MAX_JUMP), DEPTH_EDGES_M.astype(np.float32), counts, lengths)
    return counts, lengths


def holes_within_true_surfaces(valid: BoolImage, surface_bin: npt.NDArray[np.int16]) -> tuple[Float64, Float64]:
    """Return the same by the truth: ``surface_bin`` (H, W) is the bin of true depth within surfaces, -1 elsewhere.

    A hole counts when the whole of it, along its row, lies within surfaces and it ends at measurements.
    """
    counts, lengths = np.zeros((NUM_DEPTHS, 2), np.float64), np.zeros(NUM_LENGTHS, np.float64)
    _walk_true_surfaces(valid, surface_bin, counts, lengths)
    return counts, lengths


def count_together(holes: BoolImage, away: BoolImage) -> Float64:
    """Return (distances, 2): holes that far left of or above a pixel, both ``away``, and holes there among them."""
    counts = np.zeros((len(TOGETHER_PX), 2))
    for index, lag in enumerate(TOGETHER_PX):
        for first, second in ((np.s_[:, :-lag], np.s_[:, lag:]), (np.s_[:-lag], np.s_[lag:])):
            begin = holes[first] & away[first] & away[second]
            counts[index] += np.count_nonzero(begin), np.count_nonzero(begin & holes[second])
    return counts


@njit(error_model="numpy")
def _walk_holes(depth, valid, max_jump, edges, counts, lengths):  # type: ignore[no-untyped-def]
    height, width = depth.shape
    last_bin = edges.shape[0] - 2
    # Bins are half octaves from edges[0].
    per_octave, first = np.float32(2.0), np.log2(edges[0])
    for y in range(height):
        last = -1
        for x in range(width):
            if not valid[y, x]:
                continue
            z = depth[y, x]
            place = int(np.floor(per_octave * (np.log2(z) - first)))
            if 0 <= place <= last_bin:
                counts[place, 0] += 1
                if last >= 0 and x - last > 1 and abs(depth[y, last] - z) <= max_jump * min(depth[y, last], z):
                    counts[place, 0] += x - last - 1
                    counts[place, 1] += x - last - 1
                    octave = min(int(np.log2(np.float32(x - last - 1) + np.float32(0.5))), lengths.shape[0] - 1)
                    lengths[octave] += x - last - 1
            last = x


@njit(error_model="numpy")
def _walk_true_surfaces(valid, surface_bin, counts, lengths):  # type: ignore[no-untyped-def]
    height, width = valid.shape
    for y in range(height):
        x = 0
        while x < width:
            if valid[y, x]:
                if surface_bin[y, x] >= 0:
                    counts[surface_bin[y, x], 0] += 1
                x += 1
                continue
            first = x
            inside = first > 0
            while x < width and not valid[y, x]:
                inside = inside and surface_bin[y, x] >= 0
                x += 1
            if not inside or x == width:
                continue
            for k in range(first, x):
                counts[surface_bin[y, k], 0] += 1
                counts[surface_bin[y, k], 1] += 1
            octave = min(int(np.log2(np.float32(x - first) + np.float32(0.5))), lengths.shape[0] - 1)
            lengths[octave] += x - first


@njit(error_model="numpy")
def count_beside(depth, valid, beside, near, far, num):  # type: ignore[no-untyped-def]
    # Pixels, holes, flying pixels, pixels of the wrong side.
    counts = np.zeros((num, 4), np.float64)
    for y in range(beside.shape[0]):
        for x in range(beside.shape[1]):
            code = beside[y, x]
            if code < 0:
                continue
            counts[code, 0] += 1
            if not valid[y, x]:
                counts[code, 1] += 1
                continue
            share = (1 / depth[y, x] - far[y, x]) / (near[y, x] - far[y, x])
            if _BETWEEN < share < 1 - _BETWEEN:
                counts[code, 2] += 1
            own_is_near = code >= 2 * (num // 3)
            if (share < 0.5) == own_is_near:
                counts[code, 3] += 1
    return counts
