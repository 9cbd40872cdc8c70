"""GraspNet's raw grasp labels, once, in little memory: what is usable of each object, then of each scene.

Raw, an object is up to 0.9 GB (offsets alone 598 MB) and there are 88; a scene's collision masks are 0.5 GB more, and
there are 190. Both are streamed in slabs of points (``npz_slabs``), so memory does not grow with them. First each
object, once for all scenes: grasps with 0 < friction <= ``max_friction`` that do not collide with the object itself,
20 bytes each. Then each scene: its masks strike out what collides there, and the best ``max_grasps`` become (N, 17)
rows in the objects' frames, best first. A frame then maps a few hundred KB and moves them into its camera.

    <prepared>/objects-<settings>/042.{grasps,points.npy,json}    <prepared>/scenes-<settings>/scene_0000.{npy,json}

The .json is written last and is the commit: it names the raw files' checksums, so what still fits is left alone, and
a run that was killed continues with the next object or scene. Raw files may go once they are compacted.
Measured by ``benchmarks/bench_grasps.py`` on 2 cores: a scene of ten objects of 0.85 GB takes 5 s and 263 MiB at its
peak (deflated: 18 s and 331 MiB), imports included; loading one such object whole takes 1.2 GiB.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import Any, BinaryIO, TypeVar

import numpy as np
import numpy.typing as npt
from pydantic import BaseModel, ConfigDict, Field

from depthforge.durable import (
    locked,
    remove_temporaries,
    storage_errors,
    sync_directory,
    temporary_beside,
    write_atomically,
)
from depthforge.errors import DecodeError, MissingDataError
from depthforge.geometry import Float32
from depthforge.identity import changed_fields, fingerprint_of
from depthforge.seeding import frame_words
from depthforge.sources.graspnet.files import SceneFiles, load_object_ids
from depthforge.sources.graspnet.grasps import (
    NUM_ANGLES,
    NUM_DEPTHS,
    NUM_VIEWS,
    Keys,
    first_of,
    grasp_rows,
    order_keys,
    suppress_neighbours,
)
from depthforge.sources.graspnet.npz_slabs import NpzSlabs, open_npz
from depthforge.sources.npy import load_npy

__all__ = ["GraspSettings", "GraspStore"]

_VERSION = 1
_PER_POINT = (NUM_VIEWS, NUM_ANGLES, NUM_DEPTHS)
_GRASPS_PER_POINT = NUM_VIEWS * NUM_ANGLES * NUM_DEPTHS
# 64 points are 11 MB of offsets, 4 MB of friction and 1 MB of collisions.
SLAB_POINTS = 64
MOST_WORKERS = 4
# Rows of candidates take 0.5 KB each while they are made.
SUPPRESSED_AT_ONCE = 100_000
_USABLE = np.dtype([("label", "<u4"), ("friction", "<f4"), ("angle", "<f4"), ("depth", "<f4"), ("width", "<f4")])
_FARTHEST_POINT_M = 2.0
_HIGHEST_FRICTION = 10.0
_FETCH_LABELS = "fetch and extract {archive}, or leave `grasps` out of the source block"

Usable = npt.NDArray[np.void]
Item = TypeVar("Item")


class GraspSettings(BaseModel):
    """Which 6-D grasps are carried; the field ``grasps`` of the source block."""

    model_config = ConfigDict(frozen=True, extra="forbid")
    max_friction: float = Field(
        default=0.4,
        gt=0,
        le=1.1,
        description="least friction coefficient a grasp may need; GraspNet's own bound is 0.4",
    )
    max_grasps: int = Field(
        default=4096, ge=1, le=1_000_000, description="of a scene, the best: 68 bytes each in every frame of it"
    )
    min_distance_m: float = Field(
        default=0.0,
        ge=0,
        le=0.2,
        description="suppress what is nearer to a better grasp than this and min_angle_deg; 0: none",
    )
    min_angle_deg: float = Field(default=30.0, gt=0, le=90, description="see min_distance_m")
    visible_only: bool = Field(
        default=False, description="per frame, only grasps whose point on the object is seen in its depth"
    )
    visible_within_m: float = Field(
        default=0.005, gt=0, le=0.1, description="how far behind the depth image a seen point may lie"
    )
    seed: int = Field(default=0, ge=0, description="another seed, other grasps among those of equal score")

    def of_scenes(self) -> dict[str, Any]:
        """Return what decides the files of a scene, where it is off its default."""
        return changed_fields(self, without=frozenset({"visible_only", "visible_within_m"}))


class GraspStore:
    """The compact grasps of one data set in the folder ``prepared``."""

    def __init__(self, root: Path, prepared: Path, settings: GraspSettings) -> None:
        self._root, self._prepared, self._settings = root, prepared, settings
        of_objects = {k: v for k, v in settings.of_scenes().items() if k == "max_friction"}
        objects = fingerprint_of({"version": _VERSION, **of_objects})
        scenes = fingerprint_of({"version": _VERSION, **settings.of_scenes()})
        self._objects, self._scenes = prepared / f"objects-{objects[:12]}", prepared / f"scenes-{scenes[:12]}"

    def has(self, scene: str) -> bool:
        """Say whether a scene's grasps are compacted; whether they still fit is for :meth:`compact` to say."""
        return (self._scenes / f"{scene}.json").is_file()

    def rows(self, scene: str) -> Float32 | None:
        """Return a scene's grasps (N, 17) in the objects' frames, memory-mapped; None when it is not compacted."""
        if not self.has(scene):
            return None
        path = self._scenes / f"{scene}.npy"
        try:
            rows: Float32 = load_npy(path, mmap_mode="r")
        except (OSError, ValueError, EOFError) as error:
            raise DecodeError(
                "the compacted grasps cannot be read", where=path, found=error, remedy=f"remove {self._scenes}"
            ) from None
        return rows

    def to_compact(self, scenes: Sequence[SceneFiles]) -> tuple[int, int]:
        """Return of how many objects and of how many ``scenes`` :meth:`compact` would make the files.

        Writes nothing and decodes no label. Raises MissingDataError and DecodeError as :meth:`compact`.
        """
        ids_of = {files: _object_ids(files) for files in scenes}
        stamps = self._object_stamps(ids_of.values())
        objects = sum(_committed(*self._object_files(object_id)) != stamp for object_id, stamp in stamps.items())
        return objects, sum(not self._is_compacted(files, ids, stamps) for files, ids in ids_of.items())

    def compact(self, scenes: Sequence[SceneFiles], report: Callable[[str], None] = lambda line: None) -> None:
        """Make what is missing or no longer fits the raw labels of ``scenes``; ``report`` is told each finished file.

        Raises MissingDataError and DecodeError naming a raw file and what to do, StorageError.
        """
        with storage_errors(self._prepared):
            for folder in (self._objects, self._scenes):
                folder.mkdir(parents=True, exist_ok=True)
        with locked(self._prepared / ".lock"):
            for folder in (self._objects, self._scenes):
                remove_temporaries(folder)
            ids_of = {files: _object_ids(files) for files in scenes}
            stamps = self._object_stamps(ids_of.values())
            for line in _side_by_side(lambda k: self._compact_object(k, stamps[k]), list(stamps)):
                report(line)
            for line in _side_by_side(lambda files: self._compact_scene(files, ids_of[files], stamps), scenes):
                report(line)

    def _raw_object(self, object_id: int) -> Path:
        return self._root / "grasp_label" / f"{object_id:03d}_labels.npz"

    def _raw_masks(self, files: SceneFiles) -> Path:
        return self._root / "collision_label" / files.name / "collision_labels.npz"

    def _object_files(self, object_id: int) -> tuple[Path, Path]:
        """Return the record and the grasps of an object."""
        return self._objects / f"{object_id:03d}.json", self._objects / f"{object_id:03d}.grasps"

    def _scene_files(self, files: SceneFiles) -> tuple[Path, Path]:
        """Return the record and the grasps of a scene."""
        return self._scenes / f"{files.name}.json", self._scenes / f"{files.name}.npy"

    def _object_stamps(self, ids_of_scenes: Iterable[list[int]]) -> dict[int, str]:
        every_id = sorted({object_id for ids in ids_of_scenes for object_id in ids})
        return {object_id: self._object_stamp(object_id) for object_id in every_id}

    def _object_stamp(self, object_id: int) -> str:
        """Return what the raw labels of an object are, or were when they are gone and what was made of them is not."""
        path = self._raw_object(object_id)
        if not path.exists():
            kept = _committed(*self._object_files(object_id))
            if kept is not None:
                return kept
        with open_npz(path, remedy=_FETCH_LABELS.format(archive="grasp_label.zip")) as raw:
            return raw.stamp

    def _compact_object(self, object_id: int, stamp: str) -> str:
        name = f"{object_id:03d}"
        record, grasps = self._object_files(object_id)
        if _committed(record, grasps) == stamp:
            return f"grasps of object {name}: as they were"
        record.unlink(missing_ok=True)
        with open_npz(self._raw_object(object_id)) as raw, _written(grasps) as out:
            points = raw.array("points", np.float32, (3,))
            _require_points(points, raw.path)
            count = 0
            for part in _usable_of_object(raw, len(points), self._settings.max_friction):
                out.write(part.tobytes())
                count += len(part)
        with _written(self._objects / f"{name}.points.npy") as out:
            np.save(out, points)
        _commit(record, stamp, grasps, count)
        return f"grasps of object {name}: {count} usable"

    def _masks(self, files: SceneFiles) -> AbstractContextManager[NpzSlabs]:
        return open_npz(self._raw_masks(files), remedy=_FETCH_LABELS.format(archive="collision_label.zip"))

    def _is_compacted(self, files: SceneFiles, object_ids: list[int], stamps: Mapping[int, str]) -> bool:
        """Say whether a scene's grasps are there and fit the raw labels, or those are gone."""
        kept = _committed(*self._scene_files(files))
        if kept is not None and not self._raw_masks(files).exists():
            return True
        with self._masks(files) as masks:
            return kept == _scene_stamp(masks, object_ids, stamps)

    def _compact_scene(self, files: SceneFiles, object_ids: list[int], stamps: Mapping[int, str]) -> str:
        if self._is_compacted(files, object_ids, stamps):
            gone = "" if self._raw_masks(files).exists() else "; the raw ones are gone"
            return f"grasps of {files.name}: as they were{gone}"
        record, target = self._scene_files(files)
        with self._masks(files) as masks:
            stamp = _scene_stamp(masks, object_ids, stamps)
            record.unlink(missing_ok=True)
            parts = [self._best_of_object(masks, k, object_id) for k, object_id in enumerate(object_ids)]
        keys, rows = (np.concatenate(columns) for columns in zip(*parts, strict=True))
        best = first_of(keys, self._settings.max_grasps)
        with _written(target) as out:
            np.save(out, rows[best])
        _commit(record, stamp, target, len(best))
        return f"grasps of {files.name}: the best {len(best)} of its objects' best {len(rows)}"

    def _best_of_object(self, masks: NpzSlabs, position: int, object_id: int) -> tuple[Keys, Float32]:
        """Return keys and rows of the best grasps of one object of a scene that collide with nothing, best first."""
        most = self._settings.max_grasps
        usable = _mapped(self._objects / f"{object_id:03d}.grasps")
        points = load_npy(self._objects / f"{object_id:03d}.points.npy")
        label = np.ascontiguousarray(usable["label"])
        free = np.flatnonzero(_free(masks, f"arr_{position}", label, len(points)))
        salt = frame_words(self._settings.seed, f"graspnet/grasps/{object_id:03d}")[0]
        keys = order_keys(usable["friction"][free], label[free], salt)
        if self._settings.min_distance_m == 0:
            first = first_of(keys, most)
            return keys[first], _rows(usable[free[first]], points, object_id)
        order = np.argsort(keys)
        kept_keys, kept_rows = np.empty(0, np.uint64), np.empty((0, 17), np.float32)
        for start in range(0, len(order), SUPPRESSED_AT_ONCE):
            part = order[start : start + SUPPRESSED_AT_ONCE]
            all_keys = np.concatenate([kept_keys, keys[part]])
            all_rows = np.concatenate([kept_rows, _rows(usable[free[part]], points, object_id)])
            kept = suppress_neighbours(
                all_rows,
                distance_m=self._settings.min_distance_m,
                angle_deg=self._settings.min_angle_deg,
                most=most,
            )
            kept_keys, kept_rows = all_keys[kept], all_rows[kept]
            if len(kept) == most:
                break
        return kept_keys, kept_rows


