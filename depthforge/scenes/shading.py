"""Colour for a ray-cast room: patterned materials, a ceiling lamp that casts shadows, daylight, ambient occlusion.

Not a renderer: what a colour-guided network needs is edges, textures and shading that agree with the geometry. One
pass over the pixels evaluates the pattern in the shape's own coordinates (metres), Lambert's law for each light, a
shadow map cast once a room from the lamp, and occlusion from 8 neighbours in the depth image at half size. Costs
20 ms at 640x480 on one core; a path tracer costs minutes. Single-threaded, without fast-math: bytes repeat.
"""

from __future__ import annotations

import math
from functools import lru_cache
from typing import NamedTuple

import cv2
import numpy as np
import numpy.typing as npt

from depthforge.frame import Camera
from depthforge.geometry import Float32, Float64, pixel_rays
from depthforge.kernels import njit
from depthforge.scenes.raycast import Hits, Scene, cast

__all__ = ["Lighting", "Material", "Surfaces", "cast_shadow_map", "shade"]

PLAIN, PLANKS, TILES, STRIPES, CHECKS, GRAIN, FABRIC, PICTURE, LEAVES = range(9)

# The lamp's shadow map: a camera that looks straight down, 62 degrees to each side.
_SHADOW_CAMERA = Camera(fx=136.0, fy=136.0, cx=255.5, cy=255.5, width=512, height=512)
_OCCLUSION_RADIUS_M = 0.4
_BRIGHTEST = 4.0


class Material(NamedTuple):
    """How a surface looks: a pattern of two sRGB colours in [0, 1], its period, and light of its own if any."""

    pattern: int
    colour: tuple[float, float, float]
    second: tuple[float, float, float] = (0.0, 0.0, 0.0)
    scale_m: float = 0.1
    glow: float = 0.0
    seed: int = 0


class Lighting(NamedTuple):
    """Lights in linear RGB: the lamp's and the windows' power, and what comes from everywhere."""

    lamp: tuple[float, float, float] = (3.0, 2.75, 2.4)
    window: tuple[float, float, float] = (1.5, 1.7, 2.0)
    ambient: tuple[float, float, float] = (0.36, 0.36, 0.37)
    sky: tuple[float, float, float] = (0.80, 0.88, 1.0)


class Surfaces:
    """The materials of a scene's shapes as arrays, row for row."""

    def __init__(self, scene: Scene, materials: list[Material], in_world: list[bool]) -> None:
        self.unit_world = np.ascontiguousarray(scene.T_unit_world[:, :3, :])
        self.half = np.linalg.norm(scene.T_world_unit[:, :3, :3], axis=1)
        self.pattern = np.array([m.pattern for m in materials], np.int64)
        colours = np.array([(m.colour, m.second) for m in materials], np.float64).reshape(-1, 2, 3)
        self.colours = colours**2.2
        self.scale = np.array([m.scale_m for m in materials], np.float64)
        self.glow = np.array([m.glow for m in materials], np.float64)
        self.seed = np.array([m.seed for m in materials], np.int64)
        self.in_world = np.array(in_world, np.bool_)


def cast_shadow_map(scene: Scene, lamp: Float64) -> Float32:
    """Return how far below the lamp its light ends, (512, 512) float32 metres; infinite where it goes on.

    ``lamp`` (3,) is in world coordinates; the map looks straight down from it.
    """
    hits = cast(scene, _shadow_pose(lamp), _SHADOW_CAMERA)
    return np.where(hits.valid, hits.depth_m, np.float32(np.inf))


def _shadow_pose(lamp: Float64) -> Float64:
    T_world_lamp = np.diag([1.0, -1.0, -1.0, 1.0])
    T_world_lamp[:3, 3] = lamp
    return T_world_lamp


