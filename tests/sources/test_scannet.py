"""ScanNet against trees written by hand from the documented layout, exported and streamed; exact values."""

from __future__ import annotations

import shutil
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from depthforge.errors import DecodeError, FrameError, MissingDataError
from depthforge.frame import Camera, Finding, Frame
from depthforge.sources.check import check_source
from depthforge.sources.scannet import ScanNet, ScanNetConfig
from depthforge.sources.scannet.labels import colour_over_depth, ids_over_depth, read_nyu40_table
from depthforge.testing.sources import SourceTests
from tests.sources.scannet_trees import (
    COLOUR_K,
    DEPTH_K,
    DEPTH_MM,
    HEIGHT,
    INSTANCE,
    LABEL,
    POSE,
    TABLE,
    WIDTH,
    matrix_text,
    write_export,
    write_stream,
    write_tree,
)
from tests.sources.tree_files import png, write

EVERYTHING = frozenset({"rgb", "T_world_cam", "semantic", "instance"})
DEPTH = Camera(*DEPTH_K, WIDTH, HEIGHT)
COLOUR = Camera(*COLOUR_K, 32, 24)
# Columns of colour at depth's: (u - 7.5) * 2.2 + 15.5, rounded; the first and the last are outside.
COLUMNS = [round((u - 7.5) * 2.2 + 15.5) for u in range(WIDTH)]
ROWS = [round((v - 5.5) * 2.2 + 11.5) for v in range(HEIGHT)]


def make(root: Path, **fields: Any) -> ScanNet:
    return ScanNet(ScanNetConfig(root=root, width=WIDTH, height=HEIGHT, **fields))


def findings_of(source: ScanNet) -> list[Finding]:
    findings: list[Finding] = []
    list(source.frames(findings.append))
    return findings


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return write_tree(tmp_path / "scannet")


class TestContract(SourceTests):
    num_frames = 8

    @pytest.fixture
    def source(self, root: Path) -> ScanNet:
        return make(root)


def read(root: Path, index: int, **fields: Any) -> Frame:
    source = make(root, **fields)
    return source.read(list(source.frames())[index], EVERYTHING).require_sound()


def test_keys_are_by_room_and_numbers_sort_as_numbers(root: Path) -> None:
    source = make(root)
    refs = list(source.frames())
    assert [ref.key for ref in refs] == [
        "scannet/scene0000/00-000000",
        "scannet/scene0000/00-000002",
        "scannet/scene0000/00-000010",
        "scannet/scene0000/01-000001",
        "scannet/scene0003/00-000000",
        "scannet/scene0003/00-000001",
        "scannet/scene0003/00-000002",
    ]
    assert {ref.scene for ref in refs} == {"scannet/scene0000", "scannet/scene0003"}
    assert source.world_of(refs[3]) == "scannet/scene0000/01"
    assert [ref.key[-6:] for ref in make(root, every=2).frames()] == ["000000", "000010", "000001", "000000", "000002"]


@pytest.mark.parametrize("index", [2, 6])
def test_exported_and_streamed_frames_are_the_same_metres(root: Path, index: int) -> None:
    frame = read(root, index)
    number = 10 if index == 2 else 2
    expected = (DEPTH_MM.astype(float) + number) / 1000
    np.testing.assert_allclose(frame.depth_m, expected, rtol=1e-6)
    assert frame.depth_m.dtype == np.float32
    assert frame.camera == DEPTH
    assert frame.T_world_cam is not None
    np.testing.assert_allclose(frame.T_world_cam, POSE)
    np.testing.assert_array_equal(frame.T_world_cam[:3, 2], [1, 0, 0], err_msg="looks along the world's x")
    assert frame.rgb is not None
    np.testing.assert_allclose(frame.rgb.reshape(-1, 3).mean(axis=0), [200, 0, 0], atol=4)


def test_zero_is_a_hole_and_far_is_one(root: Path) -> None:
    frame = read(root, 4)
    assert not frame.valid[0, 0]
    assert frame.depth_m[0, 0] == 0
    near = read(root, 4, max_depth_m=2.0)
    np.testing.assert_array_equal(near.valid, (DEPTH_MM > 0) & (DEPTH_MM <= 2000))


