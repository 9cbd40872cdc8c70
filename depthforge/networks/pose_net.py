"""Which object a crop shows, and how it is turned: a residual network, one feature, two heads.

11,308,814 parameters for ten objects, 0.6 GMAC for a crop of 128x128. The feature has a door of its own, since what
brings a network to another sensor without labels compares features of both. The alternative, regressing the pose of
every object in the whole image, needs a detector as well and would measure that.

Source: the tasks of Bousmalis et al., "Unsupervised pixel-level domain adaptation with generative adversarial
networks", CVPR 2017, with a residual network.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional

from depthforge.networks.resnet import Layers, ResNet, he_initialise

__all__ = ["PoseNet", "Posed"]


class Posed(NamedTuple):
    """What is said of crops: ``logits`` (B, num_classes) of the object, ``quaternion`` (B, 4) wxyz, of unit length."""

    logits: Tensor
    quaternion: Tensor


class PoseNet(nn.Module):
    """Crops (B, channels, H, W), any size, to Posed.

    ``width`` is that of the trunk's first stage; the feature has four times as many numbers: 256 at the width of 64. In
    training mode a batch has at least two crops, for batch norm.
    """

    def __init__(self, *, num_classes: int, layers: Layers = 18, channels: int = 2, width: int = 64) -> None:
        super().__init__()
        self.trunk = ResNet(layers, channels=channels, width=width)
        self.num_features = 4 * width
        """Numbers of ``features``."""
        self.reduce = nn.Linear(self.trunk.num_channels, self.num_features)
        self.norm = nn.BatchNorm1d(self.num_features)
        self.classes = nn.Linear(self.num_features, num_classes)
        self.rotation = nn.Linear(self.num_features, 4)

    def initialise(self, random: torch.Generator) -> None:
        """Draw every weight from ``random``, in the order of the modules."""
        he_initialise(self, random)

    def forward(self, crops: Tensor) -> Posed:
        """Return object and rotation."""
        return self.read(self.features(crops))

    def features(self, crops: Tensor) -> Tensor:
        """Return the feature (B, num_features) of each crop."""
        pooled = self.trunk(crops).mean(dim=(2, 3))
        return functional.relu(self.norm(self.reduce(pooled)))

    def read(self, features: Tensor) -> Posed:
        """Return what the heads read off ``features``."""
        turned = torch.tanh(self.rotation(features))
        return Posed(self.classes(features), functional.normalize(turned, dim=1, eps=1e-6))
