"""Networks, losses and training steps against stored runs of DCL's and CUT's published code."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from depthforge.networks.blur import BlurDown, BlurUp
from depthforge.networks.discriminator import PatchDiscriminator
from depthforge.networks.generator import DepthGenerator
from depthforge.networks.published import load_published, published_names

Run = dict[str, Tensor]


@pytest.fixture(autouse=True)
def two_threads() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    yield
    torch.set_num_threads(before)


def load(path: Path) -> Run:
    with np.load(path) as stored:
        return {name: torch.from_numpy(stored[name]) for name in stored.files if stored[name].dtype.kind in "fiub"}


def under(run: Run, prefix: str) -> Run:
    return {name.removeprefix(prefix): value for name, value in run.items() if name.startswith(prefix)}


def assert_near(found: Tensor, expected: Tensor, tolerance: float) -> None:
    torch.testing.assert_close(found.detach().to(expected), expected, rtol=tolerance, atol=tolerance)


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
