"""One step of each objective: what it reports, what it changes, what it leaves alone, and that it resumes exactly."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator
from typing import NamedTuple

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from depthforge.errors import InputError
from depthforge.networks.ending import Steps
from depthforge.training.objective import Batch, Objective, descend, frozen
from depthforge.translators.contrastive import differential_losses, layer_mean, patch_losses
from depthforge.translators.coupled_objective import CoupledConfig, CoupledObjective, dice_loss
from depthforge.translators.cycle_objective import CycleGanConfig, CycleGanObjective
from depthforge.translators.one_way_objectives import CutConfig, CutObjective, DclConfig, DclObjective

SMALL = {"width": 4}


@pytest.fixture(autouse=True)
def few_threads() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


OBJECTIVES: dict[str, Callable[[], Objective]] = {
    "dcl": lambda: DclObjective(DclConfig(**SMALL, num_vectors=32), seeded()),
    "dcl trained head": lambda: DclObjective(DclConfig(**SMALL, head="trained", pair_sampling="gaussian"), seeded()),
    "dcl paper's negatives": lambda: DclObjective(DclConfig(**SMALL, num_vectors=8, negatives="same_anchor"), seeded()),
    "dcl with rgb": lambda: DclObjective(DclConfig(**SMALL, with_rgb=True), seeded()),
    "dcl of steps": lambda: DclObjective(
        DclConfig(**SMALL, residual=0.1, r1_weight=2.0), seeded(), steps=Steps("inverse", 60.0)
    ),
    "dcl on surfaces": lambda: DclObjective(
        DclConfig(**SMALL, noise_channels=1, anchored_channels=2, validity=True, holes="copula"), seeded()
    ),
    "dcl spectral": lambda: DclObjective(DclConfig(**SMALL, spectral_norm=True), seeded()),
    "cyclegan on surfaces": lambda: CycleGanObjective(
        CycleGanConfig(**SMALL, anchored_channels=1, validity=True, holes="copula", r1_weight=1.0), seeded()
    ),
    "coupled on surfaces": lambda: CoupledObjective(
        CoupledConfig(**SMALL, anchored_channels=1, spectral_norm=True, r1_weight=1.0),
        seeded(),
        steps=Steps("even", 0.01),
    ),
    "cut": lambda: CutObjective(CutConfig(**SMALL, num_vectors=32), seeded()),
    "cut wasserstein": lambda: CutObjective(CutConfig(**SMALL, gan="wgangp", num_vectors=32), seeded()),
    "cyclegan wasserstein": lambda: CycleGanObjective(CycleGanConfig(**SMALL, gan="wgangp", pool_size=3), seeded()),
    "cyclegan": lambda: CycleGanObjective(CycleGanConfig(**SMALL, pool_size=3), seeded()),
    "cyclegan with rgb": lambda: CycleGanObjective(CycleGanConfig(**SMALL, with_rgb=True), seeded()),
    "cyclegan with noise": lambda: CycleGanObjective(
        CycleGanConfig(**SMALL, noise_channels=2, residual=True, with_rgb=True), seeded()
    ),
    "coupled": lambda: CoupledObjective(CoupledConfig(**SMALL, num_vectors=32), seeded()),
    "coupled with noise": lambda: CoupledObjective(
        CoupledConfig(**SMALL, num_vectors=32, noise_channels=3, residual=False), seeded()
    ),
    "coupled wasserstein": lambda: CoupledObjective(CoupledConfig(**SMALL, gan="wgangp"), seeded()),
}


@pytest.fixture(params=OBJECTIVES)
def objective(request: pytest.FixtureRequest) -> Objective:
    return OBJECTIVES[request.param]()


class Sides(NamedTuple):
    """Clean and real images as the published networks see them: depth, or depth, blue, green, red."""

    clean: Tensor
    real: Tensor


def named(sides: Sides) -> Batch:
    """What a training gives to an objective: images by name, colour as red, green, blue."""
    return Batch(
        *(
            {"depth": s[:, :1], "points": s[:, :1].expand(-1, 3, -1, -1)}
            | ({"rgb": s[:, 1:].flip(1)} if s.shape[1] == 4 else {})
            for s in sides
        )
    )


def sides_for(objective: Objective, seed: int = 0, side: int = 32) -> Sides:
    random = seeded(seed)
    with_rgb = isinstance(objective, CoupledObjective) or objective.networks["generator"].image is not None
    channels = 4 if with_rgb else 1
    clean, real = (torch.rand(2, channels, side, side, generator=random) for _ in range(2))
    return Sides(clean, real * (real[:, :1] > 0.2))


def weights(objective: Objective) -> dict[str, list[Tensor]]:
    return {name: [p.detach().clone() for p in net.parameters()] for name, net in objective.networks.items()}


def test_step_changes_what_learns_and_nothing_else(objective: Objective) -> None:
    before = weights(objective)
    losses = objective.step(named(sides_for(objective)))
    wasserstein = any(name.endswith("penalty") for name in losses)
    for name, after in weights(objective).items():
        changed = [not torch.equal(a, b) for a, b in zip(after, before[name], strict=True)]
        if not any(p.requires_grad for p in objective.networks[name].parameters()):
            assert not any(changed)
        elif wasserstein and "discriminator" in name:
            # What is added to every logit is neither here nor there to the Wasserstein critic.
            assert all(changed[:-1])
        else:
            assert all(changed)
    assert all(loss.ndim == 0 and not loss.requires_grad and loss.isfinite() for loss in losses.values())
    terms = [loss for name, loss in losses.items() if name != "generator" and "discriminator" not in name]
    assert losses["generator"].item() == pytest.approx(sum(term.item() for term in terms), rel=1e-5)


def test_a_resumed_run_equals_the_uninterrupted_one(objective: Objective, request: pytest.FixtureRequest) -> None:
    name = request.node.callspec.params["objective"]
    every = [sides_for(objective, seed) for seed in range(4)]
    for sides in every[:2]:
        objective.step(named(sides))
    resumed = OBJECTIVES[name]()
    resumed.load_state_dict(copy.deepcopy(objective.state_dict()))
    for sides in every[2:]:
        expected, found = objective.step(named(sides)), resumed.step(named(sides))
        assert found == expected
    for a, b in zip(resumed.networks.values(), objective.networks.values(), strict=True):
        assert all(torch.equal(x, y) for x, y in zip(a.state_dict().values(), b.state_dict().values(), strict=True))


def test_step_in_mixed_precision(objective: Objective) -> None:
    with torch.autocast("cpu", dtype=torch.bfloat16):
        losses = objective.step(named(sides_for(objective)))
    assert all(loss.isfinite() for loss in losses.values())
    assert all(p.isfinite().all() for network in objective.networks.values() for p in network.parameters())


def test_global_random_state_is_not_read(objective: Objective) -> None:
    again = copy.deepcopy(objective.state_dict())
    expected = objective.step(named(sides_for(objective)))
    torch.manual_seed(99)
    objective.load_state_dict(again)
    assert objective.step(named(sides_for(objective))) == expected


@torch.no_grad()
def test_dcl_losses_are_the_formulas() -> None:
    dcl = DclObjective(DclConfig(**SMALL, num_vectors=16), seeded())
    sides = sides_for(dcl)
    reference = copy.deepcopy(dcl)
    with torch.enable_grad():
        found = dcl.step(named(sides))

    fake, same = reference.generator(torch.cat(sides)).chunk(2)
    on_fake, on_real = reference.discriminator(fake), reference.discriminator(sides.real)
    assert found["discriminator_fake"] == pytest.approx((on_fake**2).mean().item(), rel=1e-4)
    assert found["discriminator_real"] == pytest.approx(((on_real - 1) ** 2).mean().item(), rel=1e-4)
    # The generator hears the discriminator of after its update.
    assert found["gan"] == pytest.approx(((dcl.discriminator(fake) - 1) ** 2).mean().item(), rel=1e-4)
    assert found["identity"] == pytest.approx((same - sides.real).abs().mean().item(), rel=1e-4)
    query, key = reference.generator.encode(fake), reference.generator.encode(sides.clean)
    contrast = layer_mean(differential_losses(query, key, reference.draw(key), reference.heads))
    assert found["contrast"] == pytest.approx(1.5 * contrast.item(), rel=1e-4)


def test_wasserstein_critic_is_held_to_its_slope() -> None:
    config = DclConfig(**SMALL, gan="wgangp", penalty_weight=1000, learning_rate=0.003)
    dcl = DclObjective(config, seeded())
    penalties = [dcl.step(named(sides_for(dcl)))["discriminator_penalty"].item() for _ in range(20)]
    # The first critic is nearly flat, so its penalty is nearly the weight.
    assert penalties[0] == pytest.approx(1000, rel=0.1)
    assert sum(penalties[5:]) / 15 < penalties[0] / 2


@torch.no_grad()
def test_cut_contrasts_are_averaged_over_both_domains() -> None:
    cut = CutObjective(CutConfig(**SMALL, num_vectors=16), seeded())
    sides = sides_for(cut)
    reference = copy.deepcopy(cut)
    with torch.enable_grad():
        found = cut.step(named(sides))
    fake, same = reference.generator(torch.cat(sides)).chunk(2)
    for name, generated, source in (("contrast", fake, sides.clean), ("identity_contrast", same, sides.real)):
        query, key = reference.generator.encode(generated), reference.generator.encode(source)
        expected = layer_mean(patch_losses(query, key, reference.draw(key), reference.heads)) / 2
        assert found[name] == pytest.approx(expected.item(), rel=1e-4)


@torch.no_grad()
def test_cyclegan_losses_are_the_formulas() -> None:
    cyclegan = CycleGanObjective(CycleGanConfig(**SMALL), seeded())
    sides = sides_for(cyclegan)
    there, back = (copy.deepcopy(cyclegan.networks[name]) for name in ("generator", "inverse"))
    judge = copy.deepcopy(cyclegan.clean_discriminator)
    with torch.enable_grad():
        found = cyclegan.step(named(sides))
    noisy, cleaned = there(sides.clean), back(sides.real)
    expected = {
        "cycle_clean": 10 * functional.l1_loss(back(noisy), sides.clean),
        "cycle_real": 10 * functional.l1_loss(there(cleaned), sides.real),
        "identity_real": 5 * functional.l1_loss(there(sides.real), sides.real),
        "identity_clean": 5 * functional.l1_loss(back(sides.clean), sides.clean),
        # The generators hear the discriminators of before their update.
        "gan_clean": ((judge(cleaned) - 1) ** 2).mean(),
        "clean_discriminator_fake": (judge(cleaned) ** 2).mean(),
    }
    for name, value in expected.items():
        assert found[name] == pytest.approx(value.item(), rel=1e-4), name


@torch.no_grad()
def test_cyclegan_with_colour_and_noise_compares_depth_alone() -> None:
    cyclegan = OBJECTIVES["cyclegan with noise"]()
    assert isinstance(cyclegan, CycleGanObjective)
    sides = sides_for(cyclegan)
    reference = copy.deepcopy(cyclegan)
    with torch.enable_grad():
        found = cyclegan.step(named(sides))
    there, back, random = reference.generator, reference.inverse, reference.random
    (clean, clean_colour), (real, real_colour) = (images.tensor_split([1], dim=1) for images in sides)

    def noised(depth: Tensor, colour: Tensor) -> Tensor:
        noise = torch.randn(2, 2, 32, 32, generator=random)
        out: Tensor = there(torch.cat([depth, noise, colour], dim=1))
        return out

    noisy, cleaned = noised(clean, clean_colour), back(sides.real)
    expected = {
        "cycle_clean": 10 * functional.l1_loss(back(torch.cat([noisy, clean_colour], dim=1)), clean),
        "cycle_real": 10 * functional.l1_loss(noised(cleaned, real_colour), real),
        "gan": ((reference.discriminator(noisy) - 1) ** 2).mean(),
        "identity_real": 5 * functional.l1_loss(noised(real, real_colour), real),
        "clean_discriminator_real": ((reference.clean_discriminator(clean) - 1) ** 2).mean(),
    }
    for name, value in expected.items():
        assert found[name] == pytest.approx(value.item(), rel=1e-4), name


def test_cyclegan_fills_its_pools() -> None:
    cyclegan = CycleGanObjective(CycleGanConfig(**SMALL, pool_size=3), seeded())
    for seed in range(2):
        cyclegan.step(named(sides_for(cyclegan, seed)))
    assert [len(pool.images) for pool in cyclegan.pools.values()] == [3, 3]
    assert not any(image.requires_grad for pool in cyclegan.pools.values() for image in pool.images)


def test_cyclegan_is_depth_only() -> None:
    cyclegan = CycleGanObjective(CycleGanConfig(**SMALL), seeded())
    with pytest.raises(InputError, match="does not fit"):
        cyclegan.step(named(Sides(torch.zeros(1, 4, 32, 32), torch.zeros(1, 4, 32, 32))))


@torch.no_grad()
def test_coupled_losses_are_the_formulas() -> None:
    coupled = CoupledObjective(CoupledConfig(**SMALL, num_vectors=16, dice_weight=0.5), seeded())
    sides = sides_for(coupled)
    sides = Sides(sides.clean * (sides.clean[:, :1] > 0.1), sides.real)
    reference = copy.deepcopy(coupled)
    with torch.enable_grad():
        found = coupled.step(named(sides))
    (clean, clean_colour), (real, real_colour) = (images.tensor_split([1], dim=1) for images in sides)
    noisy = reference.noise(clean)
    measured = (clean > 0) & (real > 0)
    like_real, same = reference.colour(torch.cat([clean_colour, real_colour])).chunk(2)
    logits = reference.holes(real_colour)
    probability, missing = torch.sigmoid(logits), (real == 0).float()
    overlap, mass = (probability * missing).sum((1, 2, 3)), (probability + missing).sum((1, 2, 3))
    expected = {
        "discriminator_real": ((reference.discriminator(real * measured) - 1) ** 2).mean(),
        "discriminator_fake": (reference.discriminator(noisy * measured) ** 2).mean(),
        "gan": ((coupled.discriminator(noisy * measured) - 1) ** 2).mean(),
        "self": 10 * (noisy - clean).abs()[clean > 0].mean(),
        "colour_discriminator_fake": (reference.colour_discriminator(like_real) ** 2).mean(),
        "colour_discriminator_real": ((reference.colour_discriminator(real_colour) - 1) ** 2).mean(),
        "colour_gan": ((coupled.colour_discriminator(like_real) - 1) ** 2).mean(),
        "holes_cross_entropy": functional.binary_cross_entropy(probability, missing),
        "holes_dice": 0.5 * (1 - (2 * overlap + 1) / (mass + 1)).mean(),
    }
    for name, generated, source in (
        ("colour_contrast", like_real, clean_colour),
        ("colour_identity_contrast", same, real_colour),
    ):
        query, key = reference.colour.encode(generated), reference.colour.encode(source)
        expected[name] = layer_mean(patch_losses(query, key, reference.draw(key), reference.heads)) / 2
    for name, value in expected.items():
        assert found[name] == pytest.approx(value.item(), rel=1e-4), name


def test_coupled_finds_the_holes_of_dark_things() -> None:
    coupled = CoupledObjective(CoupledConfig(**SMALL, learning_rate=0.05, num_vectors=16), seeded())
    clean, real = sides_for(coupled)
    dark = torch.zeros(2, 1, 32, 32, dtype=torch.bool)
    dark[:, :, 8:20, 10:30] = True
    real = torch.where(dark, torch.cat([torch.zeros(2, 1, 32, 32), real[:, 1:] / 10], dim=1), real.clamp(min=0.3))
    steps = [coupled.step(named(Sides(clean, real))) for _ in range(25)]
    for name in ("holes_cross_entropy", "holes_dice"):
        assert steps[-1][name] < steps[0][name] / 2
    with torch.no_grad():
        found = coupled.holes(real[:, 1:]) > 0
    assert (found == dark).float().mean() > 0.95


def test_holes_tell_the_discriminator_of_coupled_nothing() -> None:
    coupled = OBJECTIVES["coupled"]()
    seen: list[Tensor] = []
    coupled.networks["discriminator"].register_forward_hook(lambda _, args, __: seen.append(args[0].detach()))
    clean, real = sides_for(coupled)
    clean[:, :, :5] = 0
    real[:, :, :, :7] = 0
    coupled.step(named(Sides(clean, real[:1])))
    assert len(seen) == 3
    for depth in seen:
        assert torch.equal(depth == 0, seen[0] == 0)
        assert (depth[:, :, :5] == 0).all()
        assert (depth[:, :, :, :7] == 0).all()


@pytest.mark.parametrize("side", [32, 36])
def test_coupled_takes_crops_that_generators_take(side: int) -> None:
    coupled = OBJECTIVES["coupled"]()
    assert coupled.step(named(sides_for(coupled, side=side)))["generator"].isfinite()


def test_coupled_needs_colour() -> None:
    with pytest.raises(InputError, match="colour generator"):
        OBJECTIVES["coupled"]().step(named(Sides(torch.zeros(1, 1, 32, 32), torch.zeros(1, 1, 32, 32))))


def test_dice_loss_is_of_each_image() -> None:
    sure = torch.tensor([[30.0, 30, -30, -30], [-30, -30, -30, -30]]).reshape(2, 1, 2, 2)
    target = torch.tensor([[1.0, 0, 1, 0], [0, 0, 0, 0]]).reshape(2, 1, 2, 2)
    assert dice_loss(sure[:1], target[:1]).item() == pytest.approx(1 - 3 / 5)
    assert dice_loss(sure, target).item() == pytest.approx(1 / 5)


def test_clean_and_real_may_differ_in_number() -> None:
    dcl = OBJECTIVES["dcl"]()
    clean, real = sides_for(dcl)
    assert dcl.step(named(Sides(clean, real[:1])))["generator"].isfinite()


def test_same_seed_same_networks_whatever_the_global_state() -> None:
    torch.manual_seed(1)
    one = weights(OBJECTIVES["cut"]())
    torch.manual_seed(2)
    two = weights(OBJECTIVES["cut"]())
    assert all(torch.equal(a, b) for name in one for a, b in zip(one[name], two[name], strict=True))


def test_frozen_network_passes_gradients_through_but_takes_none() -> None:
    network, x = nn.Linear(2, 1), torch.ones(1, 2, requires_grad=True)
    with frozen(network):
        y = network(x)
    y.sum().backward()
    assert x.grad is not None
    assert network.weight.grad is None
    assert network.weight.requires_grad


def test_descent_forgets_earlier_gradients() -> None:
    weight = nn.Parameter(torch.tensor(1.0))
    optimiser = torch.optim.SGD([weight], lr=0.1)
    (100 * weight).backward()  # type: ignore[no-untyped-call]
    descend(2 * weight, optimiser)
    assert weight.item() == pytest.approx(0.8)
