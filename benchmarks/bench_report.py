"""A report of a large corpus: seconds, peak memory and size of the page, against its bounds.

python -m benchmarks.bench_report [--frames 10000] [--width 64] [--height 48] [--json] [--save]

Data: procedural rooms through the simulated Kinect, converted in one process into shards of 256 (not timed). Each
figure is that of a fresh process, from the start of `depthforge report` to its end, imports included; the same page of
a corpus of a hundredth of the frames beside it, since what is read should hardly grow. Bars: 10 000 frames in 180 s and
20 MB.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

from benchmarks.results import Figure, add_result_options, save_run
from benchmarks.timing import machine, print_json, print_table
from depthforge.manifest import parse_manifest
from depthforge.stages.convert import convert
from depthforge.stages.prepare import prepare

BAR_FRAMES, BAR_S, BAR_MB = 10_000, 180.0, 20.0
FEWER = 100
FRAMES_PER_SCENE = 50
CHILD = """
import json, resource, sys, time
start = time.perf_counter()
from depthforge.cli.main import main
try:
    main(["report", sys.argv[1], "--json"])
except SystemExit as ended:
    assert not ended.code, ended.code
seconds = time.perf_counter() - start
print(json.dumps({"seconds": seconds, "peak_mb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024}),
      file=sys.stderr)
"""


def make_corpus(root: Path, num_frames: int, width: int, height: int) -> None:
    """Convert procedural rooms of so many frames, in this process."""
    manifest = parse_manifest(
        {
            "name": "report",
            "source": {
                "name": "procedural",
                "num_scenes": -(-num_frames // FRAMES_PER_SCENE),
                "frames_per_scene": FRAMES_PER_SCENE,
                "width": width,
                "height": height,
                "focal_px": 0.9 * width,
            },
            "translator": {"name": "simulation", "min_kept": 0},
            "splits": {"train": 0.9, "val": 0.1},
            "limit": num_frames,
            "corpus": {"out": str(root), "shard_frames": 256},
        },
        where="benchmark",
    )
    with prepare(manifest) as prepared:
        convert(prepared, out=manifest.corpus.out, num_workers=1, inline=True)


def measure(root: Path) -> dict[str, Any]:
    """Return what a fresh `depthforge report` takes, and what its page weighs."""
    done = subprocess.run([sys.executable, "-c", CHILD, str(root)], capture_output=True, text=True, check=True)
    page, took = json.loads(done.stdout), json.loads(done.stderr.splitlines()[-1])
    return {**took, "page_mb": page["bytes"] / 1e6, "shown": len(page["frames"])}


def figures(found: dict[str, Any], num_frames: int, data: str) -> list[Figure]:
    """Return what the page of figures shows; the bars are for so many frames, and no fewer."""
    is_full = num_frames >= BAR_FRAMES
    peer = f"of {found['fewer_frames']} frames"
    whole, fewer = found["whole"], found["fewer"]
    return [
        Figure(
            name="report",
            value=whole["seconds"],
            unit="s",
            better="lower",
            peer=peer,
            peer_value=fewer["seconds"],
            bar=BAR_S if is_full else None,
            data=data,
        ),
        Figure(
            name="report, size of the page",
            value=whole["page_mb"],
            unit="MB",
            better="lower",
            peer=peer,
            peer_value=fewer["page_mb"],
            bar=BAR_MB if is_full else None,
            data=data,
        ),
        Figure(name="report, peak memory", value=whole["peak_mb"], unit="MB", better="lower", data=data),
    ]


def main() -> None:
    """Make both corpora, report on them, print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--frames", type=int, default=BAR_FRAMES)
    parser.add_argument("--width", type=int, default=64)
    parser.add_argument("--height", type=int, default=48)
    add_result_options(parser)
    options = parser.parse_args()
    fewer = max(FRAMES_PER_SCENE, options.frames // FEWER)
    with tempfile.TemporaryDirectory(prefix="depthforge-bench-") as folder:
        found: dict[str, Any] = {"fewer_frames": fewer}
        for name, num_frames in (("fewer", fewer), ("whole", options.frames)):
            make_corpus(Path(folder) / name, num_frames, options.width, options.height)
            found[name] = measure(Path(folder) / name)
    data = f"{options.frames:,} frames of {options.width}x{options.height}"
    if options.save:
        save_run("bench_report", found, figures(found, options.frames, data), note=options.note)
    if options.json:
        print_json(found)
        return
    print(f"{machine()}; {data}")
    rows = [
        [name, f"{each['seconds']:.2f}", f"{each['peak_mb']:.0f}", f"{each['page_mb']:.1f}", str(each["shown"])]
        for name, each in ((f"{fewer} frames", found["fewer"]), (f"{options.frames} frames", found["whole"]))
    ]
    print_table("Report", rows, ["corpus", "seconds", "peak MB", "page MB", "frames shown"])
    print(f"\n  bars: {BAR_S:g} s and {BAR_MB:g} MB for {BAR_FRAMES:,} frames")


if __name__ == "__main__":
    main()
