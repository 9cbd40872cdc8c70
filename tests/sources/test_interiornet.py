"""InteriorNet against trees written by hand: the contract, what is listed under which key, what is missing."""

from __future__ import annotations

import os
import time
from pathlib import Path

import pytest

from depthforge.errors import ManifestError, MissingDataError
from depthforge.frame import FrameRef
from depthforge.manifest import PluginBlock
from depthforge.registry import sources
from depthforge.sources.interiornet import InteriorNet
from depthforge.testing.sources import SourceTests, assert_frames_equal
from tests.sources.interiornet_trees import (
    EVERYTHING,
    ROOM,
    STEPS_NS,
    VIEWS,
    listed,
    messages,
    pack,
    read_first,
    source,
    write_room,
    write_views,
)


class TestViews(SourceTests):
    @pytest.fixture
    def source(self, tmp_path: Path) -> InteriorNet:
        write_views(tmp_path)
        return source(tmp_path)


# --- what is where -------------------------------------------------------------------------------------------------


def test_keys_of_views_and_trajectories(tmp_path: Path) -> None:
    write_room(tmp_path, num_frames=2, trajectories=(1, 7))
    write_views(tmp_path, num_frames=2)
    keys, findings = listed(tmp_path)
    assert keys == [
        f"interiornet/HD5-{ROOM}/original_1_1-0000000",
        f"interiornet/HD5-{ROOM}/original_1_1-0000001",
        f"interiornet/HD5-{ROOM}/original_7_7-0000000",
        f"interiornet/HD5-{ROOM}/original_7_7-0000001",
        f"interiornet/HD7-{VIEWS}/000000",
        f"interiornet/HD7-{VIEWS}/000001",
    ]
    assert findings == []


def test_all_trajectories_of_a_room_are_one_scene(tmp_path: Path) -> None:
    write_room(tmp_path, num_frames=1, trajectories=(1, 3, 7))
    assert {ref.scene for ref in source(tmp_path).frames()} == {f"interiornet/HD5-{ROOM}"}


def test_unpadded_names_are_ordered_by_number(tmp_path: Path) -> None:
    write_views(tmp_path, num_frames=11)
    keys, _ = listed(tmp_path)
    assert keys == [f"interiornet/HD7-{VIEWS}/{i:06d}" for i in range(11)]


def test_scene_names_that_sort_around_the_slash(tmp_path: Path) -> None:
    for name in ("A", "A-1", "A.b", "AB"):
        write_views(tmp_path, name=name, num_frames=1)
    keys, _ = listed(tmp_path)
    assert keys == sorted(keys)
    assert len(keys) == 4


def test_double_folder_of_views(tmp_path: Path) -> None:
    write_views(tmp_path / "flat", num_frames=2)
    write_views(tmp_path / "double", num_frames=2, inner=VIEWS)
    assert listed(tmp_path / "double") == listed(tmp_path / "flat")
    assert_frames_equal(read_first(tmp_path / "double"), read_first(tmp_path / "flat"))


def test_include_exclude_packages_trajectories(tmp_path: Path) -> None:
    write_room(tmp_path, num_frames=1, trajectories=(1, 3))
    write_views(tmp_path, num_frames=1)
    assert len(listed(tmp_path, packages=["HD7"])[0]) == 1
    assert len(listed(tmp_path, trajectories=[3])[0]) == 2
    assert listed(tmp_path, exclude=["*_Guest_room"])[0][0].startswith("interiornet/HD5")
    keys, findings = listed(tmp_path, include=["3FO4KA*", "nothing*"])
    assert len(keys) == 2
    assert "'nothing*' matches no scene" in messages(findings)


# --- traps ---------------------------------------------------------------------------------------------------------


def test_missing_csv_falls_back_to_the_timestamps_then_to_numeric_order(tmp_path: Path) -> None:
    folder = write_room(tmp_path, num_frames=3)
    keys, _ = listed(tmp_path)
    (folder / "depth0/data.csv").unlink()
    again, findings = listed(tmp_path)
    assert again == keys
    assert "data.csv is missing or lists no file; frames are cam0.timestamp" in messages(findings)
    (tmp_path / f"GroundTruth_HD1-HD6/{ROOM}/velocity_angular_1_1/cam0.timestamp").unlink()
    again, findings = listed(tmp_path)
    assert again == keys
    assert "frames are the files in order of number" in messages(findings)


