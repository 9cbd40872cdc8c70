"""Furniture that stands on the floor, in sizes that shops sell; see ``pieces`` for the conventions."""

from __future__ import annotations

import numpy as np

from depthforge.scenes.objects import (
    add_book_row,
    add_clutter,
    books_pile,
    carton,
    dishes,
    mirror,
    table_lamp,
    vase,
)
from depthforge.scenes.pieces import (
    BED,
    BLACK,
    BOOKSHELF,
    BOX,
    CABINET,
    CHAIR,
    COUNTER,
    DARK_METAL,
    DESK,
    DRESSER,
    FRIDGE,
    MAT,
    NIGHT_STAND,
    OTHER_FURNITURE,
    OTHER_PROP,
    PILLOW,
    SCREEN,
    SINK,
    SOFA,
    STEEL,
    TABLE,
    TELEVISION,
    WHITE,
    Palette,
    Piece,
    Thing,
    add_fronts,
    add_legs,
    moved,
    turned,
)
from depthforge.scenes.raycast import cone, cushion, cylinder, ellipsoid
from depthforge.scenes.shading import FABRIC, PLAIN, TILES, Material

__all__ = [
    "armchair",
    "bed",
    "bookshelf",
    "chair",
    "coffee_table",
    "counter",
    "desk",
    "dining",
    "dresser",
    "fridge",
    "night_stand",
    "office_chair",
    "sofa",
    "tv_stand",
    "wardrobe",
]


def bed(p: Palette) -> Piece:
    """A bed with mattress, blanket, pillows, and night stands where it is a double."""
    rng = p.rng
    double = rng.random() < 0.6
    width, length = (rng.uniform(1.4, 1.8) if double else rng.uniform(0.9, 1.2)), 2.06
    piece = Piece(width + (1.0 if double else 0.0), length, 1.1)
    frame = piece.thing(BED)
    head = rng.uniform(0.9, 1.15)
    frame.box(p.wood, (width, length - 0.06, 0.14), (0, 0.03, 0.25))
    add_legs(frame, p.wood, width, length - 0.1, 0.18, 0.07)
    if rng.random() < 0.5:
        frame.box(p.wood, (width, 0.05, head - 0.12), (0, -length / 2 + 0.025, 0.12 + (head - 0.12) / 2))
    else:
        frame.add(p.fabric, cushion((width, 0.12, head - 0.1), (0, -length / 2 + 0.05, 0.1 + head / 2), fullness=1.5))
    frame.add(
        Material(FABRIC, WHITE, (0.88, 0.88, 0.87)), cushion((width - 0.03, 1.96, 0.24), (0, 0.04, 0.43), fullness=1.6)
    )
    cover = p.accent()
    frame.add(cover, cushion((width + 0.02, 1.3, 0.26), (0, 0.39, 0.445), fullness=1.58))
    frame.add(
        Material(FABRIC, WHITE, (0.9, 0.9, 0.9)), cushion((width + 0.03, 0.3, 0.275), (0, -0.2, 0.445), fullness=1.58)
    )
    for x in (-width / 4, width / 4) if double else (0.0,):
        for row in range(2 if rng.random() < 0.4 else 1):
            pillow = piece.thing(PILLOW, x, -length / 2 + 0.30 + 0.17 * row, 0.63, rng.uniform(-6, 6))
            wide = min(0.68, width / (2.2 if double else 1.3)) * (1 - 0.25 * row)
            cloth = Material(FABRIC, WHITE, (0.86, 0.86, 0.86)) if row == 0 else p.accent()
            pillow.add(cloth, cushion((wide, 0.42 - 0.1 * row, 0.17), (0, 0, 0), turned(0, 28 + 30 * row)))
    if double:
        for side in (-1, 1):
            piece.include(night_stand(p), side * (width / 2 + 0.27), -length / 2 + 0.24)
    return piece


