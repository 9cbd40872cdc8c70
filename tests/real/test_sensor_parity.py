"""Simulated sensors beside independent implementations and real scans: Redwood by Open3D, the lidar by KITTI."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt
import pytest

from depthforge.sensors._distortion import own_table, table_text
from depthforge.sensors._presets import parse_sensor
from depthforge.sensors.redwood import Redwood, measure, simulate

Float32 = npt.NDArray[np.float32]


def depth_m(path: Path) -> Float32:
    """Depth in metres of a 16-bit image in millimetres."""
    stored = cv2.imread(str(path), cv2.IMREAD_UNCHANGED)
    assert stored is not None, path
    return np.asarray(stored / 1000, np.float32)


@pytest.fixture(scope="module")
def open3d_simulator(tmp_path_factory: pytest.TempPathFactory) -> Any:
    o3d = pytest.importorskip("open3d")
    path = tmp_path_factory.mktemp("open3d") / "own.txt"
    path.write_text(table_text(own_table()))
    simulator = o3d.t.io.DepthNoiseSimulator(str(path))
    simulator.enable_deterministic_debug_mode()

    def run(image: npt.NDArray[Any], scale: float) -> npt.NDArray[Any]:
        source = o3d.t.geometry.Image(o3d.core.Tensor(np.ascontiguousarray(image)[..., None]))
        return np.asarray(simulator.simulate(source, depth_scale=scale).as_tensor().numpy()[..., 0])

    return run


@pytest.mark.parametrize("number", [0, 60, 120, 180])
def test_redwood_is_open3d_to_one_disparity_step_on_every_pixel(
    number: int, shared_data: Path, open3d_simulator: Any
) -> None:
    clean_m = depth_m(shared_data / "clean" / "livingroom1" / "depth" / f"{number:05d}.png")
    expected_m = open3d_simulator(clean_m, 1.0)
    found_m = measure(clean_m, np.zeros((3, *clean_m.shape), np.float32), Redwood())
    np.testing.assert_array_equal(found_m > 0, expected_m > 0)
    steps = [np.rint(281.04 / z[expected_m > 0].astype(np.float64)) for z in (found_m, expected_m)]
    assert np.abs(steps[0] - steps[1]).max() <= 1
    assert (steps[0] != steps[1]).mean() < 1e-4
    # As it is mostly used, on whole millimetres, which it cuts off.
    expected_mm = open3d_simulator(np.rint(clean_m * 1000).astype(np.uint16), 1000.0)
    apart_m = np.abs(np.trunc(found_m * 1000) - expected_mm) / 1000
    assert (apart_m <= found_m**2 / 281.04 * 1.02 + 0.001).all()
    assert (apart_m > 0.001).mean() < 1e-4


def test_primesense_is_as_noisy_as_the_published_noisy_frames(shared_data: Path) -> None:
    sensor = parse_sensor("primesense")
    assert isinstance(sensor, Redwood)
    figures = []
    for number in range(5):
        clean_m, noisy_m = (
            depth_m(shared_data / "clean" / folder / "depth" / f"{number:05d}.png")
            for folder in ("livingroom1", "livingroom1_redwood_kinect")
        )
        ours_m, valid = simulate(clean_m, clean_m > 0, (number, 0), sensor)
        figures.append([figures_of(clean_m, z) for z in (noisy_m, ours_m)])
        # Their blind border and ours.
        rows, columns = slice(14, 466), slice(60, 606)
        assert valid[rows, columns].mean() == pytest.approx((noisy_m > 0)[rows, columns].mean(), abs=0.03)
    theirs, ours = np.mean(figures, axis=0)
    for name, found, expected, tolerance in zip(
        ("mean abs mm", "median abs mm", "bias mm", "holes"), ours, theirs, (2.0, 1.0, 2.0, 0.03), strict=True
    ):
        assert found == pytest.approx(expected, abs=tolerance), name


def figures_of(clean_m: Float32, noisy_m: Float32) -> tuple[float, float, float, float]:
    both = (clean_m > 0) & (noisy_m > 0)
    error_mm = (noisy_m - clean_m)[both].astype(np.float64) * 1000
    holes = float((noisy_m == 0).mean())
    return float(np.abs(error_mm).mean()), float(np.median(np.abs(error_mm))), float(error_mm.mean()), holes
