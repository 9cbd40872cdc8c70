"""The fused truth of one scene on disk: a mesh, and how well each frame's measurement agrees with it.

A scene is two files, ``mesh.ply`` and ``frames.json``; the second is written last and is the commit, so that a run
that is killed in between fuses the scene again. A frame's residual is the median |measured - rendered| over pixels
that both have and that are not within two pixels of a depth edge of the rendering, where a measurement of either
side is right: a pose that does not fit shows there first. ``covered`` is the share of the measured pixels at which
the mesh has a surface.
"""

from __future__ import annotations

import hashlib
import json
import math
import os
from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, NamedTuple

import cv2
import numpy as np

from depthforge.durable import remove_temporaries, write_atomically
from depthforge.errors import DecodeError, DepthforgeError, InputError
from depthforge.frame import BoolImage, DepthImage, Frame, FrameRef
from depthforge.meshes import Mesh, MeshScene, TsdfVolume, encode_ply, load_mesh
from depthforge.sources.base import Source

__all__ = [
    "Agreement",
    "Fusion",
    "SceneRecord",
    "agreement",
    "digest_of",
    "fuse_scene",
    "load_record",
    "load_scene",
    "near_edges",
]

MESH_FILE, RECORD_FILE = "mesh.ply", "frames.json"
RECORD_VERSION = 1
QUANTILES = (0.05, 0.25, 0.5, 0.75, 0.95)
_MAX_JUMP = 0.05
_EDGE_PX = 2
_FRAMES_LOOKED_AT = 5
_POSED = frozenset({"T_world_cam"})


class Agreement(NamedTuple):
    """Of one frame: median |measured - rendered| in metres (NaN when they share no pixel), and the share covered."""

    residual_m: float
    covered: float


@dataclass(frozen=True, slots=True)
class Fusion:
    """How to fuse; see the fields of the same names of the source's configuration."""

    voxel_m: float
    truncation_voxels: float
    max_depth_m: float
    min_weight: float
    every: int
    max_frames: int | None
    max_blocks: int
    is_shipped: bool


@dataclass(frozen=True, slots=True)
class SceneRecord:
    """What became of a scene: ``frames`` holds those with a pose that could be read, by key.

    ``digest`` is of all references of the scene, ``unreadable`` maps the keys of the rest to what is wrong. A scene
    that cannot be fused has a ``failure`` in words and no frames.
    """

    version: int
    digest: str
    failure: str | None
    max_blocks: int
    num_fused: int
    num_blocks: int
    num_triangles: int
    without_pose: int
    frames: dict[str, Agreement]
    unreadable: dict[str, str]

    def residuals_m(self) -> list[float]:
        """Return the finite residuals, in key order."""
        return [found.residual_m for found in self.frames.values() if math.isfinite(found.residual_m)]

    def quantiles_m(self) -> list[float]:
        """Return the 5, 25, 50, 75 and 95 % quantiles of the residuals; none without a residual."""
        residuals_m = self.residuals_m()
        return np.quantile(residuals_m, QUANTILES).tolist() if residuals_m else []


def digest_of(refs: Iterable[FrameRef]) -> str:
    """Return 32 hex digits over the keys and locators of a scene."""
    digest = hashlib.blake2b(digest_size=16)
    for ref in refs:
        digest.update(f"{len(ref.key)}:{ref.key}{len(ref.locator)}:{ref.locator}".encode())
    return digest.hexdigest()


def load_record(folder: Path) -> SceneRecord | None:
    """Return what :func:`fuse_scene` wrote into ``folder``, None when it did not finish; DecodeError if damaged."""
    path = folder / RECORD_FILE
    try:
        text = path.read_text()
    except FileNotFoundError:
        return None
    try:
        value = json.loads(text)
        if value["version"] != RECORD_VERSION:
            return None
        del value["residual_quantiles_m"]
        frames = {
            key: Agreement(math.nan if residual_m is None else float(residual_m), float(covered))
            for key, (residual_m, covered) in value.pop("frames").items()
        }
        return SceneRecord(frames=frames, **value)
    except (ValueError, KeyError, TypeError) as error:
        raise DecodeError(
            "the record of a fused scene cannot be read", where=path, found=error, remedy=f"remove {folder}"
        ) from None


