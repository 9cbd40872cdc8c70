"""``depthforge evaluate``: how close is a corpus to a real sensor?"""

from __future__ import annotations

from pathlib import Path

import click

from depthforge.addresses import Address
from depthforge.cli.options import CORPUS, LOCAL_PATH, as_json, debug, echo_json, realism_options, stall_limit
from depthforge.cli.progress import frame_progress
from depthforge.stages.cluster import RayOptions
from depthforge.stages.evaluation import evaluate_against

__all__ = ["command"]


@click.command("evaluate")
@click.argument("corpus", metavar="CORPUS|TABLE", type=CORPUS)
@click.option(
    "--real",
    metavar="CORPUS|MANIFEST",
    type=LOCAL_PATH,
    help="Real scans: a corpus of them, or the manifest whose source reads them; by default the depth_raw of CORPUS.",
)
@realism_options
@click.option(
    "--row",
    "rows",
    metavar="NAME",
    multiple=True,
    help="Make this row of TABLE alone, and write no table; may be repeated.",
)
@click.option("--record", is_flag=True, help="Put TABLE into each corpus a row is trained on: `report` shows it.")
@click.option(
    "--workers", metavar="N", type=click.IntRange(min=1), help="Cells of TABLE at once; default: one per core."
)
@click.option("--inline", is_flag=True, help="Make TABLE in this process, without Ray: for debugging.")
@click.option(
    "--address", metavar="ADDRESS", envvar="RAY_ADDRESS", help="A Ray cluster for TABLE; default: a local Ray."
)
@stall_limit
@as_json
@debug
def command(
    corpus: Address,
    real: Path | None,
    frames: int,
    draws: int,
    baseline_m: float | None,
    rows: tuple[str, ...],
    record: bool,
    workers: int | None,
    inline: bool,
    address: str | None,
    stall_limit_s: float,
    as_json: bool,
    debug: bool,
) -> int:
    """Say in numbers how close CORPUS is to real scans, or what tasks learn from corpora.

    Same view, where CORPUS carries depth_raw (what a real sensor measured in its views), or where MANIFEST reads one
    scene with poses, which is fused and put through the translator of CORPUS: holes against the real holes, block
    errors, outliers, the device's pattern, shadows, bleed, and what stays between frames.

    Unpaired: holes, noise against depth, quantisation, normals, and whether patches can be told apart: for its clean
    depth, its noisy depth and one half of the real scans, each against the other half.

    TABLE is a YAML file (manifests/eval/): one task, networks trained on each of its rows and tested on real scans.
    What is missing of it is made, its cells (a row with a seed) side by side on Ray; it goes on where it was stopped.
    """
    if isinstance(corpus, Path) and corpus.suffix in (".yaml", ".yml"):
        if real is not None:
            raise click.UsageError("--real is for a corpus: the table names its real side itself")
        if record and rows:
            raise click.UsageError("--row writes no table that could be recorded")
        ray = None if inline else RayOptions(workers, address, stall_limit_s=stall_limit_s)
        return _table(corpus, rows, record, ray, as_json)
    for name, given in (("--row", rows), ("--record", record), ("--workers", workers)):
        if given:
            raise click.UsageError(f"{name} is for a table, a YAML file")
    evaluation = evaluate_against(
        corpus,
        real,
        num_frames=frames,
        draws=draws,
        baseline_m=baseline_m,
        note=lambda line: click.echo(line, err=True),
    )
    if evaluation is None:
        raise click.UsageError("--real is needed: CORPUS has no depth_raw, what a real sensor measured in its views")
    echo_json(evaluation.to_json()) if as_json else click.echo("\n".join(evaluation.lines()))
    return 0


def _table(path: Path, rows: tuple[str, ...], record: bool, ray: RayOptions | None, as_json: bool) -> int:
    # Only here, since they load torch.
    from depthforge.stages.task_table import make_table
    from depthforge.tasks.table import TABLE_FILES
    from depthforge.tasks.table_manifest import load_table

    manifest = load_table(path)
    progress = frame_progress("table")
    table = make_table(manifest, only=rows, record=record, ray=ray, note=progress.note, warn=progress.warn)
    echo_json(table.arrow().to_pylist()) if as_json else click.echo(table.markdown())
    if not rows:
        click.echo(f"written: {', '.join(str(manifest.out / name) for name in TABLE_FILES)}", err=True)
    return 0
