"""The fused truth of a real sequence: how far 7-Scenes RedKitchen is from it, and what making it costs.

python -m benchmarks.bench_fused [--frames 400] [--fused 240] [--json] [--save]

The scans (data/real/redkitchen_kinect beside the checkout, or under DEPTHFORGE_SHARED) go through the manifest that is
shipped for them: ``--fused`` of them make the mesh, all ``--frames`` are rendered back, and a frame's residual is the
median |measured - rendered|. Beside them stand the figures in the README of the data, of 240 frames fused and 40 looked
at, here 40 evenly spaced ones. Bar: each quantile within 2 mm of those.

We fuse by Open3D's VoxelBlockGrid, so that is no peer. What stands beside us is its plain use, as in Open3D's tutorial:
the same frames, voxels and truncation, K as it is (ours moves it by half a pixel, see ``meshes.fusion``), and depth by
``ray_cast`` through the voxels instead of a mesh. That depth lies 6 mm behind the measured one (``bias``: median of
rendered - measured), with K moved or not and whatever it is told to truncate at. Open3D's older volumes give nothing
to compare with: in 0.20 ScalableTSDFVolume returns no triangle, and UniformTSDFVolume fills a whole cube.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import yaml

from benchmarks.bench_sources import MANIFESTS
from benchmarks.results import Figure, add_result_options, save_run
from benchmarks.timing import machine, median, print_json, print_table, shared_folder
from depthforge.frame import DepthImage, Frame, FrameRef
from depthforge.geometry import invert_pose
from depthforge.manifest import PluginBlock
from depthforge.meshes import MeshScene, TsdfVolume
from depthforge.registry import sources
from depthforge.sources.base import Source
from depthforge.sources.fused import Fused, FusedConfig
from depthforge.sources.fused.scenes import QUANTILES, RECORD_FILE, agreement, load_record
from depthforge.sources.resized import build_source

REFERENCE_MM = (5.9, 6.8, 8.3, 9.3, 12.0)
NUM_LOOKED_AT = 40
BAR_MM = 2.0
NUM_IN_ALL = 400


class Truth(NamedTuple):
    """How to render it (frame -> depth in metres, 0 for nothing), seconds of fusing, seconds of what follows once."""

    render: Callable[[Frame], DepthImage]
    fuse_s: float
    mesh_s: float


def source_of(folder: Path, real: Path, frames: int, fused: int) -> Fused:
    """Return the source of the shipped manifest, of so many frames of which so many are fused."""
    text = (MANIFESTS / "redkitchen-fused.yaml").read_text()
    block = yaml.safe_load(text.replace("${DATA_ROOT}", str(real.parent)))
    block["source"].update(prepared=str(folder), max_frames=fused)
    block["source"]["of"]["every"] = -(-NUM_IN_ALL // frames)
    # A point is seen by fewer when fewer are fused; of the 240 of the reference 8 must have seen it.
    block["source"]["min_weight"] = max(2, min(8, fused // 6))
    source = build_source("fused", PluginBlock.parse(sources, block["source"]).config)
    assert isinstance(source, Fused)
    return source


def thinned(refs: Sequence[FrameRef], count: int) -> list[FrameRef]:
    """Return ``count`` of ``refs``, evenly spaced, or all."""
    count = min(count, len(refs))
    return [refs[index * len(refs) // count] for index in range(count)]


def posed(source: Source, refs: Sequence[FrameRef]) -> Iterator[Frame]:
    """Yield the frames that have a pose."""
    for ref in refs:
        frame = source.read(ref, frozenset({"T_world_cam"}))
        if frame.T_world_cam is not None:
            yield frame


def fuse_ours(frames: Iterator[Frame], config: FusedConfig) -> Truth:
    """Fuse as ``prepare`` does, to a mesh."""
    volume = TsdfVolume(config.voxel_m, truncation_voxels=config.truncation_voxels, max_depth_m=config.max_depth_m)
    seconds = 0.0
    for frame in frames:
        start = time.perf_counter()
        volume.integrate(frame.depth_m, frame.camera, frame.T_world_cam)
        seconds += time.perf_counter() - start
    start = time.perf_counter()
    scene = MeshScene([volume.mesh(config.min_weight)])
    mesh_s = time.perf_counter() - start

    def render(frame: Frame) -> DepthImage:
        return scene.cast(frame.T_world_cam, frame.camera, num_threads=0, fronts_only=True).depth_m

    return Truth(render, seconds, mesh_s)


def fuse_plainly(frames: Iterator[Frame], config: FusedConfig) -> Truth:
    """Fuse and render as Open3D's tutorial of dense reconstruction does."""
    import open3d as o3d

    tensor, float32 = o3d.core.Tensor, o3d.core.float32
    grid = o3d.t.geometry.VoxelBlockGrid(
        attr_names=("tsdf", "weight"),
        attr_dtypes=(float32, float32),
        attr_channels=((1), (1)),
        voxel_size=config.voxel_m,
        block_resolution=8,
        block_count=config.fusion.max_blocks // 8,
        device=o3d.core.Device("CPU:0"),
    )

    def given(frame: Frame) -> tuple[Any, Any, Any, Any]:
        image = o3d.t.geometry.Image(tensor(np.ascontiguousarray(frame.depth_m[..., None])))
        view = tensor(frame.camera.K), tensor(invert_pose(frame.T_world_cam))
        blocks = grid.compute_unique_block_coordinates(image, *view, 1.0, config.max_depth_m, config.truncation_voxels)
        return blocks, image, *view

    seconds = 0.0
    for frame in frames:
        start = time.perf_counter()
        grid.integrate(*given(frame), 1.0, config.max_depth_m, config.truncation_voxels)
        seconds += time.perf_counter() - start

    def render(frame: Frame) -> DepthImage:
        blocks, _, K, T_cam_world = given(frame)
        with o3d.utility.VerbosityContextManager(o3d.utility.VerbosityLevel.Error):
            cast = grid.ray_cast(
                blocks,
                K,
                T_cam_world,
                frame.camera.width,
                frame.camera.height,
                render_attributes=["depth"],
                depth_scale=1.0,
                depth_max=2 * config.max_depth_m,
                weight_threshold=config.min_weight - 0.5,
                trunc_voxel_multiplier=config.truncation_voxels,
            )
        return np.asarray(cast["depth"].numpy()[..., 0])

    return Truth(render, seconds, 0.0)