def shade(
    hits: Hits,
    T_world_cam: Float64,
    camera: Camera,
    surfaces: Surfaces,
    shadow_map: Float32,
    lamp: Float64,
    windows: Float64,
    lighting: Lighting,
) -> npt.NDArray[np.uint8]:
    """Return the colour image (H, W, 3) uint8 sRGB of what ``cast`` found.

    ``lamp`` (3,) is the lamp's place; ``windows`` (M, 6) the centre and inward normal of each window. A ray that met
    nothing shows the sky.
    """
    x, y = pixel_rays(camera)
    half = _occlusion(hits.depth_m, hits.normals, x, y, camera.fx * _OCCLUSION_RADIUS_M)
    openness = cv2.resize(cv2.blur(half, (3, 3)), (camera.width, camera.height), interpolation=cv2.INTER_LINEAR)
    s = surfaces
    lamp_cam = _SHADOW_CAMERA
    return _shade(  # type: ignore[no-any-return]
        hits.depth_m,
        hits.normals,
        hits.shape,
        openness,
        np.ascontiguousarray(T_world_cam[:3], dtype=np.float64),
        (x, y),
        (s.unit_world, s.half, s.pattern, s.colours, s.scale, s.glow, s.seed, s.in_world),
        (shadow_map, lamp_cam.fx, lamp_cam.cx, lamp_cam.cy),
        (np.asarray(lamp, np.float64), windows),
        tuple(np.array(light, np.float64) for light in lighting),
        _tones(),
    )


@lru_cache(maxsize=1)
def _tones() -> npt.NDArray[np.uint8]:
    """Return the byte of every linear value up to ``_BRIGHTEST``: Reinhard's curve with white at 3, then gamma 2."""
    value = np.linspace(0.0, _BRIGHTEST, 1 << 16, endpoint=False)
    toned = 1.25 * value * (1.0 + value / 9.0) / (1.0 + value)
    return np.rint(255.0 * np.sqrt(np.minimum(toned, 1.0))).astype(np.uint8)


@njit(error_model="numpy")
def _occlusion(depth, normals, x, y, radius_px_m):  # type: ignore[no-untyped-def]
    """Return how open each second pixel is, 0 to 1: after Mittring, "Finding next gen: CryEngine 2", SIGGRAPH 2007."""
    height, width = depth.shape
    rows, columns = (height + 1) // 2, (width + 1) // 2
    openness = np.ones((rows, columns), np.float32)
    # Eight directions of growing reach; turned pixel by pixel, then blurred, they sample the disc evenly.
    spiral = np.array(
        [
            [0.30, 0.00], [-0.27, 0.27], [0.00, -0.46], [0.38, 0.38],
            [-0.62, 0.00], [0.49, -0.49], [0.00, 0.80], [-0.64, -0.64],
        ]
    )  # fmt: skip
    for row in range(rows):
        for column in range(columns):
            v, u = 2 * row, 2 * column
            z = float(depth[v, u])
            if z <= 0.0:
                continue
            reach = min(max(radius_px_m / z, 4.0), 80.0)
            px, py = x[u] * z, y[v] * z
            total = 0.0
            turned = (row + column) & 1
            for k in range(8):
                a, b = spiral[k, 0] * reach, spiral[k, 1] * reach
                if turned:
                    a, b = -b, a
                su, sv = u + int(a), v + int(b)
                if su < 0 or sv < 0 or su >= width or sv >= height:
                    continue
                sz = float(depth[sv, su])
                if sz <= 0.0:
                    continue
                dx, dy, dz = x[su] * sz - px, y[sv] * sz - py, sz - z
                square = dx * dx + dy * dy + dz * dz + 1e-9
                lift = (normals[v, u, 0] * dx + normals[v, u, 1] * dy + normals[v, u, 2] * dz) / math.sqrt(square)
                if lift > 0.12:
                    total += (lift - 0.12) / (1.0 + 8.0 * square)
            openness[row, column] = max(0.25, 1.0 - 0.22 * total)
    return openness


@njit()
def _random(i, j, seed):  # type: ignore[no-untyped-def]
    """Return a number in [0, 1) that depends on three integers."""
    h = np.uint32(np.uint32(i) * np.uint32(0x9E3779B1))
    h = np.uint32(h ^ np.uint32(np.uint32(j) * np.uint32(0x85EBCA77)))
    h = np.uint32(h ^ np.uint32(np.uint32(seed) * np.uint32(0xC2B2AE3D)))
    h = np.uint32(np.uint32(h ^ np.uint32(h >> np.uint32(15))) * np.uint32(0x2C1B3C6D))
    h = np.uint32(np.uint32(h ^ np.uint32(h >> np.uint32(12))) * np.uint32(0x297A2D39))
    return np.uint32(h ^ np.uint32(h >> np.uint32(15))) / 4294967296.0


