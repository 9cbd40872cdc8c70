"""Channels stay innermost from one convolution to the next, forwards and backwards, in the forms for a GPU.

They run here on the CPU, whose convolutions pass the layout of their input on as CUDA's do.
"""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import torch
from torch import Tensor, nn

from benchmarks.gpu_checks import ADVERSARIAL, made_up_batch, objective_of
from depthforge.networks import blur, borders, convolution
from depthforge.networks.generator import DepthGenerator
from depthforge.networks.precision import Precision, arithmetic
from depthforge.networks.whole import Conv, WholeGenerator


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def moved(image: Tensor) -> bool:
    """Whether channels are not innermost; of up to three of them there is next to nothing to copy."""
    return image.shape[1] > 3 and not image.is_contiguous(memory_format=torch.channels_last)


@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
@pytest.mark.parametrize("method", ADVERSARIAL)
def test_a_training_step_moves_no_channels(method: str, precision: Precision, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(blur, "_by_averages", lambda x: True)
    monkeypatch.setattr(convolution, "reflected", lambda x, r: borders._Reflect.apply(x, r) if r else x)
    objective = objective_of(method, "cpu", 8)
    seen: list[str] = []
    changes: list[tuple[str, str]] = []

    def watch(name: str, module: nn.Module) -> None:
        def looked_at(_: nn.Module, inputs: tuple[Tensor, ...], output: Tensor) -> None:
            seen.append(name)
            changes.extend((name, what) for what, image in (("in", inputs[0]), ("out", output)) if moved(image))
            if output.requires_grad:
                output.register_hook(lambda gradient: changes.append((name, "gradient")) if moved(gradient) else None)

        module.register_forward_hook(looked_at)

    for network_name, network in objective.networks.items():
        for name, module in network.named_modules():
            if isinstance(module, nn.Conv2d | nn.BatchNorm2d):
                watch(f"{network_name}.{name}", module)
    with arithmetic(precision, torch.device("cpu")):
        objective.step(made_up_batch(0, 2, 32, method))
    assert len(seen) > 80
    assert changes == []


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_the_generator_for_inference_moves_no_channels(dtype: torch.dtype) -> None:
    generator = DepthGenerator(width=8, with_rgb=True, noise_channels=1, validity=True).eval()
    whole = WholeGenerator(generator, dtype)
    seen: list[bool] = []
    for module in whole.modules():
        if isinstance(module, Conv):
            module.register_forward_hook(lambda _, inputs, __: seen.append(moved(inputs[0])))
    whole(torch.rand(2, 5, 32, 48))
    # Two encoders of three convolutions, five blocks of two, the fusion, two doublings and the head.
    assert seen == [False] * 20
