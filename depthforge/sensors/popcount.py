"""The number of set bits of a word, as one instruction of the processor in compiled loops."""

from __future__ import annotations

from typing import Any

from numba.core import types
from numba.extending import intrinsic

__all__ = ["popcount"]


@intrinsic
def popcount(_context: Any, word: Any) -> Any:
    """Return how many bits of an unsigned 32-bit ``word`` are set, as uint32; vectorises."""

    def build(_target: Any, builder: Any, _signature: Any, arguments: Any) -> Any:
        return builder.ctpop(arguments[0])

    return types.uint32(types.uint32), build