def fuse_scene(source: Source, refs: Sequence[FrameRef], fusion: Fusion, folder: Path) -> SceneRecord:
    """Fuse a scene, render it at every pose, and write mesh and record into ``folder``, which exists and is locked.

    Reads what is fused once and every frame once more, holding one frame for each core. A frame that cannot be read
    is recorded and left out, and so is a scene that has no surface or outgrows ``max_blocks``: neither ends a run over
    many. Raises StorageError.
    """
    remove_temporaries(folder)
    failure, mesh, num_fused, num_blocks = None, None, 0, 0
    try:
        if fusion.is_shipped:
            mesh = _shipped_mesh(source, refs)
        else:
            mesh, num_fused, num_blocks = _fused_mesh(source, refs, fusion)
    except InputError as error:
        failure = _in_words(error)
    by_key: dict[str, Agreement | str | None] = {}
    if mesh is not None:
        write_atomically(folder / MESH_FILE, encode_ply(mesh))
        scene = MeshScene([mesh])
        with ThreadPoolExecutor(len(os.sched_getaffinity(0))) as pool:
            compared = pool.map(lambda ref: _compare(source, ref, scene), refs)
            by_key = dict(zip((ref.key for ref in refs), compared, strict=True))
    record = SceneRecord(
        version=RECORD_VERSION,
        digest=digest_of(refs),
        failure=failure,
        max_blocks=fusion.max_blocks,
        num_fused=num_fused,
        num_blocks=num_blocks,
        num_triangles=0 if mesh is None else len(mesh.triangles),
        without_pose=sum(found is None for found in by_key.values()),
        frames={key: found for key, found in by_key.items() if isinstance(found, Agreement)},
        unreadable={key: found for key, found in by_key.items() if isinstance(found, str)},
    )
    write_atomically(folder / RECORD_FILE, _encoded(record))
    return record


def _in_words(error: InputError) -> str:
    file = f" ({Path(error.where).name})" if error.where and isinstance(error, DecodeError) else ""
    found = f"found {error.found}" if error.found else None
    return "; ".join(part for part in (f"{error.message}{file}", found, error.remedy) if part)


