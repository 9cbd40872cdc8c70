"""Every sensor that is shipped, on one core, a 640x480 frame at a time, random numbers included.

python -m benchmarks.bench_sensors [--repeats 10] [--json] [--save]

The frame is a view of a furnished room made up from a seed, with colour for the sensors that read it. A turn of a
sensor is five frames in a row, as a conversion measures them; "first" is the first of a turn, whose memory and caches
still belong to another sensor. Bar: 40 frames a second for every preset, 25 for those that match images. Beside them
Open3D's DepthNoiseSimulator, with our distortion table, on the same frame; other published simulators are quoted as
they were measured once, on two cores of a Xeon.
"""

from __future__ import annotations

import argparse
import os
import tempfile
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from benchmarks.results import Figure, add_result_options, save_run
from benchmarks.timing import in_turn, machine, median, print_json, print_table
from depthforge.frame import Frame
from depthforge.registry import sources
from depthforge.sensors.base import Sensor
from depthforge.sensors.distortion import own_table, table_text
from depthforge.sensors.preset import load_preset, parse_sensor, preset_names

BAR_HZ = 40.0
FRAMES_A_TURN = 5
MATCHED_BAR_HZ = 25.0
PEER = "Open3D DepthNoiseSimulator"
PUBLISHED = {
    "BlenderProc, Kinect Azure noise": 34.0,
    "BlenderProc, oil paint filter": 0.85,
    "simkinect, Kinect v1": 1 / 1.34,
}


def room() -> Frame:
    """Return a view of a made-up room, 640x480, with colour."""
    cls = sources.get("procedural")
    source = cls(cls.Config(num_scenes=1, frames_per_scene=4, seed=3))
    reference = list(source.frames())[1]
    frame: Frame = source.read(reference, frozenset({"rgb"}))
    assert frame.rgb is not None
    return frame


def open3d_simulator(frame: Frame) -> Callable[[], Any]:
    """Return a call of Open3D's simulator on ``frame``; ImportError or OSError where Open3D cannot be loaded."""
    import open3d as o3d

    with tempfile.TemporaryDirectory(prefix="depthforge-bench-") as folder:
        table = Path(folder) / "table.txt"
        table.write_text(table_text(own_table()))
        simulator = o3d.t.io.DepthNoiseSimulator(str(table))
    stored = np.rint(frame.depth_m * 1000).astype(np.uint16)
    image = o3d.t.geometry.Image(o3d.core.Tensor(stored[..., None]))
    if not simulator.simulate(image, depth_scale=1000.0).as_tensor().numpy().any():
        raise OSError("Open3D did not take the distortion table")
    return lambda: simulator.simulate(image, depth_scale=1000.0)


def bar_of(name: str) -> float:
    """Return the frames a second that are asked of a preset, or of the peer."""
    matched = name in preset_names() and load_preset(name).sensor.startswith("matched_")
    return MATCHED_BAR_HZ if matched else BAR_HZ


def figures(seconds: Mapping[str, float], data: str) -> list[Figure]:
    """Return a figure for each preset, fastest first."""
    peer = PEER if PEER in seconds else None
    return [
        Figure(
            name=name,
            value=1 / each,
            unit="frames/s",
            better="higher",
            peer=peer,
            peer_value=None if peer is None else 1 / seconds[peer],
            bar=bar_of(name),
            data=data,
        )
        for name, each in sorted(seconds.items(), key=lambda item: item[1])
        if name != PEER
    ]


def main() -> None:
    """Time all presets and the peer in turn and print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--repeats", type=int, default=10)
    add_result_options(parser)
    options = parser.parse_args()

    this_machine = machine()
    # One core for everybody; before Open3D is loaded, because OpenMP counts the cores then.
    os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})
    os.environ["OMP_NUM_THREADS"] = "1"
    cv2.setNumThreads(1)

    frame = room()
    presets: dict[str, Sensor] = {name: parse_sensor(name) for name in preset_names()}
    contestants: dict[str, Callable[[], Any]] = {
        name: partial(sensor.measure, frame, (1, 2)) for name, sensor in presets.items()
    }
    no_open3d = None
    try:
        contestants[PEER] = open3d_simulator(frame)
    except (ImportError, OSError) as error:
        no_open3d = str(error).splitlines()[0]

    timed = in_turn(contestants, repeats=options.repeats, calls=FRAMES_A_TURN)
    seconds = {name: median(each) for name, each in timed.items()}
    first = {name: median(each[::FRAMES_A_TURN]) for name, each in timed.items()}
    kept = {name: measured_share(frame, sensor) for name, sensor in presets.items()}
    slow = [name for name in presets if 1 / seconds[name] < bar_of(name)]
    found = {
        "frames_per_second": {name: 1 / each for name, each in seconds.items()},
        "milliseconds": {name: each * 1e3 for name, each in seconds.items()},
        "milliseconds_first": {name: each * 1e3 for name, each in first.items()},
        "measured_share": kept,
        "bar": BAR_HZ,
        "below_bar": slow,
        "published": PUBLISHED,
        "open3d_missing": no_open3d,
    }
    height, width = frame.camera.size
    if options.save:
        data = f"a made-up room of {width}x{height}, one core"
        save_run("bench_sensors", found, figures(seconds, data), note=options.note)
    if options.json:
        print_json(found)
        return
    print(f"{this_machine}, one of them used; {width}x{height}, median of {options.repeats} turns of {FRAMES_A_TURN}")
    rows = [
        [
            name,
            load_preset(name).sensor if name in presets else "peer",
            f"{each * 1e3:.1f}",
            f"{first[name] * 1e3:.1f}",
            f"{1 / each:.0f}",
            f"{kept[name]:.0%}" if name in kept else "",
        ]
        for name, each in sorted(seconds.items(), key=lambda item: item[1])
    ]
    print_table("Simulated sensors", rows, ["preset", "sensor", "ms", "first, ms", "frames/s", "of valid pixels"])
    if no_open3d:
        print(f"\n  Open3D was left out: {no_open3d}")
    print(
        f"\n  bar: {BAR_HZ:.0f} frames/s, {MATCHED_BAR_HZ:.0f} for what is matched; "
        + (f"below it: {', '.join(slow)}" if slow else "met by all")
    )
    print(
        "  peers as measured elsewhere: " + "; ".join(f"{name} {each:.2g} frames/s" for name, each in PUBLISHED.items())
    )


def measured_share(frame: Frame, sensor: Sensor) -> float:
    """Return the share of the frame's valid pixels that the sensor measures."""
    return float(sensor.measure(frame, (1, 2)).valid.sum() / frame.valid.sum())


if __name__ == "__main__":
    main()
