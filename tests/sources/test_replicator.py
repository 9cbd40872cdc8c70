"""Output of BasicWriter written by hand: golden values, three layouts, names to ids; and what is wrong."""

from __future__ import annotations

import io
import json
from contextlib import suppress
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.testing import assert_allclose, assert_array_equal

from depthforge.errors import DecodeError, FrameError, MissingDataError
from depthforge.frame import RGB_FILE, Camera, Finding, Frame
from depthforge.geometry import ray_length_to_z
from depthforge.samples.writing import rgb_jpeg
from depthforge.sources.check import check_source
from depthforge.sources.replicator import Replicator, ReplicatorConfig
from depthforge.sources.replicator.files import decode_npy_depth, parse_camera_params, segments_of
from depthforge.sources.replicator.tree import FrameFiles
from depthforge.testing.sources import SourceTests
from tests.sources.tree_files import png, write

H, W = 4, 6
DEPTH = np.arange(1, H * W + 1, dtype=np.float32).reshape(H, W)
DEPTH[0, :4] = (np.inf, 0, np.nan, -1)
RGB = np.arange(H * W * 3, dtype=np.uint8).reshape(H, W, 3)
VIEW = np.eye(4)
VIEW[3] = (-100, 0, 0, 1)
PARAMS: dict[str, Any] = {
    "cameraApertureOffset": [0.0, 0.0],
    "cameraFocalLength": 24.0,
    "cameraModel": "pinhole",
    "cameraProjection": [2.0, 0, 0, 0, 0, 3.0, 0, 0, 0, 0, 0, -1, 0, 0, 1, 0],
    "cameraViewTransform": VIEW.ravel().tolist(),
    "metersPerSceneUnit": 0.01,
    "renderProductResolution": [W, H],
}
CHAIR, TABLE = (10, 200, 30), (1, 2, 3)


def npy(array: np.ndarray) -> bytes:
    content = io.BytesIO()
    np.save(content, array)
    return content.getvalue()


def rgba(rgb: np.ndarray, alpha: int = 255) -> bytes:
    stored = np.concatenate([rgb[..., ::-1], np.full((*rgb.shape[:2], 1), alpha, np.uint8)], axis=2)
    return cv2.imencode(".png", stored)[1].tobytes()


def params(**fields: Any) -> bytes:
    return json.dumps({**PARAMS, **fields}).encode()


def write_frame(root: Path, number: str = "0000", colours: tuple[Any, Any] = (CHAIR, TABLE), **files: bytes) -> None:
    """A frame in one folder: column 0 background, 1 unlabelled, then chairs, the last two a table."""
    image = np.zeros((H, W, 3), np.uint8)
    image[:, 2:4], image[:, 4:] = colours
    names = {"(0, 0, 0, 0)": {"class": "BACKGROUND"}, "(0, 0, 0, 255)": {"class": "UNLABELLED"}}
    prims = {"(0, 0, 0, 0)": "BACKGROUND"}
    for colour, name in zip(colours, ("chair", "table"), strict=True):
        names[str((*colour, 255))] = {"class": name}
        prims[str((*colour, 255))] = f"/World/{name}"
    whole = {
        "distance_to_image_plane.npy": npy(DEPTH),
        "rgb.png": rgba(RGB),
        "camera_params.json": params(),
        "semantic_segmentation.png": rgba(image),
        "semantic_segmentation_labels.json": json.dumps(names).encode(),
        "instance_segmentation.png": rgba(image),
        "instance_segmentation_mapping.json": json.dumps(prims).encode(),
        "distance_to_image_plane.png": rgba(RGB),
    } | files
    for name, content in whole.items():
        annotator, _, suffix = name.partition(".")
        write(root / f"{annotator}_{number}.{suffix}", content)


def make(root: Path, **fields: Any) -> Replicator:
    return Replicator(ReplicatorConfig.model_validate({"root": root, **fields}))


def read(source: Replicator, index: int = 0, wanted: frozenset[str] | None = None) -> Frame:
    ref = list(source.frames())[index]
    return source.read(ref, frozenset(source.labels) if wanted is None else wanted).require_sound()


class TestReplicator(SourceTests):
    @pytest.fixture
    def source(self, tmp_path: Path) -> Replicator:
        for number in ("0000", "0001", "0010"):
            write_frame(tmp_path, number)
            write_frame(tmp_path / "Second", number)
        return make(tmp_path)


