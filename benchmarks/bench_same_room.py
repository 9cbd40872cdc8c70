"""Real stereo scans against what each sensor makes of the same room: the room's fused truth, and the same cameras.

python -m benchmarks.bench_same_room [--recording table_d435i|lab_d4xx|all] [--frames 6] [--half 2] [--json] [--save]

Each recording (data/real beside the checkout, or under DEPTHFORGE_SHARED) is fused, and its truth rendered at its own
poses; pixels without truth are left out on both sides. Beside the real scans stand no simulation, the drawn and the
matched presets, and the real scans of the other half of the frames ("floor"). The matched presets d435i (table_d435i)
and d435 (lab_d4xx) were fitted to first halves: ``--half 2`` judges on frames they have not seen, and the other
recording's preset is one fitted elsewhere. Bars: AUC of patches 0.65 by the preset of the recording's own first half,
0.75 by another; correlation and roughness within 20 % of real.
"""

from __future__ import annotations

import argparse
import math
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final, NamedTuple

import numpy as np

from benchmarks.results import Figure, add_result_options, save_run
from benchmarks.timing import print_json, print_table, shared_folder
from depthforge.frame import Camera, DepthImage, Frame
from depthforge.manifest import PluginBlock
from depthforge.realism.compare import HELD_OUT, compare
from depthforge.realism.describe import Description, describe
from depthforge.realism.views import DepthView
from depthforge.registry import sources
from depthforge.seeding import frame_words
from depthforge.sensors.base import Sensor
from depthforge.sensors.preset import parse_sensor
from depthforge.sources.resized import build_source

REAL: Final = "real"


class Recording(NamedTuple):
    """A recording as a source block, the size of its voxels and the largest residual of a frame that is kept, metres;
    ``options`` are those of matched presets for its frames, ``own`` the preset that was fitted to its first half."""

    block: dict[str, Any]
    voxel_m: float
    max_residual_m: float
    options: dict[str, Any]
    own: str


RECORDINGS: Final = {
    "table_d435i": Recording(
        {
            "depth": "images_depths/{frame}.png",
            "rgb": "images_depths/{frame}.jpg",
            "depth_scale": 1000,
            "max_depth_m": 3.0,
            "camera": {"matrix_file": "config/intrinsics_matrix.npy"},
            "pose": {"file": "T_data/T_base2ee0{frame}.npz", "offset": -1, "T_hand_cam": "hand_eye.txt"},
        },
        0.003,
        0.006,
        {"blank_band": False, "focal_length_px": 641.0, "aligned_offset_m": 0.015},
        "d435i",
    ),
    "lab_d4xx": Recording(
        {
            "depth": "depth/{frame}.png",
            "depth_scale": 1000,
            "invalid": [0, 65535],
            "max_depth_m": 10,
            "camera": {"width": 640, "height": 480, "fx": 383, "fy": 383, "cx": 320, "cy": 238},
            "pose": {"file": "poses/{frame}.txt"},
        },
        0.015,
        0.02,
        {"focal_length_px": 383.0},
        "d435",
    ),
}
PRESETS: Final = ("d435_drawn", "d435", "d435i")


class Pair(NamedTuple):
    """The fused truth of one view as a frame, and what the real camera measured where there is truth; 0 is nothing."""

    clean: Frame
    measured_m: DepthImage


