"""Compaction of GraspNet's raw grasp labels: peak memory and time, beside loading one object whole.

python -m benchmarks.bench_grasps [--objects 10] [--distinct 2] [--points 3459] [--compressed] [--json] [--save]

Data: labels of the real size, P x 300 x 12 x 4 grasps an object with P = 3459 (offsets alone 598 MB), and a scene of
ten objects with its collision masks (50 MB each); objects beyond ``--distinct`` are hard links of the first ones, as
disk and time are short, but are read as files of their own. A sixth of the grasps has a friction, from 0.1 to 1.1; of
these 40 % are within 0.4, and three quarters collide with nothing. Each contestant runs in a fresh process; resident
memory is its peak, imports included. ``whole`` is what graspnetAPI does for one object: ``np.load`` of offsets and
scores. Bar: under 2 GB. Needs 0.9 GB of disk for each distinct object and 0.5 GB for the masks.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import subprocess
import sys
import tempfile
import time
import zipfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from benchmarks.results import Figure, add_result_options, save_run
from benchmarks.timing import machine, print_json, print_table
from depthforge.sources.graspnet.files import SceneFiles
from depthforge.sources.graspnet.labels import GraspSettings, GraspStore

PER_POINT = (300, 12, 4)
SLAB = 64
BAR_MIB = 2e9 / 2**20


class NpzWriter:
    """Writes arrays of any size into a .npz, a slab at a time."""

    def __init__(self, path: Path, compressed: bool) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        method = zipfile.ZIP_DEFLATED if compressed else zipfile.ZIP_STORED
        self._archive = zipfile.ZipFile(path, "w", method, compresslevel=1)

    def write(self, name: str, shape: tuple[int, ...], dtype: str, slab: Any) -> None:
        """Write an array; ``slab(rows)`` makes its next rows."""
        with self._archive.open(f"{name}.npy", "w", force_zip64=True) as out:
            header = {"descr": np.dtype(dtype).str, "fortran_order": False, "shape": shape}
            np.lib.format.write_array_header_1_0(out, header)
            for start in range(0, shape[0], SLAB):
                part = slab(min(SLAB, shape[0] - start))
                assert part.dtype == np.dtype(dtype)
                out.write(np.ascontiguousarray(part).data)

    def close(self) -> None:
        """Finish the file."""
        self._archive.close()


def write_object(path: Path, num_points: int, seed: int, compressed: bool) -> None:
    """Write the labels of one object."""
    rng = np.random.default_rng(seed)
    angles = (np.pi * np.arange(12, dtype=np.float32) / 12)[:, None]
    depths = np.array([0.01, 0.02, 0.03, 0.04], np.float32)

    def offsets(rows: int) -> npt.NDArray[np.float32]:
        slab = np.empty((rows, *PER_POINT, 3), np.float32)
        slab[..., 0], slab[..., 1] = angles, depths
        slab[..., 2] = rng.integers(0, 1000, slab.shape[:-1]) * np.float32(1e-4)
        return slab

    def scores(rows: int) -> npt.NDArray[np.float32]:
        # Steps 1 to 11 of 0.1 in a sixth of 66, else unusable.
        step = rng.integers(1, 67, (rows, *PER_POINT), np.uint8)
        return np.where(step <= 11, step * np.float32(0.1), np.float32(-1))

    def mask(rows: int) -> npt.NDArray[np.bool_]:
        return rng.integers(0, 10, (rows, *PER_POINT), np.uint8) == 0

    writer = NpzWriter(path, compressed)
    writer.write("points", (num_points, 3), "f4", lambda rows: rng.uniform(-0.08, 0.08, (rows, 3)).astype(np.float32))
    writer.write("offsets", (num_points, *PER_POINT, 3), "f4", offsets)
    writer.write("collision", (num_points, *PER_POINT), "?", mask)
    writer.write("scores", (num_points, *PER_POINT), "f4", scores)
    writer.close()


def write_tree(root: Path, num_objects: int, distinct: int, num_points: int, compressed: bool) -> None:
    """Write a scene of ``num_objects`` objects, as far as its grasps go."""
    labels = root / "grasp_label"
    for number in range(num_objects):
        path = labels / f"{number:03d}_labels.npz"
        if number < distinct:
            write_object(path, num_points, number, compressed)
        else:
            os.link(labels / f"{number % distinct:03d}_labels.npz", path)
    rng = np.random.default_rng(99)
    masks = NpzWriter(root / "collision_label/scene_0000/collision_labels.npz", compressed)
    for number in range(num_objects):
        shape = (num_points, *PER_POINT)
        masks.write(f"arr_{number}", shape, "?", lambda rows: rng.integers(0, 6, (rows, *PER_POINT), np.uint8) == 0)
    masks.close()
    scene = root / "scenes/scene_0000"
    scene.mkdir(parents=True)
    (scene / "object_id_list.txt").write_text("".join(f"{number}\n" for number in range(num_objects)))


def compact(root: Path, prepared: str, **settings: float) -> list[str]:
    """Compact the scene, as the source does in ``prepare``."""
    lines: list[str] = []
    store = GraspStore(root, root / prepared, GraspSettings(**settings))
    store.compact([SceneFiles(root, 0, "realsense")], lines.append)
    rows = store.rows("scene_0000")
    assert rows is not None
    return [*lines, f"{rows.nbytes / 1e6:.2f} MB a frame"]


def load_whole(root: Path) -> list[str]:
    """Load one object as graspnetAPI does, and pick what is usable."""
    with np.load(root / "grasp_label/000_labels.npz") as labels:
        offsets, scores = labels["offsets"].astype(np.float32), labels["scores"].astype(np.float32)
    usable = (scores > 0) & (scores <= 0.4)
    return [f"{len(offsets[usable])} usable"]


COMPACT = "compact a scene"
WHOLE_OBJECT = "whole: np.load of one object"
CONTESTANTS: dict[str, Any] = {
    COMPACT: lambda root: compact(root, "first"),
    "again: all as it was": lambda root: compact(root, "first"),
    "another scene setting, objects kept": lambda root: compact(root, "first", min_distance_m=0.03),
    WHOLE_OBJECT: load_whole,
    "imports alone": lambda root: [],
}


def run_child(name: str, root: Path) -> dict[str, Any]:
    """Run a contestant in a fresh process and return its seconds, its peak in MiB and what it said."""
    command = [sys.executable, "-m", "benchmarks.bench_grasps", "--child", name, str(root)]
    return dict(json.loads(subprocess.run(command, capture_output=True, check=True, text=True).stdout))


def child(name: str, root: Path) -> None:
    """Run a contestant in this process and print its figures."""
    start = time.perf_counter()
    lines = CONTESTANTS[name](root)
    seconds = time.perf_counter() - start
    peak_mib = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    print(json.dumps({"name": name, "seconds": seconds, "peak_mib": peak_mib, "lines": lines}))


def figures(runs: Sequence[Mapping[str, Any]], data: str) -> list[Figure]:
    """Return what the page shows."""
    by_name = {run["name"]: run for run in runs}
    ours, whole = by_name[COMPACT], by_name[WHOLE_OBJECT]
    return [
        Figure(
            name=f"{COMPACT}, peak memory",
            value=ours["peak_mib"],
            unit="MiB",
            better="lower",
            peer="np.load of one object",
            peer_value=whole["peak_mib"],
            bar=BAR_MIB,
            data=data,
        ),
        Figure(name=COMPACT, value=ours["seconds"], unit="s", better="lower", data=data),
    ]


def main() -> None:
    """Write the data, run each contestant, print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--objects", type=int, default=10)
    parser.add_argument("--distinct", type=int, default=2)
    parser.add_argument("--points", type=int, default=3459)
    parser.add_argument("--compressed", action="store_true", help="deflate the files")
    add_result_options(parser)
    parser.add_argument("--child", nargs=2, metavar=("NAME", "ROOT"), help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.child:
        child(options.child[0], Path(options.child[1]))
        return
    with tempfile.TemporaryDirectory(prefix="depthforge-bench-") as folder:
        root = Path(folder)
        write_tree(root, options.objects, options.distinct, options.points, options.compressed)
        object_mb = (root / "grasp_label/000_labels.npz").stat().st_size / 1e6
        masks_mb = (root / "collision_label/scene_0000/collision_labels.npz").stat().st_size / 1e6
        runs = [run_child(name, root) for name in CONTESTANTS]
    found = {"object_mb": object_mb, "masks_mb": masks_mb, "runs": runs}
    kind = "deflated" if options.compressed else "stored"
    if options.save:
        data = f"{options.objects} objects of {options.points} points, {kind}"
        save_run("bench_grasps", found, figures(runs, data), part=kind, note=options.note)
    if options.json:
        print_json(found)
        return
    print(machine())
    print(f"  {options.objects} objects of {object_mb:.0f} MB and masks of {masks_mb:.0f} MB, {kind}")
    rows = [
        [run["name"], f"{run['seconds']:.2f}", f"{run['peak_mib']:.0f}", run["lines"][-1] if run["lines"] else ""]
        for run in runs
    ]
    print_table("Grasp labels of a scene", rows, ["", "seconds", "peak MiB", ""])


if __name__ == "__main__":
    main()
