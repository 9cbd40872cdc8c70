"""The switches that decide in which arithmetic networks compute."""

from __future__ import annotations

import threading

import pytest
import torch

from depthforge.networks.convolution import reflected_conv
from depthforge.networks.generator import DepthGenerator
from depthforge.networks.precision import Precision, arithmetic, without_autocast
from depthforge.translators.contrastive import info_nce, unit_vectors

CPU, CUDA = torch.device("cpu"), torch.device("cuda")


def switches() -> tuple[bool, bool]:
    return torch.backends.cudnn.allow_tf32, torch.backends.cuda.matmul.allow_tf32


@pytest.mark.parametrize(("precision", "allowed"), [("float32", False), ("tf32", True)])
def test_tf32_is_what_was_asked_for_and_as_before_afterwards(precision: Precision, allowed: bool) -> None:
    before = switches()
    with arithmetic(precision, CUDA):
        assert switches() == (allowed, allowed)
    assert switches() == before
    with arithmetic(precision, CPU):
        assert switches() == before


def test_the_first_thread_that_leaves_changes_nothing_for_the_other() -> None:
    before, entered, leave = switches(), threading.Event(), threading.Event()

    def other() -> None:
        with arithmetic("float32", CUDA):
            entered.set()
            leave.wait()

    thread = threading.Thread(target=other)
    with arithmetic("float32", CUDA):
        thread.start()
        entered.wait()
    assert switches() == (False, False)
    leave.set()
    thread.join()
    assert switches() == before


def test_bfloat16_rounds_convolutions_and_not_what_a_network_says_in_the_end() -> None:
    conv, x = reflected_conv(1, 1, 3), torch.rand(1, 1, 8, 8)
    with arithmetic("bfloat16", CPU):
        assert conv(x).dtype == torch.bfloat16
        with without_autocast(CPU):
            assert conv(x).dtype == torch.float32
        generator = DepthGenerator(width=4)
        depth = generator(torch.rand(1, 1, 16, 16))
        assert depth.dtype == torch.float32
        assert len(depth.unique()) > 250, "none of 256 pixels falls on a step of bfloat16"
    with arithmetic("tf32", CPU):
        assert conv(x).dtype == torch.float32


def test_the_contrast_is_in_float32_within_bfloat16() -> None:
    vectors = torch.randn(2, 2, 40, 16, generator=torch.Generator().manual_seed(0)).bfloat16()
    query, key = vectors
    exact = info_nce(*unit_vectors([query.double(), key.double()]), 0.07)
    with arithmetic("bfloat16", CPU):
        found = info_nce(*unit_vectors([query, key]), 0.07)
    assert found.dtype == torch.float32
    torch.testing.assert_close(found.double(), exact, rtol=1e-5, atol=1e-5)
