"""``depthforge select``: a new corpus of some frames of another."""

from __future__ import annotations

from pathlib import Path

import click

from depthforge.cli.convert import summary_lines
from depthforge.cli.options import LOCAL_PATH, as_json, debug, echo_json
from depthforge.cli.progress import frame_progress
from depthforge.errors import InputError
from depthforge.stages.selecting import select_frames

__all__ = ["command"]


@click.command("select")
@click.argument("corpus", metavar="CORPUS", type=LOCAL_PATH)
@click.option("--where", metavar="EXPRESSION", help="Which frames, by the columns of the index; default: all.")
@click.option("--splits", metavar="SHARES", help="Split scenes anew: train=0.8,val=0.2.")
@click.option("--seed", metavar="N", type=click.IntRange(min=0), default=0, help="Seed of the new splits.")
@click.option("--out", metavar="DIR", type=LOCAL_PATH, required=True, help="Where the new corpus goes.")
@click.option("--workers", metavar="N", type=click.IntRange(min=1), help="Workers; default: one per core.")
@click.option("--inline", is_flag=True, help="Run in this process, without Ray.")
@as_json
@debug
def command(
    corpus: Path,
    where: str | None,
    splits: str | None,
    seed: int,
    out: Path,
    workers: int | None,
    inline: bool,
    as_json: bool,
    debug: bool,
) -> int:
    """Make a new corpus of the frames of CORPUS that fulfil a condition, or of all with other splits.

    `--where 'hole_fraction_noisy < 0.3 and has_rgb and like(scene, "kitchen*")'`. Arrays are copied as they are
    encoded; CORPUS stays as it is.
    """
    report = select_frames(
        corpus,
        out,
        where=where,
        splits=None if splits is None else _shares(splits),
        seed=seed,
        num_workers=workers,
        inline=inline,
        progress=frame_progress("copying"),
    )
    echo_json(report.to_json()) if as_json else click.echo("\n".join(summary_lines(report)))
    return 0


def _shares(text: str) -> dict[str, float]:
    """Return the share of each split; InputError unless they are names and numbers that add up to 1."""
    try:
        shares = {name.strip(): float(share) for name, share in (part.split("=") for part in text.split(","))}
        if not all(name.isidentifier() and share >= 0 for name, share in shares.items()):
            raise ValueError(text)
        if abs(sum(shares.values()) - 1) > 1e-6:
            raise ValueError(f"shares of {sum(shares.values()):g} in all")
    except ValueError as error:
        raise InputError(
            "these are no splits", where="--splits", expected="train=0.8,val=0.2, which add up to 1", found=error
        ) from None
    return shares
