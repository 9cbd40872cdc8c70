"""BOP's clean depth rendered from models at the annotated poses: exact plates, labels, what cannot be rendered."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest

from depthforge.errors import DecodeError, FrameError, ManifestError, MissingDataError
from depthforge.manifest import PluginBlock
from depthforge.registry import sources
from depthforge.sources.bop import Bop
from depthforge.testing.sources import SourceTests
from tests.sources.bop_trees import listed, read, source
from tests.sources.posed_trees import (
    BEHIND,
    HEIGHT,
    PLATE,
    ROWS,
    WIDTH,
    plate_mask,
    plate_ply,
    pose_row,
    wall_mm,
    write_bop_scene,
    write_json,
    write_models,
)
from tests.sources.tree_files import png, write


@pytest.fixture
def root(tmp_path: Path) -> Path:
    write_bop_scene(tmp_path)
    write_models(tmp_path)
    return tmp_path


class TestBopRendered(SourceTests):
    @pytest.fixture
    def source(self, root: Path) -> Bop:
        return source(root, depth="rendered", background="plane")


def test_more_than_64_objects_have_no_silhouettes(root: Path) -> None:
    scene = root / "test/000001"
    write_json(scene / "scene_gt.json", {3: [pose_row(2)] * 65, 12: ROWS})
    for row in range(65):
        shutil.copy(scene / "mask_visib/000012_000000.png", scene / f"mask_visib/000003_{row:06d}.png")
        shutil.copy(scene / "mask/000012_000000.png", scene / f"mask/000003_{row:06d}.png")
    with pytest.raises(FrameError, match=r"at most 64(.|\n)*object_px_count_valid to off"):
        read(root, wanted=frozenset({"object_silhouettes"}))
    frame = read(root, wanted=frozenset({"instance", "object_id"}))
    assert frame.labels["instance"].max() == 65


def test_background_is_for_rendered_depth(root: Path) -> None:
    with pytest.raises(ManifestError, match="depth: rendered"):
        PluginBlock.parse(sources, {"name": "bop", "root": str(root), "background": "plane"})


# depth: rendered


def test_rendered_depth_normals_and_labels(root: Path) -> None:
    frame = read(root, depth="rendered")
    expected = np.where(plate_mask(8), 0.449, np.where(BEHIND, 0.450, 0.0)).astype(np.float32)
    np.testing.assert_allclose(frame.depth_m, expected, atol=1e-6)
    np.testing.assert_array_equal(frame.labels["normals"][frame.valid], [[0, 0, -32767]] * int(frame.valid.sum()))
    np.testing.assert_array_equal(frame.labels["instance"], np.where(plate_mask(8), 2, np.where(BEHIND, 1, 0)))
    np.testing.assert_array_equal(frame.labels["object_px_count_all"], [529, 529])
    np.testing.assert_array_equal(frame.labels["object_px_count_visib"], [184, 529])
    # Of the silhouette, hidden or not, where something is rendered: all of it.
    np.testing.assert_array_equal(frame.labels["object_px_count_valid"], [529, 529])
    np.testing.assert_array_equal(frame.labels["box_2d"], [[21, 13, 28, 35], [29, 13, 51, 35]])
    bits = frame.labels["object_silhouettes"].astype(np.uint64)
    np.testing.assert_array_equal(bits, plate_mask(0).astype(np.uint64) + 2 * plate_mask(8).astype(np.uint64))
    measured = read(root)
    np.testing.assert_array_equal(
        frame.labels["depth_raw"], np.where(measured.valid, measured.depth_m, np.float32(np.nan))
    )


def test_a_slanted_plate_is_rendered_as_planar_z(root: Path) -> None:
    """z = 0.5 m + 0.25 x: what a ray length, a half pixel or a transposed rotation would change."""
    write(root / "models/obj_000002.ply", plate_ply(slope=0.25))
    write_json(root / "test/000001/scene_gt.json", {3: [pose_row(2, z_mm=500.0)]})
    frame = read(root, depth="rendered")
    u = np.broadcast_to(np.arange(WIDTH), (HEIGHT, WIDTH))
    exact = 0.5 / (1 - 0.25 * (u - 32) / 100)
    assert frame.valid.sum() > 400
    np.testing.assert_allclose(frame.depth_m[frame.valid], exact[frame.valid], rtol=2e-6)


def test_rotation_of_an_object_is_row_by_row(root: Path) -> None:
    """The slope along the model's x turns to the camera's y under [0 -1 0; 1 0 0; 0 0 1]."""
    write(root / "models/obj_000002.ply", plate_ply(slope=0.25))
    turned = pose_row(2, z_mm=500.0, rotation=[0, -1, 0, 1, 0, 0, 0, 0, 1])
    write_json(root / "test/000001/scene_gt.json", {3: [turned]})
    frame = read(root, depth="rendered")
    v = np.broadcast_to(np.arange(HEIGHT)[:, None], (HEIGHT, WIDTH))
    exact = 0.5 / (1 - 0.25 * (v - 24) / 100)
    np.testing.assert_allclose(frame.depth_m[frame.valid], exact[frame.valid], rtol=2e-6)


def test_silhouettes_are_counted_beyond_the_image(root: Path) -> None:
    """A plate 35 columns to the left: columns -14 to 8, of which the image has nine."""
    write_json(root / "test/000001/scene_gt.json", {3: [pose_row(2, shift=-35)], 12: [pose_row(2, shift=500)]})
    labels = read(root, depth="rendered", boxes="obj").labels
    np.testing.assert_array_equal(labels["object_px_count_all"], [529])
    np.testing.assert_array_equal(labels["object_px_count_visib"], [9 * 23])
    np.testing.assert_array_equal(labels["box_2d"], [[-14, 13, 8, 35]])
    gone = read(root, 1, depth="rendered")
    assert not gone.valid.any()
    np.testing.assert_array_equal(gone.labels["object_px_count_all"], [0])
    assert np.isnan(gone.labels["box_2d"]).all()


def test_an_object_behind_or_around_the_camera(root: Path) -> None:
    write_json(root / "test/000001/scene_gt.json", {3: [pose_row(2, z_mm=-450.0)], 12: [pose_row(2, z_mm=21.0)]})
    assert not read(root, depth="rendered").valid.any()
    near = read(root, 1, depth="rendered")
    np.testing.assert_allclose(near.depth_m, 0.021, rtol=1e-6)


def test_rendering_needs_no_depth_image(root: Path) -> None:
    shutil.rmtree(root / "test/000001/depth")
    frame = read(root, depth="rendered")
    assert frame.valid.sum() == 713
    assert "depth_raw" not in frame.labels
    with pytest.raises(FrameError, match="no measured depth to fit a plane to"):
        read(root, depth="rendered", background="plane")


def test_the_plane_behind_objects_is_the_wall(root: Path) -> None:
    measured = read(root)
    frame = read(root, depth="rendered", background="plane")
    behind = measured.valid & ~plate_mask(0) & ~plate_mask(8)
    np.testing.assert_allclose(frame.depth_m[behind], wall_mm()[behind] / 1000, atol=2e-4)
    assert frame.valid[20].all(), "the plane fills what the sensor lost"
    normal = np.array([0.25, 0, -1]) / np.hypot(0.25, 1)
    np.testing.assert_allclose(frame.labels["normals"][0, 0] / 32767, normal, atol=2e-3)
    assert not frame.labels["instance"][behind].any()


def test_no_plane_is_an_error_of_the_frame(root: Path) -> None:
    rng = np.random.default_rng(0)
    write(root / "test/000001/depth/000003.png", png(rng.integers(3000, 9000, (HEIGHT, WIDTH)).astype(np.uint16)))
    with pytest.raises(FrameError, match=r"no plane that the objects stand on(.|\n)*background: none"):
        read(root, depth="rendered", background="plane")


@pytest.mark.parametrize(
    ("model", "message"),
    [
        (None, r"no model(.|\n)*models/obj_000005.ply"),
        (plate_ply(scale=0.001), r"model is not in millimetres(.|\n)*0.1414"),
        (PLATE.split("3 0 1 2")[0].replace("face 2", "face 0"), "no triangle"),
    ],
)
def test_a_model_that_cannot_be_rendered(root: Path, model: str | None, message: str) -> None:
    path = root / "models/obj_000005.ply"
    path.unlink()
    if model is not None:
        write(path, model)
    with pytest.raises(DecodeError, match=message):
        read(root, depth="rendered")
    text = listed(root, depth="rendered")[1]
    assert ("error models/obj_000005.ply: no model of object 5" in text) == (model is None)


def test_rendering_needs_poses(root: Path) -> None:
    (root / "test/000001/scene_gt.json").unlink()
    with pytest.raises(MissingDataError, match="with poses for `depth: rendered`"):
        listed(root, depth="rendered")
    write_bop_scene(root, scene=2)
    assert "error test/000001: no scene_gt.json: nothing to render" in listed(root, depth="rendered")[1]
