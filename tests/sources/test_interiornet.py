"""InteriorNet against trees written by hand from the documented layout: a tilted plane and a sphere, exact values."""

from __future__ import annotations

import math
import os
import pickle
import shutil
import tarfile
import time
import zipfile
from pathlib import Path

import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from depthforge.errors import DecodeError, FrameError, ManifestError, MissingDataError
from depthforge.frame import Finding, Frame, FrameRef
from depthforge.geometry import decode_normals
from depthforge.manifest import PluginBlock
from depthforge.registry import sources
from depthforge.sources.interiornet import InteriorNet, InteriorNetConfig
from depthforge.sources.interiornet.poses import DEFAULT_CAMERA, count_poses, parse_poses, parse_timestamps
from depthforge.testing.sources import SourceTests, assert_frames_equal

EVERYTHING = frozenset({"rgb", "T_world_cam", "semantic", "instance", "normals"})
STEPS_NS = 40_000_000
ROOM, VIEWS = "3FO4KA6US640", "3FO4II2X5NUD_Guest_room"

# The scene in OpenCV camera axes: the plane z = 3 + 0.25 x behind a sphere of radius 0.5 at (0.2, -0.1, 2).
PLANE = np.array([0.25, 0.0, -1.0]) / math.hypot(0.25, 1.0)
CENTRE, RADIUS = np.array([0.2, -0.1, 2.0]), 0.5


def scene() -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return ray length (480, 640) in metres, unit normals (480, 640, 3) towards the camera, and the sphere's mask."""
    v, u = np.mgrid[0:480, 0:640]
    rays = np.stack([(u - 320) / 600, (v - 240) / 600, np.ones_like(u)], axis=-1)
    rays /= np.linalg.norm(rays, axis=-1, keepdims=True)
    plane_m = 3.0 / (rays[..., 2] - 0.25 * rays[..., 0])
    along = rays @ CENTRE
    square = along**2 - CENTRE @ CENTRE + RADIUS**2
    sphere_m = along - np.sqrt(np.maximum(square, 0))
    on_sphere = square > 0
    ray_m = np.where(on_sphere, sphere_m, plane_m)
    normals = np.where(on_sphere[..., None], (rays * ray_m[..., None] - CENTRE) / RADIUS, PLANE)
    return ray_m, normals, on_sphere


RAY_M, NORMALS, ON_SPHERE = scene()
RAY_MM = np.rint(RAY_M * 1000).astype(np.uint16)
RAY_MM[470:, :] = 0


def png(image: np.ndarray) -> bytes:
    if image.ndim == 3:
        image = cv2.cvtColor(image, cv2.COLOR_RGB2BGR)
    return cv2.imencode(".png", image, [cv2.IMWRITE_PNG_COMPRESSION, 1])[1].tobytes()


def encode_gl(normals_cv: np.ndarray) -> np.ndarray:
    """OpenCV camera axes -> OpenGL camera axes -> uint16 with n = 2 v / 65535 - 1."""
    return np.rint((normals_cv * [1, -1, -1] + 1) / 2 * 65535).astype(np.uint16)


DEPTH_PNG = png(RAY_MM)
RGB_PNG = png(np.dstack([np.full((480, 640), 10), np.full((480, 640), 20), np.full((480, 640), 30)]).astype(np.uint8))
NYU_PNG = png(np.where(ON_SPHERE, 35, 1).astype(np.uint8))
INSTANCE_PNG = png(np.where(ON_SPHERE, 300, 7).astype(np.uint16))
NORMALS_PNG = png(encode_gl(NORMALS))


def write(path: Path, data: bytes | str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data.encode() if isinstance(data, str) else data)


def write_images(folder: Path, stem: str, *, colour: str = "cam0") -> None:
    write(folder / f"{colour}/data/{stem}.png", RGB_PNG)
    write(folder / f"depth0/data/{stem}.png", DEPTH_PNG)
    write(folder / f"normal0/data/{stem}.png", NORMALS_PNG)
    write(folder / f"label0/data/{stem}_nyu.png", NYU_PNG)
    write(folder / f"label0/data/{stem}_instance.png", INSTANCE_PNG)
    write(folder / f"label0/data/{stem}_nyu_mask.png", RGB_PNG)


def table(stems: list[str]) -> str:
    return "#timestamp [ns],filename\n" + "".join(f"{stem},{stem}.png\n" for stem in stems)


