"""Networks of the tasks: parameter counts, and outputs against plain functions that read the weights in order."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from depthforge.errors import InputError
from depthforge.networks.deeplab import DeepLab
from depthforge.networks.domains import FeatureDiscriminator, MapDiscriminator, reverse_gradient
from depthforge.networks.grasp_net import GraspMaps, GraspNet
from depthforge.networks.pose_net import PoseNet
from depthforge.networks.resnet import Layers, ResNet, he_initialise

BLOCKS = {18: (2, 2, 2, 2), 50: (3, 4, 6, 3)}


def count(network: nn.Module) -> int:
    return sum(weights.numel() for weights in network.parameters())


def seeded(network: nn.Module) -> nn.Module:
    """Give every number of the state a value that is its own, statistics of batch norm included."""
    random = torch.Generator().manual_seed(3)
    for name, tensor in network.state_dict().items():
        if tensor.dtype.is_floating_point:
            tensor.copy_(torch.randn(tensor.shape, generator=random) * (0.3 if tensor.ndim > 1 else 0.1))
        if name.endswith(("running_var", "norm.weight")) or (tensor.ndim == 1 and "weight" in name):
            tensor.copy_(1 + 0.2 * torch.rand(tensor.shape, generator=random))
    return network.double().eval()


class Weights:
    """The state of a network, read from front to back."""

    def __init__(self, network: nn.Module) -> None:
        self.left: Iterator[Tensor] = iter(network.state_dict().values())

    def conv_norm(self, x: Tensor, stride: int = 1, dilation: int = 1) -> Tensor:
        kernel = next(self.left)
        padding = dilation * (kernel.shape[-1] // 2)
        return self.norm(F.conv2d(x, kernel, None, stride, padding, dilation))

    def norm(self, x: Tensor) -> Tensor:
        weight, bias, mean, variance, _ = (next(self.left) for _ in range(5))
        shape = (1, -1, *([1] * (x.ndim - 2)))
        weight, bias, mean, variance = (tensor.reshape(shape) for tensor in (weight, bias, mean, variance))
        return (x - mean) / (variance + 1e-5).sqrt() * weight + bias

    def linear(self, x: Tensor) -> Tensor:
        weight, bias = next(self.left), next(self.left)
        return x @ weight.T + bias

    def conv(self, x: Tensor, stride: int = 1, padding: int = 0) -> Tensor:
        return F.conv2d(x, next(self.left), next(self.left), stride, padding)

    def done(self) -> bool:
        return next(self.left, None) is None


def plain_resnet(w: Weights, x: Tensor, layers: int, width: int, *, dilations: tuple[int, ...] = ()) -> list[Tensor]:
    """The four stages' features; with ``dilations`` the last stage keeps its size and has these in its blocks."""
    x = F.max_pool2d(w.conv_norm(x, 2).relu(), 3, 2, 1)
    found = []
    for stage, blocks in enumerate(BLOCKS[layers]):
        dilated = stage == 3 and bool(dilations)
        for block in range(blocks):
            stride = 2 if stage > 0 and block == 0 and not dilated else 1
            dilation = dilations[block] if dilated else 1
            if layers == 18:
                y = w.conv_norm(x, stride, dilation).relu()
                y = w.conv_norm(y, 1, dilation)
            else:
                y = w.conv_norm(x).relu()
                y = w.conv_norm(y, stride, dilation).relu()
                y = w.conv_norm(y)
            if stride != 1 or x.shape[1] != y.shape[1]:
                x = w.conv_norm(x, stride)
            x = (x + y).relu()
        assert x.shape[1] == width * 2**stage * (1 if layers == 18 else 4)
        found.append(x)
    return found


