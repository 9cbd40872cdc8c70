"""HDF5 frames of BlenderProc written by hand: golden values, sentinels, axes, stereo, ids; and what is wrong."""

from __future__ import annotations

import json
from contextlib import suppress
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal

from depthforge.errors import DecodeError, DepthforgeError, FrameError, MissingDataError
from depthforge.frame import Camera, Finding, Frame
from depthforge.geometry import decode_normals
from depthforge.sources.blenderproc import BlenderProc, BlenderProcConfig
from depthforge.testing.sources import SourceTests

H, W = 4, 6
K = [[5.0, 0, 2.5], [0, 5.5, 1.5], [0, 0, 1]]
DEPTH = np.arange(1, H * W + 1, dtype=np.float32).reshape(H, W)
DEPTH[0, :5] = (1e10, np.inf, np.nan, 0, 65504)
COLOURS = np.arange(H * W * 3, dtype=np.uint8).reshape(H, W, 3)
IDS = np.repeat(np.array([[0, 1, 1, 2, 2, 2]], np.uint8), H, axis=0)
MAP = [{"idx": 0, "name": "bg"}, {"idx": 1, "name": "cup", "category_id": 300}, {"idx": 2, "category_id": 7}]
POSE = np.array([[1.0, 0, 0, 10], [0, 0, -1, 20], [0, 1, 0, 30], [0, 0, 0, 1]])


def write(path: Path, **datasets: Any) -> Path:
    """One file; lists and dicts become JSON as bytes, None leaves a key out."""
    path.parent.mkdir(parents=True, exist_ok=True)
    whole = {"depth": DEPTH, "cam_K": np.array(K), "colors": COLOURS} | datasets
    with h5py.File(path, "w") as file:
        for name, value in whole.items():
            if isinstance(value, np.ndarray):
                file.create_dataset(name, data=value, compression="gzip")
            elif value is not None:
                file.create_dataset(name, data=np.bytes_(json.dumps(value).encode()))
    return path


def make(root: Path, **fields: Any) -> BlenderProc:
    return BlenderProc(BlenderProcConfig.model_validate({"root": root, **fields}))


def read(source: BlenderProc, index: int = 0) -> Frame:
    return source.read(list(source.frames())[index], frozenset(source.labels)).require_sound()


class TestBlenderProc(SourceTests):
    @pytest.fixture
    def source(self, tmp_path: Path) -> BlenderProc:
        normals = np.full((H, W, 3), (0.5, 0.5, 1.0), np.float32)
        for number in range(3):
            fields = {"instance_segmaps": IDS, "instance_attribute_maps": MAP, "cam2world_matrix": POSE}
            write(tmp_path / f"{number}.hdf5", depth=DEPTH + number, normals=normals, **fields)
        write(tmp_path / "more" / "7.hdf5")
        return make(tmp_path)


def test_frames_are_in_the_order_of_their_numbers(tmp_path: Path) -> None:
    for name in ("0", "2", "10", "100", "._3", "mesh"):
        write(tmp_path / f"{name}.hdf5")
    write(tmp_path / "b/1.hdf5")
    write(tmp_path / "002.hdf5")
    findings: list[Finding] = []
    refs = list(make(tmp_path).frames(findings.append))
    assert [ref.key for ref in refs] == [
        *(f"blenderproc/all/{number:06d}" for number in (0, 2, 10, 100)),
        "blenderproc/b/000001",
    ]
    assert [(finding.severity, finding.path) for finding in findings] == [("error", "2.hdf5"), ("warning", "mesh.hdf5")]
    assert len(list(make(tmp_path, every=2).frames())) == 3


def test_depth_is_as_it_is_and_the_background_is_none(tmp_path: Path) -> None:
    write(tmp_path / "0.hdf5")
    frame = read(make(tmp_path))
    assert_array_equal(frame.depth_m[0], np.array([0, 0, 0, 0, 0, 6], np.float32))
    assert_array_equal(frame.depth_m[1:], DEPTH[1:])
    assert frame.camera == Camera(5, 5.5, 2.5, 1.5, W, H)
    assert_array_equal(frame.rgb, COLOURS)
    assert read(make(tmp_path, max_depth_m=10, metres_per_unit=0.5)).depth_m[3, 1] == np.float32(10)
    assert read(make(tmp_path, max_depth_m=10, metres_per_unit=0.5)).depth_m[3, 2] == 0


