"""What is implausible is named with what would mend it; what is right is let through."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from depthforge.errors import DecodeError, FrameError, InputError
from depthforge.frame import Frame, FrameRef, Licence
from depthforge.geometry import invert_pose
from depthforge.labels.catalogue import NORMALS, POSE
from depthforge.labels.spec import LabelSpec
from depthforge.manifest import PluginBlock
from depthforge.registry import sources
from depthforge.sources.base import Report, Source, SourceConfig, ignore_findings
from depthforge.sources.conventions import as_stored
from depthforge.sources.procedural import Procedural, ProceduralConfig
from depthforge.sources.reprojection import fit_of_poses, reprojection_error
from depthforge.sources.soundness import (
    NUM_RUNS,
    RUN_FRAMES,
    RunSampler,
    examine,
    require_plausible,
    require_plausible_scans,
    require_sound,
)

Change = Callable[[int, Frame], Frame]


@pytest.fixture(scope="module")
def rooms() -> list[Frame]:
    """Six frames of one walk through a room, small."""
    block = PluginBlock.parse(
        sources,
        {
            "name": "procedural",
            "num_scenes": 1,
            "frames_per_scene": 6,
            "width": 160,
            "height": 120,
            "focal_px": 140,
        },
    )
    assert isinstance(block.config, ProceduralConfig)
    source = Procedural(block.config)
    return [source.read(ref, frozenset({"T_world_cam", "normals"})) for ref in source.frames()]


class Changed(Source):
    """Frames of a room, each changed."""

    name = "changed"
    Config = SourceConfig
    licence = Licence("none", False)

    def __init__(self, frames: list[Frame], change: Change, **config: Any) -> None:
        self.config = SourceConfig.model_validate(config)
        self._frames, self._change = frames, change

    @property
    def size(self) -> tuple[int, int]:
        return self._frames[0].camera.size

    @property
    def labels(self) -> Mapping[str, LabelSpec]:
        return {"T_world_cam": POSE, "normals": NORMALS}

    def frames(self, report: Report = ignore_findings) -> Iterator[FrameRef]:
        for number, frame in enumerate(self._frames):
            yield FrameRef(frame.key, str(number))

    def read(self, ref: FrameRef, wanted: frozenset[str]) -> Frame:
        return self._change(int(ref.locator), self._frames[int(ref.locator)])


def messages(source: Source) -> list[tuple[str, str, str]]:
    sampler = RunSampler()
    list(sampler.watch(source.frames()))
    found = examine(source, sampler.runs, frozenset(source.labels)).findings
    return [(finding.severity, finding.message, str(finding.remedy)) for finding in found]


def scaled(factor: float) -> Change:
    return lambda number, frame: replace(frame, depth_m=(frame.depth_m * np.float32(factor)).astype(np.float32))


def with_camera(**fields: float) -> Change:
    return lambda number, frame: replace(frame, camera=replace(frame.camera, **fields))


def with_pose(change: Callable[[np.ndarray], np.ndarray]) -> Change:
    def changed(number: int, frame: Frame) -> Frame:
        assert frame.T_world_cam is not None
        return replace(frame, T_world_cam=change(frame.T_world_cam))

    return changed


def unchanged(number: int, frame: Frame) -> Frame:
    return frame


def test_a_sound_source_has_no_finding_and_poses_that_fit(rooms: list[Frame]) -> None:
    source = Changed(rooms, unchanged)
    assert messages(source) == []
    error = examine(source, [list(source.frames())], frozenset(source.labels)).pose_error
    assert error is not None
    assert error < 0.005


@pytest.mark.parametrize(("factor", "hint"), [(0.001, "1000 times as much"), (1000.0, "0.001 times as much")])
def test_a_wrong_unit_is_named_by_the_bulk(rooms: list[Frame], factor: float, hint: str) -> None:
    found = messages(Changed(rooms, scaled(factor)))
    unit = [message for severity, message, _ in found if severity == "error" and "unit of depth" in message]
    assert len(unit) == 1
    assert hint in unit[0]


def test_one_far_pixel_is_no_wrong_unit(rooms: list[Frame]) -> None:
    def stray(number: int, frame: Frame) -> Frame:
        depth_m = frame.depth_m.copy()
        depth_m[5, 5] = 1e10
        return replace(frame, depth_m=depth_m, valid=depth_m > 0)

    assert messages(Changed(rooms, stray)) == []


@pytest.mark.parametrize("value", [65.535, 1e10, 1000.0])
@pytest.mark.parametrize("share", [0.02, 0.33])
def test_a_background_is_named_with_what_would_mend_it(rooms: list[Frame], value: float, share: float) -> None:
    def sky(number: int, frame: Frame) -> Frame:
        depth_m = frame.depth_m.copy()
        depth_m[: round(frame.camera.height * share)] = value
        return replace(frame, depth_m=depth_m, valid=depth_m > 0)

    found = [each for each in messages(Changed(rooms, sky)) if "stands for no measurement" in each[1]]
    assert len(found) == 1
    severity, message, remedy = found[0]
    assert severity == "error"
    assert f"a depth of {np.float32(value):.6g} m" in message
    assert "`trust: [background]`" in remedy
    trusted = Changed(rooms, sky, trust=["background"])
    assert not [each for each in messages(trusted) if "stands for" in each[1]]


def test_a_wall_that_fills_the_image_is_no_background(rooms: list[Frame]) -> None:
    def wall(number: int, frame: Frame) -> Frame:
        depth_m = np.full_like(frame.depth_m, 2.0)
        return replace(frame, depth_m=depth_m, valid=depth_m > 0, T_world_cam=None)

    assert messages(Changed(rooms, wall)) == []


@pytest.mark.parametrize(
    ("fields", "severity", "words"),
    [
        ({"fx": 0.875, "fy": 1.17, "cx": 0.5, "cy": 0.5}, "error", "in shares of the image"),
        ({"fx": 560.0, "fy": 560.0, "cx": 319.5, "cy": 239.5}, "error", "of another resolution"),
        ({"fx": 70.0, "fy": 70.0, "cx": 39.5, "cy": 29.5}, "error", "of another resolution"),
        ({"cx": -30.0}, "error", "centred outside"),
        ({"fx": float("nan")}, "error", "no pinhole"),
        ({"fx": 5.0, "fy": 5.0}, "error", "field of view"),
        ({"cx": 20.0}, "warning", "centred far from the middle"),
        ({"fy": 60.0}, "warning", "fx and fy differ"),
    ],
)
def test_a_camera_that_cannot_be_is_named(
    rooms: list[Frame], fields: dict[str, float], severity: str, words: str
) -> None:
    source = Changed([replace(frame, T_world_cam=None) for frame in rooms], with_camera(**fields))
    found = [each for each in messages(source) if words in each[1]]
    assert [each[0] for each in found][:1] == [severity]
    assert "`trust: [camera]`" in found[0][2]


def test_a_crop_of_a_wide_image_is_no_other_resolution(rooms: list[Frame]) -> None:
    kitti = {"fx": 100.0, "fy": 100.0, "cx": 85.0, "cy": 40.0}
    source = Changed([replace(frame, T_world_cam=None) for frame in rooms], with_camera(**kitti))
    assert messages(source) == []


AS_READ = [
    ("direction: world_to_camera", "world_to_camera", "opencv"),
    ("axes: opengl", "camera_to_world", "opengl"),
    ("direction: world_to_camera, axes: ned", "world_to_camera", "ned"),
    ("axes: unity", "camera_to_world", "unity"),
]


@pytest.mark.parametrize(("words", "direction", "axes"), AS_READ, ids=[words for words, *_ in AS_READ])
def test_poses_read_in_another_convention_are_named(rooms: list[Frame], words: str, direction: Any, axes: Any) -> None:
    """What a data set of that convention stores, read as if it were the house's."""
    found = messages(Changed(rooms, with_pose(lambda T: as_stored(T, direction, axes))))
    poses = [each for each in found if "poses do not fit" in each[1]]
    assert [each[0] for each in poses] == ["error"]
    assert poses[0][2].startswith(f"{words} would give ")


