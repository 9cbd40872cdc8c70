"""A camera's walk through a room: straight legs between viewpoints worth seeing, clear of walls and furniture.

A viewpoint is drawn on the free floor and looks at a piece of furniture; of six draws the one whose view (ray-cast
at 64x48, 0.5 ms) shows the most things, from no nearer than arm's length, is kept. Legs are checked against the
furniture's rectangles grown by 0.35 m. Random poses alone would stare at walls in a third of the frames.
"""

from __future__ import annotations

import numpy as np

from depthforge.frame import Camera
from depthforge.geometry import Float64, look_at
from depthforge.scenes.raycast import cast
from depthforge.scenes.room import Room

__all__ = ["camera_path"]

_CLEARANCE_M = 0.35
_WALL_CLEARANCE_M = 0.45
_TRIALS = 6
_MOST_DRAWS = 60
_MOST_LEGS = 24
_FRAMES_PER_LEG = 5


def camera_path(room: Room, num_frames: int, camera: Camera, rng: np.random.Generator) -> Float64:
    """Return ``num_frames`` camera poses (num_frames, 4, 4) in OpenCV axes that walk through ``room``.

    ``camera`` gives the field of view that viewpoints are judged by.
    """
    legs = min(_MOST_LEGS, max(1, -(-(num_frames - 1) // _FRAMES_PER_LEG)))
    preview = _preview_camera(camera)
    height = rng.uniform(0.9, 1.6)
    stops = [_best_stop(room, preview, None, height, rng)]
    for _ in range(legs):
        stops.append(_best_stop(room, preview, stops[-1], height, rng))
    return np.stack([_pose_between(stops, t) for t in np.linspace(0.0, legs, num_frames)])


def _preview_camera(camera: Camera) -> Camera:
    shrink = 64 / camera.width
    height = max(1, round(camera.height * shrink))
    centre = (camera.cx * shrink, camera.cy * shrink)
    return Camera(camera.fx * shrink, camera.fy * shrink, *centre, 64, height)


def _pose_between(stops: list[tuple[Float64, Float64]], t: float) -> Float64:
    leg = min(int(t), len(stops) - 2)
    s = t - leg
    s = s * s * (3.0 - 2.0 * s)
    eye, target = ((1 - s) * a + s * b for a, b in zip(stops[leg], stops[leg + 1], strict=True))
    forward = target - eye
    # Half-way between two opposite views the interpolated target may pass the eye: keep it at a distance.
    forward[:2] += 1e-3
    return look_at(eye, eye + forward)


def _best_stop(
    room: Room, preview: Camera, last: tuple[Float64, Float64] | None, height: float, rng: np.random.Generator
) -> tuple[Float64, Float64]:
    """Return the eye and the target of the best of some draws; the last stop itself when no draw can be reached."""
    objects = list(room.T_world_object.values())
    best, best_score = last, -np.inf
    trials = 0
    for _ in range(_MOST_DRAWS):
        eye = np.array([*(rng.uniform(-0.5, 0.5, 2) * (np.array(room.size[:2]) - 2 * _WALL_CLEARANCE_M)), height])
        eye[2] += rng.uniform(-0.1, 0.1)
        target = objects[rng.integers(len(objects))][:3, 3] + np.array([0, 0, rng.uniform(0.1, 0.5)])
        target[2] = np.clip(target[2], 0.25, 1.1)
        if not _is_clear(room, eye, eye if last is None else last[0]) or np.linalg.norm(target[:2] - eye[:2]) < 1.2:
            continue
        score = _score(room, preview, eye, target)
        if score > best_score:
            best, best_score = (eye, target), score
        trials += 1
        if trials == _TRIALS:
            break
    if best is None:  # a crowded room: stand in its middle and look over the furniture
        best = np.array([0.0, 0.0, 1.5]), np.array([room.size[0] / 2, 0.3, 0.8])
    return best


def _is_clear(room: Room, start: Float64, stop: Float64) -> bool:
    """Whether the straight way between two points keeps clear of what stands on the floor."""
    low, high = room.footprints[:, :2] - _CLEARANCE_M, room.footprints[:, 2:] + _CLEARANCE_M
    way = start[:2] + np.linspace(0.0, 1.0, 24)[:, None] * (stop - start)[:2]
    inside = (way[:, None, :] > low) & (way[:, None, :] < high)
    return not inside.all(axis=2).any()


def _score(room: Room, preview: Camera, eye: Float64, target: Float64) -> float:
    """How much a view shows: things seen, less for holes and for what is too close."""
    hits = cast(room.scene, look_at(eye, target), preview)
    seen, counts = np.unique(room.instance[hits.shape], return_counts=True)
    things = np.count_nonzero(counts[seen > 0] > 8)
    close = np.count_nonzero(hits.valid & (hits.depth_m < 0.8)) / hits.valid.size
    holes = 1.0 - np.count_nonzero(hits.valid) / hits.valid.size
    return things - 30.0 * close - 20.0 * max(0.0, holes - 0.05)
