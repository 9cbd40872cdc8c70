"""What furniture is made of: a piece is a few things built of analytic shapes, in a room's shared materials.

A piece stands on z = 0 in its own frame, metres: x to its right, its back at -y, facing +y, its footprint centred on
the origin. A thing is one instance with one NYU40 class and its own pose; what lies on a piece (pillows, books,
plates) is a thing of its own.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

from depthforge.geometry import Float64
from depthforge.scenes.raycast import Shape, box
from depthforge.scenes.shading import CHECKS, FABRIC, GRAIN, PICTURE, PLAIN, STRIPES, Material

__all__ = ["Palette", "Piece", "Thing", "add_fronts", "add_legs", "moved", "turned"]

Colour = tuple[float, float, float]

# NYU40 class ids.
WALL, FLOOR, CABINET, BED, CHAIR, SOFA, TABLE, DOOR, WINDOW, BOOKSHELF = range(1, 11)
PICTURE_ID, COUNTER, BLINDS, DESK, SHELVES, CURTAIN, DRESSER, PILLOW, MIRROR, MAT = range(11, 21)
CLOTHES, CEILING, BOOKS, FRIDGE, TELEVISION, PAPER, TOWEL, SHOWER, BOX, WHITEBOARD = range(21, 31)
PERSON, NIGHT_STAND, TOILET, SINK, LAMP, BATHTUB, BAG, OTHER_STRUCTURE, OTHER_FURNITURE, OTHER_PROP = range(31, 41)

WHITE: Colour = (0.92, 0.92, 0.90)
BLACK: Colour = (0.06, 0.06, 0.07)
STEEL = Material(PLAIN, (0.62, 0.63, 0.65))
DARK_METAL = Material(PLAIN, (0.16, 0.16, 0.17))
CARDBOARD = Material(FABRIC, (0.68, 0.53, 0.36), (0.62, 0.47, 0.31), 0.3)
SHADE_GLOW = Material(PLAIN, (0.98, 0.93, 0.82), glow=0.9)
SCREEN = Material(PICTURE, (0.03, 0.03, 0.04), (0.06, 0.07, 0.10))


def moved(x: float, y: float, z: float = 0.0, yaw_deg: float = 0.0) -> Float64:
    """Return the (4, 4) transform that turns about z and then moves."""
    T = np.eye(4)
    T[:3, :3] = turned(2, yaw_deg)
    T[:3, 3] = x, y, z
    return T


def turned(axis: int, angle_deg: float) -> Float64:
    """Return the (3, 3) rotation by an angle about axis 0, 1 or 2."""
    c, s = np.cos(np.deg2rad(angle_deg)), np.sin(np.deg2rad(angle_deg))
    i, j = (axis + 1) % 3, (axis + 2) % 3
    rotation = np.eye(3)
    rotation[i, i] = rotation[j, j] = c
    rotation[i, j], rotation[j, i] = -s, s
    return rotation


@dataclass(slots=True, eq=False)
class Thing:
    """One instance: its NYU40 class, its pose in the piece (later in the world), and shapes in its own frame."""

    semantic: int
    T: Float64
    parts: list[tuple[Shape, Material]] = field(default_factory=list)

    def box(
        self, material: Material, size: Sequence[float], centre: Sequence[float], turn: Float64 | None = None
    ) -> None:
        """Add a box."""
        self.parts.append((box(size, centre, turn), material))

    def add(self, material: Material, shape: Shape) -> None:
        """Add any shape."""
        self.parts.append((shape, material))


@dataclass(slots=True, eq=False)
class Piece:
    """Things that are placed together, within ``width`` x ``depth`` x ``height`` metres."""

    width: float
    depth: float
    height: float
    things: list[Thing] = field(default_factory=list)

    def thing(self, semantic: int, x: float = 0.0, y: float = 0.0, z: float = 0.0, yaw_deg: float = 0.0) -> Thing:
        """Add an empty thing at a pose in the piece's frame and return it."""
        thing = Thing(semantic, moved(x, y, z, yaw_deg))
        self.things.append(thing)
        return thing

    def include(self, other: Piece, x: float, y: float, z: float = 0.0, yaw_deg: float = 0.0) -> None:
        """Take over the things of another piece, placed in this one's frame."""
        T = moved(x, y, z, yaw_deg)
        self.things.extend(Thing(thing.semantic, T @ thing.T, thing.parts) for thing in other.things)