def night_stand(p: Palette) -> Piece:
    """A small cabinet with drawers, and a lamp or books on it."""
    piece, height = Piece(0.45, 0.44, 1.1), p.rng.uniform(0.45, 0.6)
    stand = piece.thing(NIGHT_STAND)
    stand.box(p.wood, (0.44, 0.38, height - 0.08), (0, 0, 0.04 + height / 2))
    stand.box(p.wood, (0.4, 0.34, 0.08), (0, 0, 0.04))
    add_fronts(stand, p, 0.44, 0.42, 0.09, height - 0.02, 1, 2)
    piece.include(table_lamp(p) if p.rng.random() < 0.7 else books_pile(p), 0, 0, height)
    return piece


def wardrobe(p: Palette) -> Piece:
    """A tall cabinet with two to four doors."""
    doors = int(p.rng.integers(2, 5))
    width, depth, height = 0.48 * doors, 0.6, p.rng.uniform(1.95, 2.25)
    piece = Piece(width, depth + 0.03, height)
    cabinet = piece.thing(CABINET)
    cabinet.box(p.wood, (width - 0.04, depth - 0.1, 0.08), (0, -0.03, 0.04))
    cabinet.box(p.wood, (width, depth - 0.02, height - 0.08), (0, -0.01, 0.04 + height / 2))
    add_fronts(cabinet, p, width - 0.01, depth, 0.09, height - 0.01, doors, 1)
    if p.rng.random() < 0.4:
        for x in (-0.25, 0.2):
            piece.include(carton(p), x * width, 0, height)
            piece.height = height + 0.4
    return piece


def dresser(p: Palette) -> Piece:
    """A chest of drawers, things on it, sometimes a mirror."""
    width, height = p.rng.uniform(0.8, 1.4), p.rng.uniform(0.75, 0.95)
    piece = Piece(width, 0.5, height + 0.75)
    chest = piece.thing(DRESSER)
    chest.box(p.wood, (width, 0.46, height - 0.1), (0, -0.01, 0.05 + height / 2))
    add_legs(chest, p.wood, width - 0.06, 0.4, 0.1)
    add_fronts(chest, p, width - 0.02, 0.48, 0.12, height - 0.03, 2 if width > 1.0 else 1, 3)
    if p.rng.random() < 0.5:
        piece.include(mirror(p, width * 0.7, 0.7), 0, -0.22, height + 0.37)
    add_clutter(p, piece, width, 0.3, height, 2)
    return piece


def chair(p: Palette) -> Piece:
    """A dining chair."""
    piece = Piece(0.46, 0.55, 0.92)
    seat = piece.thing(CHAIR)
    add_legs(seat, p.other_wood, 0.42, 0.42, 0.44, 0.035)
    seat.box(p.other_wood, (0.43, 0.43, 0.025), (0, 0, 0.445))
    if p.padded_chairs:
        seat.add(p.fabric, cushion((0.42, 0.42, 0.07), (0, 0, 0.48), fullness=1.45))
    lean = turned(0, 7)
    for x in (-0.19, 0.19):
        seat.box(p.other_wood, (0.03, 0.03, 0.5), (x, -0.225, 0.67), lean)
    if p.padded_chairs:
        seat.add(p.fabric, cushion((0.4, 0.05, 0.32), (0, -0.235, 0.72), lean, fullness=1.5))
    else:
        for k in range(3):
            seat.box(p.other_wood, (0.36, 0.016, 0.055), (0, -0.212 - 0.0145 * k, 0.62 + 0.12 * k), lean)
    return piece


