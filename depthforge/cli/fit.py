"""``depthforge fit``: the parameters of a simulated sensor from scans of the real one."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from tempfile import TemporaryDirectory

import click

from depthforge.cli.options import LOCAL_PATH, as_json, debug, echo_json
from depthforge.cli.progress import frame_progress
from depthforge.errors import InputError, MissingDataError, MissingDependencyError
from depthforge.fitting.approaches import plan_for
from depthforge.fitting.burst import Burst, read_burst
from depthforge.fitting.estimators import Estimator
from depthforge.fitting.fit import fit_sensor, leave_recordings_out
from depthforge.fitting.recipes import Recipe
from depthforge.fitting.report import lines, require_preset_path, to_json, write_fit
from depthforge.fitting.scans import MOST_BURST_FRAMES, Scans, cuts_of, pool, read_frames, read_scans
from depthforge.fitting.steps import file_step_m
from depthforge.manifest import PluginBlock
from depthforge.manifest_file import load_manifest
from depthforge.realism.views import DepthView
from depthforge.sensors.preset import parse_sensor
from depthforge.sources.base import Source, SourceConfig
from depthforge.stages.prepare import make_source
from depthforge.stages.recording import fused_recording, scans_of

__all__ = ["command"]


@click.command("fit")
@click.argument("sensor", metavar="SENSOR")
@click.option(
    "--real",
    metavar="MANIFEST",
    required=True,
    multiple=True,
    type=click.Path(path_type=Path),
    help="The manifest whose source reads the scans; its translator and corpus have no say. Several recordings of one "
    "camera: several times.",
)
@click.option(
    "--fuse/--no-fuse",
    default=True,
    show_default=True,
    help="Fuse scans that have poses, and fit to the truth of their views in place of clean guesses.",
)
@click.option(
    "--burst",
    metavar="MANIFEST",
    type=click.Path(path_type=Path),
    help=f"Frames of one view by a camera that stands still (5 and more; {MOST_BURST_FRAMES} are used, "
    "more to tell a factor of whole frames): their noise counts.",
)
@click.option("--out", metavar="FILE.yaml", type=LOCAL_PATH, help="Where the preset goes.")
@click.option("--limit", metavar="N", type=click.IntRange(min=1), help="Only the first N scans.")
@click.option(
    "--frames",
    metavar="N",
    type=click.IntRange(2, 1000),
    default=16,
    show_default=True,
    help="Scans that are fitted, evenly spaced over the first half, and as many of the second that are held out.",
)
@as_json
@debug
def command(
    sensor: str,
    real: tuple[Path, ...],
    fuse: bool,
    burst: Path | None,
    out: Path | None,
    limit: int | None,
    frames: int,
    as_json: bool,
    debug: bool,
) -> int:
    """Fit SENSOR, a sensor or a preset to start from, to real scans.

    Writes a preset that a manifest can name (`translator: {name: simulation, sensor: my_camera.yaml}`) and a picture of
    its curves beside it, and says how well it does on scans that it was not fitted to: first of all, what got worse.
    The exit code is 4 when a curve that the fit used did, and no part of the fit could be taken back for it.
    """
    if out is not None:
        require_preset_path(out)
    start = parse_sensor(sensor)
    plan = plan_for(start)
    if burst is not None:
        _require_use_of_burst(plan, start.name)
    note = frame_progress("fitting").note
    scans = pool([_read(each, frames, limit, start.uses, plan, note if fuse else None) for each in real])
    still = None if burst is None else _read_burst(burst, plan)
    fit = fit_sensor(start, scans, burst=still, note=note)
    left_out = leave_recordings_out(start, scans, note=note)
    echo_json(to_json(fit, left_out)) if as_json else click.echo("\n".join(lines(fit, left_out)))
    if out is not None:
        preset, picture = write_fit(fit, out)
        click.echo(f"wrote {preset} and {picture}", err=True)
    return 4 if fit.worse else 0


def _read(
    real: Path,
    frames: int,
    limit: int | None,
    wanted: frozenset[str],
    plan: Recipe | Estimator,
    note: Callable[[str], None] | None,
) -> Scans:
    """Return the scans of one manifest, with the truth of their views where they are fused; ``None`` does not fuse."""
    block = load_manifest(real).source
    of_scans = scans_of(block)
    assert isinstance(of_scans.config, SourceConfig)
    with TemporaryDirectory(prefix="depthforge-fused-") as folder:
        fused, why = _fused(block, Path(folder), note) if note is not None and plan.uses_truth else (None, "not fused")
        return read_scans(
            make_source(of_scans) if fused is None else fused,
            frames,
            limit=limit,
            wanted=wanted,
            fewest=plan.fewest_frames,
            require=plan.require,
            is_truth=fused is not None,
            why_no_truth=why,
            cuts_m=cuts_of(of_scans.config),
        )


def _fused(block: PluginBlock, folder: Path, note: Callable[[str], None]) -> tuple[Source | None, str | None]:
    """Return the fused truth of the scans that ``block`` reads, or why they are not fused."""
    try:
        source = fused_recording(block, folder, note)
    except (InputError, MissingDataError, MissingDependencyError) as error:
        if block.config is not scans_of(block).config:
            raise
        note(f"not fused: {error}")
        return None, error.message
    return source, "they have no poses" if source is None else None


def _require_use_of_burst(plan: Recipe | Estimator, name: str) -> None:
    if plan.most_burst_frames == 0:
        raise InputError(
            f"a burst says nothing of the sensor {name}",
            where="--burst",
            expected="no burst: its noise is read off single scans",
            found="a manifest",
            remedy="leave --burst out",
        )


def _read_burst(burst: Path, plan: Recipe | Estimator) -> Burst:
    seen = read_frames(make_source(load_manifest(burst).source), plan.most_burst_frames)
    unit_m = file_step_m([DepthView(frame.depth_m, frame.valid, frame.camera) for frame in seen]) if seen else 0.0
    return read_burst(seen, unit_m, str(burst), shares_factor=plan.shares_factor)
