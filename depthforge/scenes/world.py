"""What every procedural scene is: shapes with materials, classes, instances and poses, and the lights they stand in.

A scene is made of things: ``structure`` (walls, ground) has a class and an instance but no pose of its own, ``movable``
things are objects with poses. Instances are numbered from 1, structure first.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from depthforge.frame import Camera
from depthforge.geometry import Float64, encode_normals, invert_pose
from depthforge.labels.catalogue import INSTANCE, NORMALS, OBJECT_ID, OBJECT_POSE
from depthforge.scenes.pieces import Thing
from depthforge.scenes.raycast import Hits, Scene
from depthforge.scenes.shading import Lighting, Surfaces, cast_shadow_map, shade

__all__ = ["World", "WorldParts", "parts_of_world"]

Ids = npt.NDArray[np.uint16]


class WorldParts(NamedTuple):
    """The fields of a :class:`World`, in order."""

    scene: Scene
    semantic: Ids
    instance: Ids
    T_world_object: dict[int, Float64]
    surfaces: Surfaces
    shadow_map: npt.NDArray[np.float32]
    lamp: Float64
    windows: Float64


@dataclass(frozen=True, slots=True, eq=False)
class World:
    """A built scene. Tables by shape have one row more than there are shapes: row -1 is "nothing met"."""

    scene: Scene
    semantic: Ids
    """Class of each shape."""
    instance: Ids
    """Instance id of each shape, from 1."""
    T_world_object: dict[int, Float64]
    """Pose of each movable thing by its instance id."""
    surfaces: Surfaces
    shadow_map: npt.NDArray[np.float32]
    lamp: Float64
    windows: Float64
    """(M, 6) centre and inward normal of each window, or of what else shines like one."""

    def colour(
        self, hits: Hits, T_world_cam: Float64, camera: Camera, lighting: Lighting | None = None
    ) -> npt.NDArray[np.uint8]:
        """Return the shaded colour (H, W, 3) uint8 sRGB of what a cast found, under the scene's light or another."""
        light = Lighting() if lighting is None else lighting
        return shade(hits, T_world_cam, camera, self.surfaces, self.shadow_map, self.lamp, self.windows, light)

    def labels(self, hits: Hits, T_world_cam: Float64, wanted: frozenset[str]) -> dict[str, npt.NDArray[np.generic]]:
        """Return those of normals, semantic, instance, object_id and object_pose that are ``wanted``."""
        labels: dict[str, npt.NDArray[np.generic]] = {}
        if NORMALS.name in wanted:
            labels[NORMALS.name] = encode_normals(hits.normals)
        if "semantic" in wanted:
            labels["semantic"] = self.semantic[hits.shape]
        if wanted & {INSTANCE.name, OBJECT_ID.name, OBJECT_POSE.name}:
            instance = self.instance[hits.shape]
            if INSTANCE.name in wanted:
                labels[INSTANCE.name] = instance
            seen = [number for number in np.unique(instance).tolist() if number in self.T_world_object]
            if OBJECT_ID.name in wanted:
                labels[OBJECT_ID.name] = np.array(seen, np.uint32)
            if OBJECT_POSE.name in wanted:
                T_world_object = np.array([self.T_world_object[number] for number in seen]).reshape(-1, 4, 4)
                labels[OBJECT_POSE.name] = invert_pose(T_world_cam) @ T_world_object
        return labels


def parts_of_world(
    structure: Sequence[Thing],
    movable: Sequence[Thing],
    *,
    lamp: Float64,
    windows: Float64,
    patterned_in_world: frozenset[int] = frozenset(),
) -> WorldParts:
    """Return the fields of a world made of these things, with a shadow map cast from ``lamp`` (3,).

    Materials of the classes ``patterned_in_world`` take their pattern from world coordinates, so that it goes on from
    shape to shape.
    """
    shapes, materials, semantic, instance, in_world = [], [], [], [], []
    for number, thing in enumerate([*structure, *movable], start=1):
        for shape, material in thing.parts:
            shapes.append(shape.placed(thing.T))
            materials.append(material)
            semantic.append(thing.semantic)
            instance.append(number)
            in_world.append(thing.semantic in patterned_in_world)
    scene = Scene(shapes)
    first_movable = len(structure) + 1
    return WorldParts(
        scene=scene,
        semantic=np.array([*semantic, 0], np.uint16),
        instance=np.array([*instance, 0], np.uint16),
        T_world_object={number: thing.T for number, thing in enumerate(movable, start=first_movable)},
        surfaces=Surfaces(scene, materials, in_world),
        shadow_map=cast_shadow_map(scene, lamp),
        lamp=lamp,
        windows=windows,
    )
