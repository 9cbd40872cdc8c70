"""Hypersim against scenes written by hand from the documented layout, and its cameras against values worked out."""

from __future__ import annotations

import shutil
import zipfile
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from depthforge.errors import DecodeError, MissingDataError
from depthforge.frame import RGB_FILE, Camera, Finding, Frame
from depthforge.geometry import decode_normals, ray_cosine
from depthforge.samples.hypersim import hdf5_bytes, uv_matrix
from depthforge.sources.hypersim import Hypersim, HypersimConfig
from depthforge.sources.hypersim.cameras import pinhole_of
from depthforge.testing.sources import SourceTests
from tests.sources.tree_files import write

W, H = 16, 12
CAMERA = Camera(14.0, 14.0, 7.5, 5.5, W, H)
EVERYTHING = frozenset({"rgb", "T_world_cam", "semantic", "instance", "normals"})
# A quarter turn about the world's y: the camera's -z (OpenGL: ahead) goes to -x.
R_GL = np.array([[0.0, 0, 1], [0, 1, 0], [-1, 0, 0]])
COLUMNS = [f"M_cam_from_uv_{row}{column}" for row in range(3) for column in range(3)]
# An offset within the file that fits no C integer: of that h5py raises OverflowError.
_WHOLE = hdf5_bytes(np.ones((4, 4), np.float16))
OVERFLOWING = _WHOLE[:54] + b"\x00\x80\x00\x00" + _WHOLE[54:]


def table(matrices: dict[str, np.ndarray]) -> str:
    rows = [",".join(["scene_name", "settings_camera_fov", *COLUMNS])]
    rows += [",".join([name, "1.047", *(repr(float(v)) for v in np.ravel(M))]) for name, M in matrices.items()]
    return "\n".join([*rows, ""])


def write_scene(root: Path, name: str = "ai_001_001", turn: np.ndarray | None = None, numbers: tuple = (0, 3)) -> Path:
    scene = root / name
    ray_m = np.full((H, W), 4.0, np.float16)
    ray_m[0, :2] = (np.nan, np.inf)
    ids = np.full((H, W), 40, np.int16)
    ids[0, 0] = -1
    normal = np.zeros((H, W, 3), np.float16)
    normal[..., 2] = 1  # towards the camera, in OpenGL axes
    normal[2] *= -1
    normal[3] = np.nan
    for number in numbers:
        stem = scene / f"images/scene_cam_00_geometry_hdf5/frame.{number:04d}"
        for kind, values in (
            ("depth_meters", ray_m),
            ("semantic", ids),
            ("semantic_instance", (ids * 10).clip(-1).astype(np.int16)),
            ("normal_cam", normal),
        ):
            write(Path(f"{stem}.{kind}.hdf5"), hdf5_bytes(values))
        preview = scene / f"images/scene_cam_00_final_preview/frame.{number:04d}.tonemap.jpg"
        write(preview, cv2.imencode(".jpg", np.full((H, W, 3), 90, np.uint8))[1].tobytes())
    detail = scene / "_detail"
    write(detail / "metadata_scene.csv", "parameter_name,parameter_value\nmeters_per_asset_unit,0.0254\n")
    write(detail / "cam_00/camera_keyframe_orientations.hdf5", hdf5_bytes(np.stack([np.eye(3)] * 3 + [R_GL])))
    write(detail / "cam_00/camera_keyframe_positions.hdf5", hdf5_bytes(np.full((4, 3), 100.0)))
    matrix = uv_matrix(CAMERA, np.eye(3) if turn is None else turn)
    write(root / "metadata_camera_parameters.csv", table({name: matrix}))
    return root


def make(root: Path, **fields: Any) -> Hypersim:
    return Hypersim(HypersimConfig.model_validate({"root": root, "width": W, "height": H, **fields}))


def read_all(source: Hypersim) -> list[Frame]:
    return [source.read(ref, EVERYTHING).require_sound() for ref in source.frames()]


def findings_of(source: Hypersim) -> list[Finding]:
    findings: list[Finding] = []
    list(source.frames(findings.append))
    return findings


