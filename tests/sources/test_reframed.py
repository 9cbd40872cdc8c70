"""Sources whose frames go to another camera: against a direct rendering, of mixed cameras, and what is told."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from depthforge.errors import InputError
from depthforge.frame import RGB_FILE, Camera, Frame, FrameRef
from depthforge.geometry import decode_normals
from depthforge.identity import changed_fields
from depthforge.manifest import PluginBlock
from depthforge.pinhole import PinholeBlock
from depthforge.registry import sources
from depthforge.sources.base import Source, SourceConfig
from depthforge.sources.check import CheckReport, check_source
from depthforge.sources.resized import build_source

pytestmark = pytest.mark.usefixtures("built_in_plugins")

ROOMS = {"name": "procedural", "num_scenes": 1, "frames_per_scene": 3}
# A rendering at 1200x680 and f = 600, and a Kinect v1, both a quarter as large.
WIDE = {"width": 300, "height": 170, "focal_px": 150.0}
KINECT = {"width": 160, "height": 120, "fx": 146.25, "fy": 146.25, "cx": 79.5, "cy": 59.5}


def make(**fields: Any) -> Source:
    block = PluginBlock.parse(sources, {**ROOMS, **WIDE, **fields})
    assert isinstance(block.config, SourceConfig)
    return build_source(block.name, block.config)


def frames_of(source: Source, *wanted: str) -> Iterator[Frame]:
    for ref in source.frames():
        yield source.read(ref, frozenset(wanted or source.labels))


def test_a_reframed_rendering_is_a_rendering_through_that_camera(monkeypatch: pytest.MonkeyPatch) -> None:
    source = make(reframe=KINECT)
    target = PinholeBlock.model_validate(KINECT).camera()
    found = list(frames_of(source))
    # The path is drawn for the camera: that of the wide one is kept.
    direct_source = make()
    config_type = type(direct_source.config)
    direct_source.room(0)  # type: ignore[attr-defined]
    monkeypatch.setattr(config_type, "camera", property(lambda _: target))
    direct = list(frames_of(direct_source))
    assert source.size == target.size == (120, 160)
    for ours, true in zip(found, direct, strict=True):
        assert ours.require_sound().camera == true.camera == target
        assert ours.T_world_cam is not None
        np.testing.assert_array_equal(ours.T_world_cam, true.T_world_cam)
        same_id = ours.labels["instance"] == true.labels["instance"]
        ids, square = true.labels["instance"].astype(np.uint16), np.ones((3, 3), np.uint8)
        off_edges = cv2.dilate(ids, square) == cv2.erode(ids, square)
        assert off_edges.mean() > 0.7
        assert same_id[off_edges].mean() > 0.999
        # Away from silhouettes a pixel is at most half a pixel off: depth by half the change to its neighbours.
        inner = (
            cv2.erode(same_id.astype(np.uint8), np.ones((7, 7), np.uint8)).astype(np.bool_) & ours.valid & true.valid
        )
        assert inner.mean() > 0.5
        change = sum(np.abs(np.gradient(true.depth_m, axis=axis)) for axis in (0, 1))
        change = cv2.dilate(np.asarray(change, np.float32), square)
        off = np.abs(ours.depth_m - true.depth_m)
        assert (off <= 0.6 * change + 1e-4)[inner].mean() > 0.98
        assert np.median(off[inner]) < 0.005
        between = np.einsum("hwc,hwc->hw", *(decode_normals(each.labels["normals"]) for each in (ours, true)))
        assert np.median(between[inner]) > 0.9999
        assert ours.rgb is not None
        assert true.rgb is not None
        assert np.abs(ours.rgb[inner].astype(int) - true.rgb[inner]).mean() < 6


def mixed(root: Path) -> dict[str, Any]:
    """Write a plane, square to the axis, as two cameras see it; return the source block without `reframe`."""
    for number, (width, height, focal) in enumerate(((64, 48, 60.0), (96, 80, 90.0))):
        place = f"{number:03d}"
        cv2.imwrite(str(root / f"{place}.png"), np.full((height, width), 2000 + number, np.uint16))
        matrix = f"{focal} 0 {width / 2 - 0.5}\n0 {focal} {height / 2 - 0.5}\n0 0 1\n"
        (root / f"{place}.txt").write_text(matrix)
    return {
        "name": "rgbd_folder",
        "root": str(root),
        "dataset": "mixed",
        "depth": "{frame}.png",
        "depth_scale": 1000,
        "camera": {"matrix_file": "{frame}.txt"},
        "licence": {"name": "mine", "non_commercial": False},
    }


def test_frames_of_several_cameras_come_out_as_one(tmp_path: Path) -> None:
    camera = {"width": 60, "height": 40, "fx": 58.0, "fy": 58.0, "cx": 29.5, "cy": 19.5}
    block = PluginBlock.parse(sources, {**mixed(tmp_path), "reframe": camera})
    source = build_source(block.name, block.config)  # type: ignore[arg-type]
    frames = list(frames_of(source))
    assert [frame.camera for frame in frames] == [Camera(58, 58, 29.5, 19.5, 60, 40)] * 2
    assert [frame.reframed_from and frame.reframed_from.fx for frame in frames] == [60, 90]
    for frame, depth_m in zip(frames, (2.0, 2.001), strict=True):
        np.testing.assert_allclose(frame.depth_m, depth_m, atol=1e-6)


def check(**fields: Any) -> CheckReport:
    return check_source(make(**fields))


def test_an_empty_border_is_a_warning() -> None:
    report = check(reframe={**KINECT, "height": 180, "cy": 89.5})
    [issue] = report.issues
    assert (issue.severity, report.ok) == ("warning", True)
    assert "sees more than the frames do: up to 8.3% of its pixels have no depth" in issue.message
    assert issue.remedy is not None
    assert "trust: [camera]" in issue.remedy
    assert not check(reframe={**KINECT, "height": 180, "cy": 89.5}, trust=["camera"]).issues


def test_more_detail_than_there_is_is_a_warning() -> None:
    assert not check(reframe={**KINECT, "fx": 225.0, "fy": 225.0}).issues
    [issue] = check(reframe={**KINECT, "fx": 240.0, "fy": 240.0}).issues
    assert issue.severity == "warning"
    assert "enlarges the frames 1.6 times" in issue.message
    assert "240 px or more" in str(issue.remedy)


def test_a_frame_that_sees_less_than_half_is_an_error_with_a_remedy() -> None:
    report = check(reframe={**KINECT, "fx": 60.0, "fy": 60.0})
    assert report.exit_code == 3
    assert any("too narrow for the camera of `reframe`" in issue.message for issue in report.issues)
    assert any("wider field of view" in str(issue.remedy) for issue in report.issues)


def test_a_wrong_camera_of_the_data_set_is_found_behind_a_right_one(tmp_path: Path) -> None:
    block = mixed(tmp_path)
    (tmp_path / "000.txt").write_text("60 0 31.5\n0 90 23.5\n0 0 1\n")
    camera = {"width": 30, "height": 20, "fx": 60.0, "fy": 60.0, "cx": 14.5, "cy": 9.5}
    parsed = PluginBlock.parse(sources, {**block, "reframe": camera})
    issues = check_source(build_source(parsed.name, parsed.config)).issues  # type: ignore[arg-type]
    assert any("not square: fx and fy differ: fx 60, fy 90" in issue.message for issue in issues)


def test_a_preset_stands_for_its_camera() -> None:
    source = make(reframe="kinect_v1")
    assert source.config.reframe == PinholeBlock(width=640, height=480, fx=585, fy=585, cx=319.5, cy=239.5)
    # What is kept is the camera: a corpus is the same by whichever name it was asked for.
    assert make(reframe={"width": 640, "height": 480, "fx": 585, "fy": 585, "cx": 319.5, "cy": 239.5}).identity == (
        source.identity
    )
    assert changed_fields(source.config)["reframe"]["fx"] == 585
    assert "reframe" not in make().identity.fields


def test_a_file_of_a_preset_stands_for_its_camera(tmp_path: Path) -> None:
    file = tmp_path / "mine.yaml"
    file.write_text(f"sensor: gaussian_dropout\nparameters: {{correlation_px: 3}}\ncamera: {KINECT}\n")
    source = make(reframe=str(file))
    assert source.size == (120, 160)
    assert str(tmp_path) not in str(source.identity)


@pytest.mark.parametrize(
    ("fields", "message", "told"),
    [
        ({"reframe": "kinect"}, "unknown sensor preset 'kinect'", "kinect_v1_published"),
        ({"reframe": "kinect"}, "unknown sensor preset", "where:    reframe"),
        ({"reframe": "hdl_64e"}, "states no camera", "primesense"),
        ({"reframe": KINECT, "resize": {"width": 8, "height": 6}}, "both say which pixels", "one of them"),
        ({"reframe": {**KINECT, "focal": 3}}, "unknown field 'focal'", "fx"),
        ({"reframe": {**KINECT, "cx": float("nan")}}, "finite number", "cx"),
    ],
)
def test_what_cannot_be_meant_is_an_error(fields: dict[str, Any], message: str, told: str) -> None:
    with pytest.raises(InputError, match=message) as raised:
        make(**fields)
    assert told in str(raised.value)


def test_larger_frames_need_the_memory_of_their_own_size() -> None:
    large = make(width=1200, height=680, focal_px=600.0, reframe=KINECT)
    # Colour (3), normals (6), classes and instances (2 each), twice, and images; little else.
    assert 0 <= large.working_bytes() - 1200 * 680 * (2 * (3 + 6 + 2 + 2) + 12 * 4) < 1000


def test_files_of_colour_are_not_carried_past_a_crop() -> None:
    source = make(reframe=KINECT)
    assert not source.ships_colour_files
    ref: FrameRef = next(iter(source.frames()))
    frame = source.read(ref, frozenset({"rgb", RGB_FILE}))
    assert frame.rgb_file is None
    assert frame.rgb is not None
    assert frame.rgb.shape == (120, 160, 3)
    assert replace(frame, rgb=None).require_sound()
