"""`synthesize` for each source: frames per second of the whole conversion, beside reading alone and writing alone.

python -m benchmarks.bench_sources [--frames 32] [--repeats 3] [--source NAME ...] [--json] [--save]

Data: `depthforge sample --layout NAME`, procedural scenes in each data set's own layout, through the manifest that is
shipped for it; the labels that the manifest carries are read, resized, written and re-read as in any run. One process,
no Ray, and nothing counted but the shard itself: kernels are compiled and meshes fused before. A frame of Virtual KITTI
has 466 thousand pixels, one of GraspNet 922 thousand, others 307 thousand: megapixels per second compare them.

*Look* is what the checks of plausibility cost (``sources.soundness``), reading the frames included, as a share of a
conversion of 600 frames: it is the same for any number of them. Bar: under 3 %.

The peer is what a script does with the same frames, read and made noisy by the same code: a PNG for each image that PNG
can hold, one compressed .npz for the rest. It hashes nothing, re-reads nothing, keeps no index and cannot be resumed.
A shard costs something once, whatever its length: a hundred calls of fsync for the dozen arrays of ``bop``, 4 ms each
on a busy disk. Shards are 32 frames and more for that; a run with ``--frames 8`` measures the disk.
"""

from __future__ import annotations

import argparse
import os
import re
import shutil
import tempfile
import time
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from benchmarks.results import Figure, add_result_options, save_run
from benchmarks.timing import in_turn, machine, median, print_json, print_table
from depthforge.corpus.plan_file import read_plan
from depthforge.corpus.store import open_for_writing
from depthforge.frame import RGB_FILE, Capture, Frame, NoisyDepth
from depthforge.labels.catalogue import RGB
from depthforge.labels.recomputing import after_noise
from depthforge.manifest import Manifest
from depthforge.manifest_file import load_manifest
from depthforge.plan import WorkItem
from depthforge.registry import layouts
from depthforge.seeding import frame_words
from depthforge.sources.soundness import RunSampler, examine
from depthforge.stages.acceptance import acceptance, present_labels, wanted_labels
from depthforge.stages.prepare import Prepared, make_source, prepare
from depthforge.stages.shards import Converter, ShardJob, job_of, limit_threads, open_writer

MANIFESTS = Path(__file__).resolve().parent.parent / "manifests"
LEFT_OUT = {"kitti": 10}
"""Frames of a scene that a layout has not: KITTI's depth completion leaves out five at each end of a drive."""


def manifests_by_layout() -> dict[str, list[Path]]:
    """Return, for each sample layout, the shipped manifests that can be tried with it."""
    found: dict[str, list[Path]] = {name: [] for name in layouts.names()}
    for path in sorted(MANIFESTS.glob("*.yaml")):
        # The first layout that a manifest names is that of its source; others are of the real side of a training.
        for name in re.findall(r"sample --layout (\w+)", path.read_text())[:1]:
            if name in found:
                found[name].append(path)
    return found


def roots_of(path: Path, sample: Path) -> dict[str, str]:
    """Return the environment in which every root of a shipped manifest is at the sample."""
    return {variable: str(sample) for variable in re.findall(r"\$\{([A-Z0-9_]+)\}", path.read_text())}


def manifest_of(path: Path, sample: Path, out: Path) -> Manifest:
    """Read a shipped manifest with every root at the sample, the default translator of learned ones replaced."""
    os.environ.update(roots_of(path, sample))
    manifest = load_manifest(path)
    learned = manifest.translator.is_learned
    return manifest.overridden(out=out, translator="simulation" if learned else None)


def measure(path: Path, sample: Path, folder: Path, frames: int, repeats: int) -> dict[str, float | int | str] | None:
    """Return frames per second of reading alone, writing alone and all of one manifest."""
    manifest = manifest_of(path, sample, folder / "corpus")
    with prepare(manifest) as prepared:
        refs = [ref for item in read_plan(prepared.plan_file) for ref in item.frames][:frames]
        if not refs:
            return None
        with open_for_writing(folder / "corpus", prepared.info, prepared.plan_file, overwrite=True):
            item = WorkItem("train-000000", "train", tuple(refs))
            seconds = _race(prepared, item, folder / "corpus", folder / "script", repeats)
            look_s = median([_look(prepared) for _ in range(repeats)])
            sizes = {name: _bytes_below(folder / name) for name in ("corpus/shards", "script")}
        shutil.rmtree(folder / "script")
        height, width = prepared.schema.height, prepared.schema.width
        names = [spec.name for spec in prepared.schema.fields]
    rates = {name: len(refs) / median(times) for name, times in seconds.items()}
    return {
        "manifest": path.stem,
        "source": manifest.source.name,
        "pixels": f"{width}x{height}",
        "labels": len(names),
        "frames": len(refs),
        **rates,
        "megapixels": rates["whole"] * width * height / 1e6,
        "of_the_script": rates["whole"] / rates["script"],
        "bytes_of_the_script": sizes["corpus/shards"] / sizes["script"],
        "look_of_600": look_s / (600 / rates["whole"]),
    }


def _look(prepared: Prepared) -> float:
    """Return the seconds that the checks of plausibility take."""
    manifest, source = prepared.manifest, make_source(prepared.manifest.source)
    sampler = RunSampler()
    for _ in sampler.watch(source.frames()):
        pass
    wanted = wanted_labels(manifest.labels, source, prepared.translator)
    if source.ships_colour_files and RGB.name in wanted:
        wanted = wanted - {RGB.name} | {RGB_FILE}
    start = time.perf_counter()
    examine(source, sampler.runs, wanted, acceptance(manifest, source, prepared.translator))
    seconds = time.perf_counter() - start
    source.close()
    return seconds


