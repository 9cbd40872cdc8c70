"""What is refused as scans, each with a message that says why; and how scans are cut."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from depthforge.errors import InputError
from depthforge.fitting.scans import read_scans, require_noise, require_scans
from depthforge.frame import Camera, Frame, FrameRef
from depthforge.sensors.gaussian_dropout import GaussianDropout
from depthforge.sources.procedural import Procedural, ProceduralConfig
from tests.fitting.rooms import CAMERA, room, scan

SENSOR = GaussianDropout(sigma_constant_m=0.003)


def source(frames: int, sensor: GaussianDropout | None = SENSOR) -> Procedural:
    config = ProceduralConfig(num_scenes=1, frames_per_scene=frames, width=96, height=72, focal_px=90, sensor=sensor)
    return Procedural(config)


def test_the_first_part_is_fitted_and_the_last_held_out() -> None:
    scans = read_scans(source(9), 3, wanted=frozenset())
    assert [frame.key[-6:] for frame in scans.fitted] == ["000000", "000002", "000004"]
    assert [frame.key[-6:] for frame in scans.held_out] == ["000005", "000007", "000008"]
    assert scans.describe()["first_held_out"] == scans.held_out[0].key


def test_a_limit_counts_scans_from_the_first() -> None:
    scans = read_scans(source(9), 8, limit=4, wanted=frozenset())
    assert [frame.key[-6:] for frame in (*scans.fitted, *scans.held_out)] == ["000000", "000001", "000002", "000003"]


def test_too_few_frames() -> None:
    with pytest.raises(InputError, match="too few scans") as caught:
        read_scans(source(3), 8, wanted=frozenset())
    assert caught.value.found == "3"


def test_a_sensor_may_need_fewer_frames_and_refuse_others() -> None:
    asked: list[tuple[int, float]] = []
    scans = read_scans(
        source(3),
        8,
        wanted=frozenset(),
        fewest=2,
        require=lambda frames, unit_m, where: asked.append((len(frames), unit_m)),
    )
    assert (len(scans.fitted), len(scans.held_out)) == (2, 1)
    assert asked == [(2, 0.0)]


def test_synthetic_depth_has_no_noise_to_fit() -> None:
    with pytest.raises(InputError, match="clean, synthetic depth"):
        read_scans(source(4, None), 8, wanted=frozenset())


@pytest.mark.parametrize("unit_m", [0.001, 0.01])
def test_neither_has_rounding(unit_m: float) -> None:
    depth_m = (np.rint(room(1) / unit_m) * unit_m).astype(np.float32)
    frame = Frame("test/rooms/0000", depth_m, depth_m > 0, CAMERA)
    with pytest.raises(InputError, match="no sensor noise"):
        require_noise([frame], unit_m, "test")


@pytest.mark.parametrize("factor", [1000.0, 0.001])
def test_depth_that_is_not_in_metres(factor: float) -> None:
    frame = scan(SENSOR, 0)
    with pytest.raises(InputError, match="not in metres") as caught:
        require_scans([replace(frame, depth_m=frame.depth_m * np.float32(factor))], "test")
    assert "depth_scale" in str(caught.value.remedy)


def test_nothing_measured() -> None:
    frame = scan(SENSOR, 0)
    with pytest.raises(InputError, match="next to nothing"):
        require_scans([replace(frame, valid=np.zeros_like(frame.valid))], "test")


def test_a_recording_that_goes_dark_in_the_middle(monkeypatch: pytest.MonkeyPatch) -> None:
    scans = source(6)
    read = scans.read

    def dark(ref: FrameRef, wanted: frozenset[str]) -> Frame:
        frame = read(ref, wanted)
        return frame if ref.key[-6:] < "000003" else replace(frame, valid=np.zeros_like(frame.valid))

    monkeypatch.setattr(scans, "read", dark)
    with pytest.raises(InputError, match="next to nothing") as caught:
        read_scans(scans, 3, wanted=frozenset())
    assert "second half" in str(caught.value.where)


def test_scans_of_two_cameras() -> None:
    small = Camera(150, 150, 20, 15, 40, 30)
    other = Frame("test/rooms/0001", np.ones((30, 40), np.float32), np.ones((30, 40), np.bool_), small)
    with pytest.raises(InputError, match="differ in size"):
        require_scans([scan(SENSOR, 0), other], "test")


def test_no_flat_surface() -> None:
    depth_m = np.where(np.indices(CAMERA.size).sum(axis=0) % 2, 1.0, 2.0).astype(np.float32)
    with pytest.raises(InputError, match="no flat surface"):
        require_noise([Frame("test/rooms/0000", depth_m, depth_m > 0, CAMERA)], 0.0, "test")
