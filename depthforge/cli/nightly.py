"""``depthforge nightly``: new scenes of a growing source as a new version of its corpus."""

from __future__ import annotations

from pathlib import Path

import click

from depthforge.cli.convert import exit_code, summary_lines
from depthforge.cli.options import LOCAL_PATH, as_json, debug, echo_json, stall_limit
from depthforge.cli.progress import frame_progress
from depthforge.manifest_file import load_manifest
from depthforge.report import build_report, write_report
from depthforge.stages.nightly import Night, nights
from depthforge.stages.versions import LATEST

__all__ = ["command"]


@click.command("nightly")
@click.argument("manifest", metavar="MANIFEST", type=click.Path(path_type=Path))
@click.option("--out", metavar="DIR", type=LOCAL_PATH, help="Folder of the versions, over the manifest's corpus.out.")
@click.option("--workers", metavar="N", type=click.IntRange(min=1), help="Workers; default: one per core or GPU.")
@click.option("--inline", is_flag=True, help="Run in this process, without Ray: for debugging.")
@click.option("--address", metavar="ADDRESS", envvar="RAY_ADDRESS", help="A Ray cluster; default: a local Ray.")
@stall_limit
@as_json
@debug
def command(
    manifest: Path,
    out: Path | None,
    workers: int | None,
    inline: bool,
    address: str | None,
    stall_limit_s: float,
    as_json: bool,
    debug: bool,
) -> int:
    """Make of what is new in MANIFEST's source a new version of its corpus, and hold it against real scans.

    corpus.out is a folder of versions: v0001, v0002, ..., each a whole corpus that is never edited, and `latest`, a
    link to the last one that was accepted. Shards of the version before are taken over, only new frames are converted,
    all files are verified, and the noise of the new frames is measured against `nightly.real`. Beyond a limit of the
    manifest the version is kept and not `latest`, and the command ends with 7. Nothing new: nothing is made, and 0.
    """
    settings = load_manifest(manifest).overridden(out=out)
    made: list[Night] = []
    for night in nights(
        settings,
        num_workers=workers,
        inline=inline,
        address=address,
        stall_limit_s=stall_limit_s,
        progress=frame_progress("converting"),
    ):
        made.append(night)
        page = write_report(night.version.folder, build_report(night.version.folder, night.evaluation))
        if not as_json:
            click.echo("\n".join([*_lines(night), f"  report   {page}"]))
    if as_json:
        echo_json({"versions": [night.to_json() for night in made]})
    elif not made:
        click.echo(f"nothing new: {settings.corpus.out}/{LATEST} holds all that the source lists")
    for night in made:
        night.require_close()
    return max((exit_code(night.report) for night in made), default=0)


def _lines(night: Night) -> list[str]:
    word = "not accepted" if night.drift else "accepted"
    lines = [f"{night.version.folder.name}: {word}, {night.reused_shards} shards taken over"]
    lines += summary_lines(night.report)
    if night.evaluation is not None:
        lines += [f"  {name:<30}{'-' if value is None else f'{value:.4g}'}" for name, value in _distances(night)]
    return lines


def _distances(night: Night) -> list[tuple[str, float | None]]:
    found = night.to_json()["distances"]
    return list(found.items()) if isinstance(found, dict) else []
