"""Cars, vans and trucks of analytic shapes, in sizes that roads know.

A vehicle stands on z = 0 in its own frame, metres: x forward, y to its left, its box centred on the origin in x and y.
Every shape lies within that box, and some touch each of its faces, so the box is the tight 3-D box of the vehicle.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import numpy as np

from depthforge.scenes.pieces import turned
from depthforge.scenes.raycast import Shape, box, cushion, cylinder
from depthforge.scenes.shading import PLAIN, Material

__all__ = ["Model", "draw_model"]

TRUCK, CAR, VAN = 12, 13, 14
"""Ids of the vocabulary `vkitti`."""

_PAINTS = (
    ("White", (0.88, 0.88, 0.87)), ("Black", (0.05, 0.05, 0.06)), ("Grey", (0.42, 0.43, 0.45)),
    ("Silver", (0.66, 0.67, 0.69)), ("Red", (0.55, 0.07, 0.06)), ("Blue", (0.10, 0.17, 0.42)),
    ("Green", (0.12, 0.28, 0.17)), ("Beige", (0.68, 0.62, 0.50)),
)  # fmt: skip
_GLASS = Material(PLAIN, (0.06, 0.08, 0.10))
_RUBBER = Material(PLAIN, (0.03, 0.03, 0.03))
_RIM = Material(PLAIN, (0.5, 0.5, 0.52))
_HEADLIGHT = Material(PLAIN, (0.9, 0.9, 0.85), glow=0.3)
_TAILLIGHT = Material(PLAIN, (0.6, 0.03, 0.03), glow=0.15)
_CANVAS = (0.80, 0.80, 0.78)


@dataclass(slots=True, eq=False)
class Model:
    """One vehicle: its class in the vocabulary `vkitti`, its size and its shapes."""

    semantic: int
    name: str
    colour: str
    size: tuple[float, float, float]
    """Length, width and height, metres."""
    parts: list[tuple[Shape, Material]] = field(default_factory=list)

    def add(self, material: Material, shape: Shape) -> None:
        self.parts.append((shape, material))

    def box(self, material: Material, size: Sequence[float], centre: Sequence[float]) -> None:
        self.add(material, box(size, centre))

    def add_wheels(self, radius: float, axles: Sequence[float], thick: float = 0.2) -> None:
        """Add wheels on axles at these x, flush with the sides."""
        for x in axles:
            for side in (-1, 1):
                y = side * (self.size[1] / 2 - thick / 2)
                self.add(_RUBBER, cylinder(radius, thick, (x, y, radius), turned(0, 90)))
                self.add(_RIM, cylinder(0.6 * radius, thick - 0.02, (x, y + side * 0.01, radius), turned(0, 90)))

    def add_lights(self, z: float, tall: float) -> None:
        """Add lights flush with front and back."""
        length, width, _ = self.size
        for y in (-0.36 * width, 0.36 * width):
            self.box(_HEADLIGHT, (0.06, 0.18 * width, tall), (length / 2 - 0.03, y, z))
            self.box(_TAILLIGHT, (0.06, 0.14 * width, tall), (-length / 2 + 0.03, y, z))


def _paint(rng: np.random.Generator) -> tuple[str, Material]:
    name, colour = _PAINTS[rng.integers(len(_PAINTS))]
    return name, Material(PLAIN, colour)


def _car(rng: np.random.Generator) -> Model:
    """A hatchback, a saloon or an estate."""
    kind = ("Hatchback", "Sedan", "Estate")[rng.integers(3)]
    length = float(rng.uniform(3.5, 4.1) if kind == "Hatchback" else rng.uniform(4.3, 4.9))
    width, height = float(rng.uniform(1.62, 1.86)), float(rng.uniform(1.40, 1.58))
    colour, paint = _paint(rng)
    car = Model(CAR, kind, colour, (length, width, height))
    waist, floor = 0.62 * height, 0.18
    car.add(paint, cushion((length, width, waist - floor), (0, 0, (waist + floor) / 2), fullness=1.52))
    car.box(paint, (0.86 * length, 0.9 * width, 0.5 * (waist - floor)), (0, 0, (waist + floor) / 2))
    # The cabin reaches into the body; its roof is painted, its sides are glass.
    start, stop = {"Hatchback": (-0.46, 0.2), "Sedan": (-0.34, 0.18), "Estate": (-0.47, 0.18)}[kind]
    long, middle = (stop - start) * length, (stop + start) / 2 * length
    bottom, top = 0.4 * height, height - 0.03
    car.add(_GLASS, cushion((long, 0.88 * width, top - bottom), (middle, 0, (top + bottom) / 2), fullness=1.42))
    car.box(paint, (0.55 * long, 0.66 * width, 0.06), (middle - 0.02 * length, 0, height - 0.03))
    for x in (start + 0.12, middle / length, stop - 0.12):
        for y in (-0.4, 0.4):
            car.box(paint, (0.05, 0.05, 0.3 * height), (x * length, y * width, 0.76 * height))
    car.add_wheels(float(rng.uniform(0.29, 0.33)), (-0.3 * length, 0.31 * length))
    car.add_lights(0.46 * height, 0.1)
    return car


def _van(rng: np.random.Generator) -> Model:
    """A panel van."""
    length, width = float(rng.uniform(4.7, 5.5)), float(rng.uniform(1.85, 2.0))
    height = float(rng.uniform(2.0, 2.5))
    colour, paint = _paint(rng)
    van = Model(VAN, "Panel_van", colour, (length, width, height))
    body = 0.78 * length
    van.box(paint, (body, width, height - 0.3), (-(length - body) / 2, 0, 0.3 + (height - 0.3) / 2))
    van.add(paint, cushion((0.5 * length, width, 0.42 * height), (0.25 * length, 0, 0.42 * height), fullness=1.55))
    screen = body - length / 2
    van.box(_GLASS, (0.05, 0.82 * width, 0.28 * height), (screen + 0.02, 0, 0.76 * height))
    van.box(_GLASS, (0.04, 0.6 * width, 0.26 * height), (-length / 2 + 0.02, 0, 0.72 * height))
    van.add_wheels(0.34, (-0.28 * length, 0.32 * length))
    van.add_lights(0.38 * height, 0.14)
    return van


def _truck(rng: np.random.Generator) -> Model:
    """A lorry: a cab before a box body."""
    length, width = float(rng.uniform(6.5, 10.5)), float(rng.uniform(2.4, 2.55))
    height = float(rng.uniform(3.0, 3.8))
    colour, paint = _paint(rng)
    truck = Model(TRUCK, "Box_truck", colour, (length, width, height))
    cab = 1.8
    load = length - cab - 0.25
    truck.box(Material(PLAIN, _CANVAS), (load, width, height - 1.0), (-(length - load) / 2, 0, 1.0 + (height - 1) / 2))
    truck.box(Material(PLAIN, (0.12, 0.12, 0.13)), (length - 0.4, 0.5 * width, 0.25), (-0.2, 0, 0.85))
    tall = min(2.6, height - 0.2) - 0.45
    truck.box(paint, (cab, 0.96 * width, tall), (length / 2 - cab / 2, 0, 0.45 + tall / 2))
    truck.box(_GLASS, (0.04, 0.82 * width, 0.36 * tall), (length / 2 - 0.015, 0, 0.45 + 0.7 * tall))
    for side in (-1, 1):
        truck.box(_GLASS, (0.7, 0.03, 0.32 * tall), (length / 2 - 0.75, side * 0.48 * width, 0.45 + 0.7 * tall))
    truck.add_wheels(0.48, (length / 2 - 0.9, -0.22 * length, -0.22 * length - 1.1), 0.3)
    truck.add_lights(0.8, 0.16)
    return truck


_KINDS: tuple[tuple[float, Callable[[np.random.Generator], Model]], ...] = ((0.76, _car), (0.91, _van), (1.0, _truck))


def draw_model(rng: np.random.Generator) -> Model:
    """Return a vehicle: three cars in four, the rest vans and trucks."""
    share = rng.random()
    return next(make for below, make in _KINDS if share <= below)(rng)
