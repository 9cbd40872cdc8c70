"""Dropout that repeats: what torch's layers drop comes from its global generator, which is nobody's.

Within ``drawing_from`` that generator is seeded from the training's own, and afterwards it is as it was. The
alternative, dropout layers that hold a generator, would make modules that neither copy nor pickle.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch

__all__ = ["drawing_from"]


@contextmanager
def drawing_from(random: torch.Generator, device: torch.device) -> Iterator[None]:
    """Let whatever draws from torch's global generators within, on ``device``, draw from ``random``, a CPU generator.

    One number is drawn of ``random``. Threads that draw at the same time would be disturbed.
    """
    seed = int(torch.randint(2**62, (), generator=random))
    devices = [device] if device.type == "cuda" else []
    with torch.random.fork_rng(devices=devices):
        torch.default_generator.manual_seed(seed)
        if devices:
            with torch.cuda.device(device):
                torch.cuda.manual_seed(seed)
        yield
