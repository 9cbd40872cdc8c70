"""A lidar fitted to real HDL-64E frames of KITTI: its beams, and that it scans as the scanner does on another frame."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from depthforge.errors import InputError
from depthforge.fitting.fit import Fit, fit_sensor
from depthforge.fitting.lidar import LidarEstimator, beams
from depthforge.fitting.scans import Scans
from depthforge.frame import Frame
from depthforge.sensors.lidar import Lidar
from depthforge.sensors.preset import parse_sensor
from depthforge.sources.kitti import Kitti, KittiConfig


def frames_of(shared_data: Path, folder: Path) -> list[Frame]:
    (folder / "training").symlink_to(shared_data / "outdoor/kitti_object", target_is_directory=True)
    source = Kitti(KittiConfig(root=folder, layout="object"))
    return [source.read(reference, frozenset()) for reference in source.frames()]


def fitted(start: str, frames: list[Frame]) -> Fit:
    """Fit to the second frame, hold the third out: they are of one day."""
    return fit_sensor(parse_sensor(start), Scans((frames[1],), (frames[2],), 0.0, "kitti", "", True))


def test_it_finds_what_the_preset_knows(shared_data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """From the data sheet's sensor, which is mounted 0.6 degrees off and 6 cm aside, as well as from the preset."""
    monkeypatch.setattr(beams, "TURNS_DEG", np.arange(-1.0, 1.01, 0.1))
    frames = frames_of(shared_data, tmp_path)
    preset = parse_sensor("hdl_64e_kitti")
    assert isinstance(preset, Lidar)
    for start in ("hdl_64e", "hdl_64e_kitti"):
        fit = fitted(start, frames)
        assert isinstance(fit.sensor, Lidar)
        # The image ends 14 beams into the second block.
        assert [block.num_beams for block in fit.sensor.beams] == [32, 14]
        for found, known in zip(fit.sensor.beams, preset.beams, strict=True):
            spacing, its = ((b.highest_deg - b.lowest_deg) / (b.num_beams - 1) for b in (found, known))
            assert spacing == pytest.approx(its, rel=0.025)
            assert found.height_m == pytest.approx(known.height_m, abs=0.02)
            # With how it looks down: the two trade.
            top, its_top = (
                block.highest_deg - sensor.rotation_deg[0] for block, sensor in ((found, fit.sensor), (known, preset))
            )
            assert top == pytest.approx(its_top, abs=0.15)
        assert fit.sensor.rotation_deg == pytest.approx(preset.rotation_deg, abs=0.08)
        assert fit.sensor.azimuth_step_deg == pytest.approx(preset.azimuth_step_deg, rel=0.03)
        assert fit.sensor.range_sigma_m == pytest.approx(0.008, abs=0.001)
        # On the frame that was held out: how dense it is, row by row, and how many rows cross a column.
        assert fit.on_held_out.misfits(("pixels with a return",))[1] < 0.5
        real, simulated = (
            2 ** part["rows in a column"] for part in (fit.on_held_out.real.curves, fit.on_held_out.fitted)
        )
        assert np.abs(simulated - real).max() < 1.5


def test_frames_of_two_days_are_refused(shared_data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(beams, "TURNS_DEG", np.arange(-1.0, 1.01, 0.1))
    frames = frames_of(shared_data, tmp_path)
    scans = Scans((frames[0], frames[1]), (frames[2],), 0.0, "kitti", "", True)
    with pytest.raises(InputError, match="mounted in different ways"):
        LidarEstimator().estimate(parse_sensor("hdl_64e"), scans, None, lambda line: None)
