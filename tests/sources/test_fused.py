"""The fused truth of scans of an analytic room: what is rendered lies on the room, and bad poses are left out."""

from __future__ import annotations

import json
import math
import re
from pathlib import Path

import cv2
import numpy as np
import pytest
from pydantic import ValidationError

from depthforge.errors import InputError, ManifestError, MissingDataError
from depthforge.frame import Camera, Frame
from depthforge.geometry import decode_normals, look_at
from depthforge.manifest import PluginBlock, parse_manifest
from depthforge.meshes import Mesh, encode_ply
from depthforge.registry import sources
from depthforge.scenes.raycast import cast
from depthforge.sources.fused import Fused
from depthforge.sources.fused import source as module
from depthforge.sources.fused.scenes import agreement, near_edges
from depthforge.testing.sources import SourceTests
from tests.sources.fused_trees import (
    CAMERA,
    NO_POSE,
    NUM,
    ROOM,
    UNREADABLE,
    WRONG_POSE,
    block,
    frame_of,
    listed,
    make,
    pose,
    seen,
    write_scan,
)
from tests.sources.scannet_trees import TABLE, write_export
from tests.sources.tree_files import png, write

pytest.importorskip("open3d", exc_type=ImportError)


@pytest.fixture(scope="module")
def scan(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = write_scan(tmp_path_factory.mktemp("fused"))
    make(root).prepare()
    return root


class TestContract(SourceTests):
    num_frames = 3

    @pytest.fixture
    def source(self, scan: Path) -> Fused:
        return make(scan)


def test_the_rendering_lies_on_the_room(scan: Path) -> None:
    frame, truth = frame_of(make(scan)), seen(0)
    both = frame.valid & truth.valid & ~near_edges(truth.depth_m)
    assert both.mean() > 0.6
    error_m = np.abs(frame.depth_m - truth.depth_m)[both]
    assert np.median(error_m) < 0.004
    assert np.quantile(error_m, 0.9) < 0.02
    normals = decode_normals(np.asarray(frame.labels["normals"], np.int16))
    assert np.median(np.einsum("nc,nc->n", normals[both], truth.normals[both])) > 0.98
    assert not frame.labels["normals"][~frame.valid].any()
    assert frame.camera == CAMERA
    assert frame.T_world_cam is not None
    np.testing.assert_allclose(frame.T_world_cam, pose(0))


def test_fusing_takes_noise_away_and_adds_no_bias(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    root = write_scan(tmp_path, num_frames=24, faults=False)
    for number in range(24):
        stored = look_at((0.03 * number - 0.4, 0.0, 1.0), (0.0, 2.0, 0.6))
        noisy_mm = 1000 * cast(ROOM, stored, CAMERA).depth_m + rng.normal(0, 12, (48, 64))
        (root / f"room/{number}.png").write_bytes(
            cv2.imencode(".png", np.rint(noisy_mm).astype(np.uint16))[1].tobytes()
        )
        (root / f"room/{number}.txt").write_text(" ".join(map(repr, stored.ravel().tolist())))
    source = make(root, max_residual_m=0.05, min_weight=4)
    source.prepare()
    frame = frame_of(source, 12)
    truth = cast(ROOM, np.asarray(frame.T_world_cam), CAMERA)
    both = frame.valid & truth.valid & ~near_edges(truth.depth_m)
    measured_m = (frame.labels["depth_raw"] - truth.depth_m)[both]
    fused_m = (frame.depth_m - truth.depth_m)[both]
    assert np.median(np.abs(fused_m)) < 0.5 * np.nanmedian(np.abs(measured_m))
    assert abs(np.median(fused_m)) < 0.002


def test_what_was_measured_rides_along(scan: Path) -> None:
    frame = frame_of(make(scan))
    raw = frame.labels["depth_raw"]
    assert np.isnan(raw[:4, :4]).all()
    np.testing.assert_allclose(raw[10:, 10:], seen(0).depth_m[10:, 10:], atol=6e-4)
    assert frame.valid[:4, :4].any(), "other frames saw what is behind the hole"


def test_frames_that_do_not_fit_are_left_out_and_counted(scan: Path) -> None:
    keys, findings = listed(make(scan))
    assert keys == [f"analytic/room/{k:06d}" for k in range(NUM) if k not in (WRONG_POSE, NO_POSE, UNREADABLE)]
    finding = findings[-1]
    assert (finding.severity, finding.path) == ("warning", "analytic/room")
    assert "fused from 7 frames" in finding.message
    assert "6 of 9 frames kept, left out: 1 over 10 mm, 1 without a pose, 1 unreadable" in finding.message
    quantiles = re.search(r"truth\| ([\d./]+) mm \(5/25/50/75/95 %", finding.message)
    assert quantiles is not None
    values = [float(value) for value in quantiles[1].split("/")]
    assert values == sorted(values)
    assert values[2] < 5 < 10 < values[4]


def test_thresholds_choose_without_fusing_again(scan: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "fuse_scene", None)
    for fields, kept, why in (
        ({"max_residual_m": 10.0, "min_covered": 0.0}, 7, "1 without a pose"),
        ({"min_covered": 1.0}, 0, "under 100%"),
        ({"max_residual_m": 1e-6}, 0, "7 over 0.001 mm"),
    ):
        source = make(scan, **fields)
        source.prepare()
        keys, findings = listed(source)
        assert len(keys) == kept
        assert why in findings[-1].message
        assert findings[-1].severity == ("warning" if kept else "error")


def test_every_and_max_frames_say_what_is_fused(tmp_path: Path) -> None:
    root = write_scan(tmp_path, num_frames=8, faults=False)
    for fields, num_fused in (({"every": 3}, 3), ({"max_frames": 5}, 5), ({"every": 2, "max_frames": 2}, 2)):
        source = make(root, min_weight=1, **fields)
        source.prepare()
        keys, findings = listed(source)
        assert f"fused from {num_fused} frames" in findings[-1].message
        assert len(keys) > num_fused, "all are rendered"


def test_recordings_of_one_room_have_worlds_of_their_own(tmp_path: Path) -> None:
    write_export(tmp_path / "scans/scene0000_00", numbers=(0, 1), lost=())
    write_export(tmp_path / "scans/scene0000_01", numbers=(0, 1), lost=())
    for path in tmp_path.rglob("depth/*.png"):
        path.write_bytes(png(np.full((12, 16), 1500, np.uint16)))
    write(tmp_path / "scannetv2-labels.combined.tsv", TABLE)
    of = {"name": "scannet", "root": str(tmp_path), "width": 16, "height": 12}
    fields = {"voxel_m": 0.1, "min_weight": 1, "max_residual_m": 1, "min_covered": 0}
    parsed = PluginBlock.parse(sources, {"name": "fused", "of": of, "prepared": str(tmp_path / "made"), **fields})
    source: Fused = sources.get("fused")(parsed.config)
    source.prepare()
    worlds = sorted(path.parent.relative_to(path.parents[3]).as_posix() for path in tmp_path.rglob("frames.json"))
    assert worlds == ["scannet/scene0000/00", "scannet/scene0000/01"]
    assert {"semantic", "instance", "rgb", "depth_raw", "normals"} <= source.labels.keys()
    frame = source.read(next(iter(source.frames())), frozenset(source.labels))
    assert set(np.unique(frame.labels["semantic"])) <= {0, 5, 40}
    assert source.licence.name.startswith("ScanNet")


@pytest.mark.parametrize("is_turned", [False, True])
def test_the_mesh_that_the_data_set_ships(tmp_path: Path, is_turned: bool) -> None:
    """A wall 1.5 m ahead of POSE, which looks along the world's x from x = 0.5, its fronts on either side."""
    scan = write_export(tmp_path / "scene0000_00", numbers=(0, 1, 2), lost=(2,))
    for path in scan.glob("depth/*.png"):
        path.write_bytes(png(np.full((12, 16), 1510, np.uint16)))
    of = {"name": "scannet", "root": str(tmp_path), "width": 16, "height": 12, "semantic": "raw"}
    parsed = PluginBlock.parse(
        sources, {"name": "fused", "of": of, "prepared": str(tmp_path / "made"), "mesh": "shipped"}
    )
    source: Fused = sources.get("fused")(parsed.config)
    source.prepare()
    with pytest.raises(MissingDataError, match="no scene") as caught:
        list(source.frames())
    assert "ships no mesh" in str(caught.value)

    corners = np.array([[2, -8, -8], [2, 8, -8], [2, 8, 8], [2, -8, 8]], np.float32)
    triangles = np.array([[0, 1, 2], [0, 2, 3]], np.uint32)
    content = encode_ply(Mesh(corners, triangles[:, ::-1] if is_turned else triangles))
    path = scan / "scene0000_00_vh_clean_2.ply"
    path.write_bytes(content[:-5])
    source.prepare()
    with pytest.raises(MissingDataError) as damaged:
        list(source.frames())
    assert path.name in str(damaged.value)

    path.write_bytes(content)
    source.prepare()
    keys, findings = listed(source)
    assert len(keys) == 2
    assert "truth from the shipped mesh, median |measured - truth| 10.0/10.0" in findings[-1].message
    frame = frame_of(source)
    np.testing.assert_allclose(frame.depth_m, 1.5, rtol=1e-6)
    np.testing.assert_allclose(frame.labels["depth_raw"], 1.51, rtol=1e-6)
    assert (decode_normals(np.asarray(frame.labels["normals"], np.int16))[..., 2] < -0.999).all()


def test_nothing_of_this_machine_is_portable(scan: Path) -> None:
    parsed = PluginBlock.parse(sources, block(scan))
    portable = parsed.portable()
    assert "prepared" not in portable
    assert "root" not in portable["of"]
    assert str(scan) not in json.dumps(portable)
    assert portable["of"]["name"] == "rgbd_folder"
    again = PluginBlock.parse(sources, parsed.flat())
    assert again == parsed
    manifest = parse_manifest(
        {"name": "a", "source": block(scan), "translator": "identity", "corpus": {"out": "x"}}, where="test"
    )
    assert str(scan) not in json.dumps(manifest.portable())


def test_versions_of_both_adapters_count(scan: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    before = make(scan).adapter_version
    inner = sources.get("rgbd_folder")
    monkeypatch.setattr(inner, "adapter_version", inner.adapter_version + 6)
    assert make(scan).adapter_version == before + 6


def test_sources_without_poses_and_wrong_blocks(scan: Path) -> None:
    value = block(scan)
    del value["of"]["pose"]
    with pytest.raises(InputError, match="without poses") as caught:
        sources.get("fused")(PluginBlock.parse(sources, value).config)
    assert "rgbd_folder" in str(caught.value)
    with pytest.raises(ManifestError) as wrong:
        PluginBlock.parse(sources, {**block(scan), "of": {**block(scan)["of"], "unit": 3}})
    assert "source.of" in str(wrong.value)
    with pytest.raises((ManifestError, ValidationError)):
        PluginBlock.parse(sources, block(scan, voxel_m=0))


def test_agreement_is_the_median_away_from_edges() -> None:
    rendered = np.full((20, 30), 2.0, np.float32)
    rendered[:, 15:] = 3.0
    measured = rendered + np.float32(0.004)
    measured[:, 13:17] += 1.0  # beside the edge: not counted
    measured[:, :3] = 0
    hit = np.ones((20, 30), bool)
    hit[:, 27:] = False
    frame = Frame("a/b/c", measured, measured > 0, Camera(30, 30, 14.5, 9.5, 30, 20))
    found = agreement(frame, rendered, hit)
    assert found.residual_m == pytest.approx(0.004, rel=1e-3)
    assert found.covered == pytest.approx(24 / 27)
    edge = near_edges(rendered)
    assert edge[:, 13:17].all()
    assert not edge[:, :13].any()
    assert not edge[:, 17:].any()
    nothing = agreement(frame, rendered, np.zeros((20, 30), bool))
    assert math.isnan(nothing.residual_m)
    assert nothing.covered == 0
