"""The whole conversion beside its parts measured alone, and Ray beside plain multiprocessing over the same function.

python -m benchmarks.bench_conversion [--frames 512] [--repeats 3] [--json] [--save]

Data: procedural rooms in InteriorNet's layout (`depthforge sample --layout interiornet`), 640x480: depth, colour,
semantic and instance PNG of each frame are read, depth is simulated, noisy and clean depth, colour and labels are
written, re-read and hashed. Parts run alone on the same cores over the same frames: *read* decodes and checks,
*simulate* works on decoded frames, *write* commits shards of decoded frames. Start-up is not counted: every pool has
converted a shard before the clock starts. Bars: whole >= 0.70 of the slowest part; Ray >= 0.85 of multiprocessing.

The slowest part is measured twice: on all cores, as the whole is, and alone in one process. Every part here is
computation, so on all cores the whole cannot exceed the parts one after other, 1 / (1/read + 1/simulate + 1/write);
only a part that is 70 % of that sum could let the whole reach 0.70 of it.
"""

from __future__ import annotations

import argparse
import shutil
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from multiprocessing import get_context
from multiprocessing.pool import Pool
from pathlib import Path
from typing import Any

from benchmarks.results import Figure, add_result_options, save_run
from benchmarks.timing import machine, median, print_json, print_table
from depthforge.corpus.plan_file import read_plan
from depthforge.corpus.store import open_for_writing
from depthforge.corpus.writer import ShardReceipt
from depthforge.frame import Capture, Frame, NoisyDepth
from depthforge.manifest import parse_manifest
from depthforge.plan import WorkItem
from depthforge.samples.interiornet import InteriorNetLayout
from depthforge.seeding import frame_words
from depthforge.stages.acceptance import present_labels
from depthforge.stages.cluster import WORKER_ENVIRONMENT, Cluster, RayOptions
from depthforge.stages.crew import Failure
from depthforge.stages.prepare import Prepared, make_source, make_translator, prepare
from depthforge.stages.runners import convert_on
from depthforge.stages.shards import Converter, ShardJob, job_of, limit_threads, open_writer

KEPT_FRAMES = 8
BAR_OF_SLOWEST = 0.7
BAR_OF_POOL = 0.85
_kept: list[Frame] = []
_converters: dict[Path, Converter] = {}


def read_part(item: WorkItem, job: ShardJob) -> int:
    """Decode and check every frame of a shard."""
    source = make_source(job.source)
    for ref in item.frames:
        source.read(ref, job.wanted).require_sound()
    return len(item.frames)


def simulate_part(item: WorkItem, job: ShardJob) -> int:
    """Make as many decoded frames noisy as the shard holds."""
    translator = make_translator(job.translator)
    frames = keep_frames(item, job)
    for index, ref in enumerate(item.frames):
        translator.translate(frames[index % len(frames)], frame_words(0, ref.key, translator.fingerprint))
    return len(item.frames)


def write_part(item: WorkItem, job: ShardJob) -> int:
    """Commit a shard of decoded frames, the clean depth in place of the noisy one."""
    frames = keep_frames(item, job)
    with open_writer(item, job) as writer:
        for index, ref in enumerate(item.frames):
            frame = replace(frames[index % len(frames)], key=ref.key)
            writer.add(frame, Capture(NoisyDepth(frame.depth_m, frame.valid)), present_labels(frame))
        writer.commit()
    return len(item.frames)


def keep_frames(item: WorkItem, job: ShardJob) -> list[Frame]:
    """Return a few decoded frames, read once in each process."""
    if not _kept:
        source = make_source(job.source)
        _kept.extend(source.read(ref, job.wanted) for ref in item.frames[:KEPT_FRAMES])
    return _kept


def whole(item: WorkItem, job: ShardJob) -> int:
    """Convert a shard, as every runner does, with a converter for each run."""
    if job.storage not in _converters:
        for converter in _converters.values():
            converter.close()
        _converters.clear()
        _converters[job.storage] = Converter(job)
    return _converters[job.storage].convert(item).num_frames


Part = Callable[[WorkItem, ShardJob], int]
PARTS: dict[str, Part] = {"read": read_part, "simulate": simulate_part, "write": write_part, "whole": whole}


def apply(part: str, item: WorkItem, job: ShardJob) -> int:
    """Run one part on one shard in a worker of a pool."""
    limit_threads(1)
    return PARTS[part](item, job)


@contextmanager
def fresh_outputs(prepared: Prepared, folder: Path) -> Iterator[ShardJob]:
    """Yield a job whose output is empty, and remove what it wrote."""
    out = Path(tempfile.mkdtemp(dir=folder))
    shutil.rmtree(out)
    with open_for_writing(out, prepared.info, prepared.plan_file, overwrite=False):
        yield job_of(prepared, out)
    shutil.rmtree(out)


def on_pool(pool: Pool, part: str, items: list[WorkItem], prepared: Prepared, folder: Path) -> float:
    """Return the frames per second of one part over all shards on a warm pool."""
    with fresh_outputs(prepared, folder) as job:
        start = time.perf_counter()
        frames = sum(pool.starmap(apply, [(part, item, job) for item in items], chunksize=1))
        return frames / (time.perf_counter() - start)


