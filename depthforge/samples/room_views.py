"""Views of procedural rooms by any camera, clean and as a simulated sensor measures them."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from depthforge.frame import Camera, Frame, NoisyDepth
from depthforge.geometry import Float64
from depthforge.meshes import Mesh, tessellate
from depthforge.scenes.raycast import Shape, cast
from depthforge.seeding import frame_words
from depthforge.sensors.base import Sensor
from depthforge.sources.procedural import Procedural, ProceduralConfig

__all__ = ["RoomViews", "colour_of"]

_LABELS = frozenset({"semantic", "instance"})


class RoomViews:
    """The rooms and walks of ``Procedural``, seen by cameras of one's own."""

    def __init__(self, *, num_scenes: int, frames_per_scene: int, seed: int) -> None:
        config = ProceduralConfig(num_scenes=num_scenes, frames_per_scene=frames_per_scene, seed=seed)
        self._rooms = Procedural(config)
        self._seed = seed

    def walk(self, scene: int) -> Float64:
        """Return the camera poses (frames_per_scene, 4, 4) of a room's walk."""
        return self._rooms.room(scene)[1]

    def see(
        self, scene: int, number: int, camera: Camera, aside_m: tuple[float, float, float] = (0.0, 0.0, 0.0)
    ) -> Frame:
        """Return the clean frame of a room, with colour, pose, classes and instances, by ``camera``.

        It stands ``aside_m`` of the walk, in camera axes (x right, y down, z forward).
        """
        room, walk = self._rooms.room(scene)
        pose = walk[number].copy()
        pose[:3, 3] += pose[:3, :3] @ np.array(aside_m)
        hits = cast(room.scene, pose, camera)
        return Frame(
            key=f"procedural/room-{scene:06d}/{number:06d}",
            depth_m=hits.depth_m,
            valid=hits.valid,
            camera=camera,
            rgb=room.colour(hits, pose, camera),
            T_world_cam=pose,
            labels=room.labels(hits, pose, _LABELS),
        )

    def mesh(self, scene: int, segments: int = 16) -> Mesh:
        """Return a room as one mesh; see ``meshes.tessellate`` for how round things come out."""
        analytic = self._rooms.room(scene)[0].scene
        shapes = zip(analytic.T_world_unit, analytic.profile.tolist(), strict=True)
        meshes = [tessellate(Shape(T, (a, b, c)), segments) for T, (a, b, c) in shapes]
        first = np.cumsum([0, *(len(mesh.vertices) for mesh in meshes[:-1])])
        triangles = [mesh.triangles + np.uint32(start) for mesh, start in zip(meshes, first, strict=True)]
        return Mesh(np.concatenate([mesh.vertices for mesh in meshes]), np.concatenate(triangles))

    def measure(self, frame: Frame, sensor: Sensor) -> NoisyDepth:
        """Return what ``sensor`` measures of a frame: the same in every run."""
        return sensor.measure(frame, frame_words(self._seed, frame.key, "sensor"))


def colour_of(frame: Frame) -> npt.NDArray[np.uint8]:
    """Return a frame's colour, which it has."""
    assert frame.rgb is not None
    return frame.rgb