def rotation_x(angle_deg: float) -> np.ndarray:
    s, c = np.sin(np.deg2rad(angle_deg)), np.cos(np.deg2rad(angle_deg))
    return np.array([[1.0, 0, 0], [0, c, -s], [0, s, c]])


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return write_scene(tmp_path / "hypersim")


class TestContract(SourceTests):
    @pytest.fixture
    def source(self, root: Path) -> Hypersim:
        return make(root)


class TestTiltedContract(SourceTests):
    @pytest.fixture
    def source(self, tmp_path: Path) -> Hypersim:
        return make(write_scene(tmp_path, turn=rotation_x(20)))


def test_the_standard_camera() -> None:
    """60 degrees across 1024 pixels; v runs up."""
    M = np.diag([np.tan(np.pi / 6), 0.75 * np.tan(np.pi / 6), -1.0])
    camera, turn = pinhole_of(M, 1024, 768, where="x")
    assert (camera.fx, camera.fy) == (pytest.approx(886.81, abs=0.001), pytest.approx(886.81, abs=0.001))
    assert (camera.cx, camera.cy) == (pytest.approx(511.5), pytest.approx(383.5))
    np.testing.assert_allclose(turn, np.eye(3), atol=1e-12)
    assert ray_cosine(camera)[0, 0] == pytest.approx(0.811189, abs=1e-6)


def test_a_tilted_camera_is_a_pinhole_that_is_turned() -> None:
    wanted = Camera(887.535, 887.535, 572.94, 457.142, 1024, 768)
    turn = rotation_x(0.53) @ rotation_x(20).T
    M = 0.7 * uv_matrix(wanted, turn)
    camera, found = pinhole_of(M, 1024, 768, where="x")
    np.testing.assert_allclose(
        [camera.fx, camera.fy, camera.cx, camera.cy], [887.535, 887.535, 572.94, 457.142], rtol=1e-9
    )
    np.testing.assert_allclose(found, turn, atol=1e-12)
    # The ray of any pixel is that of the matrix, turned: the same point at the same distance.
    i, j = 100, 700
    ray_gl = M @ [(2 * i + 1) / 1024 - 1, 1 - (2 * j + 1) / 768, 1]
    ray_cv = np.linalg.inv(camera.K) @ [i, j, 1]
    np.testing.assert_allclose(
        found @ ray_cv / np.linalg.norm(ray_cv), np.diag([1, -1, -1]) @ ray_gl / np.linalg.norm(ray_gl), atol=1e-12
    )


@pytest.mark.parametrize(
    ("M", "words"),
    [
        (np.zeros((3, 3)), "sees no image"),
        (np.diag([0.6, -0.4, -1.0]), "sees no image"),
        (np.full((3, 3), np.nan), "sees no image"),
        (np.array([[0.6, 0.05, 0], [0, 0.4, 0], [0, 0, -1.0]]), "no pinhole: its tilt and shift leave skew"),
    ],
)
def test_a_camera_that_is_no_pinhole_is_refused(M: np.ndarray, words: str) -> None:
    with pytest.raises(DecodeError, match=words):
        pinhole_of(M, 1024, 768, where="x")


def test_ray_length_to_z_and_invalid(root: Path) -> None:
    frame = read_all(make(root))[0]
    assert frame.key == "hypersim/ai_001_001/cam_00-000000"
    np.testing.assert_allclose([frame.camera.fx, frame.camera.fy, frame.camera.cx, frame.camera.cy], [14, 14, 7.5, 5.5])
    assert frame.depth_m[0, :2].tolist() == [0, 0], "NaN and infinity are no measurement"
    assert frame.depth_m[11, 15] == pytest.approx(4 / np.sqrt(1 + (7.5 / 14) ** 2 + (5.5 / 14) ** 2))
    assert read_all(make(root, max_depth_m=3.9))[0].depth_m.max() <= 3.9


def test_poses_are_in_metres_and_opencv_axes(root: Path) -> None:
    first, second = read_all(make(root))
    assert first.T_world_cam is not None
    assert second.T_world_cam is not None
    np.testing.assert_allclose(first.T_world_cam[:3, :3], np.diag([1, -1, -1]), atol=1e-12)
    np.testing.assert_allclose(first.T_world_cam[:3, 3], 2.54)
    # Frame 3 is the fourth keyframe, though it is the second that is there.
    np.testing.assert_allclose(second.T_world_cam[:3, 2], [-1, 0, 0], atol=1e-12)


