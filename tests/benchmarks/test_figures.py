"""Which figures benchmarks put on the page, of small made-up findings; no benchmark is run."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from benchmarks import (
    bench_codecs,
    bench_conversion,
    bench_fit,
    bench_fused,
    bench_grasps,
    bench_memory,
    bench_options,
    bench_planning,
    bench_report,
    bench_same_room,
    bench_sources,
    bench_training,
    bench_translators,
)
from benchmarks.results import Figure
from depthforge.labels.catalogue import RGB
from depthforge.realism import compare
from depthforge.realism.same_view.comparison import FIGURES, Row, SameViewComparison


def shown(figure: Figure) -> tuple[float, str | None, float | None, bool | None]:
    return figure.value, figure.peer, figure.times, figure.meets_bar


def test_conversion_quotes_ratios_taken_round_by_round() -> None:
    found: dict[str, Any] = {
        "frames": 512,
        "workers": 2,
        "frames_per_second": {"whole": 70.0, "ray": 60.0},
        "whole_of_slowest_part": 0.44,
        "whole_of_slowest_part_in_one_process": 0.8,
        "whole_of_what_the_parts_in_a_row_allow": 0.99,
        "ray_of_multiprocessing": 0.9,
    }
    slowest, single, in_a_row, ray = (shown(figure) for figure in bench_conversion.figures(found))
    assert slowest == (70, "its slowest part on all cores", 0.44, False)
    assert single == (70, "its slowest part, one process", 0.8, None)
    assert in_a_row == (70, "its parts in a row", 0.99, None)
    assert ray == (60, "multiprocessing", 0.9, True)


def test_codecs_show_bytes_of_small_and_time_of_fast_with_a_bar_for_depth_in_steps() -> None:
    def measured(kib: float, decode_ms: float, of_zstd: float) -> dict[str, float]:
        return {"kib_per_frame": kib, "decode_ms": decode_ms, "decode_of_zstd": of_zstd}

    codecs = {"zstd": measured(100, 0.8, 1), "fast": measured(140, 0.4, 1.9), "small": measured(50, 1.0, 0.8)}
    found = {"noisy depth": {**codecs, "PNG": measured(75, 5, 0.2)}, "noisy depth, float32": codecs, "colour": codecs}
    depth, png, fast, *others = bench_codecs.figures(found, 4)
    assert shown(depth) == (50, "zstd", 2, None)
    assert shown(png) == (50, "PNG", 1.5, None)
    assert shown(fast) == (0.4, "zstd", 1.9, False)
    assert [shown(figure)[3] for figure in others] == [None] * 4


def test_codecs_are_measured_on_what_they_give_back() -> None:
    y, x = np.mgrid[: bench_codecs.HEIGHT, : bench_codecs.WIDTH]
    slope = (900 + x + 2 * y).astype(np.uint16)
    depth = bench_codecs.measure(bench_codecs.Kind(bench_codecs.CLEAN, [slope]), 1)
    assert list(depth) == [*bench_codecs.CODECS, "PNG"]
    assert depth["small"]["ratio"] > 10 * depth["zstd"]["ratio"]
    assert {name: each["decode_of_zstd"] for name, each in depth.items()}["zstd"] == 1
    assert depth["zstd"]["ratio"] * depth["zstd"]["kib_per_frame"] == pytest.approx(600)
    colour = np.repeat((slope % 251).astype(np.uint8)[..., np.newaxis], 3, axis=2)
    assert "WebP, lossless" in bench_codecs.coders(bench_codecs.Kind(RGB, [colour]))


def test_planning_has_bars_for_the_tree_they_were_set_for() -> None:
    run = {"frames": 200_000, "seconds": 2.0, "peak_mb": 600.0}
    assert [f.meets_bar for f in bench_planning.figures(run, 1e-5)] == [True, False, None]
    assert [f.meets_bar for f in bench_planning.figures({**run, "frames": 1000}, 1e-5)] == [None, None, None]
    assert bench_planning.figures(run, 1e-5)[2].value == 10


def test_fit_shows_the_parameter_found_worst_of_those_that_scans_tell() -> None:
    def row(parameter: str, off: float | None, oracle: float | None) -> dict[str, Any]:
        return {"parameter": parameter, "off": off, "oracle off": oracle, "scans of": "rooms"}

    rows = [row("a", 0.02, 0.01), row("b", -0.12, -0.03), row("c", None, None)]
    figure = bench_fit.recovery_figure("lidar", rows, 96)
    assert figure.name == "lidar: b, the worst of its parameters"
    assert shown(figure) == (0.12, "an oracle", 0.25, False)
    assert shown(bench_fit.recovery_figure("lidar", [row("a", 0.02, None)], 96)) == (0.02, None, None, True)


def test_fit_asks_that_the_fitted_kinect_scores_lower_than_the_published_one() -> None:
    scores = {"published": {"total": 3.0}, "fitted": {"total": 2.0}, "kinect_v1": {"total": 1.0}}
    published, shipped = bench_fit.kinect_figures({"scores": scores})
    assert shown(published) == (2, "published", 1.5, True)
    assert shown(shipped) == (2, "kinect_v1", 0.5, None)


def test_fused_shows_the_quantile_that_is_farthest_from_the_reference() -> None:
    ours = {"mm": [5.0, 6, 7, 9, 14], "fuse_s": 10.0, "render_frames_per_second": 12.0}
    peer = {"mm": [9.0, 9, 14, 13, 14], "fuse_s": 5.0, "render_frames_per_second": 4.0}
    found = {"ours": ours, "open3d": peer, "reference_mm": [5.0, 6, 8, 9, 12], "fused": 240, "looked_at": 40}
    apart, median, rendering, fusing = (shown(figure) for figure in bench_fused.figures(found))
    assert apart == (2, "README of the data", None, True)
    assert median == (7, "Open3D plainly", 2, None)
    assert rendering == (12, "Open3D plainly", 3, None)
    assert fusing == (24, "Open3D plainly", 0.5, None)


def test_grasps_hold_the_peak_against_the_bar_and_against_one_object() -> None:
    runs = [
        {"name": bench_grasps.COMPACT, "seconds": 18.0, "peak_mib": 300.0},
        {"name": bench_grasps.WHOLE_OBJECT, "seconds": 3.0, "peak_mib": 1200.0},
    ]
    peak, seconds = (shown(figure) for figure in bench_grasps.figures(runs, "stored"))
    assert peak == (300, "np.load of one object", 4, True)
    assert seconds == (18, None, None, None)


def test_memory_asks_for_less_than_the_bound_and_for_a_bound_that_says_something() -> None:
    runs = [
        {"frames": 200, "peak_mib": 300.0, "bound_mib": 440.0},
        {"frames": 5000, "peak_mib": 400.0, "bound_mib": 440.0},
    ]
    peak, growth = (shown(figure) for figure in bench_memory.length_figures(runs, 1 / 3, "simulation"))
    assert peak == (400, "bound of --dry-run", 1.1, True)
    assert growth == (1 / 3, None, None, False)
    row = {"source": "graspnet", "peak_mib": 400.0, "bound_mib": 1000.0}
    peak, over = (shown(figure) for figure in bench_memory.rendered_figures(row, 200_000))
    assert peak == (400, "bound of --dry-run", 2.5, True)
    assert over == (2.5, None, None, False)


def test_options_stand_beside_the_default_where_it_was_run() -> None:
    default, seed = bench_options.figures({"default": {"score": 2.0}, "another seed": {"score": 2.5}}, 200)
    assert shown(default) == (2, None, None, None)
    assert shown(seed) == (2.5, "default", 0.8, None)
    assert shown(bench_options.figures({"another seed": {"score": 2.5}}, 200)[0]) == (2.5, None, None, None)


def test_sources_stand_beside_the_script() -> None:
    row = {"manifest": "kitti", "frames": 32, "pixels": "1216x352", "labels": 5, "whole": 17.0, "script": 20.0}
    assert shown(bench_sources.figure(row)) == (17, "a script that writes PNG and npz", 0.85, None)


def test_training_shows_steps_and_how_far_first_losses_are_apart() -> None:
    def losses(gan: float) -> list[dict[str, float]]:
        return [{**dict.fromkeys(bench_training.LOSSES, 1.0), "gan": gan}, {}]

    plain, ours, layout, kept = bench_training.CONTESTANTS
    found = {name: {"losses": losses(1.0)} for name in (plain, ours, kept)} | {layout: {"losses": losses(0.75)}}
    assert bench_training.losses_apart(found) == 0.25
    clock = {plain: 6.0, ours: 6.0, layout: 5.0, kept: 3.0}
    seconds = {name: {"clock_s": each, "processor_s": 2 * each} for name, each in clock.items()}
    figures = [shown(figure) for figure in bench_training.figures(seconds, 0.25, "small")]
    assert figures == [(5, plain, 1.2, False), (3, plain, 2, True), (6, plain, 2, None), (0.25, plain, None, False)]


def test_translators_stand_beside_the_simulation() -> None:
    assert shown(bench_translators.score_figure("dcl", 4.0, 2.0, 24)) == (4, "simulation", 0.5, None)
    assert shown(bench_translators.score_figure("simulation", 2.0, 2.0, 24)) == (2, None, None, None)


def test_a_preset_is_asked_for_more_where_its_own_recording_is_judged() -> None:
    presets = ("d435", "d435i")
    same = SameViewComparison(
        num_frames=2,
        num_pairs=1,
        motion=None,
        baseline_m=0.05,
        names=("real", "none", *presets),
        rows=tuple(
            Row(figure.id, figure.title, figure.unit, figure.better, {"real": 4.0, "d435": 5.0, "d435i": 0.4}, None)
            for figure in FIGURES
        ),
        calibration={},
    )
    auc = compare.Figure("patches told apart, AUC", "", dict.fromkeys(presets, 0.7))
    textures = dict.fromkeys(("real", *presets), bench_same_room.Texture(5.0, 4.0, 18.0))
    judged = bench_same_room.Judged(same, compare.Comparison({}, (), (auc,), 0), textures, dict.fromkeys(presets, 0.02))
    found = bench_same_room.figures("table_d435i", judged)
    assert [(figure.name, figure.meets_bar) for figure in found if figure.bar is not None] == [
        ("patches told from real ones, d435", True),
        ("holes met, d435", True),
        ("patches told from real ones, d435i", False),
        ("holes met, d435i", True),
    ]
    by_name = {figure.name: figure.times for figure in found if figure.better == "equal"}
    assert by_name["roughness of normals, median, d435i"] == 1.0
    assert by_name["16-px blocks, sd without the pose's field, d435"] == 1.25
    assert len(by_name) == 2 * (3 + 8)


def test_a_report_has_bars_for_the_corpus_they_were_set_for() -> None:
    one = {"seconds": 2.0, "page_mb": 5.0, "peak_mb": 300.0, "shown": 24}
    found = {"fewer_frames": 100, "fewer": one, "whole": {**one, "seconds": 4.0}}
    full, few = (bench_report.figures(found, frames, "frames") for frames in (10_000, 400))
    assert [figure.meets_bar for figure in full] == [True, True, None]
    assert [figure.meets_bar for figure in few] == [None, None, None]
    assert full[0].times == 0.5
