"""What each codec makes of each kind of field: KiB a frame, and milliseconds to encode and to decode it on one thread.

python -m benchmarks.bench_codecs [--frames 12] [--repeats 5] [--json] [--save]

Data: depthforge's own procedural rooms at 640x480 (clean depth in millimetres, its Kinect simulation, ids, normals)
and, where the folder that DEPTHFORGE_SHARED names holds them, photographs as colour. One chunk is one frame, checksum
included, as in a shard; the peers are PNG (OpenCV, level 1; of normals there is none) and lossless WebP for colour.
Medians over frames and repeats, contestants in turn. Bars: decoding noisy depth with `fast` at least
2 times as fast as with `zstd`; clean depth smaller with `small` than with `zstd`.
"""

from __future__ import annotations

import argparse
import os
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import cv2
import numpy as np
import numpy.typing as npt

from benchmarks.results import Figure, add_result_options, save_run
from benchmarks.timing import machine, median, print_json, print_table
from depthforge.corpus.chains import chunk_codec
from depthforge.corpus.encode import encode_depth
from depthforge.corpus.schema import DEPTH_CLEAN, DEPTH_NOISY, CorpusSchema
from depthforge.encoding import Codec
from depthforge.labels.catalogue import NORMALS, RGB
from depthforge.labels.spec import LabelSpec
from depthforge.manifest import parse_manifest
from depthforge.stages.prepare import make_source, make_translator

SIZE = (480, 640)
CODECS = ("zstd", "fast", "small", "blosc-zstd", "blosc-lz4", "none")
PNG, WEBP = "PNG", "WebP lossless"
BAR_FAST, BAR_SMALL = 2.0, 1.0
SHARED = Path(os.environ.get("DEPTHFORGE_SHARED", "../shared"))


class Contestant(NamedTuple):
    """How an image is stored and read back."""

    encode: Callable[[npt.NDArray[Any]], bytes]
    decode: Callable[[bytes, npt.NDArray[Any]], None]


def make_fields(count: int) -> dict[str, tuple[LabelSpec, list[npt.NDArray[Any]]]]:
    """Return frames of every kind of field as they are stored, by the name of the kind."""
    rooms = {"name": "procedural", "num_scenes": count, "frames_per_scene": 1, "width": SIZE[1], "height": SIZE[0]}
    value = {"name": "codecs", "source": rooms, "translator": {"name": "simulation"}, "corpus": {"out": "unused"}}
    manifest = parse_manifest(value, where="benchmark")
    source, translator = make_source(manifest.source), make_translator(manifest.translator)
    depth = CorpusSchema(*SIZE, ())
    clean, noisy = depth.depth_specs
    kinds: dict[str, tuple[LabelSpec, list[npt.NDArray[Any]]]] = {
        DEPTH_CLEAN: (clean, []),
        DEPTH_NOISY: (noisy, []),
        **{name: (source.labels[name], []) for name in ("semantic", "normals") if name in source.labels},
        "rgb (rendered)": (RGB, []),
    }
    for number, ref in enumerate(source.frames()):
        frame = source.read(ref, frozenset(source.labels))
        capture = translator.translate(frame, (0, number))
        assert capture.depth is not None
        assert frame.rgb is not None
        kinds[DEPTH_CLEAN][1].append(encode_depth(frame.depth_m, frame.valid, depth.depth, where=ref.key))
        kinds[DEPTH_NOISY][1].append(encode_depth(*capture.depth, depth.depth, where=ref.key))
        kinds["rgb (rendered)"][1].append(frame.rgb)
        for name in ("semantic", "normals"):
            if name in kinds and name in frame.labels:
                kinds[name][1].append(np.ascontiguousarray(frame.labels[name]))
    photographs = list(_photographs(count))
    if photographs:
        kinds["rgb (photographs)"] = (RGB, photographs)
    return {name: kind for name, kind in kinds.items() if kind[1]}


