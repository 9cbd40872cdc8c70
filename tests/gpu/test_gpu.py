"""What a GPU computes is what the CPU does: one body each, run here on the CPU and, where there is one, on CUDA."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import torch

from benchmarks.gpu_checks import (
    ADVERSARIAL,
    METHODS,
    PRECISIONS,
    Row,
    check_conversion,
    check_corpus,
    check_resume,
    check_training,
    depth_rows,
)
from depthforge.frame import Capture, NoisyDepth
from depthforge.networks.precision import Precision
from depthforge.testing.translators import clean_frame

on_both = pytest.mark.parametrize("device", ["cpu", pytest.param("cuda", marks=pytest.mark.gpu)])
in_each_precision = pytest.mark.parametrize("precision", PRECISIONS)
of_each_method = pytest.mark.parametrize("method", METHODS)


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def assert_ok(rows: list[Row]) -> None:
    assert rows
    assert [row for row in rows if row.ok is not True] == []


@on_both
@in_each_precision
@of_each_method
def test_conversion_equals_the_cpu(method: str, precision: Precision, device: str) -> None:
    assert_ok(check_conversion(method, device, precision=precision, width=4, size=(60, 84), frames=3))


@on_both
@in_each_precision
@of_each_method
def test_a_training_step_has_the_losses_of_the_cpu(method: str, precision: Precision, device: str) -> None:
    assert_ok(check_training(method, device, precision=precision, width=4, batch=2, side=32))


@on_both
@pytest.mark.parametrize("method", ADVERSARIAL)
def test_the_critic_of_wasserstein_trains(method: str, device: str) -> None:
    assert_ok(check_training(method, device, precision="bfloat16", gan="wgangp", width=4, batch=2, side=32, steps=2))


@on_both
@of_each_method
def test_a_killed_training_ends_as_an_uninterrupted_one(method: str, device: str) -> None:
    assert_ok(check_resume(method, device, width=4, side=32))


@on_both
def test_a_corpus_made_in_this_process_is_that_of_the_cpu(device: str) -> None:
    assert_ok(check_corpus(device, width=4, size=(48, 64), frames=6))


@pytest.mark.gpu
def test_a_compiled_translator_equals_the_cpu() -> None:
    assert_ok(check_conversion("dcl", "cuda", precision="tf32", width=8, size=(60, 84), frames=3, compile=True))


def test_the_comparison_sees_depth_and_validity() -> None:
    frame = clean_frame(40, 50)
    same = Capture(NoisyDepth(frame.depth_m, frame.valid))
    assert_ok(depth_rows("", [same], [same], "float32"))
    fewer = frame.valid.copy()
    fewer[0, :10] = False
    off, validity = depth_rows("", [same], [Capture(NoisyDepth(frame.depth_m + 0.001, fewer))], "float32")
    assert (off.value, off.ok) == ("1 mm", False)
    assert (validity.value, validity.ok) == ("0.005 of pixels", False)