def office_chair(p: Palette) -> Piece:
    """A swivel chair on a five-armed base."""
    piece = Piece(0.62, 0.62, 1.05)
    seat = piece.thing(CHAIR)
    for k in range(5):
        spoke = turned(2, 72 * k)
        seat.box(DARK_METAL, (0.28, 0.035, 0.03), tuple(spoke @ np.array([0.14, 0, 0.08])), spoke)
        seat.add(DARK_METAL, ellipsoid((0.06, 0.06, 0.06), tuple(spoke @ np.array([0.27, 0, 0.03]))))
    seat.add(STEEL, cylinder(0.03, 0.34, (0, 0, 0.25)))
    seat.add(p.fabric, cushion((0.5, 0.48, 0.09), (0, 0.02, 0.47), fullness=1.4))
    seat.box(DARK_METAL, (0.07, 0.02, 0.3), (0, -0.22, 0.55), turned(0, 6))
    seat.add(p.fabric, cushion((0.46, 0.08, 0.5), (0, -0.23, 0.8), turned(0, 8), fullness=1.35))
    for x in (-0.27, 0.27):
        seat.box(DARK_METAL, (0.03, 0.03, 0.2), (x, -0.02, 0.56))
        seat.box(DARK_METAL, (0.05, 0.26, 0.025), (x, 0.02, 0.67))
    return piece


def desk(p: Palette) -> Piece:
    """A desk with monitor, keyboard and clutter, and an office chair before it."""
    width, depth = p.rng.uniform(1.2, 1.6), p.rng.uniform(0.6, 0.75)
    room = 0.7
    piece = Piece(width, depth + room, 1.2)
    y = -room / 2
    table = piece.thing(DESK, 0, y)
    table.box(p.wood, (width, depth, 0.03), (0, 0, 0.735))
    if p.rng.random() < 0.5:
        add_legs(table, DARK_METAL, width - 0.08, depth - 0.08, 0.72)
    else:
        table.box(p.wood, (0.03, depth - 0.04, 0.72), (-width / 2 + 0.03, 0, 0.36))
        table.box(p.wood, (0.42, depth - 0.06, 0.66), (width / 2 - 0.23, 0, 0.39))
        drawers = Thing(DESK, np.eye(4))
        add_fronts(drawers, p, 0.42, depth - 0.04, 0.07, 0.71, 1, 3)
        slide = moved(width / 2 - 0.23, 0)
        table.parts.extend((shape.placed(slide), material) for shape, material in drawers.parts)
    monitor = piece.thing(TELEVISION, p.rng.uniform(-0.1, 0.1), y - depth / 2 + 0.2, 0.75, p.rng.uniform(-12, 12))
    monitor.add(DARK_METAL, cylinder(0.1, 0.015, (0, 0, 0.008)))
    monitor.box(DARK_METAL, (0.05, 0.02, 0.2), (0, -0.03, 0.11))
    monitor.box(DARK_METAL, (0.56, 0.03, 0.34), (0, 0, 0.33))
    monitor.box(SCREEN._replace(second=(0.25, 0.45, 0.65), glow=0.5), (0.54, 0.01, 0.32), (0, 0.012, 0.33))
    keyboard = piece.thing(OTHER_PROP, 0, y + 0.12, 0.75, p.rng.uniform(-5, 5))
    keyboard.box(Material(TILES, (0.12, 0.12, 0.13), (0.3, 0.3, 0.32), 0.02), (0.42, 0.14, 0.02), (0, 0, 0.01))
    beside = Piece(0.3, 0.3, 0.5)
    add_clutter(p, beside, 0.3, 0.3, 0, 2)
    piece.include(beside, -width / 2 + 0.2, y - depth / 2 + 0.2, 0.75)
    piece.include(office_chair(p), p.rng.uniform(-0.1, 0.1), depth / 2 - 0.03, 0, 180 + p.rng.uniform(-40, 40))
    return piece


