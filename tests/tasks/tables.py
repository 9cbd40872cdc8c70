"""Tables with a few objects as a source: depth, masks, poses, classes and rectangle grasps, for tests of tasks."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
from pydantic import Field

from depthforge.frame import Camera, Frame, FrameRef, Licence
from depthforge.labels.catalogue import INSTANCE, OBJECT_ID, OBJECT_POSE, RECT_GRASPS, SEMANTIC_NYU40
from depthforge.labels.spec import LabelSpec
from depthforge.manifest import Manifest
from depthforge.registry import sources
from depthforge.samples.grasp_labels import label_grasps, surface_points
from depthforge.scenes.raycast import cast
from depthforge.scenes.tabletop import build_tabletop, object_mesh, object_model
from depthforge.seeding import frame_generator
from depthforge.sources.base import Report, Source, SourceConfig, ignore_findings
from depthforge.sources.graspnet.grasps import grasp_rows, to_camera
from tests.stages.runs import run

_SPECS = (INSTANCE, OBJECT_ID, OBJECT_POSE, RECT_GRASPS, SEMANTIC_NYU40)
_LEAST_AHEAD = np.cos(np.deg2rad(35.0))


class TablesConfig(SourceConfig):
    """Which objects stand on how many tables, and from where they are seen."""

    models: tuple[int, ...] = Field(default=(0, 3), description="numbers of the catalogue")
    num_scenes: int = Field(default=4, description="tables")
    frames_per_scene: int = Field(default=4, description="views of each")
    width: int = Field(default=192, description="pixels")
    height: int = Field(default=144, description="pixels")
    focal_px: float = Field(default=220.0, description="pixels")
    first_scene: int = Field(default=0, description="another first, other tables")


@sources.register("tables")
class Tables(Source):
    """Keys are ``tables/table-0003/0007``."""

    Config = TablesConfig
    config: TablesConfig
    licence = Licence("Apache-2.0", non_commercial=False)

    def __init__(self, config: SourceConfig) -> None:
        assert isinstance(config, TablesConfig)
        self.config = config

    @property
    def size(self) -> tuple[int, int]:
        return self.config.height, self.config.width

    @property
    def labels(self) -> Mapping[str, LabelSpec]:
        return {spec.name: spec for spec in _SPECS}

    def frames(self, report: Report = ignore_findings) -> Iterator[FrameRef]:
        for scene in range(self.config.first_scene, self.config.first_scene + self.config.num_scenes):
            for frame in range(self.config.frames_per_scene):
                yield FrameRef(f"tables/table-{scene:04d}/{frame:04d}", f"{scene}/{frame}")

    def read(self, ref: FrameRef, wanted: frozenset[str]) -> Frame:
        config = self.config
        scene, number = map(int, ref.locator.split("/"))
        rng = frame_generator(scene, "tables", "table")
        table = build_tabletop(rng, models=config.models)
        pose = table.camera_poses(rng, config.frames_per_scene, (0.45, 0.6))[number]
        camera = Camera(
            config.focal_px, config.focal_px, config.width / 2, config.height / 2, config.width, config.height
        )
        hits = cast(table.scene, pose, camera)
        labels = table.labels(hits, pose, wanted)
        if OBJECT_ID.name in labels:
            models = [table.model_of[instance] for instance in labels[OBJECT_ID.name].tolist()]
            labels[OBJECT_ID.name] = np.array(models, np.uint32)
        if INSTANCE.name in labels:
            # As GraspNet numbers masks: the object's id plus 1.
            ids = np.zeros(table.instance.max() + 1, np.uint16)
            for instance, model in table.model_of.items():
                ids[instance] = model + 1
            labels[INSTANCE.name] = ids[table.instance[hits.shape]]
        if RECT_GRASPS.name in wanted:
            T_cam_object = [np.linalg.inv(pose) @ table.T_world_object[instance] for instance in table.model_of]
            rows = [to_camera(_grasps(m), T) for m, T in zip(table.model_of.values(), T_cam_object, strict=True)]
            labels[RECT_GRASPS.name] = _rectangles(np.concatenate(rows), camera)
        return Frame(ref.key, np.where(hits.valid, hits.depth_m, np.float32(0)), hits.valid, camera, labels=labels)


@lru_cache
def _grasps(model: int) -> np.ndarray:
    rng = frame_generator(0, f"tables/{model}", "grasp points")
    solids = [shape for shape, _ in object_model(model)]
    labels = label_grasps(*surface_points(object_mesh(model), solids, 30, rng), solids)
    at = np.nonzero((labels.scores > 0) & ~labels.collision)
    angle, depth, width = labels.offsets[at].T
    return grasp_rows(labels.points[at[0]], at[1], angle, depth, width, labels.scores[at], model)


def _rectangles(grasps: np.ndarray, camera: Camera) -> np.ndarray:
    ahead = grasps[(grasps[:, 10] > _LEAST_AHEAD) & (grasps[:, 15] > 0)].astype(np.float64)
    chosen = ahead[np.argsort(-ahead[:, 0], kind="stable")][:600]
    centre = chosen[:, 13:16]
    opened = centre + chosen[:, [5, 8, 11]] * chosen[:, 1:2] / 2
    at, to = ((p[:, :2] / p[:, 2:]) * camera.fx + (camera.cx, camera.cy) for p in (centre, opened))
    return np.hstack([at, to, chosen[:, 2:3] * camera.fx / centre[:, 2:], chosen[:, :1], chosen[:, 16:]]).astype("f4")


def corpus_of(out: Path, name: str = "tables", **source: Any) -> Path:
    """Convert the frames of a source as a noisy sensor would see them, and return where they are."""
    options: dict[str, Any] = {
        "name": "tiny",
        "source": {"name": name, **source},
        "translator": {"name": "simulation"},
        "corpus": {
            "out": str(out),
            "shard_frames": 16,
            "depth": {"dtype": "uint16", "scale_m": 0.0002, "max_depth_m": 12.0},
        },
    }
    run(Manifest.model_validate(options))
    return out
