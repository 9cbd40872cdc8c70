"""The clean truth of a real posed sequence: its frames fused to a mesh, and the mesh rendered back at every pose.

For scans that come with poses and without clean depth (7-Scenes, ScanNet, your own with SLAM): ``depth_m`` is the
rendering, ``depth_raw`` what the sensor measured in the same view, pixel for pixel, so a real scan becomes paired
data: for training what completes depth, for fitting a sensor, for judging one. With ``mesh: shipped`` the rendering is
of the data set's own mesh, as in DCL's evaluation on ScanNet. What is fused is what most frames
agree on; noise that all share, and what the sensor never sees (glass, black cloth), is missing from the truth too.
A frame whose pose does not fit shows as a residual, median |measured - rendered|, and is left out. Of simulated Kinect
frames, whose truth is known, measured depth is 9.7 mm from it (median, 120 views of a room at 1 cm) and fused depth 1.9
mm; of exact frames 0.1 mm. RedKitchen's residuals are 5.5 / 6.2 / 7.1 / 8.7 / 11.1 mm (5/25/50/75/95 % of 400 frames).
``prepare`` fuses once, 60 frames of 640x480 a second on two cores and then 12 a second for the residuals, into
``prepared``; a frame is read in 0.1 to 0.2 s on one core. Memory while fusing: ``max_memory_gb`` at most, where that
kitchen takes 0.2 GB, and 0.4 GB for Open3D and the mesh.
Used so in Jeon and Lee, "Reconstruction-based pairwise depth dataset for depth image enhancement", ECCV 2018.
"""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Iterator, Mapping
from itertools import groupby
from pathlib import Path
from types import MappingProxyType
from typing import Annotated, Any, ClassVar, Literal

import numpy as np
from pydantic import Field, WithJsonSchema, field_validator

from depthforge.durable import locked, storage_errors
from depthforge.errors import FrameError, InputError, MissingDataError
from depthforge.frame import Finding, Frame, FrameRef
from depthforge.geometry import encode_normals
from depthforge.identity import Identity, changed_fields, fingerprint_of
from depthforge.labels.catalogue import DEPTH_RAW, NORMALS, POSE
from depthforge.labels.spec import LabelSpec
from depthforge.manifest import PluginBlock
from depthforge.meshes import MeshScene, mesh_bytes
from depthforge.meshes.fusion import BYTES_PER_BLOCK
from depthforge.registry import sources
from depthforge.sources.base import Note, Preparation, Report, Source, SourceConfig, ignore_findings, say_nothing
from depthforge.sources.fused.scenes import (
    MESH_FILE,
    Fusion,
    SceneRecord,
    digest_of,
    fuse_scene,
    load_record,
    load_scene,
)
from depthforge.sources.resized import build_source

__all__ = ["Fused", "FusedConfig"]

_SCENES_KEPT = 2
_SOURCE_SCHEMA = {
    "$comment": "source",
    "type": "object",
    "required": ["name"],
    "properties": {"name": {"type": "string"}},
}
_LOCK = ".lock"
# Fields that decide which frames are kept, or how they are read, and not how a mesh looks.
_SHAPES_NO_MESH = frozenset({"of", "max_residual_m", "min_covered", "max_memory_gb", "resize", "reframe"})


