"""Simulated sensors beside independent implementations and real scans: Redwood by Open3D, the lidar by KITTI."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from depthforge.sensors.lidar import Lidar
from depthforge.sensors.preset import parse_sensor
from depthforge.sensors.redwood import Redwood, simulate
from tests.real.parity import (
    KITTI_FRAMES,
    REAL_FRAMES,
    REDWOOD_STEPS_M,
    NoiseFigures,
    Simulator,
    depth_m,
    kitti_scan,
    noise_figures,
    open3d_simulator,
    pattern_of,
    rescanned,
    row_agreement,
    steps_apart,
    without_noise,
)


@pytest.fixture(scope="module")
def open3d(tmp_path_factory: pytest.TempPathFactory) -> Simulator:
    pytest.importorskip("open3d")
    return open3d_simulator(Redwood(), tmp_path_factory.mktemp("open3d"))


@pytest.mark.parametrize("number", REAL_FRAMES)
def test_redwood_is_open3d_to_one_disparity_step_on_every_pixel(
    number: int, shared_data: Path, open3d: Simulator
) -> None:
    clean_m = depth_m(shared_data / "clean" / "livingroom1" / "depth" / f"{number:05d}.png")
    found_m = without_noise(clean_m, Redwood())
    apart = steps_apart(found_m, open3d(clean_m, 1.0))
    assert apart.holes_differ == 0
    assert apart.max_steps <= 1
    assert max(apart.steps_differ, apart.bits_differ) < 1e-4 * apart.pixels
    # As it is mostly used, on whole millimetres, which it cuts off.
    expected_mm = open3d(np.rint(clean_m * 1000).astype(np.uint16), 1000.0)
    apart_m = np.abs(np.trunc(found_m * 1000) - expected_mm) / 1000
    assert (apart_m <= found_m**2 / REDWOOD_STEPS_M * 1.02 + 0.001).all()
    assert (apart_m > 0.001).mean() < 1e-4


def test_the_redwood_primesense_is_as_noisy_as_the_published_noisy_frames(shared_data: Path) -> None:
    sensor = parse_sensor("primesense_redwood")
    assert isinstance(sensor, Redwood)
    figures = []
    for number in range(5):
        clean_m, noisy_m = (
            depth_m(shared_data / "clean" / folder / "depth" / f"{number:05d}.png")
            for folder in ("livingroom1", "livingroom1_redwood_kinect")
        )
        ours_m, valid = simulate(clean_m, clean_m > 0, (number, 0), sensor)
        figures.append([noise_figures(clean_m, z) for z in (noisy_m, ours_m)])
        # Their blind border and ours.
        rows, columns = slice(14, 466), slice(60, 606)
        assert valid[rows, columns].mean() == pytest.approx((noisy_m > 0)[rows, columns].mean(), abs=0.03)
    theirs, ours = np.mean(figures, axis=0)
    for name, found, expected, tolerance in zip(NoiseFigures._fields, ours, theirs, (2.0, 1.0, 2.0, 0.03), strict=True):
        assert found == pytest.approx(expected, abs=tolerance), name


# Density of a frame, of its lower part (all of it road and near walls), and scan lines in a column.
@pytest.mark.parametrize("name", KITTI_FRAMES)
def test_the_lidar_scans_the_surfaces_of_a_kitti_frame_as_densely_as_the_real_one(name: str, shared_data: Path) -> None:
    real_m, camera = kitti_scan(shared_data / "outdoor" / "kitti_object", name)
    real = pattern_of(real_m > 0)
    for preset in ("hdl_64e", "hdl_64e_kitti"):
        sensor = parse_sensor(preset)
        assert isinstance(sensor, Lidar)
        found = pattern_of(rescanned(real_m, camera, sensor)[1])
        assert found.density == pytest.approx(real.density, rel=0.10)
        assert 0.038 < found.density < 0.046
        assert found.near_density == pytest.approx(real.near_density, rel=0.12)
        assert found.rows_in_columns == pytest.approx(real.rows_in_columns, abs=3)


@pytest.mark.parametrize("name", KITTI_FRAMES[1:])  # of the day whose calibration the preset has
def test_the_kitti_preset_lays_its_rows_where_the_real_scanner_does(name: str, shared_data: Path) -> None:
    real_m, camera = kitti_scan(shared_data / "outdoor" / "kitti_object", name)
    sensor = parse_sensor("hdl_64e_kitti")
    assert isinstance(sensor, Lidar)
    noisy_m, valid = rescanned(real_m, camera, sensor)
    real = real_m > 0
    assert pattern_of(valid).first_row == pytest.approx(pattern_of(real).first_row, abs=2)
    # Returns per image row: the two patterns agree best without a shift, and well.
    agreement = row_agreement(valid, real)
    assert max(agreement, key=lambda shift: agreement[shift]) == 0
    assert agreement[0] > 0.65
    # Where both have a return, they differ by range noise and the half pixel that a pixel cannot tell.
    both = valid & real
    assert np.median(np.abs(noisy_m - real_m)[both]) < 0.05
