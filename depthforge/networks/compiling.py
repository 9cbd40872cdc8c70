"""``torch.compile`` where it works, and the same function as it stands, with a warning, where it does not.

What a GPU gains is passes over memory: batch norm, ReLU, border and blur between two convolutions become one kernel.
It costs up to a minute at the first batch, for each size of it, and asks for Triton (which torch's CUDA wheels bring)
and a C compiler. CUDA graphs (``mode="reduce-overhead"``) are left alone: they belong to the thread that recorded them,
and two threads share a translator; at eight frames of 640x480 the GPU is not waiting for launches.
"""

from __future__ import annotations

import threading
import warnings
from collections.abc import Callable
from typing import Any

import torch
from torch import nn

from depthforge.errors import DepthforgeError

__all__ = ["compile_network"]


def compile_network(network: nn.Module, *, backend: str = "inductor") -> None:
    """Compile, at their first call, the methods of ``network`` by which it is entered, for the mode that it is in.

    They are what its class names in ``doors``; ``forward`` where it names none. In the other mode (training or
    evaluation) the network computes as it stands. A compilation that fails is a warning, once for each method.
    """
    for door in getattr(network, "doors", ("forward",)):
        setattr(network, door, _Door(network, door, backend))


class _Door:
    """A method of a network, compiled."""

    def __init__(self, network: nn.Module, name: str, backend: str) -> None:
        self._network = network
        self._training = network.training
        self._name = f"{type(network).__name__}.{name}"
        self._plain: Callable[..., Any] = getattr(network, name)
        self._compiled: Callable[..., Any] | None = torch.compile(self._plain, dynamic=False, backend=backend)
        self._first = threading.Lock()

    def __call__(self, *arguments: Any) -> Any:
        compiled = self._compiled
        if compiled is None or self._network.training != self._training or torch.compiler.is_compiling():
            return self._plain(*arguments)
        try:
            with self._first:  # two threads that compile at once disturb each other
                return compiled(*arguments)
        except (DepthforgeError, torch.OutOfMemoryError, torch.AcceleratorError):
            raise
        except Exception as error:  # whatever is missing or broken in the compiler's long chain
            self._compiled = None
            cause = getattr(error, "inner_exception", error)
            reason = " ".join(str(cause).split())[:300]
            warnings.warn(
                f"torch.compile does not work here, so {self._name} runs uncompiled and slower: "
                f"{type(cause).__name__}: {reason} (`compile: false` leaves this out)",
                stacklevel=2,
            )
            return self._plain(*arguments)
