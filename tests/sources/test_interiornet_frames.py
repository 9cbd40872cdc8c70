"""What InteriorNet's numbers mean, to the last pixel: depth, poses, normals, ids, and those that are damaged."""

from __future__ import annotations

import math
import shutil
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from depthforge.errors import DecodeError, FrameError
from depthforge.geometry import decode_normals
from depthforge.sources.interiornet.poses import DEFAULT_CAMERA, count_poses, parse_poses, parse_timestamps
from depthforge.testing.sources import assert_frames_equal
from tests.sources.interiornet_trees import (
    CENTRE,
    DEPTH_PNG,
    EVERYTHING,
    NORMALS,
    ON_SPHERE,
    PLANE,
    RADIUS,
    RAY_MM,
    ROOM,
    VIEWS,
    ccam,
    encode_gl,
    read_first,
    render,
    source,
    write_room,
    write_views,
)
from tests.sources.tree_files import png, write


def test_random_lighting_changes_the_colour_only(tmp_path: Path) -> None:
    folder = write_views(tmp_path, num_frames=1)
    write(folder / "random_lighting_cam0/data/0.png", png(np.full((480, 640, 3), 99, np.uint8)))
    original, random = read_first(tmp_path), read_first(tmp_path, lighting="random")
    assert (original.rgb[0, 0].tolist(), random.rgb[0, 0].tolist()) == ([10, 20, 30], [99, 99, 99])
    np.testing.assert_array_equal(original.depth_m, random.depth_m)


# --- what the numbers mean -----------------------------------------------------------------------------------------


def test_ray_millimetres_become_z_metres_at_a_corner(tmp_path: Path) -> None:
    folder = write_views(tmp_path, num_frames=1)
    write(folder / "depth0/data/0.png", png(np.full((480, 640), 3000, np.uint16)))
    depth_m = read_first(tmp_path).depth_m
    # z = r / sqrt(1 + ((0 - 320) / 600)^2 + ((0 - 240) / 600)^2)
    assert depth_m[0, 0] == pytest.approx(3.0 / math.sqrt(1 + (320 / 600) ** 2 + (240 / 600) ** 2), abs=1e-6)
    assert depth_m[240, 320] == pytest.approx(3.0, abs=1e-6)


def test_plane_and_sphere_are_exact(tmp_path: Path) -> None:
    write_views(tmp_path, num_frames=1)
    frame = read_first(tmp_path)
    v, u = np.mgrid[0:480, 0:640]
    points = np.stack([(u - 320) / 600, (v - 240) / 600, np.ones_like(u)], axis=-1) * frame.depth_m[..., None]
    on_plane = frame.valid & ~ON_SPHERE
    np.testing.assert_allclose(points[on_plane] @ PLANE, 3.0 * PLANE[2], atol=0.0006)
    np.testing.assert_allclose(np.linalg.norm(points[ON_SPHERE] - CENTRE, axis=-1), RADIUS, atol=0.0006)


def test_zero_is_no_measurement(tmp_path: Path) -> None:
    write_views(tmp_path, num_frames=1)
    frame = read_first(tmp_path)
    assert not frame.valid[470:].any()
    assert frame.valid[:470].all()
    assert not frame.depth_m[470:].any()


def test_three_identical_channels_are_depth(tmp_path: Path) -> None:
    folder = write_views(tmp_path, num_frames=1)
    expected = read_first(tmp_path)
    write(folder / "depth0/data/0.png", png(np.dstack([RAY_MM] * 3)))
    assert_frames_equal(read_first(tmp_path), expected)


def test_ccam_pose_becomes_opencv(tmp_path: Path) -> None:
    write_room(tmp_path, num_frames=2)
    reader = source(tmp_path)
    poses = [reader.read(ref, EVERYTHING).T_world_cam for ref in reader.frames()]
    # 90 degrees about z, then the second and third axes (up, back) turned into (down, forward).
    expected = [[0, 1, 0, 1], [1, 0, 0, 2], [0, 0, -1, 3], [0, 0, 0, 1]]
    np.testing.assert_allclose(poses[1], expected, atol=1e-12)


