"""What stands beside a road: buildings with windows, trees, hedges, lamp posts, signs, traffic lights, guard rails.

Each function returns the things of one object in a frame of its own, metres: z up from the ground, y away from the
road, x along it towards those who drive past on this side, so that signs face them. A facade stands at y = 0 and the
building behind it. Classes are those of the vocabulary `vkitti`.
"""

from __future__ import annotations

import numpy as np

from depthforge.scenes.pieces import Thing, turned
from depthforge.scenes.raycast import cone, cylinder, ellipsoid
from depthforge.scenes.shading import FABRIC, GRAIN, LEAVES, PLAIN, STRIPES, TILES, Material

__all__ = ["bin_", "building", "bush", "guard_rail", "hedge", "lamp_post", "sign", "traffic_light", "tree"]

TERRAIN, SKY, TREE, VEGETATION, BUILDING, ROAD, GUARD_RAIL = range(1, 8)
TRAFFIC_SIGN, TRAFFIC_LIGHT, POLE, MISC = range(8, 12)

Generator = np.random.Generator

_WALLS = (
    (0.78, 0.72, 0.62), (0.70, 0.45, 0.35), (0.85, 0.83, 0.78), (0.62, 0.60, 0.57), (0.80, 0.66, 0.45),
    (0.58, 0.36, 0.29), (0.72, 0.74, 0.70),
)  # fmt: skip
_GLASS = Material(PLAIN, (0.12, 0.15, 0.19))
_TRIM = Material(PLAIN, (0.85, 0.85, 0.83))
_ZINC = Material(PLAIN, (0.50, 0.51, 0.53))
_RED = Material(PLAIN, (0.62, 0.05, 0.05))
_BLUE = Material(PLAIN, (0.05, 0.16, 0.50))
_BLACK = Material(PLAIN, (0.05, 0.05, 0.05))


def _thing(semantic: int) -> Thing:
    return Thing(semantic, np.eye(4))


def building(rng: Generator, width: float) -> list[Thing]:
    """A house or an office of two to six floors, with windows, a door and sometimes a gable."""
    floors, storey = int(rng.integers(2, 6)), float(rng.uniform(2.8, 3.3))
    depth, height = float(rng.uniform(8, 14)), floors * storey + 0.4
    house = _thing(BUILDING)
    colour = _WALLS[rng.integers(len(_WALLS))]
    mortar = (0.8 * colour[0], 0.8 * colour[1], 0.8 * colour[2])
    wall = (
        Material(TILES, colour, mortar, float(rng.uniform(0.3, 0.6))) if rng.random() < 0.4 else Material(PLAIN, colour)
    )
    house.box(wall, (width, depth, height), (0, depth / 2, height / 2))
    if floors <= 3:
        tiles = Material(STRIPES, (0.42, 0.20, 0.15), (0.36, 0.17, 0.13), 0.3)
        lean = np.rad2deg(np.arctan2(3.0, depth / 2))
        slope = float(np.hypot(3.0, depth / 2)) + 0.4
        for side in (-1, 1):
            centre = (0, depth / 2 + side * depth / 4, height + 1.5)
            house.box(tiles, (width + 0.4, slope, 0.15), centre, turned(0, -side * float(lean)))
    else:
        house.box(_TRIM, (width + 0.2, depth + 0.2, 0.25), (0, depth / 2, height + 0.1))
    columns = max(2, round(width / float(rng.uniform(2.4, 3.4))))
    wide, tall = 0.42 * width / columns, 0.52 * storey
    door = int(rng.integers(columns))
    for column in range(columns):
        x = width * ((column + 0.5) / columns - 0.5)
        for floor in range(floors):
            z = (floor + 0.55) * storey
            if floor == 0 and column == door:
                house.box(Material(GRAIN, (0.35, 0.2, 0.12), (0.28, 0.15, 0.09)), (1.1, 0.1, 2.2), (x, -0.03, 1.1))
                continue
            house.box(_GLASS, (wide, 0.06, tall), (x, 0.0, z))
            house.box(_TRIM, (wide + 0.2, 0.24, 0.08), (x, -0.05, z - tall / 2))
    if rng.random() < 0.3:
        for floor in range(1, floors):
            house.box(_TRIM, (0.5 * width, 1.0, 0.15), (0, -0.5, floor * storey + 0.1))
            house.box(_ZINC, (0.5 * width, 0.05, 0.9), (0, -0.97, floor * storey + 0.6))
    return [house]


def tree(rng: Generator) -> list[Thing]:
    """A broad-leaved tree, or a conifer."""
    thing, height = _thing(TREE), float(rng.uniform(4.5, 9.0))
    bark = Material(GRAIN, (0.30, 0.23, 0.17), (0.22, 0.16, 0.11))
    green = float(rng.uniform(0.7, 1.1))
    leaves = Material(
        LEAVES, (0.16 * green, 0.30 * green, 0.09), (0.26 * green, 0.42 * green, 0.14), seed=int(rng.integers(99))
    )
    trunk = 0.35 * height
    thing.add(bark, cylinder(0.02 * height + 0.04, trunk + 0.4, (0, 0, trunk / 2)))
    if rng.random() < 0.25:
        for k in range(3):
            z, radius = trunk * 0.6 + 0.24 * height * (k + 0.5), height * (0.24 - 0.06 * k)
            thing.add(leaves, cone(radius, 0.0, 0.36 * height, (0, 0, z)))
        return [thing]
    crown = float(rng.uniform(0.28, 0.4)) * height
    for _ in range(int(rng.integers(3, 6))):
        x, y = rng.uniform(-0.35, 0.35, 2) * crown
        z = trunk + crown * float(rng.uniform(0.5, 1.0))
        thing.add(leaves, ellipsoid((2 * crown * rng.uniform(0.55, 0.85, 3)).tolist(), (float(x), float(y), z)))
    return [thing]