def _photographs(count: int) -> Iterator[npt.NDArray[np.uint8]]:
    paths = sorted(path for path in SHARED.glob("data/**/*.png") if "rgb" in str(path.parent) or "color" in path.name)
    for path in paths[:: max(1, len(paths) // count)][:count]:
        image = cv2.imread(str(path), cv2.IMREAD_COLOR_RGB)
        if image is not None and image.shape == (*SIZE, 3):
            yield np.asarray(image, np.uint8)


def contestants(spec: LabelSpec) -> dict[str, Contestant]:
    """Return every way to store a field: our codecs, and the image formats that can hold it."""
    found: dict[str, Contestant] = {}
    for name in CODECS:
        codec = chunk_codec(Codec(name=name), spec, *SIZE)  # type: ignore[arg-type]

        def decode(content: bytes, out: npt.NDArray[Any], codec: Any = codec) -> None:
            codec.decode_into(content, out[np.newaxis], where="benchmark")

        found[name] = Contestant(codec.encode, decode)
    if spec.name != NORMALS.name:
        found[PNG] = _image_format(".png", [cv2.IMWRITE_PNG_COMPRESSION, 1])
    if spec.name == RGB.name:
        found[WEBP] = _image_format(".webp", [cv2.IMWRITE_WEBP_QUALITY, 101])
    return found


def _image_format(suffix: str, options: list[int]) -> Contestant:
    def encode(image: npt.NDArray[Any]) -> bytes:
        return cv2.imencode(suffix, image, options)[1].tobytes()

    def decode(content: bytes, out: npt.NDArray[Any]) -> None:
        out[...] = cv2.imdecode(np.frombuffer(content, np.uint8), cv2.IMREAD_UNCHANGED)

    return Contestant(encode, decode)


def measure(spec: LabelSpec, frames: list[npt.NDArray[Any]], repeats: int) -> dict[str, dict[str, float]]:
    """Return KiB, raw KiB, and milliseconds to encode and decode, medians, by contestant."""
    ways = contestants(spec)
    seconds: dict[str, dict[str, list[float]]] = {name: {"encode": [], "decode": []} for name in ways}
    size = dict.fromkeys(ways, 0)
    out = np.empty_like(frames[0])
    for frame in frames:
        for name, way in ways.items():
            content = way.encode(frame)
            size[name] += len(content)
            way.decode(content, out)
            assert np.array_equal(out, frame), f"{spec.name}, {name}"
            for _ in range(repeats):
                start = time.perf_counter()
                way.encode(frame)
                between = time.perf_counter()
                way.decode(content, out)
                seconds[name]["encode"].append(between - start)
                seconds[name]["decode"].append(time.perf_counter() - between)
    return {
        name: {
            "kib": size[name] / len(frames) / 1024,
            "ratio": frames[0].nbytes * len(frames) / size[name],
            "encode_ms": median(seconds[name]["encode"]) * 1000,
            "decode_ms": median(seconds[name]["decode"]) * 1000,
        }
        for name in ways
    }


def figures(found: Mapping[str, Mapping[str, Mapping[str, float]]], frames: int) -> list[Figure]:
    """Return what the page shows: decoding with fast, and the size of small, beside zstd."""
    shown = []
    for kind, ways in found.items():
        data = f"{frames} frames of 640x480, {kind}"
        shown.append(
            Figure(
                name=f"{kind}: decoding on one thread, fast",
                value=1000 / ways["fast"]["decode_ms"],
                unit="frames/s",
                better="higher",
                peer="zstd",
                peer_value=1000 / ways["zstd"]["decode_ms"],
                bar=BAR_FAST if kind == DEPTH_NOISY else None,
                bar_of="ratio",
                data=data,
            )
        )
        shown.append(
            Figure(
                name=f"{kind}: a frame, small",
                value=ways["small"]["kib"],
                unit="KiB",
                better="lower",
                peer="zstd",
                peer_value=ways["zstd"]["kib"],
                bar=BAR_SMALL if kind == DEPTH_CLEAN else None,
                bar_of="ratio",
                data=data,
            )
        )
    return shown


def main() -> None:
    """Measure every field with every codec and print a table a field."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--frames", type=int, default=12)
    parser.add_argument("--repeats", type=int, default=5)
    add_result_options(parser)
    options = parser.parse_args()
    cv2.setNumThreads(1)
    fields = make_fields(options.frames)
    found = {kind: measure(spec, frames, options.repeats) for kind, (spec, frames) in fields.items()}
    if options.save:
        save_run("bench_codecs", found, figures(found, options.frames), note=options.note)
    if options.json:
        print_json(found)
        return
    print(f"{machine()}; one thread, {options.frames} frames of 640x480")
    for kind, ways in found.items():
        rows = [
            [name, f"{of['kib']:.0f}", f"{of['ratio']:.1f}", f"{of['encode_ms']:.2f}", f"{of['decode_ms']:.2f}"]
            for name, of in ways.items()
        ]
        print_table(kind, rows, ["codec", "KiB", "ratio", "encode ms", "decode ms"])


if __name__ == "__main__":
    main()
