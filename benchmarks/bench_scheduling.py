"""What a shard costs besides its frames: the driver's time for each, and Ray beside plain multiprocessing.

python -m benchmarks.bench_scheduling [--shards 600] [--workers 2] [--repeats 3] [--json] [--save]

Shards of one frame of 64x48, so that nearly nothing of them is work: depth is read from PNG, copied and committed.
*Driver* is the processor time of the driver, its threads included, for each shard; *Ray* and *multiprocessing* are wall
time for each shard from when every worker has ended one. Start-up is not counted. Bar: scheduling under 5 ms a shard.
"""

from __future__ import annotations

import argparse
import os
import tempfile
import time
from collections.abc import Mapping
from contextlib import ExitStack
from multiprocessing import get_context
from multiprocessing.pool import Pool
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from benchmarks.bench_conversion import apply, fresh_outputs
from benchmarks.results import Figure, add_result_options, save_run
from benchmarks.timing import machine, median, print_json, print_table
from depthforge.corpus.plan_file import read_plan
from depthforge.corpus.writer import ShardReceipt
from depthforge.manifest import Manifest, parse_manifest
from depthforge.plan import WorkItem
from depthforge.stages.cluster import WORKER_ENVIRONMENT, Cluster, RayOptions
from depthforge.stages.crew import Failure
from depthforge.stages.prepare import Prepared, prepare
from depthforge.stages.runners import convert_on

BAR_MS = 5.0


def write_data(folder: Path, num_frames: int) -> Manifest:
    """Write tiny depth images; return a run of one shard for each."""
    folder.mkdir()
    image = np.linspace(1000, 3000, 48 * 64).reshape(48, 64).astype(np.uint16)
    for frame in range(num_frames):
        cv2.imwrite(str(folder / f"{frame:06d}.png"), image)
    camera = {"width": 64, "height": 48, "fx": 60.0, "fy": 60.0, "cx": 31.5, "cy": 23.5}
    source = {
        "name": "rgbd_folder",
        "root": str(folder),
        "depth": "{frame}.png",
        "depth_scale": 1000,
        "camera": camera,
        "licence": {"name": "none", "non_commercial": False},
    }
    value = {"name": "bench", "source": source, "translator": "identity"}
    return parse_manifest({**value, "corpus": {"out": str(folder / "out"), "shard_frames": 1}}, where="benchmark")


def on_pool(pool: Pool, items: list[WorkItem], prepared: Prepared, folder: Path, workers: int) -> float:
    """Return the seconds of wall time for each shard on a warm pool."""
    with fresh_outputs(prepared, folder) as job:
        pool.starmap(apply, [("whole", item, job) for item in items[:workers]], chunksize=1)
        start = time.perf_counter()
        pool.starmap(apply, [("whole", item, job) for item in items[workers:]], chunksize=1)
        return (time.perf_counter() - start) / len(items[workers:])


def on_ray(
    cluster: Cluster, items: list[WorkItem], prepared: Prepared, folder: Path, workers: int
) -> tuple[float, float]:
    """Return the seconds of wall time, and of the driver's processor time, for each shard."""
    ended: list[tuple[float, float]] = []

    def done(result: ShardReceipt | Failure) -> None:
        if isinstance(result, Failure):
            raise result.error
        ended.append((time.perf_counter(), time.process_time()))

    with fresh_outputs(prepared, folder) as job:
        convert_on(cluster, iter(items), job, done, RayOptions(num_workers=workers), print)
    (wall, cpu), (wall_end, cpu_end) = ended[workers - 1], ended[-1]
    count = len(ended) - workers
    return (wall_end - wall) / count, (cpu_end - cpu) / count


def main() -> None:
    """Make the data, warm both, measure in turn, print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--shards", type=int, default=600)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--repeats", type=int, default=3)
    add_result_options(parser)
    options = parser.parse_args()
    os.environ.update(WORKER_ENVIRONMENT)
    rounds: list[dict[str, float]] = []
    with tempfile.TemporaryDirectory(prefix="depthforge-bench-") as name, ExitStack() as stack:
        folder = Path(name)
        manifest = write_data(folder / "data", options.shards)
        prepared = stack.enter_context(prepare(manifest))
        pool = stack.enter_context(get_context("spawn").Pool(options.workers))
        cluster = stack.enter_context(Cluster.connect(None, options.workers))
        items = list(read_plan(prepared.plan_file))
        for _ in range(options.repeats + 1):
            plain = on_pool(pool, items, prepared, folder, options.workers)
            wall, driver = on_ray(cluster, items, prepared, folder, options.workers)
            rounds.append({"multiprocessing": plain, "ray": wall, "driver": driver})
    report(options, rounds[1:])


def figures(found: Mapping[str, Any]) -> list[Figure]:
    """Return what the page shows."""
    data = f"{found['shards']} shards of one frame of 64x48, {found['workers']} workers"
    each = found["ms_per_shard"]
    return [
        Figure(
            name="scheduling, the driver's processor time for a shard",
            value=each["driver"],
            unit="ms",
            better="lower",
            bar=BAR_MS,
            bar_of="value",
            data=data,
        ),
        Figure(
            name="a shard of one frame on Ray, wall time",
            value=each["ray"],
            unit="ms",
            better="lower",
            peer="multiprocessing",
            peer_value=each["multiprocessing"],
            ratio=found["multiprocessing_of_ray"],
            data=data,
        ),
    ]


def report(options: argparse.Namespace, rounds: list[dict[str, float]]) -> None:
    """Print medians; the ratio is the median of those of each round."""
    found = {
        "shards": options.shards,
        "workers": options.workers,
        "ms_per_shard": {name: 1000 * median([each[name] for each in rounds]) for name in rounds[0]},
        "multiprocessing_of_ray": median([each["multiprocessing"] / each["ray"] for each in rounds]),
    }
    if options.json:
        print_json(found)
    else:
        rows = [(name, f"{value:.2f}") for name, value in found["ms_per_shard"].items()]
        print_table(f"{options.shards} shards of one frame; {machine()}", rows, ("what", "ms a shard"))
        print(f"driver under {BAR_MS:g} ms: {found['ms_per_shard']['driver'] < BAR_MS}")
    if options.save:
        save_run("bench_scheduling", found, figures(found), note=options.note)


if __name__ == "__main__":
    main()
