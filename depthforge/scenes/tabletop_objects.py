"""The twenty objects that stand on procedural tables: household things of a few convex solids, each always the same.

An object's frame has its origin at the centre of its bounding box and z up as it usually stands; metres. Every object
is narrower than 0.1 m somewhere, so that a parallel gripper can hold it. Hollow things are rings of staves, because
solids here are convex.
"""

from __future__ import annotations

import colorsys
import math
from collections.abc import Callable
from functools import lru_cache
from typing import NamedTuple

import numpy as np

from depthforge.errors import InputError
from depthforge.geometry import Float64
from depthforge.meshes import Mesh, tessellate
from depthforge.scenes.pieces import BLACK, CARDBOARD, DARK_METAL, STEEL, WHITE, turned
from depthforge.scenes.raycast import Shape, box, cone, cushion, cylinder, ellipsoid
from depthforge.scenes.shading import CHECKS, GRAIN, PICTURE, PLAIN, STRIPES, Material

__all__ = ["NUM_MODELS", "Part", "object_mesh", "object_model", "rests"]

Part = tuple[Shape, Material]
_Maker = Callable[[Material], list[Part]]

_UPRIGHT, _ON_SIDE, _ON_BACK = np.eye(3), turned(1, 90.0), turned(0, 90.0)


class _Kind(NamedTuple):
    make: _Maker
    rests: tuple[Float64, ...]
    pattern: int = PLAIN


def object_model(number: int) -> list[Part]:
    """Return the solids and materials of model ``number`` (0 to 19) in the object's frame; always the same ones.

    Raises InputError for a number outside the catalogue.
    """
    return [(shape, material) for shape, material in _centred(_require_known(number))]


@lru_cache(maxsize=64)
def object_mesh(number: int, segments: int = 32) -> Mesh:
    """Return model ``number`` as one mesh in the object's frame: the closed meshes of its solids, side by side.

    Solids may reach into each other; seen from outside the mesh is their union.
    """
    vertices, triangles, count = [], [], 0
    for shape, _ in _centred(_require_known(number)):
        mesh = tessellate(shape, segments)
        vertices.append(mesh.vertices)
        triangles.append(mesh.triangles + np.uint32(count))
        count += len(mesh.vertices)
    whole = Mesh(np.concatenate(vertices), np.concatenate(triangles).astype(np.uint32))
    whole.vertices.flags.writeable = whole.triangles.flags.writeable = False
    return whole


def rests(number: int) -> tuple[Float64, ...]:
    """Return the rotations (3, 3) in which model ``number`` lies stably on a table."""
    return _CATALOGUE[_require_known(number)].rests


def _require_known(number: int) -> int:
    if not 0 <= number < NUM_MODELS:
        raise InputError("no such object model", expected=f"0 to {NUM_MODELS - 1}", found=number)
    return number


@lru_cache(maxsize=64)
def _centred(number: int) -> tuple[Part, ...]:
    kind = _CATALOGUE[number]
    parts = kind.make(_paint(number, kind.pattern))
    vertices = np.concatenate([tessellate(shape, 32).vertices for shape, _ in parts])
    shift = np.eye(4)
    shift[:3, 3] = -(vertices.min(axis=0) + vertices.max(axis=0)) / 2
    return tuple((shape.placed(shift), material) for shape, material in parts)


def _paint(number: int, pattern: int) -> Material:
    # Hues a golden section apart are told apart best.
    colour = colorsys.hsv_to_rgb(0.618 * number % 1.0, 0.55 + 0.1 * (number % 4), 0.55 + 0.12 * (number % 4))
    second = colorsys.hsv_to_rgb((0.618 * number + 0.45) % 1.0, 0.3, 0.9)
    return Material(pattern, colour, second, scale_m=0.02 + 0.005 * (number % 3), seed=number)


def _ring(
    material: Material, radius: float, height: float, z: float, *, lean_deg: float = 0.0, staves: int = 16
) -> list[Part]:
    """A wall of upright boxes about the z axis, its inside ``radius`` from it at mid-height ``z``."""
    thick = 0.004
    wide = 2 * (radius + thick + abs(math.sin(math.radians(lean_deg))) * height / 2) * math.tan(math.pi / staves)
    parts = []
    for k in range(staves):
        turn = turned(2, 360.0 * k / staves)
        centre = turn @ np.array([radius + thick / 2, 0.0, z])
        parts.append((box((thick, wide, height), tuple(centre), turn @ turned(1, lean_deg)), material))
    return parts