def test_parameter_counts_are_the_published_ones() -> None:
    for layers, expected in ((18, 11_689_512), (50, 25_557_032)):
        trunk = ResNet(layers)  # type: ignore[arg-type]
        assert count(trunk) + (trunk.num_channels + 1) * 1000 == expected
    assert count(DeepLab(num_classes=21, layers=101, channels=3)) == 59_344_309
    assert count(DeepLab(num_classes=15, layers=50)) == 40_347_503
    assert count(DeepLab(num_classes=15)) == 16_603_503
    assert count(DeepLab(num_classes=15, width=32, decoder_width=128, near_width=24)) == 4_156_863
    assert count(GraspNet()) == 62_420
    assert count(PoseNet(num_classes=10)) == 11_308_814
    assert count(FeatureDiscriminator(256)) == 1_313_793
    assert count(MapDiscriminator(15)) == (15 + 1) * 512 + (512 + 1) * 256 + (256 + 1) * 2


@torch.no_grad()
@pytest.mark.parametrize("layers", [18, 50])
def test_resnet_computes_what_the_paper_says(layers: Layers) -> None:
    x = torch.rand(2, 3, 37, 50, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    network = seeded(ResNet(layers, width=4))
    weights = Weights(network)
    expected = plain_resnet(weights, x, layers, 4)
    assert weights.done()
    near, far = network.features(x)
    torch.testing.assert_close(near, expected[0])
    torch.testing.assert_close(far, expected[3])
    assert (near.shape[2:], far.shape[2:]) == ((10, 13), (2, 2))


@torch.no_grad()
@pytest.mark.parametrize(("layers", "dilations"), [(18, (2, 2)), (50, (2, 4, 8))])
@pytest.mark.parametrize("size", [(64, 80), (37, 53)])
def test_deeplab_computes_what_the_paper_says(
    layers: Layers, dilations: tuple[int, ...], size: tuple[int, int]
) -> None:
    x = torch.rand(2, 2, *size, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    network = seeded(DeepLab(num_classes=5, layers=layers, width=4, decoder_width=6, near_width=3))
    w = Weights(network)
    near, _, _, far = plain_resnet(w, x, layers, 4, dilations=dilations)
    assert far.shape[2:] == (-(-size[0] // 16), -(-size[1] // 16))
    branches = [w.conv_norm(far, 1, dilation).relu() for dilation in (1, 6, 12, 18)]
    whole = w.conv_norm(far.mean(dim=(2, 3), keepdim=True)).relu().expand_as(branches[0])
    far = w.conv_norm(torch.cat([*branches, whole], 1)).relu()
    near = w.conv_norm(near).relu()
    far = F.interpolate(far, near.shape[2:], mode="bilinear", align_corners=True)
    both = w.conv_norm(w.conv_norm(torch.cat([far, near], 1)).relu()).relu()
    expected = F.interpolate(w.conv(both), size, mode="bilinear", align_corners=True)
    assert w.done()
    scores = network(x)
    assert scores.shape == (2, 5, *size)
    torch.testing.assert_close(scores, expected)


@torch.no_grad()
def test_pose_net_computes_what_the_text_says() -> None:
    x = torch.rand(3, 2, 33, 47, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    network = seeded(PoseNet(num_classes=7, width=4))
    w = Weights(network)
    far = plain_resnet(w, x, 18, 4)[3]
    feature = w.norm(w.linear(far.mean(dim=(2, 3)))).relu()
    logits = w.linear(feature)
    turned = w.linear(feature).tanh()
    assert w.done()
    torch.testing.assert_close(network.features(x), feature)
    assert feature.shape == (3, network.num_features)
    said = network(x)
    torch.testing.assert_close(said.logits, logits)
    torch.testing.assert_close(said.quaternion, turned / turned.norm(dim=1, keepdim=True))


@torch.no_grad()
@pytest.mark.parametrize("size", [(96, 96), (12, 60)])
def test_grasp_net_computes_what_the_paper_says(size: tuple[int, int]) -> None:
    x = torch.rand(2, 1, *size, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    network = seeded(GraspNet(width=8))
    w = Weights(network)
    y = x
    for stride, padding in ((3, 3), (2, 2), (2, 1)):
        y = w.conv(y, stride, padding).relu()
    for stride, padding in ((2, 1), (2, 2), (3, 3)):
        y = F.conv_transpose2d(y, next(w.left), next(w.left), stride, padding, 1).relu()
    torch.testing.assert_close(network.features(x), y)
    maps = network(x)
    for name in ("quality", "cosine", "sine", "width"):
        expected = w.conv(y)
        torch.testing.assert_close(getattr(maps, name), expected)
        assert expected.shape == (2, 1, *size)
    assert w.done()


def test_grasp_net_says_which_sizes_fit() -> None:
    for shape in ((1, 1, 100, 96), (1, 2, 96, 96), (1, 96, 96)):
        with pytest.raises(InputError, match=r"does not fit GG-CNN\n.*\n.*found"):
            GraspNet(width=4)(torch.zeros(shape))


@torch.no_grad()
def test_discriminators_are_small_perceptrons() -> None:
    random = torch.Generator().manual_seed(0)
    network = seeded(FeatureDiscriminator(6, hidden=5))
    x = torch.randn(4, 6, generator=random, dtype=torch.float64)
    w = Weights(network)
    expected = w.linear(w.linear(w.linear(x).relu()).relu())[:, 0]
    torch.testing.assert_close(network(x), expected)
    of_maps = seeded(MapDiscriminator(6))
    maps = torch.randn(2, 6, 3, 4, generator=random, dtype=torch.float64)
    w = Weights(of_maps)
    torch.testing.assert_close(of_maps(maps), w.conv(w.conv(w.conv(maps).relu()).relu()))


def test_the_reversed_gradient_is_the_gradient_times_minus_its_strength() -> None:
    x = torch.tensor([1.0, -2.0], requires_grad=True)
    y = reverse_gradient(x, 0.25)
    assert torch.equal(y, x)
    (3 * y).sum().backward()  # type: ignore[no-untyped-call]
    assert x.grad is not None
    assert x.grad.tolist() == [-0.75, -0.75]


MADE = {
    "resnet": lambda: ResNet(18, width=4),
    "deeplab": lambda: DeepLab(num_classes=3, width=4, decoder_width=4, near_width=4),
    "grasp": lambda: GraspNet(width=4),
    "pose": lambda: PoseNet(num_classes=3, width=4),
    "features": lambda: FeatureDiscriminator(4, hidden=8),
    "maps": lambda: MapDiscriminator(4),
}


@pytest.mark.parametrize("name", MADE)
def test_the_generator_alone_decides_the_weights(name: str) -> None:
    def drawn(seed: int) -> dict[str, Tensor]:
        network, random = MADE[name](), torch.Generator().manual_seed(seed)
        getattr(network, "initialise", lambda r: he_initialise(network, r))(random)
        return dict(network.state_dict())

    first, again, other = drawn(1), drawn(1), drawn(2)
    assert all(torch.equal(first[key], again[key]) for key in first)
    assert any(not torch.equal(first[key], other[key]) for key in first)
    assert all(tensor.abs().sum() > 0 for key, tensor in first.items() if key.endswith("weight"))


@torch.no_grad()
def test_units_keep_the_size_of_what_they_see() -> None:
    """With the drawn weights, what comes out of the trunk is neither nothing nor endless."""
    network = ResNet(18, width=8)
    he_initialise(network, torch.Generator().manual_seed(0))
    out = network.train()(torch.randn(4, 3, 64, 64, generator=torch.Generator().manual_seed(1)))
    assert 0.3 < out.std().item() < 3.0


@pytest.mark.parametrize("name", ["deeplab", "grasp", "pose"])
def test_networks_compute_where_they_are_sent(name: str) -> None:
    network = MADE[name]().to("meta").train()
    image = torch.zeros(2, 1 if name == "grasp" else 2, 24, 36, device="meta")
    said = network(image)
    tensors = said if isinstance(said, tuple) else (said,)
    sum(tensor.sum() for tensor in tensors).backward()
    assert {tensor.device.type for tensor in tensors} == {"meta"}
    assert {weights.grad.device.type for weights in network.parameters() if weights.grad is not None} == {"meta"}
    assert all(weights.grad is not None for weights in network.parameters())
    assert not isinstance(said, GraspMaps) or len(said) == 4
