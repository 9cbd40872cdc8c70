"""The physics is a prior of the network, and the second head does not train the first."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from depthforge.translators.hybrid_inputs import GEOMETRY_CHANNELS
from depthforge.translators.hybrid_network import FREQUENCY, HybridNetwork
from depthforge.translators.hybrid_residual import likelihood


def network(**options: bool) -> HybridNetwork:
    made = HybridNetwork(channels=len(GEOMETRY_CHANNELS), **options)
    made.initialise(torch.Generator().manual_seed(0))
    return made.eval()


def seen(frequency: float) -> torch.Tensor:
    inputs = torch.zeros(1, len(GEOMETRY_CHANNELS), 16, 16)
    inputs[:, FREQUENCY] = frequency
    return inputs


def with_logits(physics: float, net: float) -> HybridNetwork:
    made = network()
    with torch.no_grad():
        made.thin.fill_(physics)
        made.wide.fill_(physics)
        made.holes.last.weight.zero_()
        assert made.holes.last.bias is not None
        made.holes.last.bias.fill_(net)
    return made


@pytest.mark.parametrize(("physics", "net"), [(-2.0, -1.0), (0.5, -30.0), (-30.0, 1.5), (-30.0, -30.0), (30.0, -5.0)])
def test_a_pixel_is_lost_by_the_physics_or_by_what_the_network_knows(physics: float, net: float) -> None:
    with torch.inference_mode():
        made = with_logits(physics, net)
        learnt, residual = made.maps(seen(1.0))
        by_physics = made.physics(seen(1.0))
        probability = 1 - (1 - learnt) * (1 - by_physics)
    kept = (1 - torch.sigmoid(torch.tensor(physics))) * (1 - torch.sigmoid(torch.tensor(net)))
    assert residual is None
    torch.testing.assert_close(probability, (1 - kept).expand_as(probability), atol=2e-6, rtol=1e-4)
    assert torch.isfinite(torch.logit(probability, eps=1e-7)).all()


def test_a_wide_hole_of_the_physics_is_believed_more_than_a_thin_one() -> None:
    made = network()
    inputs = torch.zeros(1, len(GEOMETRY_CHANNELS), 16, 32)
    inputs[:, FREQUENCY, :, 4:10], inputs[:, FREQUENCY, :, 20:28] = 1.0, 1.0
    with torch.inference_mode():
        found = made.physics(inputs)[0, 0, 8]
    torch.testing.assert_close(found[4:10], torch.full((6,), 0.5))
    torch.testing.assert_close(found[20:28], torch.full((8,), 0.9))
    assert not found[:4].any()
    assert not found[10:20].any()


def test_an_image_of_the_physics_is_as_a_batch_of_them() -> None:
    made = network()
    random = np.random.default_rng(0)
    frequency = np.repeat(np.repeat(random.random((8, 12)) < 0.5, 5, axis=0), 5, axis=1).astype(np.float32)
    frequency *= random.choice(np.array([0.5, 1.0], np.float32), frequency.shape)
    inputs = torch.zeros(1, len(GEOMETRY_CHANNELS), *frequency.shape)
    inputs[0, FREQUENCY] = torch.from_numpy(frequency)
    with torch.inference_mode():
        batch = made.physics(inputs)[0, 0].numpy()
    np.testing.assert_allclose(made.physics_of(frequency), batch, atol=1e-6)


def test_more_holes_in_the_simulation_are_more_holes_and_none_is_certain() -> None:
    made = network()
    with torch.inference_mode():
        found = [float(torch.sigmoid(made(seen(share))[0]).mean()) for share in (0.0, 0.25, 0.5, 1.0)]
    assert found == sorted(found)
    assert 0 < found[0] < 0.1
    assert 0.85 < found[-1] < 1


def test_the_prior_alone_draws_what_is_believed_of_wide_holes_to_nine_in_ten() -> None:
    made = network()
    for start in (-2.0, 4.0):
        made.wide.data.fill_(start)
        optimiser = torch.optim.SGD([made.wide], lr=2000.0)
        for _ in range(60):
            optimiser.zero_grad()
            made.prior_loss().backward()
            optimiser.step()
        assert torch.sigmoid(made.wide).item() == pytest.approx(0.9, abs=0.01)


def test_calibration_divides_and_shifts_what_is_learnt_and_leaves_the_physics() -> None:
    made = with_logits(-2.0, -1.0)
    with torch.inference_mode():
        physics, logit = made.physics(seen(1.0)), made.parts(seen(1.0))[2]
        made.temperature.fill_(2.0)
        made.offset.fill_(0.5)
        learnt, _ = made.maps(seen(1.0))
        by_physics = made.physics(seen(1.0))
    torch.testing.assert_close(physics, torch.sigmoid(torch.tensor(-2.0)).expand_as(physics))
    torch.testing.assert_close(by_physics, physics)
    torch.testing.assert_close(learnt, torch.sigmoid(logit / 2 + 0.5))


def test_the_residual_head_trains_itself_alone_and_starts_with_next_to_nothing() -> None:
    made = network(residual=True).train()
    _, maps = made(torch.randn(1, len(GEOMETRY_CHANNELS), 16, 16, generator=torch.Generator().manual_seed(1)))
    assert maps is not None
    assert maps.variances.max() < 0.05
    assert maps.bias.abs().max() < 0.2
    ones = torch.ones(1, 1, 16, 16)
    likelihood(maps, made.truth_variance, ones, 0.04 * ones, ones).backward()
    assert made.residual is not None
    assert made.residual.last.weight.grad is not None
    assert all(parameter.grad is None for parameter in made.holes.parameters())


def test_the_generator_alone_decides_the_weights() -> None:
    first, again = (network(residual=True).state_dict() for _ in range(2))
    assert all(torch.equal(first[name], again[name]) for name in first)
