"""Bytes and milliseconds of each codec of a corpus for each kind of field, beside PNG and lossless WebP, one thread.

python -m benchmarks.bench_codecs [--frames 16] [--repeats 7] [--json] [--save]

Data, 640x480: depthforge's own procedural rooms through its Kinect simulation, four frames of each room; and, where it
lies beside the checkout (`../shared/data`), real depth of a Kinect v1 (7-Scenes) and of a RealSense D4xx, the rendered
depth of ICL-NUIM living room 1 and its photographs. Encoding and decoding include the checksum. Codecs run in turn.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Final, NamedTuple

import cv2
import numpy as np
import numpy.typing as npt

from benchmarks.results import Figure, add_result_options, save_run
from benchmarks.timing import in_turn, machine, median, print_json, print_table, shared_folder
from depthforge.corpus.chains import chunk_codec
from depthforge.corpus.encode import encode_depth
from depthforge.encoding import Codec, DepthEncoding
from depthforge.labels.catalogue import INSTANCE, NORMALS, RGB
from depthforge.labels.spec import LabelSpec
from depthforge.seeding import frame_words
from depthforge.sources.procedural import Procedural, ProceduralConfig
from depthforge.translators.simulation import Simulation

CODECS: Final = ("zstd", "fast", "small")
HEIGHT, WIDTH = 480, 640
CLEAN, NOISY = (LabelSpec(name, "uint16", "image", "") for name in ("depth_clean", "depth_noisy"))
CLEAN_F32, NOISY_F32 = (LabelSpec(name, "float32", "image", "") for name in ("depth_clean", "depth_noisy"))
Images = list[npt.NDArray[Any]]


class Kind(NamedTuple):
    """A kind of field and frames of it."""

    spec: LabelSpec
    frames: Images


class Coder(NamedTuple):
    """A way to bytes and back; ``decode`` takes the bytes and an array to fill or to ignore."""

    encode: Callable[[npt.NDArray[Any]], bytes]
    decode: Callable[[bytes, npt.NDArray[Any]], Any]


def made_up(count: int) -> dict[str, Kind]:
    """Return the fields of procedural frames."""
    source = Procedural(ProceduralConfig(num_scenes=-(-count // 4), frames_per_scene=4))
    translator = Simulation(Simulation.Config())
    kinds = {
        "clean depth": Kind(CLEAN, []),
        "noisy depth": Kind(NOISY, []),
        "clean depth, float32": Kind(CLEAN_F32, []),
        "noisy depth, float32": Kind(NOISY_F32, []),
        "instance ids": Kind(INSTANCE, []),
        "normals": Kind(NORMALS, []),
        "colour": Kind(RGB, []),
    }
    for ref in list(source.frames())[:count]:
        frame = source.read(ref, frozenset({"rgb", "instance", "normals"}))
        noisy = translator.translate(frame, frame_words(0, frame.key)).depth
        assert noisy is not None
        for suffix, encoding in (("", DepthEncoding()), (", float32", DepthEncoding(dtype="float32"))):
            clean = encode_depth(frame.depth_m, frame.valid, encoding, where=frame.key)
            kinds[f"clean depth{suffix}"].frames.append(clean)
            kinds[f"noisy depth{suffix}"].frames.append(encode_depth(*noisy, encoding, where=frame.key))
        kinds["instance ids"].frames.append(frame.labels["instance"])
        kinds["normals"].frames.append(frame.labels["normals"])
        assert frame.rgb is not None
        kinds["colour"].frames.append(frame.rgb)
    return kinds


def recorded(count: int) -> dict[str, Kind]:
    """Return what of the real data lies beside the checkout."""
    wanted = {
        "clean depth, ICL-NUIM": (CLEAN, ("clean", "livingroom1", "depth"), "*.png"),
        "noisy depth, Kinect v1": (NOISY, ("real", "redkitchen_kinect"), "*.depth.png"),
        "noisy depth, D4xx": (NOISY, ("real", "lab_d4xx", "depth"), "*.png"),
        "colour, ICL-NUIM": (RGB, ("clean", "livingroom1", "image"), "*.[jp][pn]g"),
    }
    kinds = {}
    for name, (spec, parts, pattern) in wanted.items():
        folder = shared_folder("data", *parts)
        if folder is None:
            continue
        paths = sorted(folder.glob(pattern))
        kinds[name] = Kind(spec, [_read(path) for path in paths[:: max(1, len(paths) // count)][:count]])
    return kinds


def _read(path: Path) -> npt.NDArray[Any]:
    image = cv2.imread(str(path), cv2.IMREAD_UNCHANGED)
    assert image is not None
    if image.ndim == 3:
        return np.ascontiguousarray(image[..., ::-1])
    image[image == 65535] = 0  # 7-Scenes and D4xx recordings: no measurement
    return image


def coders(kind: Kind) -> dict[str, Coder]:
    """Return the codecs of a corpus, and of the peers those that hold such an image."""
    found = {name: _ours(name, kind.spec) for name in CODECS}
    dtype = np.dtype(kind.spec.dtype)
    if dtype.kind in "iu" and dtype.itemsize <= 2:
        found["PNG"] = _image(".png", [], dtype)
    if dtype == np.uint8 and kind.spec.trailing == (3,):
        found["WebP, lossless"] = _image(".webp", [cv2.IMWRITE_WEBP_QUALITY, 101], dtype)
    return found


def _ours(name: str, spec: LabelSpec) -> Coder:
    chain = chunk_codec(Codec.model_validate({"name": name}), spec, HEIGHT, WIDTH)
    return Coder(chain.encode, lambda content, out: chain.decode_into(content, out, where=name))


def _image(suffix: str, options: list[int], dtype: np.dtype[Any]) -> Coder:
    unsigned = np.dtype(f"u{dtype.itemsize}")

    def encode(image: npt.NDArray[Any]) -> bytes:
        return cv2.imencode(suffix, image.view(unsigned), options)[1].tobytes()

    def decode(content: bytes, out: npt.NDArray[Any]) -> None:
        image = cv2.imdecode(np.frombuffer(content, np.uint8), cv2.IMREAD_UNCHANGED)
        assert image is not None
        out[0] = image.view(dtype)

    return Coder(encode, decode)


def measure(kind: Kind, repeats: int) -> dict[str, dict[str, float]]:
    """Return ratio, KiB, milliseconds to encode and to decode a frame, by coder; each frame comes back as it was."""
    known = coders(kind)
    contents = {name: [coder.encode(frame) for frame in kind.frames] for name, coder in known.items()}
    out = np.empty((1, *kind.frames[0].shape), kind.frames[0].dtype)
    for name, coder in known.items():
        for frame, content in zip(kind.frames, contents[name], strict=True):
            coder.decode(content, out)
            if out.tobytes() != frame.tobytes():
                raise AssertionError(f"{name} does not give back what it was given")

    def encoding(coder: Coder) -> Callable[[], object]:
        return lambda: [coder.encode(frame) for frame in kind.frames]

    def decoding(name: str, coder: Coder) -> Callable[[], object]:
        return lambda: [coder.decode(content, out) for content in contents[name]]

    encoded = in_turn({name: encoding(coder) for name, coder in known.items()}, repeats=max(1, repeats // 3))
    decoded = in_turn({name: decoding(name, coder) for name, coder in known.items()}, repeats=repeats)
    count, raw = len(kind.frames), out.nbytes
    sizes = {name: sum(map(len, each)) / count for name, each in contents.items()}
    return {
        name: {
            "ratio": raw / sizes[name],
            "kib_per_frame": sizes[name] / 1024,
            "encode_ms": median(encoded[name]) / count * 1000,
            "decode_ms": median(decoded[name]) / count * 1000,
            "decode_of_zstd": median([b / a for a, b in zip(decoded[name], decoded["zstd"], strict=True)]),
        }
        for name in known
    }


def figures(found: Mapping[str, Mapping[str, Mapping[str, float]]], num_frames: int) -> list[Figure]:
    """Return what the page shows: bytes of ``small`` and time of ``fast``, beside ``zstd`` and the peers."""
    shown = []
    for kind, each in found.items():
        data = f"{num_frames} frames of 640x480, {kind}"
        for peer in ("zstd", "PNG", "WebP, lossless"):
            if peer in each:
                ours, theirs = each["small"]["kib_per_frame"], each[peer]["kib_per_frame"]
                name = "small, a frame"
                shown.append(
                    Figure(name=name, value=ours, unit="KiB", better="lower", peer=peer, peer_value=theirs, data=data)
                )
        shown.append(
            Figure(
                name="fast, decoding a frame",
                value=each["fast"]["decode_ms"],
                unit="ms",
                better="lower",
                peer="zstd",
                ratio=each["fast"]["decode_of_zstd"],
                bar=2.0 if "depth" in kind and "float32" not in kind else None,
                bar_of="ratio",
                data=data,
            )
        )
    return shown


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--frames", type=int, default=16)
    parser.add_argument("--repeats", type=int, default=7)
    add_result_options(parser)
    arguments = parser.parse_args()
    cv2.setNumThreads(1)
    kinds = {**made_up(arguments.frames), **recorded(arguments.frames)}
    found = {name: measure(kind, arguments.repeats) for name, kind in kinds.items()}
    measured = {"frames": arguments.frames, "kinds": found}
    if arguments.save:
        save_run("bench_codecs", measured, figures(found, arguments.frames), note=arguments.note)
    if arguments.json:
        print_json(measured)
        return
    rows = [
        (
            kind,
            name,
            f"{each['ratio']:.2f}",
            f"{each['kib_per_frame']:.1f}",
            f"{each['encode_ms']:.2f}",
            f"{each['decode_ms']:.3f}",
            f"{each['decode_of_zstd']:.2f}",
        )
        for kind, by_codec in found.items()
        for name, each in by_codec.items()
    ]
    header = ("field", "codec", "ratio", "KiB", "encode ms", "decode ms", "x zstd's decoding")
    print_table(f"{machine()}; a frame of 640x480, one thread", rows, header)


if __name__ == "__main__":
    main()