def test_depth_pose_and_normals_turn_together(tmp_path: Path) -> None:
    """A point in the world is where it is, however the camera is stated."""
    turn = rotation_x(20)
    frame = read_all(make(write_scene(tmp_path, turn=turn)))[0]
    assert frame.T_world_cam is not None
    point = frame.depth_m[6, 9] * (np.linalg.inv(frame.camera.K) @ [9, 6, 1])
    world = frame.T_world_cam[:3, :3] @ point + frame.T_world_cam[:3, 3]
    ray_gl = uv_matrix(CAMERA, turn) @ [(2 * 9 + 1) / W - 1, 1 - (2 * 6 + 1) / H, 1]
    np.testing.assert_allclose(world, 2.54 + 4 * ray_gl / np.linalg.norm(ray_gl), atol=1e-5)
    normal = frame.T_world_cam[:3, :3] @ decode_normals(frame.labels["normals"])[6, 9]
    np.testing.assert_allclose(normal, [0, 0, 1], atol=1e-4)


def test_labels(root: Path) -> None:
    labels = read_all(make(root))[0].labels
    assert labels["semantic"][0, :2].tolist() == [0, 40], "-1 is none"
    assert labels["instance"][0, :2].tolist() == [0, 400]
    normals = decode_normals(labels["normals"])
    np.testing.assert_allclose(normals[5, 5], [0, 0, -1], atol=1e-4)
    np.testing.assert_allclose(normals[2, 5], [0, 0, -1], atol=1e-4, err_msg="turned towards the camera")
    assert not normals[3].any()


def test_colour_is_the_preview_as_it_lies(root: Path) -> None:
    source = make(root)
    ref = next(iter(source.frames()))
    path = root / "ai_001_001/images/scene_cam_00_final_preview/frame.0000.tonemap.jpg"
    assert source.read(ref, frozenset({RGB_FILE})).rgb_file == path.read_bytes()
    path.rename(path.with_name("frame.0000.color.jpg"))
    assert source.read(ref, frozenset({"rgb"})).rgb is not None
    shutil.rmtree(path.parent)
    assert source.read(ref, frozenset({"rgb"})).rgb is None


def test_the_table_of_cameras_is_needed(root: Path, tmp_path: Path) -> None:
    path = root / "metadata_camera_parameters.csv"
    elsewhere = path.rename(tmp_path / "cameras.csv")
    with pytest.raises(MissingDataError, match="no table of Hypersim's cameras") as caught:
        list(make(root).frames())
    assert "camera_parameters: PATH" in str(caught.value)
    assert len(read_all(make(root, camera_parameters=elsewhere))) == 2
    assert make(root, camera_parameters=elsewhere).identity == make(root).identity
    write(path, table({"ai_009_009": np.eye(3)}))
    with pytest.raises(MissingDataError, match="camera of the scene is not known"):
        list(make(root).frames())
    for text in ("scene_name\n", table({"ai_001_001": np.eye(3)}).replace("1.0", "x")):
        write(path, text)
        with pytest.raises(DecodeError, match=r"not the table|not a row") as found:
            list(make(root).frames())
        assert "metadata_camera_parameters.csv" in str(found.value)


def test_a_scene_without_a_pinhole_is_skipped_with_its_reason(root: Path) -> None:
    write_scene(root, "ai_002_001")
    skewed = np.array([[0.6, 0.05, 0], [0, 0.4, 0], [0, 0, -1.0]])
    matrices = {"ai_001_001": uv_matrix(CAMERA, np.eye(3)), "ai_002_001": skewed}
    write(root / "metadata_camera_parameters.csv", table(matrices))
    assert len(list(make(root).frames())) == 2
    (finding,) = findings_of(make(root))
    assert (finding.severity, "leave skew" in finding.message) == ("error", True)


def test_cameras_inside_walls_are_left_out(tmp_path: Path) -> None:
    write_scene(tmp_path, "ai_038_007")
    with pytest.raises(MissingDataError, match="no frames"):
        list(make(tmp_path).frames())
    findings: list[Finding] = []
    with pytest.raises(MissingDataError):
        list(make(tmp_path).frames(findings.append))
    assert "inside a wall" in findings[0].message


