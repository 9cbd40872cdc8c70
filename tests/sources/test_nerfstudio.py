"""nerfstudio's folders against files written by hand from the documented format; exact values."""

from __future__ import annotations

import io
import json
import zipfile
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from depthforge.errors import DecodeError, FrameError, MissingDataError
from depthforge.frame import RGB_FILE, Camera, Finding, Frame
from depthforge.sources.nerfstudio import Nerfstudio, NerfstudioConfig
from depthforge.sources.nerfstudio.transforms import parse_transforms
from depthforge.testing.sources import SourceTests
from tests.sources.tree_files import png, write

W, H = 16, 12
DEPTH = np.full((H, W), 1500, np.uint16)
DEPTH[0, 0] = 0
RGB = np.full((H, W, 3), (200, 100, 50), np.uint8)
EVERYTHING = frozenset({"rgb", "T_world_cam"})
GL_TO_CV = np.diag([1.0, -1.0, -1.0, 1.0])
IDENTITY = np.eye(4).tolist()
CAMERA: dict[str, Any] = {"fl_x": 20.0, "fl_y": 21.0, "cx": 8.0, "cy": 6.0, "w": W, "h": H}


def jpeg(image: np.ndarray = RGB) -> bytes:
    return cv2.imencode(".jpg", image[..., ::-1])[1].tobytes()


def npy(array: np.ndarray) -> bytes:
    buffer = io.BytesIO()
    np.save(buffer, array)
    return buffer.getvalue()


def shot(number: int, **fields: Any) -> dict[str, Any]:
    return {
        "file_path": f"images/frame_{number:05d}.jpg",
        "depth_file_path": f"depth/frame_{number:05d}.png",
        "transform_matrix": IDENTITY,
        **fields,
    }


def write_folder(folder: Path, shots: list[dict[str, Any]] | None = None, **top: Any) -> Path:
    shots = [shot(2), shot(1)] if shots is None else shots
    for number in (1, 2):
        write(folder / f"images/frame_{number:05d}.jpg", jpeg())
        write(folder / f"depth/frame_{number:05d}.png", png(DEPTH))
    write(folder / "transforms.json", json.dumps({**CAMERA, "frames": shots, **top}))
    return folder


def make(root: Path, **fields: Any) -> Nerfstudio:
    return Nerfstudio(NerfstudioConfig.model_validate({"root": root, **fields}))


def read_all(source: Nerfstudio, wanted: frozenset[str] = EVERYTHING) -> list[Frame]:
    return [source.read(ref, wanted).require_sound() for ref in source.frames()]


def messages(source: Nerfstudio) -> list[str]:
    findings: list[Finding] = []
    list(source.frames(findings.append))
    return [finding.message for finding in findings]


@pytest.fixture
def root(tmp_path: Path) -> Path:
    write_folder(tmp_path / "nerf/kitchen")
    return tmp_path / "nerf"


class TestContract(SourceTests):
    @pytest.fixture
    def source(self, root: Path) -> Nerfstudio:
        write_folder(root / "attic")
        return make(root)


def test_units_camera_and_axes(root: Path) -> None:
    first, second = read_all(make(root))
    assert (first.key, second.key) == ("nerfstudio/kitchen/frame_00001", "nerfstudio/kitchen/frame_00002")
    assert first.depth_m[1, 1] == 1.5
    assert not first.valid[0, 0]
    assert first.camera == Camera(20, 21, 7.5, 5.5, W, H), "principal points count from the corner"
    assert first.T_world_cam is not None
    np.testing.assert_array_equal(first.T_world_cam, GL_TO_CV)
    assert messages(make(root)) == []


def test_colour_of_the_size_of_depth_is_carried(root: Path) -> None:
    source = make(root)
    assert source.read(next(iter(source.frames())), frozenset({RGB_FILE})).rgb_file == jpeg()


def test_a_frame_has_intrinsics_of_its_own(tmp_path: Path) -> None:
    write_folder(tmp_path, [shot(1, fl_x=30.0, cx=9.0), shot(2)])
    cameras = [frame.camera for frame in read_all(make(tmp_path))]
    assert [(camera.fx, camera.fy, camera.cx) for camera in cameras] == [(30, 21, 8.5), (20, 21, 7.5)]


def test_an_angle_of_view_is_enough(tmp_path: Path) -> None:
    shots = [shot(1, file_path="images/frame_00001")]
    write_folder(tmp_path, shots, camera_angle_x=np.pi / 2, **dict.fromkeys(CAMERA))
    (frame,) = read_all(make(tmp_path))
    assert frame.camera.fx == pytest.approx(8)
    assert (frame.camera.fy, frame.camera.cx, frame.camera.cy) == (frame.camera.fx, 7.5, 5.5)
    assert frame.rgb is not None, "the suffix may be left out"


