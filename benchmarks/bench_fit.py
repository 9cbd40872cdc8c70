"""Does ``depthforge fit`` find what is there, and does it help? Known parameters recovered, and a real Kinect.

python -m benchmarks.bench_fit [--sensors structured_light ...] [--rooms 24] [--frames 16] [--json]

Recovery: rooms of a wall, a floor and boxes at 160x120 through a sensor of known parameters are fitted from another
starting point; bar: 10 % for each parameter (0.1 for an exponent or a growth). Patches are a few large things in small
images: the share that a set of rooms really lost is off the true one by 4 % in 48 rooms of 14 px patches, by up to 10 %
in 24 of 8 or 12 px blobs, and no fit can know better; structured light needs 48. Kinect: 7-Scenes RedKitchen, where it
lies beside the checkout, is fitted on its first half; then clean living-room frames go through the default and the
fitted sensor and are held against the second half by the realism score (``realism.choice``, lower is better), beside
the preset that is shipped. Bar: the fitted one scores lower than the default.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.timing import print_json, print_table, shared_folder
from depthforge.fitting.fit import fit_sensor
from depthforge.fitting.scans import read_scans
from depthforge.frame import Frame
from depthforge.realism.choice import Score, evaluate_translator
from depthforge.realism.describe import Description, describe
from depthforge.realism.views import DepthView, evenly_spaced
from depthforge.registry import sensors, sources
from depthforge.seeding import frame_words
from depthforge.sensors._presets import parse_sensor
from depthforge.sensors.base import Sensor
from depthforge.sources.base import Source
from tests.fitting.rooms import CAMERA, scans

# What is known beforehand, what is to be found, and what is told by its difference and not by its ratio.
KNOWN: dict[str, tuple[dict[str, Any], dict[str, Any]]] = {
    "structured_light": (
        {
            "interpolate_px": 1.0,
            "match_threshold_px": 0.5,
            "mass_fraction": 0.5,
            "fray_radius_px": 1.5,
            "focal_length_px": CAMERA.fx,
        },
        {
            "baseline_m": 0.3,
            "raw_scale_m": 0.3 * 8 * CAMERA.fx,
            "disparity_sigma_px": 0.06,
            "disparity_sigma_power": 0.4,
            "disparity_correlation_px": 3.0,
            "noise_sigma_steps": 0.4,
            "shift_sigma_px": 0.1,
            "patch_share": 0.1,
            "patch_growth": 0.4,
            "patch_size_px": 14.0,
            "projector_side": "right",
        },
    ),
    "active_stereo": (
        {"baseline_m": 0.3, "blank_band": False},
        {
            "steps_per_px": 16.0,
            "noise_sigma_px": 0.2,
            "noise_correlation_px": 2.0,
            "patch_share": 0.1,
            "patch_growth": 0.4,
            "patch_size_px": 14.0,
            "second_imager": "right",
        },
    ),
    "time_of_flight": (
        {"max_depth_m": 10.0},
        {
            "base_noise_m": 0.004,
            "range_noise_m": 0.0008,
            "noise_correlation_px": 1.5,
            "patch_share": 0.1,
            "patch_growth": 0.4,
            "patch_size_px": 14.0,
        },
    ),
    "gaussian_dropout": (
        {"edge_px": 2},
        {
            "sigma_constant_m": 0.003,
            "sigma_quadratic_per_m": 0.002,
            "correlation_px": 1.6,
            "pixel_dropout": 0.03,
            "blob_dropout": 0.15,
            "blob_px": 8.0,
            "edge_dropout": 0.4,
        },
    ),
}
DIFFERENCES = ("disparity_sigma_power", "patch_growth")


def recovery(name: str, num_rooms: int) -> list[dict[str, Any]]:
    """Return a row for each parameter of a sensor: true, found, how far off (a share, or a difference), the time."""
    known, true = KNOWN[name]
    sensor: Sensor = sensors.get(name)(**known, **true)
    start: Sensor = sensors.get(name)(**known)
    began = time.perf_counter()
    found = fit_sensor(start, scans(sensor, num_rooms)).sensor
    seconds = time.perf_counter() - began
    rows = []
    for key, value in true.items():
        here = getattr(found, key)
        if isinstance(value, str):
            off = 0.0 if here == value else 1.0
        else:
            off = here - value if key in DIFFERENCES else here / value - 1
        rows.append({"sensor": name, "parameter": key, "true": value, "found": here, "off": off, "seconds": seconds})
    return rows


def realism_of(sensor: Sensor, clean: Iterable[Frame], real: Description) -> Score:
    """Return the score of clean frames through ``sensor``, stored in millimetres as the scans are."""
    views = []
    for frame in clean:
        depth_m, valid = sensor.measure(frame, frame_words(0, frame.key, "bench"))
        stored = (np.rint(depth_m * 1000) / 1000).astype(np.float32)
        views.append(DepthView(stored, valid & (stored > 0), frame.camera, (frame.depth_m, frame.valid)))
    return evaluate_translator(views, real).score


def kinect(num_frames: int) -> dict[str, Any] | None:
    """Return the scores of the default, the fitted and the shipped Kinect on held-out scans; None without data."""
    folder = shared_folder("data")
    if folder is None:
        return None
    redkitchen, livingroom = _redkitchen(folder), _livingroom(folder)
    began = time.perf_counter()
    fit = fit_sensor(parse_sensor("kinect_v1"), read_scans(redkitchen, num_frames, wanted=frozenset()))
    seconds = time.perf_counter() - began
    references = list(redkitchen.frames())
    held_out = references[(len(references) + 1) // 2 :]
    chosen = (redkitchen.read(held_out[place], frozenset()) for place in evenly_spaced(len(held_out), 80))
    real = describe(DepthView(frame.depth_m, frame.valid, frame.camera) for frame in chosen)
    rooms = list(livingroom.frames())
    clean = [livingroom.read(rooms[place], frozenset()) for place in evenly_spaced(len(rooms), 40)]
    by_name = {"default": fit.start, "fitted": fit.sensor, "kinect_v1_fitted": parse_sensor("kinect_v1_fitted")}
    scores = {name: realism_of(sensor, clean, real) for name, sensor in by_name.items()}
    return {
        "seconds": seconds,
        "misfit on held-out scans": dict(zip(("default", "fitted"), fit.on_held_out.misfits(fit.curves), strict=True)),
        "scores": {name: {"total": score.total, **score.terms} for name, score in scores.items()},
    }


def _redkitchen(folder: Path) -> Source:
    return _rgbd(
        root=str(folder / "real" / "redkitchen_kinect"),
        dataset="redkitchen",
        depth="frame-{frame}.depth.png",
        invalid=[0, 65535],
        camera={"width": 640, "height": 480, "fx": 585, "fy": 585, "cx": 320, "cy": 240},
    )


def _livingroom(folder: Path) -> Source:
    return _rgbd(
        root=str(folder / "clean" / "livingroom1"),
        dataset="livingroom1",
        depth="depth/{frame}.png",
        camera={"width": 640, "height": 480, "fx": 525, "fy": 525, "cx": 319.5, "cy": 239.5},
    )


def _rgbd(**fields: Any) -> Source:
    cls = sources.get("rgbd_folder")
    licence = {"name": "research use", "non_commercial": True}
    source: Source = cls(cls.Config.model_validate({"depth_scale": 1000, "licence": licence, **fields}))
    return source


def _short(value: Any) -> str:
    return value if isinstance(value, str) else f"{value:.4g}"


def main() -> None:
    """Print both tables, or JSON."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sensors", nargs="*", default=sorted(KNOWN), choices=sorted(KNOWN))
    parser.add_argument("--rooms", type=int, default=24)
    parser.add_argument("--frames", type=int, default=16)
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    rows = [row for name in options.sensors for row in recovery(name, options.rooms)]
    real = kinect(options.frames)
    if options.json:
        print_json({"recovery": rows, "kinect": real})
        return
    print_table(
        "known parameters, recovered",
        [
            [
                r["sensor"],
                r["parameter"],
                _short(r["true"]),
                _short(r["found"]),
                f"{r['off']:+.3f}",
                f"{r['seconds']:.0f}",
            ]
            for r in rows
        ],
        ["sensor", "parameter", "true", "found", "off", "s"],
    )
    if real is None:
        print("no real scans beside the checkout: set DEPTHFORGE_SHARED to the folder that holds data/")
        return
    print(
        f"\nRedKitchen, fitted on {options.frames} scans in {real['seconds']:.0f} s; misfits on held-out scans:",
        end=" ",
    )
    print(", ".join(f"{name} {value:.2f}" for name, value in real["misfit on held-out scans"].items()))
    terms = list(next(iter(real["scores"].values())))
    print_table(
        "realism on held-out scans, lower is better",
        [[name, *(f"{score[term]:.3f}" for term in terms)] for name, score in real["scores"].items()],
        ["sensor", *terms],
    )


if __name__ == "__main__":
    main()
