"""Virtual KITTI against trees written by hand: the contract, which frames there are, archives, what is missing."""

from __future__ import annotations

import shutil
import tarfile
from pathlib import Path

import numpy as np
import pytest

from depthforge.errors import DecodeError, InputError, MissingDataError
from depthforge.sources.vkitti import Vkitti
from depthforge.sources.vkitti.config import VARIATIONS
from depthforge.testing.sources import SourceTests
from tests.sources.vkitti_trees import EVERYTHING, listed, read, source, write_v1, write_v2


class TestVersion2(SourceTests):
    num_frames = 2

    @pytest.fixture
    def source(self, tmp_path: Path) -> Vkitti:
        write_v2(tmp_path)
        return source(tmp_path)


class TestVersion1(SourceTests):
    num_frames = 2

    @pytest.fixture
    def source(self, tmp_path: Path) -> Vkitti:
        write_v1(tmp_path, variations=("15-deg-left", "clone"), frames=1)
        return source(tmp_path)


# --- which frames ----------------------------------------------------------------------------------------------------


def test_variations_of_equal_depth_are_read_once(tmp_path: Path) -> None:
    write_v1(tmp_path, variations=VARIATIONS)
    keys, findings = listed(tmp_path)
    kept = ["15-deg-left", "15-deg-right", "30-deg-left", "30-deg-right", "clone"]
    assert keys == [f"vkitti/Scene01/{name}-{k:05d}" for name in kept for k in range(2)]
    (finding,) = findings
    assert finding.severity == "warning"
    assert finding.message == "10 frames of fog, morning, overcast, rain, sunset left out: they have the depth of clone"
    everything, findings = listed(tmp_path, variations=VARIATIONS)
    assert len(everything) == 20
    assert not findings
    assert everything == sorted(everything)


def test_without_clone_one_weather_stands_for_it(tmp_path: Path) -> None:
    write_v1(tmp_path, variations=("rain", "sunset"))
    keys, findings = listed(tmp_path)
    assert keys == ["vkitti/Scene01/rain-00000", "vkitti/Scene01/rain-00001"]
    assert "2 frames of sunset left out: they have the depth of rain" in findings[0].message


def test_a_scene_is_a_world_in_both_versions(tmp_path: Path) -> None:
    write_v1(tmp_path / "1", world="0020", variations=("clone", "30-deg-left"))
    write_v2(tmp_path / "2", world="Scene20")
    for version in "12":
        refs = list(source(tmp_path / version).frames())
        assert {ref.scene for ref in refs} == {"vkitti/Scene20"}
    assert listed(tmp_path / "2")[0][0] == "vkitti/Scene20/clone-camera0-00000"


def test_worlds_can_be_chosen(tmp_path: Path) -> None:
    write_v1(tmp_path, world="0001")
    write_v1(tmp_path, world="0002")
    assert len(listed(tmp_path)[0]) == 4
    keys, findings = listed(tmp_path, worlds=("Scene02", "Scene06"))
    assert {key.split("/")[1] for key in keys} == {"Scene02"}
    assert [(f.severity, f.path) for f in findings] == [("error", "Scene06")]


@pytest.mark.parametrize("classes", ["classSegmentation", "classsegmentation"])
def test_trees_side_by_side_with_names_in_any_case(tmp_path: Path, classes: str) -> None:
    write_v2(tmp_path / "apart", merged=False, classes=classes)
    write_v2(tmp_path / "merged")
    apart, merged = read(tmp_path / "apart"), read(tmp_path / "merged")
    assert apart.labels.keys() == merged.labels.keys() == EVERYTHING - {"rgb", "T_world_cam"}
    np.testing.assert_array_equal(apart.labels["semantic"], merged.labels["semantic"])


