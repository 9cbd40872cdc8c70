"""Does ``depthforge fit`` find what is there, and does it help? Known parameters recovered, and a real Kinect.

python -m benchmarks.bench_fit [--sensors NAME ...] [--rooms 96] [--no-kinect] [--frames 16] [--json] [--save]

Recovery: rooms of a wall, a floor and boxes at 160x120, and a street for a lidar, through a sensor of known parameters
are fitted from another starting point; two sets of parameters for each sensor, in different rooms; bar: 10 % for each
parameter (0.1 for an exponent, a growth or an angle in degrees). "oracle off" is what the same search finds with the
true scenes in place of clean guesses, beginning at the truth: what is left of it is chance ("-": not searched for).
Patches are a few large things in small images: the share that a set of 96 rooms really lost is off the true one by 2 to
5 %, and no fit can know better. More rooms cost little, since smaller sets are simulated more often. Kinect: 7-Scenes
RedKitchen, where it lies beside the checkout, is fitted on its first half; then clean living-room frames go through the
published and the fitted sensor and are held against the second half by the realism score (``realism.choice``, lower is
better), beside the preset that is shipped. Bar: the fitted one scores lower than the published one.

On one core of an EPYC: a minute or two a fit, three for structured light, half as much again for its oracle, under half
a minute for redwood, dexnet and lidar; Kinect 7. All of it takes half an hour; name a sensor, or fewer rooms, for less.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.fit_truths import DIFFERENCES, TRUTHS, Truth, value_of
from benchmarks.results import Figure, add_result_options, save_run
from benchmarks.timing import print_json, print_table, shared_folder
from depthforge.fitting.candidates import Float64, measure_scans, residuals, simulated_curves, target_of
from depthforge.fitting.fit import fit_sensor
from depthforge.fitting.recipes import RECIPES, Recipe, Stage
from depthforge.fitting.scans import Scans, read_scans
from depthforge.fitting.search import NEARBY, match_stages
from depthforge.frame import Frame
from depthforge.realism.choice import Score, evaluate_translator
from depthforge.realism.describe import Description, describe
from depthforge.realism.views import DepthView, evenly_spaced
from depthforge.registry import sources
from depthforge.seeding import frame_words
from depthforge.sensors.base import Sensor
from depthforge.sensors.preset import parse_sensor
from depthforge.sources.base import Source
from tests.fitting.rooms import known_scenes

BAR_OFF = 0.1
KINECT = "real Kinect"


def recovery(truth: Truth, num_rooms: int) -> list[dict[str, Any]]:
    """Return a row for each parameter: true, found, how far off the fit is and the oracle, and how long it took."""
    measured = truth.scans(num_rooms)
    began = time.perf_counter()
    fit = fit_sensor(truth.start, measured)
    seconds = time.perf_counter() - began
    recipe = RECIPES.get(truth.sensor.name)
    matched = () if recipe is None else recipe.names
    best = oracle(truth.sensor, recipe, measured) if recipe is not None else truth.sensor
    rows = []
    for name in truth.names:
        true = value_of(truth.sensor, name)
        off = [off_by(name, value_of(sensor, name), true) for sensor in (fit.sensor, best)]
        rows.append(
            {
                "sensor": truth.sensor.name,
                "scans of": truth.place,
                "parameter": name,
                "true": true,
                "found": value_of(fit.sensor, name),
                "off": None if name in fit.skipped else off[0],
                "oracle off": off[1] if name in matched else None,
                "seconds": seconds,
            }
        )
    return rows


def off_by(parameter: str, found: Any, true: Any) -> float:
    """Return how far off a parameter is: a share, or a difference; 1 for another choice."""
    if isinstance(true, str):
        return 0.0 if found == true else 1.0
    return float(found - true if any(part in DIFFERENCES for part in parameter.split(".")) else found / true - 1)


def oracle(sensor: Sensor, recipe: Recipe, of_rooms: Scans) -> Sensor:
    """Return the fit to the same scans by one who knows the true scenes, and begins at the true parameters.

    What is left is chance: of what these rooms really lost, and of the simulations that are held against them.
    """
    scenes = known_scenes(of_rooms.fitted)
    target = target_of(measure_scans(of_rooms.fitted, scenes))

    def residuals_of(candidate: Sensor, stage: Stage) -> Float64:
        return residuals(simulated_curves(candidate, scenes, of_rooms.unit_m, None, stage.curves), target, stage.curves)

    return match_stages(sensor, recipe.stages, residuals_of, radii=NEARBY)


def realism_of(sensor: Sensor, clean: Iterable[Frame], real: Description) -> Score:
    """Return the score of clean frames through ``sensor``, stored in millimetres as the scans are."""
    views = []
    for frame in clean:
        depth_m, valid = sensor.measure(frame, frame_words(0, frame.key, "bench"))
        stored = (np.rint(depth_m * 1000) / 1000).astype(np.float32)
        views.append(DepthView(stored, valid & (stored > 0), frame.camera, (frame.depth_m, frame.valid)))
    return evaluate_translator(views, real).score


def kinect(num_frames: int) -> dict[str, Any] | None:
    """Return the scores of the published, the fitted and the shipped Kinect on held-out scans; None without data."""
    folder = shared_folder("data")
    if folder is None:
        return None
    redkitchen, livingroom = _redkitchen(folder), _livingroom(folder)
    began = time.perf_counter()
    fit = fit_sensor(parse_sensor("kinect_v1_published"), read_scans(redkitchen, num_frames, wanted=frozenset()))
    seconds = time.perf_counter() - began
    references = list(redkitchen.frames())
    held_out = references[(len(references) + 1) // 2 :]
    chosen = (redkitchen.read(held_out[place], frozenset()) for place in evenly_spaced(len(held_out), 80))
    real = describe(DepthView(frame.depth_m, frame.valid, frame.camera) for frame in chosen)
    rooms = list(livingroom.frames())
    clean = [livingroom.read(rooms[place], frozenset()) for place in evenly_spaced(len(rooms), 40)]
    by_name = {"published": fit.start, "fitted": fit.sensor, "kinect_v1": parse_sensor("kinect_v1")}
    scores = {name: realism_of(sensor, clean, real) for name, sensor in by_name.items()}
    return {
        "seconds": seconds,
        "misfit on held-out scans": dict(
            zip(("published", "fitted"), fit.on_held_out.misfits(fit.curves), strict=True)
        ),
        "scores": {name: {"total": score.total, **score.terms} for name, score in scores.items()},
    }


def recovery_figure(sensor: str, rows: Sequence[Mapping[str, Any]], num_rooms: int) -> Figure:
    """Return what the page shows of a sensor: the parameter that was found worst."""
    worst = max((row for row in rows if row["off"] is not None), key=lambda row: abs(row["off"]))
    searched = worst["oracle off"] is not None
    return Figure(
        name=f"{sensor}: {worst['parameter']}, the worst of its parameters",
        value=abs(worst["off"]),
        unit="off",
        better="lower",
        peer="an oracle" if searched else None,
        peer_value=abs(worst["oracle off"]) if searched else None,
        bar=BAR_OFF,
        data=f"{worst['scans of']}, {num_rooms} made-up scans",
    )


def kinect_figures(real: Mapping[str, Any]) -> list[Figure]:
    """Return what the page shows of the real Kinect."""
    totals = {name: score["total"] for name, score in real["scores"].items()}
    return [
        Figure(
            name=f"{KINECT}: realism of the fitted sensor",
            value=totals["fitted"],
            unit="of 7",
            better="lower",
            peer=peer,
            peer_value=totals[peer],
            bar=1.0 if peer == "published" else None,
            bar_of="ratio",
            data="7-Scenes RedKitchen, held-out scans",
        )
        for peer in ("published", "kinect_v1")
    ]


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
    parser.add_argument("--sensors", nargs="*", default=sorted(TRUTHS), choices=sorted(TRUTHS))
    parser.add_argument("--rooms", type=int, default=96)
    parser.add_argument("--kinect", action=argparse.BooleanOptionalAction, default=True, help="also fit RedKitchen")
    parser.add_argument("--frames", type=int, default=16, help="of RedKitchen, to fit")
    add_result_options(parser)
    options = parser.parse_args()
    rows = []
    for name in options.sensors:
        found = [row for truth in TRUTHS[name] for row in recovery(truth, options.rooms)]
        if options.save:
            figure = recovery_figure(name, found, options.rooms)
            save_run("bench_fit", {"recovery": found}, [figure], part=name, note=options.note)
        rows += found
    real = kinect(options.frames) if options.kinect else None
    if options.save and real is not None:
        save_run("bench_fit", real, kinect_figures(real), part=KINECT, note=options.note)
    if options.json:
        print_json({"recovery": rows, "kinect": real})
        return
    if rows:
        _print_recovery(rows)
    if real is not None:
        _print_kinect(real, options.frames)
    elif options.kinect:
        print("no real scans beside the checkout: set DEPTHFORGE_SHARED to the folder that holds data/")


def _print_recovery(rows: list[dict[str, Any]]) -> None:
    print_table(
        "known parameters, recovered",
        [
            [
                r["sensor"],
                r["scans of"],
                r["parameter"],
                _short(r["true"]),
                _short(r["found"]),
                "not told" if r["off"] is None else f"{r['off']:+.3f}",
                "-" if r["oracle off"] is None else f"{r['oracle off']:+.3f}",
                f"{r['seconds']:.0f}",
            ]
            for r in rows
        ],
        ["sensor", "scans of", "parameter", "true", "found", "off", "oracle off", "s"],
    )


def _print_kinect(real: dict[str, Any], num_frames: int) -> None:
    print(
        f"\nRedKitchen, fitted on {num_frames} scans in {real['seconds']:.0f} s; misfits on held-out scans:",
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
