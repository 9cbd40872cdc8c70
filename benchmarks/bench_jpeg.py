"""A data set that ships colour as JPEG: bytes of its corpus and frames per second, the files carried against pixels.

python -m benchmarks.bench_jpeg [--frames 96] [--rounds 3] [--json] [--save]

Data: ICL-NUIM's living room 1 (640x480, depth as PNG, colour as the JPEG that it is shipped as) where the folder that
DEPTHFORGE_SHARED names holds it, else depthforge's own rooms written so (quality 95). Both corpora hold the same frames
through the Kinect simulation, one process, in turn; `lossless` is what every corpus was before files
were carried. Reading is of all colour, one thread, from the page cache, beside OpenCV reading the source's own files,
and a WebDataset of them.
Bars: at most a third of the bytes, and at least 1.3 times the frames per second.
"""

from __future__ import annotations

import argparse
import tarfile
import tempfile
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import webdataset

from benchmarks.results import Figure, add_result_options, save_run
from benchmarks.timing import machine, median, print_json, print_table, shared_folder
from depthforge.corpus.reader import CorpusReader
from depthforge.manifest import Manifest, parse_manifest
from depthforge.stages.convert import convert
from depthforge.stages.prepare import make_source, prepare

SIZE = (480, 640)
WAYS = ("as_shipped", "lossless")
BAR_BYTES, BAR_RATE = 1 / 3, 1.3
QUALITY = 95
PIXELS = cv2.IMREAD_COLOR_RGB | cv2.IMREAD_IGNORE_ORIENTATION