def _carton(paint: Material) -> list[Part]:
    return [(box((0.16, 0.06, 0.21)), paint)]


def _small_carton(paint: Material) -> list[Part]:
    return [(box((0.09, 0.045, 0.075)), paint), (box((0.0902, 0.012, 0.0752)), CARDBOARD)]


def _can(paint: Material) -> list[Part]:
    rims = [(cylinder(0.031, 0.005, (0, 0, z)), STEEL) for z in (-0.0595, 0.0595)]
    return [(cylinder(0.033, 0.115), paint), *rims]


def _flat_can(paint: Material) -> list[Part]:
    return [(cylinder(0.042, 0.033), paint), (cylinder(0.0405, 0.037), STEEL)]


def _bottle(paint: Material) -> list[Part]:
    cap = Material(PLAIN, WHITE)
    return [
        (cylinder(0.034, 0.13, (0, 0, 0.065)), paint),
        (cone(0.034, 0.013, 0.045, (0, 0, 0.1525)), paint),
        (cylinder(0.013, 0.02, (0, 0, 0.185)), paint),
        (cylinder(0.015, 0.018, (0, 0, 0.204)), cap),
    ]


def _mug(paint: Material) -> list[Part]:
    handle = [box((0.028, 0.01, 0.009), (0.055, 0, z)) for z in (-0.024, 0.024)]
    handle.append(box((0.009, 0.01, 0.057), (0.0665, 0, 0)))
    base = cylinder(0.0405, 0.006, (0, 0, -0.043))
    return [*_ring(paint, 0.038, 0.092, 0.0), *((shape, paint) for shape in (base, *handle))]


def _bowl(paint: Material) -> list[Part]:
    return [*_ring(paint, 0.044, 0.05, 0.025, lean_deg=30.0, staves=18), (cylinder(0.038, 0.006, (0, 0, 0.005)), paint)]


def _ball(paint: Material) -> list[Part]:
    return [(ellipsoid((0.07, 0.07, 0.07)), paint)]


def _lemon(paint: Material) -> list[Part]:
    return [(ellipsoid((0.075, 0.055, 0.055)), paint), (cone(0.012, 0.004, 0.012, (0.039, 0, 0), turned(1, 90)), paint)]


def _banana(paint: Material) -> list[Part]:
    parts: list[Part] = []
    for k, width in enumerate((0.026, 0.034, 0.036, 0.034, 0.026)):
        angle = math.radians(-50 + 25 * k)
        centre = (0.09 * math.sin(angle), 0.09 * math.cos(angle), 0.0)
        parts.append((ellipsoid((0.058, width, width), centre, turned(2, -math.degrees(angle))), paint))
    return parts


def _hammer(paint: Material) -> list[Part]:
    return [
        (cylinder(0.012, 0.2, (0, 0, 0), turned(1, 90)), Material(GRAIN, (0.7, 0.52, 0.32), (0.58, 0.4, 0.22))),
        (box((0.028, 0.07, 0.028), (0.105, 0.012, 0)), STEEL),
        (cone(0.014, 0.008, 0.03, (0.105, -0.037, 0), turned(0, 90)), paint),
    ]


def _tumbler(paint: Material) -> list[Part]:
    return [(cone(0.028, 0.036, 0.1), paint)]


def _dumbbell(paint: Material) -> list[Part]:
    ends = [(cylinder(0.03, 0.032, (x, 0, 0), turned(1, 90)), paint) for x in (-0.06, 0.06)]
    return [(cylinder(0.012, 0.1, (0, 0, 0), turned(1, 90)), DARK_METAL), *ends]


def _spray(paint: Material) -> list[Part]:
    white = Material(PLAIN, WHITE)
    return [
        (cushion((0.075, 0.05, 0.14), (0, 0, 0.07), fullness=1.5), paint),
        (cone(0.018, 0.011, 0.035, (0, 0, 0.155)), paint),
        (box((0.07, 0.022, 0.026), (0.012, 0, 0.184)), white),
        (box((0.009, 0.014, 0.038), (0.03, 0, 0.155), turned(1, 15)), white),
    ]


