"""Rooms from a seed: walls with a door and windows, furniture against them, and a camera path through the free floor.

A room is a rectangle with z up and its floor at z = 0, centred on the origin. Pieces keep to multiples of 90 degrees
against walls, so that plausibility is rectangles that do not overlap: on the floor (furniture, the door's swing) and
on each wall (windows, tall furniture, pictures). The order is what a person would do, largest first; what finds no
place in 40 draws stays away. The camera walks straight legs between the best of the viewpoints tried, never within
0.35 m of furniture. A room of 250 shapes takes 50 ms to build; it is rebuilt from its seed wherever it is needed.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from depthforge.geometry import Float64
from depthforge.scenes import furniture, objects
from depthforge.scenes.pieces import (
    BLINDS,
    CEILING,
    CURTAIN,
    DARK_METAL,
    DOOR,
    FLOOR,
    STEEL,
    WALL,
    WHITE,
    WINDOW,
    Palette,
    Piece,
    Thing,
    moved,
    turned,
)
from depthforge.scenes.raycast import cylinder
from depthforge.scenes.shading import FABRIC, PLAIN, PLANKS, STRIPES, TILES, Material
from depthforge.scenes.world import World, parts_of_world

__all__ = ["Room", "build_room"]

Generator = np.random.Generator
Maker = Callable[[Palette], Piece]

_WALL_M = 0.15
_DOOR = (0.92, 2.06)
_DRAWS = 40
_GAP_M = 0.06

# What stands in a room, largest first: against walls, then in the middle.
_KINDS: dict[str, tuple[tuple[Maker, ...], tuple[Maker, ...]]] = {
    "Bedroom": (
        (furniture.bed, furniture.wardrobe, furniture.desk, furniture.dresser, furniture.bookshelf, furniture.armchair),
        (),
    ),
    "Living_room": (
        (furniture.sofa, furniture.tv_stand, furniture.bookshelf, furniture.armchair, furniture.dresser),
        (),
    ),
    "Dining_room": (
        (furniture.dresser, furniture.bookshelf, furniture.armchair, furniture.tv_stand),
        (furniture.dining,),
    ),
    "Kitchen": (
        (furniture.counter, furniture.fridge, furniture.counter, furniture.wardrobe),
        (furniture.dining,),
    ),
    "Study": (
        (furniture.desk, furniture.bookshelf, furniture.bookshelf, furniture.sofa, furniture.dresser, furniture.desk),
        (),
    ),
}  # fmt: skip
_SMALL: tuple[Maker, ...] = (
    objects.plant, objects.floor_lamp, objects.cartons, objects.bag, furniture.chair, objects.plant,
    objects.cartons, furniture.night_stand,
)  # fmt: skip


@dataclass(frozen=True, slots=True, eq=False)
class Room(World):
    """A built room."""

    kind: str
    size: tuple[float, float, float]
    footprints: Float64
    """(F, 4) x and y least, x and y most of what stands on the floor."""


class _Floor:
    """Rectangles on the floor, (x least, y least, x most, y most)."""

    def __init__(self) -> None:
        self.taken: list[tuple[float, float, float, float]] = []

    def is_free(self, rect: tuple[float, float, float, float], gap: float = _GAP_M) -> bool:
        return not any(
            rect[0] < t[2] + gap and t[0] < rect[2] + gap and rect[1] < t[3] + gap and t[1] < rect[3] + gap
            for t in self.taken
        )


class _Wall:
    """One wall: where it runs, and what hangs on, opens through or stands before it."""

    def __init__(self, index: int, width: float, depth: float) -> None:
        self.index = index
        self.yaw_deg = (0.0, 180.0, 90.0, 270.0)[index]
        self.length, self.away = (width, depth / 2) if index < 2 else (depth, width / 2)
        self.taken: list[tuple[float, float, float, float]] = []
        self.openings: list[tuple[float, float, float, float]] = []

    def frame(self, along: float, out: float, z: float = 0.0) -> Float64:
        """Pose of what is ``along`` m right of the wall's middle and ``out`` m into the room, facing into it."""
        T = moved(0, 0, z, self.yaw_deg)
        T[:2, 3] = T[:2, 0] * along + T[:2, 1] * (out - self.away)
        return T

    def is_free(self, left: float, right: float, low: float, high: float, gap: float = _GAP_M) -> bool:
        return not any(
            left < t[1] + gap and t[0] < right + gap and low < t[3] + gap and t[2] < high + gap for t in self.taken
        )

    def footprint(self, along: float, width: float, depth: float, out: float) -> tuple[float, float, float, float]:
        T = self.frame(along, out + depth / 2)
        half = np.abs(T[:2, 0]) * width / 2 + np.abs(T[:2, 1]) * depth / 2
        low, high = T[:2, 3] - half, T[:2, 3] + half
        return float(low[0]), float(low[1]), float(high[0]), float(high[1])


