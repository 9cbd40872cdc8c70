"""tf: where the camera stands at a moment, by the transforms that were recorded.

A message gives the pose of a child frame in its parent's; a pose is the chain from the camera up to the world, or to
the nearest frame that both hang from, each link the one whose stamp is nearest, static ones for all time. Nothing is
interpolated: a link that is farther than the tolerance is missing, and so is the pose.
Source: geometry_msgs/TransformStamped.msg, REP 105.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterable
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from depthforge.geometry import invert_pose
from depthforge.sources.rosbag.bags import stamp_of
from depthforge.sources.trajectories import pose_of

__all__ = ["Link", "Transforms", "links_of"]

Matrix = npt.NDArray[np.float64]


class Link(NamedTuple):
    """The pose of ``child`` in ``parent`` at a moment: translation, and quaternion x, y, z, w."""

    parent: str
    child: str
    stamp_ns: int
    translation: tuple[float, float, float]
    quaternion: tuple[float, float, float, float]

    @property
    def matrix(self) -> Matrix:
        """T_parent_child (4, 4); its rotation is zeros where the quaternion is."""
        return pose_of(self.translation, self.quaternion, "xyzw")


def links_of(messages: Iterable[Any]) -> list[Link]:
    """Return the transforms of TFMessages; the slash before names of the first tf is dropped."""
    links = []
    for message in messages:
        for stamped in message.transforms:
            moved, turned = stamped.transform.translation, stamped.transform.rotation
            parent, child = frame_name(stamped.header.frame_id), frame_name(stamped.child_frame_id)
            quaternion = (turned.x, turned.y, turned.z, turned.w)
            links.append(Link(parent, child, stamp_of(stamped), (moved.x, moved.y, moved.z), quaternion))
    return links


def frame_name(name: str) -> str:
    """Return the name of a tf frame as the second tf writes it."""
    return name.lstrip("/")


class Transforms:
    """The transforms of a stretch of a recording."""

    def __init__(self, static: Iterable[Link], moving: Iterable[Link]) -> None:
        self._static = {link.child: link for link in static}
        self._moving: dict[str, list[Link]] = {}
        for link in sorted(moving, key=lambda link: link.stamp_ns):
            self._moving.setdefault(link.child, []).append(link)

    @property
    def frames(self) -> frozenset[str]:
        """Every frame that some transform names."""
        links = [*self._static.values(), *(link for links in self._moving.values() for link in links)]
        return frozenset(name for link in links for name in (link.parent, link.child))

    def pose(self, world: str, camera: str, stamp_ns: int, tolerance_ns: int) -> Matrix | None:
        """Return T_world_camera (4, 4) at a moment, None where a link is missing or too far from it in time."""
        ours = self._upwards(camera, stamp_ns, tolerance_ns)
        theirs = self._upwards(world, stamp_ns, tolerance_ns)
        for name, T_common_camera in ours.items():
            if name in theirs:
                return invert_pose(theirs[name]) @ T_common_camera
        return None

    def _upwards(self, frame: str, stamp_ns: int, tolerance_ns: int) -> dict[str, Matrix]:
        """Return the poses of a frame in itself and in all that it hangs from, the nearest first."""
        pose = np.eye(4)
        poses = {frame: pose}
        while (link := self._link(frame, stamp_ns, tolerance_ns)) is not None and link.parent not in poses:
            pose = link.matrix @ pose
            frame = link.parent
            poses[frame] = pose
        return poses

    def _link(self, child: str, stamp_ns: int, tolerance_ns: int) -> Link | None:
        links = self._moving.get(child, [])
        after = bisect_left(links, stamp_ns, key=lambda link: link.stamp_ns)
        near = min(links[max(after - 1, 0) : after + 1], key=lambda link: abs(link.stamp_ns - stamp_ns), default=None)
        if near is not None and abs(near.stamp_ns - stamp_ns) <= tolerance_ns:
            return near
        return self._static.get(child)