def compare(truth: Truth, frames: Iterator[Frame]) -> dict[str, Any]:
    """Return the residuals of frames, the share of measured pixels where the truth has a surface, and the rates."""
    found, biases_m, seconds = [], [], []
    for frame in frames:
        start = time.perf_counter()
        rendered_m = truth.render(frame)
        seconds.append(time.perf_counter() - start)
        both = frame.valid & (rendered_m > 0)
        found.append(agreement(frame, rendered_m, rendered_m > 0))
        biases_m.append(float(np.median((rendered_m - frame.depth_m)[both])) if both.any() else np.nan)
    return {
        "mm": quantiles_mm([each.residual_m for each in found]),
        "covered": float(np.mean([each.covered for each in found])),
        "bias_mm": 1000 * float(np.nanmedian(biases_m)),
        "fuse_s": truth.fuse_s,
        "mesh_s": truth.mesh_s,
        "render_frames_per_second": 1 / median(seconds),
    }


def quantiles_mm(residuals_m: Sequence[float]) -> list[float]:
    """Return 5, 25, 50, 75 and 95 % of the residuals, mm."""
    values = np.array(residuals_m)
    return [1000 * float(value) for value in np.quantile(values[np.isfinite(values)], QUANTILES)]


def main() -> None:
    """Fuse, render back, do the same by the peer, print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--frames", type=int, default=NUM_IN_ALL, help="of the sequence, evenly spaced")
    parser.add_argument("--fused", type=int, default=240, help="of these, evenly spaced, make the mesh")
    add_result_options(parser)
    options = parser.parse_args()
    real = shared_folder("data", "real", "redkitchen_kinect")
    if real is None:
        raise SystemExit(
            "no data/real/redkitchen_kinect beside the checkout; set DEPTHFORGE_SHARED to the folder that holds data/"
        )
    with tempfile.TemporaryDirectory(prefix="depthforge-bench-") as folder:
        found = measure(source_of(Path(folder), real, options.frames, options.fused))
    if options.save:
        save_run("bench_fused", found, figures(found), note=options.note)
    if options.json:
        print_json(found)
        return
    show(found)


def measure(source: Fused) -> dict[str, Any]:
    """Return residuals, what is kept, and the seconds of everything."""
    config = source.config
    measured = build_source(config.of.name, config.of.config)
    refs = list(measured.frames())
    chosen = thinned(refs, config.max_frames or len(refs))
    looked_at = thinned(refs, NUM_LOOKED_AT)

    start = time.perf_counter()
    source.prepare()
    prepare_s = time.perf_counter() - start
    findings: list[str] = []
    kept = list(source.frames(lambda finding: findings.append(finding.message)))
    start = time.perf_counter()
    for ref in (rendered := thinned(kept, NUM_LOOKED_AT)):
        source.read(ref, frozenset({"depth_raw", "normals"}))
    read_s = (time.perf_counter() - start) / len(rendered)

    record = load_record(next(config.prepared.rglob(RECORD_FILE)).parent)
    assert record is not None
    return {
        "frames": len(refs),
        "fused": len(chosen),
        "looked_at": len(looked_at),
        "kept": len(kept),
        "finding": findings[-1],
        "reference_mm": list(REFERENCE_MM),
        "all_mm": quantiles_mm(record.residuals_m()),
        "ours": compare(fuse_ours(posed(measured, chosen), config), posed(measured, looked_at)),
        "open3d": compare(fuse_plainly(posed(measured, chosen), config), posed(measured, looked_at)),
        "prepare_s": prepare_s,
        "read_frames_per_second": 1 / read_s,
    }


def apart_mm(found: Mapping[str, Any]) -> float:
    """Return how far a quantile of ours is from that of the reference at most."""
    return float(max(abs(a - b) for a, b in zip(found["ours"]["mm"], found["reference_mm"], strict=True)))


def figures(found: Mapping[str, Any]) -> list[Figure]:
    """Return what the page shows."""
    ours, peer = found["ours"], found["open3d"]
    data = f"7-Scenes RedKitchen, {found['fused']} frames fused, {found['looked_at']} looked at"
    plainly = "Open3D plainly"
    return [
        Figure(
            name="a quantile of the residuals, at most",
            value=apart_mm(found),
            unit="mm apart",
            better="lower",
            peer="README of the data",
            bar=BAR_MM,
            data=data,
        ),
        Figure(
            name="median residual",
            value=ours["mm"][2],
            unit="mm",
            better="lower",
            peer=plainly,
            peer_value=peer["mm"][2],
            data=data,
        ),
        Figure(
            name="rendering, every core",
            value=ours["render_frames_per_second"],
            unit="frames/s",
            better="higher",
            peer=plainly,
            peer_value=peer["render_frames_per_second"],
            data=data,
        ),
        Figure(
            name="fusing, every core",
            value=found["fused"] / ours["fuse_s"],
            unit="frames/s",
            better="higher",
            peer=plainly,
            peer_value=found["fused"] / peer["fuse_s"],
            data=data,
        ),
    ]


def show(found: dict[str, Any]) -> None:
    """Print the tables."""
    print(machine())
    fused, looked_at, ours, peer = (found[name] for name in ("fused", "looked_at", "ours", "open3d"))
    rows = [
        ["reference of the data: 240", NUM_LOOKED_AT, *_mm(found["reference_mm"]), "", ""],
        [f"ours: {fused}", looked_at, *_mm(ours["mm"]), f"{ours['covered']:.0%}", f"{ours['bias_mm']:+.1f}"],
        [f"ours: {fused}", found["frames"], *_mm(found["all_mm"]), "", ""],
        [f"Open3D plainly: {fused}", looked_at, *_mm(peer["mm"]), f"{peer['covered']:.0%}", f"{peer['bias_mm']:+.1f}"],
    ]
    header = ["frames fused", "looked at", *(f"{share:.0%}" for share in QUANTILES), "covered", "bias"]
    print_table("RedKitchen beside its fused truth: median |measured - rendered| of a frame, mm", rows, header)
    print(f"\n  ours is {apart_mm(found):.1f} mm from the reference at most (bar {BAR_MM:g} mm)")
    print(f"  {found['kept']} of {found['frames']} frames kept, {found['frames'] - found['kept']} left out")
    print(f"  {found['finding']}")
    rows = [
        [
            name,
            f"{each['fuse_s']:.1f}",
            f"{fused / each['fuse_s']:.0f}",
            f"{each['mesh_s']:.1f}",
            f"{each['render_frames_per_second']:.1f}",
        ]
        for name, each in (("ours, mesh", ours), ("Open3D plainly, ray_cast", peer))
    ]
    header = ["", "fuse, s", "frames/s", "mesh, s", "rendered frames/s"]
    print_table("What it costs, without decoding, on every core", rows, header)
    print(f"\n  prepare (decode, fuse, render every frame, compare): {found['prepare_s']:.1f} s")
    print(f"  Source.read (decode, render, normals), one core: {found['read_frames_per_second']:.1f} frames/s")


def _mm(values: Sequence[float]) -> list[str]:
    return [f"{value:.1f}" for value in values]


if __name__ == "__main__":
    main()