class _Builder:
    def __init__(self, rng: Generator) -> None:
        self.rng = rng
        self.palette = Palette(rng)
        self.kind = list(_KINDS)[rng.integers(len(_KINDS))]
        self.width, self.depth = float(rng.uniform(3.4, 6.2)), float(rng.uniform(3.2, 5.2))
        self.height = float(rng.uniform(2.4, 2.9))
        self.floor = _Floor()
        self.walls = [_Wall(index, self.width, self.depth) for index in range(4)]
        self.structure: list[Thing] = []
        self.movable: list[Thing] = []
        self.windows: list[list[float]] = []
        tint = 0.86 + 0.12 * rng.random(3)
        self.paint = Material(PLAIN, (float(tint[0]), float(tint[1]), float(tint[2])))
        if rng.random() < 0.25:
            stripe = tuple(float(c) for c in tint * 0.9)
            self.paint = self.paint._replace(pattern=STRIPES, second=(stripe[0], stripe[1], stripe[2]), scale_m=0.14)

    def place(self, piece: Piece, T_world_piece: Float64) -> None:
        self.movable.extend(Thing(t.semantic, T_world_piece @ t.T, t.parts) for t in piece.things)

    def new_structure(self, semantic: int, T: Float64 | None = None) -> Thing:
        thing = Thing(semantic, np.eye(4) if T is None else T)
        self.structure.append(thing)
        return thing

    # -- the shell ----------------------------------------------------------------------------------------------

    def add_openings(self) -> None:
        order = self.rng.permutation(4)
        self.add_door(self.walls[order[0]])
        for index in order[1 : 2 + self.rng.integers(1, 3)]:
            self.add_window(self.walls[index])

    def add_door(self, wall: _Wall) -> None:
        wide, tall = _DOOR
        along = float(self.rng.choice([-1, 1])) * (wall.length / 2 - wide / 2 - self.rng.uniform(0.12, 0.5))
        opening = (along - wide / 2, along + wide / 2, 0.0, tall)
        wall.openings.append(opening)
        wall.taken.append((opening[0] - 0.1, opening[1] + 0.1, 0.0, tall + 0.1))
        self.floor.taken.append(wall.footprint(along, wide + 0.1, 0.95, 0.0))
        door = self.new_structure(DOOR, wall.frame(along, 0.0))
        trim, leaf = Material(PLAIN, WHITE), self.palette.wood if self.rng.random() < 0.5 else Material(PLAIN, WHITE)
        for x in (-1, 1):
            door.box(
                trim,
                (0.08, _WALL_M + 0.04, tall + 0.08),
                (x * (wide / 2 + 0.02), -_WALL_M / 2 + 0.005, tall / 2 + 0.04),
            )
        door.box(trim, (wide, _WALL_M + 0.04, 0.08), (0, -_WALL_M / 2 + 0.005, tall + 0.02))
        # Open inwards against the wall's normal, or shut; through an open one the corridor is seen.
        is_open = self.rng.random() < 0.35
        hinge = moved(-wide / 2 + 0.03, -0.03, 0, float(self.rng.uniform(70, 88)) if is_open else 0.0)
        panels = Thing(DOOR, np.eye(4))
        panels.box(leaf, (wide - 0.07, 0.04, tall - 0.03), ((wide - 0.07) / 2, 0, tall / 2 - 0.01))
        for z, high in ((0.55, 0.75), (1.45, 0.8)):
            panels.box(leaf, (wide - 0.35, 0.056, high), ((wide - 0.07) / 2, 0, z))
        for y in (-0.05, 0.05):
            panels.add(STEEL, cylinder(0.011, 0.12, (wide - 0.18, y, 1.02), turned(1, 90)))
        door.parts.extend((shape.placed(hinge), material) for shape, material in panels.parts)
        if is_open:
            corridor = self.new_structure(FLOOR, wall.frame(along, -_WALL_M - 0.7))
            corridor.box(Material(PLAIN, (0.5, 0.45, 0.4)), (4.0, 1.4, 0.1), (0, 0, -0.05))
            behind = self.new_structure(WALL, wall.frame(along, -_WALL_M - 1.45))
            behind.box(self.paint, (4.0, 0.1, self.height), (0, 0, self.height / 2))

    def add_window(self, wall: _Wall) -> None:
        wide = float(self.rng.uniform(0.9, min(2.2, wall.length - 0.9)))
        low, high = float(self.rng.uniform(0.75, 1.0)), float(self.rng.uniform(1.95, 2.2))
        along = float(self.rng.uniform(-0.5, 0.5)) * (wall.length - wide - 0.6)
        left, right = along - wide / 2, along + wide / 2
        wall.openings.append((left, right, low, high))
        wall.taken.append((left - 0.1, right + 0.1, low - 0.05, high + 0.2))
        tall, middle = high - low, (low + high) / 2
        window = self.new_structure(WINDOW, wall.frame(along, 0.0))
        trim, back = Material(PLAIN, (0.95, 0.95, 0.94)), -_WALL_M + 0.05
        for x in (-1, 1):
            window.box(trim, (0.06, 0.07, tall), (x * (wide / 2 - 0.03), back, middle))
        for z in (low + 0.03, high - 0.03):
            window.box(trim, (wide, 0.07, 0.06), (0, back, z))
        panes = max(1, round(wide / 0.8))
        for k in range(1, panes):
            window.box(trim, (0.07, 0.06, tall), (wide * (k / panes - 0.5), back, middle))
        window.box(trim, (wide + 0.1, _WALL_M + 0.06, 0.03), (0, -_WALL_M / 2 + 0.07, low + 0.001))
        kind, hung = self.rng.random(), Thing(CURTAIN, wall.frame(along, 0.0))
        if kind < 0.5:
            cloth = self.palette.accent()._replace(pattern=FABRIC)
            for x in (-1, 1):
                for k in range(int(self.rng.integers(4, 8))):
                    where = (x * (wide / 2 + 0.16 - 0.055 * k), 0.075 + 0.018 * (k % 2), high / 2 + 0.09)
                    hung.add(cloth, cylinder(0.036, high + 0.1, where))
            rod = cylinder(0.014, wide + 0.5, (0, 0.08, high + 0.15), turned(1, 90))
            hung.add(DARK_METAL, rod)
        elif kind < 0.75:
            hung.semantic = BLINDS
            drop = float(self.rng.uniform(0.3, 1.0)) * (tall - 0.1)
            tilt = turned(0, float(self.rng.uniform(10, 55)))
            for k in range(int(drop / 0.05)):
                hung.box(trim, (wide - 0.06, 0.046, 0.003), (0, -0.045, high - 0.06 - 0.05 * k), tilt)
        if hung.parts:
            self.structure.append(hung)
        centre, inward = wall.frame(along, 0.05, middle)[:3, 3], wall.frame(0, 0)[:3, 1]
        self.windows.append([*centre, *inward])

    def add_shell(self) -> None:
        w, d, h, t = self.width, self.depth, self.height, _WALL_M
        floor = self.new_structure(FLOOR)
        floor.box(self.floor_material(), (w + 2 * t, d + 2 * t, 0.1), (0, 0, -0.05))
        ceiling = self.new_structure(CEILING)
        ceiling.box(Material(PLAIN, (0.95, 0.95, 0.94)), (w + 2 * t, d + 2 * t, 0.1), (0, 0, h + 0.05))
        for wall in self.walls:
            thing, skirting = self.new_structure(WALL, wall.frame(0, 0)), Material(PLAIN, WHITE)
            # Walls 0 and 1 reach over the corners, so that no two coincide.
            end = wall.length / 2 + (t if wall.index < 2 else 0.0)
            x = -end
            for left, right, low, high in [*sorted(wall.openings), (end, end, 0.0, 0.0)]:
                if left > x:
                    thing.box(self.paint, (left - x, t, h), ((left + x) / 2, -t / 2, h / 2))
                    thing.box(skirting, (left - x, 0.014, 0.08), ((left + x) / 2, 0.007, 0.04))
                for bottom, top in ((0.0, low), (high, h)):
                    if right > left and top > bottom:
                        thing.box(
                            self.paint,
                            (right - left, t, top - bottom),
                            ((left + right) / 2, -t / 2, (bottom + top) / 2),
                        )
                if low > 0:
                    thing.box(skirting, (right - left, 0.014, 0.08), ((left + right) / 2, 0.007, 0.04))
                x = right

    def floor_material(self) -> Material:
        kind = self.rng.random()
        if self.kind == "Kitchen" or kind < 0.15:
            tone = float(self.rng.uniform(0.6, 0.85))
            return Material(
                TILES, (tone, tone * 0.97, tone * 0.93), (0.45, 0.44, 0.42), float(self.rng.choice([0.3, 0.45, 0.6]))
            )
        if kind < 0.3:
            colour = Palette.FABRICS[self.rng.integers(len(Palette.FABRICS))]
            return Material(FABRIC, colour, (colour[0] * 0.9, colour[1] * 0.9, colour[2] * 0.9), 0.08)
        return Material(
            PLANKS, *Palette.WOODS[self.rng.integers(len(Palette.WOODS))], 0.14, seed=int(self.rng.integers(99))
        )

    # -- the furniture ------------------------------------------------------------------------------------------

    def furnish(self) -> None:
        against_walls, in_the_middle = _KINDS[self.kind]
        for maker in in_the_middle:
            self.put_in_the_middle(maker(self.palette))
        for maker in against_walls:
            self.put_against_a_wall(maker(self.palette))
        for k in self.rng.permutation(len(_SMALL))[: self.rng.integers(3, 6)]:
            self.put_against_a_wall(_SMALL[k](self.palette))
        for _ in range(self.rng.integers(2, 6)):
            self.hang(objects.picture(self.palette), 1.5, 0.02)
        for _ in range(self.rng.integers(0, 3)):
            self.hang(objects.wall_shelf(self.palette), 1.5, 0.11)

    def put_in_the_middle(self, piece: Piece) -> None:
        for _ in range(_DRAWS):
            sideways = self.rng.random() < 0.5
            w, d = (piece.depth, piece.width) if sideways else (piece.width, piece.depth)
            free = self.width - w - 1.4, self.depth - d - 1.4
            if min(free) < 0:
                continue
            x, y = (float(self.rng.uniform(-0.5, 0.5)) * f for f in free)
            rect = (x - w / 2, y - d / 2, x + w / 2, y + d / 2)
            if self.floor.is_free(rect, 0.1):
                self.floor.taken.append(rect)
                self.place(piece, moved(x, y, 0, 90.0 if sideways else 0.0))
                return

    def put_against_a_wall(self, piece: Piece) -> None:
        for _ in range(_DRAWS):
            wall = self.walls[self.rng.integers(4)]
            free = wall.length - piece.width - 0.1
            if free < 0:
                continue
            along = float(self.rng.uniform(-0.5, 0.5)) * free
            if self.rng.random() < 0.4:  # people like corners
                along = float(np.sign(along)) * free / 2
            out = float(self.rng.uniform(0.02, 0.05))
            left, right = along - piece.width / 2, along + piece.width / 2
            rect = wall.footprint(along, piece.width, piece.depth, out)
            across = wall.away * 2 - piece.depth
            if across > 0.8 and self.floor.is_free(rect) and wall.is_free(left, right, 0.0, piece.height):
                self.floor.taken.append(rect)
                wall.taken.append((left, right, 0.0, piece.height))
                self.place(piece, wall.frame(along, out + piece.depth / 2))
                return

    def hang(self, piece: Piece, z: float, out: float) -> None:
        for _ in range(_DRAWS):
            wall = self.walls[self.rng.integers(4)]
            along = float(self.rng.uniform(-0.5, 0.5)) * (wall.length - piece.width - 0.4)
            left, right = along - piece.width / 2, along + piece.width / 2
            low, high = z - piece.height / 2, z + piece.height / 2 + 0.1
            if wall.is_free(left, right, low, high, 0.1):
                wall.taken.append((left, right, low, high))
                self.place(piece, wall.frame(along, out, z))
                return

    def build(self) -> Room:
        self.add_openings()
        self.add_shell()
        self.furnish()
        drop = float(self.rng.uniform(0.35, 0.65))
        self.place(objects.pendant(self.palette, drop), moved(0, 0, self.height))
        lamp = np.array([0.0, 0.0, self.height - drop - 0.08])

        return Room(
            *parts_of_world(
                self.structure,
                self.movable,
                lamp=lamp,
                windows=np.array(self.windows, np.float64).reshape(-1, 6),
                patterned_in_world=frozenset((WALL, FLOOR, CEILING)),
            ),
            kind=self.kind,
            size=(self.width, self.depth, self.height),
            footprints=np.array(self.floor.taken, np.float64).reshape(-1, 4),
        )


def build_room(rng: Generator) -> Room:
    """Return a room that depends on nothing but the generator."""
    return _Builder(rng).build()
