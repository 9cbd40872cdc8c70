"""Compiled functions, cached on disk where there is a place for it.

numba refuses to define a function that it cannot cache: where the package is read-only and its user has no home (a
container that runs as somebody else). There it is compiled in every process anew, which takes seconds.
``NUMBA_CACHE_DIR`` names another place.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Any

import numba

__all__ = ["njit"]

# Without a home, numba would make a folder named ~ where it runs.
_MAY_CACHE = os.path.expanduser("~") != "~" or "NUMBA_CACHE_DIR" in os.environ


def njit(**options: Any) -> Callable[[Callable[..., Any]], Any]:
    """Return the decorator ``numba.njit(nogil=True, cache=True, **options)``, without a cache where none can be."""

    def compiled(function: Callable[..., Any]) -> Any:
        if _MAY_CACHE:
            try:
                return numba.njit(nogil=True, cache=True, **options)(function)
            except RuntimeError as error:
                if "cannot cache" not in str(error):
                    raise
        return numba.njit(nogil=True, **options)(function)

    return compiled
