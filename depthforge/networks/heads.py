"""The heads of the contrastive losses: for each tapped layer, a two-layer perceptron into the space compared in.

152,832 parameters for the generator's five taps; at most 256 vectors an image and layer go through, so the cost is
nothing beside the generator's. The channels of the taps are given (``DepthGenerator.feature_channels``); the
alternative of the published code, building the heads in the first pass, gives an optimiser nothing to hold before it.

Source: Park et al., "Contrastive learning for unpaired image-to-image translation", ECCV 2020, section 3.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

from torch import Tensor, nn
from torch.nn import functional

__all__ = ["PatchHeads"]


class PatchHead(nn.Module):
    """(..., in) to (..., width): linear, ReLU, linear."""

    def __init__(self, in_channels: int, width: int) -> None:
        super().__init__()
        self.hidden = nn.Linear(in_channels, width)
        self.out = nn.Linear(width, width)

    def forward(self, x: Tensor) -> Tensor:
        """Return the projection of ``x``, not normalised."""
        out: Tensor = self.out(functional.relu(self.hidden(x)))
        return out


class PatchHeads(nn.Module):
    """One head for each tapped layer: vectors (..., channels[l]) to (..., width)."""

    # Too small to be worth a compilation.
    doors: ClassVar[tuple[str, ...]] = ()

    def __init__(self, channels: Sequence[int], width: int = 128) -> None:
        super().__init__()
        self.layers = nn.ModuleList([PatchHead(in_channels, width) for in_channels in channels])

    def forward(self, vectors: Sequence[Tensor]) -> list[Tensor]:
        """Return the projections, one tensor a layer; another number of layers is a ValueError."""
        return [head(x) for head, x in zip(self.layers, vectors, strict=True)]