def test_a_frame_is_metres_colour_and_names(tmp_path: Path) -> None:
    write_frame(tmp_path)
    write_frame(tmp_path, "0001", (TABLE, CHAIR))
    source = make(tmp_path)
    frames = [read(source, index) for index in range(2)]
    assert frames[0].depth_m[0].tolist() == [0, 0, 0, 0, 5, 6]
    assert_array_equal(frames[0].depth_m[1:], DEPTH[1:])
    assert_array_equal(frames[0].rgb, RGB)
    assert frames[0].camera == Camera(6.0, 6.0, 2.5, 1.5, W, H)
    for frame in frames:
        # The colours are swapped in the second frame, the names are not.
        for label in ("semantic", "instance"):
            assert frame.labels[label][2].tolist() == [0, 0, 1, 1, 2, 2]
            assert frame.labels[label].dtype == np.uint16
    assert read(make(tmp_path, max_depth_m=10)).depth_m[3].tolist() == [0] * 6
    assert len(list(make(tmp_path, every=2).frames())) == 1


def test_golden_values_of_the_projection_and_the_ray() -> None:
    projection = [2.29, 0, 0, 0, 0, 4.58, 0, 0, 0, 0, 0, -1, 0, 0, 1, 0]
    wide = parse_camera_params(params(cameraProjection=projection, renderProductResolution=[1024, 512]), where="")
    assert (wide.camera.fx, wide.camera.fy) == (pytest.approx(1172.48), pytest.approx(1172.48))
    assert (wide.camera.cx, wide.camera.cy) == (511.5, 255.5)
    camera = Camera(1280, 1280, 639.5, 359.5, 1280, 720)
    assert 1 / ray_length_to_z(np.ones((720, 1280), np.float32), camera)[0, 0] == pytest.approx(1.152602, abs=1e-6)


def test_the_view_is_world_to_camera_for_row_vectors_in_units_of_the_stage(tmp_path: Path) -> None:
    """A camera at (100, 0, 0) cm without rotation looks along -z of the world, with y up."""
    write_frame(tmp_path)
    expected = np.diag([1.0, -1, -1, 1])
    expected[0, 3] = 1.0
    pose = read(make(tmp_path)).T_world_cam
    assert pose is not None
    assert_allclose(pose, expected, atol=1e-12)
    stated = read(make(tmp_path, metres_per_unit=1)).T_world_cam
    assert stated is not None
    assert stated[0, 3] == 100
    turned = np.array([[0.0, 1, 0, 0], [-1, 0, 0, 0], [0, 0, 1, 0], [5, 6, 7, 1]])
    pose = parse_camera_params(params(cameraViewTransform=turned.ravel().tolist()), where="").pose(1.0, where="")
    assert pose is not None
    # w2c = M^T turns by +90 degrees about z: the camera stands at -R^T t = (-6, 5, -7).
    assert_allclose(pose[:3, 3], -turned[:3, :3] @ [5, 6, 7])


def test_distance_to_camera_is_along_the_ray_and_second_choice(tmp_path: Path) -> None:
    write_frame(tmp_path, **{"distance_to_camera.npy": npy(np.full((H, W), 3, np.float32))})
    assert read(make(tmp_path)).depth_m[1, 0] == 7
    (tmp_path / "distance_to_image_plane_0000.npy").unlink()
    found = read(make(tmp_path)).depth_m
    assert found[0, 0] == pytest.approx(3 / np.sqrt(1 + (2.5 / 6) ** 2 + (1.5 / 6) ** 2), rel=1e-6)


@pytest.mark.parametrize(
    ("path", "scene", "name", "rgb", "labels"),
    [
        (
            "distance_to_image_plane_0012.npy",
            "all",
            "000012",
            "rgb_0012.png",
            "semantic_segmentation_labels_0012.json",
        ),
        (
            "a/Cam/distance_to_camera/distance_to_camera_3_0012.npy",
            "a.Cam",
            "0003_000012",
            "a/Cam/rgb/rgb_3_0012.png",
            "a/Cam/semantic_segmentation/semantic_segmentation_labels_3_0012.json",
        ),
        (
            "distance_to_camera/Cam_distance_to_camera_0012.npy",
            "Cam",
            "000012",
            "rgb/Cam_rgb_0012.png",
            "semantic_segmentation/Cam_semantic_segmentation_labels_0012.json",
        ),
    ],
)
def test_the_three_layouts(path: str, scene: str, name: str, rgb: str, labels: str) -> None:
    files = FrameFiles.parse(path)
    assert files is not None
    assert (files.scene, files.name, str(files), files.path("rgb", "png")) == (scene, name, path, rgb)
    assert files.path("semantic_segmentation_labels", "json", "semantic_segmentation") == labels


