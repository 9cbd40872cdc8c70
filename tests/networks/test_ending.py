"""What a generator says, made depth: steps that are exact, holes with their probability, gradients that pass."""

from __future__ import annotations

import pytest
import torch

from depthforge.networks.ending import MEASURED_AT_FIRST, Ending, Steps, stepped, where_measured
from depthforge.networks.generator import DepthGenerator


def test_even_steps_are_multiples_and_keep_the_gradient() -> None:
    share = torch.tensor([0.0, 0.1, 0.24, 0.26, 0.9], requires_grad=True)
    found = stepped(share, Steps("even", 0.25))
    assert found.tolist() == [0.0, 0.0, 0.25, 0.25, 1.0]
    (3 * found).sum().backward()
    assert share.grad is not None
    assert share.grad.tolist() == [3.0] * 5


def test_inverse_steps_are_those_of_disparity() -> None:
    # 58 steps at the end of the range: 59 are at 58/59 of it, 1000 at 0.058.
    found = stepped(torch.tensor([1.0, 58 / 59 + 0.001, 0.05801, 0.0, -0.1]), Steps("inverse", 58.0))
    torch.testing.assert_close(found, torch.tensor([1.0, 58 / 59, 0.058, 0.0, -0.1]), rtol=1e-6, atol=0)
    assert len(stepped(torch.linspace(0.5, 1.0, 10_000), Steps("inverse", 58.0)).unique()) == 59


@pytest.mark.parametrize("logit", [-4.0, -1.0, 1.0])
def test_holes_are_drawn_with_the_probability_that_the_logit_gives(logit: float) -> None:
    field = torch.randn(1, 1, 200, 200, generator=torch.Generator().manual_seed(0))
    logits = torch.full_like(field, logit - MEASURED_AT_FIRST).requires_grad_()
    noisy = where_measured(torch.full_like(field, 0.5), logits, torch.ones_like(field), field)
    chance = float(torch.sigmoid(torch.tensor(-logit)))
    assert float((noisy == 0).float().mean()) == pytest.approx(chance, abs=0.01)
    assert sorted({round(value, 6) for value in noisy.detach().flatten().tolist()}) == pytest.approx([0.0, 0.5])
    # The lowest of the field are lost: what the field has together is lost together.
    assert float(field[noisy == 0].max()) < float(field[noisy > 0].min())
    noisy.sum().backward()
    assert logits.grad is not None
    assert torch.allclose(logits.grad, torch.tensor(0.5 * chance * (1 - chance)), rtol=1e-4)


def test_certain_logits_ignore_the_field() -> None:
    field = torch.tensor([-8.0, 0.0, 8.0]).reshape(1, 1, 1, 3)
    ones = torch.ones_like(field)
    assert where_measured(ones, 30 * ones, ones, field).tolist() == [[[[1.0, 1.0, 1.0]]]]
    assert not where_measured(ones, -30 * ones, ones, field)[..., :2].any()


def test_the_generator_ends_so() -> None:
    options = {"width": 4, "residual": 0.1, "validity": True}
    steps = Steps("inverse", 40.0)
    generator = DepthGenerator(**options, drawn_holes=True, steps=steps).eval()  # type: ignore[arg-type]
    plain = DepthGenerator(**options).eval()  # type: ignore[arg-type]
    plain.load_state_dict(generator.state_dict())
    random = torch.Generator().manual_seed(0)
    depth = 0.3 + 0.6 * torch.rand(1, 1, 16, 16, generator=random)
    field = torch.randn(1, 1, 16, 16, generator=random)
    assert generator.in_channels == 2
    with torch.no_grad():
        found = generator(torch.cat([depth, field], dim=1))
        said = plain(depth)
    kept = (found > 0) & (said > 0)
    assert 0 < int((found == 0).sum()) < 256
    torch.testing.assert_close(found[kept], stepped(said, steps)[kept])
    counts = 40 / found[kept]
    torch.testing.assert_close(counts, counts.round(), rtol=1e-5, atol=0)


def test_without_options_it_is_tanh() -> None:
    x, said = torch.rand(2, 1, 4, 4), torch.randn(2, 1, 4, 4)
    assert torch.equal(Ending()(said, None, x), torch.tanh(said))