def test_depth_may_be_smaller_than_colour(tmp_path: Path) -> None:
    """K is scaled from the corner: (cx + 0.5) s - 0.5 of centres."""
    write_folder(tmp_path, fl_x=40.0, fl_y=42.0, cx=17.0, cy=12.0, w=2 * W, h=2 * H)
    for number in (1, 2):
        write(tmp_path / f"images/frame_{number:05d}.jpg", jpeg(np.repeat(np.repeat(RGB, 2, 0), 2, 1)))
    frame = read_all(make(tmp_path))[0]
    assert frame.camera == Camera(20, 21, (16.5 + 0.5) / 2 - 0.5, (11.5 + 0.5) / 2 - 0.5, W, H)
    assert frame.rgb is not None
    assert frame.rgb.shape == (H, W, 3)


def test_a_size_that_is_not_stated_is_the_colour_images(tmp_path: Path) -> None:
    write_folder(tmp_path, fl_x=40.0, fl_y=42.0, cx=16.0, cy=12.0, w=None, h=None)
    for number in (1, 2):
        write(tmp_path / f"images/frame_{number:05d}.jpg", jpeg(np.repeat(np.repeat(RGB, 2, 0), 2, 1)))
    source = make(tmp_path)
    ref = next(iter(source.frames()))
    assert source.read(ref, frozenset()).camera == Camera(20, 21, 7.5, 5.5, W, H)
    (tmp_path / "images/frame_00001.jpg").unlink()
    with pytest.raises(DecodeError, match="size is not stated"):
        source.read(ref, frozenset())


def test_floats_are_multiplied_as_well(tmp_path: Path) -> None:
    write_folder(tmp_path, [shot(1, depth_file_path="./depth/1.npy")])
    values = np.full((H, W), 2.0, np.float32)
    values[0, :3] = (np.nan, -1, np.inf)
    write(tmp_path / "depth/1.npy", npy(values))
    assert read_all(make(tmp_path))[0].depth_m[1, 1] == np.float32(0.002)
    (frame,) = read_all(make(tmp_path, depth_scale=1))
    assert frame.depth_m[0, :4].tolist() == [0, 0, 0, 2]
    assert not read_all(make(tmp_path, depth_scale=1, max_depth_m=1))[0].valid.any()


def test_what_was_applied_to_the_world_is_undone(tmp_path: Path) -> None:
    applied = np.array([[0.0, 1, 0, 0.5], [1, 0, 0, 0], [0, 0, -1, 0]])
    original = np.eye(4)
    original[:3, :3] = [[0, -1, 0], [1, 0, 0], [0, 0, 1]]
    original[:3, 3] = (1, 2, 3)
    stored = np.vstack([applied, [0, 0, 0, 1]]) @ original
    stored[:3, 3] *= 0.25
    shots = [shot(1, transform_matrix=stored.tolist())]
    write_folder(tmp_path, shots, applied_transform=applied.tolist(), applied_scale=0.25)
    pose = read_all(make(tmp_path))[0].T_world_cam
    assert pose is not None
    np.testing.assert_allclose(pose, original @ GL_TO_CV, atol=1e-12)


def test_masks_take_pixels_out_where_they_are_asked_for(tmp_path: Path) -> None:
    mask = np.full((2 * H, 2 * W), 255, np.uint8)
    mask[:2] = 0
    write_folder(tmp_path, [shot(1, mask_path="masks/1.png")])
    write(tmp_path / "masks/1.png", png(mask))
    assert read_all(make(tmp_path))[0].valid[0].sum() == W - 1
    masked = read_all(make(tmp_path, use_masks=True))[0]
    assert (masked.valid[0].sum(), masked.valid[1].sum()) == (0, W)


def test_distortion_is_named(tmp_path: Path) -> None:
    write_folder(tmp_path, camera_model="OPENCV", k1=0.1, p2=-0.002, k2=0.0)
    assert messages(make(tmp_path)) == [
        "the images are distorted (k1 = 0.1, p2 = -0.002); they are carried as they are"
    ]


def test_frames_without_depth_are_left_out_and_counted(tmp_path: Path) -> None:
    shots = [shot(1), shot(2, depth_file_path=None), shot(3), shot(1)]
    assert len(read_all(make(write_folder(tmp_path, shots)))) == 1
    assert messages(make(tmp_path)) == [
        "1 of 4 frames name no depth image; left out",
        "1 of 4 frames name a depth image that is not there; left out",
        "1 of 4 frames have the name of another; left out",
    ]
    with pytest.raises(DecodeError, match="no frame has a depth image"):
        list(make(write_folder(tmp_path, [shot(1, depth_file_path=None)])).frames())


def test_names_are_told_apart_and_padded(tmp_path: Path) -> None:
    twice = [shot(1, file_path=f"{side}/7.jpg") for side in ("left", "right")]
    assert [ref.key[len("nerfstudio/x/") :] for ref in make(write_folder(tmp_path / "x", twice)).frames()] == [
        "left-7",
        "right-7",
    ]
    numbers = [shot(1, file_path=f"{number}.jpg") for number in (10, 9)]
    assert [ref.key[-6:] for ref in make(write_folder(tmp_path / "x", numbers)).frames()] == ["000009", "000010"]