def test_what_is_no_depth_is_no_frame(tmp_path: Path) -> None:
    for name in ("distance_to_camera_0000.png", "._distance_to_camera_0000.npy", "pointcloud_0000.npy"):
        assert FrameFiles.parse(name) is None
        write(tmp_path / name, b"")
    with pytest.raises(MissingDataError, match="no depth of Replicator") as caught:
        list(make(tmp_path).frames())
    assert "distance_to_camera_0000.png" in str(caught.value.found)
    with pytest.raises(MissingDataError, match="no such folder"):
        list(make(tmp_path / "nowhere").frames())


def test_products_are_scenes_and_numbers_are_sorted(tmp_path: Path) -> None:
    for number in ("0002", "10000", "0010"):
        write_frame(tmp_path / "B", number)
    write_frame(tmp_path / "A", "0000")
    assert [ref.key for ref in make(tmp_path).frames()] == [
        "replicator/A/000000",
        *(f"replicator/B/{number:06d}" for number in (2, 10, 10000)),
    ]


def test_classes_are_those_of_the_manifest_or_told(tmp_path: Path) -> None:
    write_frame(tmp_path)
    stated = make(tmp_path, classes=["table", "lamp", "chair"])
    assert read(stated).labels["semantic"][2].tolist() == [0, 0, 3, 3, 1, 1]
    findings: list[Finding] = []
    list(stated.frames(findings.append))
    assert findings == []
    list(make(tmp_path).frames(findings.append))
    assert findings[0].message == "classes are numbered by the names that occur: chair 1, table 2"
    with pytest.raises(DecodeError, match="does not state") as caught:
        read(make(tmp_path, classes=["table"]))
    assert caught.value.found == "chair"


@pytest.mark.parametrize(("which", "found"), [("whole", 2), ("first", 2), ("last", 1)])
def test_of_nested_prims_the_user_chooses(tmp_path: Path, which: str, found: int) -> None:
    names = {"(10, 200, 30, 255)": {"class": "rectangle, cube"}, "(1, 2, 3, 255)": {"class": "cube"}}
    names |= {"(0, 0, 0, 0)": {"class": "BACKGROUND"}}
    write_frame(tmp_path, **{"semantic_segmentation_labels.json": json.dumps(names).encode()})
    semantic = read(make(tmp_path, nested_class=which)).labels["semantic"][0]
    assert semantic.tolist() == [0, 0, found, found, 1, 1]


@pytest.mark.parametrize("as_bytes", [False, True])
def test_numbers_are_ids(tmp_path: Path, as_bytes: bool) -> None:
    ids = np.zeros((H, W), np.uint32)
    ids[:, 1], ids[:, 2:4], ids[:, 4:] = 1, 700, 3
    names = {"0": {"class": "BACKGROUND"}, "1": {"class": "UNLABELLED"}, "700": {"class": "a"}, "3": {"class": "b"}}
    image = png(ids.astype(np.uint16))
    if as_bytes:
        image = rgba(np.stack([ids & 255, ids >> 8, ids >> 16], axis=2).astype(np.uint8), alpha=0)
    table = json.dumps(names).encode()
    write_frame(tmp_path, **{"semantic_segmentation.png": image, "semantic_segmentation_labels.json": table})
    assert read(make(tmp_path)).labels["semantic"][1].tolist() == [0, 0, 1, 1, 2, 2]
    del names["3"]
    with pytest.raises(DecodeError, match="does not name") as caught:
        segments_of(image, names, where="")
    assert caught.value.found == ("(3, 0, 0)" if as_bytes else "(3,)")


def test_the_finer_segmentation_stands_in_and_missing_files_are_left_out(tmp_path: Path) -> None:
    write_frame(tmp_path)
    for kind in ("png", "json"):
        middle = "" if kind == "png" else "_mapping"
        path = tmp_path / f"instance_segmentation{middle}_0000.{kind}"
        path.rename(tmp_path / f"instance_id_segmentation{middle}_0000.{kind}")
    assert read(make(tmp_path)).labels["instance"][0].tolist() == [0, 0, 1, 1, 2, 2]
    (tmp_path / "instance_id_segmentation_mapping_0000.json").unlink()
    (tmp_path / "semantic_segmentation_0000.png").unlink()
    (tmp_path / "rgb_0000.png").unlink()
    frame = read(make(tmp_path))
    assert (frame.labels, frame.rgb) == ({}, None)
    jpeg = write(tmp_path / "rgb_0000.jpg", rgb_jpeg(RGB)).read_bytes()
    assert read(make(tmp_path), wanted=frozenset({RGB_FILE})).rgb_file == jpeg