def test_distance_is_along_the_ray(tmp_path: Path) -> None:
    """The default camera of BlenderProc: distance / depth is 1.12169 in the corner and 1.0000005 in the middle."""
    camera = {"width": 512, "height": 512, "fx": 711.1112, "fy": 711.1112, "cx": 255.5, "cy": 255.5}
    distance = np.full((512, 512), 2.0, np.float32)
    distance[3, :4] = (9990.0, 10000.0, 9989.0, np.nan)
    write(tmp_path / "0.hdf5", depth=None, distance=distance, cam_K=None, colors=None)
    frame = read(make(tmp_path, camera=camera))
    assert 2.0 / frame.depth_m[0, 0] == pytest.approx(1.12169, abs=5e-6)
    assert 2.0 / frame.depth_m[255, 255] == pytest.approx(1.0000005, abs=2e-7)
    assert frame.valid[3, :5].tolist() == [False, False, True, False, True]
    assert not read(make(tmp_path, camera=camera, antialiasing_distance_max=2)).valid.any()
    assert read(make(tmp_path, camera=camera)).rgb is None


def test_distance_takes_both_focal_lengths(tmp_path: Path) -> None:
    write(tmp_path / "0.hdf5", distance=np.full((H, W), 3, np.float32))
    found = read(make(tmp_path, quantity="distance")).depth_m
    assert found[0, 0] == pytest.approx(3 / np.sqrt(1 + (2.5 / 5) ** 2 + (1.5 / 5.5) ** 2), rel=1e-6)
    assert read(make(tmp_path)).depth_m[3, 5] == 24, "depth, where there are both"


def test_normals_and_poses_leave_opengl(tmp_path: Path) -> None:
    normals = np.full((H, W, 3), (0.5, 0.5 + 0.5 * 0.6, 0.5 + 0.5 * 0.8), np.float32)
    normals[1, :2] = (0.5, 0.5, 0.5)
    write(tmp_path / "0.hdf5", normals=normals, cam2world_matrix=POSE)
    frame = read(make(tmp_path))
    decoded = decode_normals(frame.labels["normals"].astype(np.int16))
    assert_allclose(decoded[2, 2], [0, -0.6, -0.8], atol=1e-4)
    assert not decoded[1, :2].any()
    assert not decoded[0, 0].any(), "nothing was seen there"
    # In OpenGL axes the camera looks along -z of its own: here along +y of the world, with z up.
    expected = [[1, 0, 0, 10], [0, 0, 1, 20], [0, -1, 0, 30], [0, 0, 0, 1]]
    assert_array_equal(frame.T_world_cam, expected)
    scaled = read(make(tmp_path, metres_per_unit=0.1)).T_world_cam
    assert scaled is not None
    assert_allclose(scaled[:3, 3], [1, 2, 3])


@pytest.mark.parametrize("as_list", [False, True])
def test_a_state_of_the_camera_is_json_too(tmp_path: Path, as_list: bool) -> None:
    state = {"cam_K": K, "cam2world_matrix": POSE.tolist()}
    write(tmp_path / "0.hdf5", cam_K=None, cam_states=[state] if as_list else state)
    write(tmp_path / "1.hdf5", cam_K=K, cam2world_matrix=POSE.tolist())
    for index in range(2):
        frame = read(make(tmp_path), index)
        assert frame.camera.fy == 5.5
        assert frame.T_world_cam is not None
        assert frame.T_world_cam[0, 3] == 10


def test_of_a_stereo_pair_the_left_image_is_read(tmp_path: Path) -> None:
    write(tmp_path / "0.hdf5", depth=np.stack([DEPTH, DEPTH + 1]), colors=np.stack([COLOURS, COLOURS + 1]))
    parted = {"depth_0": DEPTH, "depth_1": DEPTH + 1, "colors_0": COLOURS, "colors_1": COLOURS + 1}
    parted |= {"instance_segmaps_L": IDS, "instance_segmaps_R": IDS + 1}
    write(tmp_path / "1.hdf5", depth=None, colors=None, **parted)
    for index in range(2):
        frame = read(make(tmp_path), index)
        assert_array_equal(frame.depth_m[1:], DEPTH[1:])
        assert_array_equal(frame.rgb, COLOURS)
    assert_array_equal(frame.labels["instance"], IDS)