def _moved(metres: float) -> np.ndarray:
    T = np.eye(4)
    T[0, 3] = 100.0 * metres
    return T


def _pose(frame: Frame) -> np.ndarray:
    assert frame.T_world_cam is not None
    return frame.T_world_cam


def _multiplied(T: np.ndarray, factor: float) -> np.ndarray:
    scaled_T = T.copy()
    scaled_T[:3, 3] *= factor
    return scaled_T


def test_poses_in_another_unit_are_named(rooms: list[Frame]) -> None:
    found = messages(Changed(rooms, with_pose(lambda T: _multiplied(T, 1000.0))))
    assert any("translations multiplied by 0.001 (or depth by 1000)" in remedy for _, _, remedy in found)


def test_poses_of_the_next_frame_are_named(rooms: list[Frame]) -> None:
    """A camera that jumps: the motion to the next frame differs from frame to frame."""
    jumping = [rooms[number] for number in (0, 3, 1, 5, 2, 4)]
    jumping = [replace(frame, key=f"r/s/{number:06d}") for number, frame in enumerate(jumping)]

    def late(number: int, frame: Frame) -> Frame:
        return replace(frame, T_world_cam=jumping[max(0, number - 1)].T_world_cam)

    found = messages(Changed(jumping, late))
    poses = [each for each in found if "poses do not fit" in each[1]]
    assert [each[0] for each in poses] == ["error"]
    assert poses[0][2].startswith("the pose of the next frame for each frame would give")


def test_poses_that_nothing_mends_are_a_warning(rooms: list[Frame]) -> None:
    rng = np.random.default_rng(0)

    def random_turn(T: np.ndarray) -> np.ndarray:
        q, _ = np.linalg.qr(rng.normal(size=(3, 3)))
        turned = T.copy()
        turned[:3, :3] = q * np.sign(np.linalg.det(q))
        return turned

    poses = [each for each in messages(Changed(rooms, with_pose(random_turn))) if "poses do not fit" in each[1]]
    assert [each[0] for each in poses] == ["warning"]


