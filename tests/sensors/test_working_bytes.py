"""What a sensor says that it needs is what it needs: a worker is planned by it."""

from __future__ import annotations

import os
import subprocess
import sys

_MEASURE = """
import sys
import numpy as np
from depthforge.frame import Camera, Frame
from depthforge.sensors.preset import parse_sensor

def peak_and_present():
    fields = dict(line.split(":", 1) for line in open("/proc/self/status") if line.startswith("Vm"))
    return [1024 * int(fields[name].split()[0]) for name in ("VmHWM", "VmRSS")]

def frame(height, width):
    v, u = np.mgrid[:height, :width].astype(np.float32)
    depth_m = np.where((u // 97 + v // 61) % 2 < 1, 1.2 + u / width, 2.5).astype(np.float32)
    rgb = np.stack([u, v, u + v], -1).astype(np.uint8)
    camera = Camera(0.9 * width, 0.9 * width, (width - 1) / 2, (height - 1) / 2, width, height)
    return Frame("made/up/0", depth_m, np.ones_like(depth_m, bool), camera, rgb=rgb)

HEIGHT, WIDTH = 1152, 1536
small, large = frame(96, 128), frame(HEIGHT, WIDTH)
# Depth aligned to colour: columns beyond the frame's on the left.
aligned = {"name": "matched_stereo", "blank_band": False, "max_disparity_px": 400, "baseline_m": 0.4}
more = {"beyond": aligned, "beside": {**aligned, "aligned_offset_m": 0.1}}
for name in sys.argv[1:]:
    sensor = parse_sensor(more.get(name, name))
    sensor.measure(small, (0, 1))
    open("/proc/self/clear_refs", "w").write("5")
    before = peak_and_present()[1]
    for row in (1, 2):
        sensor.measure(large, (0, row))
    print(name, peak_and_present()[0] - before, sensor.working_bytes(HEIGHT, WIDTH))
"""
_PRESETS = (
    "d435_drawn",
    "matched_stereo",
    "beyond",
    "beside",
    "azure_kinect",
    "primesense_redwood",
    "gaussian_dropout",
    "dexnet",
    "hdl_64e_kitti",
)


def test_no_sensor_takes_more_than_it_says_and_none_says_twice_what_it_takes() -> None:
    # Freed images go back to the system at once, so that each sensor is measured by itself.
    environment = {**os.environ, "MALLOC_MMAP_THRESHOLD_": "65536", "MALLOC_TRIM_THRESHOLD_": "65536"}
    command = [sys.executable, "-c", _MEASURE, "kinect_v1", "kinect_v1_matched", *_PRESETS]
    done = subprocess.run(command, env=environment, stdout=subprocess.PIPE, text=True, check=True)
    rows = [line.split() for line in done.stdout.splitlines()]
    assert [row[0] for row in rows] == command[3:]
    ratios = {name: round(int(bound) / int(peak), 2) for name, peak, bound in rows}
    assert {name: ratio for name, ratio in ratios.items() if not 1 <= ratio <= 2} == {}