def ccam(num_frames: int) -> str:
    """Frame i stands at (i, 2, 3), turned by 90 degrees about the world's z."""
    head = "".join(f"#line {i}\n" for i in range(6))
    w = math.sqrt(0.5)
    return head + "".join(f"600 320 240 0 0 0 {w!r} 0 0 {w!r} {i} 2 3 640 480\n" for i in range(num_frames))


def render(num_frames: int) -> str:
    """Frame i stands at (1, i, 1.5) and looks along the world's x, level; lookat and up are points."""
    head = "header one\nheader two\nheader three\n"
    lines = "".join(f"{i} 1 {i} 1.5 3 {i} 1.5 1 {i} 2.5\n" * 2 for i in range(num_frames))
    return head + lines


def write_room(root: Path, *, name: str = ROOM, num_frames: int = 3, trajectories: tuple[int, ...] = (1,)) -> Path:
    """A trajectory scene of HD5 with its ground truth; names are timestamps that do not sort as text."""
    stems = [str(i * STEPS_NS) for i in range(num_frames)]
    for number in trajectories:
        folder = root / f"HD5/{name}/original_{number}_{number}"
        for stem in stems:
            write_images(folder, stem)
        write(folder / "depth0/data.csv", table(stems))
        write(folder / "cam0/data.csv", table(stems))
        truth = root / f"GroundTruth_HD1-HD6/{name}/velocity_angular_{number}_{number}"
        write(truth / "cam0.ccam", ccam(num_frames))
        write(truth / "cam0.timestamp", "timestamp,image_name\n" + "".join(f"{s},{s}.png\n" for s in stems))
    return root / f"HD5/{name}/original_{trajectories[0]}_{trajectories[0]}"


def write_views(root: Path, *, name: str = VIEWS, num_frames: int = 3, inner: str = "") -> Path:
    folder = root / "HD7" / name / inner
    for i in range(num_frames):
        write_images(folder, str(i))
    write(folder / "cam0.render", render(num_frames))
    return folder


def source(root: Path, **fields: object) -> InteriorNet:
    return InteriorNet(InteriorNetConfig(root=root, **fields))


def listed(root: Path, **fields: object) -> tuple[list[str], list[Finding]]:
    findings: list[Finding] = []
    return [ref.key for ref in source(root, **fields).frames(findings.append)], findings


def read_first(root: Path, wanted: frozenset[str] = EVERYTHING, **fields: object) -> Frame:
    reader = source(root, **fields)
    return reader.read(next(iter(reader.frames())), wanted)


def messages(findings: list[Finding]) -> str:
    return "\n".join(f"{f.severity} {f.path}: {f.message}" for f in findings)


class TestViews(SourceTests):
    @pytest.fixture
    def source(self, tmp_path: Path) -> InteriorNet:
        write_views(tmp_path)
        return source(tmp_path)


class TestTrajectoriesInArchives(SourceTests):
    num_frames = 3

    @pytest.fixture
    def source(self, tmp_path: Path) -> InteriorNet:
        write_room(tmp_path)
        pack(tmp_path / "HD5" / ROOM, ".zip", inner=ROOM)
        pack(tmp_path / "GroundTruth_HD1-HD6" / ROOM, ".tar", inner=ROOM)
        return source(tmp_path)


def pack(folder: Path, suffix: str, *, inner: str) -> Path:
    """Replace a folder by an archive that holds it below ``inner``."""
    archive = folder.with_name(folder.name + suffix)
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    if suffix == ".zip":
        with zipfile.ZipFile(archive, "w", zipfile.ZIP_DEFLATED) as zipped:
            for i, path in enumerate(files):
                method = zipfile.ZIP_STORED if i % 2 else zipfile.ZIP_DEFLATED
                zipped.write(path, f"{inner}/{path.relative_to(folder)}", method)
    else:
        with tarfile.open(archive, "w") as tar:
            for path in files:
                tar.add(path, f"./{inner}/{path.relative_to(folder)}")
    shutil.rmtree(folder)
    return archive


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


@pytest.mark.parametrize("suffix", [".zip", ".tar"])
@pytest.mark.parametrize("inner", [ROOM, "."])
def test_archives_read_as_folders(tmp_path: Path, suffix: str, inner: str) -> None:
    write_room(tmp_path, num_frames=2)
    keys, findings = listed(tmp_path)
    before = read_first(tmp_path)
    pack(tmp_path / "HD5" / ROOM, suffix, inner=inner)
    pack(tmp_path / "GroundTruth_HD1-HD6" / ROOM, suffix, inner=inner)
    assert listed(tmp_path) == (keys, findings)
    assert_frames_equal(read_first(tmp_path), before)