def make_recording(root: Path, count: int) -> None:
    """Write depth as PNG and colour as JPEG of ``count`` frames of rooms."""
    block = {"name": "procedural", "num_scenes": 4, "frames_per_scene": -(-count // 4)}
    value = {"name": "rooms", "source": block, "translator": {"name": "identity"}, "corpus": {"out": "unused"}}
    source = make_source(parse_manifest(value, where="benchmark").source)
    for folder in ("depth", "image"):
        (root / folder).mkdir(parents=True)
    for number, ref in zip(range(count), source.frames(), strict=False):
        frame = source.read(ref, frozenset(["rgb"]))
        assert frame.rgb is not None
        cv2.imwrite(str(root / f"depth/{number:05d}.png"), np.round(frame.depth_m * 1000).astype(np.uint16))
        colour = cv2.cvtColor(frame.rgb, cv2.COLOR_RGB2BGR)
        cv2.imwrite(str(root / f"image/{number:05d}.jpg"), colour, [cv2.IMWRITE_JPEG_QUALITY, QUALITY])


def manifest_of(recording: Path, out: Path, colour: str, limit: int) -> Manifest:
    """Return the manifest of one corpus."""
    height, width = SIZE
    value = {
        "name": "jpeg",
        "source": {
            "name": "rgbd_folder",
            "root": str(recording),
            "depth": "depth/{frame}.png",
            "rgb": "image/{frame}.jpg",
            "depth_scale": 1000,
            "camera": {"width": width, "height": height, "fx": 525, "fy": 525, "cx": 319.5, "cy": 239.5},
        },
        "translator": {"name": "simulation"},
        "limit": limit,
        "corpus": {"out": str(out), "colour": colour},
    }
    return parse_manifest(value, where="benchmark")


def measure(recording: Path, folder: Path, rounds: int, limit: int) -> dict[str, dict[str, float]]:
    """Return frames/s of conversion, KiB a frame in all and of colour, and frames/s of reading colour, by way."""
    rates: dict[str, list[float]] = {way: [] for way in WAYS}
    for number in range(-1, rounds):  # the first is not counted: it compiles
        for way in WAYS:
            manifest = manifest_of(recording, folder / f"{way}-{number}", way, limit)
            with prepare(manifest) as prepared:
                start = time.perf_counter()
                report = convert(prepared, out=manifest.corpus.out, num_workers=1, inline=True)
            if number >= 0:
                rates[way].append(report.num_frames / (time.perf_counter() - start))
    found = {}
    for way in WAYS:
        root = folder / f"{way}-0"
        shards = [path for path in root.rglob("*") if path.is_file() and "shards" in path.parts]
        frames = len(CorpusReader(root))
        found[way] = {
            "frames_s": median(rates[way]),
            "kib": sum(path.stat().st_size for path in shards) / frames / 1024,
            "colour_kib": sum(p.stat().st_size for p in shards if p.parent.name == "rgb") / frames / 1024,
            "read_frames_s": median([_read(root) for _ in range(rounds)]),
        }
    files = sorted((recording / "image").iterdir())[:limit]
    tar = _pack(files, folder / "files.tar")
    for name, path, read in (
        ("source", recording, lambda: _read_files(files)),
        ("WebDataset", tar, lambda: _read_tar(tar)),
    ):
        sizes = [path.stat().st_size] if path == tar else [each.stat().st_size for each in files]
        found[name] = {
            "colour_kib": sum(sizes) / len(files) / 1024,
            "read_frames_s": median([read() for _ in range(rounds)]),
        }
    return found


def _pack(files: Sequence[Path], path: Path) -> Path:
    """Pack the files as WebDataset likes them."""
    with tarfile.open(path, "w") as tar:
        for number, file in enumerate(files):
            tar.add(file, f"{number:06d}.jpg")
    return path


def _read_files(files: Sequence[Path]) -> float:
    start = time.perf_counter()
    for path in files:
        cv2.imread(str(path), PIXELS)
    return len(files) / (time.perf_counter() - start)


def _read_tar(path: Path) -> float:
    start, count = time.perf_counter(), 0
    for sample in webdataset.WebDataset(str(path), shardshuffle=False):
        cv2.imdecode(np.frombuffer(sample["jpg"], np.uint8), PIXELS)
        count += 1
    return count / (time.perf_counter() - start)


def _read(root: Path) -> float:
    reader = CorpusReader(root)
    out = np.empty((*SIZE, 3), np.uint8)
    start = time.perf_counter()
    for position in range(len(reader)):
        reader.stored("rgb", position, out)
    return len(reader) / (time.perf_counter() - start)


def figures(found: Mapping[str, Mapping[str, float]], data: str) -> list[Figure]:
    """Return what the page shows: bytes, conversion and reading of carried files beside pixels."""
    ours, peer = found["as_shipped"], found["lossless"]
    shown: list[Figure] = []
    for name, key, unit, better, bar in (
        ("a frame in the corpus", "kib", "KiB", "lower", BAR_BYTES),
        ("colour of a frame", "colour_kib", "KiB", "lower", None),
        ("conversion on one core", "frames_s", "frames/s", "higher", BAR_RATE),
        ("reading colour on one thread", "read_frames_s", "frames/s", "higher", None),
    ):
        figure: dict[str, Any] = {"name": name, "value": ours[key], "unit": unit, "better": better, "data": data}
        shown.append(Figure(**figure, peer="lossless", peer_value=peer[key], bar=bar, bar_of="ratio"))
    for name in ("source", "WebDataset"):
        shown.append(
            Figure(
                name="reading colour on one thread",
                value=ours["read_frames_s"],
                unit="frames/s",
                better="higher",
                data=data,
                peer=f"{name}'s JPEG files",
                peer_value=found[name]["read_frames_s"],
            )
        )
    return shown


def main() -> None:
    """Make the recording, convert it both ways in turn, read both, print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--frames", type=int, default=96)
    parser.add_argument("--rounds", type=int, default=3)
    add_result_options(parser)
    options = parser.parse_args()
    cv2.setNumThreads(1)
    shared = shared_folder("data", "clean", "livingroom1")
    with tempfile.TemporaryDirectory(prefix="depthforge-bench-") as folder:
        recording = shared or Path(folder) / "recording"
        if shared is None:
            make_recording(recording, options.frames)
        found = measure(recording, Path(folder), options.rounds, options.frames)
    what = "ICL-NUIM living room 1" if shared else f"rendered rooms as JPEG of quality {QUALITY}"
    data = f"{options.frames} frames of 640x480, {what}"
    if options.save:
        save_run("bench_jpeg", found, figures(found, data), note=options.note)
    if options.json:
        print_json(found)
        return
    print(f"{machine()}; {data}; one core")
    ways = (*WAYS, "source", "WebDataset")
    keys = ("kib", "colour_kib", "frames_s", "read_frames_s")
    rows = [[way, *(f"{found[way][key]:.0f}" if key in found[way] else "" for key in keys)] for way in ways]
    print_table("Colour", rows, ["corpus.colour", "KiB a frame", "of which colour", "frames/s", "reading, frames/s"])
    ours, peer = found["as_shipped"], found["lossless"]
    bytes_ratio, rate_ratio = ours["kib"] / peer["kib"], ours["frames_s"] / peer["frames_s"]
    print(f"\n  bytes {bytes_ratio:.2f} (bar {BAR_BYTES:.2f}), rate {rate_ratio:.2f} (bar {BAR_RATE:g})")


if __name__ == "__main__":
    main()