def bush(rng: Generator) -> list[Thing]:
    """Round shrubs."""
    thing = _thing(VEGETATION)
    leaves = Material(LEAVES, (0.20, 0.33, 0.12), (0.32, 0.45, 0.18), seed=int(rng.integers(99)))
    for _ in range(int(rng.integers(1, 4))):
        size = rng.uniform(0.7, 1.8, 3)
        x, y = rng.uniform(-0.9, 0.9, 2)
        thing.add(leaves, ellipsoid(size.tolist(), (float(x), float(y), 0.4 * float(size[2]))))
    return [thing]


def hedge(rng: Generator, length: float) -> list[Thing]:
    """A clipped hedge along the road."""
    thing, height = _thing(VEGETATION), float(rng.uniform(0.9, 1.9))
    leaves = Material(LEAVES, (0.13, 0.26, 0.09), (0.20, 0.36, 0.13), seed=int(rng.integers(99)))
    thing.box(leaves, (length, 0.8, height), (0, 0, height / 2))
    return [thing]


def guard_rail(length: float) -> list[Thing]:
    """A steel rail on posts."""
    thing = _thing(GUARD_RAIL)
    thing.box(_ZINC, (length, 0.06, 0.31), (0, 0, 0.6))
    for k in range(int(length / 2)):
        thing.box(_ZINC, (0.1, 0.06, 0.75), (-length / 2 + 1 + 2 * k, 0.06, 0.375))
    return [thing]


def lamp_post(rng: Generator) -> list[Thing]:
    """A lamp on a mast, its arm over the road."""
    thing, height = _thing(POLE), float(rng.uniform(5.5, 8.0))
    thing.add(_ZINC, cone(0.1, 0.05, height, (0, 0, height / 2)))
    thing.add(_ZINC, cylinder(0.035, 1.6, (0, -0.8, height - 0.05), turned(0, 90)))
    thing.box(_TRIM, (0.22, 0.7, 0.12), (0, -1.5, height - 0.05))
    return [thing]


def sign(rng: Generator) -> list[Thing]:
    """A traffic sign on its pole, facing those who come along the road."""
    pole, plate = _thing(POLE), _thing(TRAFFIC_SIGN)
    height = float(rng.uniform(2.2, 2.7))
    pole.add(_ZINC, cylinder(0.035, height, (0, 0, height / 2)))
    to_road = turned(1, 90)
    kind = rng.integers(3)
    if kind == 0:
        plate.add(_RED, cylinder(0.35, 0.03, (0.06, 0, height), to_road))
        plate.add(_TRIM, cylinder(0.26, 0.036, (0.06, 0, height), to_road))
    elif kind == 1:
        plate.add(_BLUE, cylinder(0.35, 0.03, (0.06, 0, height), to_road))
        plate.box(_TRIM, (0.036, 0.12, 0.36), (0.06, 0, height))
    else:
        plate.box(_BLUE, (0.03, 0.9, 0.6), (0.06, 0, height))
        plate.box(_TRIM, (0.036, 0.7, 0.08), (0.06, 0, height + 0.1))
    return [pole, plate]


def traffic_light(rng: Generator) -> list[Thing]:
    """A traffic light on its pole."""
    pole, head = _thing(POLE), _thing(TRAFFIC_LIGHT)
    pole.add(_ZINC, cylinder(0.06, 2.5, (0, 0, 1.25)))
    head.box(_BLACK, (0.25, 0.32, 0.95), (0, 0, 2.95))
    lit = int(rng.integers(3))
    colours = ((0.9, 0.08, 0.05), (0.95, 0.6, 0.05), (0.1, 0.8, 0.25))
    for k, colour in enumerate(colours):
        lamp = Material(PLAIN, colour if k == lit else (0.2 * colour[0], 0.2 * colour[1], 0.2 * colour[2]))
        lamp = lamp._replace(glow=1.5 if k == lit else 0.0)
        head.add(lamp, cylinder(0.11, 0.05, (0.13, 0, 3.25 - 0.3 * k), turned(1, 90)))
    return [pole, head]


def bin_(rng: Generator) -> list[Thing]:
    """A waste bin, a mail box or a bollard."""
    thing = _thing(MISC)
    kind = rng.integers(3)
    if kind == 0:
        thing.box(Material(FABRIC, (0.15, 0.25, 0.16), (0.12, 0.2, 0.13)), (0.6, 0.7, 1.1), (0, 0, 0.55))
    elif kind == 1:
        thing.box(Material(PLAIN, (0.85, 0.65, 0.05)), (0.5, 0.4, 0.6), (0, 0, 1.1))
        thing.box(_ZINC, (0.08, 0.08, 0.8), (0, 0, 0.4))
    else:
        thing.add(_ZINC, cylinder(0.07, 0.95, (0, 0, 0.475)))
    return [thing]