def test_render_has_two_lines_per_frame_and_points(tmp_path: Path) -> None:
    write_views(tmp_path, num_frames=3)
    reader = source(tmp_path)
    poses = [reader.read(ref, EVERYTHING).T_world_cam for ref in reader.frames()]
    # Looks along +x with +z up: right is -y, down is -z, forward is +x.
    expected = [[0, 0, 1, 1], [-1, 0, 0, 2], [0, -1, 0, 1.5], [0, 0, 0, 1]]
    np.testing.assert_allclose(poses[2], expected, atol=1e-12)


def test_intrinsics_come_from_ccam(tmp_path: Path) -> None:
    write_room(tmp_path, num_frames=1)
    text = ccam(1).replace("600 320 240", "500 319.5 239.5")
    write(tmp_path / f"GroundTruth_HD1-HD6/{ROOM}/velocity_angular_1_1/cam0.ccam", text)
    frame = read_first(tmp_path, frozenset())
    assert (frame.camera.fx, frame.camera.fy, frame.camera.cx, frame.camera.cy) == (500, 500, 319.5, 239.5)
    corner = RAY_MM[0, 0] / 1000 / math.sqrt(1 + (319.5 / 500) ** 2 + (239.5 / 500) ** 2)
    assert frame.depth_m[0, 0] == pytest.approx(corner, abs=1e-6)


def test_normals_are_decoded_into_opencv_axes(tmp_path: Path) -> None:
    write_views(tmp_path, num_frames=1)
    normals = decode_normals(read_first(tmp_path).labels["normals"])
    np.testing.assert_allclose(normals[0, 0], PLANE, atol=1e-4)
    np.testing.assert_allclose(normals, NORMALS, atol=1e-4)


def test_no_normal_stays_none(tmp_path: Path) -> None:
    folder = write_views(tmp_path, num_frames=1)
    stored = encode_gl(NORMALS)
    stored[0, 0], stored[0, 1] = 0, 32768
    write(folder / "normal0/data/0.png", png(stored))
    normals = read_first(tmp_path).labels["normals"]
    assert not normals[0, :2].any()
    assert normals[0, 2].any()


def test_world_normals_are_turned_into_the_camera(tmp_path: Path) -> None:
    folder = write_views(tmp_path, num_frames=1)
    rotation = read_first(tmp_path).T_world_cam[:3, :3]
    world = np.rint((NORMALS @ rotation.T + 1) / 2 * 65535).astype(np.uint16)
    write(folder / "normal0/data/0.png", png(world))
    normals = decode_normals(read_first(tmp_path, normals_frame="world").labels["normals"])
    np.testing.assert_allclose(normals, NORMALS, atol=1e-4)


def test_classes_and_instances(tmp_path: Path) -> None:
    write_views(tmp_path, num_frames=1)
    labels = read_first(tmp_path).labels
    assert (labels["semantic"].dtype, labels["instance"].dtype) == (np.uint16, np.uint16)
    np.testing.assert_array_equal(labels["semantic"], np.where(ON_SPHERE, 35, 1))
    np.testing.assert_array_equal(labels["instance"], np.where(ON_SPHERE, 300, 7))


@given(st.integers(0, 479), st.integers(0, 639), st.integers(1, 65535))
def test_ray_to_z_at_any_pixel(v: int, u: int, ray_mm: int) -> None:
    from depthforge.geometry import ray_length_to_z

    image = np.zeros((480, 640), np.uint16)
    image[v, u] = ray_mm
    z_mm = ray_length_to_z(image, DEFAULT_CAMERA)[v, u]
    assert z_mm == pytest.approx(ray_mm / math.sqrt(1 + ((u - 320) / 600) ** 2 + ((v - 240) / 600) ** 2), rel=1e-6)