def _race(prepared: Prepared, item: WorkItem, root: Path, script: Path, repeats: int) -> dict[str, list[float]]:
    job = job_of(prepared, root)
    translator = prepared.translator
    scale_m = prepared.schema.depth.scale_m
    script.mkdir()
    converter = Converter(job)
    kept = _read_all(item, job)

    def write() -> None:
        with open_writer(item, job) as writer:
            for number, ref in enumerate(item.frames):
                frame = replace(kept[number % len(kept)], key=ref.key)
                writer.add(frame, Capture(NoisyDepth(frame.depth_m, frame.valid)), present_labels(frame))
            writer.commit()

    def as_a_script() -> None:
        source = make_source(job.source)
        for number, ref in enumerate(item.frames):
            frame = source.read(ref, job.wanted)
            noisy = translator.translate(frame, frame_words(job.seed, ref.key, translator.fingerprint)).depth
            assert noisy is not None
            save_plainly(script / f"{number:06d}", after_noise(frame, noisy.valid, source.labels), noisy, scale_m)
        source.close()

    return in_turn(
        {
            "read": lambda: _read_all(item, job),
            "write": write,
            "whole": lambda: converter.convert(item),
            "script": as_a_script,
        },
        repeats=repeats,
    )


def save_plainly(path: Path, frame: Frame, noisy: NoisyDepth, scale_m: float) -> None:
    """Write a frame as files that begin with ``path``: a PNG for each image that PNG can hold, the rest in one .npz."""
    depths = {"depth_clean": (frame.depth_m, frame.valid), "depth_noisy": noisy}
    arrays = {name: np.where(valid, np.rint(z / scale_m), 0).astype(np.uint16) for name, (z, valid) in depths.items()}
    arrays |= frame.labels
    if frame.rgb_file is not None:
        Path(f"{path}.rgb.jpg").write_bytes(frame.rgb_file)
    elif frame.rgb is not None:
        arrays["rgb"] = frame.rgb[..., ::-1]
    if frame.T_world_cam is not None:
        arrays["T_world_cam"] = frame.T_world_cam
    rest = {"K": frame.camera.K}
    for name, array in arrays.items():
        stored = array.view(np.uint16) if array.dtype == np.int16 else array
        is_image = stored.shape[:2] == frame.depth_m.shape and stored.shape[2:] in ((), (3,))
        if is_image and stored.dtype in (np.uint8, np.uint16):
            cv2.imwrite(f"{path}.{name}.png", stored)
        else:
            rest[name] = array
    np.savez_compressed(f"{path}.npz", **rest)


def _bytes_below(folder: Path) -> int:
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())


def _read_all(item: WorkItem, job: ShardJob) -> list:  # type: ignore[type-arg]
    source = make_source(job.source)
    kept = [source.read(ref, job.wanted).require_sound() for ref in item.frames]
    source.close()
    return kept


def figure(row: Mapping[str, Any]) -> Figure:
    """Return what the page shows of a manifest."""
    return Figure(
        name=f"synthesize {row['manifest']}.yaml",
        value=row["whole"],
        unit="frames/s",
        better="higher",
        peer="a script that writes PNG and npz",
        peer_value=row["script"],
        data=f"{row['frames']} made-up frames of {row['pixels']}, {row['labels']} labels, one process",
    )


def main() -> None:
    """Measure every shipped manifest that a sample can be written for, print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--frames", type=int, default=32)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--source", action="append", help="only these layouts")
    add_result_options(parser)
    options = parser.parse_args()
    limit_threads()
    rows = []
    for layout, paths in manifests_by_layout().items():
        if options.source and layout not in options.source:
            continue
        folder = Path(tempfile.mkdtemp(prefix="depthforge-bench-"))
        here = Path.cwd()
        try:
            sample = folder / "sample"
            per_scene = -(-options.frames // 2) + LEFT_OUT.get(layout, 0)
            layouts.get(layout)().write(sample, num_scenes=2, frames_per_scene=per_scene, seed=0)
            os.chdir(folder)  # what a manifest prepares goes beside the sample
            for path in paths:
                row = measure(path, sample, folder, options.frames, options.repeats)
                if row is not None:
                    rows.append(row)
                    if options.save:
                        save_run("bench_sources", row, [figure(row)], part=path.stem, note=options.note)
        finally:
            os.chdir(here)
            shutil.rmtree(folder, ignore_errors=True)
    if options.json:
        print_json({"sources": rows})
        return
    print(machine() + "; one process")
    header = ["manifest", "source", "pixels", "labels", "read alone", "write alone", "whole, frames/s", "Mpx/s"]
    header += ["as a script", "whole / script", "bytes / script's", "look, of 600 frames"]
    table = [
        [
            row["manifest"],
            row["source"],
            row["pixels"],
            row["labels"],
            *(f"{row[name]:.1f}" for name in ("read", "write", "whole", "megapixels", "script")),
            *(f"{row[name]:.2f}" for name in ("of_the_script", "bytes_of_the_script")),
            f"{row['look_of_600']:.1%}",
        ]
        for row in rows
    ]
    print_table("synthesize, one process", table, header)


if __name__ == "__main__":
    main()
