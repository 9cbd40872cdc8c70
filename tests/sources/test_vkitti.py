"""Virtual KITTI against trees written by hand from the documented layouts: units, axes, colours and offsets exactly."""

from __future__ import annotations

import math
import shutil
import struct
import tarfile
import zlib
from pathlib import Path

import cv2
import numpy as np
import pytest

from depthforge.errors import DecodeError, FrameError, InputError, MissingDataError
from depthforge.frame import Finding, Frame
from depthforge.sources.base import ImageSize
from depthforge.sources.vkitti import Vkitti, VkittiConfig
from depthforge.sources.vkitti.config import VARIATIONS
from depthforge.sources.vkitti.palette import decode_palette_indices
from depthforge.testing.sources import SourceTests
from depthforge.vocabularies import class_names

W, H = 46, 15
SIZE = ImageSize(width=W, height=H)
# Centimetres: the road 6 m away, a car at 7.25 m, the sky.
DEPTH = np.full((H, W), 1234, np.uint16)
DEPTH[:3] = 65535
DEPTH[5, 7] = 725
DEPTH[5, 8] = 65534
RGB_IMAGE = np.dstack([np.full((H, W), 200), np.full((H, W), 100), np.full((H, W), 50)]).astype(np.uint8)
CLASS_COLOURS = {
    "Terrain": (210, 0, 200), "Sky": (90, 200, 255), "Tree": (0, 199, 0), "Vegetation": (90, 240, 0),
    "Building": (140, 140, 140), "Road": (100, 60, 100), "GuardRail": (250, 100, 255), "TrafficSign": (255, 255, 0),
    "TrafficLight": (200, 200, 0), "Pole": (255, 130, 0), "Misc": (80, 80, 80), "Truck": (160, 60, 60),
    "Car": (255, 127, 80), "Van": (0, 139, 139),
}  # fmt: skip
SCENEGT = "Category(:id) r g b\nTerrain 210 0 200\nSky 90 200 255\nCar:12 10 20 30\nVan:0 30 20 10\n"
EXTRINSICS_V1 = "frame r1,1 r1,2 r1,3 t1 r2,1 r2,2 r2,3 t2 r3,1 r3,2 r3,3 t3 0 0.1 0.2 1\n"
MOT_HEADER = (
    "frame tid label truncated occluded alpha l t r b w3d h3d l3d x3d y3d z3d ry rx rz truncr occupr orig_label "
    "moving model color\n"
)
MOT_ROW = "0 12 DontCare 0 0 -1.5 3 4 20 11 1.6 1.5 4.0 2.0 1.7 10.0 0.0 0.0 0.0 0.0 1.0 Van True Fiat White\n"
EVERYTHING = frozenset(Vkitti(VkittiConfig(root=Path())).labels)


def png(image: np.ndarray) -> bytes:
    if image.ndim == 3:
        image = cv2.cvtColor(image, cv2.COLOR_RGB2BGR)
    return cv2.imencode(".png", image)[1].tobytes()