def test_labels_fall_on_depth_by_the_two_cameras_and_become_nyu40(root: Path) -> None:
    for index in (0, 4):
        frame = read(root, index)
        semantic, instance = frame.labels["semantic"], frame.labels["instance"]
        for v, row in enumerate(ROWS):
            for u, column in enumerate(COLUMNS):
                inside = 0 <= row < 24 and 0 <= column < 32
                assert semantic[v, u] == (0 if not inside else {2: 5, 1163: 40}[int(LABEL[row, column])])
                assert instance[v, u] == (0 if not inside else INSTANCE[row, column])
        raw = read(root, index, semantic="raw")
        assert set(np.unique(raw.labels["semantic"])) == {0, 2, 1163}


def test_a_stream_states_its_own_unit_and_a_folder_takes_the_manifests(tmp_path: Path) -> None:
    write_stream(tmp_path / "scene0003_00", shift=5000.0)
    frame = read(tmp_path, 0, depth_shift=1.0, semantic="raw")
    np.testing.assert_allclose(frame.depth_m, DEPTH_MM / 5000, rtol=1e-6)
    write_export(tmp_path / "scene0004_00", numbers=(0,))
    frame = read(tmp_path, -1, depth_shift=4000.0, semantic="raw")
    np.testing.assert_allclose(frame.depth_m, DEPTH_MM / 4000, rtol=1e-6)


def test_a_lost_pose_is_no_pose_and_is_counted(root: Path) -> None:
    for index in (1, 5):
        frame = read(root, index)
        assert frame.T_world_cam is None
        assert frame.valid.any(), "its depth is kept"
    messages = {finding.path: finding.message for finding in findings_of(make(root))}
    assert messages["scans/scene0000_00"].startswith("1 of 3 frames have no finite pose")
    assert messages["scans/scene0003_00"].startswith("1 of 3 frames have no finite pose")
    assert "scans/scene0000_01" not in messages


def test_scans_may_lie_directly_under_the_root(tmp_path: Path) -> None:
    write_export(tmp_path / "scene0001_00", numbers=(0, 1), lost=())
    write(tmp_path / "scannetv2-labels.combined.tsv", TABLE)
    assert [ref.locator for ref in make(tmp_path).frames()] == [f"scene0001_00/depth/{k}.png" for k in (0, 1)]
    assert findings_of(make(tmp_path)) == []


def test_what_is_read_of_a_scan_that_has_both(root: Path) -> None:
    write_stream(root / "scans/scene0000_01")
    locators = [ref.locator for ref in make(root, include=("scene0000_01",)).frames()]
    assert locators == ["scans/scene0000_01/depth/1.png"]
    assert len(list(make(root, include=("scene0000_01",), files="sens").frames())) == 3
    findings = findings_of(make(root, files="exported"))
    assert any(f.path == "scans/scene0003_00" and "no frames" in f.message for f in findings)
    findings = findings_of(make(root, include=("scene00*", "scene9*")))
    assert "include: 'scene9*' matches no scan" in [finding.message for finding in findings]


def test_intrinsics_may_be_in_the_meta_file(root: Path) -> None:
    scan = root / "scans/scene0000_01"
    shutil.rmtree(scan / "intrinsic")
    with pytest.raises(MissingDataError, match="no ScanNet frames"):
        list(make(root, include=("scene0000_01",)).frames())
    assert any("no intrinsics" in finding.message for finding in findings_of(make(root)))
    text = "".join(
        f"{name}_{which} = {value}\n"
        for which, K in (("depth", DEPTH_K), ("color", COLOUR_K))
        for name, value in zip(("fx", "fy", "mx", "my"), K, strict=True)
    )
    meta = scan / "scene0000_01.txt"
    meta.write_text(meta.read_text() + text)
    assert read(root, 3).camera == DEPTH
    assert read(root, 3).labels["semantic"][6, 10] == 40


