"""Streets from a seed: a winding road with pavements, what stands beside it, traffic, and a camera that drives along.

The world is z up, metres, with the ground at z = 0; the road starts at the origin along x and bends with radii of 90 m
and more. Traffic keeps to the right. The camera is that of a car, ``CAMERA_HEIGHT_M`` up, level, 10 frames a second;
vehicles ahead keep their distance, those of the other lane come towards it, others are parked. Everything is a
function of distance along the road, so a frame needs no other frame, and the motion of every pixel is exact: poses of
camera and vehicles are known at both times. A street of 20 frames is 1,000 to 2,000 shapes, of which a frame takes
those near the camera; on one core a street is laid out in 35 ms, its scene at a frame in 25 ms (most of it the shadow
map), and at 1242x375 a view takes 25 to 50 ms, its colour 30 ms, its flow 50 ms.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np

from depthforge.frame import Camera
from depthforge.geometry import Float32, Float64, back_project, invert_pose
from depthforge.scenes import roadside
from depthforge.scenes.pieces import Thing, moved
from depthforge.scenes.raycast import Hits
from depthforge.scenes.roadside import ROAD, SKY, TERRAIN
from depthforge.scenes.shading import FABRIC, PLAIN, Lighting, Material
from depthforge.scenes.vehicles import Model, draw_model
from depthforge.scenes.world import World, parts_of_world

__all__ = ["CAMERA_HEIGHT_M", "FRAME_S", "MOST_VEHICLES", "Street", "Vehicle", "build_street"]

CAMERA_HEIGHT_M = 1.65
FRAME_S = 0.1
MOST_VEHICLES = 254
"""One byte holds a vehicle's number and, besides, "none"."""

_BEHIND_M, _AHEAD_M = 45.0, 170.0
_START_M = 50.0
_STEP_M = 0.5
_LANE_M, _PARKED_M, _KERB_M, _PAVED_M = 1.75, 4.6, 5.7, 8.2
_SEGMENT_M = 6.0
_SUN_M = (-45.0, 60.0, 140.0)
_DAYLIGHT = Lighting(lamp=(52_000.0, 49_000.0, 44_000.0), ambient=(0.55, 0.58, 0.64), sky=(0.55, 0.72, 1.0))
_NEAREST_M = 0.05

Generator = np.random.Generator


@dataclass(frozen=True, slots=True, eq=False)
class Vehicle:
    """A vehicle of the street: where it is along and beside the road at any time, metres and seconds."""

    track: int
    """Its number, from 0."""
    model: Model
    start_m: float
    left_m: float
    speed_mps: float
    """Along the road; below 0 it comes towards the camera and looks so, 0 is parked."""
    sway_m: float = 0.0
    """It hangs back and catches up by so much."""
    faces_back: bool = False

    @property
    def moves(self) -> bool:
        return self.speed_mps != 0.0

    def along_m(self, time_s: float) -> float:
        return self.start_m + self.speed_mps * time_s + self.sway_m * float(np.sin(0.8 * time_s + self.track))


@dataclass(frozen=True, slots=True, eq=False)
class _Placed:
    """Things that stand at a distance along the road; None is everywhere."""

    along_m: float | None
    things: list[Thing]


class _Course:
    """The middle of the road: place and heading at each distance along it."""

    def __init__(self, length_m: float, rng: Generator) -> None:
        self.length_m = length_m
        self.steps = np.arange(0.0, length_m + 2 * _STEP_M, _STEP_M)
        bend, wave_m, phase = rng.uniform(0.05, 0.24), rng.uniform(150.0, 300.0), rng.uniform(0, 2 * np.pi)
        self.heading = bend * (np.sin(2 * np.pi * self.steps / wave_m + phase) - np.sin(phase))
        step = _STEP_M * np.stack([np.cos(self.heading), np.sin(self.heading)])
        self.xy = np.cumsum(step, axis=1) - step

    def frame(self, along_m: float, left_m: float = 0.0, z: float = 0.0) -> Float64:
        """Return the pose (4, 4) of what is there, x along the road, y to its left, z up."""
        heading = float(np.interp(along_m, self.steps, self.heading))
        x, y = (float(np.interp(along_m, self.steps, line)) for line in self.xy)
        # Before the start and past the end the road goes on straight.
        over = along_m - float(np.clip(along_m, 0.0, self.steps[-1]))
        x, y = x + over * np.cos(heading), y + over * np.sin(heading)
        T = moved(x - left_m * np.sin(heading), y + left_m * np.cos(heading), z)
        T[:2, :2] = [[np.cos(heading), -np.sin(heading)], [np.sin(heading), np.cos(heading)]]
        return T


