"""``depthforge translator``: what a folder of weights is, and published weights made one."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import click

from depthforge.addresses import Address
from depthforge.cli.options import CORPUS, LOCAL_PATH, as_json, debug, echo_json
from depthforge.durable import storage_errors, write_atomically
from depthforge.errors import CorpusMismatchError
from depthforge.registry import translators
from depthforge.storage import open_storage
from depthforge.training.translator_card import CARD_FILE, Normalisation, TranslatorCard, read_card
from depthforge.training.weights import write_translator
from depthforge.translators.published_checkpoint import read_published_generator

__all__ = ["command"]


@click.group("translator")
def command() -> None:
    """Look at trained translators, and import published ones."""


@command.command("import")
@click.argument("checkpoint", metavar="CHECKPOINT", type=click.Path(path_type=Path))
@click.argument("out", metavar="OUT", type=LOCAL_PATH)
@click.option(
    "--method",
    type=click.Choice(["dcl", "cut", "cyclegan"]),
    default="dcl",
    show_default=True,
    help="What trained it: the three share one generator.",
)
@click.option(
    "--max-depth",
    metavar="METRES",
    type=click.FloatRange(min=0, min_open=True),
    help="Depth was divided by this; default: by the maximum of each image, as the published code does.",
)
@click.option(
    "--quantity",
    type=click.Choice(["ray", "z"]),
    default="ray",
    show_default=True,
    help="What the depth images held that it was trained on: published DCL read InteriorNet as it lies, whose depth is "
    "the length of the ray.",
)
@debug
def import_(checkpoint: Path, out: Path, method: str, max_depth: float | None, quantity: str, debug: bool) -> int:
    """Read a generator saved by DCL's or CUT's published code (latest_net_G.pth) into a translator folder OUT.

    Only tensors are read; a file that would run code is refused.
    """
    generator = read_published_generator(checkpoint)
    if (out / CARD_FILE).exists():
        raise CorpusMismatchError("there is a translator already", where=out, remedy="choose another OUT")
    plugin = translators.get(method)
    options = {"with_rgb": generator.image is not None} if "with_rgb" in plugin.Config.model_fields else {}
    scale: dict[str, Any] = {"max_depth_m": max_depth} if max_depth else {"normalisation": "per_image"}
    scale["quantity"] = quantity
    config = plugin.Config(**options, **scale)
    card = TranslatorCard(
        translator=method,
        version=plugin.version,
        architecture=config.architecture,
        normalisation=config.scale,
        origin=f"imported from {checkpoint.name}, sha256 {hashlib.sha256(checkpoint.read_bytes()).hexdigest()}",
    )
    write_translator(out, {"generator": generator}, card)
    block = ", ".join(f"{name}: {str(value).lower()}" for name, value in {"name": method, **options, **scale}.items())
    click.echo(f"imported {checkpoint} to {out}")
    click.echo(f"use it in a manifest: translator: {{{block}, weights: {out}}}")
    return 0


@command.command("similarity")
@click.argument("corpora", metavar="CORPUS...", nargs=-1, required=True, type=LOCAL_PATH)
@click.option(
    "--frame", "key", metavar="KEY", help="The frame, by its key in every CORPUS; default: the first of each."
)
@click.option("--at", "at_px", metavar="ROW COLUMN", nargs=2, type=int, help="The pixel; default: the centre.")
@click.option(
    "--tap",
    metavar="N",
    type=click.Choice(["3", "12", "14", "16", "18"]),
    default="14",
    show_default=True,
    help="The layer, by its number in the published code.",
)
@click.option("--out", metavar="FILE.png", type=LOCAL_PATH, required=True, help="The picture to write.")
@as_json
@debug
def similarity(
    corpora: tuple[Path, ...],
    key: str | None,
    at_px: tuple[int, int] | None,
    tap: str,
    out: Path,
    as_json: bool,
    debug: bool,
) -> int:
    """Draw which places a generator holds to be like one, in clean and in noisy depth, for each CORPUS of dcl or cut.

    Fig. 8 of DCL's paper: where the two maps of a row are alike, the noise left the geometry as it was.
    """
    # Only here, since they load torch.
    from depthforge.report.similarity import alike_in, draw_alike

    rows = [alike_in(corpus, key, at_px, int(tap)) for corpus in corpora]
    with storage_errors(out):
        write_atomically(out, draw_alike(rows))
    if as_json:
        echo_json(
            [
                {
                    "corpus": row.corpus,
                    "translator": row.method,
                    "frame": row.frame.key,
                    "agreement": row.places.agreement,
                }
                for row in rows
            ]
        )
        return 0
    for row in rows:
        click.echo(f"{row.corpus}: both maps of {row.method} correlate by {row.places.agreement:.3f} ({row.frame.key})")
    click.echo(f"written: {out}", err=True)
    return 0


@command.command("show")
@click.argument("folder", metavar="FOLDER|URL", type=CORPUS)
@as_json
@debug
def show(folder: Address, as_json: bool, debug: bool) -> int:
    """Print the card of a trained translator."""
    card = read_card(open_storage(folder).local_copy(""))
    if as_json:
        echo_json(card.model_dump(mode="json"))
        return 0
    lines = [
        f"{card.translator}, version {card.version}, {card.origin}",
        f"  architecture   {', '.join(f'{name} {value}' for name, value in card.architecture.items())}",
        *_depth_over(card.normalisation),
        f"  weights        sha256 {card.weights_sha256}",
    ]
    for side, described in card.trained_on.items():
        lines.append(f"  {side:<14} {described['frames']} frames of {described['source']}" + _depth_of(described))
    for name, value in card.figures.items():
        lines.append(f"  {name:<14} {value}")
    click.echo("\n".join(lines))
    return 0


def _depth_over(scale: Normalisation | None) -> list[str]:
    if scale is None:
        return []
    if scale.quantity == "disparity":
        nearest = f"{scale.min_depth_m} m" if scale.mode == "fixed" else "the nearest of each image"
        return [f"  inverse depth  1 at {nearest}"]
    most = f"{scale.max_depth_m} m" if scale.mode == "fixed" else "the maximum of each image"
    return [f"  depth over     {most}" + ("; depth is the length of the ray" if scale.quantity == "ray" else "")]


def _depth_of(side: Mapping[str, Any]) -> str:
    return f"; {side['depth']}" if "depth" in side else ""
