"""What DCL's options do: the same short training on real data with one option changed, beside another seed.

DATA_ROOT=... python -m benchmarks.bench_options --out DIR [--steps 200] [--width 32] [--only NAME ...] [--json]

manifests/livingroom-redkitchen.yaml with crops of 64x64, 64 vectors for the contrast (so that `negatives: same_anchor`,
which compares P x P differences, fits) and a constant learning rate. What an option does must exceed what another seed
does to mean anything. Printed for the last checkpoint: the score of ``realism.choice`` on held-out frames, what it is
made of, and seconds a step; and on the same frames the score of no translator, of clean depth in the sensor's steps and
of the default simulation.
Trainings are kept in DIR and gone on with. OURS are options that no published form has.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from benchmarks.bench_translators import MANIFEST, Stderr, translated, views_of
from benchmarks.results import Figure, add_result_options, save_run
from benchmarks.timing import machine, print_json, print_table
from depthforge import registry
from depthforge.frame import Frame
from depthforge.manifest import Manifest, PluginBlock, parse_manifest
from depthforge.manifest_file import load_manifest
from depthforge.networks.ending import Steps, stepped
from depthforge.realism.choice import evaluate_translator
from depthforge.realism.compare import REFERENCE
from depthforge.realism.describe import describe
from depthforge.realism.views import DepthView, evenly_spaced
from depthforge.stages.prepare import make_source
from depthforge.stages.train import train
from depthforge.training.checkpoint import Checkpoints
from depthforge.training.translator_card import read_card
from depthforge.translators.base import Translator
from depthforge.translators.dcl import Dcl
from depthforge.translators.quantity import DepthSteps

SHOWN = ("holes, %", "patches told apart, AUC", "noise against depth, octaves", "depth off clean, %")
ROWS = ("holes", "patches told apart, AUC", "noise against depth", "depth off clean, median")
DEFAULT = "default"
VARIANTS: dict[str, dict[str, dict[str, Any]]] = {
    DEFAULT: {},
    "another seed": {"manifest": {"seed": 1}},
    "pair_sampling: gaussian": {"translator": {"pair_sampling": "gaussian"}},
    "negatives: same_anchor": {"translator": {"negatives": "same_anchor"}},
    "head: trained": {"translator": {"head": "trained"}},
    "fixed_pairing: true": {"training": {"fixed_pairing": True}},
}
QUANTISER = {"quantiser": {"disparity_m_px": 43.9}}  # a Kinect v1: 585 px x 75 mm, eighths of a pixel
NOISE = {"noise_channels": 1}
COPULA = {"holes": "copula"}
# 0.5 px of the 88 px that such a camera has at half a metre.
DISPARITY = {"quantity": "disparity", "min_depth_m": 0.5, "residual": 0.006}
SPECTRAL = {"spectral_norm": True}
ALL = {**QUANTISER, **NOISE, **COPULA, **DISPARITY, **SPECTRAL}
OURS: dict[str, dict[str, dict[str, Any]]] = {
    "published form": {"translator": {"residual": 0.0, "validity": False}},
    "noise": {"translator": NOISE},
    "anchored noise": {"translator": {"anchored_channels": 1}},
    "quantiser": {"translator": QUANTISER},
    "copula": {"translator": COPULA},
    "disparity": {"translator": DISPARITY},
    "spectral norm": {"translator": SPECTRAL},
    "R1": {"translator": {"r1_weight": 1.0}},
    "quantiser and noise": {"translator": {**QUANTISER, **NOISE}},
    "quantiser, noise, copula": {"translator": {**QUANTISER, **NOISE, **COPULA}},
    "quantiser, noise, copula, anchored": {"translator": {**QUANTISER, **NOISE, **COPULA, "anchored_channels": 1}},
    "quantiser, noise, copula, R1": {"translator": {**QUANTISER, **NOISE, **COPULA, "r1_weight": 1.0}},
    "all but spectral norm": {"translator": {**QUANTISER, **NOISE, **COPULA, **DISPARITY}},
    "all": {"translator": ALL},
    "all and anchored": {"translator": {**ALL, "anchored_channels": 1}},
    "all and anchored, weak contrast": {
        "translator": {**ALL, "anchored_channels": 1, "contrast_weight": 0.3, "identity_weight": 0.0}
    },
    "all but disparity": {"translator": {**QUANTISER, **NOISE, **COPULA, **SPECTRAL}},
}
UNTRAINED = ("identity", "simulation")


def manifest_of(name: str, out: Path, steps: int, width: int) -> Manifest:
    """Return the manifest of one variant."""
    loaded = load_manifest(MANIFEST)
    change = {**VARIANTS, **OURS}[name]
    assert loaded.training is not None
    short = {"epochs": 1, "decay_epochs": 0, "steps_per_epoch": steps, "crop_px": 64, "evaluate_every": steps}
    folder = out / name.replace(": ", "-").replace(" ", "-")
    value = {field: getattr(loaded, field) for field in type(loaded).model_fields}
    value["training"] = loaded.training.model_copy(update={**short, "out": folder, **change.get("training", {})})
    config = {"name": "dcl", "max_depth_m": 6, "residual": 0.02, "validity": True, "num_vectors": 64, "width": width}
    value["translator"] = {**config, **change.get("translator", {})}
    return parse_manifest({**value, **change.get("manifest", {})}, where=name)


class Unchanged(nn.Module):
    """A generator that learnt nothing, with its sensor's steps behind it."""

    def __init__(self, steps: Steps) -> None:
        super().__init__()
        self.steps = steps
        self.register_buffer("place", torch.zeros(()))

    def forward(self, x: Tensor) -> Tensor:
        """Return the depth of ``x`` in steps."""
        return stepped(x[:, :1], self.steps)