def dining(p: Palette) -> Piece:
    """A dining table with its chairs and what stands on it."""
    rng = p.rng
    if rng.random() < 0.3:
        radius = rng.uniform(0.5, 0.65)
        piece = Piece(2 * radius + 1.0, 2 * radius + 1.0, 1.25)
        table = piece.thing(TABLE)
        table.add(p.wood, cylinder(radius, 0.035, (0, 0, 0.735)))
        table.add(p.wood, cylinder(0.05, 0.7, (0, 0, 0.37)))
        table.add(p.wood, cone(0.3, 0.06, 0.06, (0, 0, 0.03)))
        for k in range(4):
            angle = np.deg2rad(90 * k + 45)
            reach = radius + 0.14
            yaw = 90 * k + 135 + rng.uniform(-10, 10)
            piece.include(chair(p), reach * np.cos(angle), reach * np.sin(angle), 0, yaw)
        add_clutter(p, piece, 0.7, 0.5, 0.7525, 2)
        return piece
    width, depth = rng.uniform(1.5, 1.9), rng.uniform(0.8, 0.95)
    piece = Piece(width + 0.1, depth + 1.0, 1.25)
    table = piece.thing(TABLE)
    table.box(p.wood, (width, depth, 0.04), (0, 0, 0.73))
    table.box(p.wood, (width - 0.12, depth - 0.12, 0.08), (0, 0, 0.67))
    add_legs(table, p.wood, width - 0.06, depth - 0.06, 0.71, 0.07)
    for x in (-width / 4, width / 4):
        for side in (-1, 1):
            y = side * (depth / 2 + rng.uniform(0.0, 0.18))
            piece.include(chair(p), x + rng.uniform(-0.03, 0.03), y, 0, (180 if side > 0 else 0) + rng.uniform(-8, 8))
            if rng.random() < 0.5:
                piece.include(dishes(p), x, side * (depth / 2 - 0.2), 0.75, 180 if side > 0 else 0)
    piece.include(vase(p), 0, 0, 0.75)
    return piece


def coffee_table(p: Palette) -> Piece:
    """A low table."""
    width, depth, height = p.rng.uniform(0.8, 1.15), p.rng.uniform(0.5, 0.62), p.rng.uniform(0.36, 0.44)
    piece = Piece(width, depth, height + 0.5)
    table = piece.thing(TABLE)
    table.box(p.other_wood, (width, depth, 0.035), (0, 0, height - 0.0175))
    add_legs(table, p.other_wood, width - 0.06, depth - 0.06, height - 0.03)
    if p.rng.random() < 0.5:
        table.box(p.other_wood, (width - 0.12, depth - 0.12, 0.02), (0, 0, 0.14))
    add_clutter(p, piece, width * 0.8, depth * 0.8, height, 2)
    return piece


def _upholstered(p: Palette, semantic: int, seats: int) -> Piece:
    seat_width, depth = p.rng.uniform(0.6, 0.72), p.rng.uniform(0.82, 0.92)
    arm = p.rng.uniform(0.14, 0.2)
    width = seats * seat_width + 2 * arm
    piece = Piece(width, depth, 0.9)
    sofa = piece.thing(semantic)
    add_legs(sofa, p.wood, width - 0.08, depth - 0.1, 0.12, 0.05)
    sofa.box(p.fabric, (width - 0.02, depth - 0.04, 0.2), (0, -0.01, 0.21))
    sofa.add(p.fabric, cushion((width - 2 * arm + 0.04, 0.22, 0.62), (0, -depth / 2 + 0.11, 0.5), fullness=1.6))
    for side in (-1, 1):
        sofa.add(p.fabric, cushion((arm, depth, 0.5), (side * (width - arm) / 2, 0, 0.36), fullness=1.55))
    for k in range(seats):
        x = (k - (seats - 1) / 2) * seat_width
        sofa.add(p.fabric, cushion((seat_width - 0.01, depth - 0.2, 0.17), (x, 0.09, 0.385), fullness=1.5))
        back = turned(0, 12)
        sofa.add(p.fabric, cushion((seat_width - 0.02, 0.18, 0.42), (x, -depth / 2 + 0.28, 0.64), back, fullness=1.4))
    for side in (-1, 1):
        if seats > 1 and p.rng.random() < 0.7:
            x = side * (seats * seat_width / 2 - 0.22)
            pillow = piece.thing(PILLOW, x, -depth / 2 + 0.44, 0.65, -side * p.rng.uniform(5, 25))
            pillow.add(p.accent(), cushion((0.42, 0.14, 0.4), (0, 0, 0), turned(0, 18)))
    return piece