def test_archives_are_read_where_they_lie(tmp_path: Path) -> None:
    write_v2(tmp_path / "data", merged=False)
    expected = read(tmp_path / "data")
    for folder in list((tmp_path / "data").iterdir()):
        with tarfile.open(f"{folder}.tar", "w") as tar:
            tar.add(folder, ".")
        shutil.rmtree(folder)
    frame = read(tmp_path / "data")
    assert frame.labels.keys() == expected.labels.keys()
    np.testing.assert_array_equal(frame.depth_m, expected.depth_m)


def test_an_archive_unpacked_into_a_folder_of_its_name(tmp_path: Path) -> None:
    write_v1(tmp_path)
    folder = tmp_path / "vkitti_1.3.1_depthgt"
    folder.rename(tmp_path / "inner")
    folder.mkdir()
    (tmp_path / "inner").rename(folder / "vkitti_1.3.1_depthgt")
    assert len(listed(tmp_path)[0]) == 2


# --- bad input -------------------------------------------------------------------------------------------------------


def test_nothing_there(tmp_path: Path) -> None:
    with pytest.raises(MissingDataError, match="no Virtual KITTI frames") as caught:
        listed(tmp_path / "nowhere")
    assert "depthforge sample --layout vkitti" in str(caught.value)
    (tmp_path / "HD7").mkdir()
    with pytest.raises(MissingDataError) as caught:
        listed(tmp_path)
    assert caught.value.found == "a folder with HD7"


def test_the_wrong_version_is_told(tmp_path: Path) -> None:
    write_v1(tmp_path)
    with pytest.raises(MissingDataError) as caught:
        listed(tmp_path, version="2.0.3")
    assert "`version: 1.3.1`" in str(caught.value)
    with pytest.raises(InputError, match="one camera"):
        listed(tmp_path, camera=1)
    write_v2(tmp_path)
    with pytest.raises(InputError, match="both versions"):
        listed(tmp_path)
    assert len(listed(tmp_path, version="1.3.1")[0]) == 2


def test_half_extracted_depth_is_counted_against_the_poses(tmp_path: Path) -> None:
    write_v2(tmp_path, frames=4)
    for k in (1, 3):
        (tmp_path / f"Scene01/clone/frames/depth/Camera_0/depth_{k:05d}.png").unlink()
    (tmp_path / "Scene01/clone/frames/rgb/Camera_0/rgb_00000.jpg").unlink()
    keys, findings = listed(tmp_path)
    assert len(keys) == 2
    assert {(f.severity, f.message) for f in findings} == {
        ("error", "2 of 4 depth images are missing"),
        ("warning", "1 of 2 frames have no rgb image"),
    }
    assert read(tmp_path).rgb is None


def test_archives_that_cannot_be_read(tmp_path: Path) -> None:
    write_v2(tmp_path, merged=False)
    (tmp_path / "vkitti_2.0.3_forwardFlow.tar.gz").write_bytes(b"x")
    shutil.rmtree(tmp_path / "vkitti_2.0.3_rgb")
    (tmp_path / "vkitti_2.0.3_rgb.tar").write_bytes(b"x" * 100)
    keys, findings = listed(tmp_path)
    assert len(keys) == 2
    told = {f.path: f.message for f in findings if f.severity == "error"}
    assert told["vkitti_2.0.3_forwardFlow.tar.gz"] == "cannot be read at random"
    assert told["vkitti_2.0.3_rgb.tar"].startswith("skipped: the archive is broken")


def test_depth_that_has_gone_since_it_was_listed(tmp_path: Path) -> None:
    write_v2(tmp_path)
    reader = source(tmp_path)
    ref = next(iter(reader.frames()))
    path = tmp_path / "Scene01/clone/frames/depth/Camera_0/depth_00000.png"
    path.unlink()
    with pytest.raises(DecodeError, match="has gone") as caught:
        reader.read(ref, frozenset())
    assert caught.value.where == str(path)
    shutil.rmtree(tmp_path / "Scene01/clone/frames/depth")
    reader.close()
    with pytest.raises(DecodeError, match="has gone"):
        reader.read(ref, frozenset())
