"""What a figure of the same-view table is: an id, a title, a unit, and which way is better."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Final, Literal

import numpy as np
import numpy.typing as npt

from depthforge.realism.noise import DEPTH_EDGES_M

__all__ = ["FEWEST", "Direction", "Figure", "bins_of_depth", "by_depth", "depth_ids"]

Float64 = npt.NDArray[np.float64]

Direction = Literal["lower", "higher", "as real"]
"""``as real``: a property of a sensor, of which a simulation should have neither less nor more."""

# A bin speaks when it holds this many values.
FEWEST: Final = 30


@dataclass(frozen=True, slots=True)
class Figure:
    """``id`` in snake_case, stable; ``title`` and ``unit`` ("" for a plain number) for people; ``better`` which way."""

    id: str
    title: str
    unit: str
    better: Direction


def depth_ids(stem: str) -> list[str]:
    """Return the ids of a figure in each depth bin: ``stem_at_0_71_m`` begins at 0.71 m."""
    return [f"{stem}_at_{near_m:.2g}_m".replace(".", "_") for near_m in DEPTH_EDGES_M[:-1]]


def by_depth(stem: str, title: str, unit: str, better: Direction) -> tuple[Figure, ...]:
    """Return a figure for each depth bin (half octaves from 0.25 m on), in order."""
    return tuple(
        Figure(name, f"{title} at {near_m:.2g} to {far_m:.2g} m", unit, better)
        for name, (near_m, far_m) in zip(depth_ids(stem), pairwise(DEPTH_EDGES_M), strict=True)
    )


def bins_of_depth(depth_m: Float64, values: Float64) -> Sequence[Float64]:
    """Return the ``values`` (N,) whose ``depth_m`` (N,) lies in each depth bin."""
    bins = np.digitize(depth_m, DEPTH_EDGES_M) - 1
    return [values[bins == index] for index in range(len(DEPTH_EDGES_M) - 1)]
