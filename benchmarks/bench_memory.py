"""Peak memory of a conversion worker over a short and a long run, against the bound that --dry-run prints.

python -m benchmarks.bench_memory [--frames 200 5000] [--translator simulation|dcl] [--json]

Data: one procedural 640x480 frame (depth and colour PNG) under many names, converted by one Ray worker; the resident
set of the worker is sampled every 50 ms. ``dcl`` is a generator of the published size with random weights, on the CPU
(20 and 60 frames: a second each). Bars: flat within 10 %, below the bound.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import threading
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import psutil
import torch
import yaml

from benchmarks.timing import machine, print_json, print_table
from depthforge.networks.initialise import initialise
from depthforge.registry import sources, translators
from depthforge.training.card import TranslatorCard
from depthforge.training.weights import write_translator


def make_frames(root: Path, count: int) -> None:
    """Write one frame and link it under ``count`` names."""
    source_class = sources.get("procedural")
    source = source_class(source_class.Config(num_scenes=1, frames_per_scene=1))
    ref = next(iter(source.frames()))
    frame = source.read(ref, frozenset({"rgb"}))
    root.mkdir()
    cv2.imwrite(str(root / "depth.png"), np.rint(frame.depth_m * 1000).astype(np.uint16))
    cv2.imwrite(str(root / "color.png"), frame.rgb[..., ::-1])
    for index in range(count):
        (root / f"{index:06d}.depth.png").symlink_to("depth.png")
        (root / f"{index:06d}.color.png").symlink_to("color.png")


def make_translator(name: str, folder: Path) -> dict[str, Any]:
    """Return the manifest's block for a translator, for a learned one with random weights that it writes."""
    if name == "simulation":
        return {"name": name}
    cls = translators.get(name)
    config = cls.Config(residual=True)
    networks = cls.make_networks(config)
    for network in networks.values():
        initialise(network, torch.Generator().manual_seed(0))
    card = TranslatorCard(
        translator=name,
        version=cls.version,
        architecture=config.architecture,
        normalisation=config.scale,
        origin="random",
    )
    write_translator(folder / "weights", networks, card)
    return {"name": name, "residual": True, "device": "cpu", "weights": str(folder / "weights")}


def measure(folder: Path, count: int, translator: dict[str, Any]) -> dict[str, float]:
    """Convert ``count`` frames with one worker; return its peak resident set and the printed bound, in MiB."""
    data = folder / f"data-{count}"
    make_frames(data, count)
    manifest = folder / f"{count}.yaml"
    camera = {"fx": 600, "fy": 600, "cx": 320, "cy": 240, "width": 640, "height": 480}
    manifest.write_text(
        yaml.safe_dump(
            {
                "name": "memory",
                "source": {
                    "name": "rgbd_folder",
                    "root": str(data),
                    "dataset": "memory",
                    "depth": "{frame}.depth.png",
                    "rgb": "{frame}.color.png",
                    "depth_scale": 1000,
                    "camera": camera,
                },
                "translator": translator,
                "corpus": {"out": str(folder / f"out-{count}")},
            }
        )
    )
    command = [sys.executable, "-m", "depthforge", "convert", str(manifest), "--workers", "1", "--json"]
    bound = json.loads(subprocess.run([*command, "--dry-run"], capture_output=True, check=True).stdout)["worker_bytes"]
    process = subprocess.Popen(command, stdout=subprocess.PIPE)
    peak = 0
    finished = threading.Event()

    def watch() -> None:
        nonlocal peak
        while not finished.wait(0.05):
            try:
                family = psutil.Process(process.pid).children(recursive=True)
                peak = max([peak, *(child.memory_info().rss for child in family if child.name().startswith("ray::"))])
            except psutil.NoSuchProcess:
                continue

    watcher = threading.Thread(target=watch)
    watcher.start()
    output, _ = process.communicate()
    finished.set()
    watcher.join()
    if process.returncode:
        raise SystemExit(f"the conversion ended with {process.returncode}")
    rate = json.loads(output)["frames_per_second"]
    return {"frames": count, "peak_mib": peak / 2**20, "bound_mib": bound / 2**20, "frames_per_second": rate}


def main() -> None:
    """Measure each length, print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--frames", type=int, nargs="+")
    parser.add_argument("--translator", default="simulation")
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    lengths = options.frames or ([200, 5000] if options.translator == "simulation" else [20, 60])
    with tempfile.TemporaryDirectory(prefix="depthforge-bench-") as folder:
        translator = make_translator(options.translator, Path(folder))
        runs = [measure(Path(folder), count, translator) for count in lengths]
    growth = runs[-1]["peak_mib"] / runs[0]["peak_mib"] - 1
    if options.json:
        print_json({"runs": runs, "growth": growth})
        return
    print(machine())
    rows = [
        [f"{r['frames']:,}", f"{r['peak_mib']:.0f}", f"{r['bound_mib']:.0f}", f"{r['frames_per_second']:.1f}"]
        for r in runs
    ]
    print_table("Memory of one worker, MiB", rows, ["frames", "peak resident", "bound of --dry-run", "frames/s"])
    print(f"\n  growth from the shortest to the longest run: {growth:+.1%} (bar 10 %)")


if __name__ == "__main__":
    main()
