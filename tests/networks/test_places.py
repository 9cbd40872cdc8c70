"""Every tensor of every network lies where the network lies: told on torch's ``meta`` device, which any machine has.

What is left on the CPU shows there as it would on CUDA: as a tensor elsewhere, or as an operation on two devices.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import pytest
import torch
from torch import Tensor, nn

from depthforge.networks.fused import FusedGenerator, fuse
from depthforge.networks.generator import DepthGenerator
from depthforge.networks.whole import WholeGenerator
from depthforge.registry import translators
from depthforge.training.objective import Batch, Objective
from depthforge.translators.hybrid import Hybrid
from depthforge.translators.learned import Learned
from depthforge.translators.learned_depth import LearnedDepth

ALL = [name for name in translators.built_in() if issubclass(translators.get(name), Learned)]
LEARNED = [name for name in ALL if issubclass(translators.get(name), LearnedDepth)]
OPTIONS = {"plain": {}, "noise and validity": {"noise_channels": 2, "residual": 0.1, "validity": True}}
COLOUR = {"with_rgb": True}
PAIRS = {"inputs": 10, "hole": 1, "known": 1, "error": 1, "spread": 1, "counts": 1}
GENERATORS: list[dict[str, object]] = [{}, COLOUR, *({**options, **COLOUR} for options in OPTIONS.values())]


def tensors(owner: object, path: str = "", seen: set[int] | None = None) -> Iterator[tuple[str, Tensor]]:
    """Every tensor that is reached through attributes, lists and mappings, registered or not."""
    seen = set() if seen is None else seen
    if id(owner) in seen or isinstance(owner, torch.Generator | type):
        return
    seen.add(id(owner))
    if isinstance(owner, Tensor):
        yield path, owner
        if owner.grad is not None:
            yield f"{path}.grad", owner.grad
        return
    if isinstance(owner, Mapping):
        parts = [(str(key), value) for key, value in owner.items()]
    elif isinstance(owner, list | tuple | set):
        parts = [(str(place), value) for place, value in enumerate(owner)]
    elif type(owner).__module__.startswith(("depthforge", "torch")) and hasattr(owner, "__dict__"):
        parts = list(vars(owner).items())
    else:
        return
    for name, part in parts:
        yield from tensors(part, f"{path}.{name}", seen)


def assert_at(device: str, owner: object, dtype: torch.dtype | None = None) -> None:
    found = list(tensors(owner))
    assert found
    elsewhere = [path for path, tensor in found if tensor.device.type != device]
    assert not elsewhere
    if dtype is not None:
        others = [path for path, tensor in found if tensor.is_floating_point() and tensor.dtype != dtype]
        assert not others


def images(count: int, side: int = 32, *, device: str = "meta") -> dict[str, Tensor]:
    return {
        "depth": torch.rand(count, 1, side, side, device=device),
        "rgb": torch.rand(count, 3, side, side, device=device),
    }


def config_of(name: str, **options: object) -> object:
    config = translators.get(name).Config
    wanted = {"width": 4, "num_vectors": 16, **options}
    if name == "coupled":  # whose holes have a network of their own
        wanted.pop("validity", None)
    return config(**{key: value for key, value in wanted.items() if key in config.model_fields})


def objective_of(name: str, device: str, **options: object) -> Objective:
    made: Objective = translators.get(name).make_objective(
        config_of(name, **options), torch.Generator().manual_seed(0), device
    )
    return made


def test_the_methods_that_learn_are_all_here() -> None:
    assert LEARNED == ["coupled", "cut", "cyclegan", "dcl"]
    assert [*LEARNED, "hybrid"] == ALL


def test_what_is_left_behind_is_found() -> None:
    class Forgetful(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.inner = nn.ModuleList([nn.Linear(1, 1)])
            self.inner[0].kept = {"a": [torch.zeros(1)]}  # type: ignore[assignment]

    Forgetful.__module__ = "depthforge.networks.forgetful"
    with pytest.raises(AssertionError, match="kept"):
        assert_at("meta", Forgetful().to("meta"))


@pytest.mark.parametrize("gan", ["lsgan", "wgangp"])
@pytest.mark.parametrize("options", [*OPTIONS.values(), COLOUR], ids=[*OPTIONS, "colour"])
@pytest.mark.parametrize("name", LEARNED)
def test_a_training_step_stays_on_its_device(name: str, options: dict[str, object], gan: str) -> None:
    objective = objective_of(name, "meta", **options, gan=gan)
    with_colour = name == "coupled" or "with_rgb" in options
    sides = ({n: t for n, t in images(2).items() if n == "depth" or with_colour} for _ in range(2))
    losses = objective.step(Batch(*sides))
    assert all(loss.device.type == "meta" and loss.shape == () for loss in losses.values())
    assert_at("meta", {key: value for key, value in vars(objective).items() if key != "optimisers"})
    for optimiser in objective.optimisers.values():
        # Adam counts its steps on the CPU.
        elsewhere = [path for path, t in tensors(optimiser.state) if t.device.type != "meta" and ".step" not in path]
        assert not elsewhere


def test_a_step_of_pairs_stays_on_its_device() -> None:
    config = Hybrid.Config(sensor={"name": "structured_light"}, residual=True)
    objective = Hybrid.make_objective(config, torch.Generator().manual_seed(0), "meta")
    real = {name: torch.rand(2, channels, 32, 32, device="meta") for name, channels in PAIRS.items()}
    losses = objective.step(Batch({}, real))
    assert {name: loss.device.type for name, loss in losses.items()} == {"bce": "meta", "residual": "meta"}
    assert_at("meta", {key: value for key, value in vars(objective).items() if key not in ("optimisers", "config")})


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("name", LEARNED)
def test_networks_go_where_they_are_sent_and_compute_there(name: str, dtype: torch.dtype) -> None:
    for network in objective_of(name, "cpu", with_rgb=True).networks.values():
        moved = network.to("meta", dtype).eval()
        assert_at("meta", moved, dtype)
        if hasattr(moved, "layers"):
            vectors = [
                torch.zeros(2, 5, layer.hidden.in_features, device="meta", dtype=dtype) for layer in moved.layers
            ]
            assert [p.shape for p in moved(vectors)] == [(2, 5, layer.out.out_features) for layer in moved.layers]
            continue
        channels = next(moved.parameters()).shape[1]
        if isinstance(moved, DepthGenerator):
            channels = moved.in_channels
        out = moved(torch.zeros(2, channels, 32, 48, device="meta", dtype=dtype))
        assert out.device.type == "meta"
        assert out.dtype == dtype
        expected = {"PatchDiscriminator": (2, 1, 2, 4), "ColourGenerator": (2, 3, 32, 48)}
        assert out.shape == expected.get(type(moved).__name__, (2, 1, 32, 48))


@pytest.mark.parametrize("form", [FusedGenerator, WholeGenerator, fuse])
@pytest.mark.parametrize("options", GENERATORS, ids=str)
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_a_rewritten_generator_lies_where_the_generator_lay(
    form: object, options: dict[str, object], dtype: torch.dtype
) -> None:
    generator = DepthGenerator(width=4, **options).to("meta").eval()  # type: ignore[arg-type]
    rewritten = fuse(generator, dtype=dtype) if form is fuse else form(generator, dtype)  # type: ignore[operator]
    assert isinstance(rewritten, FusedGenerator | WholeGenerator)
    assert_at("meta", rewritten)
    assert isinstance(rewritten, WholeGenerator) or form is FusedGenerator
    if isinstance(rewritten, WholeGenerator):
        heads = {id(tensor) for _, tensor in tensors(rewritten.head)}
        inner = [tensor for _, tensor in tensors(rewritten) if id(tensor) not in heads]
        assert {tensor.dtype for tensor in inner} == {dtype}
    out = rewritten(torch.zeros(3, generator.in_channels, 16, 24, device="meta"))
    assert out.device.type == "meta"
    assert (out.shape, out.dtype) == ((3, 1, 16, 24), torch.float32)


@pytest.mark.parametrize("name", LEARNED)
def test_a_translator_prepares_networks_where_they_lie(name: str) -> None:
    cls = translators.get(name)
    config = config_of(name, with_rgb=True)
    translator = cls(config)
    assert isinstance(translator, LearnedDepth)
    networks = {n: translator.prepared(net.to("meta").eval()) for n, net in cls.make_networks(config).items()}
    assert_at("meta", networks)
    channels = 4 + int(getattr(config, "noise_channels", 0))
    with torch.inference_mode():
        depth = translator.infer(networks, torch.zeros(2, channels, 30, 37, device="meta"))
    assert (depth.shape, depth.device.type) == ((2, 1, 30, 37), "meta")