def _bracket(paint: Material) -> list[Part]:
    return [(box((0.09, 0.03, 0.03), (0, 0, 0.015)), paint), (box((0.03, 0.03, 0.09), (-0.03, 0, 0.045)), paint)]


def _torch(paint: Material) -> list[Part]:
    turn = turned(1, 90)
    return [
        (cylinder(0.014, 0.1, (-0.02, 0, 0), turn), DARK_METAL),
        (cone(0.014, 0.026, 0.03, (0.045, 0, 0), turn), paint),
        (cylinder(0.026, 0.014, (0.067, 0, 0), turn), paint),
    ]


def _camera(paint: Material) -> list[Part]:
    black = Material(PLAIN, BLACK)
    return [
        (box((0.11, 0.045, 0.068)), paint),
        (cylinder(0.028, 0.04, (0.01, 0.04, -0.002), turned(0, 90)), black),
        (box((0.035, 0.03, 0.018), (0.01, 0, 0.042)), black),
    ]


def _pawn(paint: Material) -> list[Part]:
    return [
        (cylinder(0.03, 0.014, (0, 0, 0.007)), paint),
        (cone(0.022, 0.01, 0.06, (0, 0, 0.044)), paint),
        (ellipsoid((0.04, 0.04, 0.04), (0, 0, 0.088)), paint),
    ]


def _toy_car(paint: Material) -> list[Part]:
    wheel = Material(PLAIN, BLACK)
    wheels = [
        (cylinder(0.016, 0.012, (x, y, 0.016), turned(0, 90)), wheel) for x in (-0.038, 0.038) for y in (-0.028, 0.028)
    ]
    body = [box((0.125, 0.055, 0.026), (0, 0, 0.028)), box((0.065, 0.05, 0.024), (-0.008, 0, 0.052))]
    return [*((shape, paint) for shape in body), *wheels]


def _teapot(paint: Material) -> list[Part]:
    dark = Material(PLAIN, BLACK)
    handle = [box((0.03, 0.01, 0.008), (-0.062, 0, z)) for z in (0.03, 0.066)]
    handle.append(box((0.008, 0.01, 0.044), (-0.077, 0, 0.048)))
    return [
        (cushion((0.105, 0.105, 0.085), (0, 0, 0.0425), fullness=1.15), paint),
        (cone(0.014, 0.008, 0.06, (0.06, 0, 0.058), turned(1, 50)), paint),
        (cylinder(0.009, 0.016, (0, 0, 0.09)), dark),
        *((shape, dark) for shape in handle),
    ]


# What the object is, how it may lie, and its pattern.
_STANDING = (_UPRIGHT,)
_CATALOGUE: tuple[_Kind, ...] = (
    _Kind(_carton, (_UPRIGHT, _ON_SIDE, _ON_BACK), PICTURE),
    _Kind(_can, (_UPRIGHT, _ON_SIDE), STRIPES),
    _Kind(_bottle, (_UPRIGHT, _ON_SIDE)),
    _Kind(_mug, _STANDING),
    _Kind(_ball, _STANDING, CHECKS),
    _Kind(_banana, _STANDING),
    _Kind(_hammer, _STANDING),
    _Kind(_tumbler, _STANDING, STRIPES),
    _Kind(_dumbbell, _STANDING),
    _Kind(_spray, (_UPRIGHT, _ON_BACK)),
    _Kind(_bracket, (_UPRIGHT, _ON_BACK), CHECKS),
    _Kind(_flat_can, _STANDING, PICTURE),
    _Kind(_lemon, _STANDING),
    _Kind(_torch, _STANDING),
    _Kind(_small_carton, (_UPRIGHT, _ON_SIDE, _ON_BACK), PICTURE),
    _Kind(_camera, (_UPRIGHT, _ON_BACK)),
    _Kind(_pawn, (_UPRIGHT, _ON_SIDE)),
    _Kind(_toy_car, _STANDING),
    _Kind(_teapot, _STANDING),
    _Kind(_bowl, _STANDING),
)
NUM_MODELS = len(_CATALOGUE)