def on_ray(cluster: Cluster, items: list[WorkItem], prepared: Prepared, folder: Path, workers: int) -> float:
    """Return the frames per second of the whole conversion on Ray, from when as many shards as workers have ended."""
    ended: list[tuple[float, int]] = []

    def done(result: ShardReceipt | Failure) -> None:
        if isinstance(result, Failure):
            raise result.error
        ended.append((time.perf_counter(), result.num_frames))

    with fresh_outputs(prepared, folder) as job:
        convert_on(cluster, iter(items), job, done, RayOptions(num_workers=workers), print)
    return sum(frames for _, frames in ended[workers:]) / (ended[-1][0] - ended[workers - 1][0])


def main() -> None:
    """Make the data, warm both pools, measure in turn, print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--frames", type=int, default=512)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--shard-frames", type=int, default=64)
    add_result_options(parser)
    options = parser.parse_args()
    if options.frames <= options.workers * options.shard_frames:
        parser.error("Ray is timed from the shard after the first of each worker: more frames, or smaller shards")
    import os

    os.environ.update(WORKER_ENVIRONMENT)
    with tempfile.TemporaryDirectory(prefix="depthforge-bench-") as name:
        folder = Path(name)
        scenes = max(2, options.frames // 20 + 1)
        InteriorNetLayout().write(folder / "data", num_scenes=scenes, frames_per_scene=20, seed=0)
        manifest = parse_manifest(
            {
                "name": "bench",
                "source": {"name": "interiornet", "root": str(folder / "data")},
                "translator": "simulation",
                "labels": {"rgb": "required", "semantic": "required", "instance": "required", "normals": "off"},
                "limit": options.frames,
                "corpus": {"out": str(folder / "out"), "shard_frames": options.shard_frames},
            },
            where="benchmark",
        )
        rates: dict[str, list[float]] = {}
        spawn = get_context("spawn")
        with prepare(manifest) as prepared, spawn.Pool(options.workers) as pool, spawn.Pool(1) as single:
            items = list(read_plan(prepared.plan_file))
            with Cluster.connect(None, options.workers) as cluster:
                for round_number in range(options.repeats + 1):
                    figures = {part: on_pool(pool, part, items, prepared, folder) for part in PARTS}
                    figures["ray"] = on_ray(cluster, items, prepared, folder, options.workers)
                    half = items[: max(1, len(items) // 2)]
                    for part in ("read", "simulate", "write"):
                        figures[f"{part}, one process"] = on_pool(single, part, half, prepared, folder)
                    if round_number:  # the first round warms every worker
                        for part, rate in figures.items():
                            rates.setdefault(part, []).append(rate)
    report(options, rates, sum(len(item.frames) for item in items))


def figures(found: Mapping[str, Any]) -> list[Figure]:
    """Return what the page shows; ratios are medians of those of each round."""
    rates = found["frames_per_second"]
    data = f"{found['frames']} frames of 640x480 in InteriorNet's layout, {found['workers']} workers"

    def beside(name: str, rate: str, peer: str, ratio: str, bar: float | None = None) -> Figure:
        return Figure(
            name=name,
            value=rates[rate],
            unit="frames/s",
            better="higher",
            peer=peer,
            ratio=found[ratio],
            bar=bar,
            bar_of="ratio",
            data=data,
        )

    return [
        beside("whole conversion", "whole", "its slowest part on all cores", "whole_of_slowest_part", BAR_OF_SLOWEST),
        beside("whole conversion", "whole", "its slowest part, one process", "whole_of_slowest_part_in_one_process"),
        beside("whole conversion", "whole", "its parts in a row", "whole_of_what_the_parts_in_a_row_allow"),
        beside("whole conversion on Ray", "ray", "multiprocessing", "ray_of_multiprocessing", BAR_OF_POOL),
    ]


def report(options: argparse.Namespace, rates: dict[str, list[float]], frames: int) -> None:
    """Print medians, and the ratios of each round."""
    rounds = range(options.repeats)
    parts = ("read", "simulate", "write")
    of_slowest = [rates["whole"][i] / min(rates[part][i] for part in parts) for i in rounds]
    of_single = [rates["whole"][i] / min(rates[f"{part}, one process"][i] for part in parts) for i in rounds]
    of_sum = [rates["whole"][i] * sum(1 / rates[part][i] for part in parts) for i in rounds]
    of_pool = [rates["ray"][i] / rates["whole"][i] for i in rounds]
    found = {
        "frames": frames,
        "workers": options.workers,
        "frames_per_second": {part: median(values) for part, values in rates.items()},
        "whole_of_slowest_part": median(of_slowest),
        "whole_of_slowest_part_in_one_process": median(of_single),
        "whole_of_what_the_parts_in_a_row_allow": median(of_sum),
        "ray_of_multiprocessing": median(of_pool),
    }
    if options.save:
        save_run("bench_conversion", found, figures(found), note=options.note)
    if options.json:
        print_json(found)
        return
    print(f"{machine()}; {frames} frames 640x480, {options.workers} workers, {options.repeats} rounds")
    rows = [[part, f"{median(values):.1f}", f"{min(values):.1f}-{max(values):.1f}"] for part, values in rates.items()]
    print_table("Frames per second", rows, ["part", "median", "range"])
    print(f"\n  whole / slowest part alone:        {median(of_slowest):.2f}   (bar {BAR_OF_SLOWEST:.2f})")
    print(f"  whole / slowest part, one process: {median(of_single):.2f}")
    print(f"  whole / the parts one after other: {median(of_sum):.2f}   (1.00: nothing is lost between them)")
    print(f"  Ray / multiprocessing:             {median(of_pool):.2f}   (bar {BAR_OF_POOL:.2f}, aim 0.95)")


if __name__ == "__main__":
    main()