class Street:
    """A built street; ``world`` is what stands and drives there at a frame. Pure: any frame, in any order."""

    def __init__(self, course: _Course, placed: list[_Placed], vehicles: list[Vehicle], speed_mps: float) -> None:
        self.vehicles = vehicles
        self.speed_mps = speed_mps
        self._course = course
        self._placed = placed

    @cached_property
    def num_structures(self) -> int:
        """Things that do not move; the instance of vehicle k is ``num_structures`` + k + 1."""
        return sum(len(group.things) for group in self._placed)

    def along_m(self, frame: int) -> float:
        """Return how far along the road the camera is at a frame."""
        return _START_M + self.speed_mps * FRAME_S * frame

    def car_pose(self, frame: int) -> Float64:
        """Return the pose (4, 4) of the camera's car on the ground: x forward, y left, z up."""
        return self._course.frame(self.along_m(frame), -_LANE_M)

    def camera_pose(self, frame: int, *, yaw_deg: float = 0.0, right_m: float = 0.0) -> Float64:
        """Return T_world_cam (4, 4), OpenCV axes, turned left by ``yaw_deg`` and then moved to its own right."""
        T = self.car_pose(frame) @ moved(0, 0, CAMERA_HEIGHT_M, yaw_deg)
        T_world_cam = np.eye(4)
        T_world_cam[:3, 0], T_world_cam[:3, 1], T_world_cam[:3, 2] = -T[:3, 1], -T[:3, 2], T[:3, 0]
        T_world_cam[:3, 3] = T[:3, 3] + right_m * T_world_cam[:3, 0]
        return T_world_cam

    def vehicle_pose(self, vehicle: Vehicle, frame: int) -> Float64:
        """Return T_world_vehicle (4, 4): the middle of its underside, x forward, y left, z up."""
        T = self._course.frame(vehicle.along_m(FRAME_S * frame), vehicle.left_m)
        return T @ moved(0, 0, 0, 180.0) if vehicle.faces_back else T

    def world(self, frame: int) -> World:
        """Return the scene of a frame: classes of the vocabulary `vkitti`, sky where nothing is met."""
        here_m = self.along_m(frame)
        structure = []
        for group in self._placed:
            near = group.along_m is None or -_BEHIND_M < group.along_m - here_m < _AHEAD_M
            # What is far away keeps its number and loses its shapes.
            structure += group.things if near else [Thing(thing.semantic, thing.T) for thing in group.things]
        movable = [self._vehicle(vehicle, frame) for vehicle in self.vehicles]
        sun = self.car_pose(frame)[:3, 3] + _SUN_M
        parts = parts_of_world(
            structure,
            movable,
            lamp=sun,
            windows=np.empty((0, 6)),
            patterned_in_world=frozenset((ROAD, TERRAIN)),
        )
        parts.semantic[-1] = SKY
        return World(*parts)

    def _vehicle(self, vehicle: Vehicle, frame: int) -> Thing:
        thing = Thing(vehicle.model.semantic, self.vehicle_pose(vehicle, frame))
        if -_BEHIND_M < vehicle.along_m(FRAME_S * frame) - self.along_m(frame) < _AHEAD_M:
            thing.parts = vehicle.model.parts
        return thing

    def tracks(self, world: World, hits: Hits) -> np.ndarray:
        """Return the number of the vehicle at each pixel plus 1, (H, W) uint8; 0 is none."""
        instance = world.instance.astype(np.int64) - self.num_structures
        return np.maximum(instance, 0).astype(np.uint8)[hits.shape]

    def flow(
        self, frame: int, world: World, hits: Hits, camera: Camera, *, yaw_deg: float = 0.0, right_m: float = 0.0
    ) -> Float32:
        """Return optical flow (H, W, 2) float32 pixels from a frame to the next, of camera and vehicles.

        NaN where nothing is met, and where what was met is behind the camera by then.
        """
        before, after = (self.camera_pose(at, yaw_deg=yaw_deg, right_m=right_m) for at in (frame, frame + 1))
        T_cam_world = invert_pose(after)
        points = back_project(hits.depth_m, camera).astype(np.float64)
        still = T_cam_world @ before
        moved_to = points @ still[:3, :3].T + still[:3, 3]
        tracks = self.tracks(world, hits)
        for track in np.unique(tracks[tracks > 0]).tolist():
            vehicle = self.vehicles[track - 1]
            motion = self.vehicle_pose(vehicle, frame + 1) @ invert_pose(self.vehicle_pose(vehicle, frame))
            T = T_cam_world @ motion @ before
            on_it = tracks == track
            moved_to[on_it] = points[on_it] @ T[:3, :3].T + T[:3, 3]
        z = moved_to[..., 2]
        seen = hits.valid & (z > _NEAREST_M)
        z = np.where(seen, z, 1.0)
        v, u = np.indices(camera.size)
        flow = np.stack(
            [
                camera.fx * moved_to[..., 0] / z + camera.cx - u,
                camera.fy * moved_to[..., 1] / z + camera.cy - v,
            ],
            axis=-1,
        ).astype(np.float32)
        flow[~seen] = np.nan
        return flow

    def colour(
        self, world: World, hits: Hits, T_world_cam: Float64, camera: Camera, lighting: Lighting | None = None
    ) -> np.ndarray:
        """Return the colour (H, W, 3) uint8 of a view by day, or under another light."""
        return world.colour(hits, T_world_cam, camera, _DAYLIGHT if lighting is None else lighting)

    @property
    def daylight(self) -> Lighting:
        """The light of ``colour``."""
        return _DAYLIGHT