def test_a_missing_depth_image_moves_no_key_and_no_pose(tmp_path: Path) -> None:
    folder = write_room(tmp_path, num_frames=3)
    (folder / f"depth0/data/{STEPS_NS}.png").unlink()
    keys, findings = listed(tmp_path)
    assert [key[-7:] for key in keys] == ["0000000", "0000002"]
    assert "error" in messages(findings)
    assert "1 of 3 depth images are missing" in messages(findings)
    reader = source(tmp_path)
    last = list(reader.frames())[-1]
    assert reader.read(last, EVERYTHING).T_world_cam[0, 3] == 2


def test_poses_that_cannot_be_matched_are_left_out(tmp_path: Path) -> None:
    folder = write_room(tmp_path, num_frames=3)
    (folder / f"depth0/data/{STEPS_NS}.png").unlink()
    (folder / "depth0/data.csv").unlink()
    (tmp_path / f"GroundTruth_HD1-HD6/{ROOM}/velocity_angular_1_1/cam0.timestamp").unlink()
    assert "poses left out: 3 of them for 2 frames" in messages(listed(tmp_path)[1])
    assert read_first(tmp_path).T_world_cam is None


def test_views_that_are_missing_are_counted_by_their_cameras(tmp_path: Path) -> None:
    folder = write_views(tmp_path, num_frames=4)
    (folder / "depth0/data/1.png").unlink()
    (folder / "depth0/data/3.png").unlink()
    keys, findings = listed(tmp_path)
    assert [key[-6:] for key in keys] == ["000000", "000002"]
    assert "2 of 4 depth images are missing" in messages(findings)


def test_colour_of_other_times_is_reported_and_left_out(tmp_path: Path) -> None:
    folder = write_room(tmp_path, num_frames=2)
    (folder / f"cam0/data/{STEPS_NS}.png").rename(folder / f"cam0/data/{STEPS_NS + 1}.png")
    keys, findings = listed(tmp_path)
    assert len(keys) == 2
    assert "1 of 2 frames have no colour image of their name" in messages(findings)
    assert "1 colour images have no depth image of their name" in messages(findings)
    reader = source(tmp_path)
    assert reader.read(list(reader.frames())[1], EVERYTHING).rgb is None


def test_broken_ground_truth_costs_the_poses_only(tmp_path: Path) -> None:
    write_room(tmp_path, num_frames=2)
    truth = pack(tmp_path / "GroundTruth_HD1-HD6" / ROOM, ".zip", inner=ROOM)
    truth.write_bytes(truth.read_bytes()[:100])
    keys, findings = listed(tmp_path)
    assert len(keys) == 2
    assert "frames have no pose: the archive is broken" in messages(findings)
    assert read_first(tmp_path).T_world_cam is None


def test_nothing_to_read_says_how_to_try(tmp_path: Path) -> None:
    for root in (tmp_path / "absent", tmp_path):
        with pytest.raises(MissingDataError, match="no InteriorNet frames") as raised:
            listed(root)
        text = str(raised.value)
        assert str(root) in text
        assert "HD7/<scene>" in text
        assert "depthforge sample --layout interiornet" in text
        assert "INTERIORNET_ROOT" in text


def test_empty_scene_is_an_error_finding(tmp_path: Path) -> None:
    write_views(tmp_path, num_frames=1)
    (tmp_path / "HD7/empty/depth0/data").mkdir(parents=True)
    assert "error HD7/empty/depth0/data: no depth images" in messages(listed(tmp_path)[1])


def test_package_that_is_absent_or_unknown(tmp_path: Path) -> None:
    write_views(tmp_path, num_frames=1)
    (tmp_path / "HD9").mkdir()
    assert "not a package of InteriorNet" in messages(listed(tmp_path)[1])
    with pytest.raises(MissingDataError, match="HD3 is not there"):
        listed(tmp_path, packages=["HD3"])
    with pytest.raises(ManifestError, match=r"HD1.*HD7"):
        PluginBlock.parse(sources, {"name": "interiornet", "root": str(tmp_path), "packages": ["HD8"]})


def test_listing_is_fast_and_streams(tmp_path: Path) -> None:
    """20,000 empty files here; a tenth of what must list in 30 s, and the first reference comes at once."""
    for i in range(1000):
        folder = tmp_path / f"HD7/scene{i:05d}_Room/depth0/data"
        folder.mkdir(parents=True)
        for view in range(20):
            os.close(os.open(folder / f"{view}.png", os.O_CREAT))
    start = time.perf_counter()
    first = next(iter(source(tmp_path).frames()))
    first_s = time.perf_counter() - start
    assert isinstance(first, FrameRef)
    assert sum(1 for _ in source(tmp_path).frames()) == 20_000
    assert first_s < 0.5
    assert time.perf_counter() - start < 5
