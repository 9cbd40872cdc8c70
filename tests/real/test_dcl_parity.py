"""Networks, losses and training steps against stored runs of DCL's and CUT's published code."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import get_args

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from depthforge.networks.blur import BlurDown, BlurUp
from depthforge.networks.discriminator import PatchDiscriminator
from depthforge.networks.generator import DepthGenerator
from depthforge.networks.heads import PatchHeads
from depthforge.networks.published import load_published, published_names
from depthforge.training.objective import Batch
from depthforge.translators import contrastive as contrastive
from depthforge.translators.adversarial import GanLoss, adversarial_loss
from depthforge.translators.one_way_objectives import DclConfig, DclObjective

Run = dict[str, Tensor]


@pytest.fixture(autouse=True)
def two_threads() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    yield
    torch.set_num_threads(before)


PUBLISHED = {"generator": "G", "discriminator": "D", "heads": "F"}


def load(path: Path) -> Run:
    with np.load(path) as stored:
        return {name: torch.from_numpy(stored[name]) for name in stored.files if stored[name].dtype.kind in "fiub"}


def under(run: Run, prefix: str) -> Run:
    return {name.removeprefix(prefix): value for name, value in run.items() if name.startswith(prefix)}


def assert_near(found: Tensor, expected: Tensor, tolerance: float) -> None:
    torch.testing.assert_close(found.detach().to(expected), expected, rtol=tolerance, atol=tolerance)


def assert_equal_to(relative: float, found: Tensor | None, expected: Tensor) -> None:
    """The largest error is at most this share of the largest value; ours is finite where the published one is not."""
    assert found is not None
    assert found.isfinite().all()
    # Where a pair falls on one position the published gradient is NaN, behind the last ReLU of the heads.
    finite = expected.isfinite()
    error = torch.where(finite, found.detach() - expected, 0.0).abs().max()
    assert error <= relative * torch.where(finite, expected, 0.0).abs().max()


def assert_state(network: nn.Module, published: Run, tolerance: float) -> None:
    names = published_names(network)
    state = network.state_dict()
    for name, value in published.items():
        if not name.endswith(".filt"):
            assert_near(state[names[name]], value, tolerance)


def test_blurs(golden: Path) -> None:
    run = load(golden / "dcl" / "blur.npz")
    assert_near(BlurDown(5).double()(run["x"]), run["down"], 1e-15)
    assert_near(BlurUp(5).double()(run["x"]), run["up"], 1e-15)


@pytest.fixture(params=["net_G_depth", "net_G_rgb"])
def generator_run(golden: Path, request: pytest.FixtureRequest) -> Run:
    return load(golden / "dcl" / f"{request.param}.npz")


def generator_of(run: Run) -> DepthGenerator:
    generator = DepthGenerator(with_rgb=run["x"].shape[1] == 4)
    load_published(generator, under(run, "w/"))
    return generator


@torch.no_grad()
def test_generator_in_double_precision(generator_run: Run) -> None:
    generator = generator_of(generator_run).double().eval()
    depth, features = generator.forward_with_features(generator_run["x"])
    assert_near(depth, generator_run["y_eval"], 1e-12)
    for index, feature in zip((3, 12, 14, 16, 18), features, strict=True):
        assert_near(feature, generator_run[f"feat_eval_{index}"], 1e-12)
    assert_near(generator(generator_run["x_odd"]), generator_run["y_odd"], 1e-12)
    generator.train()
    assert_near(generator(generator_run["x"]), generator_run["y_train"], 1e-12)
    assert_state(generator, under(generator_run, "bn_after_train/"), 1e-12)


@torch.no_grad()
def test_generator_in_single_precision(generator_run: Run) -> None:
    generator = generator_of(generator_run).eval()
    depth, features = generator.forward_with_features(generator_run["x"].float())
    assert_near(depth, generator_run["y_eval"], 1e-5)
    for index, feature in zip((3, 12, 14, 16, 18), features, strict=True):
        assert_near(feature, generator_run[f"feat_eval_{index}"], 1e-5)


@torch.no_grad()
def test_released_discriminator(golden: Path) -> None:
    run = load(golden / "dcl" / "net_D_released.npz")
    discriminator = PatchDiscriminator()
    load_published(discriminator, under(run, "w/"))
    assert_near(discriminator.eval()(run["x"]), run["y_eval"], 1e-5)
    assert_near(discriminator.train()(run["x"]), run["y_train"], 1e-5)


LOSSES = ["dcl_f64_order1head", "dcl_f64_nohead", "dcl_f64_allneg", "cut_f64_order1head", "cut_f64_allneg"]


@pytest.mark.parametrize(("name", "relative"), [*((name, 1e-13) for name in LOSSES), ("dcl_f32_releasedhead", 3e-6)])
def test_contrastive_losses(golden: Path, name: str, relative: float) -> None:
    run = load(golden / "dcl" / f"loss_{name}.npz")
    layers = range(int(run["n_layers"]))
    same = partial(assert_equal_to, relative)
    key = [run[f"feat_k_{i}"] for i in layers]
    query = [run[f"feat_q_{i}"].requires_grad_() for i in layers]
    published_heads = under(run, "mlp/")
    heads: contrastive.Heads = list
    if published_heads:
        heads = PatchHeads([k.shape[1] for k in key], width=int(run["nc"])).to(key[0])
        load_published(heads, published_heads)

    anchors = [run[f"id_i_{i}"] for i in layers]
    negatives = "batch" if run["all_negatives"] else "same_image"
    options = {"temperature": float(run["T"]), "negatives": negatives}
    if "id_j_0" in run:
        pairs = [contrastive.Pairs(a, run[f"id_j_{i}"]) for i, a in zip(layers, anchors, strict=True)]
        losses = contrastive.differential_losses(query, key, pairs, heads, **options)
        compared = [contrastive.differences(features, pairs) for features in (query, key)]
    else:
        losses = contrastive.patch_losses(query, key, anchors, heads, **options)
        compared = [contrastive.at_positions(features, anchors) for features in (query, key)]

    for side, vectors in zip("qk", compared, strict=True):
        for i, pooled in enumerate(contrastive.unit_vectors(heads(vectors))):
            same(pooled.flatten(0, 1), run[f"pooled_{side}_{i}"])
    weight = float(run["lambda_nce"])
    for i in layers:
        same(losses[i], run[f"loss_vec_{i}"])
        same(weight * losses[i].mean(), run[f"loss_mean_weighted_{i}"])
    total = weight * contrastive.layer_mean(losses)
    assert_equal_to(3e-7, total, run["total_loss"])

    total.backward()
    for i in layers:
        same(query[i].grad, run[f"grad_feat_q_{i}"])
    if isinstance(heads, PatchHeads):
        names = published_names(heads)
        gradients = {name: p.grad for name, p in heads.named_parameters()}
        for published, expected in under(run, "grad_mlp/").items():
            same(gradients[names[published]], expected)


@pytest.mark.parametrize("loss", get_args(GanLoss))
def test_adversarial_losses(golden: Path, loss: GanLoss) -> None:
    run = load(golden / "dcl" / "loss_gan.npz")
    judged_real = adversarial_loss(run["pred_real"], loss, real=True)
    judged_fake = adversarial_loss(run["pred_fake"], loss, real=False)
    assert_near((judged_real + judged_fake) / 2, run[f"{loss}_D"], 1e-12)
    assert_near(adversarial_loss(run["pred_fake"], loss, real=True), run[f"{loss}_G"], 1e-12)


def three_steps(path: Path, rounding: float = 0.0) -> tuple[DclObjective, list[Tensor], list[dict[str, Tensor]]]:
    """Run the published steps; ``rounding`` changes every initial weight by up to that share of itself."""
    run = load(path)
    dcl = DclObjective(DclConfig(), torch.Generator())
    shake = torch.Generator().manual_seed(1)
    for name, network in dcl.networks.items():
        load_published(network, under(run, f"init/{PUBLISHED[name]}/"))
        with torch.no_grad():
            for weight in network.parameters():
                weight *= 1 + rounding * (2 * torch.rand(weight.shape, generator=shake) - 1)
    outputs: list[Tensor] = []
    dcl.generator.register_forward_hook(lambda module, args, output: outputs.append(output.detach()[:2]))
    losses = []
    for step in range(3):
        ids = [run[f"ids_{step}_{q}"] for q in range(10)]
        pairs = [contrastive.Pairs(*ids[q : q + 2]) for q in range(0, 10, 2)]
        dcl.draw = lambda features, stored=pairs: stored  # type: ignore[method-assign]
        losses.append(dcl.step(Batch({"depth": run[f"A_{step}"]}, {"depth": run[f"B_{step}"]})))
    return dcl, outputs, losses


def test_three_training_steps(golden: Path) -> None:
    """Adam divides a gradient by its own size, so a step makes the last bit of a gradient the first of a weight.

    The first step is held to 1e-5 everywhere. How far rounding carries the next ones depends on the processor: 5e-6 on
    the kind that made the vectors, 1e-3 with two threads there, 0.1 with AVX2. So they are held to three times what the
    same steps make of weights changed by 3e-7 of themselves, a few times the rounding of float32: one draw of such a
    change says the size of its effect no better than that.
    """
    torch.set_num_threads(1)
    path = golden / "dcl" / "train_dcl_depth.npz"
    run = load(path)
    published_losses = json.loads(str(np.load(path)["losses_json"]))
    dcl, images, losses = three_steps(path)
    shaken, shaken_images, shaken_losses = three_steps(path, rounding=3e-7)

    names = {"gan": "G_GAN", "contrast": "NCE", "identity": "idt", "generator": "G"}
    names |= {"discriminator_real": "D_real", "discriminator_fake": "D_fake"}
    for step, expected in enumerate(published_losses):
        slack = 0.0 if step == 0 else 3 * float((images[step] - shaken_images[step]).abs().max())
        assert_near(images[step], run[f"fake_B_{step}"], 1e-5 + slack)
        for ours, theirs in names.items():
            spread = 0.0 if step == 0 else 3 * abs(float(losses[step][ours] - shaken_losses[step][ours]))
            assert losses[step][ours].item() == pytest.approx(expected[theirs], rel=1e-5 + spread, abs=1e-8 + slack)

    assert_state(dcl.heads, under(run, "final/F/"), 0.0)
    assert_state(dcl.heads, under(run, "init/F/"), 0.0)
    for name in ("generator", "discriminator"):
        names, state = published_names(dcl.networks[name]), dcl.networks[name].state_dict()
        other = shaken.networks[name].state_dict()
        start = under(run, f"init/{PUBLISHED[name]}/")
        for key, final in under(run, f"final/{PUBLISHED[name]}/").items():
            if key.endswith(".filt"):
                continue
            ours = state[names[key]]
            error, moved = (ours - final).norm(), (final - start[key]).norm()
            if key.endswith("conv_block.6.bias"):
                # The next batch norm takes this offset away: its gradient is rounding, which Adam scales to full steps.
                assert moved < 3 * 2e-4 * math.sqrt(len(final))
                assert error < 2 * moved
            else:
                assert error < 0.002 * moved + 3 * (ours - other[names[key]]).norm()
                assert error < 0.5 * moved