def _scene_stamp(masks: NpzSlabs, object_ids: list[int], stamps: Mapping[int, str]) -> str:
    """Return what the raw labels of a scene are: its collisions, and the grasps of its objects."""
    return fingerprint_of([masks.stamp, [[object_id, stamps[object_id]] for object_id in object_ids]])


def _side_by_side(function: Callable[[Item], str], items: Sequence[Item]) -> Iterator[str]:
    """Yield the results in order; zlib, CRC and NumPy let go of the GIL, and a worker holds a slab of one file."""
    pool = ThreadPoolExecutor(min(MOST_WORKERS, len(os.sched_getaffinity(0))))
    try:
        yield from pool.map(function, items)
    finally:
        pool.shutdown(cancel_futures=True)


def _rows(chosen: Usable, points: Float32, object_id: int) -> Float32:
    label = chosen["label"]
    view = label // (NUM_ANGLES * NUM_DEPTHS) % NUM_VIEWS
    at = points[label // _GRASPS_PER_POINT]
    return grasp_rows(at, view, chosen["angle"], chosen["depth"], chosen["width"], chosen["friction"], object_id)


def _object_ids(files: SceneFiles) -> list[int]:
    ids = load_object_ids(files)
    if ids is None:
        raise MissingDataError(
            "the scene has no list of its objects, which orders its collision labels",
            where=files.scene / "object_id_list.txt",
            remedy="extract the archive of the scene again",
        )
    return ids


def _usable_of_object(raw: NpzSlabs, num_points: int, max_friction: float) -> Iterator[Usable]:
    """Yield the usable grasps of an object by number: ((point * 300 + view) * 12 + angle) * 4 + depth."""
    friction_slabs = raw.slabs("scores", np.float32, _PER_POINT, SLAB_POINTS)
    offset_slabs = raw.slabs("offsets", np.float32, (*_PER_POINT, 3), SLAB_POINTS)
    collision_slabs = raw.slabs("collision", np.bool_, _PER_POINT, SLAB_POINTS)
    seen = 0
    for friction, offsets, collides in zip(friction_slabs, offset_slabs, collision_slabs, strict=True):
        friction = friction.ravel()
        # A NaN anywhere makes the highest one NaN, which no comparison lets through.
        if not friction.max(initial=0) <= _HIGHEST_FRICTION:
            raise DecodeError(
                "the scores are not friction coefficients",
                where=raw.path,
                expected=f"-1, or 0 to {_HIGHEST_FRICTION:g}",
                found=friction.max(initial=0),
            )
        rows = np.flatnonzero((friction > 0) & (friction <= max_friction) & ~collides.ravel())
        chosen = offsets.reshape(-1, 3)[rows]
        if not np.isfinite(chosen).all():
            raise DecodeError("usable grasps have no number for angle, depth or width", where=raw.path)
        usable = np.empty(len(rows), _USABLE)
        usable["label"] = rows + seen * _GRASPS_PER_POINT
        usable["friction"] = friction[rows]
        usable["angle"], usable["depth"], usable["width"] = chosen.T
        seen += len(offsets)
        yield usable
    if seen != num_points:
        raise DecodeError("points and grasps differ in number", where=raw.path, expected=num_points, found=seen)


def _free(masks: NpzSlabs, name: str, label: npt.NDArray[np.uint32], num_points: int) -> npt.NDArray[np.bool_]:
    """Return which of an object's grasps, numbers ascending, collide with nothing in a scene."""
    free = np.empty(len(label), np.bool_)
    seen = 0
    for mask in masks.slabs(name, np.bool_, _PER_POINT, 4 * SLAB_POINTS):
        start = seen * _GRASPS_PER_POINT
        first, last = np.searchsorted(label, [start, start + mask.size])
        free[first:last] = ~mask.ravel()[label[first:last] - np.uint32(start)]
        seen += len(mask)
    if seen != num_points:
        raise DecodeError(
            f"the collision mask {name} is of another object, or of other grasp labels",
            where=masks.path,
            expected=f"{num_points} points",
            found=seen,
            remedy="fetch collision_label and grasp_label of the same release",
        )
    return free


def _require_points(points: Float32, path: Path) -> None:
    reach = float(np.abs(points).max(initial=0))
    if not reach <= _FARTHEST_POINT_M:
        raise DecodeError(
            "the grasp points are not in metres",
            where=path,
            expected=f"within {_FARTHEST_POINT_M:g} m of the object's origin",
            found=f"{reach:g}",
            remedy="GraspNet's points are in metres; were these converted to millimetres?",
        )
    if len(points) > np.iinfo(np.uint32).max // _GRASPS_PER_POINT:
        raise DecodeError("more grasps than can be numbered", where=path, found=f"{len(points)} points")


def _mapped(path: Path) -> Usable:
    # An empty file cannot be mapped.
    return np.memmap(path, _USABLE, "r") if path.stat().st_size else np.empty(0, _USABLE)


def _committed(record: Path, data: Path) -> str | None:
    """Return the stamp of what a finished file was made of; None when there is none, or not all of it."""
    try:
        value = json.loads(record.read_bytes())
        return str(value["stamp"]) if value["bytes"] == data.stat().st_size else None
    except (OSError, ValueError, KeyError, TypeError):
        return None


def _commit(record: Path, stamp: str, data: Path, rows: int) -> None:
    value = {"version": _VERSION, "stamp": stamp, "rows": rows, "bytes": data.stat().st_size}
    write_atomically(record, json.dumps(value).encode())


@contextmanager
def _written(path: Path) -> Iterator[BinaryIO]:
    """Yield a file that becomes ``path`` when the block ends well, and is gone when it does not."""
    temporary = temporary_beside(path)
    with storage_errors(path):
        try:
            with open(temporary, "xb") as file:
                yield file
                file.flush()
                os.fsync(file.fileno())
            os.replace(temporary, path)
        except BaseException:
            temporary.unlink(missing_ok=True)
            raise
        sync_directory(path.parent)