def test_shrunk_exports_keep_the_view(root: Path) -> None:
    """The exporter shrinks images and leaves the intrinsics of the full size."""
    scan = root / "scans/scene0000_01"
    write(scan / "depth/1.png", png(DEPTH_MM[::2, ::2].copy()))
    frame = ScanNet(ScanNetConfig(root=root, width=8, height=6)).read(
        next(iter(make(root, include=("scene0000_01",)).frames())), EVERYTHING
    )
    assert (frame.camera.fx, frame.camera.cx) == (10.0, pytest.approx(3.5))
    assert frame.labels["semantic"].shape == (6, 8)
    assert (frame.labels["semantic"][3, 1], frame.labels["semantic"][3, 6]) == (5, 40)


def test_the_table_is_asked_for_when_classes_are(root: Path) -> None:
    (root / "scannetv2-labels.combined.tsv").unlink()
    source = make(root)
    refs = list(source.frames())
    with pytest.raises(MissingDataError, match="no table") as caught:
        source.read(refs[0], EVERYTHING)
    assert "semantic: raw" in str(caught.value)
    source.read(refs[0], EVERYTHING - {"semantic"})
    assert any("table" in finding.message for finding in findings_of(source))
    assert not any("table" in finding.message for finding in findings_of(make(root, semantic="raw")))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("id\tnyuClass\n1\twall\n", "not a table"),
        ("", "not a table"),
        ("id\tnyu40id\n1\twall\n", "not a row"),
        ("id\tnyu40id\n1\t41\n", "not a row"),
        ("id\tnyu40id\n70000\t1\n", "not a row"),
        ("id\tnyu40id\n1\n", None),
    ],
)
def test_tables_of_another_kind(tmp_path: Path, text: str, message: str | None) -> None:
    path = tmp_path / "labels.tsv"
    path.write_text(text)
    if message is None:
        assert read_nyu40_table(path)[1] == 0, "a row without a class is unlabelled"
        return
    with pytest.raises(DecodeError, match=message) as caught:
        read_nyu40_table(path)
    assert str(path) in str(caught.value)


def test_one_bad_file_is_an_error_of_its_frame(root: Path) -> None:
    scan = root / "scans/scene0000_00"
    depth = scan / "depth/0.png"
    depth.write_bytes(depth.read_bytes()[:-20])
    (scan / "label-filt/10.png").write_bytes(png(np.full((24, 32), 77, np.uint16)))
    (scan / "pose/2.txt").write_text("1 0 0\n")
    source = make(root)
    refs = list(source.frames())
    for index, match, name in ((0, "truncated", "depth/0.png"), (2, "not in the table", "00-000010")):
        with pytest.raises(FrameError, match=match) as caught:
            source.read(refs[index], EVERYTHING)
        assert name in str(caught.value)
    with pytest.raises(DecodeError, match="not a matrix"):
        source.read(refs[1], EVERYTHING)
    source.read(refs[3], EVERYTHING)
    report = check_source(source)
    assert (report.num_frames, report.num_unreadable) == (7, 3)


def test_half_a_scan_is_reported(root: Path) -> None:
    scan = root / "scans/scene0000_00"
    (scan / "color/2.jpg").unlink()
    (scan / "pose/10.txt").unlink()
    (scan / "depth/0.png").unlink()
    (scan / "depth/x.png").write_bytes(b"")
    write(scan / "depth/02.png", png(DEPTH_MM))
    shutil.rmtree(scan / "instance-filt")
    broken = root / "scans/scene0003_00/scene0003_00_2d-label-filt.zip"
    broken.write_bytes(broken.read_bytes()[:100])
    found = {(finding.severity, finding.message) for finding in findings_of(make(root))}
    for severity, message in (
        ("warning", "1 of 2 frames have no colour image"),
        ("warning", "2 of 2 frames have no pose file"),
        ("warning", "1 colour images have no depth image"),
        ("warning", "not a depth image <number>.png; ignored"),
        ("error", "the same frame as 02.png"),
        ("error", "the archive is broken"),
    ):
        assert (severity, message) in found, (message, found)
    assert any("no instance-filt" in message for _, message in found)
    source = make(root)
    frame = source.read(next(iter(source.frames())), EVERYTHING)
    assert "instance" not in frame.labels
    assert frame.rgb is None or frame.rgb.any()


