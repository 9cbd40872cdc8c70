"""Frames as the proposed block reads them: what is proposed is tried on the data themselves."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from depthforge.frame import Finding, Frame
from depthforge.sources.base import Source
from depthforge.sources.proposing.described import FILL_IN
from depthforge.sources.proposing.pose_trials import Runs
from depthforge.sources.resized import build_source
from depthforge.sources.rgbd_config import RgbdFolderConfig
from depthforge.sources.soundness import RunSampler, require_sound

__all__ = ["runs_of", "source_of"]

_STANDS_FOR: Final[Mapping[str, float]] = {"assume_max_depth_m": 10.0, "depth_scale": 1.0}
_COMPANIONS: Final = ("rgb", "instance", "semantic", "mask", "normals")
_BY_IMAGE: Final = ("colmap", "nerfstudio", "transforms_json")
_RUNS: Final = 4


def source_of(block: Mapping[str, Any], extra: Mapping[str, Any]) -> Source:
    """Return the source of a block with ``extra`` fields; any number stands where one has to be filled in."""
    fields = {name: value for name, value in {**block, **extra}.items() if value != FILL_IN or name in _STANDS_FOR}
    fields |= {name: value for name, value in _STANDS_FOR.items() if fields.get(name) == FILL_IN}
    name = fields.pop("name")
    return build_source(name, RgbdFolderConfig.model_validate(fields))


def runs_of(block: Mapping[str, Any], extra: Mapping[str, Any]) -> Runs:
    """Return a few runs of consecutive frames, with poses where ``extra`` has them; raises what the source does.

    Colour and ids are left out, whose files would be looked for, but where poses are told by the names of images.
    """
    named = "pose" in extra and extra["pose"].get("format") in _BY_IMAGE
    source = source_of({name: value for name, value in block.items() if named or name not in _COMPANIONS}, extra)
    sampler = RunSampler()
    findings: list[Finding] = []
    for _ in sampler.watch(source.frames(findings.append)):
        pass
    wanted = frozenset({"T_world_cam"} if "pose" in extra else ())
    runs = []
    for refs in sampler.runs[:_RUNS]:
        run: list[Frame] = []
        for ref in refs:
            frame = require_sound(source.read(ref, wanted))
            if run and frame.key.rpartition("/")[0] != run[0].key.rpartition("/")[0]:
                break
            run.append(frame)
        runs.append(run)
    source.close()
    return runs