class Palette:
    """The materials that one room's furniture shares."""

    WOODS: tuple[tuple[Colour, Colour], ...] = (
        ((0.62, 0.44, 0.27), (0.50, 0.33, 0.19)),
        ((0.78, 0.62, 0.43), (0.70, 0.53, 0.35)),
        ((0.36, 0.23, 0.15), (0.27, 0.16, 0.10)),
        ((0.86, 0.80, 0.70), (0.80, 0.73, 0.62)),
        ((0.50, 0.30, 0.18), (0.42, 0.23, 0.13)),
    )
    FABRICS: tuple[Colour, ...] = (
        (0.45, 0.48, 0.52), (0.72, 0.66, 0.56), (0.27, 0.36, 0.47), (0.50, 0.28, 0.25), (0.36, 0.43, 0.34),
        (0.80, 0.77, 0.72), (0.25, 0.25, 0.28), (0.62, 0.47, 0.25), (0.55, 0.42, 0.50),
    )  # fmt: skip
    ACCENTS: tuple[Colour, ...] = (
        (0.75, 0.30, 0.20), (0.18, 0.42, 0.52), (0.85, 0.65, 0.25), (0.30, 0.50, 0.32), (0.55, 0.25, 0.40),
        (0.85, 0.82, 0.75), (0.20, 0.25, 0.40), (0.88, 0.55, 0.40),
    )  # fmt: skip

    def __init__(self, rng: np.random.Generator) -> None:
        self.rng = rng
        first, second = rng.permutation(len(self.WOODS))[:2]
        self.wood = Material(GRAIN, self.WOODS[first][0], self.WOODS[first][1])
        self.other_wood = Material(GRAIN, self.WOODS[second][0], self.WOODS[second][1], seed=7)
        self.fabric = self._woven(self.FABRICS)
        self.front = Material(PLAIN, WHITE) if rng.random() < 0.4 else self.wood
        self.padded_chairs = rng.random() < 0.5

    def _woven(self, colours: tuple[Colour, ...]) -> Material:
        colour = colours[self.rng.integers(len(colours))]
        shade = 0.82 + 0.1 * self.rng.random()
        darker = (colour[0] * shade, colour[1] * shade, colour[2] * shade)
        return Material(FABRIC, colour, darker, 0.05 + 0.2 * self.rng.random(), seed=int(self.rng.integers(99)))

    def accent(self) -> Material:
        """Return a new woven accent, sometimes striped or checked."""
        material = self._woven(self.ACCENTS)
        pattern = self.rng.choice([FABRIC, FABRIC, STRIPES, CHECKS])
        return material if pattern == FABRIC else material._replace(pattern=int(pattern), second=WHITE, scale_m=0.05)

    def paint(self) -> Material:
        """Return a new plain accent colour."""
        return Material(PLAIN, self.ACCENTS[self.rng.integers(len(self.ACCENTS))], seed=int(self.rng.integers(99)))


def add_legs(thing: Thing, material: Material, width: float, depth: float, height: float, thick: float = 0.05) -> None:
    """Add four legs at the corners of a ``width`` x ``depth`` rectangle."""
    for x in (-1, 1):
        for y in (-1, 1):
            centre = (x * (width - thick) / 2, y * (depth - thick) / 2, height / 2)
            thing.box(material, (thick, thick, height), centre)


def add_fronts(
    thing: Thing, p: Palette, width: float, depth: float, bottom: float, top: float, columns: int, rows: int
) -> None:
    """Add doors or drawers with handles to a carcass whose front is at y = depth / 2."""
    w, h = width / columns, (top - bottom) / rows
    for i in range(columns):
        for j in range(rows):
            x, z = -width / 2 + (i + 0.5) * w, bottom + (j + 0.5) * h
            thing.box(p.front, (w - 0.008, 0.02, h - 0.008), (x, depth / 2 - 0.01, z))
            if h > 0.55:
                side = -1 if i % 2 else 1
                thing.box(STEEL, (0.014, 0.025, 0.14), (x + side * (w / 2 - 0.05), depth / 2 + 0.012, z))
            else:
                thing.box(STEEL, (min(0.14, w / 2), 0.025, 0.014), (x, depth / 2 + 0.012, z + h * 0.25))
