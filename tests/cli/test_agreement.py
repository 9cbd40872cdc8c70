"""`check`, `--dry-run` and `synthesize` say the same of an input: what one refuses, the others do not let through."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import yaml

HEIGHT, WIDTH, FOCAL = 48, 64, 60.0
NUM_FRAMES = 4
Spoil = Callable[[Path, dict[str, Any]], None]


def scene(number: int) -> tuple[np.ndarray, np.ndarray]:
    """A slanted floor with a step, seen by a camera that moves sideways: depth in metres, and its pose."""
    v, u = np.mgrid[:HEIGHT, :WIDTH]
    x0 = 0.15 * number
    x, y = (u - 31.5) / FOCAL, (v - 23.5) / FOCAL
    # The plane z = 2 + 0.5 (X) in world axes: z = 2 + 0.5 (x0 + x z).
    depth = (2 + 0.5 * x0) / (1 - 0.5 * x)
    depth = np.where((y > 0.1) & (np.abs(x0 + x * 1.2 - 0.3) < 0.2), 1.2, depth)
    T = np.eye(4)
    T[0, 3] = x0
    return depth, T


def write(root: Path, number: int, depth_m: np.ndarray, T: np.ndarray) -> None:
    cv2.imwrite(str(root / f"depth/{number:04d}.png"), np.round(depth_m * 1000).astype(np.uint16))
    cv2.imwrite(str(root / f"rgb/{number:04d}.png"), np.full((HEIGHT, WIDTH, 3), 90, np.uint8))
    np.savetxt(root / f"pose/{number:04d}.txt", T)


@pytest.fixture
def root(tmp_path: Path) -> Path:
    root = tmp_path / "data"
    for folder in ("depth", "rgb", "pose"):
        (root / folder).mkdir(parents=True)
    for number in range(NUM_FRAMES):
        write(root, number, *scene(number))
    return root


def value_of(root: Path) -> dict[str, Any]:
    return {
        "name": "agreement",
        "source": {
            "name": "rgbd_folder",
            "root": str(root),
            "depth": "depth/{frame}.png",
            "rgb": "rgb/{frame}.png",
            "depth_scale": 1000,
            "camera": {"width": WIDTH, "height": HEIGHT, "fx": FOCAL, "fy": FOCAL, "cx": 31.5, "cy": 23.5},
            "pose": {"file": "pose/{frame}.txt"},
        },
        "translator": {"name": "identity"},
        "corpus": {"out": str(root.parent / "corpus")},
    }


def _every_depth(change: Callable[[np.ndarray], np.ndarray], numbers: range = range(NUM_FRAMES)) -> Spoil:
    def spoil(root: Path, value: dict[str, Any]) -> None:
        for number in numbers:
            image = change(np.round(scene(number)[0] * 1000))
            cv2.imwrite(str(root / f"depth/{number:04d}.png"), image.astype(np.uint16))

    return spoil


def _every_pose(change: Callable[[np.ndarray], np.ndarray], **fields: Any) -> Spoil:
    def spoil(root: Path, value: dict[str, Any]) -> None:
        for number in range(NUM_FRAMES):
            np.savetxt(root / f"pose/{number:04d}.txt", change(scene(number)[1]))
        value["source"]["pose"].update(fields)

    return spoil


def _source(**fields: Any) -> Spoil:
    return lambda root, value: value["source"].update(fields)


def _camera(**fields: Any) -> Spoil:
    return lambda root, value: value["source"]["camera"].update(fields)


def _labels(root: Path, value: dict[str, Any]) -> None:
    (root / "pose/0001.txt").unlink()
    value["labels"] = {"T_world_cam": "required"}


def _unknown_label(root: Path, value: dict[str, Any]) -> None:
    value["labels"] = {"normals": "required"}


def _truncated(root: Path, value: dict[str, Any]) -> None:
    path = root / "depth/0002.png"
    path.write_bytes(path.read_bytes()[:200])


def _nothing_there(root: Path, value: dict[str, Any]) -> None:
    value["source"]["root"] = str(root / "no such folder")


def _latin_1(root: Path, value: dict[str, Any]) -> None:
    name = str(root).encode() + b"/depth/caf\xe9.png"
    with open(name, "wb") as file:
        file.write((root / "depth/0001.png").read_bytes())


def _sky(image: np.ndarray) -> np.ndarray:
    image = image.copy()
    image[:16] = 65535
    return image


def _scaled(T: np.ndarray) -> np.ndarray:
    T = T.copy()
    T[:3, :3] *= 2
    return T


BAD: dict[str, Spoil] = {
    "metres read as millimetres": _source(depth_scale=1_000_000),
    "millimetres read as metres": _source(depth_scale=1),
    "a third of the pixels at 65535": _every_depth(_sky),
    "no depth at all": _every_depth(np.zeros_like),
    "no depth in one frame": _every_depth(np.zeros_like, range(1, 2)),
    "a truncated image": _truncated,
    "scaled poses": _every_pose(_scaled),
    "mirrored poses": _every_pose(lambda T: np.diag([-1.0, 1, 1, 1]) @ T),
    "poses of the other direction": _every_pose(np.linalg.inv),
    "a required label that a frame lacks": _labels,
    "a label that there is not": _unknown_label,
    "a template that fits nothing": _source(rgb="rbg/{frame}.png"),
    "depth that is not there": _source(depth="depht/{frame}.png"),
    "no such folder": _nothing_there,
    "a name in Latin-1": _latin_1,
    "a camera in shares of the image": _camera(fx=0.94, fy=1.25, cx=0.5, cy=0.5),
    "the camera of another resolution": _camera(fx=120, fy=120, cx=63.5, cy=47.5),
    "another size": _camera(width=80, height=60),
}


@pytest.mark.parametrize("name", BAD)
def test_what_check_refuses_the_others_refuse(depthforge: Any, root: Path, name: str) -> None:
    value = value_of(root)
    BAD[name](root, value)
    manifest = root.parent / "m.yaml"
    manifest.write_text(yaml.safe_dump(value))
    checked = depthforge("check", manifest)
    planned = depthforge("synthesize", manifest, "--dry-run")
    assert not (root.parent / "corpus").exists()
    made = depthforge("synthesize", manifest, "--inline")
    told = f"{checked.out}{checked.err}\n{planned.out}{planned.err}\n{made.out}{made.err}"
    assert checked.code == planned.code == 3, told
    # What is refused before the first frame is refused by all of them alike; too many rejects end a run with 5.
    assert made.code == (5 if "frames were rejected" in made.err else 3), told
    assert "internal error" not in told


def test_what_is_right_is_right_for_all(depthforge: Any, root: Path) -> None:
    manifest = root.parent / "m.yaml"
    manifest.write_text(yaml.safe_dump(value_of(root)))
    for command in (("check", manifest), ("synthesize", manifest, "--dry-run"), ("synthesize", manifest, "--inline")):
        outcome = depthforge(*command)
        assert outcome.code == 0, outcome.out + outcome.err


def _twice(root: Path, value: dict[str, Any]) -> None:
    (root / "depth/1.png").write_bytes((root / "depth/0001.png").read_bytes())


SPARED: dict[str, Spoil] = {
    "a file twice under one key": _twice,
    "no depth in one frame": BAD["no depth in one frame"],
    "a truncated image": BAD["a truncated image"],
    "a required label that a frame lacks": BAD["a required label that a frame lacks"],
}


@pytest.mark.parametrize("name", SPARED)
def test_what_a_run_goes_on_without_ends_with_4_however_it_is_asked(depthforge: Any, root: Path, name: str) -> None:
    value = value_of(root) | {"max_reject_fraction": 0.3}
    SPARED[name](root, value)
    manifest = root.parent / "m.yaml"
    manifest.write_text(yaml.safe_dump(value))
    made = ("synthesize", manifest, "--inline")
    for command in (("check", manifest), (*made, "--dry-run"), made, made, ("convert", manifest, "--inline")):
        outcome = depthforge(*command)
        assert outcome.code == 4, f"{command}: {outcome.out}{outcome.err}"
    assert outcome.out.startswith("nothing to do")
    if name == "a file twice under one key":
        assert "left out 1 parts of the data set; depthforge check MANIFEST names them" in outcome.out
        assert "--retry-rejects" not in outcome.out
    else:
        assert "rejects  1; " in outcome.out
        assert "mend the data and run again with --retry-rejects" in outcome.out


def test_a_finished_corpus_with_more_rejects_than_are_borne_is_not_done(depthforge: Any, root: Path) -> None:
    value = value_of(root) | {"max_reject_fraction": 0.3}
    _truncated(root, value)
    manifest = root.parent / "m.yaml"
    manifest.write_text(yaml.safe_dump(value))
    assert depthforge("synthesize", manifest, "--inline").code == 4
    manifest.write_text(yaml.safe_dump(value | {"max_reject_fraction": 0.1}))
    again = depthforge("synthesize", manifest, "--inline")
    assert again.code == 5
    assert "1 of 4 frames were rejected" in again.err
    assert "at most 10.0% (max_reject_fraction)" in again.err
    assert depthforge("check", manifest).code == depthforge("synthesize", manifest, "--dry-run").code == 3


def test_single_values_that_are_not_stored_are_told_by_check_and_by_inspect(depthforge: Any, root: Path) -> None:
    value = value_of(root)
    for number in range(NUM_FRAMES):
        image = np.round(scene(number)[0] * 500)
        image[0, : number % 2] = 40000  # 80 m, where steps of 1 mm end at 65.5
        cv2.imwrite(str(root / f"depth/{number:04d}.png"), image.astype(np.uint16))
    value["source"]["depth_scale"] = 500
    manifest = root.parent / "m.yaml"
    manifest.write_text(yaml.safe_dump(value))
    checked = depthforge("check", manifest)
    assert checked.code == 0, checked.out
    assert "warning: left out: depths too far for uint16 steps of 0.001 m (2 times)" in checked.out
    assert depthforge("synthesize", manifest, "--inline").code == 0
    shown = depthforge("inspect", root.parent / "corpus").out
    assert "  dropped      2 clean depths too far for uint16 steps of 0.001 m" in shown
    assert "  dropped      2 noisy depths too far for uint16 steps of 0.001 m" in shown


def test_a_finding_that_the_user_knows_better_is_trusted(depthforge: Any, root: Path) -> None:
    value = value_of(root)
    _every_depth(_sky)(root, value)
    value["source"]["trust"] = ["background", "poses"]
    manifest = root.parent / "m.yaml"
    manifest.write_text(yaml.safe_dump(value))
    for command in (("check", manifest), ("synthesize", manifest, "--dry-run"), ("synthesize", manifest, "--inline")):
        outcome = depthforge(*command)
        assert outcome.code == 0, outcome.out + outcome.err
