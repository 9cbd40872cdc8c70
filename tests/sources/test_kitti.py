"""KITTI against trees written by hand: the contract, which frames there are, layouts and roots."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest

from depthforge.errors import InputError, ManifestError, MissingDataError
from depthforge.frame import Finding
from depthforge.manifest import PluginBlock
from depthforge.registry import sources
from depthforge.sources.kitti import Kitti
from depthforge.testing.sources import SourceTests
from tests.sources.kitti_trees import (
    DATE,
    DRIVE,
    WRITERS,
    read,
    source,
    write_completion,
    write_object,
    write_odometry,
    write_raw,
)
from tests.sources.tree_files import write


def listed(root: Path, layout: str, **fields: object) -> tuple[list[str], list[Finding]]:
    findings: list[Finding] = []
    return [ref.key for ref in source(root, layout, **fields).frames(findings.append)], findings


class TestRaw(SourceTests):
    num_frames = 2

    @pytest.fixture
    def source(self, tmp_path: Path) -> Kitti:
        write_raw(tmp_path)
        return source(tmp_path, "raw")


class TestDepthCompletion(SourceTests):
    num_frames = 2

    @pytest.fixture
    def source(self, tmp_path: Path) -> Kitti:
        write_raw(tmp_path / "raw", frames=7)
        write_completion(tmp_path)
        return source(tmp_path, "depth_completion", raw_root=tmp_path / "raw")


class TestObject(SourceTests):
    num_frames = 2

    @pytest.fixture
    def source(self, tmp_path: Path) -> Kitti:
        write_object(tmp_path)
        return source(tmp_path, "object")


class TestOdometry(SourceTests):
    num_frames = 2

    @pytest.fixture
    def source(self, tmp_path: Path) -> Kitti:
        write_odometry(tmp_path)
        return source(tmp_path, "odometry")


# --- which frames ----------------------------------------------------------------------------------------------------


def test_findings_of_a_raw_drive(tmp_path: Path) -> None:
    drive = write_raw(tmp_path, frames=4)
    (tmp_path / DATE / "2011_09_26_drive_0002_extract").mkdir()
    assert listed(tmp_path, "raw")[1][0].path == f"{DATE}/2011_09_26_drive_0002_extract"
    shutil.rmtree(tmp_path / DATE / "2011_09_26_drive_0002_extract")
    assert listed(tmp_path, "raw")[1] == []
    (drive / "velodyne_points/data/0000000002.bin").unlink()
    (drive / "image_02/data/0000000001.png").unlink()
    (drive / "oxts/data/0000000003.txt").unlink()
    keys, findings = listed(tmp_path, "raw")
    assert [key[-18:-8] for key in keys] == ["0000000000", "0000000001", "0000000003"]
    assert {(f.severity, f.message) for f in findings} == {
        ("error", "1 of 4 laser scans are missing"),
        ("warning", "1 of 3 frames have no image"),
        ("warning", "1 of 3 frames have no GPS/IMU packet"),
    }
    assert read(tmp_path, "raw", 1).rgb is None
    assert read(tmp_path, "raw", 2).T_world_cam is None


def test_a_gap_as_published_is_a_warning(tmp_path: Path) -> None:
    drive = write_raw(tmp_path)
    write(drive / "velodyne_points/timestamps.txt", "t\n" * 2)
    for k in range(98):
        write(drive / f"velodyne_points/data/{100 + k:010d}.bin", b"")
    write(drive / "velodyne_points/timestamps.txt", "t\n" * 102)
    assert ("warning", "2 of 102 laser scans are missing") in {
        (f.severity, f.message) for f in listed(tmp_path, "raw")[1]
    }


def test_include_and_exclude(tmp_path: Path) -> None:
    write_raw(tmp_path)
    assert len(listed(tmp_path, "raw", include=("*_0001_*",))[0]) == 2
    with pytest.raises(MissingDataError) as caught:
        listed(tmp_path, "raw", exclude=("*_0001_*",))
    assert caught.value.found == "2 frames, none let through by include and exclude"


def test_odometry_without_scans_has_no_depth_and_says_so(tmp_path: Path) -> None:
    write_odometry(tmp_path, scans=False)
    keys, findings = listed(tmp_path, "odometry")
    assert len(keys) == 2
    assert [f.message for f in findings] == ["no laser scans: frames have no depth"]
    frame = read(tmp_path, "odometry")
    assert not frame.valid.any()
    assert frame.rgb is not None


def test_half_extracted_benchmarks(tmp_path: Path) -> None:
    write_odometry(tmp_path / "odometry", frames=3)
    (tmp_path / "odometry/sequences/00/velodyne/000001.bin").unlink()
    write(tmp_path / "odometry/poses/00.txt", "1 0 0 0 0 1 0 0 0 0 1 0\n")
    assert {f.message for f in listed(tmp_path / "odometry", "odometry")[1]} == {
        "1 of 3 laser scans are missing",
        "2 of 3 frames have no pose",
    }
    write_object(tmp_path / "object", frames=3)
    (tmp_path / "object/training/calib/000001.txt").unlink()
    (tmp_path / "object/training/velodyne/000002.bin").unlink()
    keys, findings = listed(tmp_path / "object", "object")
    assert keys == ["kitti/object-training/000000-camera2"]
    assert {(f.severity, f.message) for f in findings} == {
        ("error", "1 of 2 frames have no calibration"),
        ("error", "1 of 3 laser scans are missing"),
    }
    write_raw(tmp_path / "raw")
    drive = write_completion(tmp_path / "completion", frames=2)
    (drive / "velodyne_raw/image_02/0000000006.png").unlink()
    _, findings = listed(tmp_path / "completion", "depth_completion", raw_root=tmp_path / "raw")
    assert ("error", "1 of 2 depth images are missing") in {(f.severity, f.message) for f in findings}


# --- bad input -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("layout", ["raw", "depth_completion", "object", "odometry"])
def test_nothing_there(tmp_path: Path, layout: str) -> None:
    with pytest.raises(MissingDataError, match=f"in the layout {layout}") as caught:
        listed(tmp_path / "nowhere", layout)
    assert "depthforge sample --layout kitti" in str(caught.value)
    (tmp_path / "Scene01").mkdir()
    with pytest.raises(MissingDataError) as caught:
        listed(tmp_path, layout)
    assert caught.value.found == "Scene01"
    (tmp_path / "2011_09_26_drive_0001_sync.zip").write_bytes(b"")
    with pytest.raises(MissingDataError) as caught:
        listed(tmp_path, layout)
    assert caught.value.remedy is not None
    assert caught.value.remedy.startswith("unpack the .zip archives here")


@pytest.mark.parametrize("layout", WRITERS)
def test_the_layout_is_found_by_its_folders(tmp_path: Path, layout: str) -> None:
    WRITERS[layout](tmp_path)
    found = read(tmp_path, "auto")
    expected = read(tmp_path, layout)
    assert found.key == expected.key
    np.testing.assert_array_equal(found.depth_m, expected.depth_m)
    assert found.labels.keys() == expected.labels.keys()


def test_a_layout_that_cannot_be_found_or_does_not_fit(tmp_path: Path) -> None:
    with pytest.raises(MissingDataError, match="no KITTI data") as caught:
        listed(tmp_path / "nowhere", "auto")
    assert caught.value.found == "no such folder"
    (tmp_path / "odometry").mkdir()
    with pytest.raises(MissingDataError, match="no KITTI data") as caught:
        listed(tmp_path, "auto")
    assert caught.value.found == "odometry"
    write_odometry(tmp_path / "odometry")
    with pytest.raises(InputError, match="odometry has no splits"):
        listed(tmp_path / "odometry", "auto", split="val")
    write_completion(tmp_path / "completion")
    write_raw(tmp_path / "raw")
    assert len(listed(tmp_path / "completion", "auto", raw_root=tmp_path / "raw")[0]) == 2


def test_of_trees_side_by_side_the_first_is_read(tmp_path: Path) -> None:
    write_odometry(tmp_path / "odometry")
    assert listed(tmp_path, "auto")[0] == listed(tmp_path / "odometry", "odometry")[0]
    write_completion(tmp_path / "depth_completion")
    write_raw(tmp_path / "raw")
    assert listed(tmp_path, "auto")[0] == listed(tmp_path / "raw", "raw")[0]
    (tmp_path / "raw").rename(tmp_path / "days")
    assert len(listed(tmp_path, "auto", raw_root=tmp_path / "days")[0]) == 2


def test_one_day_is_not_the_root(tmp_path: Path) -> None:
    write_raw(tmp_path)
    with pytest.raises(MissingDataError, match="one day") as caught:
        listed(tmp_path / DATE, "raw")
    assert caught.value.remedy == f"root: {tmp_path}"


def test_depth_completion_needs_the_calibration_of_raw(tmp_path: Path) -> None:
    write_completion(tmp_path)
    findings: list[Finding] = []
    with pytest.raises(MissingDataError):
        list(source(tmp_path, "depth_completion").frames(findings.append))
    assert findings[0].message == f"{DRIVE} skipped: no calibration for this day of recordings"
    assert findings[0].remedy is not None
    assert "raw_root" in findings[0].remedy


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"layout": "raw", "split": "val"}, "raw has no splits"),
        ({"layout": "object", "split": "val"}, "split is one of training, testing"),
        ({"layout": "object", "camera": 0}, "camera is 2 or 3"),
    ],
)
def test_a_block_that_contradicts_itself(fields: dict[str, object], message: str) -> None:
    with pytest.raises(ManifestError, match=message):
        PluginBlock.parse(sources, {"name": "kitti", "root": "x", **fields})


def test_roots_are_of_this_machine_only(tmp_path: Path) -> None:
    block = {"name": "kitti", "layout": "depth_completion", "root": str(tmp_path), "raw_root": str(tmp_path)}
    assert not {"root", "raw_root"} & PluginBlock.parse(sources, block).portable().keys()