def test_a_cut_stream_gives_the_frames_before_the_cut(root: Path) -> None:
    path = root / "scans/scene0003_00/scene0003_00.sens"
    path.write_bytes(path.read_bytes()[:-10])
    source = make(root, include=("scene0003_00",))
    assert len(list(source.frames())) == 2
    (cut,) = [finding for finding in findings_of(source) if finding.severity == "error"]
    assert cut.path.endswith("scene0003_00.sens")
    assert "2 of 3 frames are whole" in cut.message


def test_labels_that_are_not_filtered(root: Path) -> None:
    scan = root / "scans/scene0000_01"
    write(scan / "label/1.png", png(np.full((24, 32), 1, np.uint16)))
    source = make(root, filtered=False, include=("scene0000_01",))
    frame = source.read(next(iter(source.frames())), EVERYTHING)
    assert set(np.unique(frame.labels["semantic"])) == {0, 1}
    assert "instance" not in frame.labels


def test_colour_from_beside_is_said(root: Path) -> None:
    beside = np.eye(4)
    beside[0, 3] = 0.038
    write(root / "scans/scene0000_00/intrinsic/extrinsic_color.txt", matrix_text(beside))
    (finding,) = [finding for finding in findings_of(make(root)) if "beside" in finding.message]
    assert "38 mm" in finding.message


def test_nothing_to_read(tmp_path: Path) -> None:
    with pytest.raises(MissingDataError, match="no ScanNet frames") as caught:
        list(make(tmp_path / "absent").frames())
    assert "no such folder" in str(caught.value)
    (tmp_path / "scene0000_00").mkdir()
    with pytest.raises(MissingDataError) as caught:
        list(make(tmp_path, semantic="raw").frames())
    assert "none with frames" in str(caught.value)
    assert "--layout scannet" in str(caught.value)


def test_a_scan_for_a_root_and_a_file_that_spoils_a_scan(root: Path) -> None:
    with pytest.raises(MissingDataError) as caught:
        list(make(root / "scans/scene0000_00").frames())
    assert "include: [scene0000_00]" in str(caught.value)
    write(root / "scans/scene0000_01/intrinsic/intrinsic_depth.txt", "1 2")
    (finding,) = [finding for finding in findings_of(make(root)) if finding.severity == "error"]
    assert finding.path == "scans/scene0000_01/intrinsic/intrinsic_depth.txt"
    assert finding.message == "skipped: not a matrix"


def test_images_of_another_size_say_so(root: Path) -> None:
    source = ScanNet(ScanNetConfig(root=root))
    with pytest.raises(DecodeError, match="wrong size") as caught:
        source.read(next(iter(source.frames())), frozenset())
    assert "640 x 480" in str(caught.value)


def test_millimetres_read_as_metres_are_noticed(root: Path) -> None:
    report = check_source(make(root, depth_shift=1.0, max_depth_m=10000.0))
    assert not report.ok
    assert any("unit of depth" in issue.message for issue in report.issues)


def test_colour_covers_what_depth_sees() -> None:
    """A white line down colour's middle stays in depth's middle; beyond colour its border goes on."""
    rgb = np.zeros((24, 32, 3), np.uint8)
    rgb[:, 14:18] = 255
    rgb[:, 0] = 90
    over = colour_over_depth(rgb, COLOUR, DEPTH)
    assert over.shape == (12, 16, 3)
    assert (over[:, 7:9] > 200).all()
    assert (over[:, :6].max(), over[0, 0, 0] > 40) == (over[0, 0, 0], True)
    same = np.random.default_rng(0).integers(0, 255, (12, 16, 3), np.uint8)
    np.testing.assert_array_equal(colour_over_depth(same, DEPTH, DEPTH), same)
    ids = same[..., 0].astype(np.uint16)
    np.testing.assert_array_equal(ids_over_depth(ids, DEPTH, DEPTH), ids)


def test_zip_members_are_read_in_place(root: Path) -> None:
    with zipfile.ZipFile(root / "scans/scene0003_00/scene0003_00_2d-label-filt.zip") as archive:
        assert archive.namelist()[0] == "label-filt/0.png"
    assert not (root / "scans/scene0003_00/label-filt").exists()
    assert "semantic" in read(root, 4).labels
