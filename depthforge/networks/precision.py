"""The arithmetic of networks: ``float32``, ``tf32`` or ``bfloat16``, and full precision within either.

``float32`` is that of IEEE 754 everywhere: torch's own default lets convolutions on CUDA round their factors to the 10
bits of TF32, so that a GPU and a CPU part in the third digit. ``tf32`` allows it, for tensor cores; on a CPU it is
``float32``. ``bfloat16`` is autocast (8 bits, weights and batch norm statistics in float32), with TF32 for what stays
in float32.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager, nullcontext
from typing import Literal

import torch

__all__ = ["Precision", "arithmetic", "without_autocast"]

Precision = Literal["float32", "tf32", "bfloat16"]


@contextmanager
def arithmetic(precision: Precision, device: torch.device) -> Iterator[None]:
    """Compute in ``precision`` on ``device`` within; threads that are within at once want the same."""
    with ExitStack() as stack:
        if device.type == "cuda":
            stack.enter_context(_tf32.set_to(precision != "float32"))
        if precision == "bfloat16":
            stack.enter_context(torch.autocast(device.type, dtype=torch.bfloat16))
        yield


def without_autocast(device: torch.device) -> AbstractContextManager[object]:
    """Return the context in which nothing is rounded to bfloat16."""
    available = torch.amp.is_autocast_available(device.type)
    return torch.autocast(device.type, enabled=False) if available else nullcontext()


class _Tf32:
    """torch's switches, which are the process's: left as they were found by the last that leaves."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._within = 0
        self._before = (False, False)

    @contextmanager
    def set_to(self, allowed: bool) -> Iterator[None]:
        cudnn, matmul = torch.backends.cudnn, torch.backends.cuda.matmul
        with self._lock:
            if not self._within:
                self._before = cudnn.allow_tf32, matmul.allow_tf32
            self._within += 1
            cudnn.allow_tf32, matmul.allow_tf32 = allowed, allowed
        try:
            yield
        finally:
            with self._lock:
                self._within -= 1
                if not self._within:
                    cudnn.allow_tf32, matmul.allow_tf32 = self._before


_tf32 = _Tf32()
