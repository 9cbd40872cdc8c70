"""What Virtual KITTI's numbers mean, exactly: units, axes, colours, flow and boxes, and files that are damaged."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest

from depthforge.errors import DecodeError, FrameError
from depthforge.frame import RGB_FILE
from depthforge.labels.vocabularies import class_names
from depthforge.sources.base import ImageSize
from depthforge.sources.vkitti import Vkitti, VkittiConfig
from depthforge.sources.vkitti.palette import decode_palette_indices
from tests.sources.tree_files import png, write
from tests.sources.vkitti_trees import (
    CLASS_COLOURS,
    EVERYTHING,
    EXTRINSICS_V1,
    MOT_HEADER,
    MOT_ROW,
    RGB_IMAGE,
    SCENEGT,
    H,
    W,
    indexed_png,
    listed,
    read,
    source,
    write_v1,
    write_v2,
)

# --- values ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("write_tree", [write_v1, write_v2])
def test_depth_is_centimetres_and_the_sky_is_invalid(tmp_path: Path, write_tree: object) -> None:
    write_tree(tmp_path)  # type: ignore[operator]
    frame = read(tmp_path)
    assert frame.depth_m[5, 7] == np.float32(7.25)
    assert frame.depth_m[5, 8] == np.float32(655.34)
    assert frame.depth_m[10, 10] == np.float32(12.34)
    assert not frame.valid[:3].any()
    assert frame.valid[3:].all()
    near = read(tmp_path, max_depth_m=80.0)
    assert not near.valid[5, 8]
    assert near.depth_m[5, 8] == 0
    assert near.valid[5, 7]


@pytest.mark.parametrize("write_tree", [write_v1, write_v2])
def test_poses_are_turned_from_world_to_camera_into_camera_to_world(tmp_path: Path, write_tree: object) -> None:
    write_tree(tmp_path)  # type: ignore[operator]
    pose = read(tmp_path, index=1).T_world_cam
    assert pose is not None
    np.testing.assert_allclose(pose[:3, 3], [2, 2, 3], atol=1e-6)
    np.testing.assert_allclose(pose[:3, 2], [1, 0, 0], atol=1e-6)
    np.testing.assert_allclose(pose[:3, 0], [0, 0, -1], atol=1e-6)


def test_intrinsics_of_both_versions(tmp_path: Path) -> None:
    write_v1(tmp_path / "1")
    write_v2(tmp_path / "2")
    full = Vkitti(VkittiConfig(root=tmp_path))
    assert full.size == (375, 1242)
    for version, focal in (("1", 725.0), ("2", 725.0087)):
        camera = read(tmp_path / version).camera
        assert (camera.width, camera.height) == (W, H)
        # Scaled to the small copy: pixel centres at integers.
        assert camera.fx == pytest.approx(focal * W / 1242)
        assert camera.cx == pytest.approx((620.5 + 0.5) * W / 1242 - 0.5)
        assert camera.cy == pytest.approx((187.0 + 0.5) * H / 375 - 0.5)


def test_the_shipped_size_has_the_shipped_intrinsics(tmp_path: Path) -> None:
    write_v1(tmp_path, frames=1)
    write(tmp_path / "vkitti_1.3.1_depthgt/0001/clone/00000.png", png(np.full((375, 1242), 1000, np.uint16)))
    camera = read(tmp_path, wanted=frozenset(), stored_size=ImageSize(width=1242, height=375)).camera
    assert (camera.fx, camera.fy, camera.cx, camera.cy) == (725.0, 725.0, 620.5, 187.0)


def test_colour_is_rgb(tmp_path: Path) -> None:
    write_v1(tmp_path / "1")
    write_v2(tmp_path / "2")
    np.testing.assert_array_equal(read(tmp_path / "1").rgb, RGB_IMAGE)
    rgb = read(tmp_path / "2").rgb
    assert rgb is not None
    assert np.abs(rgb.astype(int) - RGB_IMAGE).max() <= 3, "a JPEG"


def test_documented_colours_are_the_documented_classes(tmp_path: Path) -> None:
    write_v2(tmp_path)
    semantic = read(tmp_path).labels["semantic"]
    names = class_names("vkitti")
    assert [names[number] for number in semantic[4, :14]] == list(CLASS_COLOURS)
    assert names[semantic[0, 0]] == "Road"


def test_classes_and_instances_of_version_1_come_from_its_colours(tmp_path: Path) -> None:
    write_v1(tmp_path)
    labels = read(tmp_path).labels
    names = class_names("vkitti")
    assert [names[labels["semantic"][v, u]] for v, u in ((9, 9), (0, 0), (6, 6), (6, 7))] == [
        "Terrain",
        "Sky",
        "Car",
        "Van",
    ]
    assert labels["instance"][6, 6] == 13, "track 12, plus 1"
    assert labels["instance"][6, 7] == 1, "track 0 is not none"
    assert labels["instance"][9, 9] == 0


def test_instances_of_version_2_are_palette_indices(tmp_path: Path) -> None:
    write_v2(tmp_path)
    instance = read(tmp_path).labels["instance"]
    assert instance.dtype == np.uint16
    assert np.unique(instance).tolist() == [0, 13]
    assert (instance[6:8, 6:8] == 13).all()


@pytest.mark.parametrize("bits", [1, 2, 4, 8])
def test_palette_indices_of_any_depth(bits: int) -> None:
    indices = (np.arange(5 * 7).reshape(5, 7) % (1 << bits)).astype(np.uint8)
    np.testing.assert_array_equal(decode_palette_indices(indexed_png(indices, bits), where="here"), indices)


def test_a_damaged_palette_image_is_told(tmp_path: Path) -> None:
    data = indexed_png(np.ones((5, 7), np.uint8))
    for broken in (data[:60], data[:20] + b"\x09" + data[21:], data[:-20] + bytes(20)):
        with pytest.raises(DecodeError, match=r"corrupt|truncated|not an image"):
            decode_palette_indices(broken, where="here")
    with pytest.raises(DecodeError, match="palette image"):
        decode_palette_indices(png(RGB_IMAGE), where="here")


@pytest.mark.parametrize("write_tree", [write_v1, write_v2])
def test_optical_flow(tmp_path: Path, write_tree: object) -> None:
    write_tree(tmp_path)  # type: ignore[operator]
    flow = read(tmp_path).labels["flow"]
    np.testing.assert_allclose(flow[2, 3], [W - 1, -(H - 1)], rtol=1e-6)
    assert np.isnan(flow[2, 4]).all()
    # 2 * 32768 / 65535 - 1 = 1 / 65535
    np.testing.assert_allclose(flow[9, 9], [(W - 1) / 65535, (H - 1) / 65535], atol=1e-5)
    assert "flow" not in read(tmp_path, index=1).labels, "the last frame has none"


def test_boxes_of_version_2(tmp_path: Path) -> None:
    write_v2(tmp_path)
    labels = read(tmp_path).labels
    assert class_names("vkitti")[labels["box_class"][0]] == "Truck"
    assert labels["box_instance"].tolist() == [13]
    sx, sy = W / 1242, H / 375
    expected = [100.5 * sx - 0.5, 50.5 * sy - 0.5, 300.5 * sx - 0.5, 200.5 * sy - 0.5]
    np.testing.assert_allclose(labels["box_2d"], [expected], rtol=1e-5)
    assert labels["box_size"].tolist() == [[8.0, 3.0, 2.5]]
    pose = labels["box_pose"][0]
    np.testing.assert_allclose(pose[:3, 3], [1.0, 0.1, 20.0], atol=1e-9)
    np.testing.assert_allclose(pose[:3, 0], [0, 0, -1], atol=1e-9)
    assert read(tmp_path, index=1).labels["box_2d"].shape == (0, 4)


def test_a_model_of_two_words_and_ids_of_other_classes(tmp_path: Path) -> None:
    write_v1(tmp_path)
    write(tmp_path / "vkitti_1.3.1_motgt/0001_clone.txt", MOT_HEADER + MOT_ROW.replace("Fiat", "Fiat Punto"))
    path = tmp_path / "vkitti_1.3.1_scenegt/0001_clone_scenegt_rgb_encoding.txt"
    write(path, SCENEGT.replace("Terrain", "Terrain:12"))
    labels = read(tmp_path).labels
    assert labels["box_instance"].tolist() == [13]
    assert labels["instance"][9, 9] == 0, "not track 12"


def test_boxes_of_version_1_keep_what_dont_care_is(tmp_path: Path) -> None:
    write_v1(tmp_path)
    labels = read(tmp_path).labels
    assert class_names("vkitti")[labels["box_class"][0]] == "Van"
    assert labels["box_size"].tolist() == [[4.0, 1.5, 1.6]]
    np.testing.assert_allclose(labels["box_pose"][0, :3, 3], [2.0, 1.7 - 0.75, 10.0])


def test_stereo_partner(tmp_path: Path) -> None:
    write_v2(tmp_path)
    left = read(tmp_path)
    assert float(left.labels["baseline_m"]) == pytest.approx(0.532725, abs=1e-6)
    assert left.camera.baseline_m == float(left.labels["baseline_m"])
    right = left.labels["rgb_right"]
    assert right[0, 0].tolist() == pytest.approx([50, 100, 200], abs=3)
    other = read(tmp_path, camera=1)
    assert other.key == "vkitti/Scene01/clone-camera1-00000"
    assert left.T_world_cam is not None
    assert other.T_world_cam is not None
    moved = other.T_world_cam[:3, 3] - left.T_world_cam[:3, 3]
    np.testing.assert_allclose(moved, 0.532725 * left.T_world_cam[:3, 0], atol=1e-6)
    assert not {"rgb_right", "baseline_m"} & other.labels.keys()
    assert "rgb_right" not in source(tmp_path, camera=1).labels


def test_without_textgt_the_documented_constants_hold(tmp_path: Path) -> None:
    write_v2(tmp_path, merged=False)
    shutil.rmtree(tmp_path / "vkitti_2.0.3_textgt")
    frame = read(tmp_path, wanted=EVERYTHING - {"semantic"})
    assert frame.T_world_cam is None
    assert frame.camera.fx == pytest.approx(725.0087 * W / 1242)
    assert float(frame.labels["baseline_m"]) == 0.532725
    assert "box_2d" not in frame.labels
    with pytest.raises(DecodeError, match="table of colours is missing"):
        read(tmp_path)


# --- bad input -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("depth", "message"),
    [
        (np.where(np.arange(H * W).reshape(H, W) % 10, 0, 1500).astype(np.uint16), "a value at every pixel"),
        (np.full((H, W), 6000, np.uint16), "wrong unit"),
        (np.full((H, W), 6, np.uint16), "wrong unit"),
        (np.full((H, W), 200, np.uint8), "precision of a measurement"),
        (np.full((H + 1, W), 1000, np.uint16), "wrong size"),
    ],
    ids=["kitti", "millimetres", "metres", "8-bit", "size"],
)
def test_depth_that_is_not_virtual_kitti(tmp_path: Path, depth: np.ndarray, message: str) -> None:
    write_v2(tmp_path)
    path = tmp_path / "Scene01/clone/frames/depth/Camera_0/depth_00000.png"
    path.write_bytes(png(depth))
    with pytest.raises(FrameError, match=message) as caught:
        read(tmp_path)
    assert str(path) in str(caught.value)
    assert read(tmp_path, index=1).valid.any(), "the other frame is fine"


def test_a_truncated_image_is_an_error_of_its_frame(tmp_path: Path) -> None:
    write_v2(tmp_path)
    path = tmp_path / "Scene01/clone/frames/depth/Camera_0/depth_00000.png"
    path.write_bytes(path.read_bytes()[:-30])
    with pytest.raises(DecodeError, match=r"truncated|corrupt"):
        read(tmp_path)
    assert read(tmp_path, index=1).valid.any()


def test_an_unknown_colour_is_named(tmp_path: Path) -> None:
    write_v1(tmp_path)
    image = np.empty((H, W, 3), np.uint8)
    image[:] = 210, 0, 200
    image[8, 9] = 1, 2, 3
    path = tmp_path / "vkitti_1.3.1_scenegt/0001/clone/00000.png"
    path.write_bytes(png(image))
    with pytest.raises(DecodeError, match=r"the colour \(1, 2, 3\)") as caught:
        read(tmp_path)
    assert f"{path} at column 9, row 8" in str(caught.value)


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("extrinsicsgt", EXTRINSICS_V1 + "0 1 0 0\n", "a row of the table is not whole"),
        ("extrinsicsgt", EXTRINSICS_V1 + "0 2 0 0 0 0 2 0 0 0 0 2 0 0 0 0 1\n", "not a rigid transform"),
        ("extrinsicsgt", EXTRINSICS_V1 + "0 nan 0 0 0 0 1 0 0 0 0 1 0 0 0 0 1\n", "not finite"),
        ("extrinsicsgt", "", "no column 'frame'"),
        ("motgt", MOT_HEADER.replace("orig_label", "x"), "no column 'orig_label'"),
        ("motgt", MOT_HEADER + MOT_ROW.replace("Van", "Spaceship"), "'Spaceship' is not a class"),
        ("motgt", MOT_HEADER + MOT_ROW.replace("10.0", "far"), "not a table of numbers"),
    ],
)
def test_damaged_tables(tmp_path: Path, name: str, text: str, message: str) -> None:
    write_v1(tmp_path)
    write(tmp_path / f"vkitti_1.3.1_{name}/0001_clone.txt", text)
    with pytest.raises(DecodeError, match=message) as caught:
        read(tmp_path)
    assert "0001_clone.txt" in str(caught.value)
    _, findings = listed(tmp_path)
    assert any("frames have no pose" in f.message for f in findings) == (name == "extrinsicsgt")


def test_colour_that_is_jpeg_is_given_as_the_file_where_that_is_wanted(tmp_path: Path) -> None:
    write_v2(tmp_path / "two")
    path = tmp_path / "two/Scene01/clone/frames/rgb/Camera_0/rgb_00000.jpg"
    frame = read(tmp_path / "two", wanted=frozenset([RGB_FILE]))
    assert (frame.rgb, frame.rgb_file) == (None, path.read_bytes())
    both, pixels = (read(tmp_path / "two", wanted=frozenset(["rgb", *more])) for more in ([RGB_FILE], []))
    assert both.rgb_file == path.read_bytes()
    np.testing.assert_array_equal(both.rgb, pixels.rgb)
    write_v1(tmp_path / "one")  # PNG: pixels in its place
    frame = read(tmp_path / "one", wanted=frozenset([RGB_FILE]))
    assert frame.rgb_file is None
    np.testing.assert_array_equal(frame.rgb, RGB_IMAGE)