def test_scenes_are_named_by_their_path(tmp_path: Path) -> None:
    for name in ("a/dslr/nerfstudio", "b/dslr/nerfstudio"):
        write_folder(tmp_path / "data" / name)
    scenes = {ref.scene for ref in make(tmp_path / "data").frames()}
    assert scenes == {"nerfstudio/a-dslr-nerfstudio", "nerfstudio/b-dslr-nerfstudio"}
    assert next(iter(make(tmp_path / "data/a/dslr/nerfstudio").frames())).scene == "nerfstudio/nerfstudio"


def test_a_zip_reads_the_same_and_another_file_name(root: Path) -> None:
    path = root.parent / "nerf.zip"
    with zipfile.ZipFile(path, "w") as archive:
        for file in sorted(root.rglob("*.*")):
            archive.write(file, file.relative_to(root).as_posix())
    for frame, same in zip(read_all(make(root)), read_all(make(path)), strict=True):
        assert frame.key == same.key
        np.testing.assert_array_equal(frame.depth_m, same.depth_m)
    (root / "kitchen/transforms.json").rename(root / "kitchen/transforms_train.json")
    assert len(read_all(make(root, file="transforms_train.json"))) == 2
    with pytest.raises(MissingDataError, match="no frames of nerfstudio"):
        list(make(root).frames())


def test_the_size_is_that_of_the_first_depth_image(root: Path) -> None:
    write(root / "kitchen/depth/frame_00002.png", png(DEPTH[:6, :8]))
    source = make(root)
    assert source.size == (H, W)
    with pytest.raises(DecodeError, match="wrong size"):
        source.read(list(source.frames())[1], EVERYTHING)
    assert make(root, width=8, height=6).size == (6, 8)


@pytest.mark.parametrize(
    ("top", "words"),
    [
        ({"camera_model": "OPENCV_FISHEYE"}, "no pinhole"),
        ({"camera_model": "EQUIRECTANGULAR"}, "no pinhole"),
        ({"camera_model": ["OPENCV"]}, "no pinhole"),
        ({"is_fisheye": True}, "no pinhole"),
        ({"fl_x": None}, "no intrinsics"),
        ({"fl_x": 0}, "no intrinsics"),
        ({"w": 0}, "no intrinsics"),
        ({"cx": "8"}, "cx is no number"),
        ({"k1": [1]}, "k1 is no number"),
        ({"frames": {}}, "not a transforms.json"),
        ({"frames": [1]}, "not a frame"),
        ({"frames": [{"transform_matrix": IDENTITY}]}, "a frame without an image"),
        ({"frames": [shot(1, file_path="/home/me/1.png")]}, "no path below the file"),
        ({"frames": [shot(1, depth_file_path=3)]}, "no path below the file"),
        ({"frames": [shot(1, transform_matrix=[[1]])]}, "transform_matrix is no matrix"),
        ({"frames": [shot(1, transform_matrix=None)]}, "transform_matrix is no matrix"),
        ({"frames": [shot(1, transform_matrix=[[1], [2, 3]])]}, "transform_matrix is no matrix"),
        ({"applied_transform": np.zeros((3, 4)).tolist()}, "cannot be undone"),
        ({"applied_scale": -1}, "cannot be undone"),
    ],
)
def test_what_the_file_cannot_say_is_named(top: dict[str, Any], words: str) -> None:
    with pytest.raises(DecodeError, match=words) as caught:
        parse_transforms(json.dumps({**CAMERA, "frames": [shot(1)], **top}).encode(), where="x/transforms.json")
    assert "x/transforms.json" in str(caught.value)


@pytest.mark.parametrize("data", [b"", b"{", b"[]", b"\xff\xfe", b"[" * 100_000])
def test_what_is_no_json_is_named(data: bytes) -> None:
    with pytest.raises(DecodeError, match=r"not a JSON file|not a transforms\.json"):
        parse_transforms(data, where="x")


def test_other_proportions_are_refused(tmp_path: Path) -> None:
    source = make(write_folder(tmp_path, w=W, h=2 * H))
    with pytest.raises(DecodeError, match="proportions"):
        source.read(next(iter(source.frames())), EVERYTHING)
    write(write_folder(tmp_path) / "images/frame_00001.jpg", jpeg(np.zeros((H, 2 * W, 3), np.uint8)))
    source = make(tmp_path)
    with pytest.raises(FrameError, match="not the view of the depth image"):
        source.read(next(iter(source.frames())), EVERYTHING)


def test_a_pose_that_is_none_is_named(tmp_path: Path) -> None:
    source = make(write_folder(tmp_path, [shot(1, transform_matrix=np.diag([1.0, 1, -1, 1]).tolist())]))
    with pytest.raises(DecodeError, match="not a rigid transform") as caught:
        source.read(next(iter(source.frames())), EVERYTHING)
    assert "mirrored" in str(caught.value)


def test_damaged_images_are_named(root: Path) -> None:
    source = make(root, width=W, height=H)
    ref = next(iter(source.frames()))
    path = root / "kitchen/depth/frame_00001.png"
    for data, words in ((b"", "empty"), (png(DEPTH)[:-9], "truncated"), (png(DEPTH.astype(np.uint8)), "precision")):
        write(path, data)
        with pytest.raises(DecodeError, match=words) as caught:
            source.read(ref, EVERYTHING)
        assert str(path) in str(caught.value)
