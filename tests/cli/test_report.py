"""``depthforge report`` as a user meets it."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from depthforge.corpus.dataset_card import citation
from depthforge.corpus.layout import CorpusInfo
from tests.report.corpora import build_corpus
from tests.stages.runs import TINY, run


@pytest.fixture(scope="module")
def corpora(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two corpora of procedural rooms, `noisy` and `real` (other rooms)."""
    from depthforge.manifest import Manifest

    root = tmp_path_factory.mktemp("report")
    for name, seed in (("noisy", 0), ("real", 1)):
        fields: dict[str, Any] = {**TINY, "name": name, "seed": seed}
        fields["corpus"] = {"out": str(root / name), "shard_frames": 4}
        fields["source"] = {**TINY["source"], "seed": seed}
        run(Manifest.model_validate(fields))
    return root


def test_the_page_goes_into_the_corpus_and_verify_takes_it(corpora: Path, depthforge: Callable[..., Any]) -> None:
    done = depthforge("report", corpora / "noisy")
    assert done.code == 0
    assert done.out.startswith(f"{corpora}/noisy/report/index.html: 12 frames shown, ")
    assert (corpora / "noisy" / "report" / "index.html").read_text().startswith('<!DOCTYPE html>\n<html lang="en">')
    assert depthforge("verify", corpora / "noisy").code == 0


def test_held_against_scans_it_shows_how_near_it_is(
    corpora: Path, tmp_path: Path, depthforge: Callable[..., Any]
) -> None:
    out = tmp_path / "page.html"
    done = depthforge("report", corpora / "noisy", "--real", corpora / "real", "--frames", 4, "--out", out, "--json")
    assert done.code == 0
    found = json.loads(done.out)
    assert (found["report"], found["bytes"]) == (str(out), out.stat().st_size)
    assert found["realism"]["samples"]["noisy"]["num_frames"] == 4
    text = out.read_text()
    for words in ("Distance to the real sensor", "patches told apart, AUC", "Noise against depth"):
        assert words in text
    again = tmp_path / "again.html"
    depthforge("report", corpora / "noisy", "--real", corpora / "real", "--frames", 4, "--out", again)
    assert again.read_bytes() == out.read_bytes()


def test_what_cannot_be_measured_unasked_does_not_stand_in_the_way(
    tmp_path: Path, depthforge: Callable[..., Any]
) -> None:
    # It carries depth_raw, and its translator is no plug-in that is installed.
    root = build_corpus(tmp_path)
    done = depthforge("report", root)
    assert done.code == 0
    assert "no table of realism: unknown translator" in done.err
    assert "It could not be measured: unknown translator" in (root / "report" / "index.html").read_text()


def test_what_was_asked_for_and_fails_is_an_error(
    corpora: Path, tmp_path: Path, depthforge: Callable[..., Any]
) -> None:
    done = depthforge("report", corpora / "noisy", "--real", tmp_path / "nowhere.yaml", "--out", tmp_path / "page.html")
    assert done.code == 3
    assert "nowhere.yaml" in done.err
    assert not (tmp_path / "page.html").exists()


def test_no_corpus_and_an_unfinished_one_are_one_message(
    corpora: Path, tmp_path: Path, depthforge: Callable[..., Any]
) -> None:
    done = depthforge("report", tmp_path)
    assert (done.code, done.out) == (3, "")
    assert done.err.startswith("error: this is not a corpus")
    root = shutil.copytree(corpora / "noisy", tmp_path / "own")
    (root / "index.parquet").unlink()
    done = depthforge("report", root)
    assert done.code == 5
    assert done.err.startswith("error: the corpus is not finished")


def test_the_page_says_how_to_cite_the_corpus(corpora: Path, depthforge: Callable[..., Any], tmp_path: Path) -> None:
    depthforge("report", corpora / "noisy", "--out", tmp_path / "page.html")
    assert citation(CorpusInfo.load(corpora / "noisy")) in (tmp_path / "page.html").read_text()