def steps_alone() -> Translator:
    """Return what the quantiser does without a network: what a trained one has to be better than."""
    config = Dcl.Config(max_depth_m=6.0, quantiser=DepthSteps(**QUANTISER["quantiser"]))
    assert config.steps is not None
    return Dcl.of_networks(config, {"generator": Unchanged(config.steps)})


def untrained(manifest: Manifest) -> dict[str, dict[str, float]]:
    """Return what ``Scorer`` says of a trained translator, of the untrained ones, on the same held-out frames."""
    settings = manifest.training
    assert settings is not None
    count = settings.evaluation_frames
    clean = _held_out(manifest.source, settings.held_out, count)
    real = _held_out(settings.real, settings.held_out, 2 * count)
    described = describe((DepthView(f.depth_m, f.valid, f.camera) for f in real), name=REFERENCE)
    plugins = {name: registry.translators.get(name) for name in UNTRAINED}
    translators = {name: plugin(plugin.Config()) for name, plugin in plugins.items()}
    found = {}
    for name, translator in {**translators, "steps alone": steps_alone()}.items():
        judged = evaluate_translator(views_of(clean, translated(translator, clean)), described)
        assert judged.comparison is not None
        values = {shown: judged.comparison.value(row, "translated") for shown, row in zip(SHOWN, ROWS, strict=True)}
        found[name] = {"score": judged.score.total, **{k: v for k, v in values.items() if v is not None}}
    return found


def _held_out(block: PluginBlock, held_out: float, count: int) -> list[Frame]:
    source = make_source(block)
    end = list(source.frames())
    end = end[round(len(end) * (1 - held_out)) :]
    return [source.read(end[place], frozenset()) for place in evenly_spaced(len(end), count)]


def figures(found: Mapping[str, Mapping[str, float]], steps: int) -> list[Figure]:
    """Return the score of each variant, beside that of the default where it was run too."""
    default = found.get(DEFAULT)
    return [
        Figure(
            name=f"DCL, {name}",
            value=each["score"],
            unit="of 7",
            better="lower",
            peer=None if default is None or name == DEFAULT else DEFAULT,
            peer_value=None if default is None or name == DEFAULT else default["score"],
            data=f"living room 1 and RedKitchen, {steps} steps",
        )
        for name, each in found.items()
    ]


def main() -> None:
    """Train what is not trained and print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--steps", type=int, default=200)
    parser.add_argument("--width", type=int, default=32, help="channels of the first layer of each network")
    parser.add_argument("--only", nargs="+", choices=[*VARIANTS, *OURS], default=[*VARIANTS])
    add_result_options(parser)
    arguments = parser.parse_args()
    found = {}
    for name in arguments.only:
        manifest = manifest_of(name, arguments.out, arguments.steps, arguments.width)
        print(f"--- {name}", file=sys.stderr)
        assert manifest.training is not None
        train(manifest, inline=True, progress=Stderr())
        out = manifest.training.out
        card = read_card(Checkpoints(out / "checkpoints").path(arguments.steps))
        seconds = read_card(out).training["seconds"]
        found[name] = {**card.figures, "seconds a step, evaluation included": seconds / arguments.steps}
    beside = untrained(manifest)
    if arguments.save:
        save_run("bench_options", found, figures(found, arguments.steps), note=arguments.note)
    if arguments.json:
        print_json({**found, **beside})
        return
    print(machine())
    rows = [
        [name, f"{f['score']:.2f}", *(f"{f[s]:.3g}" if s in f else "-" for s in SHOWN), f"{list(f.values())[-1]:.2f}"]
        for name, f in found.items()
    ]
    rows += [
        [name, f"{f['score']:.2f}", *(f"{f[s]:.3g}" if s in f else "-" for s in SHOWN), "-"]
        for name, f in beside.items()
    ]
    print_table(f"DCL, {arguments.steps} steps", rows, ["option", "score", *SHOWN, "s/step"])


if __name__ == "__main__":
    main()