def build_street(rng: Generator, num_frames: int) -> Street:
    """Return a street long enough for ``num_frames`` (1 or more), that depends on nothing but the generator."""
    return _Builder(rng, num_frames).build()


class _Builder:
    def __init__(self, rng: Generator, num_frames: int) -> None:
        self.rng = rng
        self.speed_mps = float(rng.uniform(5.0, 12.0))
        self.duration_s = FRAME_S * (num_frames - 1)
        self.length_m = _START_M + self.speed_mps * self.duration_s + _AHEAD_M
        self.course = _Course(self.length_m, rng)
        self.placed: list[_Placed] = []

    def build(self) -> Street:
        self.lay_ground()
        for side in (-1, 1):
            self.line_side(side)
        return Street(self.course, self.placed, self.draw_vehicles(), self.speed_mps)

    def put(self, things: list[Thing], along_m: float, away_m: float, side: int, z: float = 0.0) -> None:
        """Place things beside the road; their frames are turned so that y points away from it on either side."""
        T = self.course.frame(along_m, side * away_m, z) @ moved(0, 0, 0, 0.0 if side > 0 else 180.0)
        self.placed.append(_Placed(along_m, [Thing(thing.semantic, T @ thing.T, thing.parts) for thing in things]))

    def lay_ground(self) -> None:
        terrain = Thing(TERRAIN, np.eye(4))
        grass = Material(FABRIC, (0.33, 0.38, 0.20), (0.42, 0.42, 0.27), 1.5)
        terrain.box(grass, (4000, 4000, 1), (0, 0, -0.54))
        self.placed.append(_Placed(None, [terrain]))
        grey = float(self.rng.uniform(0.26, 0.36))
        asphalt = Material(FABRIC, (grey, grey, grey), (0.88 * grey, 0.88 * grey, 0.9 * grey), 0.8)
        slabs = Material(PLAIN, (0.55, 0.54, 0.52))
        paint = Material(PLAIN, (0.80, 0.80, 0.78))
        road, kerbs = Thing(ROAD, np.eye(4)), Thing(TERRAIN, np.eye(4))
        for start in np.arange(-_BEHIND_M, self.length_m + _SEGMENT_M, _SEGMENT_M):
            along = float(start) + _SEGMENT_M / 2
            T = self.course.frame(along)
            # Segments overlap, so that no gap opens on the outside of a bend.
            long = _SEGMENT_M + 1.2
            road, kerbs = Thing(ROAD, T), Thing(TERRAIN, T)
            road.box(asphalt, (long, 2 * _KERB_M, 0.4), (0, 0, -0.2))
            road.box(paint, (3.0, 0.12, 0.02), (0, 0, -0.005))
            for side in (-1, 1):
                kerbs.box(slabs, (long, _PAVED_M - _KERB_M, 0.5), (0, side * (_PAVED_M + _KERB_M) / 2, -0.13))
            self.placed.append(_Placed(along, [road, kerbs]))

    def line_side(self, side: int) -> None:
        """Fill one side of the road, block by block, then its pavement."""
        along = -20.0
        while along < self.length_m:
            block_m = float(self.rng.uniform(30, 75))
            kind = self.rng.choice(["urban", "houses", "green"], p=[0.45, 0.3, 0.25])
            {"urban": self.urban, "houses": self.houses, "green": self.green}[str(kind)](along, block_m, side)
            along += block_m + float(self.rng.uniform(2, 9))
        for post in np.arange(float(self.rng.uniform(0, 25)), self.length_m, 27.0):
            self.put(roadside.lamp_post(self.rng), float(post), _KERB_M + 0.5, side, 0.12)
        spot = float(self.rng.uniform(0, 30))
        while spot < self.length_m:
            make = (roadside.sign, roadside.sign, roadside.tree, roadside.bin_, roadside.traffic_light)
            self.put(make[self.rng.integers(len(make))](self.rng), spot, _KERB_M + 0.8, side, 0.12)
            spot += float(self.rng.uniform(6, 26))

    def urban(self, along: float, block_m: float, side: int) -> None:
        away = _PAVED_M + float(self.rng.uniform(0.3, 2.5))
        stop = along + block_m
        while along < stop:
            width = float(self.rng.uniform(8, 17))
            # A bend brings the backs of two houses together on its inside and their fronts on its outside.
            self.put(roadside.building(self.rng, width), along + width / 2, away, side)
            along += width + float(self.rng.choice([0.3, 0.3, 2.5]))

    def houses(self, along: float, block_m: float, side: int) -> None:
        if self.rng.random() < 0.6:
            for start in np.arange(along, along + block_m - 5, 6.0):
                self.put(roadside.hedge(self.rng, 5.7), float(start) + 3, _PAVED_M + 0.6, side)
        stop = along + block_m
        while along < stop:
            width = float(self.rng.uniform(8, 12))
            away = _PAVED_M + float(self.rng.uniform(5, 9))
            self.put(roadside.building(self.rng, width), along + width / 2, away, side)
            for _ in range(int(self.rng.integers(0, 3))):
                spot = along + float(self.rng.uniform(0, width))
                make = roadside.tree if self.rng.random() < 0.5 else roadside.bush
                self.put(make(self.rng), spot, _PAVED_M + float(self.rng.uniform(1.6, 3.0)), side)
            along += width + float(self.rng.uniform(3, 9))

    def green(self, along: float, block_m: float, side: int) -> None:
        if self.rng.random() < 0.7:
            for start in np.arange(along, along + block_m - 7, 8.0):
                self.put(roadside.guard_rail(8.4), float(start) + 4, _PAVED_M + 0.4, side)
        for _ in range(int(block_m / 2.5)):
            spot, away = along + float(self.rng.uniform(0, block_m)), _PAVED_M + float(self.rng.uniform(3, 40) ** 1.0)
            make = roadside.tree if self.rng.random() < 0.65 else roadside.bush
            self.put(make(self.rng), spot, away, side)

    def draw_vehicles(self) -> list[Vehicle]:
        """Return traffic, then parked vehicles, numbered in order; each lane in its own order along the road."""
        vehicles: list[Vehicle] = []

        def add(model: Model, start: float, left: float, speed: float, sway: float, back: bool) -> None:
            if len(vehicles) < MOST_VEHICLES:
                vehicles.append(Vehicle(len(vehicles), model, start, left, speed, sway, back))

        ahead = _START_M + float(self.rng.uniform(9, 22))
        while ahead < _START_M + _AHEAD_M:
            model = draw_model(self.rng)
            ahead += model.size[0] / 2
            add(model, ahead, -_LANE_M, self.speed_mps, 1.0, False)
            ahead += model.size[0] / 2 + float(self.rng.uniform(9, 60))
        coming_mps = float(self.rng.uniform(6, 13))
        coming = _START_M - 30.0 + float(self.rng.uniform(0, 40))
        while coming < _START_M + (self.speed_mps + coming_mps) * self.duration_s + _AHEAD_M:
            model = draw_model(self.rng)
            coming += model.size[0] / 2
            add(model, coming, _LANE_M, -coming_mps, 0.0, True)
            coming += model.size[0] / 2 + float(self.rng.uniform(8, 55))
        for side in (-1, 1):
            spot = float(self.rng.uniform(0, 12))
            while spot < self.length_m:
                model = draw_model(self.rng)
                spot += model.size[0] / 2
                if self.rng.random() < 0.45 and model.size[1] < 2.1:
                    add(model, spot, side * _PARKED_M, 0.0, 0.0, side > 0)
                spot += model.size[0] / 2 + float(self.rng.uniform(0.8, 5))
        return vehicles