@pytest.mark.parametrize("seed", [0, 4])
def test_frames_that_see_little_in_common_say_nothing_against_their_poses(seed: int) -> None:
    """Four views of one room, of which the next but one shares nothing: another reading of one pair fits by chance."""
    room = Procedural(ProceduralConfig(num_scenes=1, frames_per_scene=4, width=64, height=48, seed=seed))
    run = [room.read(ref, frozenset({"T_world_cam"})) for ref in room.frames()][:3]
    fit = fit_of_poses([run])
    assert fit is not None
    assert not fit.is_bad


def test_poses_of_views_that_share_little_are_still_told_by_those_that_do(rooms: list[Frame]) -> None:
    """Where most pairs land nowhere by either reading, those that land decide."""
    apart = [replace(rooms[0], T_world_cam=_moved(number)) for number in range(6)]
    inverted = [replace(frame, T_world_cam=invert_pose(_pose(frame))) for frame in rooms]
    fit = fit_of_poses([*(apart[at : at + 2] for at in (0, 2, 4)), inverted])
    assert fit is not None
    assert fit.better is not None
    assert fit.better.words == "direction: world_to_camera"


def test_a_camera_that_stands_still_says_nothing_against_any_reading(rooms: list[Frame]) -> None:
    still = [replace(rooms[0], key=f"r/s/{number:06d}") for number in range(6)]
    assert messages(Changed(still, with_pose(invert_pose))) == []


def test_reprojection_needs_depth_on_both_sides(rooms: list[Frame]) -> None:
    empty = replace(rooms[1], depth_m=np.zeros_like(rooms[1].depth_m), valid=np.zeros_like(rooms[1].valid))
    assert reprojection_error(rooms[0], empty, np.eye(4)) is None
    assert reprojection_error(empty, rooms[0], np.eye(4)) is None
    away = np.eye(4)
    away[2, 3] = -100.0
    assert reprojection_error(rooms[0], rooms[1], away) == 1.0
    assert fit_of_poses([[rooms[0]]]) is None


def test_every_frame_that_would_be_rejected_is_an_error_with_the_reason(rooms: list[Frame]) -> None:
    def broken(number: int, frame: Frame) -> Frame:
        raise DecodeError("the PNG is truncated", where="a.png", expected="an end", remedy="fetch it again")

    source = Changed(rooms, broken)
    [(severity, message, remedy)] = messages(source)
    assert severity == "error"
    assert message == "every frame that was looked at would be rejected: the PNG is truncated; expected an end"
    assert remedy == "fetch it again"
    with pytest.raises(InputError, match="the PNG is truncated"):
        require_plausible_scans(source, source.frames())


def test_holes_on_a_grid_are_named_where_holes_are_learnt_from(rooms: list[Frame]) -> None:
    def gridded(number: int, frame: Frame) -> Frame:
        valid = frame.valid.copy()
        valid[:, ::7] = False
        return replace(frame, valid=valid, depth_m=np.where(valid, frame.depth_m, np.float32(0)))

    source = Changed(rooms, gridded)
    assert [each[0] for each in messages(source) if "regular grid" in each[1]] == ["warning"]
    with pytest.raises(InputError, match="every 7 columns") as caught:
        require_plausible_scans(source, source.frames())
    assert "trust: [grid]" in str(caught.value)
    trusted = Changed(rooms, gridded, trust=["grid"])
    require_plausible_scans(trusted, trusted.frames())


def test_all_errors_are_told_at_once(rooms: list[Frame]) -> None:
    def both(number: int, frame: Frame) -> Frame:
        return with_camera(cx=-30.0)(number, scaled(0.001)(number, frame))

    source = Changed([replace(frame, T_world_cam=None) for frame in rooms], both)
    with pytest.raises(InputError, match="not what the manifest says") as caught:
        require_plausible_scans(source, source.frames())
    assert "unit of depth" in str(caught.value)
    assert "centred outside" in str(caught.value)
    require_plausible(source, [])


def test_a_pose_that_is_not_rigid_is_no_sound_frame(rooms: list[Frame]) -> None:
    assert require_sound(rooms[0]) is rooms[0]
    mirrored = np.diag([-1.0, 1.0, 1.0, 1.0])
    with pytest.raises(FrameError, match="not a rigid transform") as caught:
        require_sound(replace(rooms[0], T_world_cam=mirrored))
    assert "mirrored" in str(caught.value.found)


@given(st.integers(0, 700))
def test_runs_are_consecutive_apart_and_spread(num_frames: int) -> None:
    refs = [FrameRef(f"a/b/{number:06d}", str(number)) for number in range(num_frames)]
    sampler = RunSampler()
    assert list(sampler.watch(refs)) == refs
    numbers = [[int(ref.locator) for ref in run] for run in sampler.runs]
    assert len(numbers) <= NUM_RUNS
    assert all(run == list(range(run[0], run[0] + len(run))) and len(run) <= RUN_FRAMES for run in numbers)
    flat = [number for run in numbers for number in run]
    assert flat == sorted(set(flat))
    if num_frames >= NUM_RUNS * RUN_FRAMES:
        assert len(numbers) == NUM_RUNS
        assert flat[0] == 0
        assert flat[-1] > num_frames / 2
