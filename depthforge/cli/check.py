"""``depthforge check``: is a data set on disk complete and readable?"""

from __future__ import annotations

import shlex
from pathlib import Path

import click

from depthforge.addresses import address_of, is_url
from depthforge.cli.options import as_json, debug, echo_json
from depthforge.cli.progress import frame_progress
from depthforge.errors import ManifestError, printable
from depthforge.manifest import PluginBlock
from depthforge.manifest_file import load_manifest
from depthforge.manifest_problems import WrongFieldsError
from depthforge.registry import sources
from depthforge.sources.check import check_source
from depthforge.stages.check import check_manifest
from depthforge.stages.prepare import make_source

__all__ = ["command"]


@click.command("check")
@click.argument("target", metavar="TARGET", type=click.Path(path_type=Path))
@click.option("--source", metavar="NAME", help="TARGET is the root of a data set of this kind, not a manifest.")
@click.option("--frames", metavar="N", type=click.IntRange(min=1), help="Read N frames, evenly spaced; default: all.")
@as_json
@debug
def command(target: Path, source: str | None, frames: int | None, as_json: bool, debug: bool) -> int:
    """Say whether the data set of a manifest, or under a root (--source), is complete, readable and plausible.

    What a source needs made once before it can be read (fused meshes, compacted grasps) is made here too.

    Ends with 0 where `synthesize` would, with 4 where it would go on without some frames or parts of the data set, and
    with 3 where it would fail, before any conversion time is spent.
    """
    progress = frame_progress("checking")
    if source is None:
        report = check_manifest(load_manifest(target), max_frames=frames, progress=progress, note=progress.note)
    else:
        report = check_source(
            make_source(_block(source, target)), max_frames=frames, progress=progress, note=progress.note
        )
    echo_json(report.to_json()) if as_json else click.echo("\n".join(printable(line) for line in report.lines()))
    return report.exit_code


def _block(source: str, root: Path) -> PluginBlock:
    try:
        place = address_of(root, where="--source") if is_url(root) else root
        return PluginBlock.parse(sources, {"name": source, "root": str(place)})
    except WrongFieldsError as error:
        has_root = all(problem.path != ("root",) for problem in error.problems)
        init = f"depthforge init {shlex.quote(str(root))} proposes one"
        raise ManifestError(
            f"the source {source!r} needs more than a root" if has_root else f"the source {source!r} has no root",
            where="--source",
            expected="a manifest that describes it",
            found="; ".join(problem.message for problem in error.problems),
            remedy=init if has_root else "depthforge check MANIFEST",
        ) from None