def test_splits(root: Path) -> None:
    text = "scene_name,camera_name,frame_id,included_in_public_release,exclude_reason,split_partition_name\n"
    text += "ai_001_001,cam_00,0,True,,train\nai_001_001,cam_00,3,True,,val\nai_001_001,cam_00,4,False,logo,\n"
    with pytest.raises(MissingDataError, match="no table of Hypersim's splits"):
        list(make(root, split="val").frames())
    write(root / "metadata_images_split_scene_v1.csv", text)
    assert [ref.key[-6:] for ref in make(root, split="val").frames()] == ["000003"]
    assert [ref.key[-6:] for ref in make(root, split="train").frames()] == ["000000"]
    write(root / "metadata_images_split_scene_v1.csv", text.replace(",0,True", ",x,True"))
    with pytest.raises(DecodeError, match="not a row of the split"):
        list(make(root, split="train").frames())


def test_a_zip_reads_the_same(root: Path) -> None:
    path = root.parent / "all.zip"
    with zipfile.ZipFile(path, "w") as archive:
        for file in sorted(root.rglob("*.*")):
            if file.is_file():
                archive.write(file, file.relative_to(root).as_posix())
    for frame, same in zip(read_all(make(root)), read_all(make(path)), strict=True):
        np.testing.assert_array_equal(frame.depth_m, same.depth_m)
        np.testing.assert_array_equal(frame.T_world_cam, same.T_world_cam)


def test_missing_and_damaged_keyframes(root: Path) -> None:
    detail = root / "ai_001_001/_detail"
    write(detail / "cam_00/camera_keyframe_frame_indices.hdf5", hdf5_bytes(np.array([0, 1, 2, 5])))
    source = make(root)
    refs = list(source.frames())
    assert source.read(refs[0], EVERYTHING).T_world_cam is not None
    with pytest.raises(DecodeError, match="no keyframe for the frame"):
        source.read(refs[1], EVERYTHING)
    write(detail / "cam_00/camera_keyframe_frame_indices.hdf5", hdf5_bytes(np.arange(3)))
    with pytest.raises(DecodeError, match="not the keyframes"):
        list(make(root).frames())
    (detail / "cam_00/camera_keyframe_frame_indices.hdf5").unlink()
    write(detail / "metadata_scene.csv", "parameter_name,parameter_value\n")
    with pytest.raises(DecodeError, match="unit of the poses"):
        list(make(root).frames())
    (detail / "cam_00/camera_keyframe_positions.hdf5").unlink()
    assert [finding.message for finding in findings_of(make(root))] == ["no keyframes: its frames have no pose"]
    assert read_all(make(root))[0].T_world_cam is None


@pytest.mark.parametrize(
    ("kind", "data", "words"),
    [
        ("depth_meters", b"", "not an HDF5 file"),
        ("depth_meters", hdf5_bytes(np.ones((H, W), np.float16))[:600], "not an HDF5 file"),
        ("depth_meters", OVERFLOWING, "not an HDF5 file"),
        ("depth_meters", hdf5_bytes(np.ones((H, W), np.int16)), "not the values"),
        ("depth_meters", hdf5_bytes(np.ones((H, W, 3), np.float16)), "not the values"),
        ("depth_meters", hdf5_bytes(np.ones((H, 2 * W), np.float16)), "wrong size"),
        ("depth_meters", hdf5_bytes(np.ones(4, np.float16)), "not the values"),
        ("semantic", hdf5_bytes(np.full((H, W), 41, np.int16)), "id out of range"),
        ("semantic_instance", hdf5_bytes(np.full((H, W), -2, np.int16)), "id out of range"),
        ("normal_cam", hdf5_bytes(np.ones((H, W), np.float16)), "not the values"),
    ],
)
def test_damaged_files_are_named(root: Path, kind: str, data: bytes, words: str) -> None:
    path = root / f"ai_001_001/images/scene_cam_00_geometry_hdf5/frame.0000.{kind}.hdf5"
    write(path, data)
    source = make(root)
    with pytest.raises(DecodeError, match=words) as caught:
        source.read(next(iter(source.frames())), EVERYTHING)
    assert str(path) in str(caught.value)
