"""Does ``depthforge fit`` find what is there, and does it help? Known parameters recovered, and a real Kinect.

python -m benchmarks.bench_fit [--sensors structured_light ...] [--rooms 96] [--frames 16] [--json]

Recovery: rooms of a wall, a floor and boxes at 160x120 through a sensor of known parameters are fitted from another
starting point; two sets of parameters for each sensor, in different rooms; bar: 10 % for each parameter (0.1 for an
exponent or a growth). "oracle off" is what the same search finds with the true scenes in place of clean guesses,
beginning at the truth: what is left of it is chance. Patches are a few large things in small images: the share that a
set of 96 rooms really lost is off the true one by 2 to 5 %, and no fit can know better. More rooms cost little, since
smaller sets are simulated more often. Kinect: 7-Scenes RedKitchen, where it lies beside the checkout, is fitted on its
first half; then clean living-room frames go through the default and the fitted sensor and are held against the second
half by the realism score (``realism.choice``, lower is better), beside the preset that is shipped. Bar: the fitted one
scores lower than the default.

On one core that others use too: 2 minutes a fit, 5 for structured light, half as much again for its oracle; Kinect 14.
All of it takes 50 minutes; name a sensor, or fewer rooms, for less.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Iterable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from benchmarks.timing import print_json, print_table, shared_folder
from depthforge.fitting.fit import fit_sensor
from depthforge.fitting.recipes import RECIPES, Stage
from depthforge.fitting.scans import Scans, read_scans
from depthforge.fitting.search import (
    NEARBY,
    Float64,
    match_stages,
    measure_scans,
    residuals,
    simulated_curves,
    target_of,
)
from depthforge.frame import Frame
from depthforge.realism.choice import Score, evaluate_translator
from depthforge.realism.describe import Description, describe
from depthforge.realism.views import DepthView, evenly_spaced
from depthforge.registry import sensors, sources
from depthforge.seeding import frame_words
from depthforge.sensors._presets import parse_sensor
from depthforge.sensors.base import Sensor
from depthforge.sources.base import Source
from tests.fitting.rooms import CAMERA, known_scenes, scans

LIGHT = {
    "interpolate_px": 1.0,
    "match_threshold_px": 0.5,
    "mass_fraction": 0.5,
    "fray_radius_px": 1.5,
    "focal_length_px": CAMERA.fx,
}


class Truth(NamedTuple):
    """What is ``known`` of a sensor beforehand, what is to be found, and the ``first`` of the rooms that it scans."""

    known: dict[str, Any]
    true: dict[str, Any]
    first: int


KNOWN: dict[str, tuple[Truth, ...]] = {
    "structured_light": (
        Truth(
            LIGHT,
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
            0,
        ),
        Truth(
            LIGHT,
            {
                "baseline_m": 0.24,
                "raw_scale_m": 0.24 * 8 * CAMERA.fx,
                "disparity_sigma_px": 0.12,
                "disparity_sigma_power": 0.0,
                "disparity_correlation_px": 2.0,
                "noise_sigma_steps": 0.25,
                "shift_sigma_px": 0.4,
                "patch_share": 0.06,
                "patch_growth": 0.0,
                "patch_size_px": 24.0,
                "projector_side": "left",
            },
            1000,
        ),
    ),
    "active_stereo": (
        Truth(
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
            0,
        ),
        Truth(
            {"baseline_m": 0.3, "blank_band": False},
            {
                "steps_per_px": 10.0,
                "noise_sigma_px": 0.1,
                "noise_correlation_px": 3.0,
                "patch_share": 0.06,
                "patch_growth": 0.0,
                "patch_size_px": 20.0,
                "second_imager": "left",
            },
            1000,
        ),
    ),
    "time_of_flight": (
        Truth(
            {"max_depth_m": 10.0},
            {
                "base_noise_m": 0.004,
                "range_noise_m": 0.0008,
                "noise_correlation_px": 1.5,
                "patch_share": 0.1,
                "patch_growth": 0.4,
                "patch_size_px": 14.0,
            },
            0,
        ),
        Truth(
            {"max_depth_m": 10.0},
            {
                "base_noise_m": 0.002,
                "range_noise_m": 0.002,
                "noise_correlation_px": 2.5,
                "patch_share": 0.06,
                "patch_growth": 0.0,
                "patch_size_px": 20.0,
            },
            1000,
        ),
    ),
    "gaussian_dropout": (
        Truth(
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
            0,
        ),
        Truth(
            {"edge_px": 2},
            {
                "sigma_constant_m": 0.006,
                "sigma_quadratic_per_m": 0.001,
                "correlation_px": 2.4,
                "pixel_dropout": 0.01,
                "blob_dropout": 0.08,
                "blob_px": 12.0,
                "edge_dropout": 0.7,
            },
            1000,
        ),
    ),
}
DIFFERENCES = ("disparity_sigma_power", "patch_growth")


def recovery(name: str, truth: Truth, num_rooms: int) -> list[dict[str, Any]]:
    """Return a row for each parameter: true, found, how far off the fit is and the oracle, and how long it took."""
    sensor: Sensor = sensors.get(name)(**truth.known, **truth.true)
    start: Sensor = sensors.get(name)(**truth.known)
    of_rooms = scans(sensor, num_rooms, first=truth.first)
    began = time.perf_counter()
    found = fit_sensor(start, of_rooms).sensor
    seconds = time.perf_counter() - began
    best = oracle(sensor, of_rooms)
    return [
        {
            "sensor": name,
            "first room": truth.first,
            "parameter": key,
            "true": value,
            "found": getattr(found, key),
            "off": off_by(key, getattr(found, key), value),
            "oracle off": off_by(key, getattr(best, key), value) if key in RECIPES[sensor.name].names else None,
            "seconds": seconds,
        }
        for key, value in truth.true.items()
    ]


def off_by(parameter: str, found: Any, true: Any) -> float:
    """Return how far off a parameter is: a share, or a difference; 1 for another choice."""
    if isinstance(true, str):
        return 0.0 if found == true else 1.0
    return float(found - true if parameter in DIFFERENCES else found / true - 1)


def oracle(sensor: Sensor, of_rooms: Scans) -> Sensor:
    """Return the fit to the same scans by one who knows the true scenes, and begins at the true parameters.

    What is left is chance: of what these rooms really lost, and of the simulations that are held against them.
    """
    scenes = known_scenes(of_rooms.fitted)
    target = target_of(measure_scans(of_rooms.fitted, scenes))

    def judge(candidate: Sensor, stage: Stage) -> Float64:
        return residuals(simulated_curves(candidate, scenes, of_rooms.unit_m, None, stage.curves), target, stage.curves)

    return match_stages(sensor, RECIPES[sensor.name].stages, judge, radii=NEARBY)


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
    parser.add_argument("--rooms", type=int, default=96)
    parser.add_argument("--frames", type=int, default=16)
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    rows = [row for name in options.sensors for truth in KNOWN[name] for row in recovery(name, truth, options.rooms)]
    real = kinect(options.frames)
    if options.json:
        print_json({"recovery": rows, "kinect": real})
        return
    print_table(
        "known parameters, recovered",
        [
            [
                r["sensor"],
                str(r["first room"]),
                r["parameter"],
                _short(r["true"]),
                _short(r["found"]),
                f"{r['off']:+.3f}",
                "read off" if r["oracle off"] is None else f"{r['oracle off']:+.3f}",
                f"{r['seconds']:.0f}",
            ]
            for r in rows
        ],
        ["sensor", "rooms from", "parameter", "true", "found", "off", "oracle off", "s"],
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