def test_classes_are_those_of_the_attribute_map(tmp_path: Path) -> None:
    wrapped = np.array([0, 300 & 255, 7], np.uint8)[IDS]
    write(tmp_path / "0.hdf5", instance_segmaps=IDS, class_segmaps=wrapped, instance_attribute_maps=MAP)
    write(tmp_path / "1.hdf5", class_segmaps=wrapped)
    write(tmp_path / "2.hdf5", instance_segmaps=IDS, category_id_segmaps=wrapped)
    write(tmp_path / "3.hdf5")
    frames = [read(make(tmp_path), index) for index in range(4)]
    assert frames[0].labels["semantic"][0].tolist() == [0, 300, 300, 7, 7, 7]
    assert frames[0].labels["instance"][0].tolist() == [0, 1, 1, 2, 2, 2]
    assert frames[1].labels["semantic"][0].tolist() == [0, 44, 44, 7, 7, 7]
    assert frames[1].labels.keys() == {"semantic"}
    assert frames[2].labels["semantic"][0].tolist() == [0, 44, 44, 7, 7, 7]
    assert frames[3].labels == {}


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"depth": None}, "without depth"),
        ({"cam_K": None}, "without intrinsics"),
        ({"cam_K": np.eye(4)}, "no matrix"),
        ({"cam_K": np.array([[5.0, 1, 2], [0, 5, 2], [0, 0, 1]])}, "no pinhole"),
        ({"cam_K": np.array([[0.8, 0, 0.5], [0, np.nan, 0.5], [0, 0, 1]])}, "no pinhole"),
        ({"depth": DEPTH[None, None]}, "not an image"),
        ({"colors": COLOURS.astype(np.float32)}, "8 bits"),
        ({"colors": COLOURS[:2]}, "size"),
        ({"cam2world_matrix": np.diag([2.0, 2, 2, 1])}, "rigid"),
        ({"cam2world_matrix": "nowhere"}, "no matrix"),
        ({"instance_segmaps": IDS + 9, "instance_attribute_maps": MAP}, "does not know"),
        ({"instance_segmaps": IDS, "instance_attribute_maps": [{"name": "cup"}]}, "not an attribute map"),
        ({"instance_segmaps": IDS, "instance_attribute_maps": [{"idx": 1, "category_id": "cup"}]}, "no class"),
        ({"instance_segmaps": IDS.astype(np.uint32) + 70000}, "holds no ids"),
    ],
)
def test_what_is_wrong_is_named(tmp_path: Path, fields: dict[str, Any], message: str) -> None:
    write(tmp_path / "0.hdf5", **fields)
    with pytest.raises(FrameError, match=message):
        read(make(tmp_path))


def test_json_that_is_none_and_two_cameras_are_named(tmp_path: Path) -> None:
    path = write(tmp_path / "0.hdf5")
    stated = {"width": W, "height": H, "fx": 5, "fy": 5.5, "cx": 2.5, "cy": 1.5}
    assert read(make(tmp_path, camera=stated)).camera.fx == 5
    with pytest.raises(FrameError, match="another camera"):
        read(make(tmp_path, camera={**stated, "cx": 3}))
    with h5py.File(path, "a") as file:
        file["cam2world_matrix"] = np.bytes_(b"[[1, 2")
    with pytest.raises(DecodeError, match="not JSON"):
        read(make(tmp_path))


def test_another_size_is_refused_unless_resized(tmp_path: Path) -> None:
    write(tmp_path / "0.hdf5")
    write(tmp_path / "1.hdf5", depth=DEPTH[:2], colors=None)
    with pytest.raises(DecodeError, match="size"):
        read(make(tmp_path), 1)
    assert read(make(tmp_path, resize={"width": 3, "height": 2}), 1).camera.size == (2, W)


def test_no_frames_and_no_folder(tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("")
    for root, found in ((tmp_path, "notes.txt"), (tmp_path / "nowhere", None)):
        with pytest.raises(MissingDataError, match="no ") as caught:
            list(make(root).frames())
        assert caught.value.found == found


def test_no_library_error_gets_out_of_damaged_files(tmp_path: Path) -> None:
    fields = {"instance_segmaps": IDS, "instance_attribute_maps": MAP, "cam2world_matrix": POSE}
    path = write(tmp_path / "0.hdf5", **fields)
    whole = path.read_bytes()
    rng = np.random.default_rng(0)
    for trial in range(150):
        data = bytearray(whole)
        if trial % 4 == 0:
            data = data[: int(rng.integers(0, len(whole)))]
        else:
            for at in rng.integers(0, len(whole), 20):
                data[at] = int(rng.integers(0, 256))
        path.write_bytes(data)
        with suppress(DepthforgeError):
            source = make(tmp_path)
            for ref in source.frames():
                source.read(ref, frozenset(source.labels))