class FusedConfig(SourceConfig):
    """The ``source`` block of a manifest that takes the fused truth of another source."""

    local_fields: ClassVar[frozenset[str]] = frozenset({"prepared", "trust"})

    of: Annotated[PluginBlock, WithJsonSchema(_SOURCE_SCHEMA)] = Field(
        description="the source of the real posed frames, as it would stand in `source`"
    )
    prepared: Path = Field(description="folder for the fused meshes; made by the first run, used by every later one")
    mesh: Literal["fused", "shipped"] = Field(
        default="fused",
        description="fuse the frames, or take the mesh that the data set ships (ScanNet: sceneXXXX_YY_vh_clean_2.ply)",
    )
    voxel_m: float = Field(default=0.01, gt=0, le=0.2, description="side of a voxel: detail against memory and noise")
    truncation_voxels: float = Field(default=4.0, ge=1, le=32, description="how far from a surface frames are fused")
    max_depth_m: float = Field(default=4.0, gt=0, description="farther measurements are too noisy to be fused")
    min_weight: float = Field(default=8.0, ge=1, description="frames that must have seen a point of the truth")
    every: int = Field(default=1, ge=1, description="fuse every n-th frame of a scene; all are rendered")
    max_frames: int | None = Field(default=None, ge=1, description="fuse at most so many of a scene, evenly spaced")
    max_residual_m: float = Field(
        default=0.012, gt=0, description="a frame with a larger median |measured - rendered| is left out"
    )
    min_covered: float = Field(
        default=0.25,
        ge=0,
        le=1,
        description="a frame of whose measured pixels the mesh shows a smaller share is left out",
    )
    max_memory_gb: float = Field(default=4.0, gt=0, description="for the voxels of a scene while it is fused")

    @field_validator("of", mode="before")
    @classmethod
    def _of_a_source(cls, value: Any) -> PluginBlock:
        try:
            return PluginBlock.parse(sources, value)
        except InputError as error:
            error.where = (error.where or "source").replace("source", "source.of", 1)
            raise

    @property
    def fusion(self) -> Fusion:
        """What decides how the meshes look."""
        return Fusion(
            voxel_m=self.voxel_m,
            truncation_voxels=self.truncation_voxels,
            max_depth_m=self.max_depth_m,
            min_weight=self.min_weight,
            every=self.every,
            max_frames=self.max_frames,
            max_blocks=max(1, int(self.max_memory_gb * 1e9) // BYTES_PER_BLOCK),
            is_shipped=self.mesh == "shipped",
        )


@sources.register("fused")
class Fused(Source):
    """The fused and rendered truth of another source, with what its sensor measured as ``depth_raw``.

    Keys, colour, poses and all other labels are those of the frames that were fused; normals are the mesh's.
    """

    Config = FusedConfig
    config: FusedConfig
    fused_version: ClassVar[int] = 1

    def __init__(self, config: SourceConfig) -> None:
        assert isinstance(config, FusedConfig)
        self.config = config
        inner = config.of.config
        assert isinstance(inner, SourceConfig)
        self._of = build_source(config.of.name, inner)
        self.licence = self._of.licence
        if POSE.name not in self._of.labels:
            raise InputError(
                "frames without poses cannot be fused",
                where="source.of",
                expected="a source with camera poses (T_world_cam)",
                found=f"{config.of.name} with {', '.join(sorted(self._of.labels)) or 'no label'}",
                remedy="state where its poses are; rgbd_folder: `pose`",
            )
        self._scenes: OrderedDict[str, MeshScene] = OrderedDict()
        self._lock = threading.Lock()

    @property
    def adapter_version(self) -> int:  # type: ignore[override]
        """Of this adapter and of the one that it reads through: either changes the frames."""
        return 1000 * self.fused_version + self._of.adapter_version

    @property
    def identity(self) -> Identity:
        """As of any source, with the identity of the one that it reads through."""
        fields = changed_fields(self.config, without=frozenset({"of"}))
        return Identity(self.name, self.fused_version, {**fields, "of": self._of.identity.to_json()})

    @property
    def typical_depth_m(self) -> tuple[float, float]:  # type: ignore[override]
        """Of the source that is fused."""
        return self._of.typical_depth_m

    @property
    def size(self) -> tuple[int, int]:
        """(height, width) of every frame, in pixels."""
        return self._of.size

    @property
    def labels(self) -> Mapping[str, LabelSpec]:
        """Those of the source that is fused, with ``normals`` and ``depth_raw``."""
        return MappingProxyType({**self._of.labels, NORMALS.name: NORMALS, DEPTH_RAW.name: DEPTH_RAW})

    def prepare(self, note: Note = say_nothing) -> None:
        """Fuse every scene that is not fused yet, or whose frames have changed; see the module."""
        self._of.prepare(note)
        for refs in self._by_world(self._of.frames()):
            if self._is_done(self._record(refs)):
                continue
            folder = self.folder_of(self._of.world_of(refs[0]))
            with storage_errors(folder):
                folder.mkdir(parents=True, exist_ok=True)
            # Another run may fuse the same: who comes second finds it done.
            with locked(folder / _LOCK):
                if not self._is_done(self._record(refs)):
                    note(f"fusing {self._of.world_of(refs[0])}: {len(refs)} frames, once")
                    record = fuse_scene(self._of, refs, self.config.fusion, folder)
                    note(f"fused: {record.num_triangles} triangles of {record.num_fused} frames")

    def to_prepare(self) -> Preparation | None:
        """Return which scenes are still to be fused, and how many frames they have."""
        sizes = [len(refs) for refs in self._by_world(self._of.candidates()) if not self._is_done(self._record(refs))]
        inner = self._of.to_prepare()
        if not sizes:
            return inner
        frames = f"{sum(sizes)} frames of {len(sizes)} {'scene' if len(sizes) == 1 else 'scenes'}"
        what = f"fuse {frames}" if self.config.mesh == "fused" else f"compare {frames} with the shipped mesh"
        task = f"{what}, kept in {self.config.prepared}"
        return Preparation(f"{inner.task}; then {task}" if inner is not None else task, drops_frames=True)

    def candidates(self, report: Report = ignore_findings) -> Iterator[FrameRef]:
        """Yield the frames that agree with the truth of their scene, and all of a scene that has none yet."""
        for refs in self._by_world(self._of.candidates(report)):
            record = self._record(refs)
            yield from self._kept(refs, record, report) if record is not None and self._is_done(record) else refs

    def frames(self, report: Report = ignore_findings) -> Iterator[FrameRef]:
        """Yield the frames that agree with the truth of their scene.

        Raises MissingDataError before ``prepare``, and when no scene could be fused.
        """
        failures, num_fused = [], 0
        for refs in self._by_world(self._of.frames(report)):
            record = self._record(refs)
            if record is None:
                raise MissingDataError(
                    "the scene has not been fused, or has other frames than when it was",
                    where=self.folder_of(self._of.world_of(refs[0])),
                    remedy="depthforge check MANIFEST, or synthesize, fuses it; in Python: source.prepare()",
                )
            if record.failure is not None:
                failures.append(record.failure)
            else:
                num_fused += 1
            yield from self._kept(refs, record, report)
        if not num_fused:
            raise MissingDataError(
                "no scene could be fused", where="source.of", found=failures[0] if failures else "no frame"
            )

    def read(self, ref: FrameRef, wanted: frozenset[str]) -> Frame:
        """Return the rendered frame; see ``Source.read``."""
        measured = self._of.read(ref, (wanted & self._of.labels.keys()) - {NORMALS.name} | {POSE.name})
        if measured.T_world_cam is None:
            raise FrameError("the pose of the frame has gone since it was fused", where=ref.key)
        hits = self._scene(self._of.world_of(ref)).cast(measured.T_world_cam, measured.camera, fronts_only=True)
        labels = dict(measured.labels)
        if NORMALS.name in wanted:
            labels[NORMALS.name] = encode_normals(hits.normals)
        if DEPTH_RAW.name in wanted:
            labels[DEPTH_RAW.name] = np.where(measured.valid, measured.depth_m, np.float32(np.nan))
        return Frame(
            key=ref.key,
            depth_m=hits.depth_m,
            valid=hits.valid,
            camera=measured.camera,
            rgb=measured.rgb,
            T_world_cam=measured.T_world_cam if POSE.name in wanted else None,
            labels=labels,
        )

    def world_of(self, ref: FrameRef) -> str:
        """Return the world of the frame that was fused."""
        return self._of.world_of(ref)

    def working_bytes(self) -> int:
        """Return what Open3D and the largest meshes that are kept take, over what the frames' own source needs."""
        folder = self.folder_of("")
        return self._of.working_bytes() + mesh_bytes(folder.rglob(MESH_FILE), _SCENES_KEPT)

    def close(self) -> None:
        """Forget the meshes and release the source that is fused."""
        with self._lock:
            self._scenes.clear()
        self._of.close()

    def _by_world(self, listed: Iterator[FrameRef]) -> Iterator[list[FrameRef]]:
        for _, refs in groupby(listed, self._of.world_of):
            yield list(refs)

    def _kept(self, refs: list[FrameRef], record: SceneRecord, report: Report) -> list[FrameRef]:
        """Return the frames of a scene that agree with its truth, none when it has none, and report on it."""
        if record.failure is not None:
            report(Finding("error", self._of.world_of(refs[0]), f"skipped: {record.failure}"))
            return []
        kept = [ref for ref in refs if self._fits(record, ref)]
        report(self._finding(refs, record, len(kept)))
        return kept

    def folder_of(self, world: str) -> Path:
        """Return the folder of a world: under what everything that shapes a mesh hashes to, so nothing is mixed."""
        made_from = {
            "of": self._of.identity.to_json(),
            "version": self.fused_version,
            "fusion": changed_fields(self.config, without=_SHAPES_NO_MESH),
        }
        return self.config.prepared.expanduser() / f"fused-{fingerprint_of(made_from)[:16]}" / world

    def _record(self, refs: list[FrameRef]) -> SceneRecord | None:
        """Return what is known of a scene, None when these frames were never fused."""
        record = load_record(self.folder_of(self._of.world_of(refs[0])))
        return record if record is not None and record.digest == digest_of(refs) else None

    def _is_done(self, record: SceneRecord | None) -> bool:
        """Say whether nothing else would come out: with more memory, or a mesh that was fetched, it might."""
        if record is None or record.failure is None:
            return record is not None
        return self.config.mesh == "fused" and record.max_blocks == self.config.fusion.max_blocks

    def _fits(self, record: SceneRecord, ref: FrameRef) -> bool:
        found = record.frames.get(ref.key)
        return (
            found is not None
            and found.residual_m <= self.config.max_residual_m
            and found.covered >= self.config.min_covered
        )

    def _finding(self, refs: list[FrameRef], record: SceneRecord, num_kept: int) -> Finding:
        """Say what was fused, how well frames agree, and how many are left out for which reason."""
        config = self.config
        over = sum(found.residual_m > config.max_residual_m for found in record.frames.values())
        uncovered = len(record.frames) - num_kept - over
        left_out = [
            f"{count} {reason}"
            for count, reason in (
                (over, f"over {1000 * config.max_residual_m:g} mm"),
                (uncovered, f"of which the mesh shows under {config.min_covered:.0%}"),
                (record.without_pose, "without a pose"),
                (len(record.unreadable), "unreadable"),
            )
            if count
        ]
        made = "from the shipped mesh" if config.mesh == "shipped" else f"fused from {record.num_fused} frames"
        quantiles = "/".join(f"{1000 * value:.1f}" for value in record.quantiles_m()) or "none"
        return Finding(
            "warning" if num_kept else "error",
            self._of.world_of(refs[0]),
            f"truth {made}, median |measured - truth| {quantiles} mm "
            f"(5/25/50/75/95 % of frames); {num_kept} of {len(refs)} frames kept"
            + (f", left out: {', '.join(left_out)}" if left_out else ""),
            None if num_kept else "are the poses camera-to-world and in metres? See max_residual_m and min_covered",
        )

    def _scene(self, world: str) -> MeshScene:
        with self._lock:
            if world not in self._scenes:
                self._scenes[world] = load_scene(self.folder_of(world))
            self._scenes.move_to_end(world)
            while len(self._scenes) > _SCENES_KEPT:
                self._scenes.popitem(last=False)
            return self._scenes[world]