@njit()
def _smooth_noise(a, b, seed):  # type: ignore[no-untyped-def]
    i, j = math.floor(a), math.floor(b)
    s, t = a - i, b - j
    s, t = s * s * (3.0 - 2.0 * s), t * t * (3.0 - 2.0 * t)
    low = _random(i, j, seed) * (1.0 - s) + _random(i + 1, j, seed) * s
    high = _random(i, j + 1, seed) * (1.0 - s) + _random(i + 1, j + 1, seed) * s
    return low * (1.0 - t) + high * t


@njit()
def _mix(pattern, a, b, scale, seed):  # type: ignore[no-untyped-def]
    """Return (share of the second colour, brightness) at (a, b) metres on a surface."""
    if pattern == PLANKS:
        row = math.floor(b / scale)
        shift = _random(row, 7, seed) * 1.2
        plank = math.floor((a + shift) / 1.2)
        tone = _random(row, plank, seed)
        grain = _smooth_noise(a * 3.0 + 17.0 * tone, b * 90.0, seed)
        in_row, in_plank = b / scale - row, (a + shift) / 1.2 - plank
        seam = 0.55 if in_row * scale < 0.004 or in_plank * 1.2 < 0.004 else 1.0
        return 0.55 * tone + 0.45 * grain, seam * (0.86 + 0.14 * grain)
    if pattern == TILES:
        i, j = math.floor(a / scale), math.floor(b / scale)
        if (a / scale - i) * scale < 0.006 or (b / scale - j) * scale < 0.006:
            return 1.0, 1.0
        return 0.0, 0.9 + 0.1 * _random(i, j, seed)
    if pattern == STRIPES:
        band = a / scale - math.floor(a / scale)
        return (1.0 if band < 0.4 else 0.0), 1.0
    if pattern == CHECKS:
        return float((math.floor(a / scale) + math.floor(b / scale)) & 1), 1.0
    if pattern == GRAIN:
        wave = _smooth_noise(a * 2.0, b * 8.0, seed)
        return _smooth_noise(a * 4.0 + 2.0 * wave, b * 70.0, seed + 1), 0.92 + 0.08 * wave
    if pattern == FABRIC:
        weave = _random(math.floor(a * 400.0), math.floor(b * 400.0), seed)
        return _smooth_noise(a / scale, b / scale, seed), 0.9 + 0.1 * weave
    if pattern == PICTURE:
        broad = _smooth_noise(a * 4.0, b * 5.0, seed)
        fine = _smooth_noise(a * 13.0 + 3.0 * broad, b * 11.0, seed + 1)
        return min(max(2.2 * broad - 0.6, 0.0), 1.0), 0.5 + 0.7 * fine
    if pattern == LEAVES:
        return _smooth_noise(a * 30.0, b * 30.0, seed), 0.7 + 0.3 * _smooth_noise(a * 80.0, b * 80.0, seed)
    return 0.0, 1.0


@njit()
def _lamp_reaches(shadow, px, py, below):  # type: ignore[no-untyped-def]
    """Return the lit share, 0 to 1, of a point at (px, py) right of and ahead of the lamp and ``below`` it."""
    depth, focal, cx, cy = shadow
    if below <= 0.05:
        return 1.0
    u, v = focal * px / below + cx, focal * py / below + cy
    if u < 2.0 or v < 2.0 or u > depth.shape[1] - 3.0 or v > depth.shape[0] - 3.0:
        return 1.0
    lit = 0.0
    i, j = math.floor(u), math.floor(v)
    s, t = u - i, v - j
    for dv in range(-1, 2):
        weight_v = (1.0 - t if dv == -1 else t if dv == 1 else 1.0) / 2.0
        for du in range(-1, 2):
            if depth[j + dv, i + du] > below - 0.03:
                lit += weight_v * (1.0 - s if du == -1 else s if du == 1 else 1.0) / 2.0
    return lit