def test_include_exclude_packages_trajectories(tmp_path: Path) -> None:
    write_room(tmp_path, num_frames=1, trajectories=(1, 3))
    write_views(tmp_path, num_frames=1)
    assert len(listed(tmp_path, packages=["HD7"])[0]) == 1
    assert len(listed(tmp_path, trajectories=[3])[0]) == 2
    assert listed(tmp_path, exclude=["*_Guest_room"])[0][0].startswith("interiornet/HD5")
    keys, findings = listed(tmp_path, include=["3FO4KA*", "nothing*"])
    assert len(keys) == 2
    assert "'nothing*' matches no scene" in messages(findings)


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


def test_a_missing_label_is_left_out(tmp_path: Path) -> None:
    folder = write_views(tmp_path, num_frames=1)
    (folder / "label0/data/0_nyu.png").unlink()
    shutil.rmtree(folder / "normal0")
    assert read_first(tmp_path).labels.keys() == {"instance"}


@pytest.mark.parametrize("suffix", [".zip", ".tar"])
@pytest.mark.parametrize("share", [0.0, 0.3, 0.9])
def test_a_broken_archive_is_reported_and_skipped(tmp_path: Path, suffix: str, share: float) -> None:
    write_views(tmp_path, num_frames=2)
    write_views(tmp_path, name="broken", num_frames=2)
    archive = pack(tmp_path / "HD7/broken", suffix, inner="broken")
    data = archive.read_bytes()
    archive.write_bytes(data[: int(len(data) * share)])
    keys, findings = listed(tmp_path)
    assert len(keys) == 2
    assert [(f.severity, f.path) for f in findings] == [("error", f"HD7/broken{suffix}")]
    assert "skipped: the archive is broken" in findings[0].message


def test_broken_ground_truth_costs_the_poses_only(tmp_path: Path) -> None:
    write_room(tmp_path, num_frames=2)
    truth = pack(tmp_path / "GroundTruth_HD1-HD6" / ROOM, ".zip", inner=ROOM)
    truth.write_bytes(truth.read_bytes()[:100])
    keys, findings = listed(tmp_path)
    assert len(keys) == 2
    assert "frames have no pose: the archive is broken" in messages(findings)
    assert read_first(tmp_path).T_world_cam is None


def test_a_corrupt_file_in_an_archive_is_a_decode_error(tmp_path: Path) -> None:
    write_views(tmp_path, num_frames=1)
    archive = pack(tmp_path / "HD7" / VIEWS, ".zip", inner=VIEWS)
    with zipfile.ZipFile(archive) as zipped:
        at = zipped.getinfo(f"{VIEWS}/depth0/data/0.png").header_offset
    data = bytearray(archive.read_bytes())
    data[at + 1000] ^= 0xFF
    archive.write_bytes(data)
    with pytest.raises(DecodeError, match=r"corrupt.*\n.*depth0/data/0\.png"):
        read_first(tmp_path)


def test_compressed_tar_is_reported(tmp_path: Path) -> None:
    write_views(tmp_path, num_frames=1)
    write(tmp_path / "HD7/other.tar.gz", b"")
    assert "error HD7/other.tar.gz: cannot be read at random" in messages(listed(tmp_path)[1])


def test_folder_beside_its_archive_wins(tmp_path: Path) -> None:
    write_views(tmp_path, num_frames=1)
    write(tmp_path / f"HD7/{VIEWS}.zip", b"half an archive")
    keys, findings = listed(tmp_path)
    assert len(keys) == 1
    assert "ignored" in messages(findings)


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


def test_open_archives_survive_a_fork(tmp_path: Path) -> None:
    write_views(tmp_path, num_frames=2)
    pack(tmp_path / "HD7" / VIEWS, ".zip", inner=VIEWS)
    reader = source(tmp_path)
    first, second = reader.frames()
    expected = pickle.dumps(reader.read(second, frozenset()).depth_m.sum())
    reader.read(first, frozenset())
    pid = os.fork()
    if pid == 0:
        same = all(pickle.dumps(reader.read(second, frozenset()).depth_m.sum()) == expected for _ in range(5))
        os._exit(0 if same else 1)
    for _ in range(5):
        reader.read(first, frozenset())
    assert os.waitpid(pid, 0)[1] == 0


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
