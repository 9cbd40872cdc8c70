"""Consecutive frames of a posed recording, real above simulated: what stays from frame to frame, and what flickers.

python -m benchmarks.draw_strip --recording redkitchen_kinect --sensor kinect_v1 --out FILE.png
    [--frames 10] [--first 0.5] [--step 1] [--set patch_persistence=0.9 ...] [--json]

A recording (``benchmarks/recordings.py``) is fused, and its truth rendered at the poses
of ``--frames`` frames that follow each other, each ``--step``-th, from the share ``--first`` of the recording on. The
figures are those of ``evaluate`` between frames, of the real sensor and of the simulated one, and the overlap of the
holes of both. Depth is drawn in colour, holes where there is truth white, what has no truth black.
"""

from __future__ import annotations

import argparse
import itertools
import math
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import cv2
import numpy as np
import numpy.typing as npt

from benchmarks.recordings import RECORDINGS, Trained, fused, sensor_for, view_of
from benchmarks.timing import print_json, print_table
from depthforge.frame import Frame, NoisyDepth
from depthforge.realism.same_view import between_frames, hole_places, pattern
from depthforge.realism.same_view.truth import Truth, inverse_depth, truth_of
from depthforge.realism.same_view.views import Measured, SameView
from depthforge.seeding import frame_words
from depthforge.sensors.base import Sensor
from depthforge.sensors.preset import parse_sensor
from depthforge.yaml_files import parse_yaml


class Step(NamedTuple):
    """One frame of a strip: its truth, what the real sensor measured, and what the simulated one makes of the truth."""

    frame: Frame
    real: Measured
    simulated: NoisyDepth


def steps_of(name: str, sensor: Sensor | Trained, folder: Path, *, first: float, count: int, step: int) -> list[Step]:
    """Fuse a recording and measure ``count`` of its frames, from a share of it on, each ``step``-th."""
    source, refs = fused(name, folder)
    start = int(first * len(refs))
    found = []
    for ref in refs[start : start + count * step : step]:
        frame, real_m = view_of(source, ref)
        measured = sensor.measure(frame, frame_words(0, frame.key, "strip"))
        found.append(Step(frame, Measured(real_m, real_m > 0), measured))
    return found


def figures_of(steps: Sequence[Step]) -> dict[str, dict[str, float]]:
    """Return the figures between frames of the real and of the simulated side, by side and id, and the holes' IoU."""
    truths = [_truth(step) for step in steps]
    pairs: dict[str, list[between_frames.PairErrors]] = {"real": [], "simulated": []}
    for (before, was), (now, truth) in itertools.pairwise(zip(steps, truths, strict=True)):
        first, second = before.frame.T_world_cam, now.frame.T_world_cam
        if first is None or second is None:
            continue
        points = between_frames.correspondence(was, first, truth, second)
        if points is None:
            continue
        for side, one, other in (
            ("real", before.real, now.real),
            ("simulated", Measured(*before.simulated), Measured(*now.simulated)),
        ):
            errors = [pattern.inverse_error(t, inverse_depth(m)) for t, m in ((was, one), (truth, other))]
            pairs[side].append(between_frames.measure_pair(points, truth, one.valid, other.valid, *errors))
    found = {side: between_frames.summarise(measured) for side, measured in pairs.items()}
    overlaps = [hole_places.measure_overlap(s.frame.valid, s.real.valid, s.simulated.valid) for s in steps]
    found["simulated"]["hole_iou"] = hole_places.summarise(overlaps)["hole_iou"]
    found["real"]["hole_iou"] = math.nan
    return found


def picture(steps: Sequence[Step], *, width_px: int = 256) -> npt.NDArray[np.uint8]:
    """Return the strip (H, W, 3) uint8 BGR: a column a frame, colour if there is any, real depth, simulated depth."""
    far_m = max(float(np.quantile(step.frame.depth_m[step.frame.valid], 0.98)) for step in steps)
    columns = []
    for step in steps:
        images = [
            _drawn(measured.depth_m, measured.valid, step.frame, far_m) for measured in (step.real, step.simulated)
        ]
        if step.frame.rgb is not None:
            images.insert(0, np.ascontiguousarray(step.frame.rgb[..., ::-1]))
        height_px = round(width_px * step.frame.camera.height / step.frame.camera.width)
        columns.append(
            np.vstack([cv2.resize(image, (width_px, height_px), interpolation=cv2.INTER_AREA) for image in images])
        )
    return np.asarray(np.hstack(columns), np.uint8)


def main() -> None:
    """Print the figures and write the picture."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n", 1)[0])
    parser.add_argument("--recording", choices=list(RECORDINGS), default="redkitchen_kinect")
    parser.add_argument("--sensor", default="kinect_v1", help="a preset, its file, or the manifest of a training")
    parser.add_argument("--set", nargs="*", default=[], metavar="FIELD=VALUE", help="parameters over the preset's")
    parser.add_argument("--frames", type=int, default=10)
    parser.add_argument("--first", type=float, default=0.5)
    parser.add_argument("--step", type=int, default=1)
    parser.add_argument("--prepared", type=Path, help="where fused meshes are kept for the next run")
    parser.add_argument("--out", type=Path, help="the picture to write, a .png")
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    changes = {
        name: parse_yaml(value, where=name).value for name, value in (each.split("=", 1) for each in options.set)
    }
    sensor = (
        parse_sensor({"preset": options.sensor, **changes})
        if changes
        else sensor_for(options.sensor, RECORDINGS[options.recording])
    )
    with tempfile.TemporaryDirectory(prefix="depthforge-strip-") as folder:
        where = options.prepared or Path(folder)
        steps = steps_of(options.recording, sensor, where, first=options.first, count=options.frames, step=options.step)
    found = figures_of(steps)
    if options.json:
        print_json({"recording": options.recording, "figures": found})
    else:
        rows = [[name, *(f"{found[side][name]:.3g}" for side in found)] for name in found["simulated"]]
        print_table(f"{options.recording}, {len(steps)} frames, {options.sensor}", rows, ["figure", *found])
    if options.out is not None and not cv2.imwrite(str(options.out), picture(steps)):
        raise SystemExit(f"cannot write {options.out}")


def _truth(step: Step) -> Truth:
    frame = step.frame
    truth = Measured(frame.depth_m, frame.valid)
    return truth_of(SameView(frame.key, frame.camera, truth, step.real, {}, frame.T_world_cam), None)


def _drawn(depth_m: npt.NDArray[np.float32], valid: npt.NDArray[np.bool_], frame: Frame, far_m: float) -> Any:
    image = cv2.applyColorMap((255 * np.clip(depth_m / far_m, 0, 1)).astype(np.uint8), cv2.COLORMAP_TURBO)
    image[~valid] = 255
    image[~frame.valid] = 0
    return image


if __name__ == "__main__":
    main()