def pairs_of(name: str, recording: Recording, folder: Path, half: int, count: int) -> list[Pair]:
    """Fuse a recording and return ``count`` evenly spaced pairs of one half of its frames."""
    root = shared_folder("data", "real", name)
    if root is None:
        raise SystemExit(f"no recording {name}: ../shared/data/real or DEPTHFORGE_SHARED")
    block = {
        "name": "fused",
        "prepared": str(folder / name),
        "voxel_m": recording.voxel_m,
        "max_residual_m": recording.max_residual_m,
        "of": {"name": "rgbd_folder", "root": str(root), "dataset": name, **recording.block},
    }
    source = build_source("fused", PluginBlock.parse(sources, block).config)
    source.prepare()
    refs = list(source.frames())
    middle = len(refs) // 2
    refs = refs[:middle] if half == 1 else refs[middle:]
    chosen = [refs[number * len(refs) // min(count, len(refs))] for number in range(min(count, len(refs)))]
    pairs = []
    for ref in chosen:
        frame = source.read(ref, frozenset({"rgb", "depth_raw"}))
        raw_m = np.nan_to_num(frame.labels["depth_raw"].reshape(frame.camera.size).astype(np.float32))
        pairs.append(Pair(frame, np.where(frame.valid, raw_m, np.float32(0))))
    return pairs


def view(depth_m: DepthImage, camera: Camera, clean: Frame | None = None) -> DepthView:
    """Return what ``describe`` measures; depth 0 is no measurement."""
    return DepthView(depth_m, depth_m > 0, camera, None if clean is None else (clean.depth_m, clean.valid))


def simulated(sensor: Sensor, pair: Pair) -> DepthImage:
    """Return what a sensor makes of the truth, in whole millimetres as the recordings are."""
    measured = sensor.measure(pair.clean, frame_words(0, pair.clean.key, "same room"))
    return (np.rint(measured.depth_m * 1000) / 1000).astype(np.float32)


def hole_iou(pairs: Sequence[Pair], made: Sequence[DepthImage]) -> float:
    """Return the intersection over union of real and simulated holes where truth exists, mean over frames."""
    shares = []
    for pair, depth_m in zip(pairs, made, strict=True):
        real, ours = ((each == 0) & pair.clean.valid for each in (pair.measured_m, depth_m))
        union = int((real | ours).sum())
        shares.append(int((real & ours).sum()) / union if union else math.nan)
    return float(np.nanmean(shares))


def row_of(name: str, found: Description, auc: float | None, iou: float | None, ms: float | None) -> dict[str, Any]:
    """Return the few figures of one side."""
    along_x, along_y = found.correlation_length_px
    return {
        "sensor": name,
        "patches AUC": auc,
        "correlation x px": along_x,
        "correlation y px": along_y,
        "roughness deg": float(np.median(found.roughness_deg)),
        "IoU of holes": iou,
        "ms": ms,
    }


def auc_of(described: Description, real: Description) -> tuple[float, float | None]:
    """Return how well patches are told from real ones, and the same of the halves of the real ones."""
    compared = compare({"set": described}, real)
    auc = compared.value("patches told apart, AUC", "set")
    return (math.nan if auc is None else auc), compared.value("patches told apart, AUC", HELD_OUT)


def measure(name: str, half: int, count: int, folder: Path) -> list[dict[str, Any]]:
    """Return a row for the real scans, for no simulation and for each sensor."""
    recording = RECORDINGS[name]
    pairs = pairs_of(name, recording, folder, half, count)
    real = describe((view(pair.measured_m, pair.clean.camera) for pair in pairs), name=REAL)
    rows = []
    floor: float | None = None
    for sensor_name in ("none", *PRESETS):
        made, seconds = [pair.clean.depth_m * pair.clean.valid for pair in pairs], 0.0
        if sensor_name != "none":
            options = recording.options if "drawn" not in sensor_name else {}
            sensor = parse_sensor({"preset": sensor_name, "blank_band": name != "table_d435i", **options})
            simulated(sensor, pairs[0])
            start = time.process_time()
            made = [simulated(sensor, pair) for pair in pairs]
            seconds = time.process_time() - start
        views = [view(depth_m, pair.clean.camera, pair.clean) for depth_m, pair in zip(made, pairs, strict=True)]
        found = describe(views, name=sensor_name)
        auc, floor = auc_of(found, real)
        own = " (its first half)" if sensor_name == recording.own else ""
        rows.append(row_of(sensor_name + own, found, auc, hole_iou(pairs, made), 1000 * seconds / len(pairs) or None))
    return [row_of(f"{REAL} (AUC: its halves)", real, floor, None, None), *rows]


def figures(name: str, rows: Sequence[dict[str, Any]]) -> list[Figure]:
    """Return what stands on the page: AUC, correlation and roughness of the matched presets."""
    real, data = rows[0], f"{name}, second half of its frames"
    out = []
    for row in rows[1:]:
        preset = row["sensor"].split()[0]
        bar = None if preset not in ("d435", "d435i") else 0.65 if preset == RECORDINGS[name].own else 0.75
        auc = row["patches AUC"]
        title = f"patches told from real ones, {preset}"
        out.append(Figure(name=title, value=auc, unit="AUC", better="lower", data=data, bar=bar))
        for key in ("correlation x px", "roughness deg"):
            kind, unit = key.rsplit(" ", 1)
            out.append(
                Figure(
                    name=f"{kind}, {preset}",
                    value=row[key],
                    unit=unit,
                    better="equal",
                    peer="the real camera",
                    peer_value=real[key],
                    data=data,
                )
            )
    return out


def shown(value: str | float | None) -> str:
    """Return a cell of the table."""
    return value if isinstance(value, str) else "-" if value is None else f"{value:.3g}"


def main() -> None:
    """Print a table for each recording."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n", 1)[0])
    parser.add_argument("--recording", choices=[*RECORDINGS, "all"], default="all")
    parser.add_argument("--frames", type=int, default=6)
    parser.add_argument("--half", type=int, choices=(1, 2), default=2)
    add_result_options(parser)
    options = parser.parse_args()
    names = list(RECORDINGS) if options.recording == "all" else [options.recording]
    with tempfile.TemporaryDirectory(prefix="depthforge-bench-") as folder:
        tables = {name: measure(name, options.half, options.frames, Path(folder)) for name in names}
    if options.json:
        print_json({"half": options.half, "recordings": tables})
    for name, rows in tables.items():
        if not options.json:
            cells = [[shown(value) for value in row.values()] for row in rows]
            print_table(f"{name}, half {options.half}, {options.frames} frames", cells, list(rows[0]))
        if options.save:
            save_run("bench_same_room", {"rows": rows}, figures(name, rows), part=name)


if __name__ == "__main__":
    main()
