"""The picture of what translators hold to be alike, from corpora, as a user asks for it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import cv2
import pytest

from depthforge.cli.main import main
from depthforge.manifest import Manifest
from depthforge.report.similarity import alike_in
from tests.stages.learned import write_weights
from tests.stages.runs import TINY, run


@pytest.fixture(scope="module")
def corpora(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the corpora `dcl`, conditioned on colour, and `simulated`."""
    root = tmp_path_factory.mktemp("similar")
    weights = write_weights(root / "weights", with_rgb=True, min_kept=0)
    for name, translator in (("dcl", weights), ("simulated", "simulation")):
        fields: dict[str, Any] = {**TINY, "translator": translator, "corpus": {"out": str(root / name)}, "limit": 2}
        run(Manifest.model_validate(fields))
    return root


def command(*arguments: object) -> int:
    with pytest.raises(SystemExit) as ended:
        main(["translator", "similarity", *map(str, arguments)])
    assert isinstance(ended.value.code, int)
    return ended.value.code


def test_the_command_draws_a_row_for_each_corpus(
    corpora: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    two, one = tmp_path / "two.png", tmp_path / "one.png"
    assert command(corpora / "dcl", corpora / "dcl", "--at", 20, 30, "--out", two, "--json") == 0
    rows = json.loads(capsys.readouterr().out)
    assert [row["translator"] for row in rows] == ["dcl", "dcl"]
    assert rows[0] == rows[1]
    assert -1 <= rows[0]["agreement"] <= 1
    assert command(corpora / "dcl", "--frame", rows[0]["frame"], "--at", 20, 30, "--tap", 3, "--out", one) == 0
    assert f"({rows[0]['frame']})" in capsys.readouterr().out
    tall, flat = cv2.imread(str(two)), cv2.imread(str(one))
    assert tall.shape[0] == pytest.approx(2 * flat.shape[0], abs=2)
    assert tall.shape[1] == flat.shape[1]


def test_the_noise_is_that_of_the_corpus(corpora: Path) -> None:
    found = alike_in(corpora / "dcl")
    assert found.at_px == (36, 48)
    assert found.places.at == (9, 12)
    assert found.places.clean.shape == (18, 24)
    assert found.frame.noisy_valid.shape == (72, 96)


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        (["simulated"], 3, "not made by a generator"),
        (["nowhere"], 3, "nowhere"),
        (["dcl", "--at", "99", "0"], 3, "outside of the frame"),
        (["dcl", "--frame", "a/b/c"], 3, "a/b/c"),
        (["dcl", "--tap", "15"], 2, "15"),
    ],
)
def test_what_cannot_be_drawn_is_told(
    corpora: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    arguments: list[str],
    code: int,
    words: str,
) -> None:
    corpus, *rest = arguments
    assert command(corpora / corpus, *rest, "--out", tmp_path / "out.png") == code
    assert words in capsys.readouterr().err
    assert not (tmp_path / "out.png").exists()
