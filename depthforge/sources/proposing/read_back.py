"""Frames as the proposed block reads them: what is proposed is tried on the data themselves."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any, Final

from depthforge.frame import Finding, Frame
from depthforge.sources.base import Source
from depthforge.sources.companions import Companions, Listings
from depthforge.sources.described_poses import DescribedPoses
from depthforge.sources.file_tree import Tree
from depthforge.sources.proposing.described import FILL_IN
from depthforge.sources.proposing.pose_trials import Runs
from depthforge.sources.resized import build_source
from depthforge.sources.rgbd_blocks import PoseBlock
from depthforge.sources.rgbd_config import RgbdFolderConfig
from depthforge.sources.soundness import RunSampler, require_sound
from depthforge.sources.templates import PathTemplate

__all__ = ["ReadBack", "source_of"]

_STANDS_FOR: Final[Mapping[str, float]] = {"assume_max_depth_m": 10.0, "depth_scale": 1.0}
_NOT_LOOKED_FOR: Final = ("rgb", "instance", "semantic", "mask", "normals", "pose")
_BY_IMAGE: Final = ("colmap", "nerfstudio", "transforms_json")
_RUNS: Final = 4


def source_of(block: Mapping[str, Any], extra: Mapping[str, Any]) -> Source:
    """Return the source of a block with ``extra`` fields; any number stands where one has to be filled in."""
    fields = {name: value for name, value in {**block, **extra}.items() if value != FILL_IN or name in _STANDS_FOR}
    fields |= {name: value for name, value in _STANDS_FOR.items() if fields.get(name) == FILL_IN}
    name = fields.pop("name")
    return build_source(name, RgbdFolderConfig.model_validate(fields))


class ReadBack:
    """A few runs of consecutive frames of a block, listed and decoded once, with whatever poses are tried on them."""

    def __init__(self, tree: Tree, block: Mapping[str, Any]) -> None:
        self._listings = Listings(tree)
        self._template = PathTemplate(block["depth"])
        rgb = block.get("rgb", ())
        self._rgb = Companions([rgb] if isinstance(rgb, str) else list(rgb)) if rgb else None
        self._runs = _read({name: value for name, value in block.items() if name not in _NOT_LOOKED_FOR})

    def runs(self, pose: Mapping[str, Any]) -> Runs:
        """Return the runs with the poses that a ``pose`` block reads, where it has some; raises what reading does."""
        by_image = pose.get("format") in _BY_IMAGE
        poses = DescribedPoses(PoseBlock.model_validate(pose), self._listings, self._frames_of)
        return [
            [
                replace(frame, T_world_cam=poses.read(fields, self._files(path, fields, by_image)))
                for path, fields, frame in run
            ]
            for run in ([(path, self._fields(path), frame) for path, frame in run] for run in self._runs)
        ]

    def _fields(self, path: str) -> dict[str, str]:
        return {"scene": "all", **self._template.fields(path)}

    def _files(self, depth: str, fields: Mapping[str, str], by_image: bool) -> tuple[str, ...]:
        rgb = None if self._rgb is None or not by_image else self._rgb.path(fields, self._listings)
        return (depth,) if rgb is None else (rgb, depth)

    def _frames_of(self, fields: Mapping[str, str]) -> list[tuple[str, str]]:
        return sorted((path, own["frame"]) for path, own in self._template.frames_of(self._listings.tree, fields))


def _read(block: Mapping[str, Any]) -> list[list[tuple[str, Frame]]]:
    """Return runs of (path of depth, frame) of one scene each; raises what the source does."""
    source = source_of(block, {})
    sampler = RunSampler()
    findings: list[Finding] = []
    for _ in sampler.watch(source.frames(findings.append)):
        pass
    runs = []
    for refs in sampler.runs[:_RUNS]:
        run = [ref for ref in refs if ref.scene == refs[0].scene]
        runs.append([(ref.locator, require_sound(source.read(ref, frozenset()))) for ref in run])
    source.close()
    return runs