def sofa(p: Palette) -> Piece:
    """A sofa of two or three seats with a coffee table before it, often on a rug."""
    couch, table = _upholstered(p, SOFA, int(p.rng.integers(2, 4))), coffee_table(p)
    gap = 0.38
    depth = couch.depth + gap + table.depth
    piece = Piece(couch.width, depth, 0.9)
    piece.include(couch, 0, -depth / 2 + couch.depth / 2)
    piece.include(table, p.rng.uniform(-0.1, 0.1), depth / 2 - table.depth / 2)
    if p.rng.random() < 0.7:
        reach = depth - couch.depth / 2
        rug = piece.thing(MAT, 0, (depth - reach) / 2)
        rug.box(p.accent()._replace(scale_m=0.18), (couch.width * 0.95, reach, 0.012), (0, 0, 0.006))
    return piece


def armchair(p: Palette) -> Piece:
    """An armchair."""
    return _upholstered(p, CHAIR, 1)


def tv_stand(p: Palette) -> Piece:
    """A low cabinet with a television on it."""
    width, height = p.rng.uniform(1.2, 1.8), p.rng.uniform(0.4, 0.55)
    piece = Piece(width, 0.45, 1.3)
    stand = piece.thing(OTHER_FURNITURE)
    stand.box(p.wood, (width, 0.42, height - 0.1), (0, -0.01, 0.05 + height / 2))
    add_legs(stand, p.wood, width - 0.1, 0.36, 0.1)
    add_fronts(stand, p, width - 0.02, 0.44, 0.12, height - 0.02, 3, 1)
    wide = p.rng.uniform(0.9, min(1.3, width - 0.1))
    screen = piece.thing(TELEVISION, 0, -0.06, height)
    tall = wide * 9 / 16
    screen.box(DARK_METAL, (0.4, 0.2, 0.015), (0, 0, 0.008))
    screen.box(DARK_METAL, (0.08, 0.04, 0.1), (0, 0, 0.06))
    screen.box(DARK_METAL, (wide, 0.05, tall), (0, 0, 0.1 + tall / 2))
    screen.box(SCREEN, (wide - 0.03, 0.01, tall - 0.03), (0, 0.022, 0.1 + tall / 2))
    return piece


def bookshelf(p: Palette) -> Piece:
    """An open shelf with rows of books, cartons and vases."""
    width, depth, height = p.rng.uniform(0.7, 1.1), 0.3, p.rng.uniform(1.5, 2.1)
    piece = Piece(width, depth, height + 0.05)
    shelf, boards = piece.thing(BOOKSHELF), 5
    for x in (-1, 1):
        shelf.box(p.wood, (0.025, depth, height), (x * (width - 0.025) / 2, 0, height / 2))
    shelf.box(p.other_wood, (width - 0.05, 0.01, height - 0.04), (0, -depth / 2 + 0.005, height / 2))
    step = (height - 0.1) / boards
    for k in range(boards + 1):
        shelf.box(p.wood, (width - 0.05, depth - 0.012, 0.022), (0, 0.006, 0.06 + k * step))
    for k in range(boards):
        z = 0.071 + k * step
        kind = p.rng.random()
        if kind < 0.7:
            start = -width / 2 + 0.03 + p.rng.uniform(0, width * 0.3)
            add_book_row(piece, p.rng, start, width / 2 - 0.03, -0.03, z, min(0.32, step - 0.03))
        elif kind < 0.85:
            basket = piece.thing(BOX, p.rng.uniform(-0.1, 0.1) * width, 0, z)
            basket.box(p.accent(), (width * 0.6, depth - 0.06, step * 0.6), (0, 0, step * 0.3))
        elif step > 0.36:
            piece.include(vase(p), 0, 0, z)
    return piece


