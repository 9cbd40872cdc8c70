"""A table with household objects from a seed, for the data sets of robot hands and object poses.

The table is a board of 1 m x 1 m whose upper side is z = 0 of the world, as GraspNet's table frame has it, over a
floor. 5 to 12 different objects of a catalogue of 20 (``object_model``) stand or lie on it near its middle. They keep
apart by the convex hulls of their outlines from above (separating axes), which packs them closer than bounding
circles would and never lets them touch. A table of 60 shapes takes 35 to 90 ms to build, half of it outlines
and the shadow map; a cast at 1280x720 takes 25 ms.
The alternative, dropping meshes in a physics engine, gives piles as well, and a dependency of 100 MB.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np

from depthforge.errors import InputError
from depthforge.geometry import Float64, look_at
from depthforge.scenes.pieces import DARK_METAL, FLOOR, OTHER_PROP, TABLE, Palette, Thing, turned
from depthforge.scenes.shading import PLANKS, Material
from depthforge.scenes.tabletop_objects import NUM_MODELS, object_mesh, object_model, rests
from depthforge.scenes.world import World, parts_of_world

__all__ = ["NUM_MODELS", "TABLE_SIZE_M", "Tabletop", "build_tabletop", "object_mesh", "object_model"]

TABLE_SIZE_M = (1.0, 1.0, 0.05)
_TABLE_HEIGHT_M = 0.75
_GAP_M = 0.004
_LEAST_OBJECTS, _MOST_OBJECTS = 5, 12
_DRAWS = 200
_NEAREST_REACH_M, _FARTHEST_REACH_M = 0.08, 0.36
_LAMP = np.array([0.35, -0.25, 1.5])
_WINDOW = np.array([[0.0, -2.2, 0.8, 0.0, 1.0, 0.0]])


@dataclass(frozen=True, slots=True, eq=False)
class Tabletop(World):
    """A built table. Instances are numbered from 1: floor, table, then the objects."""

    model_of: dict[int, int]
    """The catalogue number of each object by its instance id."""

    def camera_poses(
        self, rng: np.random.Generator, count: int, distance_m: tuple[float, float] = (0.45, 0.75)
    ) -> Float64:
        """Return ``count`` poses T_world_cam (count, 4, 4), OpenCV axes, that look at the objects from above.

        They lie on half a sphere about the table's middle, 30 to 80 degrees above the table, at a distance within
        ``distance_m``, and go once around it: neighbours are near each other.
        """
        azimuth = 2 * np.pi * (np.arange(count) + rng.uniform(0, 1)) / max(count, 1)
        elevation = np.deg2rad(rng.uniform(30.0, 80.0, count))
        distance = rng.uniform(*distance_m, count)
        targets = np.column_stack([rng.uniform(-0.04, 0.04, (count, 2)), rng.uniform(0.0, 0.08, count)])
        level = distance * np.cos(elevation)
        eyes = np.column_stack([level * np.cos(azimuth), level * np.sin(azimuth), distance * np.sin(elevation)])
        return np.array([look_at(eye, target) for eye, target in zip(eyes, targets, strict=True)]).reshape(-1, 4, 4)


def build_tabletop(
    rng: np.random.Generator, *, models: Sequence[int] | None = None, num_objects: int | None = None
) -> Tabletop:
    """Return a table with ``models`` on it, in that order; by default with 5 to 12 (or ``num_objects``) drawn ones.

    A model may be named several times. Raises InputError for an unknown model, and when the table is too small for
    all of them.
    """
    if models is None:
        count = int(rng.integers(_LEAST_OBJECTS, _MOST_OBJECTS + 1)) if num_objects is None else num_objects
        if not 0 <= count <= NUM_MODELS:
            raise InputError("each model stands on a table once", expected=f"0 to {NUM_MODELS} objects", found=count)
        models = rng.permutation(NUM_MODELS)[:count].tolist()
    placed = _Placed()
    movable = [Thing(OTHER_PROP, placed.place(number, rng), object_model(number)) for number in models]
    structure = _table(rng)
    parts = parts_of_world(
        structure, movable, lamp=_LAMP, windows=_WINDOW, patterned_in_world=frozenset({FLOOR, TABLE})
    )
    return Tabletop(*parts, model_of=dict(enumerate(models, start=len(structure) + 1)))


def _table(rng: np.random.Generator) -> list[Thing]:
    palette = Palette(rng)
    width, depth, thick = TABLE_SIZE_M
    floor, table = Thing(FLOOR, np.eye(4)), Thing(TABLE, np.eye(4))
    boards = Material(PLANKS, (0.55, 0.47, 0.38), (0.47, 0.39, 0.31), 0.14)
    floor.box(boards, (6.0, 6.0, 0.1), (0, 0, -_TABLE_HEIGHT_M - 0.05))
    table.box(palette.wood, (width, depth, thick), (0, 0, -thick / 2))
    leg = _TABLE_HEIGHT_M - thick
    for x in (-1, 1):
        for y in (-1, 1):
            table.box(DARK_METAL, (0.05, 0.05, leg), (x * (width / 2 - 0.04), y * (depth / 2 - 0.04), -thick - leg / 2))
    return [floor, table]


class _Placed:
    """What lies on the table already, as outlines from above."""

    def __init__(self) -> None:
        self._outlines: list[Float64] = []

    def place(self, number: int, rng: np.random.Generator) -> Float64:
        """Return T_world_object of a model in the first free place drawn, and remember its outline."""
        turns = rests(number)
        vertices = object_mesh(number).vertices.astype(np.float64)
        for draw in range(_DRAWS):
            rotation = turned(2, rng.uniform(0, 360)) @ turns[rng.integers(len(turns))]
            reach = _NEAREST_REACH_M + (_FARTHEST_REACH_M - _NEAREST_REACH_M) * draw / _DRAWS
            turned_vertices = vertices @ rotation.T
            T = np.eye(4)
            T[:3, :3] = rotation
            T[:3, 3] = *rng.uniform(-reach, reach, 2), -turned_vertices[:, 2].min()
            around = cv2.convexHull((turned_vertices[:, :2] + T[:2, 3]).astype(np.float32))
            outline = np.asarray(around, np.float64).reshape(-1, 2)
            if all(_are_apart(outline, other) for other in self._outlines):
                self._outlines.append(outline)
                return T
        raise InputError("there is no room left on the table", where=f"object model {number}", remedy="name fewer")


def _are_apart(a: Float64, b: Float64) -> bool:
    """Whether a line parallel to an edge of one of two convex outlines (N, 2) separates them by the gap."""
    for outline in (a, b):
        edges = np.roll(outline, -1, axis=0) - outline
        length = np.linalg.norm(edges, axis=1)
        normals = (edges[:, ::-1] * (1.0, -1.0))[length > 1e-9] / length[length > 1e-9, None]
        along_a, along_b = normals @ a.T, normals @ b.T
        gap = np.maximum(along_b.min(axis=1) - along_a.max(axis=1), along_a.min(axis=1) - along_b.max(axis=1))
        if (gap >= _GAP_M).any():
            return True
    return False