@given(st.lists(st.floats(-10, 10), min_size=7, max_size=7).filter(lambda p: math.hypot(*p[:4]) > 1e-3))
def test_ccam_rows_are_rigid(values: list[float]) -> None:
    row = " ".join(repr(value) for value in values)
    T = parse_poses(f"600 320 240 0 0 0 {row} 640 480\n", where="cam0.ccam").pose(0)
    np.testing.assert_allclose(T[:3, :3] @ T[:3, :3].T, np.eye(3), atol=1e-9)
    assert np.linalg.det(T[:3, :3]) == pytest.approx(1)
    np.testing.assert_allclose(T[:3, 3], values[4:])


# --- traps ---------------------------------------------------------------------------------------------------------


def test_a_missing_label_is_left_out(tmp_path: Path) -> None:
    folder = write_views(tmp_path, num_frames=1)
    (folder / "label0/data/0_nyu.png").unlink()
    shutil.rmtree(folder / "normal0")
    assert read_first(tmp_path).labels.keys() == {"instance"}


@pytest.mark.parametrize(
    ("depth", "message"),
    [
        (DEPTH_PNG[: len(DEPTH_PNG) // 2], "truncated"),
        (b"", "empty"),
        (b"<html>404</html>", "not an image"),
        (png((RAY_MM // 16).astype(np.uint8)), "precision"),
        (png(RAY_MM[:240, :320]), "wrong size"),
        (png(np.dstack([RAY_MM, RAY_MM, RAY_MM + 1])), "channels differ"),
    ],
)
def test_a_bad_depth_image_is_a_decode_error_that_names_it(tmp_path: Path, depth: bytes, message: str) -> None:
    folder = write_views(tmp_path, num_frames=1)
    write(folder / "depth0/data/0.png", depth)
    with pytest.raises(DecodeError, match=message) as raised:
        read_first(tmp_path)
    assert str(raised.value.where).endswith(f"{VIEWS}/depth0/data/0.png")


def test_empty_depth_is_a_frame_without_valid_pixels(tmp_path: Path) -> None:
    folder = write_views(tmp_path, num_frames=1)
    write(folder / "depth0/data/0.png", png(np.zeros((480, 640), np.uint16)))
    frame = read_first(tmp_path).require_sound()
    assert not frame.valid.any()


@pytest.mark.parametrize("word", ["nan", "-inf", "-nan(ind)"])
def test_a_pose_that_is_not_finite_is_left_out(tmp_path: Path, word: str) -> None:
    write_room(tmp_path, num_frames=2)
    path = tmp_path / f"GroundTruth_HD1-HD6/{ROOM}/velocity_angular_1_1/cam0.ccam"
    write(path, path.read_text().replace(" 1 2 3 640", f" {word} 2 3 640"))
    reader = source(tmp_path)
    first, second = (reader.read(ref, EVERYTHING) for ref in reader.frames())
    assert first.T_world_cam is not None
    assert second.T_world_cam is None


def test_other_traps_in_camera_files() -> None:
    with pytest.raises(DecodeError, match="two lines per frame"):
        parse_poses(render(2).rsplit("\n", 2)[0], where="x/cam0.render")
    with pytest.raises(DecodeError, match="columns"):
        parse_poses("600 320 240 0 0 0 1 0 0\n", where="cam0.ccam")
    distorted = parse_poses("600 320 240 0.1 0 0 1 0 0 0 0 0 0 640 480\n", where="cam0.ccam")
    with pytest.raises(FrameError, match="pinhole"):
        distorted.camera(0)
    assert count_poses(render(5), where="cam0.render") == 5
    assert count_poses(ccam(5), where="cam0.ccam") == 5
    assert parse_timestamps("#timestamp [ns],filename\n10,a/10.png\n20,20.png\n\n") == ["10", "20"]


def test_class_above_40_is_refused(tmp_path: Path) -> None:
    folder = write_views(tmp_path, num_frames=1)
    write(folder / "label0/data/0_nyu.png", png(np.full((480, 640), 41, np.uint8)))
    with pytest.raises(DecodeError, match="NYU40"):
        read_first(tmp_path)
    assert read_first(tmp_path, frozenset({"rgb"})).labels == {}