def counter(p: Palette) -> Piece:
    """A kitchen run: base cabinets, worktop with sink and hob, wall cabinets above."""
    units = int(p.rng.integers(3, 6))
    width, depth, top = 0.6 * units, 0.62, 0.9
    piece = Piece(width, depth + 0.02, 2.1)
    base = piece.thing(CABINET)
    base.box(DARK_METAL, (width, depth - 0.1, 0.1), (0, -0.05, 0.05))
    base.box(p.wood, (width, depth - 0.06, top - 0.14), (0, -0.03, 0.1 + (top - 0.14) / 2))
    add_fronts(base, p, width, depth - 0.02, 0.11, top - 0.05, units, 1)
    stone = Material(FABRIC, (0.30, 0.30, 0.31), (0.42, 0.42, 0.42), 0.02)
    worktop = piece.thing(COUNTER)
    # The sink is a real opening: the worktop is laid around it.
    left, right, front, back = -width / 2 + 0.15, -width / 2 + 0.6, 0.2, -0.2
    thick, z = 0.04, top - 0.02
    worktop.box(stone, (left + width / 2, depth, thick), ((left - width / 2) / 2, 0, z))
    worktop.box(stone, (width / 2 - right, depth, thick), ((right + width / 2) / 2, 0, z))
    worktop.box(stone, (right - left, depth / 2 - front, thick), ((left + right) / 2, (front + depth / 2) / 2, z))
    worktop.box(stone, (right - left, depth / 2 + back, thick), ((left + right) / 2, (back - depth / 2) / 2, z))
    worktop.box(stone, (width, 0.015, 0.1), (0, -depth / 2 + 0.008, top + 0.05))
    sink = piece.thing(SINK, (left + right) / 2, 0, top)
    sink.add(STEEL, cylinder(0.02, 0.26, (0, -0.25, 0.13)))
    sink.box(STEEL, (0.022, 0.2, 0.022), (0, -0.16, 0.25))
    sink.box(STEEL, (right - left, front - back, 0.004), (0, 0, -0.036))
    hob = piece.thing(OTHER_PROP, width / 2 - 0.6, 0, top)
    hob.box(Material(PLAIN, BLACK), (0.56, 0.5, 0.006), (0, 0, 0.003))
    for x in (-0.14, 0.14):
        for y in (-0.11, 0.12):
            hob.add(Material(PLAIN, (0.22, 0.2, 0.2)), cylinder(0.085, 0.003, (x, y, 0.0075)))
    if p.rng.random() < 0.7:
        pan = piece.thing(OTHER_PROP, width / 2 - 0.74, -0.11, top + 0.009)
        pan.add(STEEL, cylinder(0.1, 0.12, (0, 0, 0.06)))
        pan.add(DARK_METAL, cylinder(0.012, 0.16, (0.17, 0, 0.1), turned(1, 90)))
    upper = piece.thing(CABINET, 0, -depth / 2 + 0.18, 1.42)
    upper.box(p.wood, (width, 0.32, 0.68), (0, -0.01, 0.34))
    add_fronts(upper, p, width, 0.34, 0.0, 0.68, units, 1)
    return piece


def fridge(p: Palette) -> Piece:
    """A fridge with a freezer door below."""
    height = p.rng.uniform(1.6, 1.95)
    piece = Piece(0.64, 0.68, height)
    thing = piece.thing(FRIDGE)
    body = STEEL if p.rng.random() < 0.5 else Material(PLAIN, WHITE)
    thing.box(DARK_METAL, (0.58, 0.52, 0.05), (0, -0.04, 0.025))
    thing.box(body, (0.62, 0.58, height - 0.04), (0, -0.04, 0.02 + height / 2))
    split = height * 0.36
    for low, high in ((0.05, split - 0.005), (split + 0.005, height)):
        thing.box(body, (0.62, 0.06, high - low), (0, 0.285, (low + high) / 2))
        thing.add(STEEL, cylinder(0.012, 0.3, (-0.26, 0.332, (low + high) / 2)))
    return piece
