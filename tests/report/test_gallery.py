"""Which frames are shown follows from the index; their pictures show what the arrays hold."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest

from depthforge.corpus.frame_index import IndexedShard
from depthforge.corpus.reader import CorpusReader
from depthforge.report import gallery
from depthforge.report.gallery import choose_frames, make_gallery, pictured_labels
from depthforge.report.statistics import FrameFigures, frame_figures
from tests.report.corpora import build_corpus


def figures_of(holes: list[float], *splits: tuple[str, int]) -> FrameFigures:
    shards = tuple(IndexedShard(f"{name}-000000", name, count, 0, {}, 1) for name, count in splits)
    values = np.array(holes)
    return FrameFigures({"hole_fraction_noisy": values, "hole_fraction_clean": values / 2}, shards)


def test_the_most_and_the_fewest_holes_are_shown_and_every_split() -> None:
    holes = np.linspace(0.2, 0.3, 1000)
    holes[[17, 18, 19, 20]] = 0.9, 0.8, 0.7, 0.6
    holes[[501, 502, 503, 504]] = 0.0, 0.01, 0.02, 0.03
    chosen = choose_frames(figures_of(holes.tolist(), ("test", 10), ("train", 990)))
    assert {place for place, why in chosen.items() if why == "most holes"} == {17, 18, 19, 20}
    assert {place for place, why in chosen.items() if why == "fewest holes"} == {501, 502, 503, 504}
    evenly = [place for place, why in chosen.items() if why == "evenly spaced"]
    assert [place for place in evenly if place < 10] == [0, 9]
    assert np.ptp(np.diff([place for place in evenly if place >= 10])) <= 1
    assert list(chosen) == sorted(chosen)
    assert len(chosen) <= 26


def test_all_frames_of_a_small_corpus_are_shown_once() -> None:
    assert list(choose_frames(figures_of([0.1, 0.1, 0.1], ("train", 3)))) == [0, 1, 2]


def test_frames_that_measure_nothing_are_not_the_extremes() -> None:
    chosen = choose_frames(figures_of([float("nan"), *np.linspace(0, 1, 99)], ("train", 100)))
    assert chosen[0] == "evenly spaced"
    assert chosen[1] == "fewest holes"


def test_pictures_show_depth_holes_and_labels(made: Path) -> None:
    reader = CorpusReader(made)
    assert pictured_labels(reader.schema) == ["rgb", "depth_raw", "normals", "instance"]
    figures = frame_figures(reader)
    found = make_gallery(reader, figures, {0: "evenly spaced"})
    (frame,) = found.frames
    assert list(frame.pictures) == ["clean", "noisy", "noisy - clean", "rgb", "depth_raw", "normals", "instance"]
    assert (found.width, found.height) == (64, 48)
    assert found.scales.far_m == 2.0
    assert found.scales.spread_mm == 8.0
    pixels = {name: cv2.imdecode(np.frombuffer(each, np.uint8), cv2.IMREAD_COLOR) for name, each in
              frame.pictures.items()}  # fmt: skip
    assert all(each.shape == (48, 64, 3) for each in pixels.values())
    stored = reader.read(0)
    assert np.array_equal(pixels["noisy"].any(-1), stored.noisy_valid)
    assert np.array_equal(pixels["clean"].any(-1), stored.clean_valid)
    # 7 mm farther on a scale of 8: seven eighths of the way from white to red, as BGR.
    assert abs(pixels["noisy - clean"][40, 60].astype(int) - [32, 32, 255]).max() <= 1
    assert abs(pixels["rgb"][20, 20].astype(int) - [0, 0, 200]).max() < 8
    assert frame.key == reader.key(0)
    assert frame.figures["hole_fraction_noisy"] == pytest.approx(1 - stored.noisy_valid.mean())


def test_what_would_be_too_large_is_made_narrower_then_left_out(made: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    reader = CorpusReader(made)
    figures = frame_figures(reader)
    chosen = choose_frames(figures)
    monkeypatch.setattr(gallery, "_WIDTHS", (64, 32, 16))
    whole = make_gallery(reader, figures, chosen)
    sizes = [sum(map(len, frame.pictures.values())) for frame in whole.frames]
    monkeypatch.setattr(gallery, "_BUDGET_BYTES", sum(sizes) - 1)
    narrower = make_gallery(reader, figures, chosen)
    assert (narrower.width, len(narrower.frames)) == (32, len(chosen))
    monkeypatch.setattr(gallery, "_BUDGET_BYTES", 1)
    assert not make_gallery(reader, figures, chosen).frames


def test_a_corpus_of_colour_alone_has_pictures_too(tmp_path: Path) -> None:
    reader = CorpusReader(build_corpus(tmp_path, num_frames=4, colour_only=True))
    found = make_gallery(reader, frame_figures(reader), {0: "evenly spaced"})
    assert (
        list(found.frames[0].pictures)[:3] == ["clean", "rgb", "rgb_noisy"] or "rgb_noisy" in found.frames[0].pictures
    )
    assert "noisy" not in found.frames[0].pictures