@njit(error_model="numpy")
def _shade(depth, normals, shape, openness, pose, rays, surfaces, shadow, lights, powers, tones):  # type: ignore[no-untyped-def]
    x, y = rays
    unit_world, half, pattern, colours, scale, glow, seed, in_world = surfaces
    lamp, windows = lights
    lamp_power, window_power, ambient, sky = powers
    tones_per_unit = tones.size / _BRIGHTEST
    height, width = depth.shape
    rgb = np.empty((height, width, 3), np.uint8)
    unit, world, n = np.empty(3), np.empty(3), np.empty(3)
    for v in range(height):
        for u in range(width):
            hit = shape[v, u]
            if hit < 0:
                rise = pose[2, 0] * x[u] + pose[2, 1] * y[v] + pose[2, 2]
                haze = min(max(1.0 - 1.5 * rise, 0.0), 1.0)
                for k in range(3):
                    rgb[v, u, k] = tones[int(sky[k] * (1.0 + 0.6 * haze) * tones_per_unit)]
                continue
            z = float(depth[v, u])
            for k in range(3):
                world[k] = (pose[k, 0] * x[u] + pose[k, 1] * y[v] + pose[k, 2]) * z + pose[k, 3]
                n[k] = pose[k, 0] * normals[v, u, 0] + pose[k, 1] * normals[v, u, 1] + pose[k, 2] * normals[v, u, 2]
            # The pattern lies in the plane that the surface faces most.
            if in_world[hit]:
                ax, ay, az = abs(n[0]), abs(n[1]), abs(n[2])
                unit[0], unit[1], unit[2] = world[0], world[1], world[2]
            else:
                for k in range(3):
                    unit[k] = unit_world[hit, k, 3]
                    for j in range(3):
                        unit[k] += unit_world[hit, k, j] * world[j]
                ax, ay, az = abs(unit[0]), abs(unit[1]), abs(unit[2])
                for k in range(3):
                    unit[k] *= half[hit, k]
            first, second = 0, 1
            if ax >= ay and ax >= az:
                first, second = 1, 2
            elif ay >= az:
                first, second = 0, 2
            # Wood is sawn along its length.
            if pattern[hit] == GRAIN and half[hit, second] > half[hit, first]:
                first, second = second, first
            a, b = unit[first], unit[second]
            share, bright = _mix(pattern[hit], a, b, scale[hit], seed[hit])

            lx, ly, lz = lamp[0] - world[0], lamp[1] - world[1], lamp[2] - world[2]
            square = lx * lx + ly * ly + lz * lz + 1e-6
            facing = (lx * n[0] + ly * n[1] + lz * n[2]) / math.sqrt(square)
            from_lamp = 0.0
            if facing > 0.0:
                # The shadow map looks straight down with its image rows towards -y.
                from_lamp = facing / (1.2 + 0.8 * square) * _lamp_reaches(shadow, -lx, ly, lz)
            from_windows = 0.0
            for w in range(windows.shape[0]):
                wx, wy, wz = windows[w, 0] - world[0], windows[w, 1] - world[1], windows[w, 2] - world[2]
                square = wx * wx + wy * wy + wz * wz + 1e-6
                leaving = -(wx * windows[w, 3] + wy * windows[w, 4] + wz * windows[w, 5])
                if leaving > 0.0:
                    # Half-wrapped: a window is wide, so it lights past the horizon of its centre.
                    wrapped = (wx * n[0] + wy * n[1] + wz * n[2]) / math.sqrt(square) * 0.7 + 0.3
                    if wrapped > 0.0:
                        from_windows += wrapped * leaving / (math.sqrt(square) * (1.0 + 0.6 * square))
            around = openness[v, u] * (0.85 + 0.15 * n[2])
            for k in range(3):
                albedo = (colours[hit, 0, k] * (1.0 - share) + colours[hit, 1, k] * share) * bright
                light = ambient[k] * around + openness[v, u] * (
                    lamp_power[k] * from_lamp + window_power[k] * from_windows
                )
                value = albedo * (light + glow[hit])
                rgb[v, u, k] = tones[min(int(value * tones_per_unit), tones.size - 1)]
    return rgb
