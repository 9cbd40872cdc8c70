"""Somebody else runs it, without a home: what may be read is read, and what is refused is one clear message.

The interpreter itself may lie where that user cannot look, so all is imported, by one run of each command, before the
process becomes that user.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import yaml

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="only root can become another user")

SCRIPT = """
import contextlib, io, json, os, sys
from depthforge.cli.main import main

def call(arguments):
    out, err = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        try:
            main(arguments)
        except SystemExit as ended:
            return ended.code, out.getvalue(), err.getvalue()

before, after, closed = json.loads(sys.stdin.read())
for each in before:
    code, out, err = call(each)
    assert code in (0, 3), (each, out, err)
os.chmod(closed, 0)
os.setgroups([])
os.setgid(12345)
os.setuid(12345)
print(json.dumps({name: call(each) for name, each in after.items()}))
"""


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("foreign")
    for path in (folder, *folder.parents):
        if path == Path(tempfile.gettempdir()):
            break
        path.chmod(0o755)  # pytest closes them to others
    for name in ("data/depth", "closed", "shut", "own"):
        (folder / name).mkdir(parents=True)
    (folder / "own").chmod(0o777)
    for number in range(2):
        image = np.full((48, 64), 1500 + number, np.uint16) + np.arange(64, dtype=np.uint16)
        cv2.imwrite(str(folder / f"data/depth/{number}.png"), image)
    return folder


@pytest.fixture(scope="module")
def outcomes(folder: Path) -> dict[str, tuple[int, str, str]]:
    def manifest(name: str, root: str) -> str:
        camera = {"width": 64, "height": 48, "fx": 60, "fy": 60, "cx": 31.5, "cy": 23.5}
        source = {
            "name": "rgbd_folder",
            "root": root,
            "depth": "depth/{frame}.png",
            "depth_scale": 1000,
            "camera": camera,
        }
        translator = {"name": "simulation", "sensor": "gaussian_dropout"}
        value = {"name": "t", "source": source, "translator": translator, "corpus": {"out": str(folder / "made")}}
        (folder / name).write_text(yaml.safe_dump(value))
        return str(folder / name)

    good, closed = manifest("good.yaml", str(folder / "data")), manifest("closed.yaml", str(folder / "closed"))
    key, made = "rgbd/all/000000", str(folder / "made")
    before = [
        ["check", good],
        ["check", closed],
        ["synthesize", good, "--inline"],
        ["verify", made],
        ["inspect", made, "--frame", key, "--extract", str(folder / "frame")],
        ["init", str(folder / "data"), "--out", str(folder / "proposed.yaml")],
    ]
    after: dict[str, Any] = {
        "made": ["synthesize", good, "--inline", "--out", str(folder / "own/corpus")],
        "out": ["synthesize", good, "--inline", "--out", str(folder / "shut/corpus")],
        "overwrite": ["synthesize", good, "--inline", "--overwrite"],
        "verify": ["verify", made],
        "root": ["check", closed],
        "root in a run": ["synthesize", closed, "--inline", "--out", str(folder / "own/other")],
        "extract": ["inspect", made, "--frame", key, "--extract", str(folder / "shut/frame")],
        "init": ["init", str(folder / "data"), "--out", str(folder / "shut/proposed.yaml")],
    }
    environment = {name: value for name, value in os.environ.items() if name not in ("HOME", "RAY_ADDRESS")}
    ran = subprocess.run(
        [sys.executable, "-c", SCRIPT],
        input=json.dumps([before, after, str(folder / "closed")]),
        capture_output=True,
        text=True,
        check=False,
        env={**environment, "PYTHONPATH": os.pathsep.join(sys.path)},
    )
    assert ran.returncode == 0, ran.stderr
    return {name: tuple(outcome) for name, outcome in json.loads(ran.stdout).items()}


def test_what_may_be_read_and_written_is(outcomes: dict[str, tuple[int, str, str]]) -> None:
    for name in ("made", "verify"):
        code, out, err = outcomes[name]
        assert code == 0, out + err
    assert "2 frames" in outcomes["made"][1]


@pytest.mark.parametrize(
    ("name", "code", "message", "place"),
    [
        ("out", 5, "the output may not be written here", "shut/corpus"),
        ("overwrite", 5, "the output may not be written here", "made"),
        ("extract", 5, "the output may not be written here", "shut/frame"),
        ("init", 5, "the output may not be written here", "shut"),
        ("root", 3, "the folder may not be read", "closed"),
        ("root in a run", 3, "the folder may not be read", "closed"),
    ],
)
def test_what_is_refused_is_named(
    outcomes: dict[str, tuple[int, str, str]], folder: Path, name: str, code: int, message: str, place: str
) -> None:
    found, out, err = outcomes[name]
    assert found == code, out + err
    assert f"error: {message}" in err
    assert str(folder / place) in err
    assert "Permission denied" in err
    assert "try:" in err
    assert "internal" not in err


def test_a_file_that_the_system_refuses_is_no_internal_error(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    from depthforge.cli import check
    from depthforge.cli.main import main

    def refused(*arguments: object, **options: object) -> None:
        raise PermissionError(13, "Permission denied", "/data/a.txt")

    monkeypatch.setattr(check, "load_manifest", refused)
    with pytest.raises(SystemExit) as ended:
        main(["check", "m.yaml", "--json"])
    captured = capsys.readouterr()
    assert ended.value.code == 5
    assert "error: a file or folder is refused" in captured.err
    assert json.loads(captured.out)["error"]["where"] == "/data/a.txt"
