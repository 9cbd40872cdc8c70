"""``depthforge evaluate``: how close is a corpus to a real sensor?"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from tempfile import TemporaryDirectory

import click

from depthforge.cli.options import LOCAL_PATH, as_json, debug, echo_json
from depthforge.corpus.reader import CorpusReader
from depthforge.errors import InputError, MissingDataError
from depthforge.manifest import PluginBlock
from depthforge.manifest_file import load_manifest
from depthforge.realism.same_view.views import SameView, carries_real_depth
from depthforge.realism.views import real_views, source_views
from depthforge.stages.evaluation import corpus_views, evaluate, seed_of
from depthforge.stages.prepare import make_source
from depthforge.stages.recording import fused_recording, recording_views, scans_of
from depthforge.stages.redrawing import translator_of

__all__ = ["command"]


@click.command("evaluate")
@click.argument("corpus", metavar="CORPUS|TABLE", type=LOCAL_PATH)
@click.option(
    "--real",
    metavar="CORPUS|MANIFEST",
    type=LOCAL_PATH,
    help="Real scans: a corpus of them, or the manifest whose source reads them; by default the depth_raw of CORPUS.",
)
@click.option(
    "--frames",
    metavar="N",
    type=click.IntRange(2, 1000),
    default=40,
    show_default=True,
    help="Frames of CORPUS, and of each half of the real scans.",
)
@click.option(
    "--draws",
    metavar="N",
    type=click.IntRange(1, 64),
    default=8,
    show_default=True,
    help="Drawings of the noise from which the holes' probabilities come, in the same view; 1: none.",
)
@click.option(
    "--baseline",
    "baseline_m",
    metavar="METRES",
    type=click.FloatRange(min=0, min_open=True),
    help="Distance of the real sensor's two eyes, for disparities in the same view; by default what CORPUS says.",
)
@click.option(
    "--row",
    "rows",
    metavar="NAME",
    multiple=True,
    help="Make this row of TABLE alone, and write no table; may be repeated.",
)
@as_json
@debug
def command(
    corpus: Path,
    real: Path | None,
    frames: int,
    draws: int,
    baseline_m: float | None,
    rows: tuple[str, ...],
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
    What is missing of it is made; it goes on where it was stopped.
    """
    if corpus.suffix in (".yaml", ".yml"):
        if real is not None:
            raise click.UsageError("--real is for a corpus: the table names its real side itself")
        return _table(corpus, rows, as_json)
    if rows:
        raise click.UsageError("--row is for a table, a YAML file")
    reader = CorpusReader(corpus, allow_unfinished=True)
    is_paired = carries_real_depth(reader)
    if real is None and not is_paired:
        raise click.UsageError("--real is needed: CORPUS has no depth_raw, what a real sensor measured in its views")
    with ExitStack() as stack:
        if real is None or real.is_dir():
            scans, block = real_views(real or corpus, 2 * frames), None
        else:
            block = load_manifest(real).source
            scans = source_views(make_source(scans_of(block)), 2 * frames)
        views: Iterator[SameView] | None = None
        if is_paired:
            views = corpus_views(corpus, frames, draws)
        elif block is not None:
            folder = Path(stack.enter_context(TemporaryDirectory(prefix="depthforge-fused-")))
            views = _views_of_recording(reader, block, folder, frames, draws)
        evaluation = evaluate(corpus, scans, views, baseline_m=baseline_m, num_frames=frames)
    echo_json(evaluation.to_json()) if as_json else click.echo("\n".join(evaluation.lines()))
    return 0


def _table(path: Path, rows: tuple[str, ...], as_json: bool) -> int:
    # Only here, since they load torch.
    from depthforge.stages.task_table import make_table
    from depthforge.tasks.table import TABLE_FILES
    from depthforge.tasks.table_manifest import load_table

    manifest = load_table(path)
    table = make_table(manifest, only=rows, note=lambda line: click.echo(line, err=True))
    echo_json(table.arrow().to_pylist()) if as_json else click.echo(table.markdown())
    if not rows:
        click.echo(f"written: {', '.join(str(manifest.out / name) for name in TABLE_FILES)}", err=True)
    return 0


def _views_of_recording(
    reader: CorpusReader, block: PluginBlock, folder: Path, frames: int, draws: int
) -> Iterator[SameView] | None:
    """Return the fused recording as the translator of the corpus sees it; None, and why on stderr, without one."""
    try:
        source = fused_recording(block, folder, lambda line: click.echo(line, err=True))
    except (InputError, MissingDataError) as error:
        click.echo(f"no same-view table: {error}", err=True)
        return None
    if source is None:
        return None
    return recording_views(source, translator_of(reader), frames, seed=seed_of(reader), draws=draws)
