"""The poses of the frames and their convention: by re-projection where intrinsics are known, by counts where not."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import Final, NamedTuple

import numpy as np
import numpy.typing as npt

from depthforge.errors import DepthforgeError
from depthforge.geometry import invert_pose
from depthforge.sources.proposing.depth_frames import DepthFrames
from depthforge.sources.proposing.described import FILL_IN, Described, number
from depthforge.sources.proposing.pose_files import PoseFile
from depthforge.sources.proposing.pose_trials import Runs, Tried, best_reading
from depthforge.sources.proposing.read_back import ReadBack
from depthforge.sources.proposing.scales import Scale
from depthforge.sources.templates import PathTemplate

__all__ = ["add_counted_poses", "add_tried_poses"]

Matrix = npt.NDArray[np.float64]

_ALONG_THE_RAY: Final = ("ray", "range", "distance", "euclid")
_SAME_MOTION: Final = 0.03


def add_tried_poses(
    found: Described, files: Sequence[PoseFile], frames: ReadBack, scale: Scale, hands: Mapping[str, Matrix]
) -> None:
    """Add the poses that move neighbouring frames into each other, in the simplest reading; or say why none does."""
    units = scale.units or (1.0,)
    tried = [
        (file.block, best_reading(file.block, frames.runs, units, hands, counts=file.may_be_off)) for file in files
    ]
    fitting = [each for _, each in tried if each.best is not None]
    if not fitting:
        for block, each in tried:
            if each.num_readings:
                found.unknown.append(
                    f"what the poses in {block['file']} mean: of {each.num_readings} readings none re-projects "
                    f"neighbouring frames into each other (at best off by {each.least:.1%}); left out"
                )
                break
        return
    least = min(each.least for each in fitting)
    chosen = next(each for each in fitting if each.best is not None and each.best.error <= 1.5 * least + 5e-4)
    others = [str(each.best.block["file"]) for each in fitting if each.best and each is not chosen]
    _take(found, chosen, units)
    found.say("pose", *(f"also poses that fit, not used: {other}" for other in dict.fromkeys(others)))


def _take(found: Described, chosen: Tried, units: Sequence[float]) -> None:
    best = chosen.best
    assert best is not None
    found.block["pose"] = best.block
    if best.unit != units[0]:
        found.block["depth_scale"] = number(best.unit)
        found.say("depth_scale", f"the poses decide: {best.unit:g} a metre")
    if best.is_still:
        found.say("pose", "the camera hardly moves between frames: any convention fits, this one is a guess")
        found.unknown.append("the convention of the poses: the camera hardly moves")
    else:
        if best.tells_unit:
            found.unknown = [line for line in found.unknown if not line.startswith("the unit of depth")]
        found.say(
            "pose",
            f"of {chosen.num_readings} readings (direction, axes, offset, units) this is the simplest that moves "
            f"neighbouring frames into each other: off by {best.error:.2%} of depth (median)",
        )
    named = any(word in str(found.block["depth"]).lower() for word in _ALONG_THE_RAY)
    if best.is_ray_length and not best.is_still:
        found.block["quantity"] = "ray_length"
        found.say("quantity", "along the ray: read as planar z, no pose re-projects as well")
    elif named and best.is_still:
        found.unknown.append("whether depth is planar z or along the ray (`quantity: ray_length`)")


class _Counted(NamedTuple):
    file: PoseFile
    runs: Runs
    share: float
    is_of_all: bool


def add_counted_poses(found: Described, files: Sequence[PoseFile], read_back: ReadBack, frames: DepthFrames) -> None:
    """Add the poses that most frames have, where no intrinsics tell their convention; several are to be chosen from."""
    read = [counted for file in files if (counted := _counted(read_back, file, frames)) is not None]
    if not read:
        return
    most = max((each.share, each.is_of_all) for each in read)
    best = [each for each in read if (each.share, each.is_of_all) == most]
    chosen = best[0]
    differing = [each for each in best[1:] if not _same_motion(chosen.runs, each.runs)]
    if not differing:
        found.block["pose"] = chosen.file.block
        found.say("pose", f"{chosen.share:.0%} of the frames looked at have one")
        found.say("pose", "camera to world and OpenCV axes are a guess: `check` tells once the intrinsics are known")
        found.say("pose", *(f"the same motion, not used: {each.file.block['file']}" for each in best[1:]))
        found.unknown.append("the convention of the poses: it shows by re-projection, which wants intrinsics")
        return
    found.block["pose"] = FILL_IN
    readings = [each.file.block for each in (chosen, *differing)]
    words = " or ".join("{" + ", ".join(f"{key}: {value}" for key, value in each.items()) + "}" for each in readings)
    found.say("pose", "several files have poses of these frames, which differ; or leave the field out")
    found.fill_in.append(f"which poses: source.pose, {words}")


def _counted(read_back: ReadBack, file: PoseFile, frames: DepthFrames) -> _Counted | None:
    try:
        runs = read_back.runs(file.block)
    except DepthforgeError:
        return None
    has = [frame.T_world_cam is not None for run in runs for frame in run]
    if not any(has):
        return None
    return _Counted(
        file, runs, sum(has) / len(has), file.num_poses is None or file.num_poses == _of_scene(file, frames)
    )


def _of_scene(file: PoseFile, frames: DepthFrames) -> int:
    """Return how many frames the scene has that a list of poses is of, of the first scene."""
    names = [name for name in PathTemplate(file.block["file"]).names if name in frames.names]
    first = min(frames.files)
    return sum(all(own[name] == frames.files[first][name] for name in names) for own in frames.files.values())


def _same_motion(runs: Runs, others: Runs) -> bool:
    """Return whether two lists move the camera alike from frame to frame: their worlds may differ."""
    pairs = [
        (invert_pose(b.T_world_cam) @ a.T_world_cam, invert_pose(d.T_world_cam) @ c.T_world_cam)
        for run, other in zip(runs, others, strict=False)
        for (a, b), (c, d) in zip(pairwise(run), pairwise(other), strict=False)
        if a.T_world_cam is not None
        and b.T_world_cam is not None
        and c.T_world_cam is not None
        and d.T_world_cam is not None
    ]
    return bool(pairs) and max(float(np.abs(one - two).max()) for one, two in pairs) < _SAME_MOTION
