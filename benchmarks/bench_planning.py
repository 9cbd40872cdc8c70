"""Listing and planning a tree of many frames: seconds, peak memory, growth, and what all of InteriorNet takes.

python -m benchmarks.bench_planning [--frames 200000] [--json] [--save]

The tree is InteriorNet's own layout with empty files (HD1-6 trajectories of 1000 frames: depth, colour and three label
files each). What is timed is the whole process of `depthforge convert --dry-run`, imports included; bars: 60 s and
500 MB for 200,000 frames.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path

from benchmarks.results import Figure, add_result_options, save_run
from benchmarks.timing import machine, print_json, print_table

INTERIORNET_FRAMES = 20_000_000
BAR_FRAMES = 200_000
BAR_S = 60.0
BAR_MB = 500.0
CHILD = """
import json, resource, sys, time
start = time.perf_counter()
from depthforge.manifest import parse_manifest
from depthforge.stages.estimate import estimate
from depthforge.stages.prepare import prepare
manifest = parse_manifest(json.loads(sys.argv[1]), where="benchmark")
with prepare(manifest) as prepared:
    cost = estimate(prepared, num_workers=2)
print(json.dumps({
    "frames": cost.num_frames, "shards": cost.num_shards, "seconds": time.perf_counter() - start,
    "peak_mb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024,
}))
"""


def make_tree(root: Path, num_frames: int) -> None:
    """Write an InteriorNet HD1 tree of ``num_frames`` empty frames in trajectories of 1000."""
    poses = "\n".join(["#"] * 6 + ["600 320 240 0 0 0 1 0 0 0 0 0 1 640 480"] * 1000) + "\n"
    for sequence in range(num_frames // 1000):
        scene = f"3FO{sequence // 3:010d}"
        name = (1, 3, 7)[sequence % 3]
        base = root / "HD1" / scene / f"original_{name}_{name}"
        for folder in ("depth0/data", "cam0/data", "label0/data"):
            (base / folder).mkdir(parents=True)
        for index in range(1000):
            stamp = f"{(index + 1) * 40_000_000:019d}"
            (base / "depth0/data" / f"{stamp}.png").touch()
            (base / "cam0/data" / f"{stamp}.png").touch()
            for suffix in ("instance", "nyu", "nyu_mask"):
                (base / "label0/data" / f"{stamp}_{suffix}.png").touch()
        truth = root / "GroundTruth_HD1-HD6" / scene / f"velocity_angular_{name}_{name}"
        truth.mkdir(parents=True)
        (truth / "cam0.ccam").write_text(poses)


def plan(root: Path, frames: int) -> dict[str, float]:
    """Plan the first ``frames`` frames in a fresh process; return its own figures."""
    manifest = {
        "name": "planning",
        "source": {"name": "interiornet", "root": str(root)},
        "translator": {"name": "identity"},
        "limit": frames,
        "corpus": {"out": "unused"},
    }
    done = subprocess.run(
        [sys.executable, "-c", CHILD, json.dumps(manifest)], capture_output=True, text=True, check=True
    )
    figures: dict[str, float] = json.loads(done.stdout)
    return figures


def figures(longest: Mapping[str, float], per_frame_s: float) -> list[Figure]:
    """Return what the page shows of the longest run; the bars are for so many frames, and no fewer."""
    full = longest["frames"] >= BAR_FRAMES
    bar_s, bar_mb = (BAR_S, BAR_MB) if full else (None, None)
    data = f"{longest['frames']:,} frames in InteriorNet's layout, 5 files each"
    return [
        Figure(name="planning", value=longest["seconds"], unit="s", better="lower", bar=bar_s, data=data),
        Figure(name="peak memory", value=longest["peak_mb"], unit="MB", better="lower", bar=bar_mb, data=data),
        Figure(name="a frame, beyond start-up", value=per_frame_s * 1e6, unit="us", better="lower", data=data),
    ]


def main() -> None:
    """Make the tree, plan a quarter, a half and all of it, print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--frames", type=int, default=BAR_FRAMES)
    add_result_options(parser)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="depthforge-bench-") as folder:
        start = time.perf_counter()
        make_tree(Path(folder), options.frames)
        made = time.perf_counter() - start
        runs = [plan(Path(folder), options.frames // part) for part in (4, 2, 1)]
    per_frame = (runs[-1]["seconds"] - runs[0]["seconds"]) / (runs[-1]["frames"] - runs[0]["frames"])
    growth_mb = (runs[-1]["peak_mb"] - runs[0]["peak_mb"]) / (runs[-1]["frames"] - runs[0]["frames"])
    whole = {
        "frames": INTERIORNET_FRAMES,
        "hours": INTERIORNET_FRAMES * per_frame / 3600,
        "peak_mb": runs[-1]["peak_mb"] + INTERIORNET_FRAMES * max(growth_mb, 0.0),
    }
    found = {"runs": runs, "microseconds_per_frame": per_frame * 1e6, "all_of_interiornet": whole}
    if options.save:
        save_run("bench_planning", found, figures(runs[-1], per_frame), note=options.note)
    if options.json:
        print_json(found)
        return
    print(f"{machine()}; tree of {options.frames} frames, 5 files each, made in {made:.0f} s")
    rows = [[f"{run['frames']:,}", f"{run['seconds']:.1f}", f"{run['peak_mb']:.0f}"] for run in runs]
    rows.append([f"{whole['frames']:,} (extrapolated)", f"{whole['hours'] * 3600:.0f}", f"{whole['peak_mb']:.0f}"])
    print_table("Listing and planning", rows, ["frames", "seconds", "peak MB"])
    print(f"\n  {per_frame * 1e6:.1f} us a frame beyond start-up; bars for {BAR_FRAMES:,}: {BAR_S:g} s, {BAR_MB:g} MB")


if __name__ == "__main__":
    main()
