"""Which figures of ``bench_parity`` stand on docs/performance.md, by the part of it that found them."""

from __future__ import annotations

from typing import Any

import numpy as np

from benchmarks.results import Figure
from tests.real import parity

__all__ = ["FIGURES"]

Rows = list[dict[str, Any]]
BAR_STEPS = 1


def _redwood_figures(rows: Rows) -> list[Figure]:
    shown = []
    for row in rows:
        if row["images"] == "all":
            data = f"{row['count']} images, {row['pixels'] / 1e6:.1f} Mpx, no random numbers"
            peer = "Open3D"
            shown += [
                Figure(
                    name=f"{row['preset']}: disparity steps on any pixel",
                    value=row["max_steps"],
                    unit="steps apart",
                    better="lower",
                    peer=peer,
                    bar=BAR_STEPS,
                    data=data,
                ),
                Figure(
                    name=f"{row['preset']}: not the same bits",
                    value=row["bits_differ"],
                    unit="pixels",
                    better="lower",
                    peer=peer,
                    data=data,
                ),
                Figure(
                    name=f"{row['preset']}, one core",
                    value=row["ours"],
                    unit="frames/s",
                    better="higher",
                    peer=peer,
                    peer_value=row["open3d"],
                    data=data,
                ),
            ]
    return shown


_REDWOOD = "primesense_redwood"


def _noise_figures(rows: Rows) -> list[Figure]:
    by_name = {row["noisy"]: row for row in rows}
    data = f"{len(rows[0]['holes'])} frames of living room 1"
    return [
        _equal(title, scale * np.mean(by_name[_REDWOOD][field]), unit, peer, scale * np.mean(row[field]), data)
        for peer, row in by_name.items()
        if peer != _REDWOOD
        for title, field, unit, scale in (
            (f"{_REDWOOD}: noise", "mean_abs_mm", "mm", 1),
            (f"{_REDWOOD}: holes", "holes", "%", 100),
        )
    ]


def _lidar_figures(rows: Rows) -> list[Figure]:
    real = {row["frame"]: row for row in rows if row["scanner"] == "real"}
    return [
        _equal(
            f"{row['scanner']}: pixels with depth",
            100 * row["density"],
            "%",
            "the real scan",
            100 * real[row["frame"]]["density"],
            f"KITTI object {row['frame']}",
        )
        for row in rows
        if row["scanner"] != "real"
    ]


def _kinect_figures(rows: Rows) -> list[Figure]:
    peer = "published code, stored runs"
    shown = []
    for precision in dict.fromkeys(row["precision"] for row in rows):
        of_it = [row for row in rows if row["precision"] == precision]
        data = f"{len(of_it)} runs, {sum(row['pixels'] for row in of_it) / 1e6:.1f} Mpx"
        differ = sum(row["not_equal"] for row in of_it)
        name = f"kinect_v1_published in {precision}, not equal"
        shown.append(Figure(name=name, value=differ, unit="pixels", better="lower", peer=peer, data=data))
    return shown


def _realsense_figures(rows: Rows) -> list[Figure]:
    simulated, real = rows[1], rows[0]
    return [
        _equal(
            f"correlation of noise at {parity.NOISE_LAGS_PX[0]} px {title}",
            simulated[field][0],
            "",
            "a real D435",
            real[field][0],
            "a wall, simulated with the sigma of the real frame",
        )
        for title, field in (("along rows", "along_rows"), ("along columns", "along_columns"))
    ]


def _equal(name: str, value: Any, unit: str, peer: str, peer_value: Any, data: str) -> Figure:
    ours, theirs = float(value), float(peer_value)
    return Figure(name=name, value=ours, unit=unit, better="equal", peer=peer, peer_value=theirs, data=data)


FIGURES = {
    "redwood": _redwood_figures,
    "noise": _noise_figures,
    "lidar": _lidar_figures,
    "kinect": _kinect_figures,
    "realsense": _realsense_figures,
}
