"""The allocator's setting that training wants: keep freed memory.

A step allocates and frees hundreds of arrays of some 10 MB. By default glibc gives each back to the operating system,
which clears it page by page when it is asked for again: a quarter of a step of DCL (``benchmarks.bench_training``).
"""

from __future__ import annotations

import ctypes
import sys
from typing import Final

__all__ = ["keep_freed_memory"]

_M_TRIM_THRESHOLD: Final = -1
_M_MMAP_THRESHOLD: Final = -3
_LARGEST_KEPT: Final = 1 << 30


def keep_freed_memory() -> bool:
    """Have this process keep what it frees for its next arrays; return whether the C library knows how (glibc)."""
    if not sys.platform.startswith("linux"):
        return False
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (OSError, AttributeError):  # another C library
        return False
    return all(mallopt(option, _LARGEST_KEPT) == 1 for option in (_M_MMAP_THRESHOLD, _M_TRIM_THRESHOLD))
