"""Published checkpoints are read as tensors, and refused with a reason when they are anything else."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from depthforge.errors import InputError, MissingDataError
from depthforge.networks.generator import DepthGenerator
from depthforge.networks.published import published_names
from depthforge.translators.published_checkpoint import read_published_generator, read_state


def published_state(generator: DepthGenerator) -> dict[str, Tensor]:
    entries = {**dict(generator.named_parameters()), **dict(generator.named_buffers())}
    return {published: entries[ours].detach().clone() for published, ours in published_names(generator).items()}


@pytest.mark.parametrize("with_rgb", [False, True])
def test_generator_comes_back(tmp_path: Path, with_rgb: bool) -> None:
    generator = DepthGenerator(with_rgb=with_rgb).eval()
    torch.save(published_state(generator), tmp_path / "latest_net_G.pth")
    found = read_published_generator(tmp_path / "latest_net_G.pth")
    assert not found.training
    assert (found.image is not None) == with_rgb
    for a, b in zip(found.state_dict().values(), generator.state_dict().values(), strict=True):
        assert torch.equal(a, b)


def test_absent(tmp_path: Path) -> None:
    with pytest.raises(MissingDataError, match="no checkpoint there"):
        read_state(tmp_path / "none.pth")


class Trap:
    def __init__(self, marker: Path) -> None:
        self.marker = marker

    def __reduce__(self) -> tuple[Any, ...]:
        return (os.mkdir, (str(self.marker),))


def test_code_in_a_checkpoint_does_not_run(tmp_path: Path) -> None:
    torch.save({"model.1.weight": Trap(tmp_path / "ran")}, tmp_path / "trap.pth")
    with pytest.raises(InputError, match=r"tensors alone(.|\n)*mkdir"):
        read_state(tmp_path / "trap.pth")
    assert not (tmp_path / "ran").exists()


@pytest.mark.parametrize("keep", [0, 100, 0.5, 0.99])
def test_truncated(tmp_path: Path, keep: float) -> None:
    path = tmp_path / "cut.pth"
    torch.save({"model.1.weight": torch.zeros(1000)}, path)
    whole = path.read_bytes()
    path.write_bytes(whole[: int(keep * len(whole)) if keep < 1 else int(keep)])
    with pytest.raises(InputError, match="cannot be read"):
        read_state(path)


def test_text_file(tmp_path: Path) -> None:
    (tmp_path / "page.pth").write_text("<html>not found</html>")
    with pytest.raises(InputError, match="cannot be read"):
        read_state(tmp_path / "page.pth")


@pytest.mark.parametrize(
    ("saved", "found"),
    [([torch.zeros(1)], "a list"), ({"epoch": 3, "model": {}}, "a dict of dict, int"), (torch.zeros(1), "a Tensor")],
)
def test_other_contents(tmp_path: Path, saved: object, found: str) -> None:
    torch.save(saved, tmp_path / "other.pth")
    with pytest.raises(InputError, match=f"no state dict(.|\n)*{found}"):
        read_state(tmp_path / "other.pth")


def test_other_architecture_says_what_differs(tmp_path: Path) -> None:
    state = published_state(DepthGenerator())
    del state["model.18.conv_block.6.bias"]
    torch.save(state, tmp_path / "short.pth")
    with pytest.raises(InputError, match=r"short\.pth(.|\n)*model\.18\.conv_block\.6\.bias \(missing\)"):
        read_published_generator(tmp_path / "short.pth")
    torch.save(published_state(DepthGenerator(width=64)), tmp_path / "wide.pth")
    with pytest.raises(InputError, match=r"another shape(.|\n)*\(32,"):
        read_published_generator(tmp_path / "wide.pth")
