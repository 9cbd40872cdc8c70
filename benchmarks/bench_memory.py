"""Peak memory of a conversion worker against the bound that --dry-run prints: by length, and by source with meshes.

python -m benchmarks.bench_memory [--part lengths|rendered] [--frames 200 5000] [--translator simulation|dcl]
                                  [--source graspnet ...] [--triangles 200000] [--json] [--save]

Lengths: one procedural 640x480 frame (depth and colour PNG) under many names, converted by one Ray worker. ``dcl`` is a
generator of the published size with random weights, on the CPU (20 and 60 frames: a second each). Bars: flat within
10 %, below the bound. Rendered: samples of the data sets whose clean depth is rendered, through their shipped
manifests, every model refined to ``--triangles`` (samples have a few thousand, real models hundreds of thousands); the
fused truth of a sample of ScanNet, and of a real sequence where there is one. Bars: below the bound, which is below
twice what was measured. What is compared is the largest resident set that the worker has ever had.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import threading
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import cv2
import numpy as np
import psutil
import torch
import yaml

from benchmarks.bench_sources import MANIFESTS, roots_of
from benchmarks.results import Figure, add_result_options, save_run
from benchmarks.timing import machine, print_json, print_table, shared_folder
from depthforge.meshes import Mesh, encode_ply
from depthforge.networks.initialise import initialise
from depthforge.registry import layouts, sources, translators
from depthforge.training.translator_card import TranslatorCard
from depthforge.training.weights import write_translator

MIB = 2**20
BAR_GROWTH = 0.1
BAR_BOUND = 2.0


class Sample(NamedTuple):
    """A sample of a data set: so many scenes that every model is in one, and where the models lie."""

    layout: str
    num_scenes: int
    frames_per_scene: int
    models: str = ""


RENDERED = {
    "graspnet": Sample("graspnet", 2, 6, "models/*/nontextured.ply"),
    "ycbv": Sample("bop", 8, 4, "models/*.ply"),
    "linemod": Sample("linemod", 13, 4, "Linemod_preprocessed/models/*.ply"),
}
"""By shipped manifest that renders."""
FUSED = ("scannet-fused", "redkitchen-fused")
SCANNED = Sample("scannet", 2, 12)


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
    return {"frames": count, **run(manifest)}


def run(manifest: Path, *options: str, **roots: str) -> dict[str, float]:
    """Convert with one worker; return its peak resident set and the printed bound in MiB, frames per second."""
    command = [sys.executable, "-m", "depthforge", "convert", str(manifest), "--workers", "1", "--json", *options]
    environment = {**os.environ, **roots}
    # What sources prepare, with meshes of their own, is made here: it is no part of the worker.
    planned = subprocess.run([*command, "--dry-run"], stdout=subprocess.PIPE, env=environment, check=False)
    if planned.returncode:
        raise SystemExit(f"--dry-run of {manifest.name} ended with {planned.returncode}")
    bound = json.loads(planned.stdout)["worker_bytes"]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, env=environment)
    peak = 0
    finished = threading.Event()

    def watch() -> None:
        nonlocal peak
        while not finished.wait(0.05):
            try:
                family = psutil.Process(process.pid).children(recursive=True)
                peak = max([peak, *(peak_bytes(child.pid) for child in family if child.name().startswith("ray::"))])
            except (psutil.NoSuchProcess, OSError):
                continue

    watcher = threading.Thread(target=watch)
    watcher.start()
    output, _ = process.communicate()
    finished.set()
    watcher.join()
    if process.returncode:
        raise SystemExit(f"the conversion of {manifest.name} ended with {process.returncode}")
    rate = json.loads(output)["frames_per_second"]
    return {"peak_mib": peak / MIB, "bound_mib": bound / MIB, "frames_per_second": rate}


def peak_bytes(pid: int) -> int:
    """Return the largest resident set that a process has had (Linux's VmHWM), so that no peak falls between looks."""
    status = Path(f"/proc/{pid}/status").read_text()
    return 1024 * sum(int(line.split()[1]) for line in status.splitlines() if line.startswith("VmHWM:"))


def measure_rendered(name: str, folder: Path, triangles: int) -> dict[str, Any] | None:
    """Convert a sample of a source that holds meshes; return the figures of its worker, None where data are missing."""
    sample, out, prepared = folder / "sample", folder / "out", folder / "prepared"
    if name in RENDERED:
        write_sample(RENDERED[name], sample)
        models = sorted(sample.glob(RENDERED[name].models))
        for path in models:
            refine(path, triangles)
        manifest = MANIFESTS / f"{name}.yaml"
        roots = {**roots_of(manifest, sample), "GRASPNET_PREPARED": str(prepared)}
        figures = run(manifest, "--out", str(out), **roots)
    else:
        of = fused_of(name, sample)
        if of is None:
            return None
        manifest = folder / f"{name}.yaml"
        # Of few frames each point is seen by few, and those of made-up scans disagree by a Kinect's noise.
        source = {"name": "fused", "prepared": str(prepared), "min_weight": 2, "max_residual_m": 0.1, "min_covered": 0}
        block = {"name": name, "source": {**source, "of": of}, "translator": {"name": "simulation"}}
        manifest.write_text(yaml.safe_dump({**block, "corpus": {"out": str(out)}}))
        figures = run(manifest)
        models = sorted(prepared.rglob("*.ply"))
    return {"source": name, "meshes": len(models), "mesh_mib": sum(p.stat().st_size for p in models) / MIB, **figures}


def fused_of(name: str, sample: Path) -> dict[str, Any] | None:
    """Return the block of the source that is fused: a sample of ScanNet, or every tenth scan of RedKitchen."""
    if name == "scannet-fused":
        write_sample(SCANNED, sample)
        return {"name": "scannet", "root": str(sample)}
    real = shared_folder("data", "real", "redkitchen_kinect")
    if real is None:
        return None
    text = (MANIFESTS / "redkitchen-fused.yaml").read_text().replace("${DATA_ROOT}", str(real.parent))
    return {**yaml.safe_load(text)["source"]["of"], "every": 10}


def write_sample(sample: Sample, root: Path) -> None:
    """Write procedural scenes in a data set's layout."""
    layouts.get(sample.layout)().write(
        root, num_scenes=sample.num_scenes, frames_per_scene=sample.frames_per_scene, seed=0
    )


def refine(path: Path, triangles: int) -> None:
    """Halve the edges of a model until it has so many triangles; its surface stays what it is."""
    import open3d as o3d

    model = o3d.io.read_triangle_mesh(str(path))
    while len(model.triangles) < triangles:
        model = model.subdivide_midpoint(1)
    vertices, rows = np.asarray(model.vertices, np.float32), np.asarray(model.triangles, np.uint32)
    path.write_bytes(encode_ply(Mesh(vertices, rows)))


def measure_lengths(translator_name: str, lengths: list[int]) -> list[dict[str, float]]:
    """Convert runs of several lengths."""
    with tempfile.TemporaryDirectory(prefix="depthforge-bench-") as folder:
        translator = make_translator(translator_name, Path(folder))
        return [measure(Path(folder), count, translator) for count in lengths]


def length_figures(runs: Sequence[Mapping[str, float]], growth: float, translator: str) -> list[Figure]:
    """Return what the page shows of runs of several lengths."""
    data = f"{runs[-1]['frames']:,} frames of 640x480, {translator}, one worker"
    since = f"growth since {runs[0]['frames']:,} frames"
    return [
        _peak_figure("peak memory", runs[-1], data),
        Figure(name=since, value=growth, unit="of it", better="lower", bar=BAR_GROWTH, data=data),
    ]


def rendered_figures(row: Mapping[str, Any], triangles: int) -> list[Figure]:
    """Return what the page shows of a source that holds meshes."""
    models = f"models of {triangles:,} triangles" if row["source"] in RENDERED else "its fused mesh"
    data = f"{row['source']}, {models}, one worker"
    over = row["bound_mib"] / row["peak_mib"]
    return [
        _peak_figure("peak memory with meshes", row, data),
        Figure(name="the bound over the peak", value=over, unit="times", better="lower", bar=BAR_BOUND, data=data),
    ]


def _peak_figure(name: str, run: Mapping[str, float], data: str) -> Figure:
    return Figure(
        name=name,
        value=run["peak_mib"],
        unit="MiB",
        better="lower",
        peer="bound of --dry-run",
        peer_value=run["bound_mib"],
        bar=1.0,
        bar_of="ratio",
        data=data,
    )


def main() -> None:
    """Measure each length and each source, print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--part", choices=["lengths", "rendered"], help="only this part")
    parser.add_argument("--frames", type=int, nargs="+")
    parser.add_argument("--translator", default="simulation", help="of the lengths")
    parser.add_argument("--source", choices=[*RENDERED, *FUSED], nargs="+", default=[*RENDERED, *FUSED])
    parser.add_argument("--triangles", type=int, default=200_000, help="of each model")
    add_result_options(parser)
    options = parser.parse_args()
    lengths = options.frames or ([200, 5000] if options.translator == "simulation" else [20, 60])
    runs = [] if options.part == "rendered" else measure_lengths(options.translator, lengths)
    growth = runs[-1]["peak_mib"] / runs[0]["peak_mib"] - 1 if runs else None
    rendered, missing = [], []
    for name in [] if options.part == "lengths" else options.source:
        with tempfile.TemporaryDirectory(prefix="depthforge-bench-") as folder:
            row = measure_rendered(name, Path(folder), options.triangles)
        if row is None:
            missing.append(f"{name}: no data/real/redkitchen_kinect beside the checkout; set DEPTHFORGE_SHARED")
        else:
            rendered.append(row)
    if options.save and growth is not None:
        measured = {"runs": runs, "growth": growth}
        shown = length_figures(runs, growth, options.translator)
        save_run("bench_memory", measured, shown, part=f"lengths: {options.translator}", note=options.note)
    if options.save:
        for row in rendered:
            shown = rendered_figures(row, options.triangles)
            save_run("bench_memory", row, shown, part=f"rendered: {row['source']}", note=options.note)
    if options.json:
        print_json({"runs": runs, "growth": growth, "rendered": rendered, "left_out": missing})
        return
    print(machine())
    if growth is not None:
        rows = [[f"{run['frames']:,}", *_memory(run)] for run in runs]
        print_table("Memory of one worker, MiB", rows, ["frames", *_MEMORY])
        print(f"\n  growth from the shortest to the longest run: {growth:+.1%} (bar {BAR_GROWTH:.0%})")
    if rendered:
        rows = [[row["source"], row["meshes"], f"{row['mesh_mib']:.0f}", *_memory(row)] for row in rendered]
        print_table("Memory of one worker that holds meshes, MiB", rows, ["source", "meshes", "their files", *_MEMORY])
    for each in missing:
        print(f"\n  left out: {each}")


_MEMORY = ("peak resident", "bound of --dry-run", "bound / peak", "frames/s")


def _memory(figures: dict[str, Any]) -> list[str]:
    peak, bound = figures["peak_mib"], figures["bound_mib"]
    return [f"{peak:.0f}", f"{bound:.0f}", f"{bound / peak:.2f}", f"{figures['frames_per_second']:.1f}"]


if __name__ == "__main__":
    main()
