"""Small things that stand on furniture, on the floor or hang on a wall; see ``pieces`` for the conventions."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from depthforge.scenes.pieces import (
    BAG,
    BOOKS,
    BOX,
    CARDBOARD,
    DARK_METAL,
    LAMP,
    MIRROR,
    OTHER_PROP,
    PICTURE_ID,
    SHADE_GLOW,
    SHELVES,
    WHITE,
    Palette,
    Piece,
    turned,
)
from depthforge.scenes.raycast import box, cone, cushion, cylinder, ellipsoid
from depthforge.scenes.shading import LEAVES, PICTURE, PLAIN, Material

__all__ = [
    "add_book_row",
    "add_clutter",
    "bag",
    "books_pile",
    "carton",
    "cartons",
    "dishes",
    "floor_lamp",
    "mirror",
    "pendant",
    "picture",
    "plant",
    "table_lamp",
    "vase",
    "wall_shelf",
]


def add_book_row(
    piece: Piece, rng: np.random.Generator, x0: float, x1: float, y: float, z: float, tallest: float
) -> None:
    """Add upright books from x0 towards x1, as one instance."""
    books = piece.thing(BOOKS, x0, y, z)
    x = 0.0
    while x < x1 - x0 - 0.06 and len(books.parts) < 9:
        thick, tall = rng.uniform(0.02, 0.055), tallest * rng.uniform(0.62, 0.95)
        colour = Palette.ACCENTS[rng.integers(len(Palette.ACCENTS))]
        books.box(Material(PLAIN, colour), (thick, rng.uniform(0.13, 0.19), tall), (x + thick / 2, 0, tall / 2))
        x += thick + 0.002


def books_pile(p: Palette) -> Piece:
    """Two to four books lying on each other."""
    piece, z = Piece(0.31, 0.25, 0.14), 0.0
    books = piece.thing(BOOKS)
    for _ in range(p.rng.integers(2, 5)):
        thick = p.rng.uniform(0.015, 0.04)
        turn = turned(2, p.rng.uniform(-15, 15))
        books.box(p.paint(), (p.rng.uniform(0.2, 0.27), 0.18, thick), (0, 0, z + thick / 2), turn)
        z += thick
    return piece


def table_lamp(p: Palette) -> Piece:
    """A lamp with a conical shade."""
    height = p.rng.uniform(0.36, 0.5)
    piece = Piece(0.26, 0.26, height)
    lamp, stand = piece.thing(LAMP), p.paint()
    lamp.add(stand, cylinder(0.07, 0.02, (0, 0, 0.01)))
    lamp.add(stand, cushion((0.1, 0.1, height * 0.45), (0, 0, 0.02 + height * 0.225)))
    lamp.add(stand, cylinder(0.01, height * 0.3, (0, 0, height * 0.55)))
    lamp.add(SHADE_GLOW, cone(0.13, 0.09, height * 0.42, (0, 0, height * 0.79)))
    return piece


def vase(p: Palette) -> Piece:
    """A bowl or a vase with twigs."""
    piece = Piece(0.24, 0.24, 0.46)
    thing, glaze = piece.thing(OTHER_PROP), p.paint()
    if p.rng.random() < 0.5:
        thing.add(glaze, cone(0.05, 0.12, 0.08, (0, 0, 0.04)))
        for angle in (0, 2.1, 4.2):
            fruit = (0.05 * np.cos(angle), 0.05 * np.sin(angle), 0.1)
            thing.add(p.paint(), ellipsoid((0.075, 0.075, 0.075), fruit))
        return piece
    thing.add(glaze, cushion((0.13, 0.13, 0.2), (0, 0, 0.1), fullness=1.15))
    thing.add(glaze, cylinder(0.03, 0.06, (0, 0, 0.21)))
    for k in range(5):
        tilt = turned(2, 72 * k) @ turned(1, 8 + 4 * k)
        twig = tilt @ np.array([0, 0, 0.11]) + np.array([0, 0, 0.22])
        thing.add(Material(PLAIN, (0.3, 0.4, 0.2)), cylinder(0.003, 0.2, tuple(twig), tilt))
        tip = tilt @ np.array([0, 0, 0.2]) + np.array([0, 0, 0.22])
        thing.add(p.paint(), ellipsoid((0.05, 0.05, 0.06), tuple(tip), tilt))
    return piece


def dishes(p: Palette) -> Piece:
    """A plate, a cup and a bottle or none."""
    piece = Piece(0.46, 0.3, 0.3)
    china = Material(PLAIN, (0.93, 0.92, 0.88))
    plate = piece.thing(OTHER_PROP)
    plate.add(china, cone(0.07, 0.13, 0.02, (0, 0, 0.01)))
    cup = piece.thing(OTHER_PROP, 0.19, 0.06)
    cup.add(p.paint(), cylinder(0.04, 0.09, (0, 0, 0.045)))
    if p.rng.random() < 0.4:
        bottle, glass = piece.thing(OTHER_PROP, -0.18, 0.05), Material(PLAIN, (0.12, 0.25, 0.16))
        bottle.add(glass, cylinder(0.037, 0.19, (0, 0, 0.095)))
        bottle.add(glass, cone(0.037, 0.014, 0.05, (0, 0, 0.215)))
        bottle.add(glass, cylinder(0.014, 0.06, (0, 0, 0.27)))
    return piece


def add_clutter(p: Palette, piece: Piece, width: float, depth: float, z: float, count: int) -> None:
    """Put small things side by side on a surface of ``width`` x ``depth`` centred on the piece."""
    makers: list[Callable[[Palette], Piece]] = [books_pile, table_lamp, vase, dishes]
    order = p.rng.permutation(len(makers))
    x = -width / 2
    for k in order[:count]:
        item = makers[k](p)
        if x + item.width > width / 2 or item.depth > depth:
            continue
        free = max(0.0, width / 2 - x - item.width)
        x += p.rng.uniform(0, 0.5) * free
        y = p.rng.uniform(-0.5, 0.5) * (depth - item.depth)
        piece.include(item, x + item.width / 2, y, z)
        x += item.width + 0.04


def mirror(p: Palette, width: float, height: float) -> Piece:
    """A framed mirror whose centre is the origin; like every simulator's ground truth, its depth is the pane's."""
    piece = Piece(width, 0.04, height)
    pane = piece.thing(MIRROR)
    pane.box(p.wood, (width, 0.03, height), (0, 0, 0))
    pane.add(Material(PLAIN, (0.78, 0.82, 0.84)), box((width - 0.08, 0.01, height - 0.08), (0, 0.013, 0)))
    return piece


def carton(p: Palette) -> Piece:
    """A closed cardboard box with tape."""
    width, depth, height = p.rng.uniform(0.28, 0.42), p.rng.uniform(0.25, 0.38), p.rng.uniform(0.2, 0.35)
    piece = Piece(0.46, 0.42, height)
    thing = piece.thing(BOX, 0, 0, 0, p.rng.uniform(-10, 10))
    thing.box(CARDBOARD, (width, depth, height), (0, 0, height / 2))
    thing.box(Material(PLAIN, (0.75, 0.66, 0.5)), (width + 0.004, 0.05, height + 0.004), (0, 0, height / 2 + 0.001))
    return piece


def cartons(p: Palette) -> Piece:
    """One to three cartons, stacked."""
    piece, z = Piece(0.5, 0.46, 0.4), 0.0
    for _ in range(p.rng.integers(1, 4)):
        one = carton(p)
        piece.include(one, 0, 0, z, p.rng.uniform(-6, 6))
        z += one.height + 0.004
    piece.height = z
    return piece


def bag(p: Palette) -> Piece:
    """A soft bag with two handles."""
    piece = Piece(0.5, 0.32, 0.45)
    thing, cloth = piece.thing(BAG, 0, 0, 0, p.rng.uniform(-20, 20)), p.paint()
    thing.add(cloth, cushion((0.44, 0.24, 0.32), (0, 0, 0.16), fullness=1.4))
    for y in (-0.06, 0.06):
        for x in (-0.09, 0.09):
            thing.add(DARK_METAL, cylinder(0.008, 0.16, (x, y, 0.36)))
        thing.add(DARK_METAL, cylinder(0.008, 0.19, (0, y, 0.44), turned(1, 90)))
    return piece


def floor_lamp(p: Palette) -> Piece:
    """A standing lamp."""
    height = p.rng.uniform(1.45, 1.75)
    piece = Piece(0.42, 0.42, height)
    lamp = piece.thing(LAMP)
    lamp.add(DARK_METAL, cylinder(0.14, 0.025, (0, 0, 0.0125)))
    lamp.add(DARK_METAL, cylinder(0.012, height - 0.2, (0, 0, (height - 0.2) / 2)))
    lamp.add(SHADE_GLOW, cone(0.2, 0.14, 0.28, (0, 0, height - 0.14)))
    return piece


def plant(p: Palette) -> Piece:
    """A pot plant: a stem and a crown of tilted leaves."""
    height = p.rng.uniform(0.8, 1.5)
    piece = Piece(0.6, 0.6, height + 0.05)
    thing, pot = piece.thing(OTHER_PROP), p.paint()
    thing.add(pot, cone(0.12, 0.17, 0.3, (0, 0, 0.15)))
    thing.add(Material(PLAIN, (0.35, 0.26, 0.16)), cylinder(0.018, height * 0.5, (0, 0, 0.3 + height * 0.2)))
    leaf = Material(LEAVES, (0.16, 0.34, 0.14), (0.30, 0.48, 0.20), seed=int(p.rng.integers(99)))
    for k in range(14):
        tilt = turned(2, 137.5 * k) @ turned(1, p.rng.uniform(25, 85))
        reach, base = p.rng.uniform(0.22, 0.3), height * p.rng.uniform(0.5, 0.8)
        centre = tilt @ np.array([0, 0, reach / 2]) + np.array([0, 0, base])
        thing.add(leaf, ellipsoid((0.025, 0.11, reach), tuple(centre), tilt))
    return piece


def wall_shelf(p: Palette) -> Piece:
    """A board on the wall with things on it; its underside is the origin."""
    piece = Piece(p.rng.uniform(0.6, 1.0), 0.22, 0.5)
    board = piece.thing(SHELVES)
    board.box(p.wood, (piece.width, 0.22, 0.03), (0, 0, 0.015))
    add_book_row(piece, p.rng, -piece.width / 2 + 0.03, 0.02, -0.01, 0.03, 0.28)
    piece.include(vase(p), piece.width / 4, 0, 0.03)
    return piece


def picture(p: Palette) -> Piece:
    """A framed picture whose centre is the origin."""
    width = p.rng.uniform(0.35, 0.9)
    height = width * float(p.rng.choice([0.7, 1.0, 1.35]))
    piece = Piece(width, 0.04, height)
    frame, canvas = piece.thing(PICTURE_ID), p.paint()
    frame.box(p.wood if p.rng.random() < 0.5 else DARK_METAL, (width, 0.03, height), (0, 0, 0))
    frame.box(Material(PLAIN, WHITE), (width - 0.04, 0.004, height - 0.04), (0, 0.016, 0))
    art = canvas._replace(pattern=PICTURE, second=p.paint().colour)
    frame.box(art, (width * 0.74, 0.004, height * 0.74), (0, 0.018, 0))
    return piece


def pendant(p: Palette, drop: float) -> Piece:
    """A ceiling lamp that hangs ``drop`` metres below its origin."""
    piece = Piece(0.5, 0.5, drop)
    lamp = piece.thing(LAMP)
    lamp.add(DARK_METAL, cylinder(0.05, 0.03, (0, 0, -0.015)))
    lamp.add(DARK_METAL, cylinder(0.006, drop - 0.15, (0, 0, -(drop - 0.15) / 2)))
    if p.rng.random() < 0.5:
        lamp.add(SHADE_GLOW, ellipsoid((0.34, 0.34, 0.24), (0, 0, -drop + 0.12)))
    else:
        lamp.add(SHADE_GLOW, cone(0.23, 0.12, 0.2, (0, 0, -drop + 0.1)))
    return piece