def _shipped_mesh(source: Source, refs: Sequence[FrameRef]) -> Mesh:
    """Return the mesh that the data set ships for a scene, turned so that its fronts are what its cameras saw."""
    path = source.mesh_of(refs[0])
    if path is None:
        raise InputError(
            "the data set ships no mesh of this scene", where=refs[0].scene, remedy="fetch it, or set `mesh: fused`"
        )
    mesh = load_mesh(path)
    fronts = hits = 0
    scene = MeshScene([mesh])
    for ref in refs[:: max(1, len(refs) // _FRAMES_LOOKED_AT)]:
        frame = _read_posed(source, ref)
        if isinstance(frame, Frame):
            assert frame.T_world_cam is not None
            hits += int(np.count_nonzero(scene.cast(frame.T_world_cam, frame.camera).valid))
            fronts += int(np.count_nonzero(scene.cast(frame.T_world_cam, frame.camera, fronts_only=True).valid))
    return mesh if 2 * fronts >= hits else Mesh(mesh.vertices, np.ascontiguousarray(mesh.triangles[:, ::-1]))


def _fused_mesh(source: Source, refs: Sequence[FrameRef], fusion: Fusion) -> tuple[Mesh, int, int]:
    """Return the mesh of a scene, the number of frames in it and the number of blocks that it took."""
    volume = TsdfVolume(
        fusion.voxel_m,
        truncation_voxels=fusion.truncation_voxels,
        max_depth_m=fusion.max_depth_m,
        max_blocks=fusion.max_blocks,
    )
    num_fused, chosen = 0, _chosen(refs, fusion)
    for ref in chosen:
        frame = _read_posed(source, ref)
        if isinstance(frame, Frame):
            assert frame.T_world_cam is not None
            volume.integrate(frame.depth_m, frame.camera, frame.T_world_cam)
            num_fused += 1
    mesh = volume.mesh(fusion.min_weight)
    if not len(mesh.triangles):
        raise InputError(
            "the fused scene has no surface",
            where=refs[0].scene,
            found=f"no point within {fusion.max_depth_m:g} m that {fusion.min_weight:g} frames saw, of {num_fused} "
            f"fused ({len(chosen)} were to be; the rest has no pose)",
            remedy="lower min_weight or every, raise max_depth_m, or leave the scene out; are the poses right?",
        )
    return mesh, num_fused, volume.num_blocks


def agreement(frame: Frame, rendered_m: DepthImage, hit: BoolImage) -> Agreement:
    """Compare a frame with the rendering of the truth at its pose: two images (H, W), metres and where there is any."""
    measured = int(np.count_nonzero(frame.valid))
    both = frame.valid & hit
    covered = float(np.count_nonzero(both) / measured) if measured else 0.0
    compared = both & ~near_edges(rendered_m)
    if not compared.any():
        return Agreement(math.nan, covered)
    return Agreement(float(np.median(np.abs(frame.depth_m[compared] - rendered_m[compared]))), covered)


def near_edges(depth_m: DepthImage) -> BoolImage:
    """Return (H, W) bool, where within two pixels depth jumps by 5 % or to nothing (0)."""
    beside = np.zeros(depth_m.shape, bool)
    for axis in (0, 1):
        images = [depth_m, beside] if axis == 0 else [depth_m.T, beside.T]
        first_m, second_m = images[0][:-1], images[0][1:]
        jump = np.abs(first_m - second_m) > _MAX_JUMP * np.minimum(first_m, second_m)
        images[1][:-1] |= jump
        images[1][1:] |= jump
    side = 2 * _EDGE_PX - 1
    near: BoolImage = cv2.dilate(beside.view(np.uint8), np.ones((side, side), np.uint8)) > 0
    return near


def load_scene(folder: Path) -> MeshScene:
    """Return the fused mesh of a scene, ready to cast; MissingDataError or DecodeError names its file."""
    mesh, record = load_mesh(folder / MESH_FILE), load_record(folder)
    if record is None or len(mesh.triangles) != record.num_triangles:
        raise DecodeError(
            "the fused mesh is not the one that was recorded",
            where=folder / MESH_FILE,
            expected=f"{record.num_triangles} triangles" if record else f"{RECORD_FILE} beside it",
            found=f"{len(mesh.triangles)} triangles",
            remedy=f"remove {folder}; the next run fuses it again",
        )
    return MeshScene([mesh])


def _chosen(refs: Sequence[FrameRef], fusion: Fusion) -> Sequence[FrameRef]:
    """Return every n-th frame, thinned evenly to ``max_frames``."""
    chosen = refs[:: fusion.every]
    if fusion.max_frames is None or len(chosen) <= fusion.max_frames:
        return chosen
    return [chosen[index * len(chosen) // fusion.max_frames] for index in range(fusion.max_frames)]


def _read_posed(source: Source, ref: FrameRef) -> Frame | str | None:
    """Return a frame with a pose; None for one without, and what is wrong with one that cannot be read."""
    try:
        frame = source.read(ref, _POSED)
    except (DepthforgeError, OSError) as error:
        return str(error).splitlines()[0]
    return frame if frame.T_world_cam is not None and np.isfinite(frame.T_world_cam).all() else None


def _compare(source: Source, ref: FrameRef, scene: MeshScene) -> Agreement | str | None:
    frame = _read_posed(source, ref)
    if not isinstance(frame, Frame):
        return frame
    assert frame.T_world_cam is not None
    hits = scene.cast(frame.T_world_cam, frame.camera, fronts_only=True)
    return agreement(frame, hits.depth_m, hits.valid)


def _encoded(record: SceneRecord) -> bytes:
    value: dict[str, Any] = asdict(record)
    value["residual_quantiles_m"] = record.quantiles_m()
    value["frames"] = {
        key: [found.residual_m if math.isfinite(found.residual_m) else None, found.covered]
        for key, found in record.frames.items()
    }
    return json.dumps(value, indent=1, allow_nan=False).encode()