def test_without_camera_params_the_camera_is_stated(tmp_path: Path) -> None:
    write_frame(tmp_path)
    (tmp_path / "camera_params_0000.json").unlink()
    with pytest.raises(DecodeError, match="without intrinsics"):
        _ = make(tmp_path).size
    frame = read(make(tmp_path, camera={"width": W, "height": H, "fx": 7, "fy": 8, "cx": 2, "cy": 1}))
    assert frame.camera == Camera(7, 8, 2, 1, W, H)
    assert frame.T_world_cam is None


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("camera_params.json", params(cameraModel="fisheyePolynomial"), "no pinhole"),
        ("camera_params.json", params(cameraApertureOffset=[0.5, 0.0]), "off the middle"),
        ("camera_params.json", params(cameraProjection=[0.0] * 16), "no camera"),
        ("camera_params.json", params(cameraProjection=None), "no cameraProjection"),
        ("camera_params.json", params(cameraViewTransform=[1] * 15 + [float("nan")]), "no cameraViewTransform"),
        ("camera_params.json", params(cameraViewTransform=np.diag([2.0, 2, 2, 1]).ravel().tolist()), "rigid"),
        ("camera_params.json", params(cameraViewTransform=VIEW.T.ravel().tolist()), "rigid"),
        ("camera_params.json", params(metersPerSceneUnit=None), "units of the stage"),
        ("camera_params.json", params(metersPerSceneUnit="cm"), "no length"),
        ("camera_params.json", params(renderProductResolution=[W + 1, H]), "size"),
        ("camera_params.json", b"{", "not a JSON file"),
        ("camera_params.json", b"[]", "not a JSON object"),
        ("distance_to_image_plane.npy", npy(DEPTH)[:-1], "truncated"),
        ("distance_to_image_plane.npy", npy(np.ones((H, W), np.uint8)), "no depth image"),
        ("distance_to_image_plane.npy", npy(np.array([[{}]])), "no depth image"),
        ("distance_to_image_plane.npy", b"", "not a .npy file"),
        ("rgb.png", rgba(RGB[:2]), "size"),
        ("semantic_segmentation_labels.json", b'{"red": {"class": "a"}}', "no colour and no id"),
        ("semantic_segmentation_labels.json", b'{"(0, 0, 300, 0)": {"class": "a"}}', "no colour and no id"),
        ("semantic_segmentation_labels.json", b"{}", "does not name"),
        (
            "semantic_segmentation_labels.json",
            b'{"(1, 0, 0, 0)": {"class": "a"}, "(1, 0, 0, 255)": {"class": "b"}}',
            "two names",
        ),
    ],
)
def test_what_is_wrong_is_named(tmp_path: Path, name: str, content: bytes, message: str) -> None:
    write_frame(tmp_path)
    write_frame(tmp_path, "0001", **{name: content})
    with pytest.raises(FrameError, match=message):
        read(make(tmp_path), 1)
    assert read(make(tmp_path)).valid.any(), "the frame beside it is whole"
    assert not check_source(make(tmp_path)).ok


def test_other_shapes_of_depth_are_the_same(tmp_path: Path) -> None:
    expected = decode_npy_depth(npy(DEPTH), where="")
    for array in (DEPTH[..., None], np.asfortranarray(DEPTH), DEPTH.astype(">f4"), DEPTH.astype(np.float64)):
        assert_array_equal(decode_npy_depth(npy(array), where=""), expected, strict=True)


@given(st.binary(max_size=300), st.booleans())
def test_any_bytes_are_depth_or_an_error(data: bytes, has_magic: bool) -> None:
    with suppress(DecodeError):
        assert decode_npy_depth((b"\x93NUMPY\x01\x00" if has_magic else b"") + data, where="").ndim == 2


@given(st.integers(0, 2**40), st.integers(0, 2**40))
def test_a_size_that_the_bytes_do_not_fill_costs_nothing(height: int, width: int) -> None:
    header = f"{{'descr': '<f4', 'fortran_order': False, 'shape': ({height}, {width}), }}"
    data = b"\x93NUMPY\x01\x00" + len(header).to_bytes(2, "little") + header.encode()
    with pytest.raises(DecodeError, match="truncated"):
        decode_npy_depth(data, where="")


@settings(max_examples=30, deadline=None)
@given(st.recursive(st.none() | st.floats() | st.text(max_size=4), lambda inner: st.lists(inner, max_size=17)))
def test_any_json_is_a_camera_or_an_error(value: Any) -> None:
    for name in ("cameraProjection", "cameraViewTransform", "renderProductResolution", "cameraApertureOffset"):
        with suppress(DecodeError):
            parse_camera_params(params(**{name: value, "cameraModel": "pinhole"}), where="")
    with suppress(DecodeError):
        parse_camera_params(params(metersPerSceneUnit=value, cameraModel=value), where="")
