"""``depthforge init``: look at a folder and propose a manifest."""

from __future__ import annotations

from pathlib import Path

import click

from depthforge.cli.options import LOCAL_PATH, debug
from depthforge.durable import write_atomically
from depthforge.errors import InputError, printable
from depthforge.sources.proposing import Proposal, propose

__all__ = ["command"]


@click.command("init")
@click.argument("root", metavar="ROOT", type=LOCAL_PATH)
@click.option("--real", "is_real", is_flag=True, help="ROOT holds scans of a real sensor, to train on or compare with.")
@click.option("--out", metavar="FILE.yaml", type=LOCAL_PATH, help="Write the manifest here; default: standard output.")
@debug
def command(root: Path, is_real: bool, out: Path | None, debug: bool) -> int:
    """Look at a folder, an archive or a bag and propose a manifest, with the reasons as comments.

    Layout, unit, codes that mean nothing, intrinsics and poses are found by reading a few files; the convention of
    poses is told by re-projecting neighbouring frames. What cannot be known is named. Only FILE.yaml is written.
    """
    if out is not None and out.exists():
        raise InputError("the file is there already", where=out, remedy="give another --out, or remove it")
    proposal = propose(root, is_real=is_real)
    if out is None:
        click.echo(printable(proposal.manifest), nl=False)
    else:
        write_atomically(out, proposal.manifest.encode())
    for line in _report(proposal, out):
        click.echo(printable(line), err=out is None)
    return 0


def _report(proposal: Proposal, out: Path | None) -> list[str]:
    lines = [f"wrote {out}"] if out is not None else []
    lines += [f"  {line}" for line in proposal.evidence]
    lines += [f"  not known: {line}" for line in proposal.unknown]
    lines += [f"  fill in: {line}" for line in proposal.fill_in]
    file = "FILE.yaml" if out is None else str(out)
    first = "--out FILE.yaml writes it" if out is None else ""
    first = "fill that in" if proposal.fill_in and out is not None else first
    lines.append(f"next: {first}{', then ' if first else ''}depthforge check {file}")
    return lines
