"""The weights that training starts from, drawn from a generator that the caller seeds.

torch's constructors draw defaults from the global stream; everything they drew is overwritten here, so the same seed
gives the same network wherever and after whatever it is built.
"""

from __future__ import annotations

from typing import Literal

import torch
from torch import nn

__all__ = ["initialise"]


def initialise(
    network: nn.Module,
    random: torch.Generator,
    *,
    scheme: Literal["xavier", "normal"] = "xavier",
    gain: float = 0.02,
) -> None:
    """Set every weight of ``network`` in place, reading ``random`` (a CPU generator) in the order of its modules.

    Weights of convolutions and linear layers: ``xavier`` is N(0, gain^2 * 2 / (fan_in + fan_out)), what DCL and CUT
    use; ``normal`` is N(0, gain^2), what CycleGAN's paper uses. Batch norm weights are N(1, gain^2), every bias 0 and
    running statistics as new. The network is on the CPU.
    """
    for module in network.modules():
        if isinstance(module, nn.Conv2d | nn.Linear):
            if scheme == "xavier":
                nn.init.xavier_normal_(module.weight, gain, generator=random)
            else:
                nn.init.normal_(module.weight, 0.0, gain, generator=random)
        elif isinstance(module, nn.BatchNorm2d):
            module.reset_running_stats()
            nn.init.normal_(module.weight, 1.0, gain, generator=random)
        else:
            continue
        if module.bias is not None:
            nn.init.zeros_(module.bias)
