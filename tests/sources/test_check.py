"""The check counts what is wrong, and says ok only when nothing is."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import replace

import numpy as np
import pytest

from depthforge.errors import DecodeError
from depthforge.frame import Camera, Finding, Frame, FrameRef, Licence
from depthforge.geometry import encode_normals
from depthforge.labels.catalogue import NORMALS, RGB
from depthforge.labels.spec import LabelSpec
from depthforge.sources.base import Report, Source, SourceConfig, ignore_findings
from depthforge.sources.check import check_source

CAMERA = Camera(20.0, 20.0, 8.0, 6.0, 16, 12)
HOLE = slice(0, 3)


def sound(key: str) -> Frame:
    """A wall 2 m away with a quarter of its rows missing, seen in colour, with its normals."""
    depth_m = np.full(CAMERA.size, 2.0, np.float32)
    depth_m[HOLE] = 0
    normals = np.zeros((*CAMERA.size, 3), np.float32)
    normals[..., 2] = -1
    rgb = np.zeros((*CAMERA.size, 3), np.uint8)
    return Frame(key, depth_m, depth_m > 0, CAMERA, rgb=rgb, labels={"normals": encode_normals(normals)})


class Wall(Source):
    """Ten frames in two scenes; ``change`` spoils them."""

    name = "wall"
    Config = SourceConfig
    licence = Licence("none", False)

    def __init__(self, change: object = sound, findings: tuple[Finding, ...] = ()) -> None:
        self.config = SourceConfig()
        self.change, self.findings = change, findings
        self.num_reads = 0

    @property
    def size(self) -> tuple[int, int]:
        return CAMERA.size

    @property
    def labels(self) -> Mapping[str, LabelSpec]:
        return {"rgb": RGB, "normals": NORMALS}

    def frames(self, report: Report = ignore_findings) -> Iterator[FrameRef]:
        for finding in self.findings:
            report(finding)
        for i in range(10):
            yield FrameRef(f"wall/{i // 5}/{i:06d}", str(i))

    def read(self, ref: FrameRef, wanted: frozenset[str]) -> Frame:
        self.num_reads += 1
        return self.change(ref.key)  # type: ignore[operator,no-any-return]


def messages(source: Source) -> dict[str, int]:
    return {f"{issue.severity}: {issue.message}": issue.count for issue in check_source(source).issues}


def test_a_sound_source_is_ok() -> None:
    progress: list[int] = []
    report = check_source(Wall(), progress=progress.append)
    assert report.ok
    assert (report.num_scenes, report.num_frames, report.num_read) == (2, 10, 10)
    assert report.labels == {"rgb": 10, "normals": 10}
    assert (report.depth_m.least, report.depth_m.median, report.depth_m.greatest) == (2, 2, 2)
    assert report.hole_fraction.median == 0.25
    assert progress == [1] * 10
    assert list(report.lines()) == [
        "wall: 10 frames in 2 scenes; 10 read",
        "  depth  2.000 to 2.000 m, median 2.000 m",
        "  holes  25.0% to 25.0% of a frame, median 25.0%",
        "  label  rgb: 10 of 10 frames",
        "  label  normals: 10 of 10 frames",
        "  ok",
    ]


def test_the_report_is_json() -> None:
    report = check_source(Wall(findings=(Finding("warning", "a", "odd"),)))
    value = json.loads(json.dumps(report.to_json()))
    assert value["ok"] is True
    assert value["issues"][0]["examples"] == ["a"]


@pytest.mark.parametrize(
    ("max_frames", "expected"), [(1, [5]), (2, [2, 7]), (5, [1, 3, 5, 7, 9]), (50, list(range(10)))]
)
def test_a_sample_is_evenly_spaced(max_frames: int, expected: list[int]) -> None:
    seen: list[int] = []

    def note(key: str) -> Frame:
        seen.append(int(key[-6:]))
        return sound(key)

    assert check_source(Wall(note), max_frames=max_frames).num_read == len(expected)
    looked_at = [0, 1, 2, 3, 4, 5, 6, 7, 8, 9]
    assert seen == looked_at + expected


def test_findings_that_say_the_same_are_counted() -> None:
    report = check_source(Wall(findings=tuple(Finding("error", f"s{i}", "broken") for i in range(9))))
    assert not report.ok
    assert [(issue.count, issue.examples) for issue in report.issues] == [(9, ["s0", "s1", "s2"])]
    assert "  error: broken (9 times)" in report.lines()


def test_unreadable_frames_are_counted_and_named() -> None:
    def broken(key: str) -> Frame:
        if key.endswith(("2", "3")):
            raise DecodeError("the PNG is truncated", where=f"{key}.png", remedy="fetch it again")
        return sound(key)

    report = check_source(Wall(broken))
    assert not report.ok
    assert report.num_unreadable == 2
    assert report.issues[0].examples[0] == "wall/0/000002 (wall/0/000002.png)"
    assert report.issues[0].remedy == "fetch it again"


def test_files_that_vanish_are_unreadable() -> None:
    def gone(key: str) -> Frame:
        raise FileNotFoundError(2, "No such file or directory", key)

    assert messages(Wall(gone)) == {"error: unreadable: No such file or directory": 10}


def test_empty_frames() -> None:
    empty = np.zeros(CAMERA.size, np.float32)

    def some(key: str) -> Frame:
        return replace(sound(key), depth_m=empty, valid=empty > 0) if key.endswith("1") else sound(key)

    report = check_source(Wall(some))
    assert (report.ok, report.num_empty, report.exit_code) == (False, 1, 3)
    assert check_source(Wall(some), max_reject_fraction=0.2).exit_code == 4
    assert check_source(Wall(some), needs_depth=False).exit_code == 0
    everywhere = messages(Wall(lambda key: replace(sound(key), depth_m=empty, valid=empty > 0)))
    assert everywhere == {"error: no pixel has depth": 10}


@pytest.mark.parametrize("factor", [1000.0, 0.001])
def test_a_wrong_unit_is_suspected(factor: float) -> None:
    report = check_source(
        Wall(lambda key: replace(sound(key), depth_m=(sound(key).depth_m * factor).astype(np.float32)))
    )
    assert not report.ok
    assert "unit of depth looks wrong" in report.issues[0].message


def test_a_missing_label_is_counted() -> None:
    assert check_source(Wall(lambda key: replace(sound(key), rgb=None))).labels == {"rgb": 0, "normals": 10}


def test_normals_in_other_axes_are_found() -> None:
    def turned(key: str) -> Frame:
        return replace(sound(key), labels={"normals": -sound(key).labels["normals"]})

    assert messages(Wall(turned)) == {"error: normals point away from the camera: they are in other axes": 1}


def test_a_label_of_the_wrong_type_is_found() -> None:
    def wide(key: str) -> Frame:
        return replace(sound(key), labels={"normals": sound(key).labels["normals"].astype(np.float32)})

    assert messages(Wall(wide)) == {"error: unreadable: label 'normals' has the wrong shape or type": 10}


def test_keys_out_of_order_are_found() -> None:
    class Unsorted(Wall):
        def frames(self, report: Report = ignore_findings) -> Iterator[FrameRef]:
            yield from reversed(list(super().frames(report)))

    assert messages(Unsorted()) == {"error: frame keys must be unique and in order": 9}
