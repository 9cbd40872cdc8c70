"""``depthforge rejects``: why frames of a corpus were not converted."""

from __future__ import annotations

from dataclasses import asdict

import click

from depthforge.addresses import Address
from depthforge.cli.options import CORPUS, as_json, debug, echo_json
from depthforge.corpus.layout import CorpusInfo
from depthforge.corpus.rejects import read_rejects, reasons
from depthforge.errors import printable
from depthforge.storage import open_storage

__all__ = ["command"]


@click.command("rejects")
@click.argument("corpus", metavar="CORPUS", type=CORPUS)
@click.option("--frames", is_flag=True, help="Every frame on a line of its own, not the reasons that they share.")
@as_json
@debug
def command(corpus: Address, frames: bool, as_json: bool, debug: bool) -> int:
    """Say why frames were not converted: what was wrong, how often, and what to do about it.

    Mend the data and run `synthesize --retry-rejects`, which makes the shards again that hold rejects.
    """
    storage = open_storage(corpus)
    CorpusInfo.load(storage)
    if frames:
        rejected = list(read_rejects(storage))
        found = [asdict(reject) for reject in rejected]
        lines = [f"{reject.key}: {reject.stage}: {reject.error}: {reject.message}" for reject in rejected]
    else:
        shared = reasons(storage)
        found = [asdict(reason) for reason in shared]
        lines = []
        for reason in shared:
            lines.append(f"{reason.count} in {reason.stage} ({reason.error}): {reason.message}")
            lines.append(f"  such as {reason.key}: {reason.example}")
            if reason.remedy:
                lines.append(f"  try: {reason.remedy}")
        if shared:
            lines.append("mended? synthesize --retry-rejects makes the shards again that hold rejects")
    lines = [printable(line) for line in lines or ["no frame was rejected"]]
    echo_json(found) if as_json else click.echo("\n".join(lines))
    return 0