def indexed_png(indices: np.ndarray, bits: int = 8) -> bytes:
    """A palette PNG from the format's own specification, nothing borrowed from the reader."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    height, width = indices.shape
    per_byte = 8 // bits
    padded = np.zeros((height, -(-width // per_byte) * per_byte), np.uint8)
    padded[:, :width] = indices
    packed = np.zeros((height, padded.shape[1] // per_byte), np.uint8)
    for k in range(per_byte):
        packed |= padded[:, k::per_byte] << (8 - bits * (k + 1))
    rows = b"".join(b"\x00" + row.tobytes() for row in packed)
    palette = bytes((37 * k + 11) % 256 for k in range(3 << bits))
    header = struct.pack(">IIBBBBB", width, height, bits, 3, 0, 0, 0)
    body = chunk(b"IHDR", header) + chunk(b"PLTE", palette) + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")
    return b"\x89PNG\r\n\x1a\n" + body


def write(path: Path, data: bytes | str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data.encode() if isinstance(data, str) else data)


def w2c(frame: int, right_m: float = 0.0) -> str:
    """World to camera: the camera stands at (1 + frame, 2, 3 + ...), turned 90 degrees to the left about y."""
    # Rows are the camera's axes in the world: right = -z, down = y, forward = x.
    rotation = np.array([[0.0, 0.0, -1.0], [0.0, 1.0, 0.0], [1.0, 0.0, 0.0]])
    centre = np.array([1.0 + frame, 2.0, 3.0]) + right_m * rotation[0]
    M = np.eye(4)
    M[:3, :3], M[:3, 3] = rotation, -rotation @ centre
    return " ".join(f"{value:.9g}" for value in M.ravel())


def classes_image() -> np.ndarray:
    image = np.empty((H, W, 3), np.uint8)
    image[:] = CLASS_COLOURS["Road"]
    for column, colour in enumerate(CLASS_COLOURS.values()):
        image[4, column] = colour
    return image


def flow_image() -> np.ndarray:
    """R is x, G is y, B is whether there is any."""
    image = np.zeros((H, W, 3), np.uint16)
    image[..., :] = 32768, 32768, 1
    image[2, 3] = 65535, 0, 1
    image[2, 4] = 65535, 65535, 0
    return image


def write_v1(root: Path, *, world: str = "0001", variations: tuple[str, ...] = ("clone",), frames: int = 2) -> None:
    scene = np.empty((H, W, 3), np.uint8)
    scene[:] = 210, 0, 200
    scene[:3], scene[6, 6], scene[6, 7] = (90, 200, 255), (10, 20, 30), (30, 20, 10)
    for variation in variations:
        for k in range(frames):
            name = f"{world}/{variation}/{k:05d}.png"
            write(root / f"vkitti_1.3.1_rgb/{name}", png(RGB_IMAGE))
            write(root / f"vkitti_1.3.1_depthgt/{name}", png(DEPTH))
            write(root / f"vkitti_1.3.1_scenegt/{name}", png(scene))
            if k < frames - 1:
                write(root / f"vkitti_1.3.1_flowgt/{name}", png(flow_image()))
        video = f"{world}_{variation}"
        write(root / f"vkitti_1.3.1_scenegt/{video}_scenegt_rgb_encoding.txt", SCENEGT)
        rows = "".join(f"{k} {w2c(k)}\n" for k in range(frames))
        write(root / f"vkitti_1.3.1_extrinsicsgt/{video}.txt", EXTRINSICS_V1 + rows)
        write(root / f"vkitti_1.3.1_motgt/{video}.txt", MOT_HEADER + MOT_ROW)


def write_v2(
    root: Path,
    *,
    merged: bool = True,
    world: str = "Scene01",
    variations: tuple[str, ...] = ("clone",),
    frames: int = 2,
    cameras: tuple[int, ...] = (0, 1),
    classes: str = "classSegmentation",
) -> None:
    def top(kind: str) -> Path:
        return root if merged else root / f"vkitti_2.0.3_{kind}"

    instances = np.zeros((H, W), np.uint8)
    instances[6:8, 6:8] = 13
    right = np.ascontiguousarray(RGB_IMAGE[..., ::-1])
    for variation in variations:
        for camera in cameras:
            for k in range(frames):
                at = f"{world}/{variation}/frames/{{}}/Camera_{camera}/{{}}_{k:05d}.png"
                jpg = at.format("rgb", "rgb").replace(".png", ".jpg")
                colour = cv2.cvtColor(RGB_IMAGE if camera == 0 else right, cv2.COLOR_RGB2BGR)
                write(top("rgb") / jpg, cv2.imencode(".jpg", colour, [cv2.IMWRITE_JPEG_QUALITY, 100])[1].tobytes())
                write(top("depth") / at.format("depth", "depth"), png(DEPTH))
                write(top("classSegmentation") / at.format(classes, "classgt"), png(classes_image()))
                write(
                    top("instanceSegmentation") / at.format("instanceSegmentation", "instancegt"),
                    indexed_png(instances),
                )
                if k < frames - 1:
                    write(top("forwardFlow") / at.format("forwardFlow", "flow"), png(flow_image()))
        folder = top("textgt") / world / variation
        views = [(k, camera) for k in range(frames) for camera in (0, 1)]
        header = "frame cameraID r1,1 r1,2 r1,3 t1 r2,1 r2,2 r2,3 t2 r3,1 r3,2 r3,3 t3 0 0 0 1\n"
        write(folder / "extrinsic.txt", header + "".join(f"{k} {c} {w2c(k, 0.532725 * c)}\n" for k, c in views))
        intrinsic = "frame cameraID K[0,0] K[1,1] K[0,2] K[1,2]\n"
        write(folder / "intrinsic.txt", intrinsic + "".join(f"{k} {c} 725.0087 725.0087 620.5 187\n" for k, c in views))
        colours = "".join(f"{name} {r} {g} {b}\n" for name, (r, g, b) in CLASS_COLOURS.items())
        write(folder / "colors.txt", "Category r g b\n" + colours)
        write(folder / "info.txt", "trackID label model color\n12 Truck Actros Red\n")
        bbox = "frame cameraID trackID left right top bottom number_pixels truncation_ratio occupancy_ratio isMoving\n"
        write(folder / "bbox.txt", bbox + "0 0 12 100 300 50 200 999 0.0 1.0 True\n")
        write(folder / "pose.txt", POSE_HEADER + POSE_ROW)


POSE_HEADER = (
    "frame cameraID trackID alpha width height length world_space_X world_space_Y world_space_Z rotation_world_space_y "
    "rotation_world_space_x rotation_world_space_z camera_space_X camera_space_Y camera_space_Z "
    "rotation_camera_space_y rotation_camera_space_x rotation_camera_space_z\n"
)
POSE_ROW = f"0 0 12 0 2.5 3.0 8.0 9 9 9 0 0 0 1.0 1.6 20.0 {math.pi / 2} 0 0\n"


def source(root: Path, **fields: object) -> Vkitti:
    return Vkitti(VkittiConfig(root=root, **{"stored_size": SIZE, **fields}))


def listed(root: Path, **fields: object) -> tuple[list[str], list[Finding]]:
    findings: list[Finding] = []
    return [ref.key for ref in source(root, **fields).frames(findings.append)], findings


def read(root: Path, index: int = 0, wanted: frozenset[str] = EVERYTHING, **fields: object) -> Frame:
    reader = source(root, **fields)
    return reader.read(list(reader.frames())[index], wanted)


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
